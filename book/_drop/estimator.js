// The exact estimator of vaemi/information for one factor at a time. The names are those of lattice.py, and
// book/estimator.md derives the method. Every matrix is computed here from the few numbers that define the lattice.
"use strict";

window.vaemiDrop ??= {};

/** Returns the function `measure`, for a lattice with the fields that book/drop.py writes. */
window.vaemiDrop.makeEstimator = (given) => {
  const { pointsPerSigma, order, levels, block: BLOCK, bandsPerOctave, farthestPoint, thinning, fewLevels } = given;
  const { tiny, defence } = given;
  const width = BLOCK + order - 1; // points over which the components of a block are spread
  const reach = 2 * pointsPerSigma * given.reach; // in points, of the broadest component of an octave
  const firstBlock = -Math.ceil(reach / BLOCK); // of those that a component reaches, relative to its own
  const reachedBlocks = Math.ceil((width + reach) / BLOCK) - firstBlock;
  const span = reachedBlocks * BLOCK;
  const entropyOfOne = 0.5 * Math.log(2 * Math.PI * Math.E);
  const bandsPerNat = (0.5 * bandsPerOctave) / Math.LN2;

  // ---- constants of the lattice -----------------------------------------------------------------------------------

  const LOWEST_POWER = -1000;
  const powersOfTwo = Float64Array.from({ length: 2 - 2 * LOWEST_POWER }, (_, i) => Math.pow(2, i + LOWEST_POWER));
  const power = (exponent) => powersOfTwo[exponent - LOWEST_POWER];
  const range = (count, value) => Array.from({ length: count }, (_, i) => value(i));

  const chebyshevNodes = (count) => range(count, (i) => Math.cos((Math.PI * (i + 0.5)) / count));
  /** Values at one place of the Lagrange polynomials of the nodes. */
  const lagrangeAt = (nodes, place) =>
    nodes.map((own) => nodes.reduce((product, other) => (other === own ? product : (product * (place - other)) / (own - other)), 1));

  const nodes = chebyshevNodes(levels);
  /** Sigma of a band at a Chebyshev node. */
  const sigmaOf = (band, node) => Math.pow(2, (band + (node + 1) / 2) / bandsPerOctave);
  /** Sigma at each level of a band, for an octave that begins at one. */
  const levelSigma = range(bandsPerOctave, (side) => nodes.map((node) => sigmaOf(side, node)));
  /** levelWeights[i][level] turns Chebyshev moments, sums of T_i(t), into weights of the levels. */
  const levelWeights = range(levels, (i) => nodes.map((node) => ((i ? 2 : 1) / levels) * Math.cos(i * Math.acos(node))));
  const lagrangeScale = range(order, (own) => 1 / range(order, (other) => (other === own ? 1 : own - other)).reduce((a, b) => a * b));
  /** Weights with which the points around a midpoint give the value there. */
  const betweenPoints = lagrangeAt(range(2 * order, (i) => i + 1 - order), 0.5);

  /** Densities of a component at its own point and those to its right, as far as it reaches, for each band and node. */
  const kernelOf = (theNodes) =>
    range(bandsPerOctave, (side) =>
      theNodes.map((node) => {
        const sigma = pointsPerSigma * sigmaOf(side, node);
        const far = thinning * Math.floor((given.reach * sigma) / thinning);
        const density = (distance) => Math.exp(-0.5 * (distance / sigma) ** 2) / (sigma * Math.sqrt(2 * Math.PI));
        return Float64Array.from({ length: far + 1 }, (_, i) => density(i));
      }),
    );
  const kernel = kernelOf(nodes);
  /** Index of the first point of a block among all that it reaches. */
  const origin = -firstBlock * BLOCK;

  // For small corrections: every `thinning`-th point, a few levels.
  const fewNodes = chebyshevNodes(fewLevels);
  const fewKernel = kernelOf(fewNodes);
  const levelToFew = nodes.map((node) => lagrangeAt(fewNodes, node));
  const keptPoints = range(Math.ceil((width + 2 * thinning) / thinning), (i) => thinning * (i - 1));
  const cubic = [1, 9 / 16, 0, -1 / 16, 0]; // at a kept point, or between two
  const pointToKept = keptPoints.map((kept) =>
    range(width, (point) => cubic[Math.min(Math.floor(Math.abs(point - kept) / (thinning / 2)), 4)]),
  );

  // Values of all points and levels of a block. They are used again for the next factor, since new arrays take time.
  const [spare, inUse] = [[], []];
  function newCells() {
    const values = spare.pop()?.fill(0) ?? new Float64Array(width * levels);
    inUse.push(values);
    return values;
  }

  // ---- spreading --------------------------------------------------------------------------------------------------

  // The place of the component that `locate` was called for last, and its weights.
  const place = { band: 0, block: 0, first: 0 };
  const basis = new Float64Array(order);
  const chebyshev = new Float64Array(levels);

  function locate(mean, logVariance) {
    const bands = bandsPerNat * logVariance;
    let band = Math.floor(bands);
    let t = 2 * (bands - band) - 1;
    let position = mean * power(-Math.floor(band / bandsPerOctave)) * pointsPerSigma;
    if (Math.abs(position) > farthestPoint) {
      const octave = exponentOf(mean * (pointsPerSigma / farthestPoint));
      band = bandsPerOctave * octave;
      t = -1;
      position = mean * power(-octave) * pointsPerSigma;
    }
    const left = Math.floor(position);
    const first = left - (order / 2 - 1);
    const block = Math.floor(first / BLOCK);
    place.band = band;
    place.block = block;
    place.first = first - block * BLOCK;
    lagrange(position - left);
    chebyshev[0] = 1;
    chebyshev[1] = t;
    for (let i = 2; i < levels; i++) chebyshev[i] = 2 * t * chebyshev[i - 1] - chebyshev[i - 2];
  }

  /** Least exponent e with |value| < 2^e. */
  function exponentOf(value) {
    let exponent = Math.round(Math.log2(Math.abs(value)));
    while (Math.abs(value) >= power(exponent)) exponent++;
    while (Math.abs(value) < power(exponent - 1)) exponent--;
    return exponent;
  }

  /** Writes the weights of the points of a component, u of a spacing right of a point, into `basis`. */
  function lagrange(u) {
    let product = 1;
    for (let a = 0; a < order; a++) {
      basis[a] = product * lagrangeScale[a];
      product *= u + (order / 2 - 1 - a);
    }
    product = 1;
    for (let a = order - 1; a >= 0; a--) {
      basis[a] *= product;
      product *= u + (order / 2 - 1 - a);
    }
  }

  /** Returns the blocks that hold components; `share` has the weight of each point and level, in sum one. */
  function spread(mean, logVariance) {
    const blocks = new BlockMap();
    for (let m = 0; m < mean.length; m++) {
      locate(mean[m], logVariance[m]);
      const { share } = blocks.find(place.band, place.block) ?? blocks.add(place.band, place.block);
      // Four levels at a time: a loop over them takes several times as long.
      for (let i = 0; i < levels; i += 4) {
        const [t0, t1, t2, t3] = [chebyshev[i], chebyshev[i + 1], chebyshev[i + 2], chebyshev[i + 3]];
        for (let a = 0, cell = place.first * levels + i; a < order; a++, cell += levels) {
          const weight = basis[a];
          share[cell] += weight * t0;
          share[cell + 1] += weight * t1;
          share[cell + 2] += weight * t2;
          share[cell + 3] += weight * t3;
        }
      }
    }
    for (const { share } of blocks.all) momentsToLevels(share, 1 / mean.length);
    return blocks;
  }

  /** The blocks of a factor, which are found by two small numbers: by one large number it takes twice as long. */
  class BlockMap {
    all = [];
    #bands = new Map();

    find(band, block) {
      return this.#bands.get(band)?.get(block);
    }

    add(band, block) {
      const octave = Math.floor(band / bandsPerOctave);
      const added = { octave, side: band - bandsPerOctave * octave, block, share: newCells(), divergence: undefined, moments: undefined };
      if (!this.#bands.has(band)) this.#bands.set(band, new Map());
      this.#bands.get(band).set(block, added);
      this.all.push(added);
      return added;
    }
  }

  const atPoint = new Float64Array(levels);

  /** Replaces the Chebyshev moments of every point by weights of the levels, times a factor. */
  function momentsToLevels(values, factor) {
    for (let first = 0; first < values.length; first += levels) {
      atPoint.fill(0);
      for (let i = 0; i < levels; i++) {
        const moment = factor * values[first + i];
        for (let level = 0; level < levels; level++) atPoint[level] += moment * levelWeights[i][level];
      }
      values.set(atPoint, first);
    }
  }

  /** Interpolates the `divergence` that every block holds at its points and levels, at the components. */
  function gather(mean, logVariance, blocks) {
    for (const found of blocks.all) {
      found.moments = newCells();
      for (let first = 0; first < found.moments.length; first += levels) {
        for (let i = 0; i < levels; i++) {
          let sum = 0;
          for (let level = 0; level < levels; level++) sum += found.divergence[first + level] * levelWeights[i][level];
          found.moments[first + i] = sum;
        }
      }
    }
    const gathered = new Float64Array(mean.length);
    for (let m = 0; m < mean.length; m++) {
      locate(mean[m], logVariance[m]);
      const { moments } = blocks.find(place.band, place.block);
      let total = 0;
      for (let i = 0; i < levels; i += 4) {
        const [t0, t1, t2, t3] = [chebyshev[i], chebyshev[i + 1], chebyshev[i + 2], chebyshev[i + 3]];
        for (let a = 0, cell = place.first * levels + i; a < order; a++, cell += levels) {
          total += basis[a] * (moments[cell] * t0 + moments[cell + 1] * t1 + moments[cell + 2] * t2 + moments[cell + 3] * t3);
        }
      }
      gathered[m] = total;
    }
    return gathered;
  }

  // ---- from broad to narrow ---------------------------------------------------------------------------------------

  /** Returns the octaves from narrow to broad, each with the rows of `BLOCK` points where a density is needed. */
  function octavesOf(blocks) {
    const own = new Map();
    for (const block of blocks.all) {
      if (!own.has(block.octave)) own.set(block.octave, []);
      own.get(block.octave).push(block);
    }
    const lowest = Math.min(...own.keys());
    const highest = Math.max(...own.keys());
    const octaves = [];
    for (let octave = lowest; octave <= highest; octave++) {
      const rows = new Map(); // index of each row, by its block
      const add = (block) => {
        if (!rows.has(block)) rows.set(block, rows.size);
      };
      for (const { block } of own.get(octave) ?? []) {
        for (let i = 0; i < reachedBlocks; i++) add(block + firstBlock + i);
      }
      for (const narrower of octaves.at(-1)?.rows.keys() ?? []) {
        for (let i = -1; i <= 1; i++) add(Math.floor(narrower / 2) + i);
      }
      octaves.push({ octave, spacing: power(octave) / pointsPerSigma, own: own.get(octave) ?? [], rows });
    }
    return octaves;
  }

  /** Copies the rows of `values` that a block's components reach to `target`, one after the other. */
  function readReached(target, values, here, block) {
    for (let i = 0; i < reachedBlocks; i++) {
      const row = here.rows.get(block + firstBlock + i);
      target.set(values.subarray(row * BLOCK, (row + 1) * BLOCK), i * BLOCK);
    }
  }

  /** Fills `broader`, the density of all broader components, and `density`, which includes those of the octave. */
  function fillDensities(octaves) {
    const made = new Float64Array(span);
    for (let o = octaves.length - 1; o >= 0; o--) {
      const here = octaves[o];
      here.broader = o + 1 < octaves.length ? refined(octaves[o + 1], here) : new Float64Array(here.rows.size * BLOCK);
      here.density = here.broader.slice();
      for (const { side, block, share } of here.own) {
        made.fill(0);
        for (let point = 0; point < width; point++) {
          for (let level = 0; level < levels; level++) {
            const weight = share[point * levels + level] / here.spacing;
            if (weight === 0) continue;
            const densities = kernel[side][level];
            const centre = origin + point;
            made[centre] += weight * densities[0];
            for (let i = 1; i < densities.length; i++) {
              const added = weight * densities[i];
              made[centre - i] += added;
              made[centre + i] += added;
            }
          }
        }
        for (let i = 0; i < reachedBlocks; i++) {
          const row = here.rows.get(block + firstBlock + i) * BLOCK;
          for (let at = 0; at < BLOCK; at++) here.density[row + at] += made[i * BLOCK + at];
        }
      }
    }
  }

  /** Index of the first of the points in three rows of the broader octave that a row of this one lies on. */
  const halfOf = (block) => BLOCK + (block - 2 * Math.floor(block / 2)) * (BLOCK / 2);

  /** Density of the broader octave at the points of this one, which are twice as dense. */
  function refined(above, here) {
    const made = new Float64Array(here.rows.size * BLOCK);
    const three = new Float64Array(3 * BLOCK);
    for (const [block, row] of here.rows) {
      for (let i = 0; i < 3; i++) {
        const source = above.rows.get(Math.floor(block / 2) + i - 1) * BLOCK;
        three.set(above.density.subarray(source, source + BLOCK), i * BLOCK);
      }
      for (let point = 0, coarse = halfOf(block), fine = row * BLOCK; point < BLOCK / 2; point++, coarse++, fine += 2) {
        let between = 0;
        for (let i = 0; i < 2 * order; i++) between += betweenPoints[i] * three[coarse + 1 - order + i];
        made[fine] = three[coarse];
        made[fine + 1] = between;
      }
    }
    return made;
  }

  // ---- and back ---------------------------------------------------------------------------------------------------

  /** Transpose of `refined`: integrals against `field` become integrals over the broader points. */
  function coarsened(field, here, above) {
    const made = new Float64Array(above.rows.size * BLOCK);
    const three = new Float64Array(3 * BLOCK);
    for (const [block, row] of here.rows) {
      three.fill(0);
      for (let point = 0, coarse = halfOf(block), fine = row * BLOCK; point < BLOCK / 2; point++, coarse++, fine += 2) {
        three[coarse] += 0.5 * field[fine];
        const between = 0.5 * field[fine + 1];
        for (let i = 0; i < 2 * order; i++) three[coarse + 1 - order + i] += between * betweenPoints[i];
      }
      for (let i = 0; i < 3; i++) {
        const target = above.rows.get(Math.floor(block / 2) + i - 1) * BLOCK;
        for (let at = 0; at < BLOCK; at++) made[target + at] += three[i * BLOCK + at];
      }
    }
    return made;
  }

  function holdsComponents(share, point) {
    for (let cell = point * levels; cell < (point + 1) * levels; cell++) if (share[cell] !== 0) return true;
    return false;
  }

  /** Gives every block its `divergence`: KL of the component at each point and level that holds components. */
  function fillDivergences(octaves) {
    const field = new Float64Array(span);
    let carried, below;
    for (const here of octaves) {
      carried = below ? coarsened(carried, below, here) : new Float64Array(here.density.length);
      const whole = carried.slice();
      for (let at = 0; at < whole.length; at++) whole[at] += Math.log(Math.max(here.density[at], tiny));
      for (const found of here.own) {
        const { side, block, share } = found;
        const entropy = levelSigma[side].map((sigma) => entropyOfOne + Math.log(power(here.octave) * sigma));
        readReached(field, whole, here, block);
        found.divergence = newCells();
        for (let point = 0; point < width; point++) {
          if (!holdsComponents(share, point)) continue;
          for (let level = 0; level < levels; level++) {
            const densities = kernel[side][level];
            const centre = origin + point;
            let sum = field[centre] * densities[0];
            for (let i = 1; i < densities.length; i++) sum += densities[i] * (field[centre - i] + field[centre + i]);
            found.divergence[point * levels + level] = -sum - entropy[level];
          }
        }
      }
      for (let at = 0; at < whole.length; at++) carried[at] = whole[at] - Math.log(Math.max(here.broader[at], tiny));
      below = here;
    }
  }

  // ---- leave-one-out ----------------------------------------------------------------------------------------------

  /** What leave_one_out adds to the information, for 1 / M = one and a marginal with this centre and width. */
  function removal(octaves, one, centre, std) {
    const scale = Math.max(std, tiny);
    const keep = (1 - defence * one) / (1 - one);
    const density = new Float64Array(span);
    const factor = new Float64Array(span);
    const added = new Float64Array(span);
    let total = 0;
    for (const here of octaves) {
      for (const { side, block, share } of here.own) {
        readReached(density, here.density, here, block);
        for (let at = 0; at < span; at += thinning) {
          const q = Math.max(density[at], tiny);
          const offset = here.spacing * ((block + firstBlock) * BLOCK + at) - centre;
          factor[at] = Math.min(one / (here.spacing * q), 1e30);
          added[at] = Math.min((defence * one * scale) / (Math.PI * (scale * scale + offset * offset) * q), 1e30);
        }
        fillFewMasses(share);
        for (let i = 0; i < keptPoints.length; i++) {
          for (let level = 0; level < fewLevels; level++) {
            const mass = fewMasses[i * fewLevels + level];
            if (mass === 0) continue;
            const densities = fewKernel[side][level];
            const own = origin + keptPoints[i];
            let sum = densities[0] * gain(densities[0] * factor[own], keep, added[own]);
            for (let d = thinning; d < densities.length; d += thinning) {
              const left = gain(densities[d] * factor[own - d], keep, added[own - d]);
              const right = gain(densities[d] * factor[own + d], keep, added[own + d]);
              sum += densities[d] * (left + right);
            }
            total -= mass * thinning * sum;
          }
        }
      }
    }
    return total;
  }

  /** Logarithm of the density without an input, over that with it, of which the input makes up the share u. */
  const gain = (u, keep, added) => Math.log(Math.max(1 - u, 0) * keep + added);

  const fewMasses = new Float64Array(keptPoints.length * fewLevels);

  /** Fills `fewMasses` with the weights of a block at the points that are kept and at few levels. */
  function fillFewMasses(share) {
    fewMasses.fill(0);
    for (let point = 0; point < width; point++) {
      if (!holdsComponents(share, point)) continue;
      for (let few = 0; few < fewLevels; few++) {
        let mass = 0;
        for (let level = 0; level < levels; level++) mass += share[point * levels + level] * levelToFew[level][few];
        for (let i = 0; i < keptPoints.length; i++) fewMasses[i * fewLevels + few] += pointToKept[i][point] * mass;
      }
    }
  }

  // ---- one factor -------------------------------------------------------------------------------------------------

  /** Mean and standard deviation of the marginal. */
  function momentsOf(octaves) {
    let centre = 0;
    const sumOverCells = (add) => {
      for (const { own, octave, spacing } of octaves) {
        for (const { side, block, share } of own) {
          for (let point = 0; point < width; point++) {
            const at = spacing * (block * BLOCK + point);
            for (let level = 0; level < levels; level++) add(share[point * levels + level], at, power(octave) * levelSigma[side][level]);
          }
        }
      }
    };
    sumOverCells((weight, at) => (centre += weight * at));
    let variance = 0;
    sumOverCells((weight, at, sigma) => (variance += weight * ((at - centre) * (at - centre) + sigma * sigma)));
    return { centre, std: Math.sqrt(Math.max(variance, 0)) };
  }

  /**
   * Measures one factor from the means and log-variances (Float64Array) of M inputs. Returns nats, stderr, leaveOneOut
   * and, for every input, the divergence KL(q(z|x) || q(z)).
   */
  return function measure(mean, logVariance) {
    const M = mean.length;
    spare.push(...inUse.splice(0));
    const blocks = spread(mean, logVariance);
    const octaves = octavesOf(blocks);
    fillDensities(octaves);
    fillDivergences(octaves);

    let found = 0;
    for (const { share, divergence } of blocks.all) {
      for (let cell = 0; cell < share.length; cell++) found += share[cell] * divergence[cell];
    }
    let squares = 0;
    for (const { share, divergence } of blocks.all) {
      for (let cell = 0; cell < share.length; cell++) {
        const deviation = divergence[cell] - found;
        squares += share[cell] * deviation * deviation;
      }
    }
    const nats = Math.max(found, 0);
    const { centre, std } = momentsOf(octaves);
    return {
      nats,
      stderr: Math.sqrt(Math.max(squares, 0) / (M - 1)),
      leaveOneOut: nats + Math.max(removal(octaves, 1 / M, centre, std), 0),
      divergences: gather(mean, logVariance, blocks),
    };
  };
};

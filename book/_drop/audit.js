// The audit of all factors: checks of the two arrays, the criteria and their verdicts. It runs in a worker.
"use strict";

window.vaemiDrop ??= {};

/** Returns the function `audit`, from the settings that book/drop.py writes, and functions of the other scripts. */
window.vaemiDrop.makeAudit = (settings, readPosteriors, measure) => {
  const { lines, limits, confidence, quantile, normalQuantile, commandLine } = settings;
  const BETWEEN_PAUSES = 50; // milliseconds after which the page is given time to answer, if there is no worker

  function badInput(sentence) {
    return Object.assign(new Error(sentence), { forReader: true });
  }

  // ---- the arrays ---------------------------------------------------------------------------------------------------

  const TO_LOG_VARIANCE = {
    log_variance: (second) => second,
    variance: (second) => Math.log(second),
    std: (second) => 2 * Math.log(second),
    log_std: (second) => 2 * second,
  };

  const shapeOf = ({ shape }) => `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;

  function checkShapes({ mean, second }) {
    const both = `${mean.name} has shape ${shapeOf(mean)} and ${second.name} ${shapeOf(second)}`;
    if (mean.shape.join() !== second.shape.join()) throw badInput(`${both}: both must be (M, H), inputs by factors.`);
    const [M, H] = mean.shape;
    if (mean.shape.length !== 2 || !(H > 0)) {
      throw badInput(`${mean.name} has shape ${shapeOf(mean)}: give (M, H), inputs by factors; reshape maps with .reshape(len(mean), -1).`);
    }
    if (M < 2) throw badInput(`${mean.name} holds ${M === 1 ? "one input" : "no inputs"}: information about the input needs two or more.`);
  }

  /** Returns a column of an array as float64. */
  function columnOf({ values, shape: [M, H], fortran }, h) {
    if (fortran) return Float64Array.from(values.subarray(h * M, (h + 1) * M));
    const column = new Float64Array(M);
    for (let m = 0, at = h; m < M; m++, at += H) column[m] = values[at];
    return column;
  }

  /** Returns the place of the first value, row by row, for which `isBad` holds, or nothing. */
  function firstBad({ values, shape: [M, H], fortran }, isBad) {
    const found = values.findIndex(isBad);
    if (found < 0) return undefined;
    if (!fortran) return { value: values[found], input: Math.floor(found / H), factor: found % H };
    for (let m = 0; m < M; m++) {
      for (let h = 0; h < H; h++) {
        const value = values[h * M + m];
        if (isBad(value)) return { value, input: m, factor: h };
      }
    }
  }

  function checkValues({ mean, second, scale }) {
    const refuse = (array, isBad, why) => {
      const bad = firstBad(array, isBad);
      if (bad) throw badInput(`${array.name} holds ${bad.value} at input ${bad.input}, factor ${bad.factor} (both counted from 0): ${why}.`);
    };
    for (const array of [mean, second]) refuse(array, (value) => !Number.isFinite(value), "every value must be a finite number");
    if (scale === "variance" || scale === "std") {
      const word = scale === "std" ? "standard deviation" : "variance";
      refuse(second, (value) => value <= 0, `a ${word} must be above 0; if the array holds logarithms, say so under the button`);
    }
    refuse(mean, (value) => Math.abs(value) > limits.mean, "its square is too large for float64");
    const beyond = (value) => Math.abs(TO_LOG_VARIANCE[scale](value)) > limits.logVariance;
    refuse(second, beyond, `read as ${scale}, that is not a posterior of a trained encoder`);
  }

  // ---- the criteria ---------------------------------------------------------------------------------------------------

  function sums(count, value) {
    let sum = 0;
    for (let m = 0; m < count; m++) sum += value(m);
    return sum / count;
  }

  /** Returns passive, active or mixed, of the mean and the variance over inputs of sigma squared. */
  function kindOf(variance, varianceOfVariance) {
    const { steady, passive, active } = lines.mean_variance;
    if (varianceOfVariance >= steady) return "mixed";
    if (variance >= passive[0] && variance <= passive[1]) return "passive";
    return variance <= active ? "active" : "mixed";
  }

  /** Returns the row of one factor: its estimate, its criteria, and whether each counts it as used. */
  function rowOf(factor, mean, logVariance) {
    const M = mean.length;
    const { nats, stderr, leaveOneOut, divergences } = measure(mean, logVariance);
    const centre = sums(M, (m) => mean[m]);
    const meanSquare = sums(M, (m) => mean[m] ** 2);
    const variance = sums(M, (m) => Math.exp(logVariance[m]));
    const varianceOfVariance = sums(M, (m) => (Math.exp(logVariance[m]) - variance) ** 2);
    const meanLog = sums(M, (m) => logVariance[m]);
    const marginalStd = Math.sqrt(meanSquare + variance);
    const largestMean = mean.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const largest = divergences.reduce((most, value, m) => (value > divergences[most] ? m : most), 0);
    const upper = divergences.slice().sort()[Math.ceil(quantile * M) - 1];
    const kind = kindOf(variance, varianceOfVariance);

    const above = (key, value) => ({ value, used: value > lines[key] });
    const criteria = {
      information: above("information", nats),
      gaussian_information: above("gaussian_information", Math.log(marginalStd) - 0.5 * meanLog),
      kl: above("kl", 0.5 * (meanSquare + variance - 1 - meanLog)),
      active_units: above("active_units", sums(M, (m) => (mean[m] - centre) ** 2)),
      mean_variance: { value: variance, used: kind !== "passive", kind },
      mean_precision: above("mean_precision", -meanLog),
      marginal_std: { value: marginalStd, used: marginalStd < lines.marginal_std[0] || marginalStd > lines.marginal_std[1] },
      max_mean: { value: largestMean, used: largestMean >= lines.max_mean },
      upper_divergence: above("upper_divergence", upper),
    };
    const half = normalQuantile * stderr;
    return {
      factor,
      nats,
      stderr,
      leave_one_out: leaveOneOut,
      interval: [Math.max(nats - half, 0), (leaveOneOut - nats > stderr ? leaveOneOut : nats) + half],
      criteria,
      decisive_for_few: !criteria.information.used && criteria.upper_divergence.used,
      largest_divergence: divergences[largest],
      largest_divergence_input: largest,
    };
  }

  /**
   * Audits files of posteriors. `scale` says what the second array is if its name does not; `progress` is called with
   * the number of factors done, and of all. Rejects with a sentence for the reader, `forReader`, if the input is bad.
   */
  return async function audit(files, scale, progress) {
    try {
      const posteriors = await readPosteriors(files, scale);
      checkShapes(posteriors);
      checkValues(posteriors);
      const { mean, second } = posteriors;
      const [M, H] = mean.shape;
      const factors = [];
      let paused = performance.now();
      for (let h = 0; h < H; h++) {
        progress(h, H);
        if (performance.now() > paused + BETWEEN_PAUSES) {
          await new Promise((done) => setTimeout(done));
          paused = performance.now();
        }
        factors.push(rowOf(h, columnOf(mean, h), columnOf(second, h).map(TO_LOG_VARIANCE[posteriors.scale])));
      }
      return {
        files: files.map((file) => file.name),
        mean: mean.name,
        second: second.name,
        second_is: posteriors.scale,
        named: posteriors.named,
        inputs: M,
        confidence,
        factors,
      };
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw badInput(`The browser has not enough memory for these posteriors: use ${commandLine} on the command line.`);
    }
  };
};

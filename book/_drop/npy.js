// NumPy's files: .npy (versions 1 to 3) and .npz (stored or deflated), and which of their arrays are the posteriors.
"use strict";

window.vaemiDrop ??= {};

/** Returns the function `readPosteriors`, for the names and limits that book/drop.py writes. */
window.vaemiDrop.makeReader = ({ names, commandLine }) => {
  /** An error whose message is a sentence for the reader of the page. */
  function badInput(sentence) {
    return Object.assign(new Error(sentence), { forReader: true });
  }

  // ---- .npy -------------------------------------------------------------------------------------------------------

  const MAGIC = [0x93, ...new TextEncoder().encode("NUMPY")];
  const NATIVE = { f4: Float32Array, f8: Float64Array, i1: Int8Array, i2: Int16Array, i4: Int32Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array };
  const READ = {
    f2: (view, at, little) => halfPrecision(view.getUint16(at, little)),
    f4: (view, at, little) => view.getFloat32(at, little),
    f8: (view, at, little) => view.getFloat64(at, little),
    i1: (view, at) => view.getInt8(at),
    i2: (view, at, little) => view.getInt16(at, little),
    i4: (view, at, little) => view.getInt32(at, little),
    i8: (view, at, little) => Number(view.getBigInt64(at, little)),
    u1: (view, at) => view.getUint8(at),
    u2: (view, at, little) => view.getUint16(at, little),
    u4: (view, at, little) => view.getUint32(at, little),
    u8: (view, at, little) => Number(view.getBigUint64(at, little)),
  };
  const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

  function halfPrecision(bits) {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const sign = bits & 0x8000 ? -1 : 1;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
  }

  const text = (bytes) => new TextDecoder("latin1").decode(bytes);
  const isNpy = (bytes) => MAGIC.every((byte, i) => bytes[i] === byte);

  /** Returns the array in the bytes of a .npy file: its name, shape, and numbers in the order of the file. */
  function parseNpy(bytes, name) {
    if (!isNpy(bytes)) throw badInput(`${name} is not a .npy file: its first bytes are not those of NumPy.`);
    if (bytes.length < 12) throw badInput(`${name} ends within its header: the file is damaged.`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    // Since version 2 the length of the header has four bytes instead of two.
    const [start, length] = bytes[6] === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
    const header = text(bytes.subarray(start, start + length));
    const [, type] = /'descr':\s*'([^']*)'/.exec(header) ?? [];
    const [, order] = /'fortran_order':\s*(True|False)/.exec(header) ?? [];
    const [, sizes] = /'shape':\s*\(([^)]*)\)/.exec(header) ?? [];
    if (!order || sizes === undefined) throw badInput(`${name} has a header that cannot be read: the file is damaged.`);
    const kind = type?.slice(1);
    if (!READ[kind]) throw badInput(`${name} holds values of type ${type ?? "record"}: give real numbers, such as float32.`);
    const shape = sizes.split(",").filter((size) => size.trim()).map(Number);
    const count = shape.reduce((product, size) => product * size, 1);
    const size = Number(kind[1]);
    const data = bytes.subarray(start + length, start + length + count * size);
    if (data.length < count * size) throw badInput(`${name} ends before its last number: the file is damaged.`);
    return { name, shape, fortran: order === "True", values: numbers(data, kind, type[0] !== ">", count) };
  }

  function numbers(data, kind, little, count) {
    const size = Number(kind[1]);
    if (NATIVE[kind] && (size === 1 || little === littleEndian)) {
      // A typed array must begin at a whole multiple of its size.
      const aligned = data.byteOffset % size ? data.slice() : data;
      return new NATIVE[kind](aligned.buffer, aligned.byteOffset, count);
    }
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const made = kind === "f2" ? new Float32Array(count) : new Float64Array(count);
    for (let i = 0; i < count; i++) made[i] = READ[kind](view, i * size, little);
    return made;
  }

  // ---- .npz -------------------------------------------------------------------------------------------------------

  const END_OF_ZIP = 0x06054b50;
  const ENTRY = 0x02014b50;
  const LENGTH_OF_END = 22;
  const LONGEST_COMMENT = 0xffff;
  const IN_ZIP64 = 0xffffffff;
  const [STORED, DEFLATED] = [0, 8];

  const isZip = (bytes) => bytes[0] === 0x50 && bytes[1] === 0x4b;

  /** Yields the name, the method and the packed bytes of every file in a ZIP archive, from its directory. */
  function* entriesOf(bytes, name) {
    const damaged = badInput(`${name} is damaged, or is not complete: NumPy could not open it either.`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let end = bytes.length - LENGTH_OF_END;
    while (end >= 0 && view.getUint32(end, true) !== END_OF_ZIP) {
      if (--end < bytes.length - LENGTH_OF_END - LONGEST_COMMENT) throw damaged;
    }
    if (end < 0) throw damaged;
    let at = view.getUint32(end + 16, true);
    for (let left = view.getUint16(end + 10, true); left > 0; left--) {
      if (at + 46 > bytes.length || view.getUint32(at, true) !== ENTRY) throw damaged;
      const size = view.getUint32(at + 20, true);
      const header = view.getUint32(at + 42, true);
      if (size === IN_ZIP64 || header === IN_ZIP64) throw tooLarge(name);
      const [nameLength, extra, comment] = [28, 30, 32].map((offset) => view.getUint16(at + offset, true));
      const first = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
      if (first + size > bytes.length) throw damaged;
      yield {
        name: new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength)),
        method: view.getUint16(at + 10, true),
        packed: bytes.subarray(first, first + size),
      };
      at += 46 + nameLength + extra + comment;
    }
  }

  async function unpacked({ name, method, packed }, archive) {
    if (method === STORED) return packed;
    if (method !== DEFLATED) throw badInput(`${archive} is compressed in a way that NumPy does not use: write it with np.savez.`);
    let unpack;
    try {
      unpack = new DecompressionStream("deflate-raw");
    } catch {
      throw badInput(`This browser cannot unpack ${archive}: use a newer one, or write the file with np.savez, which does not compress.`);
    }
    try {
      return new Uint8Array(await new Response(new Blob([packed]).stream().pipeThrough(unpack)).arrayBuffer());
    } catch {
      throw badInput(`${name} in ${archive} cannot be unpacked: the file is damaged.`);
    }
  }

  const tooLarge = (name) => badInput(`${name} is too large for a browser: use ${commandLine} on the command line, which reads .npy files in parts.`);

  async function bytesOf(file) {
    try {
      return new Uint8Array(await file.arrayBuffer());
    } catch {
      throw badInput(`${file.name} cannot be read: it is too large for a browser, or was moved. On the command line, ${commandLine} reads .npy files in parts.`);
    }
  }

  // ---- which array is which -----------------------------------------------------------------------------------------

  const ofSecond = Object.entries(names.second).flatMap(([scale, words]) => words.map((word) => ({ scale, word })));
  // A longer word first, as log_variance contains variance.
  ofSecond.sort((a, b) => b.word.length - a.word.length);
  const stemOf = (name) => name.replace(/\.npy$/i, "");

  /** Whether a name contains a word that does not continue in letters: "mu" is in "mu-0" and not in "simulated". */
  const contains = (name, word) => new RegExp(`(^|[^a-z])${word}([^a-z]|$)`).test(stemOf(name).toLowerCase());
  const scaleIn = (name) => ofSecond.find(({ word }) => contains(name, word))?.scale;
  const isMean = (name) => names.mean.some((word) => contains(name, word));

  /** Returns the names of the mean and of the second array, and what the second is, undefined if nothing says so. */
  function assigned(all, where) {
    for (const mean of names.mean) {
      for (const [scale, words] of Object.entries(names.second)) {
        const second = words.find((word) => all.includes(word));
        if (all.includes(mean) && second) return { mean, second, scale };
      }
    }
    const second = all.find((name) => scaleIn(name));
    const mean = all.find((name) => name !== second && isMean(name));
    const scale = second && scaleIn(second);
    if (mean && second) return { mean, second, scale };
    if (all.length === 2) {
      const other = (name) => all.find((one) => one !== name);
      if (second) return { mean: other(second), second, scale };
      if (mean) return { mean, second: other(mean) };
      if (all.join() === "arr_0,arr_1") return { mean: "arr_0", second: "arr_1" };
    }
    throw badInput(
      `${where} ${all.length > 1 ? `${all.length} arrays` : "one array"} (${all.join(", ")}), in which no mean and log-variance are found: name them mean and log_variance.`,
    );
  }

  /**
   * Reads the files that were chosen. Returns the arrays `mean` and `second`, `scale`, which says what the second is
   * (`scaleWithoutName` if its name does not), and `named`, whether its name says so.
   */
  return async function readPosteriors(files, scaleWithoutName) {
    let arrays = new Map();
    let where = "The files hold";
    if (files.length === 1) {
      const bytes = await bytesOf(files[0]);
      const { name } = files[0];
      if (isNpy(bytes)) throw badInput(`${name} holds one array: add the file with the log-variances.`);
      if (!isZip(bytes)) throw badInput(`${name} is not a .npy or .npz file: write one as shown on this page.`);
      for (const entry of entriesOf(bytes, name)) {
        if (/\.npy$/.test(entry.name)) arrays.set(stemOf(entry.name), () => unpacked(entry, name));
      }
      where = `${name} holds`;
      if (!arrays.size) throw badInput(`${name} holds no arrays: write it with np.savez.`);
    } else if (files.length === 2) {
      if (files[0].name === files[1].name) throw badInput(`Both files are called ${files[0].name}: name one mean and the other log_variance.`);
      for (const file of files) arrays.set(stemOf(file.name), () => bytesOf(file));
    } else {
      throw badInput(`${files.length} files were given: give one .npz file, or two .npy files.`);
    }
    const { mean, second, scale } = assigned([...arrays.keys()], where);
    const read = async (name) => parseNpy(await arrays.get(name)(), files.length === 2 ? `${name}.npy` : name);
    return { mean: await read(mean), second: await read(second), scale: scale ?? scaleWithoutName, named: scale !== undefined };
  };
};

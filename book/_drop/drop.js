// The audit in the browser: files in, a spectrum and the criteria out. The work is done in a worker made from the text of
// the other scripts, since a page opened from a file cannot load one; without a worker it is done here.
"use strict";

(() => {
  const drop = window.vaemiDrop;
  const root = document.getElementById("drop");
  if (!root || !drop?.settings) return;
  const { lines, confidence } = drop.settings;
  const THRESHOLD = lines.information;
  const LEVEL = `${100 * confidence} %`;

  const SCALES = [
    ["log_variance", "log-variance, log \u03c3\u00b2"],
    ["variance", "variance, \u03c3\u00b2"],
    ["std", "standard deviation, \u03c3"],
    ["log_std", "log standard deviation, log \u03c3"],
  ];
  // Key, head and rule of each criterion, in the order of the table.
  const CRITERIA = [
    ["information", "Information (nats)", `> ${lines.information}`],
    ["gaussian_information", "Gaussian information (nats)", `> ${lines.gaussian_information}`],
    ["kl", "KL to the prior (nats)", `> ${lines.kl}`],
    ["active_units", "Var \u03bc", `> ${lines.active_units}`],
    ["mean_variance", "E \u03c3\u00b2", "not passive"],
    ["mean_precision", "\u2212E log \u03c3\u00b2", `> ${lines.mean_precision}`],
    ["marginal_std", "\u03c3*", `outside ${lines.marginal_std.join(" to ")}`],
    ["max_mean", "max |\u03bc|", `\u2265 ${lines.max_mean}`],
    ["upper_divergence", "Rarest inputs (nats)", `> ${lines.upper_divergence}`],
  ];

  // ---- words --------------------------------------------------------------------------------------------------------

  const fixed = (value) => {
    const text = Math.abs(value) < 1e5 ? value.toFixed(3) : value.toExponential(3);
    return text === "-0.000" ? "0.000" : text.replace("-", "\u2212");
  };
  const nats = (value) => value.toFixed(2);
  const many = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
  const range = ([low, high]) => `${nats(low)} to ${nats(high)}`;
  const isInfluential = (row) => row.criteria.information.used;
  const ranked = (rows) => [...rows].sort((a, b) => b.nats - a.nats);

  function summary({ factors, inputs }) {
    const influential = factors.filter(isInfluential).length;
    const few = factors.filter((row) => row.decisive_for_few).length;
    const total = factors.reduce((sum, row) => sum + row.nats, 0);
    return (
      `${influential} of ${many(factors.length, "factor")} carr${influential === 1 ? "ies" : "y"} more than ${THRESHOLD} nats ` +
      `about ${many(inputs, "input")}, ${nats(total)} nats over all factors.` +
      (few ? ` ${few} of the others ${few === 1 ? "is" : "are"} decisive for few inputs.` : "")
    );
  }

  function remarks({ factors, second, second_is, named }) {
    const said = named ? "" : `The name ${second} does not say what the array holds. `;
    const stds = factors.map((row) => row.criteria.marginal_std.value).sort((a, b) => a - b);
    const median = stds[Math.floor(stds.length / 2)];
    const [low, high] = lines.marginal_std;
    const read = `${second} is read as ${second_is}.`;
    if (median >= low && median <= high) return [said + read];
    return [
      `${said}${read} The median of \u03c3* is then ${fixed(median)}, and with a prior N(0, 1) it is about 1 for a trained model: check what the array holds.`,
    ];
  }

  // ---- elements -----------------------------------------------------------------------------------------------------

  const SVG = "http://www.w3.org/2000/svg";

  function fill(made, attributes, children) {
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }
  const element = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
  const shape = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

  /** A table; every row is a list of cells, and the first cell of each is its head. */
  function table(name, heads, rows) {
    const head = element("thead", {}, element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, ...[text].flat()))));
    const body = element("tbody");
    for (const [first, ...cells] of rows) {
      body.append(element("tr", {}, element("th", { scope: "row" }, first), ...cells.map((cell) => (cell instanceof Element ? cell : element("td", {}, cell)))));
    }
    const region = element("div", { class: "drop-scroll", role: "region", "aria-label": name, tabindex: "0" });
    region.append(element("table", { class: "drop-table" }, head, body));
    return region;
  }

  // ---- the controls ---------------------------------------------------------------------------------------------------

  const input = element("input", { type: "file", multiple: "", hidden: "" });
  const choose = element("button", { type: "button", class: "drop-button drop-choose" }, "Choose files");
  const example = element("button", { type: "button", class: "drop-button" }, "Try an example");
  const scale = element("select", { id: "drop-scale" }, ...SCALES.map(([value, words]) => element("option", { value }, words)));
  const bar = element("progress", { max: "1", value: "0", "aria-label": "Factors done", hidden: "" });
  const status = element("p", { class: "drop-status", role: "status" });
  const fault = element("p", { class: "drop-fault", role: "alert" });
  const result = element("div", { class: "drop-result" });
  const zone = element(
    "div",
    { class: "drop-zone" },
    element("p", { class: "drop-invitation" }, "Drop one .npz file or two .npy files here"),
    element("div", { class: "drop-buttons" }, choose, example, input),
    element(
      "p",
      { class: "drop-reading" },
      element("label", { for: "drop-scale" }, "If its name does not say so, the second array is the "),
      scale,
    ),
    element("p", { class: "drop-private" }, "The files are read by this page alone: nothing leaves your machine."),
  );
  root.append(zone, bar, status, fault, result);

  // ---- the work -------------------------------------------------------------------------------------------------------

  /** Runs in the worker, or in the page: passes on what `makeAudit` returns, as messages. */
  function answerer(parts, send) {
    const audit = parts.makeAudit(parts.settings, parts.makeReader(parts.settings), parts.makeEstimator(parts.settings.lattice));
    return async ({ files, scale }) => {
      try {
        const found = await audit(files, scale, (done, all) => send({ done, all }));
        send({ found });
      } catch (error) {
        send({ sentence: error.forReader ? error.message : `The audit failed (${error.message}).` });
      }
    };
  }

  function workerText() {
    const made = ["makeReader", "makeEstimator", "makeAudit"].map((name) => `${name}: ${drop[name]}`);
    return `"use strict";
      const parts = { settings: ${JSON.stringify(drop.settings)}, ${made.join(",\n")} };
      const answer = (${answerer})(parts, (message) => postMessage(message));
      onmessage = ({ data }) => answer(data);`;
  }

  /** Starts a job; returns a function that stops it. `hear` gets its messages. */
  function start(job, hear) {
    let stopped = false;
    let answered = false;
    const send = (message) => {
      answered = true;
      if (!stopped) hear(message);
    };
    const here = () => answerer(drop, send)(job);
    let worker;
    try {
      const address = URL.createObjectURL(new Blob([workerText()], { type: "text/javascript" }));
      worker = new Worker(address);
      worker.onmessage = ({ data }) => send(data);
      worker.onerror = (event) => {
        event.preventDefault();
        if (answered) send({ sentence: "The browser stopped the audit, perhaps for want of memory." });
        else here();
      };
      worker.postMessage(job);
    } catch {
      here();
    }
    return () => {
      stopped = true;
      worker?.terminate();
    };
  }

  let stop = () => {};
  let latest; // files of the last audit that was asked for
  let waiting; // a .npy file whose partner has not come yet

  function run(files) {
    stop();
    fault.textContent = "";
    bar.value = 0;
    bar.hidden = false;
    const names = files.map((file) => file.name).join(" and ");
    status.textContent = `Reading ${names} \u2026`;
    latest = files;
    let begun = false;
    stop = start({ files, scale: scale.value }, ({ done, all, sentence, found }) => {
      if (all !== undefined) {
        bar.max = all;
        bar.value = done;
        // Announced once; the bar shows the rest.
        if (!begun) status.textContent = `Measuring ${many(all, "factor")} \u2026`;
        begun = true;
        return;
      }
      stop();
      bar.hidden = true;
      if (found) {
        show(found);
        status.textContent = summary(found);
      } else {
        status.textContent = "";
        fault.textContent = sentence + (result.childElementCount ? " The result below is that of the files before." : "");
      }
    });
  }

  function take(files) {
    if (!files.length) return;
    const isNpy = files.length === 1 && /\.npy$/i.test(files[0].name);
    if (isNpy && waiting && waiting.name !== files[0].name) files = [waiting, files[0]];
    waiting = isNpy && files.length === 1 ? files[0] : undefined;
    run(files);
  }

  choose.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // so that the same file can be chosen again
  });
  example.addEventListener("click", () => {
    waiting = undefined;
    run(exampleFiles());
  });
  scale.addEventListener("change", () => latest && run(latest));

  // Anywhere on the page, since a file that misses the zone would replace the page.
  let inside = 0;
  const highlight = (change) => {
    inside = Math.max(inside + change, 0);
    zone.classList.toggle("drop-over", inside > 0);
  };
  addEventListener("dragenter", () => highlight(1));
  addEventListener("dragleave", () => highlight(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    highlight(-inside);
    take([...event.dataTransfer.files]);
  });

  // ---- the result -----------------------------------------------------------------------------------------------------

  const heading = (text) => element("h3", {}, text);

  function show(found) {
    const order = ranked(found.factors);
    result.replaceChildren(
      element("h3", { class: "drop-title" }, `Result for ${found.files.join(" and ")}`),
      ...remarks(found).map((sentence) => element("p", {}, sentence)),
      chart(order),
      downloads(found),
      heading("Influential factors"),
      ...influential(order),
      heading("Decisive for few inputs"),
      ...decisive(found.factors),
      heading("All criteria"),
      criteria(found.factors),
    );
  }

  function influential(order) {
    const rows = order.filter(isInfluential);
    if (!rows.length) return [element("p", {}, `No factor carries more than ${THRESHOLD} nats.`)];
    const widened = rows.some((row) => row.leave_one_out - row.nats > row.stderr);
    return [
      table("Influential factors", ["Factor", "Nats", `${LEVEL} interval`], rows.map((row) => [`${row.factor}`, nats(row.nats), range(row.interval)])),
      ...(widened
        ? [element("p", { class: "drop-note" }, "Where there are too few inputs to see how the posteriors overlap, the interval ends above the leave-one-out value.")]
        : []),
    ];
  }

  function decisive(factors) {
    const rows = factors.filter((row) => row.decisive_for_few);
    const rule = `at most ${THRESHOLD} nats, and a divergence above ${many(lines.upper_divergence, "nat")} at the ${100 * drop.settings.quantile} % quantile of the inputs`;
    if (!rows.length) return [element("p", {}, `No factor is decisive for few inputs (${rule}).`)];
    return [
      element("p", {}, `These have ${rule}. Inputs are counted from 0.`),
      table(
        "Factors that are decisive for few inputs",
        ["Factor", "Nats", `${100 * drop.settings.quantile} % quantile`, "Largest divergence", "at input"],
        rows.map((row) => [`${row.factor}`, nats(row.nats), nats(row.criteria.upper_divergence.value), nats(row.largest_divergence), `${row.largest_divergence_input}`]),
      ),
    ];
  }

  function criteria(factors) {
    const counts = CRITERIA.map(([key]) => factors.filter((row) => row.criteria[key].used).length);
    const heads = CRITERIA.map(([, name, rule], i) => [
      name,
      element("span", { class: "drop-rule" }, `used if ${rule.replace(" ", "\u00a0")}`),
      element("span", { class: "drop-rule" }, `${counts[i]} used`),
    ]);
    const cell = ({ value, used, kind }) =>
      element("td", { class: used ? "drop-used" : "drop-unused" }, fixed(value), element("span", {}, (used ? "used" : "unused") + (kind ? `, ${kind}` : "")));
    const made = table("All criteria", ["Factor", ...heads], factors.map((row) => [`${row.factor}`, ...CRITERIA.map(([key]) => cell(row.criteria[key]))]));
    made.classList.add("drop-criteria");
    return made;
  }

  // ---- the chart ------------------------------------------------------------------------------------------------------

  const HEIGHT = 260;
  const MARGIN = { top: 26, right: 8, bottom: 40, left: 44 };
  const LEAST_STEP = 6; // pixels per factor; with more factors than fit, the chart scrolls
  const STEP_WITH_NUMBER = 17;

  function chart(order) {
    const frame = element("div", { class: "drop-scroll drop-chart", role: "region", "aria-label": "Spectrum", tabindex: "0" });
    const kinds = [
      ["influential", `above ${THRESHOLD} nats`],
      ["ignored", `at most ${THRESHOLD} nats`],
      ["few", "decisive for few inputs"],
    ].filter(([kind]) => kind !== "few" || order.some((row) => row.decisive_for_few));
    const legend = element("p", { class: "drop-legend" }, ...kinds.map(([kind, words]) => element("span", { class: `drop-${kind}` }, words)));
    const figure = element("figure", {}, frame, legend);
    let drawn = 0;
    new ResizeObserver(() => {
      const width = frame.clientWidth;
      if (!width || width === drawn) return;
      drawn = width;
      frame.replaceChildren(spectrum(order, width));
    }).observe(frame);
    return figure;
  }

  /** Distance between the ticks of an axis that ends at `most`: 1, 2 or 5 times a power of ten. */
  function tickStep(most) {
    const power = 10 ** Math.floor(Math.log10(most / 4));
    return [1, 2, 5, 10].map((factor) => factor * power).find((step) => most / step <= 5);
  }

  function chartInWords(order) {
    const top = order.slice(0, 3).map((row) => `factor ${row.factor} ${nats(row.nats)} nats, ${range(row.interval)}`);
    return (
      `Bar chart of the information of ${many(order.length, "factor")} with ${LEVEL} intervals, the most informative first. ` +
      `${order.filter(isInfluential).length} are above ${THRESHOLD} nats. First: ${top.join("; ")}.`
    );
  }

  function spectrum(order, available) {
    const width = Math.max(available, MARGIN.left + MARGIN.right + LEAST_STEP * order.length);
    const step = (width - MARGIN.left - MARGIN.right) / order.length;
    const most = Math.max(...order.map((row) => row.interval[1]), 2 * THRESHOLD);
    const bottom = HEIGHT - MARGIN.bottom;
    const y = (value) => bottom - (value / most) * (bottom - MARGIN.top);
    const made = shape("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": chartInWords(order) });
    const line = (kind, x1, y1, x2, y2) => made.append(shape("line", { class: kind, x1, y1, x2, y2 }));
    const words = (kind, x, at, text) => made.append(shape("text", { class: kind, x, y: at }, text));

    const tick = tickStep(most);
    const digits = Math.max(0, -Math.floor(Math.log10(tick)));
    for (let i = 0; i * tick <= most; i++) {
      line("drop-grid", MARGIN.left, y(i * tick), width - MARGIN.right, y(i * tick));
      words("drop-tick", MARGIN.left - 6, y(i * tick) + 4, (i * tick).toFixed(digits));
    }
    words("drop-axis", 4, 14, "nats");
    const thick = Math.min(0.7 * step, 40);
    order.forEach((row, i) => {
      const x = MARGIN.left + (i + 0.5) * step;
      const kind = isInfluential(row) ? "influential" : row.decisive_for_few ? "few" : "ignored";
      const title = shape("title", {}, `Factor ${row.factor}: ${nats(row.nats)} nats, ${LEVEL} interval ${range(row.interval)}`);
      const height = Math.max(bottom - y(row.nats), 1);
      made.append(shape("rect", { class: `drop-bar drop-bar-${kind}`, x: x - thick / 2, y: bottom - height, width: thick, height }, title));
      if (kind === "few") made.append(shape("path", { class: "drop-bar-few", d: `M${x} ${y(row.interval[1]) - 6}l-5 -9h10z` }));
      line("drop-error", x, y(row.interval[0]), x, y(row.interval[1]));
      if (step >= STEP_WITH_NUMBER) words("drop-number", x, bottom + 16, row.factor);
    });
    line("drop-threshold", MARGIN.left, y(THRESHOLD), width - MARGIN.right, y(THRESHOLD));
    const below = step >= STEP_WITH_NUMBER ? "factor, most informative first" : "factors, most informative first";
    words("drop-axis drop-below", MARGIN.left + (Math.min(width, available) - MARGIN.left) / 2, HEIGHT - 6, below);
    return made;
  }

  // ---- the downloads --------------------------------------------------------------------------------------------------

  function csvOf({ factors }) {
    const heads = ["factor", "nats", "stderr", "leave_one_out", "interval_low", "interval_high"];
    for (const [key] of CRITERIA) heads.push(...(key === "information" ? [] : [key]), `${key}_used`);
    heads.push("mean_variance_kind", "decisive_for_few", "largest_divergence", "largest_divergence_input");
    const rows = factors.map((row) => {
      const cells = [row.factor, row.nats, row.stderr, row.leave_one_out, ...row.interval];
      for (const [key] of CRITERIA) cells.push(...(key === "information" ? [] : [row.criteria[key].value]), row.criteria[key].used);
      return [...cells, row.criteria.mean_variance.kind, row.decisive_for_few, row.largest_divergence, row.largest_divergence_input];
    });
    return [heads, ...rows].map((cells) => `${cells.join()}\n`).join("");
  }

  let addresses = [];

  function downloads(found) {
    addresses.forEach((address) => URL.revokeObjectURL(address));
    const link = (name, type, text, words) => {
      const href = URL.createObjectURL(new Blob([text], { type }));
      return [element("a", { href, download: name, class: "drop-button" }, words), href];
    };
    const made = [
      link("spectrum.csv", "text/csv", csvOf(found), "Download CSV"),
      link("spectrum.json", "application/json", `${JSON.stringify(found, null, 1)}\n`, "Download JSON"),
    ];
    addresses = made.map(([, address]) => address);
    return element("p", { class: "drop-buttons" }, ...made.map(([button]) => button));
  }

  // ---- the example ----------------------------------------------------------------------------------------------------

  /** Uniform numbers in (0, 1), the same each time (mulberry32). */
  function generator(seed) {
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return (((mixed ^ (mixed >>> 14)) >>> 0) + 0.5) / 2 ** 32;
    };
  }

  /** The files of a simulated encoder: used factors of several kinds, a rare one, and ignored ones. */
  function exampleFiles() {
    const M = 2000;
    const uniform = generator(1);
    const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
    const gaussian = (sigma) => () => [Math.sqrt(1 - sigma * sigma) * normal(), sigma];
    const ignored = () => [0.01 * normal(), 1 - 0.01 * uniform()];
    const factors = [
      ignored,
      gaussian(0.1),
      gaussian(0.5),
      () => [uniform() < 0.5 ? -0.95 : 0.95, 0.3], // two groups
      ignored,
      (m) => [m % 400 === 123 ? 6 : 0.01 * normal(), 0.99], // rare
      (m) => gaussian(m % 2 ? 0.15 : 0.7)(), // sharp for every other input
      () => [0.6, 0.8], // the same for every input, and not the prior
      ignored,
      gaussian(0.25),
      gaussian(0.88),
      ignored,
    ];
    const mean = new Float32Array(M * factors.length);
    const logVariance = new Float32Array(M * factors.length);
    for (let m = 0, at = 0; m < M; m++) {
      for (const draw of factors) {
        const [mu, sigma] = draw(m);
        mean[at] = mu;
        logVariance[at++] = 2 * Math.log(sigma);
      }
    }
    const file = (name, values) => new File([npyHeader([M, factors.length]), values], name);
    return [file("example-mean.npy", mean), file("example-log_variance.npy", logVariance)];
  }

  function npyHeader(sizes) {
    const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${sizes.join(", ")}), }`.padEnd(117) + "\n";
    return new Uint8Array([0x93, ...new TextEncoder().encode(`NUMPY\x01\x00${String.fromCharCode(header.length, 0)}${header}`)]);
  }
})();

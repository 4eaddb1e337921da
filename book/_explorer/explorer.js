// The factor explorer: a trained decoder in the reader's browser, and the controls that move its factors. Its data come
// from a script named after the page, written by book/explorer.py: a page opened from a file can load scripts but not
// fetch data.
"use strict";

(() => {
  const SPAN = 3; // range of a slider to both sides, in sigma*
  const MOST = 12; // influential factors shown at first; a button shows the rest
  const FINE = 64; // width from which a picture is smoothed when enlarged
  const QUIET = 300; // milliseconds without movement before the state is announced
  const VISIBLE = 0.05; // changes of all pixels below this count as no change

  const root = document.getElementById("factor-explorer");
  const given = window.factorExplorer;
  if (!root || !given) return;

  // ---- the decoder ------------------------------------------------------------------------------------------------

  /** Decodes base64 of little-endian half-precision numbers. */
  function decoded(text) {
    const bytes = atob(text);
    const numbers = new Float32Array(bytes.length / 2);
    for (let i = 0; i < numbers.length; i++) {
      const half = bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8);
      const exponent = (half >> 10) & 31;
      const fraction = half & 1023;
      const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
      numbers[i] = half & 0x8000 ? -size : size;
    }
    return numbers;
  }

  /** Applies the activation of a layer: max(x, slope x), then a sigmoid if it has one. */
  const activated = ({ slope, sigmoid }, sum) => {
    const value = Math.max(sum, slope * sum);
    return sigmoid ? 1 / (1 + Math.exp(-value)) : value;
  };

  /** Computes weight (outputs, inputs) times input, plus bias, then the activation. */
  function dense(layer, input) {
    const { weight, bias } = layer;
    const output = new Float32Array(bias.length);
    for (let o = 0, w = 0; o < output.length; o++) {
      let sum = bias[o];
      for (let i = 0; i < input.length; i++, w++) sum += weight[w] * input[i];
      output[o] = activated(layer, sum);
    }
    return output;
  }

  /**
   * Transposed convolution of pictures (inputs, height, width) with 4x4 kernels (inputs, outputs, 4, 4), stride 2 and
   * padding 1, plus bias, then the activation: pictures (outputs, 2 height, 2 width).
   */
  function upsample(layer, input, height, width) {
    const { weight, bias } = layer;
    const inputs = input.length / (height * width);
    const outputs = bias.length;
    // Every pixel adds a 4x4 patch; a border of one pixel takes what falls outside.
    const across = 2 * width + 2;
    const framed = new Float32Array((2 * height + 2) * across);
    const output = new Float32Array(outputs * 4 * height * width);
    for (let o = 0, place = 0; o < outputs; o++) {
      framed.fill(bias[o]);
      for (let i = 0; i < inputs; i++) {
        // One of the 16 weights at a time for all pixels keeps the innermost loop short.
        for (let k = 0; k < 16; k++) {
          const factor = weight[16 * (i * outputs + o) + k];
          for (let y = 0, pixel = i * height * width; y < height; y++) {
            let target = (2 * y + (k >> 2)) * across + (k & 3);
            for (let x = 0; x < width; x++, pixel++, target += 2) framed[target] += factor * input[pixel];
          }
        }
      }
      for (let y = 1; y <= 2 * height; y++) {
        for (let x = 1; x <= 2 * width; x++, place++) output[place] = activated(layer, framed[y * across + x]);
      }
    }
    return output;
  }

  const layers = given.layers.map((layer) => ({ ...layer, weight: decoded(layer.weight), bias: decoded(layer.bias) }));
  const [channels, height, width] = given.shape;
  const halvings = layers.filter((layer) => layer.kind === "upsample").length;

  /** Returns pixels (channels, height, width) with factors at `positions` in sigma*, all others as encoded in `start`. */
  function decode(start, positions) {
    const hidden = layers[0].bias.length / given.positions.length;
    const first = { ...layers[0], bias: layers[0].bias.subarray(start * hidden, (start + 1) * hidden) };
    let values = dense(first, positions);
    let [h, w] = [height / 2 ** halvings, width / 2 ** halvings];
    for (const layer of layers.slice(1)) {
      if (layer.kind === "dense") {
        values = dense(layer, values);
      } else {
        values = upsample(layer, values, h, w);
        [h, w] = [2 * h, 2 * w];
      }
    }
    return values.map((value) => Math.min(Math.max(value, 0), 1));
  }

  // ---- words ------------------------------------------------------------------------------------------------------

  const signed = (value) => {
    const text = Math.abs(value).toFixed(1);
    return (text === "0.0" ? "" : value < 0 ? "\u2212" : "+") + text;
  };
  const inSigma = (value) => `${signed(value)} \u03c3*`;
  const holds = ({ nats, label }) =>
    `${Math.max(nats, 0).toFixed(2)} nats` + (label ? `, ${label.nats.toFixed(2)} on ${label.name}` : "");
  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  const nameOf = (start) => `${capital(given.noun)} ${given.names[start]}`;

  // ---- the controls -----------------------------------------------------------------------------------------------

  /** Creates an element with attributes and children. */
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const state = { start: given.start, positions: [...given.positions[given.start]] };

  const starts = element("fieldset", { class: "explorer-starts" });
  starts.append(element("legend", {}, `${capital(given.noun)} to start from`));
  given.names.forEach((name, start) => {
    const described = given.described[start];
    const choice = element("input", { type: "radio", name: "explorer-start", value: name });
    if (described) choice.setAttribute("aria-label", `${name}: ${described}`);
    choice.checked = start === state.start;
    const words = nameOf(start) + (described ? ` (${described})` : "");
    choice.addEventListener("change", () => begin(start, `${words}, all factors as encoded.`));
    const shown = element("span", {}, name);
    if (given.thumbnails) {
      const small = element("canvas", { width, height, "aria-hidden": "true" });
      paint(small, decode(start, given.positions[start]));
      shown.prepend(small);
    }
    starts.append(element("label", described ? { title: described } : {}, choice, shown));
  });

  const picture = element("canvas", { width, height, role: "img" });
  const original = element("canvas", { width, height, role: "img" });
  const reset = element("button", { type: "button", class: "explorer-reset" }, "Reset factors");
  reset.addEventListener("click", () => begin(state.start, "All factors are back where the encoder put them."));
  const status = element("p", {
    class: "explorer-status",
    role: "status",
    "aria-live": "polite",
    "data-hint": "Move a slider: what it changes is described here.",
  });
  const pictures = element(
    "div",
    { class: "explorer-pictures" },
    picture,
    element("div", { class: "explorer-before" }, element("div", { "aria-hidden": "true" }, "as encoded"), original),
    reset,
    status,
  );

  const most = Math.max(...given.factors.map((factor) => factor.nats), given.threshold);
  const rows = given.factors.map((factor, row) => {
    const id = `explorer-factor-${factor.index}`;
    const bar = element("span", { class: "explorer-nats" });
    bar.style.width = `${(100 * Math.max(factor.nats, 0)) / most}%`;
    const label = element("label", { for: id }, `Factor ${factor.index}`);
    for (const words of (holds(factor) + (factor.ignored ? ", ignored" : "")).split(/(?<=, )/)) {
      label.append(element("span", {}, words));
    }
    label.append(bar);
    const slider = element("input", { type: "range", id, min: -SPAN, max: SPAN, step: 0.1 });
    const shown = element("span", { class: "explorer-value", "aria-hidden": "true" }); // the slider announces it itself
    slider.addEventListener("input", () => {
      state.positions[row] = Number(slider.value);
      show(row);
    });
    const line = element("div", { class: "explorer-factor" + (factor.ignored ? " ignored" : "") }, label, slider, shown);
    return { factor, slider, shown, line };
  });
  const factors = element("div", { role: "group", "aria-label": "Factors" }, ...rows.map(({ line }) => line));
  const surplus = rows.filter(({ factor }) => !factor.ignored).slice(MOST);
  if (surplus.length) {
    const more = element("details", { class: "explorer-more" });
    surplus[0].line.before(more);
    more.append(element("summary", {}, `${surplus.length} more ${surplus.length === 1 ? "factor" : "factors"}`), ...surplus.map(({ line }) => line));
  }

  // ---- display and announcements ------------------------------------------------------------------------------------

  function paint(canvas, pixels) {
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const plane = width * height;
    for (let i = 0; i < plane; i++) {
      // A grey picture has the same value in red, green and blue.
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = 255 * pixels[channels === 3 ? c * plane + i : i];
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  /** Describes a factor: its position, its information, and the change of the picture that it alone makes. */
  function report(row, pixels) {
    const { factor } = rows[row];
    const without = [...state.positions];
    without[row] = given.positions[state.start][row];
    const before = decode(state.start, without);
    const changes = pixels.map((value, i) => Math.abs(value - before[i]));
    const largest = changes.reduce((most, change) => Math.max(most, change), 0);
    const average = changes.reduce((sum, change) => sum + change, 0) / changes.length;
    const percent = (share) => `${(100 * share).toFixed(1)} % of the step from black to white`;
    return (
      `Factor ${factor.index} at ${inSigma(state.positions[row])}: it holds ${holds(factor)}` +
      (factor.ignored ? " and is ignored. " : ". ") +
      (largest < VISIBLE
        ? `The picture stays as it was: no pixel changes by more than ${percent(largest)}.`
        : `On average it changes a pixel by ${percent(average)}.`)
    );
  }

  function describe() {
    const start = given.positions[state.start];
    const moved = rows.flatMap(({ factor }, row) =>
      state.positions[row] === start[row] ? [] : [`factor ${factor.index} at ${inSigma(state.positions[row])}`],
    );
    picture.setAttribute(
      "aria-label",
      `${nameOf(state.start)} from the decoder: ` +
        (moved.length ? `${moved.join(", ")}, the others as encoded.` : "all factors as encoded."),
    );
  }

  let readOut = 0;
  let drawing = 0;

  /** Updates the display after the factor of a row moved, or, with a message, after all did. */
  function show(row, words) {
    rows.forEach(({ slider, shown }, i) => {
      if (words !== undefined) slider.value = state.positions[i];
      shown.textContent = inSigma(state.positions[i]);
      slider.setAttribute("aria-valuetext", `${signed(state.positions[i])} sigma star`);
    });
    // A moving finger sends many events; one picture a frame is enough.
    cancelAnimationFrame(drawing);
    drawing = requestAnimationFrame(() => {
      const pixels = decode(state.start, state.positions);
      paint(picture, pixels);
      describe();
      clearTimeout(readOut);
      readOut = setTimeout(() => (status.textContent = words ?? report(row, pixels)), words ? 0 : QUIET);
    });
  }

  function begin(start, words) {
    state.start = start;
    state.positions = [...given.positions[start]];
    paint(original, decode(start, state.positions));
    original.setAttribute("aria-label", `${nameOf(start)} from the decoder, all factors as encoded.`);
    show(undefined, words);
  }

  root.classList.toggle("explorer-fine", Math.min(height, width) >= FINE);
  root.append(starts, element("div", { class: "explorer-body" }, pictures, factors));
  begin(state.start, "");
})();

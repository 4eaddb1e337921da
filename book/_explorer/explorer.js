// The factor explorer of the MNIST page: the trained decoder, run in the reader's browser, and the controls that move
// its factors. What it works on comes from mnist.js, which book/explorer.py writes: a page that is opened from a file
// may load scripts, but not fetch data.
"use strict";

(() => {
  const SPAN = 3; // how far a slider reaches to both sides, in sigma*
  const START = 3; // the digit of the page's first figure
  const QUIET = 300; // milliseconds without movement after which the new state is read out
  const VISIBLE = 0.05; // a picture whose pixels all change by less, of the step from black to white, looks the same

  const root = document.getElementById("factor-explorer");
  const given = window.factorExplorer;
  if (!root || !given) return;

  // ---- the decoder ------------------------------------------------------------------------------------------------

  /** Numbers from base64 of little-endian half precision. */
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

  /** weight (outputs, inputs) times input, plus bias, then max(x, slope x). */
  function dense({ weight, bias, slope }, input) {
    const output = new Float32Array(bias.length);
    for (let o = 0, w = 0; o < output.length; o++) {
      let sum = bias[o];
      for (let i = 0; i < input.length; i++, w++) sum += weight[w] * input[i];
      output[o] = Math.max(sum, slope * sum);
    }
    return output;
  }

  /**
   * Transposed convolution of pictures (inputs, height, width) with 4x4 kernels (inputs, outputs, 4, 4), stride 2 and
   * padding 1, plus bias, then max(x, slope x): pictures (outputs, 2 height, 2 width).
   */
  function upsample({ weight, bias, slope }, input, height, width) {
    const inputs = input.length / (height * width);
    const outputs = bias.length;
    // Every pixel paints a 4x4 patch, those at the edge beyond it: a frame of one pixel catches that.
    const across = 2 * width + 2;
    const framed = new Float32Array((2 * height + 2) * across);
    const output = new Float32Array(outputs * 4 * height * width);
    for (let o = 0, place = 0; o < outputs; o++) {
      framed.fill(bias[o]);
      for (let i = 0; i < inputs; i++) {
        const kernel = 16 * (i * outputs + o);
        for (let y = 0, pixel = i * height * width; y < height; y++) {
          for (let x = 0; x < width; x++, pixel++) {
            const value = input[pixel];
            if (value === 0) continue; // frequent after a ReLU
            for (let k = 0; k < 16; k++) {
              framed[(2 * y + (k >> 2)) * across + 2 * x + (k & 3)] += value * weight[kernel + k];
            }
          }
        }
      }
      for (let y = 1; y <= 2 * height; y++) {
        for (let x = 1; x <= 2 * width; x++, place++) {
          const sum = framed[y * across + x];
          output[place] = Math.max(sum, slope * sum);
        }
      }
    }
    return output;
  }

  const layers = given.layers.map((layer) => ({ ...layer, weight: decoded(layer.weight), bias: decoded(layer.bias) }));
  const [height, width] = given.shape;
  const halvings = layers.filter((layer) => layer.kind === "upsample").length;

  /** Pixels of the picture with the factors at `positions`, in sigma*, all others as the encoder read them off `digit`. */
  function decode(digit, positions) {
    const hidden = layers[0].bias.length / given.positions.length;
    const first = { ...layers[0], bias: layers[0].bias.subarray(digit * hidden, (digit + 1) * hidden) };
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
  const holds = (factor) => `${Math.max(factor.nats, 0).toFixed(2)} nats`;

  // ---- the controls -----------------------------------------------------------------------------------------------

  /** An element with attributes and children. */
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const state = { digit: START, positions: [...given.positions[START]] };

  const digits = element("fieldset", { class: "explorer-digits" }, element("legend", {}, "Digit to start from"));
  given.positions.forEach((_, digit) => {
    const choice = element("input", { type: "radio", name: "explorer-digit", value: digit });
    choice.checked = digit === START;
    choice.addEventListener("change", () => begin(digit, `Digit ${digit}, all factors as encoded.`));
    digits.append(element("label", {}, choice, element("span", {}, String(digit))));
  });

  const picture = element("canvas", { width, height, role: "img" });
  const original = element("canvas", { width, height, role: "img" });
  const reset = element("button", { type: "button", class: "explorer-reset" }, "Reset factors");
  reset.addEventListener("click", () => begin(state.digit, "All factors are back where the encoder put them."));
  const status = element("p", { class: "explorer-status", role: "status", "aria-live": "polite" });
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
    label.append(element("span", {}, holds(factor) + (factor.ignored ? ", ignored" : "")), bar);
    const slider = element("input", { type: "range", id, min: -SPAN, max: SPAN, step: 0.1 });
    const shown = element("span", { class: "explorer-value", "aria-hidden": "true" }); // the slider says it itself
    slider.addEventListener("input", () => {
      state.positions[row] = Number(slider.value);
      show(row);
    });
    const line = element("div", { class: "explorer-factor" + (factor.ignored ? " ignored" : "") }, label, slider, shown);
    return { factor, slider, shown, line };
  });
  const factors = element("div", { role: "group", "aria-label": "Factors" }, ...rows.map(({ line }) => line));

  // ---- what is seen and read out ------------------------------------------------------------------------------------

  function paint(canvas, pixels) {
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    pixels.forEach((value, i) => image.data.set([255 * value, 255 * value, 255 * value, 255], 4 * i));
    context.putImageData(image, 0, 0);
  }

  /** What is seen of a factor: its place, its information, and what it alone changes in the picture as it is now. */
  function report(row, pixels) {
    const { factor } = rows[row];
    const without = [...state.positions];
    without[row] = given.positions[state.digit][row];
    const before = decode(state.digit, without);
    const changes = pixels.map((value, i) => Math.abs(value - before[i]));
    const largest = Math.max(...changes);
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
    const start = given.positions[state.digit];
    const moved = rows.flatMap(({ factor }, row) =>
      state.positions[row] === start[row] ? [] : [`factor ${factor.index} at ${inSigma(state.positions[row])}`],
    );
    picture.setAttribute(
      "aria-label",
      `Digit ${state.digit} from the decoder: ` +
        (moved.length ? `${moved.join(", ")}, the others as encoded.` : "all factors as encoded."),
    );
  }

  let readOut = 0;
  let drawing = 0;

  /** Bring everything up to date after the factor of a row was moved, or, with words to say, after all were. */
  function show(row, words) {
    rows.forEach(({ slider, shown }, i) => {
      if (words !== undefined) slider.value = state.positions[i];
      shown.textContent = inSigma(state.positions[i]);
      slider.setAttribute("aria-valuetext", `${signed(state.positions[i])} sigma star`);
    });
    // However many events a moving finger sends, a picture a frame is enough.
    cancelAnimationFrame(drawing);
    drawing = requestAnimationFrame(() => {
      const pixels = decode(state.digit, state.positions);
      paint(picture, pixels);
      describe();
      clearTimeout(readOut);
      readOut = setTimeout(() => (status.textContent = words ?? report(row, pixels)), words ? 0 : QUIET);
    });
  }

  function begin(digit, words) {
    state.digit = digit;
    state.positions = [...given.positions[digit]];
    paint(original, decode(digit, state.positions));
    original.setAttribute("aria-label", `Digit ${digit} from the decoder, all factors as encoded.`);
    show(undefined, words);
  }

  root.append(digits, element("div", { class: "explorer-body" }, pictures, factors));
  begin(START, "");
})();

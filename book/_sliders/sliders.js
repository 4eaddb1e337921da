// Figures with a slider: the water level, two factors that are turned, a spectrum while its model trains. The numbers of
// the first two are computed here, from the closed forms; tests compare them with the library.
(() => {
  "use strict";
  const given = window.vaemiSlider;
  const root = document.getElementById(`slider-${given.name}`);
  // Milliseconds without a further change before the text below is announced.
  const QUIET = 200;
  const SVG = "http://www.w3.org/2000/svg";

  function element(name, attributes = {}, ...children) {
    const isSvg = ["svg", "rect", "line", "text", "ellipse"].includes(name);
    const made = isSvg ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const drawing = (width, height) => element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  /** Gives a drawing the width of its place, so that its letters are as large on a phone, and returns the width. */
  function fit(picture, height) {
    const width = Math.min(640, Math.max(280, picture.clientWidth || 640));
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    return width;
  }
  const line = (x1, y1, x2, y2, kind) => element("line", { x1, y1, x2, y2, class: kind });
  const text = (x, y, words, anchor = "middle") => element("text", { x, y, "text-anchor": anchor }, words);
  const bar = (x, y, width, height, kind, nats) =>
    element("rect", { x, y: height < 0 ? y + height : y, width, height: Math.abs(height), class: kind, "data-nats": nats });
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const fixed = (value, digits = 2) => value.toFixed(digits);

  /** A slider with its label, its value beside it, and a text below the drawings that is read aloud when it rests. */
  function build(label, range, drawings, before = []) {
    const id = `${root.id}-input`;
    const value = element("span", { class: "value", "aria-hidden": "true" }); // the slider announces it itself
    const input = element("input", { type: "range", id, ...range });
    const output = element("output", { for: id });
    const name = element("label", { for: id }, `${label} `, value);
    root.append(...before, name, input, element("div", { class: "slider-drawings" }, ...drawings), output);
    let waiting = 0;
    return {
      input,
      report(shown, words) {
        value.textContent = shown;
        input.setAttribute("aria-valuetext", shown);
        clearTimeout(waiting);
        waiting = setTimeout(() => (output.textContent = words), QUIET);
      },
    };
  }

  // ---- reverse water-filling ---------------------------------------------------------------------------------------

  function water({ eigenvalues, level, most }) {
    const [height, left, right, foot] = [300, 46, 48, 34];
    const picture = drawing(640, height);
    const [low, high] = [Math.log(level / 2), Math.log(eigenvalues[0] * 1.6)];
    const y = (value) => height - foot - ((Math.log(value) - low) / (high - low)) * (height - foot - 10);
    // The slider is logarithmic in beta.
    const steps = 120;
    const { input, report } = build("Weight of the KL term, β =", { min: 0, max: steps, step: 1, value: 0 }, [picture]);

    function show() {
      const width = fit(picture, height);
      const step = (width - left - right) / eigenvalues.length;
      const beta = most ** (Number(input.value) / steps);
      const surface = beta * level;
      const nats = eigenvalues.map((value) => Math.max(0, 0.5 * Math.log(value / surface)));
      const bottom = height - foot;
      const parts = eigenvalues.flatMap((value, i) => {
        const [x, wide] = [left + i * step + 0.15 * step, 0.7 * step];
        const top = Math.max(y(value), 0);
        if (nats[i] === 0) return [bar(x, top, wide, bottom - top, "ignored", 0), text(x + wide / 2, height - 18, i + 1)];
        return [
          bar(x, top, wide, y(surface) - top, "used", nats[i]),
          bar(x, y(surface), wide, bottom - y(surface), "below", ""),
          text(x + wide / 2, height - 18, i + 1),
        ];
      });
      const ticks = [0.1, 1, 10].filter((tick) => Math.log(tick) > low && Math.log(tick) < high);
      picture.replaceChildren(
        ...parts,
        ...ticks.map((tick) => text(left - 8, y(tick) + 4, tick, "end")),
        line(left, bottom, width, bottom, "axis"),
        line(left, y(surface), width, y(surface), "line"),
        text(width, y(surface) - 6, "level t", "end"),
        text((left + width) / 2, height - 2, "component, by its eigenvalue λ (logarithmic)"),
      );
      const off = eigenvalues.flatMap((_, i) => (nats[i] === 0 ? [i + 1] : []));
      const carried = `${fixed(sum(nats))} nats in total`;
      const which =
        off.length === 0 ? `No component is switched off; they carry ${carried}.`
        : off.length < nats.length ? `Switched off: ${off.join(", ")}. The others carry ${carried}.`
        : "All components are switched off.";
      const words = `At β = ${fixed(beta)} the level is ${fixed(surface, 3)}. ${which}`;
      picture.setAttribute("aria-label", `Bars of ${eigenvalues.length} eigenvalues and the water level. ${words}`);
      report(fixed(beta), words);
    }
    input.addEventListener("input", show);
    addEventListener("resize", show);
    show();
  }

  // ---- two factors, turned -----------------------------------------------------------------------------------------

  /** Information of both factors after a turn: each variance is a mixture of both, with shares cos² and sin². */
  function turned({ means, noise }, angle) {
    const [c, s] = [Math.cos(angle) ** 2, Math.sin(angle) ** 2];
    return [
      [c, s],
      [s, c],
    ].map(([a, b]) => 0.5 * Math.log1p((a * means[0] + b * means[1]) / (a * noise[0] + b * noise[1])));
  }

  function turn({ codes }) {
    const [plane, bars] = [drawing(260, 260), drawing(300, 260)];
    const choices = codes.map((code, i) => {
      const radio = element("input", { type: "radio", name: "slider-turn-code", value: i });
      radio.checked = i === codes.length - 1;
      return { radio, label: element("label", {}, radio, code.name) };
    });
    const choice = element("fieldset", { "aria-label": "Code" }, ...choices.map(({ label }) => label));
    const { input, report } = build("Angle =", { min: 0, max: 90, step: 1, value: 0 }, [plane, bars], [choice]);
    const most = Math.max(...codes.flatMap((code) => [sum(turned(code, 0)), sum(turned(code, Math.PI / 4))]));

    function show() {
      const code = codes[choices.findIndex(({ radio }) => radio.checked)];
      const degrees = Number(input.value);
      const nats = turned(code, (degrees * Math.PI) / 180);
      const joint = sum(turned(code, 0));
      // Two standard deviations of the means, and of the noise around one of them.
      const ellipse = (variances, kind) =>
        element("ellipse", {
          cx: 130, cy: 130, class: kind, transform: `rotate(${-degrees} 130 130)`,
          rx: Math.max(1, 50 * 2 * Math.sqrt(variances[0])), ry: Math.max(1, 50 * 2 * Math.sqrt(variances[1])),
        });
      plane.replaceChildren(
        line(10, 130, 250, 130, "axis"),
        line(130, 10, 130, 250, "axis"),
        text(250, 146, "z₁", "end"),
        text(138, 18, "z₂", "start"),
        ellipse(code.means, "means"),
        ellipse(code.noise, "noise"),
      );
      const unit = 190 / most;
      const columns = [["I(X; Z₁)", nats[0], "other"], ["I(X; Z₂)", nats[1], "other"], ["sum", sum(nats), "used"], ["together", joint, "ignored"]];
      bars.replaceChildren(
        ...columns.flatMap(([name, value, kind], i) => [
          bar(12 + 74 * i, 230, 50, -unit * value, kind, value),
          text(37 + 74 * i, 222 - unit * value, fixed(value)),
          text(37 + 74 * i, 248, name),
        ]),
        line(0, 230, 300, 230, "axis"),
      );
      const words =
        `After ${degrees}° the factors carry ${fixed(nats[0])} and ${fixed(nats[1])} nats, ${fixed(sum(nats))} in sum. ` +
        `Together they carry ${fixed(joint)} nats at every angle.`;
      plane.setAttribute("aria-label", `The plane of both factors: solid, how the means are spread; dashed, the noise. Turned by ${degrees}°.`);
      bars.setAttribute("aria-label", `Bars. ${words}`);
      report(`${degrees}°`, words);
    }
    for (const control of [input, ...choices.map(({ radio }) => radio)]) control.addEventListener("input", show);
    show();
  }

  // ---- a spectrum while its model trains ---------------------------------------------------------------------------

  function training({ steps, factors, nats, influential, total, threshold }) {
    const [height, left, foot] = [300, 34, 34];
    const picture = drawing(640, height);
    const most = Math.max(...nats.flat());
    const unit = (height - foot - 10) / most;
    const range = { min: 0, max: steps.length - 1, step: 1, value: steps.length - 1 };
    const { input, report } = build("Optimizer steps:", range, [picture]);
    const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

    function show() {
      const width = fit(picture, height);
      const step = (width - left) / factors.length;
      const at = Number(input.value);
      const bottom = height - foot;
      const ticks = [1, 2, 3, 4].filter((tick) => tick <= most);
      picture.replaceChildren(
        ...factors.map((_, i) => {
          const value = nats[at][i];
          const kind = value > threshold ? "used" : "ignored";
          return bar(left + i * step + 0.15 * step, bottom, 0.7 * step, -Math.max(1, unit * value), kind, value);
        }),
        ...ticks.map((tick) => text(left - 8, bottom - unit * tick + 4, tick, "end")),
        line(left, bottom, width, bottom, "axis"),
        text(left, height - 18, "nats", "end"),
        text((left + width) / 2, height - 10, `${factors.length} factors, in their order at the end`),
      );
      const words = `After ${grouped(steps[at])} steps ${influential[at]} factors carry more than ${threshold} nats; all carry ${fixed(total[at], 1)} nats.`;
      picture.setAttribute("aria-label", `Bars. ${words}`);
      report(grouped(steps[at]), words);
    }
    input.addEventListener("input", show);
    addEventListener("resize", show);
    show();
  }

  ({ water, turn, training })[given.name](given);
})();

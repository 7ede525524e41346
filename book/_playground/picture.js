/*
 * The picture: experts, their averages, and the handles that move the experts.
 */
"use strict";

playground.picture = (() => {
  const { svg } = playground.dom;
  const { AVERAGES } = playground.comparison;
  const { ofDensity, ofGaussian } = playground.contours;
  const { VIEW, LIMITS, handleAt } = playground.state;

  const HANDLES = ["centre", "first", "second"];
  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const [STEP, FINE_STEP] = [0.1, 0.01];
  // Where on its outline the name of an average stands, so that names are apart: turns from east.
  const NAMED_AT = { "product": 0.62, "log-pool": 0.42, "wasserstein": 0.75, "power-mean": 0.08,
    "mixture": 0.25, "moment-match": 0.92 };
  const LINE = 14; // pixels between names

  /**
   * An empty picture in `parent`. `moves(expert, handle, point)` is called when the reader moves a
   * handle. Returns `draw(state, comparison, names)`.
   */
  function picture(parent, moves) {
    const label = "Gaussian experts and their averages";
    const looks = { "class": "playground-picture", "viewBox": "0 0 600 360" };
    const root = svg("svg", { ...looks, "role": "group", "aria-label": label });
    const layers = Object.fromEntries(
      ["axes", "experts", "averages", "names", "handles"].map((name) => {
        const layer = root.appendChild(svg("g", { class: `playground-${name}` }));
        if (name !== "handles") layer.setAttribute("aria-hidden", "true");
        return [name, layer];
      }),
    );
    parent.append(root);
    let frame = measured(root), last = null;
    const handles = new Map();

    function draw(state, comparison, names) {
      last = [state, comparison, names];
      const { averages, experts, grid } = comparison;
      root.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
      drawAxes(layers.axes, frame);
      layers.experts.replaceChildren(
        ...experts.map((q) => svg("path", { d: path(ofGaussian(q), frame) })),
      );
      const shown = AVERAGES.filter((name) => !state.hidden.includes(name));
      const outlines = shown.map((name) => {
        const { logs, ...gaussian } = averages[name];
        return logs ? ofDensity(grid, logs) : ofGaussian(gaussian);
      });
      layers.averages.replaceChildren(
        ...shown.map((name, k) =>
          svg("path", { "data-average": name, "d": path(outlines[k], frame) }),
        ),
      );
      drawNames(layers.names, shown, outlines, names, frame);
      drawHandles(state.experts);
    }

    function drawHandles(experts) {
      for (const [key, handle] of handles) {
        if (handle.expert < experts.length) continue;
        handle.group.remove();
        handle.stem?.remove();
        handles.delete(key);
      }
      experts.forEach((expert, m) => {
        for (const name of [...HANDLES].reverse()) {
          const key = `${m}-${name}`;
          if (!handles.has(key)) handles.set(key, newHandle(m, name));
          place(handles.get(key), expert, frame);
        }
      });
    }

    function newHandle(expert, name) {
      const stem = name === "centre" ? null : svg("line", { class: "playground-stem" });
      const group = svg("g", {
        "class": `playground-handle playground-${name}`,
        "tabindex": 0,
        "role": "slider",
        "aria-label": `Expert ${expert + 1}: ${name === "centre" ? "centre" : `${name} axis`}`,
      });
      const knob = svg("circle", { class: "playground-knob", r: name === "centre" ? 9 : 6 });
      group.append(svg("circle", { class: "playground-target", r: 18 }), knob);
      if (name === "centre") group.append(svg("text", { dy: "0.35em" }, expert + 1));
      listen(group, expert, name);
      if (stem) layers.handles.prepend(stem);
      layers.handles.append(group);
      return { expert, name, group, stem };
    }

    function listen(group, expert, name) {
      let grip = null; // from the pointer to the handle, so that nothing jumps when it is taken
      const here = () => handleAt(last[0].experts[expert], name);
      group.addEventListener("pointerdown", (event) => {
        if (event.button !== 0) return;
        const [x, y] = pointOf(event);
        grip = [here()[0] - x, here()[1] - y];
        group.setPointerCapture(event.pointerId);
        group.focus({ preventScroll: true });
        event.preventDefault();
      });
      // Some browsers begin to scroll in spite of the style sheet's touch-action.
      group.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
      group.addEventListener("pointermove", (event) => {
        if (!grip) return;
        const [x, y] = pointOf(event);
        moves(expert, name, [x + grip[0], y + grip[1]]);
      });
      for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
        group.addEventListener(end, () => (grip = null));
      }
      group.addEventListener("keydown", (event) => {
        const step = STEPS[event.key];
        if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
        event.preventDefault();
        const length = event.shiftKey ? FINE_STEP : STEP;
        moves(expert, name, here().map((value, k) => value + length * step[k]));
      });
    }

    function pointOf({ clientX, clientY }) {
      const box = root.getBoundingClientRect();
      return fromPixels([clientX - box.left, clientY - box.top], frame);
    }

    new ResizeObserver(() => {
      frame = measured(root);
      if (last) draw(...last);
    }).observe(parent);
    return draw;
  }

  function place({ name, group, stem }, expert, frame) {
    const at = handleAt(expert, name);
    const [x, y] = toPixels(at, frame);
    group.setAttribute("transform", `translate(${x} ${y})`);
    const [field, text] = name === "centre"
      ? ["x", `horizontal ${expert.x.toFixed(2)}, vertical ${expert.y.toFixed(2)}`]
      : [name, `scale ${expert[name].toFixed(2)}, turned by ${expert.degrees.toFixed(0)} degrees`];
    group.setAttribute("aria-valuemin", LIMITS[field][0]);
    group.setAttribute("aria-valuemax", LIMITS[field][1]);
    group.setAttribute("aria-valuenow", expert[field]);
    group.setAttribute("aria-valuetext", text);
    if (!stem) return;
    const [fromX, fromY] = toPixels([expert.x, expert.y], frame);
    Object.entries({ x1: fromX, y1: fromY, x2: x, y2: y }).forEach((pair) =>
      stem.setAttribute(...pair),
    );
  }

  function drawAxes(layer, frame) {
    const lines = [];
    for (let x = -VIEW.x; x <= VIEW.x; x++) lines.push([[x, -VIEW.y], [x, VIEW.y], x]);
    for (let y = -VIEW.y; y <= VIEW.y; y++) lines.push([[-VIEW.x, y], [VIEW.x, y], y]);
    layer.replaceChildren(
      ...lines.map(([from, to, value]) =>
        svg("path", { class: value ? "" : "playground-zero", d: path([[from, to]], frame, "") }),
      ),
    );
  }

  function drawNames(layer, shown, outlines, names, frame) {
    const placed = shown.map((name, k) => {
      const turn = 2 * Math.PI * NAMED_AT[name], [c, s] = [Math.cos(turn), Math.sin(turn)];
      const outermost = outlines[k].flat().reduce((a, b) =>
        a[0] * c + a[1] * s >= b[0] * c + b[1] * s ? a : b,
      );
      const [x, y] = toPixels(outermost, frame);
      const anchor = c > 0.4 ? "start" : c < -0.4 ? "end" : "middle";
      const half = 3.9 * names[name].length; // half its width, about
      const middle = anchor === "start" ? x + 6 + half : anchor === "end" ? x - 6 - half : x;
      return {
        name, half,
        x: Math.min(Math.max(middle, half + 4), frame.width - half - 4),
        y: Math.min(Math.max(y - 10 * s, LINE), frame.height - LINE / 2),
      };
    });
    placed.sort((a, b) => a.y - b.y);
    placed.forEach((label, k) => {
      for (const earlier of placed.slice(0, k)) {
        const apart = Math.abs(earlier.x - label.x) > earlier.half + label.half;
        if (!apart && label.y - earlier.y < LINE) label.y = earlier.y + LINE;
      }
    });
    layer.replaceChildren(
      ...placed.map(({ name, x, y }) =>
        svg("text", { "data-average": name, x, y, "dy": "0.35em" }, names[name]),
      ),
    );
  }

  function measured(root) {
    const width = root.clientWidth || 600;
    return { width, height: (width * VIEW.y) / VIEW.x, unit: width / (2 * VIEW.x) };
  }

  const toPixels = ([x, y], { unit }) => [(x + VIEW.x) * unit, (VIEW.y - y) * unit];
  const fromPixels = ([x, y], { unit }) => [x / unit - VIEW.x, VIEW.y - y / unit];

  function path(lines, frame, close = "Z") {
    const corner = (point) => toPixels(point, frame).map((value) => value.toFixed(1)).join(" ");
    return lines.map((line) => `M${line.map(corner).join("L")}${close}`).join("");
  }

  return picture;
})();

/*
 * Puts the playground on a page: in the element with the id `playground`, if there is one.
 *
 * A link of the class `playground-state` to an address that holds a state becomes a button; the
 * paragraphs around it, in an element of the class `playground-experiment`, are shown when it is
 * pressed.
 */
"use strict";

playground.start = (root) => {
  const { compare } = playground.comparison;
  const { between, moved, read, write } = playground.state;
  const { element } = playground.dom;
  const { fields, namesOf, sliders, table } = playground.controls;
  const TRANSITION = 450; // milliseconds
  const PAUSE = 150; // milliseconds without a change before the address is renewed

  const experiments = [...document.querySelectorAll(".playground-experiment")].map((text) => {
    const link = text.querySelector("a.playground-state");
    return { text, link, target: read(link.hash) };
  });
  let state = read(location.hash) ?? experiments[0].target;
  let drawing = 0, moving = 0, writing = 0;

  const buttons = experiments.map(({ link }) =>
    element("button", { type: "button" }, link.textContent.replace(/\.$/, "")),
  );
  const bar = { "class": "playground-buttons", "role": "group", "aria-label": "Experiments" };
  const note = element("div", { "class": "playground-note", "aria-live": "polite" });
  note.append(...experiments.map(({ text }) => text));
  root.append(element("div", bar, ...buttons), note);
  const draw = playground.picture(root, (expert, handle, point) =>
    change(({ experts, ...rest }) => ({
      ...rest,
      experts: experts.map((q, m) => (m === expert ? moved(q, handle, point) : q)),
    })),
  );
  const precision = element("p", { class: "playground-precision" });
  const parts = [sliders, table, fields].map((part) => part(root, change));
  root.append(precision);

  experiments.forEach(({ link }, k) => {
    for (const control of [link, buttons[k]]) {
      control.addEventListener("click", (event) => {
        event.preventDefault();
        choose(k);
      });
    }
  });
  addEventListener("hashchange", () => {
    const told = read(location.hash);
    if (told) change(() => told);
  });
  choose(experiments.findIndex(({ target }) => write(target) === write(state)), false);
  render();
  document.documentElement.classList.add("playground-ready");

  /** Show the text of an experiment, or of none for -1, and go to its state. */
  function choose(chosen, go = true) {
    experiments.forEach(({ text }, k) => (text.hidden = k !== chosen));
    press(chosen);
    if (go) travel(experiments[chosen].target);
  }

  function press(chosen) {
    buttons.forEach((button, k) => button.setAttribute("aria-pressed", String(k === chosen)));
  }

  /** The reader changes something. */
  function change(rule) {
    cancelAnimationFrame(moving);
    press(-1);
    set(rule(state));
  }

  function travel(target) {
    cancelAnimationFrame(moving);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return set(target);
    const [from, started] = [state, performance.now()];
    const step = (now) => {
      const part = Math.min(Math.max((now - started) / TRANSITION, 0), 1);
      set(part < 1 ? between(from, target, part * part * (3 - 2 * part)) : target);
      if (part < 1) moving = requestAnimationFrame(step);
    };
    moving = requestAnimationFrame(step);
  }

  function set(next) {
    state = next;
    if (!drawing) drawing = requestAnimationFrame(render);
    // Browsers allow an address to be renewed a few times a second only.
    clearTimeout(writing);
    writing = setTimeout(() => history.replaceState(history.state, "", write(state)), PAUSE);
  }

  function render() {
    drawing = 0;
    const comparison = compare(state), { grid, error } = comparison;
    draw(state, comparison, namesOf(state));
    parts.forEach((show) => show(state, comparison));
    precision.textContent =
      `Integrals are sums over ${grid.x.length} × ${grid.y.length} points; ` +
      `over a quarter of them no entry differs by more than ${tenTo(Math.log10(error))}.`;
  }

  /** A power of ten that is not exceeded, from 10⁻⁹ on. */
  function tenTo(exponent) {
    const signs = [...String(Math.max(Math.ceil(exponent), -9))];
    const raised = (sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)];
    return `10${signs.map(raised).join("")}`;
  }
};

{
  const root = document.getElementById("playground");
  if (root) playground.start(root);
}

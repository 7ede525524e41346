/*
 * What stands under the picture: the table of averages, sliders, and fields for exact numbers.
 */
"use strict";

playground.controls = (() => {
  const { element, svg } = playground.dom;
  const { toAxes } = playground.gaussians;
  const { AVERAGES, OBJECTIVES, least } = playground.comparison;
  const { POWER, LIMITS, tidy } = playground.state;

  const HEADINGS = {
    reverse: ["reverse KL", "KL(q ‖ expert)"],
    forward: ["forward KL", "KL(expert ‖ q)"],
    w2: ["W₂²", "squared Wasserstein distance"],
    power: ["Dᵣ", "alpha-divergence of power r, expert first"],
  };
  const CAPTION =
    "Mean ± standard deviations and correlation ρ of each average, and its weighted mean " +
    "divergence to the experts; the least of a column is framed and in bold.";
  const THIRD = { x: 0, y: 1.5, first: 0.7, second: 0.7, degrees: 0, weight: 0.5 };

  /** Names of the averages, as picture and table write them. */
  function namesOf({ power }) {
    return {
      "product": "product",
      "log-pool": "log-pool",
      "wasserstein": "Wasserstein",
      "power-mean": power === 0.5 ? "Hellinger" : `power mean, r = ${power.toFixed(2)}`,
      "mixture": "mixture",
      "moment-match": "moment match",
    };
  }

  /** A number with at most four digits, and at most so many decimals. */
  function digits(value, most = 3) {
    const size = Math.abs(value);
    const decimals = size < 9.9995 ? 3 : size < 99.995 ? 2 : size < 999.95 ? 1 : 0;
    const text = value.toFixed(Math.min(decimals, most));
    return text.replace(/^-(0\.0+)$/, "$1").replace("-", "−");
  }

  /** The table of averages; `changes(state => state)` is called when one is shown or hidden. */
  function table(parent, changes) {
    const heads = OBJECTIVES.map((name) =>
      element("th", { scope: "col", title: HEADINGS[name][1] }, HEADINGS[name][0]),
    );
    const rows = Object.fromEntries(
      AVERAGES.map((name) => {
        const box = element("input", { type: "checkbox" });
        box.addEventListener("change", () => changes((state) => shown(state, name, box.checked)));
        const [title, detail] = [element("span"), element("span", { class: "playground-detail" })];
        const line = svg("path", { d: "M0 4H26" });
        const swatch = svg("svg", { class: "playground-swatch", width: 26, height: 8 }, line);
        const label = element("label", {}, box, swatch, title);
        const cells = OBJECTIVES.map((key) => element("td", { "data-objective": key }));
        const head = element("th", { scope: "row" }, element("div", {}, label, detail));
        const row = element("tr", { "data-average": name }, head, ...cells);
        return [name, { row, box, title, detail, cells }];
      }),
    );
    const first = element("th", { scope: "col" }, "average");
    parent.append(
      element(
        "table",
        { class: "playground-table" },
        element("caption", {}, CAPTION),
        element("thead", {}, element("tr", {}, first, ...heads)),
        element("tbody", {}, ...AVERAGES.map((name) => rows[name].row)),
      ),
    );
    return (state, { averages }) => {
      const names = namesOf(state);
      const winners = OBJECTIVES.map((objective) => least(averages, objective));
      for (const name of AVERAGES) {
        const { box, title, detail, cells } = rows[name], average = averages[name];
        box.checked = !state.hidden.includes(name);
        title.textContent = names[name];
        detail.textContent = described(average);
        OBJECTIVES.forEach((objective, k) => {
          const bound = objective === "w2" && average.logs ? "≥ " : "";
          const wins = winners[k].includes(name);
          cells[k].textContent = bound + digits(average.objectives[objective]);
          cells[k].classList.toggle("playground-least", wins);
          if (wins) cells[k].append(element("span", { class: "playground-spoken" }, ", least"));
        });
      }
    };
  }

  /** Sliders for weights and the power r, and the third expert. */
  function sliders(parent, changes) {
    const weights = [0, 1, 2].map((m) => {
      const input = slider(LIMITS.weight, 0.01, `Weight of expert ${m + 1}`);
      input.addEventListener("input", () =>
        changes((state) => withExpert(state, m, { weight: Number(input.value) })),
      );
      const output = element("output");
      const label = element("label", {}, `w${"₁₂₃"[m]}`, input, output);
      return { input, label, output };
    });
    const power = slider(POWER, 0.05, "Power r");
    const value = element("output");
    power.addEventListener("input", () =>
      changes((state) => ({ ...state, power: Number(power.value) })),
    );
    const third = element("button", { type: "button" });
    third.addEventListener("click", () => changes(withOrWithoutThird));
    const labels = [...weights.map(({ label }) => label), element("label", {}, "r", power, value)];
    parent.append(element("div", { class: "playground-sliders" }, ...labels, third));
    return (state, { weights: shares }) => {
      weights.forEach(({ input, label, output }, m) => {
        label.hidden = m >= state.experts.length;
        if (label.hidden) return;
        input.value = state.experts[m].weight;
        output.textContent = shares[m].toFixed(2);
        input.setAttribute("aria-valuetext", `share ${shares[m].toFixed(2)}`);
      });
      power.value = state.power;
      value.textContent = state.power.toFixed(2);
      third.textContent = state.experts.length < 3 ? "Add expert" : "Remove expert 3";
    };
  }

  /** Fields for means, scales along the axes of the picture, and correlations. */
  function fields(parent, changes) {
    const columns = [
      ["mean 1", LIMITS.x], ["mean 2", LIMITS.y],
      ["scale 1", LIMITS.first], ["scale 2", LIMITS.first], ["correlation", [-0.99, 0.99]],
    ];
    const rows = [0, 1, 2].map((m) => {
      const inputs = columns.map(([name, [min, max]]) => {
        const label = `Expert ${m + 1}: ${name}`;
        return element("input", { type: "number", min, max, "step": "any", "aria-label": label });
      });
      const typed = () => {
        if (!inputs.every((input) => input.value !== "" && input.reportValidity())) return;
        changes((state) => withExpert(state, m, fromFields(inputs.map((i) => Number(i.value)))));
      };
      inputs.forEach((input) => input.addEventListener("change", typed));
      const cells = inputs.map((input) => element("td", {}, input));
      const row = element("tr", {}, element("th", { scope: "row" }, `${m + 1}`), ...cells);
      return { inputs, row };
    });
    const heads = ["expert", ...columns.map(([name]) => name)];
    const head = element("tr", {}, ...heads.map((name) => element("th", { scope: "col" }, name)));
    parent.append(
      element(
        "details",
        { class: "playground-fields" },
        element("summary", {}, "Type the numbers"),
        element(
          "div",
          {},
          element(
            "table", {}, element("thead", {}, head),
            element("tbody", {}, ...rows.map(({ row }) => row)),
          ),
        ),
      ),
    );
    return (state, { experts }) => {
      rows.forEach(({ inputs, row }, m) => {
        row.hidden = m >= experts.length;
        if (row.hidden) return;
        toFields(experts[m]).forEach((value, k) => {
          if (inputs[k] !== document.activeElement) inputs[k].value = Number(value.toFixed(4));
        });
      });
    };
  }

  function shown(state, name, wanted) {
    const hides = (other) => (other === name ? !wanted : state.hidden.includes(other));
    return { ...state, hidden: AVERAGES.filter(hides) };
  }

  function withExpert(state, m, change) {
    const experts = state.experts.map((q, k) => (k === m ? tidy({ ...q, ...change }) : q));
    return { ...state, experts };
  }

  function withOrWithoutThird(state) {
    const { experts } = state;
    return { ...state, experts: experts.length < 3 ? [...experts, THIRD] : experts.slice(0, 2) };
  }

  function fromFields([x, y, a, b, correlation]) {
    const [first, second, angle] = toAxes([a * a, correlation * a * b, b * b]);
    return { x, y, first, second, degrees: (angle * 180) / Math.PI };
  }

  function toFields({ mean, cov: [xx, xy, yy] }) {
    return [...mean, Math.sqrt(xx), Math.sqrt(yy), xy / Math.sqrt(xx * yy)];
  }

  function described(average) {
    const [x, y, a, b, correlation] = toFields(average).map((value) => digits(value, 2));
    return `(${x}, ${y}) ± (${a}, ${b}), ρ ${correlation}`;
  }

  function slider([min, max], step, label) {
    return element("input", { type: "range", min, max, step, "aria-label": label });
  }

  return { digits, fields, namesOf, sliders, table };
})();

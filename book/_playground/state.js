/*
 * What the reader has chosen: the experts, the power r, and which averages are hidden.
 *
 * The part of the address after # holds it, so that a state can be shared:
 * expert=x,y,first,second,degrees,weight for each expert, power=0.5, hide=moment-match,product.
 * An expert has standard deviations `first` at an angle of `degrees`, and `second` across it.
 */
"use strict";

playground.state = (() => {
  const { AVERAGES } = playground.comparison;
  const LIMITS = {
    x: [-4.7, 4.7],
    y: [-2.7, 2.7],
    first: [0.15, 2.5],
    second: [0.15, 2.5],
    degrees: [-180, 180],
    weight: [0.01, 1],
  };
  const FIELDS = Object.keys(LIMITS);
  const POWER = [0.05, 0.95];
  const HIDDEN = ["moment-match"]; // unless the address says otherwise
  const STEM = 0.45; // from one standard deviation to the handle, which must not sit on the centre
  const VIEW = { x: 5, y: 3 }; // half of the picture's width and height

  /** The state that an address holds, brought within limits, or null if it holds none. */
  function read(hash) {
    const parameters = new URLSearchParams(hash.replace(/^#/, ""));
    const rows = parameters.getAll("expert").map((row) => row.split(",").map(parseFinite));
    if (rows.length < 2 || rows.length > 3) return null;
    if (rows.some((row) => row.length !== FIELDS.length || row.includes(null))) return null;
    const experts = rows.map((row) =>
      tidy(Object.fromEntries(FIELDS.map((field, k) => [field, row[k]]))),
    );
    const power = parseFinite(parameters.get("power") ?? "") ?? 0.5;
    const names = (parameters.get("hide") ?? HIDDEN.join()).split(",");
    const hidden = AVERAGES.filter((name) => names.includes(name));
    return { experts, power: clamp(round(power, 2), POWER), hidden };
  }

  /** The part of the address that `read` turns into this state. */
  function write({ experts, power, hidden }) {
    const parts = experts.map((expert) => `expert=${FIELDS.map((field) => expert[field])}`);
    if (power !== 0.5) parts.push(`power=${power}`);
    if (hidden.join() !== HIDDEN.join()) parts.push(`hide=${hidden}`);
    return `#${parts.join("&")}`;
  }

  /** An expert within limits, with as many digits as its address holds. */
  function tidy(expert) {
    const turned = { ...expert, degrees: expert.degrees - 360 * Math.round(expert.degrees / 360) };
    const entries = FIELDS.map((field) => [field, clamp(round(turned[field], 3), LIMITS[field])]);
    return Object.fromEntries(entries);
  }

  /** Where a handle of an expert stands: its centre, or beyond the end of an axis. */
  function handleAt(expert, handle) {
    const { x, y } = expert;
    if (handle === "centre") return [x, y];
    const angle = ((expert.degrees + (handle === "second" ? 90 : 0)) * Math.PI) / 180;
    const [dx, dy] = [Math.cos(angle), Math.sin(angle)].map((c) => c * (expert[handle] + STEM));
    // An axis has two ends. In a corner both may be out of the picture, but a handle must not be.
    const ends = [[x + dx, y + dy], [x - dx, y - dy]];
    return ends.find(inView) ?? inside(ends[0]);
  }

  /** The expert after one of its handles was moved to a point. */
  function moved(expert, handle, point) {
    const [x, y] = inside(point), [dx, dy] = [x - expert.x, y - expert.y];
    if (handle === "centre") return tidy({ ...expert, x, y });
    const quarter = handle === "second" ? 90 : 0;
    const degrees = (Math.atan2(dy, dx) * 180) / Math.PI - quarter;
    return tidy({ ...expert, degrees, [handle]: Math.hypot(dx, dy) - STEM });
  }

  /** The state a part of the way from one to another; half an ellipse's turn is none. */
  function between(from, to, part) {
    if (from.experts.length !== to.experts.length) return to;
    const experts = from.experts.map((a, m) => {
      const b = to.experts[m];
      const turn = b.degrees - a.degrees;
      const target = { ...b, degrees: a.degrees + turn - 180 * Math.round(turn / 180) };
      return tidy(Object.fromEntries(FIELDS.map((f) => [f, a[f] + part * (target[f] - a[f])])));
    });
    return { ...to, experts, power: from.power + part * (to.power - from.power) };
  }

  const inside = ([x, y]) => [clamp(x, [-VIEW.x, VIEW.x]), clamp(y, [-VIEW.y, VIEW.y])];
  const inView = ([x, y]) => Math.abs(x) <= VIEW.x && Math.abs(y) <= VIEW.y;
  const clamp = (value, [low, high]) => Math.min(Math.max(value, low), high);
  const round = (value, digits) => Math.round(value * 10 ** digits) / 10 ** digits;

  function parseFinite(text) {
    const value = text.trim() === "" ? NaN : Number(text);
    return Number.isFinite(value) ? value : null;
  }

  return { POWER, FIELDS, LIMITS, VIEW, between, handleAt, moved, read, tidy, write };
})();

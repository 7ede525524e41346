/*
 * Integrals over the plane for averages that are not Gaussian.
 *
 * The trapezoidal rule on a tensor grid. Each axis is mapped so that its points lie as densely
 * around an expert as that expert is narrow; for densities as smooth as these the error then falls
 * faster than any power of the step.
 */
"use strict";

playground.quadrature = (() => {
  const { inverse, logDensity } = playground.gaussians;
  const STEP = 0.3; // between points at an expert, in its conditional standard deviations
  const CORE = 5; // marginal standard deviations around an expert over which they stay that dense
  const REACH = 8.5; // marginal standard deviations beyond which an expert is taken for zero
  const MOST = 301; // points along an axis

  /** Points and cell areas of a grid that resolves these experts, and their log-densities there. */
  function grid(experts, step = STEP) {
    const [x, y] = [axis(experts, 0, step), axis(experts, 1, step)];
    const columns = x.points.length, size = columns * y.points.length;
    const areas = new Float64Array(size).map(
      (_, at) => x.widths[at % columns] * y.widths[Math.floor(at / columns)],
    );
    const logs = experts.map((q) =>
      new Float64Array(size).map((_, at) =>
        logDensity(q, x.points[at % columns], y.points[Math.floor(at / columns)]),
      ),
    );
    return { x: x.points, y: y.points, areas, logs };
  }

  /** A function of the experts' log-densities, normalised to a log-density on the grid. */
  function normalised({ areas, logs }, logUnnormalised) {
    const here = new Array(logs.length);
    const values = areas.map((_, at) => {
      for (let m = 0; m < logs.length; m++) here[m] = logs[m][at];
      return logUnnormalised(here);
    });
    const top = values.reduce((a, b) => Math.max(a, b));
    const mass = values.reduce((sum, value, at) => sum + areas[at] * Math.exp(value - top), 0);
    return values.map((value) => value - top - Math.log(mass));
  }

  /**
   * Moments of a log-density `q` on the grid, and its mean divergences to the experts: `reverse`
   * Σ w KL(q||q_m), `forward` Σ w KL(q_m||q), `power` Σ w D_r(q_m, q). `error` is by how much
   * these change if three points in four are left out, more than they are wrong by.
   */
  function measure(grid, q, weights, power) {
    const result = sums(grid, q, weights, power, 1), check = sums(grid, q, weights, power, 2);
    const changes = ["reverse", "forward", "power"].map((k) => Math.abs(result[k] - check[k]));
    return { ...result, error: Math.max(...changes) };
  }

  function sums({ x, y, areas, logs }, q, weights, power, stride) {
    let mass = 0, mx = 0, my = 0, xx = 0, xy = 0, yy = 0, reverse = 0, forward = 0, overlap = 0;
    for (let j = 0; j < y.length; j += stride) {
      for (let i = 0; i < x.length; i += stride) {
        const at = j * x.length + i, area = areas[at] * stride * stride;
        const here = area * Math.exp(q[at]);
        mass += here;
        mx += here * x[i];
        my += here * y[j];
        xx += here * x[i] * x[i];
        xy += here * x[i] * y[j];
        yy += here * y[j] * y[j];
        for (let m = 0; m < weights.length; m++) {
          const w = weights[m], log = logs[m][at], ratio = q[at] - log;
          reverse += w * here * ratio;
          forward -= w * area * Math.exp(log) * ratio;
          overlap += w * area * Math.exp(log + (1 - power) * ratio);
        }
      }
    }
    mx /= mass;
    my /= mass;
    const cov = [xx / mass - mx * mx, xy / mass - mx * my, yy / mass - my * my];
    return { mean: [mx, my], cov, reverse, forward, power: (1 - overlap) / (power * (1 - power)) };
  }

  /** Points along one axis, evenly spaced in Σ_m arctan, and the widths of their cells. */
  function axis(experts, dimension, step) {
    const terms = experts.map((q) => {
      const marginal = Math.sqrt(q.cov[2 * dimension]);
      const conditional = 1 / Math.sqrt(inverse(q.cov)[2 * dimension]);
      return { centre: q.mean[dimension], width: CORE * marginal, rate: 1 / conditional };
    });
    const place = (x) =>
      terms.reduce((sum, t) => sum + t.rate * t.width * Math.atan((x - t.centre) / t.width), 0);
    const slope = (x) =>
      terms.reduce((sum, t) => sum + t.rate / (1 + ((x - t.centre) / t.width) ** 2), 0);

    const reach = REACH / CORE;
    const low = Math.min(...terms.map((t) => t.centre - reach * t.width));
    const high = Math.max(...terms.map((t) => t.centre + reach * t.width));
    const [first, last] = [place(low), place(high)];
    // An even number of cells, so that every second point has both ends.
    const cells = 2 * Math.ceil(Math.min(MOST - 1, (last - first) / step) / 2);
    const gap = (last - first) / cells;

    const points = new Float64Array(cells + 1), widths = new Float64Array(cells + 1);
    for (let i = 0; i <= cells; i++) {
      const start = i ? points[i - 1] : low;
      points[i] = i ? invert(place, first + i * gap, start, high) : low;
      widths[i] = gap / slope(points[i]);
    }
    return { points, widths };
  }

  /** Where an increasing function takes a value, between two points, by bisection. */
  function invert(increasing, value, low, high) {
    for (let halving = 0; halving < 52; halving++) {
      const middle = 0.5 * (low + high);
      if (increasing(middle) < value) low = middle;
      else high = middle;
    }
    return 0.5 * (low + high);
  }

  return { grid, normalised, measure };
})();

/*
 * The smallest region that holds a share of a density's mass, and its outline.
 *
 * For a Gaussian and the share 1 - exp(-2), about 86 percent, the outline is the ellipse at two
 * standard deviations, so Gaussians and other densities are drawn by one rule.
 */
"use strict";

playground.contours = (() => {
  const { squareRoot } = playground.gaussians;
  const DEVIATIONS = 2;
  const SHARE = 1 - Math.exp(-(DEVIATIONS ** 2) / 2);

  /** Outline of a Gaussian: one closed line of points. */
  function ofGaussian({ mean: [x, y], cov }, corners = 72) {
    const [a, b, c] = squareRoot(cov).map((value) => DEVIATIONS * value);
    const line = Array.from({ length: corners }, (_, k) => {
      const [p, q] = [Math.cos, Math.sin].map((f) => f((2 * Math.PI * k) / corners));
      return [x + a * p + b * q, y + b * p + c * q];
    });
    return [line];
  }

  /** Outline of a log-density on a grid: closed lines, one for each hump or hole. */
  function ofDensity(grid, logs) {
    return levelLines(grid.x, grid.y, logs, massLevel(grid.areas, logs, SHARE));
  }

  /** The level above which a log-density holds this share of its mass. */
  function massLevel(areas, logs, share) {
    let high = logs.reduce((a, b) => Math.max(a, b)), low = high - 40;
    const masses = logs.map((log, at) => areas[at] * Math.exp(log));
    for (let halving = 0; halving < 40; halving++) {
      const middle = 0.5 * (low + high);
      let mass = 0;
      for (let at = 0; at < logs.length; at++) if (logs[at] > middle) mass += masses[at];
      if (mass > share) low = middle;
      else high = middle;
    }
    return low;
  }

  /** Closed lines on which `values`, given at grid points, crosses a level: marching squares. */
  function levelLines(xs, ys, values, level) {
    const columns = xs.length;
    const next = new Map(); // from the edge on which a piece of the line starts to where it ends
    const above = (at) => values[at] > level;
    for (let j = 0; j + 1 < ys.length; j++) {
      for (let i = 0; i + 1 < columns; i++) {
        const at = j * columns + i, inside = above(at), up = at + columns;
        if (above(at + 1) === inside && above(up) === inside && above(up + 1) === inside) continue;
        // Corners and edges counter-clockwise; an edge is 2 * its first point, + 1 if vertical.
        const corners = [at, at + 1, up + 1, up].map(above);
        const edges = [2 * at, 2 * (at + 1) + 1, 2 * up, 2 * at + 1];
        const enters = [0, 1, 2, 3].filter((k) => corners[k] && !corners[(k + 1) % 4]);
        const leaves = [0, 1, 2, 3].filter((k) => !corners[k] && corners[(k + 1) % 4]);
        // At a saddle each piece turns around the nearer corner.
        enters.forEach((k) => {
          const end = leaves.length === 1 ? leaves[0] : (k + 3) % 4;
          next.set(edges[k], edges[end]);
        });
      }
    }
    const point = (edge) => {
      const at = edge >> 1, [i, j] = [at % columns, Math.floor(at / columns)];
      const other = edge & 1 ? at + columns : at + 1;
      const part = (level - values[at]) / (values[other] - values[at]);
      return edge & 1
        ? [xs[i], ys[j] + part * (ys[j + 1] - ys[j])]
        : [xs[i] + part * (xs[i + 1] - xs[i]), ys[j]];
    };
    const lines = [];
    while (next.size) {
      const line = [];
      for (let edge = next.keys().next().value; next.has(edge); ) {
        line.push(point(edge));
        const following = next.get(edge);
        next.delete(edge);
        edge = following;
      }
      lines.push(line);
    }
    return lines;
  }

  return { SHARE, levelLines, massLevel, ofDensity, ofGaussian };
})();

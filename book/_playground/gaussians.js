/*
 * Gaussians in the plane, { mean: [x, y], cov: [xx, xy, yy] }, and how far apart they are.
 *
 * The scripts of this folder are plain ones, not modules, so that the page also works when it is
 * opened from a disk. They share one global name, `playground`.
 */
"use strict";

var playground = {};

playground.gaussians = (() => {
  /** The Gaussian with standard deviations `long` at `angle` (radians) and `short` across it. */
  function fromAxes(mean, long, short, angle) {
    const c = Math.cos(angle), s = Math.sin(angle);
    const [a, b] = [long ** 2, short ** 2];
    return { mean, cov: [a * c * c + b * s * s, (a - b) * c * s, a * s * s + b * c * c] };
  }

  /** The inverse of fromAxes: [long, short, angle], the angle in (-π/2, π/2]. */
  function toAxes([xx, xy, yy]) {
    const middle = (xx + yy) / 2, spread = Math.hypot((xx - yy) / 2, xy);
    const lengths = [middle + spread, Math.max(middle - spread, 0)].map(Math.sqrt);
    return [...lengths, 0.5 * Math.atan2(2 * xy, xx - yy)];
  }

  /** Log-density at the point (x, y), in nats. */
  function logDensity({ mean, cov }, x, y) {
    const offset = [x - mean[0], y - mean[1]];
    const norm = Math.log(2 * Math.PI) + 0.5 * Math.log(det(cov));
    return -0.5 * quadratic(inverse(cov), offset) - norm;
  }

  /** KL(q || p), in nats. */
  function kl(q, p) {
    const precision = inverse(p.cov);
    const shift = quadratic(precision, minus(q.mean, p.mean));
    const ratio = Math.log(det(q.cov) / det(p.cov));
    return 0.5 * (traceOfProduct(precision, q.cov) + shift - 2 - ratio);
  }

  /** Squared 2-Wasserstein distance; for 2 x 2 matrices (tr √A)² = tr A + 2 √(det A). */
  function w2Squared(q, p) {
    const [x, y] = minus(q.mean, p.mean);
    const cross = traceOfProduct(q.cov, p.cov) + 2 * Math.sqrt(det(q.cov) * det(p.cov));
    return Math.max(0, x * x + y * y + trace(q.cov) + trace(p.cov) - 2 * Math.sqrt(cross));
  }

  /** Alpha-divergence (1 - ∫ p^r q^(1-r)) / (r (1-r)), 0 < r < 1. */
  function alphaDivergence(p, q, r) {
    const mixed = blend([1 - r, r], [p.cov, q.cov]);
    const shift = r * (1 - r) * quadratic(inverse(mixed), minus(p.mean, q.mean));
    const volumes = (1 - r) * Math.log(det(p.cov)) + r * Math.log(det(q.cov));
    return -Math.expm1(0.5 * (volumes - Math.log(det(mixed)) - shift)) / (r * (1 - r));
  }

  // Symmetric 2 x 2 matrices [xx, xy, yy].
  const det = ([xx, xy, yy]) => xx * yy - xy * xy;
  const trace = ([xx, , yy]) => xx + yy;
  const traceOfProduct = (a, b) => a[0] * b[0] + 2 * a[1] * b[1] + a[2] * b[2];
  const quadratic = ([xx, xy, yy], [x, y]) => xx * x * x + 2 * xy * x * y + yy * y * y;
  const minus = (a, b) => a.map((value, i) => value - b[i]);
  /** Σ w_m a_m of vectors or matrices. */
  const blend = (w, terms) => terms[0].map((_, i) => w.reduce((s, v, m) => s + v * terms[m][i], 0));

  function inverse([xx, xy, yy]) {
    const d = xx * yy - xy * xy;
    return [yy / d, -xy / d, xx / d];
  }

  /** The positive definite square root, by Cayley and Hamilton: (A + √(det A) I) / tr √A. */
  function squareRoot([xx, xy, yy]) {
    const s = Math.sqrt(det([xx, xy, yy]));
    const t = Math.sqrt(xx + yy + 2 * s);
    return [(xx + s) / t, xy / t, (yy + s) / t];
  }

  /** A B A. */
  function sandwich([a, b, c], [xx, xy, yy]) {
    const [p, q] = [a * xx + b * xy, a * xy + b * yy];
    const [r, s] = [b * xx + c * xy, b * xy + c * yy];
    return [p * a + q * b, p * b + q * c, r * b + s * c];
  }

  return {
    fromAxes, toAxes, logDensity, kl, w2Squared, alphaDivergence,
    det, quadratic, minus, blend, inverse, squareRoot, sandwich,
  };
})();

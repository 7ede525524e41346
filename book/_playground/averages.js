/*
 * The averages of Gaussian experts. Weights sum to one.
 *
 * Four averages are Gaussian. The mixture and the power mean are not, and are given by
 * log-densities, up to a constant, as functions of the experts' log-densities at a point.
 */
"use strict";

playground.averages = (() => {
  const { blend, det, inverse, minus, sandwich, squareRoot } = playground.gaussians;

  /** Product of the experts with exponents one, whatever their weights. */
  function product(experts) {
    return pool(experts, experts.map(() => 1));
  }

  /** Weighted geometric mean. */
  function logPool(experts, weights) {
    return pool(experts, weights);
  }

  /** The Gaussian with the mixture's mean and covariance. */
  function momentMatch(experts, weights) {
    const mean = blend(weights, experts.map((q) => q.mean));
    const second = experts.map((q) => {
      const [x, y] = minus(q.mean, mean);
      return [q.cov[0] + x * x, q.cov[1] + x * y, q.cov[2] + y * y];
    });
    return { mean, cov: blend(weights, second) };
  }

  /** 2-Wasserstein barycenter, by the fixed point of Álvarez-Esteban et al. (2016). */
  function wasserstein(experts, weights) {
    const mean = blend(weights, experts.map((q) => q.mean));
    let cov = blend(weights, experts.map((q) => q.cov));
    for (let iteration = 0; iteration < 500; iteration++) {
      const root = squareRoot(cov);
      const roots = experts.map((q) => squareRoot(sandwich(root, q.cov)));
      const inner = blend(weights, roots);
      const next = sandwich(inverse(root), squareOf(inner));
      const moved = Math.hypot(...minus(next, cov)) / Math.hypot(...cov);
      cov = next;
      if (moved < 1e-14) break;
    }
    return { mean, cov };
  }

  /** log Σ w_m q_m(z), from the log q_m(z). */
  function logMixture(logs, weights) {
    return logSum(logs, weights, 1);
  }

  /** log (Σ w_m q_m(z)^r)^(1/r): log-pool as r falls to 0, Hellinger at 1/2, mixture at 1. */
  function logPowerMean(logs, weights, power) {
    return logSum(logs, weights, power) / power;
  }

  function pool(experts, exponents) {
    const precisions = experts.map((q) => inverse(q.cov));
    const votes = experts.map((q, m) => times(precisions[m], q.mean));
    const cov = inverse(blend(exponents, precisions));
    return { mean: times(cov, blend(exponents, votes)), cov };
  }

  function logSum(logs, weights, power) {
    let top = -Infinity, sum = 0;
    for (const value of logs) if (value > top) top = value;
    for (let m = 0; m < logs.length; m++) sum += weights[m] * Math.exp(power * (logs[m] - top));
    return power * top + Math.log(sum);
  }

  const times = ([xx, xy, yy], [x, y]) => [xx * x + xy * y, xy * x + yy * y];
  const squareOf = (a) => sandwich(a, [1, 0, 1]);

  return { product, logPool, momentMatch, wasserstein, logMixture, logPowerMean };
})();

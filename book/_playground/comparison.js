/*
 * Every average of the same experts beside the others, and what each costs under each objective.
 */
"use strict";

playground.comparison = (() => {
  const { alphaDivergence, fromAxes, kl, w2Squared } = playground.gaussians;
  const { logPowerMean, logMixture, logPool, momentMatch, product, wasserstein } =
    playground.averages;
  const { grid, measure, normalised } = playground.quadrature;

  const AVERAGES = ["product", "log-pool", "wasserstein", "power-mean", "mixture", "moment-match"];
  const OBJECTIVES = ["reverse", "forward", "w2", "power"];

  /** The experts of a state as Gaussians, and their weights, which sum to one. */
  function expertsOf(state) {
    const total = state.experts.reduce((sum, { weight }) => sum + weight, 0);
    const experts = state.experts.map(({ x, y, first, second, degrees }) =>
      fromAxes([x, y], first, second, (degrees * Math.PI) / 180),
    );
    return { experts, weights: state.experts.map(({ weight }) => weight / total) };
  }

  /**
   * The averages of a state by name: mean, covariance and objectives, and for those that are not
   * Gaussian `logs`, their log-density on the `grid`. For these W2 is a bound from below: that of
   * the Gaussian with the same mean and covariance. `error` is that of all integrals.
   */
  function compare(state) {
    const { experts, weights } = expertsOf(state), { power } = state;
    const points = grid(experts);
    const ofGaussian = (q) => {
      return { ...q, logs: null, objectives: closed(q, experts, weights, power) };
    };
    const onGrid = (rule) => {
      const logs = normalised(points, rule);
      const { mean, cov, error, ...objectives } = measure(points, logs, weights, power);
      const w2 = average(weights, experts, (p) => w2Squared({ mean, cov }, p));
      return { mean, cov, logs, error, objectives: { ...objectives, w2 } };
    };
    const averages = {
      "product": ofGaussian(product(experts)),
      "log-pool": ofGaussian(logPool(experts, weights)),
      "wasserstein": ofGaussian(wasserstein(experts, weights)),
      "power-mean": onGrid((logs) => logPowerMean(logs, weights, power)),
      "mixture": onGrid((logs) => logMixture(logs, weights)),
      "moment-match": ofGaussian(momentMatch(experts, weights)),
    };
    const error = Math.max(averages["power-mean"].error, averages.mixture.error);
    return { experts, weights, averages, grid: points, error };
  }

  /** Names of the averages with the least known value of an objective; several if they agree. */
  function least(averages, objective) {
    const known = AVERAGES.filter((name) => objective !== "w2" || !averages[name].logs);
    const values = known.map((name) => averages[name].objectives[objective]);
    const smallest = Math.min(...values);
    return known.filter((_, k) => values[k] <= smallest + 1e-6 * Math.max(1, smallest));
  }

  function closed(q, experts, weights, power) {
    return {
      reverse: average(weights, experts, (p) => kl(q, p)),
      forward: average(weights, experts, (p) => kl(p, q)),
      w2: average(weights, experts, (p) => w2Squared(q, p)),
      power: average(weights, experts, (p) => alphaDivergence(p, q, power)),
    };
  }

  const average = (weights, experts, value) =>
    experts.reduce((sum, p, m) => sum + weights[m] * value(p), 0);

  return { AVERAGES, OBJECTIVES, compare, expertsOf, least };
})();

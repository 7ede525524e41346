"""Chains on a trained model: against Pyro's NUTS, a grid, and the settings of the released code."""

from __future__ import annotations

import warnings
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor

from multielbo import diagnostics, gaussians
from multielbo.hmc import ADAPTED, RELEASED, hmc
from multielbo.joint_first import JointFirst
from multielbo.quadrants import NOISE, answered, draw, pair_density, quadrant, trained
from multielbo.quadrature import Plane
from multielbo.unimodal import UnimodalPosteriors

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its progress bars ask for widgets
    import pyro
    from pyro.infer.mcmc import MCMC, NUTS

PLANE = Plane(extent=7.0, side=57)
FEW = 4  # examples of which NUTS is asked


@pytest.fixture(scope="module")
def data():
    generator = Generator().manual_seed(0)
    return draw("train", 2000, generator), draw("test", 1000, generator)


@pytest.fixture(scope="module")
def model(data) -> JointFirst:
    return trained(data[0], seed=0)


@pytest.fixture(scope="module")
def grid(model, data) -> Tensor:
    return on_the_plane(model, data[1])


def on_the_plane(model, examples) -> Tensor:
    """Probabilities of the plane's points under the product of every pair, `(B, P)`."""
    with torch.no_grad():
        log_product = pair_density(model, examples)(PLANE.points[:, None]).T
    return PLANE.posterior(log_product).exp() * PLANE.cell


def with_posteriors(model, posteriors: UnimodalPosteriors) -> JointFirst:
    """Wrong twin: the same model with other unimodal posteriors."""
    other = deepcopy(model)
    other.posteriors = posteriors
    other.aggregator = replace(model.aggregator, posteriors=posteriors)
    return other


def chains(target, iterations: int = 50) -> Tensor:
    """Our draws `(draws, chains, B, 2)`, which start from the prior and find their own step."""
    source = Generator().manual_seed(1)
    return hmc(
        target,
        torch.randn(64, FEW, 2, generator=source, dtype=torch.float64),
        step_size=torch.full((FEW,), 0.2, dtype=torch.float64),
        leapfrog_steps=8,
        vary=True,
        iterations=iterations,
        warmup=30,
        generator=source,
    ).z


def nuts(target) -> Tensor:
    """Those of Pyro, of one large density: 32 chains of every example are its coordinates."""
    pyro.set_rng_seed(0)
    begin = torch.randn(32, FEW, 2, generator=Generator().manual_seed(2), dtype=torch.float64)
    run = MCMC(
        NUTS(potential_fn=lambda state: -target(state["z"]).sum(), target_accept_prob=0.6),
        num_samples=30,
        warmup_steps=15,
        initial_params={"z": begin},
        disable_progbar=True,
    )
    run.run()
    return run.get_samples()["z"]


def moments(z: Tensor) -> Tensor:
    return torch.cat([z, z.square(), z.prod(-1, keepdim=True)], -1)


def estimates(z: Tensor) -> tuple[Tensor, Tensor]:
    """Moments of draws, and standard errors from effective sizes, of at most the draws' number."""
    values = moments(z)
    effective = diagnostics.effective_sample_size(values).clamp(max=len(z) * z.shape[1])
    return values.mean((0, 1)), values.flatten(0, 1).std(0) / effective.sqrt()


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference of a moment, in combined standard errors."""
    (first, its_error), (second, error) = estimates(one), estimates(other)
    return float(((first - second) / (its_error.square() + error.square()).sqrt()).abs().max())


def test_chains_on_trained_flows_have_the_moments_of_nuts_and_of_a_grid(model, data, grid):
    few = data[1].take(torch.arange(FEW))
    target = pair_density(model, few)
    ours, theirs = chains(target), nuts(target)
    assert diagnostics.r_hat(ours).max() < 1.1
    assert apart(ours, theirs) < 4.5, "twenty moments"
    for z in (ours, theirs):
        mean, error = estimates(z)
        assert ((mean - grid[:FEW] @ moments(PLANE.points)) / error).abs().max() < 4.5

    flows = dict(model.posteriors.flows)
    swapped = flows | {"first": flows["second"], "second": flows["first"]}
    others = UnimodalPosteriors(model.posteriors.encoders, swapped)
    twins = {
        "not divided by the prior": lambda z: target(z) + gaussians.log_prior(z),
        "each with the flow of the other": pair_density(with_posteriors(model, others), few),
    }
    for name, twin in twins.items():
        assert apart(chains(twin, 15), theirs) > 10, name


def test_the_trained_flows_bend_and_their_products_have_an_integral(model, data, grid):
    border = PLANE.points.abs().amax(-1) > 6
    assert grid[:, border].sum(1).max() < 1e-3, "chains would walk away"
    straight = UnimodalPosteriors(model.posteriors.encoders, None)
    without = on_the_plane(with_posteriors(model, straight), data[1])
    total_variation = (without - grid).abs().sum(1) / 2
    assert total_variation.median() > 0.1, "the check must be one of flows"


def test_adapted_steps_are_as_coherent_as_the_released_settings_and_as_the_product(
    model, data, grid
):
    """Coherent: the third modality is generated in the quadrant that the other two belong to."""
    test = data[1]

    def coherent(z: Tensor) -> Tensor:
        return (quadrant(model.generate("point", z)) == test.labels).double()

    exact = (grid * coherent(PLANE.points.float()[:, None]).T).sum(1)
    mean = grid @ PLANE.points
    width = (grid @ PLANE.points.square() - mean.square()).sqrt()
    found, squares = {}, {}
    for name, sampler in {
        "adapted": ADAPTED,
        "released": RELEASED,
        "start": {"iterations": 1, "leapfrog_steps": 1, "step_size": 1e-6},  # it stays there
    }.items():
        z = answered(model, test, sampler)
        found[name], squares[name] = coherent(z), ((z - mean) / width).square()

    def errors(values: Tensor, known: float | Tensor = 0.0) -> Tensor:
        """How far a mean over examples is from what is known, in standard errors."""
        return (values - known).mean(0) / ((values - known).std(0) / len(values) ** 0.5)

    assert abs(errors(found["adapted"], exact)) < 4
    assert abs(errors(found["released"], exact)) < 4
    assert abs(errors(found["adapted"] - found["released"])) < 4
    assert errors(found["adapted"] - found["start"]) > 8, "the chain must be needed"
    assert (errors(squares["adapted"], 1.0).abs() < 4).all()
    assert (errors(squares["start"], 1.0) > 8).all()
    # A hundred trajectories of length 0.1 have not forgotten where they started.
    assert errors(squares["released"], 1.0).max() > 2


def test_the_quadrant_of_what_is_shown_is_the_most_probable_class():
    """Against the posterior of the point given what the third modality shows, integrated."""
    shown = torch.tensor([[0.3, -0.2], [-1.0, 0.05], [-0.1, -0.4], [0.6, 0.6]]).double()
    share = 1 / (1 + NOISE["point"] ** 2)
    right, upper = torch.special.ndtr(shown * share**0.5 / NOISE["point"]).unbind(-1)
    chances = torch.stack(
        [(1 - right) * (1 - upper), (1 - right) * upper, right * (1 - upper), right * upper], 1
    )
    assert torch.equal(chances.argmax(1), quadrant(shown))

"""Flows: change of variables against autograd, who depends on whom, and what a direction costs."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.func import jacrev, vmap
from zuko.flows.autoregressive import MaskedAutoregressiveTransform

from multielbo import flow_kinds, flows, gaussians

KINDS = {
    "masked": partial(flow_kinds.masked_autoregressive, width=16),
    "inverse": partial(flow_kinds.inverse_autoregressive, width=16),
    "coupling": partial(flow_kinds.coupling, width=16),
    "spline": partial(flow_kinds.spline, width=16),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def bent(flow: flows.Flow, spread: float = 0.4) -> flows.Flow:
    """With random weights, in double precision: a flow as made is the identity."""
    generator = torch.Generator().manual_seed(1)
    for parameter in flow.double().parameters():
        nn.init.normal_(parameter, std=spread, generator=generator)
    return flow


def jacobian(flow: flows.Flow, z: torch.Tensor, context: torch.Tensor | None = None):
    """dz -> du of every row, by autograd."""
    if context is None:
        return vmap(jacrev(lambda each: flow(each[None])[0][0]))(z)
    one = jacrev(lambda each, features: flow(each[None], features[None])[0][0])
    return vmap(one)(z, context)


def passes(flow: flows.Flow, run) -> int:
    """How often the flow's networks are asked while `run` runs."""
    count = 0

    def counted(*_):
        nonlocal count
        count += 1

    hooks = [block.hyper.register_forward_hook(counted) for block in flow.blocks]
    run()
    for hook in hooks:
        hook.remove()
    return count


@pytest.mark.equation("eq-flow-density")
@pytest.mark.parametrize("latent_dim", [1, 2, 5])
@pytest.mark.parametrize("features", [0, 3])
def test_the_log_determinant_is_that_of_autograds_jacobian(kind, latent_dim, features, generator):
    flow = bent(kind(latent_dim, context_dim=features))
    z = torch.randn(7, latent_dim, dtype=torch.float64, generator=generator)
    context = torch.randn(7, features, dtype=torch.float64, generator=generator)
    context = context if features else None
    expected = torch.linalg.slogdet(jacobian(flow, z, context))[1]
    torch.testing.assert_close(flow(z, context)[1], expected)
    assert (expected.abs() > 0.01).any(), "a map that keeps volume would prove nothing"


def test_a_flow_and_its_inverse_undo_each_other(kind, generator):
    flow = bent(kind(6))
    z = torch.randn(2, 7, 6, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(flow.inverse(flow(z)[0]), z)
    torch.testing.assert_close(flow(flow.inverse(z))[0], z)


@pytest.mark.equation("eq-flow-density")
def test_a_density_behind_a_flow_integrates_to_one_and_without_its_determinant_does_not(kind):
    flow = bent(kind(2), 0.15)
    axis = torch.linspace(-9, 9, 181, dtype=torch.float64)
    z = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    loc, scale = torch.tensor([0.3, -0.2]).double(), torch.tensor([0.9, 1.2]).double()
    cell = (axis[1] - axis[0]) ** 2
    with torch.no_grad():
        mass = flows.log_density(flow, z, loc, scale).exp() * cell
        twin = gaussians.log_density(flow(z)[0], loc, scale).exp().sum() * cell
    # A grid of twice the spacing says how far this one may be off.
    error = abs(mass.sum() - 4 * mass[::2, ::2].sum())
    assert abs(mass.sum() - 1) < error + 1e-5
    assert error < 0.05
    assert abs(twin - 1) > 0.1


@pytest.mark.equation("eq-flow-density")
def test_draws_have_the_density_that_is_claimed_for_them(kind, generator):
    flow = bent(kind(3), 0.15)
    loc, scale = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    scale = scale.exp()
    with torch.no_grad():
        z = flows.sample(flow, loc.expand(4000, 3), scale.expand(4000, 3), generator)
        # E_q[p(z) / q(z)] = 1 for any density p that vanishes where q does.
        wide = gaussians.log_density(z, z.mean(0), 0.7 * z.std(0))
        ratio = (wide - flows.log_density(flow, z, loc, scale)).exp()
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / len(z) ** 0.5


def test_a_flow_starts_as_the_identity_so_a_posterior_starts_as_its_gaussian(kind, generator):
    flow = kind(4, context_dim=2).double()
    z = torch.randn(5, 4, dtype=torch.float64, generator=generator)
    u, log_det = flow(z, torch.randn(5, 2, dtype=torch.float64, generator=generator))
    torch.testing.assert_close((u, log_det), (z, torch.zeros(5, dtype=torch.float64)))


def test_a_flow_that_reads_features_of_x_is_another_map_for_another_x(kind, generator):
    flow = bent(kind(3, context_dim=2))
    z = torch.randn(3, dtype=torch.float64, generator=generator).expand(2, 3)
    u, _ = flow(z, torch.tensor([[0.0, 0.0], [2.0, -1.0]], dtype=torch.float64))
    assert (u[0] - u[1]).abs().max() > 0.01


@pytest.mark.equation("eq-maf")
def test_one_masked_block_is_affine_in_a_latent_given_those_before_it(generator):
    flow = bent(flow_kinds.masked_autoregressive(4, width=16, blocks=1))
    z = torch.randn(4, dtype=torch.float64, generator=generator)
    matrix = jacobian(flow, z[None])[0]
    assert (matrix.triu(1) == 0).all()
    moved = z.clone()
    moved[2] += 1.7
    change = (flow(moved)[0] - flow(z)[0])[2]
    torch.testing.assert_close(change, 1.7 * matrix[2, 2])
    twin = bent(flow_kinds.spline(4, width=16, blocks=1))
    bend = (twin(moved)[0] - twin(z)[0])[2] - 1.7 * jacobian(twin, z[None])[0][2, 2]
    assert bend.abs() > 1e-3


def conditioners(flow: flows.Flow, latent_dim: int) -> int:
    """How many latents have a say in what happens to another one."""
    for parameter in flow.double().parameters():  # positive, so that no unit is off by accident
        nn.init.constant_(parameter, 1e-2)
    depends = jacobian(flow, torch.ones(1, latent_dim).double())[0] != 0
    return int((depends & ~torch.eye(latent_dim, dtype=torch.bool)).any(0).sum())


def narrow(latent_dim: int, width: int) -> flows.Flow:
    """Two blocks with fewer units than latents, past our check."""
    forwards = torch.arange(latent_dim)
    blocks = [
        MaskedAutoregressiveTransform(latent_dim, order=order, hidden_features=[width] * 3)
        for order in (forwards, forwards.flip(0))
    ]
    return flows.Flow(blocks, latent_dim)


def test_a_width_of_the_latent_size_lets_every_latent_condition_another_and_less_does_not():
    assert conditioners(flow_kinds.masked_autoregressive(40, width=40), 40) == 40
    assert conditioners(narrow(40, 10), 40) == 20
    assert conditioners(flow_kinds.masked_autoregressive(40, width=10, groups=10), 40) == 40


def test_the_released_flow_conditions_on_half_of_512_latents():
    sys.path.insert(0, str(Path(__file__).parents[1] / "data_scripts"))
    try:
        from torchvision_import import torchvision_datasets

        torchvision_datasets()
        from pythae.models.normalizing_flows.maf import MAF, MAFConfig
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed: pip install 'multielbo[bench]'")
    finally:
        sys.path.pop(0)
    released = MAF(MAFConfig(input_dim=(512,)))
    for parameter in released.parameters():  # positive, so that no unit is off by accident
        nn.init.constant_(parameter, 1e-2)
    one = torch.ones(1, 512)
    matrix = torch.autograd.functional.jacobian(lambda each: released(each).out[0], one)[:, 0]
    heard = int((matrix.fill_diagonal_(0) != 0).any(0).sum())
    assert heard == conditioners(narrow(512, 128), 512) == 256


def test_a_masked_flow_is_cheap_for_densities_an_inverse_one_for_draws_a_coupling_for_both():
    z = torch.randn(5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    cost = {}
    for name, make in KINDS.items():
        flow = bent(make(12))
        z.requires_grad_()  # with a gradient no pass may be left out
        cost[name] = (passes(flow, partial(flow, z)), passes(flow, partial(flow.inverse, z)))
    assert cost["masked"] == (2, 2 * 12)
    assert cost["inverse"] == (2 * 12 + 2, 2)  # and one pass each for the determinant
    assert cost["coupling"] == (4, 4)
    assert cost["spline"] == (2, 2 * 12)


def test_solving_stops_when_a_pass_changes_nothing_and_gives_the_same_bits():
    flow = bent(flow_kinds.masked_autoregressive(60, width=60), 0.02)
    u = torch.randn(9, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert passes(flow, lambda: flow.inverse(u)) < 60
        early = flow.inverse(u)
    assert torch.equal(early, flow.inverse(u).detach())


def test_groups_trade_passes_for_coarser_dependence():
    flow = bent(flow_kinds.masked_autoregressive(12, width=4, groups=4, blocks=1))
    z = torch.zeros(1, 12, dtype=torch.float64, requires_grad=True)
    assert passes(flow, lambda: flow.inverse(z)) == 4
    depends = jacobian(flow, torch.randn(1, 12, dtype=torch.float64))[0] != 0
    group = torch.arange(12) // 3
    assert not (depends & ~torch.eye(12).bool() & (group[:, None] <= group)).any()


def test_a_fixed_copy_is_the_same_map_and_leaves_the_flow_as_it_was(kind, generator):
    flow = bent(kind(5, context_dim=2))
    z = torch.randn(4, 5, dtype=torch.float64, generator=generator)
    context = torch.randn(4, 2, dtype=torch.float64, generator=generator)
    copy = flows.fixed(flow)
    torch.testing.assert_close(copy(z, context), flow(z, context))
    torch.testing.assert_close(copy.inverse(z, context), flow.inverse(z, context))
    assert not any(p.requires_grad for p in copy.parameters())
    assert all(p.requires_grad for p in flow.parameters())


def test_shifts_before_log_scales_is_zukos_block_with_its_outputs_in_another_order(generator):
    ours = flow_kinds.AffineBlock(6, hidden_features=[12]).double()
    theirs = MaskedAutoregressiveTransform(6, hidden_features=[12]).double()
    theirs.load_state_dict(ours.state_dict())
    order = torch.arange(12).reshape(2, 6).T.flatten()  # from all shifts first to pairs
    last = theirs.hyper[-1]
    with torch.no_grad():
        for part in (last.weight, last.bias, last.mask):
            part.copy_(part[order].clone())
    z = torch.randn(3, 6, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(ours()(z), theirs()(z))
    last.mask.copy_(last.mask[order].clone())  # the twin: masks in the wrong order
    assert (ours()(z) - theirs()(z)).abs().max() > 1e-3


def test_an_inverse_flow_has_the_gradient_of_its_own_density(generator):
    flow = bent(flow_kinds.inverse_autoregressive(4, width=8))
    z = torch.randn(3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    loc, scale = torch.zeros(4).double(), torch.ones(4).double()
    assert torch.autograd.gradcheck(lambda each: flows.log_density(flow, each, loc, scale), z)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: flow_kinds.masked_autoregressive(512, width=128), "width of at least 512"),
        (lambda: flow_kinds.spline(8, width=7), "width of at least 8"),
        (lambda: flow_kinds.inverse_autoregressive(8, width=3, groups=4), "at most 3 groups"),
        (lambda: flow_kinds.coupling(8, width=0), "width is 0; give at least 1"),
        (lambda: flow_kinds.masked_autoregressive(0, width=4), "latent_dim is 0"),
        (
            lambda: flow_kinds.coupling(4, width=4)(torch.zeros(2, 5)),
            "given 5 latents and 0 features",
        ),
        (
            lambda: flow_kinds.coupling(4, width=4).inverse(torch.zeros(2, 4), torch.zeros(2, 3)),
            "given 4 latents and 3 features",
        ),
        (
            lambda: flow_kinds.coupling(4, width=4, context_dim=3)(torch.zeros(2, 4)),
            "built for 4 and 3",
        ),
    ],
)
def test_a_flow_of_the_wrong_width_is_refused_in_one_line(call, words):
    with pytest.raises(ValueError, match=words) as error:
        call()
    assert "\n" not in str(error.value)

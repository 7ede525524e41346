"""What two linear modalities share, from their covariance; and data in segments."""

import pytest
import torch
from scipy.linalg import subspace_angles
from torch.distributions import MultivariateNormal

from multielbo.segments import random_segments
from multielbo.shared_space import TwoModalities, rotation_between, split


@pytest.fixture
def truth(generator):
    def loadings(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return TwoModalities(
        (loadings(6, 2), loadings(4, 2)), (loadings(6, 3), loadings(4, 2)), (0.5, 0.8)
    )


@pytest.mark.equation("eq-shared-covariance")
def test_covariances_are_those_of_draws(truth, generator):
    n = 200_000
    z = torch.randn(n, 2, generator=generator).double()
    x = []
    for w, v, s in zip(*truth, strict=True):
        u = torch.randn(n, v.shape[1], generator=generator).double()
        noise = torch.randn(n, len(w), generator=generator).double()
        x.append(z @ w.T + u @ v.T + s * noise)
    own_1, own_2, between = truth.covariance()
    for a, b, c in [(x[0], x[0], own_1), (x[1], x[1], own_2), (x[0], x[1], between)]:
        error = (a.square().T @ b.square() / n**2).sqrt()
        assert ((a.T @ b / n - c).abs() < 5 * error).all()


@pytest.mark.equation("eq-shared-split")
def test_loadings_come_back_up_to_one_rotation_for_both_and_one_for_each(truth):
    found = split(truth.covariance(), truth.noise, 2, (3, 2))
    turn = rotation_between(found.shared[0], truth.shared[0])
    for w, v in zip(found.shared, truth.shared, strict=True):
        torch.testing.assert_close(w @ turn, v)
    for w, v in zip(found.private, truth.private, strict=True):
        torch.testing.assert_close(w @ rotation_between(w, v), v)
    torch.testing.assert_close(found.covariance(), truth.covariance())


def test_the_second_modality_may_have_more_latents_than_dimensions(truth, generator):
    many = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    wide = truth._replace(private=(truth.private[0], many))
    found = split(wide.covariance(), wide.noise, 2, (3, 6))
    assert found.private[1].shape == many.shape
    torch.testing.assert_close(found.covariance(), wide.covariance())
    torch.testing.assert_close(found.private[1] @ rotation_between(found.private[1], many), many)


def test_columns_of_the_cross_covariance_span_the_shared_loadings_and_not_the_rest(truth):
    between = truth.covariance()[2]
    column_space = torch.linalg.svd(between).U[:, :2]
    assert subspace_angles(column_space.numpy(), truth.shared[0].numpy()).max() < 1e-7
    both = torch.cat([truth.shared[0], truth.private[0]], 1)
    principal = torch.linalg.svd(both).U[:, :2]  # what one modality alone would offer
    assert subspace_angles(principal.numpy(), truth.shared[0].numpy()).max() > 0.1


def test_a_full_modality_hides_the_lengths_of_what_it_shares(truth):
    """With as many latents as dimensions the private part absorbs any change."""
    one = torch.ones(1, 1, dtype=torch.float64)
    plain = TwoModalities((one, one), (one, one), (0.5, 0.5))
    grown = TwoModalities(
        (1.2 * one, one / 1.2),
        ((2 - 1.2**2) ** 0.5 * one, (2 - 1.2**-2) ** 0.5 * one),
        (0.5, 0.5),
    )
    torch.testing.assert_close(plain.covariance(), grown.covariance())
    with pytest.raises(ValueError, match="the first modality has to be the wider"):
        split(plain.covariance(), plain.noise, 1, (1, 1))


def test_turning_shared_into_private_leaves_one_modality_and_changes_the_pair(truth):
    both = torch.cat([truth.shared[0], truth.private[0]], 1)
    gaussian = torch.randn(5, 5, generator=torch.Generator().manual_seed(1)).double()
    turned = both @ torch.linalg.qr(gaussian).Q
    other = TwoModalities(
        (turned[:, :2], truth.shared[1]), (turned[:, 2:], truth.private[1]), truth.noise
    )
    torch.testing.assert_close(other.covariance()[0], truth.covariance()[0])
    assert (other.covariance()[2] - truth.covariance()[2]).abs().max() > 0.1


def test_a_wrong_number_of_shared_latents_is_refused(truth):
    with pytest.raises(ValueError, match="has rank 2, not 1"):
        split(truth.covariance(), truth.noise, 1, (3, 2))


def test_a_latent_too_many_or_too_much_noise_is_refused(truth):
    with pytest.raises(ValueError, match="fewer than 6 directions beyond its noise"):
        split(truth.covariance(), truth.noise, 2, (4, 2))
    with pytest.raises(ValueError, match="give it fewer private latents or less noise"):
        split(truth.covariance(), (50.0, 0.8), 2, (3, 2))


@pytest.mark.equation("eq-segment-mixing")
def test_mixing_is_undone_and_is_affine_on_each_piece(generator):
    data = random_segments(5, 3, generator)
    z, _, _ = data.sample(1000, generator)
    torch.testing.assert_close(data.unmix(data.mix(z)), z)
    eye = torch.eye(3).double()
    torch.testing.assert_close(data.mixing @ data.mixing.T, eye)
    at = z[:50].requires_grad_()
    rows = [torch.autograd.grad(data.mix(at)[:, i].sum(), at)[0] for i in range(3)]
    jacobian = torch.stack(rows, 1)
    positive = (z[:50] @ data.mixing > 0).sum(1)
    torch.testing.assert_close(torch.linalg.det(jacobian).abs(), 0.1 ** (3 - positive).double())


def test_each_segment_has_its_own_mean_and_scale(generator):
    data = random_segments(4, 2, generator)
    z, x, segment = data.sample(40_000, generator)
    assert segment.bincount().tolist() == [10_000] * 4
    for k in range(4):
        loc, scale = data.prior.loc[k], data.prior.scale[k]
        assert ((z[segment == k].mean(0) - loc).abs() < 5 * scale / 100).all()
        assert ((z[segment == k].std(0) / scale - 1).abs() < 5 / 20_000**0.5).all()
    noise = (x - data.mix(z)) / data.noise
    assert abs(noise.std().item() - 1) < 5 / 160_000**0.5
    assert (data.prior.loc.abs() <= 5).all()
    assert ((data.prior.scale >= 0.5) & (data.prior.scale <= 3)).all()


def test_the_evidence_of_a_pair_is_that_of_the_covariances(truth):
    own_1, own_2, between = truth.covariance()
    joint = torch.cat([torch.cat([own_1, between], 1), torch.cat([between.T, own_2], 1)])
    MultivariateNormal(torch.zeros(10).double(), joint)  # refuses what is no covariance


@pytest.mark.parametrize(("examples", "segments"), [(7, 5), (3, 5), (0, 5)])
def test_examples_that_do_not_fill_the_segments_are_refused(examples, segments, generator):
    data = random_segments(segments, 2, generator)
    with pytest.raises(ValueError, match="take a multiple of 5"):
        data.sample(examples, generator)


def test_no_segment_and_no_dimension_are_refused(generator):
    for sizes in ((0, 2), (2, 0)):
        with pytest.raises(ValueError, match="each at least 1"):
            random_segments(*sizes, generator)

"""The atlas: every pool under every objective, each cell one change away from its neighbours."""

import pytest
import torch
from torch.testing import assert_close

from multielbo.aggregators import log_opinion_pool, wasserstein_barycenter
from multielbo.models.registry import CELLS, MODELS, build
from multielbo.objectives import joint_elbo, mixture_elbo, subsampled_elbo

# Pools by row, objectives by column.
ATLAS = {
    "product with prior": ("product", "mvae", "mopoe-with-prior"),
    "log-pool": ("log-pool", "log-pool-subsampled", "mixture-of-log-pools"),
    "Wasserstein": ("wb-vae", "wb-vae-subsampled", "mwb-vae"),
}
COLUMNS = (joint_elbo, subsampled_elbo, mixture_elbo)


@pytest.fixture
def experts(generator, dtype):
    loc = torch.randn(4, 5, 3, generator=generator, dtype=dtype)
    return loc, torch.rand(loc.shape, generator=generator, dtype=dtype) + 0.2


@pytest.mark.parametrize("row", ATLAS)
def test_a_row_of_the_atlas_shares_its_pool_and_a_column_its_objective(row, experts):
    everything = [build(name).aggregator.posterior(*experts) for name in ATLAS[row]]
    for q in everything[1:]:
        assert_close((q.loc, q.scale), (everything[0].loc, everything[0].scale), rtol=0, atol=0)
    assert tuple(build(name).objective for name in ATLAS[row]) == COLUMNS


@pytest.mark.parametrize("column", range(3))
def test_a_column_trains_on_the_same_subsets(column):
    families = [build(row[column]).aggregator.family(4, None) for row in ATLAS.values()]
    assert all(torch.equal(families[0], family) for family in families[1:])
    assert len(families[0]) == (1, 5, 15)[column]


def test_rows_differ_wherever_experts_do(experts):
    answers = [build(row[0]).aggregator.posterior(*experts) for row in ATLAS.values()]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (answers[one].scale - answers[other].scale).abs().max() > 0.01


def test_the_cells_that_no_paper_names_use_the_pools_of_those_that_do():
    assert build("log-pool-subsampled").aggregator.pool is log_opinion_pool
    assert build("wb-vae-subsampled").aggregator.pool is wasserstein_barycenter
    assert not set(CELLS) & set(MODELS)


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"^models: no model 'mopeo'; choose one of mvae, .*"):
        build("mopeo")

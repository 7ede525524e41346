"""The atlas: its grid holds models, its verdicts are those of the t-test, its tables the runs'."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

from multielbo.data.coarse_polymnist import COARSE
from multielbo.data.polymnist import MODALITIES
from multielbo.experiments.catalogue import wanted
from multielbo.models.registry import CELLS, STAGED, build
from multielbo.objectives import joint_elbo, mixture_elbo, stratified_elbo, subsampled_elbo
from multielbo.reproduction import atlas
from multielbo.scoreboard.contrasts import contrast

COHERENCE, JOINT = atlas.QUANTITIES[0], atlas.QUANTITIES[2]


def seeds(*values: float) -> list[dict]:
    """Metrics of one model whose every quantity has these values over its seeds."""
    return [
        {
            "coherence_by_inputs": [v, v + 0.1],
            "joint_coherence": v,
            "probe_by_inputs": [v, v],
            "log_likelihood_by_inputs": [1000 * v],
        }
        for v in values
    ]


def test_every_cell_is_a_model_and_every_column_one_objective():
    columns = ({joint_elbo, stratified_elbo}, {subsampled_elbo}, {mixture_elbo})
    for row in atlas.GRID.values():
        for model, objectives in zip(row, columns, strict=True):
            assert model is None or build(model).objective in objectives
    assert set(CELLS) < set(atlas.cells())


def test_the_book_wants_a_record_of_every_cell():
    asked = {one.model for one in wanted("laptop") if one.dataset == "polymnist"}
    assert asked - set(STAGED) - {"mvtcae", "mmjsd"} == set(atlas.cells())


def test_a_cell_is_named_by_its_pool_and_its_objective():
    assert atlas.cells()["mwb-vae"] == "Wasserstein, mixture"
    assert len(set(atlas.cells().values())) == len(atlas.cells())


def test_a_quantity_is_taken_from_every_seed_where_it_lies():
    assert COHERENCE.of(seeds(0.1, 0.2)).tolist() == [0.1, 0.2]
    assert atlas.QUANTITIES[1].of(seeds(0.1, 0.2)).tolist() == pytest.approx([0.2, 0.3])
    assert JOINT.of(seeds(0.5)).tolist() == [0.5]


@pytest.mark.parametrize("shift", [-0.5, 0.02, 0.5])
def test_a_verdict_is_that_of_welchs_test(shift):
    rng = np.random.default_rng(0)
    for _ in range(50):
        first, second = rng.normal(shift, 0.2, 3), rng.normal(0, 0.1, 4)
        test = stats.ttest_ind(first, second, equal_var=False)
        side = "higher" if test.statistic > 0 else "lower"
        expected = side if test.pvalue < 0.05 else "undecided"
        assert atlas.verdict(atlas.against(seeds(*first), seeds(*second), JOINT)) == expected


def test_equal_models_are_told_apart_in_one_of_twenty():
    rng = np.random.default_rng(1)
    draws = [
        atlas.verdict(atlas.against(seeds(*rng.normal(size=3)), seeds(*rng.normal(size=3)), JOINT))
        for _ in range(2000)
    ]
    wrong = np.mean([verdict != "undecided" for verdict in draws])
    # Welch's degrees of freedom are cautious with three seeds; a normal quantile errs three times.
    assert 0.02 < wrong < 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5


def test_a_comparison_leaves_out_pairs_without_two_seeds_each():
    found = {"mwb-vae": seeds(0.5, 0.6, 0.7), "mopoe": seeds(0.1, 0.2), "wb-vae": seeds(0.3)}
    table = atlas.comparison(found, [("mwb-vae", "mopoe"), ("mwb-vae", "wb-vae")])
    assert table.count("\n") == 2
    assert "Wasserstein, mixture − product, mixture" in table
    assert "+0.450 ±\u00a00.076<br>higher" in table
    assert atlas.comparison(found, [("mopoe", "product")]).startswith("*No two")


def test_heat_maps_show_means_spreads_and_what_is_missing():
    fig = plt.figure()
    found = {"mopoe": seeds(0.25, 0.35), "mvae": seeds(0.5)}
    atlas.heat_maps(fig, found, title="t", below="b")
    texts = [text.get_text() for text in fig.axes[0].texts]
    assert len(texts) == len(atlas.GRID) * len(atlas.OBJECTIVES)
    assert sorted(set(texts)) == ["0.30\n± 0.07", "0.50", "·"]
    plt.close(fig)


def test_heat_maps_of_nothing_are_empty():
    fig = plt.figure()
    atlas.heat_maps(fig, {}, title="t", below="b")
    assert {text.get_text() for ax in fig.axes for text in ax.texts} == {"·"}
    plt.close(fig)


def test_a_line_says_how_many_cells_seeds_and_which_are_fresh():
    def run(state: str, count: int) -> SimpleNamespace:
        record = SimpleNamespace(seeds=list(range(count)))
        return SimpleNamespace(
            record=record, data="polymnist-hopper", freshness=SimpleNamespace(state=state)
        )

    line = atlas.said({"mopoe": run("fresh", 3), "mvae": run("stale", 2)})
    assert f"2 cells of {len(atlas.cells())}" in line
    assert "2 to 3 seeds each, on polymnist-hopper; 1 fresh, 1 stale." in line
    assert atlas.said({}) == "No records yet."


@pytest.fixture(scope="module")
def polymnist(root):
    return atlas.seeds_of(atlas.recorded_cells("polymnist", root / "book" / "results"))


UNDECIDED = dict.fromkeys((quantity.label for quantity in atlas.QUANTITIES), "undecided")
TRADE = UNDECIDED | {
    "joint coherence": "higher",
    "probe accuracy from M": "higher",
    "log p(x) from M, in nats": "lower",
}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("mixture-of-log-pools", "mopoe", UNDECIDED),
        ("mwb-vae", "mixture-of-log-pools", TRADE),
        ("mwb-vae", "mopoe", TRADE),
    ],
)
def test_the_geometry_of_a_mixture_matters_and_is_a_trade(polymnist, first, second, expected):
    assert atlas.verdicts(polymnist, first, second) == expected


ONE, MOST, PRIOR, _, ALL, LEVEL = (quantity.label for quantity in atlas.QUANTITIES)
STEPS = {  # what is decided alike in both rows
    ("sub-sampled", "joint"): {ONE: "higher", MOST: "higher"},
    ("mixture", "joint"): {ONE: "higher", MOST: "higher", LEVEL: "lower"},
    ("mixture", "sub-sampled"): {ONE: "higher", PRIOR: "higher", ALL: "lower", LEVEL: "lower"},
}


@pytest.mark.parametrize("pool", ["log-pool", "Wasserstein"])
@pytest.mark.parametrize(("later", "earlier"), STEPS)
def test_from_joint_to_mixture_coherence_is_bought_with_likelihood(polymnist, pool, later, earlier):
    models = dict(zip(atlas.OBJECTIVES, atlas.GRID[pool], strict=True))
    found = atlas.verdicts(polymnist, models[later], models[earlier])
    expected = STEPS[later, earlier]
    assert {label: found[label] for label in expected} == expected


def test_the_last_step_of_the_barycenter_is_undecided_from_all_but_one_alone(polymnist):
    for pool, expected in {"log-pool": "higher", "Wasserstein": "undecided"}.items():
        _, sampled, mixture = atlas.GRID[pool]
        assert atlas.verdicts(polymnist, mixture, sampled)[MOST] == expected


def test_coherence_moves_more_with_the_objective_than_with_the_geometry(polymnist):
    for quantity in atlas.QUANTITIES[:2]:
        level = np.array(
            [
                [quantity.of(polymnist[model]).mean() for model in atlas.GRID[pool]]
                for pool in ("log-pool", "Wasserstein")
            ]
        )
        assert (level[:, 2] - level[:, 0]).min() > (level[1] - level[0]).max()


@pytest.mark.parametrize(
    ("first", "second", "decided"),
    [
        ("wb-vae", "log-pool", {ONE: "higher", MOST: "higher", LEVEL: "undecided"}),
        (
            "wb-vae-subsampled",
            "log-pool-subsampled",
            {ONE: "higher", MOST: "higher", PRIOR: "higher", LEVEL: "lower"},
        ),
    ],
)
def test_barycenters_are_more_coherent_than_log_pools_under_the_other_objectives(
    polymnist, first, second, decided
):
    found = atlas.verdicts(polymnist, first, second)
    assert {label: found[label] for label in decided} == decided


@pytest.fixture(scope="module")
def coarse(root):
    return atlas.seeds_of(atlas.recorded_cells("coarse-polymnist", root / "book" / "results"))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("mwb-vae", "mixture-of-log-pools", TRADE),
        ("mwb-vae", "mopoe", TRADE),
        ("mixture-of-log-pools", "mopoe", UNDECIDED | {ALL: "lower"}),
    ],
)
def test_the_trade_is_the_same_where_one_modality_is_coarse(coarse, first, second, expected):
    assert atlas.verdicts(coarse, first, second) == expected


def test_the_coarse_modality_tells_no_less_than_the_others(root):
    found = atlas.recorded_cells("coarse-polymnist", root / "book" / "results")
    place = MODALITIES.index(COARSE)
    for run in found.values():
        own = atlas.probe_alone(run).mean(0)
        assert np.delete(own, place).min() < own[place] < np.delete(own, place).max()


def test_a_prior_expert_makes_mopoe_less_coherent(polymnist):
    found = atlas.verdicts(polymnist, "mopoe-with-prior", "mopoe")
    assert (found[MOST], found[PRIOR]) == ("lower", "lower")


def test_where_a_product_has_the_prior_experts_fall_silent_that_speak_in_other_seeds(root):
    found = atlas.recorded_cells("polymnist", root / "book" / "results")
    silent = {model for model, run in found.items() if atlas.silent(run, chance=0.1).any()}
    with_prior = set(atlas.GRID["product with prior"])
    assert silent - set(atlas.GRID["Hellinger"]) == with_prior
    for model in with_prior:
        assert atlas.probe_alone(found[model]).max() > 0.7


def test_the_hellinger_row_generates_the_class_hardly_better_than_by_chance_and_is_jointly_first(
    polymnist,
):
    row = [model for model in atlas.GRID["Hellinger"] if model]
    for quantity in atlas.QUANTITIES[:2]:
        assert max(quantity.of(polymnist[model]).max() for model in row) < 0.2
    level = {model: JOINT.of(found).mean() for model, found in polymnist.items()}
    assert set(sorted(level, key=level.get)[-2:]) == set(row)


def test_single_experts_are_most_coherent_under_the_density_of_their_mixture(polymnist):
    found = atlas.verdicts(polymnist, "mmvae", "mmvae-averaged")
    assert (found[ONE], found[MOST]) == ("higher", "higher")
    level = {model: COHERENCE.of(metrics).mean() for model, metrics in polymnist.items()}
    assert max(level, key=level.get) == "mmvae"


def test_where_more_experts_are_silent_the_likelihood_is_lower_by_hundreds_of_nats(root):
    found = atlas.recorded_cells("polymnist", root / "book" / "results")
    for model in atlas.GRID["product with prior"]:
        silent = atlas.silent(found[model], chance=0.1)
        level = atlas.QUANTITIES[-1].of(atlas.seeds_of(found)[model])
        assert level[silent == silent.max()].max() < level[silent == silent.min()].min() - 200


def test_what_a_second_modality_adds_is_read_from_the_rows_of_both_subsets():
    members = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 1], [1, 0, 0]], bool)
    arrays = {"subsets_seed0": members, "subsets_seed1": members}
    arrays |= {
        "probe_seed0": np.array([0.6, 0.5, 0.7, 0.9]),
        "probe_seed1": np.array([0.8, 0.1, 0.2, 0.3]),
    }
    run = SimpleNamespace(record=SimpleNamespace(seeds=[0, 1]), arrays=arrays)
    np.testing.assert_allclose(atlas.gain(run, 1, 0), [0.1, 0.7])
    np.testing.assert_allclose(atlas.gain(run, 0, 1), [-0.3, 0.5])
    np.testing.assert_allclose(atlas.gain(run, 0, 2), [-0.2, -0.1])


@pytest.mark.parametrize(
    ("barycenter", "log_pool", "expected"),
    [
        ("wb-vae", "log-pool", "higher"),
        ("wb-vae-subsampled", "log-pool-subsampled", "undecided"),
        ("mwb-vae", "mixture-of-log-pools", "undecided"),
    ],
)
def test_the_least_informative_modality_harms_a_barycenter_no_more_than_a_log_pool(
    root, barycenter, log_pool, expected
):
    found = atlas.recorded_cells("polymnist", root / "book" / "results")
    heard = [run for run in found.values() if not atlas.silent(run, chance=0.1).any()]
    own = np.mean([atlas.probe_alone(run).mean(0) for run in heard], 0)
    pair = own.argmax(), own.argmin()
    added = [atlas.gain(found[model], *pair) for model in (barycenter, log_pool)]
    assert atlas.verdict(contrast([added[0], -added[1]])) == expected
    loses = [atlas.verdict(contrast([one])) for one in added]
    assert loses == (["lower", "lower"] if expected == "higher" else ["undecided"] * 2)


def test_a_modality_is_silent_if_its_own_probe_is_at_chance():
    members = np.array([[1, 1], [0, 1], [1, 0]], bool)  # in another order than the modalities'
    arrays = {"subsets_seed0": members, "subsets_seed1": members}
    arrays |= {"probe_seed0": np.array([0.9, 0.1, 0.8]), "probe_seed1": np.array([0.1, 0.7, 0.2])}
    run = SimpleNamespace(record=SimpleNamespace(seeds=[0, 1]), arrays=arrays)
    np.testing.assert_array_equal(atlas.probe_alone(run), [[0.8, 0.1], [0.2, 0.7]])
    assert atlas.silent(run, chance=0.1).tolist() == [1, 0]
    assert atlas.silent(run, chance=0.2).tolist() == [1, 1]


def test_the_same_seeds_in_both_places_are_undecided(polymnist):
    assert atlas.verdicts(polymnist, "mwb-vae", "mwb-vae") == UNDECIDED

"""A verdict follows its rule, and the page shows no more than the records hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from multielbo import subsets
from multielbo.records import complete, describe_run, write
from multielbo.scoreboard import page
from multielbo.scoreboard.columns import Column
from multielbo.scoreboard.comparison import (
    WORDS,
    cell,
    differences,
    nearest,
    published_error,
    reproduces,
    verdict,
)
from multielbo.scoreboard.figure import points
from multielbo.scoreboard.markdown import printed
from multielbo.scoreboard.numbers import number
from multielbo.scoreboard.published import read_figures, read_tables
from multielbo.scoreboard.runs import measured, read_runs
from multielbo.scoreboard.systems import read_systems

FOLDER = Path(__file__).parents[1] / "book" / "published"
SYSTEMS = read_systems(FOLDER)
TABLES = {table.name: table for table in read_tables(FOLDER, SYSTEMS)}
TABLE_2 = TABLES["sutter2021/table-2"]
MODALITIES = SYSTEMS.datasets["mnist-svhn-text"].modalities
SEEDS = [0, 1, 2, 3, 4]
SPREAD = np.array([-0.01, -0.005, 0.0, 0.005, 0.01])
AS_PUBLISHED = {
    "latent_dim": 20,
    "epochs": 150,
    "learning_rate": 1e-3,
    "train_examples": None,
    "probe_examples": 500,
}
MOPOE = {
    column.inputs: printed.value
    for column, printed in zip(TABLE_2.columns, TABLE_2.rows["mopoe"], strict=True)
}


@pytest.fixture(autouse=True)
def no_git(monkeypatch):
    """Made-up records are of no commit, and asking git for one takes most of their time."""
    none = {"commit": None, "dirty": None}
    monkeypatch.setattr("multielbo.records.provenance.commit", lambda: none)


def record(
    results: Path,
    model: str = "mopoe",
    *,
    dataset: str = "mnist-svhn-text",
    profile: str = "full",
    data: str = "mnist-svhn-text",
    config: dict | None = None,
    seeds: list[int] = SEEDS,
    probe: dict[tuple[str, ...], float] = MOPOE,
    modules: tuple[str, ...] = ("multielbo.gaussians",),
) -> Path:
    """Write a made-up record whose probe has these means, and return its folder."""
    asked = describe_run(
        f"{dataset}/{model}",
        profile=profile,
        config=AS_PUBLISHED | (config or {}),
        seeds=seeds,
        dataset=(f"{data}-train", "d" * 64),
        modules=modules,
        device="cpu",
    )
    membership = subsets.powerset(len(MODALITIES)).numpy()
    arrays = {}
    for seed in seeds:
        values = [probe[tuple(np.array(MODALITIES)[row])] + SPREAD[seed] for row in membership]
        arrays |= {f"subsets_seed{seed}": membership, f"probe_seed{seed}": np.array(values)}
    metrics = [{"joint_coherence": 0.31 + SPREAD[seed]} for seed in seeds]
    folder = results / asked.name / profile
    write(folder, complete(asked, metrics, [1.0] * len(seeds)), arrays)
    return folder


def only_run(results: Path):
    (run,) = read_runs(results, SYSTEMS)
    return run


def row(results: Path, system: str = "mopoe", table=TABLE_2) -> list:
    run = nearest(read_runs(results, SYSTEMS), table, system, SYSTEMS)
    return [cell(table, system, index, run, SYSTEMS) for index in range(len(table.columns))]


# --- the rule -------------------------------------------------------------------------------------


def test_the_bound_is_exactly_the_rule():
    published, error = number("0.50 ± 0.02", "here"), 0.02 / 5**0.5
    ours = np.array([0.49, 0.50, 0.51])
    bound = 2 * (0.01**2 / 3 + 0.02**2 / 5) ** 0.5 + 0.005
    assert reproduces(ours + bound - 1e-9, published, error)
    assert reproduces(ours - bound + 1e-9, published, error)
    assert not reproduces(ours + bound + 1e-9, published, error)
    assert not reproduces(ours - bound - 1e-9, published, error)


def test_spreads_taken_for_standard_errors_would_call_too_much_reproduced():
    published = number("0.50 ± 0.02", "here")
    ours = np.array([0.49, 0.50, 0.51]) + 0.035
    assert not reproduces(ours, published, published_error(TABLE_2, published))
    assert reproduces(ours, published, published.spread)  # the wrong twin


def test_half_a_unit_of_the_last_digit_is_forgiven():
    ours = np.array([0.5041, 0.5039])
    assert reproduces(ours, number("0.50", "here"), 0.0)
    assert not reproduces(ours, number("0.500", "here"), 0.0)


def test_one_seed_reproduces_nothing():
    with pytest.raises(ValueError, match=r"^reproduces: one seed has no standard error"):
        reproduces(np.array([0.5]), number("0.50", "here"), 0.0)


def test_a_population_deviation_is_divided_by_one_run_less():
    values = np.array([0.1, 0.4, 0.2, 0.7])
    exact = values.std(ddof=1) / 2
    table = TABLES["senellart2025/polymnist-coherence"]
    assert (table.runs, table.population) == (4, True)
    printed = replace(number("0.35 ± 0.2", "here"), spread=values.std(ddof=0))
    assert published_error(table, printed) == pytest.approx(exact, rel=1e-12)
    assert published_error(replace(table, population=False), printed) < 0.9 * exact  # wrong twin


def test_a_number_without_a_spread_counts_as_exact():
    assert published_error(TABLE_2, number("0.37", "here")) == 0.0


def test_a_spread_over_nobody_knows_how_many_runs_is_not_compared():
    table = replace(TABLE_2, runs=None)
    found = verdict(np.array([0.5, 0.5]), number("0.50 ± 0.01", "here"), table, [])
    assert found.word == "not comparable"
    assert "how many runs" in found.reason


def test_without_a_published_number_ours_is_shown_and_not_judged():
    assert verdict(np.array([0.5, 0.5]), None, TABLE_2, []).word == "not known"


# --- what bars a comparison -----------------------------------------------------------------------


def test_a_full_run_on_the_published_data_is_reproduced_or_not(tmp_path):
    record(tmp_path)
    assert {one.verdict.word for one in row(tmp_path)} == {"reproduced"}
    record(tmp_path, probe={key: value - 0.1 for key, value in MOPOE.items()})
    assert {one.verdict.word for one in row(tmp_path)} == {"not reproduced"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"profile": "laptop"}, "laptop profile"),
        ({"data": "mnist-svhn-text-reduced"}, "data mnist-svhn-text-reduced"),
        ({"config": {"epochs": 20}}, "20 epochs instead of 150"),
        ({"config": {"train_examples": 10_000}}, "10,000 training tuples instead of all"),
        ({"config": {"latent_dim": 32}}, "32 latent dimensions instead of 20"),
        ({"seeds": [0]}, "one seed, which has no spread"),
    ],
)
def test_what_differs_is_named_and_makes_equal_numbers_incomparable(tmp_path, changes, named):
    record(tmp_path, **changes)
    assert differences(only_run(tmp_path), TABLE_2, "mopoe", SYSTEMS) == [named]
    found = row(tmp_path)
    assert {one.verdict.word for one in found} == {"not comparable"}
    assert {one.verdict.reason for one in found} == {named}


def test_a_setting_that_the_record_does_not_hold_is_unknown(tmp_path):
    record(tmp_path)
    run = only_run(tmp_path)
    config = {key: value for key, value in AS_PUBLISHED.items() if key != "train_examples"}
    run = replace(run, record=replace(run.record, config=config))
    found = differences(run, TABLE_2, "mopoe", SYSTEMS)
    assert found == ["unknown training tuples instead of all"]


def test_systems_whose_runs_differ_alike_share_a_line(tmp_path):
    for model in ("mvae", "mopoe"):
        record(tmp_path, model, profile="laptop")
    text = page.number_table(TABLE_2, read_runs(tmp_path, SYSTEMS), SYSTEMS)
    assert "- Our MVAE, MoPoE: laptop, 5 seeds, fresh. What differs: laptop profile." in text


def test_another_bound_under_the_same_name_is_named(tmp_path):
    record(tmp_path, "mmvae")
    assert differences(only_run(tmp_path), TABLE_2, "mmvae", SYSTEMS) == ["our mmvae stands in"]
    record(tmp_path, "mmvae-averaged")
    run = nearest(read_runs(tmp_path, SYSTEMS), TABLE_2, "mmvae", SYSTEMS)
    assert run.model == "mmvae-averaged"
    assert differences(run, TABLE_2, "mmvae", SYSTEMS) == []


def test_another_estimator_bars_every_number_of_its_table(tmp_path):
    record(tmp_path, config={"importance_samples": [15, 1000], "likelihood_examples": None})
    table = TABLES["sutter2021/table-4"]
    (named,) = differences(only_run(tmp_path), table, "mopoe", SYSTEMS)
    assert named == table.differs["all"]


def test_the_full_run_is_chosen_before_the_laptop_one(tmp_path):
    record(tmp_path, profile="laptop")
    record(tmp_path, profile="full")
    runs = read_runs(tmp_path, SYSTEMS)
    assert nearest(runs, TABLE_2, "mopoe", SYSTEMS).record.profile == "full"
    assert nearest(runs[::-1], TABLE_2, "mopoe", SYSTEMS).record.profile == "full"
    assert nearest(runs, TABLE_2, "mvae", SYSTEMS) is None


def test_a_quantity_that_the_record_lacks_is_not_run(tmp_path):
    record(tmp_path)
    found = row(tmp_path, table=TABLES["sutter2021/table-6"])
    assert found[0].ours is not None  # joint coherence
    assert {one.verdict.word for one in found[1:]} == {"not run"}
    assert {one.verdict.reason for one in found[1:]} == {"the record does not hold this quantity"}


@pytest.mark.parametrize(
    ("system", "word"), [("mopoe", "not run"), ("masked-moe", "not implemented")]
)
def test_without_a_record_a_row_says_whether_there_is_a_model(tmp_path, system, word):
    table = next(t for t in TABLES.values() if system in t.rows)
    assert {one.verdict.word for one in row(tmp_path, system, table)} == {word}


# --- reading records ------------------------------------------------------------------------------


def test_a_subset_is_looked_up_by_its_modalities(tmp_path):
    record(tmp_path)
    run = only_run(tmp_path)
    for column in TABLE_2.columns:
        found = measured(run, column, MODALITIES)
        np.testing.assert_allclose(found, MOPOE[column.inputs] + SPREAD, rtol=1e-12)
    svhn = Column("S", "probe", ("svhn",))
    swapped = measured(run, svhn, ("svhn", "mnist", "text"))  # the wrong twin
    assert not np.allclose(swapped, MOPOE[("svhn",)] + SPREAD)


def test_what_was_not_asked_for_is_not_measured(tmp_path):
    folder = record(tmp_path)
    run = only_run(tmp_path)
    arrays = {key: value.astype(float) for key, value in run.arrays.items()}
    arrays["probe_seed3"] = np.full(7, np.nan)
    assert measured(replace(run, arrays=arrays), TABLE_2.columns[0], MODALITIES) is None
    assert measured(run, Column("five", "probe_by_inputs", number=1), MODALITIES) is None
    assert measured(run, Column("none"), MODALITIES) is None
    assert folder.is_dir()


def test_a_number_of_inputs_beyond_the_record_is_not_measured(tmp_path):
    record(tmp_path)
    run = only_run(tmp_path)
    metrics = {"coherence_by_inputs": [[0.1 * seed, 0.2 * seed] for seed in SEEDS]}
    run = replace(run, record=replace(run.record, metrics=metrics))
    two = measured(run, Column("2", "coherence_by_inputs", number=2), MODALITIES)
    np.testing.assert_allclose(two, [0.2 * seed for seed in SEEDS])
    assert measured(run, Column("3", "coherence_by_inputs", number=3), MODALITIES) is None


def test_quick_records_and_unfinished_ones_do_not_exist_for_the_page(tmp_path):
    folder = record(tmp_path, profile="quick")
    assert read_runs(tmp_path, SYSTEMS) == []
    folder.rename(folder.with_name(".full.part"))
    assert read_runs(tmp_path, SYSTEMS) == []
    assert read_runs(tmp_path / "missing", SYSTEMS) == []


def test_a_record_of_one_value_of_beta_is_no_record_of_the_model(tmp_path):
    record(tmp_path, "mopoe/beta-0.5")
    assert read_runs(tmp_path, SYSTEMS) == []


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("polymnist", "polymnist"),
        ("polymnist-resnet", "polymnist"),
        ("mnist-svhn", "mnist-svhn"),
        ("mnist-svhn-text", "mnist-svhn-text"),
        ("mnist-svhn-text-reduced", "mnist-svhn-text"),
        ("polydigits", None),
        ("mnistics", None),
    ],
)
def test_a_variant_of_a_data_set_belongs_to_it(tmp_path, name, key):
    record(tmp_path, dataset=name)
    assert [run.dataset for run in read_runs(tmp_path, SYSTEMS)] == ([key] if key else [])


def test_a_record_edited_by_hand_stops_the_page(tmp_path):
    file = record(tmp_path) / "record.json"
    values = json.loads(file.read_text())
    values["metrics"]["joint_coherence"] = [0.99] * 5
    file.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="was changed after it was written"):
        read_runs(tmp_path, SYSTEMS)


def test_a_stale_record_is_shown_as_stale(tmp_path, monkeypatch):
    record(tmp_path)
    assert only_run(tmp_path).label == "full, 5 seeds, fresh"
    changed = {"multielbo.gaussians": "0" * 16}
    monkeypatch.setattr("multielbo.records.provenance.module_digests", lambda modules: changed)
    run = only_run(tmp_path)
    assert run.label == "full, 5 seeds, stale"
    text = page.number_table(TABLE_2, [run], SYSTEMS)
    assert "- Our MoPoE: full, 5 seeds, stale. Nothing known differs." in text


# --- the page -------------------------------------------------------------------------------------


def test_without_records_every_row_says_not_run_or_not_implemented():
    cells = page.verdicts(TABLES.values(), [], SYSTEMS)
    assert {one.verdict.word for one in cells} == {"not run", "not implemented"}
    text = page.systems_table(SYSTEMS, [])
    for system in SYSTEMS.systems.values():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {system.name} |")]
        assert ("| not run |" if system.implemented else "| not implemented |") in line
    assert "no record yet" in page.state_of_records([])


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_shows_each_of_its_numbers_and_systems(name):
    table = TABLES[name]
    text = page.number_table(table, [], SYSTEMS)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1, "a ragged table"
    for system, numbers in table.rows.items():
        assert SYSTEMS.systems[system].name in text
        assert all(one is None or printed(one.text) in text for one in numbers)
    if any(one is None for numbers in table.rows.values() for one in numbers):
        assert "not known" in text
    assert "ours" not in "".join(lines)


def test_the_longer_side_of_a_table_runs_down_the_page():
    across = page.number_table(TABLE_2, [], SYSTEMS).splitlines()[2]
    assert across == "|  | MVAE | MMVAE | MoPoE |"
    down = page.number_table(TABLES["senellart2025/polymnist-coherence"], [], SYSTEMS)
    assert f"| {printed('.755 ± .026')} | {printed('.890 ± .018')} |" in down
    assert down.splitlines()[2].startswith("|  | **verdict** | 1 input |")


def test_a_laptop_record_is_shown_and_nothing_is_called_reproduced(tmp_path):
    record(tmp_path, profile="laptop", data="mnist-svhn-text-reduced", config={"epochs": 20})
    runs = read_runs(tmp_path, SYSTEMS)
    text = page.number_table(TABLE_2, runs, SYSTEMS)
    assert printed("| 0.95 ± 0.01<br>ours 0.950 ± 0.008 |") in text
    assert "| **verdict** | not run | not run | not comparable |" in text
    assert "- Our MoPoE: laptop, 5 seeds, fresh. What differs: laptop profile; " in text
    for named in ("laptop profile", "data mnist-svhn-text-reduced", "20 epochs instead of 150"):
        assert named in text
    assert "reproduced" not in text
    assert "nothing can be called reproduced" in page.state_of_records(runs)


def test_a_full_record_shows_a_word_in_each_cell(tmp_path):
    record(tmp_path, probe=MOPOE | {("svhn",): 0.5})
    runs = read_runs(tmp_path, SYSTEMS)
    text = page.number_table(TABLE_2, runs, SYSTEMS)
    assert text.count("✓ reproduced") == 6
    assert text.count("✗ not reproduced") == 1
    assert "6 reproduced<br>1 not reproduced" in text
    assert "Nothing known differs" in text
    assert "nothing can be called" not in page.state_of_records(runs)


def test_every_verdict_is_one_of_the_six_words(tmp_path):
    record(tmp_path)
    record(tmp_path, "mvae", profile="laptop")
    cells = page.verdicts(TABLES.values(), read_runs(tmp_path, SYSTEMS), SYSTEMS)
    assert {one.verdict.word for one in cells} <= set(WORDS)


def test_figures_without_numbers_are_named():
    figures = read_figures(FOLDER, SYSTEMS)
    assert "Figure 1" in page.figures_list("mnist-svhn-text", figures)
    assert "Figure 3" in page.figures_list("polymnist", figures)


def test_the_picture_holds_the_shares_that_both_sides_have(tmp_path):
    assert points(TABLES.values(), [], SYSTEMS) == []
    record(tmp_path, profile="laptop")
    shown = points(TABLES.values(), read_runs(tmp_path, SYSTEMS), SYSTEMS)
    assert len(shown) == 7 + 1  # Table 2, and joint coherence once although Table 3 repeats it
    assert {point.word for point in shown} == {"not comparable"}

"""A page of reproductions shows the records that are there, and says of the others: not run."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
from dataclasses import asdict
from functools import cache
from pathlib import Path

import jupytext
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy import stats

from multielbo import subsets
from multielbo.data.mnist_svhn import ALPHABET, read_text
from multielbo.experiments import recorded as experiments_recorded
from multielbo.experiments.description import record_name
from multielbo.presets import preset
from multielbo.records import NeedsGPU, Outcome, complete, describe_run, load, provenance, write
from multielbo.reproduction import figures, tables, values, words
from multielbo.reproduction import runs as reproduction
from multielbo.reproduction.page import open_page
from multielbo.reproduction.request import request
from multielbo.reproduction.runs import of_one_profile, over_beta, runs
from multielbo.reproduction.sweeps import trade_off
from multielbo.scoreboard.published import read_tables
from multielbo.scoreboard.systems import read_systems
from multielbo.setups.registry import setup_of

matplotlib.use("Agg")
ROOT = Path(__file__).parents[1]
SYSTEMS = read_systems(ROOT / "book" / "published")
TABLES = {table.name: table for table in read_tables(ROOT / "book" / "published", SYSTEMS)}
TABLE_2, TABLE_6 = TABLES["sutter2021/table-2"], TABLES["sutter2021/table-6"]
DATASET = "mnist-svhn-text"
NAMES = ["mnist", "svhn", "text"]
MODELS = ["mvae", "mmvae-averaged", "mopoe"]
MEMBERSHIP = subsets.powerset(3).numpy()
MODULE_DIGESTS = provenance.module_digests
PAGES = ["celeba", "mnist_svhn_text", "polymnist", "written_spoken_drawn"]


@cache
def digests(modules: tuple[str, ...]) -> dict[str, str]:
    return MODULE_DIGESTS(modules)


@pytest.fixture(autouse=True)
def read_once(monkeypatch):
    """The code does not change while it is tested, so that its digests are worked out once."""
    monkeypatch.setattr(provenance, "module_digests", lambda names: dict(digests(tuple(names))))


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def record(
    results: Path,
    model: str = "mopoe",
    *,
    profile: str = "laptop",
    beta: float | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
    data: str = "mnist-svhn-text-reduced",
    probe: np.ndarray | None = None,
    modules: tuple[str, ...] = ("multielbo.subsets",),
    **config: object,
) -> Path:
    """Write a made-up record with the preset's settings, and return its folder."""
    experiment = preset(DATASET, model, profile, **({} if beta is None else {"beta": beta}))
    settings = asdict(experiment) | config
    settings.pop("seeds")
    asked = describe_run(
        record_name(experiment),
        profile=profile,
        config=settings,
        seeds=seeds,
        dataset=(f"{data}-train", "d" * 64),
        modules=modules,
        device="cpu",
    )
    probe = np.full(7, 0.5) if probe is None else probe
    given = np.where(MEMBERSHIP[:-1], np.nan, 0.25)
    arrays, metrics = {}, []
    for seed in seeds:
        found = {"subsets": MEMBERSHIP, "coherence": given, "probe": probe + 0.01 * seed}
        found["log_likelihood"] = np.arange(-2006.0, -1999.0) + seed
        arrays |= {f"{name}_seed{seed}": array for name, array in found.items()}
        metrics.append(
            {
                "joint_coherence": 0.3 + 0.01 * seed,
                "joint_coherence_standard_error": 0.004,
                "probe_by_inputs": [0.5 + 0.1 * seed, 0.6, 0.7],
                "probe_by_inputs_standard_error": [0.001, 0.002, 0.003],
                "classifier_accuracy": [0.98, 0.8, 1.0],
            }
        )
    arrays[f"samples_mnist_seed{seeds[0]}"] = np.zeros((3, 4, 1, 2, 2), np.uint8)
    folder = results / asked.name / profile
    write(folder, complete(asked, metrics, [60.0] * len(seeds)), arrays)
    return folder


def of(results: Path, models: list[str] = MODELS, **asked: object):
    return request(DATASET, profile="quick", models=models, results=str(results), **asked)


# --- what is asked for ----------------------------------------------------------------------------


def test_lists_may_come_as_text_because_papermill_hands_them_over_so():
    listed = request(DATASET, profile="full", models=MODELS, seeds=[0, 1], betas=[0.5, 1])
    text = request(
        DATASET, profile="full", models=json.dumps(MODELS), seeds="[0,1]", betas="[0.5, 1]"
    )
    assert text == listed
    assert listed.betas == (0.5, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"profile": "huge"}, "unknown profile 'huge'"),
        ({"models": ["mopo"]}, "models: no model 'mopo'; choose from mvae"),
        ({"models": []}, "models: the list is empty"),
        ({"models": "mopoe"}, "models: it has to be a list"),
        ({"seeds": [0, 0]}, "seeds: 0 is repeated"),
        ({"seeds": [0.5]}, "seeds: 0.5 is repeated or no whole number"),
        ({"seeds": "[True]"}, "seeds: True is"),
        ({"seeds": "all"}, "seeds: it has to be a list"),
        ({"betas": [-1]}, "betas: -1 is no positive number"),
        ({"betas": ["a"]}, "betas: 'a' is no positive number"),
        ({"betas": [float("nan")]}, "betas: nan is no positive number"),
    ],
)
def test_a_parameter_that_the_page_cannot_serve_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        request(DATASET, **{"profile": "quick", "models": MODELS} | changes)
    assert "\n" not in str(caught.value)


def test_data_lie_where_the_parameter_says_then_the_environment_then_in_data(monkeypatch):
    monkeypatch.delenv("MULTIELBO_DATA", raising=False)
    asked = {"profile": "quick", "models": MODELS}
    assert request(DATASET, **asked).data == Path("data")
    monkeypatch.setenv("MULTIELBO_DATA", "elsewhere")
    assert request(DATASET, **asked).data == Path("elsewhere")
    assert request(DATASET, data="mine", **asked).data == Path("mine")


# --- which records there are ----------------------------------------------------------------------


def test_without_records_every_model_is_there_and_says_not_run(tmp_path):
    shown = runs(of(tmp_path / "none"))
    assert shown == dict.fromkeys(MODELS)
    lines = words.provenance(shown).splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == ["not run"] * 3
    assert words.said(shown) == "Ours: not run."
    assert of_one_profile(shown) == {}
    assert set(map(len, over_beta(of(tmp_path), shown).values())) == {0}


def test_with_some_records_the_others_say_not_run(tmp_path):
    record(tmp_path, "mopoe")
    shown = runs(of(tmp_path))
    assert [model for model, run in shown.items() if run] == ["mopoe"]
    line = words.said(shown)
    assert "laptop profile, 3 seeds" in line
    assert "mnist-svhn-text-reduced" in line
    assert line.endswith("Not run: MVAE, MMVAE (averaged).")


def test_with_all_records_nothing_says_not_run(tmp_path):
    for model in MODELS:
        record(tmp_path, model)
    shown = runs(of(tmp_path))
    assert "not run" not in (words.provenance(shown) + words.said(shown)).lower()
    assert list(of_one_profile(shown)) == MODELS


def test_a_full_record_goes_before_a_laptop_one(tmp_path):
    record(tmp_path, profile="laptop")
    record(tmp_path, profile="full")
    assert runs(of(tmp_path))["mopoe"].record.profile == "full"


def test_a_figure_holds_records_of_one_profile_and_names_those_it_leaves_out(tmp_path):
    record(tmp_path, "mvae", profile="full")
    for model in ("mmvae-averaged", "mopoe"):
        record(tmp_path, model)
    shown = runs(of(tmp_path))
    together = of_one_profile(shown)
    assert list(together) == ["mmvae-averaged", "mopoe"]
    assert "Left out, of another profile: MVAE." in words.said(shown, together)
    assert "Not run" not in words.said(shown, together)
    record(tmp_path, "mopoe", profile="full")
    assert list(of_one_profile(runs(of(tmp_path, ["mvae", "mmvae-averaged"])))) == ["mvae"]


def test_a_record_of_other_settings_or_code_says_stale_and_a_fresh_one_does_not(tmp_path):
    run = ["multielbo.experiments.run", "multielbo.models.mopoe"]
    modules = (*run, "multielbo.setups.mnist_svhn_text")
    record(tmp_path, "mopoe", modules=modules)
    assert runs(of(tmp_path))["mopoe"].freshness.state == "fresh"
    assert "stale" not in words.said(runs(of(tmp_path)))
    record(tmp_path, "mopoe", modules=modules, epochs=77)
    shown = runs(of(tmp_path))
    assert shown["mopoe"].freshness == ("stale", "setting 'epochs' changed")
    assert "stale" in words.said(shown)
    assert "stale: setting 'epochs' changed" in words.provenance(shown)
    record(tmp_path, "mopoe", modules=("multielbo.subsets",))
    assert runs(of(tmp_path))["mopoe"].freshness.state == "stale"


def test_a_record_that_lies_where_another_belongs_is_refused(tmp_path):
    folder = record(tmp_path, "mvae")
    (tmp_path / DATASET / "mopoe").mkdir()
    folder.rename(tmp_path / DATASET / "mopoe" / "laptop")
    with pytest.raises(ValueError, match=r"mopoe/laptop holds the record of .*/mvae \(laptop\); "):
        runs(of(tmp_path))


def test_a_record_that_was_edited_by_hand_is_refused(tmp_path):
    file = record(tmp_path) / "record.json"
    file.write_text(file.read_text().replace("0.31", "0.91"))
    with pytest.raises(ValueError, match="was changed after it was written"):
        runs(of(tmp_path))


def test_a_sweep_is_in_the_order_of_beta_not_of_its_folders(tmp_path):
    for beta in (10.0, 0.5, 20.0, None):
        record(tmp_path, beta=beta)
    folders = sorted(path.name for path in (tmp_path / DATASET / "mopoe").glob("beta-*"))
    assert folders == ["beta-0.5", "beta-10", "beta-20"]  # and 2.5 lies outside of them
    asked = of(tmp_path)
    found = over_beta(asked, runs(asked))
    assert [run.record.config["beta"] for run in found["mopoe"]] == [0.5, 2.5, 10.0, 20.0]
    assert found["mvae"] == []


def test_a_sweep_mixes_no_profiles(tmp_path):
    for beta in (0.5, None):
        record(tmp_path, beta=beta, profile="full")
    record(tmp_path, beta=10.0)
    asked = of(tmp_path)
    found = over_beta(asked, runs(asked))["mopoe"]
    assert [run.record.profile for run in found] == ["full", "full"]


# --- what is run ----------------------------------------------------------------------------------


def test_the_book_trains_nothing_and_needs_no_data(tmp_path, monkeypatch):
    for name in ("recorded", "data_of"):
        monkeypatch.setattr(reproduction, name, lambda *_, **__: pytest.fail("the book trains"))
    asked = of(tmp_path, betas=[0.5], data=str(tmp_path / "missing"))
    over_beta(asked, runs(asked))


def test_other_profiles_make_what_is_asked_for_and_write_it_to_the_results(tmp_path, monkeypatch):
    made = []

    def fake(experiment, results, train, test, classifiers, *, checkpoints, allow_cpu):
        made.append((experiment, results, allow_cpu))
        folder = record(results, experiment.model, beta=experiment.beta, seeds=experiment.seeds)
        return reproduction.load(folder)

    monkeypatch.setattr(reproduction, "recorded", fake)
    monkeypatch.setattr(reproduction, "data_of", lambda *_: ("train", "test"))
    asked = request(
        DATASET,
        profile="laptop",
        models=["mvae", "mopoe"],
        seeds=[3, 4],
        betas=[1, 2.5],
        results=str(tmp_path),
        allow_cpu=True,
    )
    shown = runs(asked)
    assert [(e.model, e.beta, e.seeds, e.profile) for e, *_ in made] == [
        ("mvae", 2.5, (3, 4), "laptop"),
        ("mopoe", 2.5, (3, 4), "laptop"),
    ]
    assert {tuple(rest) for _, *rest in made} == {(tmp_path, True)}
    made.clear()
    swept = over_beta(asked, shown)
    assert [(e.model, e.beta) for e, *_ in made] == [
        (model, beta) for model in ("mvae", "mopoe") for beta in (1.0, 2.5)
    ]
    assert [run.record.config["beta"] for run in swept["mopoe"]] == [1.0, 2.5]
    assert runs(of(tmp_path))["mopoe"].record.seeds == [3, 4]


def test_a_run_leaves_a_record_that_the_next_one_takes(tmp_path, monkeypatch):
    trained = []

    def outcome(experiment, seed, *_, **__):
        trained.append(seed)
        return Outcome({"joint_coherence": 0.1 * seed}, {"probe": np.zeros(31)}, 1.0)

    monkeypatch.chdir(tmp_path)  # what is unfinished stays under the current folder
    monkeypatch.setattr(experiments_recorded, "outcome", outcome)
    monkeypatch.setattr(reproduction, "kept_judges", lambda *_: "judges")
    asked = request("polydigits", profile="laptop", models="['mopoe']", seeds=[1, 2], results="out")
    first = runs(asked)["mopoe"]
    assert (tmp_path / "out" / "polydigits" / "mopoe" / "laptop" / "record.json").is_file()
    assert first.freshness.state == "fresh"
    assert runs(asked)["mopoe"].record == first.record
    assert trained == [1, 2]
    quick = request("polydigits", profile="quick", models=["mopoe"], results="out")
    assert runs(quick)["mopoe"].record == first.record


def test_without_data_the_error_names_the_script_that_prepares_them(tmp_path):
    asked = request(DATASET, profile="laptop", models=["mopoe"], data=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"data_scripts/mnist_svhn\.py"):
        runs(asked)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_full_run_on_a_cpu_is_refused_with_its_hours(tmp_path):
    asked = request("polydigits", profile="full", models=["mopoe"], results=str(tmp_path))
    with pytest.raises(NeedsGPU, match=r"about \d+ h on this CPU"):
        runs(asked)


# --- values ---------------------------------------------------------------------------------------


def test_the_error_over_seeds_is_that_of_the_mean(tmp_path):
    record(tmp_path)
    run = runs(of(tmp_path))["mopoe"]
    mean, error = values.averaged(run, "probe_by_inputs")
    each = np.array(run.record.metrics["probe_by_inputs"])
    np.testing.assert_allclose(mean, each.mean(0), rtol=1e-12)
    np.testing.assert_allclose(error, stats.sem(each), rtol=1e-12)
    assert not np.allclose(error[0], each[:, 0].std(ddof=1))  # the wrong twin: a spread
    assert values.averaged(run, "frechet_prior") is None


def test_the_error_of_a_single_seed_is_the_evaluation_s(tmp_path):
    record(tmp_path, seeds=(4,))
    run = runs(of(tmp_path))["mopoe"]
    assert values.averaged(run, "probe_by_inputs")[1].tolist() == [0.001, 0.002, 0.003]
    assert values.averaged(run, "joint_coherence")[1].tolist() == [0.004]


def test_arrays_come_by_seed_and_not_at_all_if_one_seed_lacks_them(tmp_path):
    record(tmp_path)
    run = runs(of(tmp_path))["mopoe"]
    assert values.by_seed(run, "probe").shape == (3, 7)
    np.testing.assert_allclose(values.by_seed(run, "probe")[:, 0], [0.5, 0.51, 0.52])
    assert values.by_seed(run, "samples_mnist") is None
    assert values.by_seed(run, "samples_mnist", seeds=1).shape == (1, 3, 4, 1, 2, 2)


def with_arrays(results: Path, model: str, **arrays: np.ndarray) -> None:
    """A record that keeps these arrays of its first seed."""
    folder = record(results, model, seeds=(0,))
    made, kept = load(folder)
    write(folder, made, {**kept, **{f"{name}_seed0": array for name, array in arrays.items()}})


WORDS = np.arange(3 * 2 * 8, dtype=np.uint8).reshape(3, 2, 8)
PATHS = np.linspace(0, 1, 3 * 2 * 8 * 2, dtype=np.float32).reshape(3, 2, 8, 2)


def test_samples_are_those_that_all_records_which_keep_any_keep(tmp_path):
    with_arrays(tmp_path, "mvae", samples_text=WORDS)
    record(tmp_path, "mopoe")
    made = values.samples(of_one_profile(runs(of(tmp_path))), NAMES)
    assert {model: list(there) for model, there in made.items()} == {
        "mvae": ["mnist"],
        "mopoe": ["mnist"],
    }
    made = values.samples(of_one_profile(runs(of(tmp_path))), ["text"])
    assert list(made) == ["mvae"]
    np.testing.assert_array_equal(made["mvae"]["text"], WORDS)
    assert values.samples(of_one_profile(runs(of(tmp_path))), ["svhn"]) == {}
    assert values.samples({}, NAMES) == {}


def test_a_value_of_targets_comes_by_inputs_and_target_outside_them(tmp_path):
    attributes = np.arange(6 * 3 * 2, dtype=float).reshape(6, 3, 2)
    attributes[MEMBERSHIP[:-1]] = np.nan
    with_arrays(tmp_path, "mvae", coherence_by_attribute=attributes)
    record(tmp_path, "mopoe")
    found = runs(of(tmp_path))
    assert values.by_target(found["mopoe"], "coherence_by_attribute", NAMES) is None
    ours = values.by_target(found["mvae"], "coherence_by_attribute", NAMES)
    assert list(ours)[:2] == ["mnist → svhn", "mnist → text"]
    assert list(ours)[-1] == "svhn, text → mnist"
    assert len(ours) == 9
    assert np.isfinite(list(ours.values())).all()
    place = int(np.flatnonzero((MEMBERSHIP == [False, True, True]).all(1))[0])
    np.testing.assert_array_equal(ours["svhn, text → mnist"], attributes[place, 0])


# --- tables ---------------------------------------------------------------------------------------


def rows(table: str) -> dict[str, list[str]]:
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()]
    return {line[0]: line[1:] for line in lines[2:]}


def test_a_table_prints_every_published_number_and_not_run_below_it():
    found = rows(tables.printed_table(TABLE_2, [None], SYSTEMS))
    for key, printed in TABLE_2.rows.items():
        name = SYSTEMS.systems[key].name
        assert [text.replace("\xa0", " ") for text in found[f"{name}, in print"]] == [
            number.text if number else "not known" for number in printed
        ]
        assert found[f"{name}, ours"][0].strip(" |") == "not run"
    assert len(found) == 2 * len(TABLE_2.rows)


def test_ours_are_the_values_of_the_subset_that_heads_the_column(tmp_path):
    by_size_then_place = np.linspace(0.1, 0.7, 7)
    record(tmp_path, probe=by_size_then_place)
    found = rows(tables.printed_table(TABLE_2, runs(of(tmp_path)).values(), SYSTEMS))
    shown = [float(text.split()[0]) for text in found["MoPoE, ours"]]
    order = [
        int(np.flatnonzero(([n in column.inputs for n in NAMES] == MEMBERSHIP).all(1))[0])
        for column in TABLE_2.columns
    ]
    np.testing.assert_allclose(shown, by_size_then_place[order] + 0.01, atol=5e-4)


def test_a_laptop_record_is_never_reproduced_and_a_full_one_may_be(tmp_path):
    exact = [number.value for number in TABLE_2.rows["mopoe"]]
    probe = np.empty(7)
    for column, value in zip(TABLE_2.columns, exact, strict=True):
        probe[([n in column.inputs for n in NAMES] == MEMBERSHIP).all(1)] = value - 0.01
    record(tmp_path, probe=probe, data="mnist-svhn-text")
    shown = runs(of(tmp_path))
    table = tables.printed_table(TABLE_2, shown.values(), SYSTEMS)
    assert "✓" not in table
    assert "MoPoE: 7 not comparable" in tables.remarks(TABLE_2, shown.values(), SYSTEMS)
    assert "laptop profile" in tables.remarks(TABLE_2, shown.values(), SYSTEMS)
    record(tmp_path, profile="full", probe=probe, data="mnist-svhn-text")
    table = tables.printed_table(TABLE_2, runs(of(tmp_path)).values(), SYSTEMS)
    assert table.count("✓") == 7


def test_a_model_that_the_paper_does_not_have_gets_a_row_of_its_own(tmp_path):
    record(tmp_path, "powerset")
    shown = runs(of(tmp_path, [*MODELS, "powerset"]))
    found = rows(tables.printed_table(TABLE_2, shown.values(), SYSTEMS))
    assert list(found)[-1] == "Powerset, ours"
    assert "Powerset, in print" not in found


def test_the_blocks_of_a_table_hold_the_columns_that_are_asked_for():
    table = tables.printed_table(TABLE_6, [None], SYSTEMS, columns=[1, 2, 3])
    assert table.splitlines()[0] == "|  | S → M | T → M | S, T → M |"


def test_a_metric_by_subset_has_a_row_for_each_and_a_column_for_each_record(tmp_path):
    for model in ("mvae", "mopoe"):
        record(tmp_path, model)
    table = tables.subset_table(runs(of(tmp_path)), "probe", NAMES)
    assert table.splitlines()[0] == "| from | MVAE | MoPoE |"
    assert list(rows(table)) == [
        *NAMES,
        "mnist, svhn",
        "mnist, text",
        "svhn, text",
        "mnist, svhn, text",
    ]
    assert tables.subset_table({"mopoe": None}, "probe", NAMES).startswith("*No record")


def test_systems_of_one_verdict_share_a_line(tmp_path):
    for model in ("mvae", "mopoe"):
        record(tmp_path, model)
    lines = tables.remarks(TABLE_2, runs(of(tmp_path)).values(), SYSTEMS).splitlines()
    (line,) = [line for line in lines if "not comparable" in line]
    assert line.startswith("- MVAE, MoPoE: 7 not comparable. What differs: laptop profile; ")


def test_generated_words_are_read_from_their_symbols_whatever_these_are(tmp_path):
    symbols = {letter: place for place, letter in enumerate(ALPHABET)}
    spelled = ["  three ", "a|b`c*d\n", "sixsixsi"]
    made = np.array([[[symbols[s] for s in word]] * 2 for word in spelled], np.uint8)
    with_arrays(tmp_path, "mopoe", samples_text=made)
    kept = values.samples(of_one_profile(runs(of(tmp_path))), ["text"])
    table = tables.text_table(kept, "text", NAMES, read_text)
    head, _, row = table.splitlines()
    assert head == "|  | from mnist | + svhn | + text |"
    assert row.startswith("| MoPoE | `··three·` `··three·` | ``")
    assert row.endswith("| `sixsixsi` `sixsixsi` |")
    assert len(re.split(r"(?<!\\)\|", row)) == 6, "a bar in a word is no column"
    assert row.count("`` a\\|b`c*d↵ ``") == 2


def test_a_table_says_where_ours_come_from_and_what_differs(tmp_path):
    record(tmp_path)
    shown = runs(of(tmp_path))
    said = tables.compared(TABLE_6, shown, SYSTEMS, blocks=([0, 1], [2]))
    first, second, line, *rest = said.split("\n\n")
    assert first == tables.printed_table(TABLE_6, shown.values(), SYSTEMS, [0, 1])
    assert second == tables.printed_table(TABLE_6, shown.values(), SYSTEMS, [2])
    assert words.said(shown) in line
    assert "\n\n".join(rest) == tables.remarks(TABLE_6, shown.values(), SYSTEMS)


# --- words ----------------------------------------------------------------------------------------


def test_the_lines_run_what_is_missing_and_the_page_understands_them(tmp_path):
    record(tmp_path, "mopoe", profile="full")
    record(tmp_path, "mvae")
    block = words.commands(
        "mnist_svhn_text", DATASET, runs(of(tmp_path)), setup_of(DATASET), [0.5, 1.0]
    )
    lines = block.replace(" \\\n", " ").splitlines()
    (own,) = [shlex.split(line) for line in lines if line.startswith("multielbo")]
    (other,) = [shlex.split(line) for line in lines if line.startswith("papermill")]
    assert own[:3] == ["multielbo", "run", "reproductions/mnist_svhn_text"]
    assert own[3:] == other[3:]
    given = dict(zip(own[4::3], own[5::3], strict=True))
    assert set(own[3::3]) == {"-p"}
    asked = request(DATASET, **given)
    assert asked.models == ("mvae", "mmvae-averaged")  # a laptop record is not the full one
    assert (asked.profile, asked.betas) == ("full", (0.5, 1.0))
    assert asked.seeds == preset(DATASET, "mvae", "full").seeds
    script = next(line for line in lines if line.startswith("python "))
    assert (ROOT / script.split()[1]).is_file()


def test_settings_are_those_of_the_presets(tmp_path):
    found = rows(words.settings(DATASET))
    full = preset(DATASET, "mopoe", "full")
    assert found["latent dimensions"][-1] == str(full.latent_dim)
    assert found["training tuples for the probe"][-1] == str(full.probe_examples)
    assert words.settings("nothing").startswith("*There is no preset")


def test_parts_show_the_weights_of_the_set_up():
    setup = setup_of(DATASET)
    found = rows(words.parts(setup))
    shown = {name: float(cells[-1]) for name, cells in found.items()}
    assert shown == pytest.approx(setup.likelihood_weights, abs=0.005)


def test_judges_are_listed_by_their_data(tmp_path):
    assert words.judges(dict.fromkeys(MODELS), NAMES).startswith("*No record")
    for model in MODELS:
        record(tmp_path, model)
    found = rows(words.judges(runs(of(tmp_path)), NAMES))
    assert found == {"mnist-svhn-text-reduced, laptop profile": ["0.980", "0.800", "1.000"]}


def test_the_values_of_beta_are_those_of_the_catalogue():
    found = words.betas_of(DATASET)
    assert found == sorted(set(found))
    assert preset(DATASET, "mopoe", "full").beta in found
    assert words.betas_of("celeba") == []


# --- figures --------------------------------------------------------------------------------------


def test_a_point_of_the_trade_off_is_the_mean_over_seeds(tmp_path):
    for beta in (0.5, None):
        record(tmp_path, beta=beta)
    asked = of(tmp_path, ["mopoe"])
    _, ax = plt.subplots()
    nats, share = TABLES["sutter2021/table-4"].rows["mopoe"][0], TABLE_6.rows["mopoe"][0]
    trade_off(ax, over_beta(asked, runs(asked)), {"mopoe": (nats, share)})
    ours, printed = (container.lines[0].get_xydata() for container in ax.containers)
    np.testing.assert_allclose(ours, [[-1999.0, 0.31]] * 2)
    np.testing.assert_allclose(printed, [[nats.value, share.value]])
    assert [text.get_text() for text in ax.texts] == ["0.5", "2.5"]


def test_a_matrix_is_empty_where_the_target_is_an_input(tmp_path):
    record(tmp_path)
    figure = plt.figure()
    figures.matrices(figure, of_one_profile(runs(of(tmp_path))), NAMES, title="T", below="B")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["0.25"] * 9  # of 6 subsets and 3 targets, half are inputs
    assert figure.get_supxlabel() == "B"


def test_the_legend_of_the_curves_holds_joint_coherence(tmp_path):
    record(tmp_path)
    figure = plt.figure()
    panels = {"probe": "probe_by_inputs", "coherence": "coherence_by_inputs"}
    shown = of_one_profile(runs(of(tmp_path)))
    figures.curves(figure, shown, panels, title="T", below="B")
    (legend,) = figure.subfigs[1].legends
    error = stats.sem([0.30, 0.31, 0.32])
    assert legend.get_texts()[0].get_text() == f"MoPoE, joint 0.310 ± {error:.3f}"
    assert len(figure.axes[0].containers) == 1
    assert not figure.axes[1].containers  # the made-up record does not hold it


def test_attributes_are_in_one_order_in_every_panel():
    found = {
        "mvae": {"image": [0.9, np.nan, 0.4], "text": [0.1, 0.2, 0.3]},
        "mopoe": {"image": [0.3, np.nan, 0.5], "text": [0.4, 0.5, 0.6]},
    }
    figure = plt.figure()
    names = ["Smiling", "Bald", "Wearing_Hat"]
    figures.attributes(figure, found, names, title="T", below="B")
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["Bald", "Wearing Hat", "Smiling"]
    text = [ax.lines[1].get_xdata().tolist() for ax in figure.axes]
    assert text == [[0.2, 0.3, 0.1], [0.5, 0.6, 0.4]]
    own = np.argsort(np.nan_to_num(found["mopoe"]["image"]))
    assert [names[i] for i in own] != ["Bald", "Wearing_Hat", "Smiling"]  # the wrong twin


def test_a_path_of_a_pen_is_drawn_where_its_points_are(tmp_path):
    with_arrays(tmp_path, "mopoe", samples_text=PATHS)  # in the place of a third modality
    made = values.samples(of_one_profile(runs(of(tmp_path))), NAMES)
    figure = plt.figure()
    figures.samples(figure, made, NAMES, example=1, title="T", below="B")
    assert len(figure.axes) == 6  # two modalities, each from one to three inputs
    heads = [ax.get_title() for ax in figure.axes]
    assert heads[:2] == ["→ mnist\nfrom\nmnist", "→ mnist\nand\nsvhn"]
    assert [len(ax.lines) for ax in figure.axes] == [0, 0, 0, 2, 2, 2]
    for inputs, ax in enumerate(figure.axes[3:]):
        path, start = (line.get_xydata() for line in ax.lines)
        np.testing.assert_allclose((path - 0.1) / 0.8, PATHS[inputs, 1], rtol=1e-5)
        np.testing.assert_allclose(start, path[:1])
        assert ax.lines[0].get_transform() == ax.transAxes


# --- pages ----------------------------------------------------------------------------------------


def test_a_page_opens_with_its_records_and_what_is_in_print(tmp_path):
    record(tmp_path, "mopoe")
    record(tmp_path, "mvae", profile="full")
    record(tmp_path, "mopoe", beta=0.5)
    asked = ("quick", "['mvae', 'mopoe']", [], [], str(tmp_path), "", False)
    page = open_page(DATASET, *asked, published=ROOT / "book" / "published")
    assert page.names == NAMES
    assert [run.record.profile for run in page.shown.values()] == ["full", "laptop"]
    assert list(page.together) == ["mvae"]
    assert page.tables["sutter2021/table-2"] == TABLE_2
    assert list(page.sweeps) == ["mvae", "mopoe"]
    assert any("sutter2021" in figure.cite for figure in page.figures)
    with pytest.raises(ValueError, match="unknown profile 'fast'"):
        open_page(DATASET, "fast", *asked[1:], published=ROOT / "book" / "published")


@pytest.mark.parametrize("page", PAGES)
def test_every_page_takes_the_same_parameters(page):
    text = (ROOT / "notebooks" / "reproductions" / f"{page}.py").read_text(encoding="utf-8")
    (cell,) = [
        cell
        for cell in jupytext.reads(text, fmt="py:percent").cells
        if "parameters" in cell.metadata.get("tags", ())
    ]
    given = {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in ast.parse(cell.source).body
    }
    assert list(given) == ["profile", "models", "seeds", "betas", "results", "data", "allow_cpu"]
    assert given["profile"] == "quick"
    assert request(page.replace("_", "-"), **given).profile == "quick"


@pytest.mark.parametrize("page", PAGES)
def test_every_page_hands_its_parameters_over_in_their_order(page):
    """They go by place, so that a page opens in one line."""
    tree = ast.parse((ROOT / "notebooks" / "reproductions" / f"{page}.py").read_text("utf-8"))
    (call,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "open_page"
    ]
    names = list(inspect.signature(open_page).parameters)
    assert [node.id for node in call.args[1:]] == names[1:-1]
    assert call.args[0].value == page.replace("_", "-")
    assert not call.keywords


def test_a_decoder_that_ignores_its_latents_is_named_with_its_seed(tmp_path):
    write_away(tmp_path, seeds=(0, 1), lost={1: 2})
    shown = runs(of(tmp_path))
    assert values.mute(shown["mopoe"]) == {1: [2]}
    said = words.lost(shown, NAMES)
    assert "- seed 1, *text*: MoPoE" in said
    assert "seed 0" not in said


def test_decoders_that_follow_one_input_at_least_are_not_lost(tmp_path):
    write_away(tmp_path, seeds=(0, 1), lost={})
    assert words.lost(runs(of(tmp_path)), NAMES) == ""


def write_away(results: Path, seeds: tuple[int, ...], lost: dict[int, int]) -> None:
    """A record in which a target is at chance from all but one input, or from all if it is lost."""
    folder = record(results, seeds=seeds)
    made, arrays = load(folder)
    arrays = dict(arrays)
    for seed in seeds:
        coherence = np.where(MEMBERSHIP[:-1], np.nan, 0.1)
        for target in range(3):
            first = np.flatnonzero(~MEMBERSHIP[:-1, target])[0]
            coherence[first, target] = 0.1 if lost.get(seed) == target else 0.8
        arrays[f"coherence_seed{seed}"] = coherence
    write(folder, made, arrays)

"""The published numbers are read as they are printed, and uncertain readings are argued for."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from multielbo.digests import reachable_modules
from multielbo.scoreboard.claims import read_claims
from multielbo.scoreboard.decisions import published_contrasts
from multielbo.scoreboard.numbers import number
from multielbo.scoreboard.published import Table, read_figures, read_tables
from multielbo.scoreboard.systems import Systems, read_systems
from multielbo.setups.registry import SETUPS, setup_of

FOLDER = Path(__file__).parents[1] / "book" / "published"
SYSTEMS = read_systems(FOLDER)
TABLES = {table.name: table for table in read_tables(FOLDER, SYSTEMS)}
TABLE_4 = TABLES["sutter2021/table-4"]

SMALL = {
    "systems.yml": """
sources: [paper]
datasets: {digits: {title: Digits, modalities: [a, b], data: [digits]}}
systems: {mvae: {name: MVAE, models: [mvae]}}
""",
    "paper.yml": """
source: {name: A paper}
tables:
  - id: one
    where: Table 1
    dataset: digits
    title: Accuracy
    metric: probe
    columns: [{label: A, inputs: [a]}, {label: B, inputs: [b]}]
    rows: {mvae: [0.90 ± 0.01, not known]}
""",
    "claims.yml": """
quantities: {probe-a: {metric: probe, inputs: [a]}, probe-b: {metric: probe, inputs: [b]}}
claims:
  - id: better
    says: From a MVAE is probed better than from b
    source: paper
    where: Table 1
    dataset: digits
    kind: greater
    contrasts: [{+: [[mvae, probe-a]], -: [[mvae, probe-b]]}]
""",
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder of published numbers with one table and one claim."""
    for name, text in SMALL.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def read(folder: Path) -> tuple[Systems, list[Table], list]:
    systems = read_systems(folder)
    return systems, read_tables(folder, systems), read_claims(folder, systems)


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value", "spread", "half_unit"),
    [
        ("0.90 ± 0.01", 0.90, 0.01, 0.005),
        ("0.9", 0.9, None, 0.05),
        (".804 ± .010", 0.804, 0.010, 0.0005),
        ("-1790 ± 3.3", -1790.0, 3.3, 0.5),
        ("188.8", 188.8, None, 0.05),
        ("6936 ± 5", 6936.0, 5.0, 0.5),
    ],
)
def test_a_number_keeps_its_spread_and_how_far_it_was_rounded(text, value, spread, half_unit):
    read = number(text, "here")
    assert (read.text, read.value, read.spread) == (text, value, spread)
    assert read.half_unit == pytest.approx(half_unit, rel=1e-12)


def test_what_is_not_known_is_no_number():
    assert number("not known", "here") is None


@pytest.mark.parametrize("text", ["0.900.01", "0.9 +- 0.1", "unknown", "", "-", ".", "0.9 ± "])
def test_a_cell_that_is_no_number_is_refused_in_one_line(text):
    with pytest.raises(ValueError, match=r"^Table 2, mvae: .* is no number; write") as caught:
        number(text, "Table 2, mvae")
    assert "\n" not in str(caught.value)


def test_digits_survive_the_file_format(small):
    _, (table,), _ = read(small)
    assert table.rows["mvae"][0].text == "0.90 ± 0.01"
    assert table.rows["mvae"][1] is None


# --- the files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "paper.yml",
            "dataset: digits",
            "dataset: letters",
            "paper.yml, one: no data set 'letters'",
        ),
        ("paper.yml", "{mvae:", "{mvea:", "paper.yml, one: no system 'mvea'"),
        ("paper.yml", ", not known]", "]", "paper.yml, one: mvae has 1 cells for 2 columns"),
        ("paper.yml", "metric: probe", "metric: prob", "paper.yml, one: no metric 'prob'"),
        ("paper.yml", "inputs: [b]", "inputs: [c]", "paper.yml, one: no modality 'c'"),
        ("paper.yml", "inputs: [b]", "number: 2", "column 'B' of metric probe needs"),
        ("paper.yml", "    title: Accuracy\n", "", "paper.yml, one: 'title' is missing"),
        ("paper.yml", "title:", "run: 5\n    title:", "paper.yml, one: unknown key 'run'"),
        ("paper.yml", "title:", "runs: 1\n    title:", "a spread is over two runs or more"),
        ("paper.yml", "0.90 ±", "0.90 +", "paper.yml, one, mvae: '0.90 + 0.01' is no number"),
        ("paper.yml", "rows: {", "rows: [", "paper.yml is no YAML"),
        ("systems.yml", "[paper]", "[papers]", "there is no"),
        ("systems.yml", "sources: [paper]\n", "", "systems.yml: 'sources' is missing"),
        ("claims.yml", "kind: greater", "kind: larger", "claims.yml, better: no kind 'larger'"),
        ("claims.yml", "kind: greater", "kind: equal", "a margin belongs to kind equal"),
        ("claims.yml", "[mvae, probe-b]", "[mvae, probe-c]", "no quantity 'probe-c'"),
        ("claims.yml", "[mvae, probe-b]", "[mvea, probe-b]", "no system 'mvea'"),
    ],
)
def test_a_malformed_file_is_refused_in_one_line_that_names_the_place(small, file, old, new, said):
    text = (small / file).read_text(encoding="utf-8")
    assert old in text
    (small / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        read(small)
    assert "\n" not in str(caught.value)


def test_every_system_of_the_four_papers_and_the_controls_has_a_row():
    asked = {
        *("mvae", "mmvae", "mopoe", "eq5", "mvtcae", "jmvae", "jnf", "jnf-dcca"),
        *("wb-vae", "mwb-vae", "mmvae-plus", "log-pool", "mixture-of-log-pools"),
        *("masked-poe", "masked-moe", "masked-sum-pooling", "masked-self-attention"),
    }
    rows = {system for table in TABLES.values() for system in table.rows}
    assert asked <= rows
    assert set(SYSTEMS.systems) == rows, "a system without a row, or a row without a system"


def test_every_file_of_the_folder_is_read():
    files = {file.stem for file in FOLDER.glob("*.yml")} - {"systems", "claims"}
    assert files == set(SYSTEMS.sources)


def test_every_cited_source_is_in_the_bibliography(root):
    known = set(re.findall(r"^@\w+\{(\w+),", (root / "book/references.bib").read_text(), re.M))
    cited = {table.cite for table in TABLES.values()}
    cited |= {figure.cite for figure in read_figures(FOLDER, SYSTEMS)}
    cited |= {system.paper for system in SYSTEMS.systems.values()}
    cited |= {claim.source for claim in read_claims(FOLDER, SYSTEMS)}
    assert cited - {""} <= known


def test_shares_lie_between_zero_and_one():
    for table in TABLES.values():
        for row in (*table.rows.values(), *table.multivae.values()):
            for column, cell in zip(table.columns, row, strict=True):
                if cell and column.metric and "likelihood" not in column.metric:
                    assert 0 <= cell.value <= 1, f"{table.name}, {column.label}: {cell.text}"


@pytest.mark.parametrize("dataset", sorted(set(SETUPS) & set(SYSTEMS.datasets)))
def test_modalities_are_in_the_order_of_the_set_up(dataset):
    assert SYSTEMS.datasets[dataset].modalities == tuple(setup_of(dataset).modalities)


def test_a_run_reaches_nothing_of_the_scoreboard():
    reached = reachable_modules("multielbo.experiments.run", "multielbo.models.registry")
    assert not [module for module in reached if "scoreboard" in module]
    assert "multielbo.records" in reachable_modules("multielbo.scoreboard.page")


# --- readings of a text that had lost its typography ----------------------------------------------


def test_table_3_prints_the_means_of_table_6():
    with_spreads, without = TABLES["sutter2021/table-6"], TABLES["sutter2021/table-3"]
    assert with_spreads.columns == without.columns
    for system, row in with_spreads.rows.items():
        assert [n.value for n in row] == [n.value for n in without.rows[system]]
        assert all(n.spread is not None for n in row)
        assert all(n.spread is None for n in without.rows[system])


def test_the_cell_that_lost_its_mean_is_not_known():
    table = TABLES["sutter2021/table-2"]
    missing = [
        (system, column.inputs)
        for system, row in table.rows.items()
        for column, cell in zip(table.columns, row, strict=True)
        if cell is None
    ]
    assert missing == [("mmvae", ("svhn", "text"))]


def test_the_order_of_table_4_is_the_one_that_a_mixture_of_experts_explains():
    # MMVAE proposes from a mixture of unimodal posteriors, so that its estimate for a subset lies
    # near the mean of its modalities' own. Of all orders of the lost heads we look for the nearest.
    values = [cell.value for cell in TABLE_4.rows["mmvae"]]
    subsets = [column.inputs for column in TABLE_4.columns]

    def misfit(order):
        by_subset = dict(zip(order, values, strict=True))
        return sum(
            (by_subset[s] - sum(by_subset[(m,)] for m in s) / len(s)) ** 2
            for s in order
            if len(s) > 1
        )

    orders = list(itertools.permutations(subsets))
    least = min(map(misfit, orders))
    assert misfit(subsets) == pytest.approx(least, rel=1e-12)

    # Renaming the modalities is all that the fit leaves open; Table 2 names them M, S, T.
    best = [order for order in orders if misfit(order) < least + 1e-6]
    assert len(best) == 6
    assert [order for order in best if order[1:4] == (("mnist",), ("svhn",), ("text",))] == [
        tuple(subsets)
    ]

    like_table_2 = tuple(column.inputs for column in TABLES["sutter2021/table-2"].columns)
    assert misfit(like_table_2) > 10 * least


@pytest.mark.parametrize("name", ["sutter2021/table-4", "sutter2021/appendix-c"])
def test_in_that_order_the_proposals_that_have_seen_svhn_are_the_best(name):
    table = TABLES[name]
    for system, row in table.rows.items():
        seen, unseen = [], []
        for column, cell in zip(table.columns, row, strict=True):
            (seen if "svhn" in column.inputs else unseen).append(cell.value)
        assert min(seen) > max(unseen), system


def test_mopoe_is_printed_alike_in_table_4_and_in_appendix_c():
    one, other = (TABLES[f"sutter2021/{name}"].rows["mopoe"] for name in ("table-4", "appendix-c"))
    for left, right in zip(one, other, strict=True):
        assert abs(left.value - right.value) < left.spread + right.spread


# --- claims ---------------------------------------------------------------------------------------


def test_a_claim_holds_in_the_table_that_it_is_about():
    checked = 0
    for claim in read_claims(FOLDER, SYSTEMS):
        own = [table for table in TABLES.values() if table.cite == claim.source and claim.source]
        found = published_contrasts(claim, own) if own else None
        if found is None:
            continue
        checked += 1
        if claim.margin is None:
            assert min(found[1]) > 0, claim.key
        else:
            assert max(map(abs, found[1])) < claim.margin, claim.key
    assert checked >= 9


def test_a_claim_about_an_unprinted_number_has_no_published_contrast(small):
    _, tables, (claim,) = read(small)
    assert published_contrasts(claim, tables) is None

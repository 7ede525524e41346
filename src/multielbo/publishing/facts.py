"""Fact files: what is known of each data set, one JSON file each under `book/facts`.

`data_scripts/facts.py` writes them where the data are, and the book shows them where they are not.
A file has a `described` part, which people wrote, and a `measured` one: counts, shapes and
checksums of prepared data, or nothing where no data could be had.
"""

from __future__ import annotations

__all__ = [
    "FORMAT",
    "check_facts",
    "differences_table",
    "originals_table",
    "read_facts",
    "sets_table",
]

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

FORMAT = 1
DESCRIBED = {"title", "setups", "originals", "command", "published", "differs"}
ORIGINAL = {"title", "author", "licence", "from"}
MEASURED = {"modalities", "splits", "bytes", "checksums", "substitutes", "picture"}
DIGEST = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")
REMEDY = "write it again with data_scripts/facts.py"

Facts = Mapping[str, Any]


def read_facts(folder: Path) -> dict[str, Facts]:
    """The fact files of a folder, by the data sets' names.

    Raises:
        FileNotFoundError: There is none.
        ValueError: A file is damaged or incomplete.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}): {REMEDY}") from error
        check_facts(facts, str(path))
        found[facts["name"]] = facts
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no fact files: write them with data_scripts/facts.py"
        )
    return found


def check_facts(facts: Facts, where: str) -> None:
    """Refuse facts that lack something or contradict themselves.

    Raises:
        ValueError: Says which.
    """
    faults = [*_faults(facts)]
    if faults:
        raise ValueError(f"{where}: {faults[0]}: {REMEDY}")


def sets_table(sets: Iterable[Facts]) -> str:
    """A Markdown table: modalities, counts and licences."""
    rows = [["data set", "modalities", "tuples", "licence"]]
    for facts in sets:
        title = facts["described"]["title"]
        licences = dict.fromkeys(o["licence"] for o in facts["described"]["originals"])
        rows.append(
            [
                f"{title if facts['measured'] else f'{title} (not here)'}<br>`{facts['name']}`",
                "<br>".join(_modalities(facts)),
                "<br>".join(_counts(facts)) or "not known to us",
                "; ".join(licences),
            ]
        )
    return _table(rows)


def differences_table(sets: Iterable[Facts]) -> str:
    """A Markdown table: how each data set is prepared, and where it is not the published one."""
    rows = [["data set", "command", "differs from the published data in"]]
    for facts in sets:
        described = facts["described"]
        script = described["command"].removeprefix("python data_scripts/")
        command = f"`{script}`" if script else "none: made in memory"
        rows.append([f"`{facts['name']}`", command, described["differs"]])
    return _table(rows)


def originals_table(sets: Iterable[Facts]) -> str:
    """A Markdown table of the originals that data sets are made of, each once."""
    rows = [["original", "by", "licence"]]
    known = {o["title"]: o for facts in sets for o in facts["described"]["originals"]}
    for title, original in known.items():
        place = original["from"]
        shown = f"[{title}]({place})" if place.startswith("http") else title
        rows.append([shown, original["author"], original["licence"]])
    return _table(rows)


def _faults(facts: Facts) -> Iterator[str]:
    if facts.get("format") != FORMAT or not isinstance(facts.get("name"), str):
        yield f"it is not of format {FORMAT}"
        return
    described, measured = facts.get("described", {}), facts.get("measured")
    for key in sorted(DESCRIBED - described.keys()):
        yield f"its description has no {key!r}"
    for original in described.get("originals", ()):
        for key in sorted(ORIGINAL - {k for k, text in original.items() if text}):
            yield f"an original has no {key!r}"
    if measured is None:
        if facts.get("prepared") is not False:
            yield "it says 'prepared' and has no measurements"
        if "expected" not in described:
            yield "it says neither what was measured nor what the authors announce"
        return
    if facts.get("prepared") is not True:
        yield "it has measurements and does not say 'prepared'"
    for key in sorted(MEASURED - measured.keys()):
        yield f"its measurements have no {key!r}"
        return
    for split, found in measured["splits"].items():
        if not DIGEST.fullmatch(found["sha256"]):
            yield f"the checksum of {split} is {found['sha256']!r}"
        if not measured.get("attributes") and sum(found["classes"]) != found["tuples"]:
            yield f"the classes of {split} do not add up to its {found['tuples']} tuples"
    for file, digest in measured["checksums"].items():
        if not DIGEST.fullmatch(digest):
            yield f"the checksum of {file} is {digest!r}"
    if measured["picture"] and not DIGEST.fullmatch(measured["picture"]["sha256"]):
        yield "the picture has no checksum"


def _modalities(facts: Facts) -> Iterator[str]:
    """Runs of modalities of one shape, as in `m0` to `m4`: 3x28x28."""
    measured = facts["measured"]
    shapes = (
        {m: found["shape"] for m, found in measured["modalities"].items()}
        if measured
        else facts["described"]["expected"]["modalities"]
    )
    by_shape: dict[str, list[str]] = {}
    for m, shape in shapes.items():
        by_shape.setdefault("x".join(map(str, shape)), []).append(m)
    for shape, names in by_shape.items():
        run = f"`{names[0]}` to `{names[-1]}`" if len(names) > 2 else "`, `".join(names)
        yield f"{run if len(names) > 2 else f'`{run}`'}: {shape}"


def _counts(facts: Facts) -> Iterator[str]:
    measured = facts["measured"]
    splits = (
        {split: found["tuples"] for split, found in measured["splits"].items()}
        if measured
        else facts["described"]["expected"]["splits"]
    )
    for split, count in splits.items():
        yield f"{split} {count:,}"


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = [head, [":--"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"

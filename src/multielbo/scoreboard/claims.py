"""The papers' claims as contrasts of measured quantities, read from `book/published`."""

from __future__ import annotations

__all__ = ["Claim", "Term", "read_claims"]

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from multielbo.scoreboard.columns import Column, column
from multielbo.scoreboard.systems import Systems, read_yaml, require_keys


class Term(NamedTuple):
    """A quantity of a system, with the sign that it has in a contrast."""

    sign: int
    system: str
    column: Column


@dataclass(frozen=True)
class Claim:
    """What a paper says in words, as contrasts.

    Attributes:
        key: Its `id`.
        says: The claim.
        source: Key in the bibliography, or "".
        where: Place in the source.
        dataset: What it is about.
        kind: `"greater"` or `"equal"`.
        contrasts: Of each the terms.
        margin: Of what counts as equal, ours.
        note: What a reader has to know.
    """

    key: str
    says: str
    source: str
    where: str
    dataset: str
    kind: str
    contrasts: tuple[tuple[Term, ...], ...]
    margin: float | None = None
    note: str = ""

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems that it compares."""
        return tuple(dict.fromkeys(s for terms in self.contrasts for _, s, _ in terms))


def read_claims(folder: Path, systems: Systems) -> list[Claim]:
    """The claims, in the order of the file.

    Args:
        folder: `book/published`.
        systems: As `read_systems` gives them.

    Raises:
        ValueError: The file holds something else than it should.
    """
    values = read_yaml(folder / "claims.yml")
    require_keys(values, "claims.yml", needed={"quantities", "claims"})
    quantities = values["quantities"]
    return [_claim(entry, quantities, systems) for entry in values["claims"]]


def _claim(entry: Any, quantities: Mapping[str, Any], systems: Systems) -> Claim:
    where = f"claims.yml, {entry.get('id')}"
    needed = {"id", "says", "source", "where", "dataset", "kind", "contrasts"}
    require_keys(entry, where, needed=needed, allowed={"margin", "note"})
    modalities = systems.dataset(entry["dataset"], where).modalities
    if entry["kind"] not in ("greater", "equal"):
        raise ValueError(f"{where}: no kind {entry['kind']!r}; choose greater or equal")
    if (entry["kind"] == "equal") != ("margin" in entry):
        raise ValueError(f"{where}: a margin belongs to kind equal, and to no other")
    contrasts = []
    for terms in entry["contrasts"]:
        require_keys(terms, where, needed={"+", "-"})
        for listed in terms.values():
            for system, quantity in listed:
                systems.system(system, where)
                if quantity not in quantities:
                    raise ValueError(f"{where}: no quantity {quantity!r}; add it to claims.yml")
        contrasts.append(
            tuple(
                Term(
                    1 if sign == "+" else -1,
                    system,
                    column({"label": quantity} | quantities[quantity], None, modalities, where),
                )
                for sign, listed in terms.items()
                for system, quantity in listed
            )
        )
    margin = float(entry["margin"]) if "margin" in entry else None
    fields = {key: entry[key] for key in ("says", "source", "where", "dataset", "kind")}
    return Claim(
        key=entry["id"],
        contrasts=tuple(contrasts),
        margin=margin,
        note=entry.get("note", ""),
        **fields,
    )

"""What every page of reproductions starts with: its records, its set-up, what is in print."""

from __future__ import annotations

__all__ = ["NOTHING", "Page", "open_page"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multielbo.reproduction.request import request
from multielbo.reproduction.runs import of_one_profile, over_beta, runs
from multielbo.scoreboard.published import Figure, Table, read_figures, read_tables
from multielbo.scoreboard.runs import Run
from multielbo.scoreboard.systems import Systems, read_systems
from multielbo.setups.registry import setup_of
from multielbo.setups.setup import Setup

NOTHING = "*There is no record yet, so there is nothing to draw; the lines above make one.*"


@dataclass(frozen=True)
class Page:
    """One page of reproductions.

    Attributes:
        dataset: Of the presets.
        setup: Networks, likelihoods and weights of it.
        shown: By model the record with the preset's beta, or None.
        sweeps: By model its records over beta.
        together: Those of `shown` that a figure may put side by side.
        systems: Of the scoreboard.
        tables: What is in print, by source and name.
        figures: Figures in print whose values nobody prints.
    """

    dataset: str
    setup: Setup
    shown: Mapping[str, Run | None]
    sweeps: Mapping[str, list[Run]]
    together: Mapping[str, Run]
    systems: Systems
    tables: Mapping[str, Table]
    figures: Sequence[Figure]

    @property
    def names(self) -> list[str]:
        """Of the modalities."""
        return list(self.setup.modalities)


def open_page(
    dataset: str,
    profile: str,
    models: Sequence[str] | str,
    seeds: Sequence[int] | str,
    betas: Sequence[float] | str,
    results: str,
    data: str,
    allow_cpu: bool,
    published: Path = Path("book/published"),
) -> Page:
    """Read the records that a page shows, or make them, and what is in print beside them.

    Args:
        dataset: A name of the presets.
        profile, models, seeds, betas, results, data, allow_cpu: The parameters of its notebook, in
            their order; checked as by `request`.
        published: Folder of what is in print.

    Raises:
        ValueError: A parameter is none that the page can serve, or a record was changed by hand.
        FileNotFoundError, NeedsGPU: As `runs` does.
    """
    asked = request(
        dataset,
        profile=profile,
        models=models,
        seeds=seeds,
        betas=betas,
        results=results,
        data=data,
        allow_cpu=allow_cpu,
    )
    shown = runs(asked)
    systems = read_systems(published)
    return Page(
        dataset,
        setup_of(dataset),
        shown,
        over_beta(asked, shown),
        of_one_profile(shown),
        systems,
        {table.name: table for table in read_tables(published, systems)},
        read_figures(published, systems),
    )

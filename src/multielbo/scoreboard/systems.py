"""The data sets and systems of the scoreboard, as `book/published/systems.yml` lists them."""

from __future__ import annotations

__all__ = ["Dataset", "System", "Systems", "read_systems", "read_yaml", "require_keys"]

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multielbo.models.registry import known


@dataclass(frozen=True)
class Dataset:
    """A data set that numbers are published for.

    Attributes:
        title: Its name in print.
        modalities: In the order of the set-up.
        data: Names that records give to the published data; others are substitutes.
    """

    title: str
    modalities: tuple[str, ...]
    data: tuple[str, ...]


@dataclass(frozen=True)
class System:
    """A system of the papers.

    Attributes:
        name: Its name in print.
        models: Models of this package that stand for it, the closest first.
        paper: Key in the bibliography, or "".
        meant: By source, the same list where that source means another variant by the name.
    """

    name: str
    models: tuple[str, ...]
    paper: str = ""
    meant: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def models_in(self, source: str) -> tuple[str, ...]:
        """The models that stand for it where that source speaks of it."""
        return self.meant.get(source, self.models)

    @property
    def implemented(self) -> bool:
        """Whether this package has a model that stands for it."""
        return any(model in known() for model in self.models)


@dataclass(frozen=True)
class Systems:
    """All data sets and systems by key, and the sources of numbers in the order of reading."""

    sources: tuple[str, ...]
    datasets: Mapping[str, Dataset]
    systems: Mapping[str, System]

    def dataset(self, key: str, where: str) -> Dataset:
        """The data set of that key.

        Raises:
            ValueError: There is none.
        """
        if key not in self.datasets:
            raise ValueError(f"{where}: no data set {key!r}; add it to systems.yml")
        return self.datasets[key]

    def system(self, key: str, where: str) -> System:
        """The system of that key.

        Raises:
            ValueError: There is none.
        """
        if key not in self.systems:
            raise ValueError(f"{where}: no system {key!r}; add it to systems.yml")
        return self.systems[key]


def read_systems(folder: Path) -> Systems:
    """Data sets and systems.

    Args:
        folder: `book/published`.

    Raises:
        ValueError: The file holds something else than it should.
    """
    values = read_yaml(folder / "systems.yml")
    require_keys(values, "systems.yml", needed={"sources", "datasets", "systems"})
    datasets, systems = {}, {}
    for key, entry in values["datasets"].items():
        require_keys(entry, f"systems.yml, {key}", needed={"title", "modalities", "data"})
        datasets[key] = Dataset(entry["title"], tuple(entry["modalities"]), tuple(entry["data"]))
    for key, entry in values["systems"].items():
        allowed = {"paper", "meant"}
        require_keys(entry, f"systems.yml, {key}", needed={"name", "models"}, allowed=allowed)
        meant = {source: tuple(models) for source, models in entry.get("meant", {}).items()}
        systems[key] = System(entry["name"], tuple(entry["models"]), entry.get("paper", ""), meant)
    return Systems(tuple(values["sources"]), datasets, systems)


def read_yaml(file: Path) -> Any:
    """What a YAML file holds, numbers as they are written.

    Raises:
        ValueError: It is missing, or no YAML.
    """
    import yaml

    if not file.is_file():
        raise ValueError(f"published: there is no {file}; give the folder book/published")
    try:
        return yaml.load(file.read_text(encoding="utf-8"), Loader=_loader())
    except yaml.YAMLError as error:
        raise ValueError(f"{file.name} is no YAML: {' '.join(str(error).split())}") from error


def require_keys(
    entry: Any, where: str, *, needed: Set[str], allowed: Set[str] = frozenset()
) -> None:
    """Check the keys of one mapping.

    Raises:
        ValueError: It is none, or keys are missing or unknown.
    """
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: expected the keys {', '.join(sorted(needed))}")
    if missing := sorted(needed - set(entry)):
        raise ValueError(f"{where}: {missing[0]!r} is missing")
    if unknown := sorted(set(entry) - needed - allowed):
        known = ", ".join(sorted(needed | allowed))
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; choose from {known}")


def _loader() -> type:
    """A safe loader that keeps floats as text: 0.90 says more than 0.9."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("tag:yaml.org,2002:float", Loader.construct_yaml_str)
    return Loader

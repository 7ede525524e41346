"""The records that the book wants, the most wanted first."""

from __future__ import annotations

__all__ = ["CATALOGUE", "Wanted", "named", "wanted"]

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from multielbo.experiments.experiment import Experiment
from multielbo.models.registry import CELLS
from multielbo.presets import PRESETS, preset
from multielbo.profiles import check_profile


@dataclass(frozen=True)
class Wanted:
    """A record that the book wants.

    Attributes:
        dataset, model, profile: Of the experiment.
        beta: Where it is not the preset's.
        priority: 0 is the most wanted.
    """

    dataset: str
    model: str
    profile: str
    beta: float | None = None
    priority: int = 0

    @property
    def name(self) -> str:
        """As the record is called."""
        name = f"{self.dataset}/{self.model}"
        return name if self.beta is None else f"{name}/beta-{self.beta:g}"

    def experiment(self) -> Experiment:
        """The settings.

        Raises:
            ValueError: The data set has no preset for this profile.
        """
        changes = {} if self.beta is None else {"beta": self.beta}
        return preset(self.dataset, self.model, self.profile, **changes)


_COMPARED = ("mvae", "mmvae-averaged", "mopoe")
_BARYCENTERS = ("wb-vae", "mwb-vae", "mixture-of-log-pools")
_BETAS = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
# A line each: data set, models, values of beta; earlier lines are wanted more.
_LINES = {
    "laptop": [
        ("polymnist", (*_COMPARED, *_BARYCENTERS), ()),
        ("mnist-svhn-text", (*_COMPARED, "powerset"), ()),
        ("written-spoken-drawn", (*_COMPARED, *_BARYCENTERS), ()),
        ("polymnist", ("jnf", "jnf-dcca"), ()),
        ("polydigits", ("mopoe", "jnf"), ()),
        # What JNF is compared with.
        ("polymnist", ("mvtcae", "jmvae", "mmjsd", "mmvae-plus"), ()),
        ("written-spoken-drawn", ("jnf",), ()),
        # What is left of the atlas.
        ("polymnist", ("mmvae", "log-pool", "hellinger", "mixture-of-hellinger", *CELLS), ()),
        ("coarse-polymnist", (*_COMPARED, "mwb-vae", "mixture-of-log-pools"), ()),
        # The masked objective, and private latents.
        ("mnist-svhn-text", ("masked-poe", "masked-sum-pooling"), ()),
        ("mnist-svhn-text-private", ("mopoe", "mvae", "masked-poe"), ()),
    ],
    "full": [
        ("polymnist", ("mopoe",), ()),
        ("polymnist", ("mvae", "mmvae-averaged", *_BARYCENTERS), ()),
        ("mnist-svhn-text", _COMPARED, ()),
        ("mnist-svhn-text", _COMPARED, _BETAS),
        ("mnist-svhn-text", ("powerset",), ()),
        ("polymnist", ("jnf", "jnf-dcca"), ()),
        ("celeba", _COMPARED, ()),
        ("mhd", _COMPARED, ()),
        ("translated-polymnist", _COMPARED, ()),
        ("polymnist", ("mvtcae", "jmvae", "mmjsd", "mmvae-plus"), ()),
        ("translated-polymnist", ("jnf", "jnf-contrastive", "mvtcae", "jmvae"), ()),
        ("mhd", ("jnf", "jnf-dcca", "jnf-contrastive", "mvtcae", "jmvae"), ()),
        ("mnist-svhn", (*_COMPARED, "jnf", "jnf-dcca", "jnf-contrastive", "jmvae"), ()),
    ],
}
CATALOGUE = tuple(
    Wanted(dataset, model, profile, beta, priority)
    for profile, lines in _LINES.items()
    for priority, (dataset, models, betas) in enumerate(lines)
    for beta in betas or (None,)
    for model in models
)


def wanted(profile: str | None = None) -> tuple[Wanted, ...]:
    """The catalogue, of one profile or whole.

    Where a sweep over beta meets the preset's own value, that is the record without a beta, and it
    is not asked for twice.

    Raises:
        ValueError: The profile is unknown, or is not recorded.
    """
    if profile is not None and check_profile(profile) == "quick":
        raise ValueError("records: quick runs are not recorded; choose profile laptop or full")
    return tuple(
        entry
        for entry in CATALOGUE
        if profile in (None, entry.profile) and (entry.beta is None or entry.beta != _usual(entry))
    )


def named(entries: Sequence[Wanted], names: Iterable[str]) -> tuple[Wanted, ...]:
    """The entries that the names mean: each a whole name, or its first parts, as `"polymnist"`.

    Raises:
        ValueError: A name means no entry.
    """
    names = [name.rstrip("/") for name in names]
    for name in names:
        if not any(_means(name, entry) for entry in entries):
            known = list(dict.fromkeys(entry.name for entry in entries))
            close = difflib.get_close_matches(name, known, 3, 0.3) or known[:3]
            raise ValueError(
                f"records: none is named {name!r}; there are {len(known)}, such as "
                f"{', '.join(close)}; `multielbo records status` lists them"
            )
    return tuple(e for e in entries if not names or any(_means(name, e) for name in names))


def _means(name: str, entry: Wanted) -> bool:
    return entry.name == name or entry.name.startswith(f"{name}/")


def _usual(entry: Wanted) -> float | None:
    """The preset's beta, or None where there is no preset."""
    if (entry.dataset, entry.profile) not in PRESETS:
        return None
    return preset(entry.dataset, entry.model, entry.profile).beta

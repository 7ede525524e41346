"""What stands around tables and figures: where ours come from, and how to run them."""

from __future__ import annotations

__all__ = ["betas_of", "commands", "judges", "lost", "parts", "provenance", "said", "settings"]

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence

from multielbo.experiments.catalogue import CATALOGUE
from multielbo.models.registry import MODELS
from multielbo.plots import LABELS
from multielbo.presets import PRESETS, preset
from multielbo.profiles import PROFILES
from multielbo.records import caption
from multielbo.reproduction.values import mute
from multielbo.scoreboard.markdown import grid
from multielbo.scoreboard.runs import Run
from multielbo.setups.setup import Setup

SETTINGS = {  # of `Experiment`, in the words of a reader
    "setup": "networks of set-up",
    "latent_dim": "latent dimensions",
    "beta": "β",
    "epochs": "epochs",
    "batch_size": "batch size",
    "learning_rate": "learning rate",
    "probe_examples": "training tuples for the probe",
    "importance_samples": "importance samples",
    "likelihood_examples": "test tuples for them",
    "coherence_examples": "test tuples for coherence",
}


def provenance(shown: Mapping[str, Run | None]) -> str:
    """A table of the records: data, profile, seeds, device, time, commit and freshness."""
    rows = []
    for model, run in shown.items():
        if run is None:
            rows.append([LABELS[model], "not run", "", ""])
        else:
            made = caption(run.record, run.freshness).removeprefix("laptop profile, ")
            rows.append([LABELS[model], run.record.profile, run.data, made])
    return grid(["model", "profile", "data", "record"], rows)


def said(shown: Mapping[str, Run | None], drawn: Container[str] | None = None) -> str:
    """One line for below a table or a figure: profile, seeds, device and data of ours.

    Args:
        shown: By model its record, or None.
        drawn: The models of a figure that leaves some out; None for all that have a record.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    missing, left_out = [], []
    for model, run in shown.items():
        if run is None:
            missing.append(LABELS[model])
        elif drawn is not None and model not in drawn:
            left_out.append(LABELS[model])
        else:
            groups[_made(run)].append(LABELS[model])
    if not groups:
        return "Ours: not run."
    text = "; ".join(f"{made} ({', '.join(models)})" for made, models in groups.items())
    line = f"Ours: {text}."
    if left_out:
        line += f" Left out, of another profile: {', '.join(left_out)}."
    return line + (f" Not run: {', '.join(missing)}." if missing else "")


def commands(
    page: str,
    dataset: str,
    shown: Mapping[str, Run | None],
    setup: Setup,
    betas: Sequence[float] = (),
) -> str:
    """The lines that make the best records that are missing, as a block of text.

    Args:
        page: The notebook's name, such as `"celeba"`.
        dataset: Of the presets; it tells the best profile.
        shown: By model its record, or None; if all are there, the lines are those for all.
        setup: Says how its data are prepared.
        betas: Of a sweep; empty for none.
    """
    profile = next((p for p in ("full", "laptop") if (dataset, p) in PRESETS), "full")
    missing = [model for model, run in shown.items() if not run or run.record.profile != profile]
    models = missing or list(shown)
    listed = ", ".join(f'"{model}"' for model in models)
    options = [f"-p profile {profile}", f"-p models '[{listed}]'"]
    if (dataset, profile) in PRESETS:
        options.append(f"-p seeds '{list(PRESETS[dataset, profile]['seeds'])}'")
    if betas:
        options.append(f"-p betas '{[float(beta) for beta in betas]}'")
    given = " \\\n    ".join(options)
    lines = [
        *([f"python {setup.prepare} --out data"] if setup.prepare else []),
        f"multielbo run reproductions/{page} \\\n    {given}",
        "",
        "# the same without multielbo's command",
        f"jupytext --to ipynb notebooks/reproductions/{page}.py \\\n    --output {page}.ipynb",
        f"papermill {page}.ipynb out.ipynb \\\n    {given}",
    ]
    return "```text\n" + "\n".join(lines) + "\n```"


def settings(dataset: str) -> str:
    """What the profiles of a data set train and measure with, as a table."""
    profiles = [p for p in PROFILES if (dataset, p) in PRESETS]
    if not profiles:
        return "*There is no preset yet.*"
    experiments = [preset(dataset, next(iter(MODELS)), profile) for profile in profiles]
    rows = [
        [words, *(_value(getattr(one, key)) for one in experiments)]
        for key, words in SETTINGS.items()
    ]
    return grid(["", *profiles], [*rows, ["seeds", *(str(len(e.seeds)) for e in experiments)]])


def parts(setup: Setup) -> str:
    """The likelihood of every modality, and its weight in training, as a table."""
    rows = []
    for name, modality in setup.modalities.items():
        scale = getattr(modality.likelihood, "scale", None)
        likelihood = type(modality.likelihood).__name__
        weight = f"{modality.weight:.2f}".rstrip("0").rstrip(".")
        rows.append([name, likelihood + (f", scale {scale}" if scale else ""), weight])
    return grid(["modality", "likelihood", "weight"], rows)


def judges(shown: Mapping[str, Run | None], names: Sequence[str]) -> str:
    """What the classifiers reach on real test data, by modality; a row for each data set.

    Args:
        shown: By model its record, or None.
        names: Of the modalities.
    """
    rows = {}
    for run in shown.values():
        if run and (found := run.record.metrics.get("classifier_accuracy")):
            label = f"{run.data}, {run.record.profile} profile"
            rows.setdefault(label, [f"{value:.3f}" for value in found[0]])
    if not rows:
        return "*No record, hence no judge yet.*"
    return grid(["judges of", *names], [[label, *values] for label, values in rows.items()])


def lost(shown: Mapping[str, Run | None], names: Sequence[str]) -> str:
    """Which decoders ignore their latents in which seed; empty if none does.

    Args:
        shown: By model its record, or None.
        names: Of the modalities.
    """
    models: dict[tuple[int, str], list[str]] = {}
    for model, run in shown.items():
        for seed, modalities in mute(run).items() if run else ():
            for m in modalities:
                models.setdefault((seed, names[m]), []).append(LABELS[model])
    if not models:
        return ""
    lines = (f"- seed {s}, *{name}*: {', '.join(said)}" for (s, name), said in models.items())
    return (
        "**Lost decoders.** Here a modality is generated no better than by chance, whatever is "
        "given: its latents or its decoder were lost in training, which lowers the means below.\n\n"
        + "\n".join(lines)
    )


def betas_of(dataset: str) -> list[float]:
    """The values of beta that the book wants of a data set, the preset's own among them."""
    wanted = {entry.beta for entry in CATALOGUE if entry.dataset == dataset}
    return sorted(beta for beta in wanted if beta is not None)


def _made(run: Run) -> str:
    count = len(run.record.seeds)
    seeds = f"{count} seed{'s' if count > 1 else ''}"
    stale = ", stale" if run.freshness.state == "stale" else ""
    return f"{run.record.profile} profile, {seeds}, {run.record.device}, data {run.data}{stale}"


def _value(setting: object) -> str:
    if isinstance(setting, tuple):
        return ", ".join(map(_value, setting))
    if setting is None:
        return "all"
    return f"{setting:,}" if isinstance(setting, int) else f"{setting}"

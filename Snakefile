"""The grid: a job for each experiment, seed and beta, on this machine or on a cluster.

    snakemake --cores 2
    snakemake --workflow-profile workflow/profiles/slurm

workflow/grid.yaml says what is made. Snakemake keeps marks of what is done, and starts a job again
when its settings or the code behind them change. Data, judges, parts and checkpoints are not its
outputs, so that it never removes one: a job looks what is there by digest, goes on from there, and
ends at once if nothing is missing.
"""

import hashlib
import json
import math
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path

from multielbo.experiments.catalogue import named, wanted
from multielbo.experiments.costs import cost
from multielbo.experiments.description import described
from multielbo.presets import PRESETS, preset


configfile: Path(workflow.current_basedir) / "workflow" / "grid.yaml"


localrules:
    all,
    data,
    merge,


PROFILE, OUT, DATA = config["profile"], config["out"], config["data"]
PARTS = f"{OUT}/unfinished"
MARKS = f"{PARTS}/.grid"
NEEDS = config["needs"][PROFILE]
WANTED = {entry.name: entry for entry in named(wanted(PROFILE), config["records"])}
GRID = {name: entry for name, entry in WANTED.items() if (entry.dataset, PROFILE) in PRESETS}
for name in WANTED.keys() - GRID.keys():
    print(f"{name} ({PROFILE}): left out, it has no preset yet", file=sys.stderr)
# The Python that reads this file, wherever a job runs.
PYTHON = config.get("python", sys.executable)
RECORDS = f"{PYTHON} -m multielbo.cli records"
SHARED = f"{PYTHON} {Path(workflow.current_basedir) / 'workflow' / 'shared.py'}"


def arguments(wildcards, *between):
    """What `multielbo records` calls a record of the grid."""
    entry = GRID[wildcards.record]
    beta = () if entry.beta is None else ("--beta", entry.beta)
    return " ".join(
        map(str, (entry.dataset, entry.model, *between, "--profile", PROFILE, *beta))
    )


@cache
def code(dataset, model="mopoe"):
    """Digest of all code that decides the numbers of a record; that of judges is part of any."""
    reached = described(preset(dataset, model, PROFILE)).code
    return hashlib.sha256(json.dumps(reached, sort_keys=True).encode()).hexdigest()


def run_of(wildcards):
    """A seed starts again when this changes."""
    entry = GRID[wildcards.record]
    settings = json.dumps(asdict(entry.experiment()), sort_keys=True)
    return f"{settings} by {code(entry.dataset, entry.model)}"


def minutes(wildcards):
    """Twice the estimate and some more; a job that needs longer goes on in its next attempt."""
    return math.ceil(10 + 2 * sum(cost(GRID[wildcards.record].experiment())))


def seeds(wildcards):
    """Marks of all seeds of a record."""
    found = GRID[wildcards.record].experiment().seeds
    return [f"{MARKS}/{wildcards.record}/{PROFILE}/seed-{seed}" for seed in found]


wildcard_constraints:
    seed=r"\d+",
    dataset=r"[^/]+",


rule all:
    input:
        [f"{OUT}/{record}/{PROFILE}/record.json" for record in GRID],


rule data:
    output:
        touch(f"{MARKS}/{{dataset}}.data"),
    params:
        raw=" ".join(f"--raw {folder}" for folder in config["raw"]),
    shell:
        "{SHARED} data {wildcards.dataset} {PROFILE} --data {DATA} {params.raw}"


# Trained once for all models of a data set, not by each of the jobs that start together.
rule judges:
    input:
        rules.data.output,
    output:
        touch(f"{MARKS}/{{dataset}}-{PROFILE}.judges"),
    params:
        code=lambda wildcards: code(wildcards.dataset),
    threads: NEEDS["threads"]
    resources:
        mem_mb=NEEDS["mem_mb"],
        runtime=60,
        gpu=NEEDS["gpu"],
    retries: config["retries"]
    shell:
        "{SHARED} judges {wildcards.dataset} {PROFILE} --data {DATA} --out {PARTS}"


rule seed:
    input:
        lambda wildcards: f"{MARKS}/{GRID[wildcards.record].dataset}-{PROFILE}.judges",
    output:
        touch(f"{MARKS}/{{record}}/{PROFILE}/seed-{{seed}}"),
    params:
        run=run_of,
        arguments=lambda wildcards: arguments(wildcards, wildcards.seed),
        allow_cpu="--allow-cpu" if config["allow_cpu"] else "",
    threads: NEEDS["threads"]
    resources:
        mem_mb=NEEDS["mem_mb"],
        runtime=minutes,
        gpu=NEEDS["gpu"],
    retries: config["retries"]
    shell:
        "{RECORDS} seed {params.arguments} {params.allow_cpu} --data {DATA} --out {PARTS}"


rule merge:
    input:
        seeds,
    output:
        f"{OUT}/{{record}}/{PROFILE}/record.json",
    params:
        arguments=arguments,
    shell:
        "{RECORDS} merge {params.arguments} --parts {PARTS} --out {OUT}"

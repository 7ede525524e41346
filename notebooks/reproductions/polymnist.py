# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---


# %% [markdown]
# # PolyMNIST: what five views of one digit add up to
#
# Every modality of PolyMNIST shows the same class in another hand and on another background, and some digits are hard to read on theirs.
# So evidence should add up: who has seen four views should know the class better than who has seen one.
# {cite:t}`sutter2021` measure whether models do, with networks and hyper-parameters that all of them share, so that only the aggregation differs.
# With five modalities there are {glue:text}`subsets` subsets, and a model is asked for all of them.

# %% tags=["parameters"]
profile = "quick"
models = ["mvae", "mmvae-averaged", "mopoe", "wb-vae", "mwb-vae", "mixture-of-log-pools"]
seeds = []
betas = []
results = "book/results"
data = ""
allow_cpu = False

# %% tags=["remove-cell"]
import matplotlib.pyplot as plt
from IPython.display import Markdown
from myst_nb import glue

from multielbo import plots
from multielbo.plots import LABELS
from multielbo.presets import preset
from multielbo.reproduction import figures, tables, words
from multielbo.reproduction.page import NOTHING, open_page
from multielbo.reproduction.values import samples
from multielbo.scoreboard.page import figures_list

plots.use_style()
page = open_page("polymnist", profile, models, seeds, betas, results, data, allow_cpu)
names = page.names
full = preset(page.dataset, "mopoe", "full")
glue("subsets", str(2 ** len(names) - 1), display=False)
glue("beta", f"{full.beta:g}", display=False)
glue("probe_examples", str(full.probe_examples), display=False)
glue("importance_samples", str(full.importance_samples[0]), display=False)

# %% [markdown]
# ## What is here, and how to run it
#
# This page trains nothing while the book is built: it shows the record of each model, the one of the full profile if there is one, and otherwise the one of the laptop profile.
# The laptop profile is a smaller experiment, with narrower networks, fewer latents and a few epochs, and its numbers are never the paper's.
# A pilot with the paper's own networks was stopped well into that time, and its latents still told next to nothing of the digit.

# %% tags=["remove-input"]
Markdown(words.provenance(page.shown))

# %% [markdown]
# These lines prepare the data and make the records that are missing; where a fresh record lies in `book/results`, it is taken instead.

# %% tags=["remove-input"]
Markdown(words.commands("polymnist", page.dataset, page.shown, page.setup))

# %% [markdown]
# ## The conventions that matter
#
# All five likelihoods have one form and one size, so they are not weighted.
# The paper's value of $\beta$ is lost in the text that we have; {glue:text}`beta` is that of the released job script.
# Data that `data_scripts/polymnist.py` builds have another portrait in the third background than the published ones, and are called `polymnist-hopper` wherever they occur; {doc}`/chapters/reproductions/data` shows them.

# %% tags=["remove-input"]
Markdown(words.parts(page.setup))

# %% tags=["remove-input"]
Markdown(words.settings(page.dataset))

# %% [markdown]
# A judge bounds what it can find: a classifier that misreads real test images misreads generated ones too.

# %% tags=["remove-input"]
Markdown(words.judges(page.shown, names))

# %% [markdown]
# ## Figure 3: three metrics by the number of inputs
#
# Each panel averages over all subsets of one size.
#
# - *Probe*: a logistic regression on the latents of {glue:text}`probe_examples` training tuples. It rises if the posterior of more inputs knows more.
# - *Coherence*: the share of generated modalities outside the inputs that show the inputs' class. With all five as inputs nothing is left to generate.
# - *Log-likelihood* of all five modalities, with {glue:text}`importance_samples` importance samples from the posterior of the inputs: a loose lower bound, and the looser the fewer modalities the proposal has seen.
#
# Joint coherence, the share of draws from the prior in which all five classifiers agree, stands in the legend, as in the paper.

# %% tags=["remove-input"] mystnb={"image": {"alt": "Three panels over the number of input modalities, one line for each model: latent classification, conditional coherence and log-likelihood; joint coherence is in the legend."}}
if page.together:
    fig = plt.figure(figsize=(8.4, 5.0))
    figures.curves(
        fig,
        page.together,
        {
            "probe": "probe_by_inputs",
            "coherence": "coherence_by_inputs",
            "log-likelihood (nats)": "log_likelihood_by_inputs",
        },
        title="What one more modality adds depends on how it is pooled",
        below=words.said(page.shown, page.together) + " Bars are two standard errors.",
    )
    plt.show()

# %% tags=["remove-input"]
None if page.together else Markdown(NOTHING)

# %% tags=["remove-input"]
Markdown(figures_list(page.dataset, page.figures))

# %% [markdown]
# The authors of MultiVae {cite:p}`senellart2025multivae` trained the same models again and published their numbers, so these are what we can stand beside.
# In the table a printed row stands above ours.
# A ✓ or a ✗ says whether the number is reproduced by the rule of {doc}`/chapters/reproductions/scoreboard`; a laptop record earns neither.

# %% tags=["remove-input"]
rerun = page.tables["senellart2025/polymnist-coherence"]
Markdown(tables.compared(rerun, page.shown, page.systems))

# %% [markdown]
# ## What they generate
#
# Each block is one test tuple; a column shows what the last modality is thought to look like given the first modality, the first two, and so on.
# In the final column the model has seen the original itself, so that it is a reconstruction.

# %% tags=["remove-input"] mystnb={"image": {"alt": "Generated images of the last modality, one row for each model, and for each of two test tuples one column for every number of inputs."}}
made = samples(page.together, names[-1:])
pictured = {model: found[names[-1]] for model, found in made.items()}
if pictured:
    fig = plt.figure(figsize=(7.4, 0.8 + 0.72 * len(pictured)))
    plots.image_grid(
        fig,
        [
            [image for example in range(2) for image in found[:, example]]
            for found in pictured.values()
        ],
        rows=[LABELS[model] for model in pictured],
        columns=[str(count + 1) for count in range(len(names))] * 2,
    )
    figures.frame(
        fig,
        f"{names[-1]}, generated from the first 1 to {len(names)} modalities",
        words.said(page.shown, pictured) + " The first seed is shown.",
    )
    plt.show()

# %% tags=["remove-input"]
None if pictured else Markdown(NOTHING)

# %% [markdown]
# ## Exercise
#
# ::::{exercise}
# :label: ex-flat
# A mixture of experts answers from several inputs by drawing one of them and ignoring the others.
# Why is its line in the coherence panel flat, up to noise?
# ::::
#
# ::::{solution} ex-flat
# :class: dropdown
# Its coherence from a subset is the average of its coherences from the single inputs.
# Averaged over all subsets of one size and all targets outside them, every pair of an input and a target counts equally often, whatever the size.
# ::::

# %% tags=["hide-input", "remove-output"]
from itertools import combinations

import numpy as np

pairs = np.random.default_rng(0).random((len(names), len(names)))  # coherence from one to another
by_size = [
    np.mean(
        [
            pairs[list(inputs), target].mean()
            for inputs in combinations(range(len(names)), size)
            for target in set(range(len(names))) - set(inputs)
        ]
    )
    for size in range(1, len(names))
]
assert np.allclose(by_size, by_size[0], rtol=1e-12)

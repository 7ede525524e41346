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
# # Written, spoken and drawn digits: from any sense to any other
#
# A tuple is a picture of a handwritten digit, a spectrogram of the spoken one and the path of a pen that draws it, all three real and of one class.
# No paper reports numbers on these data, so this page reproduces none: it asks the papers' question where the modalities differ as much as senses do.
# Can a model hear a digit and draw it?
# The speakers of the test set, and those who held the pen, do not occur in training, so that what carries over from one modality to another is the class and little else.

# %% tags=["parameters"]
profile = "quick"
models = ["mvae", "mmvae-averaged", "mopoe", "wb-vae", "mwb-vae", "mixture-of-log-pools"]
seeds = []
betas = []
results = "book/results"
data = ""
allow_cpu = False

# %% tags=["remove-cell"]
import math

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown
from myst_nb import glue

from multielbo import plots
from multielbo.metrics.coherence import conditional_coherence
from multielbo.publishing.show import show
from multielbo.reproduction import figures, tables, words
from multielbo.reproduction.page import NOTHING, open_page
from multielbo.reproduction.values import samples
from multielbo.setups.written_spoken_drawn import PICTURES, STROKES

plots.use_style()
page = open_page("written-spoken-drawn", profile, models, seeds, betas, results, data, allow_cpu)
glue("path_values", str(math.prod(STROKES["drawn"])), display=False)
glue("spectrogram_values", f"{math.prod(PICTURES['spoken']):,}", display=False)

# %% [markdown]
# ## What is here, and how to run it
#
# This page trains nothing while the book is built: it shows the record of each model, the one of the full profile if there is one, and otherwise the one of the laptop profile.

# %% tags=["remove-input"]
Markdown(words.provenance(page.shown))

# %% [markdown]
# These lines prepare the data and make the records that are missing; where a fresh record lies in `book/results`, it is taken instead.

# %% tags=["remove-input"]
Markdown(words.commands("written_spoken_drawn", page.dataset, page.shown, page.setup))

# %% [markdown]
# ## The conventions that matter
#
# A pen's path has {glue:text}`path_values` numbers, a spectrogram {glue:text}`spectrogram_values`.
# As in the papers, each likelihood is weighted in training by the largest modality's number of dimensions over its own; without the weights a model could ignore the pen at almost no cost.
# All values lie between zero and one, so that one likelihood of one scale serves all three.

# %% tags=["remove-input"]
Markdown(words.parts(page.setup))

# %% tags=["remove-input"]
Markdown(words.settings(page.dataset))

# %% [markdown]
# A judge bounds what it can find, and these have not met the test set's speakers and pens either.
# Generated sound resembles the speakers of the training set, so a judge may read it better than it reads the test set; coherences with sound as the target do not compare with the others.
# No error on this page speaks of other speakers: the test set has two.

# %% tags=["remove-input"]
Markdown(words.judges(page.shown, page.names))

# %% [markdown]
# ## From any subset to any modality outside it
#
# A row of a matrix names the inputs, a column what is generated, and the number is the share of test tuples for which a classifier finds the inputs' class in it.
# Read down a column: which sense tells the most about this one, and do two tell more than one?
# Cells of modalities that are inputs themselves are empty, because a reconstruction says more about a decoder than about aggregation.

# %% tags=["remove-input"]
show(conditional_coherence)

# %% tags=["remove-input"]
lost = words.lost(page.shown, page.names)
Markdown(lost) if lost else None

# %% tags=["remove-input"] mystnb={"image": {"alt": "One matrix for each model: rows are subsets of written, spoken and drawn, columns the generated modality, and each cell the coherence in figures and colour."}}
if page.together:
    fig = plt.figure(figsize=(7.6, 1.4 + 2.2 * -(-len(page.together) // 3)))
    figures.matrices(
        fig,
        page.together,
        page.names,
        title="What one sense tells about another",
        below=words.said(page.shown, page.together) + " Means over seeds.",
    )
    plt.show()

# %% tags=["remove-input"]
None if page.together else Markdown(NOTHING)

# %% [markdown]
# ## What the latents know
#
# A logistic regression is fitted to the latents of some training tuples, given each subset, and scored on the test set.

# %% tags=["remove-input"]
Markdown(
    f"{tables.subset_table(page.shown, 'probe', page.names)}\n\n"
    f"*{words.said(page.shown)} Spreads are standard deviations over seeds.*"
)

# %% [markdown]
# ## What they generate
#
# All is of one test tuple: what is generated from the written digit alone, from the written and the spoken one, and from all three.

# %% tags=["remove-input"]
made = samples(page.together, page.names)
kept = next(iter(made.values()), {})
read = {
    "spoken": "High pitches are at the top of a spectrogram, and time runs to the right.",
    "drawn": "A pen starts at the dot.",
}
Markdown(" ".join(text for name, text in read.items() if name in kept))

# %% tags=["remove-input"] mystnb={"image": {"alt": "One row for each model: a handwritten digit, a spectrogram and, where records keep it, the path of a pen, each generated from the written digit alone, from written and spoken, and from all three."}}
if made:
    fig = plt.figure(figsize=(7.4, 1.2 + 1.6 / len(kept) * len(made)))
    figures.samples(
        fig,
        made,
        page.names,
        title="Heard, seen and drawn: three ways to the same digit",
        below=words.said(page.shown, made) + " The first seed is shown.",
    )
    plt.show()

# %% tags=["remove-input"]
None if made else Markdown(NOTHING)

# %% [markdown]
# ## Exercise
#
# ::::{exercise}
# :label: ex-judge-errs
# A model generates the right class with probability $p$, and a wrong one evenly among the other nine.
# A judge is right with probability $a$, and errs evenly among the other nine.
# What coherence is measured, and what is $p$ if the measured value is $c$?
# ::::
#
# ::::{solution} ex-judge-errs
# :class: dropdown
# The judge finds the inputs' class if both are right, or if both err and the judge falls back on it, which one error in nine does:
# $c = pa + (1-p)(1-a)/9$.
# Solving for $p$ gives $p = (c - b)/(a - b)$ with $b = (1-a)/9$.
# ::::

# %% tags=["hide-input", "remove-output"]
generator = np.random.default_rng(0)
p, a, count = 0.7, 0.9, 1_000_000
off = generator.integers(1, 10, (2, count))  # by how much a wrong class is off, modulo ten
made = np.where(generator.random(count) < p, 0, off[0])
judged = np.where(generator.random(count) < a, made, (made + off[1]) % 10)
c, b = (judged == 0).mean(), (1 - a) / 9
expected = p * a + (1 - p) * b
assert abs(c - expected) < 5 * (expected * (1 - expected) / count) ** 0.5
assert abs((c - b) / (a - b) - p) < 5 * (expected * (1 - expected) / count) ** 0.5 / (a - b)

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
# # Bimodal CelebA: a face and the words for it
#
# A tuple is a photograph of a face and a text that names the attributes it has: *smiling*, *wearing hat*, *young*.
# What a face lacks is not mentioned, so that the text says less than the label, and an attribute that is rare is rarely written.
# {cite:t}`sutter2021` use these data to see whether MoPoE keeps up where it has no advantage by design: with two modalities there are only three subsets, and a product or a mixture of two experts is nearly as rich as a mixture of products.

# %% tags=["parameters"]
profile = "quick"
models = ["mvae", "mmvae-averaged", "mopoe"]
seeds = []
betas = []
results = "book/results"
data = ""
allow_cpu = False

# %% tags=["remove-cell"]
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown
from myst_nb import glue

from multielbo import plots
from multielbo.data.celeba import ATTRIBUTES
from multielbo.metrics.judgement import average_precision
from multielbo.publishing.facts import read_facts
from multielbo.publishing.show import show
from multielbo.reproduction import figures, tables, words
from multielbo.reproduction.page import open_page
from multielbo.reproduction.values import by_seed, by_target, subset_labels
from multielbo.setups.celeba import PRIVATE_DIM

plots.use_style()
page = open_page("celeba", profile, models, seeds, betas, results, data, allow_cpu)
facts = read_facts(Path("book/facts"))[page.dataset]["described"]

glue("faces", f"{facts['expected']['splits']['train']:,}", display=False)
glue("attributes", str(len(ATTRIBUTES)), display=False)
glue("private_dim", str(PRIVATE_DIM), display=False)

# %% tags=["remove-input"]
licence = facts["originals"][0]["licence"]
state = "" if page.together else " **No run exists**, and every row of ours below says so."
Markdown(
    f"The pictures are not ours to pass on: their licence is *{licence}*. "
    f"We could not obtain them either; what prepares and loads them is tested on invented files "
    f"in the originals' format.{state}"
)

# %% [markdown]
# ## What is here, and how to run it
#
# This page trains nothing while the book is built: it shows the record of each model, or says that there is none.

# %% tags=["remove-input"]
Markdown(words.provenance(page.shown))

# %% [markdown]
# Readers who have the {glue:text}`faces` training faces from their authors put them into a folder, name it in `--raw`, and need a GPU.

# %% tags=["remove-input"]
Markdown(words.commands("celeba", page.dataset, page.shown, page.setup))

# %% [markdown]
# ## The conventions that matter
#
# A face has much that no text tells, so each modality has {glue:text}`private_dim` latents of its own beside those that both share; only the shared ones are aggregated, and only they are probed.
# Each likelihood is weighted in training by the picture's number of dimensions over its own, where a text counts its characters.
# Private divergences are weighted as in the released job script; {doc}`/conventions` lists these weights.

# %% tags=["remove-input"]
Markdown(words.parts(page.setup))

# %% tags=["remove-input"]
Markdown(words.settings(page.dataset))

# %% [markdown]
# ## Table 5: average precision
#
# Most of the {glue:text}`attributes` attributes are rare, so that a classifier which always says no would be accurate.
# Average precision asks for a ranking instead: do the faces that have the attribute score highest?
# The table shows its mean over attributes, for a linear classifier on the latents of the image, of the text and of both, and for judges of what is generated from one modality in the other.
# In it a printed row stands above ours.
# A ✓ or a ✗ says whether the number is reproduced by the rule of {doc}`/chapters/reproductions/scoreboard`; a laptop record earns neither.

# %% tags=["remove-input"]
show(average_precision)

# %% tags=["remove-input"]
Markdown(tables.compared(page.tables["sutter2021/table-5"], page.shown, page.systems))

# %% [markdown]
# ## Appendix E.3: attribute by attribute
#
# The paper's figures 12 and 13 show every attribute by itself, for the latents and for what is generated, and find that the two go together.
# A mean over attributes hides that some, such as *smiling*, are learnt well and subtle ones hardly.

# %% tags=["remove-input"] mystnb={"image": {"alt": "Average precision of every attribute from the latents, one panel for each model and one marker for each subset of image and text."}}
known = {}
for model, run in page.together.items():
    found = by_seed(run, "probe_by_attribute")
    if found is not None:
        labels = subset_labels(by_seed(run, "subsets")[0], page.names)
        known[model] = dict(zip(labels, found.mean(0), strict=True))
if known:
    fig = plt.figure(figsize=(8.4, 7.5))
    figures.attributes(
        fig,
        known,
        ATTRIBUTES,
        title="How well an attribute is known differs by attribute",
        below=words.said(page.shown, known) + " Means over seeds.",
    )
    plt.show()

# %% tags=["remove-input"] mystnb={"image": {"alt": "Average precision of every attribute in what is generated, one panel for each model, one marker for the text from the image and one for the image from the text."}}
shown = {
    model: found
    for model, run in page.together.items()
    if (found := by_target(run, "coherence_by_attribute", page.names)) is not None
}
if shown:
    fig = plt.figure(figsize=(8.4, 7.5))
    figures.attributes(
        fig,
        shown,
        ATTRIBUTES,
        title="What is generated shows some attributes and not others",
        below=words.said(page.shown, shown) + " Means over seeds.",
    )
    plt.show()

# %% tags=["remove-input"]
Markdown(
    ""
    if known or shown
    else "*No record holds the values of single attributes, so there is nothing to draw yet; "
    "the paper prints them in a figure alone.*"
)

# %% [markdown]
# ## Exercise
#
# ::::{exercise}
# :label: ex-blind-precision
# What average precision does a judge reach that scores faces at random, for an attribute that a share $f$ of them has?
# Why must two tables of mean average precision not be compared if their test sets differ?
# ::::
#
# ::::{solution} ex-blind-precision
# :class: dropdown
# At every threshold, the faces above it are a random sample of all, of which a share $f$ has the attribute; so the precision is about $f$ at each positive, and so is its average.
# The floor is the frequency of the attribute, and the mean over attributes has the mean frequency as its floor: another test set, or another choice of attributes, has another floor.
# ::::

# %% tags=["hide-input", "remove-output"]
generator = torch.Generator().manual_seed(0)
count, share, draws = 5_000, 0.1, 200
labels = torch.arange(count) < share * count
blind = torch.stack(
    [
        average_precision(
            torch.rand(count, generator=generator), labels, torch.ones(1, count).double()
        )[0]
        for _ in range(draws)
    ]
)
# The first few places weigh a little more: the excess is of order log(N) / N.
excess = torch.log(torch.tensor(float(count))) / count
assert abs(blind.mean() - share) < 4 * blind.std() / draws**0.5 + excess

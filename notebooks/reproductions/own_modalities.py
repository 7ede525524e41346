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
# # Bring your own modalities
#
# The other data sets of this book come with a loader, a set-up and a preset.
# Your own data have none of these, and they need none.
# Here we take six plain tables with one row per example, train a multimodal VAE on them, and ask it two questions: which tables tell the class, and how well does each follow from the rest?
# All that a reader has to write stands in the cells below; in between we only say why.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0
folder = ""

# %% tags=["remove-cell"]
import os
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import Markdown
from myst_nb import glue

from multielbo import plots
from multielbo.data.mfeat import digit_views, mfeat
from multielbo.profiles import check_profile

check_profile(profile)
plots.use_style()
prepared = Path(folder or os.environ.get("MULTIELBO_DATA", "data"))
real = (prepared / "mfeat").is_dir()
if real:
    uci = mfeat(prepared)
    views, labels = {name: x.numpy() for name, x in uci.modalities.items()}, uci.labels.numpy()
else:
    views, labels = digit_views()
epochs = {"quick": 15, "laptop": 60, "full": 60}[profile]

# %% [markdown]
# ## Six tables about the same digits
#
# The example is made for UCI's [Multiple Features](https://archive.ics.uci.edu/dataset/72/multiple+features): 2,000 handwritten numerals of Dutch utility maps, each described six times over, by pixel averages, Fourier coefficients, profile correlations, Zernike moments, Karhunen-Loève coefficients and morphological numbers.
# `python data_scripts/mfeat.py` prepares it, and wherever this page finds it under `MULTIELBO_DATA`, it is used.
# Otherwise a stand-in takes its place that needs no download: views of the same kinds, which `digit_views` computes from the 1,797 digits that scikit-learn ships.

# %% tags=["remove-input"]
which = (
    "**The numbers on this page are of UCI's Multiple Features.**"
    if real
    else "**The numbers on this page are of the stand-in**, not of UCI's Multiple Features, "
    "and compare with no published ones."
)
sizes = ", ".join(f"`{name}` ({x.shape[1]})" for name, x in views.items())
Markdown(
    f"{which}\nIts {len(labels):,} digits have the views, with their numbers of columns: {sizes}."
)

# %% [markdown]
# We start from what you would have too: a dictionary `views` from names to arrays of shape (examples, columns), and an array `labels`.
#
# ## From arrays to data
#
# A fixed permutation splits the examples, and each column is standardised with the mean and the spread of the *training* rows, so that nothing of the test rows is known in training; a column that is constant there stays as it is.
# `MultimodalData` checks that all parts fit together.

# %% tags=["user-code"]
import torch

from multielbo.data.multimodal import MultimodalData

order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
tested, trained = order[: len(order) // 4], order[len(order) // 4 :]
tables = {}
for name, table in views.items():
    known = torch.tensor(table)[trained]
    spread = known.std(0)
    tables[name] = ((torch.tensor(table) - known.mean(0)) / spread.where(spread > 0, 1.0)).float()
data = MultimodalData("my-digits", tables, torch.tensor(labels))
train, test = data.take(trained), data.take(tested)

# %% [markdown]
# ## From data to a trained model
#
# Every modality needs an encoder, a decoder and a likelihood; the paper that you follow decides on the rest.
# A table gets perceptrons, and standardised columns get a normal likelihood.
# The widest view has many times the columns of the narrowest and would drown it, so each view is weighed by its size, as in MoPoE's appendix B {cite:p}`sutter2021`.

# %% tags=["user-code"]
from multielbo.likelihoods import Normal
from multielbo.models.registry import build
from multielbo.networks import mlp_decoder, mlp_encoder, seeded
from multielbo.setups.setup import dimension_weights
from multielbo.train import TrainConfig, fit
from multielbo.vae import MultimodalVAE

latent = 16
with seeded(seed):
    encoders = {name: mlp_encoder(s, latent, hidden=(128,)) for name, s in train.shapes.items()}
    decoders = {name: mlp_decoder(s, latent, hidden=(128,)) for name, s in train.shapes.items()}
likelihoods = dict.fromkeys(views, Normal(1.0))
weights = dimension_weights(train.shapes)
vae = MultimodalVAE(encoders, decoders, likelihoods, *build("mopoe"), latent, 1.0, weights)
settings = TrainConfig(epochs=epochs, batch_size=64, learning_rate=4e-3, seed=seed)
history = fit(vae, train, settings)

# %% [markdown]
# `build` takes any model of the book in place of `"mopoe"`.
# The last two arguments of the model are $\beta$ and the weights; `fit` resumes from a checkpoint if it is given a file for one, and stops with a reason when the loss is no longer finite.
#
# ## From a model to answers
#
# To leave a modality out we leave it out of the batch.
# The first question is put by a linear probe on the latents of each of the {glue:text}`subsets` subsets, fitted to 500 training examples.
# For the second we generate each view from the five others, and take the share of its variance that is explained.

# %% tags=["user-code"]
from itertools import combinations

from multielbo.metrics.probe import linear_probe


def latents(data, names):
    return vae.posterior({name: data[name] for name in names}).loc[0].detach()


def accuracy(names):
    known = train.take(slice(0, 500))
    said = linear_probe(latents(known, names), known.labels, latents(test, names))
    return (said == test.labels).double().mean().item()


def explained(name):
    made = vae.decode(latents(test, [other for other in views if other != name]))[name]
    return 1 - ((made - test[name]).square().mean() / test[name].square().mean()).item()


accuracies = {names: accuracy(names) for k in range(1, 7) for names in combinations(views, k)}
shares = {name: explained(name) for name in views}

# %% tags=["remove-cell"]
alone = {names[0]: value for names, value in accuracies.items() if len(names) == 1}
best, worst = max(alone, key=alone.get), min(alone, key=alone.get)
everything = accuracies[tuple(views)]
means = [
    sum(v for names, v in accuracies.items() if len(names) == count)
    / sum(len(names) == count for names in accuracies)
    for count in range(1, 7)
]
error = (everything * (1 - everything) / (len(test) - 1)) ** 0.5
easy, hard = max(shares, key=shares.get), min(shares, key=shares.get)
assert history.loss[-1] < history.loss[0]
assert means[0] > 0.5, "a probe that guesses would have a tenth"
assert means[1] - means[0] > means[-1] - means[1], "the figure's title says so"
glue("subsets", f"{len(accuracies)}", display=False)
glue("epochs", f"{epochs}", display=False)
glue("test_examples", f"{len(test)}", display=False)
glue("best", best, display=False)
glue("worst", worst, display=False)
glue("best_accuracy", f"{100 * alone[best]:.0f} %", display=False)
glue("worst_accuracy", f"{100 * alone[worst]:.0f} %", display=False)
glue("one", f"{100 * means[0]:.0f} %", display=False)
glue("two", f"{100 * means[1]:.0f} %", display=False)
glue("all", f"{100 * everything:.0f} %", display=False)
glue("error", f"{100 * error:.1f}", display=False)
glue("easy", easy, display=False)
glue("hard", hard, display=False)
glue("easy_share", f"{100 * shares[easy]:.0f} %", display=False)
glue("hard_share", f"{100 * shares[hard]:.0f} %", display=False)

# %% [markdown]
# The probe reads {glue:text}`one` of the digits from one view on average, {glue:text}`two` from two and {glue:text}`all` from all six, of {glue:text}`test_examples` test digits (one standard error is {glue:text}`error` points).
# The most telling view alone is `{glue:text}`best`` with {glue:text}`best_accuracy`, the least telling `{glue:text}`worst`` with {glue:text}`worst_accuracy`.

# %% tags=["remove-input"] mystnb={"image": {"alt": "Two panels. On the left, the accuracy of a linear probe for every subset of the six views, as dots over the number of views from one to six, with a line through the means that rises steeply from one view to two and then levels off; the dots of single views carry their names. On the right, horizontal bars show for each view which share of its variance is explained when it is generated from the five others."}}
colour = plots.colour("mopoe")
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.5), width_ratios=[3, 2])
for names, value in accuracies.items():
    left.plot(len(names), 100 * value, "o", color=plots.MUTED, alpha=0.4, ms=4)
left.plot(range(1, 7), [100 * value for value in means], color=colour)
heights = sorted(alone, key=alone.get)
floor = -1.0
for name in heights:
    floor = max(100 * alone[name], floor + 1.1)
    left.annotate(name, (0.9, floor), ha="right", va="center", fontsize=9)
left.set(
    xlim=(0.2, 6.3),
    xticks=range(1, 7),
    xlabel="views that are given",
    ylabel="digits that a probe reads, %",
    title="A second view helps most",
)
ordered = sorted(shares, key=shares.get)
right.barh(ordered, [100 * shares[name] for name in ordered], color=colour, height=0.6)
right.set(xlabel="variance explained, %", title="Each view from the rest")
plots.stamp(left, profile)
plt.show()

# %% [markdown]
# Generated from the other five, `{glue:text}`easy`` is recovered best ({glue:text}`easy_share` of its variance) and `{glue:text}`hard`` least ({glue:text}`hard_share`).
# The model saw the training set {glue:text}`epochs` times with one seed, and its settings were chosen on this split: the pictures show how to ask, and rank no views.
#
# ## Exercise
#
# ::::{exercise}
# :label: ex-own-weights
# Train again without `likelihood_weights`.
# Which view do you expect to be generated worse, and is it the only one?
# ::::
#
# ::::{solution} ex-own-weights
# :class: dropdown
# `mor`, one expects: it has the fewest columns, its weight is the largest, and the explained share of its variance falls from {glue:text}`weighted` to {glue:text}`unweighted`.
# Of the five others {glue:text}`also` fall as well.
# No weight is below one, so that leaving them out also lets the divergence count more beside what is left: it acts like a larger $\beta$.
# ::::

# %% tags=["hide-input", "remove-output"]
with seeded(seed):
    encoders = {name: mlp_encoder(s, latent, hidden=(128,)) for name, s in train.shapes.items()}
    decoders = {name: mlp_decoder(s, latent, hidden=(128,)) for name, s in train.shapes.items()}
vae = MultimodalVAE(encoders, decoders, likelihoods, *build("mopoe"), latent)
fit(vae, train, settings)
without = {name: explained(name) for name in views}
assert max(weights, key=weights.get) == "mor"
assert min(weights.values()) == 1
assert without["mor"] < shares["mor"]
also = sum(without[name] < shares[name] for name in views if name != "mor")
glue("weighted", f"{100 * shares['mor']:.0f} %", display=False)
glue("unweighted", f"{100 * without['mor']:.0f} %", display=False)
glue("also", f"{also}", display=False)

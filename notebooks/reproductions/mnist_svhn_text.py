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
# # MNIST-SVHN-Text: what a model makes of three kinds of data
#
# A tuple holds a handwritten digit, a house number and an English word, all of one class.
# Two of the three are easy to read, and the house number is not: its crops are noisy, and neighbouring digits look in.
# {cite:t}`sutter2021` ask whether one model can answer from *every* subset of them: know the class, generate what is missing so that it shows the same class, and give the data a high likelihood.
# A product of experts, a mixture of experts and MoPoE trade these aims off differently, and the tables below are where that shows.

# %% tags=["parameters"]
profile = "quick"
models = ["mvae", "mmvae-averaged", "mopoe", "powerset"]
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
from multielbo.architectures.digits import LENGTH, SVHN
from multielbo.data.mnist_svhn import read_text
from multielbo.metrics.coherence import joint_coherence
from multielbo.plots import LABELS
from multielbo.presets import preset
from multielbo.publishing.show import show
from multielbo.reproduction import figures, tables, words
from multielbo.reproduction.page import NOTHING, open_page
from multielbo.reproduction.request import request
from multielbo.reproduction.runs import runs
from multielbo.reproduction.sweeps import trade_off
from multielbo.reproduction.values import samples
from multielbo.scoreboard.markdown import grid, mean
from multielbo.scoreboard.page import figures_list
from multielbo.setups.mnist_svhn_text_private import PRIVATE_DIM

plots.use_style()
page = open_page("mnist-svhn-text", profile, models, seeds, betas, results, data, allow_cpu)
table_2, table_4, table_6, eq_5 = (
    page.tables[f"sutter2021/{name}"] for name in ("table-2", "table-4", "table-6", "appendix-c")
)
full = preset(page.dataset, "mopoe", "full")
glue("beta", f"{full.beta:g}", display=False)
glue("characters", str(LENGTH), display=False)
glue("values", f"{math.prod(SVHN):,}", display=False)
glue("probe_examples", str(full.probe_examples), display=False)
glue("importance_samples", str(full.importance_samples[0]), display=False)
glue("prior_samples", f"{full.prior_samples:,}", display=False)

private = f"{page.dataset}-private"
latents = preset(private, "mopoe", "full").latent_dim
own_latents = PRIVATE_DIM
glue("all_latents", str(full.latent_dim), display=False)
glue("shared_latents", str(latents), display=False)
glue("private_latents", str(own_latents), display=False)
glue("importance_most", f"{full.importance_samples[-1]:,}", display=False)
compared = ["mvae", "mopoe", "masked-poe", "masked-sum-pooling"]
# Only read: a run of this page makes the models that it is asked for.
divided = {
    (full.latent_dim, 0): runs(
        request(page.dataset, profile="quick", models=compared, results=results)
    ),
    (latents, own_latents): runs(
        request(private, profile="quick", models=compared[:3], results=results)
    ),
}
wanted = [
    f"{page.dataset}/masked-poe",
    f"{page.dataset}/masked-sum-pooling",
    private,
]


def measures(run):
    """Means over seeds, as text, of what the table of private latents shows."""
    found = []
    for metric, count in [("probe_by_inputs", 3), ("coherence_by_inputs", 2)]:
        found += [mean(column) for column in np.array(run.record.metrics[metric]).T[:count]]
    for metric in ("joint_coherence", "log_likelihood_1000_full_set"):
        values = run.record.metrics.get(metric)
        found.append(mean(np.array(values)) if values else "–")
    return found


# %% [markdown]
# ## What is here, and how to run it
#
# This page trains nothing while the book is built: it shows the record of each model, the one of the full profile if there is one, and otherwise the one of the laptop profile.
# A laptop record is a smaller experiment, on fewer house numbers and with fewer epochs, and its numbers are never the paper's.

# %% tags=["remove-input"]
Markdown(words.provenance(page.shown))

# %% [markdown]
# These lines prepare the data and make the records that are missing; where a fresh record lies in `book/results`, it is taken instead.
# Seeds that were finished before a run broke off are not run again.

# %% tags=["remove-input"]
Markdown(words.commands("mnist_svhn_text", page.dataset, page.shown, page.setup))

# %% [markdown]
# ## The conventions that matter
#
# The word has {glue:text}`characters` characters and a house number {glue:text}`values` values, so that an unweighted sum of log-likelihoods would forget the text.
# Each likelihood is therefore weighted in training by the house number's dimensions over its own, where a text counts its characters.
# The log-likelihoods of the tables are *not* weighted.

# %% tags=["remove-input"]
Markdown(words.parts(page.setup))

# %% tags=["remove-input"]
Markdown(words.settings(page.dataset))

# %% [markdown]
# The value of $\beta$ behind the paper's tables is lost in the text that we have; {glue:text}`beta` is that of the released job script.
# The MMVAE that the paper compares with averages the divergences of its experts, as its code does, and takes one sample where {cite:t}`shi2019` take several; hence our `mmvae-averaged`.
# {doc}`/conventions` lists what else differs, and {doc}`/chapters/reproductions/data` says what the data are.
#
# In the tables below a printed row stands above ours.
# Spreads are over seeds: test tuples share their originals, so an error over tuples would promise too much.
# A ✓ or a ✗ says whether the number is reproduced by the rule of {doc}`/chapters/reproductions/scoreboard`; a laptop record earns neither.
#
# ## Table 2: what the latents know
#
# A logistic regression is fitted to the latents of {glue:text}`probe_examples` training tuples, given each subset, and scored on the test set.
# To read it, go along a row: M is MNIST, S is SVHN, T is the text, and a model that *aggregates* should lose nothing when it is given more.

# %% tags=["remove-input"]
Markdown(tables.compared(table_2, page.shown, page.systems))

# %% [markdown]
# ## Tables 3 and 6: what is generated shows the right class
#
# In *S, T → M* a handwritten digit is generated from a house number and a word, and a classifier that was trained on real digits says whether the class is theirs.
# Table 3 prints the means, Table 6 the same means with their spreads over seeds, so we show the latter, a block for each target as there.
# *Joint* is the share of draws from the prior for which all three classifiers agree; ours are {glue:text}`prior_samples` draws.

# %% tags=["remove-input"]
show(joint_coherence)

# %% tags=["remove-input"]
targets = dict.fromkeys(column.target for column in table_6.columns if column.target)
blocks = [
    [place for place, column in enumerate(table_6.columns) if column.target == target]
    for target in (*targets, None)
]
Markdown(tables.compared(table_6, page.shown, page.systems, blocks))

# %% [markdown]
# A judge bounds what it can find: where it is often wrong about real data, coherence is low for every model.

# %% tags=["remove-input"]
Markdown(words.judges(page.shown, page.names))

# %% tags=["remove-input"]
made = samples(page.together, ["text"])
Markdown(
    "The words themselves, of the same test tuples: from the handwritten digit alone, with "
    "the house number, and with the word itself, which is a reconstruction. A dot is a blank.\n\n"
    f"{tables.text_table(made, 'text', page.names, read_text)}\n\n"
    f"*{words.said(page.shown, made)} The first seed is shown.*"
    if made
    else ""
)

# %% [markdown]
# ## Table 4: log-likelihoods
#
# The log-likelihood is that of *all three* modalities, estimated with {glue:text}`importance_samples` importance samples, and the head of a column names the modalities whose posterior proposes them.
# A proposal that has not seen a modality rarely hits what explains it, so that the estimate is lower: the columns measure the posteriors, not another likelihood.
# With so few samples each number is a lower bound on average, and a loose one.

# %% tags=["remove-input"]
Markdown(tables.compared(table_4, page.shown, page.systems))

# %% [markdown]
# ## Figure 1: coherence against likelihood over beta
#
# A larger $\beta$ pulls the posteriors towards the prior: draws from the prior then decode to what the decoders know, and agree more often, at the price of likelihood.
# So a single $\beta$ does not compare models; the paper trains each with several, and a better model lies further to the top and to the right.

# %% tags=["remove-input"]
Markdown(figures_list(page.dataset, page.figures))

# %% [markdown]
# What the tables print at their one $\beta$ is drawn as hollow diamonds; small figures beside our points are values of $\beta$.

# %% tags=["remove-input"] mystnb={"image": {"alt": "Scatter of joint coherence over the log-likelihood of all modalities, one colour for each model: hollow diamonds for the published tables, and filled points joined by a line over beta for our records where there are any."}}
diamonds = {}
for key in table_4.rows:
    nats = next(
        number
        for column, number in zip(table_4.columns, table_4.rows[key], strict=True)
        if set(column.inputs) == set(page.names)
    )
    share = next(
        number
        for column, number in zip(table_6.columns, table_6.rows[key], strict=True)
        if column.target is None
    )
    diamonds[table_4.models[key][0]] = (nats, share)
fig, ax = plt.subplots(figsize=(7.4, 4.2))
trade_off(ax, page.sweeps, diamonds)
first = {model: found[0] if found else None for model, found in page.sweeps.items()}
figures.frame(fig, "The top right corner has both", words.said(first))
plt.show()

# %% [markdown]
# The line that makes the whole figure:

# %% tags=["remove-input"]
swept = {model: None for model in page.shown if model != "powerset"} or page.shown
drawn = words.betas_of(page.dataset)
Markdown(words.commands("mnist_svhn_text", page.dataset, swept, page.setup, drawn))

# %% [markdown]
# ## Equation 5 as an objective
#
# Appendix C.3 trains the average of the ELBOs of all subsets with a latent and a pass through the decoders for each, {eq}`eq-powerset-elbo`, where MoPoE draws one latent from the mixture, {eq}`eq-mopoe`.
# As {doc}`/chapters/aggregation/mopoe` shows, the released objectives are one objective with two estimators: what can differ is the noise of the gradient and the cost of a step.
# Where training is long the two rows should agree, and the dearer one need not be better.
# Where it is short, noise is what training has not yet averaged away: in our laptop records the dearer estimator is ahead from a single input, at more time a step.

# %% tags=["remove-input"]
pair = {model: run for model, run in page.shown.items() if model in ("powerset", "mopoe")}
Markdown(tables.compared(eq_5, pair, page.systems))

# %% [markdown]
# ## With private latents
#
# A house number has colours and neighbours that neither the handwritten digit nor the word can tell, and in all of the above they go through the latents that every decoder reads.
# A model can give each modality latents $u_m$ of its own beside the shared $z$: only $z$ is aggregated, $u_m$ is inferred from $x_m$ alone, and for a modality that is generated from others it is drawn from its prior.
# {cite:t}`hirt2024` train their masked objective ({doc}`/chapters/bounds/masked_objective`) on these data with private latents and without, with a product of experts and with set encoders ({doc}`/chapters/bounds/permutation_invariant_encoders`).
# Their tables and sizes were not at hand; a review of an earlier version reads the tables so that private latents tend to lower conditional coherence.
#
# Our set-up with private latents has networks of the same width as the one without: of the {glue:text}`all_latents` latents of a modality {glue:text}`shared_latents` are shared and {glue:text}`private_latents` are its own.
# What differs is who may read a latent.
# Under the masked objective, as in a bound on the joint evidence, each private latent is paid for once, because each modality is scored once: a kept one from $q(z\mid x_S)$, a hidden one from $q(z\mid x)$.
# These lines make the records of both:

# %% tags=["remove-input"]
lines = [
    f"python {page.setup.prepare} --out data",
    f"multielbo records run {' '.join(wanted)} \\\n    --data data --profile laptop",
]
Markdown("```text\n" + "\n".join(lines) + "\n```")

# %% tags=["remove-input"]
rows = [
    [f"{LABELS[model]}, {shared} shared + {own} private", *measures(run)]
    for model in compared
    for (shared, own), shown in divided.items()
    if (run := shown.get(model))
]
heads = [f"probe, {n}" for n in (1, 2, 3)] + [f"coherence, {n}" for n in (1, 2)]
Markdown(grid(["inputs", *heads, "joint", "log-likelihood"], rows))

# %% tags=["remove-input"]
told = [f"*{shared} + {own}. {words.said(shown)}*" for (shared, own), shown in divided.items()]
Markdown("\n\n".join(told))

# %% tags=["remove-input"]
None if any(divided[latents, own_latents].values()) else Markdown(NOTHING)

# %% [markdown]
# The probe sees the shared latents alone.
# The log-likelihood is that of all three modalities, with {glue:text}`importance_most` samples from the posterior of all; with private latents each sample draws those too, so that the bound is looser at the same number.
# Means are over seeds, with standard deviations.
# Of a model with a set encoder, whose training is a recipe, no other proposal is measured.

# %% [markdown]
# ## Exercise
#
# ::::{exercise}
# :label: ex-mixture-of-two
# A mixture of experts answers from two inputs by drawing one of them at random and ignoring the other.
# Predict its coherence from two inputs by its coherences from one, and hold the prediction against MMVAE's printed row.
# ::::
#
# ::::{solution} ex-mixture-of-two
# :class: dropdown
# Half of the draws are made from each input, so the coherence from two is the mean of the two from one: more evidence does not help.
# All three printed numbers are within two standard deviations, plus rounding, of that mean.
# ::::

# %% tags=["hide-input", "remove-output"]
row = dict(zip(table_6.columns, table_6.rows["mmvae"], strict=True))
given = {(column.inputs, column.target): number for column, number in row.items()}
for (inputs, target), number in given.items():
    if len(inputs) == 2:
        one, other = (given[(name,), target] for name in inputs)
        predicted = (one.value + other.value) / 2
        spread = (number.spread**2 + (one.spread**2 + other.spread**2) / 4) ** 0.5
        assert abs(number.value - predicted) <= 2 * spread + number.half_unit

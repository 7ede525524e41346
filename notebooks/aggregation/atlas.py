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
# # The atlas: every pool under every objective
#
# A paper proposes a way to pool posteriors together with a bound to train them by, and reports what the pair does.
# Which of the two did it?
# This chapter crosses them: the same networks, data and settings for every pool of the chapters before, under every objective that it can be trained with.
# A difference within a row is due to the objective, a difference within a column to the pool.

# %% tags=["parameters"]
profile = "quick"
results = "book/results"

# %% tags=["remove-cell"]
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from myst_nb import glue

from multielbo import plots
from multielbo.data.coarse_polymnist import COARSE
from multielbo.experiments import run as experiments
from multielbo.models.atlas import joint_product, subsampled_log_pool, subsampled_wasserstein
from multielbo.models.registry import build
from multielbo.presets import preset
from multielbo.profiles import check_profile
from multielbo.publishing.show import show
from multielbo.reproduction import atlas
from multielbo.scoreboard.contrasts import LEVEL, contrast
from multielbo.scoreboard.markdown import grid, printed
from multielbo.setups.registry import setup_of

check_profile(profile)
plots.use_style()
device = "cuda" if torch.cuda.is_available() else "cpu"
names = atlas.cells()

# %% [markdown]
# ## The grid
#
# | pool | joint | sub-sampled | mixture |
# |---|---|---|---|
# | **what is trained** | one posterior, pooled from all modalities | the sum of bounds on the full set and on every single modality | the average over all subsets |
# | **equation** | {eq}`eq-joint-elbo` | {eq}`eq-subsampled` | {eq}`eq-mopoe` |
# | **product with prior** | the product alone | MVAE | MoPoE with a prior expert in every product |
# | **product** | | | MoPoE |
# | **log-pool** | control | control | control |
# | **Wasserstein** | WB-VAE | control | MWB-VAE |
# | **Hellinger** | HELVAE | | MoHELVAE |
# | **single experts** | MMVAE, by its own density {eq}`eq-stratified` | | MMVAE, averaged |
#
# Single experts have no pool: the mixture of all of them is the posterior of the full set, in training and in answering, so under the sub-sampled sum they would only be trained twice.
# The product without a prior expert differs from the row above it by one factor among $|S|+1$; it has the one cell that a paper uses.
# What no paper has named is written out in a few lines each:

# %% tags=["remove-input"]
show(joint_product, subsampled_log_pool, subsampled_wasserstein)

# %% [markdown]
# ## Live, on PolyDigits
#
# While the book is built every cell is trained once, for {glue:text}`epochs` epochs on {glue:text}`train_tuples` tuples, with networks of half the width that {doc}`/chapters/reproductions/polydigits` uses.
# One seed tells nothing of spread, and the runs are short: this is a map to see that every cell trains, not a result.

# %% tags=["remove-cell"]
settings = preset(
    "polydigits",
    "mopoe",
    "quick",
    epochs=4,
    prior_samples=500,
    likelihood_examples=(8,),
    networks="polydigits-small",
)
wide, narrow = setup_of(settings.dataset), setup_of(settings.setup)
train, test = experiments.load(settings, wide, device=device)
judges = experiments.judges(settings, wide, train, test)
for key, value in {
    "epochs": settings.epochs,
    "train_tuples": f"{len(train):,}",
    "chance": f"{1 / test.classes:.1f}",
    "live_seed": settings.seeds[0],
}.items():
    glue(key, str(value), display=False)


# %% tags=["remove-cell"]
def trained(model):
    """The metrics of one cell, from one seed."""
    chosen = replace(settings, model=model)
    result = experiments.run(
        chosen, narrow, build(model), settings.seeds[0], train, test, judges, progress=False
    )
    return [result.evaluation.metrics()]


live = {model: trained(model) for model in names}

# %%
from_most = {model: metrics[0]["coherence_by_inputs"][-1] for model, metrics in live.items()}
assert min(from_most.values()) > 2 / test.classes, "a cell has not learnt what is shared"

# %% tags=["remove-input"] mystnb={"image": {"alt": "Six heat maps of pools against objectives on PolyDigits: coherence from one input and from all but one, joint coherence, probe accuracy from one input and from all, and log-likelihood."}}
fig = plt.figure(figsize=(8.6, 6.0))
atlas.heat_maps(
    fig,
    live,
    title="Quick profile, one seed: not a result",
    below=f"PolyDigits, {settings.epochs} epochs, trained while the book was built.",
    quick=True,
)
plt.show()

# %% [markdown]
# ## Recorded, on PolyMNIST
#
# Here every cell has several seeds and real pictures, at settings that a laptop finishes in minutes; {doc}`/chapters/reproductions/polymnist` says what they are and how far from the papers' own.
# Dots are cells without a record.

# %% tags=["remove-cell"]
even = atlas.recorded_cells("polymnist", Path(results))
uneven = atlas.recorded_cells("coarse-polymnist", Path(results))
measured, degraded = atlas.seeds_of(even), atlas.seeds_of(uneven)

# %% tags=["remove-input"] mystnb={"image": {"alt": "The same six heat maps from laptop records on PolyMNIST, with means and standard deviations over seeds."}}
fig = plt.figure(figsize=(8.6, 6.4))
atlas.heat_maps(
    fig,
    measured,
    title="PolyMNIST, laptop profile",
    below=atlas.said(even),
)
plt.show()

# %% [markdown]
# ## Experts that fall silent
#
# One thing has to be known before cells are compared.
# The probe also reads each modality's own posterior, and in some seeds it reads nothing there.

# %% tags=["remove-input"]
chance = 1 / test.classes
Markdown(
    grid(
        ["cell", "modalities of which the own posterior is silent, by seed"],
        [
            [names[model], ", ".join(map(str, atlas.silent(run, chance)))]
            for model, run in even.items()
        ],
    )
    if even
    else "*No record yet.*"
)

# %% [markdown]
# In the row of products with the prior it happens under every objective, to modalities that speak in other seeds.
# The seeds with silent modalities have the lower likelihoods, by hundreds of nats, so comparisons with that row have large errors.
#
# The Hellinger row is another case.
# There the class is generated hardly better than by chance, from one modality and from all but one, in every seed: in these epochs it has not been learned.
# Draws from the prior have the highest joint coherence of the grid all the same, so that map should not be read alone.
#
# There is a reason why the product with the prior lets an expert go.
# With precisions $\lambda_m=\sigma_m^{-2}$ the product with the prior has
#
# $$
# \mu_S=\sum_{m\in S}\frac{\lambda_m}{1+\sum_{j\in S}\lambda_j}\,\mu_m .
# $$
#
# As $\lambda_m\to0$ the expert disappears from mean and precision of every subset, so that being wide costs the others nothing, and alone it is the prior, at a rate of zero.
# It also stops learning: whatever asks $\mu_m$ for information reaches it times $\lambda_m$ at most, even from the subset that has no one else.
# Without a prior expert that subset is answered by the expert itself, and the factor is one.
# A wide expert in an average, finally, makes everybody wide: the precision of a log-pool is the mean of the experts', and the scale of a barycenter the mean of theirs.


# %%
def heard(model, scale):
    """How much of a third expert's mean arrives in the answer to it alone."""
    loc = torch.zeros(3, 1, 1, requires_grad=True)
    answer = build(model).aggregator.posterior(
        loc, scale, torch.tensor([False, False, True])[:, None]
    )
    return torch.autograd.grad(answer.loc.sum(), loc)[0][2].item()


def widened(model, scale):
    """By what factor the third expert changes the scale of the full set."""
    pool = build(model).aggregator.posterior
    without = torch.tensor([True, True, False])[:, None]
    three, two = pool(torch.zeros_like(scale), scale), pool(torch.zeros_like(scale), scale, without)
    return (three.scale / two.scale).item()


wide_third = torch.tensor([0.5, 0.5, 50.0])[:, None, None]
precision = 50.0**-2
for model in atlas.GRID["product with prior"]:
    assert abs(heard(model, wide_third) - precision / (1 + precision)) < 1e-6
    assert abs(widened(model, wide_third) - 1) < 1e-3
for model in ("mopoe", "log-pool", "mixture-of-log-pools", "wb-vae", "mwb-vae"):
    assert heard(model, wide_third) == 1
for model in ("log-pool", "wb-vae"):
    assert widened(model, wide_third) > 1.2

# %% [markdown]
# That such experts *stay* silent we have not shown: these runs are short, and what longer ones do we have not measured.

# %% [markdown]
# ## Does the Wasserstein geometry help, or the lack of sharpening?
#
# A Wasserstein barycenter and a log-pool have the same mean and the same variance wherever the experts are equally sure, and neither gets sharper with the number of experts, {eq}`eq-w2-barycenter` and {eq}`eq-log-pool`.
# So the pair of rows is a controlled experiment: what the Wasserstein row has over the product's, the log-pool's has too, unless the geometry matters.
#
# The tables show differences of means over seeds with their standard errors.
# A verdict other than *undecided* has a difference beyond the two-sided level of {glue:text}`level` by Student's t with the degrees of freedom of Welch and Satterthwaite; with so few seeds many real differences stay undecided, and among {glue:text}`one_of` verdicts on equal models up to one wrong one is to be expected.

# %% tags=["remove-input"]
glue("level", f"{LEVEL:g}", display=False)
glue("one_of", f"{1 / LEVEL:.0f}", display=False)
geometry = [
    ("mwb-vae", "mixture-of-log-pools"),
    ("wb-vae-subsampled", "log-pool-subsampled"),
    ("wb-vae", "log-pool"),
]
Markdown(atlas.comparison(measured, geometry))

# %% [markdown]
# And against the products:

# %% tags=["remove-input"]
sharpening = [
    ("mwb-vae", "mopoe"),
    ("mixture-of-log-pools", "mopoe"),
    ("mopoe-with-prior", "mopoe"),
    ("log-pool-subsampled", "mvae"),
    ("log-pool", "product"),
]
Markdown(atlas.comparison(measured, sharpening))

# %% [markdown]
# The answer of these records is that the geometry matters, and that it is a trade.
#
# Where the class is generated from given modalities it matters under the joint and the sub-sampled objective: the Wasserstein row is more coherent than the log-pool's, from one input and from all but one.
# In the column of mixtures the two cannot be told apart in that.
# There the barycenter shows elsewhere: its draws from the prior are more coherent than those of both other mixtures, the class is easier to read off its posterior of all modalities, and its likelihood is lower.
# The likelihood is lower in the sub-sampled column as well; under the joint objective, where no subset is trained, no price shows.
#
# Not to sharpen is by itself no change that shows: the mixture of log-pools cannot be told from MoPoE in any of the quantities.
# And MoPoE with a prior expert is less coherent than without, from all but one and from the prior.
#
# A reading that fits: where experts differ in width a barycenter is the wider pool, {prf:ref}`lem-variance-order`, so its latents hold less of each picture and lie closer to the prior.
# That explains the likelihood and the joint coherence; that the class suffers least is what the probe says.

# %% [markdown]
# ## When experts are not equally informative
#
# The toy of {doc}`/chapters/aggregation/wb_vae` predicts that the two part ways when experts differ in what they know: a barycenter that is blind to precision lets an expert without information pull the mean, a log-pool weighs it by its precision.
#
# The modalities of PolyMNIST do differ.
# Averaged over the cells in which none is silent, their own posteriors let the probe read the class with these accuracies:

# %% tags=["remove-input"]
heard_cells = {model: run for model, run in even.items() if not atlas.silent(run, chance).any()}
if heard_cells:
    own = np.mean([atlas.probe_alone(run).mean(0) for run in heard_cells.values()], 0)
    best, least = int(own.argmax()), int(own.argmin())
Markdown(
    grid(list(wide.modalities), [[f"{value:.2f}" for value in own]])
    if heard_cells
    else "*No record yet.*"
)


# %% [markdown]
# So let the least informative modality join the best one.
# The table says how much *more* the probe reads of the two together than of the best alone, means over seeds with standard errors.


# %% tags=["remove-input"]
def joined(model):
    """What the least informative modality adds to the best, with its error over seeds."""
    if model not in heard_cells:
        return "·"
    added = contrast([atlas.gain(heard_cells[model], best, least)])
    return printed(f"{added.value:+.3f} ± {added.standard_error:.3f}")


Markdown(
    grid(
        ["pool", *atlas.OBJECTIVES],
        [
            [pool, *(joined(model) for model in row)]
            for pool, row in atlas.GRID.items()
            if any(model in heard_cells for model in row)
        ],
    )
)

# %% [markdown]
# The prediction does not show.
# Under the joint objective the class is harder to read once the second modality has joined, but it is the log-pool that loses more.
# Under the other two objectives no difference between the two pools is decided, and neither is seen to lose.
# Single experts lose most, since half of their draws now come from the lesser one.
# What the toy holds fixed, a trained encoder can change: an expert whose weight is given learns a mean that suits the weight.
#
# A second answer comes from data with one modality made worse.
# Of {glue:text}`coarse` the mean colour of each block of pixels is kept alone, in training and in testing, and a classifier falls from {glue:text}`sharp_accuracy` to {glue:text}`coarse_accuracy`.

# %% tags=["remove-input"]
place = list(wide.modalities).index(COARSE)


def accuracy(found):
    """Of the classifier of the modality that is made worse, in the first record."""
    metrics = next(iter(found.values())).record.metrics if found else {}
    known = metrics.get("classifier_accuracy")
    return f"{np.mean(known, 0)[place]:.2f}" if known else "(no record)"


glue("coarse", COARSE, display=False)
glue("sharp_accuracy", accuracy(even), display=False)
glue("coarse_accuracy", accuracy(uneven), display=False)
Markdown(
    grid(
        ["cell", *wide.modalities, "records"],
        [
            [
                names[model],
                *(f"{value:.2f}" for value in atlas.probe_alone(run).mean(0)),
                f"{len(run.record.seeds)} seeds, {run.freshness.state}",
            ]
            for model, run in uneven.items()
        ],
    )
    if uneven
    else "*No record yet.*"
)

# %% [markdown]
# In what the encoders get out of them these data are the more *even* ones: the modality that told most now tells as much as the others.

# %% tags=["remove-input"]
partners = [
    ("mwb-vae", "mixture-of-log-pools"),
    ("mwb-vae", "mopoe"),
    ("mixture-of-log-pools", "mopoe"),
]
Markdown(atlas.comparison(degraded, partners))

# %% [markdown]
# Of the barycenters against both other mixtures the verdicts are those on the sharp pictures, quantity by quantity: the same trade, whether one modality tells more than the others or not.
# Those two can be told apart here in one quantity: the class is harder to read off the mixture of log-pools than off MoPoE, from all modalities.
# What an expert does that knows *nothing* these data do not say.

# %% [markdown]
# ## What the objective changes
#
# Within a row the pool stays and the objective changes.
# Under the joint objective nothing asks a single modality's posterior to be of use by itself; the sub-sampled sum asks it to explain itself, the mixture asks it to explain everything.

# %% tags=["remove-input"]
objectives = [
    (later, earlier)
    for joint, sampled, mixture in atlas.GRID.values()
    for earlier, later in ((joint, sampled), (sampled, mixture), (joint, mixture))
    if later and earlier
]
Markdown(atlas.comparison(measured, objectives))

# %% [markdown]
# The rows of log-pools and barycenters, in which no expert falls silent and all three objectives have a cell, agree in four points.
# From one input, coherence rises from the joint objective to the sub-sampled sum and again to the mixture, and so it does from all but one, except that the last step of the barycenter is undecided.
# The mixture pays for that with likelihood: it is below both other cells of its row.
# The sub-sampled sum has the posterior of all modalities from which the class is easiest to read; the mixture's is the worse one.
# And draws from the prior are more coherent under the mixture than under the sub-sampled sum.
#
# Single experts do not fit into that order.
# With the mixture's own density and a draw from every expert MMVAE is far more coherent than with averaged bounds and one draw, and of all cells it has the most coherent samples from one input; a step of it decodes as many latents for each tuple as there are modalities, where the mixtures decode one.
#
# In coherence the objective moves more than the geometry does: the smaller of the two rows' differences between mixture and joint objective exceeds the largest difference between their pools in any column.
# So of a paper that proposes a pool together with an objective, the objective is to be suspected first.

# %% [markdown]
# ## Exercise
#
# ::::{exercise}
# :label: ex-atlas-cells
# In which cells do the Wasserstein barycenter and the log-pool train the same function of the same experts, whatever the data?
# ::::
#
# ::::{solution} ex-atlas-cells
# :class: dropdown
# In none, but nearly: both leave a single expert as it is, so the terms of single modalities are equal in every cell; and where experts are equally sure they agree for every subset.
# Only subsets of two and more experts with different scales tell them apart:
# ::::

# %% tags=["hide-input", "remove-output"]
generator = torch.Generator().manual_seed(0)
loc = torch.randn(3, 4, 2, generator=generator)
scale = 0.5 + torch.rand(3, 4, 2, generator=generator)
pool = [build(model).aggregator for model in ("mwb-vae", "mixture-of-log-pools")]
apart = [one(loc, scale) for one in pool]
alike = [one(loc, torch.full_like(scale, 0.7)) for one in pool]
singles = apart[0].members[..., 0].sum(1) == 1
torch.testing.assert_close(apart[0].scale[singles], apart[1].scale[singles])
assert (apart[0].scale[~singles] > apart[1].scale[~singles] + 1e-4).all()
torch.testing.assert_close(alike[0].loc, alike[1].loc)
torch.testing.assert_close(alike[0].scale, alike[1].scale)

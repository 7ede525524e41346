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
# # One latent space, many modalities, some of them missing
#
# A patient has an image but no blood test; a video clip has lost its sound.
# A **multimodal VAE** learns one latent space from several modalities, and it is asked for three things at once: to encode whatever is present, to generate whatever is absent, and to let what is present agree.
# How can one model answer for every set of modalities that may happen to be present?
# The models of this book share one answer: they compute the posterior of a set from the posteriors of its members, and they part over how.
# This chapter says what such a model consists of, why missing modalities are the whole difficulty, and where the models part.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import matplotlib.pyplot as plt
import torch
from myst_nb import glue

from multielbo import plots
from multielbo.data.polydigits import polydigits
from multielbo.models.registry import MODELS, build
from multielbo.oracle import LinearGaussian
from multielbo.profiles import check_profile
from multielbo.subsets import powerset

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)

# %% [markdown]
# ## The data: tuples that share one thing
#
# Our running example fits into memory and needs no download.
# **PolyDigits** follows the recipe of PolyMNIST {cite:p}`sutter2021`: each example is a tuple of images that show the *same digit*, written differently each time, in front of a background that belongs to the modality.
# The digit is **shared**; handwriting and background are **private** to a modality.

# %% tags=["remove-input"] mystnb={"image": {"alt": "A grid of five rows, one per modality, and ten columns, one per digit from 0 to 9; within a column every small image shows the same digit in another handwriting, in front of a background that belongs to its row."}}
data = polydigits("train", seed=seed)
names = tuple(data.modalities)
columns = [int((data.labels == digit).nonzero()[0]) for digit in range(10)]
fig, axes = plt.subplots(len(names), 10, figsize=(7.2, 3.7))
for row, name in enumerate(names):
    for column, index in enumerate(columns):
        axes[row, column].imshow(data.modalities[name][index].permute(1, 2, 0))
        axes[row, column].set(xticks=[], yticks=[])
    axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center")
fig.suptitle(
    "Each column is one example: five modalities, one digit",
    weight="bold",
    fontsize=12,
    x=0.01,
    ha="left",
)
plt.show()

# %% tags=["remove-cell"]
glue("tuples", f"{len(data):,}", display=False)
glue("modalities", f"{len(names)}", display=False)
glue("subsets", f"{len(powerset(len(names)))}", display=False)
glue("subsets_of_ten", f"{len(powerset(10)):,}", display=False)

# %% [markdown]
# There are {glue:text}`tuples` training tuples of {glue:text}`modalities` modalities.
# A model that understood them would read the digit from any of the images, and draw the others with that digit and with backgrounds of its own choosing.

# %% [markdown]
# ## The model: decoders share a latent, encoders face a power set
#
# The generative half is the easy half.
# A latent $z\sim\N(0,I)$ is decoded into every modality separately, $p(x,z)=p(z)\prod_m p(x_m\mid z)$, and a modality that is missing drops out of the product.
#
# The inference half is where the difficulty sits.
# For every set $S$ of observed modalities we want the posterior $p(z\mid x_S)$, and {glue:text}`modalities` modalities have {glue:text}`subsets` non-empty subsets.

# %%
for modalities in (2, 3, 5, 10):
    assert len(powerset(modalities)) == 2**modalities - 1

# %% [markdown]
# One encoder network for each subset is out of the question beyond a few modalities.
# Two shortcuts suggest themselves, and it is worth seeing the first one fail.
#
# ## Filling the gap with zeros is a statement about the data
#
# Take one encoder for the full tuple, and feed zeros where a modality is missing.
# The encoder cannot know that the zeros are not data, and it believes them.
# On a model whose posteriors are known exactly (the *oracle* of {doc}`/chapters/foundations/elbo_and_oracle`) we can say how much that costs.
# There the best possible encoder of a full tuple is the exact posterior; we give it zeros for all modalities but one, and measure the divergence of its answer from the exact posterior given that one.
# By {prf:ref}`lem-elbo-gap` this is what the bound on the evidence of the one modality loses.

# %%
oracle = LinearGaussian.random(dict.fromkeys(names, 4), latent_dim=3, generator=generator)
batch = oracle.sample(2000, generator)
seen = names[0]

exact_loc, exact_covariance = oracle.posterior(batch, [seen])
filled = {name: x if name == seen else torch.zeros_like(x) for name, x in batch.items()}
filled_loc, filled_covariance = oracle.posterior(filled)

cost = oracle.gap(batch, filled_loc, filled_covariance, [seen])
honest = oracle.gap(batch, exact_loc, exact_covariance, [seen])

torch.testing.assert_close(honest, torch.zeros_like(honest), atol=1e-12, rtol=0)
assert cost.min() > 1.0

# %% tags=["remove-cell"]
glue("fill_cost", f"{cost.mean():.1f}", display=False)
shrink = (filled_covariance.diagonal() / exact_covariance.diagonal()).sqrt()
glue("fill_shrink", f"{shrink.mean():.2f}", display=False)

# %% [markdown]
# Zero filling costs {glue:text}`fill_cost` nats per example here.
# The error has two sides: the mean is drawn towards what would have produced zeros, and the standard deviation shrinks to {glue:text}`fill_shrink` of what it should be, as if {glue:text}`modalities` modalities had spoken where one did.

# %% tags=["remove-input"] mystnb={"image": {"alt": "Two bell curves over the first latent dimension: the exact posterior given one modality is wide, and the answer with the other modalities filled with zeros is narrower, taller and shifted to one side."}}
fig, ax = plt.subplots(figsize=(6, 3))
shift = (exact_loc[:, 0] - filled_loc[:, 0]).abs()
example = int(shift.argsort()[int(0.9 * len(shift))])
spread = exact_loc[example, 0] + torch.linspace(-5.5, 4.5, 400) * exact_covariance[0, 0].sqrt()
for loc, covariance, colour, label in (
    (exact_loc, exact_covariance, "C0", "exact, given\none modality"),
    (filled_loc, filled_covariance, "C3", "the others\nfilled with zeros"),
):
    scale = covariance[0, 0].sqrt()
    density = (
        torch.exp(-0.5 * ((spread - loc[example, 0]) / scale) ** 2) / scale / (2 * torch.pi) ** 0.5
    )
    ax.plot(spread, density, color=colour)
    ax.fill_between(spread, density, alpha=0.12, color=colour)
    side = 1 if exact_loc[example, 0] > filled_loc[example, 0] else -1
    side = side if colour == "C0" else -side
    ax.annotate(
        label,
        (loc[example, 0] + side * 1.1 * scale, 0.75 * density.max()),
        color=colour,
        ha="left" if side > 0 else "right",
        va="center",
    )
ax.set(
    xlabel="first latent dimension",
    yticks=[],
    title="Zeros are believed: the posterior moves, and is too sure of itself",
)
plt.show()

# %% [markdown]
# ## The shortcut that works: aggregate unimodal posteriors
#
# Give every modality its own encoder with a Gaussian posterior $q_m(z)=\N(\mu_m,\operatorname{diag}\sigma_m^2)$, and *compute* the posterior of a subset from those of its members.
# A missing modality then contributes nothing at all, not even a zero.
# That is a contract of the code, and it is testable: put the worst possible number where nothing was measured.
# Multiplying by a mask, the usual way to drop a modality, does not pass.

# %%
loc, scale = oracle.unimodal_posteriors(batch)
observed = torch.ones(len(names), 2000, dtype=torch.bool)
observed[1:] = False

poisoned_loc, poisoned_scale = loc.clone(), scale.clone()
poisoned_loc[1:] = poisoned_scale[1:] = torch.nan

for name in MODELS:
    aggregator = build(name).aggregator
    clean = aggregator.posterior(loc, scale, observed)
    poisoned = aggregator.posterior(poisoned_loc, poisoned_scale, observed)
    for answer, expected in zip(poisoned, clean, strict=True):  # means, scales, weights, members
        assert torch.equal(answer, expected), name

assert (poisoned_loc * observed[..., None]).isnan().any(), "a mask as a factor lets it through"

# %% [markdown]
# *How* to compute a subset's posterior is where the papers part.
# Each chooses an **aggregator**, which turns unimodal posteriors into those of subsets, and an **objective**, the bound that is optimised.
# Everything else in a multimodal VAE (encoders, decoders, likelihoods, training, evaluation) can be held equal, and in this book it is.
#
# | model | aggregator | objective | chapter |
# |---|---|---|---|
# | MVAE {cite:p}`wu2018` | product of experts | sum over sub-sampled subsets | {doc}`/chapters/aggregation/product_of_experts` |
# | MMVAE {cite:p}`shi2019` | mixture of experts | the mixture's own ELBO | {doc}`/chapters/aggregation/mixture_of_experts` |
# | MoPoE {cite:p}`sutter2021` | mixture of products | component-averaged ELBO | {doc}`/chapters/aggregation/mopoe` |
# | WB-VAE {cite:p}`qiu2025` | 2-Wasserstein barycenter | joint ELBO | {doc}`/chapters/aggregation/wb_vae` |
# | MWB-VAE {cite:p}`qiu2025` | mixture of such barycenters | component-averaged ELBO | {doc}`/chapters/aggregation/wb_vae` |
# | MVTCAE {cite:p}`hwang2021` | product of experts, and the experts | joint ELBO with conditional bottlenecks | {doc}`/chapters/bounds/total_correlation` |
# | mmJSD {cite:p}`sutter2020` | mixture of experts | reconstruction less a divergence to a dynamic prior | {doc}`/chapters/aggregation/mixture_of_experts` |
# | log-pool (a control) | geometric mean, or a mixture of them | as the two above | {doc}`/chapters/aggregation/kl_barycenters` |
#
# The chapters take the rows one by one, and {doc}`/chapters/reproductions/polydigits` trains most of them side by side.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-mean-imputation
# Someone proposes to fill a missing modality with its *mean given the observed ones*, $\E[x_T\mid x_S]$, rather than with zeros.
# On the oracle, which of the two errors does that repair?
# ::::
#
# ::::{solution} ex-mean-imputation
# :class: dropdown
# The mean becomes right and the spread stays too small.
# The posterior mean $\E[z\mid x]$ is linear in $x$, so at the filled tuple it equals its own conditional mean $\E\big[\E[z\mid x]\mid x_S\big]$, which is $\E[z\mid x_S]$.
# The covariance of {eq}`eq-oracle-posterior` does not depend on $x$ at all, so no filling can change it.
# ::::

# %% tags=["hide-input", "remove-output"]
expected = {
    name: x if name == seen else exact_loc @ oracle.loadings[name].T for name, x in batch.items()
}
imputed_loc, imputed_covariance = oracle.posterior(expected)
torch.testing.assert_close(imputed_loc, exact_loc)
assert (imputed_covariance.diagonal() < exact_covariance.diagonal()).all()

# %% [markdown]
# ::::{exercise}
# :label: ex-exponential
# A paper trains one encoder per subset for ten modalities, at a million parameters each.
# How many parameters is that, and how many does aggregation need?
# ::::
#
# ::::{solution} ex-exponential
# :class: dropdown
# There is one encoder for every non-empty subset, hence {glue:text}`subsets_of_ten` million parameters, against ten million when unimodal posteriors are aggregated.
# ::::

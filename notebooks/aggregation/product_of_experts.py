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
# # Product of experts, and MVAE
#
# Every modality has an opinion about the latent, and an opinion is a density.
# When modalities are independent given the latent, Bayes' rule says how to merge opinions: multiply them, and count the prior *once*.
# This chapter derives the product {cite:p}`hinton2002`, measures what each further count of the prior costs, and then asks what MVAE {cite:p}`wu2018` needs to train so that the factors of its product mean something on their own.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import math
from itertools import compress

import matplotlib.pyplot as plt
import torch
from myst_nb import glue

from multielbo import barycenters, gaussians, plots, subsets
from multielbo.barycenters import product
from multielbo.models.mvae import mvae
from multielbo.models.registry import build
from multielbo.objectives import subsampled_elbo
from multielbo.oracle import LinearGaussian
from multielbo.profiles import check_profile
from multielbo.publishing.show import show

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)
samples = {"quick": 20_000, "laptop": 200_000, "full": 1_000_000}[profile]

# %% [markdown]
# ## Precisions add
#
# Let the experts be diagonal Gaussians $q_m=\N(\mu_m,\operatorname{diag}\sigma_m^2)$, and let $p=\N(0,I)$ be the prior.
#
# ::::{prf:lemma} A product of Gaussians
# :label: lem-product
#
# For exponents $w_m$ and $a$ such that every precision below is positive,
#
# $$
# \begin{gathered}
# p(z)^{a}\prod_{m=1}^{M} q_m(z)^{w_m} \;\propto\; \N\big(z;\mu,\operatorname{diag}\sigma^2\big), \\
# \frac{1}{\sigma_d^{2}} = a+\sum_{m=1}^{M}\frac{w_m}{\sigma_{m,d}^{2}},
# \qquad
# \mu_d = \sigma_d^2\sum_{m=1}^{M}\frac{w_m\,\mu_{m,d}}{\sigma_{m,d}^{2}} .
# \end{gathered}
# $$ (eq-product)
# ::::
#
# :::{prf:proof}
# Up to a constant, $-2\log$ of the left side is $\sum_d\big[a z_d^2+\sum_m w_m(z_d-\mu_{m,d})^2/\sigma_{m,d}^2\big]$.
# In each dimension this is a quadratic in $z_d$ with leading coefficient $\sigma_d^{-2}$, whose derivative $2a z_d+2\sum_m w_m(z_d-\mu_{m,d})/\sigma_{m,d}^2$ vanishes at $\mu_d$, so it equals $(z_d-\mu_d)^2/\sigma_d^2$ plus a constant.
# A positive leading coefficient is what makes the left side integrable.
# :::
#
# An expert is best thought of as two numbers per dimension, its precision $\lambda_m=\sigma_m^{-2}$ and its **vote** $h_m=\lambda_m\mu_m$.
# A product adds the precisions and adds the votes, each for all subsets of modalities in one matrix product:

# %% tags=["remove-input"]
show(product, barycenters.combine)

# %% [markdown]
# **Check.** The pointwise product and the Gaussian may differ by a constant only, and $z$ may not show in it.

# %%
loc, scale = torch.tensor([[[-1.0]], [[0.5]], [[2.0]]]), torch.tensor([[[0.7]], [[1.1]], [[0.4]]])
exponents, prior_exponent = torch.tensor([[1.0, 0.5, 2.0]]), 0.3
grid = torch.linspace(-3, 3, 301)[:, None, None]

pooled_loc, pooled_scale = product(loc, scale, exponents, prior_exponent=prior_exponent)
log_powers = (exponents[0, :, None] * gaussians.log_density(grid.unsqueeze(1), loc, scale)).sum(1)
log_product = prior_exponent * gaussians.log_prior(grid) + log_powers
constant = log_product - gaussians.log_density(grid, pooled_loc[0], pooled_scale[0])
torch.testing.assert_close(constant, constant[:1].expand_as(constant))

without_prior = product(loc, scale, exponents, prior_exponent=0.0)
changing = log_product - gaussians.log_density(grid, without_prior[0][0], without_prior[1][0])
assert changing.max() - changing.min() > 0.1, "a forgotten prior must show"

# %% [markdown]
# The literature differs in one letter of {eq}`eq-product`, the exponent $a$ of the prior.
# The rest of this chapter is about that letter, and then about how to train the experts.

# %% [markdown]
# ## Bayes' rule divides the prior out
#
# ::::{prf:lemma} The posterior of a subset
# :label: lem-subset-posterior
#
# If the modalities are independent given $z$, then for every non-empty subset $S$,
#
# $$
# p(z\mid x_S) \;\propto\; p(z)^{1-|S|}\prod_{m\in S}p(z\mid x_m) .
# $$
# ::::
#
# :::{prf:proof}
# Independence gives $p(z\mid x_S)\propto p(z)\prod_{m\in S}p(x_m\mid z)$.
# Bayes' rule for one modality gives $p(x_m\mid z)\propto p(z\mid x_m)/p(z)$ as a function of $z$.
# Insert the second into the first: the prior appears once in the numerator and $|S|$ times in the denominator.
# :::
#
# No Gaussian was needed.
# Each unimodal posterior already contains the prior, so their product contains it $|S|$ times, and all but one of these have to go.
# For Gaussian posteriors this is {eq}`eq-product` with $a=1-|S|$.

# %%
oracle = LinearGaussian.random(
    {"image": 6, "sound": 5, "text": 4, "touch": 3, "smell": 3},
    latent_dim=2,
    noise={"image": 2.0, "sound": 1.8, "text": 1.4, "touch": 1.6, "smell": 1.8},
    generator=generator,
)
batch = oracle.sample(256, generator)
posterior_loc, posterior_scale = oracle.unimodal_posteriors(batch)  # exact p(z | x_m)

membership = subsets.powerset(5)  # 31 subsets, one per row
size = membership.sum(1)
names = [tuple(compress(oracle.modalities, row)) for row in membership]

# %% [markdown]
# **Check.** We compare with the oracle's posterior of every subset, which comes from a stacked linear system and knows nothing of products.
# The two usual exponents are the wrong twins.


# %%
def gaps(loc, scale):
    """KL from each subset's product to the oracle's posterior, (subset, example), in nats."""
    covariance = torch.diag_embed(scale.square())
    return torch.stack([oracle.gap(batch, loc[k], covariance[k], s) for k, s in enumerate(names)])


exponent = (1 - size)[:, None, None]
bayes = product(posterior_loc, posterior_scale, membership, prior_exponent=exponent)
for k, name in enumerate(names):
    exact_loc, exact_covariance = oracle.posterior(batch, name)
    torch.testing.assert_close(bayes[0][k], exact_loc)
    torch.testing.assert_close(bayes[1][k].square(), exact_covariance.diagonal().expand(256, -1))

no_prior = product(posterior_loc, posterior_scale, membership, prior_exponent=0.0)
one_prior = product(posterior_loc, posterior_scale, membership, prior_exponent=1.0)
assert gaps(*bayes).max() < 1e-12
assert gaps(*no_prior)[size == 1].max() < 1e-12, "one posterior is its own product"
assert gaps(*no_prior)[size > 1].min() > 1e-3, "a = 0 must fail from two modalities on"
assert gaps(*one_prior).min() > 1e-3, "a = 1 must fail for every subset of exact posteriors"

# %% [markdown]
# ## Every further count of the prior is over-confidence
#
# With exact posteriors as experts, an exponent $a$ leaves the precision too large by $|S|-1+a$ in every dimension, and the sum of votes untouched.
# So wherever $|S|-1+a$ is positive, the product is at once too narrow and too close to the origin.
# {prf:ref}`lem-elbo-gap` translates this into nats: the bound on $\log p(x_S)$ is too low by exactly the divergence that `gaps` computes.

# %%
excess = one_prior[1].square().reciprocal() - bayes[1].square().reciprocal()
torch.testing.assert_close(excess, size[:, None, None].to(excess).expand_as(excess))
assert (one_prior[0].abs() <= bayes[0].abs()).all(), "shrunk towards the prior mean"

# %% tags=["remove-input"] mystnb={"image": {"alt": "Nats lost per example against the number of modalities in the subset, for three exponents of the prior: a = 1 - |S| stays at zero, a = 0 starts at zero and rises, and a = 1 rises above it."}}
sizes = torch.arange(1, 6)


def by_size(q):
    nats = gaps(*q).mean(1)
    return torch.stack([nats[size == k].mean() for k in sizes])


curves = {"$a=1$": by_size(one_prior), "$a=0$": by_size(no_prior), "$a=1-|S|$": by_size(bayes)}
fig, ax = plt.subplots()
ends = {}
for (label, curve), color in zip(curves.items(), ("C2", "C1", "C0"), strict=True):
    ax.plot(sizes, curve, "o-", color=color, clip_on=False)
    ends[label] = (5, float(curve[-1]), color)
ax.set(
    xticks=sizes.tolist(),
    xlabel="modalities in $S$",
    ylabel="nats lost per example",
    title="Exact posteriors multiplied: each extra prior costs nats",
)
plots.label_ends(ax, ends)
plt.show()

# %% tags=["remove-cell"]
assert all((curves[c].diff() > 0).all() for c in ("$a=1$", "$a=0$"))
glue("lost_no_prior", f"{curves['$a=0$'][-1]:.2f}", display=False)
glue("lost_one_prior", f"{curves['$a=1$'][-1]:.2f}", display=False)

# %% [markdown]
# From all five modalities the product without a prior expert loses {glue:text}`lost_no_prior` nats per example and the product with one {glue:text}`lost_one_prior`, though every expert is exact.

# %% [markdown]
# What do the nats mean?
# A posterior makes a claim that can be counted: its 95 per cent region holds the truth in 95 of 100 cases.
#
# ::::{prf:lemma} How far off the truth is, in units of the claim
# :label: lem-over-confidence
#
# On the oracle, let $\Lambda$ be the exact posterior precision of one latent dimension given $x_S$, and let $e=|S|-1+a\ge0$ count the surplus priors of a product with mean $\mu'$ and variance $\sigma'^2$.
# On average over data and the latents that made them,
#
# $$
# \E\,\frac{(z-\mu')^2}{\sigma'^2} = 1+\frac e\Lambda+\Big(1-\frac1\Lambda\Big)\frac{e^2}{\Lambda+e} .
# $$
#
# It is $1$ for $e=0$ only.
# With modalities that all add the same precision $\lambda$ to the prior's, it grows in proportion to their number.
# ::::
#
# :::{prf:proof}
# Let $m$ be the exact posterior mean.
# The product has the precision $\Lambda+e$ and, with the same sum of votes, the mean $\mu'=\frac{\Lambda}{\Lambda+e}m$.
# So $z-\mu'=(z-m)+\frac{e}{\Lambda+e}m$, where $z-m$ has variance $1/\Lambda$ whatever $x_S$ is, and $m$ therefore the variance $1-1/\Lambda$ that is left of the prior's.
# Add the two variances and multiply by $\Lambda+e$.
# With $\Lambda=1+|S|\lambda$ the last term behaves like $|S|/(1+\lambda)$.
# :::
#
# The reason for the growth is the shrinking.
# With more and more modalities the exact posterior settles at the truth; the product settles at $\frac{\lambda}{1+\lambda}$ times the truth, and is ever more certain of it.
#
# **Check.** We draw latents, and observations from them, and count for every subset how often the latent lies outside the region that should hold it in 95 of 100 cases.

# %%
truth = torch.randn(samples, 2, generator=generator)
observations = {
    name: truth @ w.T + oracle.noise[name] * torch.randn(samples, len(w), generator=generator)
    for name, w in oracle.loadings.items()
}
precision_of = torch.stack([oracle.posterior(batch, s)[1].diagonal().reciprocal() for s in names])
radius = -2 * math.log(0.05)  # chi-squared with two degrees of freedom


def claim_and_truth(prior_exponent):
    """Squared distance of the truth in units of the claimed variances, `(subset, example)`."""
    claimed = product(
        *oracle.unimodal_posteriors(observations), membership, prior_exponent=prior_exponent
    )
    return ((truth - claimed[0]) / claimed[1]).square().sum(-1)


outside = {}
for name, a in (("$a=1-|S|$", 1 - size), ("$a=0$", 0 * size), ("$a=1$", 0 * size + 1)):
    far = claim_and_truth(a[:, None, None])
    surplus = (size - 1 + a)[:, None]
    growth = 1 + surplus / precision_of
    growth = growth + (1 - 1 / precision_of) * surplus**2 / (precision_of + surplus)
    error = far.std(1) / samples**0.5
    assert ((far.mean(1) - growth.sum(1)).abs() < 4.5 * error).all()  # 31 subsets at once
    outside[name] = (far > radius).double().mean(1)

tolerance = 4.5 * (0.05 * 0.95 / samples) ** 0.5
assert ((outside["$a=1-|S|$"] - 0.05).abs() < tolerance).all(), "honest for every subset"
assert ((outside["$a=0$"] - 0.05).abs() < tolerance)[size == 1].all()
assert (outside["$a=0$"][size > 1] > 0.05 + tolerance).all()
assert (outside["$a=1$"] > 0.05 + tolerance).all()

# %% tags=["remove-input"] mystnb={"image": {"alt": "Percentage of latents outside the 95 per cent region against the number of modalities in the subset: a = 1 - |S| stays on the dotted line at five per cent, a = 0 starts there and rises, a = 1 rises above it."}}
fig, ax = plt.subplots()
ends, rates = {}, {}
for (label, rate), color in zip(outside.items(), ("C0", "C1", "C2"), strict=True):
    rates[label] = torch.stack([100 * rate[size == k].mean() for k in sizes])
    ax.plot(sizes, rates[label], "o-", color=color, clip_on=False)
    ends[label] = (5, float(rates[label][-1]), color)
ax.axhline(5, color="0.4", lw=1, ls=":")
ax.set(
    xticks=sizes.tolist(),
    ylim=(0, None),
    xlabel="modalities in $S$",
    ylabel="per cent outside",
    title="More modalities, more truths outside the 95 per cent region",
)
plots.label_ends(ax, ends)
plt.show()

# %% tags=["remove-cell"]
glue("outside_no_prior", f"{rates['$a=0$'][-1]:.0f}", display=False)
glue("outside_one_prior", f"{rates['$a=1$'][-1]:.0f}", display=False)

# %% [markdown]
# From all five modalities the truth is outside in {glue:text}`outside_no_prior` of 100 cases without a prior expert, and in {glue:text}`outside_one_prior` with one.

# %% [markdown]
# ## What the exponent says about the experts
#
# So is MVAE's prior expert, $a=1$, a mistake?
# Only if its experts are posteriors, and nobody told them to be.
# Divide the prior out of each unimodal posterior, and what is left is the **likelihood expert** $\ell_m(z)\propto p(x_m\mid z)$, where that can be normalised over $z$.
# A product of likelihood experts contains no prior at all, so it has to be multiplied in once: $a=1$ is then right for every subset, and the empty subset answers with the prior.

# %%
each = torch.eye(5)
experts = product(posterior_loc, posterior_scale, each, prior_exponent=-1.0)
likelihood_loc, likelihood_scale = experts

honest = product(likelihood_loc, likelihood_scale, membership, prior_exponent=1.0)
assert gaps(*honest).max() < 1e-12
nothing = product(likelihood_loc, likelihood_scale, torch.zeros(1, 5), prior_exponent=1.0)
assert torch.equal(nothing[0], torch.zeros(1, 256, 2))
assert torch.equal(nothing[1], torch.ones(1, 256, 2))

# %% [markdown]
# The exponent is therefore a statement about what an encoder has to say.
#
# | $a$ | experts that are right for every subset | defined for every encoder output |
# |---|---|---|
# | $1-\lvert S\rvert$ | the unimodal posteriors $p(z\mid x_m)$ | no: the precision can turn negative |
# | $1$ | the likelihoods $p(x_m\mid z)$, normalised over $z$ | yes |
# | $0$ | none: singletons want posteriors, and pairs of posteriors count the prior twice | yes, except for the empty subset |
#
# The oracle's posteriors are never wider than its prior, so there the division is safe.
# An encoder in training respects no such limit, and three experts twice as wide as the prior already leave a precision of $3/4-2$:

# %%
wide = torch.full((3, 1, 1), 2.0)
_, undefined = product(torch.zeros(3, 1, 1), wide, torch.ones(1, 3), prior_exponent=1.0 - 3.0)
_, defined = product(torch.zeros(3, 1, 1), wide, torch.ones(1, 3), prior_exponent=1.0)
assert undefined.isnan().all()
assert defined.isfinite().all()

# %% [markdown]
# This is a good reason for $a=1$, and the choice that we keep visible as `prior_expert=True` wherever a product is built.

# %% [markdown]
# ## What MVAE trains
#
# MVAE's posterior of a subset is the product of its members with a prior expert, $q_S(z)\propto p(z)\prod_{m\in S}q_m(z)$.
# Its objective adds up the bounds of several subsets, each of which scores its own members and nothing else:
#
# $$
# \mathcal L_{\mathcal F}(x) = \sum_{S\in\mathcal F}\ELBO_S(x_S),
# \qquad
# \ELBO_S(x_S) = \sum_{m\in S}\E_{q_S}\log p(x_m\mid z) - \KL{q_S(z)}{p(z)} .
# $$ (eq-subsampled)
#
# The family $\mathcal F$ holds the full set, every singleton, and $k$ subsets drawn anew at every step from those in between.
# The model file says this and no more, and the objective is one line for each side of the bound:

# %% tags=["remove-input"]
show(mvae, subsampled_elbo)

# %% [markdown]
# **Check.** We give the model the oracle's likelihood experts and repeat one example many times.
# Every $q_S$ is then exact, so {prf:ref}`lem-elbo-gap` predicts the average: $\sum_{S\in\mathcal F}\log p(x_S)$.
# The tempting variant, in which every subset scores all modalities, must miss it.

# %%
model = build("mvae")
one = {name: x[:1].expand(samples, -1) for name, x in batch.items()}
q = model.aggregator(*(stack[:, :1].expand(-1, samples, -1) for stack in experts))
family = [oracle.modalities, *((name,) for name in oracle.modalities)]

estimates = model.objective(q, oracle.log_likelihood(one), generator).elbo()
standard_error = estimates.std() / samples**0.5
sum_of_evidences = sum(oracle.log_evidence(batch, subset) for subset in family)
assert abs(estimates.mean() - sum_of_evidences[0]) < 4 * standard_error

everywhere = q._replace(members=torch.ones_like(q.members))
scores_all = subsampled_elbo(everywhere, oracle.log_likelihood(one), generator).elbo()
assert abs(scores_all.mean() - sum_of_evidences[0]) > 20 * standard_error

# %% tags=["remove-cell"]
glue("subsampled_estimate", f"{estimates.mean():.2f}", display=False)
glue("subsampled_se", f"{standard_error:.2f}", display=False)
glue("subsampled_exact", f"{sum_of_evidences[0]:.2f}", display=False)

# %% [markdown]
# The estimator averages {glue:text}`subsampled_estimate` nats with standard error {glue:text}`subsampled_se`; the sum of the evidences is {glue:text}`subsampled_exact`.

# %% [markdown]
# ## Why the joint bound is not enough
#
# The joint ELBO alone looks like the honest objective: it bounds $\log p(x)$, and every expert takes part in it.
# But it sees the experts only through their sums.
#
# ::::{prf:lemma} The joint bound is blind to how the experts share the work
# :label: lem-blind
#
# Add constants $c_m$ to the votes $h_m(x_m)$ and $e_m$ to the precisions $\lambda_m(x_m)$ of all experts, with $\sum_m c_m=\sum_m e_m=0$ and all precisions still positive.
# Then the full product of {eq}`eq-product` with $w_m=1$, and with it the joint ELBO, stays the same for every $x$, while a unimodal answer keeps its mean and variance only where $c_m=e_m=0$.
# ::::
#
# :::{prf:proof}
# In every dimension, the full product has precision $a+\sum_m\lambda_m$ and mean $\sum_m h_m\big/\big(a+\sum_m\lambda_m\big)$: the constants cancel in both sums.
# The answer from $x_m$ alone has precision $a+\lambda_m+e_m$, so its variance moves unless $e_m=0$; and if $e_m=0$, its mean $(h_m+c_m)/(a+\lambda_m)$ moves unless $c_m=0$.
# :::
#
# The constants depend on no data, so encoders can produce them: training can end there.
# We take the exact likelihood experts, move votes from text to image, give most of text's precision to the others, and look at both answers.

# %%
precision = likelihood_scale.square().reciprocal()
vote = precision * likelihood_loc
moved_vote = vote + 3.0 * torch.tensor([1.0, 0.0, -1.0, 0.0, 0.0])[:, None, None]
given = 0.9 * precision[2] / 4  # nine tenths of what text knows, shared among the other four
moved_precision = precision + given * torch.tensor([1.0, 1.0, -4.0, 1.0, 1.0])[:, None, None]

moved_loc, moved_scale = moved_vote / moved_precision, moved_precision.rsqrt()
moved = product(moved_loc, moved_scale, membership, prior_exponent=1.0)

torch.testing.assert_close(moved[0][-1], honest[0][-1])  # the full set: the same posterior ...
torch.testing.assert_close(moved[1][-1], honest[1][-1])
assert gaps(*moved)[-1].max() < 1e-12  # ... and it is exact
text_alone = gaps(*moved)[names.index(("text",))]
assert text_alone.min() > 1.0, "from text alone the answer is wrong"

# %% tags=["remove-cell"]
glue("text_alone", f"{text_alone.mean():.1f}", display=False)

# %% [markdown]
# Trained on the joint ELBO with the oracle's decoders, a model may end at either set of experts: both are global optima.
# From the second, text alone is answered {glue:text}`text_alone` nats per example off.
# Move votes gradually, here from smell to image, and the joint bound does not react, while the unimodal bounds do:

# %% tags=["remove-input"] mystnb={"image": {"alt": "Nats lost per example against the amount of vote moved from smell to image: the curves for image alone and for smell alone rise steeply on both sides of zero, the one for all five modalities stays flat at zero."}}
shifts = torch.linspace(-2.5, 2.5, 61)
direction = torch.tensor([1.0, 0.0, 0.0, 0.0, -1.0])[:, None, None]


def lost_after(moved_votes):
    moved_loc = (vote + moved_votes * direction) / precision
    return gaps(*product(moved_loc, likelihood_scale, membership, prior_exponent=1.0)).mean(1)


path = torch.stack([lost_after(t) for t in shifts])
fig, ax = plt.subplots()
ends = {}
for name, label, color in (
    (("image",), "image alone", "C1"),
    (("smell",), "smell alone", "C2"),
    (oracle.modalities, "all five", "C0"),
):
    curve = path[:, names.index(name)]
    ax.plot(shifts, curve, color=color, clip_on=False)
    ends[label] = (float(shifts[-1]), float(curve[-1]), color)
ax.set(
    xlabel="vote moved from smell to image",
    ylabel="nats lost per example",
    ylim=(-0.1, None),
    title="The joint bound does not feel what ruins the unimodal answers",
)
plots.label_ends(ax, ends)
plt.show()

# %% [markdown]
# The unimodal terms of {eq}`eq-subsampled` remove this freedom.
# On the oracle they remove it entirely: once every singleton is exact with $a=1$, each expert is the likelihood expert, and the products of *all* subsets are exact.
# With a neural decoder $p(x_m\mid z)$ is not Gaussian in $z$, and Gaussian experts that are good for singletons need not be good for pairs: the $k$ drawn subsets are there to train what lies between.

# %% [markdown]
# ## What the sum is a bound on
#
# Each $\ELBO_S$ is a bound on the evidence of its own subset, so
#
# $$
# \mathcal L_{\mathcal F}(x) \;\le\; \sum_{S\in\mathcal F}\log p(x_S),
# $$
#
# with equality when every $q_S$ is exact.
# The right side is not $\log p(x)$, and it is not on one side of it either.
# The sum counts each dimension of $x_m$ once for every subset that holds it, so measuring the data in other units moves the two sides by different amounts.


# %%
def in_units(unit):
    """The same model and the same data, every observation measured in the given unit."""
    loadings = {m: w / unit for m, w in oracle.loadings.items()}
    noise = {m: s / unit for m, s in oracle.noise.items()}
    return LinearGaussian(loadings, noise), {m: x / unit for m, x in batch.items()}


surplus = {}
for unit in (1.0, 100.0):
    model_in_units, data = in_units(unit)
    total = sum(model_in_units.log_evidence(data, subset) for subset in family)
    surplus[unit] = total - model_in_units.log_evidence(data)

assert surplus[1.0].max() < 0, "in this unit the sum is below the joint evidence, always"
assert surplus[100.0].min() > 0, "and in this one above it, for the same data"

# %% tags=["remove-cell"]
glue("surplus_small", f"{-surplus[1.0].mean():.1f}", display=False)
glue("surplus_large", f"{surplus[100.0].mean():.1f}", display=False)

# %% [markdown]
# With exact inference throughout, the sum is on average {glue:text}`surplus_small` nats *below* the joint evidence in one unit and {glue:text}`surplus_large` nats *above* it in a unit a hundred times as large, metres for centimetres, for the same model of the same data.
# So its value alone says nothing about $\log p(x)$.
# As an objective for the posteriors it is sound, since each term is largest at its own exact posterior.
# For the decoders it is a choice: it rewards the fit of each marginal as well as the fit of the whole.
# {cite:t}`sutter2021` count the lost bound, for which they cite {cite:t}`wu2019`, among MVAE's defects, and replace the sum by a mixture: {doc}`/chapters/aggregation/mopoe`.

# %% [markdown]
# ## What is left out when a modality is missing
#
# {eq}`eq-subsampled` never asks for a translation.
# The term of $S$ scores its own members only, so no term tells whether a latent drawn from the text alone explains the image.
# The image decoder meets such latents at test time for the first time.
#
# And it does not treat incomplete examples evenly.
# When an example lacks a modality, we keep of each subset what was observed, and a subset left empty contributes nothing.
# An example with a single observed modality counts the ELBO of that modality twice, as singleton and as full set, where an example with all five counts six different ones.

# %%
only_text = torch.tensor([False, False, True, False, False])[:, None].expand(5, 256)
unread = torch.where(only_text[..., None], likelihood_loc, torch.nan)  # and it is never read
q = model.aggregator(unread, likelihood_scale, only_text)
full, text = 0, 3  # rows of the family: the full set comes first, then the singletons

assert torch.equal(q.members[full], only_text)  # the full set shrinks to what was observed
assert torch.equal(q.loc[full], q.loc[text])  # and is the singleton again
bound = model.objective(q, oracle.log_likelihood({"text": batch["text"]}), generator)
assert (bound.reconstruction[[0, 1, 3, 4]] == 0).all(), "the other decoders are not asked"
torch.testing.assert_close(bound.rate, 2 * gaussians.kl_to_prior(q.loc[text], q.scale[text]))

# %% [markdown]
# ## Conventions
#
# | MVAE | paper {cite:p}`wu2018` | official code | MultiVae 1.0.3 | here |
# |---|---|---|---|---|
# | likelihood scale | not known to us | Bernoulli pixels; on MNIST the label's term counts ten times | set by the user, with optional factors per modality | a property of the likelihood; factors are an argument of `elbo` |
# | reduction | sum over subsets, else not known to us | sum over dimensions and subsets, mean over the batch | sum over dimensions and subsets, mean over the batch | sum over dimensions and subsets, per example; the caller averages |
# | prior expert | in every product | in every product | in every product | in every product, `prior_expert=True` |
# | $\beta$ | not known to us | ramps up to one, over 200 epochs on MNIST | ramps up, over 10 epochs by default | an argument of `elbo`, constant |
# | samples | not known to us | one per subset | one per subset | one per subset |
# | subsets beyond full set and singletons | $k$ at random | not known to us | $k$ at random, 0 by default | `mvae(extra=k)`, 0 by default |
#
# Where a cell says *not known to us*, we had no source at hand that settles it.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-contradicting-experts
# Two experts $\N(-t,1)$ and $\N(t,1)$ contradict each other more as $t$ grows.
# What does their product with a prior expert say about it?
# ::::
#
# ::::{solution} ex-contradicting-experts
# :class: dropdown
# Nothing: the votes cancel, the precision is $3$ for every $t$, and the product stays $\N(0,1/3)$.
# The variance of a product of Gaussians does not depend on the means, so disagreement never shows in it.
# It is kept only in the normalising constant, which {eq}`eq-product` throws away.
# ::::

# %% tags=["hide-input", "remove-output"]
for t in (0.0, 1.0, 10.0):
    loc = torch.tensor([-t, t])[:, None, None]
    pooled_loc, pooled_scale = product(
        loc, torch.ones(2, 1, 1), torch.ones(1, 2), prior_exponent=1.0
    )
    torch.testing.assert_close(pooled_loc, torch.zeros(1, 1, 1))
    torch.testing.assert_close(pooled_scale.square(), torch.full((1, 1, 1), 1 / 3))

# %% [markdown]
# ::::{exercise}
# :label: ex-half-the-sum
# Take $k=0$ and give each modality its due: divide the sum by two, so that every dimension counts once.
# Is $\tfrac12\mathcal L_{\mathcal F}$ a bound on $\log p(x)$?
# ::::
#
# ::::{solution} ex-half-the-sum
# :class: dropdown
# On average over data from the model it is, for a single example it is not.
# With exact posteriors it equals $\log p(x)-\tfrac12\log\frac{p(x)}{\prod_m p(x_m)}$.
# Units cancel in the ratio, whose expected logarithm is the total correlation of the modalities, a divergence and so never negative.
# But for an $x$ whose modalities fit together worse than chance the logarithm is negative, and half the sum exceeds the joint evidence.
# ::::

# %% tags=["hide-input", "remove-output"]
joint = oracle.log_evidence(batch)
half = 0.5 * sum(oracle.log_evidence(batch, subset) for subset in family)
standard_error = (joint - half).std() / 256**0.5
assert (joint - half).mean() > 4 * standard_error
assert (half > joint).any()
model_in_units, data = in_units(100.0)
half_in_units = 0.5 * sum(model_in_units.log_evidence(data, subset) for subset in family)
torch.testing.assert_close(model_in_units.log_evidence(data) - half_in_units, joint - half)

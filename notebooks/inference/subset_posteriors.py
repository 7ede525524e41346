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
# # Subset posteriors
#
# A posterior for each modality is enough to answer every subset of them, without a network for any subset.
# What makes it so is that modalities are independent given the latent; what it costs is one power of the prior for every member but the first.
# We derive the exponent, check it on the oracle for every subset, and look at the released code, which divides once whatever the subset: right for two members, too sure of itself from three.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
from functools import partial

import matplotlib.pyplot as plt
import torch
from myst_nb import glue

from multielbo import barycenters, gaussians, plots
from multielbo.hmc import hmc
from multielbo.joint_first import SubsetAnswers
from multielbo.oracle import LinearGaussian
from multielbo.profiles import check_profile
from multielbo.publishing.show import show
from multielbo.subset_posteriors import (
    gaussian_subset_posterior,
    prior_exponent,
    subset_log_density,
)
from multielbo.subsets import powerset

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)
chains = {"quick": 2000, "laptop": 8000, "full": 8000}[profile]
RIGHT, ONCE, BARE, PRIOR = map(plots.colour, ("mopoe", "mmvae", "mvae", "log-pool"))

# %% [markdown]
# ## The exponent
#
# {prf:ref}`lem-subset-posterior` found it on the way to products of Gaussians.
# We need it again with two things that did not matter there: nothing is Gaussian, and the constant has a meaning.
#
# ::::{prf:lemma} The exponent of the prior, with its constant
# :label: lem-prior-exponent
#
# Let the modalities be independent given $z$, $p(x_S\mid z)=\prod_{m\in S}p(x_m\mid z)$.
# Then
#
# $$
# p(z\mid x_S)=\frac{\prod_{m\in S}p(x_m)}{p(x_S)}\;p(z)^{1-|S|}\prod_{m\in S}p(z\mid x_m),
# $$
#
# and a model that has only approximations $q(z\mid x_m)$ answers with
#
# $$
# \log\pi_S(z)=(1-|S|)\log p(z)+\sum_{m\in S}\log q(z\mid x_m),
# $$ (eq-subset-posterior)
#
# a log-density up to a number that depends on $x_S$ alone, if it can be normalised ({prf:ref}`lem-product-exists`).
# ::::
#
# :::{prf:proof}
# Bayes' rule twice, first for the subset and then for each member:
# $p(z\mid x_S)=\frac{p(z)}{p(x_S)}\prod_{m\in S}p(x_m\mid z)$ and $p(x_m\mid z)=\frac{p(z\mid x_m)\,p(x_m)}{p(z)}$.
# The prior comes in once and goes out $|S|$ times.
# :::
#
# With exact posteriors the logarithm of the product's integral is $\log p(x_S)-\sum_m\log p(x_m)$: how much likelier the members are together than apart.

# %% tags=["remove-input"]
show(prior_exponent, subset_log_density)

# %% [markdown]
# **Check.** On the oracle $p(z\mid x_S)$ is known for every subset.
# The two log-densities differ by the number that the lemma names, and by nothing that varies with $z$.

# %%
names = ["a", "b", "c", "d"]
noise = {"a": 0.8, "b": 1.2, "c": 2.0, "d": 0.6}
oracle = LinearGaussian.random(dict.fromkeys(names, 4), 3, noise, generator=generator)
batch = oracle.sample(6, generator)
loc, scale = oracle.unimodal_posteriors(batch)
z = 2 * torch.randn(50, 6, 3, generator=generator)


def exact(members):
    mean, covariance = oracle.posterior(batch, [names[m] for m in members])
    return torch.distributions.MultivariateNormal(mean, covariance)


def experts(members):
    return [partial(gaussians.log_density, loc=loc[m], scale=scale[m]) for m in members]


subsets = [row.nonzero().flatten().tolist() for row in powerset(4)]
for members in subsets:
    offset = subset_log_density(z, experts(members)) - exact(members).log_prob(z)
    assert (offset.std(0) < 1e-12).all()
    apart = sum(oracle.log_evidence(batch, [names[m]]) for m in members)
    together = oracle.log_evidence(batch, [names[m] for m in members])
    torch.testing.assert_close(offset.mean(0), together - apart)
    once = subset_log_density(z, experts(members), single_division=True)
    varies = (once - exact(members).log_prob(z)).std(0)
    assert (varies < 1e-12).all() if len(members) < 3 else (varies > 0.1).all()

# %% [markdown]
# ## Dividing once, or not at all
#
# MultiVae's JNF subtracts $\log p(z)$ once for every subset of two members or more {cite:p}`senellart2025multivae`.
# Its JMVAE multiplies the unimodal Gaussians and divides by nothing.
# A product of experts with a prior expert, MVAE's, even multiplies the prior in; there the experts are no posteriors but what is left of them, so it is no mistake there, and would be one here.
# For Gaussian posteriors all four are Gaussians with the same experts and another exponent, and a divergence tells how far off each is.

# %% tags=["remove-input"]
show(gaussian_subset_posterior)

# %%
exponents = {
    "right": lambda size: 1 - size,
    "once": lambda size: max(1 - size, -1),
    "none": lambda size: 0,
    "prior expert": lambda size: 1,
}
nats = {name: torch.zeros(4) for name in exponents}
for members in subsets:
    size = len(members)
    share = 1 / sum(len(other) == size for other in subsets)
    mean, covariance = oracle.posterior(batch, [names[m] for m in members])
    width = covariance.diagonal().sqrt().expand_as(mean)
    found = gaussian_subset_posterior(loc[members], scale[members])
    torch.testing.assert_close(found, (mean, width))
    for name, exponent in exponents.items():
        ones = torch.ones(1, size)
        q = barycenters.product(loc[members], scale[members], ones, prior_exponent=exponent(size))
        divergence = gaussians.kl(q[0][0], q[1][0], mean, width).mean()
        nats[name][size - 1] += share * divergence

assert (nats["right"] < 1e-12).all()
assert (nats["once"][:2] < 1e-12).all()
assert (nats["once"][2:] > 0.01).all()
assert (nats["once"] <= nats["none"] + 1e-12).all()
assert (nats["none"][1:] > 0.01).all()

# %% tags=["remove-cell"]
for name, values in nats.items():
    for size, value in enumerate(values.tolist(), 1):
        glue(f"nats_{name}_{size}", f"{abs(value):.3f}", display=False)

# %% [markdown]
# Nats lost on the oracle, $\KL{\pi_S}{p(z\mid x_S)}$, averaged over the subsets of each size:
#
# | members | exponent $1-\lvert S\rvert$ | divided once | not divided | with a prior expert |
# |---|---|---|---|---|
# | 1 | {glue:text}`nats_right_1` | {glue:text}`nats_once_1` | {glue:text}`nats_none_1` | {glue:text}`nats_prior expert_1` |
# | 2 | {glue:text}`nats_right_2` | {glue:text}`nats_once_2` | {glue:text}`nats_none_2` | {glue:text}`nats_prior expert_2` |
# | 3 | {glue:text}`nats_right_3` | {glue:text}`nats_once_3` | {glue:text}`nats_none_3` | {glue:text}`nats_prior expert_3` |
# | 4 | {glue:text}`nats_right_4` | {glue:text}`nats_once_4` | {glue:text}`nats_none_4` | {glue:text}`nats_prior expert_4` |
#
# What goes wrong is **over-counting**: each posterior holds the prior, so a product holds it $|S|$ times, and the same belief, told by several, is taken for several beliefs.
# It shows best where nobody knows anything.
#
# ::::{prf:lemma} Evidence from nothing
# :label: lem-over-counting
#
# Let all members of $S$ be independent of $z$, so that $p(z\mid x_m)=p(z)=\N(0,I)$.
# The exponent $1-|S|$ gives the prior back.
# With a single division the product is, for $|S|\ge2$, $\N(0,I/(|S|-1))$, without any it is $\N(0,I/|S|)$.
# ::::
#
# :::{prf:proof}
# The product is $p(z)^{1-|S|+|S|}$, $p(z)^{|S|-1}$ and $p(z)^{|S|}$, and the $k$-th power of $\N(0,I)$ is proportional to $\N(0,I/k)$.
# :::

# %%
unknowing_loc, unknowing_scale = torch.zeros(5, 1, 1), torch.ones(5, 1, 1)
for size in range(2, 6):
    nothing = unknowing_loc[:size], unknowing_scale[:size]
    torch.testing.assert_close(gaussian_subset_posterior(*nothing)[1], torch.ones(1, 1))
    once = gaussian_subset_posterior(*nothing, single_division=True)[1]
    torch.testing.assert_close(once, torch.full((1, 1), (size - 1) ** -0.5))

# %% tags=["remove-input"] mystnb={"image": {"alt": "Three panels for two, three and five modalities that know nothing: with the right exponent the density stays the prior; with one division and with none it grows narrower with every modality."}}
fig, axes = plt.subplots(1, 3, figsize=(7.6, 2.7), sharex=True, sharey=True)
line = torch.linspace(-3.2, 3.2, 500)
for ax, size in zip(axes, (2, 3, 5), strict=True):
    for exponent, color, style in (
        (-1, ONCE, "-"),
        (0, BARE, "-"),
        (1 - size, RIGHT, "--" if size == 2 else "-"),
    ):
        width = torch.tensor([(size + exponent) ** -0.5])
        height = gaussians.log_density(line[:, None], torch.zeros(1), width).exp()
        ax.plot(line, height, color=color, ls=style)
    ax.set_title(f"{size} modalities", loc="center", fontsize=10, weight="normal")
    ax.set(xlabel="$z$", yticks=[])
axes[2].annotate("exponent\n$1-|S|$", (1.2, 0.2), color=RIGHT)
axes[2].annotate("divided once", (0.75, 0.62), color=ONCE)
axes[2].annotate("not divided", (0.5, 0.84), color=BARE)
fig.suptitle(
    "Modalities that know nothing, and what products make of them",
    weight="bold",
    fontsize=12,
    x=0.01,
    ha="left",
)
plt.show()

# %% [markdown]
# ## No Gaussian is needed
#
# The proof used no normal distribution, and neither does the code: an expert is any function that gives a log-density.
# **Check.** A modality that sees only $z^2$ has a posterior with two humps; by quadrature on a fine line all posteriors are known to many digits.

# %%
z = torch.linspace(-6, 6, 4001)[:, None]
spacing = z[1, 0] - z[0, 0]


def normalised(log_density):
    return log_density - torch.logsumexp(log_density, 0) - spacing.log()


log_likelihoods = [
    -0.5 * ((1.5 - z[:, 0].square()) / 0.6) ** 2,
    -0.5 * ((0.4 - z[:, 0]) / 1.1) ** 2,
    -0.5 * ((0.9 - z[:, 0].abs()) / 0.9) ** 2,
]
unimodal = [normalised(gaussians.log_prior(z) + term) for term in log_likelihoods]
truth = normalised(gaussians.log_prior(z) + sum(log_likelihoods))
given = [lambda _, q=q: q for q in unimodal]
found = normalised(subset_log_density(z, given))
torch.testing.assert_close(found, truth)
single = normalised(subset_log_density(z, given, single_division=True))
assert (single - truth).abs().max() > 0.1

# %% tags=["remove-input"] mystnb={"image": {"alt": "On the left three unimodal posteriors, two of them with two humps; on the right their product with the right exponent, which lies on the true posterior, and with a single division, which lies nearer to zero."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 2.9), sharex=True)
for log_q, shade in zip(unimodal, ("0.35", "0.5", "0.65"), strict=True):
    axes[0].plot(z, log_q.exp(), color=shade)
axes[0].plot(z, gaussians.log_prior(z).exp(), color="0.8", ls="--")
axes[1].fill_between(z[:, 0], truth.exp(), color="0.85", lw=0)
axes[1].plot(z, found.exp(), color=RIGHT)
axes[1].plot(z, single.exp(), color=ONCE)
axes[1].annotate("truth, and exponent $1-|S|$", (-2.9, 0.62), color=RIGHT)
axes[1].annotate("divided once", (1.35, 0.85), color=ONCE)
for ax, label in zip(
    axes, ("posteriors of single modalities", "posterior of all three"), strict=True
):
    ax.set(xlabel="$z$", yticks=[], xlim=(-3, 3))
    ax.set_title(label, loc="center", fontsize=10, weight="normal")
fig.suptitle("The identity holds for any shape", weight="bold", fontsize=12, x=0.01, ha="left")
plt.show()

# %% [markdown]
# ## Drawing from it
#
# With flows behind the experts nobody knows the constant in {eq}`eq-subset-posterior`, and nobody has to: Hamiltonian Monte Carlo uses gradients of $\log\pi_S$ and differences of it, and both forget a constant.
# **Check.** On the oracle the draws have the exact means and widths, within their standard errors, and adding a number to the log-density moves no draw.
# The twin divides once.

# %%
members = [0, 1, 3]
settings = {"step_size": 0.25, "leapfrog_steps": 6, "iterations": 15, "vary": True, "keep": 1}


def draws(shift=0.0, **options):
    def target(z):
        return subset_log_density(z, experts(members), **options) + shift

    source = torch.Generator().manual_seed(seed)
    start = torch.zeros(chains, 6, 3)
    return hmc(target, start, **settings, generator=source).z[-1]


mean, covariance = oracle.posterior(batch, [names[m] for m in members])
width = covariance.diagonal().sqrt()


def off(z):
    """The largest deviation of a mean or a width, in standard errors."""
    of_means = (z.mean(0) - mean) / width * chains**0.5
    of_widths = (z.std(0) / width - 1) * (2 * chains) ** 0.5
    return torch.cat([of_means, of_widths]).abs().max()


z = draws()
torch.testing.assert_close(draws(shift=100.0), z)
assert off(z) < 4.5
assert off(draws(single_division=True)) > 4.5

# %% [markdown]
# In a model the experts are fitted posteriors.
# What it has to know of a picture is the base Gaussian of each modality's posterior, and of all of them together the joint posterior; encoders give them once, and no chain asks them again.
# All modalities are answered by the joint posterior, one by its own posterior, and every other subset in closed form if the posteriors are Gaussian, else by a chain that starts from a member's posterior, drawn through its flow.

# %% tags=["remove-input"]
show(SubsetAnswers.log_density, SubsetAnswers._answer, SubsetAnswers._start)

# %% [markdown]
# ## Where it is no density
#
# A quotient of densities need not have an integral.
#
# ::::{prf:lemma} When the product exists
# :label: lem-product-exists
#
# Gaussian experts with precisions $\lambda_m$ have a normalisable product {eq}`eq-subset-posterior` if and only if $\sum_{m\in S}\lambda_m>|S|-1$ in every dimension.
# Exact posteriors always satisfy it, in a model with a Gaussian likelihood that is linear in $z$.
# ::::
#
# :::{prf:proof}
# The exponent of the product is a quadratic in $z$ with leading coefficient $-\frac12\big(\sum_m\lambda_m+1-|S|\big)$, and its exponential is integrable exactly if that is negative.
# There, an exact posterior's precision is at least that of the prior, $\lambda_m\ge1$, so the sum is at least $|S|$.
# :::
#
# A fitted expert may be wider than the prior, where training has not converged or data are few; three experts of precision $0.6$ are enough.
# Our function for Gaussians says so.
# For flows nobody can say: a chain then walks away, and its draws grow without end.

# %%
wide = torch.full((3, 1, 1), 0.6**-0.5)
refused = ""
try:
    gaussian_subset_posterior(torch.zeros(3, 1, 1), wide)
except ValueError as error:
    refused = str(error)
assert "cannot be normalised" in refused
assert (
    gaussian_subset_posterior(torch.zeros(3, 1, 1), wide, single_division=True)[1].isfinite().all()
)

# %% [markdown]
# Dividing too rarely keeps such products alive, by sharpening what should not be sharp.
#
# ## What it still assumes
#
# The identity holds for exact posteriors.
# {doc}`/chapters/inference/joint_first` shows that fitted ones converge to something else where the joint encoder is not exact: to the average of $q(z\mid x)$ over what else may have been observed.
# Products of these averages need not be the average for the pair.
# On an oracle whose posteriors are tilted and whose joint encoder is diagonal, everything stays Gaussian, and we can see how much is lost.

# %%
tilted = LinearGaussian.random(
    {"a": 3, "b": 3, "c": 3}, 2, 0.9, orthogonal=False, generator=generator
)
zero = {m: torch.zeros(1, 3) for m in tilted.modalities}


def averaged(members):
    """Covariance of the average of a diagonal q(z | x) with the exact mean, given x_S."""
    given_all = tilted.posterior(zero)[1]
    given_some = tilted.posterior(zero, members)[1]
    best_diagonal = torch.diag(1 / torch.linalg.inv(given_all).diagonal())
    return given_some - given_all + best_diagonal


def kl_centred(c, d):
    """KL between Gaussians of mean zero."""
    return 0.5 * (torch.linalg.solve(d, c).trace() - len(c) + torch.logdet(d) - torch.logdet(c))


pair = ["a", "b"]
product = torch.linalg.inv(sum(torch.linalg.inv(averaged([m])) for m in pair) - torch.eye(2))
product_of_exact = torch.linalg.inv(
    sum(torch.linalg.inv(tilted.posterior(zero, [m])[1]) for m in pair) - torch.eye(2)
)
truth = tilted.posterior(zero, pair)[1]
torch.testing.assert_close(product_of_exact, truth)
lost = kl_centred(product, truth)
lost_average = kl_centred(averaged(pair), truth)
assert lost > 1e-4
assert lost_average > 1e-4

# %% tags=["remove-cell"]
glue("lost", f"{lost:.3f}", display=False)
glue("lost_average", f"{lost_average:.3f}", display=False)

# %% [markdown]
# By covariances alone (the product's mean is off as well), the product of the averages misses the exact posterior of the pair by {glue:text}`lost` nats, the average for the pair itself by {glue:text}`lost_average`.

# %% [markdown]
# ## Paper, released code, here
#
# | | paper {cite:p}`senellart2025` | released code {cite:p}`senellart2025multivae` | here |
# |---|---|---|---|
# | **what we have read** | abstract and secondary sources | MultiVae 1.0.3 | |
# | **formula** | a product of experts sampled by Hamiltonian Monte Carlo; its printed form is not known to us | prior divided out once | exponent $1-\lvert S\rvert$, {eq}`eq-subset-posterior`; once as an option |
# | **one member** | not known to us | the flow itself | the same |
# | **all members** | not known to us | the joint encoder | the same |
# | **start of a chain** | not known to us | a member's base Gaussian, without its flow | a member's posterior, through its flow |
# | **JMVAE's subsets** | two modalities only {cite:p}`suzuki2016` | product of Gaussians, not divided | exponent $1-\lvert S\rvert$ |

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-merge-subsets
# Let $S$ and $T$ be disjoint. Show that $p(z\mid x_{S\cup T})\propto p(z\mid x_S)\,p(z\mid x_T)/p(z)$, and derive the exponent $1-|S|$ by adding one modality at a time.
# ::::
#
# ::::{solution} ex-merge-subsets
# :class: dropdown
# Given $z$, the groups $x_S$ and $x_T$ are independent, so the proof applies to two modalities named $x_S$ and $x_T$.
# Each modality that joins brings its posterior and takes one $p(z)$ away; the first brings its posterior alone.
# ::::

# %% tags=["hide-input", "remove-output"]
z = torch.randn(40, 6, 3, generator=generator)
left, right = subset_log_density(z, experts([0, 2])), subset_log_density(z, experts([1, 3]))
merged = left + right - gaussians.log_prior(z)
torch.testing.assert_close(merged, subset_log_density(z, experts([0, 1, 2, 3])))

# %% [markdown]
# ::::{exercise}
# :label: ex-shared-noise
# Two modalities share their noise, $x_2=x_1$.
# What is $p(z\mid x_1,x_2)$, what does {eq}`eq-subset-posterior` give, and which assumption is broken?
# ::::
#
# ::::{solution} ex-shared-noise
# :class: dropdown
# The second observation adds nothing, so the posterior is $p(z\mid x_1)$, and the product counts the one observation twice: precision $2\lambda-1$ instead of $\lambda$.
# Given $z$ the two are not independent.
# ::::

# %% tags=["hide-input", "remove-output"]
twice = torch.full((2, 1, 1), 0.5)
_, counted = gaussian_subset_posterior(torch.zeros(2, 1, 1), twice)
torch.testing.assert_close(counted, torch.full((1, 1), (2 * 4.0 - 1) ** -0.5))
assert counted < 0.5

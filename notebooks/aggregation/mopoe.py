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
# # MoPoE: a mixture, over all subsets, of products
#
# MVAE trusts the product of all experts and has to be taught what to do without some of them.
# MMVAE trusts each expert alone and never learns to add two of them up.
# MoPoE {cite:p}`sutter2021` takes the product within every subset, and a mixture over the subsets, so that whatever happens to be observed at test time was trained.
# The paper supports it by three lemmas.
# We prove all three, hold each against exact numbers, and find that the third one's proof and its wording belong to two different objectives, of which the released code optimises the cheaper.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import math
import time
from statistics import median

import matplotlib.pyplot as plt
import torch
from myst_nb import glue

from multielbo import barycenters, gaussians, objectives, plots, subsets
from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.mixtures import Posteriors
from multielbo.models.mmvae import mmvae_averaged
from multielbo.models.mopoe import mopoe
from multielbo.models.registry import build
from multielbo.objectives import joint_elbo, mixture_elbo, powerset_elbo, stratified_elbo
from multielbo.oracle import LinearGaussian
from multielbo.profiles import check_profile
from multielbo.publishing.show import show
from multielbo.vae import convolutional_vae

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)
samples = {"quick": 40_000, "laptop": 200_000, "full": 1_000_000}[profile]

# %% [markdown]
# ## The definition
#
# Let the family of subsets be
#
# $$
# \mathcal P=\{S:\ \emptyset\ne S\subseteq\{1,\dots,M\}\}, \qquad K=|\mathcal P|=2^M-1 ,
# $$ (eq-powerset)
#
# kept as a matrix with a row for each subset and a column for each modality.

# %% tags=["remove-input"]
show(subsets.powerset)

# %%
family = subsets.powerset(5)
assert family.shape == (2**5 - 1, 5)
assert len(family.unique(dim=0)) == 31, "no subset may come twice"
assert family.any(1).all(), "the empty subset has nothing to pool"
assert family[-1].all(), "the full set comes last"

# %% [markdown]
# ::::{prf:definition} MoPoE; Definition 1 of {cite:t}`sutter2021`
# :label: def-mopoe
#
# From unimodal posteriors $q_m(z)=q(z\mid x_m)$ build, for every $S\in\mathcal P$, the product
#
# $$
# q_S(z)\propto\prod_{m\in S} q_m(z) ,
# \qquad\text{and}\qquad
# \bar q(z)=\sum_{S\in\mathcal P} w_S\,q_S(z) ,
# \qquad w_S=\tfrac1K .
# $$
#
# The objective is the ELBO of the mixture $\bar q$ on the evidence of *all* modalities,
#
# $$
# \ELBO(\bar q)=\E_{\bar q}\Big[\sum_{m=1}^M\log p(x_m\mid z)\Big]-\KL{\bar q}{p} .
# $$
# ::::
#
# Note what is reconstructed: every subset's latents have to explain all $M$ modalities, also those that the subset has not seen.

# %% [markdown]
# ## Two older models, one argument away
#
# Nothing in the definition needs the family to be the whole power set.
# With the full set alone it is a product of experts under the joint ELBO, and with the singletons alone a mixture of experts.
# In code that is literally one argument.


# %%
def mixture_of_products(family):
    return Aggregator(product_of_experts(prior_expert=False), family=family)


modalities = dict.fromkeys(("image", "sound", "text", "depth", "touch"), 2)
oracle = LinearGaussian.random(modalities, latent_dim=1, noise=1.4, generator=generator)
batch = oracle.sample(48, generator)
loc, scale = oracle.unimodal_posteriors(batch)  # the exact p(z | x_m) play the encoders
log_likelihood = oracle.log_likelihood(batch)


def bound(q, objective):
    return objective(q, log_likelihood, torch.Generator().manual_seed(1)).elbo()


all_of_them = mixture_of_products(subsets.full_set)(loc, scale)
each_alone = mixture_of_products(subsets.singletons)(loc, scale)
q = mixture_of_products(subsets.powerset)(loc, scale)

assert torch.equal(bound(all_of_them, mixture_elbo), bound(all_of_them, joint_elbo))
for objective, model in [(mixture_elbo, mmvae_averaged()), (stratified_elbo, build("mmvae"))]:
    theirs = bound(model.aggregator(loc, scale), model.objective)
    assert torch.equal(bound(each_alone, objective), theirs)
assert not torch.allclose(bound(q, mixture_elbo), bound(each_alone, mixture_elbo))

# %% [markdown]
# Equal to the last bit, with the same random numbers.
# Two honest footnotes belong to this.
# The MVAE that is a special case here is the one of the paper's comparison, a product under its joint ELBO; the sub-sampled sum and the prior expert of {cite:t}`wu2018`, in {doc}`/chapters/aggregation/product_of_experts`, are something else.
# And of the two MMVAE objectives above, {cite:t}`shi2019` use the second, with the density of the mixture.

# %% [markdown]
# ## Lemma 1: averaged bounds miss by averaged divergences
#
# ::::{prf:lemma} Lemma 1 of {cite:t}`sutter2021`
# :label: lem-mopoe-1
#
# For any densities $q_S$ and weights $w_S$ that sum to one,
#
# $$
# \log p(x)=\sum_S w_S\,\ELBO(q_S)+\sum_S w_S\,\KL{q_S}{p(z\mid x)} .
# $$
# ::::
#
# :::{prf:proof}
# {prf:ref}`lem-elbo-gap` holds for every $q_S$: $\log p(x)=\ELBO(q_S)+\KL{q_S}{p(z\mid x)}$.
# Multiply by $w_S$ and add up; the left side does not depend on $S$, and the weights sum to one.
# :::
#
# It follows that $\sum_S w_S\,\ELBO(q_S)\le\log p(x)$, and that at fixed decoders *maximising this sum over the encoders is the same as minimising the convex combination of divergences*, the paper's equation 5.
# Keep the second half in mind.
#
# **Check.** The oracle knows every term in closed form.

# %%
covariance = torch.diag_embed(q.scale.square())
elbos = torch.stack([oracle.elbo(batch, q.loc[k], covariance[k]) for k in range(31)])  # (K, B)
gaps = torch.stack([oracle.gap(batch, q.loc[k], covariance[k]) for k in range(31)])
evidence = oracle.log_evidence(batch)

powerset_bound = (q.weights * elbos).sum(0)
convex_combination = (q.weights * gaps).sum(0)
torch.testing.assert_close(powerset_bound + convex_combination, evidence)

names = [[n for n, seen in zip(oracle.modalities, row, strict=True) if seen] for row in family]
own = torch.stack([oracle.elbo(batch, q.loc[k], covariance[k], names[k]) for k in range(31)])
assert ((q.weights * own).sum(0) > evidence).all(), "each subset must score all modalities"

# %% [markdown]
# The wrong twin is the tempting one: if each subset reconstructs only what it has seen, as in MVAE, each term bounds a different evidence, and the average need not lie below $\log p(x)$: here it lies above it for every example.

# %% [markdown]
# ## Lemma 2: the mixture's objective is a bound
#
# ::::{prf:lemma} Lemma 2 of {cite:t}`sutter2021`
# :label: lem-mopoe-2
#
# $\ELBO(\bar q)\le\log p(x)$, with gap $\KL{\bar q}{p(z\mid x)}$.
# ::::
#
# :::{prf:proof}
# Each $q_S$ is a density: it is non-negative and normalised.
# So $\bar q$ is non-negative and $\int\bar q=\sum_S w_S=1$.
# {prf:ref}`lem-elbo-gap` asks for nothing else.
# :::
#
# The proof is one line because the work is hidden in the word *normalised*.
#
# **Check.** Our oracle has a single latent dimension, so an integral over $z$ is a sum over a fine grid, exact to machine precision for these smooth densities.

# %%
grid = torch.linspace(-9.0, 9.0, 901)[:, None, None].expand(-1, 48, 1)  # (grid, B, D)
dz = grid[1, 0, 0] - grid[0, 0, 0]


def integrate(values):
    return values.sum(0) * dz


mean, exact_covariance = oracle.posterior(batch)
deviation = exact_covariance.diagonal().sqrt().expand_as(mean)
log_posterior = gaussians.log_density(grid, mean, deviation)
log_joint = gaussians.log_prior(grid) + log_likelihood(grid).sum(0)
log_mixture = q.log_density(grid)

mixture_bound = integrate(log_mixture.exp() * (log_joint - log_mixture))
mixture_gap = integrate(log_mixture.exp() * (log_mixture - log_posterior))
torch.testing.assert_close(mixture_bound + mixture_gap, evidence)
assert mixture_gap.min() > 0.01

unimodal = gaussians.log_density(grid[:, None], loc, scale)  # (grid, M, B)
unnormalised = torch.logsumexp(family.double() @ unimodal, 1) - math.log(31)
false_bound = integrate(log_mixture.exp() * (log_joint - unnormalised))
assert (false_bound > evidence).any(), "without normalising the products it is no bound"

# %% [markdown]
# ## Lemma 3: what it proves, and what it says
#
# ::::{prf:lemma} Lemma 3 of {cite:t}`sutter2021`, the inequality
# :label: lem-mopoe-3
#
# With $\mathrm{JSD}=\sum_S w_S\,\KL{q_S}{\bar q}$,
#
# $$
# \ELBO(\bar q)=\sum_S w_S\,\ELBO(q_S)+\mathrm{JSD},
# \qquad
# 0\le\mathrm{JSD}\le-\sum_S w_S\log w_S=\log K .
# $$
# ::::
#
# :::{prf:proof}
# Expectations under $\bar q$ are averages of expectations under the $q_S$, so the two bounds have the same reconstruction and differ in their rates, $\KL{\bar q}{p}$ against $\sum_S w_S\KL{q_S}{p}$.
# By the compensation identity, {prf:ref}`lem-compensation`, the second exceeds the first by the Jensen–Shannon divergence.
# That is a sum of divergences, hence non-negative.
# And $\bar q\ge w_S\,q_S$ at every $z$ gives $\KL{q_S}{\bar q}\le-\log w_S$.
# :::
#
# The paper obtains the inequality from Jensen's.
# The function $u\log u$ is convex, so at each single $z$
#
# $$
# \bar q(z)\log\bar q(z)\;\le\;\sum_S w_S\,q_S(z)\log q_S(z) ,
# $$
#
# and integrating over $z$ gives $\E_{\bar q}\log\bar q\le\sum_S w_S\E_{q_S}\log q_S$: what the mixture pays is not more than what its components pay.
# The compensation identity says in addition what the difference is.
#
# **Check.** On the grid the inequality holds point by point, the two bounds differ by the divergence, and every term of it stays below $\log K$.

# %%
log_components = gaussians.log_density(grid[:, None], q.loc, q.scale)  # (grid, K, B)
divergences = integrate(log_components.exp() * (log_components - log_mixture[:, None]))  # (K, B)
jensen_shannon = (q.weights * divergences).sum(0)

convex = (q.weights * log_components.exp() * log_components).sum(1)  # (grid, B)
assert (log_mixture.exp() * log_mixture <= convex + 1e-15).all()
swapped = (q.weights * log_components).sum(1)  # for logarithms it is the other way round
assert (log_mixture >= swapped - 1e-12).all()

torch.testing.assert_close(mixture_bound, powerset_bound + jensen_shannon)
assert jensen_shannon.min() > 0
assert jensen_shannon.max() < math.log(31)
assert (divergences <= math.log(31) + 1e-12).all(), "each term obeys the bound by itself"
assert divergences.max() > math.log(5), "log M, the number of modalities, would not do"

# %% [markdown]
# The published lemma reads: *maximising* the MoPoE objective *minimises* the convex combination of divergences.
# Its proof shows the inequality.
# From "the objective lies above another one" it does not follow that the two have the same maximiser, and they do not.
#
# The shortest counterexample has two components.
# Cut the exact posterior at its mean, and let $q_1$ be its left half and $q_2$ its right half, each normalised.

# %%
centred = torch.linspace(-8.0, 8.0, 1600)  # symmetric, and without the point zero
step = centred[1] - centred[0]
posterior = gaussians.log_density(centred[:, None], torch.zeros(1), torch.ones(1)).exp()
halves = torch.stack([2 * posterior * (centred < 0), 2 * posterior * (centred > 0)])
mixed = halves.mean(0)

gap_of_mixture = (mixed * (mixed / posterior).log()).sum() * step
average_gap = torch.special.xlogy(halves, halves / posterior).sum(1).mean() * step
torch.testing.assert_close(gap_of_mixture, torch.tensor(0.0), atol=1e-12, rtol=0)
torch.testing.assert_close(average_gap, torch.tensor(math.log(2)))

# %% [markdown]
# The mixture *is* the posterior, so Definition 1 is at its maximum; the convex combination is $\log 2$, although both components could have been the posterior itself and made it zero.
# With MoPoE's own family the same happens, only less drastically.
# We multiply all experts' standard deviations by one factor and look where each bound peaks.

# %%
factors = torch.linspace(0.3, 1.6, 66)
low, high = [], []
for factor in factors:
    scaled = mixture_of_products(subsets.powerset)(loc, factor * scale)
    blur = torch.diag_embed(scaled.scale.square())
    own_gaps = torch.stack([oracle.gap(batch, scaled.loc[k], blur[k]) for k in range(31)])
    low.append((evidence - (scaled.weights * own_gaps).sum(0)).mean())
    log_scaled = scaled.log_density(grid)
    high.append((evidence - integrate(log_scaled.exp() * (log_scaled - log_posterior))).mean())
low, high = torch.stack(low), torch.stack(high)

peak_low, peak_high = int(low.argmax()), int(high.argmax())
assert ((high - low) > 0).all()
assert ((high - low) < math.log(31)).all()
assert peak_high < peak_low, "the mixture prefers sharper, more different components"
assert low[peak_low] - low[peak_high] > 0.005

# %% tags=["remove-cell"]
glue("jsd_mean", f"{jensen_shannon.mean():.2f}", display=False)
glue("log_subsets", f"{math.log(31):.2f}", display=False)
glue("peak_low", f"{factors[peak_low]:.2f}", display=False)
glue("peak_high", f"{factors[peak_high]:.2f}", display=False)
glue("lost_at_peak", f"{low[peak_low] - low[peak_high]:.3f}", display=False)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Nats per example against a factor on the experts' widths: the mixture's bound lies above the average of the subsets' bounds, both lie below the dotted evidence, and their peaks, marked by dots and dashed lines, are at different factors."}}
fig, ax = plt.subplots(figsize=(6.4, 3.6))
top, bottom = plots.colour("mmvae"), plots.colour("mopoe")
ax.axhline(evidence.mean(), color="0.3", lw=1, ls=":")
ax.fill_between(factors, low, high, color="0.5", alpha=0.13, lw=0)
for curve, peak, color in [(high, peak_high, top), (low, peak_low, bottom)]:
    ax.plot(factors, curve, color=color)
    ax.plot(factors[peak], curve[peak], "o", ms=6, color=color)
    ax.vlines(factors[peak], low.min() - 1, curve[peak], color=color, lw=0.8, ls="--")
ax.set(
    xlim=(0.3, 1.6),
    ylim=(float(low.min()) - 0.12, float(evidence.mean()) + 0.2),
    xlabel="standard deviation of the experts / that of the exact $p(z|x_m)$",
    ylabel="nats per example",
    title="One bound lies above the other, and peaks elsewhere",
)
ax.annotate(
    "evidence",
    (1.6, evidence.mean()),
    xytext=(-2, 4),
    textcoords="offset points",
    ha="right",
    color="0.3",
)
ax.annotate(
    r"$\mathrm{ELBO}(\bar q)$",
    (factors[34], high[34]),
    xytext=(8, 6),
    textcoords="offset points",
    color=top,
)
ax.annotate(
    r"$\sum_S w_S\,\mathrm{ELBO}(q_S)$",
    (factors[30], low[30]),
    xytext=(-2, -26),
    textcoords="offset points",
    color=bottom,
)
ax.annotate("JSD", (factors[5], (low[5] + high[5]) / 2), color="0.35", ha="center", va="center")
plt.show()

# %% [markdown]
# At the exact unimodal posteriors, factor one, the two bounds are {glue:text}`jsd_mean` nats apart, of at most $\log K=$ {glue:text}`log_subsets`.
# The average of the bounds peaks at factor {glue:text}`peak_low`, the mixture's own bound at {glue:text}`peak_high`; going there costs the convex combination {glue:text}`lost_at_peak` nats.
# Maximising $\ELBO(\bar q)$ minimises the convex combination *minus* JSD: it rewards components for disagreeing.

# %% [markdown]
# ## What is optimised: one sample, averaged divergences
#
# The divergence of a mixture has no closed form.
# The released code replaces it by the average over components, which has one, and draws a single latent per example:
#
# $$
# \mathcal L_{\mathrm{MoPoE}}=\sum_{m=1}^M\log p(x_m\mid z)-\sum_S w_S\,\KL{q_S}{p},
# \qquad z\sim\bar q .
# $$ (eq-mopoe)
#
# The paper's equation 5 as an objective, which its appendix calls computationally much more expensive, draws one latent per subset:
#
# $$
# \mathcal L_{\mathcal P}=\sum_S w_S\Big[\sum_{m=1}^M\log p(x_m\mid z_S)-\KL{q_S}{p}\Big],
# \qquad z_S\sim q_S .
# $$ (eq-powerset-elbo)

# %% tags=["remove-input"]
show(objectives.mixture_elbo, objectives.powerset_elbo)

# %% [markdown]
# ::::{prf:lemma} One sample or K
# :label: lem-one-sample
#
# Write $\mu_S$ and $v_S$ for the mean and the variance of $\sum_m\log p(x_m\mid z)$ under $q_S$.
# Both estimators have the expectation $\sum_S w_S\,\ELBO(q_S)$, and
#
# $$
# \operatorname{Var}\mathcal L_{\mathrm{MoPoE}}=\sum_S w_S\,v_S+\sum_S w_S(\mu_S-\bar\mu)^2,
# \qquad
# \operatorname{Var}\mathcal L_{\mathcal P}=\sum_S w_S^2\,v_S ,
# \qquad \bar\mu=\sum_S w_S\,\mu_S .
# $$
# ::::
#
# :::{prf:proof}
# The rates are equal and not random.
# Drawing $z\sim\bar q$ is drawing $S$ with probability $w_S$ and then $z\sim q_S$, so $\E_{\bar q}[\,\cdot\,]=\sum_S w_S\E_{q_S}[\,\cdot\,]$, and the first variance is the law of total variance over $S$.
# In the second the $z_S$ are independent.
# :::
#
# So {eq}`eq-mopoe` and {eq}`eq-powerset-elbo` are *the same objective* with two estimators.
# It is the averaged bound of {prf:ref}`lem-mopoe-1`, and with it in place of $\ELBO(\bar q)$ the wording of Lemma 3 is true: maximising it minimises the convex combination.
# The tighter bound that the proof of Lemma 3 is about is a third function, our `stratified_elbo` over the power set, {eq}`eq-stratified`, and it decodes $K$ samples as well.
#
# **Check.** Means and variances of one example by integration, against the estimators' samples.

# %%
example = int(jensen_shannon.argsort()[40])  # one whose subsets disagree
one = {name: x[example].expand(samples, -1) for name, x in batch.items()}
repeated = Posteriors(
    q.loc[:, example, None].expand(31, samples, 1),
    q.scale[:, example, None].expand(31, samples, 1),
    q.weights[:, example, None].expand(31, samples),
    q.members[..., example, None].expand(31, 5, samples),
)

log_lik = log_likelihood(grid).sum(0)[:, None]
means = integrate(log_components.exp() * log_lik)[:, example]
variances = integrate(log_components.exp() * log_lik**2)[:, example] - means**2
between = means.var(correction=0)
expected = {"one sample": variances.mean() + between, "one per subset": variances.mean() / 31}
estimators = {
    "one sample": (mixture_elbo, powerset_bound),
    "one per subset": (powerset_elbo, powerset_bound),
    "mixture density": (stratified_elbo, mixture_bound),
}
estimates = {}
for name, (objective, exact) in estimators.items():
    estimates[name] = objective(repeated, oracle.log_likelihood(one), generator).elbo()
    standard_error = estimates[name].std() / samples**0.5
    assert abs(estimates[name].mean() - exact[example]) < 4 * standard_error
for name, variance in expected.items():
    squares = (estimates[name] - estimates[name].mean()).square()
    assert abs(squares.mean() - variance) < 4 * squares.std() / samples**0.5

standard_error = estimates["one per subset"].std() / samples**0.5
distance = abs(estimates["one per subset"].mean() - mixture_bound[example])
assert distance > 20 * standard_error, "the mixture's own bound is another number"
squares = (estimates["one sample"] - estimates["one sample"].mean()).square()
assert squares.mean() - variances.mean() > 8 * squares.std() / samples**0.5, "between counts"

# %% tags=["remove-cell"]
ratio = expected["one sample"] / expected["one per subset"]
glue("variance_ratio", f"{ratio:.0f}", display=False)
glue("decodes_ratio", f"{len(family)}", display=False)
glue("sd_one", f"{expected['one sample'].sqrt():.2f}", display=False)
glue("sd_all", f"{expected['one per subset'].sqrt():.2f}", display=False)
glue("between_share", f"{100 * between / expected['one sample']:.0f}", display=False)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Two histograms of estimates for one example with the same mean: one sample per example spreads widely, with a long tail to the left, and one sample per subset makes a narrow peak around the mean; the evidence is a dotted line to its right."}}
fig, ax = plt.subplots(figsize=(6.4, 3.2))
centre = float(powerset_bound[example])
width = 4 * float(expected["one sample"].sqrt())
bins = torch.linspace(centre - width, centre + 0.5 * width, 140).numpy()
for name, color, label in [
    ("one sample", plots.colour("mopoe"), "one sample per example"),
    ("one per subset", plots.colour("powerset"), "one sample per subset"),
]:
    height, _ = torch.histogram(estimates[name], torch.as_tensor(bins), density=True)
    ax.stairs(height.numpy(), bins, color=color, fill=True, alpha=0.25)
    ax.stairs(height.numpy(), bins, color=color, lw=1.4, label=label)
ax.axvline(centre, color=plots.INK, lw=1, ls="--")
ax.axvline(evidence[example], color="0.3", lw=1, ls=":")
ax.annotate(
    "evidence",
    (evidence[example], ax.get_ylim()[1]),
    xytext=(4, -12),
    textcoords="offset points",
    color="0.3",
)
ax.legend(loc="upper left", fontsize=9)
ax.set(
    xlabel="estimate for one example, nats",
    ylabel="density of estimates",
    yticks=[],
    title=f"Same mean, {len(family)} times the decodes: one objective, two estimators",
)
plt.show()

# %% [markdown]
# For this example one sample has standard deviation {glue:text}`sd_one` nats and one sample per subset {glue:text}`sd_all`.
# The variance falls by a factor {glue:text}`variance_ratio` for {glue:text}`decodes_ratio` times the decodes: more than the samples alone would bring, because {glue:text}`between_share` percent of the one-sample variance lies between subsets, and visiting each subset once removes that part.
# During training the same decodes could buy more examples instead, which is what the one-sample form does.
# The paper's appendix trains with both and reports similar log-likelihoods; if its runs used the released objective, equal expectations are what one has to expect there.

# %% [markdown]
# ## What the cost is
#
# Eq. 5 is called expensive; how expensive is it?
# What counts are decoder passes, since every sample is decoded into all $M$ modalities, while an encoder reads each modality once.
#
# | objective | samples per example | decoder passes per example |
# |---|---|---|
# | {eq}`eq-mopoe`, as released | $1$ | $M$ |
# | MVAE, {eq}`eq-subsampled` with $k=0$ | $M+1$ | $2M$: each subset decodes its own members |
# | MMVAE, {eq}`eq-stratified` | $M$ | $M^2$ |
# | {eq}`eq-powerset-elbo`, eq. 5 | $2^M-1$ | $M\,(2^M-1)$ |
#
# **Check.** We count the latents that pass through the decoders of the book's convolutional model, for two to five modalities.

# %%
SHAPE, EXAMPLES = (3, 28, 28), 8


def pictures(modalities):
    return {f"m{i}": torch.rand(EXAMPLES, *SHAPE, dtype=torch.float32) for i in range(modalities)}


def vae(name, modalities):
    model = convolutional_vae(
        list(pictures(modalities)), SHAPE, build(name), latent_dim=64, seed=seed
    )
    return model.float()


def passes(name, modalities):
    """Latents decoded in one evaluation of the bound, per example."""
    model, counted = vae(name, modalities), []
    for decoder in model.decoders.values():
        decoder.network.register_forward_pre_hook(
            lambda _, inputs: counted.append(len(inputs[0])),
        )
    with torch.no_grad():
        model.bound(pictures(modalities), generator=generator)
    return sum(counted) / EXAMPLES


for modalities in range(2, 6):
    subsets_of_all = 2**modalities - 1
    assert passes("mopoe", modalities) == modalities
    assert passes("mvae", modalities) == 2 * modalities
    assert passes("mmvae", modalities) == modalities**2
    assert passes("powerset", modalities) == modalities * subsets_of_all

# %% [markdown]
# Passes are exact, time is not.
# The time of a training step also holds the encoders, which cost the same under every objective, and whatever does not grow with the batch.
# We measure it: the processor time of forward and backward pass with one thread, five pictures of $3\times28\times28$, the median of three rounds in which the objectives alternate.


# %%
def seconds_of_step(models, batch, rounds=3):
    """Median CPU seconds of a forward and backward pass by model; the first round warms up."""
    taken = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name, model in models.items():
            start = time.process_time()
            model.bound(batch, generator=generator).elbo().mean().neg().backward()
            taken[name].append(time.process_time() - start)
    return {name: median(seconds[1:]) for name, seconds in taken.items()}


threads = torch.get_num_threads()
torch.set_num_threads(1)
seconds = seconds_of_step({name: vae(name, 5) for name in ("mopoe", "powerset")}, pictures(5))
torch.set_num_threads(threads)
step_ratio = seconds["powerset"] / seconds["mopoe"]
assert 2 < step_ratio < 31, "more than nothing, less than the passes alone"

# %% tags=["remove-cell"]
glue("step_ratio", f"{step_ratio:.0f}", display=False)
glue("step_examples", str(EXAMPLES), display=False)

# %% [markdown]
# With five modalities and {glue:text}`step_examples` examples a step of eq. 5 takes {glue:text}`step_ratio` times as long as one of {eq}`eq-mopoe` where this page was built, for {glue:text}`decodes_ratio` times the passes.
# The ratio of times grows with the batch, towards $(c+\text{passes of eq. 5})/(c+\text{passes of one sample})$ with $c$ the encoders' share; `tests/benchmarks/powerset_step.py` measures it at any batch and number of modalities.

# %% [markdown]
# ## The objective of Shi et al., appendix B.1.1
#
# The paper's comparison with MMVAE leaves out importance samples, and its appendix shows that the objective is then the one of {cite:t}`shi2019`.
#
# ::::{prf:lemma} Two forms of one bound; appendix B.1.1 of {cite:t}`sutter2021`
# :label: lem-shi-equivalence
#
# For the singletons, $\bar q=\frac1M\sum_mq_m$, the objective of {prf:ref}`def-mopoe` is
#
# $$
# \E_{\bar q}\big[\log p(x\mid z)\big]-\KL{\bar q}{p}
# =\frac1M\sum_{m=1}^M\E_{q_m}\Big[\log\frac{p(x,z)}{\bar q(z)}\Big] .
# $$
# ::::
#
# :::{prf:proof}
# Write both terms as one integral:
#
# $$
# \int\bar q(z)\log p(x\mid z)\,\mathrm dz-\int\bar q(z)\log\frac{\bar q(z)}{p(z)}\,\mathrm dz
# =\int\bar q(z)\log\frac{p(x\mid z)\,p(z)}{\bar q(z)}\,\mathrm dz .
# $$
#
# Replace the density *in front* of the logarithm by $\frac1M\sum_mq_m$ and take the sum out of the integral; inside the logarithm it stays $\bar q$.
# Each summand is the expectation under one $q_m$.
# :::
#
# The right side is `stratified_elbo`, {eq}`eq-stratified`.
# It is neither `mixture_elbo` nor `powerset_elbo`, which have $\log q_m$ inside and are lower by the Jensen–Shannon divergence of the experts: so the equivalence holds for the paper's objective, and not for the released one.
#
# **Check.** Both forms by integration, and the estimator; the wrong twin charges each expert under its own density.

# %%
log_singles = gaussians.log_density(grid[:, None], loc, scale)  # (grid, M, B)
log_moe = each_alone.log_density(grid)
reconstruction = integrate(log_moe.exp() * log_likelihood(grid).sum(0))
rate = integrate(log_moe.exp() * (log_moe - gaussians.log_prior(grid)))
by_expert = integrate(log_singles.exp() * (log_joint - log_moe)[:, None]).mean(0)
torch.testing.assert_close(by_expert, reconstruction - rate)

estimates_of_shi = torch.stack(
    [stratified_elbo(each_alone, log_likelihood, generator).elbo() for _ in range(400)]
)
standard_error = estimates_of_shi.std(0) / 400**0.5
assert ((estimates_of_shi.mean(0) - by_expert).abs() < 5 * standard_error).all()

under_own = integrate(log_singles.exp() * (log_joint[:, None] - log_singles)).mean(0)
divergence_of_experts = integrate(log_singles.exp() * (log_singles - log_moe[:, None])).mean(0)
torch.testing.assert_close(by_expert - under_own, divergence_of_experts)
assert (by_expert - under_own).min() > 0.01

# %% [markdown]
# ## How a batch is divided among the subsets
#
# The lemma needs $z\sim\bar q$.
# The released code does not draw the subset: it gives the first $\lfloor B/K\rfloor$ examples of a batch to the first subset, and so on, and all that remain to the last, which is the full set.


# %%
def released_rows(examples, subsets):
    rows = torch.full((subsets,), examples // subsets)
    rows[-1] += examples % subsets
    return rows


def drawn_rows(examples, subsets):
    """How often `Posteriors.sample` chooses each component: the k-th one sits at z = k."""
    at = torch.arange(float(subsets))[:, None, None].expand(-1, examples, 1)
    weights = torch.full((subsets, examples), 1 / subsets)
    members = torch.ones(subsets, 1, examples, dtype=torch.bool)
    z = Posteriors(at, torch.full_like(at, 1e-6), weights, members).sample(generator)
    return z.round().long().flatten().bincount(minlength=subsets)


released, drawn = released_rows(256, 31), drawn_rows(256, 31)
assert released.sum() == drawn.sum() == 256
assert released[:-1].unique().tolist() == [8]
assert released[-1] == 16
assert released_rows(30, 31)[-1] == 30, "a batch smaller than K goes to the full set altogether"
counts = torch.stack([drawn_rows(256, 31) for _ in range(20)])
assert (counts - 256 / 31).abs().max() < 1, "as often as the weight says, up to one"

# %% tags=["remove-cell"]
glue("released_each", f"{released[0]}", display=False)
glue("released_full", f"{released[-1]}", display=False)
glue("drawn_low", f"{counts.min()}", display=False)
glue("drawn_high", f"{counts.max()}", display=False)

# %% [markdown]
# With the batch of 256 of its PolyMNIST script and the {glue:text}`decodes_ratio` subsets of five modalities, each subset gets {glue:text}`released_each` examples and the full set {glue:text}`released_full`: double weight in the reconstruction, single weight in the divergence.
# {ref}`An exercise <ex-remainder>` shows that this is no longer a bound, if only by a little.
# Our `Posteriors.sample` draws systematically: one uniform number shifts a regular grid of $B$ points, every example still chooses with its own weights, and every subset gets {glue:text}`drawn_low` or {glue:text}`drawn_high` of them.
#
# The released code has a second convention that the text of the paper does not mention.
# It adds the prior as an expert to the full set, and to no other subset.
# That is a `product` whose prior exponent differs from row to row:

# %%
in_full_set = family.all(1).double()[:, None, None]
as_released = barycenters.product(loc, scale, family, prior_exponent=in_full_set)
with_prior = mopoe(prior_expert=True).aggregator(loc, scale)

torch.testing.assert_close(as_released[0][:-1], q.loc[:-1])
torch.testing.assert_close(as_released[0][-1], with_prior.loc[-1])
assert (as_released[1][-1] < q.scale[-1]).all(), "the prior expert sharpens the full set"

# %% [markdown]
# ## What no encoder can do under this bound
#
# Every subset has to explain all modalities, and a subset does not know what the others hold.
# How much does that cost at best?
# Suppose data come from the model, and let $T$ be the modalities outside $S$.
#
# ::::{prf:lemma} The floor of a subset
# :label: lem-subset-floor
#
# On the oracle, let $\Sigma_S$ be the posterior covariance given $x_S$, and $\Sigma$ that given all modalities.
# For every encoder $q_S(z\mid x_S)$, of whatever shape,
#
# $$
# \E\,\KL{q_S(z\mid x_S)}{p(z\mid x)}\ \ge\ \tfrac12\tr\big(\Sigma^{-1}\Sigma_S\big)-\tfrac D2 ,
# $$
#
# with equality for $q_S=\N(\E[z\mid x_S],\ \Sigma)$ only.
# ::::
#
# :::{prf:proof}
# Hold $x_S$ fixed.
# The left side is an average, over the $x_T$ that go with it, of reverse divergences to the experts $p(z\mid x_S,x_T)$, so {prf:ref}`lem-reverse-barycenter` applies with $p(x_T\mid x_S)$ for weights and an integral for the sum: the minimiser is their log-pool.
# All these experts are Gaussian with the same covariance $\Sigma$, so the log-pool keeps $\Sigma$ and averages the means $\mu(x)$, and their average given $x_S$ is $\E[z\mid x_S]$.
# Two Gaussians with the same covariance differ by the shift term of {eq}`eq-gaussian-kl` alone, so there the objective is $\frac12\E\,(\mu(x)-\E[z\mid x_S])^\top\Sigma^{-1}(\mu(x)-\E[z\mid x_S])$.
# By the law of total variance the covariance $\Sigma_S$ of $z$ given $x_S$ is $\Sigma$ plus that of $\mu(x)$, so $\mu(x)$ varies around its average with covariance $\Sigma_S-\Sigma$, and $\frac12\tr(\Sigma^{-1}(\Sigma_S-\Sigma))$ is the floor.
# :::
#
# So the average over $S$ of these floors is lost to the powerset sum whatever the encoders do, and by {prf:ref}`lem-mopoe-3` the mixture's own bound can win back at most $\log K$ of it.
# Note also *which* encoder is best: one that is as sure of itself as if it had seen everything.

# %%
many = oracle.sample(samples, generator)
spread = exact_covariance  # Sigma
floors, best, honest, widths = [], [], [], []
for subset in names:
    subset_mean, subset_covariance = oracle.posterior(many, subset)
    floors.append(0.5 * torch.trace(torch.linalg.solve(spread, subset_covariance)) - 0.5)
    best.append(oracle.gap(many, subset_mean, spread))
    honest.append(oracle.gap(many, subset_mean, subset_covariance))
    widths.append(subset_covariance[0])
floors, best, honest, widths = map(torch.stack, (floors, best, honest, widths))

standard_error = best.std(1) / samples**0.5
assert ((best.mean(1) - floors).abs() < 5 * standard_error + 1e-12).all()  # 31 at once
zero = torch.zeros(1)
wider = gaussians.kl(zero, widths.sqrt(), zero, spread.sqrt())  # same mean, other width
torch.testing.assert_close(honest - best, wider[:, None].expand_as(best))
assert (wider[:-1] > 0).all(), "the exact p(z | x_S) is not the best encoder"
assert floors[-1].abs() < 1e-12

# %% tags=["remove-cell"]
glue("floor_mean", f"{floors.mean():.2f}", display=False)
glue("honest_mean", f"{honest.mean():.2f}", display=False)
glue("floor_one", f"{floors[:5].mean():.2f}", display=False)
glue("floor_four", f"{floors[-6:-1].mean():.2f}", display=False)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Nats lost per example against the number of modalities in the subset, a dot for each subset and lines for the averages: the line of the exact subset posteriors lies above the floor of the best encoder, and both fall to zero at five modalities."}}
sizes = family.sum(1)
fig, ax = plt.subplots(figsize=(6.4, 3.4))
for values, color, label, at in [
    (honest.mean(1), "0.45", "exact $p(z|x_S)$", (2.3, 2.0)),
    (floors, plots.colour("mopoe"), "best encoder: the floor", (2.3, 1.55)),
]:
    ax.plot(sizes, values, "o", ms=4, color=color, alpha=0.45, mew=0)
    line = torch.stack([values[sizes == size].mean() for size in range(1, 6)])
    ax.plot(range(1, 6), line, color=color)
    ax.annotate(
        label,
        (1.5, (line[0] + line[1]) / 2),
        xytext=at,
        color=color,
        va="center",
        arrowprops={"arrowstyle": "-", "color": color, "lw": 0.6},
    )
ax.set(
    xticks=range(1, 6),
    ylim=(0, None),
    xlabel="modalities in the subset",
    ylabel="nats per example",
    title="Every subset pays for what it has not seen",
)
plt.show()

# %% [markdown]
# With one modality of five, averaged over which, at least {glue:text}`floor_one` nats per example are lost; with four, {glue:text}`floor_four`.
# Averaged over the power set no encoder gets below {glue:text}`floor_mean` nats, and the exact subset posteriors pay {glue:text}`honest_mean`.
# {cite:t}`daunhawer2022` show that sub-sampling modalities puts an upper bound on the multimodal ELBO of such models; on the oracle, with its decoders given, the limit has a number.

# %% [markdown]
# ## Paper, released code, here
#
# | | paper | released code | here |
# |---|---|---|---|
# | **subsets** | the power set; how it counts the empty set is lost in the text at hand | non-empty | non-empty |
# | **mixture weights** | equal | equal in the divergence; by position in the batch for the samples, the remainder to the full set | equal in both |
# | **divergence** | of the mixture in Definition 1 | average over components | average over components, `mixture_elbo`; the mixture's own is `stratified_elbo` |
# | **latents per example** | lost in the text at hand | one | one; one per subset with `powerset_elbo` |
# | **prior expert** | not mentioned | full set only | `prior_expert`, for all subsets or none; off by default |
# | **likelihood weights** | by the ratio of data dimensions | not known to us | an argument, ones by default |
#
# $\beta$, learning rates and likelihoods are in {doc}`/conventions`.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-remainder
# Let the reconstruction use weights $w'_S$ and the divergence $w_S$, as the released split does.
# Show that the maximum over all $q_S$ of $\sum_S\{w'_S\,\E_{q_S}\log p(x\mid z)-w_S\,\KL{q_S}{p}\}$ exceeds $\log p(x)$ unless $w'=w$ or $x$ says nothing about $z$.
# How much is it for $B=256$ and $K=31$ on this oracle?
# ::::
#
# ::::{solution} ex-remainder
# :class: dropdown
# With $\beta_S=w_S/w'_S$ the sum is $\sum_S w'_S\big\{\E_{q_S}\log p(x\mid z)-\beta_S\KL{q_S}{p}\big\}$, and $\sum_S w'_S\beta_S=1$.
# Let $V(\beta)$ be the maximum of the braces over $q$.
# It is a maximum of functions that are linear in $\beta$, hence convex, and by Jensen's inequality $\sum_S w'_S V(\beta_S)\ge V(1)=\log p(x)$.
# Equality would need $V$ to be linear between the $\beta_S$; it is strictly convex wherever its maximiser moves with $\beta$.
# That maximiser is $q\propto p(z)\,p(x\mid z)^{1/\beta}$, which gives $V(\beta)=\beta\log\int p(z)\,p(x\mid z)^{1/\beta}\mathrm dz$:
# ::::

# %% tags=["hide-input"]
split = released / 256
beta = (1 / 31) / split[:, None]
tempered = gaussians.log_prior(grid)[:, None] + log_lik / beta
best_value = (split[:, None] * beta * torch.logsumexp(tempered + dz.log(), 0)).sum(0)
excess = best_value - evidence
assert excess.min() > 0
fair = torch.logsumexp(gaussians.log_prior(grid) + log_lik[:, 0] + dz.log(), 0)
torch.testing.assert_close(fair, evidence)  # with beta = 1 everywhere nothing is exceeded
print(f"beyond the evidence by {excess.mean():.3f} nats on average, {excess.max():.3f} at most")

# %% [markdown]
# ::::{exercise}
# :label: ex-subsets-of-a-size
# A middle way between the special cases: the family of all pairs.
# How many decoder passes does eq. 5 need for it with $M=10$, and is its bound always between those of the singletons and of the full set?
# ::::
#
# ::::{solution} ex-subsets-of-a-size
# :class: dropdown
# There are $\binom{10}{2}=45$ pairs, hence $450$ passes.
# With experts half as wide again as the exact ones the bound grows with the size of the subsets.
# With experts five times too narrow the pairs lie above *both*: one expert alone is off, and the product of all is too sure of itself.
# ::::

# %% tags=["hide-input", "remove-output"]


def of_size(size):
    def family(modalities, generator=None):
        everything = subsets.powerset(modalities)
        return everything[everything.sum(1) == size]

    return family


assert 10 * len(of_size(2)(10)) == 450


def average_bound(size, factor):
    pooled = mixture_of_products(of_size(size))(loc, factor * scale)
    blur = torch.diag_embed(pooled.scale.square())
    each = [oracle.elbo(batch, pooled.loc[k], blur[k]) for k in range(len(blur))]
    return torch.stack(each).mean()


wide = torch.stack([average_bound(size, 1.5) for size in (1, 2, 5)])
narrow = torch.stack([average_bound(size, 0.2) for size in (1, 2, 5)])
assert wide[0] < wide[1] < wide[2]
assert narrow[1] > max(narrow[0], narrow[2]) + 0.01

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
# # Mixture of experts, and MMVAE
#
# A product lets all experts speak at once, and {doc}`/chapters/aggregation/product_of_experts` showed how much then hangs on what each of them means.
# A mixture lets one expert speak at a time.
# Every expert has to stand on its own, so any modality can be asked alone; MMVAE {cite:p}`shi2019` is built on this.
# The price is that a mixture can only repeat what some expert says.
# This chapter derives the mixture's bound, shows that the bound often used in its place is lower by the Jensen–Shannon divergence of the experts, and measures what repeating costs.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import math

import matplotlib.pyplot as plt
import torch
from myst_nb import glue

from multielbo import gaussians, plots
from multielbo.barycenters import log_pool, product
from multielbo.dynamic_prior import dynamic_prior, geometric_jensen_shannon, mmjsd_elbo
from multielbo.mixtures import Posteriors, jensen_shannon, kl_of_mixture, mean_kl
from multielbo.models.mmvae import mmvae
from multielbo.models.registry import build
from multielbo.objectives import powerset_elbo, stratified_elbo
from multielbo.oracle import LinearGaussian
from multielbo.profiles import check_profile
from multielbo.publishing.show import show

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)
samples = {"quick": 20_000, "laptop": 200_000, "full": 1_000_000}[profile]

# %% [markdown]
# ## One expert speaks at a time
#
# Experts $q_1,\dots,q_K$ and weights $w_k\ge 0$ with $\sum_k w_k=1$ make the **mixture**
#
# $$
# \bar q(z) = \sum_{k=1}^{K} w_k\, q_k(z) .
# $$ (eq-mixture-density)
#
# In MMVAE there is one expert per modality, $q_m(z)$ is read as the posterior given $x_m$, and all weights are $1/M$.

# %% tags=["remove-input"]
show(Posteriors.log_density)

# %% [markdown]
# The oracle of this chapter has a single latent dimension, so that every integral can be done by quadrature.
# Its three modalities are about equally informative, and the experts are the exact unimodal posteriors.

# %%
oracle = LinearGaussian(
    loadings={"image": torch.ones(4, 1), "sound": torch.ones(3, 1), "text": torch.ones(2, 1)},
    noise={"image": 1.6, "sound": 1.4, "text": 1.1},
)
batch = oracle.sample(256, generator)
loc, scale = oracle.unimodal_posteriors(batch)


def mixture(loc, scale):
    """Equally weighted mixture of one expert per modality."""
    experts, examples, _ = loc.shape
    seen = torch.eye(experts, dtype=bool)[..., None].expand(-1, -1, examples)
    return Posteriors(loc, scale, torch.full((experts, examples), 1 / experts), seen)


q = mixture(loc, scale)
grid = torch.linspace(-7, 7, 401)
z = grid[:, None, None].expand(-1, 256, 1)  # the same points for every example


def integrate(values):
    """Integral over z of values at the grid points, `(grid, ...)`, by the trapezoidal rule."""
    return torch.trapezoid(values, grid, dim=0)


log_q = q.log_density(z)
torch.testing.assert_close(integrate(log_q.exp()), torch.ones(256))

# %% [markdown]
# ## The mixture's own bound
#
# ::::{prf:lemma} The stratified ELBO
# :label: lem-stratified
#
# The ELBO of a mixture is
#
# $$
# \ELBO(\bar q) = \sum_{k=1}^{K} w_k\,\E_{q_k}\Big[\sum_{m=1}^{M}\log p(x_m\mid z) + \log p(z) - \log\bar q(z)\Big] .
# $$ (eq-stratified)
# ::::
#
# :::{prf:proof}
# For any integrable $f$, $\E_{\bar q}f=\int\sum_k w_kq_k(z)f(z)\,\mathrm dz=\sum_k w_k\E_{q_k}f$.
# Take $f=\log p(x,z)-\log\bar q$ as in {eq}`eq-elbo-gap`.
# :::
#
# So we draw one sample from *each* expert and weight what it scores, a stratified sample of the mixture; no expert has to be chosen at random, and every expert gets a gradient at every step.
# Note which density is subtracted: a sample of $q_k$ is charged under the whole mixture $\bar q$.

# %% tags=["remove-input"]
show(stratified_elbo)

# %% [markdown]
# **Check.** Three ways to the same number: quadrature, the stratified estimator, and ancestral sampling, which throws a die to choose the expert.
# The wrong twin charges each sample under the expert that drew it.

# %%
log_joint = oracle.log_likelihood(batch)(z).sum(0) + gaussians.log_prior(z)  # (grid, example)
elbo = integrate(log_q.exp() * (log_joint - log_q))  # every example, by quadrature

divided = int(loc.var(0).argmax())  # the example whose experts disagree most, repeated many times
score = oracle.log_likelihood({name: x[divided].expand(samples, -1) for name, x in batch.items()})
repeated = [stack[:, [divided]].expand(-1, samples, -1) for stack in (loc, scale)]
q_one = mixture(*repeated)

stratified = stratified_elbo(q_one, score, generator).elbo()
die = torch.randint(3, (samples,), generator=generator)
drawn = gaussians.sample(loc[die, divided], scale[die, divided], generator)
ancestral = score(drawn).sum(0) + gaussians.log_prior(drawn) - q_one.log_density(drawn)

for estimate in (stratified, ancestral):
    assert abs(estimate.mean() - elbo[divided]) < 4 * estimate.std() / samples**0.5
own_density = gaussians.log_density(drawn, loc[die, divided], scale[die, divided])
wrong = score(drawn).sum(0) + gaussians.log_prior(drawn) - own_density
assert abs(wrong.mean() - elbo[divided]) > 10 * wrong.std() / samples**0.5

# %% tags=["remove-cell"]
glue("elbo_quadrature", f"{elbo[divided]:.3f}", display=False)
glue("elbo_stratified", f"{stratified.mean():.3f}", display=False)
glue("elbo_ancestral", f"{ancestral.mean():.3f}", display=False)
glue("elbo_wrong", f"{wrong.mean():.3f}", display=False)
glue("elbo_error", f"{ancestral.std() / samples**0.5:.3f}", display=False)
assert stratified.std() < ancestral.std()
variance_ratio = (ancestral.var() / 3) / stratified.var()
assert variance_ratio > 1
glue("variance_ratio", f"{variance_ratio:.1f}", display=False)

# %% [markdown]
# Quadrature gives {glue:text}`elbo_quadrature` nats, the stratified estimator {glue:text}`elbo_stratified`, ancestral sampling {glue:text}`elbo_ancestral`, neither with a standard error above {glue:text}`elbo_error`; the twin lands at {glue:text}`elbo_wrong`.
# At three decoded samples each, ancestral sampling has {glue:text}`variance_ratio` times the variance of the stratified estimator here, since in the one the differences between experts are noise and in the other they are not.
#
# The section after the next shows that the twin is a bound nevertheless, and a popular one.

# %% [markdown]
# ## Its gradient needs the path alone
#
# An expert's parameters enter {eq}`eq-stratified` through the sample and through the density $\bar q$ that is subtracted.
# The second way carries nothing but noise.
#
# ::::{prf:lemma} Gradient of the stratified ELBO
# :label: lem-stratified-gradient
#
# Let $z=g_k(\varepsilon,\phi_k)$ have the density $q_k$, and let $\ell(z)=\log p(x,z)-\log\bar q(z)$.
# Then
#
# $$
# \partial_{\phi_k}\ELBO(\bar q)=w_k\,\E\big[\partial_z\ell(z)\;\partial_{\phi_k}g_k(\varepsilon,\phi_k)\big] .
# $$
#
# For a Gaussian expert $z=\mu_k+\sigma_k\varepsilon$ the derivatives of $g_k$ are $1$ and $\varepsilon$.
# If it is the only expert, and the posterior is $\N(m,s^2)$, the gradient in $\mu$ is $(m-\mu)/s^2$, and the one in $\sigma$ is $1/\sigma-\sigma/s^2$.
# ::::
#
# :::{prf:proof}
# The chain rule gives the stated term and $-\sum_jw_j\E_{q_j}\partial_{\phi_k}\log\bar q(z)$, at fixed $z$.
# That is $-\int\bar q\,\partial_{\phi_k}\log\bar q\,\mathrm dz=-\partial_{\phi_k}\int\bar q\,\mathrm dz=0$.
# It takes all experts to make it vanish: every sample is charged under the whole mixture.
# For a single Gaussian $\partial_z\ell=(m-z)/s^2+(z-\mu)/\sigma^2$; insert $z=\mu+\sigma\varepsilon$ and average.
# :::
#
# **Check.** The reference is autograd through the quadrature of the whole bound.
# Autograd through the estimator has that gradient on average, and so has the path alone, with less noise; the twin with the expert's own density has another.


# %%
def elbo_by_quadrature(loc, scale):
    """ELBO of the mixture for the most divided example, differentiable in the experts."""
    log_density = mixture(loc, scale).log_density(grid[:, None, None])[:, 0]
    return integrate(log_density.exp() * (log_joint[:, divided] - log_density))


def leaves(stacks):
    return [stack.clone().requires_grad_() for stack in stacks]


def mean_and_error(value, wanted):
    each = torch.stack(torch.autograd.grad(value.sum(), wanted))[..., 0]  # (2, expert, sample)
    return each.mean(-1), each.std(-1) / samples**0.5


alone = leaves((loc[:1, [divided]], scale[:1, [divided]]))
exact = torch.autograd.grad(elbo_by_quadrature(*alone), alone)
(mu, sigma), (mean, covariance) = (x.squeeze() for x in alone), oracle.posterior(batch)
by_hand = (mean[divided, 0] - mu) / covariance, 1 / sigma - sigma / covariance
torch.testing.assert_close(torch.stack(exact).flatten(), torch.stack(by_hand).flatten())

experts = leaves((loc[:, [divided]], scale[:, [divided]]))
exact = torch.stack(torch.autograd.grad(elbo_by_quadrature(*experts), experts))[..., 0, 0]

many = leaves(repeated)
automatic, error = mean_and_error(stratified_elbo(mixture(*many), score, generator).elbo(), many)
assert ((automatic - exact).abs() < 4 * error).all()

z_many = gaussians.sample(*many, generator)
held = mixture(*repeated)
log_weight = score(z_many).sum(0) + gaussians.log_prior(z_many) - held.log_density(z_many)
path, path_error = mean_and_error((held.weights * log_weight).sum(0), many)
assert ((path - exact).abs() < 4 * path_error).all()
assert (path_error < error).all()

twin, twin_error = mean_and_error(powerset_elbo(mixture(*many), score, generator).elbo(), many)
assert ((twin - exact).abs() > 10 * twin_error).any()

# %% tags=["remove-cell"]
noise_ratio = (error / path_error).square()
glue("path_low", f"{noise_ratio.min():.1f}", display=False)
glue("path_high", f"{noise_ratio.max():.1f}", display=False)

# %% [markdown]
# Leaving the term out that vanishes divides the variance by {glue:text}`path_low` to {glue:text}`path_high` here, and to nothing once every expert is the posterior.
# With more than one sample per expert and importance weights it no longer vanishes; {doc}`/chapters/aggregation/importance_weighting` goes on from here, with IWAE and DReG.

# %% [markdown]
# ## What the average of the rates overpays
#
# The rate of the mixture, its divergence from the prior, has no closed form:
#
# $$
# \KL{\bar q}{p} = \sum_{k} w_k\,\E_{q_k}\big[\log\bar q(z)-\log p(z)\big] .
# $$ (eq-kl-mixture)
#
# The average of the experts' rates has one, {eq}`eq-gaussian-kl` for each expert:
#
# $$
# \sum_{k} w_k\,\KL{q_k}{p} .
# $$ (eq-mean-kl)
#
# So it is tempting to use the second for the first.
# What separates them is the **Jensen–Shannon divergence** of the experts, their average divergence from their own mixture,
#
# $$
# \mathrm{JSD}_w(q_1,\dots,q_K) = \sum_{k} w_k\,\KL{q_k}{\bar q} .
# $$ (eq-jsd)
#
# ::::{prf:lemma} Compensation identity
# :label: lem-compensation
#
# For every density $p$ that is positive where $\bar q$ is,
#
# $$
# \sum_{k} w_k\,\KL{q_k}{p} = \KL{\bar q}{p} + \mathrm{JSD}_w(q_1,\dots,q_K) ,
# $$
#
# and whatever the experts,
#
# $$
# 0\;\le\;\mathrm{JSD}_w(q_1,\dots,q_K)\;\le\; -\sum_k w_k\log w_k\;\le\;\log K .
# $$
# ::::
#
# :::{prf:proof}
# Write $\log\frac{q_k}{p}=\log\frac{q_k}{\bar q}+\log\frac{\bar q}{p}$ and take $\sum_k w_k\E_{q_k}$.
# The first part gives the Jensen–Shannon divergence; the second gives $\E_{\bar q}\log\frac{\bar q}{p}$, because the weighted expectations add up to one under $\bar q$.
# Each term of {eq}`eq-jsd` is non-negative.
# Where $w_k>0$, $\bar q\ge w_kq_k$ pointwise, so $\log\frac{q_k}{\bar q}\le-\log w_k$ and the sum is at most the entropy of the weights, which is largest for equal weights.
# :::

# %% tags=["remove-input"]
show(mean_kl, kl_of_mixture, jensen_shannon)

# %% [markdown]
# The last two draw from every component and weight what they find, as the bound itself does.
#
# **Check.** The identity holds to quadrature's precision for every example, and the two Monte Carlo functions meet quadrature within their own standard errors.

# %%
log_experts = gaussians.log_density(z.unsqueeze(1), loc, scale)  # (grid, expert, example)
jsd = (q.weights * integrate(log_experts.exp() * (log_experts - log_q.unsqueeze(1)))).sum(0)
needed = integrate(log_q.exp() * (log_q - gaussians.log_prior(z)))
paid = mean_kl(q)

torch.testing.assert_close(paid, needed + jsd)
assert (jsd >= 0).all()
assert (jsd <= math.log(3)).all()

estimated_needed, needed_error = kl_of_mixture(q, 500, generator)
estimated_jsd, jsd_error = jensen_shannon(q, 500, generator)
assert ((estimated_needed - needed).abs() < 5 * needed_error).all()
assert ((estimated_jsd - jsd).abs() < 5 * jsd_error).all()
assert ((paid - needed) / needed_error).max() > 20, "the average is not the mixture's rate"

# %% tags=["remove-cell"]
glue("paid", f"{paid.mean():.2f}", display=False)
glue("needed", f"{needed.mean():.2f}", display=False)
glue("jsd", f"{jsd.mean():.2f}", display=False)
glue("jsd_max", f"{jsd.max():.2f}", display=False)
glue("log_three", f"{math.log(3):.2f}", display=False)

# %% [markdown]
# Over the batch the average of the rates pays {glue:text}`paid` nats per example where the mixture needs {glue:text}`needed`; the remaining {glue:text}`jsd` is disagreement, {glue:text}`jsd_max` for the most divided example and at most $\log 3=$ {glue:text}`log_three` for any.
# The picture pulls equal experts apart and watches the disagreement fill up.

# %% tags=["remove-input"] mystnb={"image": {"alt": "The Jensen–Shannon divergence of two, three and five equal Gaussians against the distance between neighbours: each curve starts at zero, rises and levels off at a dotted line, the logarithm of the number of experts."}}
distance = torch.linspace(0, 8, 81)
points = torch.linspace(-8, 40, 2001)
ends = {}
fig, ax = plt.subplots()
for experts, color in ((2, "C0"), (3, "C1"), (5, "C2")):
    centres = torch.arange(experts)[:, None, None] * distance[:, None]  # (expert, distance, 1)
    apart = mixture(centres, torch.ones_like(centres))
    log_apart = gaussians.log_density(points[:, None, None, None], apart.loc, apart.scale)
    surplus = log_apart - apart.log_density(points[:, None, None].expand(-1, 81, 1)).unsqueeze(1)
    curve = torch.trapezoid(log_apart.exp() * surplus, points, dim=0).mean(0)
    ax.axhline(math.log(experts), color=color, lw=1, ls=":")
    ax.plot(distance, curve, color=color)
    ends[rf"$K={experts}$"] = (8, float(curve[-1]), color)
ax.set(
    xlabel="distance between neighbouring experts, in standard deviations",
    ylabel="JSD in nats",
    ylim=(0, 1.8),
    title=r"Disagreement is overpaid, by $\log K$ at most",
)
plots.label_ends(ax, ends)
plt.show()

# %% [markdown]
# Replace the rate of the mixture by the average, and the bound becomes the **component-averaged ELBO** $\sum_k w_k\ELBO(q_k)$: the twin of the last section.
# By {prf:ref}`lem-compensation` it is lower than the mixture's ELBO by exactly the Jensen–Shannon divergence, so it is a bound on $\log p(x)$ too.
# What it costs is not tightness alone: maximising it also pushes the experts towards each other, since disagreement is charged.
#
# The MMVAE of {cite:t}`shi2019` uses the mixture's density, the released code of {cite:t}`sutter2021` charges the average, and both go by the name MMVAE.
# In our model file the difference is one argument, which also draws a single sample per example in place of one per expert ({doc}`/chapters/aggregation/mopoe` compares the two):

# %% tags=["remove-input"]
show(mmvae)

# %% [markdown]
# **Check.** The two estimators, with one sample per expert each, are the Jensen–Shannon divergence apart on the most divided example.

# %%
averaged = powerset_elbo(q_one, score, generator).elbo()  # one sample per expert, average rate
standard_error = ((averaged.var() + stratified.var()) / samples).sqrt()
assert abs(stratified.mean() - averaged.mean() - jsd[divided]) < 4 * standard_error
assert jsd[divided] > 10 * standard_error

# %% [markdown]
# ## A mixture cannot sharpen
#
# Two witnesses who saw different things know more together than either alone.
# The product says so, as its precisions add.
# A mixture cannot.
#
# ::::{prf:lemma} No sharpening
# :label: lem-no-sharpening
#
# In each dimension, the variance of $\bar q$ is at least $\sum_kw_k\sigma_k^2\ge\min_k\sigma_k^2$.
# And with the exact posterior in the place of $p$,
#
# $$
# \KL{\bar q}{p(z\mid x)} \;\ge\; \min_k\KL{q_k}{p(z\mid x)} - \log K .
# $$
# ::::
#
# :::{prf:proof}
# By the law of total variance, the variance of $\bar q$ is the average of the experts' variances plus the variance of their means.
# The inequality is {prf:ref}`lem-compensation` with the average on the left replaced by its smallest term, and the Jensen–Shannon divergence by its largest value.
# :::
#
# The left side is the gap of the mixture's bound, by {prf:ref}`lem-elbo-gap`.
# So mixing $K$ experts beats the best of them by $\log K$ nats at most, however many modalities agree.
#
# How large is the gap when every expert is exact?
# We give the mixture every advantage: for each example by itself, the best weights there are.
# The gap is convex in the weights, with slope $\E_{q_k}[\log\bar q-\log p(z\mid x)]$ in $w_k$ up to a constant, and mirror descent, $w_k\leftarrow w_k e^{-\text{slope}_k}$ normalised, finds its minimum.

# %%
evidence = oracle.log_evidence(batch)
log_posterior = log_joint - evidence


def gap(q):
    """KL(mixture || exact posterior) for every example, by quadrature, in nats."""
    return integrate(q.log_density(z).exp() * (q.log_density(z) - log_posterior))


torch.testing.assert_close(gap(q), evidence - elbo)  # measured against the joint evidence

best = q
for _ in range(100):
    slope = integrate(log_experts.exp() * (best.log_density(z) - log_posterior).unsqueeze(1))
    best = best._replace(weights=(best.weights.log() - slope).softmax(0))
slope = integrate(log_experts.exp() * (best.log_density(z) - log_posterior).unsqueeze(1))
improvable = ((best.weights * slope).sum(0) - slope.min(0).values).max()
assert improvable < 0.02  # by convexity, no weights can gain more than this for any example

# %%
alone = torch.stack([oracle.gap(batch, loc[k], scale[k].square().diag_embed()) for k in range(3)])
pooled_loc, pooled_scale = product(loc, scale, torch.ones(1, 3), prior_exponent=1.0 - 3)
of_product = oracle.gap(batch, pooled_loc[0], pooled_scale[0].square().diag_embed())

assert of_product.max() < 1e-12  # the product of the same experts closes the gap
assert gap(best).min() > 0.1, "no weights come near to it, for any example"
assert (gap(best) >= alone.min(0).values - math.log(3)).all()
assert (gap(best) < gap(q)).all()

# %% tags=["remove-cell"]
glue("gap_equal", f"{gap(q).mean():.2f}", display=False)
glue("gap_best", f"{gap(best).mean():.2f}", display=False)
glue("gap_best_least", f"{gap(best).min():.2f}", display=False)
glue("gap_alone", f"{alone.min(0).values.mean():.2f}", display=False)
assert 0 < (alone.min(0).values - gap(best)).mean() < 0.05  # "hardly less"

# %% [markdown]
# The mixture with equal weights loses {glue:text}`gap_equal` nats per example against the joint evidence.
# The best weights lose {glue:text}`gap_best` on average and {glue:text}`gap_best_least` at least, hardly less than the one best expert of each example, {glue:text}`gap_alone`.
# The product of the same experts, with $a=1-M$, loses nothing.
#
# One example shows why: no weighted sum of three wide curves is a narrow one.

# %% tags=["remove-input"] mystnb={"image": {"alt": "Densities over the latent for one example: three wide experts in grey, their equally wide mixture, and the product of the experts, a narrow and tall peak that is the posterior."}}
fig, ax = plt.subplots()
window = grid.abs() < 3.2
curves = [(log_experts[:, k, divided], "0.6", None) for k in range(3)]
curves += [
    (log_q[:, divided], "C1", "mixture"),
    (log_posterior[:, divided], "C0", "product = posterior"),
]
for log_density, color, label in curves:
    height = log_density.exp()
    ax.plot(grid[window], height[window], color=color, lw=1 if label is None else None)
    if label:
        peak = int(height.argmax())
        ax.annotate(
            label,
            (grid[peak], height[peak]),
            xytext=(0, 4),
            textcoords="offset points",
            color=color,
            ha="center",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.5},
        )
left = int(loc[:, divided, 0].argmin())
ax.annotate(
    "experts",
    (loc[left, divided, 0], log_experts[:, left, divided].max().exp()),
    xytext=(0, 4),
    textcoords="offset points",
    color="0.45",
    ha="center",
)
ax.set(
    xlabel="$z$",
    ylabel="density",
    ylim=(0, 1.08),
    title="A mixture is as wide as its experts, what they know together is not",
)
plt.show()

# %% [markdown]
# ## What the bounds ask of an expert
#
# We have fed the mixture exact unimodal posteriors.
# Its bounds would not have chosen them: each expert is scored on all modalities, of which it has seen one.
#
# ::::{prf:lemma} Borrowed confidence
# :label: lem-borrowed-confidence
#
# Let the data come from the model, and let $q_m$ depend on $x$ through $x_m$ only.
# On average over data, the component-averaged ELBO is, for any positive weights, largest at
#
# $$
# q_m(z)\;\propto\;\exp\E\big[\log p(z\mid x)\,\big|\,x_m\big] .
# $$
#
# On the oracle this expert has the mean of $p(z\mid x_m)$ and the covariance of $p(z\mid x)$.
# ::::
#
# :::{prf:proof}
# By {prf:ref}`lem-elbo-gap` the averaged bound misses $\log p(x)$ by $\sum_mw_m\KL{q_m}{p(z\mid x)}$.
# Average the term of $m$ over all $x$ that share $x_m$: since $q_m$ is the same for all of them, the average is $\E_{q_m}\big[\log q_m(z)-\E[\log p(z\mid x)\mid x_m]\big]$, a divergence from the density above plus a constant.
# On the oracle, $p(z\mid x)=\N(\mu(x),\Sigma)$ with a fixed $\Sigma$, so $\E[\log p(z\mid x)\mid x_m]$ is, up to a constant, the log-density of $\N(\E[\mu(x)\mid x_m],\Sigma)$.
# And $\E[\mu(x)\mid x_m]=\E\big[\E[z\mid x]\mid x_m\big]=\E[z\mid x_m]$.
# :::
#
# So under this bound each expert of the oracle ends up as sure of itself as if it had seen everything.
# Over-confidence is not a privilege of products: there it came from counting the prior too often, here it comes from being scored on what one cannot know.
#
# **Check.** We scale the experts' widths by a common factor and look for the best one, on enough data to tell.

# %%
many = oracle.sample(4 * samples, generator)
many_loc, many_scale = oracle.unimodal_posteriors(many)
joint_scale = oracle.posterior(many)[1].sqrt().squeeze()


def averaged_gap(scale):
    """By how much the component-averaged ELBO misses the evidence, per example, in nats."""
    covariances = scale.square().diag_embed()
    return torch.stack([oracle.gap(many, many_loc[k], covariances[k]) for k in range(3)]).mean(0)


borrowed = averaged_gap(joint_scale.expand_as(many_scale))
narrower, wider = (f * joint_scale.expand_as(many_scale) for f in (0.9, 1.1))
for other in (many_scale, narrower, wider):
    loss = averaged_gap(other) - borrowed
    assert loss.mean() > 4 * loss.std() / len(loss) ** 0.5

# %% tags=["remove-cell"]
glue("averaged_exact", f"{averaged_gap(many_scale).mean():.2f}", display=False)
glue("averaged_borrowed", f"{borrowed.mean():.2f}", display=False)
glue("joint_width", f"{100 * joint_scale / many_scale.mean():.0f}", display=False)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Nats lost per example against the width of the experts relative to the exact one: the averaged bound and the mixture's bound have their lowest points, marked by dots, at factors below one, the answer from one modality at one."}}
factors = torch.linspace(0.35, 1.2, 35)
names = oracle.modalities


def mean_gap(width, subset_of):
    """Gap to the posterior given `subset_of(name)`, averaged over experts and examples."""
    covariances = (width * scale).square().diag_embed()
    lost = [oracle.gap(batch, loc[k], covariances[k], subset_of(n)) for k, n in enumerate(names)]
    return torch.stack(lost).mean()


of_mixture = torch.stack([gap(mixture(loc, f * scale)).mean() for f in factors])
of_average = torch.stack([mean_gap(f, lambda name: names) for f in factors])
of_answer = torch.stack([mean_gap(f, lambda name: [name]) for f in factors])
curves = (
    (of_average, "averaged bound", "C1"),
    (of_mixture, "mixture's bound", "C2"),
    (of_answer, "answer from $x_m$", "C0"),
)

fig, ax = plt.subplots()
ends = {}
for curve, label, color in curves:
    ax.plot(factors, curve, color=color)
    ax.plot(factors[curve.argmin()], curve.min(), "o", color=color, clip_on=False)
    ends[label] = (1.2, float(curve[-1]), color)
ax.set(
    xlabel="width of the experts / width of $p(z|x_m)$",
    ylabel="nats lost per example",
    ylim=(0, None),
    title="Both bounds want experts narrower than what they stand for",
)
plots.label_ends(ax, ends)
plt.show()

# %% tags=["remove-cell"]
assert of_mixture.argmin() < of_average.argmin(), "narrower still"
assert of_average.argmin() < of_answer.argmin(), "left of the factor one"
assert abs(factors[of_answer.argmin()] - 1) < 0.02

# %% [markdown]
# The averaged bound misses {glue:text}`averaged_exact` nats with exact experts and {glue:text}`averaged_borrowed` with experts as narrow as the joint posterior, here {glue:text}`joint_width` per cent of their own width.
# The bound of the mixture itself asks for experts narrower still, since their mixture is wider than each of them.
# Either way the answer from $x_m$ alone is no longer $p(z\mid x_m)$: the dots lie left of the factor one, where the third curve has its zero.

# %% [markdown]
# ## Abstract means
#
# An **abstract mean** of densities, built on a quasi-arithmetic mean of numbers, applies a function, averages, applies the inverse, and normalises {cite:p}`nielsen2019`:
#
# $$
# \operatorname{mean}_f(z)\;\propto\;f^{-1}\Big(\sum_k w_k\,f\big(q_k(z)\big)\Big),
# \qquad\text{$f$ continuous and strictly monotone.}
# $$
#
# The identity gives the **arithmetic mean**, which is the mixture and needs no normalising; the logarithm gives the **geometric mean**, $\prod_kq_k^{w_k}$ normalised.
# Both belong to one family, $f(u)=u^\alpha$, the **power means**, and the geometric mean is its limit at zero.
#
# ::::{prf:lemma} Power means
# :label: lem-power-means
#
# Let $m_\alpha(z)=\big(\sum_kw_kq_k(z)^\alpha\big)^{1/\alpha}$ with positive weights that sum to one, before normalising, and $m_0(z)=\prod_kq_k(z)^{w_k}$.
# Then $m_\alpha\to m_0$ as $\alpha\to0$; $m_\alpha(z)$ does not fall with $\alpha$; it tends to the largest $q_k(z)$ as $\alpha\to\infty$ and to the smallest as $\alpha\to-\infty$.
# So $\int m_\alpha\,\mathrm dz\le1$ for $\alpha\le1$, with equality at $\alpha=1$.
# ::::
#
# :::{prf:proof}
# $\log m_\alpha=\frac1\alpha\log\sum_kw_ke^{\alpha\log q_k}$ is the slope of the chord from $0$ to $\alpha$ of the cumulant function $\kappa(\alpha)=\log\sum_kw_ke^{\alpha\log q_k}$.
# It is convex with $\kappa(0)=0$, so the slope of the chord grows with $\alpha$; at zero it is $\kappa'(0)=\sum_kw_k\log q_k=\log m_0$.
# For large $\alpha$ the largest term outgrows the others, for large $-\alpha$ the smallest.
# And $\int m_1\,\mathrm dz=\sum_kw_k\int q_k\,\mathrm dz=1$.
# :::
#
# {cite:t}`sutter2021` place MMVAE at the arithmetic mean and MVAE at the geometric one.
# Mind the exponents: those of a mean sum to one, those of MVAE's product are all one.
# The product of $K$ Gaussian experts, before any prior, is the $K$-th power of their equally weighted geometric mean, normalised: same centre, a $K$-th of the variance.
# It sharpens because it is *not* a mean; {doc}`/chapters/aggregation/kl_barycenters` takes this up.


# %%
def abstract_mean(f, inverse):
    """Equally weighted abstract mean of the experts on the grid, `(grid, example)`, unnormalised."""
    return inverse(f(log_experts.exp()).mean(1))


def power_mean(alpha):
    return abstract_mean(lambda v: v**alpha, lambda v: v ** (1 / alpha))


def normalised(values):
    return values / integrate(values)


weights = torch.full((1, 3), 1 / 3)
geometric = log_pool(loc, scale, weights)
plain = product(loc, scale, torch.ones(1, 3), prior_exponent=0.0)

torch.testing.assert_close(abstract_mean(lambda v: v, lambda v: v), log_q.exp())
on_grid = gaussians.log_density(z, geometric[0][0], geometric[1][0]).exp()
torch.testing.assert_close(normalised(abstract_mean(torch.log, torch.exp)), on_grid)
torch.testing.assert_close(plain[0], geometric[0])
torch.testing.assert_close(plain[1].square(), geometric[1].square() / 3)
assert (plain[1] < 0.6 * geometric[1]).all(), "the product is not the geometric mean"

orders = [-1.0, -0.5, -1e-4, 1e-4, 0.5, 1.0, 2.0]
means = torch.stack([power_mean(alpha) for alpha in orders])
assert (means.diff(dim=0) >= -1e-12 * means[1:]).all(), "they grow with the order"
torch.testing.assert_close(normalised(means[3]), on_grid, atol=1e-3, rtol=1e-3)  # of order alpha
masses = torch.stack([integrate(mean) for mean in means])
assert (masses[:5] < 1).all()
torch.testing.assert_close(masses[5], torch.ones(256))
assert (masses[6] > 1).all()

# %% [markdown]
# ## A prior that moves with the experts, and mmJSD
#
# The predecessor of MoPoE, **mmJSD** {cite:p}`sutter2020`, uses an abstract mean in another place: in the rate.
# A **dynamic prior** is the mean of the prior $q_0=p$ *and* of the experts, with positive weights $\pi_0,\dots,\pi_M$ that sum to one.
# The released code takes the geometric one,
#
# $$
# p_f(z) = \frac1{Z_\pi}\,p(z)^{\pi_0}\prod_{m=1}^{M}q_m(z)^{\pi_m} ,
# \qquad Z_\pi=\int p(z)^{\pi_0}\prod_{m=1}^{M}q_m(z)^{\pi_m}\,\mathrm dz ,
# $$ (eq-dynamic-prior)
#
# which is Gaussian, and charges every density of the mean, the prior among them, with its divergence from it:
#
# $$
# R_\pi = \pi_0\KL p{p_f}+\sum_{m=1}^{M}\pi_m\KL{q_m}{p_f} .
# $$ (eq-mmjsd-rate)
#
# With the arithmetic mean in the place of $p_f$ this would be the Jensen–Shannon divergence of all $M+1$, {eq}`eq-jsd`, which has no closed form.
# The reconstruction is that of the mixture of the experts, without the prior:
#
# $$
# \mathcal L^{\mathrm{mmJSD}}(x)=\sum_{m=1}^{M}\frac{\pi_m}{1-\pi_0}\,\E_{q_m}\log p(x\mid z)-R_\pi .
# $$ (eq-mmjsd)

# %% tags=["remove-input"]
show(dynamic_prior, geometric_jensen_shannon, mmjsd_elbo)

# %% [markdown]
# ::::{prf:lemma} The rate of mmJSD
# :label: lem-mmjsd-rate
#
# With $q_0=p$ and $\bar q_\pi=\sum_{k=0}^M\pi_kq_k$,
#
# $$
# R_\pi=\sum_{j<k}\pi_j\pi_k\big[\KL{q_j}{q_k}+\KL{q_k}{q_j}\big]+\log Z_\pi
# =\mathrm{JSD}_\pi(q_0,\dots,q_M)+\KL{\bar q_\pi}{p_f} ,
# $$
#
# and $\log Z_\pi\le0$.
# ::::
#
# :::{prf:proof}
# $\log p_f=\sum_j\pi_j\log q_j-\log Z_\pi$, so $\KL{q_k}{p_f}=\sum_j\pi_j\KL{q_k}{q_j}+\log Z_\pi$; weight by $\pi_k$ and sum.
# The second form is {prf:ref}`lem-compensation` with $p_f$ for the prior, and the sign of $\log Z_\pi$ is {prf:ref}`lem-power-means`.
# :::
#
# So the static rate of {eq}`eq-mean-kl` is traded for all pairs of divergences, in *both* directions.
# One of them is new: $\KL p{q_m}$ asks each expert to leave room for the whole prior, and for an expert of standard deviation $\sigma$ it grows like $\sigma^{-2}$, where the usual rate grows like $-\log\sigma$.
#
# ::::{prf:lemma} What mmJSD bounds
# :label: lem-mmjsd
#
# If the prior is also a component of the mixture that explains, $\E_{\bar q_\pi}\log p(x\mid z)-R_\pi$ is at most the evidence of the model whose prior is $p_f$,
#
# $$
# \E_{\bar q_\pi}\log p(x\mid z)-R_\pi\;\le\;\log\int p_f(z)\,p(x\mid z)\,\mathrm dz ,
# $$
#
# and misses it by $\mathrm{JSD}_\pi+\KL{\bar q_\pi}{p_f(z\mid x)}$, with $p_f(z\mid x)\propto p_f(z)\,p(x\mid z)$.
# On the evidence of the model itself, {eq}`eq-mmjsd` is a bound only where $R_\pi\ge\KL{\bar q}p-\KL{\bar q}{p(z\mid x)}$, with $\bar q$ the mixture of the experts alone.
# ::::
#
# :::{prf:proof}
# By {prf:ref}`lem-mmjsd-rate` the left side is $\E_{\bar q_\pi}\log p(x\mid z)-\KL{\bar q_\pi}{p_f}-\mathrm{JSD}_\pi$, an ELBO with the prior $p_f$ less a divergence, and {prf:ref}`lem-elbo-gap` gives what is missing.
# The reconstruction of $\bar q$ is $\log p(x)+\KL{\bar q}p-\KL{\bar q}{p(z\mid x)}$, by the same lemma; subtract $R_\pi$.
# :::
#
# For one $x$ the dynamic prior is as good a prior as any; but it depends on $x$, so there is no model that has all of them, and $\log\int p_f(z)\,p(x\mid z)\,\mathrm dz$ is no log-density of $x$.
# The paper's abstract says that the objective optimises an ELBO; the lemma is what we can prove of that, its own proof was not at hand.
#
# **Check.** Rate, closed form of the pairs and mass by quadrature; the bound under the dynamic prior, and what it misses.
# The wrong twin takes the divergences the other way round, and finds $-\log Z_\pi$.

# %%
f_loc, f_scale = dynamic_prior(q)
log_f = gaussians.log_density(z, f_loc, f_scale)  # (grid, example)
log_all = torch.cat([gaussians.log_prior(z)[:, None], log_experts], 1)  # the prior first
log_mass = integrate(log_all.mean(1).exp()).log()
rate = geometric_jensen_shannon(q)

torch.testing.assert_close(log_f, log_all.mean(1) - log_mass)
charged = integrate(log_all.exp() * (log_all - log_f[:, None])).mean(0)
torch.testing.assert_close(rate, charged)
pairs = [integrate(log_all.exp() * (log_all - log_all[:, [j]])).mean(0) for j in range(4)]
torch.testing.assert_close(rate, sum(pairs) / 4 + log_mass)
turned = integrate(log_f.exp()[:, None] * (log_f[:, None] - log_all)).mean(0)
torch.testing.assert_close(turned, -log_mass)
assert (rate - turned).abs().mean() > 0.01

log_score = log_joint - gaussians.log_prior(z)  # log p(x | z)
log_mixed = log_all.logsumexp(1) - math.log(4)
spread = integrate(log_all.exp() * (log_all - log_mixed[:, None])).mean(0)
torch.testing.assert_close(rate, spread + integrate(log_mixed.exp() * (log_mixed - log_f)))
with_prior = integrate(log_mixed.exp() * log_score) - rate
under_f = integrate((log_f + log_score).exp()).log()
missed = integrate(log_mixed.exp() * (log_mixed - log_f - log_score + under_f))
torch.testing.assert_close(under_f - with_prior, spread + missed)
assert (with_prior < under_f).all()

drawn_rate = mmjsd_elbo(q_one, score, generator)
direct = integrate(log_q.exp() * log_score)[divided] - rate[divided]
estimate = drawn_rate.elbo()
assert abs(estimate.mean() - direct) < 4 * estimate.std() / samples**0.5

# %% [markdown]
# On which side of the evidence is {eq}`eq-mmjsd`?
# We let all three experts be the exact posterior of one latent and vary how much the data say about it.
# Every number is an expectation in closed form: the reconstruction is $\log p(x)+\KL{p(z\mid x)}p$, so the objective exceeds the evidence by the information in $x$ less $R_\pi$.

# %%
width = torch.linspace(0.12, 0.98, 44)  # of the exact posterior
information = -width.log()  # of x about z, in nats: the expected divergence from the prior
precision = width**-2
f_precision = 0.25 + 0.75 * precision
f_slope = 0.75 * precision / f_precision  # of the dynamic prior's mean in that of the posterior
told = 1 - width**2  # variance of the posterior's mean over data
of_prior = 0.5 * (f_precision * (1 + f_slope**2 * told) - 1 - f_precision.log())
shift = (1 - f_slope) ** 2 * told
of_expert = 0.5 * (f_precision * (width**2 + shift) - 1 - (f_precision * width**2).log())
expected_rate = 0.25 * of_prior + 0.75 * of_expert
excess = information - expected_rate

at = 20  # one width, by sampling
means = told[at].sqrt() * torch.randn(samples, generator=generator)
same = mixture(means.expand(3, -1)[..., None], width[at].expand(3, samples, 1))
found = geometric_jensen_shannon(same)
assert abs(found.mean() - expected_rate[at]) < 4 * found.std() / samples**0.5
assert excess[-10] > 0.1, "above the evidence"
assert excess[0] < -5, "and far below it"

# %% tags=["remove-input"] mystnb={"image": {"alt": "Nats by which the objective of mmJSD exceeds the evidence at exact posteriors, against their standard deviation: strongly negative for sharp posteriors, it crosses zero and is positive, at most about a third of a nat, for wide ones; the ELBO is the zero line."}}
fig, ax = plt.subplots()
ax.axhline(0, color="C0")
ax.plot(width, excess, color="C1")
ax.set(
    xlabel="standard deviation of the exact posterior",
    ylabel="objective minus $\\log p(x)$, in nats",
    ylim=(-2.2, 0.6),
    title="mmJSD pays wide posteriors and charges sharp ones",
)
plots.label_ends(ax, {"ELBO": (0.98, 0.0, "C0"), "mmJSD": (0.98, float(excess[-1]), "C1")})
plt.show()

# %% tags=["remove-cell"]
glue("mmjsd_excess", f"{excess.max():.2f}", display=False)
glue("mmjsd_crossing", f"{width[(excess > 0).int().argmax()]:.2f}", display=False)
glue("mmjsd_sharp", f"{-excess[0]:.0f}", display=False)
glue("mmjsd_told", f"{information[0]:.1f}", display=False)

# %% [markdown]
# At exact posteriors the objective is above the evidence for widths beyond {glue:text}`mmjsd_crossing`, by up to {glue:text}`mmjsd_excess` nats a dimension, and {glue:text}`mmjsd_sharp` nats below it at the left end, where the data say {glue:text}`mmjsd_told` nats.
# So it holds posteriors back from becoming sharp, and an {ref}`exercise <ex-dynamic-prior>` asks what the arithmetic mean would do.
#
# | mmJSD | paper {cite:p}`sutter2020` | released code | its later copy in MoPoE's code | here |
# |---|---|---|---|---|
# | dynamic prior | not known to us | geometric mean | the same | {eq}`eq-dynamic-prior` |
# | weights $\pi$ | not known to us | equal by default | equal | equal over prior and experts that are there; `prior_weight` for others |
# | samples | not known to us | one per example, from the experts alone | one, from experts *and* prior | one, from the experts alone |
# | $\beta$ | not known to us | 5 on MNIST-SVHN-Text by default | not known to us | argument |
# | a subset is answered by | not known to us | the mixture of its experts | the same | the same |
# | private latents | not known to us | optional | optional | none |

# %% [markdown]
# ## When a modality is missing
#
# The mixture drops the experts that have seen nothing and shares their weight evenly among the others.
# With the missing modalities scored as zero, {eq}`eq-stratified` is then the ELBO of a density that was built from $x_S$ alone, on $\log p(x_S)$: one valid bound for each example, whatever it lacks.
# And translation is in the objective, as every expert's sample has to explain every observed modality: $M^2$ reconstructions of a complete example, where MVAE with $k=0$ scores $2M$.
#
# **Check.** With the sound missing, and NaN in its place, the estimator meets the bound by quadrature, which lies below the evidence of what was seen.

# %%
model = build("mmvae")
observed = torch.tensor([True, False, True])[:, None].expand(3, 256)
unread = torch.where(observed[..., None], loc, torch.nan)
without_sound = model.aggregator(unread, scale, observed)
torch.testing.assert_close(without_sound.weights[:, 0], torch.tensor([0.5, 0.0, 0.5]))

seen = {name: batch[name] for name in ("image", "text")}
log_seen = oracle.log_likelihood(seen)(z).sum(0) + gaussians.log_prior(z)
log_mixture = without_sound.log_density(z)
bound = integrate(log_mixture.exp() * (log_seen - log_mixture))
score_seen = oracle.log_likelihood(seen)
estimate = torch.stack(
    [model.objective(without_sound, score_seen, generator).elbo() for _ in range(500)]
)
assert ((estimate.mean(0) - bound).abs() < 5 * estimate.std(0) / 500**0.5).all()
assert (bound < oracle.log_evidence(seen)).all(), "a bound on what was seen"
spread_evenly = without_sound._replace(weights=torch.full((3, 256), 1 / 3))
log_wrong = spread_evenly.log_density(z)  # the missing expert keeps its weight, and is the prior
wrong = integrate(log_wrong.exp() * (log_seen - log_wrong))
assert ((estimate.mean(0) - wrong).abs() > 5 * estimate.std(0) / 500**0.5).any()

# %% [markdown]
# ## Conventions
#
# | MMVAE | paper {cite:p}`shi2019` | official code | MultiVae 1.0.3 | here |
# |---|---|---|---|---|
# | experts | not known to us | Laplace | Laplace or normal | normal |
# | prior | not known to us | Laplace, scale learned by a flag | Laplace, learned scale | $\N(0,I)$, no expert of the mixture |
# | likelihood scale | not known to us | Laplace, 0.75; by its tracker, first released with 0.1 | set by the user | a property of the likelihood |
# | reduction | not known to us | sum over dimensions, *sum* over the batch | sum over dimensions, *sum* over the batch | sum over dimensions, per example; the caller averages |
# | $\beta$ | not known to us | none | accepted and not used | an argument of `elbo` |
# | samples per expert | importance samples, number not known to us | 30 on MNIST-SVHN | 10 by default | one |
# | divergence | density of the mixture | density of the mixture | density of the mixture | density of the mixture; `mmvae_averaged` for the average |
#
# With one sample per expert and the Gaussian choices above we are at {eq}`eq-stratified`.
# More samples per expert, importance weights and their gradients have a chapter of their own, {doc}`/chapters/aggregation/importance_weighting`.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-unequal-weights
# For which experts and weights is the Jensen–Shannon divergence as large as the entropy of the weights, and how close do two unit Gaussians at distance eight come, with weights $0.9$ and $0.1$?
# ::::
#
# ::::{solution} ex-unequal-weights
# :class: dropdown
# The proof loses something only in $\bar q\ge w_kq_k$, which is an equality wherever no other expert puts any mass.
# So the value is attained exactly by experts with disjoint supports, which Gaussians never have.
# At distance eight they come within a thousandth of a nat, and the entropy of these weights is less than half of $\log 2$.
# ::::

# %% tags=["hide-input", "remove-output"]
uneven = mixture(torch.tensor([0.0, 8.0])[:, None, None], torch.ones(2, 1, 1))
uneven = uneven._replace(weights=torch.tensor([[0.9], [0.1]]))
line = torch.linspace(-8, 16, 4001)
log_parts = gaussians.log_density(line[:, None, None, None], uneven.loc, uneven.scale)
inside = log_parts.exp() * (log_parts - uneven.log_density(line[:, None, None]).unsqueeze(1))
divergence = (uneven.weights * torch.trapezoid(inside, line, dim=0)).sum()
entropy = -(uneven.weights * uneven.weights.log()).sum()
assert 0 < entropy - divergence < 1e-3
assert entropy < 0.5 * math.log(2)

# %% [markdown]
# ::::{exercise}
# :label: ex-useless-expert
# Add a fourth modality that is pure noise, and its exact unimodal posterior as a fourth expert.
# What do the product with $a=1-|S|$ and the mixture make of it?
# ::::
#
# ::::{solution} ex-useless-expert
# :class: dropdown
# Its posterior is the prior.
# The product multiplies it in and divides it out again, and does not change.
# The mixture hands it a quarter of the samples, and its bound drops.
# ::::

# %% tags=["hide-input", "remove-output"]
four_loc = torch.cat([loc, torch.zeros(1, 256, 1)])
four_scale = torch.cat([scale, torch.ones(1, 256, 1)])
of_four = product(four_loc, four_scale, torch.ones(1, 4), prior_exponent=1.0 - 4)
torch.testing.assert_close(of_four[0], pooled_loc)
torch.testing.assert_close(of_four[1], pooled_scale)
assert (gap(mixture(four_loc, four_scale)) - gap(q)).mean() > 0.1

# %% [markdown]
# ::::{exercise}
# :label: ex-dynamic-prior
# Let every expert be the exact posterior, and let the rate of mmJSD be the Jensen–Shannon divergence of the experts and the prior, with equal weights $\frac1{M+1}$: the arithmetic mean for a dynamic prior.
# Is the reconstruction less this rate a bound on $\log p(x)$?
# ::::
#
# ::::{solution} ex-dynamic-prior
# :class: dropdown
# No.
# The reconstruction of the exact posterior is $\log p(x)+\KL{p(z\mid x)}{p}$, and by {prf:ref}`lem-compensation` the new rate is at most $\log(M+1)$.
# So wherever the data say more than $\log(M+1)$ nats about $z$ the objective exceeds the evidence.
# It rewards a posterior far from the prior, which a bound has to charge for.
# The reason is that the dynamic prior depends on $x$, and is no prior of the model.
# ::::

# %% tags=["hide-input", "remove-output"]
sharp = LinearGaussian(oracle.loadings, dict.fromkeys(oracle.modalities, 0.1))
sharp_batch = sharp.sample(256, generator)
at, covariance = sharp.posterior(sharp_batch)
width = covariance.sqrt().expand_as(at)
reconstruction = sharp.log_evidence(sharp_batch) + gaussians.kl_to_prior(at, width)
four = mixture(
    torch.stack([torch.zeros_like(at), at, at, at]),
    torch.stack([torch.ones_like(at), width, width, width]),
)
rate, rate_error = jensen_shannon(four, 200, generator)
assert (rate < math.log(4)).all()
assert (reconstruction - rate > sharp.log_evidence(sharp_batch) + 4 * rate_error).all()
own_rate = gaussians.kl_to_prior(at, width)
torch.testing.assert_close(reconstruction - own_rate, sharp.log_evidence(sharp_batch))

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
# # The evidence lower bound, and an oracle to hold it against
#
# Training maximises a number that we cannot check: a bound on an evidence that nobody can compute.
# So before any network appears we build a model whose evidence *can* be computed, and we let every bound of this book pass by it first.
# This chapter derives the bound {cite:p}`kingma2014,rezende2014`, builds that model, and watches the bound hold.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import matplotlib.pyplot as plt
import torch
from myst_nb import glue

from multielbo import gaussians, plots
from multielbo.mixtures import Posteriors
from multielbo.objectives import Bound, joint_elbo
from multielbo.oracle import LinearGaussian
from multielbo.profiles import check_profile
from multielbo.publishing.show import show

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)
samples = {"quick": 20_000, "laptop": 200_000, "full": 1_000_000}[profile]

# %% [markdown]
# ## What the bound loses is a divergence
#
# A latent variable model explains modalities $x=(x_1,\dots,x_M)$ by a shared latent $z$ with prior $p(z)=\N(0,I)$,
#
# $$
# p(x, z) = p(z) \prod_{m=1}^{M} p(x_m \mid z) .
# $$
#
# Its **evidence** $p(x)=\int p(x,z)\,\mathrm dz$ says how well the model explains $x$, and the integral is out of reach for a neural decoder.
# Any density $q(z)$ that we *can* sample gives a lower bound instead.
#
# ::::{prf:lemma} The gap of the bound
# :label: lem-elbo-gap
#
# For every density $q$ whose support lies within that of the posterior,
#
# $$
# \log p(x) - \ELBO(q) = \KL{q(z)}{p(z\mid x)} \ge 0,
# \qquad
# \ELBO(q) = \E_{q}\big[\log p(x, z) - \log q(z)\big] .
# $$ (eq-elbo-gap)
# ::::
#
# :::{prf:proof}
# Bayes' rule gives $\log p(x,z)=\log p(x)+\log p(z\mid x)$ for every $z$.
# Insert it into the bound: $\log p(x)$ does not depend on $z$ and leaves the expectation, and what remains, $\E_q[\log p(z\mid x)-\log q(z)]$, is minus the divergence.
# A divergence is never negative, by Jensen's inequality for the concave logarithm.
# :::
#
# The lemma says three things that the rest of the book uses.
# The bound is tight exactly when $q$ is the posterior.
# Maximising it over $q$ is inference, because $\log p(x)$ does not move.
# And at a fixed $q$, the bound stays below the evidence for one reason only, which the right-hand side measures in nats.

# %% [markdown]
# ## Two terms, each with its own meaning
#
# Write $p(x,z)=p(z)\prod_m p(x_m\mid z)$ and the bound falls into two parts,
#
# $$
# \ELBO(q) = \underbrace{\sum_{m=1}^M \E_{q}\log p(x_m\mid z)}_{\text{reconstruction}} - \underbrace{\KL{q(z)}{p(z)}}_{\text{rate}} .
# $$ (eq-joint-elbo)
#
# The first rewards latents that explain each modality; the second is the number of nats that $q$ says about $z$ beyond the prior.
# We keep them apart, per example and per modality, and put them together in one visible place, with every weight written out:
#
# $$
# \ELBO_{\beta,w}(q) = \sum_{m=1}^M w_m\, \E_{q}\log p(x_m\mid z) - \beta\, \KL{q(z)}{p(z)} .
# $$ (eq-beta-elbo)

# %% tags=["remove-input"]
show(Bound.elbo)

# %% [markdown]
# With $\beta=1$ and all $w_m=1$ this is the ELBO; a larger $\beta$ subtracts more of a rate that is never negative, and leaves a looser bound; with a smaller $\beta$, or with other weights, it need not be a bound on $\log p(x)$ at all.
# $\beta$ trades reconstruction against rate {cite:p}`higgins2017`, and the papers of this book choose it differently, as {doc}`/conventions` lists.
#
# For Gaussians the rate needs no sampling.
# With a diagonal $q=\N(\mu_q,\operatorname{diag}\sigma_q^2)$, whose log-density is
#
# $$
# \log q(z) = -\tfrac12\sum_{d=1}^{D}\Big[\tfrac{(z_d-\mu_{q,d})^2}{\sigma_{q,d}^2} + \log\sigma_{q,d}^2 + \log 2\pi\Big],
# $$ (eq-gaussian-density)
#
# the expectation of $\log q - \log p$ under $q$ uses only $\E_q(z-\mu_q)^2=\sigma_q^2$ and $\E_q(z-\mu_p)^2=\sigma_q^2+(\mu_q-\mu_p)^2$:
#
# $$
# \KL{q}{p} = \tfrac12\sum_{d=1}^{D}\Big[\tfrac{\sigma_{q,d}^2}{\sigma_{p,d}^2} + \tfrac{(\mu_{q,d}-\mu_{p,d})^2}{\sigma_{p,d}^2} - 1 - \log\tfrac{\sigma_{q,d}^2}{\sigma_{p,d}^2}\Big] .
# $$ (eq-gaussian-kl)

# %% tags=["remove-input"]
show(gaussians.log_density, gaussians.kl)

# %% [markdown]
# **Check.** The closed form must agree with an average of $\log q-\log p$ over samples of $q$, to within that average's standard error.

# %%
loc_q, scale_q = torch.tensor([0.5, -1.0]), torch.tensor([0.6, 1.4])
loc_p, scale_p = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])
z = gaussians.sample(loc_q.expand(samples, 2), scale_q.expand(samples, 2), generator)

log_ratio = gaussians.log_density(z, loc_q, scale_q) - gaussians.log_density(z, loc_p, scale_p)
standard_error = log_ratio.std() / samples**0.5
closed_form = gaussians.kl(loc_q, scale_q, loc_p, scale_p)

assert abs(log_ratio.mean() - closed_form) < 4 * standard_error
swapped = gaussians.kl(loc_p, scale_p, loc_q, scale_q)
assert abs(log_ratio.mean() - swapped) > 20 * standard_error, "the check must tell q from p"

# %% [markdown]
# The second assertion is a habit of this book: a check counts only if a plausible mistake, here the two arguments swapped, fails it.

# %% [markdown]
# ## The oracle
#
# Let every decoder be linear and every noise Gaussian,
#
# $$
# z\sim\N(0,I_D),\qquad x_m\mid z\sim\N\big(W_m z,\ s_m^2 I\big),\qquad m=1,\dots,M .
# $$ (eq-oracle)
#
# For a subset $S$ of modalities, stack the $x_m$ into $x_S$, the loadings into $W_S$ and the noise variances into the diagonal matrix $\Psi_S$.
# Then $x_S=W_Sz+\varepsilon$ with $\varepsilon\sim\N(0,\Psi_S)$ independent of $z$: a Gaussian with mean zero and covariance $W_SW_S^\top+\Psi_S$, so its evidence is
#
# $$
# \log p(x_S) = \log\N\big(x_S;\ 0,\ W_SW_S^\top+\Psi_S\big) .
# $$ (eq-oracle-evidence)
#
# In $\log p(z)+\log p(x_S\mid z)$ the terms that hold $z$ are
#
# $$
# -\tfrac12\,z^\top\big(I+W_S^\top\Psi_S^{-1}W_S\big)z + z^\top W_S^\top\Psi_S^{-1}x_S ,
# $$
#
# and a Gaussian $\N(\mu,\Sigma)$ has $-\frac12z^\top\Sigma^{-1}z+z^\top\Sigma^{-1}\mu$ in their place.
# Comparing the two gives every posterior,
#
# $$
# p(z\mid x_S) = \N\big(\Sigma_S W_S^\top\Psi_S^{-1}x_S,\ \Sigma_S\big),
# \qquad
# \Sigma_S^{-1} = I + W_S^\top\Psi_S^{-1}W_S .
# $$ (eq-oracle-posterior)
#
# Nothing is learned, nothing is approximated, and nothing is special about the full set: *every* subset of modalities has its exact answer.

# %% tags=["remove-input"]
show(LinearGaussian.log_evidence, LinearGaussian.posterior)

# %% [markdown]
# We draw loadings with orthogonal columns.
# Every $W_S^\top\Psi_S^{-1}W_S$ is then diagonal, and so is every posterior covariance: the diagonal Gaussians that encoders produce can be exact here.

# %%
oracle = LinearGaussian.random(
    {"image": 6, "sound": 4, "text": 3},
    latent_dim=2,
    noise={"image": 1.5, "sound": 1.0, "text": 0.8},
    generator=generator,
)
batch = oracle.sample(256, generator)

# %% [markdown]
# **Check.** Bayes' rule at an arbitrary point ties the two formulas together: $\log p(x_S)=\log p(x_S,z)-\log p(z\mid x_S)$ for *any* $z$.
# The left side is a Gaussian in data space and the right side never forms a data covariance, so an error in one does not hide in the other.
# The wrong twin forgets the prior in the posterior's precision.

# %%
for subset in [("image",), ("sound", "text"), oracle.modalities]:
    mean, covariance = oracle.posterior(batch, subset)
    z = torch.randn(256, 2, generator=generator)
    log_posterior = torch.distributions.MultivariateNormal(mean, covariance).log_prob(z)
    seen = {name: batch[name] for name in subset}
    log_joint = gaussians.log_prior(z) + oracle.log_likelihood(seen)(z).sum(0)
    torch.testing.assert_close(log_joint - log_posterior, oracle.log_evidence(batch, subset))

    precision = torch.linalg.inv(covariance)
    flat = torch.linalg.inv(precision - torch.eye(2))  # as if p(z) were constant
    wrong = torch.distributions.MultivariateNormal(mean @ precision @ flat, flat).log_prob(z)
    assert (log_joint - wrong - oracle.log_evidence(batch, subset)).abs().max() > 0.1

# %% [markdown]
# ## The bound on the oracle, exactly
#
# For a Gaussian $q=\N(\mu,C)$ the oracle's bound has a closed form too, since $\E_q\|x-Wz\|^2=\|x-W\mu\|^2+\tr(W^\top W C)$:
#
# $$
# \ELBO(q) = \sum_{m\in S}\Big[\log\N(x_m; W_m\mu, s_m^2I) - \tfrac{1}{2s_m^2}\tr(W_m^\top W_m C)\Big]
# - \tfrac12\Big[\|\mu\|^2+\tr C-D-\log|C|\Big] .
# $$ (eq-oracle-elbo)
#
# So {prf:ref}`lem-elbo-gap` can be read off to machine precision, for a $q$ that is wrong in both mean and scale.

# %%
mean, covariance = oracle.posterior(batch)
wrong_mean, wrong_covariance = 0.7 * mean, 2.5 * covariance

evidence = oracle.log_evidence(batch)
lost = evidence - oracle.elbo(batch, wrong_mean, wrong_covariance)

torch.testing.assert_close(lost, oracle.gap(batch, wrong_mean, wrong_covariance))
torch.testing.assert_close(oracle.elbo(batch, mean, covariance), evidence)
assert lost.min() > 0.1, "a gap near zero would make the first check empty"

# %% [markdown]
# Training never sees this closed form.
# It sees the estimator of {eq}`eq-joint-elbo`, one latent sample and a closed-form rate:

# %% tags=["remove-input"]
show(joint_elbo)

# %% [markdown]
# **Check.** The estimator's average over many samples must meet the closed form within its standard error.
# We repeat one example many times, so that the batch axis counts samples.

# %%
one = {name: x[:1].expand(samples, -1) for name, x in batch.items()}
loc = wrong_mean[:1].expand(samples, -1)
scale = wrong_covariance.diagonal().sqrt().expand(samples, -1)
q = Posteriors(
    loc[None], scale[None], torch.ones(1, samples), torch.ones(1, 3, samples, dtype=bool)
)

estimates = joint_elbo(q, oracle.log_likelihood(one), generator).elbo()
standard_error = estimates.std() / samples**0.5
exact = oracle.elbo(batch, wrong_mean, wrong_covariance)[0]

assert abs(estimates.mean() - exact) < 4 * standard_error
rate = gaussians.kl_to_prior(loc[0], scale[0])
assert rate > 20 * standard_error, "forgetting the rate must not go unnoticed"

# %% tags=["remove-cell"]
glue("lost_mean", f"{lost.mean():.2f}", display=False)
glue("elbo_exact", f"{exact:.3f}", display=False)
glue("elbo_estimate", f"{estimates.mean():.3f}", display=False)
glue("elbo_se", f"{standard_error:.3f}", display=False)

# %% [markdown]
# On this example the closed form is {glue:text}`elbo_exact` nats and the average of the estimator {glue:text}`elbo_estimate`, with standard error {glue:text}`elbo_se`.
# Over the batch the wrong $q$ loses {glue:text}`lost_mean` nats per example, all of them to the divergence.
#
# The picture varies one thing, the standard deviation of $q$ relative to the exact posterior's, and shows where the nats go.

# %% tags=["remove-input"] mystnb={"image": {"alt": "A curve of the ELBO against the width of q relative to the posterior's: it rises to touch the dotted line of the evidence at a factor of one and falls on both sides, and the shaded region between them is the divergence."}}
factors = torch.linspace(0.35, 2.4, 80)
deviation = covariance.diagonal().sqrt()
curve = torch.stack(
    [oracle.elbo(batch, mean, torch.diag((f * deviation) ** 2)).mean() for f in factors]
)
fig, ax = plt.subplots(figsize=(6, 3.1))
ax.plot(factors, curve, color="C0")
ax.axhline(evidence.mean(), color="0.3", lw=1, ls=":")
ax.fill_between(factors, curve, evidence.mean(), color="C0", alpha=0.15)
ax.set_ylim(top=float(evidence.mean()) + 0.12 * float(evidence.mean() - curve.min()))
ax.annotate(
    "evidence", (2.4, evidence.mean()), xytext=(0, 4), textcoords="offset points", ha="right"
)
ax.annotate(
    "ELBO", (1.9, curve[65]), xytext=(-6, -14), textcoords="offset points", color="C0", ha="right"
)
ax.annotate(
    r"$\mathrm{KL}(q\,\|\,p(z|x))$",
    (2.1, (curve[68] + evidence.mean()) / 2),
    ha="center",
    va="center",
)
ax.set(
    xlabel="standard deviation of $q$ / that of the posterior",
    ylabel="nats per example",
    title="The bound touches the evidence at the exact posterior only",
)
plt.show()

# %% [markdown]
# ## When a modality is missing, two bounds are meant
#
# Suppose only $x_S$ is at hand, and $q_S(z)$ is built from it.
# Two different evidences can be bounded with it, as {cite:t}`sutter2021` point out.
#
# - Score only what was seen, and the bound is on $\log p(x_S)$; {prf:ref}`lem-elbo-gap` holds with the subset posterior, and $q_S=p(z\mid x_S)$ closes the gap.
# - Score *all* modalities with latents drawn from $q_S$, and the bound is on $\log p(x)$; its gap is $\KL{q_S}{p(z\mid x)}$, and even the exact subset posterior leaves it open.
#
# The second gap is no defect of any encoder: it is what the missing modalities would have told.
# On the oracle we can see how much that is.

# %%
subset = ("text",)
subset_mean, subset_covariance = oracle.posterior(batch, subset)

on_subset = oracle.elbo(batch, subset_mean, subset_covariance, subset)
torch.testing.assert_close(on_subset, oracle.log_evidence(batch, subset))  # first bound: tight

on_all = oracle.elbo(batch, subset_mean, subset_covariance)
missing_information = evidence - on_all
torch.testing.assert_close(missing_information, oracle.gap(batch, subset_mean, subset_covariance))
assert missing_information.mean() > 1.0  # second bound: open

# %% tags=["remove-cell"]
glue("missing_information", f"{missing_information.mean():.1f}", display=False)

# %% [markdown]
# Answering for three modalities from the text alone costs {glue:text}`missing_information` nats per example, with exact inference.
# Every objective in this book takes a position on this price.
# MVAE bounds the evidence of each subset separately and does not pay it; MMVAE and MoPoE pay it inside one bound on $\log p(x)$; the masked objective of {cite:t}`hirt2024` is built to avoid it.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-beta-not-a-bound
# Show on the oracle that {eq}`eq-beta-elbo` with $\beta<1$ can exceed the evidence.
# ::::
#
# ::::{solution} ex-beta-not-a-bound
# :class: dropdown
# At the exact posterior the bound with $\beta=1$ equals the evidence.
# Lowering $\beta$ adds $(1-\beta)$ times the rate, which is positive whenever the posterior differs from the prior.
# We compare on one and the same sample, so that nothing but $\beta$ differs:
# ::::

# %% tags=["hide-input", "remove-output"]
scale = covariance.diagonal().sqrt().expand(256, -1)
exact_q = Posteriors(mean[None], scale[None], torch.ones(1, 256), torch.ones(1, 3, 256, dtype=bool))
bound = joint_elbo(exact_q, oracle.log_likelihood(batch), generator)
excess = bound.elbo(beta=0.5) - bound.elbo(beta=1.0)
torch.testing.assert_close(excess, 0.5 * bound.rate)
assert excess.min() > 0

# %% [markdown]
# ::::{exercise}
# :label: ex-zero-variance
# Write the bound with $\log q(z)$ sampled instead of the closed-form rate, and show that at $q=p(z\mid x)$ a single sample gives the evidence with no variance at all.
# ::::
#
# ::::{solution} ex-zero-variance
# :class: dropdown
# By Bayes' rule $\log p(x,z)-\log p(z\mid x)=\log p(x)$ at every $z$, so the integrand is constant.
# With the closed-form rate the reconstruction keeps its noise, even at the exact posterior:
# ::::

# %% tags=["hide-input", "remove-output"]
z = gaussians.sample(mean, scale, generator)
log_joint = gaussians.log_prior(z) + oracle.log_likelihood(batch)(z).sum(0)
torch.testing.assert_close(log_joint - gaussians.log_density(z, mean, scale), evidence)
assert (bound.elbo() - evidence).std() > 0.1, "the closed form is noisier here"

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
# # What each objective learns
#
# A gap between a bound and the evidence would be harmless if it were the same for all decoders.
# It is not: decoders are trained to make the gap small.
# This chapter computes what they become.
# Under a mixture objective they maximise the likelihood of data whose missing modalities were replaced by their means; factors that belong to one modality shrink, and below a threshold of signal they vanish.
# Under the masked objective they become right, and under MMVAE+, which gives private factors latents of their own.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0
results = "book/results"

# %% tags=["remove-cell"]
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from myst_nb import glue
from scipy.optimize import minimize

from multielbo import linear_collapse, oracle_imputation, plots
from multielbo import oracle_bounds as bounds
from multielbo import oracle_encoders as encoders
from multielbo.linear_data import likeliest
from multielbo.linear_report import captured
from multielbo.linear_theory import mixture_optimum
from multielbo.models.mmvae_plus import MMVAEPlus
from multielbo.oracle import LinearGaussian
from multielbo.oracle_auxiliary import auxiliary_loading
from multielbo.oracle_bounds import LinearEncoder
from multielbo.oracle_imputation import learned_by_mixture, private_loading, shared_loading
from multielbo.profiles import check_profile
from multielbo.publishing.show import show
from multielbo.records import store

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)
MASKED, MOE, MOPOE = plots.INK, plots.colour("mmvae"), plots.colour("mopoe")

# %% [markdown]
# ## The likelihood of imputed data
#
# Let the mixture objective use the subsets $S$ with probabilities $\rho(S)$: equal ones on the singletons for MMVAE, on all non-empty subsets for MoPoE.
# Let the decoders have Gaussian noise of given scales, and be as non-linear as they like.
# {prf:ref}`lem-mean-imputation`, averaged over $S$, reads
#
# $$
# \max_{\text{encoders}}\ \E_{S}\,\E_{p_d}\mathcal L^{\mathrm{mix}}_S=\E_S\,\E_{p_d}\log p(\hat x_S)-\text{const},
# \qquad \hat x_S=\big(x_S,\ \E_{p_d}[x_T\mid x_S]\big) ,
# $$
#
# with a constant that no decoder moves.
# So with flexible encoders a mixture objective is **maximum likelihood on another data set**: each row of the data comes once for every subset, with its missing modalities replaced by their means given the others.
# Nothing else is left of the mixture.
#
# Two things follow for what such a model generates.
# What it paints of a modality that it has not seen is near an average, because averages are what its decoder was trained on.
# And what a modality does not share with the others, its style, varies less in this data set than in the world, or not at all.
#
# For the joint ELBO the best encoders are exact and leave $\E\log p(x)$.
# Under the masked objective exact ones leave the same, others may leave more, but never more than $-H(X)$ ({prf:ref}`lem-masked-pointwise`, {prf:ref}`lem-masked-exceeds`, {prf:ref}`thm-masked-expectation`): its maximiser is the same.
# MVAE's sum over subsets leaves $\sum_S\E\log p(x_S)$, whose maximiser is the same too.

# %% [markdown]
# ## Linear decoders: principal components of means
#
# With linear decoders the maximum can be written down, for any number of modalities, any loadings, and any law of subsets.
# Let the data be centred and Gaussian with covariance $C$; then $\hat x_S$ is linear in $x_S$, and all that counts is
#
# $$
# G=\E_S\,\E\,\hat x_S\hat x_S^\top .
# $$ (eq-imputed-moment)
#
# ::::{prf:theorem} What a mixture objective learns
# :label: thm-mixture-learns
#
# Let $\Psi$ be the diagonal matrix of noise variances, and let $\Psi^{-1/2}G\,\Psi^{-1/2}$ have eigenvalues $g_1\ge g_2\ge\dots$ with orthonormal eigenvectors $u_i$.
# Over all loadings $W$ with $D$ columns, and all encoders, the mixture objective is largest for
#
# $$
# W=\Psi^{1/2}\,\big(u_1\sqrt{\max(0,g_1-1)}\,,\ \dots,\ u_D\sqrt{\max(0,g_D-1)}\big) ,
# $$ (eq-mixture-learns)
#
# and for $WR$ with $R$ orthogonal.
# ::::
#
# :::{prf:proof}
# Up to constants the objective is $-\frac12\big[\log|C_W|+\tr(C_W^{-1}G)\big]$ with $C_W=WW^\top+\Psi$: the Gaussian log-likelihood of data with second moment $G$.
# Whitening by $\Psi^{-1/2}$ makes it $-\frac12\big[\log|I+L|+\tr\big((I+L)^{-1}\tilde G\big)\big]$, where $L=\Psi^{-1/2}WW^\top\Psi^{-1/2}$ may be any positive semi-definite matrix of rank at most $D$ and $\tilde G=\Psi^{-1/2}G\Psi^{-1/2}$.
# For given eigenvalues $\ell_1\ge\ell_2\ge\dots$ of $L$ the trace is smallest when $L$ has the eigenvectors $u_i$ in the same order, by von Neumann's trace inequality, since $(1+\ell)^{-1}$ falls with $\ell$.
# What remains is $-\frac12\sum_i\big[\log(1+\ell_i)+\frac{g_i}{1+\ell_i}\big]$, each term largest at $\ell_i=\max(0,g_i-1)$, and the gain of term $i$ grows with $g_i$.
# :::
#
# The maximisation is that of probabilistic principal component analysis {cite:p}`tipping1999`, with the noise known.
# With the full set for the only subset $G=C$, and it *is* that.

# %% tags=["remove-input"]
show(oracle_imputation.imputed_moment, oracle_imputation.learned_by_mixture)

# %% [markdown]
# **Check.** Two modalities of three dimensions, one factor that they share and a private one each, all of loading one.
# A general-purpose optimiser knows nothing of imputation: it varies all loadings *and* all encoders at once, and arrives at the same value and the same covariance.


# %%
def two_modalities(noise):
    """One shared factor and a private one for each modality, orthonormal."""
    directions = torch.Generator().manual_seed(3)
    loadings = {}
    for m, name in enumerate("ab"):
        q = torch.linalg.qr(torch.randn(3, 2, generator=directions)).Q
        w = torch.zeros(3, 3)
        w[:, 0], w[:, 1 + m] = q[:, 0], q[:, 1]
        loadings[name] = w
    return LinearGaussian(loadings, dict.fromkeys("ab", noise**0.5))


families = {"singletons": [["a"], ["b"]], "power set": [["a"], ["b"], ["a", "b"]]}
truth = two_modalities(0.5)
data = bounds.data_covariance(truth)


def equal(subsets):
    return torch.full((len(subsets),), 1 / len(subsets))


def at_best(model, subsets, covariance):
    values = [
        bounds.mixture(model, encoders.best_for_mixture(model, s, covariance), covariance)
        for s in subsets
    ]
    return sum(values) / len(values)


def unpack(v, subsets):
    """Loadings and one free linear encoder for each subset, from a vector."""
    model = LinearGaussian({"a": v[:9].view(3, 3), "b": v[9:18].view(3, 3)}, truth.noise)
    v, found = v[18:], []
    for subset in subsets:
        at = bounds.positions(truth, subset)
        weight = torch.zeros(3, 6).index_copy(1, at, v[: 3 * len(at)].view(3, -1))
        v = v[3 * len(at) :]
        root = torch.diag(v[:3].exp()) + torch.tril(v[3:12].view(3, 3), -1)
        found.append(LinearEncoder(weight, root @ root.T))
        v = v[12:]
    return model, found


subsets = families["power set"]


def missed(values):
    v = torch.tensor(values, requires_grad=True)
    model, found = unpack(v, subsets)
    loss = -sum(bounds.mixture(model, q, data) for q in found) / len(found)
    return loss.item(), torch.autograd.grad(loss, v)[0].numpy()


start = 0.4 * np.random.default_rng(seed).standard_normal(18 + 3 * 12 + 3 * (3 + 3 + 6))
search = minimize(missed, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
by_search, _ = unpack(torch.tensor(search.x), subsets)
learned = learned_by_mixture(truth, subsets, equal(subsets), data)
best = at_best(learned, subsets, data)
assert abs(best + search.fun) < 1e-4
assert best >= -search.fun - 1e-9, "the search may not find more"
torch.testing.assert_close(
    bounds.data_covariance(by_search), bounds.data_covariance(learned), atol=5e-3, rtol=0
)
assert (bounds.data_covariance(learned) - data).abs().max() > 0.1, "not the data's covariance"
alone = learned_by_mixture(truth, [["a", "b"]], equal([0]), data)
torch.testing.assert_close(bounds.data_covariance(alone), data)

# %% [markdown]
# ## One factor at a time
#
# The eigenvalues can be had by hand where factors do not meet.
# Take a factor that $n$ modalities carry, with the same loading $w_0$ in each and noise $s^2$, in directions that no other factor uses; and let the law of subsets treat these modalities alike, so that only the number $k$ of them in $S$ matters.
#
# ::::{prf:lemma} Factors shrink
# :label: lem-shrinkage
#
# With $c_k=k\,w_0^2+s^2$, and at least as many latents as factors, the mixture objective learns the squared loading
#
# $$
# w^2=\max\Big(0,\ \frac{c_n^2}{n^2}\,\E\Big[\frac k{c_k}\Big]-\frac{s^2}n\Big) .
# $$ (eq-shared-loading)
#
# For a private factor, $n=1$, of a modality that is in $S$ with probability $r$, this is
#
# $$
# w^2=\max\big(0,\ r\,w_0^2-(1-r)\,s^2\big) ,
# $$ (eq-private-loading)
#
# so a private factor **vanishes** as soon as $s^2\ge\frac r{1-r}\,w_0^2$.
# ::::
#
# :::{prf:proof}
# Only one number per modality is concerned, $x_m=w_0z+\varepsilon_m$, and by symmetry only their sum: the eigenvector is $(1,\dots,1)/\sqrt n$.
# A contrast between these modalities has variance $s^2$ in the data, and a conditional mean varies no more than what it predicts, so its eigenvalue is at most $s^2$ and nothing is learned on it.
# Let $y_S=\sum_{m\in S}x_m$.
# It has variance $k^2w_0^2+ks^2=k\,c_k$, and the mean of a missing $x_t$ given $x_S$ is $\frac{w_0^2}{c_k}\,y_S$.
# So the imputed sum is $\big(1+(n-k)\frac{w_0^2}{c_k}\big)y_S=\frac{c_n}{c_k}\,y_S$, with variance $k\,c_n^2/c_k$, and the eigenvalue of $G$ is $\E[k\,c_n^2/c_k]/n$.
# By {eq}`eq-mixture-learns` the eigenvalue less $s^2$ is the squared loading on the unit vector, $n\,w^2$.
# With $n=1$ and $k=1$ with probability $r$, $w^2=r\,c_1-s^2$.
# :::
#
# The formula for the private factor has a plain reading.
# Its part of $x_m$ is unpredictable from elsewhere, so its conditional mean is zero, and the imputed data hold it in a fraction $r$ of the rows: a variance of $r(w_0^2+s^2)$, of which $s^2$ is explained by noise.
# A mixture of experts of $M$ modalities has $r=\frac1M$: with five modalities, private factors vanish unless their signal is more than four times the noise.
# Even without any noise only the fraction $r$ of it is learned.

# %%
noises = torch.linspace(0.02, 1.6, 80)
for noise in (0.1, 0.5, 1.0):
    model = two_modalities(noise)
    covariance = bounds.data_covariance(model)
    for name, chances in [("singletons", (0, 1, 0)), ("power set", (0, 2 / 3, 1 / 3))]:
        subsets = families[name]
        found = learned_by_mixture(model, subsets, equal(subsets), covariance)
        shared = torch.linalg.svdvals(found.loadings["a"] @ found.loadings["b"].T)[0]
        private = found.loadings["a"].square().sum() - shared
        r = chances[1] / 2 + chances[2]
        torch.testing.assert_close(shared, shared_loading(1.0, noise, dict(enumerate(chances))))
        torch.testing.assert_close(private, private_loading(1.0, noise, r))
        assert shared < 1 - 0.01
        assert private < 1 - 0.1

for modalities in (3, 5):  # a factor of all of them, all non-empty subsets
    names = [f"m{m}" for m in range(modalities)]
    toy = LinearGaussian(dict.fromkeys(names, torch.ones(1, 1)), dict.fromkeys(names, 1.0))
    subsets = [list(s) for k in range(1, modalities + 1) for s in combinations(names, k)]
    found = learned_by_mixture(toy, subsets, equal(subsets), bounds.data_covariance(toy))
    sizes = torch.bincount(torch.tensor([len(s) for s in subsets])) / len(subsets)
    expected = shared_loading(1.0, 1.0, dict(enumerate(sizes.tolist())))
    torch.testing.assert_close(found.loadings["m0"].square()[0, 0], expected)

# %% [markdown]
# The picture has a curve for each law, for two modalities and a true loading of one.

# %% tags=["remove-cell"]
curves = {
    "private": {
        "masked, joint ELBO": (torch.ones_like(noises), MASKED),
        "mixture, power set": (private_loading(1.0, noises, 2 / 3), MOPOE),
        "mixture, singletons": (private_loading(1.0, noises, 1 / 2), MOE),
    },
    "shared": {
        "masked, joint ELBO": (torch.ones_like(noises), MASKED),
        "mixture, power set": (shared_loading(1.0, noises, {0: 0, 1: 2 / 3, 2: 1 / 3}), MOPOE),
        "mixture, singletons": (shared_loading(1.0, noises, {0: 0, 1: 1, 2: 0}), MOE),
    },
}


def recorded(name):
    folder = Path(results) / name / "laptop"
    return store.load(folder)[1] if (folder / "record.json").exists() else {}


trained, shorter = recorded(linear_collapse.LONG), recorded(linear_collapse.SHORT)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Two panels of squared learned loading against noise variance. Left, a private factor: constant at one for the masked objective; for the mixture objectives straight lines that start at two thirds and one half and fall; that of the singletons reaches zero at noise one. Right, the shared factor: constant at one for the masked objective, slowly falling curves for the mixtures."}}
fig, axes = plt.subplots(1, 2, figsize=(7.6, 3.6), sharey=True)
for ax, (factor, lines) in zip(axes, curves.items(), strict=True):
    for name, (values, color) in lines.items():
        ax.plot(noises, values, color=color, label=name)
        key = f"{factor} {name}"
        if key in trained:  # (noises, seeds), and the noises under "noise"
            dots = trained[key]
            at = np.repeat(trained["noise"], dots.shape[1])
            ax.plot(at, dots.ravel(), "o", color=color, ms=4, alpha=0.6)
    ax.set(xlabel="noise variance $s^2$", title=f"A {factor} factor", ylim=(-0.03, 1.12))
axes[0].set_ylabel("squared loading learned")
axes[0].legend(*axes[0].get_legend_handles_labels(), loc="upper right", bbox_to_anchor=(1, 0.93))
fig.suptitle(
    "Under a mixture objective, private factors collapse first",
    weight="bold",
    fontsize=12,
    x=0.01,
    ha="left",
)
plt.show()


# %% tags=["remove-cell"]
NEAR = 0.03


def misses(arrays):
    """Of every model, `(noises, learners, seeds)`, how far a factor is from what its rows ask."""
    far = []
    for i, noise in enumerate(linear_collapse.NOISES):
        simulated, rows = linear_collapse.simulated(noise)
        best = likeliest(rows, simulated.present, 3, simulated.noise)
        for name, (objective, law) in linear_collapse.LEARNERS.items():
            of = best if objective == "masked" else mixture_optimum(rows, simulated, law).model
            factors = captured(of, simulated)
            theory = {"shared": factors[0], "private": factors[1:].mean()}
            off = [arrays[f"{kind} {name}"][i] - float(value) for kind, value in theory.items()]
            far.append(np.abs(off).max(0))
    return np.stack(far)


told = dict.fromkeys(("near", "models", "short_near", "short_off"), "(no record)")
if trained and shorter:
    at_last, before = misses(trained), misses(shorter)
    told = {"near": (at_last < NEAR).sum(), "models": at_last.size}
    told |= {"short_near": (before < NEAR).sum(), "short_off": f"{before.max():.2f}"}
for key, value in told.items():
    glue(f"collapse_{key}", str(value), display=False)
glue("collapse_mark", f"{NEAR:g}", display=False)

# %% tags=["remove-input"]
Markdown(
    f"Dots are trained models, {trained['shared masked, joint ELBO'].shape[1]} seeds for each noise, "
    "from a record."
) if trained else None

# %% [markdown]
# Of {glue:text}`collapse_models` models {glue:text}`collapse_near` are within {glue:text}`collapse_mark` of what theory says for their own rows.
# After a quarter of the epochs {glue:text}`collapse_short_near` were, and the others were off by up to {glue:text}`collapse_short_off`: most had lost of the shared factor and kept more of the private ones.
# What held them up?
# A diagonal Gaussian is exact in the axes of the factors alone ({prf:ref}`lem-diagonal-preference`), which suggests that decoders along other axes are optima of their own, in which training is caught.
# They are not: on the oracle, a search over loadings and *diagonal* encoders ends at the truth from a random start and from rotated decoders.
# But halfway between a shared and a private factor it finds a **saddle**, {glue:text}`saddle_cost` nats below the truth, with one way out, along which the curvature is {glue:text}`saddle_ratio` times smaller than the largest.
# Such seeds are slow and not trapped.

# %%
pairs = families["power set"]
sizes = [3 * len(bounds.positions(truth, s)) for s in pairs]
free = np.concatenate([np.ones(18), *[np.r_[np.ones(n + 3), np.zeros(9)] for n in sizes]])


def missed_by_diagonal(values):
    v = torch.tensor(values * free, requires_grad=True)
    model, found = unpack(v, pairs)
    asked = [([], bounds.prior(model)), *zip(pairs, found, strict=True)]
    loss = -sum(bounds.masked(model, found[-1], q, s, data) for s, q in asked) / len(asked)
    return loss.item(), torch.autograd.grad(loss, v)[0].numpy() * free


def start_at(model):
    """Its loadings, and for each subset the diagonal encoder that comes closest."""
    values = [model.loadings["a"].flatten(), model.loadings["b"].flatten()]
    for s in pairs:
        q = encoders.exact(model, s)
        spread = -0.5 * torch.linalg.inv(q.covariance).diagonal().log()
        values += [q.weight[:, bounds.positions(model, s)].flatten(), spread, torch.zeros(9)]
    return torch.cat(values).numpy()


def rotated(degrees):
    """The same evidence, with the shared factor and the private one of "a" turned together."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    r = torch.block_diag(torch.tensor([[c, -s], [s, c]]), torch.eye(1))
    return LinearGaussian({m: w @ r for m, w in truth.loadings.items()}, truth.noise)


def found_from(start):
    options = {"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-8}
    return minimize(missed_by_diagonal, start, jac=True, method="L-BFGS-B", options=options)


evidence = float(bounds.expected_log_evidence(truth))
assert abs(missed_by_diagonal(start_at(truth))[0] + evidence) < 1e-12, "diagonal encoders suffice"
anywhere = 0.4 * np.random.default_rng(seed).standard_normal(len(free))
for start in (anywhere, start_at(rotated(20)), start_at(rotated(40))):
    search = found_from(start)
    assert missed_by_diagonal(start)[0] + evidence > 0.03
    assert abs(search.fun + evidence) < 1e-5
    reached, _ = unpack(torch.tensor(search.x * free), pairs)
    torch.testing.assert_close(bounds.data_covariance(reached), data, atol=0.01, rtol=0)

saddle = found_from(start_at(rotated(45)))  # which the symmetry between both factors keeps there
moving, step = np.flatnonzero(free), 1e-4
curvatures = np.stack(
    [
        missed_by_diagonal(saddle.x + shift)[1] - missed_by_diagonal(saddle.x - shift)[1]
        for shift in step * np.eye(len(free))[moving]
    ]
)[:, moving] / (2 * step)
values, ways = np.linalg.eigh((curvatures + curvatures.T) / 2)
assert abs(saddle.jac).max() < 1e-6
assert saddle.fun + evidence > 0.03
assert values[0] < -1e-2
assert values[1] > 0
out = np.zeros(len(free))
out[moving] = ways[:, 0]
for sign in (1, -1):
    assert abs(found_from(saddle.x + 0.01 * sign * out).fun + evidence) < 1e-5

# %% tags=["remove-cell"]
glue("saddle_cost", f"{saddle.fun + evidence:.2f}", display=False)
glue("saddle_ratio", f"{values[-1] / -values[0]:.0f}", display=False)

# %% [markdown]
# ## What it costs
#
# Two numbers belong to each law: how far the *objective* stays below $-H(X)$ even at its own optimum, and how far the *likelihood* of what was learned does.

# %%
costs = {}
for noise in (0.1, 0.5, 1.0):
    model = two_modalities(noise)
    covariance, evidence = bounds.data_covariance(model), bounds.expected_log_evidence(model)
    for name, subsets in families.items():
        found = learned_by_mixture(model, subsets, equal(subsets), covariance)
        gap = evidence - at_best(found, subsets, covariance)
        lost = evidence - bounds.expected_log_evidence(found, data=covariance)
        at_truth = evidence - at_best(model, subsets, covariance)
        assert 0 < lost < gap < at_truth, "the optimum is better than the truth, and still short"
        costs[noise, name] = (at_truth, gap, lost)
# Two private factors, each in half of the rows of the singletons; a little is lost on the shared.
assert abs(costs[0.1, "singletons"][2] - 2 * 0.5 * (1 - np.log(2))) < 0.01

# %% tags=["remove-input"]
Markdown(
    "| noise variance | subsets | objective misses, true decoders | objective misses, learned decoders "
    "| likelihood lost |\n|---|---|---|---|---|\n"
    + "\n".join(
        f"| {noise} | {name} | " + " | ".join(f"{v:.3f}" for v in row) + " |"
        for (noise, name), row in costs.items()
    )
)

# %% [markdown]
# Nats per example.
# With little noise the objective misses much, {glue:text}`gap_low` nats for the singletons at noise {glue:text}`low_noise`, but the likelihood of what was learned only {glue:text}`lost_low`: the loss is linear in the signal, and the damage stays bounded, $\frac12(\frac1r-1+\log r)$ for each private factor that survives.
# Comparing models by a mixture bound therefore overstates how bad their decoders are; their likelihood does not.

# %% tags=["remove-cell"]
glue("low_noise", "0.1", display=False)
glue("gap_low", f"{costs[0.1, 'singletons'][1]:.2f}", display=False)
glue("lost_low", f"{costs[0.1, 'singletons'][2]:.2f}", display=False)

# %% [markdown]
# ## A private latent that others guess: MMVAE+
#
# If private factors suffer because every modality has to be explained from elsewhere, one may give them latents of their own and excuse the others.
# MMVAE+ {cite:p}`palumbo2023` is MMVAE with a latent $u_m$ for each modality, encoder $q(u_m\mid x_m)$ and prior $p(u_m)=\N(0,I)$ beside the shared $z$.
# A modality $n\ne m$ that is explained from a $z$ of expert $m$ takes its private latent from an **auxiliary prior** $r_n(u_n)=\N(0,\operatorname{diag}\rho_n^2)$, whose scale is learned and which nothing else uses:
#
# $$
# \mathcal L=\sum_{m=1}^Mw_m\,\E\Big[\log p(x_m\mid z,u_m)+\sum_{n\ne m}\log p(x_n\mid z,\tilde u_n)+\log\frac{p(z)\,p(u_m)}{\bar q(z)\,q(u_m\mid x_m)}\Big] ,
# $$ (eq-mmvae-plus)
#
# with $z\sim q(z\mid x_m)$, $u_m\sim q(u_m\mid x_m)$, $\tilde u_n\sim r_n$, and $\bar q=\sum_mw_mq(z\mid x_m)$.
# With several draws, the average over them goes inside the logarithm, as in {eq}`eq-iwae-outside`.

# %% tags=["remove-input"]
show(MMVAEPlus.bound, MMVAEPlus._guessing)

# %% [markdown]
# ::::{prf:lemma} Guessed private latents
# :label: lem-auxiliary
#
# *(1)* With $r_n=p$, {eq}`eq-mmvae-plus` is at most $\log p(x)$; with other auxiliary priors it can exceed it.
#
# *(2)* For one draw and decoders that are linear in $u_n$ with Gaussian noise of variance $s^2$, {eq}`eq-mmvae-plus` falls with every $\rho_n$: the best auxiliary prior has no spread.
#
# *(3)* Take a private factor of one modality with loading $w_0$ in the data and noise $s^2$, and a share $r$ of the terms in which the modality's own encoder gives its $u$.
# With an auxiliary scale $\rho$ the squared loading that is learned is
#
# $$
# w^2=\max\Big(0,\ \frac{2c}{1+\sqrt{1+4\kappa c}}-s^2\Big) ,\qquad c=w_0^2+s^2,\quad\kappa=\frac{1-r}r\,\frac{\rho^2}{s^2} ,
# $$ (eq-auxiliary-loading)
#
# which for $\rho=0$ is $w_0^2$, whatever $r$.
# ::::
#
# :::{prf:proof}
# *(1)* With $r_n=p$ the draws $u_m$ and $\tilde u_n$ together are a proposal for all private latents, and for given $z$ Jensen's inequality over them leaves at most $\log\frac{p(x,z)}{\bar q(z)}$; what remains is {eq}`eq-stratified`, the ELBO of $\bar q$.
# The second claim has an example in the check.
#
# *(2)* Only $\E\log p(x_n\mid z,\tilde u_n)$ depends on $\rho_n$, through $-\frac1{2s^2}\sum_i\rho_{n,i}^2\lVert V_{n,i}\rVert^2$ with the columns $V_{n,i}$ of the private loadings.
#
# *(3)* The own terms are an ELBO whose best encoder makes it $\log\N(x;0,v)$ with $v=w^2+s^2$; the others are $-\frac12\log2\pi s^2-\frac1{2s^2}(x^2+\rho^2w^2)$.
# On average over data the sum is, up to constants, $-\frac r2\big[\log v+\frac cv\big]-\frac{1-r}{2s^2}\rho^2v$.
# Its derivative in $v$ is zero where $\kappa v^2+v-c=0$.
# :::
#
# So with noise of fixed scale MMVAE+ leaves private factors as they are, like the masked objective, *because* its auxiliary priors are learned; with guesses from the prior they shrink, and with little noise more than in MMVAE.
# The shared latent is still that of a mixture, and shared factors shrink as before.
#
# **Check.** One private factor, its loading and its encoder optimised at once; a trained-scale search finds $\rho=0$; and for a picture that looks as the guess says, the objective exceeds the evidence.


# %%
def one_private(noise, chance, spread):
    """Squared loading at the optimum of a private factor's terms, and the spread if it is free."""

    def loss(v):
        w, gain, log_width = v[:3]
        rho = spread if len(v) == 3 else np.exp(v[3])
        c, width = 1 + noise, np.exp(log_width)
        missed = (1 - w * gain) ** 2 * c + (w * width) ** 2
        rate = 0.5 * (gain**2 * c + width**2 - 1) - log_width
        guessed = (c + (rho * w) ** 2) / (2 * noise)
        return chance * (missed / (2 * noise) + rate) + (1 - chance) * guessed

    start = [0.8, 0.5, -0.4] + ([] if spread is not None else [-0.5])
    found = minimize(loss, start, method="BFGS", options={"gtol": 1e-7}).x
    return found[0] ** 2, np.exp(found[-1])


for noise, chance in ((0.1, 0.5), (0.4, 0.5), (0.4, 0.2)):
    for spread in (0.0, 0.3, 1.0):
        found, _ = one_private(noise, chance, spread)
        assert abs(found - auxiliary_loading(1.0, noise, chance, spread)) < 1e-5
        assert (abs(found - 1) < 1e-5) == (spread == 0)
    found, spread = one_private(noise, chance, None)
    assert spread < 0.02
    assert abs(found - 1) < 1e-3

log_p = np.log(2 * np.pi * 1.4) / -2  # of x = 0 in one modality, with loading 1 and noise 0.4
log_guess = np.log(2 * np.pi * 0.4) / -2  # the same, explained with u = 0
assert 0.5 * 2 * (log_p + log_guess) > 2 * log_p, "two modalities, exact private encoders"

# %% tags=["remove-input"] mystnb={"image": {"alt": "Squared learned loading of a private factor against noise variance, two modalities: constant at one for auxiliary spread zero; for spreads 0.3 and 1 curves below, which at small noise fall to zero; and the straight falling line of a mixture over singletons whose factor lives in the shared latent."}}
fig, ax = plt.subplots(figsize=(6.4, 3.4))
lines = {
    r"$\rho=0$, learned": (auxiliary_loading(1.0, noises, 0.5, 0.0), plots.colour("mmvae-plus")),
    r"$\rho=0.3$": (auxiliary_loading(1.0, noises, 0.5, 0.3), "#7a5a82"),
    r"$\rho=1$, the prior": (auxiliary_loading(1.0, noises, 0.5, 1.0), "#b8a3bd"),
    "in the shared latent": (private_loading(1.0, noises, 0.5), MOE),
}
for values, color in lines.values():
    ax.plot(noises, values, color=color)
plots.label_ends(
    ax, {name: (float(noises[-1]), float(v[-1]), color) for name, (v, color) in lines.items()}
)
ax.set(
    xlabel="noise variance $s^2$",
    ylabel="squared loading learned",
    ylim=(-0.03, 1.12),
    title="A private latent is worth as much as the guess is narrow",
)
plt.show()

# %% [markdown]
# | MMVAE+ | paper {cite:p}`palumbo2023` | released code | MultiVae 1.0.3 | here |
# |---|---|---|---|---|
# | densities | not known to us | Laplace | Laplace or normal | normal |
# | auxiliary priors | learned | mean zero, scale learned | the same | the same, a standard deviation per dimension |
# | draws per expert | not known to us | 2 by default, DReG | 10 by default, DReG | one in our runs; several with autograd's gradient |
# | private latent of what is generated | not known to us | from the prior | from the prior, or the auxiliary one | from the prior |
# | missing modalities | not known to us | not known to us | leave the mixture | the same |

# %% [markdown]
# ## How far this reaches
#
# {prf:ref}`lem-mean-imputation` needs Gaussian noise of given scale, {prf:ref}`thm-mixture-learns` linear decoders in addition.
# Encoders must be flexible enough to reach their optimum; less flexible ones add a loss of their own.
# It is about the component-averaged objective of {eq}`eq-mopoe` and {eq}`eq-powerset-elbo`.
# The ELBO of the mixture density, {eq}`eq-stratified`, has a different optimum, at most $\log K$ nats away in value.
# If the noise scale is learned, the constant is one no longer: it adds the conditional variance of what is missing to the noise, {ref}`an exercise <ex-learned-noise>`.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-learned-noise
# Let one modality be seen with probability $r$, with a private factor of loading $w_0$ and noise $s_0^2$ in its only dimension, and let the mixture objective learn loading *and* noise.
# What does it learn?
# ::::
#
# ::::{solution} ex-learned-noise
# :class: dropdown
# With $c=w_0^2+s_0^2$ the objective is, by {prf:ref}`lem-mean-imputation`, $-\frac12\big[\log(w^2+s^2)+\frac{r\,c}{w^2+s^2}+\frac{(1-r)\,c}{s^2}\big]$.
# For given $t=w^2+s^2$ it wants $s^2=t$, so $w=0$; then $-\frac12[\log t+c/t]$ is largest at $t=c$.
# Everything private becomes noise, whatever the signal, and the model of this modality's marginal is right again.
# With one dimension only, that is; in several, noise is shared among directions and signal stands out.
# ::::

# %% tags=["hide-input", "remove-output"]
r, c = 0.7, 1.0 + 0.1


def objective(log_s, w):
    s = np.exp(2 * log_s)
    return 0.5 * (np.log(w**2 + s) + r * c / (w**2 + s) + (1 - r) * c / s)


ends = [minimize(lambda v: objective(*v), [-1.0, w], method="BFGS").x for w in (0.3, 1.5)]
for log_s, w in ends:
    assert abs(np.exp(2 * log_s) - c) < 1e-3
    assert abs(w) < 0.05
assert objective(0.5 * np.log(0.1), 1.0) > objective(*ends[0]) + 0.1, "the truth is worse"

# %% [markdown]
# ::::{exercise}
# :label: ex-shared-survives
# Can a factor that all $n$ modalities share vanish under a mixture objective, too?
# ::::
#
# ::::{solution} ex-shared-survives
# :class: dropdown
# {eq}`eq-shared-loading` is positive if $\E[k/c_k]>n\,s^2/c_n^2$.
# With singletons only, $k=1$, that is $(n\,w_0^2+s^2)^2>n\,s^2\,(w_0^2+s^2)$, hence $n^2w_0^4+n\,w_0^2s^2>(n-1)\,s^4$.
# For two modalities it fails where $s^2/w_0^2\ge1+\sqrt5$: signal has to be stronger than that, even though both modalities carry it.
# ::::

# %% tags=["hide-input", "remove-output"]
threshold = 1 + 5**0.5
singles = {0: 0, 1: 1, 2: 0}
assert shared_loading(1.0, 1.01 * threshold, singles) == 0
assert shared_loading(1.0, 0.99 * threshold, singles) > 0

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
# # What a bound can miss
#
# A mixture of experts asks each component to explain all modalities, also those that it has not seen.
# {prf:ref}`lem-subset-floor` put a number on the price of that, on the oracle.
# This chapter asks where the nats go.
# We derive the encoder that a mixture objective really wants, for every decoder with Gaussian noise: it is the posterior of data whose missing modalities have been replaced by their *means*.
# On the oracle aggregators can then be held against every objective, and for single Gaussians the differences have closed forms.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import math
from itertools import chain, combinations, product

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from myst_nb import glue
from scipy.optimize import minimize

from multielbo import oracle_bounds as bounds
from multielbo import oracle_encoders as encoders
from multielbo import oracle_mixtures, plots
from multielbo.oracle import LinearGaussian
from multielbo.oracle_bounds import LinearEncoder
from multielbo.profiles import check_profile
from multielbo.publishing.show import show

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)
rows = {"quick": 300, "laptop": 3_000, "full": 30_000}[profile]
EXACT, PRODUCT, BARYCENTER, MOE, MOPOE = (
    "0.35",
    *map(plots.colour, ("mvae", "wb-vae", "mmvae", "mopoe")),
)

# %% [markdown]
# ## The objective of one component
#
# Let $S$ be a subset of the modalities, $T$ the others, and $q_S=q(z\mid x_S)$ an encoder that reads $x_S$ only.
# The **mixture objective** of $S$ scores everything with it,
#
# $$
# \mathcal L^{\mathrm{mix}}_S(x)=\E_{q_S}\log p(x\mid z)-\KL{q_S}{p(z)}=\log p(x)-\KL{q_S}{p(z\mid x)} ,
# $$
#
# the second form by {prf:ref}`lem-elbo-gap`.
# With the singletons for $S$, and averaged, it is the component-averaged bound of MMVAE; with all subsets, that of MoPoE, {eq}`eq-mopoe`.
# The bound of the mixture density itself lies higher, by a Jensen–Shannon divergence of at most $\log K$, {prf:ref}`lem-mopoe-3`.
#
# It is a bound for every $x$.
# It can be tight only if $p(z\mid x)$ does not depend on $x_T$, so the question is what the best $q_S$ does, and how much it must leave.

# %% [markdown]
# ## The best encoder fills the gaps with means
#
# Data have a distribution $p_d$, which need not be the model's.
#
# ::::{prf:lemma} The best encoder of a mixture objective
# :label: lem-mixture-encoder
#
# Among all densities $q_S(z\mid x_S)$, the maximiser of $\E_{p_d}\mathcal L^{\mathrm{mix}}_S$ is
#
# $$
# q_S^\star(z\mid x_S)\ \propto\ p(z)\,\exp\E_{p_d(x_T\mid x_S)}\big[\log p(x\mid z)\big] ,
# $$
#
# and given $x_S$ the maximum is the logarithm of the integral of the right side over $z$.
# ::::
#
# :::{prf:proof}
# Hold $x_S$ fixed and average over $x_T$: the objective is $\E_{q_S}\big[\log p(z)+\E_{x_T\mid x_S}\log p(x\mid z)-\log q_S\big]$.
# That is minus the divergence of $q_S$ to the normalised right side, plus the logarithm of its integral.
# :::
#
# In words: $q_S^\star$ is the normalised *geometric* mean of the posteriors $p(z\mid x_S,x_T)$ over the $x_T$ that go with $x_S$; their evidences enter the maximum only.
# For data from the model the right answer to the question *what do we know about $z$* is their arithmetic mean, $p(z\mid x_S)$.
# Of Gaussians with one covariance the geometric mean is the sharper of the two, and for the usual decoders we can say how sharp.
#
# ::::{prf:lemma} Means for missing modalities
# :label: lem-mean-imputation
#
# Let every decoder have Gaussian noise, $p(x_m\mid z)=\N(f_m(z),s_m^2I)$ with any functions $f_m$, and write $\hat x_S=(x_S,\E_{p_d}[x_T\mid x_S])$ for the **imputed** data.
# Then
#
# $$
# q_S^\star(z\mid x_S)=p(z\mid\hat x_S),
# \qquad
# \max_{q_S}\ \E_{p_d}\mathcal L_S^{\mathrm{mix}}=\E\log p(\hat x_S)-\sum_{m\in T}\frac{\E\|x_m-\hat x_m\|^2}{2s_m^2} .
# $$ (eq-mixture-encoder)
# ::::
#
# :::{prf:proof}
# For every $z$, mean and variance part: $\E_{x_m\mid x_S}\|x_m-f_m(z)\|^2=\|\hat x_m-f_m(z)\|^2+\E_{x_m\mid x_S}\|x_m-\hat x_m\|^2$.
# So $\E_{x_T\mid x_S}\log p(x\mid z)=\log p(\hat x_S\mid z)-\sum_{m\in T}\E_{x_m\mid x_S}\|x_m-\hat x_m\|^2/2s_m^2$, and the last sum does not depend on $z$.
# {prf:ref}`lem-mixture-encoder` says the rest.
# :::
#
# Three consequences follow at once.
# The best encoder believes *one* completion of $x_S$, its mean, as firmly as if it had been observed.
# If that mean is not a plausible $x_T$ (the average of all threes is no three), neither is what it believes.
# And since, for given noise scales, no $f_m$ enters the last term, **the mixture objective at its best encoders is the log-likelihood of imputed data**; what that does to the decoders is the subject of {doc}`/chapters/bounds/what_each_objective_learns`.
# For other exponential families the proof gives the same with mean sufficient statistics, and for Laplace noise it gives nothing.
#
# **Check.** A model far from linear, integrated over a grid: $f_1=\tanh 2z$, $f_2=z^2-1$, and an $x_2$ that given $x_1$ is one of three values.
# The twin has Laplace noise.

# %%
z = torch.linspace(-7, 7, 7001)
dz = z[1] - z[0]
log_prior = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
x_1, s_1, s_2 = 0.4, 0.3, 0.5
x_2, chance = torch.tensor([-1.0, 0.2, 1.7]), torch.tensor([0.5, 0.2, 0.3])
f_1, f_2 = torch.tanh(2 * z), z**2 - 1


def gauss(x, f, s):
    return -0.5 * ((x - f) / s) ** 2 - math.log(s) - 0.5 * math.log(2 * math.pi)


def laplace(x, f, s):
    return -(x - f).abs() / s - math.log(2 * s)


def log_integral(log_values):
    return (log_values.logsumexp(-1) + dz.log()).item()


mean = (chance * x_2).sum()
spread = (chance * (x_2 - mean) ** 2).sum()
outcomes = {}
for noise in (gauss, laplace):
    seen = log_prior + noise(torch.tensor(x_1), f_1, s_1)
    average = chance @ noise(x_2[:, None], f_2, s_2)  # E log p(x_2 | z)
    imputed = seen + noise(mean, f_2, s_2)
    outcomes[noise] = (
        log_integral(seen + average),  # the maximum, by the first lemma
        log_integral(imputed) - (spread / (2 * s_2**2)).item(),
        (torch.softmax(seen + average, 0) - torch.softmax(imputed, 0)).abs().sum().item(),
    )
best, predicted, apart = outcomes[gauss]
assert math.isclose(best, predicted, rel_tol=1e-10)
assert apart < 1e-10, "q* is the posterior of the imputed data"
assert outcomes[laplace][2] > 0.1, "with Laplace noise it is not"

log_q = torch.log_softmax(log_prior + gauss(torch.tensor(x_1), f_1, s_1), 0) - dz.log()
plain = (log_q.exp() * (chance @ gauss(x_2[:, None], f_2, s_2) - log_q + log_prior)).sum() * dz
plain = plain + (log_q.exp() * gauss(torch.tensor(x_1), f_1, s_1)).sum() * dz
assert plain < best - 0.5, "the exact p(z | x_1) of a model with these decoders is worse"

# %% [markdown]
# ## On the oracle: half a trace
#
# Now let data come from the oracle, {eq}`eq-oracle`, and write $\Lambda_m=W_m^\top W_m/s_m^2$ for the precision that modality $m$ adds, so that $\Sigma_S^{-1}=I+\sum_{m\in S}\Lambda_m$.
# All that matters about $S$ are $D$ numbers,
#
# $$
# a_1,\dots,a_D\ \text{ the eigenvalues of }\ A_S=\Sigma_S^{1/2}\Big(\sum_{m\in T}\Lambda_m\Big)\Sigma_S^{1/2} :
# $$ (eq-hidden-signal)
#
# the precision that $x_T$ adds to $p(z\mid x_S)$, in units of the precision that is there.
#
# ::::{prf:lemma} Three prices of not having seen
# :label: lem-half-trace
#
# On the oracle, for data from the model,
#
# 1. the mutual information of $z$ and $x_T$ given $x_S$ is $\frac12\sum_i\log(1+a_i)$;
# 2. with the exact $q_S=p(z\mid x_S)$ the mixture objective misses $\E\log p(x)$ by $\sum_i\big[a_i-\frac12\log(1+a_i)\big]$;
# 3. the best encoder is $q_S^\star=\N(\mu_S,\Sigma)$, with the mean of $p(z\mid x_S)$ and the covariance of $p(z\mid x)$, and misses $\frac12\sum_i a_i=\frac12\tr A_S$.
# ::::
#
# :::{prf:proof}
# The posterior given all has $\Sigma^{-1}=\Sigma_S^{-1}+\sum_T\Lambda_m=\Sigma_S^{-1/2}(I+A_S)\Sigma_S^{-1/2}$.
# *(1)* is the difference of two Gaussian entropies, $\frac12\log|\Sigma_S|-\frac12\log|\Sigma|$.
# *(3)* By {prf:ref}`lem-mean-imputation` $q_S^\star=p(z\mid\hat x_S)$, which has covariance $\Sigma$ whatever it is given.
# The mean of $p(z\mid x)$ is linear in $x$, so at $\hat x_S$ it is its own average given $x_S$, which is $\mu_S$.
# The gap is {prf:ref}`lem-subset-floor`, $\frac12\tr(\Sigma^{-1}\Sigma_S)-\frac D2=\frac12\tr(I+A_S)-\frac D2$.
# *(2)* With covariance $\Sigma_S$ in place of $\Sigma$ the divergence grows by that of two Gaussians with one mean, $\KL{\N(0,\Sigma_S)}{\N(0,\Sigma)}=\frac12\big[\tr(I+A_S)-D-\log|I+A_S|\big]=\frac12\sum_i[a_i-\log(1+a_i)]$.
# :::
#
# The information is logarithmic in the signal, the loss is linear.
# An encoder that has missed one bit, $a=3$ in one dimension, loses more than twice that much in the best case; one that has missed ten bits loses more than half a million nats.
#
# Expectations over data need no sampling: for linear encoders $q(z\mid x)=\N(Bx,V)$ and $p(z\mid x)=\N(B'x,V')$, and centred data with covariance $C$,
#
# $$
# \E\,\KL{q}{p}=\tfrac12\Big[\tr\big(V'^{-1}\big(V+(B-B')C(B-B')^\top\big)\big)-D+\log\tfrac{|V'|}{|V|}\Big] ,
# $$ (eq-expected-kl)
#
# from {eq}`eq-gaussian-kl` for full covariances, since only the squared distance of the means varies with $x$.
# In the same way, with $E$ the rows of $I-WB$ that belong to $S$ and $\Psi_S$ their noise variances,
#
# $$
# \E\,\E_q\log p(x_S\mid z)=-\tfrac12\big[\log|2\pi\Psi_S|+\tr\Psi_S^{-1}\big(ECE^\top+W_SVW_S^\top\big)\big],
# $$ (eq-expected-reconstruction)
#
# and with $C_S$ the model's own covariance of $x_S$,
#
# $$
# \E\log p(x_S)=-\tfrac12\big[\log|2\pi C_S|+\tr\big(C_S^{-1}C\big)\big] ,
# $$ (eq-expected-evidence)
#
# where $C$ stands for its block that belongs to $S$.

# %% tags=["remove-input"]
show(encoders.hidden_signal, encoders.best_for_mixture, bounds.expected_kl)

# %% [markdown]
# Our example has three modalities of four, five and six dimensions, two factors that all of them share, and one private factor each.


# %%
def sparse_oracle(dims, shared, noise, random):
    """Shared factors first, then one private factor for each modality."""
    loadings = {}
    for m, (name, dim) in enumerate(dims.items()):
        w = np.zeros((dim, shared + len(dims)))
        w[:, :shared] = random.standard_normal((dim, shared))
        w[:, shared + m] = random.standard_normal(dim)
        loadings[name] = torch.tensor(w)
    return LinearGaussian(loadings, noise)


variances = {"image": 0.5, "sound": 0.8, "text": 1.2}
oracle = sparse_oracle(
    {"image": 4, "sound": 5, "text": 6},
    shared=2,
    noise={name: v**0.5 for name, v in variances.items()},
    random=np.random.default_rng(0),
)
names = oracle.modalities
subsets = list(chain.from_iterable(combinations(names, k) for k in range(4)))
evidence = bounds.expected_log_evidence(oracle)

# %% [markdown]
# **Check.** The formulas against the bounds themselves, evaluated through {eq}`eq-expected-kl` and {eq}`eq-expected-reconstruction`, and the optimum against automatic differentiation: at $q_S^\star$ no parameter of the encoder has a slope, at the exact $p(z\mid x_S)$ its covariance has.

# %%
prices = {}
for subset in subsets:
    a = encoders.hidden_signal(oracle, subset)
    honest, best = encoders.exact(oracle, subset), encoders.best_for_mixture(oracle, subset)
    missed = [evidence - bounds.mixture(oracle, q) for q in (honest, best)]
    torch.testing.assert_close(missed[0], (a - 0.5 * a.log1p()).sum(), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(missed[1], 0.5 * a.sum(), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(best.weight, honest.weight, atol=1e-9, rtol=1e-9)
    prices[subset] = (0.5 * a.log1p().sum(), *missed)


def slopes(encoder, subset):
    at = bounds.positions(oracle, subset)
    weight = encoder.weight[:, at].clone().requires_grad_()
    root = torch.linalg.cholesky(encoder.covariance).requires_grad_()
    whole = torch.zeros_like(encoder.weight).index_copy(1, at, weight)
    value = bounds.mixture(oracle, LinearEncoder(whole, root @ root.T))
    return [g.abs().max() for g in torch.autograd.grad(value, (weight, root))]


assert max(slopes(encoders.best_for_mixture(oracle, ["image"]), ["image"])) < 1e-9
of_mean, of_covariance = slopes(encoders.exact(oracle, ["image"]), ["image"])
assert of_mean < 1e-9 < 0.1 < of_covariance, "right mean, wrong covariance for this objective"

# %% tags=["remove-input"]
Markdown(
    "| seen | information in the rest | missed by exact $p(z\\mid x_S)$ | missed by the best |\n"
    "|---|---|---|---|\n"
    + "\n".join(
        f"| {', '.join(subset) or 'nothing'} | "
        + " | ".join(f"{abs(float(value)):.3f}" for value in row)
        + " |"
        for subset, row in prices.items()
    )
)

# %% [markdown]
# All values are nats per example, on an evidence of {glue:text}`evidence` in expectation.

# %% [markdown]
# ## What under-dispersed means
#
# The optimum $q_S^\star$ sits at the right place with the size of the wrong distribution.
# Latents drawn from it are too similar to each other, and so is everything that is generated from them.
# We draw both for a small oracle with two latents, where modality $a$ sees one direction well and the other hardly at all.

# %%
plane = LinearGaussian(
    {
        "a": torch.tensor([[1.2, 0.3], [0.4, -0.2]]),
        "b": torch.tensor([[0.3, 1.5], [1.2, -0.8]]),
    },
    {"a": 0.5, "b": 0.4},
)
one = plane.sample(1, torch.Generator().manual_seed(4))
stacked = torch.cat([one["a"], one["b"]], 1)
kinds = {
    "exact": encoders.exact(plane, ["a"]),
    "best": encoders.best_for_mixture(plane, ["a"]),
    "all": encoders.exact(plane),
}
places = {kind: (q.weight @ stacked[0], q.covariance) for kind, q in kinds.items()}
w_b = plane.loadings["b"]
noise_b = plane.noise["b"] ** 2 * torch.eye(2)
generated = {kind: (w_b @ loc, w_b @ c @ w_b.T + noise_b) for kind, (loc, c) in places.items()}

data = bounds.data_covariance(plane)
fill = encoders.imputation(data, bounds.positions(plane, ["a"]))
torch.testing.assert_close((fill @ stacked[0])[2:], generated["exact"][0])
residual = data - fill @ data @ fill.T
torch.testing.assert_close(residual[2:, 2:], generated["exact"][1])  # p(x_b | x_a), exactly
shrunken = (torch.logdet(generated["best"][1]) - torch.logdet(generated["exact"][1])).exp().sqrt()
assert shrunken < 0.5

# %% tags=["remove-cell"]
glue("evidence", f"{evidence:.3f}", display=False)
glue("shrunken", f"{100 * shrunken:.0f}", display=False)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Two panels. Left, in the latent plane: a long ellipse, the exact posterior given modality a; a small ellipse, the posterior given both, elsewhere; and an ellipse of the same small size at the centre of the long one, the optimum of the mixture objective. Right, in the plane of modality b: samples from the exact conditional fill a long ellipse, samples of the optimum only its middle."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.7))
looks = {"exact": EXACT, "best": MOE, "all": PRODUCT}
for kind, (loc, covariance) in places.items():
    plots.ellipse(axes[0], loc, covariance, color=looks[kind], deviations=2)
for kind in ("exact", "best"):
    loc, covariance = generated[kind]
    plots.ellipse(axes[1], loc, covariance, color=looks[kind], deviations=2)
    points = torch.distributions.MultivariateNormal(loc, covariance)
    torch.manual_seed(seed)
    axes[1].plot(*points.sample((250,)).T, ".", color=looks[kind], ms=3, alpha=0.5)
axes[1].plot(*one["b"][0], "*", color=PRODUCT, ms=10)
for ax in axes:
    ax.margins(0.12)
    ax.autoscale_view()
axes[0].set(xlabel="$z_1$", ylabel="$z_2$", title="Latents")
axes[1].set(xlabel="$x_{b,1}$", ylabel="$x_{b,2}$", title="Generated from $x_a$")
handles = [plt.Line2D([], [], color=looks[k]) for k in ("exact", "best", "all")]
fig.legend(
    handles,
    ["$p(z|x_a)$", r"$q^\star_a$, what a mixture wants", "$p(z|x)$"],
    loc="outside lower center",
    ncol=3,
)
plt.show()

# %% [markdown]
# The star is the $x_b$ that went with this $x_a$.
# The area of the ellipse of generated pairs is {glue:text}`shrunken` % of what the model itself would generate given $x_a$.
# A score that only asks whether each sample fits $x_a$ does not see this: here every one does, only they are all alike.

# %% [markdown]
# ## The ladder
#
# Five ways to pool and two mixtures, with the exact unimodal posteriors for experts (the mixture of products divides the prior out), under three objectives: the joint ELBO of all modalities; the *masked* objective of the next chapter, averaged over all subsets with equal weight; and the mixture objective, averaged likewise.
# For Gaussian posteriors everything is in closed form.
# The mixture densities of the last two rows need samples, but only for their Jensen–Shannon divergences and for one cross term.

# %%
experts = encoders.unimodal(oracle)
answers = {
    "exact posteriors": lambda s: encoders.exact(oracle, s),
    "product, prior divided out": lambda s: encoders.product(
        oracle, experts, s, prior_exponent=1 - len(s)
    ),
    "product of posteriors": lambda s: encoders.product(oracle, experts, s, prior_exponent=0),
    "product with prior expert": lambda s: encoders.product(oracle, experts, s, prior_exponent=1),
    "Wasserstein barycenter": lambda s: encoders.wasserstein(oracle, experts, s),
}
ladder = {}
for name, answer in answers.items():
    full = answer(names)
    ladder[name] = [
        float(evidence - bounds.joint(oracle, full)),
        float(evidence - sum(bounds.masked(oracle, full, answer(s), s) for s in subsets) / 8),
        float(evidence - sum(bounds.mixture(oracle, answer(s)) for s in subsets) / 8),
    ]
assert max(map(abs, ladder["exact posteriors"][:2])) < 1e-9
assert np.allclose(ladder["product, prior divided out"], ladder["exact posteriors"])
assert ladder["product with prior expert"][2] < ladder["exact posteriors"][2] - 1

x = torch.cat(list(oracle.sample(rows, generator).values()), 1)
errors, floors, averaged = {}, {}, {}
for name, family in {
    "mixture of products": subsets[1:],
    "mixture of experts": subsets[1:4],
}.items():

    def inside(s, family=family):
        return [encoders.exact(oracle, a) for a in family if set(a) <= set(s)] or [
            bounds.prior(oracle)
        ]

    everything = inside(names)
    joint_rows = oracle_mixtures.joint_gap(oracle, everything, x, generator)
    masked_rows = sum(
        oracle_mixtures.masked_gap(oracle, everything, inside(s), s, x, generator) for s in subsets
    )
    parts = [evidence - bounds.mixture(oracle, q) for q in everything]
    ladder[name] = [
        float(joint_rows.mean()),
        float(masked_rows.mean()) / 8,
        float(sum(parts)) / len(parts),
    ]
    errors[name] = [float(v.std()) / rows**0.5 for v in (joint_rows, masked_rows / 8)]
    best = [evidence - bounds.mixture(oracle, encoders.best_for_mixture(oracle, s)) for s in family]
    floors[name] = float(sum(best)) / len(family) - math.log(len(family))
    averaged[name] = ladder[name][2]
    assert floors[name] < ladder[name][0] < averaged[name] < ladder[name][0] + math.log(len(family))
assert max(e for pair in errors.values() for e in pair) < 0.15

# %% tags=["remove-input"]
Markdown(
    "| aggregator | joint ELBO | masked | mixture |\n|---|---|---|---|\n"
    + "\n".join(
        f"| {name} | "
        + " | ".join(
            f"{abs(value):.3f}"
            if name not in errors or i == 2
            else f"{value:.2f} ± {errors[name][i]:.2f}"
            for i, value in enumerate(row)
        )
        + " |"
        for name, row in ladder.items()
    )
)

# %% [markdown]
# Nats per example below the evidence; ± is one standard error of the {glue:text}`ladder_rows` sampled rows.
# In the last column the mixtures stand with their averaged bound over their own components.

# %% tags=["remove-input"] mystnb={"image": {"alt": "Horizontal bars for seven aggregators under three objectives, in nats below the evidence. The exact posteriors and the product with the prior divided out miss nothing under the joint and the masked objective and over ten nats under the mixture objective; the two other products miss about one nat under the first two; the barycenter misses seven; the mixtures miss six to twelve under all three."}}
fig, ax = plt.subplots(figsize=(7.4, 4.4))
objectives = [("joint ELBO", "0.3"), ("masked", "0.65"), ("mixture", "#c0392b")]
for i, (objective, color) in enumerate(objectives):
    at = np.arange(len(ladder)) + 0.26 * (i - 1)
    values = [row[i] for row in ladder.values()]
    ax.barh(at, np.maximum(values, 0.03), height=0.24, color=color, label=objective)
ax.set(
    yticks=range(len(ladder)),
    yticklabels=list(ladder),
    xlabel="nats per example below the evidence",
)
ax.invert_yaxis()
fig.legend(loc="outside lower center", ncol=3)
fig.suptitle(
    "Exact inference is free under two objectives and costly under the third",
    weight="bold",
    fontsize=12,
    x=0.01,
    ha="left",
)
plt.show()

# %% [markdown]
# Three readings.
#
# - *The first two objectives rank aggregators by their inference.* Dividing the prior out makes the product exact, {prf:ref}`lem-subset-posterior`; leaving it in, $|S|-1$ or $|S|$ times too often, costs about a nat; averaging instead of adding up evidence costs several.
# - *The third does not.* Under the mixture objective the over-confident product with a prior expert beats exact inference, by {glue:text}`wrong_wins` nats, because $q^\star_S$ is over-confident too.
# - *A mixture density helps by at most $\log K$.* Whatever its experts, the mixture of experts stays at least {glue:text}`floor_moe` nats below the evidence here and the mixture of products {glue:text}`floor_mopoe`: the average of $\frac12\tr A_S$ minus $\log K$.

# %% tags=["remove-cell"]
glue("ladder_rows", f"{rows:,}", display=False)
glue(
    "wrong_wins",
    f"{ladder['exact posteriors'][2] - ladder['product with prior expert'][2]:.2f}",
    display=False,
)
glue("floor_moe", f"{floors['mixture of experts']:.2f}", display=False)
glue("floor_mopoe", f"{floors['mixture of products']:.2f}", display=False)

# %% [markdown]
# ## More modalities, more signal
#
# The ladder gave every aggregator the exact unimodal posteriors.
# Training would choose experts to suit the objective.
# On the smallest oracle, $z\sim\N(0,1)$ and $x_m=z+\varepsilon_m$ with $M$ equal modalities and unit noise, we can do that: all experts are one $\N(c\,x_m,v)$, and we search for the best $c$ and $v$ of each pool under the masked objective.


# %%
def toy(modalities, noise=1.0):
    labels = [f"m{m}" for m in range(modalities)]
    return LinearGaussian(dict.fromkeys(labels, torch.ones(1, 1)), dict.fromkeys(labels, noise))


def least_missed(modalities, pool):
    small = toy(modalities)
    labels, covariance = small.modalities, bounds.data_covariance(small)
    reads = torch.eye(modalities)[:, None]

    def missed(values):
        c, log_scale = torch.tensor(values, requires_grad=True)
        variance = (2 * log_scale).exp().reshape(1, 1)
        own = {m: LinearEncoder(c * r, variance) for m, r in zip(labels, reads, strict=True)}
        full = pool(small, own, labels)
        reached = sum(  # subsets of one size are alike
            math.comb(modalities, k)
            * bounds.masked(small, full, pool(small, own, labels[:k]), labels[:k], covariance)
            for k in range(modalities + 1)
        )
        gap = bounds.expected_log_evidence(small) - reached / 2**modalities
        return gap.item(), np.array(torch.autograd.grad(gap, (c, log_scale)))

    return minimize(missed, [0.6, -0.3], jac=True, method="BFGS", options={"gtol": 1e-6}).fun


pools = {
    "product": lambda o, e, s: encoders.product(o, e, s, prior_exponent=0),
    "barycenter": lambda o, e, s: encoders.wasserstein(o, e, s),
    "barycenter with prior expert": lambda o, e, s: encoders.wasserstein(
        o, e, s, prior_expert=True
    ),
}
counts = range(2, 6)
trained = {name: [least_missed(m, pool) for m in counts] for name, pool in pools.items()}
with_prior = least_missed(3, lambda o, e, s: encoders.product(o, e, s, prior_exponent=1))
assert abs(with_prior) < 1e-9, "with a prior expert the product is exact for all subsets at once"
floor = [
    sum(
        math.comb(m, k) * float(encoders.hidden_signal(toy(m), toy(m).modalities[:k]).sum())
        for k in range(m + 1)
    )
    / 2 ** (m + 1)
    for m in counts
]
assert np.allclose(floor, [0.5 * (1 - 2.0**-m) for m in counts])
singles = [0.5 * float(encoders.hidden_signal(toy(m), ["m0"]).sum()) for m in counts]
assert np.allclose(singles, [(m - 1) / 4 for m in counts])

# %% tags=["remove-input"] mystnb={"image": {"alt": "Two panels. Left: nats missed against the number of modalities; the mixture of experts rises linearly to one, the best encoders of all subsets level off below one half, the barycenter rises to about a quarter, the product to a tenth, the barycenter with prior expert stays near zero. Right: nats against signal on logarithmic axes; the loss of exact and of best encoders grows linearly with the signal, the information only logarithmically."}}
fig, axes = plt.subplots(1, 2, figsize=(7.6, 3.6))
lines = {
    "MoE, averaged": (singles, MOE),
    "mixture, all subsets": (floor, MOPOE),
    "barycenter": (trained["barycenter"], BARYCENTER),
    "product": (trained["product"], PRODUCT),
    "barycenter + prior": (trained["barycenter with prior expert"], "0.5"),
}
for values, color in lines.values():
    axes[0].plot(counts, values, "o-", color=color, ms=4)
axes[0].set(xlabel="modalities", ylabel="nats missed", xticks=counts, xlim=(1.8, 8.2))
plots.label_ends(axes[0], {n: (5, v[-1], color) for n, (v, color) in lines.items()})
signal = torch.logspace(-1, 3, 200)
curves = {
    "exact $p(z|x_S)$": (signal - 0.5 * signal.log1p(), EXACT),
    "best $q_S$": (0.5 * signal, MOE),
    "information": (0.5 * signal.log1p(), "0.6"),
}
for name, (values, color) in curves.items():
    axes[1].loglog(signal, values, color=color, label=name)
axes[1].set(xlabel="signal-to-noise ratio $a$", ylabel="nats")
axes[1].legend(loc="upper left")
axes[0].set_title("Missed, with the best experts")
axes[1].set_title("One factor: linear loss")
plt.show()

# %% [markdown]
# Left: with the prior as one more expert a product of two-parameter experts is exact for all subsets at once, and its line would be zero.
# Without it the best product misses {glue:text}`toy_product` nats at five modalities and the best barycenter {glue:text}`toy_barycenter`: each *could* be right for the full set, but *one* set of experts cannot be right for all sizes of $S$, and the optimum is a compromise.
# With a prior expert even the barycenter nearly can, {glue:text}`toy_prior`.
# The mixture objective's two lines hold for encoders of any shape: none gets below them.

# %% tags=["remove-cell"]
glue("toy_product", f"{trained['product'][-1]:.4f}", display=False)
glue("toy_barycenter", f"{trained['barycenter'][-1]:.4f}", display=False)
glue("toy_prior", f"{trained['barycenter with prior expert'][-1]:.4f}", display=False)

# %% [markdown]
# ## Irreducible, for given decoders
#
# {cite:t}`daunhawer2022` show that sub-sampling modalities enforces an undesirable upper bound on the multimodal ELBO when there is modality-specific variation.
# We had the abstract and the introduction of that paper and not its theorem, so we add the hypothesis that our own lemmas need: *the decoders' family is given*.
# With Gaussian noise of fixed scale the loss is {prf:ref}`lem-half-trace`.
# With unrestricted decoders it can be nothing at all.
#
# ::::{prf:example} Private variation, no loss
# :label: ex-no-loss
#
# Let $Y,N_1,N_2$ be independent fair bits, $x_1=(Y,N_1)$ and $x_2=(Y,N_2)$.
# Take $z=Y$ for the latent, the encoder $q(z\mid x_m)$ that reads $Y$ off, and decoders that repeat $Y$ and toss a coin for $N_m$.
# Each component explains $x$ with $2\log\frac12$ and pays $\log2$ for $z$: its bound is $-3\log2=-H(X)$, although $H(X_2\mid X_1)=\log2>0$.
# ::::
#
# A decoder that models its private variation as *noise* has nothing to learn about it from $z$.
# The loss belongs to private variation that the decoder can express through the latent only: style, position, colour, under a Gaussian or Laplace likelihood.
#
# **Check.** All eight cases, one by one; and the twin, whose decoders have to take $N_m$ from the latent as well.

# %%
total = twin = 0.0
for y, n_1, _n_2 in product((0, 1), repeat=3):
    rate = math.log(1.0) - math.log(0.5)  # KL of a certain bit to a fair one
    total += (2 * math.log(0.5) - rate) / 8
    # z = (Y, N_1, N_2), decoders that copy but err with probability 0.05; the best q given x_1:
    err = 0.05
    log_fit = {
        bits: sum(
            math.log(1 - err if bits[i] == bit else err) for i, bit in ((0, y), (0, y), (1, n_1))
        )
        + 0.5 * (math.log(1 - err) + math.log(err))  # E over N_2, which x_1 does not tell
        for bits in product((0, 1), repeat=3)
    }
    twin += math.log(sum(math.exp(v) for v in log_fit.values()) / 8) / 8
assert math.isclose(total, -3 * math.log(2))

observed = [(y, n, y_2, n_2) for y, n, y_2, n_2 in product((0, 1), repeat=4)]


def copy_evidence(bits):
    fits = (
        math.prod(
            0.95 if z == b else 0.05 for z, b in zip((s[0], s[1], s[0], s[2]), bits, strict=True)
        )
        for s in product((0, 1), repeat=3)
    )
    return sum(fits) / 8


assert math.isclose(sum(map(copy_evidence, observed)), 1.0)
own = (
    sum(math.log(copy_evidence((y, n_1, y, n_2))) for y, n_1, n_2 in product((0, 1), repeat=3)) / 8
)
assert twin < own - 0.5, "copying decoders lose what x_1 does not tell"

# %% [markdown]
# What holds for every decoder is weaker: $\E\,\E_{q_S}\log p(x_T\mid z)\le-H(X_T\mid X_S)$, {ref}`an exercise <ex-cross-reconstruction>`.
# Cross-reconstruction cannot beat the conditional entropy; but it can reach it.

# %% [markdown]
# ## What we could not read
#
# The body of {cite:t}`hirt2024` was not at hand; the abstract, the released code and reviews of an earlier version were.
# A review says that the paper states the optimum of the mixture objective, with *an additional factor* beside $p(z\mid x_S)$; {prf:ref}`lem-mixture-encoder` is our derivation, and its factor is $\exp\E\log p(x_T\mid z)$.
# {prf:ref}`lem-mean-imputation` and the formulas of {prf:ref}`lem-half-trace` are derived here; whether they have been published we do not know.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-cross-reconstruction
# Show that no encoder and no decoder make $\E\,\E_{q_S}\log p(x_T\mid z)$ larger than $-H(X_T\mid X_S)$, and check it for the best encoder of the example.
# ::::
#
# ::::{solution} ex-cross-reconstruction
# :class: dropdown
# Draw $x$ from the data and $z$ from $q_S(z\mid x_S)$.
# $\E\log p(x_T\mid z)=-H(X_T\mid Z)-\E\,\KL{p_d(x_T\mid z)}{p(x_T\mid z)}\le-H(X_T\mid Z)$, and as $z$ depends on $x$ through $x_S$ only, data processing gives $H(X_T\mid Z)\ge H(X_T\mid X_S)$.
# ::::

# %% tags=["hide-input", "remove-output"]
for subset in subsets[1:-1]:
    hidden = set(names) - set(subset)
    conditional_entropy = bounds.expected_log_evidence(oracle, subset) - evidence
    for q in (encoders.exact(oracle, subset), encoders.best_for_mixture(oracle, subset)):
        crossed = bounds.expected_reconstruction(oracle, q, hidden, bounds.data_covariance(oracle))
        assert crossed < -conditional_entropy
    seen_all = bounds.expected_reconstruction(
        oracle, encoders.exact(oracle), hidden, bounds.data_covariance(oracle)
    )
    assert seen_all > -conditional_entropy, "an encoder that has seen x_T may beat it"

# %% [markdown]
# ::::{exercise}
# :label: ex-released-geometry
# In the released simulations of {cite:t}`hirt2024` all loadings are orthonormal and the noise is one.
# With $d$ factors that all $M$ modalities share and $p$ private factors each, what does the mixture objective miss at best, on average over uniformly drawn subsets, the empty one included?
# A review of the paper finds no big difference between the objectives in that experiment; are you surprised?
# ::::
#
# ::::{solution} ex-released-geometry
# :class: dropdown
# On a shared factor $\Lambda_m=1$ for every $m$, so $\Sigma_S^{-1}=1+|S|$ and $a=\frac{M-|S|}{1+|S|}$; on a private factor of a hidden modality $a=1$.
# So $\frac12\tr A_S=\frac12\big[(M-|S|)\,p+d\,\frac{M-|S|}{1+|S|}\big]$.
# Over uniform subsets $\E|S|=\frac M2$ and $\E\frac{M-|S|}{1+|S|}=\E\frac{M+1}{1+|S|}-1=2-2^{-M}-1$, because $\binom Mk\frac{M+1}{k+1}=\binom{M+1}{k+1}$.
# Altogether $\frac12\big[\frac M2p+(1-2^{-M})d\big]$, a few per cent of an evidence that grows with the number of dimensions:
# ::::

# %% tags=["hide-input"]
for shared, private in [(5, 0), (30, 0), (5, 5)]:
    signal = [(5 - k) / (1 + k) for k in range(6)]
    chances = [math.comb(5, k) / 32 for k in range(6)]
    each = [0.5 * ((5 - k) * private + shared * a) for k, a in enumerate(signal)]
    average = sum(c * e for c, e in zip(chances, each, strict=True))
    assert math.isclose(average, 0.5 * (2.5 * private + (1 - 2.0**-5) * shared))
    log_det = shared * math.log(6) + 5 * private * math.log(2)
    expected = -0.5 * (225 * (math.log(2 * math.pi) + 1) + log_det)  # 45 dimensions each
    print(
        f"{shared} shared, {private} private: {average:.3f} of {expected:.2f} nats, "
        f"{-100 * average / expected:.2f} %; singletons {each[1]:.1f}"
    )

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
# # Other divergences: the alpha family and Hellinger
#
# The two directions of the Kullback–Leibler divergence gave two barycenters, the log-pool and the mixture, and {doc}`/chapters/aggregation/kl_barycenters` showed how differently they behave.
# They are the ends of a line.
# One family of divergences joins them, its barycenters are the power means of the densities {cite:p}`amari2007`, and half-way stands the Hellinger distance, on which {cite:t}`vo2026` build a multimodal VAE.
# This chapter derives the family, says which members are Gaussian mixtures that one can sample exactly, and trains three models on the Hellinger barycenter.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from myst_nb import glue
from scipy import integrate, stats

from multielbo import barycenters, gaussians, plots
from multielbo.divergences import alpha_divergence, gaussian_barycenter, log_affinity
from multielbo.experiments.run import load, untrained
from multielbo.mixtures import Posteriors
from multielbo.models import hellinger as models
from multielbo.models.registry import build
from multielbo.objectives import stratified_elbo
from multielbo.oracle import LinearGaussian
from multielbo.power_means import compositions, moments, power_mean
from multielbo.presets import preset
from multielbo.profiles import check_profile
from multielbo.publishing.show import show
from multielbo.setups.registry import setup_of
from multielbo.train import TrainConfig, fit

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)
draws = {"quick": 100_000, "laptop": 1_000_000, "full": 1_000_000}[profile]
LOG_POOL, MIXTURE, HELLINGER = map(plots.colour, ("log-pool", "mmvae", "hellinger"))

# %% [markdown]
# ## A family between the two directions
#
# Both directions compare a ratio of densities, averaged under one or the other of them.
# Take a share $r$ of one density and a share $1-r$ of the other instead.
#
# ::::{prf:definition} Alpha-divergence
# :label: def-alpha-divergence
#
# For densities $q,p$ that are positive everywhere and a **power** $r$ other than 0 and 1,
#
# $$
# D_r(q,p)=\frac{1}{r(1-r)}\Big(1-\int q(z)^r\,p(z)^{1-r}\,\mathrm dz\Big) ,
# $$
#
# infinite where the integral is.
# ::::
#
# Jensen's inequality for $u\mapsto u^r$ gives $D_r\ge0$, with equality for $q=p$ only: for $0<r<1$ that power is concave, otherwise convex, and the factor in front changes its sign with it.
# Exchanging the densities exchanges $r$ and $1-r$.
# The name comes from a parametrisation with $\alpha=1-2r$ {cite:p}`amari2007`; the $\alpha$ of {cite:t}`vo2026` is our $r$.
# We keep $r$, because it is what one sees in the formulas below.
#
# ::::{prf:lemma} Its ends
# :label: lem-alpha-ends
#
# If the integral is finite for $r$ in an open interval around $[0,1]$, then $D_r(q,p)\to\KL{q}{p}$ as $r\to1$, and $D_r(q,p)\to\KL{p}{q}$ as $r\to0$.
# ::::
#
# :::{prf:proof}
# $I(r)=\int q^rp^{1-r}=\int p\,e^{r\log(q/p)}$ is smooth on the interval where it is finite, with $I(0)=I(1)=1$ and $I'(r)=\int q^rp^{1-r}\log\frac qp$.
# Hence $I'(1)=\KL{q}{p}$ and $I'(0)=-\KL{p}{q}$, and $\frac{1-I(r)}{r(1-r)}$ tends to $I'(1)$ and to $-I'(0)$.
# :::
#
# At $r=\frac12$ the roles are equal, and $D_{1/2}(q,p)=2\int(\sqrt q-\sqrt p)^2=4H^2(q,p)$ with the squared **Hellinger distance** $H^2=1-\int\sqrt{qp}$.
#
# Of Gaussians the integral has a closed form.
# In each dimension, with $v=r\sigma_p^2+(1-r)\sigma_q^2$,
#
# $$
# \int q^r p^{1-r}\,\mathrm dz=\prod_{d}\frac{\sigma_q^{1-r}\,\sigma_p^{r}}{\sqrt{v}}\;
# \exp\Big(-\frac{r(1-r)}{2}\,\frac{(\mu_q-\mu_p)^2}{v}\Big) ,
# \qquad
# D_r=\frac{1-\int q^rp^{1-r}\,\mathrm dz}{r(1-r)} ,
# $$ (eq-alpha-divergence)
#
# as long as every $v$ is positive, which for $0\le r\le1$ it always is.

# %% tags=["remove-input"]
show(alpha_divergence)

# %% [markdown]
# **Check.** SciPy integrates the definition; near the ends we compare with the two Kullback–Leibler divergences.

# %%
ours_of = (torch.tensor([0.3]), torch.tensor([0.7]), torch.tensor([-0.5]), torch.tensor([0.9]))
first, second = stats.norm(0.3, 0.7), stats.norm(-0.5, 0.9)
for r in (-0.4, 0.1, 0.5, 0.8, 1.6):
    whole, _ = integrate.quad(
        lambda z, r=r: np.exp(r * first.logpdf(z) + (1 - r) * second.logpdf(z)), -20, 20
    )
    value = alpha_divergence(*ours_of, r).item()
    assert math.isclose(value, (1 - whole) / (r * (1 - r)), rel_tol=1e-7)
    turned = alpha_divergence(*ours_of[2:], *ours_of[:2], 1 - r)
    torch.testing.assert_close(turned.item(), value)
    if r != 0.5:
        exchanged = alpha_divergence(*ours_of[2:], *ours_of[:2], r).item()
        assert abs(exchanged - value) > 0.001, "the power belongs to the first density"

q_to_p, p_to_q = gaussians.kl(*ours_of), gaussians.kl(*ours_of[2:], *ours_of[:2])
torch.testing.assert_close(alpha_divergence(*ours_of, 1 - 1e-7), q_to_p, rtol=1e-6, atol=0)
torch.testing.assert_close(alpha_divergence(*ours_of, 1e-7), p_to_q, rtol=1e-6, atol=0)
assert abs(q_to_p - p_to_q) > 0.01, "the ends differ"
assert alpha_divergence(*ours_of, -2.5).isinf(), "the integral diverges"

# %% [markdown]
# ## The barycenter is a power mean
#
# ::::{prf:lemma} The alpha barycenter
# :label: lem-alpha-barycenter
#
# Let $q_1,\dots,q_M$ be positive, $w_m>0$ with $\sum_m w_m=1$, and $r\ne0,1$.
# Then $Z_r=\int\big(\sum_m w_m q_m^r\big)^{1/r}\mathrm dz$ is finite, and with
#
# $$
# P_r=\frac1{Z_r}\Big(\sum_m w_m\,q_m^r\Big)^{1/r}
# $$
#
# every positive density $q$ has, where both sides may be infinite,
#
# $$
# \sum_m w_m\,D_r(q_m,q) = Z_r^{\,r}\,D_r(P_r,q)+\frac{1-Z_r^{\,r}}{r(1-r)} .
# $$
#
# So $P_r$ is the only minimiser, and the last term is the minimum.
# ::::
#
# :::{prf:proof}
# For $0<r<1$ a power mean is at most the arithmetic mean, so $Z_r\le1$.
# For $r>1$ it is at most $\sum_m w_m^{1/r}q_m$, because $(a+b)^{1/r}\le a^{1/r}+b^{1/r}$, and for $r<0$ at most $w_1^{1/r}q_1$, because leaving terms out of the sum raises its negative power; both can be integrated.
# The left side is $\frac1{r(1-r)}\big(1-\int\sum_m w_mq_m^r\,q^{1-r}\big)$, and by definition $\sum_m w_mq_m^r=(Z_rP_r)^r$.
# Add and subtract $Z_r^{\,r}$ in the bracket.
# :::
#
# It is the compensation identity again, and the proof is as short, because everything but $q$ enters through the one function $\sum_mw_mq_m^r$.
# In information theory such an identity carries Sibson's name, after {cite:t}`sibson1969`.
#
# | $r$ | Amari's $\alpha$ | $D_r(q_m,q)$ | barycenter |
# |---|---|---|---|
# | 1 | −1 | $\KL{q_m}{q}$ | mixture, $\sum_mw_mq_m$ |
# | ½ | 0 | $4H^2$ | Hellinger, $\propto\big(\sum_mw_m\sqrt{q_m}\big)^2$ |
# | 0 | 1 | $\KL{q}{q_m}$ | log-pool, $\propto\prod_mq_m^{w_m}$ |
# | 2 | −3 | $\frac12\big(\int q_m^2/q-1\big)$, half a $\chi^2$ | root mean square |
# | −1 | 3 | $\frac12\big(\int q^2/q_m-1\big)$, the other one | harmonic mean |
#
# ::::{prf:lemma} The ends of the power means
# :label: lem-power-mean-ends
#
# As $r\to1$, $P_r$ tends to the mixture, and as $r\to0$ to the log-pool, in total variation.
# ::::
#
# :::{prf:proof}
# At every $z$ a power mean of fixed positive numbers is continuous in $r$, the geometric mean being its value at $r=0$, and does not decrease in $r$.
# For $r\le1$ the numerators are therefore dominated by the mixture $\sum_mw_mq_m$, and as $r\to1$ from above by the mean of power 2, which the last proof integrated.
# Dominated convergence gives the limit of $Z_r$, hence densities that converge at every $z$, and such densities converge in total variation by Scheffé's lemma.
# :::
#
# Three experts accompany us again, nearer to each other than those of {doc}`/chapters/aggregation/kl_barycenters`.

# %%
loc = torch.tensor([-1.1, 0.1, 1.2])[:, None, None]  # (M, B, D)
scale = torch.tensor([0.6, 1.0, 0.7])[:, None, None]
w = torch.tensor([[0.5, 0.2, 0.3]])  # (K, M)

grid = torch.linspace(-6.0, 6.0, 97)
dz = grid[1] - grid[0]
experts = gaussians.log_density(grid[:, None], loc, scale)  # (M, grid)


def log_power_mean(logs, r):
    """log of the normalised power mean on the grid, and of its integral."""
    shares = w[0].log()[:, None]
    mean = (w[0][:, None] * logs).sum(0) if r == 0 else (shares + r * logs).logsumexp(0) / r
    log_z = mean.logsumexp(0) + dz.log()
    return mean - log_z, log_z


def divergence_on_grid(log_q, log_p, r):
    return (1 - (r * log_q + (1 - r) * log_p).exp().sum(-1) * dz) / (r * (1 - r))


def total_variation(log_q, log_p):
    return 0.5 * (log_q.exp() - log_p.exp()).abs().sum() * dz


# %% [markdown]
# **Check.** The identity, at a random density and for powers of all kinds; then an optimiser that is told the divergences, one free number per grid point, and nothing of power means; then the ends.

# %%
arbitrary = (3 * torch.randn(97, generator=generator)).log_softmax(0) - dz.log()
for r in (-1.0, -0.3, 0.2, 0.5, 0.9, 2.0):
    barycenter, log_z = log_power_mean(experts, r)
    rest = -torch.expm1(r * log_z) / (r * (1 - r))
    summed = w[0] @ divergence_on_grid(experts, arbitrary, r)
    predicted = (r * log_z).exp() * divergence_on_grid(barycenter, arbitrary, r) + rest
    torch.testing.assert_close(summed, predicted)
    torch.testing.assert_close(w[0] @ divergence_on_grid(experts, barycenter, r), rest)
    twin, _ = log_power_mean(experts, 1 - r)
    if r != 0.5:
        assert w[0] @ divergence_on_grid(experts, twin, r) > rest + 1e-3, "not the power 1 - r"


def free_form(objective):
    """Minimise `objective(log_q)` over all densities on the grid, from the uniform one."""
    logits = torch.zeros(len(grid), requires_grad=True)
    search = torch.optim.LBFGS(
        [logits],
        max_iter=400,
        history_size=50,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-12,
        tolerance_change=0.0,
    )

    def closure():
        search.zero_grad()
        loss = objective(logits.log_softmax(0) - dz.log())
        loss.backward()
        return loss

    search.step(closure)
    return logits.detach().log_softmax(0) - dz.log()


def summed_on_log_scale(r):
    """An increasing function of the summed divergence, which has the same minimiser."""

    def objective(log_q):
        terms = w[0].log()[:, None] + r * experts + (1 - r) * log_q
        return terms.flatten().logsumexp(0) / (r * (r - 1))

    return objective


found = {r: free_form(summed_on_log_scale(r)) for r in (-1.0, 0.5, 2.0)}
for r, log_q in found.items():
    assert total_variation(log_q, log_power_mean(experts, r)[0]) < 1e-3
    for end in (0, 1):
        assert total_variation(log_q, log_power_mean(experts, end)[0]) > 0.02, "neither end"

nearing = torch.tensor([0.5, 0.1, 0.01, 0.001])
to_log_pool = torch.stack(
    [
        total_variation(log_power_mean(experts, float(r))[0], log_power_mean(experts, 0)[0])
        for r in nearing
    ]
)
to_mixture = torch.stack(
    [
        total_variation(log_power_mean(experts, 1 - float(r))[0], log_power_mean(experts, 1)[0])
        for r in nearing
    ]
)
assert (to_log_pool.diff() < 0).all()
assert (to_mixture.diff() < 0).all()
assert to_log_pool[-1] < 1e-3
assert to_mixture[-1] < 1e-3

# %% tags=["remove-cell"]
glue("tv_half", f"{to_log_pool[0]:.3f}", display=False)
glue("tv_tenth", f"{to_log_pool[1]:.3f}", display=False)
glue("tv_thousandth", f"{to_log_pool[-1]:.4f}", display=False)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Densities of power means of three experts for powers between zero and one: at zero a single narrow peak, the log-pool; with growing power it spreads, and a second hump grows out of it, up to the mixture at one. Dots found by an optimiser lie on the curve of one half."}}
fine = torch.linspace(-4.2, 4.2, 801)
fine_logs = gaussians.log_density(fine[:, None], loc, scale)
powers = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
fig, ax = plt.subplots(figsize=(6.8, 3.6))
for m in range(3):
    ax.fill_between(fine, fine_logs[m].exp(), color="0.5", alpha=0.14, lw=0)
shades = plt.get_cmap("viridis")
for r in powers:
    shares = w[0].log()[:, None]
    mean = (
        (w[0][:, None] * fine_logs).sum(0) if r == 0 else (shares + r * fine_logs).logsumexp(0) / r
    )
    curve = (mean - log_power_mean(experts, r)[1]).exp()
    color = {0.0: LOG_POOL, 0.5: HELLINGER, 1.0: MIXTURE}.get(r, shades(0.15 + 0.6 * r))
    ends = r in (0.0, 0.5, 1.0)
    ax.plot(fine, curve, color=color, lw=2.4 if ends else 1.0, ls="-" if ends else "--")
ax.plot(grid, found[0.5].exp(), "o", ms=3.4, mfc="white", mec=HELLINGER)
ax.annotate("log-pool, $r=0$", (-0.3, 0.6), color=LOG_POOL, weight="bold", ha="left")
ax.annotate("Hellinger, $r=\\frac{1}{2}$", (-4.1, 0.33), color=HELLINGER, weight="bold")
ax.annotate("mixture, $r=1$", (-4.1, 0.43), color=MIXTURE, weight="bold")
ax.set(
    xlim=(-4.2, 4.2),
    ylim=(0, 0.72),
    yticks=[],
    xlabel="$z$",
    title="Raising the power lets go of the veto",
)
plt.show()

# %% [markdown]
# Dashed are the powers 0.1, 0.25 and 0.75, grey the experts, and the dots are what the optimiser found for $r=\frac12$.
# On these experts the total variation between power mean and log-pool is {glue:text}`tv_half` at $r=\frac12$, {glue:text}`tv_tenth` at $r=0.1$ and {glue:text}`tv_thousandth` at $r=0.001$.
#
# Hellinger's case has a geometry of its own.
# The functions $\sqrt{q_m}$ have norm one, so they are points on the unit sphere of a Hilbert space; the barycenter averages these points and moves the average straight out onto the sphere again.

# %% [markdown]
# ## Which members are Gaussian mixtures
#
# If $1/r$ is a positive integer $n$, the power can be multiplied out.
#
# ::::{prf:lemma} Power means as mixtures
# :label: lem-power-mean-mixture
#
# Let $r=1/n$.
# For counts $k=(k_1,\dots,k_M)$ with $\sum_mk_m=n$ let $g_k$ be the log-pool of the experts with weights $k_m/n$, and $A_k=\int\prod_mq_m^{k_m/n}$ their **affinity**.
# Then
#
# $$
# \Big(\sum_mw_m\,q_m^{1/n}\Big)^{n}=\sum_{k}c_k\,A_k\,g_k ,
# \qquad c_k=\frac{n!}{k_1!\cdots k_M!}\prod_mw_m^{k_m} .
# $$ (eq-power-mean-mixture)
#
# The barycenter $P_r$ is therefore a mixture of $\binom{M+n-1}{n}$ log-pools with weights proportional to $c_kA_k$, and $Z_r=\sum_kc_kA_k$.
# Of Gaussian experts every component is Gaussian, with {eq}`eq-log-pool` for its mean and its scale, and
#
# $$
# \log A_k=\sum_{d=1}^D\Big[\log\sigma_{g}-\sum_m\tfrac{k_m}{n}\Big(\log\sigma_m+\frac{(\mu_m-\mu_g)^2}{2\sigma_m^2}\Big)\Big]\le0 ,
# $$ (eq-affinity)
#
# where $\mu_g,\sigma_g$ are those of the log-pool in dimension $d$.
# ::::
#
# :::{prf:proof}
# The first formula is the multinomial theorem, with $\prod_mq_m^{k_m/n}=A_kg_k$ by the definition of a log-pool, as in {prf:ref}`lem-reverse-barycenter`, which also says that $A_k\le1$.
# For the second, evaluate $\log A_k=\sum_m\frac{k_m}n\log q_m(z)-\log g_k(z)$, which does not depend on $z$, at the peak $z=\mu_g$ of $g_k$.
# The constants $\log 2\pi$ cancel because the exponents sum to one.
# :::
#
# For Hellinger, $n=2$, there are $M(M+1)/2$ components: each expert with weight $w_m^2$, and for each pair the log-pool of the two with weight $2w_iw_jA_{ij}$.
# In one dimension
#
# $$
# A_{ij}=\sqrt{\frac{2\sigma_i\sigma_j}{\sigma_i^2+\sigma_j^2}}\,
# \exp\Big(-\frac{(\mu_i-\mu_j)^2}{4(\sigma_i^2+\sigma_j^2)}\Big),
# \quad
# \mu_{ij}=\frac{\sigma_j^2\mu_i+\sigma_i^2\mu_j}{\sigma_i^2+\sigma_j^2},
# \quad
# \sigma_{ij}^2=\frac{2\sigma_i^2\sigma_j^2}{\sigma_i^2+\sigma_j^2} .
# $$
#
# All coefficients are positive, so this is a mixture one can sample: choose a component, then draw from a Gaussian.
# A pair counts as much as its members agree.
# Where two experts agree, they speak with one voice more; where they do not, each speaks for itself.

# %% tags=["remove-input"]
show(power_mean, log_affinity, compositions)

# %% [markdown]
# **Check.** The mixture against the power mean on the grid, for four orders; the formulas above for Hellinger; the draws against quadrature.
# The twin gives every pair the weight that agreement would give it.

# %%
for order in (1, 2, 3, 5):
    mean = power_mean(loc, scale, w, order)
    assert len(mean.loc) == math.comb(3 + order - 1, order)
    components = gaussians.log_density(grid[:, None], mean.loc, mean.scale)  # (P, grid)
    unnormalised = (mean.mass[0].log() + components).logsumexp(0)
    direct = order * (w[0].log()[:, None] + experts / order).logsumexp(0)
    torch.testing.assert_close(unnormalised.exp(), direct.exp(), rtol=0, atol=1e-13)
    normalised, log_z = log_power_mean(experts, 1 / order)
    torch.testing.assert_close(mean.mass.sum(1).log().item(), log_z.item(), rtol=0, atol=1e-8)

hellinger = power_mean(loc, scale, w, 2)
(m1, m2), (s1, s2) = loc[:2].flatten(), scale[:2].flatten()
total = s1**2 + s2**2
by_hand = (
    (2 * s1 * s2 / total).sqrt() * (-((m1 - m2) ** 2) / (4 * total)).exp(),
    (s2**2 * m1 + s1**2 * m2) / total,
    (2 * s1**2 * s2**2 / total).sqrt(),
)
pair = compositions(3, 2)[0].tolist().index([1, 1, 0])
for part, expected in zip(
    (hellinger.affinity, hellinger.loc, hellinger.scale), by_hand, strict=True
):
    torch.testing.assert_close(part[pair].squeeze(), expected)
torch.testing.assert_close(hellinger.coefficient[0, pair], 2 * w[0, 0] * w[0, 1])

barycenter, _ = log_power_mean(experts, 0.5)
mixed = (
    hellinger.weights[0].log()
    + gaussians.log_density(grid[:, None], hellinger.loc, hellinger.scale)
).logsumexp(0)
torch.testing.assert_close(mixed.exp(), barycenter.exp(), rtol=0, atol=1e-8)
blind = hellinger._replace(affinity=torch.ones_like(hellinger.affinity))
blind_density = (
    blind.weights[0].log() + gaussians.log_density(grid[:, None], blind.loc, blind.scale)
).logsumexp(0)
assert total_variation(blind_density, barycenter) > 0.05, "weights have to know who agrees"

many = [part.expand(-1, draws, -1) for part in (hellinger.loc, hellinger.scale)]
nobody = torch.ones(6, 3, draws, dtype=torch.bool)
z = Posteriors(*many, hellinger.weights[0].expand(-1, draws), nobody).sample(generator)[:, 0]
below = [(z < edge).double().mean() for edge in (-1.5, 0.0, 1.0)]
edges = torch.linspace(-6, 6, 6001)
cdf = torch.cumulative_trapezoid(
    (
        hellinger.weights[0].log()
        + gaussians.log_density(edges[:, None], hellinger.loc, hellinger.scale)
    )
    .logsumexp(0)
    .exp(),
    edges,
)
for edge, share in zip((-1.5, 0.0, 1.0), below, strict=True):
    exact = cdf[int(torch.searchsorted(edges, edge)) - 1]
    assert abs(share - exact) < 4 * (exact * (1 - exact) / draws) ** 0.5

# %% tags=["remove-input"] mystnb={"image": {"alt": "The Hellinger barycenter of three experts as a black outline over its six weighted components: three experts in grey and three narrower bumps between them, that of the two neighbouring experts being the tallest of these."}}
counts, _ = compositions(3, 2)
paired = (counts > 0).sum(1) == 2
weights = hellinger.weights[0, :, 0]
fine_components = gaussians.log_density(fine[:, None], hellinger.loc, hellinger.scale).exp()
fig, ax = plt.subplots(figsize=(6.8, 3.4))
for k in range(6):
    color = HELLINGER if paired[k] else "0.5"
    ax.fill_between(fine, weights[k] * fine_components[k], color=color, alpha=0.3, lw=0)
ax.plot(fine, (weights[:, None] * fine_components).sum(0), color=plots.INK)
order = [int(k) for k in torch.nonzero(paired)[:, 0]]
strongest = max(order, key=lambda k: float(weights[k]))
peak = (
    float(hellinger.loc[strongest]),
    float((weights[strongest, None] * fine_components[strongest]).max()),
)
ax.annotate(
    f"log-pool of two experts\nwho agree: weight {weights[strongest]:.2f}",
    peak,
    xytext=(1.9, 0.3),
    color=HELLINGER,
    arrowprops={"arrowstyle": "-", "color": HELLINGER, "lw": 0.8},
)
ax.annotate(
    "an expert by itself",
    (-1.3, 0.2),
    xytext=(-4.1, 0.24),
    color="0.4",
    arrowprops={"arrowstyle": "-", "color": "0.4", "lw": 0.8},
)
ax.annotate("their sum", (-0.35, 0.35), color=plots.INK)
ax.set(
    xlim=(-4.2, 4.2),
    ylim=(0, 0.45),
    yticks=[],
    xlabel="$z$",
    title="Experts, and pairs of experts who agree",
)
plt.show()

# %% tags=["remove-cell"]
glue("pair_share", f"{100 * weights[paired].sum():.0f}", display=False)
glue("pair_strongest", f"{weights[strongest]:.2f}", display=False)

# %% [markdown]
# Here the pairs hold {glue:text}`pair_share` percent of the mass.
# MoPoE and the mixture of log-pools mix *all* subsets with *equal* weights; the Hellinger barycenter mixes the log-pools of at most two experts, with weights by agreement, and order $n$ those of at most $n$.
#
# ::::{prf:lemma} No other power gives a finite mixture
# :label: lem-only-integers
#
# Let $M=2$, with two Gaussian experts that differ and positive weights.
# If the power mean with $r\ne0$ is a finite mixture of Gaussians, up to its constant, then $1/r$ is a positive integer.
# ::::
#
# :::{prf:proof}
# It is enough to look along one latent dimension in which the experts differ.
# Let $z$ be complex.
# A finite mixture is an entire function of $z$.
# The sum $w_1q_1^r+w_2q_2^r=w_1q_1^r\big(1+e^{Q}\big)$ has a polynomial $Q$ of degree one or two in its exponent, and is zero wherever $Q(z)=(2\ell+1)\pi i$ for an integer $\ell$.
# These are infinitely many points, and at most one of them is a root of $Q'$, so there is a zero of order one.
# Call the sum $f$ and the mixture $F$.
# On the real line $F'/F=\frac1rf'/f$; both sides are meromorphic, so they agree everywhere.
# At the simple zero the right side has the residue $1/r$; the left one's is the order of a zero of an entire function, so $1/r$ is a non-negative integer, and not zero.
# :::

# %% [markdown]
# **Check.** For unit Gaussians at 0 and 2 with equal weights there is a zero at $z_0=1+\frac{\pi i}{2r}$.
# We walk around it once: the sum turns once, and its power comes back as it was only for an integer $1/r$.
# For a negative integer it comes back, too, but has a pole.

# %%
circle = 0.1 * torch.exp(2j * math.pi * torch.linspace(0, 1, 401))
for r in (0.5, 1 / 3, 0.4, 2.0, -1.0):
    z = 1 + 1j * math.pi / (2 * r) + circle
    summed = torch.exp(-0.5 * r * z**2) + torch.exp(-0.5 * r * (z - 2) ** 2)
    walked = (summed[1:] / summed[:-1]).log().sum()
    torch.testing.assert_close(walked, torch.tensor(2j * math.pi), rtol=0, atol=1e-9)
    comes_back = bool((torch.exp(walked / r) - 1).abs() < 1e-9)
    assert comes_back == (r in (0.5, 1 / 3, -1.0))

# %% [markdown]
# For other powers one has to sample by other means: the root mean square and the harmonic mean of two such experts, $r=2$ and $r=-1$, are no finite mixtures of Gaussians.

# %% [markdown]
# ## One weight for the whole latent
#
# In {eq}`eq-affinity` the sum over dimensions is inside the affinity: a component has *one* weight for the whole vector $z$.
# The log-pool and the Wasserstein barycenter of diagonal Gaussians can be computed dimension by dimension.
# A power mean cannot: within a component dimensions are independent, but one component is chosen for all of them, which makes them dependent.

# %%
plane_loc = torch.tensor([[-0.8, 0.3], [0.7, -0.4]])[:, None]  # two experts in two dimensions
plane_scale = torch.tensor([[0.6, 1.0], [0.9, 0.5]])[:, None]
half = torch.tensor([[0.5, 0.5]])
line = torch.linspace(-6, 6, 241)
step = line[1] - line[0]
points = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1)
in_plane = gaussians.log_density(points[..., None, :], plane_loc[:, 0], plane_scale[:, 0])
squared = (0.5 * (0.5 * in_plane).exp().sum(-1)).square()
squared = squared / (squared.sum() * step**2)


def of_mixture(mean):
    at_points = gaussians.log_density(points[..., None, :], mean.loc[:, 0], mean.scale[:, 0])
    return (mean.weights[0, :, 0] * at_points.exp()).sum(-1)


joint = power_mean(plane_loc, plane_scale, half, 2)
torch.testing.assert_close(of_mixture(joint), squared, rtol=0, atol=1e-8)
lone = [power_mean(plane_loc[..., d : d + 1], plane_scale[..., d : d + 1], half, 2) for d in (0, 1)]
rows = [
    (
        m.weights[0, :, 0]
        * gaussians.log_density(line[:, None, None], m.loc[:, 0], m.scale[:, 0]).exp()
    ).sum(-1)
    for m in lone
]
by_dimension = rows[0][:, None] * rows[1]
assert 0.5 * (by_dimension - squared).abs().sum() * step**2 > 0.05, "no product over dimensions"

# %% [markdown]
# This matters, because latents have many dimensions.
# The affinity is a *product* over dimensions of numbers below one, so for experts that differ by the same amount in each of them it vanishes exponentially in $D$, and with it all that distinguishes the barycenter from a mixture of its experts.
#
# ::::{prf:lemma} In many dimensions
# :label: lem-many-dimensions
#
# In every dimension, let $\int\sqrt{q_iq_j}\le\rho<1$ for every two different experts.
# Then the mixed components of order $n\ge2$ hold at most $\rho^{2D/n}/w_{\max}^{\,n}$ of the mass, and as $D$ grows nothing but the mixture with weights proportional to $w_m^n$ is left.
# ::::
#
# :::{prf:proof}
# Let $k_i,k_j\ge1$.
# In $\prod_mq_m^{k_m/n}$ give one factor $q_i^{1/n}$ and one $q_j^{1/n}$ to $(\sqrt{q_iq_j})^{2/n}$; the exponents of what is left sum to $1-\frac2n$.
# Hölder's inequality bounds the integral by the product of $(\int\sqrt{q_iq_j})^{2/n}$ and of powers of $\int q_m=1$.
# So $A_k\le\rho^{2D/n}$.
# All coefficients sum to $(\sum_mw_m)^n=1$, and the total mass is at least $w_{\max}^n$, that of one expert by itself.
# The unmixed components have masses $w_m^n$.
# :::

# %%
dimensions = torch.tensor([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64])
shares = {}
for apart in (0.25, 0.5, 1.0):
    held = []
    for d in dimensions.tolist():
        places = apart * torch.randn(5, 64, d, generator=generator) / math.sqrt(2)
        mean = power_mean(places, torch.ones_like(places), torch.full((1, 5), 0.2), 2)
        mixed_components = (compositions(5, 2)[0] > 0).sum(1) > 1
        held.append(mean.weights[0, mixed_components].sum(0).mean())
    shares[apart] = torch.stack(held)
assert shares[1.0][-1] < 0.05 < shares[1.0][0]
assert (shares[1.0] < shares[0.25] + 0.05).all()
one_by_one = power_mean(
    places[..., :1], torch.ones_like(places[..., :1]), torch.full((1, 5), 0.2), 2
)
alone = one_by_one.weights[0, mixed_components].sum(0).mean()
assert alone > shares[1.0][-1] + 0.3, "weights per dimension would not see it"

# %% tags=["remove-input"] mystnb={"image": {"alt": "Share of the mass in mixed components against the number of latent dimensions, one line for each distance between experts: all start near four fifths, and the larger the distance per dimension, the sooner a line falls to zero."}}
fig, ax = plt.subplots(figsize=(6.4, 3.2))
for (apart, held), depth in zip(shares.items(), (0.45, 0.7, 1.0), strict=True):
    ax.plot(dimensions, held, color=HELLINGER, alpha=depth)
    k = int((held - 0.45).abs().argmin())
    ax.annotate(
        f"{apart:g} apart",
        (int(dimensions[k]), float(held[k])),
        xytext=(6, 6),
        textcoords="offset points",
        color=HELLINGER,
    )
ax.set(
    xlabel="latent dimensions",
    ylabel="mass of mixed components",
    ylim=(0, 0.85),
    xlim=(1, 64),
    title="In many dimensions disagreement adds up, and the pairs fade",
)
plt.show()

# %% tags=["remove-cell"]
glue("share_one", f"{100 * shares[1.0][0]:.0f}", display=False)
glue("share_many", f"{100 * shares[1.0][-1]:.1f}", display=False)

# %% [markdown]
# Drawn are five experts of scale one whose means are random, with the given root mean square distance between two of them in each dimension.
# At a distance of one standard deviation the pairs hold {glue:text}`share_one` percent in one dimension and {glue:text}`share_many` percent in 64.
# So a Hellinger model in a large latent space behaves like a mixture of experts, unless training makes the experts agree.

# %% [markdown]
# ## A Gaussian in its place
#
# A model with a single Gaussian posterior needs a Gaussian here, and there are two candidates.
# The first has the barycenter's mean and variances.
# It is the forward projection, closest to $P_r$ under $\KL{P_r}{q}$ by {prf:ref}`lem-moment-match`, and with the weights $\pi_k\propto c_kA_k$ of {prf:ref}`lem-power-mean-mixture` it is
#
# $$
# \mu=\sum_k\pi_k\,\mu_k,
# \qquad
# \sigma^2=\sum_k\pi_k\big[\sigma_k^2+(\mu_k-\mu)^2\big]
# $$ (eq-power-mean-moments)
#
# in every dimension.
# The abstract of {cite:t}`vo2026` calls a moment-matching approximation *Hellinger*; their code computes this one.

# %% tags=["remove-input"]
show(moments)

# %% [markdown]
# The second asks the barycenter's own question among Gaussians.
# By {prf:ref}`lem-alpha-barycenter` that means to minimise $D_r(P_r,q)$, not $\KL{P_r}{q}$, and the answers differ.
#
# ::::{prf:lemma} The best Gaussian
# :label: lem-tilted-moments
#
# Let $0<r<1$.
# For a diagonal Gaussian $q$ let $t_q\propto\sum_mw_m\,q_m^r\,q^{1-r}$, and let $q'$ be the Gaussian with the moments of $t_q$,
#
# $$
# \mu'=\E_{t_q}[z],\qquad \sigma'^2=\operatorname{Var}_{t_q}[z] .
# $$ (eq-tilted-moments)
#
# Then $\sum_mw_mD_r(q_m,q')\le\sum_mw_mD_r(q_m,q)$, with equality only for $q'=q$; so the best Gaussian has $q'=q$.
# ::::
#
# :::{prf:proof}
# To minimise the sum is to maximise $F(q)=\int h\,q^{1-r}$ with $h=\sum_mw_mq_m^r$.
# By Jensen's inequality
# $\log\frac{F(q')}{F(q)}=\log\E_{t_q}\big[(q'/q)^{1-r}\big]\ge(1-r)\,\E_{t_q}\big[\log q'-\log q\big]$.
# Among diagonal Gaussians $\E_{t_q}\log q'$ is largest at the moments of $t_q$, and only there, so the right side is positive unless $q'=q$.
# :::
#
# Each $q_m^rq^{1-r}$ is an unnormalised log-pool of two Gaussians, so a step has a closed form, for every $r$, and it can be differentiated.

# %% tags=["remove-input"]
show(gaussian_barycenter)

# %% [markdown]
# **Check.** The moments against quadrature; the best Gaussian against a search along gradients; the descent that the lemma promises.


# %%
def summed_divergence(q_loc, q_scale, power=0.5):
    return (w @ alpha_divergence(loc[:, 0], scale[:, 0], q_loc, q_scale, power)).sum()


matched_loc, matched_scale = (x[0, 0, 0] for x in moments(hellinger))
wide = torch.linspace(-9, 9, 4001)
dense = (
    0.5 * (w[0][:, None] * (0.5 * gaussians.log_density(wide[:, None], loc, scale)).exp()).sum(0)
).square()
dense = dense / torch.trapezoid(dense, wide)
mean = torch.trapezoid(dense * wide, wide)
deviation = torch.trapezoid(dense * (wide - mean).square(), wide).sqrt()
torch.testing.assert_close(
    torch.stack([matched_loc, matched_scale]), torch.stack([mean, deviation])
)
within = (hellinger.weights[0, :, 0] * hellinger.scale[:, 0, 0].square()).sum().sqrt()
assert matched_scale > within + 0.3, "the spread between components counts"

free = torch.tensor([0.0, 0.0], requires_grad=True)
search = torch.optim.LBFGS(
    [free], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-12, tolerance_change=0.0
)


def closure():
    search.zero_grad()
    loss = summed_divergence(free[:1], free[1:].exp())
    loss.backward()
    return loss


search.step(closure)
best_loc, best_scale = gaussian_barycenter(loc, scale, w, 0.5, steps=400)
torch.testing.assert_close(best_loc.squeeze(), free[0].detach(), rtol=0, atol=1e-6)
torch.testing.assert_close(best_scale.squeeze(), free[1].detach().exp(), rtol=0, atol=1e-6)

path = [gaussian_barycenter(loc, scale, w, 0.5, steps=steps) for steps in range(12)]
values = torch.stack([summed_divergence(a[0, 0], b[0, 0]) for a, b in path])
assert (values.diff() < 0).all(), "every step helps"
at_moments = summed_divergence(matched_loc[None], matched_scale[None])
at_best = summed_divergence(best_loc[0, 0], best_scale[0, 0])
assert at_moments > at_best + 1e-4, "the moments are not the best Gaussian"
torch.testing.assert_close(
    gaussian_barycenter(loc, scale, w, 1.0), barycenters.moment_match(loc, scale, w)
)

# %% [markdown]
# The best Gaussian has a trap.
# For $r<1$ a Gaussian that covers two experts far apart has little affinity with either, and to settle on one of them is better: there are several minima, and which one is found depends on where the search starts.
# In many dimensions *far apart* comes soon, by {prf:ref}`lem-many-dimensions`.
# The moments have one answer always, and change smoothly with the experts.

# %%
apart_loc = torch.tensor([-6.0, 6.0])
ends = []
for start in (-6.0, 6.0):
    q_loc, q_scale = torch.tensor([start]), torch.tensor([1.0])
    for _ in range(200):  # eq-tilted-moments, from another start
        share = torch.tensor([[0.5, 0.5]])
        two = torch.stack(
            torch.broadcast_tensors(apart_loc[:, None], q_loc)
        )  # each expert with the candidate
        both = torch.stack(torch.broadcast_tensors(torch.ones(2, 1), q_scale))
        tilted_loc, tilted_scale = (x[0] for x in barycenters.log_pool(two, both, share))
        part = log_affinity(two, both, share)[0].softmax(0)[:, None]
        q_loc = (part * tilted_loc).sum(0)
        q_scale = (part * (tilted_scale.square() + (tilted_loc - q_loc).square())).sum(0).sqrt()
    ends.append((q_loc, q_scale))
(left_loc, left_scale), (right_loc, right_scale) = ends


def to_both(q_loc, q_scale):
    return alpha_divergence(apart_loc[:, None], torch.ones(2, 1), q_loc, q_scale, 0.5).mean()


middle = gaussian_barycenter(apart_loc[:, None, None], torch.ones(2, 1, 1), half, 0.5)
torch.testing.assert_close(left_loc, -right_loc)
torch.testing.assert_close(to_both(left_loc, left_scale), to_both(right_loc, right_scale))
assert right_loc > 5
torch.testing.assert_close(middle[0].squeeze(), torch.tensor(0.0), rtol=0, atol=1e-9)
assert to_both(right_loc, right_scale) < to_both(middle[0][0, 0], middle[1][0, 0]) - 0.01

# %% tags=["remove-cell"]
glue("loss_moments", f"{at_moments:.4f}", display=False)
glue("loss_best", f"{at_best:.4f}", display=False)
glue("matched_scale", f"{matched_scale:.2f}", display=False)
glue("best_scale", f"{best_scale.item():.2f}", display=False)
glue("two_minima", f"{right_loc.item():.2f}", display=False)

# %% [markdown]
# On the three experts the summed divergence is {glue:text}`loss_moments` at the moments, whose scale is {glue:text}`matched_scale`, and {glue:text}`loss_best` at the best Gaussian, with scale {glue:text}`best_scale`.
# For two unit Gaussians at $\pm6$ the two best Gaussians sit at $\pm{}${glue:text}`two_minima`.
# We train with the moments.
#
# How wide are they?
# Between the log-pool and the matched mixture, one would say, but only half of that is so on random experts.

# %%
many_loc = 2 * torch.randn(3, draws, 1, generator=generator)
many_scale = torch.randn(3, draws, 1, generator=generator).exp()
many_w = torch.rand(1, 3, draws, generator=generator)
many_w = many_w / many_w.sum(1, keepdim=True)
of_hellinger = moments(power_mean(many_loc, many_scale, many_w, 2))[1]
of_log_pool = barycenters.log_pool(many_loc, many_scale, many_w)[1]
of_mixture_match = barycenters.moment_match(many_loc, many_scale, many_w)[1]
narrower = (of_hellinger < of_log_pool * (1 - 1e-12)).double().mean()
wider = (of_hellinger > of_mixture_match * (1 + 1e-12)).double().mean()
assert narrower == 0
assert 0 < wider < 0.05
assert (of_hellinger >= many_scale.amin(0) * (1 - 1e-12)).all(), "no mixture is narrower"

# %% tags=["remove-cell"]
glue("triples", f"{draws:,}", display=False)
glue("wider", f"{100 * wider:.1f}", display=False)

# %% [markdown]
# Of {glue:text}`triples` random triples none has a Hellinger barycenter narrower than its log-pool, which is a count and not a proof, and {glue:text}`wider` percent have one *wider* than the mixture: squaring the weights can favour two experts who are far apart.
# What is certain is that it never sharpens beyond its sharpest expert, because no component does.

# %% [markdown]
# ## As aggregators
#
# The moments are a pool like any other: they take any subset of the experts, for all subsets at once, because the components are shared between subsets and only the coefficients differ.
# **HELVAE** pools all modalities and trains the joint ELBO, **MoHELVAE** pools within every subset and trains their mixture as MoPoE does; these are the names in the authors' code.
# The third model keeps the mixture.
# Its posterior is $P_{1/2}$ itself, with one sample from each component in {eq}`eq-stratified`.

# %% tags=["remove-input"]
show(
    models.hellinger,
    models.mixture_of_hellinger,
    models.hellinger_exact,
    models.power_pool,
    models.PowerMeanAggregator,
)

# %% [markdown]
# **Check.** A missing modality is never read and leaves the barycenter of the rest; gradients agree with finite differences in float64, the hand-written backward pass of the moments included.

# %%
unimodal_loc = torch.randn(3, 4, 2, generator=generator)
unimodal_scale = torch.randn(3, 4, 2, generator=generator).exp()
observed = torch.tensor([True, False, True])[:, None].expand(3, 4)
hidden = torch.where(observed[..., None], unimodal_loc, math.nan)
rest = [unimodal_loc[[0, 2]], unimodal_scale[[0, 2]]]
for name in ("hellinger", "mixture-of-hellinger"):
    answer = build(name).aggregator.posterior(hidden, unimodal_scale, observed)
    torch.testing.assert_close((answer.loc, answer.scale), moments(power_mean(*rest, half, 2)))
exact = build("hellinger-exact").aggregator.posterior(hidden, unimodal_scale, observed)
of_rest = power_mean(*rest, half, 2)
there = exact.weights[:, 0] > 1e-30
assert there.sum() == 3
torch.testing.assert_close(exact.weights[there], of_rest.weights[0])
torch.testing.assert_close(exact.loc[there], of_rest.loc)

family = build("mixture-of-hellinger").aggregator.family(3, None)
leaves = [
    unimodal_loc[:, :2].clone().requires_grad_(),
    unimodal_scale[:, :2].clone().requires_grad_(),
]
weighting = torch.rand(7, 3, generator=generator)
assert torch.autograd.gradcheck(lambda a, b: moments(power_mean(a, b, family, 2)), leaves)
assert torch.autograd.gradcheck(lambda a, b: moments(power_mean(a, b, weighting, 3)), leaves)
thirds = torch.full((1, 3), 1 / 3)
assert torch.autograd.gradcheck(
    lambda a, b: gaussian_barycenter(a, b, thirds, 0.5, steps=5), leaves
)
assert torch.autograd.gradcheck(lambda a, b: build("hellinger-exact").aggregator(a, b)[:3], leaves)

# %% [markdown]
# The mixture needs care of another kind.
# Its weights depend on the encoders, so they have gradients, too.
# With one sample from one drawn component, as {eq}`eq-mopoe` has it, the choice of the component passes no gradient on, and the estimate of the gradient is biased; with one sample from each component the weights stand in the sum.
# We check both on the oracle, where quadrature gives the ELBO of the mixture and its gradient.

# %%
generator = torch.Generator().manual_seed(seed)
oracle = LinearGaussian.random(dict.fromkeys("abc", 2), 1, noise=1.5, generator=generator)
one = oracle.sample(1, generator)
repeats = draws // 5
repeated = {name: x.expand(repeats, -1) for name, x in one.items()}
start_loc, start_scale = oracle.unimodal_posteriors(one)
start_loc = start_loc + torch.tensor([-1.0, 0.1, 1.2])[:, None, None]  # experts that disagree
kept = models.PowerMeanAggregator(2)


def elbo_by_quadrature(a, b):
    q = kept(a, b)
    z = torch.linspace(-8, 8, 2001)[:, None, None]
    log_q = q.log_density(z)[:, 0]
    log_joint = oracle.log_likelihood(one)(z).sum(0)[:, 0] + gaussians.log_prior(z)[:, 0]
    return torch.trapezoid(log_q.exp() * (log_joint - log_q), z[:, 0, 0])


def per_example_gradients(estimate):
    a, b = (x.expand(-1, repeats, -1).clone().requires_grad_() for x in (start_loc, start_scale))
    values = estimate(kept(a, b))
    return values.detach(), torch.cat(torch.autograd.grad(values.sum(), [a, b]))[..., 0]


def one_component(q):
    z = q.sample(generator)
    return oracle.log_likelihood(repeated)(z).sum(0) + gaussians.log_prior(z) - q.log_density(z)


leaves = [start_loc.clone().requires_grad_(), start_scale.clone().requires_grad_()]
truth = elbo_by_quadrature(*leaves)
gradient = torch.cat(torch.autograd.grad(truth, leaves)).flatten()
values, gradients = per_example_gradients(
    lambda q: stratified_elbo(q, oracle.log_likelihood(repeated), generator).elbo()
)
assert abs(values.mean() - truth) < 4 * values.std() / repeats**0.5
errors = gradients.std(1) / repeats**0.5
assert ((gradients.mean(1) - gradient).abs() < 4.5 * errors).all()  # six at once

twin_values, twin = per_example_gradients(one_component)
assert abs(twin_values.mean() - truth) < 4 * twin_values.std() / repeats**0.5, "right value"
twin_error = ((twin.mean(1) - gradient).abs() / (twin.std(1) / repeats**0.5)).max()
assert twin_error > 8, "wrong gradient: the weights are missing from it"

# %% tags=["remove-cell"]
glue("twin_error", f"{twin_error:.0f}", display=False)

# %% [markdown]
# The one-component estimate has the right value and the wrong gradient, by {glue:text}`twin_error` standard errors at its worst entry.

# %% [markdown]
# ## What to expect: the toy again
#
# The toy of {doc}`/chapters/aggregation/wb_vae` asks what a pool can reach if linear experts are free to adapt to it: $x_m\mid z\sim\N(z,s_m^2)$, {eq}`eq-powerset-elbo` as objective.
# There the pooled posteriors were linear in the data and the objective had a closed form.
# Hellinger's weights depend on the data, so here we average over draws from the model instead, the same ones for every pool, and count nats beyond the floor of {prf:ref}`lem-subset-floor` on them.


# %%
def excess(aggregator, noise_variances, examples=100):
    """Nats per example above the floor on drawn data, at the best linear encoders."""
    source = torch.Generator().manual_seed(seed)
    noise = torch.tensor(noise_variances)
    precision, modalities = 1 / noise, len(noise)
    z = torch.randn(examples, 1, generator=source)
    x = z + noise.sqrt() * torch.randn(examples, modalities, generator=source)
    total = 1 + precision.sum()
    posterior_mean = x @ precision / total
    family = build("mopoe").aggregator.family(modalities, None).double()
    best = x @ (precision * family).T / (1 + family @ precision)  # E[z | x_S] for every subset
    floor = 0.5 * total * (best - posterior_mean[:, None]).square().mean()
    gain = torch.full((modalities,), 0.5, requires_grad=True)
    log_scale = torch.full((modalities,), -0.3, requires_grad=True)
    search = torch.optim.LBFGS(
        [gain, log_scale], max_iter=150, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def average_gap():
        means = (gain * x).T[..., None]
        q = aggregator(means, log_scale.exp()[:, None, None].expand_as(means))
        ratio = total * q.scale[..., 0].square()
        shift = total * (q.loc[..., 0] - posterior_mean).square()
        return 0.5 * (ratio - 1 - ratio.log() + shift).mean()

    def closure():
        search.zero_grad()
        loss = average_gap()
        loss.backward()
        return loss

    search.step(closure)
    return (average_gap() - floor).item()


pools = {
    "log-pool": build("mixture-of-log-pools").aggregator,
    "W2": build("mwb-vae").aggregator,
    "product": build("mopoe").aggregator,
    "Hellinger": build("mixture-of-hellinger").aggregator,
}
worlds = {"even": [1.0, 1.0, 1.0], "uneven": [0.1, 4.0, 1.0]}
lost = {
    world: {name: excess(pool, noise) for name, pool in pools.items()}
    for world, noise in worlds.items()
}
assert all(row["Hellinger"] == max(row.values()) for row in lost.values())
assert all(row["log-pool"] <= row["W2"] + 1e-3 for row in lost.values())
Markdown(
    "| noise variances | "
    + " | ".join(pools)
    + " |\n|---"
    + "|---" * len(pools)
    + "|\n"
    + "\n".join(
        "| "
        + ", ".join(f"{v:g}" for v in worlds[world])
        + " | "
        + " | ".join(f"{row[p]:.3f}" for p in pools)
        + " |"
        for world, row in lost.items()
    )
)

# %% [markdown]
# In this toy the matched Hellinger pool loses most.
# Linear experts that see different noise disagree by chance, and the other pools average such disagreement away; here it is the spread between components, and ends up as width.
# That is an honest account of disagreement, and no help in inferring a single $z$.
# The toy knows no modality that lacks what the others hold; where experts have reason to disagree, width may be what is wanted.

# %% [markdown]
# ## A live comparison
#
# We train the three models and one control on {glue:text}`train_tuples` tuples of PolyDigits, long enough to see that they train, too short for a verdict.
# The question is the one that {prf:ref}`lem-many-dimensions` raises: with {glue:text}`latents` latent dimensions, do pairs keep any weight?

# %%
settings = preset("polydigits", "hellinger", "quick", train_examples=1000)
setup = setup_of("polydigits")
epochs = {"hellinger": 3, "mixture-of-hellinger": 3, "hellinger-exact": 1, "log-pool": 3}
torch.set_default_dtype(torch.float32)
train, test = load(settings, setup)
held_out = test.batch(torch.arange(350))


@torch.no_grad()
def mass_of_pairs(vae):
    """Of the Hellinger barycenter of a model's experts, whatever it was trained with."""
    unimodal, widths, _ = vae.encode(held_out)
    mean = power_mean(unimodal, widths, torch.full((1, 5), 0.2), 2)
    mixed = (compositions(5, 2)[0] > 0).sum(1) > 1
    return mean.weights[0, mixed].sum(0).mean().item()


losses, masses = {}, {}
for name in epochs:
    vae = untrained(settings, setup, build(name), seed)
    masses[name] = [mass_of_pairs(vae)]
    config = TrainConfig(epochs=epochs[name], batch_size=64, learning_rate=4e-3, seed=seed)
    losses[name] = fit(vae, train, config, progress=False).loss
    masses[name].append(mass_of_pairs(vae))
    alone = {m: held_out[m] for m in ("m0",)}
    assert torch.isfinite(
        vae.bound(alone, generator=torch.Generator().manual_seed(seed)).elbo()
    ).all()
torch.set_default_dtype(torch.float64)

for history in losses.values():
    assert all(math.isfinite(value) for value in history)
    assert len(history) == 1 or history[-1] < history[0]
for before, after in masses.values():
    assert after < before, "experts start alike and come to differ"

# %% tags=["remove-cell"]
glue("train_tuples", f"{len(train):,}", display=False)
glue("latents", f"{settings.latent_dim}", display=False)
glue("mass_start", f"{100 * masses['hellinger'][0]:.0f}", display=False)

# %% tags=["remove-input"]
Markdown(
    "| model | epochs | minus the bound, last epoch | mass of pairs after training |\n|---|---|---|---|\n"
    + "\n".join(
        f"| {plots.LABELS[name]} | {epochs[name]} | {history[-1]:.0f} | {100 * masses[name][1]:.0f} % |"
        for name, history in losses.items()
    )
)

# %% [markdown]
# Before training all encoders say nearly the same, and the pairs have {glue:text}`mass_start` percent, close to the 80 that five equal experts would give them.
# Training makes the experts differ, and in every model the pairs lose mass; how much depends on the model and on how long it trains.
# The losses are of different objectives after different numbers of steps, and rank nothing.
# The exact model decodes fifteen latents per example where the others decode one, which is why it gets one epoch.

# %% [markdown]
# ## Divergences without a closed form
#
# Two more divergences are often named, and for both the barycenter is the solution of an equation.
#
# **Rényi.** For $r>0$, $R_r(q_m,q)=\frac1{r-1}\log\int q_m^rq^{1-r}$ is an increasing function of $D_r$, but the *sum* of these functions has another minimiser.
# For $0<r<1$ both lemmas of {doc}`/chapters/aggregation/kl_barycenters` together find it.
# By {prf:ref}`lem-reverse-barycenter` with the weights $r$ and $1-r$,
#
# $$
# R_r(q_m,q)=\frac1{1-r}\,\min_{t}\big\{r\,\KL{t}{q_m}+(1-r)\,\KL{t}{q}\big\} ,
# $$
#
# with the minimum at $t_m\propto q_m^rq^{1-r}$, and by {prf:ref}`lem-forward-barycenter` the best $q$ for given $t_m$ is their mixture.
# So $q\leftarrow\sum_mw_mt_m$ lowers the sum at every step.
# A fixed point has $q^r=\sum_m\frac{w_m}{c_m}q_m^r$ with $c_m=\int q_m^rq^{1-r}$: it is again a power mean, with weights that favour experts far from $q$.
# In information theory it is the Augustin mean, of which {cite:t}`nakiboglu2019` proves that it exists and is the only fixed point.
#
# **Jensen–Shannon.** $\sum_mw_m\mathrm{JSD}(q,q_m)$ has no closed-form minimiser known to us; {cite:t}`nielsen2020` computes it by iterations, and {ref}`an exercise <ex-js-barycenter>` finds it point by point.

# %%
r = 0.5
log_q = torch.zeros_like(grid).log_softmax(0) - dz.log()
renyi_path = []
for _ in range(300):
    log_c = (r * experts + (1 - r) * log_q).logsumexp(-1) + dz.log()  # (M,)
    renyi_path.append((w[0] @ log_c) / (r - 1))
    log_q = (w[0].log()[:, None] + r * experts + (1 - r) * log_q - log_c[:, None]).logsumexp(0)
assert (torch.stack(renyi_path).diff() <= 1e-14).all(), "every step lowers the sum"


def summed_renyi(log_q):
    return w[0] @ ((r * experts + (1 - r) * log_q).logsumexp(-1) + dz.log()) / (r - 1)


assert total_variation(log_q, free_form(summed_renyi)) < 1e-3
reweighted = (w[0] / log_c.exp()).log()[:, None]
as_power_mean = (reweighted + r * experts).logsumexp(0) / r
as_power_mean = as_power_mean - as_power_mean.logsumexp(0) - dz.log()
assert total_variation(log_q, as_power_mean) < 1e-6
renyi_apart = total_variation(log_q, log_power_mean(experts, r)[0])
assert renyi_apart > 0.01, "the Renyi barycenter is not the alpha barycenter of the same power"

# %% tags=["remove-cell"]
glue("renyi_apart", f"{renyi_apart:.2f}", display=False)

# %% [markdown]
# At $r=\frac12$ the two barycenters are {glue:text}`renyi_apart` apart in total variation.

# %% [markdown]
# ## Paper, official code, here
#
# | | {cite:t}`vo2026` | official code | here |
# |---|---|---|---|
# | **what we have read** | the abstract | the pool, the fusion of subsets, and the README | |
# | **power** | Hölder pooling with $\alpha=0.5$, which is our $r$ | the same | `order=2`, $r=1/2$; any $r=1/n$ |
# | **posterior** | a moment-matching approximation | one Gaussian with the moments of {eq}`eq-power-mean-moments`, one affinity for all dimensions | the same, or the mixture itself, `hellinger_exact` |
# | **weights of experts** | not known to us | equal | equal in the models, any in `power_mean` |
# | **prior expert** | not known to us | none: it is added to products only | none |
# | **subsets** | without sub-sampling | HELVAE the full set, MoHELVAE all non-empty ones | the same |
# | **second moments** | not known to us | raw squares minus the squared mean, by default in float32; variance at least $10^{-8}$ | centred, in float64; variance at least half of the narrowest component's |
#
# A later paper announces Hölder pooling without approximation {cite:p}`vo2026holder`; we have read its abstract only, and how it samples and trains is not known to us.
# The row on second moments is a difference that can be felt: far from the origin the raw moments of float32 cancel.

# %%
far = (
    torch.full((2, 1, 1), 300.0, dtype=torch.float32)
    + torch.tensor([0.0, 0.01])[:, None, None].float()
)
narrow = torch.full((2, 1, 1), 0.01, dtype=torch.float32)
even = torch.full((1, 2), 0.5)
exact_scale = moments(power_mean(far.double(), narrow.double(), even, 2))[1]
ours_scale = moments(power_mean(far, narrow, even, 2))[1]
torch.testing.assert_close(ours_scale.double(), exact_scale, rtol=1e-3, atol=0)
single = power_mean(far, narrow, even.float(), 2)
share = single.weights[0]
raw = (share[..., None] * (single.loc.square() + single.scale.square())).sum(0) - (
    share[..., None] * single.loc
).sum(0).square()
assert abs(raw.clamp_min(1e-8).sqrt().item() - exact_scale.item()) > 0.5 * exact_scale.item()

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-js-barycenter
# Show that the minimiser of $\sum_mw_m\mathrm{JSD}(q,q_m)$ over densities, with equal halves in each Jensen–Shannon divergence, solves $\sum_mw_m\log\frac{2q(z)}{q(z)+q_m(z)}=c$ at every $z$, with one constant $c$.
# Why does that determine $q$, and how can it be computed?
# ::::
#
# ::::{solution} ex-js-barycenter
# :class: dropdown
# $\mathrm{JSD}(q,q_m)=\frac12\int q\log\frac{2q}{q+q_m}+\frac12\int q_m\log\frac{2q_m}{q+q_m}$ is convex in $q$.
# Its derivative in the direction of $q(z)$ is $\frac12\log\frac{2q}{q+q_m}$, since the other terms cancel, and a Lagrange multiplier for $\int q=1$ gives the equation.
# At fixed $c<\log2$ the left side increases in $q(z)$ from $-\infty$ to $\log2$, so there is one solution at every $z$; it increases with $c$, so one $c$ gives $\int q=1$.
# Both can be found by bisection, one inside the other:
# ::::


# %% tags=["hide-input", "remove-output"]
def bisect(increasing, low, high, steps=60):
    for _ in range(steps):
        middle = 0.5 * (low + high)
        below = increasing(middle) < 0
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return 0.5 * (low + high)


def log_solution(c):
    """log q at every grid point, for one constant."""

    def excess_over_c(log_q):
        gap = log_q - torch.logaddexp(log_q, experts)
        return (w[0][:, None] * gap).sum(0) + math.log(2) - c

    return bisect(excess_over_c, experts.amin(0) - 60, experts.amax(0) + 60)


constant = bisect(
    lambda c: log_solution(c).logsumexp(0) + dz.log(), torch.tensor(-3.0), torch.tensor(0.6)
)
js_barycenter = log_solution(constant)


def summed_js(log_q):
    between = torch.logaddexp(log_q, experts) - math.log(2)
    terms = log_q.exp() * (log_q - between) + experts.exp() * (experts - between)
    return w[0] @ (0.5 * terms.sum(-1) * dz)


assert total_variation(js_barycenter, free_form(summed_js)) < 1e-3
for power in (0, 0.5, 1):
    other = log_power_mean(experts, power)[0]
    assert summed_js(other) > summed_js(js_barycenter) + 1e-4

# %% [markdown]
# ::::{exercise}
# :label: ex-large-order
# Let the order $n$ grow.
# Which components of {eq}`eq-power-mean-mixture` hold the mass when the experts are close to each other, and what does the mixture tend to?
# Then let the experts be far apart, and say which limit comes first.
# ::::
#
# ::::{solution} ex-large-order
# :class: dropdown
# $c_k$ is the probability of the counts $k$ in $n$ independent draws of an expert, so without the affinities the mass gathers at $k_m/n\approx w_m$, the log-pool with the weights $w$.
# The affinities are at most one and fall with disagreement, which favours counts near a single expert; $\log A_k$ does not grow with $n$ at fixed proportions, while the spread of $k/n$ shrinks like $n^{-1/2}$, so in the end the draws win and $P_{1/n}$ tends to the log-pool, as {prf:ref}`lem-power-mean-ends` says.
# For experts far apart $A_k$ at $k=nw$ is $e^{-\delta}$ with a large $\delta$, against masses $w_m^n$ of the unmixed components; the log-pool takes over once $n\log(1/w_{\max})$ exceeds $\delta$.
# ::::

# %% tags=["hide-input", "remove-output"]
apart_scale = torch.ones(2, 1, 1)
crossing = {}
for distance in (2.0, 8.0):
    places = torch.tensor([0.0, distance])[:, None, None]
    middle_mass = []
    for order in (2, 4, 8, 16, 32, 64):
        mean = power_mean(places, apart_scale, half, order)
        unmixed = (compositions(2, order)[0] > 0).sum(1) == 1
        middle_mass.append(1 - mean.weights[0, unmixed].sum().item())
    crossing[distance] = next(
        n for n, mass in zip((2, 4, 8, 16, 32, 64), middle_mass, strict=True) if mass > 0.5
    )
assert crossing[2.0] < crossing[8.0]
delta = -log_affinity(torch.tensor([0.0, 8.0])[:, None, None], apart_scale, half).item()
assert math.isclose(delta, 64 / 8)
assert abs(math.log2(crossing[8.0]) - math.log2(delta / math.log(2))) < 1.01  # within a doubling

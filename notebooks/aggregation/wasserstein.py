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
# # The Wasserstein barycenter
#
# A KL divergence compares two densities at the same place, and does not see how far apart two places are.
# The Wasserstein distance asks instead how far mass has to travel to turn one distribution into the other.
# {cite:t}`qiu2025` average unimodal posteriors with it.
# This chapter derives that average for diagonal and for full covariances, proves it optimal among all distributions, and says where it stands among the other averages, what it keeps and what it cannot do.
# The models that are built on it come in {doc}`/chapters/aggregation/wb_vae`.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import math

import matplotlib.pyplot as plt
import numpy as np
import ot
import torch
from IPython.display import Markdown
from myst_nb import glue
from scipy import stats

from multielbo import barycenters, full_covariance, gaussians, plots
from multielbo.profiles import check_profile
from multielbo.publishing.show import show

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)
draws = {"quick": 100_000, "laptop": 1_000_000, "full": 1_000_000}[profile]
PRODUCT, LOG_POOL, MIXTURE, WASSERSTEIN = map(plots.colour, ("mvae", "log-pool", "mmvae", "wb-vae"))

# %% [markdown]
# ## How far mass travels
#
# A **coupling** of $q$ and $p$ is a joint distribution of a pair $(X,Y)$ with $X\sim q$ and $Y\sim p$: a plan that says where each bit of mass goes.
# The **2-Wasserstein distance** is the cost of the cheapest plan, $W_2^2(q,p)=\min\,\E\|X-Y\|^2$ over all couplings.
#
# ::::{prf:lemma} Distance of diagonal Gaussians
# :label: lem-w2
#
# Let $q$ and $p$ have finite second moments, with coordinate means $\mu_q,\mu_p$ and standard deviations $\sigma_q,\sigma_p$.
# Then $W_2^2(q,p)\ge\|\mu_q-\mu_p\|^2+\|\sigma_q-\sigma_p\|^2$, and for diagonal Gaussians
#
# $$
# W_2^2(q,p)=\|\mu_q-\mu_p\|^2+\|\sigma_q-\sigma_p\|^2 .
# $$ (eq-w2)
# ::::
#
# :::{prf:proof}
# For one coordinate of any coupling, $\E(X-Y)^2=(\mu_q-\mu_p)^2+\sigma_q^2+\sigma_p^2-2\operatorname{Cov}(X,Y)$, and $\operatorname{Cov}(X,Y)\le\sigma_q\sigma_p$ by the inequality of Cauchy and Schwarz.
# That is the bound, summed over coordinates.
# For diagonal Gaussians take $Y_d=\mu_{p,d}+\frac{\sigma_{p,d}}{\sigma_{q,d}}(X_d-\mu_{q,d})$ in every coordinate: it has the law $p$, and reaches $\operatorname{Cov}(X_d,Y_d)=\sigma_{q,d}\,\sigma_{p,d}$.
# :::
#
# So diagonal Gaussians with the distance $W_2$ are points $(\mu,\sigma)$, $\sigma>0$, of an ordinary Euclidean space, with the *standard deviation* as coordinate.

# %% tags=["remove-input"]
show(gaussians.w2_squared)

# %% [markdown]
# **Check.** The library POT computes the distance for general covariances, by matrix square roots.

# %%
loc_q, scale_q = torch.tensor([0.5, -1.0]), torch.tensor([0.6, 1.4])
loc_p, scale_p = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])
reference = ot.gaussian.bures_wasserstein_distance(
    loc_q.numpy(), loc_p.numpy(), torch.diag(scale_q**2).numpy(), torch.diag(scale_p**2).numpy()
)
assert math.isclose(
    gaussians.w2_squared(loc_q, scale_q, loc_p, scale_p), reference**2, rel_tol=1e-12
)
with_variances = gaussians.w2_squared(loc_q, scale_q**2, loc_p, scale_p**2)
assert abs(with_variances - reference**2) > 1.0, "variances are the wrong coordinate"

# %% [markdown]
# ## The barycenter averages standard deviations
#
# ::::{prf:lemma} The barycenter of diagonal Gaussians
# :label: lem-w2-barycenter
#
# Let $q_m=\N(\mu_m,\operatorname{diag}\sigma_m^2)$ and $\sum_m w_m=1$.
# Among *all* distributions with finite second moments, $\sum_m w_m W_2^2(q,q_m)$ has one minimiser, the diagonal Gaussian with
#
# $$
# \mu_W=\sum_m w_m\,\mu_m, \qquad \sigma_W=\sum_m w_m\,\sigma_m .
# $$ (eq-w2-barycenter)
# ::::
#
# :::{prf:proof}
# Let $q$ have means $\mu$ and standard deviations $\sigma$.
# By {prf:ref}`lem-w2` the objective is at least $\sum_m w_m\big(\|\mu-\mu_m\|^2+\|\sigma-\sigma_m\|^2\big)$, which is smallest at the weighted means $\mu_W,\sigma_W$; and the diagonal Gaussian with these parameters attains it.
# Any other minimiser must have the same $\mu_W$ and $\sigma_W$ and equality in {prf:ref}`lem-w2` for every $q_m$ that has weight.
# Under the cheapest plan, equality in Cauchy–Schwarz makes every coordinate of $X$ an increasing affine function of the same coordinate of $Y\sim q_m$, so $q$ is a diagonal Gaussian too.
# :::

# %% tags=["remove-input"]
show(barycenters.wasserstein)

# %% [markdown]
# **Check.** On a grid, the barycenter is a linear programme over couplings and over the masses themselves {cite:p}`agueh2011`.
# Its solver knows nothing of Gaussians, of means, or of standard deviations.
# It can place mass at grid points only, so we ask for agreement within half a grid step.

# %%
loc = torch.tensor([-1.5, 0.5, 1.5])[:, None, None]  # (M, B, D)
scale = torch.tensor([0.3, 1.8, 0.8])[:, None, None]
w = torch.tensor([[0.5, 0.2, 0.3]])  # (K, M)

places = np.linspace(-7, 7, 71)
masses = gaussians.log_density(torch.as_tensor(places)[:, None], loc, scale).exp()
masses = (masses / masses.sum(1, keepdim=True)).T.numpy()
found = ot.lp.barycenter(masses, (places[:, None] - places) ** 2, weights=w[0].numpy())

found_mean = found @ places
found_scale = np.sqrt(found @ (places - found_mean) ** 2)
half_a_step = 0.5 * (places[1] - places[0])
pooled_loc, pooled_scale = (x.item() for x in barycenters.wasserstein(loc, scale, w))

assert abs(found_mean - pooled_loc) < half_a_step
assert abs(found_scale - pooled_scale) < half_a_step
for twin in [barycenters.log_pool(loc, scale, w)[1], (w @ scale[:, 0].square()).sqrt()]:
    assert abs(found_scale - twin.item()) > half_a_step, "not precisions, not variances"

# %% tags=["remove-cell"]
glue("w2_scale", f"{pooled_scale:.2f}", display=False)
glue("lp_scale", f"{found_scale:.2f}", display=False)

# %% [markdown]
# The formula gives the standard deviation {glue:text}`w2_scale`, the linear programme {glue:text}`lp_scale`.

# %% [markdown]
# ## One dimension: averaging quantiles
#
# Nothing in the definition asks for Gaussians.
# In one dimension the barycenter of *any* experts has a formula, and it shows what the Wasserstein distance averages.
#
# ::::{prf:lemma} Quantiles average
# :label: lem-quantiles
#
# Let $q$, $p$ and $q_1,\dots,q_M$ be distributions on the line with finite second moments and quantile functions $F_q^{-1}$, $F_p^{-1}$, $F_m^{-1}$.
#
# 1. $W_2^2(q,p)=\int_0^1\big(F_q^{-1}(u)-F_p^{-1}(u)\big)^2\mathrm du$.
# 2. With $F_W^{-1}=\sum_m w_mF_m^{-1}$ the quantile function of $q_W$, every $q$ has
#    $\sum_m w_mW_2^2(q,q_m)=\sum_m w_mW_2^2(q_W,q_m)+W_2^2(q,q_W)$.
# 3. If all experts have independent coordinates, so has their barycenter in $\mathbb R^D$, and its coordinates are the barycenters of the experts' coordinates.
# ::::
#
# :::{prf:proof}
# *(1)* Only $\E XY$ depends on the coupling.
# Let $(X',Y')$ be an independent copy of the pair.
# From $X-X'=\int\big(\mathbb 1\{X'\le s\}-\mathbb 1\{X\le s\}\big)\mathrm ds$, and the same for $Y$, the expectation of the product is $2\operatorname{Cov}(X,Y)=2\iint\big(\mathrm P(X\le s,Y\le t)-F_q(s)F_p(t)\big)\,\mathrm ds\,\mathrm dt$.
# Every coupling has $\mathrm P(X\le s,Y\le t)\le\min(F_q(s),F_p(t))$, and $X=F_q^{-1}(U)$, $Y=F_p^{-1}(U)$ with one uniform $U$ attains it for all $s$ and $t$ at once.
# *(2)* By (1) distributions on the line are functions in $L^2(0,1)$, and in a Euclidean space $\sum_m w_m\|f-f_m\|^2=\sum_m w_m\|f_W-f_m\|^2+\|f-f_W\|^2$.
# An average of non-decreasing functions is non-decreasing, so $F_W^{-1}$ is a quantile function.
# *(3)* A coupling of $q$ with $q_m$ is, coordinate by coordinate, a coupling of their marginals, so $W_2^2(q,q_m)\ge\sum_dW_2^2(q^{(d)},q_m^{(d)})$, with equality if both have independent coordinates.
# The right side is smallest, for all $d$, at the barycenters of the marginals, and the distribution with these marginals and independent coordinates attains it.
# :::
#
# Gaussian experts have $F_m^{-1}=\mu_m+\sigma_m\Phi^{-1}$, whose average is $\mu_W+\sigma_W\Phi^{-1}$: that is {prf:ref}`lem-w2-barycenter` once more, by another way.
# A mixture averages the distribution functions $F_m$ themselves.
# It is the same picture, read along the other axis.
#
# **Check.** Three experts of which none is Gaussian, as quantiles at midpoints of equal steps; POT solves the transport between such samples knowing nothing of their order.

# %%
levels = (np.arange(300) + 0.5) / 300
odd_ones = [stats.expon(), stats.uniform(-3, 2), stats.beta(0.4, 0.4, loc=2, scale=3)]
quantiles = np.stack([expert.ppf(levels) for expert in odd_ones])  # (M, levels)
shares = np.array([0.5, 0.2, 0.3])
averaged = shares @ quantiles
even = np.full(300, 1 / 300)


def transport(x, y):
    """W2^2 between two samples of equal size, by linear programming."""
    return ot.emd2(even, even, (x[:, None] - y) ** 2)


def objective(x):
    return shares @ [transport(x, y) for y in quantiles]


ours = [np.mean((averaged - y) ** 2) for y in quantiles]
np.testing.assert_allclose(ours, [transport(averaged, y) for y in quantiles], rtol=1e-9)
arbitrary = np.sort(stats.t(df=3).rvs(300, random_state=seed))
np.testing.assert_allclose(
    objective(arbitrary), objective(averaged) + transport(arbitrary, averaged), rtol=1e-9
)
mixed = np.sort(np.repeat(quantiles, (5, 2, 3), axis=0).ravel())[5::10]  # the mixture's quantiles
assert objective(mixed) > objective(averaged) + 0.5, "the mixture is another average"
shuffled = np.random.default_rng(seed).permutation(averaged)
assert np.mean((shuffled - quantiles[0]) ** 2) > ours[0] + 1, "only equal quantiles pair cheaply"

gaussian_quantiles = loc[:, 0] + scale[:, 0] * torch.special.ndtri(torch.as_tensor(levels))
of_barycenter = pooled_loc + pooled_scale * torch.special.ndtri(torch.as_tensor(levels))
torch.testing.assert_close((w @ gaussian_quantiles)[0], of_barycenter)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Two panels: distribution functions of two experts on the left, with the mixture half-way between them along vertical segments and the Wasserstein barycenter half-way along horizontal ones; on the right the densities, a mixture with two humps and a barycenter with one between them."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.4), sharex=True)
left, right = (torch.tensor(v)[:, None, None] for v in ([-2.2, 1.8], [0.45, 1.1]))
half = torch.tensor([[0.5, 0.5]])
middle, width = barycenters.wasserstein(left, right, half)
z = torch.linspace(-4.2, 5.2, 800)
cdf = torch.special.ndtr((z - left[:, 0]) / right[:, 0])
for m in range(2):
    axes[0].plot(z, cdf[m], color="0.55", lw=1.2)
    axes[1].plot(
        z, gaussians.log_density(z[:, None], left[m, 0], right[m, 0]).exp(), color="0.55", lw=1.2
    )
axes[0].plot(z, cdf.mean(0), color=MIXTURE)
axes[0].plot(z, torch.special.ndtr((z - middle[0, 0]) / width[0, 0]), color=WASSERSTEIN)
for u in (0.12, 0.32, 0.68, 0.88):
    ends = (left + right * torch.special.ndtri(torch.tensor(u))).flatten()
    axes[0].plot(ends, [u, u], color=WASSERSTEIN, lw=0.8)
    axes[0].plot(ends.mean(), u, "o", color=WASSERSTEIN, ms=4)
for x in (-2.2, -1.7, 1.2, 2.6):
    ends = torch.special.ndtr((x - left) / right).flatten()
    axes[0].plot([x, x], ends, color=MIXTURE, lw=0.8)
    axes[0].plot(x, ends.mean(), "o", color=MIXTURE, ms=4)
plots.density(
    axes[1],
    lambda v: (
        torch.logsumexp(gaussians.log_density(torch.as_tensor(v)[:, None], left, right), 0)
        - math.log(2)
    ),
    z,
    color=MIXTURE,
    fill=True,
)
plots.density(
    axes[1],
    lambda v: gaussians.log_density(torch.as_tensor(v)[:, None], middle[0], width[0]),
    z,
    color=WASSERSTEIN,
    label="Wasserstein",
    fill=True,
)
axes[1].annotate(
    "mixture", (2.1, 0.17), xytext=(0, -16), textcoords="offset points", color=MIXTURE, ha="center"
)
axes[1].annotate("experts", (2.2, 0.36), xytext=(8, 4), textcoords="offset points", color="0.45")
axes[0].set(xlabel="$z$", ylabel="distribution function", yticks=[0, 0.5, 1])
axes[1].set(xlabel="$z$", ylabel="density", yticks=[], ylim=(0, 0.95))
fig.suptitle(
    "A mixture averages vertically, the Wasserstein barycenter horizontally",
    weight="bold",
    fontsize=12,
    x=0.01,
    ha="left",
)
plt.show()

# %% [markdown]
# ## Where it stands among the averages
#
# ::::{prf:lemma} Order of the variances
# :label: lem-variance-order
#
# In every latent dimension, and for all weights that sum to one,
#
# $$
# \Big(\sum_m\tfrac1{\sigma_m^2}\Big)^{-1}
# \le\Big(\sum_m\tfrac{w_m}{\sigma_m^2}\Big)^{-1}
# \le\Big(\sum_m w_m\sigma_m\Big)^2
# \le\sum_m w_m\sigma_m^2
# \le\sum_m w_m\big[\sigma_m^2+(\mu_m-\mu_W)^2\big] :
# $$
#
# product, log-pool, Wasserstein barycenter, average variance, mixture.
# If all $\sigma_m$ are equal, the three in the middle agree, and the log-pool *is* the Wasserstein barycenter.
# ::::
#
# :::{prf:proof}
# The first step holds because $w_m\le1$, the last because squares are not negative.
# The three in the middle are the squares of the power means of $\sigma$ with exponents $-2$, $1$ and $2$, and a power mean does not decrease with its exponent.
# With equal $\sigma_m$ all power means agree, and the precision weights of {eq}`eq-log-pool` reduce to $w_m$, so the means agree too.
# :::

# %%
many_loc = 2 * torch.randn(3, draws, 1, generator=generator)
many_scale = torch.randn(3, draws, 1, generator=generator).exp()
many_w = torch.rand(1, 3, draws, generator=generator)
many_w = many_w / many_w.sum(1, keepdim=True)

variances = torch.stack(
    [
        barycenters.product(many_loc, many_scale, torch.ones(1, 3), prior_exponent=0.0)[1].square(),
        barycenters.log_pool(many_loc, many_scale, many_w)[1].square(),
        barycenters.wasserstein(many_loc, many_scale, many_w)[1].square(),
        barycenters.combine(many_w, many_scale.square()),
        barycenters.moment_match(many_loc, many_scale, many_w)[1].square(),
    ]
)
rounding = 1e-12 * variances[1:]
assert (variances.diff(dim=0) > -rounding).all()
assert (variances[1] < variances[2]).double().mean() > 0.99, "strict where scales differ"

same_scale = many_scale[:1].expand(3, -1, -1)
transported = barycenters.wasserstein(many_loc, same_scale, many_w)
torch.testing.assert_close(transported, barycenters.log_pool(many_loc, same_scale, many_w))

# %% [markdown]
# The order ends where one would like to extend it from variances to **entropies**.
# The mixture has the largest variance, and not always the largest entropy: a narrow peak inside a broad bump has less than one medium bump.
# For full covariances the order holds in part, see {prf:ref}`lem-bures-order`.

# %%
pair_loc, pair_scale = torch.zeros(2, 1, 1), torch.tensor([1.0, 10.0])[:, None, None]
half = torch.tensor([[0.5, 0.5]])
_, medium = barycenters.wasserstein(pair_loc, pair_scale, half)
entropy_barycenter = gaussians.entropy(medium).item()

fine = torch.linspace(-90, 90, 40_001)
log_pair = gaussians.log_density(fine[:, None], pair_loc, pair_scale).logsumexp(0) - math.log(2)
entropy_mixture = -torch.trapezoid(log_pair.exp() * log_pair, fine).item()
assert entropy_barycenter > entropy_mixture + 0.1

# %% tags=["remove-cell"]
glue("entropy_barycenter", f"{entropy_barycenter:.3f}", display=False)
glue("entropy_mixture", f"{entropy_mixture:.3f}", display=False)

# %% [markdown]
# For $\N(0,1)$ and $\N(0,10^2)$ the barycenter's entropy is {glue:text}`entropy_barycenter` nats and the mixture's {glue:text}`entropy_mixture`.

# %% [markdown]
# ## What it keeps
#
# **The shape.** If all experts are shifted and stretched copies of one distribution, so is the barycenter, whatever that distribution is: in one dimension $F_m^{-1}=\mu_m+\sigma_mF^{-1}$ averages to $\mu_W+\sigma_WF^{-1}$.
# A mixture of copies is no copy, and neither is a log-pool, except of families such as the Gaussians that are closed under it.
#
# **The rate.** The divergence to the prior does not only stay below the experts' average, it falls short of it by what the experts disagree.
#
# ::::{prf:lemma} The rate along the barycenter
# :label: lem-kl-along-w2
#
# For $p=\N(0,I)$, Gaussians $q_m$ and their Wasserstein barycenter $q_W$,
#
# $$
# \KL{q_W}{p}\ \le\ \sum_m w_m\,\KL{q_m}{p}-\tfrac12\sum_m w_m\,W_2^2(q_W,q_m) .
# $$
# ::::
#
# :::{prf:proof}
# For diagonal Gaussians.
# In one dimension the rate is $f(\mu,\sigma)=\frac12(\mu^2+\sigma^2-1)-\log\sigma$.
# Take $\frac12(\mu^2+\sigma^2)$ and $-\log\sigma$ apart.
# The quadratic at $(\mu_W,\sigma_W)$ is its average minus half the weighted variance $\sum_m w_m\|(\mu_m,\sigma_m)-(\mu_W,\sigma_W)\|^2$, which is $\sum_m w_mW_2^2(q_W,q_m)$.
# And $-\log\sigma_W\le-\sum_m w_m\log\sigma_m$ by Jensen's inequality.
# Add up over dimensions; full covariances follow with {prf:ref}`lem-bures-order`.
# :::
#
# Half of the second line is a statement about entropy: as $-\log\sigma$ is convex, *the barycenter's entropy is at least the average of the experts' entropies*.
# The log-pool's is at most that average, because $\log$ is concave in the precisions.
#
# **Check.** On the random experts of the last section, which have unequal weights.
# For the log-pool and the product even the inequality without the last term fails now and then: {ref}`an exercise <ex-kl-along-w2>`.

# %%
centre = barycenters.wasserstein(many_loc, many_scale, many_w)
average_rate = (many_w[0] * gaussians.kl_to_prior(many_loc, many_scale)).sum(0)
travel = (many_w[0] * gaussians.w2_squared(*centre, many_loc, many_scale)).sum(0)
slack = average_rate - 0.5 * travel - gaussians.kl_to_prior(*centre)[0]
assert (slack > -1e-12 * average_rate.clamp_min(1)).all()
assert (slack < 0.5 * travel).double().mean() > 0.1, "the whole of the distance is too much to ask"

average_entropy = (many_w[0] * gaussians.entropy(many_scale)).sum(0)
_, log_pool_scale = barycenters.log_pool(many_loc, many_scale, many_w)
assert (gaussians.entropy(centre[1])[0] >= average_entropy - 1e-12).all()
assert (gaussians.entropy(log_pool_scale)[0] <= average_entropy + 1e-12).all()

# %% [markdown]
# ## What it cannot do
#
# **It never sharpens.** Its standard deviation lies between the smallest and the largest of the experts': ten experts who agree are no more certain than one.
#
# **It is blind to precision.** Its mean takes no notice of the standard deviations.
#
# **It keeps no modes.** Two experts far apart give one bump half-way between, where neither expects anything.

# %%
pair_loc = torch.tensor([1.0, 0.0])[:, None, None]
pair_scale = torch.tensor([0.1, 1.0])[:, None, None]
pair = {
    "product": barycenters.product(pair_loc, pair_scale, torch.ones(1, 2), prior_exponent=0.0),
    "log-pool": barycenters.log_pool(pair_loc, pair_scale, half),
    "Wasserstein": barycenters.wasserstein(pair_loc, pair_scale, half),
    "mixture": barycenters.moment_match(pair_loc, pair_scale, half),
}
moments = {name: (at.item(), width.item()) for name, (at, width) in pair.items()}
assert moments["product"][0] == moments["log-pool"][0] > 0.98
assert moments["Wasserstein"][0] == moments["mixture"][0] == 0.5
assert math.isclose(moments["Wasserstein"][1], 0.55)

copies = (torch.ones(10, 1, 1), torch.full((10, 1, 1), 0.3), torch.full((1, 10), 0.1))
torch.testing.assert_close(barycenters.wasserstein(*copies)[1], torch.full((1, 1, 1), 0.3))
sharpened = barycenters.product(*copies[:2], torch.ones(1, 10), prior_exponent=0.0)[1]
torch.testing.assert_close(sharpened, torch.full((1, 1, 1), 0.3 / 10**0.5))

apart = torch.tensor([-4.0, 4.0])[:, None, None]
between, width = barycenters.wasserstein(apart, torch.ones(2, 1, 1), half)
peak = gaussians.log_density(between, between, width)
assert (gaussians.log_density(between, apart, torch.ones(1)).exp() < 1e-3 * peak.exp()).all()

# %% tags=["remove-input"]
Markdown(
    "| | mean | standard deviation |\n|---|---|---|\n| experts | 1 and 0 | 0.1 and 1 |\n"
    + "\n".join(f"| {name} | {at:.3f} | {width:.3f} |" for name, (at, width) in moments.items())
)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Densities of a narrow expert and a wide one: the product and the log-pool are narrow and sit at the narrow expert, the Wasserstein barycenter is wide and sits half-way between the two."}}
fig, ax = plt.subplots(figsize=(6.4, 3.2))
z = torch.linspace(-2.6, 2.4, 900)
for m in range(2):
    ax.fill_between(
        z,
        gaussians.log_density(z[:, None], pair_loc[m, 0], pair_scale[m, 0]).exp(),
        color="0.5",
        alpha=0.2,
        lw=0,
    )
for name, color in [("product", PRODUCT), ("log-pool", LOG_POOL), ("Wasserstein", WASSERSTEIN)]:
    at, width = pair[name]
    plots.density(
        ax,
        lambda v, at=at, width=width: gaussians.log_density(
            torch.as_tensor(v)[:, None], at[0], width[0]
        ),
        z,
        color=color,
    )
ax.annotate(
    "Wasserstein",
    (0.3, 0.68),
    xytext=(-4, 6),
    textcoords="offset points",
    color=WASSERSTEIN,
    ha="right",
)
ax.annotate(
    "log-pool", (0.86, 1.9), xytext=(-10, 0), textcoords="offset points", color=LOG_POOL, ha="right"
)
ax.annotate("product", (1.02, 4.0), xytext=(12, 0), textcoords="offset points", color=PRODUCT)
ax.annotate(
    "an expert who is sure", (1.14, 1.6), xytext=(12, 0), textcoords="offset points", color="0.45"
)
ax.annotate(
    "an expert who is not",
    (-1.5, 0.13),
    xytext=(-4, 6),
    textcoords="offset points",
    color="0.45",
    ha="center",
)
ax.set(
    xlabel="$z$",
    ylabel="density",
    yticks=[],
    xlim=(-2.6, 2.4),
    title="The Wasserstein barycenter does not ask who is sure",
)
plt.show()

# %% [markdown]
# ## Full covariances
#
# Now $\N(0,C)$ and $\N(0,\Sigma)$ with positive definite matrices.
#
# ::::{prf:lemma} Distance of Gaussians
# :label: lem-bures
#
# The matrix $T=C^{-1/2}\big(C^{1/2}\Sigma\,C^{1/2}\big)^{1/2}C^{-1/2}$ is the one symmetric positive definite solution of $TCT=\Sigma$, the map $x\mapsto Tx$ is the cheapest plan, and with means $\mu,\nu$
#
# $$
# W_2^2\big(\N(\mu,C),\N(\nu,\Sigma)\big)=\|\mu-\nu\|^2+\tr C+\tr\Sigma-2\tr\big(C^{1/2}\Sigma\,C^{1/2}\big)^{1/2} .
# $$ (eq-bures)
# ::::
#
# :::{prf:proof}
# $TCT=\Sigma$ says that $(C^{1/2}TC^{1/2})^2=C^{1/2}\Sigma C^{1/2}$, and a positive definite matrix has one positive definite square root.
# The map takes $\N(0,C)$ to $\N(0,TCT)$, as it should.
# For centred $X\sim\N(0,C)$, $Y\sim\N(0,\Sigma)$ only $\E\langle X,Y\rangle$ depends on the coupling, and for every coupling *and every symmetric positive definite $T$*
#
# $$
# \E\langle X,Y\rangle \le \tfrac12\E\langle X,TX\rangle+\tfrac12\E\langle Y,T^{-1}Y\rangle ,
# $$
#
# because the right side exceeds the left by $\frac12\E\|T^{1/2}X-T^{-1/2}Y\|^2$.
# The right side is the same for all couplings, and $Y=TX$ attains it.
# The cost is then $\tr C+\tr\Sigma-2\tr(CT)$, and $\tr(CT)=\tr(C^{1/2}TC^{1/2})$.
# Means add $\|\mu-\nu\|^2$ to the cost of every coupling.
# :::
#
# Note for later that the inequality holds for any two distributions $X$ and $Y$, with equality only where $Y=TX$.

# %% tags=["remove-input"]
show(full_covariance.w2_squared)

# %%
shape = torch.randn(2, 3, 3, generator=generator)
one, two = shape @ shape.mT + 0.1 * torch.eye(3)
origin, away = torch.zeros(3), torch.tensor([1.0, -2.0, 0.5])
reference = ot.gaussian.bures_wasserstein_distance(
    origin.numpy(), away.numpy(), one.numpy(), two.numpy()
)
assert math.isclose(full_covariance.w2_squared(origin, one, away, two), reference**2, rel_tol=1e-12)
values = [torch.linalg.eigvalsh(c).sqrt() for c in (one, two)]
spectra_only = (values[0] - values[1]).square().sum() + away.square().sum()
assert spectra_only < reference**2 - 0.1, "directions count, not the axes' lengths alone"

# %% [markdown]
# Take a candidate barycenter $C$, and the maps $T_m$ from it to each expert.
# If their average $\bar T=\sum_m w_mT_m$ is the identity, no direction is left in which to move.
# Where it is not, we follow it, and $\N(0,C)$ becomes $\N(0,\bar TC\bar T)$.
# Written out, this is the iteration of {cite:t}`alvarezesteban2016`,
#
# $$
# C\ \leftarrow\ C^{-1/2}\Big(\sum_m w_m\big(C^{1/2}\Sigma_m C^{1/2}\big)^{1/2}\Big)^2C^{-1/2},
# \qquad \mu_W=\sum_m w_m\,\mu_m .
# $$ (eq-bures-fixed-point)
#
# ::::{prf:lemma} Every step helps
# :label: lem-bures-descent
#
# Let $V(C)=\sum_m w_mW_2^2(\N(0,C),\N(0,\Sigma_m))$, and let $C'$ be the next iterate.
# Then $V(C')\le V(C)-W_2^2(\N(0,C),\N(0,C'))$.
# ::::
#
# :::{prf:proof}
# Let $X\sim\N(0,C)$.
# A weighted variance is the mean square minus the square of the mean, here of the displacements $T_mX-X$, so
# $\sum_m w_m\E\|T_mX-\bar TX\|^2=\sum_m w_m\E\|T_mX-X\|^2-\E\|\bar TX-X\|^2$.
# On the right stand $V(C)$ and $W_2^2(\N(0,C),\N(0,C'))$, because $T_m$ and $\bar T$ are symmetric and positive definite and therefore cheapest plans.
# On the left $(\bar TX,T_mX)$ is *some* plan from $\N(0,C')$ to $\N(0,\Sigma_m)$, which costs at least $W_2^2$.
# :::
#
#
# ::::{prf:lemma} The barycenter of Gaussians
# :label: lem-bures-barycenter
#
# From every positive definite start the iteration converges to the same $C$, where $\sum_m w_mT_m=I$; and $\N(\mu_W,C)$ is the only minimiser of $\sum_m w_mW_2^2(q,q_m)$ among *all* distributions with finite second moments.
# ::::
#
# :::{prf:proof}
# *A fixed point is the only minimiser.*
# Means can be dealt with apart, as in {prf:ref}`lem-w2-barycenter`; let all be zero.
# Take $X\sim q$, $Y_m\sim q_m$ under any couplings, and the inequality of {prf:ref}`lem-bures` with $T=T_m$:
# $\sum_m w_m\E\|X-Y_m\|^2\ge\E\|X\|^2-\E\big\langle X,\sum_m w_mT_m\,X\big\rangle+\text{const}=\text{const}$, where the constant depends on the experts and the $T_m$ alone.
# For $X\sim\N(0,C)$ the plans $Y_m=T_mX$ attain it.
# Any other minimiser must have $X=T_m^{-1}Y_m$ wherever $w_m>0$, which has the law $\N(0,T_m^{-1}\Sigma_mT_m^{-1})=\N(0,C)$.
#
# *The iteration converges.*
# Its steps stay bounded, $\tr C'=\E\|\bar TX\|^2\le\sum_m w_m\E\|T_mX\|^2=\sum_m w_m\tr\Sigma_m$.
# They stay away from singular matrices: $\log\det$ is concave, so $\log\det C'=2\log\det\bar T+\log\det C\ge\sum_m w_m\big(2\log\det T_m+\log\det C\big)=\sum_m w_m\log\det\Sigma_m$.
# So the iterates lie in a compact set of positive definite matrices, on which the step is continuous.
# By {prf:ref}`lem-bures-descent` $V$ falls at every step by at least the distance moved, so at a limit point no step moves: it is a fixed point, of which there is one.
# :::
#
# {cite:t}`agueh2011` prove existence and uniqueness for far more general experts, {cite:t}`alvarezesteban2016` the convergence.

# %% tags=["remove-input"]
show(barycenters.bures_wasserstein)

# %% [markdown]
# **Check.** POT has its own implementation; the descent of the lemma; and a twin.
# It is tempting to swap the roles of $C$ and $\Sigma_m$ in the inner square root, since $C^{1/2}\Sigma_mC^{1/2}$ and $\Sigma_m^{1/2}C\,\Sigma_m^{1/2}$ have the same eigenvalues.
# For covariances that commute nothing changes; for others the iteration converges, to something else.
# A third iteration leaves out the square, $C\leftarrow R$ with $R=\sum_m w_m(C^{1/2}\Sigma_mC^{1/2})^{1/2}$.
# It has the fixed point of {eq}`eq-bures-fixed-point`, where $C^{-1/2}R^2C^{-1/2}=C$, hence $R^2=C^2$ and $R=C$, and takes longer to reach it.


# %%
def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.sqrt()[..., None, :]) @ vectors.mT


def transport_step(c):
    r = root(c)
    back = torch.linalg.inv(r)
    maps = back @ root(r @ ellipsoids @ r) @ back  # T_m, from N(0, c) to each expert
    torch.testing.assert_close(maps @ c @ maps, ellipsoids)
    mean_map = maps.mean(0)
    return mean_map @ c @ mean_map


def plain_step(c):
    return root(root(c) @ ellipsoids @ root(c)).mean(0)


def swapped_step(c):
    return root(root(ellipsoids) @ c @ root(ellipsoids)).mean(0)


def iterates(step, steps=60):
    path = [ellipsoids.mean(0)]
    for _ in range(steps):
        path.append(step(path[-1]))
    return torch.stack(path)


def w2_to_experts(c):
    """V(c): the mean of tr(c) + tr(Sigma_m) - 2 tr((r Sigma_m r)^(1/2)), with r the root of c."""
    r = root(c)[..., None, :, :]
    inner = torch.linalg.eigvalsh(r @ ellipsoids @ r).sqrt().sum(-1)
    traces = torch.einsum("...ii->...", c)[..., None] + torch.einsum("mii->m", ellipsoids)
    return (traces - 2 * inner).mean(-1)


shape = torch.randn(4, 3, 3, generator=generator)
ellipsoids = shape @ shape.mT + 0.1 * torch.eye(3)  # four experts in three dimensions
quarter = torch.full((4,), 0.25)
_, ours = barycenters.bures_wasserstein(torch.zeros(4, 3), ellipsoids, quarter)
_, pots = ot.gaussian.bures_wasserstein_barycenter(
    np.zeros((4, 3)), ellipsoids.numpy(), num_iter=1000, eps=1e-14
)
assert np.abs(ours.numpy() - pots).max() < 1e-8

steps = {
    "transport maps": transport_step,
    "without the square": plain_step,
    "swapped roles": swapped_step,
}
paths = {name: iterates(step) for name, step in steps.items()}
torch.testing.assert_close(paths["transport maps"][-1], ours)
assert (w2_to_experts(paths["transport maps"]).diff()[:8] < 0).all()
slow = torch.linalg.matrix_norm(paths["without the square"] - ours)
assert (slow.diff()[:20] < 0).all()
assert slow[20] > 100 * torch.linalg.matrix_norm(paths["transport maps"][20] - ours)
wrong = paths["swapped roles"][-1]
torch.testing.assert_close(swapped_step(wrong), wrong)  # it has converged
assert np.abs(wrong.numpy() - pots).max() > 0.01, "the swapped iteration ends elsewhere"
assert w2_to_experts(wrong) > w2_to_experts(ours) + 0.01

# %% tags=["remove-input"] mystnb={"image": {"alt": "Relative error on a logarithmic scale against iterations: the transport maps fall fastest to rounding error, the iteration without the square falls more slowly, and the one with swapped roles levels off at a constant error."}}
fig, ax = plt.subplots(figsize=(6.4, 3.2))
colors = {"transport maps": WASSERSTEIN, "without the square": LOG_POOL, "swapped roles": "0.45"}
truth = torch.as_tensor(pots)
for name, path in paths.items():
    error = torch.linalg.matrix_norm(path - truth) / torch.linalg.matrix_norm(truth)
    ax.semilogy(error.clamp_min(1e-16), color=colors[name])
ax.annotate("transport maps", (14, 1e-9), color=WASSERSTEIN)
ax.annotate("without the square", (36, 2e-5), color=LOG_POOL)
ax.annotate("swapped roles", (36, 0.006), color="0.45")
ax.set(
    xlabel="iterations",
    ylabel="relative error",
    xlim=(0, 60),
    title="Swapping two matrices converges to the wrong answer",
)
plt.show()

# %% tags=["remove-cell"]
swapped_error = torch.linalg.matrix_norm(
    paths["swapped roles"][-1] - truth
) / torch.linalg.matrix_norm(truth)
glue("swapped_error", f"{100 * swapped_error:.1f}", display=False)
glue("swapped_objective", f"{w2_to_experts(paths['swapped roles'][-1]):.4f}", display=False)
glue("bures_objective", f"{w2_to_experts(ours):.4f}", display=False)

# %% [markdown]
# The swapped iteration settles {glue:text}`swapped_error` percent away, at an objective of {glue:text}`swapped_objective` where the barycenter has {glue:text}`bures_objective`.
# Nothing in its behaviour warns of that, which is why a test compares ours with POT.
#
# Two experts with full covariances show what the geometry is.


# %% tags=["remove-input"] mystnb={"image": {"alt": "Three rows of five contour plots for growing weight of the right expert: the mixture fades from the left ellipse to the right one, the log-pool moves through small shapes off the line between them, the Wasserstein ellipse moves along the line and turns."}}
def turned(angle, long, short):
    c, s = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[c, -s], [s, c]])
    return turn @ torch.diag(torch.tensor([long, short]) ** 2) @ turn.T


ends_loc = torch.tensor([[-2.3, 0.0], [2.3, 0.0]])
ends_covariance = torch.stack([turned(0.6, 1.5, 0.4), turned(-0.6, 1.5, 0.4)])
axis_x, axis_y = torch.linspace(-4.2, 4.2, 140), torch.linspace(-2.0, 2.6, 84)
points = torch.stack(torch.meshgrid(axis_x, axis_y, indexing="xy"), -1)


def height(at, covariance):
    return torch.distributions.MultivariateNormal(at, covariance).log_prob(points).exp()


fig, axes = plt.subplots(3, 5, figsize=(7.6, 3.3), sharex=True, sharey=True)
for column, t in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
    share = torch.tensor([1 - t, t])
    precision = (share[:, None, None] * torch.linalg.inv(ends_covariance)).sum(0)
    weighted = share[:, None, None] * torch.linalg.inv(ends_covariance) @ ends_loc[..., None]
    pooled = torch.linalg.inv(precision)
    rows = [
        (
            "mixture",
            "Oranges",
            share[0] * height(ends_loc[0], ends_covariance[0])
            + share[1] * height(ends_loc[1], ends_covariance[1]),
        ),
        ("log-pool", "YlOrBr", height((pooled @ weighted.sum(0))[:, 0], 0.5 * (pooled + pooled.T))),
        (
            "Wasserstein",
            "RdPu",
            height(*barycenters.bures_wasserstein(ends_loc, ends_covariance, share)),
        ),
    ]
    for ax, (name, cmap, level) in zip(axes[:, column], rows, strict=True):
        ax.contourf(
            axis_x, axis_y, level, levels=torch.linspace(0.012, 0.31, 9), cmap=cmap, extend="max"
        )
        ax.set(aspect="equal", xticks=[], yticks=[])
        if column == 0:
            ax.set_ylabel(name, rotation=0, ha="right", va="center")
    axes[0, column].set_title(f"weight {t:g}", loc="center", fontsize=10, weight="normal")
fig.suptitle(
    "A mixture fades from one expert to the other, the other two averages move",
    weight="bold",
    fontsize=12,
    x=0.01,
    ha="left",
)
plt.show()

# %% [markdown]
# The weight is that of the right expert.
# The log-pool leaves the line between the two centres for the place that both experts think possible, and it is small there, because each vetoes what it finds improbable.
# The Wasserstein barycenter's centre stays on the line, and its ellipse turns from one to the other.

# %% [markdown]
# ## The order, for matrices
#
# What becomes of {prf:ref}`lem-variance-order` when covariances do not commute?
# Write $A\preceq B$ if $B-A$ has no negative eigenvalue, and $\lambda_k$ for the $k$-th largest eigenvalue.
#
# ::::{prf:lemma} What is left of the order
# :label: lem-bures-order
#
# Let $\Sigma_P=(\sum_m\Sigma_m^{-1})^{-1}$, $\Sigma_g=(\sum_m w_m\Sigma_m^{-1})^{-1}$ and $\Sigma_W$ be the covariances of product, log-pool and Wasserstein barycenter.
# Then
#
# 1. $\Sigma_P\preceq\Sigma_g$ and $\Sigma_W\preceq\sum_m w_m\Sigma_m$;
# 2. $\lambda_k(\Sigma_g)\le\lambda_k(\Sigma_W)$ for every $k$, so determinants and traces are ordered, too;
# 3. $\log\det\Sigma_g\le\sum_m w_m\log\det\Sigma_m\le\log\det\Sigma_W$.
#
# But $\Sigma_g\preceq\Sigma_W$ can fail.
# ::::
#
# :::{prf:proof}
# Write $C=\Sigma_W$ and use $\Sigma_m=T_mCT_m$ with $\sum_m w_mT_m=I$.
# *(1)* The first because $w_m\le1$.
# For the second, $T\mapsto TCT$ is convex in the matrix order, so $\sum_m w_mT_mCT_m\succeq\bar TC\bar T=C$.
# *(2)* $\Sigma_g^{-1}=\sum_m w_mT_m^{-1}C^{-1}T_m^{-1}\succeq YC^{-1}Y$ with $Y=\sum_m w_mT_m^{-1}$, by the same convexity.
# The inverse is convex in the matrix order as well, so $Y\succeq\bar T^{-1}=I$.
# Hence $\Sigma_g\preceq Y^{-1}CY^{-1}$ with $Y^{-1}\preceq I$.
# The eigenvalues of $Y^{-1}CY^{-1}$ are those of $C^{1/2}Y^{-2}C^{1/2}\preceq C$, and eigenvalues, sorted, follow the matrix order.
# *(3)* $\log\det$ is concave: on the left apply it to the precisions, and on the right to the $T_m$, $\sum_m w_m\log\det\Sigma_m=\log\det C+2\sum_m w_m\log\det T_m\le\log\det C+2\log\det I$.
# *The failure* is a pair of matrices below.
# :::
#
# The proof shows where the order goes: $Y^{-1}CY^{-1}$ has smaller eigenvalues than $C$, in other directions.
# Statement 3 is what {prf:ref}`lem-kl-along-w2` still needs: the rate of $\N(\mu,\Sigma)$ is $\frac12(\|\mu\|^2+\tr\Sigma-D-\log\det\Sigma)$, and by the weighted variance in the proof of {prf:ref}`lem-bures-descent`, at the fixed point, $\sum_m w_m(\|\mu_m\|^2+\tr\Sigma_m)=\|\mu_W\|^2+\tr\Sigma_W+\sum_m w_mW_2^2(q_W,q_m)$.
#
# **Check.** Random triples; and for the failure two matrices with small integers, to be verified by hand.


# %%
def log_pool_of(covariances, weights):
    precision = (weights[..., None, None] * torch.linalg.inv(covariances)).sum(-3)
    return torch.linalg.inv(precision)


def lowest(matrices):
    return torch.linalg.eigvalsh(matrices)[..., 0]


factors = torch.randn(2000, 3, 3, 3, generator=generator)
covariances = factors @ factors.mT + 0.02 * torch.eye(3)
centres = torch.randn(2000, 3, 3, generator=generator)
uneven = torch.rand(2000, 3, generator=generator)
uneven = uneven / uneven.sum(1, keepdim=True)
bures_loc, bures = barycenters.bures_wasserstein(centres, covariances, uneven)
pooled = log_pool_of(covariances, uneven)
mean_covariance = (uneven[..., None, None] * covariances).sum(1)
mean_log_det = (uneven * torch.logdet(covariances)).sum(1)

small = 1e-9 * torch.linalg.matrix_norm(mean_covariance)
assert (lowest(pooled - torch.linalg.inv(torch.linalg.inv(covariances).sum(1))) > -small).all()
assert (lowest(mean_covariance - bures) > -small).all()
assert (torch.linalg.eigvalsh(bures) - torch.linalg.eigvalsh(pooled) > -small[:, None]).all()
assert (torch.logdet(pooled) <= mean_log_det + 1e-9).all()
assert (torch.logdet(bures) >= mean_log_det - 1e-9).all()
violations = int((lowest(bures - pooled) < -1e-6).sum())
assert violations > 0, "the matrix order between log-pool and barycenter fails for some"

leaning = torch.tensor([[[100.0, 4.0], [4.0, 9.0]], [[2.0, 4.0], [4.0, 9.0]]])
evenly = torch.tensor([0.5, 0.5])
_, narrow_here = barycenters.bures_wasserstein(torch.zeros(2, 2), leaning, evenly)
by_hand = log_pool_of(leaning, evenly)
failure = lowest(narrow_here - by_hand)
assert failure < -1

factors = torch.linalg.cholesky(covariances)
rates = full_covariance.kl_to_prior(centres, factors)
rate = full_covariance.kl_to_prior(bures_loc, torch.linalg.cholesky(bures))
travelled = full_covariance.w2_squared(bures_loc[:, None], bures[:, None], centres, covariances)
slack = (uneven * (rates - 0.5 * travelled)).sum(1) - rate
assert (slack > -1e-8).all()

# %% tags=["remove-cell"]
glue("violations", f"{violations}", display=False)
glue("triples", f"{len(covariances):,}", display=False)
glue("failure", f"{failure:.3f}".replace("-", "−"), display=False)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Four ellipses around one centre: two experts in grey, the Wasserstein barycenter, and the log-pool, which is smaller and yet reaches out of the barycenter in one slanting direction."}}
fig, ax = plt.subplots(figsize=(6.4, 3.4))
for expert in leaning:
    plots.ellipse(ax, [0, 0], expert, color="0.6")
plots.ellipse(ax, [0, 0], narrow_here, color=WASSERSTEIN)
plots.ellipse(ax, [0, 0], by_hand, color=LOG_POOL)
ax.annotate("experts", (9.2, 1.6), color="0.45")
ax.annotate("Wasserstein", (3.4, -3.9), color=WASSERSTEIN)
ax.annotate("log-pool", (-2.6, -4.1), color=LOG_POOL)
ax.set(
    aspect="equal",
    xlabel="$z_1$",
    ylabel="$z_2$",
    ylim=(-4.6, 4.6),
    title="Smaller in every eigenvalue, and not inside",
)
plt.show()

# %% [markdown]
# Of {glue:text}`triples` random triples of $3\times3$ covariances {glue:text}`violations` break the matrix order between log-pool and barycenter; for the pair with small integers $\Sigma_W-\Sigma_g$ has an eigenvalue of {glue:text}`failure`.
# All else held in every draw.

# %% [markdown]
# ## Coordinates matter
#
# A KL divergence does not change when $z$ is replaced by any invertible function of it, so neither do log-pool and mixture: pool first and change coordinates then, or the other way round.
# A distance in $z$ depends on what a unit of $z$ is.
# $W_2$ is unchanged by rotations and shifts and multiplied by a common factor; a shear, or different factors for different directions, turn the barycenter into another one.
# The latent space of a VAE has units only through its prior, so a Wasserstein barycenter takes the prior's metric for granted.

# %%
shear = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
turn = torch.linalg.qr(torch.randn(2, 2, generator=generator)).Q
unlike = torch.tensor([[[1.0, 0.0], [0.0, 0.1]], [[0.3, 0.2], [0.2, 0.4]]])


def barycenter_of(covariances):
    return barycenters.bures_wasserstein(torch.zeros(2, 2), covariances, evenly)[1]


for change in (turn, 3 * turn):
    torch.testing.assert_close(
        barycenter_of(change @ unlike @ change.T), change @ barycenter_of(unlike) @ change.T
    )
sheared = shear @ barycenter_of(unlike) @ shear.T
assert (barycenter_of(shear @ unlike @ shear.T) - sheared).abs().max() > 0.01
torch.testing.assert_close(
    log_pool_of(shear @ unlike @ shear.T, evenly), shear @ log_pool_of(unlike, evenly) @ shear.T
)

# %% [markdown]
# Scaling single axes is harmless as long as all covariances are diagonal: averaging standard deviations commutes with it.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-kl-along-w2
# {prf:ref}`lem-kl-along-w2` bounds the rate of the Wasserstein barycenter by the experts' average rate.
# Find two experts for which the log-pool in place of $q_W$ breaks even the inequality without the last term, and see what the product does.
# ::::
#
# ::::{solution} ex-kl-along-w2
# :class: dropdown
# The log-pool sits where the precise expert is.
# Take the prior itself, whose rate is zero, and a narrow expert that is far away, $\N(3,0.1^2)$.
# The average halves the far expert's rate; the log-pool stays almost where that expert is, at twice its variance, and pays nearly all of it.
# The product is in the same place and narrower.
# Among random experts both failures are common:
# ::::

# %% tags=["hide-input"]
far_loc, far_scale = (
    torch.tensor([0.0, 3.0])[:, None, None],
    torch.tensor([1.0, 0.1])[:, None, None],
)
half_of_it = 0.5 * gaussians.kl_to_prior(far_loc, far_scale).sum()
log_pool_rate = gaussians.kl_to_prior(*barycenters.log_pool(far_loc, far_scale, half)).item()
assert log_pool_rate > 1.8 * half_of_it
assert gaussians.kl_to_prior(*barycenters.wasserstein(far_loc, far_scale, half)) < half_of_it
for name, other in [
    ("log-pool", barycenters.log_pool(many_loc, many_scale, many_w)),
    ("product", barycenters.product(many_loc, many_scale, torch.ones(1, 3), prior_exponent=0.0)),
]:
    share = (gaussians.kl_to_prior(*other)[0] > average_rate).double().mean()
    assert share > 0.05
    print(f"{name}: larger than the average rate in {100 * share:.0f} percent of random triples")

# %% [markdown]
# ::::{exercise}
# :label: ex-two-bures
# Show that the barycenter of two covariances $A$ and $B$ with weights $1-t$ and $t$ is
# $C_t=(1-t)^2A+t^2B+t(1-t)\big[(AB)^{1/2}+(BA)^{1/2}\big]$, with the square roots that have positive eigenvalues.
# ::::
#
# ::::{solution} ex-two-bures
# :class: dropdown
# Let $T$ be the cheapest map from $A$ to $B$, $TAT=B$, and try the covariance of $X_t=(1-t)X+tTX$ with $X\sim\N(0,A)$.
# From $X_t$ to $X$ and to $TX$ lead the maps $S^{-1}$ and $TS^{-1}$ with $S=(1-t)I+tT$; they commute with $T$, so both are symmetric and positive definite and therefore cheapest.
# Their average is $\big((1-t)I+tT\big)S^{-1}=I$, and {prf:ref}`lem-bures-barycenter` says that this is the barycenter.
# Its covariance is $SAS=(1-t)^2A+t^2TAT+t(1-t)(TA+AT)$, where $(AT)^2=A\,TAT=AB$ and $(TA)^2=BA$; $AT$ has the eigenvalues of $A^{1/2}TA^{1/2}$, which are positive.
# ::::

# %% tags=["hide-input", "remove-output"]
a, b = leaning
t = 0.3
eigenvalues, vectors = torch.linalg.eig(a @ b)
product_root = (vectors * eigenvalues.sqrt() @ torch.linalg.inv(vectors)).real
formula = (1 - t) ** 2 * a + t**2 * b + t * (1 - t) * (product_root + product_root.T)
_, iterated = barycenters.bures_wasserstein(torch.zeros(2, 2), leaning, torch.tensor([1 - t, t]))
torch.testing.assert_close(formula, iterated)

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
# # The Wasserstein barycenter, WB-VAE and MWB-VAE
#
# A KL divergence compares two densities at the same place, and does not see how far apart two places are.
# The Wasserstein distance asks instead how far mass has to travel to turn one distribution into the other.
# {cite:t}`qiu2025` average unimodal posteriors with it.
# This chapter derives that average, proves it optimal, says what it keeps and what it cannot do, and puts it into two models.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import math

import matplotlib.pyplot as plt
import numpy as np
import ot
import torch
from myst_nb import glue

from multielbo import barycenters, gaussians, plots
from multielbo.models.mopoe import mopoe
from multielbo.models.registry import build
from multielbo.models.wbvae import mwb_vae, wb_vae
from multielbo.profiles import check_profile
from multielbo.publishing.show import show
from multielbo.subsets import powerset

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
#
# In one dimension there is a picture of it.
# The cheapest plan never lets mass overtake mass, so it pairs equal quantiles: $W_2^2(q,p)=\int_0^1(F_q^{-1}(u)-F_p^{-1}(u))^2\,\mathrm du$, and the barycenter averages quantile functions, $F_W^{-1}=\sum_m w_mF_m^{-1}$.
# A mixture averages the distribution functions $F_m$ themselves.
# It is the same picture, read along the other axis.

# %%
levels = torch.linspace(0.001, 0.999, 999)
quantiles = loc[:, 0] + scale[:, 0] * torch.special.ndtri(levels)  # (M, levels)
of_barycenter = pooled_loc + pooled_scale * torch.special.ndtri(levels)
torch.testing.assert_close((w @ quantiles)[0], of_barycenter)

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
# The order ends where one would like to extend it.
#
# - **Entropy.** The mixture has the largest variance, and not the largest entropy: a narrow peak inside a broad bump has less than one medium bump.
# - **Full covariances.** As matrices, the log-pool's covariance need not lie below the barycenter's: in some directions it can be wider.

# %%
pair_loc, pair_scale = torch.zeros(2, 1, 1), torch.tensor([1.0, 10.0])[:, None, None]
half = torch.tensor([[0.5, 0.5]])
_, medium = barycenters.wasserstein(pair_loc, pair_scale, half)
entropy_barycenter = gaussians.entropy(medium).item()

fine = torch.linspace(-90, 90, 40_001)
log_pair = gaussians.log_density(fine[:, None], pair_loc, pair_scale).logsumexp(0) - math.log(2)
entropy_mixture = -torch.trapezoid(log_pair.exp() * log_pair, fine).item()
assert entropy_barycenter > entropy_mixture + 0.1

factors = torch.randn(2000, 3, 2, 2, generator=generator)
covariances = factors @ factors.mT + 0.02 * torch.eye(2)
thirds = torch.full((2000, 3), 1 / 3)
_, bures = barycenters.bures_wasserstein(torch.zeros(2000, 3, 2), covariances, thirds)
log_pooled = torch.linalg.inv(torch.linalg.inv(covariances).mean(1))
lowest = torch.linalg.eigvalsh(bures - log_pooled)[:, 0]
violations = int((lowest < -1e-8).sum())
assert violations > 0, "the matrix order fails somewhere"
assert (torch.linalg.eigvalsh(covariances.mean(1) - bures)[:, 0] > -1e-8).all()  # this one holds

# %% tags=["remove-cell"]
glue("entropy_barycenter", f"{entropy_barycenter:.3f}", display=False)
glue("entropy_mixture", f"{entropy_mixture:.3f}", display=False)
glue("violations", f"{violations}", display=False)
glue("triples", f"{len(covariances):,}", display=False)
glue("worst_violation", f"{lowest.min():.2f}".replace("-", "−"), display=False)

# %% [markdown]
# For $\N(0,1)$ and $\N(0,10^2)$ the barycenter's entropy is {glue:text}`entropy_barycenter` nats and the mixture's {glue:text}`entropy_mixture`.
# Of {glue:text}`triples` random triples of $2\times2$ covariances {glue:text}`violations` break the matrix order, the worst with an eigenvalue of {glue:text}`worst_violation`.

# %% [markdown]
# ## What it cannot do
#
# The barycenter's standard deviation lies between the smallest and the largest of the experts': it **never sharpens**, and ten experts who agree are no more certain than one.
# Its mean takes no notice of the standard deviations: it is **blind to precision**.

# %%
pair_loc = torch.tensor([1.0, 0.0])[:, None, None]
pair_scale = torch.tensor([0.1, 1.0])[:, None, None]
pair = {
    "product": barycenters.product(pair_loc, pair_scale, torch.ones(1, 2), prior_exponent=0.0),
    "log-pool": barycenters.log_pool(pair_loc, pair_scale, half),
    "Wasserstein": barycenters.wasserstein(pair_loc, pair_scale, half),
}
means = {name: at.item() for name, (at, _) in pair.items()}
assert means["product"] > 0.98
assert means["log-pool"] > 0.98
assert means["Wasserstein"] == 0.5

copies = (torch.ones(10, 1, 1), torch.full((10, 1, 1), 0.3), torch.full((1, 10), 0.1))
torch.testing.assert_close(barycenters.wasserstein(*copies)[1], torch.full((1, 1, 1), 0.3))
sharpened = barycenters.product(*copies[:2], torch.ones(1, 10), prior_exponent=0.0)[1]
torch.testing.assert_close(sharpened, torch.full((1, 1, 1), 0.3 / 10**0.5))

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
for (at, width), color in zip(pair.values(), (PRODUCT, LOG_POOL, WASSERSTEIN), strict=True):
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
# For $\N(0,C)$ and $\N(0,\Sigma)$ the cheapest plan is the linear map $T=C^{-1/2}\big(C^{1/2}\Sigma\,C^{1/2}\big)^{1/2}C^{-1/2}$, the one symmetric positive definite matrix with $TCT=\Sigma$.
# It takes $\N(0,C)$ to $\N(0,TCT)$, as it should, and no plan is cheaper: $\E\|X-Y\|^2$ is least where $\E\langle X,Y\rangle$ is largest, and every coupling has
#
# $$
# \E\langle X,Y\rangle \le \tfrac12\E\langle X,TX\rangle+\tfrac12\E\langle Y,T^{-1}Y\rangle ,
# $$
#
# because the right side exceeds the left by $\frac12\E\|T^{1/2}X-T^{-1/2}Y\|^2$.
# The right side is the same for all couplings, and $Y=TX$ attains it.
# The argument holds for every symmetric positive definite $T$: it is the cheapest plan from $\N(0,C)$ to $\N(0,TCT)$.
#
# Take a candidate barycenter $C$, and the maps $T_m$ from it to each expert.
# If their average $\bar T=\sum_m w_mT_m$ were the identity, no direction would be left in which to move.
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
# That the iteration converges to the only fixed point, and that this is the barycenter among all distributions, is proved in the paper cited and in {cite:t}`agueh2011`; we check it.

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
# ## Two models
#
# **WB-VAE** trains the barycenter of all unimodal posteriors under the joint ELBO, {eq}`eq-joint-elbo`.
# **MWB-VAE** takes the barycenter within every subset and trains their mixture as MoPoE does, with {eq}`eq-mopoe`.
# The whole of it, given the pieces that stand already:

# %% tags=["remove-input"]
show(wb_vae, mwb_vae)

# %% [markdown]
# A missing modality leaves the average and the remaining weights are renormalised, which is the barycenter of what is left.
# The alternative of putting $\N(0,I)$ in its place is not harmless, because a barycenter that is blind to precision listens to it like to anyone.

# %%
unimodal_loc = torch.randn(3, 4, 2, generator=generator)
unimodal_scale = torch.full((3, 4, 2), 0.3)
observed = torch.tensor([True, False, True])[:, None].expand(3, 4)
hidden = torch.where(observed[..., None], unimodal_loc, math.nan)  # it must not be read

answer = wb_vae().aggregator.posterior(hidden, unimodal_scale, observed)
left = barycenters.wasserstein(unimodal_loc[[0, 2]], unimodal_scale[[0, 2]], half)
torch.testing.assert_close((answer.loc, answer.scale), left)

stand_in_loc = torch.where(observed[..., None], unimodal_loc, 0.0)
stand_in_scale = torch.where(observed[..., None], unimodal_scale, 1.0)
third = torch.full((1, 3), 1 / 3)
filled_loc, filled_scale = barycenters.wasserstein(stand_in_loc, stand_in_scale, third)
torch.testing.assert_close(filled_loc, left[0] * 2 / 3)
assert (filled_scale > 1 / 3).all()
assert (answer.scale < 1 / 3).all()

# %% [markdown]
# ## What to expect: the oracle again
#
# Which pool can reach more, if the experts are free to adapt to it?
# A toy whose objective has a closed form: a scalar latent, modalities $x_m\mid z\sim\N(z,s_m^2)$, encoders with a mean linear in $x_m$ and a constant scale, all of them optimised for the expectation of {eq}`eq-powerset-elbo` under each pool.
# We count the nats lost beyond the floor of {prf:ref}`lem-subset-floor`, which no encoder can get under.


# %%
def excess(aggregator, noise_variances):
    """Nats per example above the floor, at the best linear encoders."""
    noise = torch.tensor(noise_variances)
    precision, modalities = 1 / noise, len(noise)
    total = 1 + precision.sum()  # posterior precision given everything
    data_covariance = torch.ones(modalities, modalities) + torch.diag(noise)
    exact = precision / total  # E[z | x] is linear in x, with these coefficients
    unseen = [0.5 * precision[~s].sum() / (1 + precision[s].sum()) for s in powerset(modalities)]
    floor = torch.stack(unseen).mean()
    gain = torch.full((modalities,), 0.5, requires_grad=True)
    log_scale = torch.full((modalities,), -0.3, requires_grad=True)
    search = torch.optim.LBFGS(
        [gain, log_scale], max_iter=500, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def average_gap():
        # The j-th example of the batch is x = e_j, so pooled means are coefficients.
        loc = torch.diag(gain)[..., None]
        q = aggregator(loc, log_scale.exp()[:, None, None].expand_as(loc))
        error = q.loc[..., 0] - exact
        ratio = total * q.scale[:, 0, 0].square()
        shift = total * ((error @ data_covariance) * error).sum(-1)
        return 0.5 * (ratio - 1 - ratio.log() + shift).mean()

    def closure():
        search.zero_grad()
        loss = average_gap()
        loss.backward()
        return loss

    search.step(closure)
    assert torch.cat([gain.grad, log_scale.grad]).abs().max() < 1e-6, "not settled"
    return (average_gap() - floor).item()


pools = {
    "W2": build("mwb-vae").aggregator,
    "log-pool": build("mixture-of-log-pools").aggregator,
    "product": build("mopoe").aggregator,
    "prior": mopoe(prior_expert=True).aggregator,
}
worlds = {"even": [1.0] * 5, "clear": [0.25] * 5, "noisy": [4.0] * 5, "uneven": [0.1, 4.0, 1.0]}
lost = {
    world: {name: excess(pool, noise) for name, pool in pools.items()}
    for world, noise in worlds.items()
}

for world in ("even", "clear", "noisy"):
    assert math.isclose(lost[world]["W2"], lost[world]["log-pool"], abs_tol=1e-8)
    assert lost[world]["W2"] < lost[world]["product"]
assert lost["uneven"]["log-pool"] < lost["uneven"]["product"] < lost["uneven"]["W2"]
assert min(lost["uneven"], key=lost["uneven"].get) == "log-pool"
for world in ("even", "noisy"):
    assert lost[world]["prior"] < lost[world]["W2"]
assert lost["clear"]["W2"] < lost["clear"]["prior"]
assert all(value > 0 for row in lost.values() for value in row.values())

# %% tags=["remove-cell"]
for world, row in lost.items():
    for pool, value in row.items():
        glue(f"lost_{world}_{pool}", f"{value:.3f}", display=False)

# %% [markdown]
# | noise variances | W2 | log-pool | product | product with prior |
# |---|---|---|---|---|
# | five of 1 | {glue:text}`lost_even_W2` | {glue:text}`lost_even_log-pool` | {glue:text}`lost_even_product` | {glue:text}`lost_even_prior` |
# | five of 0.25 | {glue:text}`lost_clear_W2` | {glue:text}`lost_clear_log-pool` | {glue:text}`lost_clear_product` | {glue:text}`lost_clear_prior` |
# | five of 4 | {glue:text}`lost_noisy_W2` | {glue:text}`lost_noisy_log-pool` | {glue:text}`lost_noisy_product` | {glue:text}`lost_noisy_prior` |
# | 0.1, 4 and 1 | {glue:text}`lost_uneven_W2` | {glue:text}`lost_uneven_log-pool` | {glue:text}`lost_uneven_product` | {glue:text}`lost_uneven_prior` |
#
# Where modalities are equally informative, the Wasserstein barycenter and the log-pool lose the same, and less than the product without a prior expert: its variance depends on the size of the subset, and under this objective the best one does not.
# A prior expert changes that: it draws the mean of a small subset closer to the origin than that of a large one, as Bayes' rule does, and with it the product is ahead unless the noise is small.
# Where they are not equally informative, being blind to precision costs more than over-sharpening, and the log-pool does best.
# So whenever MWB-VAE beats MoPoE, one has to ask whether the geometry did it or only the absence of sharpening, and a mixture of log-pools is the control that tells.
# This is a toy with linear encoders, a source of hypotheses; {doc}`/chapters/reproductions/polydigits` begins to test them with networks.

# %% [markdown]
# ## Paper, official code, here
#
# | | paper {cite:p}`qiu2025` | official code | here |
# |---|---|---|---|
# | **what we have read** | the abstract | none known to us | |
# | **aggregation** | the barycenter under the 2-Wasserstein distance | not known to us | {eq}`eq-w2-barycenter` |
# | **weights** | not known to us | not known to us | equal, renormalised over what is observed |
# | **prior expert** | not known to us | not known to us | none |
# | **mixture of barycenters** | not known to us; secondary sources name MWB-VAE as one | not known to us | uniform over all non-empty subsets |
# | **objective** | not known to us | not known to us | {eq}`eq-joint-elbo`; {eq}`eq-mopoe` |
# | **covariances** | not known to us | not known to us | diagonal in the models |
#
# Everything in this chapter that is not in the second column is derived here or taken from the other works it cites.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-prior-floor
# Add $\N(0,I)$ to $M$ experts as one more expert, all weights equal.
# Show that the barycenter's standard deviation cannot fall below $1/(M+1)$, and compare with what the same expert does to a product.
# ::::
#
# ::::{solution} ex-prior-floor
# :class: dropdown
# $\sigma_W=\frac1{M+1}\big(1+\sum_m\sigma_m\big)\ge\frac1{M+1}$, however sharp the experts are, and the mean shrinks by $M/(M+1)$.
# In a product the prior adds one to a precision that has no upper limit, so its influence vanishes as experts sharpen:
# ::::

# %% tags=["hide-input", "remove-output"]
for experts in (1, 2, 5):
    sure = torch.full((experts, 1, 1), 1e-6)
    with_prior = torch.cat([sure, torch.ones(1, 1, 1)])
    even = torch.full((1, experts + 1), 1 / (experts + 1))
    floor = barycenters.wasserstein(torch.zeros_like(with_prior), with_prior, even)[1].item()
    assert math.isclose(floor, 1 / (experts + 1), rel_tol=1e-5)
    ones = torch.ones(1, experts)
    assert barycenters.product(torch.zeros_like(sure), sure, ones, prior_exponent=1.0)[1] < 1e-5

# %% [markdown]
# ::::{exercise}
# :label: ex-kl-along-w2
# Show that the rate is convex along the barycenter, with room to spare:
# $\KL{q_W}{p}\le\sum_m w_m\KL{q_m}{p}-\frac12\sum_m w_mW_2^2(q_W,q_m)$ for $p=\N(0,I)$.
# Does it hold for the log-pool or the product in place of $q_W$, at least without the last term?
# ::::
#
# ::::{solution} ex-kl-along-w2
# :class: dropdown
# Per dimension the rate is $f(\mu,\sigma)=\frac12(\mu^2+\sigma^2-1)-\log\sigma$, and $f-\frac12(\mu^2+\sigma^2)$ is convex because $-\log$ is.
# Apply Jensen's inequality to that convex function at the weighted mean $(\mu_W,\sigma_W)$, and note that for the quadratic the difference of both sides is half the weighted variance $\sum_m w_m\|(\mu_m,\sigma_m)-(\mu_W,\sigma_W)\|^2$, which is $\sum_m w_mW_2^2(q_W,q_m)$.
# Log-pool and product do not average in this chart, and for them even the inequality without the last term fails for some experts:
# ::::

# %% tags=["hide-input", "remove-output"]
center = barycenters.wasserstein(many_loc, many_scale, many_w)
average_rate = (many_w[0] * gaussians.kl_to_prior(many_loc, many_scale)).sum(0)
travel = (many_w[0] * gaussians.w2_squared(*center, many_loc, many_scale)).sum(0)
slack = average_rate - 0.5 * travel - gaussians.kl_to_prior(*center)[0]
assert (slack > -1e-12 * average_rate.clamp_min(1)).all()
for other in [
    barycenters.log_pool(many_loc, many_scale, many_w),
    barycenters.product(many_loc, many_scale, torch.ones(1, 3), prior_exponent=0.0),
]:
    assert (gaussians.kl_to_prior(*other)[0] > average_rate).double().mean() > 0.01

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
# # Drag the experts
#
# Every average of posteriors answers a question, and which one is *closest to all experts* depends on how closeness is measured.
# Here two or three Gaussian experts lie in a plane: drag a number to move an expert, and a small circle to stretch and turn it.
# All averages follow, and the table says how far each is from the experts, in four senses.
# A handle that has the keyboard's focus moves with the arrow keys, in fine steps with Shift.

# %% [markdown]
# <div id="playground"></div>
# <noscript><p>The picture below can be dragged where scripts are allowed; without them it stands still.</p></noscript>

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

from multielbo import barycenters, full_covariance, plots
from multielbo.profiles import check_profile

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)

# %% tags=["remove-cell"]
opening = "#expert=-1.6,-0.3,1.1,0.4,35,0.5&expert=1.5,0.2,1.2,0.5,-50,0.5"
rows = [[float(x) for x in part.split("=")[1].split(",")] for part in opening[1:].split("&")]
x, y, first, second, degrees, w = torch.tensor(rows).T
angle = degrees.deg2rad()
turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).unflatten(-1, (2, 2))
loc = torch.stack([x, y], -1)
covariance = turn @ torch.diag_embed(torch.stack([first, second], -1).square()) @ turn.mT

# %% tags=["remove-input", "playground-static"] mystnb={"image": {"alt": "Two expert ellipses, tilted towards each other, over the shaded density of their mixture: the ellipses of the product and of the log-pool stand above the line between the experts where both think z possible, the Wasserstein barycenter between the two, turned half-way."}}
log_pool = full_covariance.log_pool(loc[:, None], covariance[:, None], w[None])
averages = {
    "product": ("mvae", log_pool[0][0, 0], log_pool[1][0, 0] / len(loc)),  # the weights are equal
    "log-pool": ("log-pool", log_pool[0][0, 0], log_pool[1][0, 0]),
    "Wasserstein": ("wb-vae", *barycenters.bures_wasserstein(loc, covariance, w)),
}
points = torch.stack(
    torch.meshgrid(torch.linspace(-5, 5, 200), torch.linspace(-3, 3, 120), indexing="xy"), -1
)
experts = torch.distributions.MultivariateNormal(loc, covariance)
mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(w), experts)
fig, ax = plt.subplots(figsize=(6.4, 3.84))
ax.contourf(
    points[..., 0],
    points[..., 1],
    mixture.log_prob(points).exp(),
    levels=torch.linspace(0.004, 0.17, 9),
    cmap="Oranges",
    alpha=0.5,
    extend="max",
)
for centre, spread in zip(loc, covariance, strict=True):
    plots.ellipse(ax, centre, spread, color="0.35", deviations=2, lw=1, facecolor="none")
for name, (model, centre, spread) in averages.items():
    color = plots.colour(model)
    plots.ellipse(ax, centre, spread, color=color, deviations=2, lw=2.2, facecolor="none")
    side = {"product": 0.0, "log-pool": 2.4, "Wasserstein": -2.4}[name]  # in deviations
    place = centre + torch.tensor([0.0, side]) * spread[1, 1].sqrt()
    ax.annotate(name, place.tolist(), color=color, weight="bold", ha="center", va="center")
ax.set(aspect="equal", xlim=(-5, 5), ylim=(-3, 3), xlabel="$z_1$", ylabel="$z_2$")
ax.set_title("Averages of two experts need not stand between them")
plt.show()

# %% tags=["remove-cell"]
glue("share", f"{100 * (1 - math.exp(-2)):.1f}", display=False)

# %% [markdown]
# :::{container} playground-experiment
# <a class="playground-state" href="#expert=-1.6,-0.3,1.1,0.4,35,0.5&amp;expert=1.5,0.2,1.2,0.5,-50,0.5">Two experts.</a>
# Product and log-pool leave the line between the centres for the place that both experts think possible.
# They share their centre, and the product is narrower, by the square root of the number of experts where weights are equal.
# Move a weight: the log-pool follows, and the product, whose exponents are one, does not.
# :::
#
# :::{container} playground-experiment
# <a class="playground-state" href="#expert=-1.5,0,0.15,0.15,0,0.5&amp;expert=0.9,0.2,1.5,1.5,0,0.5">Ten times sharper.</a>
# One expert is sure, the other is not.
# Precision decides in {eq}`eq-product` and {eq}`eq-log-pool`, so product and log-pool stand on the sharp expert; by {eq}`eq-w2-barycenter` the Wasserstein barycenter stands half-way and has the mean of both scales, because it does not ask who is sure.
# Its reverse KL is large: it puts mass where the sharp expert puts none.
# :::
#
# :::{container} playground-experiment
# <a class="playground-state" href="#expert=-1.8,-0.5,1.1,0.5,30,0.7&amp;expert=1.7,0.4,1.1,0.5,30,0.3">Same shapes.</a>
# With equal covariances the precisions drop out of {eq}`eq-log-pool`, and no transport map has to stretch anything: log-pool and Wasserstein barycenter are the same Gaussian, whatever the weights.
# Both rows are least in two columns.
# Turn one expert a little and they part.
# :::
#
# :::{container} playground-experiment
# <a class="playground-state" href="#expert=0,0,1.6,0.4,0,0.5&amp;expert=0,0,1.6,0.4,90,0.5">A quarter turn.</a>
# Two equal ellipses, crossed.
# All Gaussian averages are round, and they differ in size only: the log-pool averages precisions, the Wasserstein barycenter standard deviations, the moment match variances.
# The mixture keeps the cross, and so, less of it, does the Hellinger barycenter.
# :::
#
# :::{container} playground-experiment
# <a class="playground-state" href="#expert=-3.2,-0.4,0.6,0.6,0,0.5&amp;expert=3.2,0.4,0.6,0.6,0,0.5">Far apart.</a>
# Product, log-pool and Wasserstein barycenter stand where no expert puts mass, and their forward KL says so.
# The mixture stays with the experts, and its forward KL is the most that it can be, $\log 2$; its reverse KL is large, because each expert rules out the other's hump.
# Lower $r$: the power mean of {doc}`/chapters/aggregation/other_divergences` keeps the two humps for long before it reaches for the middle.
# :::
#
# :::{container} playground-experiment
# <a class="playground-state" href="#expert=0.5,0.2,1.2,0.7,30,0.34&amp;expert=0.5,0.2,1.2,0.7,30,0.33&amp;expert=0.5,0.2,1.2,0.7,30,0.33">Three agree.</a>
# The barycenter of equal opinions is that opinion, under every divergence.
# Only the product differs: it counts one opinion three times.
# :::

# %% [markdown]
# The address of the page holds what you see, and can be shared.
#
# ## What is drawn
#
# Each outline encloses the smallest region that holds the share $1-e^{-2}$ of its density's mass, {glue:text}`share` percent; for a Gaussian that is the ellipse at two standard deviations.
# Weights $w_m$ are shown divided by their sum, so that they sum to one.
#
# | average | what it is | least in the column |
# |:--|:--|:--|
# | **product** | {eq}`eq-product` without a prior, exponents one | none; {prf:ref}`lem-product-problem` gives its own problem |
# | **log-pool** | {eq}`eq-log-pool`, with covariances in place of variances | reverse KL, $\sum_m w_m\KL{q}{q_m}$, by {prf:ref}`lem-reverse-barycenter` |
# | **Wasserstein** | {eq}`eq-w2-barycenter`, by the iteration {eq}`eq-bures-fixed-point` | $W_2^2$, $\sum_m w_mW_2^2(q,q_m)$ |
# | **Hellinger**, or another power mean | $q\propto\big(\sum_m w_mq_m^r\big)^{1/r}$, with $r=\frac12$ for Hellinger | $D_r$, $\sum_m w_mD_r(q_m,q)$, see {doc}`/chapters/aggregation/other_divergences` |
# | **mixture** | $\bar q=\sum_m w_mq_m$ | forward KL, $\sum_m w_m\KL{q_m}{q}$, by {prf:ref}`lem-forward-barycenter` |
# | **moment match** | {eq}`eq-moment-match`, with the whole covariance | forward KL among Gaussians |
#
# Here $D_r(q_m,q)=\frac{1}{r(1-r)}\big(1-\int q_m^r\,q^{1-r}\,\mathrm dz\big)$, which is four times the squared Hellinger distance for $r=\frac12$.
# Divergences are in nats, $W_2^2$ is in squared units of $z$.

# %% [markdown]
# ## What is exact
#
# Where $q$ is Gaussian, all four columns are closed forms.
# In two dimensions even matrix roots are: a positive definite matrix satisfies its own characteristic equation, so $\sqrt A=(A+\sqrt{\det A}\,I)/\operatorname{tr}\sqrt A$ with $(\operatorname{tr}\sqrt A)^2=\operatorname{tr}A+2\sqrt{\det A}$, and {eq}`eq-bures` becomes
#
# $$
# W_2^2(q,p)=\|\mu_q-\mu_p\|^2+\operatorname{tr}\Sigma_q+\operatorname{tr}\Sigma_p
# -2\sqrt{\operatorname{tr}(\Sigma_q\Sigma_p)+2\sqrt{\det\Sigma_q\,\det\Sigma_p}} .
# $$
#
# The mixture and the power means are no Gaussians.
# Their rows are sums over a grid that is dense where an expert is narrow.
# The line under the table says what happens to these sums if three points in four are left out, a change that is larger than the error of the whole grid.
# There is no closed form for $W_2$ from a Gaussian to a mixture, and we do not put another number in its place: the table shows the distance of the Gaussian with the same mean and covariance, as a bound.
# The inequality in the proof of {prf:ref}`lem-bures` uses second moments alone, so nothing with these moments is closer.
#
# The script that runs in this page computes {eq}`eq-bures-fixed-point` as follows; tests compare all its numbers with this package, with POT and with SciPy's quadrature.
#
# ```{literalinclude} /_playground/averages.js
# :language: javascript
# :start-at: "2-Wasserstein barycenter"
# :end-before: "log Σ"
# ```
#
# **Check.** The closed form for random pairs, against POT; without the determinants it is wrong.

# %%
means = torch.randn(50, 2, 2, generator=generator)
factors = torch.randn(50, 2, 2, 2, generator=generator)
sigmas = factors @ factors.mT + 0.02 * torch.eye(2)


def w2_squared(mean, sigma, determinants=1.0):
    cross = (sigma[0] @ sigma[1]).trace() + 2 * determinants * sigma.det().prod().sqrt()
    traces = sigma.diagonal(dim1=-2, dim2=-1).sum()
    return ((mean[0] - mean[1]).square().sum() + traces - 2 * cross.sqrt()).item()


for mean, sigma in zip(means, sigmas, strict=True):
    (m, n), (s, t) = mean.numpy(), sigma.numpy()
    reference = ot.gaussian.bures_wasserstein_distance(m, n, s, t) ** 2
    assert math.isclose(w2_squared(mean, sigma), reference, rel_tol=1e-9)
    assert w2_squared(mean, sigma, determinants=0.0) > reference * (1 + 1e-6)

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-drag-outside
# Drag until the log-pool's centre leaves the triangle of three experts' centres.
# Can the Wasserstein barycenter's centre leave it?
# ::::
#
# ::::{solution} ex-drag-outside
# :class: dropdown
# The log-pool's mean is $\Sigma_g\sum_m w_m\Sigma_m^{-1}\mu_m$, an average of the means with *matrices* as weights, and matrices that do not commute can leave the triangle: two long ellipses that are tilted towards each other meet above it.
# With round experts the weights are numbers again and it cannot.
# The Wasserstein barycenter's mean is $\sum_m w_m\mu_m$, always inside.
# ::::

# %% tags=["hide-input", "remove-output"]
corners = np.array([[-1.6, -0.3], [1.5, 0.2], [0.0, -1.0]])
tilted = torch.stack([*covariance, 0.8 * torch.eye(2)])
third = torch.full((1, 3), 1 / 3)
pooled, _ = full_covariance.log_pool(torch.tensor(corners)[:, None], tilted[:, None], third)
centred, _ = barycenters.bures_wasserstein(torch.tensor(corners), tilted, third[0])


def share_of_corners(point):
    """Weights that sum to one and average the corners to this point: negative outside."""
    return np.linalg.solve(np.vstack([corners.T, np.ones(3)]), [*point, 1.0])


assert share_of_corners(pooled[0, 0].numpy()).min() < -0.05
assert math.isclose(share_of_corners(centred.numpy()).min(), 1 / 3)

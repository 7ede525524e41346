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
# # Products and mixtures as KL barycenters
#
# A product and a mixture look like two unrelated recipes for merging posteriors.
# Ask which density is closest to all of them at once, and with the Kullback–Leibler divergence turned one way the answer is the mixture; turned the other way, it is almost the product {cite:p}`qiu2025`.
# This chapter proves both answers, lets an optimiser rediscover them, and takes the *almost* seriously: the product that the models multiply is the answer to another question.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import matplotlib.pyplot as plt
import torch
from myst_nb import glue

from multielbo import barycenters, gaussians, plots
from multielbo.mixtures import Posteriors
from multielbo.oracle import LinearGaussian
from multielbo.profiles import check_profile
from multielbo.publishing.show import show

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)
PRODUCT, LOG_POOL, MIXTURE = map(plots.colour, ("mvae", "log-pool", "mmvae"))

# %% [markdown]
# ## One question, two directions
#
# ::::{prf:definition} Barycenter
# :label: def-barycenter
#
# Let $q_1,\dots,q_M$ be densities, the **experts**, and $w_1,\dots,w_M\ge0$ weights with $\sum_m w_m=1$.
# A **barycenter** under a divergence $D$ is a density that is closest to all experts at once,
#
# $$
# q^\star \in \arg\min_q \sum_{m=1}^M w_m\, D(q, q_m) .
# $$
# ::::
#
# With squared Euclidean distance between points this is the weighted mean, hence the name.
# The Kullback–Leibler divergence is not symmetric and leaves a choice: $D(q,q_m)=\KL{q}{q_m}$, called **reverse**, or $D(q,q_m)=\KL{q_m}{q}$, called **forward**.

# %% [markdown]
# ## Reverse: the geometric mean
#
# ::::{prf:lemma} The reverse-KL barycenter is the log-pool
# :label: lem-reverse-barycenter
#
# Let $Z=\int\prod_m q_m(z)^{w_m}\,\mathrm dz$ be positive, and $g=\frac1Z\prod_m q_m^{w_m}$.
# Then for every density $q$
#
# $$
# \sum_{m} w_m\,\KL{q}{q_m} = \KL{q}{g} - \log Z ,
# \qquad 0 < Z \le 1 ,
# $$
#
# so $g$ is the only minimiser, and the minimum is $-\log Z\ge0$.
# (Both sides may be infinite.)
# ::::
#
# :::{prf:proof}
# The weights sum to one, so the left side is $\E_q\big[\log q-\sum_m w_m\log q_m\big]$, with a single $\log q$.
# By definition $\sum_m w_m\log q_m=\log g+\log Z$, which gives the identity; a divergence is zero only between equal densities, which gives the minimiser.
# A weighted geometric mean is at most the arithmetic one, $\prod_m q_m^{w_m}\le\sum_m w_m q_m$ at every $z$; integrating gives $Z\le1$.
# :::
#
# A geometric mean of densities averages log-densities, and statistics calls it the **logarithmic opinion pool**, or **log-pool**.
# Logarithms of Gaussians are quadratic, so their weighted sum is quadratic too, and the log-pool of Gaussians is Gaussian: precisions average, and means average in proportion to precision,
#
# $$
# \frac{1}{\sigma_g^2}=\sum_m \frac{w_m}{\sigma_m^2},
# \qquad
# \mu_g=\sigma_g^2\sum_m \frac{w_m}{\sigma_m^2}\,\mu_m ,
# \qquad \sum_m w_m = 1 ,
# $$ (eq-log-pool)
#
# in every latent dimension.
# The function is the product of {doc}`/chapters/aggregation/product_of_experts` with weights for exponents and no prior:

# %% tags=["remove-input"]
show(barycenters.log_pool, barycenters.product)

# %% [markdown]
# Three experts in one dimension shall accompany us, with weights that differ.

# %%
loc = torch.tensor([-1.6, 0.4, 1.5])[:, None, None]  # (M, B, D)
scale = torch.tensor([0.5, 1.0, 0.8])[:, None, None]
w = torch.tensor([[0.5, 0.2, 0.3]])  # (K, M)

grid = torch.linspace(-6.0, 6.0, 81)
dz = grid[1] - grid[0]


def log_on_grid(loc, scale):
    """Log-densities of Gaussians of shape `(..., 1)` at the grid points."""
    return gaussians.log_density(grid[:, None], loc[..., None, :], scale[..., None, :])


def kl_on_grid(log_q, log_p):
    return (log_q.exp() * (log_q - log_p)).sum(-1) * dz


experts = log_on_grid(loc[:, 0], scale[:, 0])  # (M, grid)
pooled_loc, pooled_scale = barycenters.log_pool(loc, scale, w)
log_pool = log_on_grid(pooled_loc[0], pooled_scale[0])[0]
minus_log_z = -((w @ experts).exp().sum() * dz).log()

# %% [markdown]
# **Check.** The lemma is an identity, so it must hold at *any* density: we draw one at random, with no Gaussian in sight.

# %%
arbitrary = (3 * torch.randn(81, generator=generator)).log_softmax(0) - dz.log()
objective = (w @ kl_on_grid(arbitrary, experts))[0]

torch.testing.assert_close(objective, kl_on_grid(arbitrary, log_pool) + minus_log_z)
torch.testing.assert_close((w @ kl_on_grid(log_pool, experts))[0], minus_log_z)

ones = torch.ones(1, 3)
product_loc, product_scale = barycenters.product(loc, scale, ones, prior_exponent=0.0)
product = log_on_grid(product_loc[0], product_scale[0])[0]
at_product = (w @ kl_on_grid(product, experts))[0]
torch.testing.assert_close(at_product, kl_on_grid(product, log_pool) + minus_log_z)
assert at_product > minus_log_z + 0.1, "the plain product is not the minimiser"

# %% tags=["remove-cell"]
glue("reverse_minimum", f"{minus_log_z:.3f}", display=False)
glue("reverse_at_product", f"{at_product:.3f}", display=False)

# %% [markdown]
# The minimum is {glue:text}`reverse_minimum` nats; at the plain product of the experts, exponents one, the objective is {glue:text}`reverse_at_product`.
# We come back to that.

# %% [markdown]
# ## Forward: the arithmetic mean
#
# ::::{prf:lemma} The forward-KL barycenter is the mixture
# :label: lem-forward-barycenter
#
# Let $\bar q=\sum_m w_m q_m$.
# Then for every density $q$
#
# $$
# \sum_{m} w_m\,\KL{q_m}{q} = \KL{\bar q}{q} + \sum_m w_m\,\KL{q_m}{\bar q} .
# $$
#
# So $\bar q$ is the only minimiser, and the minimum is the experts' Jensen–Shannon divergence, {eq}`eq-jsd`.
# ::::
#
# :::{prf:proof}
# Split $\log\frac{q_m}{q}=\log\frac{q_m}{\bar q}+\log\frac{\bar q}{q}$ and take $\sum_m w_m\E_{q_m}$.
# The first part is the last term of the lemma.
# The logarithm of the second does not depend on $m$, and $\sum_m w_m\E_{q_m}$ is the expectation under $\bar q$.
# The last term does not depend on $q$, and it is finite, at most the entropy of the weights by {prf:ref}`lem-compensation`.
# :::
#
# This is the compensation identity of {doc}`/chapters/aggregation/mixture_of_experts`, read as an optimisation: there $q$ was the prior, here $q$ is free.
#
# A mixture of Gaussians is no Gaussian.
# Those who want one ask the same question among Gaussians only.
#
# ::::{prf:lemma} Moment matching
# :label: lem-moment-match
#
# Among diagonal Gaussians, $\sum_m w_m\KL{q_m}{q}$ is smallest for the one with the mixture's mean and variances,
#
# $$
# \mu=\sum_m w_m\mu_m,
# \qquad
# \sigma^2=\underbrace{\sum_m w_m\sigma_m^2}_{\text{within}}+\underbrace{\sum_m w_m(\mu_m-\mu)^2}_{\text{between}} .
# $$ (eq-moment-match)
# ::::
#
# :::{prf:proof}
# By {prf:ref}`lem-forward-barycenter` only $\KL{\bar q}{q}$ depends on $q$, and of that only $-\E_{\bar q}\log q$.
# For $q=\N(a,b^2)$ in one dimension this is $\frac12\big[\log 2\pi b^2+(v+(m-a)^2)/b^2\big]$, where $m$ and $v$ are the mixture's mean and variance.
# It is smallest at $a=m$, and then, setting the derivative with respect to $b^2$ to zero, at $b^2=v$.
# Dimensions add up, so each is solved by itself; the variance of a mixture is the mean of the variances plus the variance of the means.
# :::

# %% tags=["remove-input"]
show(barycenters.moment_match)

# %% [markdown]
# **Check.** Again the identity at the arbitrary density; then moment matching against a search along gradients of the closed-form divergences, which knows nothing of moments.

# %%
mixture = torch.logsumexp(w[0].log()[:, None] + experts, 0)
jensen_shannon = (w @ kl_on_grid(experts, mixture))[0]
forward = (w @ kl_on_grid(experts, arbitrary))[0]
torch.testing.assert_close(forward, kl_on_grid(mixture, arbitrary) + jensen_shannon)
assert forward > jensen_shannon > 0.3

free_loc, free_log_scale = (torch.zeros(1, requires_grad=True) for _ in range(2))
search = torch.optim.LBFGS(
    [free_loc, free_log_scale],
    max_iter=100,
    line_search_fn="strong_wolfe",
    tolerance_grad=1e-12,
    tolerance_change=0.0,
)


def closure():
    search.zero_grad()
    loss = (w @ gaussians.kl(loc[:, 0], scale[:, 0], free_loc, free_log_scale.exp())).sum()
    loss.backward()
    return loss


search.step(closure)
matched_loc, matched_scale = barycenters.moment_match(loc, scale, w)
found_loc, found_scale = free_loc.detach(), free_log_scale.detach().exp()
torch.testing.assert_close(found_loc, matched_loc[0, 0], atol=1e-7, rtol=0)
torch.testing.assert_close(found_scale, matched_scale[0, 0], atol=1e-7, rtol=0)
within_only = (w @ scale[:, 0].square()).sqrt()[0]
assert abs(found_scale - within_only) > 0.5, "forgetting the spread between the means must show"

# %% [markdown]
# ## An optimiser that knows no formula
#
# The proofs say that no density whatsoever does better.
# We can let that be contested: give an optimiser one free number per grid point, tell it the divergence and nothing else, and start it from the uniform density.


# %%
def free_form(objective):
    """Minimise `objective(log_q)` over all densities on the grid."""
    logits = torch.zeros(len(grid), requires_grad=True)
    search = torch.optim.LBFGS(
        [logits],
        max_iter=400,
        history_size=50,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-12,
        tolerance_change=0.0,
    )

    def density():
        return logits.log_softmax(0) - dz.log()

    def closure():
        search.zero_grad()
        loss = objective(density())
        loss.backward()
        return loss

    search.step(closure)
    return density().detach()


def total_variation(log_q, log_p):
    return 0.5 * (log_q.exp() - log_p.exp()).abs().sum() * dz


reverse_found = free_form(lambda log_q: (w @ kl_on_grid(log_q, experts))[0])
forward_found = free_form(lambda log_q: (w @ kl_on_grid(experts, log_q))[0])

assert total_variation(reverse_found, log_pool) < 1e-3
assert total_variation(forward_found, mixture) < 1e-3
assert total_variation(reverse_found, product) > 0.1, "it must not find the plain product"
assert total_variation(log_pool, mixture) > 0.1, "nor confuse the two directions"

# %% tags=["remove-input"] mystnb={"image": {"alt": "Two panels with the same three experts in grey: on the left the reverse divergence, where dots found by an optimiser lie on the single peak of the log-pool; on the right the forward divergence, where they lie on the curve of the mixture."}}
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3), sharey=True)
fine = torch.linspace(-4.2, 4.2, 601)
panels = [
    (
        "log-pool",
        LOG_POOL,
        reverse_found,
        r"$\min_q\,\sum_m w_m\,\mathrm{KL}(q\,\|\,q_m)$",
        lambda z: gaussians.log_density(
            torch.as_tensor(z)[:, None], pooled_loc[0], pooled_scale[0]
        ),
    ),
    (
        "mixture",
        MIXTURE,
        forward_found,
        r"$\min_q\,\sum_m w_m\,\mathrm{KL}(q_m\,\|\,q)$",
        lambda z: torch.logsumexp(
            w[0].log()[:, None] + gaussians.log_density(torch.as_tensor(z)[:, None], loc, scale), 0
        ),
    ),
]
for ax, (name, color, found, question, log_density) in zip(axes, panels, strict=True):
    for m in range(3):
        expert = gaussians.log_density(fine[:, None], loc[m, 0], scale[m, 0]).exp()
        ax.fill_between(fine, expert, color="0.5", alpha=0.16, lw=0)
    plots.density(ax, log_density, fine, color=color, label=name)
    ax.plot(grid, found.exp(), "o", ms=3.6, mfc="white", mec=color)
    ax.set(xlim=(-4.2, 4.2), ylim=(0, 0.92), xlabel="$z$", yticks=[])
    ax.set_title(question, loc="center", fontsize=11, weight="normal")
axes[0].annotate("experts", (-2.2, 0.62), color="0.45", ha="right", fontsize=10)
fig.suptitle(
    "Free to choose any density, an optimiser (dots) draws the two means (lines)",
    weight="bold",
    fontsize=12,
    x=0.01,
    ha="left",
)
plt.show()

# %% [markdown]
# Each direction has its temper.
# Where one expert says *no*, with a density of zero, the reverse divergence is infinite for any $q$ that puts mass there, so the log-pool keeps away: it is **zero-forcing**, and one veto is enough.
# Where one expert says *yes*, the forward divergence punishes a $q$ that stays away, so the mixture goes everywhere: it is **mass-covering**.
# Between the two directions lies a whole family of divergences, and {doc}`/chapters/aggregation/other_divergences` follows it from one mean to the other.

# %% [markdown]
# ## The product is not a barycenter
#
# MVAE and MoPoE multiply their experts with exponents one {cite:p}`hinton2002,wu2018`, and the exponents of a log-pool sum to one.
# No choice of weights bridges that: a log-pool's precision is an average of the experts' precisions and at most the largest of them, a product's is their sum.
# The product solves another problem.
#
# ::::{prf:lemma} The product's own problem
# :label: lem-product-problem
#
# Let $P\propto\prod_m q_m$, with $Z_P=\int\prod_m q_m(z)\,\mathrm dz$ finite, and write $H(q)=-\E_q\log q$ for the entropy.
# For every density $q$ of finite entropy
#
# $$
# \sum_{m=1}^M\KL{q}{q_m} + (M-1)\,H(q) = \KL{q}{P} - \log Z_P .
# $$
#
# If all $w_m=1/M$, then $P\propto g^M$: for Gaussians the product and the log-pool have the same mean, and the product's variance is $M$ times smaller.
# ::::
#
# :::{prf:proof}
# The sum contains $M\,\E_q\log q$, the entropy term takes $M-1$ of them away, and $\E_q[\log q-\sum_m\log q_m]$ is left, which is the right side.
# With equal weights $\prod_m q_m=\big(\prod_m q_m^{1/M}\big)^M$, and the $M$-th power of a Gaussian density is, up to its constant, a Gaussian density with $M$ times the precision.
# :::
#
# The product thus minimises the *sum* of divergences while it is *paid* to have little entropy, $M-1$ times over.
# That is where its sharpness comes from.

# %%
own_problem = kl_on_grid(arbitrary, experts).sum() - 2 * (arbitrary.exp() * arbitrary).sum() * dz
log_z_product = (experts.sum(0).exp().sum() * dz).log()
torch.testing.assert_close(own_problem, kl_on_grid(arbitrary, product) - log_z_product)

equal = torch.full((1, 3), 1 / 3)
same_loc, wide = barycenters.log_pool(loc, scale, equal)
torch.testing.assert_close(product_loc, same_loc)
torch.testing.assert_close(product_scale.square(), wide.square() / 3)

product_found = free_form(
    lambda log_q: kl_on_grid(log_q, experts).sum() - 2 * (log_q.exp() * log_q).sum() * dz
)
assert total_variation(product_found, product) < 1e-3
sum_only = free_form(lambda log_q: kl_on_grid(log_q, experts).sum())
assert total_variation(sum_only, product) > 0.1, "the entropy term is needed"

# %% tags=["remove-input"] mystnb={"image": {"alt": "Three expert ellipses over the shaded density of their mixture in two latent dimensions: the ellipses of the product and of the log-pool share a centre, the product's being smaller, and the moment match is the largest of the averages."}}
centres = torch.tensor([[-1.9, -0.3], [0.5, 1.6], [1.6, -0.9]])[:, None]
spreads = torch.tensor([[0.75, 1.5], [1.6, 0.6], [0.9, 0.9]])[:, None]
averages = {
    "log-pool": (LOG_POOL, barycenters.log_pool(centres, spreads, equal)),
    "product": (PRODUCT, barycenters.product(centres, spreads, ones, prior_exponent=0.0)),
    "moment match": (MIXTURE, barycenters.moment_match(centres, spreads, equal)),
}
axis_x, axis_y = torch.linspace(-5.2, 5.2, 260), torch.linspace(-3.6, 3.9, 200)
points = torch.stack(torch.meshgrid(axis_x, axis_y, indexing="xy"), -1)
whole = Posteriors(
    centres, spreads, torch.full((3, 1), 1 / 3), torch.eye(3, dtype=torch.bool)[..., None]
)
level = whole.log_density(points[..., None, :])[..., 0].exp()
labels = {"moment match": (3.2, -0.45), "log-pool": (3.2, 2.6), "product": (3.2, 3.3)}
fig, ax = plt.subplots(figsize=(6.4, 4.2))
ax.contourf(
    axis_x,
    axis_y,
    level,
    levels=torch.linspace(0.004, float(level.max()), 9),
    cmap="Oranges",
    alpha=0.5,
)
for centre, spread in zip(centres[:, 0], spreads[:, 0], strict=True):
    plots.ellipse(ax, centre, spread, color="0.35", lw=1, facecolor="none")
for name, (color, (centre, spread)) in averages.items():
    plots.ellipse(ax, centre[0, 0], spread[0, 0], color=color, lw=2.2, facecolor="none")
    edge = centre[0, 0] + torch.tensor([0.94, -0.34]) * spread[0, 0]
    ax.annotate(
        name,
        edge.tolist(),
        xytext=labels[name],
        color=color,
        weight="bold",
        fontsize=10,
        va="center",
        arrowprops={"arrowstyle": "-", "color": color, "lw": 0.8},
    )
ax.annotate(
    "experts",
    (-2.65, -0.3),
    xytext=(-6, 0),
    textcoords="offset points",
    ha="right",
    va="center",
    color="0.35",
    fontsize=10,
)
ax.set(
    aspect="equal",
    xlim=(-5.2, 5.2),
    ylim=(-3.6, 3.9),
    xlabel="$z_1$",
    ylabel="$z_2$",
    title="Product and log-pool share their centre, not their size",
)
plt.show()

# %% [markdown]
# Ellipses are drawn at one standard deviation, and the shading is the mixture, which has no ellipse of its own.

# %% [markdown]
# ## Which one is right depends on what the experts have seen
#
# Neither average is wrong; they answer to different worlds.
#
# - If experts looked at *different* evidence, independent given $z$, Bayes' rule multiplies: $p(z\mid x)\propto p(z)^{1-M}\prod_m p(z\mid x_m)$, as {doc}`/chapters/aggregation/product_of_experts` derives.
# - If all experts looked at the *same* evidence, they repeat each other, and the barycenter of $M$ equal opinions is that opinion.
#
# The oracle of {doc}`/chapters/foundations/elbo_and_oracle` can play both worlds, and {eq}`eq-elbo-gap` says what the wrong average costs in each.

# %%
modalities = dict.fromkeys(("image", "sound", "text"), 4)
oracle = LinearGaussian.random(modalities, latent_dim=2, generator=generator)
batch = oracle.sample(512, generator)
unimodal = oracle.unimodal_posteriors(batch)


def gap(posterior, subset):
    loc, scale = posterior
    return oracle.gap(batch, loc[0], torch.diag_embed(scale[0].square()), subset)


different = {
    "product": gap(barycenters.product(*unimodal, ones, prior_exponent=-2.0), None),
    "log-pool": gap(barycenters.log_pool(*unimodal, equal), None),
}
copies = [stack[:1].expand(3, -1, -1) for stack in unimodal]
repeated = {
    "product": gap(barycenters.product(*copies, ones, prior_exponent=-2.0), ["image"]),
    "log-pool": gap(barycenters.log_pool(*copies, equal), ["image"]),
}

zero = torch.zeros(512)
torch.testing.assert_close(different["product"], zero, atol=1e-10, rtol=0)
torch.testing.assert_close(repeated["log-pool"], zero, atol=1e-10, rtol=0)
assert different["log-pool"].min() > 0.1
assert repeated["product"].min() > 0.1

# %% tags=["remove-cell"]
glue("underconfident", f"{different['log-pool'].mean():.2f}", display=False)
glue("overconfident", f"{repeated['product'].mean():.2f}", display=False)

# %% [markdown]
# With different evidence the product, prior divided out, is exact, and the log-pool loses {glue:text}`underconfident` nats because it never adds anything up.
# With one modality shown to all three experts the log-pool is exact, and the product loses {glue:text}`overconfident` nats because it counts one observation three times.
# Modalities that share information beyond $z$ sit in between, and trained experts are free to adapt to whichever average they are given; what follows from that is an experiment, and {doc}`/chapters/aggregation/wb_vae` starts it.

# %% [markdown]
# ## What the literature calls "PoE"
#
# | | paper | official code | here |
# |---|---|---|---|
# | **MVAE** {cite:p}`wu2018` | a product of experts, prior included | $\N(0,I)$ is one more expert | `product(..., prior_exponent=1.0)` |
# | **MoPoE** {cite:p}`sutter2021` | introduces the product of experts as a *geometric mean*, and takes its closed form for Gaussians | exponents one, no division by the number of experts | `product` and `log_pool` are two functions |
# | **WB-VAE** {cite:p}`qiu2025` | abstract: product and mixture are barycenters under asymmetric weighted KL; whether the weights sum to one is not known to us | none known to us | reverse-KL barycenter: `log_pool`, never `product` |
# | **weights of a mixture** {cite:p}`sutter2021` | equal | equal in the divergence; {doc}`/chapters/aggregation/mopoe` says how samples are split | any weights that sum to one, equal by default |
#
# A geometric mean of $n$ factors carries the exponent $1/n$; a product of experts, as it is multiplied in these models, does not.
# The two statements are one exponent apart and a factor $M$ in the variance, so this book never writes "PoE" where it means the log-pool.
# Of {cite:t}`qiu2025` we have read the abstract only, and nothing here should be taken for a statement of that paper beyond the row above.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-weights-not-normalised
# Suppose the weights of {prf:ref}`def-barycenter` sum to some $\Lambda>0$ instead of one.
# Find the reverse-KL barycenter, and conclude that no positive weights make it the plain product of two Gaussian experts.
# ::::
#
# ::::{solution} ex-weights-not-normalised
# :class: dropdown
# Divide the objective by $\Lambda$: the minimiser stays, and the weights $w_m/\Lambda$ sum to one.
# So the barycenter is proportional to $\prod_m q_m^{w_m/\Lambda}$, and its exponents sum to one whatever $\Lambda$ is.
# Its precision is an average of the experts' precisions, and the sum of two positive numbers exceeds any average of them.
# With all weights one, the objective is $\sum_m\KL{q}{q_m}$, and the optimiser above has found its minimiser already:
# ::::

# %% tags=["hide-input", "remove-output"]
equally_pooled = log_on_grid(same_loc[0], wide[0])[0]
assert total_variation(sum_only, equally_pooled) < 1e-3

# %% [markdown]
# ::::{exercise}
# :label: ex-full-covariances
# Let the experts be Gaussians with any covariances, $q_m=\N(\mu_m,\Sigma_m)$.
# Which Gaussians minimise the reverse and the forward objective, and among which densities?
# ::::
#
# ::::{solution} ex-full-covariances
# :class: dropdown
# Neither lemma speaks of diagonals.
# The log-pool's exponent is $-\frac12\sum_mw_m(z-\mu_m)^\top\Sigma_m^{-1}(z-\mu_m)$, so among *all* densities the reverse minimiser is Gaussian, with $\Sigma_g^{-1}=\sum_mw_m\Sigma_m^{-1}$ and $\mu_g=\Sigma_g\sum_mw_m\Sigma_m^{-1}\mu_m$.
# Among Gaussians, $-\E_{\bar q}\log q$ depends on the first two moments of $\bar q$ only, and is smallest for the $q$ that has them: $\mu=\sum_mw_m\mu_m$ and $\Sigma=\sum_mw_m\big(\Sigma_m+(\mu_m-\mu)(\mu_m-\mu)^\top\big)$.
# A search over means and Cholesky factors, with the divergences of `torch.distributions`, finds both:
# ::::

# %% tags=["hide-input", "remove-output"]
shapes = torch.randn(3, 2, 2, generator=generator)
matrices = shapes @ shapes.mT + 0.3 * torch.eye(2)
means = torch.randn(3, 2, generator=generator)
these = torch.distributions.MultivariateNormal(means, matrices)


def best_gaussian(reverse):
    """Minimise a summed divergence over a mean and a Cholesky factor with a free diagonal."""
    free = torch.zeros(5, requires_grad=True)
    search = torch.optim.LBFGS(
        [free],
        max_iter=300,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-12,
        tolerance_change=0.0,
    )

    def gaussian():
        factor = torch.diag_embed(free[2:4].exp()) + free[4] * torch.tensor(
            [[0.0, 0.0], [1.0, 0.0]]
        )
        return torch.distributions.MultivariateNormal(free[:2], scale_tril=factor)

    def closure():
        search.zero_grad()
        q = gaussian().expand((3,))
        sides = (q, these) if reverse else (these, q)
        loss = w[0] @ torch.distributions.kl_divergence(*sides)
        loss.backward()
        return loss

    search.step(closure)
    return gaussian().mean.detach(), gaussian().covariance_matrix.detach()


inverse = torch.linalg.inv(matrices)
pooled_matrix = torch.linalg.inv(torch.einsum("m,mij->ij", w[0], inverse))
pooled_mean = pooled_matrix @ torch.einsum("m,mij,mj->i", w[0], inverse, means)
centred = means - w[0] @ means
matched_matrix = torch.einsum("m,mij->ij", w[0], matrices + centred[:, :, None] * centred[:, None])
for reverse, expected in (
    (True, (pooled_mean, pooled_matrix)),
    (False, (w[0] @ means, matched_matrix)),
):
    found = best_gaussian(reverse)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    swapped = best_gaussian(not reverse)
    assert (swapped[1] - expected[1]).abs().max() > 0.1, "the direction matters"

# %% [markdown]
# ::::{exercise}
# :label: ex-bhattacharyya
# For two scalar Gaussian experts with equal weights, compute the minimum $-\log Z$ of {prf:ref}`lem-reverse-barycenter` in closed form.
# What does it say when the means agree and the scales do not?
# ::::
#
# ::::{solution} ex-bhattacharyya
# :class: dropdown
# $Z=\int\sqrt{q_1q_2}$ is a Gaussian integral,
#
# $$
# -\log Z=\frac{(\mu_1-\mu_2)^2}{4(\sigma_1^2+\sigma_2^2)}+\frac12\log\frac{\sigma_1^2+\sigma_2^2}{2\sigma_1\sigma_2} ,
# $$
#
# the Bhattacharyya distance of the two experts.
# With equal means the second term remains, which is positive unless the scales agree: experts can disagree about how sure they are.
# ::::

# %% tags=["hide-input", "remove-output"]
(m1, m2), (s1, s2) = loc[:2].flatten(), scale[:2].flatten()
two = torch.tensor([[0.5, 0.5, 0.0]])
pair_loc, pair_scale = barycenters.log_pool(loc, scale, two)
attained = (two @ kl_on_grid(log_on_grid(pair_loc[0], pair_scale[0])[0], experts))[0]
total = s1**2 + s2**2
distance = (m1 - m2) ** 2 / (4 * total) + 0.5 * (total / (2 * s1 * s2)).log()
torch.testing.assert_close(attained, distance)

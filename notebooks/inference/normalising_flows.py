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
# # Normalising flows
#
# A Gaussian posterior has one hump and axes, and the posterior of a latent given a single modality often has neither.
# A **normalising flow** bends space by an invertible map and lets a Gaussian sit on the far side {cite:p}`rezende2015`.
# Everything about it follows from one formula and one question of bookkeeping: whose Jacobian is cheap, and in which direction.
# We derive both, build four kinds of flow on zuko's blocks, and look at who can depend on whom, because a network that is too narrow silently answers "nobody".

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import math
from functools import partial

import matplotlib.pyplot as plt
import torch
from myst_nb import glue
from torch import nn
from torch.func import jacrev, vmap
from zuko.flows.autoregressive import MaskedAutoregressiveTransform

from multielbo import flow_kinds, flows, gaussians, plots
from multielbo.profiles import check_profile
from multielbo.publishing.show import show

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)
steps = {"quick": 250, "laptop": 1000, "full": 3000}[profile]
GAUSSIAN, COUPLING, MASKED, INVERSE, SPLINE = [
    "0.5",
    *map(plots.colour, ("mvae", "mopoe", "mmvae", "wb-vae")),
]

# %% [markdown]
# ## Change of variables
#
# ::::{prf:lemma} Density behind a flow
# :label: lem-change-of-variables
#
# Let $f:\R^D\to\R^D$ be a bijection, differentiable with an invertible Jacobian, and let $u=f(z)$ have the density $\N(u;\mu,\operatorname{diag}\sigma^2)$.
# Then $z$ has the density
#
# $$
# \log q(z)=\log\N\big(f(z);\mu,\operatorname{diag}\sigma^2\big)+\log\Big|\det\frac{\partial f}{\partial z}(z)\Big| .
# $$ (eq-flow-density)
# ::::
#
# :::{prf:proof}
# For a set $A$, $P(z\in A)=P(u\in f(A))=\int_{f(A)}\N(u)\,\mathrm du$.
# Substituting $u=f(z)$ turns the integral into $\int_A\N(f(z))\,\big|\det\tfrac{\partial f}{\partial z}\big|\,\mathrm dz$, for every $A$, so the integrand is the density of $z$.
# :::
#
# If $f=f_K\circ\dots\circ f_1$, the chain rule multiplies Jacobians, so the log-determinants of the blocks add.
# To draw, take $u$ from the Gaussian and return $z=f^{-1}(u)$.

# %% tags=["remove-input"]
show(flows.Flow.forward, flows.log_density, flows.sample)

# %% [markdown]
# We compare four kinds, with random weights so that they bend: a flow as it is made is the identity, and a posterior with a flow starts as the Gaussian without.
#
# **Check.** Autograd computes the whole Jacobian, and linear algebra its determinant, without knowing how the flow was built.

# %%
make = {
    "coupling": partial(flow_kinds.coupling, width=16),
    "masked": partial(flow_kinds.masked_autoregressive, width=16),
    "inverse": partial(flow_kinds.inverse_autoregressive, width=16),
    "spline": partial(flow_kinds.spline, width=16),
}


def bent(flow, spread=0.4):
    """Random weights in place of the identity."""
    source = torch.Generator().manual_seed(seed)
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=spread, generator=source)
    return flow


def jacobian(flow, z):
    return vmap(jacrev(lambda each: flow(each[None])[0][0]))(z)


z = torch.randn(8, 5, generator=generator)
for build in make.values():
    flow = bent(build(5))
    u, log_det = flow(z)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian(flow, z))[1])
    torch.testing.assert_close(flow.inverse(u), z)

# %% [markdown]
# The wrong twin flips the sign, as one does who writes down the determinant of the sampling map for a density.
# A density has to integrate to one, and on a grid we can see whether it does.

# %%
axis = torch.linspace(-9, 9, 181)
grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
cell = (axis[1] - axis[0]) ** 2
flow = bent(flow_kinds.masked_autoregressive(2, width=16), 0.2)
with torch.no_grad():
    u, log_det = flow(grid)
    on_the_base = gaussians.log_density(u, torch.zeros(2), torch.ones(2))
mass = (on_the_base + log_det).exp().sum() * cell
twin_mass = (on_the_base - log_det).exp().sum() * cell
assert math.isclose(mass, 1.0, abs_tol=1e-3)
assert abs(twin_mass - 1) > 0.05, "the determinant of the wrong direction"

# %% [markdown]
# ## Triangular maps
#
# The determinant of a general $D\times D$ matrix costs of the order of $D^3$ operations, that of a triangular one $D$.
# A **masked autoregressive flow** {cite:p}`papamakarios2017` makes the Jacobian triangular by construction:
#
# $$
# u_i=e^{a_i}z_i+b_i,\qquad (a_i,b_i)\ \text{a function of}\ z_1,\dots,z_{i-1}\ \text{alone},
# \qquad \log\Big|\det\frac{\partial u}{\partial z}\Big|=\sum_i a_i .
# $$ (eq-maf)
#
# One network with masked weights gives all $a_i$ and $b_i$ at once.
# Every other block takes the latents in reverse order, so that the first latent gets to depend on others, too.
#
# - An **inverse** autoregressive flow {cite:p}`kingma2016` has the same blocks and runs them the other way: $z_i=e^{a_i}u_i+b_i$ with functions of $u_1,\dots,u_{i-1}$.
# - A **coupling** flow {cite:p}`dinh2017` moves one half of the latents by functions of the other half, and then the other way round.
# - A **spline** flow {cite:p}`durkan2019` keeps the order of dependence and replaces the straight line in $z_i$ by a monotone curve.

# %% tags=["remove-input"]
show(flow_kinds.masked_autoregressive, flow_kinds._masked_blocks)

# %%
one_block = {
    "masked, one block": bent(flow_kinds.masked_autoregressive(8, width=16, blocks=1)),
    "masked, two": bent(flow_kinds.masked_autoregressive(8, width=16)),
    "coupling, one block": bent(flow_kinds.coupling(8, width=16, blocks=1)),
    "coupling, two": bent(flow_kinds.coupling(8, width=16, blocks=2)),
}
z = torch.randn(32, 8, generator=generator)
entries = {name: jacobian(flow, z).abs().mean(0) for name, flow in one_block.items()}
assert (entries["masked, one block"].triu(1) == 0).all()
assert (entries["masked, two"] > 0).all()
slopes = jacobian(one_block["masked, one block"], z).diagonal(dim1=1, dim2=2)
torch.testing.assert_close(one_block["masked, one block"](z)[1], slopes.log().sum(1))

# %% tags=["remove-input"] mystnb={"image": {"alt": "Four square patterns of the Jacobian: lower triangular for one masked block, full for two, a diagonal with every other row filled in every other column for one coupling block, and more of it for two."}}
fig, axes = plt.subplots(1, 4, figsize=(7.6, 2.3))
for ax, (name, matrix) in zip(axes, entries.items(), strict=True):
    ax.imshow(matrix > 0, cmap="Greys", vmin=0, vmax=1.4)
    ax.set(xticks=[], yticks=[], xlabel="$z_j$")
    ax.set_title(name, loc="center", fontsize=10, weight="normal")
axes[0].set_ylabel("$u_i$")
fig.suptitle("Which latent moves which", weight="bold", fontsize=12, x=0.01, ha="left")
plt.show()

# %% [markdown]
# ## Which direction is cheap
#
# ::::{prf:lemma} Solving takes a pass for every latent
# :label: lem-passes
#
# Let $u$ be given and $T$ map $x$ to the $z$ that solves {eq}`eq-maf` for $z$ with $a_i,b_i$ evaluated at $x$.
# Started anywhere, the iteration $x\leftarrow T(x)$ has its first $k$ coordinates right after $k$ passes, and all of them after $D$.
# If a pass changes nothing, no later pass does, and the solution is reached.
# ::::
#
# :::{prf:proof}
# $z_1$ depends on no other coordinate, so one pass makes it right and none spoils it.
# If the first $k$ coordinates are right, the next pass evaluates $a_{k+1},b_{k+1}$ where they should be.
# If $T(x)=x$ then $T(T(x))=x$ and so on, and $T^D(x)$ is the solution.
# :::
#
# So a masked flow gives the density of a given $z$ in one pass through its networks and draws in $D$; an inverse flow draws in one and needs $D$ for the density of a $z$ that somebody else drew.
# A coupling flow needs one pass either way, and pays with latents that stay where they are in every block.
# **Check.** We count.

# %% tags=["remove-input"]
show(flows._solve)


# %%
def passes(flow, run):
    """How often the flow's networks are asked."""
    asked = []
    hooks = [b.hyper.register_forward_hook(lambda *_: asked.append(1)) for b in flow.blocks]
    run()
    for hook in hooks:
        hook.remove()
    return len(asked)


latents = 24
z = torch.randn(64, latents, generator=generator, requires_grad=True)  # so that no pass is skipped
cost = {}
for name, build in make.items():
    flow = bent(build(latents, width=latents) if name != "coupling" else build(latents, blocks=2))
    cost[name] = passes(flow, partial(flow, z)), passes(flow, partial(flow.inverse, z))
blocks = 2
assert cost["masked"] == (blocks, blocks * latents) == cost["spline"]
assert cost["inverse"] == (blocks * latents + blocks, blocks)
assert cost["coupling"] == (blocks, blocks)

# %% [markdown]
# The last sentence of the lemma is worth money: drawing needs no gradient, and a flow that is near the identity settles long before its $D$-th pass.
# Stopping then is not an approximation; the bits are the same.
# Stopping at an arbitrary pass is the wrong twin.

# %%
flow = bent(flow_kinds.masked_autoregressive(latents, width=latents), 0.12)
with torch.no_grad():
    u = torch.randn(64, latents, generator=generator)
    needed = passes(flow, partial(flow.inverse, u))
    early = flow.inverse(u)
assert torch.equal(early, flow.inverse(u.clone().requires_grad_()).detach())
assert needed < blocks * latents

step = bent(flow_kinds.masked_autoregressive(latents, width=48, blocks=1), 0.3).blocks[0](None)
with torch.no_grad():
    x, errors = torch.zeros_like(u), []
    for _ in range(latents):
        x = step.meta(x).inv(u)
        errors.append((step(x) - u).abs().amax(0))
right_after = torch.stack(errors)  # (passes, D)
for k in range(latents):
    assert (right_after[k, : k + 1] < 1e-8).all()
assert right_after[2].max() > 1e-2, "three passes are not enough here"

# %% tags=["remove-cell"]
for name, (density, drawing) in cost.items():
    glue(f"density_{name}", f"{density}", display=False)
    glue(f"drawing_{name}", f"{drawing}", display=False)
glue("latents", f"{latents}", display=False)
glue("needed", f"{needed}", display=False)
glue("all_passes", f"{blocks * latents}", display=False)

# %% [markdown]
# Passes through the networks of two blocks with {glue:text}`latents` latents:
#
# | flow | density of a given $z$ | drawing |
# |---|---|---|
# | coupling | {glue:text}`density_coupling` | {glue:text}`drawing_coupling` |
# | masked | {glue:text}`density_masked` | {glue:text}`drawing_masked` |
# | inverse | {glue:text}`density_inverse` | {glue:text}`drawing_inverse` |
# | spline | {glue:text}`density_spline` | {glue:text}`drawing_spline` |
#
# The inverse flow's density takes one more pass in each block, for the determinant.
# A masked flow with smaller weights drew in {glue:text}`needed` passes instead of {glue:text}`all_passes`, bit for bit the same.
#
# JNF fits its posteriors to draws of *another* distribution, and samples subsets by following gradients of a density.
# Both ask for the density at points that the flow did not draw, a thousand times for each draw, so JNF takes masked flows; an inverse flow would pay the $D$ passes at every step.

# %% [markdown]
# ## Width: who is listened to
#
# Masking gives each hidden unit a **degree** $k$: it reads the latents up to number $k$, and only outputs after $k$ read it.
#
# ::::{prf:lemma} A narrow network is deaf to the last latents
# :label: lem-width
#
# If the hidden units of one layer have $H<D-1$ different degrees, and these are the $H$ smallest, no output of the block depends on a latent beyond the $H$-th except on its own.
# Two blocks, the second in reverse order, then let at most $2H$ latents influence any other.
# ::::
#
# :::{prf:proof}
# Every path from $z_j$ to $a_i$ or $b_i$ passes a unit of that layer with a degree of at least $j$, and there is none for $j>H$.
# The first block therefore conditions on the first $H$ latents, the second on the last $H$ of what comes out of the first, and what comes out there at place $j$ carries $z_j$ and, of the others, again only the first $H$.
# :::
#
# The default flow of the released code has 128 units in each hidden layer, with degrees counted upward from the smallest {cite:p}`senellart2025multivae`, and the PolyMNIST models have 512 latents.
# **Check.** We rebuild those dimensions with zuko, past the guard of our constructor, and count in the Jacobian.
# All weights are positive here, so that no unit is switched off by accident and an entry is zero only where a path is missing.


# %%
def conditioners(flow, latent_dim):
    """Which latents have a say in what happens to which others."""
    for parameter in flow.parameters():
        nn.init.constant_(parameter, 1e-2)
    point = torch.ones(1, latent_dim)
    others = (jacobian(flow, point)[0] != 0) & ~torch.eye(latent_dim, dtype=torch.bool)
    return others


def unguarded(latent_dim, width):
    up = torch.arange(latent_dim)
    pair = [
        MaskedAutoregressiveTransform(latent_dim, order=order, hidden_features=[width] * 3)
        for order in (up, up.flip(0))
    ]
    return flows.Flow(pair, latent_dim)


size, width = 512, 128
released = conditioners(unguarded(size, width), size)
wide = conditioners(flow_kinds.masked_autoregressive(size, width=size), size)
grouped = conditioners(flow_kinds.masked_autoregressive(size, width=width, groups=width), size)
heard = {
    name: int(m.any(0).sum())
    for name, m in {"released": released, "wide": wide, "grouped": grouped}.items()
}
assert heard["released"] == 2 * width
assert heard["wide"] == heard["grouped"] == size

# %% tags=["remove-cell"]
for name, count in heard.items():
    glue(f"heard_{name}", f"{count}", display=False)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Three square patterns of 512 by 512: with 128 units the middle half of the columns is empty, with 512 units everything is filled, and with 128 units for 128 groups everything is filled as well."}}
fig, axes = plt.subplots(1, 3, figsize=(7.6, 2.9))
titles = ["128 units", "512 units", "128 units for 128 groups"]
for ax, title, matrix in zip(axes, titles, (released, wide, grouped), strict=True):
    ax.imshow(matrix, cmap="Greys", vmin=0, vmax=1.4, interpolation="antialiased")
    ax.set(xticks=[0, 255, 511], yticks=[], xlabel="$z_j$ that is read")
    ax.set_title(title, loc="center", fontsize=10, weight="normal")
axes[0].set_ylabel("$u_i$ that moves")
fig.suptitle(
    "Too narrow a network never reads half of the latents",
    weight="bold",
    fontsize=12,
    x=0.01,
    ha="left",
)
plt.show()

# %% [markdown]
# Of 512 latents, {glue:text}`heard_released` condition another one in the narrow flow, {glue:text}`heard_wide` in one as wide as the latent space.
# The others are scaled and shifted like the rest, by functions of the first and last quarter, and nothing ever reads them: between two of them the posterior is independent, given those that are read.
# There is a second remedy that costs no units: split the latents into as many **groups** as there are units and condition on whole groups, which reaches {glue:text}`heard_grouped` and draws in as many passes as there are groups.
# Our constructors refuse what the lemma describes.

# %%
refused = ""
try:
    flow_kinds.masked_autoregressive(size, width=width)
except ValueError as error:
    refused = str(error)
assert "width of at least 512" in refused

# %% tags=["remove-input"]
print(refused)

# %% [markdown]
# ## What each can bend
#
# A density that is awkward on purpose: a ring with a gap, of which we know the log-density up to a constant that we integrate.
# Each flow is fitted to draws by maximum likelihood for a few seconds; how many nats it misses is an average of $\log p-\log q$ over fresh draws.


# %%
def log_ring(z):
    radius, angle = z.norm(dim=-1), torch.atan2(z[..., 1], z[..., 0])
    return -0.5 * ((radius - 2.2) / 0.25) ** 2 - 3.0 * torch.sigmoid(-8 * (angle.abs() - 0.6))


log_total = (log_ring(grid).exp().sum() * cell).log()
weights = log_ring(grid).exp().flatten()


def draw_ring(count):
    """From the grid's cells, with uniform noise inside each."""
    rows = torch.multinomial(weights, count, replacement=True, generator=generator)
    noise = (torch.rand(count, 2, generator=generator) - 0.5) * (axis[1] - axis[0])
    return grid.reshape(-1, 2)[rows] + noise


fresh = draw_ring(4000)
missed, fitted = {}, {}
moments = fresh.mean(0), fresh.std(0)
own = log_ring(fresh) - log_total
missed["Gaussian"] = (own - gaussians.log_density(fresh, *moments)).mean().item()
flexible = {
    "coupling": flow_kinds.coupling(2, width=32, blocks=6),
    "masked": flow_kinds.masked_autoregressive(2, width=32, blocks=6, hidden_layers=2),
    "spline": flow_kinds.spline(2, width=32, blocks=3, hidden_layers=2),
}
for name, flow in flexible.items():
    source = torch.Generator().manual_seed(seed)
    for layer in flow.modules():
        if isinstance(layer, nn.Linear) and layer.weight.any():
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=source)
    optimizer = torch.optim.Adam(flow.parameters(), 5e-3)
    for _ in range(steps):
        batch = draw_ring(256)
        loss = -flows.log_density(flow, batch, *moments).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        fitted[name] = flows.log_density(flow, grid, *moments).exp()
        missed[name] = (own - flows.log_density(flow, fresh, *moments)).mean().item()
assert all(value < missed["Gaussian"] - 0.1 for name, value in missed.items() if name in fitted)
assert all(value > -0.05 for value in missed.values()), "a divergence is not negative"
assert missed["spline"] < missed["masked"]

# %% tags=["remove-cell"]
for name, value in missed.items():
    glue(f"missed_{name}", f"{value:.2f}", display=False)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Five contour plots: a ring with a gap on the right; a Gaussian disc that covers ring and hole; a coupling flow that follows the ring with a stray tail; a masked flow and a spline flow that follow it closely."}}
fig, axes = plt.subplots(1, 5, figsize=(7.8, 1.9), sharex=True, sharey=True)
panels = {"target": (log_ring(grid) - log_total).exp()}
panels["Gaussian"] = gaussians.log_density(grid, *moments).exp()
panels |= fitted
for ax, (name, height) in zip(axes, panels.items(), strict=True):
    ax.contourf(
        axis, axis, height, levels=torch.linspace(0.01, 0.16, 9), cmap="Greens", extend="max"
    )
    ax.set(xlim=(-3.6, 3.6), ylim=(-3.6, 3.6), aspect="equal", xticks=[], yticks=[])
    ax.set_title(name, loc="center", fontsize=10, weight="normal")
fig.suptitle(
    "What each kind of flow makes of a ring with a gap",
    weight="bold",
    fontsize=12,
    x=0.01,
    ha="left",
)
plt.show()

# %% [markdown]
# In nats the Gaussian misses {glue:text}`missed_Gaussian`, the coupling flow {glue:text}`missed_coupling`, the masked flow {glue:text}`missed_masked` and the spline flow {glue:text}`missed_spline`, after {glue:text}`ring_steps` steps each.
# A flow is continuous and so is its inverse, so it can bend a disc into a ring with a gap, and not into a closed ring or into two islands: there a bridge of small density would remain.

# %% tags=["remove-cell"]
glue("ring_steps", f"{steps}", display=False)

# %% [markdown]
# ## Where the observation enters
#
# A posterior $q(z\mid x_m)$ needs a map from $x_m$, and there are two places for it.
# JNF puts it into the base: the encoder gives $\mu(x_m)$ and $\sigma(x_m)$, and the flow $f_m$ is the same for every $x_m$ {cite:p}`senellart2025`.
# Or the networks of the flow read features of $x_m$ as well, and the map itself depends on it; every constructor here takes their number as `context_dim`.
# The first is cheap and shares what it learns about the shape of posteriors; but a flow that has to serve all $x_m$ bends one place of latent space one way, whoever asks.

# %%
z = torch.randn(1, 3, generator=generator).expand(2, 3)
features = torch.tensor([[0.0, 0.0], [2.0, -1.0]])
with_features = bent(flow_kinds.masked_autoregressive(3, width=8, context_dim=2))
first, second = with_features(z, features)[0]
assert (first - second).abs().max() > 0.01

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-flow-entropy
# Show that the entropy of $q$ is $\mathrm H(q)=\mathrm H(\N)-\E_q\log|\det\partial f/\partial z|$, and say what sign the last term has where $f$ spreads its inputs apart.
# ::::
#
# ::::{solution} ex-flow-entropy
# :class: dropdown
# Take minus the expectation of {eq}`eq-flow-density`; $f(z)$ has the law of the base, so the first term is the base's entropy.
# Where $f$ spreads points apart the determinant exceeds one: $z$ lives in a tighter place than $u$, and its entropy is smaller.
# ::::

# %% tags=["hide-input", "remove-output"]
flow = bent(flow_kinds.masked_autoregressive(2, width=16), 0.2)
with torch.no_grad():
    z = flows.sample(flow, torch.zeros(40_000, 2), torch.ones(40_000, 2), generator)
    surprise = -flows.log_density(flow, z, torch.zeros(2), torch.ones(2))
    log_density = flows.log_density(flow, grid, torch.zeros(2), torch.ones(2))
    on_grid = -(log_density.exp() * log_density).sum() * cell
    by_formula = gaussians.entropy(torch.ones(2)) - flow(z)[1].mean()
error = surprise.std() / len(z) ** 0.5
assert abs(by_formula - on_grid) < 5 * error + 1e-3

# %% [markdown]
# ::::{exercise}
# :label: ex-affine-conditional
# One masked block with a Gaussian base: what distribution is $z_i$ given $z_1,\dots,z_{i-1}$?
# Conclude that one block cannot have two modes in its last latent given the others, and that one spline block can.
# ::::
#
# ::::{solution} ex-affine-conditional
# :class: dropdown
# Given the latents before it, {eq}`eq-maf` makes $z_i=e^{-a_i}(u_i-b_i)$ an affine function of a Gaussian $u_i$: the conditional is Gaussian, with one mode.
# A spline maps $z_i$ by any monotone curve, and a curve that is flat between two steep pieces has two modes:
# ::::

# %% tags=["hide-input", "remove-output"]
steep = torch.tensor([-3.0, -3.0, 2.0, -3.0, -3.0, 2.0, -3.0, -3.0])
curve = flow_kinds.spline(1, width=1, blocks=1)
parameters = list(curve.parameters())
with torch.no_grad():
    for parameter in parameters:
        parameter.zero_()
    parameters[1].copy_(steep.reshape(parameters[1].shape))
line = torch.linspace(-4.5, 4.5, 2001)[:, None]
with torch.no_grad():
    height = flows.log_density(curve, line, torch.zeros(1), torch.ones(1)).exp()
peaks = (height[1:-1] > height[:-2]) & (height[1:-1] > height[2:])
assert peaks.sum() >= 2

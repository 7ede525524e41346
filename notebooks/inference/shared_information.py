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
# # Shared information
#
# From a picture of a digit one may want a sound that says the same digit, and not care about the picture's background.
# JNF-Shared {cite:p}`senellart2025` puts a **projector** $g_m$ before the posterior of each modality, $q(z\mid g_m(x_m))$, trained beforehand to keep what the modalities have in common.
# Two ways to train one are derived here, correlation and contrast, each with a number that says how much is kept.
# Then we count, in nats, what is lost on purpose: exactly on the oracle, and on circles and squares.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import math
import tempfile
from functools import partial
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import zuko
from myst_nb import glue
from sklearn.cross_decomposition import CCA

from multielbo import contrastive, dcca, gaussians, plots
from multielbo.data.shapes import MODALITIES, circles_and_squares, factors
from multielbo.models.jnf_shared import jnf_shared, jnf_shared_stages
from multielbo.networks import mlp_decoder, mlp_encoder, seeded
from multielbo.oracle import LinearGaussian
from multielbo.oracle_projections import (
    canonical_projections,
    information,
    lost_information,
    posterior_covariance,
    posterior_given,
)
from multielbo.profiles import check_profile
from multielbo.projectors import (
    ContrastiveFit,
    CorrelationFit,
    ProjectedEncoder,
    Projector,
    shared_head,
)
from multielbo.publishing.show import show
from multielbo.quadrature import Plane
from multielbo.setups.setup import Modality, Setup
from multielbo.stages import train_stage
from multielbo.toy import LIKELIHOOD, GivenOne, fit, fit_given_one, fit_joint
from multielbo.train_config import TrainConfig

check_profile(profile)
plots.use_style()
generator = torch.Generator().manual_seed(seed)
batches = {"quick": 400, "laptop": 4000, "full": 4000}[profile]
size = {"quick": 16, "laptop": 32, "full": 32}[profile]
steps = {
    "joint": {"quick": 1000, "laptop": 4000, "full": 10_000}[profile],
    "projections": {"quick": 250, "laptop": 2000, "full": 4000}[profile],
    "posteriors": {"quick": 400, "laptop": 3000, "full": 6000}[profile],
}
PICTURE, CORRELATED, CONTRASTED = map(plots.colour, ("mvae", "mopoe", "mmvae"))

# %% [markdown]
# ## Canonical correlations
#
# Take two random vectors $x$ and $y$ with invertible covariances $\Sigma_{xx}$, $\Sigma_{yy}$ and cross-covariance $\Sigma_{xy}$.
# The first **canonical correlation** {cite:p}`hotelling1936` is the largest that a number $a^\top x$ can have with a number $b^\top y$; each later one is the largest among pairs of numbers that are uncorrelated with all pairs before.
# With Cholesky factors $\Sigma_{xx}=L_xL_x^\top$ and $\Sigma_{yy}=L_yL_y^\top$ let
#
# $$
# T=L_x^{-1}\,\Sigma_{xy}\,L_y^{-\top} ,
# $$ (eq-whitened-cross)
#
# the cross-covariance of the two vectors after whitening.
#
# ::::{prf:lemma} Canonical correlations are singular values
# :label: lem-canonical
#
# The canonical correlations are the singular values
#
# $$
# \rho_1\ge\rho_2\ge\dots\ge0\quad\text{of}\quad T=P\operatorname{diag}(\rho)\,Q^\top ,
# $$ (eq-canonical)
#
# and the pairs of numbers are $P^\top L_x^{-1}x$ and $Q^\top L_y^{-1}y$.
# Any other root of the covariances, such as the symmetric one, gives the same values, and so does any invertible affine change of $x$ or of $y$.
# ::::
#
# :::{prf:proof}
# Put $\alpha=L_x^\top a$ and $\beta=L_y^\top b$.
# Then $\operatorname{Var}a^\top x=\|\alpha\|^2$, so the correlation is $\alpha^\top T\beta/(\|\alpha\|\,\|\beta\|)$, and to be uncorrelated is to be orthogonal.
# With $T=\sum_k\rho_k\,p_kq_k^\top$ and vectors of length one, $\alpha^\top T\beta=\sum_k\rho_k(p_k^\top\alpha)(q_k^\top\beta)\le\rho_1$ by Cauchy and Schwarz, reached at $\alpha=p_1$, $\beta=q_1$; among vectors orthogonal to these the sum begins at $\rho_2$, and so on.
# So $a=L_x^{-\top}p_k$ and $b=L_y^{-\top}q_k$.
# Another root of $\Sigma_{xx}$ is $L_xO$ with $O$ orthogonal, and turns $T$ into $O^\top T$; an invertible map of $x$ is one more way to change the root.
# :::

# %% tags=["remove-input"]
show(dcca.whitened_cross, dcca.canonical_correlations)

# %% [markdown]
# **Check.** The library scikit-learn finds the pairs by an iteration, without any matrix root.
# The twin forgets to whiten the second vector.

# %%
z = torch.randn(80, 2, generator=generator, dtype=torch.float64)
x, y = (
    z @ torch.randn(2, d, generator=generator, dtype=torch.float64)
    + torch.randn(80, d, generator=generator, dtype=torch.float64)
    for d in (4, 3)
)
rho = dcca.canonical_correlations(x, y)
iterated = CCA(n_components=3, scale=False, max_iter=5000, tol=1e-12).fit(x.numpy(), y.numpy())
found = zip(*(v.T for v in iterated.transform(x.numpy(), y.numpy())), strict=True)
expected = torch.tensor([np.corrcoef(*pair)[0, 1] for pair in found])
torch.testing.assert_close(rho, expected, atol=1e-6, rtol=0)

first, cross, second = dcca.covariances(x, y)
twin = torch.linalg.svdvals(
    torch.linalg.solve_triangular(torch.linalg.cholesky(first), cross, upper=False)
)
assert (twin - rho).abs().max() > 0.1
change = torch.randn(4, 4, generator=generator, dtype=torch.float64)
torch.testing.assert_close(dcca.canonical_correlations(x @ change - 1, y), rho)

# %% [markdown]
# ## The best linear projectors
#
# What remains of the correlations if each vector is first mapped to $K$ numbers?
#
# ::::{prf:lemma} No projection correlates more
# :label: lem-projected-correlations
#
# Let $\rho_k$ be the canonical correlations of $x$ and $y$, and $\rho_k'$ those of $Ax$ and $By$, for matrices of full rank with $K$ rows.
# Then $\rho_k'\le\rho_k$ for all $k\le K$, with equality for all $k$ if the rows are the first $K$ canonical pairs.
# So these maximise $\sum_{k\le K}f(\rho_k')$ for every increasing $f$.
# ::::
#
# :::{prf:proof}
# By {prf:ref}`lem-canonical` we may take $A=P'^\top L_x^{-1}$ and $B=Q'^\top L_y^{-1}$ with orthonormal columns in $P'$ and $Q'$: any other $A$ is an invertible map of such a one.
# The whitened cross-covariance of the projections is $P'^\top TQ'$, and multiplying by matrices of norm one increases no singular value.
# :::
#
# ::::{prf:lemma} The information of Gaussians
# :label: lem-canonical-information
#
# If $x$ and $y$ are jointly Gaussian, their mutual information is
#
# $$
# I(x;y)=-\tfrac12\sum_k\log(1-\rho_k^2)=-\tfrac12\log\det\big(I-TT^\top\big).
# $$ (eq-cca-information)
# ::::
#
# :::{prf:proof}
# $I=\frac12\log\frac{\det\Sigma_{xx}\det\Sigma_{yy}}{\det\Sigma}$, and whitening both blocks of $\Sigma$ leaves $\det\begin{pmatrix}I&T\\T^\top&I\end{pmatrix}=\det(I-TT^\top)$.
# :::
#
# The canonical pairs are independent of one another, so the first $K$ keep the first $K$ terms, and no $K$ other linear functions of each vector keep more.
# For vectors that are not Gaussian the sum is what a Gaussian with the same covariances would have; two vectors can depend on each other and have no correlation at all, and for this one wants projectors that are not linear.

# %% tags=["remove-input"]
show(dcca.correlation_sum, dcca.correlation_squares, dcca.gaussian_information)

# %% [markdown]
# **Check.** On the oracle all covariances are known.
# Its modalities share two latents, and each has one for itself: columns of zeros in the loadings.
# The information is compared with determinants, and random projections with the best.

# %%
NOISE = 2.0
oracle = LinearGaussian.random({"a": 5, "b": 4}, 4, NOISE, orthogonal=False, generator=generator)
SHARED, PRIVATE = [0, 1], {"a": [2], "b": [3]}
oracle.loadings["a"][:, PRIVATE["b"]] = 0.0
oracle.loadings["b"][:, PRIVATE["a"]] = 0.0
best, correlations = canonical_projections(oracle, "a", "b", 2)
assert correlations[2:].max() < 1e-12, "two shared latents, two correlations"
assert correlations[1] > 0.1

w = torch.cat([oracle.loadings["a"], oracle.loadings["b"]])
whole = w @ w.T + NOISE**2 * torch.eye(9).double()
blocks = whole[:5, :5], whole[:5, 5:], whole[5:, 5:]
by_determinants = 0.5 * (blocks[0].logdet() + blocks[2].logdet() - whole.logdet())
torch.testing.assert_close(dcca.gaussian_information(dcca.whitened_cross(*blocks)), by_determinants)


def correlations_of(a, b):
    return torch.linalg.svdvals(
        dcca.whitened_cross(a @ blocks[0] @ a.T, a @ blocks[1] @ b.T, b @ blocks[2] @ b.T)
    )


torch.testing.assert_close(correlations_of(best["a"], best["b"]), correlations[:2])
for _ in range(100):
    arbitrary = [torch.randn(2, d, generator=generator).double() for d in (5, 4)]
    assert (correlations_of(*arbitrary) <= correlations[:2] + 1e-12).all()

# %% [markdown]
# ## Deep canonical correlations
#
# DCCA {cite:p}`andrew2013` puts networks in the place of linear maps, and maximises the correlations of their outputs over a batch.
# With $M$ modalities the released code sums over all pairs:
#
# $$
# \sum_{i<j}\ \sum_{k=1}^K f\Big(\rho_k\big(g_i(x_i),\,g_j(x_j)\big)\Big),\qquad f(\rho)=\rho .
# $$ (eq-dcca)

# %% tags=["remove-input"]
show(dcca.over_pairs, CorrelationFit.bound)

# %% [markdown]
# By {prf:ref}`lem-projected-correlations` any increasing $f$ has the same best linear projectors.
# What differs is how, and how safely, one gets there:
#
# $$
# \sum_k\rho_k^2=\|T\|_F^2=\operatorname{tr}\big(\Sigma_{xx}^{-1}\Sigma_{xy}\Sigma_{yy}^{-1}\Sigma_{yx}\big)
# $$ (eq-cca-trace)
#
# and $-\frac12\sum_k\log(1-\rho_k^2)$ need no eigenvalue at all.
#
# ::::{prf:lemma} The gradient
# :label: lem-dcca-gradient
#
# Let $f$ be even and have a continuous derivative.
# Then $\dfrac{\partial}{\partial T}\sum_kf(\rho_k)=P\operatorname{diag}\big(f'(\rho)\big)\,Q^\top$.
# For $f(\rho)=\rho$, whose even continuation $|\rho|$ has a kink at zero, it holds where no $\rho_k$ is zero.
# ::::
#
# :::{prf:proof}
# Let $\rho_k=p_k^\top Tq_k$ be simple.
# To first order $\mathrm d\rho_k=p_k^\top\,\mathrm dT\,q_k$, because $p_k$ and $q_k$ have constant length, so that $\mathrm dp_k\perp p_k$ and $p_k^\top T\,\mathrm dq_k=\rho_k\,q_k^\top\mathrm dq_k=0$.
# Sum with weights $f'(\rho_k)$.
# Where values coincide, the right-hand side does not depend on the choice of their vectors, and is the limit from nearby.
# :::
#
# No difference of singular values stands in a denominator; nor does one in the steps before, as Cholesky factors and triangular solves divide by diagonal entries alone.
# Where a $\rho_k$ is zero, the formula still gives a finite subgradient, and that is what the code takes.
# The weights are $1$ for the sum, $2\rho$ for the squares and $\rho/(1-\rho^2)$ for the information: the sum pulls at a correlation of noise as hard as at a real one, the squares leave the weak ones alone, and the information hurries to perfect the strong ones.
#
# **Check.** The lemma against automatic differentiation, and the chain down to the projections against finite differences.
# The twins are the ways that the gradient is usually lost.
# *(i)* The vectors of an eigen-decomposition of $\Sigma$ move by $\mathrm dv_i=\sum_{j\ne i}\frac{v_j^\top\mathrm d\Sigma\,v_i}{\lambda_i-\lambda_j}\,v_j$, and have no derivative at equal eigenvalues, as a white batch has; the symmetric root that is built from them has one, but automatic differentiation goes through the vectors.
# *(ii)* A root has none at zero, so a sum of roots of eigenvalues of $T^\top T$ fails where a correlation vanishes.
# *(iii)* The released code's option for "all singular values", of which a comment says that it tends to NaN, takes the root of $T^\top T$ entry by entry: where an entry beside the diagonal is negative, its root is no number and spoils the gradient, and even where it is one, the diagonal holds lengths of columns and not singular values.

# %%
whitened = dcca.whitened_cross(first, cross, second).requires_grad_()
left, values, right = torch.linalg.svd(whitened.detach(), full_matrices=False)
slopes = {
    "sum": torch.ones(3).double(),
    "squares": 2 * values,
    "information": values / (1 - values**2),
}
for name, objective in dcca.OBJECTIVES.items():
    (gradient,) = torch.autograd.grad(objective(whitened), whitened)
    torch.testing.assert_close(gradient, left * slopes[name] @ right)
    small = [v[:16].clone().requires_grad_() for v in (x, y)]
    assert torch.autograd.gradcheck(lambda u, v, f=objective: dcca.over_pairs([u, v], f), small)

white = torch.eye(2).double().requires_grad_()
eigenvalues, vectors = torch.linalg.eigh(white)
symmetric_root = vectors * eigenvalues**-0.5 @ vectors.T
loss = (symmetric_root @ cross[:2]).square().sum()
assert torch.autograd.grad(loss, white)[0].isnan().any(), "(i)"
loss = dcca.correlation_squares(dcca.whitened_cross(white, cross[:2], second))
assert torch.autograd.grad(loss, white)[0].isfinite().all()

flat = torch.diag(torch.tensor([0.5, 0.0]).double()).requires_grad_()
roots = torch.linalg.eigvalsh(flat.T @ flat).clamp_min(0).sqrt().sum()
assert not torch.autograd.grad(roots, flat)[0].isfinite().all(), "(ii)"
assert torch.autograd.grad(dcca.correlation_sum(flat), flat)[0].isfinite().all()

turned = torch.tensor([[0.6, -0.5], [0.2, 0.3]]).double().requires_grad_()
entrywise = (turned.T @ turned).sqrt().trace()
assert torch.autograd.grad(entrywise, turned)[0].isnan().any(), "(iii)"
assert entrywise > dcca.correlation_sum(turned) + 0.01

# %% [markdown]
# The default of the released code adds $r=10^{-3}$ to the diagonal of both covariances and to that of $T^\top T$, and floors what is left.
# That keeps roots away from zero, and has two side effects.
# Every vanished correlation counts as $\sqrt r$.
# And the objective grows with the mere size of the projections, because the larger they are, the less $r$ weighs.
# Here the ridge is a share of the mean variance, so that scale does not matter, and nothing is added to $T$.

# %%


def released(u, v, r=1e-3):
    """The default of the released code, in our notation."""
    own = [torch.cov(part.T) + r * torch.eye(part.shape[1]).double() for part in (u, v)]
    between = dcca.covariances(u, v)[1]
    inner = dcca.whitened_cross(own[0], between, own[1])
    return (torch.linalg.eigvalsh(inner.T @ inner) + r).clamp_min(1e-9).sqrt().sum()


def ours(u, v):
    return dcca.over_pairs([u, v], dcca.correlation_sum).sum()


scales = [0.1, 0.3, 1.0, 3.0]
grown = [released(0.1 * s * x, 0.1 * s * y).item() for s in scales]
assert all(later > earlier + 1e-4 for earlier, later in pairwise(grown))
torch.testing.assert_close(ours(0.1 * x, 0.1 * y), ours(x, y))
apart = torch.linalg.qr(torch.cat([torch.ones(80, 1).double(), x, y], 1)).Q[:, 1:]
nothing = released(80 * apart[:, :4], 80 * apart[:, 4:])
assert math.isclose(nothing, 3 * 1e-3**0.5, rel_tol=1e-6)
assert dcca.canonical_correlations(apart[:, :4], apart[:, 4:]).max() < 1e-12

# %% tags=["remove-cell"]
glue("grown_from", f"{grown[0]:.2f}", display=False)
glue("grown_to", f"{grown[-1]:.2f}", display=False)
glue("nothing", f"{nothing:.3f}", display=False)

# %% [markdown]
# The same data, in two scales, have the released objectives {glue:text}`grown_from` and {glue:text}`grown_to`; two sets of numbers without any correlation have {glue:text}`nothing`.
#
# ## Why the batch has to be large
#
# A correlation over a batch flatters: $K$ numbers can be bent to fit any other $J$ numbers a little.
#
# ::::{prf:lemma} Correlations that are forced
# :label: lem-forced
#
# If $B\le K+J$, then in every batch of $B$ examples, of any two variables of $K$ and $J$ dimensions whose batch covariances have full rank, at least $K+J-B+1$ canonical correlations are equal to one.
# ::::
#
# :::{prf:proof}
# After centring, the columns of the two batches span subspaces of dimensions $K$ and $J$ in the space of dimension $B-1$ that is orthogonal to the ones.
# They share at least $K+J-(B-1)$ dimensions, and a vector in both is a linear function of either batch.
# :::
#
# ::::{prf:lemma} Correlations of unrelated views
# :label: lem-null-correlations
#
# Let $u$ be Gaussian with $K$ dimensions, and $v$ of $J$ dimensions and independent of it, of any law whose batch covariance has full rank.
# In a batch of $B>K+J$ examples the canonical correlations have
#
# $$
# \E\sum_k\hat\rho_k^2=\frac{KJ}{B-1} .
# $$
# ::::
#
# :::{prf:proof}
# $\sum_k\hat\rho_k^2=\operatorname{tr}(\Pi_u\Pi_v)$, with the projections $\Pi_u$, $\Pi_v$ onto the two subspaces of the last proof.
# That of the Gaussian one, whitened, is spanned by $K$ vectors whose law no rotation changes, so $\E\,\Pi_u=\frac K{B-1}I$ in that space, and $\operatorname{tr}\Pi_v=J$.
# :::
#
# So with $J=K$ the $K$ correlations of nothing have the mean square $K/(B-1)$.
# The largest of them is larger still: if $K=J$ and $B$ grow together, it tends to $2\sqrt{c(1-c)}$ with $c=K/B$ {cite:p}`wachter1980`, which is one at $B=2K$, where it is forced.
# A batch that is too small for its projections is therefore refused here, and with it a covariance that nothing can whiten:

# %%
refused = []
for bad in (
    lambda: dcca.canonical_correlations(x[:7], y[:7]),
    lambda: dcca.canonical_correlations(torch.cat([x, x[:, :1]], 1), y),
):
    try:
        bad()
    except ValueError as error:
        refused.append(str(error))
    else:
        raise RuntimeError("it was not refused")
assert all("\n" not in line for line in refused)
noise = [torch.linalg.qr(v[:7] - v[:7].mean(0)).Q for v in (x, y)]
assert math.isclose(torch.linalg.matrix_norm(noise[0].T @ noise[1], 2), 1, abs_tol=1e-12)

# %% tags=["remove-input"]
print("\n".join(refused))

# %% [markdown]
# **Check.** Noise without any relation, in batches of several sizes, against the formula; one view is not Gaussian.
# The twin counts $B$ in place of $B-1$.
# Then linear projectors of the oracle's two modalities are trained on batches of different size, all with the same number of steps; what they have learnt is judged by the exact correlations.
# Last, what batches of six add to the correlations of the best projections, and to those of the same numbers paired with strangers.


# %%
def batch_correlations(u, v):
    """Canonical correlations of many batches at once, `(N, K)`, from views `(N, B, K)`."""
    bases = [torch.linalg.qr(part - part.mean(1, keepdim=True)).Q for part in (u, v)]
    return torch.linalg.svdvals(bases[0].mT @ bases[1])


K = 10
sizes = [25, 40, 80, 160, 500]
mean_squares, largest = [], []
for b in sizes:
    u = torch.randn(batches, b, K, generator=generator, dtype=torch.float64)
    v = torch.rand(batches, b, K, generator=generator, dtype=torch.float64) ** 3
    values = batch_correlations(u, v)
    if b == sizes[0]:
        torch.testing.assert_close(values[0], dcca.canonical_correlations(u[0], v[0]))
    squares = values.square().sum(1)
    error = squares.std() / batches**0.5
    assert abs(squares.mean() - K**2 / (b - 1)) < 4 * error
    if b == sizes[0]:
        assert abs(squares.mean() - K**2 / b) > 4 * error
    mean_squares.append(squares.mean().item() / K)
    largest.append(values[:, 0].mean().item())


def learnt(b, steps=150):
    """Correlations of linear projectors, exact and as told by batches of b, late in training."""
    draws = torch.Generator().manual_seed(seed)
    with seeded(seed):
        maps = [torch.nn.Linear(d, 2, bias=False).double() for d in (5, 4)]
    optimizer = torch.optim.Adam([p for g in maps for p in g.parameters()], 0.03)
    told, exact = [], []
    for _ in range(steps):
        drawn = oracle.sample(b, draws)
        views = [g(drawn[m]) for g, m in zip(maps, "ab", strict=True)]
        value = dcca.over_pairs(views, dcca.correlation_sum).sum()
        optimizer.zero_grad()
        (-value).backward()
        optimizer.step()
        told.append(value.item())
        with torch.no_grad():
            exact.append(correlations_of(*(g.weight for g in maps)).sum().item())
    return np.mean(exact[-30:]), np.mean(told[-30:])


reached = {b: learnt(b) for b in (6, 12, 50, 400)}
ceiling = correlations[:2].sum().item()
assert reached[400][0] > 0.98 * ceiling
assert reached[6][0] < reached[400][0] - 0.1
assert all(exact <= ceiling + 1e-9 for exact, _ in reached.values())
assert reached[6][1] > ceiling + 0.05 > reached[6][0], "the batch flatters"

drawn = oracle.sample(6 * batches, generator)
views = [(drawn[m] @ best[m].T).view(batches, 6, 2) for m in "ab"]
added = {
    "best": batch_correlations(*views).sum(1) - ceiling,
    "strangers": batch_correlations(views[0], views[1].roll(1, 0)).sum(1),
}
difference = added["strangers"] - added["best"]
assert difference.mean() > 4 * difference.std() / batches**0.5, "the weak are flattered more"

# %% tags=["remove-input"] mystnb={"image": {"alt": "Two panels. Left: root mean square and largest correlation of ten numbers with ten unrelated ones, falling with the size of the batch, on top of dashed curves from theory. Right: the sum of two correlations that batches report lies above the ceiling for small batches, while what the projectors have learnt rises to the ceiling as the batch grows."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.3))
grid = torch.linspace(2 * K + 1, sizes[-1], 400)
axes[0].plot(grid, (K / (grid - 1)).sqrt(), "--", color="0.5", lw=1)
axes[0].plot(grid, 2 * (K / (grid - 1) * (1 - K / (grid - 1))).sqrt(), "--", color="0.5", lw=1)
axes[0].plot(sizes, np.sqrt(mean_squares), "o", color=CORRELATED)
axes[0].plot(sizes, largest, "o", color=CONTRASTED)
axes[0].annotate("largest", (160, largest[3]), xytext=(4, 6), textcoords="offset points")
axes[0].annotate(
    "root mean square", (80, mean_squares[2] ** 0.5), xytext=(-62, -24), textcoords="offset points"
)
axes[0].set(xscale="log", xlabel="batch $B$", ylabel=r"$\hat\rho$ of noise", ylim=(0, 1.05))
axes[0].set_xticks(sizes, [str(b) for b in sizes])
axes[0].minorticks_off()
axes[1].axhline(ceiling, color="0.5", ls="--", lw=1)
exact, told = zip(*reached.values(), strict=True)
axes[1].plot(list(reached), told, "o-", color=CONTRASTED)
axes[1].plot(list(reached), exact, "o-", color=CORRELATED)
axes[1].annotate("told by the batch", (12, told[1]), xytext=(6, 6), textcoords="offset points")
axes[1].annotate("learnt", (12, exact[1]), xytext=(6, -14), textcoords="offset points")
axes[1].set(xscale="log", xlabel="batch $B$", ylabel=r"$\rho_1+\rho_2$")
axes[1].set_xticks(list(reached), [str(b) for b in reached])
axes[1].minorticks_off()
fig.suptitle("Small batches flatter, and teach less", weight="bold", fontsize=12, x=0.01, ha="left")
plt.show()

# %% tags=["remove-cell"]
glue("K", K, display=False)
glue("rms_500", f"{mean_squares[-1] ** 0.5:.2f}", display=False)
glue("top_500", f"{largest[-1]:.2f}", display=False)
glue("learnt_6", f"{reached[6][0]:.2f}", display=False)
glue("told_6", f"{reached[6][1]:.2f}", display=False)
glue("learnt_400", f"{reached[400][0]:.2f}", display=False)
glue("ceiling", f"{ceiling:.2f}", display=False)
for name, values in added.items():
    glue(f"added_{name}", f"{values.mean():.2f}", display=False)

# %% [markdown]
# Even 500 examples, the released batch for PolyMNIST, make {glue:text}`K` numbers of noise look correlated by {glue:text}`rms_500`, the best of them by {glue:text}`top_500`.
# In training a bias that were the same for all projectors would do no harm, but weak correlations are flattered more than strong ones: batches of 6 add {glue:text}`added_strangers` where nothing is shared, and {glue:text}`added_best` to the best projections.
# So the objective is flatter than the truth, and what slope is left is blurred, because every step follows correlations that are partly noise.
# With batches of 6 the oracle's projectors are told {glue:text}`told_6` and have {glue:text}`learnt_6`; with batches of 400 they have {glue:text}`learnt_400` of {glue:text}`ceiling`.
#
# ## Learning by contrast
#
# The second kind of projector is trained to recognise.
# Of $K$ candidates $y_1,\dots,y_K$ (in this section $K$ counts them, and no dimensions) one belongs to $x$, the others to strangers; scores $s_j=s(x,y_j)$ are turned into a probability of the right one, and its logarithm is maximised:
#
# $$
# \ell=s_1-\log\sum_{j=1}^K e^{s_j}.
# $$ (eq-info-nce)
#
# In a batch of $B$ pairs every $x_b$ is an anchor, with the $y$ of all others for strangers, so $K=B$.
#
# ::::{prf:lemma} InfoNCE bounds the information
# :label: lem-info-nce
#
# For all scores, $\log K+\E\,\ell\le\min\big(I(x;y),\,\log K\big)$ {cite:p}`oord2018,poole2019`.
# The best scores are $s(x,y)=\log\frac{p(x,y)}{p(x)\,p(y)}$ plus any function of $x$.
# ::::
#
# :::{prf:proof}
# Let the true partner's place be uniform on $1,\dots,K$, and $r(x,y)=\frac{p(x,y)}{p(x)p(y)}$.
# Given $x$ and all candidates its probability of being at $j$ is $r(x,y_j)/\sum_ir(x,y_i)$, and no other guess has a larger expected logarithm, by Gibbs' inequality.
# That is the second claim; and $\E\,\ell\le0$.
# For the best scores $\log K+\E\,\ell=\E\log r(x,y_1)-\E\log\frac1K\sum_jr(x,y_j)$.
# The first expectation is $I(x;y)$.
# In the second, $\frac1K\sum_jr(x,y_j)$ is the density of the candidates' law, with the partner in a random place, with respect to the law in which all are strangers.
# It is the same whatever the places, so its expected logarithm may be taken under the law with a random place, where it is a KL divergence and not negative.
# :::

# %% tags=["remove-input"]
show(contrastive.info_nce, contrastive.similarities)

# %% [markdown]
# For two standard normal numbers with correlation $\rho$ the best score has a closed form,
#
# $$
# \log\frac{p(x,y)}{p(x)p(y)}=-\tfrac12\log(1-\rho^2)-\frac{\rho^2(x^2+y^2)-2\rho\,xy}{2(1-\rho^2)} ,
# $$ (eq-gaussian-critic)
#
# whose mean is $-\frac12\log(1-\rho^2)$, the information of {eq}`eq-cca-information`.
# It is not a scaled product $xy$: of the released scores, cosines over a temperature, one should not expect the whole information.
#
# **Check.** Density against `torch.distributions`, gradient against that of a classifier, softmax minus truth; then the bound with the best scores for several $K$ and $\rho$.
# The twin scores with the wrong correlation, and falls below.

# %%
one = torch.distributions.Normal(torch.zeros(1).double(), 1.0)
covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]]).double()
joint = torch.distributions.MultivariateNormal(torch.zeros(2).double(), covariance)
u, v = torch.randn(2, 50, generator=generator, dtype=torch.float64)
ratio = joint.log_prob(torch.stack([u, v], 1)) - one.log_prob(u) - one.log_prob(v)
torch.testing.assert_close(contrastive.gaussian_log_ratio(u, v, 0.8), ratio)

scores = torch.randn(6, 6, generator=generator).double().requires_grad_()
(gradient,) = torch.autograd.grad(-contrastive.info_nce(scores).mean(), scores)
torch.testing.assert_close(gradient, (scores.softmax(1) - torch.eye(6).double()) / 6)


def info_nce_bound(rho, k, score_with=None, anchors=20_000):
    """log K + E l, and its standard error."""
    u, noise = torch.randn(2, anchors // k, k, generator=generator, dtype=torch.float64)
    v = rho * u + (1 - rho**2) ** 0.5 * noise
    scores = contrastive.gaussian_log_ratio(u[..., None], v[:, None], score_with or rho)
    per_batch = math.log(k) + contrastive.info_nce(scores).mean(1)
    return per_batch.mean().item(), (per_batch.std() / len(per_batch) ** 0.5).item()


candidates = [2, 4, 8, 16, 32, 64]
curves = {}
for rho in (0.8, 0.99, 0.9999):
    truth = -0.5 * math.log(1 - rho**2)
    curves[rho] = [info_nce_bound(rho, k) for k in candidates]
    for k, (bound, error) in zip(candidates, curves[rho], strict=True):
        assert bound < min(truth, math.log(k)) + 4 * error
bound, error = curves[0.8][-1]
assert bound > -0.5 * math.log(1 - 0.8**2) - 0.05 - 4 * error, "many strangers: nearly all of it"
wrong, error = info_nce_bound(0.8, 64, score_with=0.3)
assert wrong < curves[0.8][-1][0] - 4 * error

# %% tags=["remove-input"] mystnb={"image": {"alt": "InfoNCE with the best scores against the number of candidates, for three correlations; each curve rises along log K and then levels off at the information, which the strongest correlation does not reach with 64 candidates."}}
fig, ax = plt.subplots(figsize=(6.4, 3.2))
ax.plot(candidates, np.log(candidates), color="0.5", lw=1)
ax.annotate(r"$\log K$", (21, 3.3), color="0.4")
for (rho, curve), color in zip(curves.items(), (PICTURE, CORRELATED, CONTRASTED), strict=True):
    truth = -0.5 * math.log(1 - rho**2)
    ax.axhline(truth, color=color, ls="--", lw=1)
    ax.plot(candidates, [bound for bound, _ in curve], "o-", color=color, ms=4)
    ax.annotate(
        rf"$\rho={rho}$",
        (66, curve[-1][0]),
        xytext=(4, -14),
        textcoords="offset points",
        color=color,
    )
ax.set(xscale="log", xlabel="candidates $K$", ylabel="nats", ylim=(0, 4.8), xlim=(1.8, 120))
ax.set_xticks(candidates, [str(k) for k in candidates])
ax.minorticks_off()
ax.set_title("Contrast cannot tell more than $\\log K$")
plt.show()

# %% [markdown]
# Dashed is the information.
# So contrast, too, wants large batches, for another reason: with $K$ candidates nothing beyond $\log K$ nats is rewarded.
#
# ### Strangers of the own modality
#
# The released projectors are brought to length one, scored by their product over a temperature $\tau$, and every anchor has $2B-1$ candidates: those of the other modality, and all other examples of its *own* {cite:p}`poklukar2022`.
# With scores $s_{bj}$ between the modalities and $t_{bj}$ within the anchor's own,
#
# $$
# \ell_b=s_{bb}-\log\Big(\sum_{j=1}^Be^{s_{bj}}+\sum_{j\ne b}e^{t_{bj}}\Big).
# $$ (eq-own-negatives)
#
# ::::{prf:lemma} What may be read off with own strangers
# :label: lem-own-negatives
#
# $\log B+\E\,\ell_b\le I(x;y)$ still holds, and $\log(2B-1)+\E\,\ell_b\le I(x;y)$ does not, in general.
# ::::
#
# :::{prf:proof}
# More candidates in the sum make {eq}`eq-own-negatives` smaller than {eq}`eq-info-nce`.
# For the second claim let $x=y$ be a fair coin, with score $s\to\infty$ for equal sides and $0$ otherwise.
# Each stranger whose coin shows the anchor's side counts twice, once in each modality, so $\E\,\ell_b=-\E\log(1+2N)$ with $N$ binomial of $B-1$ and one half.
# At $B=5$ that is enough to exceed $I=\log2$, as the check computes.
# :::
#
# The own strangers are not independent of the others: example $j$ appears with both of its modalities.

# %% tags=["remove-input"]
show(contrastive.with_own_negatives)

# %%
B = 5
coins = torch.cartesian_prod(*[torch.arange(2)] * B)  # all batches, equally likely
shown = torch.nn.functional.one_hot(coins, 2).double()
found = torch.stack([contrastive.with_own_negatives(s, s, 0.01).mean() for s in shown]).mean()
binomial = [math.comb(B - 1, n) / 2 ** (B - 1) for n in range(B)]
by_hand = -sum(p * math.log(1 + 2 * n) for n, p in enumerate(binomial))
assert math.isclose(found, by_hand, rel_tol=1e-9)
assert math.log(B) + found < math.log(2) < math.log(2 * B - 1) + found

# %% [markdown]
# ## JNF-Shared
#
# Three stages: projectors; the joint VAE, which sees everything as in {doc}`/chapters/inference/joint_first`; and unimodal posteriors behind the frozen projectors, with their flows.

# %% tags=["remove-input"]
show(ProjectedEncoder.forward, jnf_shared_stages)

# %% [markdown]
# The last stage is {eq}`eq-posterior-fit` with $g_m(x_m)$ in the place of $x_m$; a frozen projector is asked once for each example, so the stage trains perceptrons on a few numbers, and no convolution.
# Subsets are answered by {eq}`eq-subset-posterior`, as before: functions of modalities that are independent given $z$ are independent given $z$.
#
# ::::{prf:lemma} What the projection costs
# :label: lem-lost-information
#
# Let $z$ and $x_m$ have a joint law, and $g=g_m(x_m)$.
# Then
#
# $$
# \E\,\KL{p(z\mid x_m)}{p(z\mid g)}=I(z;x_m\mid g)=I(z;x_m)-I(z;g),
# $$ (eq-lost-information)
#
# and if the joint encoder is exact and the data follow the model, the floor of the last stage is higher than that of JNF by this, for every modality.
# ::::
#
# :::{prf:proof}
# Given $x_m$ nothing is left to learn from $g$, so $p(z\mid x_m,g)=p(z\mid x_m)$, and the first expectation is the conditional information by definition.
# The chain rule gives $I(z;x_m)=I(z;x_m,g)=I(z;g)+I(z;x_m\mid g)$.
# By {prf:ref}`lem-aggregated` the floor is $I(z;x\mid g)=I(z;x\mid x_m)+I(z;x_m\mid g)$.
# :::
#
# ::::{prf:lemma} When the other modalities lose nothing
# :label: lem-nothing-lost
#
# If $x_m$ is independent of the other modalities $x_{\setminus m}$ given $g_m(x_m)$, then $p(x_{\setminus m}\mid g_m)=p(x_{\setminus m}\mid x_m)$.
# If all is Gaussian, the canonical numbers with $\rho_k>0$ are such a $g_m$ for two modalities.
# ::::
#
# :::{prf:proof}
# The first is the definition.
# The canonical numbers of $x_m$ with $\rho_k=0$ are uncorrelated with the other modality and with the canonical numbers that are kept, and Gaussian, hence independent of both together; and with the kept ones, and enough further numbers to make a basis, they are $x_m$ in other coordinates.
# :::
#
# The second lemma has a consequence, also for subsets, whose members can be replaced by their projections one after the other.
# With exact posteriors, the other modalities that JNF-Shared generates have *the same law* as those of JNF: a sufficient projector cannot improve them.
# If it improves coherence in experiments, then through what is not exact: a posterior that has less to say may be easier to fit.

# %% [markdown]
# On the oracle a projection $g_m=A_mx_m=A_mW_mz+A_m\varepsilon_m$ is one more linear-Gaussian observation, with the loadings $A_mW_m$ and a noise of covariance $s_m^2A_mA_m^\top$, so
#
# $$
# \begin{aligned}
# p(z\mid g_S)&=\N(\Lambda^{-1}h,\,\Lambda^{-1}),\qquad
# \Lambda=I+\sum_{m\in S}(A_mW_m)^\top(s_m^2A_mA_m^\top)^{-1}A_mW_m,\\
# h&=\sum_{m\in S}(A_mW_m)^\top(s_m^2A_mA_m^\top)^{-1}A_mx_m .
# \end{aligned}
# $$ (eq-projected-posterior)

# %% tags=["remove-input"]
show(posterior_given, posterior_covariance, information, lost_information)

# %% [markdown]
# **Check.** Conditioning of one large Gaussian, by another formula; the mean divergence by simulation, within its standard error; the product rule; and the lemmas, exactly.
# The twins: one canonical pair too few loses shared information, and the product without dividing by the prior is too sharp.

# %%
drawn = oracle.sample(20_000, generator)
seen = {"a": best["a"]}
mean, wide = posterior_given(oracle, drawn, seen)
maps = best["a"] @ oracle.loadings["a"]
gain = maps.T @ torch.linalg.inv(best["a"] @ blocks[0] @ best["a"].T)
torch.testing.assert_close(mean, drawn["a"] @ best["a"].T @ gain.T)
torch.testing.assert_close(wide, torch.eye(4).double() - gain @ maps)

normal = torch.distributions.MultivariateNormal
exact_mean, exact = oracle.posterior(drawn, ["a"])
divergence = torch.distributions.kl_divergence(normal(exact_mean, exact), normal(mean, wide))
lost = lost_information(oracle, seen)
assert abs(divergence.mean() - lost) < 4 * divergence.std() / len(divergence) ** 0.5

whole_a = {"a": torch.eye(5).double()}
torch.testing.assert_close(information(oracle, seen, SHARED), information(oracle, whole_a, SHARED))
too_few = {"a": canonical_projections(oracle, "a", "b", 1)[0]["a"]}
assert information(oracle, too_few, SHARED) < information(oracle, whole_a, SHARED) - 0.1

predicted = oracle.loadings["b"] @ mean.T  # E[x_b | g_a]
torch.testing.assert_close(predicted, oracle.loadings["b"] @ exact_mean.T)
rest = oracle.loadings["b"] @ (wide - exact) @ oracle.loadings["b"].T
assert rest.abs().max() < 1e-10, "and the same covariance"
assert (wide - exact).abs().max() > 0.1, "though not of z"

precisions = [torch.linalg.inv(posterior_covariance(oracle, {m: best[m]})) for m in "ab"]
both = torch.linalg.inv(posterior_covariance(oracle, best))
torch.testing.assert_close(sum(precisions) - torch.eye(4).double(), both)
assert (sum(precisions) - both).abs().max() > 0.9

# %%
spare = torch.randn(2, 5, generator=generator, dtype=torch.float64)
four = torch.cat([best["a"], spare])
unchanged = correlations_of(four, torch.eye(4).double())
torch.testing.assert_close(unchanged, correlations, rtol=0, atol=1e-12)
kept = {"all of $x_a$": whole_a, "1": too_few, "2": seen}
kept |= {f"2 and {k} spare": {"a": four[: 2 + k]} for k in (1, 2)}
about = {
    name: [information(oracle, g, places).item() for places in (SHARED, PRIVATE["a"], None)]
    for name, g in kept.items()
}
private_of_two = about["2"][1]
assert private_of_two > 0.01
assert about["2 and 2 spare"][1] > private_of_two + 0.05, "spare outputs take what there is"

straight = LinearGaussian.random({"a": 5, "b": 4}, 4, NOISE, generator=generator)
straight.loadings["a"][:, PRIVATE["b"]] = 0.0
straight.loadings["b"][:, PRIVATE["a"]] = 0.0
clean = canonical_projections(straight, "a", "b", 2)[0]["a"]
assert abs(information(straight, {"a": clean}, PRIVATE["a"])) < 1e-12

# %% tags=["remove-input"] mystnb={"image": {"alt": "Bars of information that the whole modality a, its first one or two canonical numbers, and these two with one or two arbitrary ones, have about the shared latents and about the private one. Two numbers keep all shared information and almost nothing private; the arbitrary ones add private information."}}
fig, ax = plt.subplots(figsize=(6.4, 3.3))
places = np.arange(len(about))
for shift, (i, label, color) in zip(
    (-0.2, 0.2),
    ((0, "about the shared latents", CORRELATED), (1, "about the private one", PICTURE)),
    strict=True,
):
    ax.bar(places + shift, [values[i] for values in about.values()], 0.38, color=color, label=label)
ax.set_xticks(places, list(about))
ax.set(xlabel="canonical numbers kept, and arbitrary ones", ylabel="nats", ylim=(0, 0.84))
ax.set_title("Two canonical numbers keep what is shared")
ax.legend(frameon=False, loc="upper right", ncol=2)
plt.show()

# %% tags=["remove-cell"]
glue("lost", f"{lost.item():.2f}", display=False)
glue("told_whole", f"{about['all of $x_a$'][2]:.2f}", display=False)
glue("told_two", f"{about['2'][2]:.2f}", display=False)
glue("leak", f"{private_of_two:.3f}", display=False)
glue("private_whole", f"{about['all of $x_a$'][1]:.2f}", display=False)
glue("private_four", f"{about['2 and 2 spare'][1]:.2f}", display=False)

# %% [markdown]
# All of $x_a$ tells {glue:text}`told_whole` nats about $z$, two canonical numbers {glue:text}`told_two`; {glue:text}`lost` are lost, and not one of them matters to $x_b$.
# Two remarks that the word *shared* hides.
# A sufficient projection is not blind to the private latent: where its loadings are not orthogonal to the shared ones, the numbers that tell most about the shared latents move with the private one, too, here by {glue:text}`leak` nats of {glue:text}`private_whole`.
# And a projector with more outputs than there are shared latents has outputs to spare: two arbitrary ones beside the canonical two leave the sum of correlations as it is, and bring {glue:text}`private_four` nats about the private latent.
#
# ## Circles and squares
#
# The toy of {doc}`/chapters/inference/inference_gap` shares one bit, full or empty, and has private radii.
# We train the joint model of that chapter, two kinds of projectors, and for each kind the posterior of a square's projection; beside them the posterior of the square itself.

# %%
train = circles_and_squares("train", size=size)
test = circles_and_squares("test", size=size)
radii, classes = factors("test")
SQUARE, CIRCLE = range(2)


def stacked(data):
    batch = data.batch(slice(None))
    return torch.cat([batch[name] for name in MODALITIES], dim=1)  # (N, M, H, W)


x_train, x_test = stacked(train), stacked(test)
joint = fit_joint(x_train, seed, steps["joint"])

shape = (1, size, size)
with seeded(seed):
    networks = {name: mlp_encoder(shape, 2, (64,)) for name in MODALITIES}
    by_correlation = CorrelationFit({m: Projector(g, 1) for m, g in networks.items()})
    networks = {name: mlp_encoder(shape, 2, (64,)) for name in MODALITIES}
    head = shared_head((16, 32, 2))
    by_contrast = ContrastiveFit({m: Projector(g, 16, head) for m, g in networks.items()})
for projection in (by_correlation, by_contrast):

    def loss(rows, projection=projection):
        batch = {name: x_train[rows][:, [m]] for m, name in enumerate(MODALITIES)}
        return -projection.bound(batch).elbo().mean()

    draws = torch.Generator().manual_seed(seed)
    fit(
        projection.parameters(),
        loss,
        len(x_train),
        steps=steps["projections"],
        batch=500,
        generator=draws,
    )
    projection.requires_grad_(False).eval()

seen_by = {
    "picture": lambda squares: squares,
    "correlation": by_correlation.projectors[MODALITIES[SQUARE]],
    "contrast": by_contrast.projectors[MODALITIES[SQUARE]],
}
loc, scale = joint.encoder(x_train)
posteriors = {}
for name, see in seen_by.items():
    seen = see(x_train[:, [SQUARE]])
    with seeded(seed):
        encoder = mlp_encoder(tuple(seen.shape[1:]), 2, (64, 64))
        flow = zuko.flows.MAF(2, 0, transforms=2, hidden_features=(32, 32))
    q = GivenOne(encoder, flow)
    posteriors[name] = fit_given_one(q, seen, loc, scale, seed, steps["posteriors"])

# %% [markdown]
# These are the three stages by hand, for a figure that is made in seconds.
# For a data set and its networks `jnf_shared` and `jnf_shared_stages` build them, with what the other multi-stage models have: exact resumption in and between stages, the best weights on held-out examples, and a refusal of a stage that is started before its turn.

# %%
shapes = Setup(
    load=lambda root, split: circles_and_squares(split, size=size),
    modalities={
        name: Modality(
            encoder=partial(mlp_encoder, shape, hidden=(64,)),
            decoder=partial(mlp_decoder, shape, hidden=(64,)),
            likelihood=LIKELIHOOD,
        )
        for name in MODALITIES
    },
)
model = jnf_shared(shapes, 2, seed=seed, projection_dim=1)
config = TrainConfig(epochs=1, batch_size=500)
stages = jnf_shared_stages(
    model, train, dict.fromkeys(["projections", "joint", "posteriors"], config)
)
refused = ""
with tempfile.TemporaryDirectory() as folder:
    try:
        train_stage(stages, "posteriors", Path(folder), progress=False)
    except ValueError as error:
        refused = str(error).replace(folder, "the folder")
assert "starts from stage 'projections', which is not finished" in refused

# %% tags=["remove-input"]
print(refused)

# %% [markdown]
# How much is lost can be told without trusting a fit.
# By {prf:ref}`lem-average-posterior` the best posterior given a square is the average $\bar q(z\mid x_1)$ of the joint posteriors over all circles that come with it, and the best one given the class alone, the average over all pairs of that class.
# The circles that come with a square are those of its class; but a small empty square has no hole at this resolution, and with such a picture come circles of both classes, as often as it is of either.
# The pictures are so small that all averages are sums over the distinct ones, and counts of the training pairs give $p(\text{class}\mid x_1)$.

# %%
asked = torch.arange(40)
with torch.no_grad():
    centers, widths = joint.encoder(x_test)
    z = gaussians.sample(
        centers[asked].expand(20, -1, -1), widths[asked].expand(20, -1, -1), generator
    )


@torch.no_grad()
def average_log_density(points, squares, circles, shares):
    """log of the average of q(z | x) over all pairs of the squares and circles, `(N,)`."""
    first, second = torch.cartesian_prod(
        torch.arange(len(squares)), torch.arange(len(circles))
    ).unbind(1)
    loc, scale = joint.encoder(torch.stack([squares[first], circles[second]], 1))
    log_q = gaussians.log_density(points[:, None], loc, scale)
    return ((shares[0][first] * shares[1][second]).log() + log_q).logsumexp(1)


distinct = {}
for c in (0, 1):
    for m in (SQUARE, CIRCLE):
        some, counts = x_train[train.labels == c][:, m].unique(dim=0, return_counts=True)
        distinct[m, c] = some, counts / counts.sum()
pictures, place = torch.cat([x_train, x_test])[:, SQUARE].unique(dim=0, return_inverse=True)
of_train, of_test = place.split([len(x_train), len(x_test)])
counted = torch.zeros(len(pictures), 2)
counted.index_put_((of_train, train.labels), torch.ones(len(x_train)), accumulate=True)
class_given = (counted / counted.sum(1, keepdim=True))[of_test]  # p(class | x_1), (N, 2)
assert class_given.isfinite().all(), "every test square occurs in training"
doubtful = class_given.amax(1) < 1

by_example = {"picture": [], "class": [], "picture, class known": []}
for i, c in enumerate(classes[asked].tolist()):
    with_class = []
    for other in (0, 1):
        circles, of_circles = distinct[CIRCLE, other]
        alone = x_test[i, SQUARE][None], circles, (torch.ones(1), of_circles)
        with_class.append(average_log_density(z[:, i], *alone))
    mixed = (torch.stack(with_class, 1) + class_given[i].log()).logsumexp(1)
    by_example["picture"].append(mixed.mean())
    by_example["picture, class known"].append(with_class[c].mean())
    squares, of_squares = distinct[SQUARE, c]
    circles, of_circles = distinct[CIRCLE, c]
    every = squares, circles, (of_squares, of_circles)
    by_example["class"].append(average_log_density(z[:, i], *every).mean())
best_possible = {name: torch.stack(values) for name, values in by_example.items()}
references = {name: values.mean().item() for name, values in best_possible.items()}
assert references["picture, class known"] > references["picture"], "the label is no part of it"

fitted = {}
with torch.no_grad():
    for name, q in posteriors.items():
        seen = seen_by[name](x_test[asked][:, [SQUARE]])
        fitted[name] = q.log_density(z, seen).mean(0)
fits = {name: values.mean().item() for name, values in fitted.items()}


def above(first, second):
    """By how many standard errors the first mean over examples exceeds the second."""
    difference = first - second
    return (difference.mean() / (difference.std() / len(difference) ** 0.5)).item()


lost_at_best = references["picture"] - references["class"]
assert lost_at_best > 0.5
assert above(fitted["picture"], best_possible["picture"]) < 4, "no fit is better than the best"
for name in ("correlation", "contrast"):
    assert above(fitted["picture"], fitted[name]) > 4
    assert fits[name] < references["class"], "no more than the class alone allows"


# %% [markdown]
# What a projection says of the class and of the radius within a class: the share of their variance that the best cubic polynomial of the projection explains.
# No function of the picture explains more of the class than its expectation given the picture does.


# %%
def explained(g, target):
    """R^2 of the target, by a cubic polynomial; on the circle x, y, their powers and xy span all."""
    powers = [g**p for p in range(4)]
    if g.shape[1] > 1:
        powers.append(g.prod(1, keepdim=True))
    design = torch.cat(powers, 1)
    design = design / design.norm(dim=0)
    fitted = design @ torch.linalg.lstsq(design, target[:, None], driver="gelsd").solution
    return 1 - ((fitted[:, 0] - target).var() / target.var()).item()


told = {}
within = radii[:, 0] - torch.stack([radii[classes == c, 0].mean() for c in (0, 1)])[classes]
with torch.no_grad():
    for name in ("correlation", "contrast"):
        g = seen_by[name](x_test[:, [SQUARE]]).double()
        told[name] = explained(g, classes.double()), explained(g, within.double())
class_shown = class_given[:, 1].var(correction=0).item() / 0.25  # half of the shapes are empty
assert all(abs(of_class - class_shown) < 0.05 for of_class, _ in told.values())
assert min(of_radius for _, of_radius in told.values()) > 0.1, "neither is the class itself"

# %% tags=["remove-input"] mystnb={"image": {"alt": "Three pictures of the latent plane with encodings of test pairs coloured by class and size of the square. The posterior given the picture of a large full square follows the line of large full squares; those given its projections, by correlation and by contrast, cover all full shapes. Beside each, squares and circles made from draws: squares of one size on the left, of all sizes for the projections, and circles of all sizes."}}
plane = Plane()
large = int(torch.where(classes == 0, radii[:, 0], 0.0)[:40].argmax())
colors = {"picture": PICTURE, "correlation": CORRELATED, "contrast": CONTRASTED}
titles = {
    "picture": "given the picture",
    "correlation": "given a correlated projection",
    "contrast": "given a contrasted projection",
}
variety = {}
figure = plt.figure(figsize=(7.4, 4.3))
for block, (name, q) in zip(figure.subfigures(1, 3), posteriors.items(), strict=True):
    axes = block.subplot_mosaic([[*"pppp"], [*"abcd"], [*"efgh"]], height_ratios=[4, 1, 1])
    ax = axes["p"]
    for c, cmap in enumerate(("Blues", "Reds")):
        rows = classes == c
        ax.scatter(*centers[rows].T, c=radii[rows, 0], cmap=cmap, vmin=0, s=3, lw=0)
    with torch.no_grad():
        seen = seen_by[name](x_test[[large]][:, [SQUARE]])
        log_q = q.log_density(plane.points.float(), seen).double()
        made = joint.decoder(q.sample(seen.expand(200, *seen.shape[1:]), generator))
    variety[name] = made[:, SQUARE].sum((1, 2)).std().item()
    mass, _ = log_q.exp().mul(plane.cell).sort(descending=True)
    level = mass[(mass.cumsum(0) < 0.9).sum()] / plane.cell
    grid = plane.points.view(plane.side, plane.side, 2).unbind(-1)
    ax.contour(*grid, log_q.exp().view(plane.side, -1), [level], colors=colors[name])
    ax.set(xlim=(-3.6, 3.6), ylim=(-3.6, 3.6), aspect="equal", xticks=[], yticks=[])
    ax.set_title(titles[name], fontsize=9)
    for key, picture in zip("abcdefgh", [*made[:4, SQUARE], *made[:4, CIRCLE]], strict=True):
        plots.picture(axes[key], picture[None])
figure.suptitle(
    "The fitted posteriors keep the class and let the size go",
    weight="bold",
    fontsize=12,
    x=0.01,
    ha="left",
)
plt.show()
assert min(variety["correlation"], variety["contrast"]) > 1.5 * variety["picture"]

# %% tags=["remove-cell"]
for name, value in fits.items():
    glue(f"fit_{name}", f"{value:.2f}", display=False)
for name, value in references.items():
    glue(f"best_{name.replace(', class known', '_and_class')}", f"{value:.2f}", display=False)
glue("lost_at_best", f"{lost_at_best:.2f}", display=False)
glue("class_shown", f"{class_shown:.2f}", display=False)
glue("doubtful", f"{100 * doubtful.double().mean():.0f}", display=False)
for name, (of_class, of_radius) in told.items():
    glue(f"class_{name}", f"{of_class:.2f}", display=False)
    glue(f"radius_{name}", f"{of_radius:.2f}", display=False)
    glue(f"lost_{name}", f"{fits['picture'] - fits[name]:.2f}", display=False)

# %% [markdown]
# Encodings are coloured by class, darker the larger the square; the contour holds nine tenths of each posterior given one large full square.
# Below are four squares and the four circles that go with them.
#
# | given | $\E\log q(z\mid\cdot)$, fitted | best possible | class explained | radius explained |
# |---|---|---|---|---|
# | the picture $x_1$ | {glue:text}`fit_picture` | {glue:text}`best_picture` | at most {glue:text}`class_shown` | |
# | $g_1$ by correlation | {glue:text}`fit_correlation` | {glue:text}`best_class`, of the class alone | {glue:text}`class_correlation` | {glue:text}`radius_correlation` |
# | $g_1$ by contrast | {glue:text}`fit_contrast` | | {glue:text}`class_contrast` | {glue:text}`radius_contrast` |
#
# The class alone would lose {glue:text}`lost_at_best` nats of what the square says of $z$, at best; between the fits the differences are {glue:text}`lost_correlation` and {glue:text}`lost_contrast`.
# What the projections lose is the square's size: of the class they keep, to within a few hundredths, all that the picture shows, and {glue:text}`doubtful` percent of the squares do not show it.
# With the class told beside the picture the best possible would be {glue:text}`best_picture_and_class`.
# Neither projection is the class itself: a regression finds the radius in both, however faint its trace, and the fitted posteriors make nothing of it, as they stay below what the class alone allows.
# Part of it is forced: a small empty square has a hole of a pixel or none, and the best that a projector can say of such a picture is a doubt, which depends on the radius.
# These are fits of seconds.

# %% [markdown]
# ## Papers, released code, here
#
# Of the paper {cite:p}`senellart2025` we have the abstract and captions; the released code is a branch of MultiVae {cite:p}`senellart2025multivae` that is in none of its versions from 1.0 on.
#
# | | released code | here |
# |---|---|---|
# | **objective of DCCA** | sum of the roots of the $K$ largest eigenvalues of $T^\top T+10^{-3}I$; an option for all of them takes roots entry by entry | sum of singular values of $T$; squares and information as options |
# | **whitening** | symmetric roots from eigen-decompositions | Cholesky factors |
# | **ridge** | $10^{-3}$ | $10^{-3}$ of the mean variance |
# | **scale of a projection** | free, and the objective grows with it | centred and scaled by its batch, later by running averages |
# | **several modalities** | sum over pairs | sum over pairs |
# | **batch too small, degenerate covariance** | not refused; eigenvalues below $10^{-9}$ are left out | refused in a line |
# | **contrast** | cosine over $\tau$, strangers of both modalities, mean over $2B$ anchors, sum over pairs; a variant pairs each modality with a joint one | the first; without own strangers as an option |
# | **what $q(z\mid g_m)$ reads** | the output of the head that modalities share | the same, of length one |
# | **posterior** | perceptron with two layers of 512, then a flow | the same |
# | **joint encoder's heads** | copies of the projectors' networks, for DCCA | copies of the encoders' networks, as in JNF |
# | **prior in a subset's product** | divided out once | exponent $1-\lvert S\rvert$ |
# | **last stage** | decodes every picture, for the log, and asks the projectors at every step | projections and joint posteriors computed once |
# | **printed objective, tables** | not known to us | |

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-cca-of-classes
# Let $x$ and $y$ be independent given a class $c$ of $C$ values.
# How many canonical correlations of $f(x)$ and $h(y)$ can be positive, whatever the functions $f$ and $h$, and which projectors make $C-1$ of them equal to one?
# ::::
#
# ::::{solution} ex-cca-of-classes
# :class: dropdown
# Given $c$ the two are uncorrelated, so $\operatorname{Cov}(f,h)=\operatorname{Cov}(\E[f\mid c],\E[h\mid c])$, a sum over classes whose rank is at most $C-1$, because the class means, centred, are linearly dependent.
# All of them are one if the class can be read off both $x$ and $y$ and $f$, $h$ span the indicators of classes.
# So for ten digits nine outputs are enough, and nine is what the authors' scripts use for MNIST-SVHN.
# ::::

# %% tags=["hide-input", "remove-output"]
spread = 0.1 * torch.eye(10).double() - 0.01  # covariance of the indicators of ten equal classes
f, h = torch.randn(2, 10, 12, generator=generator).double()  # class means; noise of variance one
one = torch.eye(12).double()
of_classes = dcca.whitened_cross(f.T @ spread @ f + one, f.T @ spread @ h, h.T @ spread @ h + one)
positive = torch.linalg.svdvals(of_classes)
assert positive[8] > 1e-4
assert positive[9:].max() < 1e-12
indicators = torch.eye(10).double()[torch.arange(300) % 10][:, :9]
mixed = indicators @ torch.randn(9, 9, generator=generator).double()
torch.testing.assert_close(
    dcca.canonical_correlations(indicators, mixed), torch.ones(9).double(), rtol=1e-6, atol=0
)

# %% [markdown]
# ::::{exercise}
# :label: ex-pair-sum
# Three modalities: one latent is shared by all three, another by the first two only, with the same canonical correlation $\rho$.
# With one output each, which latent does the sum over pairs choose, and what does the third projector lose if the first two choose the other?
# ::::
#
# ::::{solution} ex-pair-sum
# :class: dropdown
# The first latent is worth $3\rho$, one $\rho$ for each pair.
# If the first two project to the second latent they have $\rho$ together and nothing with the third, whatever that one does: $\rho$ in total.
# So the sum prefers what most modalities share, by the number of pairs, and a latent that $n$ modalities share counts $n(n-1)/2$ times.
# What a pair shares alone is dropped where outputs are few, though the other member of the pair could have used it.
# ::::

# %% tags=["hide-input", "remove-output"]
common, of_two = torch.randn(2, 20_000, 1, generator=generator).double()
three = [
    torch.cat([common, of_two if m < 2 else torch.zeros_like(of_two)], 1)
    + torch.randn(20_000, 2, generator=generator).double()
    for m in range(3)
]
chosen = [
    dcca.over_pairs([v[:, [k]] for v in three], dcca.correlation_sum).sum().item() for k in (0, 1)
]
assert math.isclose(chosen[0], 1.5, abs_tol=0.05)
assert math.isclose(chosen[1], 0.5, abs_tol=0.05)

# %% [markdown]
# ::::{exercise}
# :label: ex-private-reconstruction
# JNF-Shared is given all modalities but one, and asked for one that it was given.
# What does it return, and what does it return if it is given all?
# ::::
#
# ::::{solution} ex-private-reconstruction
# :class: dropdown
# Given a proper subset it answers from $p(z)^{1-|S|}\prod_{m\in S}q(z\mid g_m)$, which knows the private part of no modality: a picture that was given comes back with another background.
# Given all, it answers from the joint encoder, and every private part is there.
# The last modality turns forgetting off for all of them: these answers are not what one model says to more and more observations.
# On the oracle a subset of both modalities, if it were answered by its projections, would lose {glue:text}`forgotten` nats about $z$.
# ::::

# %% tags=["hide-input", "remove-output"]
forgotten = lost_information(oracle, best)
sharp = oracle.posterior(drawn)[1]  # of another function: given all of both modalities
rough = posterior_covariance(oracle, best)
torch.testing.assert_close(forgotten, 0.5 * (rough.logdet() - sharp.logdet()))
all_of_it = {"a": torch.eye(5).double(), "b": torch.eye(4).double()}
for m in "ab":
    private = [information(oracle, g, PRIVATE[m]) for g in (best, all_of_it)]
    assert private[0] < 0.5 * private[1]

# %% tags=["remove-cell"]
glue("forgotten", f"{forgotten:.2f}", display=False)

# %% [markdown]
# ::::{exercise}
# :label: ex-linear-scores
# Contrastive scores are products on the circle, $s=\cos(\alpha-\gamma)/\tau$ for angles $\alpha$ and $\gamma$.
# For which joint law of two angles are they the best scores?
# ::::
#
# ::::{solution} ex-linear-scores
# :class: dropdown
# By {prf:ref}`lem-info-nce` they are best if $p(\gamma\mid\alpha)\propto p(\gamma)\,e^{\cos(\gamma-\alpha)/\tau}$.
# With uniform angles that is a von Mises law around the partner's angle with concentration $1/\tau$: the temperature is the noise between partners.
# Its information is $\frac{I_1(1/\tau)}{\tau\,I_0(1/\tau)}-\log I_0(1/\tau)$ with Bessel functions $I_0$ and $I_1$, so a temperature of 0.1 suits projections that share about a nat and a half.
# ::::

# %% tags=["hide-input", "remove-output"]
concentration = torch.tensor(10.0).double()
angles = torch.linspace(-math.pi, math.pi, 20_001).double()[:-1]
log_p = concentration * angles.cos()
log_p = log_p - log_p.logsumexp(0) + math.log(len(angles))  # density relative to the uniform one
by_integral = (log_p.exp() * log_p).mean()
bessel_0, bessel_1 = (torch.special.i0e(concentration), torch.special.i1e(concentration))
by_formula = concentration * bessel_1 / bessel_0 - concentration - bessel_0.log()
torch.testing.assert_close(by_integral, by_formula)
assert 1.4 < by_formula < 1.6
places = torch.multinomial(log_p.exp(), 400 * 64, replacement=True, generator=generator)
around = angles[places].view(400, 64)
alpha = 2 * math.pi * torch.rand(400, 64, generator=generator, dtype=torch.float64)
cosines = (alpha[..., None] - (alpha + around)[:, None]).cos()
bounds = {
    scale: (math.log(64) + contrastive.info_nce(scale * cosines).mean(1)).mean().item()
    for scale in (3.0, 10.0, 40.0)
}
assert bounds[10.0] > max(bounds[3.0], bounds[40.0]) + 0.05
assert bounds[10.0] < by_formula + 0.05

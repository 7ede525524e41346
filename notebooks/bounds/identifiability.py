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
# # Identifiability
#
# A model can explain its data as well as any and still have latents that mean nothing, because others explain the data equally well.
# This chapter proves what the evidence leaves open: under a standard normal prior any rotation, and worse.
# We call every orthogonal matrix a rotation, reflections included.
# It defines the score with which learned latents are compared with true ones, and says what a rotation scores.
# Then it closes the gap twice, with a mixture for a prior and with a second modality, and proves how far each of them reaches.
# The means are those of {cite:t}`hirt2024`; their theorems were not at hand, so the proofs here are for the models of this page.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import math

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown
from myst_nb import glue
from scipy.linalg import subspace_angles

from multielbo import gaussians, mixture_factors, plots
from multielbo.dependence import randomised_dependence
from multielbo.identifiability import Split, canonical_mcc, chance, halves, strong_mcc, weak_mcc
from multielbo.mixture_factors import MixtureFactors
from multielbo.mixture_priors import MixturePrior
from multielbo.oracle import LinearGaussian
from multielbo.profiles import check_profile
from multielbo.publishing.show import show
from multielbo.quadrature import Plane
from multielbo.segments import Segments, random_segments
from multielbo.shared_space import TwoModalities, rotation_between, split

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)
NORMAL, EQUAL, MIXTURE = map(plots.colour, ("mvae", "log-pool", "mopoe"))
steps = {"quick": 500, "laptop": 2000, "full": 5000}[profile]
runs = {"quick": 6, "laptop": 20, "full": 50}[profile]


def turn(angle):
    """Rotation of the plane by an angle in radians."""
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s], [s, c]])


# %% [markdown]
# ## What the evidence cannot see
#
# ::::{prf:lemma} A change of latents
# :label: lem-change-of-latents
#
# Let $T:\mathbb R^D\to\mathbb R^D$ be invertible, measurable in both directions, and let it keep the prior: if $z\sim p$, then $T(z)\sim p$.
# Give all modalities the decoders $p'(x_m\mid z)=p(x_m\mid T(z))$, and all subsets the encoders $q'(z\mid x_S)$ that draw $T^{-1}(z)$ with $z\sim q(z\mid x_S)$.
# Then $p'(x_S)=p(x_S)$ for every subset and all $x$, and every reconstruction and every divergence in the bounds of this book is the same for both models.
# ::::
#
# :::{prf:proof}
# $p'(x_S)=\E_{z\sim p}\prod_{m\in S}p(x_m\mid T(z))$, and $T(z)$ has the law of $z$.
# In a reconstruction $p'(x_m\mid T^{-1}(z))=p(x_m\mid z)$.
# A divergence does not change when an invertible map is applied to both of its sides, which takes $q'$ to $q$, $q'(\cdot\mid x_S)$ to $q(\cdot\mid x_S)$ and $p$ to $p$.
# :::
#
# So no amount of data and no bound decides between $z$ and $T(z)$, unless the class of decoders or of encoders contains one and not the other.
# A standard normal prior is kept by all rotations, and linear decoders allow them.
#
# ::::{prf:lemma} Linear decoders under a normal prior
# :label: lem-rotation
#
# Let $x\mid z\sim\N(Wz,\Psi)$ and $x\mid z\sim\N(W'z,\Psi)$ with equal noise $\Psi$, $z\sim\N(0,I)$ and $D$ columns each; $x$ may hold several modalities one above the other.
# Both have the same evidence if and only if $W'=WR$ with an orthogonal $R$.
# ::::
#
# :::{prf:proof}
# The evidence is $\N(0,WW^\top+\Psi)$, so it is the same if and only if $WW^\top=W'W'^\top$.
# Rotations keep this product.
# Conversely, let $U\Lambda U^\top$ be the common product, with positive eigenvalues $\Lambda$ only.
# The columns of $W$ lie in the column space of $WW^\top$, so $UU^\top W=W$.
# Hence $W=U\Lambda^{1/2}Q$ with $Q=\Lambda^{-1/2}U^\top W$, whose rows are orthonormal, and $W'=U\Lambda^{1/2}Q'$ in the same way.
# Complete $Q$ and $Q'$ by further rows to orthogonal matrices, and take $R=Q^\top Q'$ of these.
# :::
#
# $R$ is the same for all modalities: what is identified are the products $W_mW_n^\top$ for all pairs.
# **Check** on the oracle, with two twins: to turn one modality alone, which its own evidence does not notice and the pair does, and to stretch.

# %%
oracle = LinearGaussian.random(
    {"image": 4, "sound": 3}, 2, 0.5, orthogonal=False, generator=generator
)
batch = oracle.sample(50, generator)
rotation = turn(0.7)


def changed(**maps):
    """The oracle with the loadings of some modalities multiplied from the right."""
    same = torch.eye(2)
    loadings = {name: w @ maps.get(name, same) for name, w in oracle.loadings.items()}
    return LinearGaussian(loadings, oracle.noise)


both, alone = changed(image=rotation, sound=rotation), changed(image=rotation)
for subset in (["image"], ["sound"], ["image", "sound"]):
    torch.testing.assert_close(both.log_evidence(batch, subset), oracle.log_evidence(batch, subset))
torch.testing.assert_close(
    alone.log_evidence(batch, ["image"]), oracle.log_evidence(batch, ["image"])
)
assert (alone.log_evidence(batch) - oracle.log_evidence(batch)).abs().max() > 0.1
stretched = changed(image=torch.diag(torch.tensor([2.0, 0.5])), sound=torch.eye(2))
assert (stretched.log_evidence(batch) - oracle.log_evidence(batch)).abs().max() > 0.1

# %% [markdown]
# Flexible decoders allow more than rotations.
# In the plane, turn every circle around the origin by an angle of its own, $T(z)=R\big(\tfrac c2\|z\|^2\big)\,z$ with $R(\alpha)$ the rotation by $\alpha$.
# In polar coordinates this is $(r,\varphi)\mapsto(r,\varphi+\tfrac c2r^2)$, whose Jacobian has determinant one, and it keeps $\|z\|$: it keeps the prior.
# How much of $z$ is then left in $T(z)$ for a linear map to find?
# As complex numbers $T(z)=z\,e^{ict}$ with $t=\frac12\|z\|^2$, which is exponentially distributed with mean one, so
#
# $$
# \E\,T(z)\,\bar z=\E\,2t\,e^{ict}=\frac2{(1-ic)^2}, \qquad \E\,|z|^2=2 , \qquad \E\,T(z)\,z=0 :
# $$
#
# the covariance of $T(z)$ and $z$ is a rotation times $1/(1+c^2)$.
# Every linear function of $z$ has a correlation of at most that with every linear function of $T(z)$, and both models have the same evidence.
# **Check** with automatic differentiation and draws; the twin turns by an angle that depends on a coordinate and not on the radius, and does not keep the prior.


# %%
def turned_by(angle, z):
    """Each point turned by an angle of its own."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([c * z[:, 0] - s * z[:, 1], s * z[:, 0] + c * z[:, 1]], 1)


def twist(z, c):
    return turned_by(0.5 * c * z.square().sum(1), z)


def uneven(z):
    return turned_by(z[:, 0], z)


def determinants(T, z):
    """Of the Jacobian at each point."""
    z = z.clone().requires_grad_()
    rows = [torch.autograd.grad(T(z)[:, i].sum(), z)[0] for i in range(2)]
    return torch.linalg.det(torch.stack(rows, 1))


z = torch.randn(40_000, 2, generator=generator)
c = 2.0
torch.testing.assert_close(determinants(lambda v: twist(v, c), z[:200]), torch.ones(200))
torch.testing.assert_close(gaussians.log_prior(twist(z, c)), gaussians.log_prior(z))
assert (determinants(uneven, z[:200]) - 1).abs().max() > 0.1
twisted = twist(z, c)
covariance = twisted.T @ z / len(z)
left = torch.linalg.svdvals(covariance)
assert (left - 1 / (1 + c**2)).abs().max() < 5 * (2 / len(z)) ** 0.5

# %% tags=["remove-cell"]
glue("twist_left", f"{1 / (1 + c**2):.1f}", display=False)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Three scatter plots of the same points, coloured by the quadrant of the true latent: the true latents with four clean quadrants, the same turned by forty degrees, and twisted into four spiral arms. All three clouds are round and equally wide."}}
fig, axes = plt.subplots(1, 3, figsize=(7.4, 2.7), sharex=True, sharey=True)
shown = z[:1500]
quadrant = (shown[:, 0] > 0).long() + 2 * (shown[:, 1] > 0).long()
palette = [plots.colour(name) for name in ("mvae", "mmvae", "mopoe", "wb-vae")]
for ax, name, points in zip(
    axes,
    ("true", "rotated", "twisted"),
    (shown, shown @ turn(0.7), twist(shown, c)),
    strict=True,
):
    ax.scatter(*points.T, s=4, lw=0, c=[palette[k] for k in quadrant])
    ax.set(title=name, aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
fig.suptitle(
    "Three codes for the same data, which no evidence tells apart",
    weight="bold",
    fontsize=12,
    x=0.01,
    ha="left",
)
plt.show()

# %% [markdown]
# Here linear functions correlate with {glue:text}`twist_left` at most.
#
# **A diagonal encoder has preferences.**
# {prf:ref}`lem-change-of-latents` asks that the encoders may change along.
# Diagonal Gaussians may not, and then a *bound* can fix what the evidence leaves open.
#
# ::::{prf:lemma} What a diagonal encoder likes
# :label: lem-diagonal-preference
#
# Let $p(z\mid x)=\N(\mu,P^{-1})$.
# Among diagonal Gaussians the one with mean $\mu$ and variances $1/P_{dd}$ comes closest, with $\KL{q}{p(z\mid x)}=\frac12\big(\sum_d\log P_{dd}-\log|P|\big)$, which is zero if and only if $P$ is diagonal.
# ::::
#
# :::{prf:proof}
# With variances $v_d$ the divergence is $\frac12\big(\sum_dP_{dd}v_d-D-\sum_d\log v_d-\log|P|\big)$ plus a square that vanishes with equal means; set the derivative in $v_d$ to zero.
# Hadamard's inequality $|P|\le\prod_dP_{dd}$ is strict unless $P$ is diagonal.
# :::
#
# In a linear model $P=I+\sum_mW_m^\top W_m/s_m^2$, and a rotation makes it $R^\top PR$.
# Of all rotations with the same evidence, the ELBO of a diagonal encoder prefers those in which $P$ is diagonal, with one noise scale for all modalities the principal axes of the data; that variational autoencoders pursue these is found by {cite:t}`rolinek2019`.
# They are not the true axes for any reason; but if the eigenvalues of $P$ differ, a model that finds them finds the *same* ones from every seed, up to order and sign, which is easily taken for identification.

# %%
loc, full = oracle.posterior(batch)
precision = torch.linalg.inv(full)
axes_of_data = torch.linalg.eigh(precision).eigenvectors
for basis in (torch.eye(2), rotation, axes_of_data):
    model = changed(image=basis, sound=basis)
    loc, covariance = model.posterior(batch)
    p = torch.linalg.inv(covariance)
    best = torch.diag(1 / p.diagonal())
    predicted = 0.5 * (p.diagonal().log().sum() - torch.logdet(p))
    torch.testing.assert_close(
        model.gap(batch, loc, best), predicted.expand(50), atol=1e-12, rtol=0
    )
    if basis is axes_of_data:
        assert predicted < 1e-12
    else:
        marginal = torch.diag(covariance.diagonal())
        assert (model.gap(batch, loc, marginal) > predicted + 1e-8).all()

# %% [markdown]
# ## Mean correlation coefficients
#
# Let $\hat z_1,\dots,\hat z_I$ be learned latents and $z_1,\dots,z_J$ true ones, as columns of numbers, one row for each example.
# The **strong** score asks for agreement up to order, sign, scale and shift:
#
# $$
# \mathrm{MCC}_{\mathrm s}=\frac1J\sum_{j}\big|\operatorname{corr}(\hat z_{\pi(j)},z_j)\big| ,
# \qquad \pi\ \text{one-to-one, with the largest sum} .
# $$ (eq-mcc-strong)
#
# The best $\pi$ is a linear assignment problem.
# With $I<J$ some true latents have no partner and count zero.
# The **weak** score allows an affine map first:
#
# $$
# \mathrm{MCC}_{\mathrm w}=\frac1J\sum_{j}\big|\operatorname{corr}(a_j^\top\hat z,\,z_j)\big| ,
# \qquad a_j=\operatorname*{arg\,min}_a\,\min_b\sum_{\text{rows}}\big(a^\top\hat z+b-z_j\big)^2 .
# $$ (eq-mcc-weak)
#
# The released code of {cite:t}`hirt2024` uses canonical correlations instead: pairs of directions $(a_k,c_k)$ with the largest correlation, each pair uncorrelated with those before,
#
# $$
# \mathrm{MCC}_{\mathrm c}=\frac1K\sum_{k\le K}\big|\operatorname{corr}(a_k^\top\hat z,\,c_k^\top z)\big| .
# $$ (eq-mcc-canonical)
#
# In all three, $\pi$ and the directions are found on one part of the rows and judged on the other.

# %% tags=["remove-input"]
show(strong_mcc, weak_mcc)

# %% [markdown]
# They are called weak and strong, and one expects one order between them.
#
# ::::{prf:lemma} Orders among the scores
# :label: lem-mcc-order
#
# Let scores be fitted and judged on the same rows, with $I\ge J$.
#
# 1. $\mathrm{MCC}_{\mathrm s}\le\mathrm{MCC}_{\mathrm w}$.
# 2. Matching cannot improve $\mathrm{MCC}_{\mathrm w}$.
# 3. $\mathrm{MCC}_{\mathrm w}$ is at most the first canonical correlation, $\mathrm{MCC}_{\mathrm c}$ with $K=1$.
# 4. If the true latents are uncorrelated, $\mathrm{MCC}_{\mathrm c}\le\mathrm{MCC}_{\mathrm w}$ with $K=J$.
# ::::
#
# :::{prf:proof}
# The least-squares prediction has, of all $a^\top\hat z$, the largest correlation $R_j$ with $z_j$.
# *(1)* $\hat z_{\pi(j)}$ is one of these $a^\top\hat z$.
# *(2)* So is the prediction of another true latent.
# *(3)* $(a_j,\text{the unit vector }e_j)$ is one of the pairs among which the first canonical one is the best.
# *(4)* Let $\hat z$ be whitened and $z$ be scaled to variances one, $C$ their covariance.
# Then $R_j^2=(C^\top C)_{jj}$, and the canonical correlations $\rho_k$ are the roots of the eigenvalues of $C^\top C$, with eigenvectors $u_k$.
# As the root is concave, $R_j=\big(\sum_ku_{kj}^2\rho_k^2\big)^{1/2}\ge\sum_ku_{kj}^2\rho_k$; sum over $j$.
# :::
#
# With canonical correlations the expected order can fail: {ref}`an exercise <ex-canonical-below-strong>` has a strong score above the average canonical correlation.
# That is why we fit by least squares.
# With a single pair, $K=1$, the score is the *best* direction's, and one latent recovered out of many gives one.
#
# **What a rotation scores.**
# By {prf:ref}`lem-rotation` a linear model under a normal prior with independent columns finds true latents up to a rotation.
# Noise aside, the weak score is then one, and the strong one anything from the worst rotation to the best.
#
# ::::{prf:lemma} Strong scores of rotations
# :label: lem-mcc-rotation
#
# Let the true latents be uncorrelated with variance one, and $\hat z=Rz$ with $R$ orthogonal.
# Then $D^{-1/2}\le\mathrm{MCC}_{\mathrm s}\le1$, and in the plane, where the lower end is reached at 45 degrees, a rotation with uniform angle scores $2\sqrt2/\pi$ on average.
# ::::
#
# :::{prf:proof}
# The correlations are $|R_{ij}|$.
# The squares $R_{ij}^2$ have rows and columns that sum to one, so they are an average of permutation matrices with weights $c_\pi$ (Birkhoff).
# The best permutation is at least as good as this average of all: $\max_\pi\sum_i|R_{i\pi(i)}|\ge\sum_\pi c_\pi\sum_i|R_{i\pi(i)}|=\sum_{ij}|R_{ij}|^3$.
# There are $D^2$ entries and their squares sum to $D$; the power mean of order three is at least that of order two, so $\sum_{ij}|R_{ij}|^3\ge D^2\,D^{-3/2}$.
# Divide by $D$.
# In the plane the score is $\max(|\cos\alpha|,|\sin\alpha|)$, whose average is $\frac4\pi\int_0^{\pi/4}\cos\alpha\,\mathrm d\alpha$.
# :::
#
# So in two dimensions {glue:text}`average_rotation` is what latents score on average that are identified up to a rotation and no further.
#
# **Chance.**
# Latents that know nothing of the true ones do not score zero, because correlations count without their sign.
# For independent Gaussians judged on $n$ rows that were not fitted, and $I\ge J$, the strong and the weak score have the expectation
#
# $$
# \E\,|r|=\frac{\Gamma\big(\frac{n-1}2\big)}{\sqrt\pi\,\Gamma\big(\frac n2\big)} ,
# $$ (eq-mcc-chance)
#
# as the correlation $r$ of $n$ independent pairs has a density proportional to $(1-r^2)^{(n-4)/2}$.
# Judged on the rows that were fitted the scores are larger, since the matching and the map are the best for these rows.
#
# **Check** of the values, the bound and the chance level.

# %%
pair = halves(len(z), generator)
for degrees in (0, 20, 45, 70, 90):
    angle = math.radians(degrees)
    expected = max(abs(math.cos(angle)), abs(math.sin(angle)))
    assert abs(strong_mcc(z @ turn(angle), z, pair) - expected) < 5 / len(z) ** 0.5
    assert abs(weak_mcc(z @ turn(angle), z, pair) - 1) < 1e-9

hadamard = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
white = torch.linalg.qr(torch.randn(200, 5, generator=generator)).Q
white = torch.linalg.qr(white[:, :4] - white[:, :4].mean(0)).Q  # uncorrelated in the sample
every = Split(*torch.ones(2, 200, dtype=torch.bool))
torch.testing.assert_close(strong_mcc(white @ hadamard, white, every), torch.tensor(0.5))
for _ in range(100):
    r = torch.linalg.qr(torch.randn(4, 4, generator=generator)).Q
    assert 0.5 - 1e-9 < strong_mcc(white @ r, white, every) < 1

angles = torch.linspace(0, 2 * math.pi, 4001)[:-1]
average_rotation = torch.maximum(angles.cos().abs(), angles.sin().abs()).mean()
torch.testing.assert_close(average_rotation, torch.tensor(2 * 2**0.5 / math.pi), rtol=0, atol=1e-6)

few = 30
outside, inside = [], []
for _ in range(300):
    unrelated, true = torch.randn(2, 2 * few, 3, generator=generator)
    parts = halves(2 * few, generator)
    outside.append(strong_mcc(unrelated, true, parts))
    inside.append(strong_mcc(unrelated, true, Split(parts.fit, parts.fit)))
outside, inside = torch.stack(outside), torch.stack(inside)
error = outside.std() / len(outside) ** 0.5
assert (outside.mean() - chance(few)).abs() < 5 * error
assert inside.mean() > chance(few) + 5 * error

# %% tags=["remove-cell"]
glue("average_rotation", f"{average_rotation:.2f}", display=False)
glue("few", str(few), display=False)
glue("chance_few", f"{chance(few):.2f}", display=False)
glue("chance_inside", f"{inside.mean():.2f}", display=False)

# %% [markdown]
# Unrelated latents judged on {glue:text}`few` rows score {glue:text}`chance_few`, and three of them {glue:text}`chance_inside` on the rows that chose the matching.
# The released code of {cite:t}`hirt2024` computes its weak scores, and its strong score in sample, not from correlations but from the *randomised dependence coefficient* {cite:p}`lopezpaz2013`, the largest canonical correlation between random sines of the ranks.
# It is positive for independent columns, and close to one for monotone functions of each other, which have the same ranks or reversed ones.
# Here it is an argument, `correlation=randomised_dependence(generator)`.

# %%
warped = z[:2000].sign() * z[:2000].square()
part = halves(2000, generator)
depends = randomised_dependence(generator)
unrelated = torch.randn(2000, 2, generator=generator)
measured = {
    "monotone": (warped, z[:2000]),
    "independent": (unrelated, z[:2000]),
}
measured = {
    name: (strong_mcc(*pair_of, part), strong_mcc(*pair_of, part, depends))
    for name, pair_of in measured.items()
}
assert measured["monotone"][0] < 0.95 < 0.999 < measured["monotone"][1]
assert measured["independent"][1] > measured["independent"][0]

# %% tags=["remove-cell"]
for name, values in measured.items():
    for kind, value in zip(("pearson", "rdc"), values, strict=True):
        glue(f"{name}_{kind}", f"{value:.2f}", display=False)

# %% [markdown]
# Of squares with their sign it makes {glue:text}`monotone_rdc` where Pearson's correlation gives {glue:text}`monotone_pearson`, and of independent columns {glue:text}`independent_rdc` in place of {glue:text}`independent_pearson`.

# %% [markdown]
# ## A mixture can fix the axes
#
# Rotations are possible because the prior looks the same from all sides.
# So give it sides: a mixture of diagonal Gaussians, with parameters that are trained along with the decoders,
#
# $$
# p(z)=\sum_{k=1}^Kw_k\,\N\big(z;\mu_k,\operatorname{diag}\sigma_k^2\big) ,
# $$ (eq-mixture-prior)
#
# whose **responsibilities** say which component a latent belongs to,
#
# $$
# p(k\mid z)=\frac{w_k\,\N(z;\mu_k,\operatorname{diag}\sigma_k^2)}{p(z)} .
# $$ (eq-prior-responsibility)

# %% tags=["remove-input"]
show(MixturePrior.log_joint, MixturePrior.log_density, MixturePrior.responsibilities)

# %% [markdown]
# A component of weight zero is not read: whatever its mean and scale hold, values and gradients are those of the others.
#
# ::::{prf:lemma} Maps between mixtures map components
# :label: lem-mixture-components
#
# Let $p$ and $p'$ be mixtures of Gaussians with invertible covariances, each of different components with positive weights, and let $T(z)=Az+b$ with $A$ invertible.
# If $z\sim p$ gives $T(z)\sim p'$, then both have equally many components, and with some permutation $\pi$
#
# $$
# w'_{\pi(k)}=w_k, \qquad \mu'_{\pi(k)}=A\mu_k+b, \qquad \Sigma'_{\pi(k)}=A\Sigma_kA^\top .
# $$
# ::::
#
# :::{prf:proof}
# The law of $T(z)$ is the mixture of $\N(A\mu_k+b,A\Sigma_kA^\top)$ with weights $w_k$, whose components differ as those of $p$ do.
# It equals $p'$.
# Different Gaussian densities are linearly independent, by the proof of {prf:ref}`thm-mixture-no-set`, so a density has only one such representation.
# :::
#
# In particular the affine maps that keep *one* mixture permute its components: a standard normal is kept by infinitely many of them, four equal round bumps at the corners of a square by eight.
# That alone does not help a prior which is trained, since $p'$ may turn along.
# What it cannot do, if its components differ in scale, is turn and stay diagonal.
#
# ::::{prf:theorem} Different scales fix the axes
# :label: thm-mixture-axes
#
# Let $p$ and $p'$ in {prf:ref}`lem-mixture-components` have diagonal covariances, and let $p$ have two components $k$ and $l$ for which the $D$ ratios $\sigma_{k,d}^2/\sigma_{l,d}^2$ are all different.
# Then $A$ is a permutation matrix times a diagonal one: $T$ reorders, scales and shifts the coordinates, and does nothing else.
# ::::
#
# :::{prf:proof}
# Let $G=\Sigma_k\Sigma_l^{-1}$ and $G'=\Sigma'_{\pi(k)}\Sigma_{\pi(l)}'^{-1}$, both diagonal.
# By the lemma $G'=A\Sigma_kA^\top\,A^{-\top}\Sigma_l^{-1}A^{-1}=AGA^{-1}$, so $A$ takes eigenvectors of $G$ to eigenvectors of $G'$ with the same eigenvalue.
# The eigenvalues of $G$ are the ratios, all different, so its eigenvectors are the coordinate axes and those of $G'$ are, too.
# So $A$ takes each axis to an axis, and different ones to different ones.
# :::
#
# It is the *differences of scale* that do it, and not the number of components.
# If all components have one covariance, which we may take for the identity after scaling, a rotation gives means $R\mu_k$ and the same covariance: a mixture of the same kind, with the same evidence.
# So three or more clusters of equal shape leave the axes as free as a standard normal does.
# Where some ratios agree, the proof leaves rotations, before and after a scaling, among the coordinates that share a ratio; another pair of components may exclude these.

# %% [markdown]
# **Check** of both, by densities and by what a rotation costs.
# For an angle $\alpha$ turn a mixture, and compare it with the diagonal mixture that has its weights, its means and, in each component, the variances along the axes; the divergence is integrated on a grid.
# A trained prior may find a better mixture, and a decoder's noise hides a part, so this is an upper end of the evidence lost.
# By the theorems no diagonal mixture makes the loss zero between the quarter turns, though one with many components may come close.

# %%
plane = Plane(extent=9.0, side=241)


def mixture(loc, scale):
    loc, scale = torch.tensor(loc), torch.tensor(scale)
    return MixturePrior(loc, scale, torch.full((len(loc),), 1 / len(loc)))


def cost(prior, angle):
    """KL from the turned mixture to the nearby diagonal one, in nats."""
    r = turn(angle)
    variances = (r.square() @ prior.scale.square().T).T  # diagonal of R Sigma_k R^T
    diagonal = MixturePrior(prior.loc @ r.T, variances.sqrt(), prior.weights)
    return plane.kl(prior.log_density(plane.points @ r), diagonal.log_density(plane.points))


square = mixture([[2.0, 2.0], [-2.0, 2.0], [-2.0, -2.0], [2.0, -2.0]], [[0.6, 0.6]] * 4)
kept = square.log_density(plane.points @ turn(math.pi / 2))
torch.testing.assert_close(kept, square.log_density(plane.points))
assert plane.kl(square.log_density(plane.points @ turn(math.pi / 4)), kept) > 0.1

priors = {
    "one component": mixture([[0.0, 0.0]], [[1.0, 1.0]]),
    "equal scales": mixture([[2.0, 1.0], [-2.0, 0.5], [0.5, -2.0]], [[0.7, 0.7]] * 3),
    "different scales": mixture(
        [[2.0, 1.0], [-2.0, 0.5], [0.5, -2.0]], [[0.4, 1.0], [0.7, 0.7], [1.2, 0.5]]
    ),
}
degrees = torch.arange(0, 181, 6)
costs = {
    name: torch.stack([cost(prior, math.radians(a)) for a in degrees.tolist()])
    for name, prior in priors.items()
}
for name, prior in priors.items():
    assert plane.outside(prior.log_density(plane.points)).abs() < 1e-6, name
for name in ("one component", "equal scales"):
    assert costs[name].abs().max() < 1e-9
quarter = degrees % 90 == 0
assert costs["different scales"][quarter].abs().max() < 1e-9
assert costs["different scales"][~quarter].min() > 1e-4

# %% tags=["remove-input"] mystnb={"image": {"alt": "Left: three ellipses of different sizes and shapes with axes parallel to the coordinates. Right: cost in nats against the angle of rotation from 0 to 180 degrees; zero at all angles for one component and for components of equal scales, two humps with zeros at 0, 90 and 180 degrees for components of different scales."}}
fig, (left_ax, right_ax) = plt.subplots(
    1, 2, figsize=(7.4, 3.3), gridspec_kw={"width_ratios": [1, 1.7]}
)
for loc, scale in zip(*priors["different scales"][:2], strict=True):
    plots.ellipse(left_ax, loc, scale, color=MIXTURE)
left_ax.set(aspect="equal", xlabel="$z_1$", ylabel="$z_2$")
for values, color, style in zip(
    costs.values(), (NORMAL, EQUAL, MIXTURE), ("-", "--", "-"), strict=True
):
    right_ax.plot(degrees, values, color=color, ls=style)
right_ax.annotate(
    "one component, or equal scales",
    (90, 0),
    xytext=(0, -5),
    textcoords="offset points",
    ha="center",
    va="top",
    color=NORMAL,
)
right_ax.annotate(
    "different scales",
    (45, float(costs["different scales"].max())),
    xytext=(0, 4),
    textcoords="offset points",
    ha="center",
    color=MIXTURE,
)
right_ax.margins(y=0.18)
right_ax.set(xticks=[0, 45, 90, 135, 180], xlabel="rotation, degrees", ylabel="cost, nats")
fig.suptitle(
    "Components of different shape make rotations cost evidence",
    weight="bold",
    fontsize=12,
    x=0.01,
    ha="left",
)
plt.show()

# %% [markdown]
# ## From latents to data
#
# {prf:ref}`thm-mixture-axes` is about latents, which are not observed.
# Linear decoders carry it over.
#
# ::::{prf:theorem} Linear decoders under mixture priors
# :label: thm-linear-mixture
#
# Let $x\mid z\sim\N(Wz+b,\Psi)$ with $W$ of rank $D$, and $p(z)$ as in {eq}`eq-mixture-prior` with two components as in {prf:ref}`thm-mixture-axes`; let $W'$, $b'$, $p'$ be another such model with the same noise $\Psi$.
# If both have the same evidence, then $W=W'A$ with $A$ a permutation matrix times a diagonal one: the latents are identified up to order, sign, scale and shift.
# ::::
#
# :::{prf:proof}
# The characteristic function of $x$ is that of $Wz+b$ times that of the noise, $e^{-\frac12t^\top\Psi t}$, which is nowhere zero and can be divided out.
# So $Wz+b$ with $z\sim p$ and $W'z'+b'$ with $z'\sim p'$ have the same law.
# Its support is all of an affine space, the image of the one map and of the other.
# So there is for each $z$ one $T(z)$ with $W'T(z)+b'=Wz+b$; it is affine and invertible, and takes $p$ to $p'$.
# With $T(z)=Az+a$ we get $W=W'A$; apply {prf:ref}`thm-mixture-axes`.
# :::
#
# For such models the evidence is itself a mixture, and training needs neither bound nor encoder:
#
# $$
# p(x)=\sum_{k=1}^Kw_k\,\N\big(x;\;W\mu_k+b,\;W\operatorname{diag}(\sigma_k^2)\,W^\top+\Psi\big) .
# $$ (eq-linear-mixture-evidence)
#
# Non-linear decoders need one more step.
# Networks with leaky rectifiers are *piecewise affine*, and there is a theorem of {cite:t}`kivva2022` for them.
# Of it we had only the abstract, which speaks of a broader class; the case that we need has a short proof.
#
# ::::{prf:theorem} Piecewise affine maps between mixtures are affine
# :label: thm-piecewise-affine
#
# Let $p$ and $p'$ be finite mixtures of Gaussians with invertible covariances in $\mathbb R^D$.
# Let $T:\mathbb R^D\to\mathbb R^D$ be continuous and one-to-one, and affine on each of finitely many closed polyhedra that make up the space and overlap at most at their boundaries.
# If $z\sim p$ gives $T(z)\sim p'$, then $T$ is affine.
# ::::
#
# :::{prf:proof}
# *Every piece is a map from $p$ to $p'$.*
# Polyhedra with interior cover the space, since their union is closed and leaves out no volume.
# On one of them let $T$ agree with the affine $T_i$, which is invertible since $T$ is one-to-one.
# In the image of that interior the density of $T(z)$ is that of $T_i(z)$, so it equals $p'$ on an open set.
# Both are densities of Gaussian mixtures, which are analytic, so they agree everywhere: $T_i$ takes $p$ to $p'$.
#
# *Neighbours agree.*
# Let two polyhedra with interior meet in a set of dimension $D-1$, part of a hyperplane $H$.
# There $T_i$ and $T_j$ agree, so $Q=T_j^{-1}T_i$ is affine, takes $p$ to $p$, and is the identity on $H$.
# So either $Q$ is the identity, or it stretches a direction across $H$ by some factor $\lambda\notin\{0,1\}$, or it is a shear along $H$.
# By {prf:ref}`lem-mixture-components` $Q$ permutes components, so some power $Q^n$, $n\ge1$, keeps one of them, and all further powers of $Q^n$ keep it, too.
# Their linear parts $L$ keep its covariance, $L\Sigma L^\top=\Sigma$, so $\Sigma^{-1/2}L\Sigma^{1/2}$ is orthogonal: they stay bounded, as do their inverses.
# Powers of a shear do not, nor do those of a stretch by $|\lambda|\ne1$.
# And with $\lambda<0$, where $Q$ swaps the sides of $H$, the images of the two polyhedra would lie on the same side of $T_i(H)$ and overlap next to it.
# So $Q$ is the identity.
#
# *All agree.*
# A path that avoids what has dimension $D-2$ or less leads from any polyhedron to any other through such neighbours.
# :::
#
# ::::{prf:theorem} Piecewise affine decoders
# :label: thm-piecewise-decoders
#
# Let $x\mid z\sim\N(f(z),\Psi)$ and $x\mid z\sim\N(f'(z),\Psi)$ with mixture priors $p$ and $p'$ on $\mathbb R^D$, and let $f$ and $f'$ be continuous, one-to-one and affine on each of finitely many closed polyhedra that make up $\mathbb R^D$.
# The covariances of the priors are invertible.
# If both have the same evidence, then $f=f'\circ T$ with $T$ affine, and $T$ takes $p$ to $p'$.
# If the priors are as in {prf:ref}`thm-mixture-axes`, $T$ reorders, scales and shifts.
# ::::
#
# :::{prf:proof}
# As before, $f(z)$ and $f'(z')$ have the same law.
# The image of $f$ is a finite union of closed polyhedra, hence closed, and as $p$ is positive everywhere it is the support of that law; so $f$ and $f'$ have the same image.
# $f'^{-1}$ is affine on each of the finitely many closed images of the pieces of $f'$, hence continuous.
# So $T=f'^{-1}\circ f$ is continuous and one-to-one, and affine where $f$ is on one piece and its value in the image of one piece of $f'$; these sets are polyhedra.
# And $f'(T(z))=f(z)$ has the law of $f'(z')$, so $T$ takes $p$ to $p'$; apply {prf:ref}`thm-piecewise-affine`.
# :::
#
# Note what is *not* assumed: a single component will do for $T$ affine, where it leaves the rotations.
# The twist is no counterexample, as it is not piecewise affine.
# So with decoders of leaky rectifiers, and a prior that can be that of the data, latents are identified up to an affine map, and up to order, sign, scale and shift where components differ in scale.
# That the network is one-to-one and the noise known are conditions; and the theorems speak of equal evidence, not of nearly equal evidence, nor of what an optimiser finds.
#
# **Check.** A fold keeps volumes and is one-to-one: it shears one half of the plane and leaves the other.
# On each half the density is that of a mixture, and as the two mixtures differ, the whole is none.
# And two networks of the same form, with matrices turned against each other, are no affine map apart, so no mixture priors give them the same evidence.

# %%
prior = priors["different scales"]
shear = torch.tensor([[1.0, 0.0], [0.8, 1.0]])


def unfolded(y):
    """Inverse of: add 0.8 max(z_1, 0) to z_2."""
    return torch.stack([y[:, 0], y[:, 1] - 0.8 * y[:, 0].clamp_min(0)], 1)


density = prior.log_density(unfolded(plane.points))
right = plane.points[:, 0] > 0
sheared = prior.log_density(plane.points @ torch.linalg.inv(shear).T)
torch.testing.assert_close(density[right], sheared[right])
torch.testing.assert_close(density[~right], prior.log_density(plane.points)[~right])
assert (density - sheared)[~right].abs().max() > 1
assert (density - prior.log_density(plane.points))[right].abs().max() > 1

one = random_segments(5, 2, generator)
latents, _, _ = one.sample(500, generator)
moved = Segments(one.prior, turn(0.5) @ one.mixing).unmix(one.mix(latents))
affine = torch.cat([latents, torch.ones(500, 1)], 1)
residual = moved - affine @ torch.linalg.lstsq(affine, moved).solution
assert residual.abs().max() > 0.1

# %% [markdown]
# ## Another modality as auxiliary variable
#
# The theorems had to prove that components are recognised.
# If a second modality $u$ *names* them, as a class does, that is given, and more priors become possible: $p(z\mid u)$ in the place of $p(z)$.
# {cite:t}`khemakhem2020` condition the prior on such an auxiliary variable; in the released code of {cite:t}`hirt2024` its place is taken by another modality.
#
# ::::{prf:lemma} A prior for each value
# :label: lem-conditional-prior
#
# Let $x$ be independent of a discrete $u$ given $z$, with decoders of $x$ as in {prf:ref}`thm-piecewise-decoders`, and let both models have the same evidence for the pair $(x,u)$.
# If $p(z\mid u)$ and $p'(z\mid u)$ are mixtures of Gaussians, one and the same affine $T$ takes $p(z\mid u)$ to $p'(z\mid u)$ for every value of $u$ that has positive probability.
# If they are single diagonal Gaussians in both models, and for two such values $u$, $v$ the ratios $\sigma_{u,d}^2/\sigma_{v,d}^2$ are all different, $T$ reorders, scales and shifts.
# ::::
#
# :::{prf:proof}
# The evidence of the pair determines $p(u)$ and, where this is positive, $p(x\mid u)=\int p(z\mid u)\,p(x\mid z)\,\mathrm dz$.
# {prf:ref}`thm-piecewise-decoders`, with $p(z\mid u)$ for a prior, gives $T=f'^{-1}\circ f$, which does not depend on $u$.
# The proof of {prf:ref}`thm-mixture-axes` applies with $k=u$, $l=v$, and the permutation $\pi$ is the identity.
# :::
#
# The theorem of {cite:t}`khemakhem2020` is for exponential families and for decoders that need not be piecewise affine; we do not prove it.
#
# The gain lies in the *form* of $p(z\mid u)$, not in the presence of $u$.
# A class with a decoder of its own has $p(z\mid u)\propto p(z)\,p(u\mid z)$: if its decoder is {eq}`eq-prior-responsibility`, this is a component of the mixture and the lemma applies, but for a free decoder as in the released code it is in general no mixture of Gaussians.
# A second modality with a free decoder under a standard normal prior is one more modality: by {prf:ref}`lem-change-of-latents` both decoders turn along, and the evidence of the pair is the same.
# **Check** by quadrature, with a class $u$ whose decoder is a softmax; turning $x$ alone is the twin.

# %%
fine = Plane(extent=5.0, side=161)
w_x = torch.randn(3, 2, generator=generator)
w_u = 2 * torch.randn(4, 2, generator=generator)
points = torch.randn(6, 3, generator=generator)


def pair_evidence(r_x, r_u):
    """log p(x, u) for six x and all u, `(6, 4)`."""
    at = fine.points
    log_u = torch.log_softmax(at @ (w_u @ r_u).T, -1)  # (N, 4)
    mean = at @ (w_x @ r_x).T
    log_x = gaussians.log_density(points[:, None], mean, torch.full_like(mean, 0.5))  # (6, N)
    joint = log_x[:, None] + log_u.T + gaussians.log_prior(at)
    return fine.evidence(joint)


same, r = torch.eye(2), turn(0.6)
torch.testing.assert_close(pair_evidence(r, r), pair_evidence(same, same), rtol=0, atol=1e-6)
assert (pair_evidence(r, same) - pair_evidence(same, same)).abs().max() > 0.05

# %% [markdown]
# ### What is shared is identified
#
# A second modality with a free decoder does help with something else: it tells what is shared.
# Let two modalities share $z\in\mathbb R^C$ and have private latents $u_m\in\mathbb R^{P_m}$, all standard normal:
# $x_m=W_mz+V_mu_m+\varepsilon_m$, with $\varepsilon_m\sim\N(0,s_m^2I)$ and known $s_m$.
# All that the evidence knows are the covariances
#
# $$
# C_{mm}=W_mW_m^\top+V_mV_m^\top+s_m^2I , \qquad C_{12}=W_1W_2^\top .
# $$ (eq-shared-covariance)
#
# One modality alone gives $[W_m\ V_m]$ up to a rotation of all $C+P_m$ latents, shared ones into private ones.
# The pair does not allow that.
#
# ::::{prf:theorem} Shared and private latents
# :label: thm-shared-private
#
# Let $[W_1\ V_1]$ and $W_2$ have linearly independent columns.
# Another model with as many latents of each kind has the same evidence if and only if $W_m'=W_mR$ for both $m$, with *one* orthogonal $R$, and $V_m'=V_mR_m$ with orthogonal $R_m$.
# Moreover, $W_1$ spans the column space of $C_{12}$, and with the pseudo-inverse $^+$
#
# $$
# W_2W_2^\top=C_{12}^\top\,\big(C_{11}-s_1^2I\big)^+\,C_{12} , \qquad W_1=C_{12}\,W_2\,\big(W_2^\top W_2\big)^{-1} .
# $$ (eq-shared-split)
# ::::
#
# :::{prf:proof}
# Rotations keep {eq}`eq-shared-covariance`.
# Conversely, let $W_1'W_2'^\top=W_1W_2^\top$.
# The right side has rank $C$, so all four factors have, and $W_1'$ and $W_1$ span its column space: $W_1'=W_1G$ with $G$ invertible, and then $W_2'=W_2G^{-\top}$.
# For the private part of the first modality,
#
# $$
# V_1'V_1'^\top=V_1V_1^\top+W_1(I-GG^\top)W_1^\top=B\begin{pmatrix}I-GG^\top&0\\0&I\end{pmatrix}B^\top , \qquad B=[W_1\ V_1] .
# $$
#
# $B$ has independent columns, so the rank is $P_1$ plus that of $I-GG^\top$; but $V_1'$ has only $P_1$ columns.
# So $GG^\top=I$, $G^{-\top}=G$ is the $R$ of both, and $V_m'V_m'^\top=V_mV_m^\top$ for both $m$; the proof of {prf:ref}`lem-rotation` gives $R_m$.
# For the formula, $C_{11}-s_1^2I=BB^\top$, and $B^\top(BB^\top)^+B=I$ as the columns of $B$ are independent, so $W_1^\top(BB^\top)^+W_1=I$; multiply by $W_2$ from the left and $W_2^\top$ from the right.
# Finally $C_{12}W_2=W_1W_2^\top W_2$.
# :::
#
# Seen from the other side this is a conditional prior: given $x_2$, the mean of $z$ moves with $x_2$ and that of $u_1$ does not.
# The directions in which $x_1$ moves on average when $x_2$ does are those of $C_{12}$.
# Within the shared latents, and within the private ones, the axes stay free, and a mixture is needed to fix them.

# %% tags=["remove-input"]
show(TwoModalities.covariance, split)

# %% [markdown]
# **Check**: covariances in, loadings out, up to the rotations of the theorem.
# The first twin turns shared into private latents, unseen in the one modality and seen in the pair.
# The second shows that independent columns are needed: in one dimension, one shared and one private latent, the lengths are free.

# %%
truth = TwoModalities(
    (torch.randn(6, 2, generator=generator), torch.randn(4, 2, generator=generator)),
    (torch.randn(6, 3, generator=generator), torch.randn(4, 1, generator=generator)),
    (0.5, 0.8),
)
found = split(truth.covariance(), truth.noise, 2, (3, 1))
common = rotation_between(found.shared[0], truth.shared[0])
for w, v in zip(found.shared, truth.shared, strict=True):
    torch.testing.assert_close(w @ common, v)
for w, v in zip(found.private, truth.private, strict=True):
    torch.testing.assert_close(w @ rotation_between(w, v), v)
columns = torch.linalg.svd(truth.covariance()[2]).U[:, :2]
assert subspace_angles(columns.numpy(), truth.shared[0].numpy()).max() < 1e-7

together = torch.cat([truth.shared[0], truth.private[0]], 1)
together = together @ torch.linalg.qr(torch.randn(5, 5, generator=generator)).Q
turned = truth._replace(
    shared=(together[:, :2], truth.shared[1]), private=(together[:, 2:], truth.private[1])
)
torch.testing.assert_close(turned.covariance()[:2], truth.covariance()[:2])
assert (turned.covariance()[2] - truth.covariance()[2]).abs().max() > 0.1

unit = torch.ones(1, 1)
plain = TwoModalities((unit, unit), (unit, unit), (0.5, 0.5))
grown = TwoModalities(
    (1.2 * unit, unit / 1.2),
    ((2 - 1.2**2) ** 0.5 * unit, (2 - 1.2**-2) ** 0.5 * unit),
    (0.5, 0.5),
)
torch.testing.assert_close(grown.covariance(), plain.covariance())

# %% [markdown]
# ## What training finds
#
# Sources in {glue:text}`dimensions` dimensions come in {glue:text}`segments` segments: each has means from $U(-5,5)$ and standard deviations from $U(0.5,3)$, as in the released code.
# A random linear map takes them to {glue:text}`data_dimensions` dimensions, with noise of known size.
# Three models with linear decoders are trained on {glue:text}`rows` examples by gradient ascent on the exact evidence {eq}`eq-linear-mixture-evidence`: with a standard normal prior, with a mixture whose components share their scales, and with a mixture that is free.
# Each starts from the principal axes, turned at random, from {glue:text}`runs` seeds.
# Learned latents are posterior means; half of the rows fit matching and maps, the others judge.
# The last line of the table scores the posterior means of the *true* model, which noise keeps below one.

# %%
source = random_segments(5, 3, torch.Generator().manual_seed(seed + 5))
prior, count = source.prior, 1500
sources, chosen = prior.sample(count, generator)
mixing = torch.randn(5, 3, generator=generator)
noise = 0.5
data = sources @ mixing.T + noise * torch.randn(count, 5, generator=generator)
parts = halves(count, generator)

true_model = MixtureFactors(mixing, torch.zeros(5), prior, noise)
fits = {
    kind: mixture_factors.fit(data, 3, kind, 5, noise, range(runs), steps, learning_rate=0.1)
    for kind in mixture_factors.PRIORS
}


def scores(model):
    """Evidence per example, weak and strong score of each seed, `(3, R)`."""
    means = model.posterior_mean(data)
    means = means if means.dim() == 3 else means[None]
    level = model.log_evidence(data).mean(-1).expand(len(means))
    weak = torch.stack([weak_mcc(m, sources, parts) for m in means])
    strong = torch.stack([strong_mcc(m, sources, parts) for m in means])
    return torch.stack([level, weak, strong])


results = {kind: scores(model) for kind, model in fits.items()} | {"truth": scores(true_model)}

# %% tags=["remove-cell"]
glue("dimensions", str(len(mixing.T)), display=False)
glue("data_dimensions", str(len(mixing)), display=False)
glue("segments", str(len(prior.weights)), display=False)
glue("rows", f"{count:,}", display=False)
glue("runs", str(runs), display=False)
likeliest = results["mixture"][0].argmax()
glue("best_strong", f"{results['mixture'][2, likeliest]:.3f}", display=False)
glue("true_strong", f"{results['truth'][2, 0]:.3f}", display=False)
NAMES = {
    "normal": "standard normal",
    "equal scales": "mixture, equal scales",
    "mixture": "mixture",
    "truth": "*true model*",
}


def spread(values, digits):
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}"


def line(kind):
    level, weak, strong = results[kind]
    told_apart = len(level) == 1 or level.max() - level.min() > 1e-3
    best = f"{strong[level.argmax()]:.3f}" if told_apart else "no seed is likelier"
    cells = [NAMES[kind], spread(level, 3), spread(weak, 3), spread(strong, 3)]
    cells += [f"{strong.min():.3f}", best]
    return "| " + " | ".join(cells) + " |"


# %% tags=["remove-input"]
Markdown(
    "\n".join(
        [
            "| prior | evidence, nats per example | weak MCC | strong MCC | its smallest "
            "| of the likeliest seed |",
            "|---|---|---|---|---|---|",
            *map(line, results),
            "",
            f"Mean ± standard deviation over seeds, profile `{profile}`: "
            "a demonstration on one data set, not a paper's number.",
        ]
    )
)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Strong score against evidence, one dot a seed. Dots of the standard normal stand in one vertical line at low evidence with all kinds of scores, those of equal scales further right and as spread; of the free mixture the likeliest are at the level of the true model and the less likely below it."}}
fig, ax = plt.subplots(figsize=(6.4, 3.5))
for kind, color, marker in zip(
    mixture_factors.PRIORS, (NORMAL, EQUAL, MIXTURE), "os^", strict=True
):
    level, _, strong = results[kind]
    ax.plot(level, strong, marker, color=color, ms=7, alpha=0.8, mew=0, label=NAMES[kind])
ax.axhline(float(results["truth"][2]), color="0.4", lw=1, ls=":")
ax.annotate(
    "true model",
    (0.02, float(results["truth"][2])),
    xycoords=("axes fraction", "data"),
    xytext=(0, -4),
    textcoords="offset points",
    va="top",
    color="0.4",
)
ax.legend(loc="lower left", bbox_to_anchor=(0.1, 0.0))
ax.set(
    xlabel="evidence, nats per example",
    ylabel="strong MCC",
    ylim=(0.52, 1.03),
    title="Only under the free mixture does evidence tell axes apart",
)
plots.stamp(ax, profile)
plt.show()

# %% [markdown]
# The weak scores are those of the true model for all three.
# For the free mixture {prf:ref}`thm-linear-mixture` lets expect it; the other two priors are wrong for these data.
# But under the normal prior the likeliest loadings still span the principal axes of the covariance, and equal scales lose no direction here, either.
# Under the normal prior all seeds have one evidence, and their strong scores differ.
# Equal scales cannot fit segments of different shape and lose evidence, and seeds of one evidence still differ in their scores.
# Under the free mixture the likeliest seed scores {glue:text}`best_strong`, the true model {glue:text}`true_strong`.
# Its other seeds sit in lesser optima, and most of them score less.
# That is what identifiability promises: not that every run succeeds, but that evidence is a judge of latents, with enough data.

# %%
truth_level, truth_weak, truth_strong = results["truth"][:, 0]
for kind in mixture_factors.PRIORS:
    assert (results[kind][1] > truth_weak - 0.02).all()
flat = results["normal"][0]
assert flat.max() - flat.min() < 1e-3
assert results["normal"][2].max() - results["normal"][2].min() > 0.05, "one evidence, any score"
level, _, strong = results["mixture"]
assert strong[level.argmax()] > truth_strong - 0.02
assert level.max() > results["equal scales"][0].max() > flat.max()

# %% [markdown]
# ## Paper, released code, here
#
# | | paper | released code | here |
# |---|---|---|---|
# | **theorems** | not known to us | | {prf:ref}`thm-piecewise-decoders`, {prf:ref}`lem-conditional-prior` and {prf:ref}`thm-shared-private` |
# | **auxiliary variable** | not known to us | another modality: a class with a decoder of its own | a class, and a linear modality |
# | **prior** | mixtures, as a review reports | $K$ Gaussians or Laplaces, trained; standard normal for $K=1$ | {eq}`eq-mixture-prior` |
# | **correlation** | not known to us | Pearson for the strong score out of sample; randomised dependence for the weak scores and in sample | one for all, Pearson by default |
# | **weak score** | not known to us | canonical, {eq}`eq-mcc-canonical`, with one pair | least squares, {eq}`eq-mcc-weak`; canonical as an option |
# | **rows** | not known to us | first half fits, second half judges; also in sample | a random half fits, the other judges |
# | **latents scored** | not known to us | one sample of $q(z\mid x)$ for each example | posterior means |
#
# With one pair the released weak score is that of the best direction, with Pearson's correlation an upper end by {prf:ref}`lem-mcc-order`.
# The bimodal experiment of the released code has two latents, five segments, a class as second modality, the mixing {eq}`eq-segment-mixing`, and 4,000 epochs; {glue:text}`segment_rows` rows of such data are drawn below.
# {doc}`/chapters/bounds/segments_experiment` trains encoders on them, and on four modalities of which half are missing.
#
# $$
# x=\ell(zA)\,A+\varepsilon, \qquad \ell(t)=\max(t,0.1\,t), \qquad A\ \text{orthogonal},\quad \varepsilon\sim\N(0,0.1^2I) .
# $$ (eq-segment-mixing)

# %% tags=["remove-input"]
show(Segments.mix, Segments.unmix)

# %% tags=["remove-cell"]
five = random_segments(5, 2, torch.Generator().manual_seed(seed))
drawn, observed, segment = five.sample(2000, generator)
glue("segment_rows", f"{len(drawn):,}", display=False)
torch.testing.assert_close(five.unmix(five.mix(drawn)), drawn)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Two scatter plots coloured by segment: five overlapping axis-parallel clouds of true latents, and the same points after mixing, turned, with part of each cloud squeezed into narrow wedges."}}
fig, axes = plt.subplots(1, 2, figsize=(7.0, 3.2))
palette = [plots.colour(n) for n in ("mvae", "mmvae", "mopoe", "wb-vae", "log-pool")]
for ax, name, at in zip(axes, ("latents", "data"), (drawn, observed), strict=True):
    ax.scatter(*at.T, s=4, lw=0, c=[palette[k] for k in segment])
    ax.set(xlabel=name + ", first", ylabel=name + ", second")
fig.suptitle(
    "Segments, and what a leaky rectifier leaves of them",
    weight="bold",
    fontsize=12,
    x=0.01,
    ha="left",
)
plt.show()

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-canonical-below-strong
# Find two learned and two true latents with a strong score above the average canonical correlation.
# ::::
#
# ::::{solution} ex-canonical-below-strong
# :class: dropdown
# Let both learned latents hold $z_1+z_2$, one of them with a little noise.
# Each correlates with each true latent by $1/\sqrt2$, which is the strong score.
# They span one direction with signal and one without, so the canonical correlations are one and zero, one half on average.
# ::::

# %% tags=["hide-input", "remove-output"]
total = z.sum(1, keepdim=True)
copies = torch.cat([total, total + 0.01 * torch.randn(len(z), 1, generator=generator)], 1)
everything = Split(*torch.ones(2, len(z), dtype=torch.bool))
assert abs(strong_mcc(copies, z, everything) - 0.5**0.5) < 0.01
assert abs(canonical_mcc(copies, z, everything) - 0.5) < 0.02
assert strong_mcc(copies, z, everything) <= weak_mcc(copies, z, everything)

# %% [markdown]
# ::::{exercise}
# :label: ex-three-modalities
# Three modalities share $z$, each with private latents and noise of which *nothing* is known.
# Show that $W_1,W_2,W_3$, with independent columns each, are still determined up to one rotation, and give $W_1W_1^\top$ in terms of the covariances between modalities.
# What is left open with two modalities?
# ::::
#
# ::::{solution} ex-three-modalities
# :class: dropdown
# As in {prf:ref}`thm-shared-private`, $C_{mn}=W_mW_n^\top$ gives $W_m'=W_mG_m$ with $G_mG_n^\top=I$ for all $m\ne n$.
# So $G_2=G_1^{-\top}=G_3$, and $G_2G_3^\top=G_2G_2^\top=I$.
# And $C_{12}\,C_{32}^{+}\,C_{31}=W_1W_2^\top\,(W_3W_2^\top)^+\,W_3W_1^\top=W_1W_1^\top$, since $(W_3W_2^\top)^+=W_2^{\top+}W_3^+$ for independent columns.
# With two modalities $G_2=G_1^{-\top}$ and no more: any $G_1$ that leaves the private covariances positive semi-definite, as in probabilistic canonical correlation analysis {cite:p}`bach2005`.
# ::::

# %% tags=["hide-input", "remove-output"]
w_1, w_2, w_3 = (torch.randn(d, 2, generator=generator) for d in (5, 4, 3))
inverse = torch.linalg.pinv(w_3 @ w_2.T, rtol=1e-10)
torch.testing.assert_close((w_1 @ w_2.T) @ inverse @ (w_3 @ w_1.T), w_1 @ w_1.T)

# %% [markdown]
# ::::{exercise}
# :label: ex-too-many-private
# Somebody does not know $P_1$ and $P_2$, and trains with more private latents than there are.
# The proof of {prf:ref}`thm-shared-private` counts ranks, and then fails.
# Show that the shared loadings are still identified if $[W_1\ V_1]$ *and* $[W_2\ V_2]$ have independent columns.
# ::::
#
# ::::{solution} ex-too-many-private
# :class: dropdown
# $V_1'V_1'^\top$ is positive semi-definite, so $I-GG^\top$ is: no eigenvalue of $GG^\top$ is above one.
# For the second modality $W_2'=W_2G^{-\top}$, and $I-(GG^\top)^{-1}$ has to be positive semi-definite as well: no eigenvalue is below one.
# So $GG^\top=I$, and the spare private latents have nothing to explain.
# What the first modality gives up the second would have to take, and cannot:
# ::::

# %% tags=["hide-input", "remove-output"]
gains = torch.diag(torch.tensor([0.8, 1.0]))
for m, gg in enumerate((gains @ gains.T, torch.linalg.inv(gains @ gains.T))):
    w, v = truth.shared[m], truth.private[m]
    private_part = v @ v.T + w @ (torch.eye(2) - gg) @ w.T
    smallest = torch.linalg.eigvalsh(private_part).min()
    assert smallest > -1e-12 if m == 0 else smallest < -1e-3

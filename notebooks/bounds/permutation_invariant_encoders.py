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
# # Permutation-invariant encoders
#
# Products, mixtures and barycenters fix in advance how the modalities of a subset are combined.
# {cite:t}`hirt2024` learn it: a network reads the *set* of the modalities' features, whatever its size, and answers with a posterior.
# This chapter proves that such networks do not depend on the order of the modalities, that an exact product of experts is one of them, with weights that we write down, and that a mixture of experts is not.
# It ends with the question that all aggregators share: which of them can be right for every subset at once?

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
from itertools import permutations
from math import comb

import matplotlib.pyplot as plt
import torch
from myst_nb import glue
from scipy.optimize import minimize

from multielbo import barycenters, gaussians, linear_data, masks, plots
from multielbo import oracle_bounds as bounds
from multielbo import oracle_encoders as encoders
from multielbo.equivariant_encoders import EquivariantSelfAttention, EquivariantSumPooling
from multielbo.masked import masked_elbo
from multielbo.networks import seeded
from multielbo.oracle import LinearGaussian
from multielbo.oracle_bounds import LinearEncoder
from multielbo.profiles import check_profile
from multielbo.publishing.show import show
from multielbo.set_constructions import product_by_sum, votes
from multielbo.set_encoders import SelfAttention, SumPooling
from multielbo.set_networks import TransformerBlock

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)
PRODUCT, MIXTURE, WASSERSTEIN = map(plots.colour, ("mvae", "mmvae", "wb-vae"))
steps = {"quick": 300, "laptop": 2000, "full": 10_000}[profile]

# %% [markdown]
# ## Two ways to read a set
#
# Each modality has an encoder of its own, which gives **features** $e_m=f_m(x_m)\in\mathbb R^E$, all of the same number $E$.
# A **set encoder** turns $\{e_m:m\in S\}$ into $q(z\mid x_S)$.
# With networks $\chi$ and $\rho$ that are shared by all modalities and all subsets, *sum pooling* {cite:p}`zaheer2017` is
#
# $$
# q(z\mid x_S)=\N\big(\mu,\operatorname{diag}\sigma^2\big), \qquad
# (\mu,\log\sigma^2)=\rho\Big(\sum_{m\in S}\chi(e_m)\Big) .
# $$ (eq-sum-pooling)
#
# Here members cannot see each other before they are added.
# In *self-attention* {cite:p}`lee2019` they can.
# One transformer block takes elements $g_m$, $m\in S$, to
#
# $$
# g_m'=g_m+\sum_{n\in S}\frac{\exp\langle Q\bar g_m,K\bar g_n\rangle}{\sum_{l\in S}\exp\langle Q\bar g_m,K\bar g_l\rangle}\,V\bar g_n , \qquad
# g_m''=g_m'+F(\bar g_m') ,
# $$ (eq-attention-block)
#
# where the bar is a layer norm, $F$ a network with one hidden layer, and $Q,K,V$ are matrices; the code has several such sums, its *heads*, side by side, and scales the scalar products by the root of their length.
# With $L$ blocks, from $g_m=\chi(e_m)$,
#
# $$
# (\mu,\log\sigma^2)=\rho\Big(\sum_{m\in S}\bar g_m^{(L)}\Big) .
# $$ (eq-self-attention)
#
# Both can answer with a mixture of $C$ Gaussians, $\rho$ then gives $C$ means, variances and logits.
# The sum over the empty set is zero, so $q(z\mid x_\emptyset)$ is a learned constant.

# %% tags=["remove-input"]
show(SumPooling.pooled, TransformerBlock.forward, TransformerBlock.attended, SelfAttention.pooled)

# %% [markdown]
# ::::{prf:proposition} Order does not matter
# :label: prop-set-invariance
#
# Let $\pi$ be a permutation of the modalities.
# Listing features and memberships in the order $\pi$ changes neither {eq}`eq-sum-pooling` nor {eq}`eq-self-attention`, and neither depends on $x_m$ for $m\notin S$.
# ::::
#
# :::{prf:proof}
# A sum does not depend on the order of its terms, which proves it for sum pooling.
# In {eq}`eq-attention-block` the sums over $n$ and $l$ run over the set $S$, so $g_m''$ is a function of $g_m$ and of the *set* $\{g_n:n\in S\}$.
# By induction over blocks $g_m^{(L)}$ is the same function of $e_m$ and of the set of all $e_n$, wherever $m$ stands in the list: the blocks are **equivariant**.
# The last sum forgets the place.
# No sum has a term from outside of $S$.
# :::
#
# The order is that of the *list*.
# An encoder $f_m$ belongs to its modality and goes along when the list is rearranged; exchanging the *contents* of two modalities is another matter, and does change the answer.
#
# **Check.** All orders, all subsets in one call; then what a modality outside of a subset holds, and what a missing one holds.

# %%
M, B, E, D = 3, 40, 4, 2
subsets = masks.all_subsets(M)
features = torch.randn(M, B, E, generator=generator)


def untrained(kind, *sizes, **options):
    with seeded(seed + 1):
        return kind(*sizes, **options)


sums, attention = untrained(SumPooling, E, D, 16), untrained(SelfAttention, E, D, 16)
mixed = untrained(SelfAttention, E, D, 16, components=3)
for encoder in (sums, attention, mixed):
    q = encoder(features, subsets)
    for order in map(list, permutations(range(M))):
        p = encoder(features[order], subsets[:, order])
        torch.testing.assert_close(p[:3], q[:3], rtol=1e-12, atol=1e-12)
    exchanged = encoder(features[[1, 0, 2]], subsets[:, [0, 1, 2]])
    assert (exchanged.loc - q.loc).abs().max() > 1e-3, "contents are not the order"

    observed = torch.rand(M, B, generator=generator) < 0.6
    filled = torch.where(observed[..., None], features, float("nan")).requires_grad_()
    q, p = encoder(features, subsets, observed), encoder(filled, subsets, observed)
    torch.testing.assert_close(p[:3], q[:3], rtol=0, atol=0)
    gradient = torch.autograd.grad(p.loc.sum() + p.scale.sum(), filled)[0]
    assert gradient.isfinite().all()
    assert (gradient[~observed] == 0).all()

# %% [markdown]
# Two plausible mistakes break this.
# A code for the *place* in the list, as sentences need it, ties an answer to the order.
# And a mask that is applied *after* the softmax leaves hidden modalities in its denominator: they get no vote, and still decide how loud the others are.


# %%
class MaskedTooLate(TransformerBlock):
    def attended(self, g, members):
        query, key, value = self.project(g).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        weights = torch.einsum("kbihe,kbjhe->kbhij", query, key).softmax(-1)
        weights = weights * members[:, :, None, None, :]
        return torch.einsum("kbhij,kbjhe->kbihe", weights, value).flatten(-2)


place = torch.arange(M, dtype=torch.float64)[:, None, None]
there, back = attention(features + place), attention(features.flip(0) + place)
assert (there.loc - back.loc).abs().max() > 1e-3, "a code for the place"

other = features.clone()
other[2] = 3 * features[2].flip(0)
without = ~subsets[:, 2] & subsets.any(1)


def moved(encoder):
    """How far the answers of subsets without the third modality move when it changes."""
    change = encoder(features, subsets).loc - encoder(other, subsets).loc
    return change[without].abs().max()


assert moved(attention) == 0
attention.blocks[0] = untrained(MaskedTooLate, 16, 4)
assert moved(attention) > 1e-4, "masked after the softmax"

# %% [markdown]
# ## What invariance restricts
#
# ::::{prf:lemma} Nothing
# :label: lem-signed-features
#
# Let the encoders $f_m$ be free.
# Then every family of posteriors, one for each subset and with no relation among them, has the form {eq}`eq-sum-pooling`.
# ::::
#
# :::{prf:proof}
# Let $f_m$ write $(x_m,1)$ into the $m$-th of $M$ blocks and zeros into the others, and let $\chi$ be the identity.
# The sum then holds $x_m$ and a one in the blocks of $S$ and zeros elsewhere, from which $S$ and $x_S$ can be read.
# $\rho$ may do with them what it likes.
# :::
#
# So what a set encoder can express is not limited by the symmetry, but by the sizes of $\chi$, $\rho$ and of the sum.
# What the symmetry buys is *sharing*: one network for $2^M$ subsets in place of $2^M$ networks.
# Whether sharing suits a problem is seen on a model whose posteriors we know.
#
# ## A product of experts is a sum
#
# Let the experts be likelihoods: Gaussians with diagonal precision $\lambda_m$ and vote $h_m$ {cite:p}`wu2018`.
# Their product with the prior has precision $1+\sum_S\lambda_m$ and mean $\sum_Sh_m/(1+\sum_S\lambda_m)$.
# That *is* {eq}`eq-sum-pooling`, with $e_m=(h_m,\lambda_m)$, $\chi$ the identity, and $\rho(h,\lambda)=\big(h/(1+\lambda),\,-\log(1+\lambda)\big)$.
# With full covariances the same holds for matrices $\lambda_m$.
# A network $\rho$ of finite size approximates the division, on bounded sets as well as one likes.
# On the oracle nothing need be approximated, because its precisions take only $2^M$ values.
#
# ::::{prf:theorem} A finite sum pooling that is exact for every subset
# :label: thm-gated-product
#
# Let an oracle have diagonal $\lambda_m=s_m^{-2}W_m^\top W_m$, and let modality $m=0,\dots,M-1$ have the features $e_m=(h_m,2^m)$ with $h_m=s_m^{-2}W_m^\top x_m$.
# Write $h=\sum_{m\in S}h_m$, $c=\sum_{m\in S}2^m$, $(t)_+=\max(t,0)$, and for every subset $T$ let $c_T=\sum_{m\in T}2^m$ and $\lambda_T=1+\sum_{m\in T}\lambda_m$.
# If no entry of $h$ is larger than $R$ in absolute value, $p(z\mid x_S)$ has
#
# $$
# \mu=\sum_T\Big[\Big(\frac h{\lambda_T}-R\,|c-c_T|\Big)_+-\Big(-\frac h{\lambda_T}-R\,|c-c_T|\Big)_+\Big] , \qquad
# \log\sigma^2=-\sum_T\big(1-|c-c_T|\big)_+\log\lambda_T ,
# $$ (eq-gated-product)
#
# and the right sides are a leaky-rectifier network of $(h,c)$ with two hidden layers.
# ::::
#
# :::{prf:proof}
# $c$ is an integer whose binary digits name $S$, so $|c-c_T|$ is zero for $T=S$ and at least one otherwise.
# For $T=S$ the bracket is $(t)_+-(-t)_+=t$ with $t=h/\lambda_S$, the posterior mean.
# For $T\ne S$ we have $|h/\lambda_T|\le|h|\le R\le R\,|c-c_T|$, since $\lambda_T\ge1$, and both rectifiers are silent.
# In the same way $(1-|c-c_T|)_+$ is one for $T=S$ and zero otherwise.
# The first hidden layer computes the $|c-c_T|$ and passes $h$ on, the second the brackets.
# With the leaky rectifier $\ell(t)=\max(t,at)$ these take two units each: $|t|=\frac{\ell(t)+\ell(-t)}{1-a}$, $t=\frac{\ell(t)-\ell(-t)}{1+a}$ and $(t)_+=\frac{\ell(t)+a\,\ell(-t)}{1-a^2}$.
# :::
#
# The construction looks the precision up, and its width grows with the number of subsets; a trained network has no reason to do the same.
# It shows that the *class* contains the exact answer to every question, with finite weights.

# %% tags=["remove-input"]
show(product_by_sum)

# %% [markdown]
# **Check.** The weights are put into the same `SumPooling` that training uses, and its answers meet those of the oracle, which inverts matrices.
# Two twins fail: a reach $R$ that is too short, and *mean* pooling.

# %%
sizes = {"image": 4, "sound": 3, "text": 5}
noise = {"image": 0.7, "sound": 1.1, "text": 0.5}
oracle = LinearGaussian.random(sizes, D, noise, generator=generator)
batch = oracle.sample(500, generator)
precision = torch.stack(
    [(w.T @ w).diagonal() / oracle.noise[name] ** 2 for name, w in oracle.loadings.items()]
)


def subset_names(row):
    return [name for name, seen in zip(sizes, row, strict=True) if seen]


def worst(answers):
    """Largest error of means and variances, over all subsets and examples."""
    errors = []
    for k, row in enumerate(subsets[1:], 1):
        loc, covariance = oracle.posterior(batch, subset_names(row))
        errors.append((answers.loc[k, 0] - loc).abs().max())
        errors.append((answers.scale[k, 0].square() - covariance.diagonal()).abs().max())
    return torch.stack(errors).max()


class MeanPooling(SumPooling):
    def pooled(self, features, members):
        return super().pooled(features, members) / members.sum(1).clamp_min(1)[..., None]


with torch.no_grad():
    told = votes(oracle, batch)
    reach = float(told[..., :D].abs().sum(0).max())
    exact = product_by_sum(precision, reach)
    error = worst(exact(told, subsets))
    assert error < 1e-10
    assert worst(product_by_sum(precision, 0.01 * reach)(told, subsets)) > 0.1
    mean = MeanPooling(D + 1, D, exact.inner[0].out_features)
    mean.load_state_dict(exact.state_dict())
    assert worst(mean(told, subsets)) > 0.1

# %% tags=["remove-cell"]
glue("construction_error", f"{error:.0e}".replace("e-", "e−"), display=False)
glue("construction_width", f"{exact.inner[0].out_features}", display=False)

# %% [markdown]
# With {glue:text}`construction_width` hidden units the largest error over all subsets is {glue:text}`construction_error`.
#
# The last twin is more than a wrong set of weights.
#
# ::::{prf:lemma} A mean does not count
# :label: lem-mean-pooling
#
# Let $q(z\mid x_S)=\rho\big(\frac1{|S|}\sum_{m\in S}\chi(e_m)\big)$.
# If two modalities have equal features, their pair gets the answer that each of them gets alone.
# ::::
#
# :::{prf:proof}
# $\frac12(\chi(e)+\chi(e))=\chi(e)$.
# :::
#
# Two witnesses who agree should leave less doubt than one, and in a mean they do not.
# Features that *sign* their modality repair it, as in {prf:ref}`lem-signed-features`: the mean of the one-hot codes of $m\in S$ is $1/|S|$ on $S$, and $\rho$ can divide by it.
# A sum needs no repair.

# %%
agreeing = torch.randn(1, B, E, generator=generator).expand(2, -1, -1)
pair_and_one = torch.tensor([[True, True], [True, False]])
for kind, counts in [(SumPooling, True), (MeanPooling, False)]:
    together, one = untrained(kind, E, D, 16)(agreeing, pair_and_one).scale
    assert ((together - one).abs().max() > 1e-3) == counts

# %% [markdown]
# ## A mixture of experts is not
#
# ::::{prf:theorem} Mixtures need components
# :label: thm-mixture-no-set
#
# Let $n$ different Gaussians be mixed with positive weights.
# The mixture is not a mixture of fewer than $n$ Gaussians; in particular no set encoder with $C<|S|$ components answers as a mixture of $|S|$ different experts does.
# ::::
#
# :::{prf:proof}
# It suffices that different Gaussian densities are linearly independent: if two mixtures agreed, the difference of their densities would be a vanishing combination in which some of the $n$ are left.
# On the line, let $\sum_ic_i\N(z;\mu_i,\sigma_i^2)=0$ with different $(\mu_i,\sigma_i)$, and consider the term with the largest $\sigma_i$ and, among these, the largest $\mu_i$.
# All other terms vanish against it as $z\to\infty$, so its $c_i$ is zero; repeat.
# In $\mathbb R^D$ two different Gaussians have different marginals along every direction outside of the zeros of a polynomial, so there is a direction that keeps all of them apart, and the line's argument applies to it.
# :::
#
# What a sum *does* hold of a mixture are its moments: with $e_m=(1,\mu_m,\mu_m^2+\sigma_m^2)$ the sum gives $|S|$ and both averages, so the closest single Gaussian, {eq}`eq-moment-match`, is of the form {eq}`eq-sum-pooling`.
# And with $C\ge M$ components and signed features, $\rho$ can copy expert $m$ to component $m$ and give it a logit that is zero or very low: the mixture variants come as close to a mixture of experts as one likes, though a softmax never gives a component the weight zero.
#
# **Check.** Two modalities that disagree.
# Their mixture against the best single Gaussian, found by an optimiser that knows nothing of moments, with divergences by quadrature.

# %%
z = torch.linspace(-8, 8, 4001)
dz = z[1] - z[0]
pair_loc, pair_scale = torch.tensor([-1.5, 1.0]), torch.tensor([0.5, 0.8])


def density(loc, scale):
    return gaussians.log_density(z[:, None], loc[..., None], scale[..., None])


two = torch.logsumexp(torch.stack([density(*p) for p in zip(pair_loc, pair_scale, strict=True)]), 0)
two = two - torch.log(torch.tensor(2.0))


def missing(values):
    loc, log_scale = torch.tensor(values)
    return float((two.exp() * (two - density(loc, log_scale.exp()))).sum() * dz)


found = minimize(missing, [0.0, 0.0])
moments = torch.stack([torch.ones(2), pair_loc, pair_loc**2 + pair_scale**2])  # e_m, side by side
count, first, second = moments.sum(1)
by_sum = torch.stack([first / count, 0.5 * (second / count - (first / count) ** 2).log()])
torch.testing.assert_close(torch.tensor(found.x), by_sum, atol=1e-4, rtol=0)
matched = barycenters.moment_match(
    pair_loc[:, None, None], pair_scale[:, None, None], torch.full((1, 2), 0.5)
)
torch.testing.assert_close(torch.stack([v.flatten()[0] for v in matched]).log()[1], by_sum[1])
assert found.fun > 0.1, "no Gaussian is the mixture"
product_precision = 1 + (pair_scale**-2).sum()
product_mean = (pair_loc / pair_scale**2).sum() / product_precision
assert missing([float(product_mean), float(-0.5 * product_precision.log())]) > 5 * found.fun

# %% tags=["remove-cell"]
glue("mixture_missing", f"{found.fun:.2f}", display=False)

# %% [markdown]
# The best Gaussian misses the mixture by {glue:text}`mixture_missing` nats, and the product by far more.
# On the oracle this is no loss: its posteriors are Gaussian, and it is the mixture that is wrong about them.

# %% [markdown]
# ## Private latents: equivariant encoders
#
# Where every modality has a latent $u_m$ of its own beside the shared $z$, an encoder has to answer once for each modality, and the answers should be rearranged when the modalities are.
# With one more network for $z$, a function of the *set*, of $z$, and of the modality itself is
#
# $$
# q(u_m\mid z,x_S):\quad (\mu_m,\log\sigma_m^2)=\rho\Big(\sum_{n\in S}\chi_0(e_n)+\chi_1(z)+\chi_2(e_m)\Big), \quad m\in S ,
# $$ (eq-equivariant-sum)
#
# and with attention, from $g_m=\chi_2(e_m)+\chi_1(z)$ through $L$ blocks {eq}`eq-attention-block`,
#
# $$
# (\mu_m,\log\sigma_m^2)=A\,\bar g_m^{(L)}+a, \quad m\in S .
# $$ (eq-equivariant-attention)
#
# Of a modality that is not in $S$ nothing but $z$ could tell $u_m$, and given $z$ the prior $p(u_m)$ does not depend on the others: $p(u_m\mid z,x_S)=p(u_m)$ exactly, which is what both answer.

# %% tags=["remove-input"]
show(EquivariantSumPooling.answers, EquivariantSelfAttention.answers)

# %% [markdown]
# **Check** that they are equivariant, and not invariant by accident.

# %%
private = 3
shared = torch.randn(len(subsets), B, D, generator=generator)
for kind in (EquivariantSumPooling, EquivariantSelfAttention):
    encoder = untrained(kind, E, D, private, 16)
    loc, scale = encoder(features, shared, subsets)
    for order in map(list, permutations(range(M))):
        reordered = encoder(features[order], shared, subsets[:, order])
        torch.testing.assert_close(reordered[0], loc[:, order], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(reordered[1], scale[:, order], rtol=1e-12, atol=1e-12)
    assert (loc[-1, 0] - loc[-1, 1]).abs().max() > 1e-3
    assert (loc[~subsets] == 0).all()
    assert (scale[~subsets] == 1).all()

# %% [markdown]
# ## Which aggregator can be right for every subset?
#
# Take the plainest oracle: $M=5$ modalities $x_m=z+\varepsilon_m$ with one latent and unit noise.
# Its posteriors are $\N\big(\frac{\sum_Sx_m}{1+|S|},\frac1{1+|S|}\big)$: every modality that is added sharpens.
# Each family of aggregators has experts $\N(wx_m,v)$ and may choose $w$ and $v$, once, for all subsets.
# We let each choose what is best under the masked objective with all $32$ masks equally likely, in closed form with {doc}`/chapters/bounds/masked_objective`.

# %%
modalities = 5
plain = LinearGaussian(
    {str(m): torch.ones(1, 1) for m in range(modalities)}, dict.fromkeys(map(str, range(5)), 1.0)
)
law = torch.tensor([comb(modalities, k) / 2**modalities for k in range(modalities + 1)])
best_possible = bounds.expected_log_evidence(plain)


def answer(family, size, w, v):
    """Weight of each member, and variance, of the answer for a subset of a size."""
    if family == "product with prior":
        precision = 1 + size / v
        return w / v / precision, 1 / precision
    if size == 0:
        return 0 * w, 0 * v + 1
    if family == "product":
        return w / size, v / size
    if family == "Wasserstein":
        return w / size, v
    if family == "Wasserstein with prior":
        return w / (size + 1), ((size * v.sqrt() + 1) / (size + 1)) ** 2
    raise ValueError(f"no family {family!r}")


def encoder_of(family, size, w, v):
    each, variance = answer(family, size, w, v)
    seen = (torch.arange(modalities) < size).double()
    return LinearEncoder(each * seen[None], variance.reshape(1, 1))


def gap(family, w, v):
    """What the masked objective misses, averaged over masks, in nats."""
    full = encoder_of(family, modalities, w, v)
    values = [
        bounds.masked(plain, full, encoder_of(family, k, w, v), [str(m) for m in range(k)])
        for k in range(modalities + 1)
    ]
    return best_possible - (law * torch.stack(values)).sum()


def chosen(family):
    def loss(values):
        at = torch.tensor(values, requires_grad=True)
        missed = gap(family, at[0], at[1].exp())
        return missed.item(), torch.autograd.grad(missed, at)[0].numpy()

    found = minimize(loss, [0.5, -0.5], jac=True, method="BFGS")
    w, log_v = torch.tensor(found.x)
    return found.fun, w, log_v.exp()


families = ["product with prior", "product", "Wasserstein", "Wasserstein with prior"]
choices = {family: chosen(family) for family in families}
gaps = {family: choice[0] for family, choice in choices.items()}
assert abs(gaps["product with prior"]) < 1e-9
for family in families[1:]:
    assert gaps[family] > 1e-3, family
for size in range(modalities + 1):
    q = encoder_of("product with prior", size, *choices["product with prior"][1:])
    right = encoders.exact(plain, [str(m) for m in range(size)])
    torch.testing.assert_close(q.weight, right.weight, atol=1e-4, rtol=0)
    torch.testing.assert_close(q.covariance, right.covariance, atol=1e-4, rtol=0)

# %% [markdown]
# A product with the prior has the right form and finds it.
# The others do not: a product without the prior sharpens too fast, and ends up too wide for one modality and too narrow for all; a Wasserstein barycenter cannot become sharper with more modalities, and a prior expert repairs that almost.
# Of a mixture the components are those of single modalities, and disagreement makes it *wider*: with exact components the variance for $k$ members is $\frac12+\frac{k-1}{4k}$ on average.
#
# Set encoders are not told the form.
# We train both on the masked objective, with the decoders held at the truth.

# %%
row_sizes = masks.all_subsets(modalities).sum(1)


def drawn(examples, source):
    z = torch.randn(examples, 1, generator=source)
    return z + torch.randn(modalities, examples, 1, generator=source)


def likelihood(x):
    return lambda z, wanted=None: -0.5 * (x[:, None] - z).square().sum(-1)  # up to a constant


def trained(kind, first, width, **options):
    """A set encoder of the modalities themselves, in float32."""
    source = torch.Generator().manual_seed(first)
    with seeded(first):
        encoder = kind(1, 1, width, **options).float()
    optimiser = torch.optim.Adam(encoder.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        x = drawn(128, source).float()
        kept = masks.draw(masks.independent(), modalities, 128, source)
        q = encoder(x, torch.stack([torch.ones_like(kept), kept]))
        value = masked_elbo(q.subset(0), q.subset(1), likelihood(x), source)
        optimiser.zero_grad()
        (-value.elbo().mean()).backward()
        optimiser.step()
        schedule.step()
    return encoder


test_x = drawn(2000, generator)
every = masks.all_subsets(modalities)
right_loc = torch.einsum("km,mbd->kbd", every.double(), test_x) / (1 + row_sizes)[:, None, None]
right_scale = (1 + row_sizes).double().rsqrt()[:, None, None].expand_as(right_loc)
learned = {}
for kind, width, options in [(SumPooling, 32, {}), (SelfAttention, 16, {"heads": 2})]:
    network = trained(kind, seed, width, **options)
    with torch.no_grad():
        q = network(test_x.float(), every)
    loc, scale = q.loc[:, 0].double(), q.scale[:, 0].double()
    off = gaussians.kl(loc, scale, right_loc, right_scale).mean(1)
    typical = torch.stack([scale[row_sizes == k].mean() for k in range(modalities + 1)])
    learned[kind.__name__] = typical, off
    assert (typical.diff() < 0).all(), "every modality sharpens"
    assert off.max() < 0.25 * gaps["Wasserstein"]

# %% tags=["remove-cell"]
sum_off, attention_off = (off.mean() for _, off in learned.values())
glue("gap_product", f"{gaps['product']:.3f}", display=False)
glue("gap_wasserstein", f"{gaps['Wasserstein']:.3f}", display=False)
glue("gap_wasserstein_prior", f"{gaps['Wasserstein with prior']:.4f}", display=False)
glue("sum_off", f"{sum_off:.4f}", display=False)
glue("attention_off", f"{attention_off:.4f}", display=False)
glue("set_steps", f"{steps:,}", display=False)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Standard deviation of the answer against the number of observed modalities, from none to five. The exact one falls from one to two fifths, with the two trained set encoders on it as dots. The product without prior starts too high and ends too low, the Wasserstein barycenter is flat, with a prior expert it falls almost as it should, and the mixture of experts rises after one modality."}}
fig, ax = plt.subplots(figsize=(6.8, 3.9))
counts = torch.arange(modalities + 1)
lines = {
    "product": (PRODUCT, "--"),
    "Wasserstein": (WASSERSTEIN, "-"),
    "Wasserstein with prior": (WASSERSTEIN, "--"),
}
ends = {}
for family, (color, style) in lines.items():
    widths = [float(answer(family, k, *choices[family][1:])[1].sqrt()) for k in range(1, 6)]
    ax.plot(counts[1:], widths, style, color=color)
    ends[family] = (5, widths[-1], color)
spread = (0.5 + (counts[1:] - 1) / (4 * counts[1:])).sqrt()
ax.plot(counts[1:], spread, color=MIXTURE)
ends["mixture"] = (5, float(spread[-1]), MIXTURE)
exact_width = (1 + counts).double().rsqrt()
ax.plot(counts, exact_width, color=plots.INK, lw=1)
ends["exact, product with prior"] = (5, float(exact_width[-1]), plots.INK)
for (typical, _), marker, name in zip(
    learned.values(), "os", ("sum pooling, trained", "self-attention, trained"), strict=True
):
    ax.plot(
        counts, typical, marker, ms=6, mfc="white" if marker == "s" else plots.INK, color=plots.INK
    )
    ax.plot(
        [], [], marker, color=plots.INK, mfc="white" if marker == "s" else plots.INK, label=name
    )
ax.legend(loc="upper right")
ax.set(
    xlim=(-0.15, 5.1),
    ylim=(0.28, 1.04),
    xlabel="modalities observed",
    ylabel="standard deviation of the answer",
    title="Only some answers sharpen as they should",
)
plots.label_ends(ax, ends)
plots.stamp(ax, profile)
plt.show()

# %% [markdown]
# Under the masked objective the best product without a prior misses {glue:text}`gap_product` nats, the best barycenter {glue:text}`gap_wasserstein`, and {glue:text}`gap_wasserstein_prior` with a prior expert.
# After {glue:text}`set_steps` steps the answers of sum pooling are on average {glue:text}`sum_off` nats from the exact posteriors, those of self-attention {glue:text}`attention_off`; these are divergences $\KL{q}{p}$ averaged over all subsets, of one seed and of small networks.
# They can be right for every subset, and have to learn what the product with a prior is given.

# %% [markdown]
# ## A plateau that looks like the end
#
# The released simulation of {cite:t}`hirt2024` has five modalities of $30$ to $59$ dimensions, five latents that all of them carry, orthonormal loadings and unit noise.
# There the decoders' log-likelihood and the largest possible one are known exactly, {eq}`eq-expected-evidence` and probabilistic principal components {cite:p}`tipping1999`, and an easy mistake is to trust a relative difference of a few percent.

# %% tags=["remove-input"]
show(linear_data.likeliest)

# %%
widths = [int(w) for w in torch.randint(30, 60, (5,), generator=generator)]
simulated = linear_data.dense(widths, 5, generator=generator)
rows = simulated.sample(5000, generator)
best = linear_data.likeliest(rows, simulated.present, 5, noise=1.0)
unused = linear_data.LinearModel(
    torch.zeros_like(best.loadings), best.offsets, best.present, best.noise
)
levels = [linear_data.log_likelihood(model, rows) for model in (best, simulated, unused)]
assert levels[0] > levels[1] > levels[2]
plateau = (levels[0] - levels[2]) / levels[0].abs()
assert 0.01 < plateau < 0.05

# %% tags=["remove-cell"]
glue("plateau", f"{100 * plateau:.1f}", display=False)
glue("plateau_nats", f"{levels[0] - levels[2]:.1f}", display=False)
glue("best_level", f"{levels[0]:.1f}".replace("-", "−"), display=False)

# %% [markdown]
# The largest log-likelihood is {glue:text}`best_level` nats, and decoders that use *no latent at all* are {glue:text}`plateau` percent below it, {glue:text}`plateau_nats` nats.
# A run whose encoders do not yet carry anything that decoders can use sits on that level, and its curve is flat there.
# So a model that is a few percent below the maximum may have learned nothing; what tells is its shortfall in nats beside that of unused latents.

# %% [markdown]
# ## Paper, released code, here
#
# | | paper | released code | here |
# |---|---|---|---|
# | **$\chi$, $\rho$** | not known to us | two hidden layers each, leaky rectifiers; sum pooling has a residual variant | two hidden layers each, in attention one for $\chi$, leaky rectifiers |
# | **attention** | not known to us | one pre-norm block with four heads in the scripts; sum at the end | the same, arguments |
# | **scale** | not known to us | a small constant plus an exponential | exponential of half the log-variance, clamped |
# | **empty subset** | not known to us | $\rho(0)$, a learned constant | the same |
# | **mean of its product** | not known to us | weighted by variances, not by precisions | {eq}`eq-product` |
# | **private latents** | with and without, says a review | modules present, not connected to the model | `EquivariantSumPooling`, `EquivariantSelfAttention` |
# | **private latent of a missing modality** | not known to us | none | its prior |
#
# Of {cite:t}`hirt2024` we had the abstract, the released code and reviews.
# That products and mixtures of experts are *both* special cases of learned set encoders is how a review puts it; by {prf:ref}`thm-gated-product` and {prf:ref}`thm-mixture-no-set` it holds for products, and for mixtures only with as many components.
# The theorems and constructions of this page are ours.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-set-max
# *Max* pooling, $\rho\big(\max_{m\in S}\chi(e_m)\big)$ with the maximum taken entry by entry, is invariant, too.
# Show that it can represent the exact posteriors of the oracle if features are signed, and not if they are equal.
# What does it need of its width that a sum does not?
# ::::
#
# ::::{solution} ex-set-max
# :class: dropdown
# With equal features the maximum of two is that of one, as for the mean.
# With signed ones let $\chi$ write $(h_m,-h_m,1)$ into the block of modality $m$ and a low constant $-R$ elsewhere: the maximum holds every member's vote in a block of its own, and $\rho$ adds them.
# The width of what is pooled then grows with $M$; a sum needs one block, because it does the adding itself:
# ::::

# %% tags=["hide-input", "remove-output"]
low = -100.0
blocks = torch.full((M, 500, M, D + 1), low)
for m in range(M):
    blocks[m, :, m] = torch.cat([told[m, :, :D], torch.ones(500, 1)], 1)
for row in subsets[1:]:
    pooled = blocks[row].amax(0)
    inside = pooled[..., -1:] > 0.5
    total_vote = torch.where(inside, pooled[..., :D], 0.0).sum(1)
    total_precision = 1 + (inside[0] * precision).sum(0)
    torch.testing.assert_close(
        total_vote / total_precision, oracle.posterior(batch, subset_names(row))[0]
    )
same = torch.stack([blocks[0], blocks[0]])
torch.testing.assert_close(same.amax(0), blocks[0], rtol=0, atol=0)

# %% [markdown]
# ::::{exercise}
# :label: ex-silent-modality
# A modality whose loadings are zero says nothing about $z$.
# What does the exact posterior do when it is added to $S$, what do the product with prior, the product without, and a barycenter do if its expert is exact, and what must a sum pooling learn?
# ::::
#
# ::::{solution} ex-silent-modality
# :class: dropdown
# The exact posterior does not move.
# As a *likelihood* expert the silent modality has precision and vote zero and leaves a product alone.
# As a *posterior* expert it is the prior: a product gains one unit of precision, and a barycenter moves towards the prior.
# Sum pooling must learn $\chi(f_m(x_m))=0$, or anything that $\rho$ ignores:
# ::::

# %% tags=["hide-input", "remove-output"]
with_silent = LinearGaussian(
    {**oracle.loadings, "silent": torch.zeros(2, D)}, {**oracle.noise, "silent": 1.0}
)
louder = {**batch, "silent": torch.randn(500, 2, generator=generator)}
for a, b in zip(with_silent.posterior(louder), oracle.posterior(batch), strict=True):
    torch.testing.assert_close(a, b)
expert_loc, expert_scale = with_silent.unimodal_posteriors(louder)
torch.testing.assert_close(expert_scale[-1], torch.ones_like(expert_scale[-1]))
for pool in (
    lambda loc, scale: barycenters.product(loc, scale, torch.ones(1, len(loc)), prior_exponent=0.0),
    lambda loc, scale: barycenters.wasserstein(loc, scale, torch.full((1, len(loc)), 1 / len(loc))),
):
    before, after = pool(expert_loc[:-1], expert_scale[:-1]), pool(expert_loc, expert_scale)
    assert (before[0] - after[0]).abs().max() > 0.1
silent_precision = torch.cat([precision, torch.zeros(1, D)])
with torch.no_grad():
    both = torch.tensor([[True, True, True, True], [True, True, True, False]])
    told_more = votes(with_silent, louder)
    heard = product_by_sum(silent_precision, reach)(told_more, both).loc
torch.testing.assert_close(heard[0], heard[1])

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
# # Importance weighting: IWAE and DReG for mixtures
#
# MMVAE {cite:p}`shi2019` was trained with many latents per expert, importance weights, and a doubly reparameterised gradient.
# All three were made for a single proposal, and a mixture changes each of them.
# There are two ways to average over experts, and they are two bounds, of which the one in use stops short of the evidence.
# There is a doubly reparameterised gradient for that bound, and it is not the one in use.
# We derive both bounds and the gradient, and measure what the released gradients train instead.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import math

import matplotlib.pyplot as plt
import torch
from myst_nb import glue

from multielbo import gaussians, importance, plots
from multielbo.importance import (
    draw,
    dreg,
    iwae_inside,
    iwae_outside,
    log_weights,
    stratified_dreg,
)
from multielbo.mixtures import Posteriors
from multielbo.oracle import LinearGaussian
from multielbo.profiles import check_profile
from multielbo.publishing.show import show

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)
samples = {"quick": 20_000, "laptop": 200_000, "full": 1_000_000}[profile]

# %% [markdown]
# ## More draws, a tighter bound
#
# Let $\bar q=\sum_kw_kq_k$ be the mixture, {eq}`eq-mixture-density`.
# The **log-weight** of a latent is the integrand of the ELBO,
#
# $$
# \ell(z)=\log p(x,z)-\log\bar q(z),
# $$ (eq-log-weight)
#
# and $e^{\ell(z)}$ with $z\sim\bar q$ has the expectation $p(x)$.
# The importance-weighted bound of {cite:t}`burda2016` averages $L$ of these *before* it takes the logarithm.
#
# ::::{prf:lemma} The importance-weighted bound
# :label: lem-iwae
#
# Let $\hat p_L=\frac1L\sum_{l=1}^Le^{\ell(z_l)}$ with independent $z_l\sim\bar q$.
# Then $\E\log\hat p_L\le\log p(x)$, the bound does not fall with $L$, and with $\chi^2=\operatorname{Var}(e^{\ell})/p(x)^2$, $\E e^{4\ell}$ and the ELBO finite
#
# $$
# \log p(x)-\E\log\hat p_L=\frac{\chi^2}{2L}+O(L^{-2}) .
# $$
# ::::
#
# :::{prf:proof}
# $\E\hat p_L=p(x)$, and the logarithm is concave: Jensen's inequality.
# Leave one of $L+1$ draws out at a time: $\hat p_{L+1}$ is the average of the $L+1$ averages that remain, so by concavity $\log\hat p_{L+1}$ is at least the average of their logarithms, each of which has expectation $\E\log\hat p_L$.
# Write $\hat p_L=p(x)(1+\delta)$ with $\E\delta=0$ and $\E\delta^2=\chi^2/L$, and expand $\log(1+\delta)=\delta-\frac12\delta^2+\dots$, where the moments of $\delta$ that follow are $O(L^{-2})$.
# Where $\hat p_L<\frac12p(x)$, which has probability $O(L^{-2})$, use $\log\hat p_L\ge\frac1L\sum_l\ell(z_l)$ instead.
# :::
#
# $\chi^2$ is the chi-squared divergence of the posterior from the proposal, and the only thing about the proposal that matters when $L$ is large.

# %% tags=["remove-input"]
show(log_weights)

# %% [markdown]
# ## A mixture has two such bounds
#
# Draw $L$ latents from *each* expert, $z_{kl}\sim q_k$, as {eq}`eq-stratified` does with $L=1$.
# All draws can share one logarithm {cite:p}`morningstar2021`, or each expert can have its own:
#
# $$
# \mathcal L^{\text{in}}_L=\E\log\sum_kw_k\frac1L\sum_{l=1}^Le^{\ell(z_{kl})} ,
# $$ (eq-iwae-inside)
#
# $$
# \mathcal L^{\text{out}}_L=\sum_kw_k\,\E\log\frac1L\sum_{l=1}^Le^{\ell(z_{kl})} .
# $$ (eq-iwae-outside)

# %% tags=["remove-input"]
show(iwae_inside, iwae_outside)

# %% [markdown]
# The **responsibility** of expert $k$ for a point is $\rho_k(z)=w_kq_k(z)/\bar q(z)$, and $\bar\rho_k=\E_{p(z\mid x)}\rho_k(z)$ is its share in explaining the posterior; these shares sum to one.
#
# ::::{prf:lemma} The average outside stops short
# :label: lem-outside
#
# $\mathcal L^{\text{out}}_1$ is the ELBO of the mixture, and for every $L$
#
# $$
# \mathcal L^{\text{out}}_L\;\le\;\mathcal L^{\text{in}}_L\;\le\;\log p(x) .
# $$
#
# As $L\to\infty$ the second tends to $\log p(x)$, and the first to
#
# $$
# \log p(x)-\KL{w}{\bar\rho}, \qquad \KL{w}{\bar\rho}=\sum_kw_k\log\frac{w_k}{\bar\rho_k} .
# $$
# ::::
#
# :::{prf:proof}
# With $L=1$, {eq}`eq-iwae-outside` is {eq}`eq-stratified`.
# The first inequality is concavity of the logarithm over $k$; the second is Jensen's, as $\sum_kw_k\E_{q_k}e^{\ell}=\int\bar q\,\frac{p(x,z)}{\bar q}\,\mathrm dz=p(x)$.
# By the law of large numbers the average of expert $k$ tends to
# $\E_{q_k}e^{\ell}=\int\frac{q_k(z)}{\bar q(z)}p(x,z)\,\mathrm dz=p(x)\,\bar\rho_k/w_k$.
# Weighted by $w_k$ these add up to $p(x)$; their weighted logarithms add up to $\log p(x)-\KL{w}{\bar\rho}$.
# The expectations follow, as the logarithm of an average lies between the average of $\ell$ and the average less one, if all $\E_{q_k}|\ell|<\infty$.
# :::
#
# So no number of draws closes the gap of the average outside, unless every expert is responsible for just as much of the posterior as its weight says.
# It is a sum of terms that need not be bounds: an expert with $\bar\rho_k>w_k$ ends *above* the evidence.
#
# **Check.** One example of {doc}`/chapters/aggregation/mixture_of_experts`, the one whose exact unimodal posteriors disagree most.
# For $L=2$ the bound outside is a double integral over the noise of each expert; its limit is a single one.

# %%
oracle = LinearGaussian(
    loadings={"image": torch.ones(4, 1), "sound": torch.ones(3, 1), "text": torch.ones(2, 1)},
    noise={"image": 1.6, "sound": 1.4, "text": 1.1},
)
batch = oracle.sample(256, generator)
all_loc, all_scale = oracle.unimodal_posteriors(batch)
divided = int(all_loc.var(0).argmax())
one = {name: x[[divided]] for name, x in batch.items()}
loc, scale = all_loc[:, [divided]], all_scale[:, [divided]]
evidence = oracle.log_evidence(one).squeeze()


def mixture(loc, scale):
    """Equally weighted mixture of one expert per modality."""
    experts, examples, _ = loc.shape
    seen = torch.eye(experts, dtype=bool)[..., None].expand(-1, -1, examples)
    return Posteriors(loc, scale, torch.full((experts, examples), 1 / experts), seen)


def many_times(repeats):
    """The example's log-likelihood on a batch that repeats it."""
    return oracle.log_likelihood({name: x.expand(repeats, -1) for name, x in one.items()})


noise = torch.linspace(-7, 7, 141)
mass = gaussians.log_density(noise[:, None], torch.zeros(1), torch.ones(1)).exp()
mass = mass * (noise[1] - noise[0])


def outside_of_pairs(loc, scale):
    """The bound outside with L = 2, by quadrature; differentiable in the experts."""
    z = loc[:, 0, 0] + scale[:, 0, 0] * noise[:, None]  # (noise, K)
    q = mixture(loc, scale)
    log_weight = log_weights(q, many_times(1), z[..., None, None])[..., 0]
    pairs = torch.logaddexp(log_weight[:, None], log_weight) - math.log(2)
    return q.weights[:, 0] @ torch.einsum("i,j,ijk->k", mass, mass, pairs)


repeated = mixture(loc.expand(-1, samples, -1), scale.expand(-1, samples, -1))
log_weight = log_weights(repeated, many_times(samples), draw(repeated, 2, generator))
outside, inside = (f(log_weight, repeated.weights) for f in (iwae_outside, iwae_inside))
assert abs(outside.mean() - outside_of_pairs(loc, scale)) < 4 * outside.std() / samples**0.5
assert (outside <= inside + 1e-12).all()

grid = torch.linspace(-8, 8, 2001)[:, None, None]
mean, covariance = oracle.posterior(one)
posterior = gaussians.log_density(grid[:, 0], mean, covariance.sqrt()).exp()


def shares(loc, scale):
    """Average responsibilities under the exact posterior, by quadrature."""
    q = mixture(loc, scale)
    log_parts = q.weights.log() + gaussians.log_density(grid.unsqueeze(-3), loc, scale)
    return torch.trapezoid(posterior[:, None] * log_parts.softmax(-2)[..., 0], grid[:, 0, 0], dim=0)


rho = shares(loc, scale)
limit = evidence - (math.log(1 / 3) - rho.log()).mean()

few = mixture(loc.expand(-1, 200, -1), scale.expand(-1, 200, -1))
log_weight = log_weights(few, many_times(200), draw(few, 4000, generator))
for bound, target in ((iwae_outside, limit), (iwae_inside, evidence)):
    found = bound(log_weight, few.weights)
    assert abs(found.mean() - target) < 4 * found.std() / 200**0.5 + 1e-3  # 1e-3 covers 1 / 2L
by_expert = (torch.logsumexp(log_weight, 0) - math.log(4000)).mean(1) - evidence
assert by_expert.max() > 0.01, "one expert's draws are no bound"

# %% tags=["remove-cell"]
glue("limit_gap", f"{evidence - limit:.3f}", display=False)
glue("expert_above", f"{by_expert.max():.2f}", display=False)
glue("share_most", f"{100 * rho.max():.0f}", display=False)

# %% [markdown]
# Here one expert is responsible for {glue:text}`share_most` per cent of the posterior, its own average ends {glue:text}`expert_above` nats above the evidence, and the bound outside ends {glue:text}`limit_gap` nats below.
#
# A third candidate charges each draw under the expert that drew it, $\log p(x,z)-\log q_k(z)$: the component-averaged ELBO for $L=1$, too low by the Jensen–Shannon divergence.
# Each expert by itself is then a proposal for the whole evidence, so with $L$ this one does get there, and at the rate of {prf:ref}`lem-iwae` if its weights have a finite variance.

# %%
draws = [1, 2, 4, 8, 16, 32, 64, 128]
repeats = samples // 20
q = mixture(loc.expand(-1, repeats, -1), scale.expand(-1, repeats, -1))
z = draw(q, draws[-1], generator)
under_mixture = log_weights(q, many_times(repeats), z)
under_own = under_mixture + q.log_density(z) - gaussians.log_density(z, q.loc, q.scale)


def nats_below(bound, log_weight):
    """Gap of a bound; the average weight less one has expectation zero and takes noise away."""
    surplus = (iwae_inside(log_weight, q.weights) - evidence).expm1()
    return (evidence - bound(log_weight, q.weights) + surplus).mean()


curves = {
    "inside": torch.stack([nats_below(iwae_inside, under_mixture[:n]) for n in draws]),
    "outside": torch.stack([nats_below(iwae_outside, under_mixture[:n]) for n in draws]),
    "own density": torch.stack([nats_below(iwae_outside, under_own[:n]) for n in draws]),
}

assert (curves["inside"] < curves["outside"]).all()
assert curves["own density"][0] > curves["outside"][0], "at one draw by the divergence"
assert curves["own density"][-1] < curves["outside"][-1], "at many draws the order is reversed"

# %% tags=["remove-input"] mystnb={"image": {"alt": "Nats below the evidence against the number of draws per expert, both axes logarithmic: the average inside falls straight towards zero, the average outside levels off at a dotted line, and the curve for each expert's own density starts highest and crosses below it."}}
fig, ax = plt.subplots()
ends = {}
for (name, curve), color in zip(curves.items(), ("C0", "C1", "C3"), strict=True):
    ax.loglog(draws, curve, "o-", ms=4, color=color)
    ends[name] = (draws[-1], float(curve[-1]), color)
ax.axhline(float(evidence - limit), color="C1", lw=1, ls=":")
ax.set(
    xticks=draws,
    xticklabels=draws,
    xlabel="draws per expert, $L$",
    ylabel="nats below the evidence",
    title="Averaged outside the logarithm, a mixture stops short",
)
ax.minorticks_off()
plots.label_ends(ax, ends)
plt.show()

# %% [markdown]
# Which one is MMVAE's?
# MultiVae's documentation states {eq}`eq-iwae-outside` as the paper's objective, with $w_k=1/M$, and the paper's first line, as {cite:t}`sutter2021` repeat it, is its case $L=1$.
# The official code has both; it calls the average outside the looser bound, recommends it because the average inside weights modalities unevenly, and lists it for every released model.
# Uneven is what weights should be if one expert knows more: {prf:ref}`lem-outside` says what is paid for evenness.

# %% [markdown]
# ## Two gradients in one
#
# An encoder's parameters $\phi$ enter a log-weight twice: through the draw $z=g(\varepsilon,\phi)$, and through the density $\bar q$ that is subtracted.
# With the normalised weights $v_l=e^{\ell(z_l)}\big/\sum_{l'}e^{\ell(z_{l'})}$ the chain rule gives, for a single proposal $q_\phi$,
#
# $$
# \partial_\phi\log\frac1L\sum_le^{\ell(z_l)}
# =\sum_lv_l\Big[\underbrace{\partial_z\ell(z_l)\,\partial_\phi z_l}_{\text{path}}-\underbrace{\partial_\phi\log q_\phi(z_l)}_{\text{score}}\Big] .
# $$
#
# With $L=1$ the score has expectation zero and is pure noise.
# With more draws it does not, since $v_l$ depends on $z_l$; but it can be turned into a path.
#
# ::::{prf:lemma} Score for path
# :label: lem-score-for-path
#
# Let $z=g(\varepsilon,\phi)$ have the density $q_\phi$, and let $u$ be smooth, of moderate growth, and free of $\phi$.
# Then $\E\big[u(z)\,\partial_\phi\log q_\phi(z)\big]=\E\big[\partial_zu(z)\,\partial_\phi z\big]$.
# ::::
#
# :::{prf:proof}
# Both sides are $\partial_\phi\E u(z)$: the left one differentiates the density in $\int q_\phi\,u\,\mathrm dz$, the right one the argument in $\E\,u(g(\varepsilon,\phi))$.
# :::
#
# ::::{prf:lemma} The doubly reparameterised gradient; {cite:t}`tucker2019`
# :label: lem-dreg
#
# For a single proposal, $K=1$, the bound $\E\log\frac1L\sum_le^{\ell(z_l)}$ has the unbiased gradient estimator
#
# $$
# \hat g_k=w_k\sum_{l=1}^Lv_{kl}^2\;\partial_z\ell(z_{kl})\,\partial_{\phi_k}z_{kl},
# \qquad v_{kl}=\frac{e^{\ell(z_{kl})}}{\sum_{l'}e^{\ell(z_{kl'})}} .
# $$ (eq-dreg)
# ::::
#
# :::{prf:proof}
# Hold all draws but $z_l$, and let $u(z)=e^{\ell(z)}/(e^{\ell(z)}+R_l)$ with $R_l=\sum_{l'\ne l}e^{\ell(z_{l'})}$, so that $u(z_l)=v_l$ and $\partial_zu=u(1-u)\,\partial_z\ell$.
# The parameters inside $u$ are those at which the gradient is taken, and held.
# {prf:ref}`lem-score-for-path` replaces the score term by $(v_l-v_l^2)\,\partial_z\ell\,\partial_\phi z_l$; subtracted from the path term it leaves $v_l^2$.
# :::
#
# For a mixture the proof fails at its first word.
# The score that the chain rule asks for is $\partial_{\phi_j}\log\bar q$, and the draws come from $q_k$.
#
# ::::{prf:lemma} The doubly reparameterised gradient of a mixture
# :label: lem-stratified-dreg
#
# The bound {eq}`eq-iwae-outside` has the unbiased gradient estimator
#
# $$
# \hat g_j=w_j\sum_{l=1}^L\Big[v_{jl}\,\partial_z\ell(z_{jl})-\partial_zU_l(z_{jl})\Big]\partial_{\phi_j}z_{jl},
# \qquad
# U_l(z)=\sum_k\rho_k(z)\,\frac{e^{\ell(z)}}{e^{\ell(z)}+R_{kl}},
# $$ (eq-stratified-dreg)
#
# where $R_{kl}=\sum_{l'\ne l}e^{\ell(z_{kl'})}$ collects the other draws of expert $k$.
# ::::
#
# :::{prf:proof}
# The path term is as before.
# The score term of expert $j$'s parameters collects draws of *all* experts, since they all are charged under $\bar q$: it is $\sum_kw_k\sum_l\E\big[v_{kl}\,\partial_{\phi_j}\log\bar q(z_{kl})\big]$, and $\partial_{\phi_j}\log\bar q=w_j\,\partial_{\phi_j}q_j/\bar q$.
# For one $l$, integrate over $z_{kl}\sim q_k$ with the others held, and then add up over $l$:
#
# $$
# \sum_kw_k\int q_k(z)\,\frac{e^{\ell(z)}}{e^{\ell(z)}+R_{kl}}\,\frac{w_j\,\partial_{\phi_j}q_j(z)}{\bar q(z)}\,\mathrm dz
# = w_j\int U_l(z)\,\partial_{\phi_j}q_j(z)\,\mathrm dz
# = w_j\,\E_{q_j}\big[\partial_zU_l(z)\,\partial_{\phi_j}z\big] ,
# $$
#
# by {prf:ref}`lem-score-for-path`, with the parameters inside $U_l$ held.
# $U_l$ contains no draw with the number $l$, so $z_{jl}$ itself may be the sample from $q_j$.
# :::
#
# $U_l(z)$ is the share that a latent $z$ would have among the draws of an expert, averaged over the experts that may have drawn it.
# If there is one expert, or if all are equal, then {eq}`eq-stratified-dreg` has the expectation of {eq}`eq-dreg`.
# Otherwise an expert's share says nothing about what the latent would be worth among another expert's draws, and squaring it is wrong.
# No latent is decoded twice for this: the sums over pairs of experts reuse the log-weights.

# %% tags=["remove-input"]
show(dreg, stratified_dreg, importance._with_gradient)

# %% [markdown]
# Values are those of the bound and decoders receive its own gradient; the two differ only in the height whose slope reaches the encoders.
# The price is one more backward pass, from the log-weights to the latents.
#
# **Check.** The exact gradient is that of the double integral, by autograd.
# The wrong twins are the squares, and the path alone, which {cite:t}`roeder2017` propose for the ELBO.


# %%
def autograd(q, score, draws, generator):
    return iwae_outside(log_weights(q, score, draw(q, draws, generator)), q.weights)


def squares(q, score, draws, generator):
    return dreg(q, score, draws, generator)


def path_alone(q, score, draws, generator):
    return dreg(q, score, draws, generator, power=1)


def gradients(estimator, experts, draws, repeats):
    """Independent gradients in means and deviations of the experts, `(2, K, repeats)`."""
    leaves = [s.expand(-1, repeats, -1).clone().requires_grad_() for s in experts]
    value = estimator(mixture(*leaves), many_times(repeats), draws, generator)
    return torch.stack(torch.autograd.grad(value.sum(), leaves))[..., 0]


def exact_gradient(experts):
    leaves = [stack.clone().requires_grad_() for stack in experts]
    return torch.stack(torch.autograd.grad(outside_of_pairs(*leaves), leaves))[..., 0, 0]


def errors_from_exact(estimator, experts):
    """By how many standard errors the estimator's mean misses the exact gradient, L = 2."""
    each = gradients(estimator, experts, 2, 4 * samples)
    deviation = each.mean(-1) - exact_gradient(experts)
    return (deviation / (each.std(-1) / (4 * samples) ** 0.5)).abs().max()


single = (loc[:1], scale[:1])
for estimator in (autograd, squares, stratified_dreg):
    assert errors_from_exact(estimator, single) < 4
assert errors_from_exact(path_alone, single) > 10

for estimator in (autograd, stratified_dreg):
    assert errors_from_exact(estimator, (loc, scale)) < 4.5  # six numbers at once
assert errors_from_exact(squares, (loc, scale)) > 6, "squares are biased for a mixture"
assert errors_from_exact(path_alone, (loc, scale)) > 6

# %% [markdown]
# ## Signal and noise
#
# Why take the trouble?
# Because the gradient that autograd gives drowns as $L$ grows {cite:p}`rainforth2018`.
#
# ::::{prf:lemma} Signal-to-noise ratios
# :label: lem-signal
#
# For a single proposal with $\chi^2$ and the moments below finite and $\partial_\phi\chi^2\ne0$, let the **signal** be the expected gradient, the **noise** its standard deviation.
# As $L\to\infty$ the signal is $-\frac1{2L}\partial_\phi\chi^2+O(L^{-2})$; the noise is of order $L^{-1/2}$ for autograd and of order $L^{-3/2}$ for {eq}`eq-dreg`.
# So their ratio falls like $L^{-1/2}$ for the one, and grows like $L^{1/2}$ for the other.
# ::::
#
# :::{prf:proof}
# For large $L$, $v_l\approx e^{\ell(z_l)}/(L\,p(x))$.
# By {prf:ref}`lem-score-for-path` with $u=\frac12e^{2\ell}$ the terms of {eq}`eq-dreg` have expectation $-\frac12\partial_\phi\chi^2$ each, over $L$: that is the signal, and both estimators are unbiased for it.
# The autograd estimator is then an average of $L$ independent terms $\frac{e^\ell}{p(x)}\frac{\mathrm d\ell}{\mathrm d\phi}$, each with expectation $\partial_\phi\E e^{\ell}/p(x)=\partial_\phi 1=0$ but a variance that does not depend on $L$.
# The other is $\frac1L$ times an average of $L$ independent terms $\frac{e^{2\ell}}{p(x)^2}\,\partial_z\ell\,\partial_\phi z$: the factor $\frac1L$ is the signal's, and the average has a standard deviation of order $L^{-1/2}$.
# :::
#
# **Check, by hand.** For $q=\N(\mu,\sigma^2)$ and the posterior $\N(m,s^2)$ with $s^2<2\sigma^2$, the integral $1+\chi^2=\int p(z\mid x)^2/q(z)\,\mathrm dz$ is Gaussian:
#
# $$
# 1+\chi^2=\frac{\sigma^2}{s\sqrt{2\sigma^2-s^2}}\,\exp\frac{(m-\mu)^2}{2\sigma^2-s^2},
# \qquad
# -\tfrac12\,\partial_\mu\chi^2=(1+\chi^2)\,\frac{m-\mu}{2\sigma^2-s^2} .
# $$

# %%
m, s, mu, sigma = mean.squeeze(), covariance.sqrt().squeeze(), loc[0].squeeze(), scale[0].squeeze()
room = 2 * sigma**2 - s**2
one_plus_chi = sigma**2 / (s * room.sqrt()) * ((m - mu) ** 2 / room).exp()
by_hand = one_plus_chi * (m - mu) / room

counts = [1, 4, 16, 64, 256]
ratios = {"DReG": [], "autograd": []}
for n in counts:
    doubly = gradients(squares, single, n, max(2000, samples // n))[0, 0]
    plain = gradients(autograd, single, n, max(2000, samples // n))[0, 0]
    ratios["DReG"].append(doubly.mean().abs() / doubly.std())
    ratios["autograd"].append(doubly.mean().abs() / plain.std())  # the same expectation
ratios = {name: torch.stack(values) for name, values in ratios.items()}

error = 256 * doubly.std() / len(doubly) ** 0.5
assert abs(256 * doubly.mean() - by_hand) < 4 * error + 0.03 * by_hand.abs()  # and O(1 / L)
assert 1.6 < ratios["DReG"][-1] / ratios["DReG"][-2] < 2.4  # twofold for fourfold draws
assert 1.6 < ratios["autograd"][-2] / ratios["autograd"][-1] < 2.4
assert (ratios["DReG"] > ratios["autograd"]).all()

# %% tags=["remove-cell"]
glue("signal_hand", f"{by_hand:.2f}".replace("-", "−"), display=False)
glue("signal_found", f"{256 * doubly.mean():.2f}".replace("-", "−"), display=False)
glue("snr_gain", f"{ratios['DReG'][-1] / ratios['autograd'][-1]:.0f}", display=False)
glue("snr_draws", str(counts[-1]), display=False)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Signal-to-noise ratio of the gradient against the number of draws, both axes logarithmic: the curve of DReG rises at large numbers, that of autograd falls throughout."}}
fig, ax = plt.subplots()
ends = {}
for (name, curve), color in zip(ratios.items(), ("C3", "C1"), strict=True):
    ax.loglog(counts, curve, "o-", ms=4, color=color)
    ends[name] = (counts[-1], float(curve[-1]), color)
ax.set(
    xticks=counts,
    xticklabels=counts,
    xlabel="draws, $L$",
    ylabel="signal / noise",
    title="The same expectation, ever more or ever less visible",
)
ax.minorticks_off()
plots.label_ends(ax, ends)
plt.show()

# %% [markdown]
# At {glue:text}`snr_draws` draws the signal in $\mu$ is {glue:text}`signal_found`$/L$, by hand {glue:text}`signal_hand`$/L$ to first order, and DReG shows it {glue:text}`snr_gain` times as strongly as autograd.

# %% [markdown]
# ## Three gradients, three goals
#
# Under {eq}`eq-iwae-outside` the argument has a twist: by {prf:ref}`lem-outside` the signal does not vanish.
#
# ::::{prf:lemma} What the gradients tend to
# :label: lem-three-goals
#
# Let all weights be positive.
# As $L\to\infty$, in expert $j$'s parameters,
#
# - the gradient of the bound, and so {eq}`eq-stratified-dreg`, tends to $-\partial_{\phi_j}\KL{w}{\bar\rho}$;
# - the squares {eq}`eq-dreg` tend to zero, and $L$ times them to $-\frac{w_j^2}{2\bar\rho_j^2}\,\partial_{\phi_j}\int\frac{p(z\mid x)^2}{\bar q(z)}\,\mathrm dz$;
# - the path alone, {eq}`eq-dreg` with $v_{kl}$ for $v_{kl}^2$, tends to $-\frac{w_j}{\bar\rho_j}\,\partial_{\phi_j}\KL{p(z\mid x)}{\bar q}$.
# ::::
#
# :::{prf:proof}
# The first is the derivative of {prf:ref}`lem-outside`, if limit and derivative may be exchanged.
# For the others, $v_{jl}\approx\frac{w_j}{\bar\rho_j}\frac{e^{\ell(z_{jl})}}{L\,p(x)}$.
# $L$ times the squares tends to $\frac{w_j^3}{\bar\rho_j^2\,p(x)^2}\E_{q_j}\big[e^{2\ell}\,\partial_z\ell\,\partial_{\phi_j}z\big]$, to which {prf:ref}`lem-score-for-path` applies with $u=\frac12e^{2\ell}$.
# The path alone tends to $\frac{w_j^2}{\bar\rho_j\,p(x)}\E_{q_j}\big[e^{\ell}\,\partial_z\ell\,\partial_{\phi_j}z\big]$.
# Here $e^\ell\,\partial_z\ell=\partial_ze^\ell$, so {prf:ref}`lem-score-for-path` with $u=e^\ell$ makes it
# $\frac{w_j^2}{\bar\rho_j}\int\frac{p(z\mid x)}{\bar q(z)}\,\partial_{\phi_j}q_j(z)\,\mathrm dz=\frac{w_j}{\bar\rho_j}\,\E_{p(z\mid x)}\big[\partial_{\phi_j}\log\bar q(z)\big]$.
# :::
#
# With one draw all three agree, on the gradient of the ELBO.
# With many, the path alone follows the *forward* divergence, which asks the mixture to cover the posterior; the squares fade, and what is left of them follows the $\chi^2$ divergence, which asks for it even more.
# Neither follows the bound.
#
# **Check.** The limits come from single integrals by autograd; the estimators are evaluated at growing $L$.

# %%
leaves = [stack.clone().requires_grad_() for stack in (loc, scale)]
rho = shares(*leaves)
limit_of_bound = torch.autograd.grad((rho.log() / 3).sum(), leaves[0], retain_graph=True)[0]
covered = torch.trapezoid(
    posterior * mixture(*leaves).log_density(grid)[:, 0], grid[:, 0, 0], dim=0
)
limit_of_path = torch.autograd.grad(covered, leaves[0])[0] / (3 * rho.detach()[:, None, None])
density = mixture(*leaves).log_density(grid)[:, 0].exp()
chi = torch.trapezoid(posterior.square() / density, grid[:, 0, 0], dim=0)
slope_of_chi = torch.autograd.grad(chi, leaves[0])[0][:, 0, 0]
rest_of_squares = -slope_of_chi / (2 * (3 * rho.detach()).square())  # L times the squares

counts = [1, 2, 4, 8, 16, 32, 64, 128, 256]
estimators = {"bound": stratified_dreg, "squares": squares, "path alone": path_alone}
means = {name: [] for name in estimators}
deviations = {name: [] for name in estimators}
for n in counts:
    for name, estimator in estimators.items():
        each = gradients(estimator, (loc, scale), n, max(400, samples // (2 * n)))[0]
        means[name].append(each.mean(-1))
        deviations[name].append(each.std(-1) / each.shape[-1] ** 0.5)
means, deviations = (
    {name: torch.stack(values) for name, values in found.items()} for found in (means, deviations)
)

for name, target in (
    ("bound", limit_of_bound[:, 0, 0]),
    ("squares", torch.zeros(3)),
    ("path alone", limit_of_path[:, 0, 0]),
):
    left_over = (means[name][-1] - target).abs() - 4 * deviations[name][-1]
    assert (left_over < 5 / counts[-1]).all(), "what is left at L draws is of order 1 / L"
rest = counts[-1] * means["squares"][-1]
assert ((rest - rest_of_squares).abs() < 4 * counts[-1] * deviations["squares"][-1] + 0.1).all()
assert rest_of_squares.abs().max() > 0.5, "zero would not do"
for name in ("squares", "path alone"):
    distance = (means[name][-1] - means["bound"][-1]).abs()
    assert (distance > 5 * (deviations[name][-1] + deviations["bound"][-1])).any()
assert (deviations["bound"] > 0).all()

# %% tags=["remove-input"] mystnb={"image": {"alt": "Expected gradient in the mean of one expert against the number of draws per expert: three curves start at one point; the gradient of the bound changes its sign and levels off above zero, the squares go to zero, the path alone stays well below zero, each at its dotted line."}}
fig, ax = plt.subplots()
ends = {}
targets = {"bound": limit_of_bound, "squares": torch.zeros(3, 1, 1), "path alone": limit_of_path}
for (name, values), color in zip(means.items(), ("C3", "C0", "C1"), strict=True):
    ax.semilogx(counts, values[:, 1], "o-", ms=4, color=color)
    ax.axhline(float(targets[name][1]), color=color, lw=1, ls=":")
    ends[name] = (counts[-1], float(values[-1, 1]), color)
ax.set(
    xticks=counts,
    xticklabels=counts,
    xlabel="draws per expert, $L$",
    ylabel="gradient in the sound expert's mean",
    title="One value of the bound, three directions to go",
)
ax.minorticks_off()
plots.label_ends(ax, ends)
plt.show()

# %% [markdown]
# The difference is no matter of noise.
# We train three experts $\N(a_m\mu_m,\,b_m^2\sigma_m^2)$, where $\mu_m,\sigma_m$ are the exact unimodal posterior, by the same steps on the same data with each of the gradients, and look at the factors $b_m$ where they end.

# %%
steps = {"quick": 200, "laptop": 1000, "full": 2000}[profile]


def trained(estimator, draws):
    """Factors (a, b) of the three experts after training, `(2, 3)`."""
    means_of, log_widths = torch.ones(3, 1, 1), torch.zeros(3, 1, 1)
    parameters = [means_of.requires_grad_(), log_widths.requires_grad_()]
    optimizer = torch.optim.Adam(parameters, 0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, 1e-3)
    source = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        data = oracle.sample(64, source)
        at, width = oracle.unimodal_posteriors(data)
        experts = mixture(means_of * at, log_widths.exp() * width)
        value = estimator(experts, oracle.log_likelihood(data), draws, source)
        optimizer.zero_grad()
        (-value.mean()).backward()
        optimizer.step()
        schedule.step()
    return torch.stack([means_of.detach(), log_widths.detach().exp()])[..., 0, 0]


ended = {"ELBO, $L=1$": trained(stratified_dreg, 1)}
ended |= {f"{name}, $L=30$": trained(estimator, 30) for name, estimator in estimators.items()}

data = oracle.sample(2000, generator)
at, width = oracle.unimodal_posteriors(data)
score = oracle.log_likelihood(data)


def below_evidence(factors, draws):
    """Nats by which the bound outside misses the evidence, on new data, `(B,)`."""
    a, b = factors[..., None, None]
    q = mixture(a * at, b * width)
    z = draw(q, draws, torch.Generator().manual_seed(1))
    return oracle.log_evidence(data) - iwae_outside(log_weights(q, score, z), q.weights)


lost = {name: below_evidence(factors, 30) for name, factors in ended.items()}
for name in ("squares, $L=30$", "path alone, $L=30$"):
    worse = lost[name] - lost["bound, $L=30$"]
    assert worse.mean() > 4 * worse.std() / 2000**0.5, "only the bound's gradient climbs the bound"
wide = {name: factors[1].mean() for name, factors in ended.items()}
assert wide["ELBO, $L=1$"] < wide["path alone, $L=30$"] < wide["squares, $L=30$"] < 1
assert wide["bound, $L=30$"] > 1

# %% tags=["remove-cell"]
for key, name in (
    ("elbo", "ELBO, $L=1$"),
    ("bound", "bound, $L=30$"),
    ("squares", "squares, $L=30$"),
    ("path", "path alone, $L=30$"),
):
    glue(f"width_{key}", f"{wide[name]:.2f}", display=False)
    glue(f"lost_{key}", f"{lost[name].mean():.3f}", display=False)

# %% [markdown]
# | trained with | width of the experts, exact unimodal posterior $=1$ | nats below the evidence, {eq}`eq-iwae-outside` with $L=30$ |
# |---|---|---|
# | ELBO, $L=1$ | {glue:text}`width_elbo` | {glue:text}`lost_elbo` |
# | $L=30$, path alone | {glue:text}`width_path` | {glue:text}`lost_path` |
# | $L=30$, squares | {glue:text}`width_squares` | {glue:text}`lost_squares` |
# | $L=30$, gradient of the bound | {glue:text}`width_bound` | {glue:text}`lost_bound` |
#
# At $L=1$ experts borrow confidence, as under the averaged bound of {prf:ref}`lem-borrowed-confidence`.
# The bound with thirty draws asks for the opposite: experts *wider* than what they stand for, since by {prf:ref}`lem-outside` each has to be responsible for its share of the joint posterior.
# No entry of the second column is one, so under none of these trainings are all three experts the posteriors given their own modalities.

# %% [markdown]
# ## Paper, released code, here
#
# | | official code | MultiVae 1.0.3 | here |
# |---|---|---|---|
# | **bound** | both; `--looser`, the average outside, for every released model | average outside | both |
# | **gradient to encoders** | meant to be the squares; as we read it, the path alone | the squares; autograd as an option | `stratified_dreg`, unbiased; `dreg` with the power as an argument |
# | **value reported** | $\sum_lv_{kl}\,\ell(z_{kl})$, not the bound | the same | the bound |
# | **draws per expert** | 30 on MNIST-SVHN, 50 on CUB | 10 by default | an argument, 30 by default in `mmvae_iwae` |
# | **densities** | Laplace, likelihoods scaled | Laplace or normal | normal |
#
# The official code multiplies the gradient of the draws by $v$ once more in a hook, and registers the hook on a tensor into which the draws were joined *after* the loss had been computed from them.
# No gradient passes through that tensor, so the hook is not called:

# %%
called = []
latents = [torch.randn(4, requires_grad=True) * 2 for _ in range(2)]
loss = sum(z.square().sum() for z in latents)
torch.stack(latents).register_hook(lambda gradient: called.append("joined afterwards"))
latents[0].register_hook(lambda gradient: called.append("the draws themselves"))
loss.backward()
assert called == ["the draws themselves"]

# %% [markdown]
# MultiVae registers it on the draws, and `tests/benchmarks/multivae_dreg.py` finds its gradients equal to those of our `dreg`.
# So what {cite:t}`shi2019` report was, if it was made with the released code, trained with the path alone: by {prf:ref}`lem-three-goals` close to a forward divergence, a sound goal of its own, though not the printed one.
# Whether this changed their results is not known to us.
# What we call the paper's objective we know from MultiVae's documentation and from {cite:t}`sutter2021`; the text itself we could not read.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-independent-draws
# Draw $N$ latents independently from $\bar q$: first an expert with probability $w_k$, then a latent from it.
# Show that {eq}`eq-dreg` without its factor $w_k$, with shares among all $N$ draws, *is* unbiased for $\E\log\frac1N\sum_ne^{\ell(z_n)}$.
# Where does stratification break it?
# ::::
#
# ::::{solution} ex-independent-draws
# :class: dropdown
# The score term of one draw is $\int\bar q\,u\,\partial_\phi\log\bar q\,\mathrm dz=\int u\,\partial_\phi\bar q\,\mathrm dz=\sum_kw_k\int u\,\partial_\phi q_k\,\mathrm dz$, and {prf:ref}`lem-score-for-path` applies to each expert: a path with the factor $u(1-u)$, for the expert that was chosen.
# It needs $u$, and with it the law of the other draws, to be the same whichever expert drew $z$.
# Stratified, the others contain one draw less of that very expert.
# ::::

# %% tags=["hide-input", "remove-output"]
experts = [s.expand(-1, 4 * samples, -1).clone().requires_grad_() for s in (loc, scale)]
rows, pair = torch.arange(4 * samples), torch.randint(3, (2, 4 * samples), generator=generator)
z = gaussians.sample(*(s[pair, rows] for s in experts), generator)  # (N = 2, repeats, D)
leaf = z.detach().requires_grad_()
held = mixture(*(s.detach() for s in experts))
weight = log_weights(held, many_times(4 * samples), leaf)
(slope,) = torch.autograd.grad((weight.detach().softmax(0).square() * weight).sum(), leaf)
by_squares = torch.autograd.grad((slope * z).sum(), experts)[0][..., 0]

at_nodes = loc[:, 0, 0] + scale[:, 0, 0] * noise[:, None]
points = [s.clone().requires_grad_() for s in (loc, scale)]
z_nodes = points[0][:, 0, 0] + points[1][:, 0, 0] * noise[:, None]
nodes = log_weights(mixture(*points), many_times(1), z_nodes[..., None, None])[..., 0]
both = torch.logaddexp(nodes[:, :, None, None], nodes) - math.log(2)  # (noise, K, noise, K)
integral = torch.einsum("i,j,iajb->", mass, mass, both) / 9
exact = torch.autograd.grad(integral, points[0])[0][:, 0, 0]
standard_error = by_squares.std(-1) / (4 * samples) ** 0.5
assert ((by_squares.mean(-1) - exact).abs() < 4 * standard_error).all()

# %% [markdown]
# ::::{exercise}
# :label: ex-equal-responsibility
# When does the bound outside reach the evidence as $L\to\infty$ although no expert is the posterior?
# ::::
#
# ::::{solution} ex-equal-responsibility
# :class: dropdown
# When all shares equal the weights: for instance by symmetry, two experts with the same width at equal distances left and right of the posterior's mean.
# The limit does not ask the experts to be right, only to be equally wrong.
# ::::

# %% tags=["hide-input", "remove-output"]
symmetric = shares(mean + torch.tensor([-1.0, 1.0])[:, None, None], torch.full((2, 1, 1), 0.7))
torch.testing.assert_close(symmetric, torch.full((2,), 0.5))
assert (shares(mean + torch.tensor([-1.0, 0.5])[:, None, None], torch.ones(2, 1, 1)) != 0.5).all()

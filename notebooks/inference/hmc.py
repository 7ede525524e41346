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
# # Hamiltonian Monte Carlo
#
# The posterior of a subset of modalities is often known up to a constant and in no other way: one can score a latent and cannot draw one.
# JNF draws from it by Hamiltonian Monte Carlo {cite:p}`duane1987,neal2011,senellart2025`.
# This chapter derives the sampler from Hamilton's equations, writes it in under 80 lines without checks of arguments and counting, holds its draws against posteriors that are known and against a sampler by other hands, and shows how it fails.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import math
import warnings

import matplotlib.pyplot as plt
import numpy as np
import torch
from myst_nb import glue

from multielbo import diagnostics, gaussians, plots
from multielbo.adaptation import DualAveraging
from multielbo.hmc import (
    ADAPTED,
    RELEASED,
    Point,
    acceptance,
    energy,
    evaluate,
    hmc,
    leapfrog,
    transition,
)
from multielbo.oracle import LinearGaussian
from multielbo.profiles import check_profile
from multielbo.publishing.show import show, source
from multielbo.quadrants import answered, draw, pair_density, quadrant, trained
from multielbo.quadrature import Plane
from multielbo.subsets import powerset

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its progress bars ask for widgets
    import pyro
    from pyro.infer.mcmc import MCMC, NUTS

check_profile(profile)
plots.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(seed)
draws = {"quick": 400, "laptop": 4000, "full": 4000}[profile]
OURS, OTHER, WRONG = plots.colour("mvae"), plots.colour("log-pool"), plots.colour("mmvae")

# %% [markdown]
# ## A ball on a landscape
#
# Let $\pi(z)\propto e^{-U(z)}$ be the density to draw from.
# Give the point $z\in\mathbb R^D$ a momentum $v\in\mathbb R^D$, and the pair the **energy**
#
# $$
# H(z,v) = U(z)+\tfrac12\|v\|^2, \qquad U(z)=-\log\pi(z)+\text{const}.
# $$ (eq-hamiltonian)
#
# The density $e^{-H(z,v)}=e^{-U(z)}\,e^{-\|v\|^2/2}$ of pairs has $\pi$ as its marginal and $v\sim\N(0,I)$ independent of $z$.
# So whoever draws pairs draws from $\pi$, and half of the task, the momentum, is a normal draw.
# For the other half we let the ball roll, by Hamilton's equations
#
# $$
# \dot z = v, \qquad \dot v = \nabla\log\pi(z) = -\nabla U(z) .
# $$
#
# ::::{prf:lemma} What the rolling keeps
# :label: lem-hamiltonian-flow
#
# The map $\varphi_t$ that follows the equations for a time $t$ keeps the energy, keeps volumes in the space of pairs, and is undone by reversing the momentum: with $F(z,v)=(z,-v)$, $\ F\circ\varphi_t\circ F=\varphi_t^{-1}$.
# ::::
#
# :::{prf:proof}
# *Energy:* $\frac{\mathrm d}{\mathrm dt}H=\nabla U\cdot\dot z+v\cdot\dot v=\nabla U\cdot v-v\cdot\nabla U=0$.
# *Volume:* the velocity field $(v,-\nabla U(z))$ has divergence $\nabla_z\cdot v-\nabla_v\cdot\nabla U(z)=0$, and a flow without divergence keeps volumes.
# *Reversal:* if $(z(t),v(t))$ solves the equations, so does $(z(-t),-v(-t))$, as both sides of $\dot z=v$ change sign and both sides of $\dot v=-\nabla U$ do not.
# :::
#
# Rolling alone stays on one level of the energy, and drawing a new momentum moves to another.

# %% [markdown]
# ## The leapfrog keeps two of the three exactly
#
# A computer takes steps of size $\varepsilon$.
# Kicks change $v$ at a fixed $z$, drifts change $z$ at a fixed $v$; one step is half a kick, a drift, half a kick:
#
# $$
# v'=v+\tfrac\varepsilon2\nabla\log\pi(z), \qquad
# z^+=z+\varepsilon\,v', \qquad
# v^+=v'+\tfrac\varepsilon2\nabla\log\pi(z^+) .
# $$ (eq-leapfrog)
#
# ::::{prf:lemma} Leapfrog
# :label: lem-leapfrog
#
# For every $\varepsilon$ and every number of steps, the map $\Phi$ of {eq}`eq-leapfrog` keeps volumes and satisfies $F\circ\Phi\circ F=\Phi^{-1}$.
# It keeps the energy only up to an error: at a fixed time $t=L\varepsilon$, of order $\varepsilon^2$ where $U$ is smooth.
# ::::
#
# :::{prf:proof}
# A kick adds a function of $z$ to $v$: its Jacobian is triangular with ones on the diagonal, so its determinant is one, whatever the function.
# The same holds for a drift.
# A kick $K$ satisfies $F K F=K^{-1}$, because reversing the momentum turns adding into subtracting; so does a drift.
# Hence $F(K D K)F=(FKF)(FDF)(FKF)=K^{-1}D^{-1}K^{-1}=(KDK)^{-1}$: it is the symmetric order of the three that makes the step its own mirror image, and with it any number of steps.
# Expand $z^+$ and the exact $z(\varepsilon)$ in $\varepsilon$: they agree through $\varepsilon^2$, and so do the momenta, so one step errs by $\varepsilon^3$ and $t/\varepsilon$ steps by $\varepsilon^2$.
# :::

# %% tags=["remove-input"]
show(evaluate, energy, leapfrog)

# %% [markdown]
# The gradient at the end of a step is the one that the next step begins with, so a trajectory of $L$ steps takes $L$ gradients.
#
# **Check.** On a banana, a density that bends: backward is forward with the momentum reversed; the Jacobian, by autograd through the trajectory, has determinant one; and halving the step quarters the energy error.
# One wrong twin is Euler's method, which updates both at once.
# The other kicks fully twice: a composition of shears in symmetric order, so it keeps volume and reverses, and solves other equations.


# %%
def banana(z):
    return -0.5 * z[..., 0].square() - 2 * (z[..., 1] - 0.5 * z[..., 0].square()).square()


def whole_kicks(log_density, point, momentum, step, steps):
    for _ in range(steps):
        momentum = momentum + step * point.gradient
        point = evaluate(log_density, point.z + step * momentum)
        momentum = momentum + step * point.gradient
    return point, momentum


def euler(log_density, point, momentum, step, steps):
    for _ in range(steps):
        z, momentum = point.z + step * momentum, momentum + step * point.gradient
        point = evaluate(log_density, z)
    return point, momentum


begin = evaluate(banana, torch.randn(200, 2, generator=generator))
push = torch.randn(200, 2, generator=generator)
step = torch.tensor(0.02)
returns, errors = {}, {}
for method in (leapfrog, whole_kicks, euler):
    end, last = method(banana, begin, push, step, 50)
    back, _ = method(banana, end, -last, step, 50)
    returns[method] = (back.z - begin.z).abs().amax(-1).median().item()
    halved = []
    for steps in (50, 100):
        end, last = method(banana, begin, push, torch.tensor(1 / steps), steps)
        error = (energy(end, last) - energy(begin, push)).abs()
        halved.append(error.median().item())
    errors[method] = halved
assert returns[leapfrog] < 1e-12
assert returns[whole_kicks] < 1e-10
assert returns[euler] > 1e-3
assert abs(errors[leapfrog][0] / errors[leapfrog][1] - 4) < 0.5
assert errors[whole_kicks][1] > 100 * errors[leapfrog][1], "it solves other equations"

# %%


def volume_of(kick, drift):
    """Determinant of the Jacobian of five steps that are composed of these two."""

    def flow(state):
        z, v = state[:2], state[2:]
        for _ in range(5):
            z, v = drift(*kick(z, v))
        return torch.cat([z, v])

    start = torch.tensor([0.7, -0.4, 0.3, 1.1])
    return torch.linalg.det(torch.autograd.functional.jacobian(flow, start)).item()


def force(z):
    z = z if z.requires_grad else z.requires_grad_()
    return torch.autograd.grad(banana(z), z, create_graph=True)[0]


def one_leapfrog(z, v):
    half = v + 0.05 * force(z)
    z = z + 0.1 * half
    return z, half + 0.05 * force(z)


def same(z, v):
    return z, v


def one_euler(z, v):
    return z + 0.1 * v, v + 0.1 * force(z)


of_function, _ = leapfrog(
    banana, evaluate(banana, begin.z[:1]), push[:1], torch.tensor(0.1), steps=1
)
torch.testing.assert_close(one_leapfrog(begin.z[0].clone(), push[0])[0].detach(), of_function.z[0])
assert math.isclose(volume_of(one_leapfrog, same), 1.0, rel_tol=1e-12)
assert abs(volume_of(one_euler, same) - 1) > 0.1

# %% tags=["remove-input"] mystnb={"image": {"alt": "Left, position and momentum of a ball in a bowl: the leapfrog goes round on a closed curve, Euler's method spirals outward. Right, the energy error over time: the leapfrog's swings around zero and stays bounded, Euler's grows."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.3))
bowl = evaluate(gaussians.log_prior, torch.tensor([[1.2]]))
still = torch.tensor([[0.0]])
for method, color in ((leapfrog, OURS), (euler, WRONG)):
    point, v, path = bowl, still, [(1.2, 0.0, 0.0)]
    for _ in range(60):
        point, v = method(gaussians.log_prior, point, v, torch.tensor(0.25), 1)
        path.append((point.z.item(), v.item(), (energy(point, v) - energy(bowl, still)).item()))
        if abs(path[-1][0]) > 6:
            break
    path = np.array(path)
    inside = np.abs(path[:, :2]).max(1) < 2.6
    axes[0].plot(*path[inside, :2].T, "o-", ms=3, lw=0.8, color=color)
    axes[1].plot(0.25 * np.arange(len(path)), path[:, 2], color=color)
axes[0].set(xlabel="$z$", ylabel="$v$", aspect="equal", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
axes[1].set(xlabel="time", ylabel="energy error, nats", ylim=(-0.3, 1.5), xlim=(0, 15))
axes[1].annotate("Euler", (2.6, 1.1), color=WRONG)
axes[1].annotate("leapfrog", (10, 0.12), color=OURS)
fig.suptitle("The leapfrog errs and does not drift", weight="bold", fontsize=12, x=0.01, ha="left")
plt.show()

# %% [markdown]
# ## Accept or stay
#
# The energy is off by $\Delta=H(z^+,v^+)-H(z,v)$, and a test repairs what that would do to the density.
#
# ::::{prf:lemma} Detailed balance
# :label: lem-detailed-balance
#
# Let $T=F\circ\Phi^L$: a trajectory, then the momentum reversed.
# From a state $s=(z,v)$ go to $T(s)$ with probability
#
# $$
# \alpha(\Delta)=\min(1,e^{-\Delta}),\qquad \Delta=H(T(s))-H(s),
# $$ (eq-acceptance)
#
# and else stay at $s$.
# This keeps the density $e^{-H}$.
# No rule that depends on $\Delta$ alone and keeps it accepts more often.
# ::::
#
# :::{prf:proof}
# By {prf:ref}`lem-leapfrog` $T\circ T=F\Phi^LF\Phi^L=\Phi^{-L}\Phi^L$ is the identity, and $T$ keeps volumes: going twice leads back.
# So the moves from a set $A$ into a set $B$ and those from $B$ into $A$ are the same pairs $(s,s')$, $s'=T(s)$, read in the two directions, and no Jacobian enters.
# The two flows are equal if, and as $s$ exchanges mass with $T(s)$ alone only if, for each pair $e^{-H(s)}\alpha(\Delta)=e^{-H(s')}\alpha(-\Delta)$, that is $\alpha(\Delta)=e^{-\Delta}\alpha(-\Delta)$, which {eq}`eq-acceptance` satisfies.
# And any $\alpha$ that does so has $\alpha(\Delta)\le1$ and $\alpha(\Delta)=e^{-\Delta}\alpha(-\Delta)\le e^{-\Delta}$.
# :::
#
# The reversal never has to be carried out: $H$ does not see it, and the next iteration draws a new momentum.
# That draw keeps $e^{-H}$ as well, and so does each iteration.
# The constant of $\pi$ has cancelled in $\Delta$.

# %% tags=["remove-input"]
show(acceptance, transition)

# %% [markdown]
# ::::{prf:lemma} The average of $e^{-\Delta}$
# :label: lem-mean-exponential
#
# If $s$ has the density $e^{-H}$, normalised, then $\E\,e^{-\Delta}=1$, for any map that keeps volumes, however wrong its energies are.
# ::::
#
# :::{prf:proof}
# $\E e^{-\Delta}=\int e^{-H(s)}e^{-H(T(s))+H(s)}\,\mathrm ds=\int e^{-H(T(s))}\,\mathrm ds=\int e^{-H(s')}\,\mathrm ds'=1$.
# :::
#
# **Check.** Start at exact draws of $\N(0,1)$ and make one transition with a coarse step: the draws must keep their law, so nothing can hide behind slow convergence, and the lemma must hold.
# The wrong twins accept everything, and forget the momentum in the test.

# %%
count = 100_000
exact = evaluate(gaussians.log_prior, torch.randn(count, 1, generator=generator))
coarse = torch.tensor(1.2)
after, delta = transition(gaussians.log_prior, exact, coarse, 3, generator)
second_moment = after.z.square().mean().item()
four_errors = 4 * math.sqrt(2 / count)
assert abs(second_moment - 1) < four_errors
assert acceptance(delta).mean() < 0.95, "the step must be coarse enough to need the test"
weights = (-delta).exp()
assert abs(weights.mean() - 1) < 4 * weights.std() / count**0.5

push = torch.randn(count, 1, generator=generator)
end, last = leapfrog(gaussians.log_prior, exact, push, coarse, 3)
always = end.z
chance = torch.rand(count, generator=generator)
by_density = torch.where((chance < acceptance(exact.value - end.value))[:, None], end.z, exact.z)
for wrong in (always, by_density):
    assert abs(wrong.square().mean() - 1) > four_errors

# %% [markdown]
# ## How large a step
#
# **Stability.** For $\N(0,\sigma^2)$ a leapfrog step is a linear map of $(z,v)$ with determinant one and trace $2-\varepsilon^2/\sigma^2$.
# Its powers stay bounded while the trace is above $-2$, so for $\varepsilon<2\sigma$, and beyond that they explode.
# With many dimensions the narrowest $\sigma$ sets the limit and the widest the length of a trajectory: their ratio is what a sampler pays for.
#
# **Dimension.** Let $\pi$ have $D$ independent coordinates of one kind.
# Then $\Delta$ is a sum of $D$ independent errors, hence nearly normal, $\Delta\sim\N(m,s^2)$, and {prf:ref}`lem-mean-exponential` says $e^{-m+s^2/2}=1$, so $m=\frac12s^2$.
# The mean acceptance of such a $\Delta$ is
#
# $$
# \E\min(1,e^{-\Delta}) = 2\,\Phi_{\N}\big(-\tfrac s2\big),
# $$
#
# with the standard normal distribution function $\Phi_{\N}$.
# Each error is of order $\varepsilon^2$ at a fixed time $L\varepsilon$, so $s^2$ grows like $D\,\varepsilon^4$: to keep the acceptance, $\varepsilon$ must fall like $D^{-1/4}$.
# A random walk needs $D^{-1/2}$, and every step of it goes nowhere in particular.

# %%
found = {}
for dim in (16, 1024):
    run = hmc(
        gaussians.log_prior,
        torch.randn(32, dim, generator=generator),
        step_size=0.5,
        leapfrog_steps=5,
        vary=True,
        iterations=20,
        warmup=150,
        generator=generator,
    )
    found[dim] = run.step_size.item()
exponent = math.log(found[1024] / found[16]) / math.log(1024 / 16)
assert abs(exponent + 0.25) < 0.05
assert abs(exponent + 0.5) > 0.2, "a random walk's exponent is another"

state = evaluate(gaussians.log_prior, torch.randn(4000, 200, generator=generator))
_, delta = transition(gaussians.log_prior, state, torch.tensor(0.5), 5, generator)
normal = torch.special.ndtr(-delta.std() / 2) * 2
rate = acceptance(delta)
assert abs(rate.mean() - normal) < 5 * rate.std() / len(rate) ** 0.5
assert abs(delta.mean() - delta.var() / 2) < 5 * delta.std() / len(delta) ** 0.5

# %% tags=["remove-cell"]
glue("exponent", f"{exponent:.3f}".replace("-", "−"), display=False)
glue("rate", f"{rate.mean():.3f}", display=False)
glue("rate_normal", f"{normal:.3f}", display=False)

# %% [markdown]
# From 16 to 1,024 dimensions the step size for one and the same acceptance falls with the exponent {glue:text}`exponent`; and at 200 dimensions the acceptance is {glue:text}`rate` where the normal law gives {glue:text}`rate_normal`.

# %% [markdown]
# ## Finding the step while the chains warm up
#
# The acceptance falls with the step, and one iteration shows it with noise: we look for the root of $\E[\delta-\alpha]$ in $x=\log\varepsilon$, where $\delta$ is the acceptance that we want.
# **Dual averaging** {cite:p}`nesterov2009,hoffman2014` takes, after $t$ iterations with acceptances $\alpha_1,\dots,\alpha_t$,
#
# $$
# x_{t+1}=\arg\min_x\ \Big[x\sum_{i\le t}(\delta-\alpha_i)+\frac{\gamma\,(t+t_0)}{2\sqrt t}(x-\mu)^2\Big]
# =\mu-\frac{\sqrt t}{\gamma\,(t+t_0)}\sum_{i\le t}(\delta-\alpha_i) .
# $$ (eq-dual-averaging)
#
# The sum is the shortfall so far, and pushes $x$ down while chains accept too rarely.
# The square holds $x$ at $\mu=\log10\varepsilon_1$, above the first guess, since a step that is too small wastes work quietly; its weight grows like $\sqrt t$: more slowly than a steady shortfall, which decides in the end, and as fast as the noise of the sum, which it keeps from moving the search ever farther.
# $t_0$ damps the first moves.
# Afterwards the step is fixed to an average of the $x_t$ in which the $t$-th enters with weight $t^{-\kappa}$, because a chain whose step keeps depending on its past is no Markov chain, and {prf:ref}`lem-detailed-balance` would no longer apply.

# %% tags=["remove-input"]
show(DualAveraging.update)

# %% [markdown]
# **Check.** The closed form minimises the bracket, by autograd; and with an acceptance $e^{-\varepsilon}$, seen through noise, the search must end at $-\log\delta$ from far below and far above.

# %%
guess = torch.tensor([0.003, 1.0, 30.0])
averaging, tried, rates = DualAveraging(guess, 0.8), [], []
step = guess
for t in range(1, 1001):
    rates.append((-step).exp() + 0.02 * torch.randn(3, generator=generator))
    tried.append(step)
    step = averaging.update(rates[-1], last=t == 1000)
    if t == 7:
        at = step.log().clone().requires_grad_()
        short = (0.8 - torch.stack(rates)).sum(0)
        bracket = at * short + 0.05 * 17 / (2 * 7**0.5) * (at - (10 * guess).log()).square()
        (slope,) = torch.autograd.grad(bracket.sum(), at)
        assert slope.abs().max() < 1e-12
assert (step.log() - math.log(-math.log(0.8))).abs().max() < 0.2
assert abs(guess.log() - math.log(-math.log(0.8))).min() > 1.4, "all three guesses are wrong"

# %% [markdown]
# ## Scales, lengths, and all chains at once
#
# **Mass matrix.** Kinetic energy $\frac12v^\top M^{-1}v$ with $v\sim\N(0,M)$ is the same as no mass and other coordinates: put $z=M^{-1/2}u$ and $v=M^{1/2}w$, and the leapfrog for $(z,v)$ is the leapfrog for $(u,w)$ with the unit matrix.
# So a good $M$ is the inverse of the target's covariance, and for a diagonal one it is enough to give every coordinate its own step, $\varepsilon$ times its width: the argument `scale`.
#
# **Length.** For $\N(0,\sigma^2)$ the ball swings with period $2\pi\sigma$.
# After half a period it is at $-z$, whatever its momentum was, and after a whole one where it began: an iteration of unlucky length moves nothing.
# The argument `vary` draws the number of steps of each iteration; each number keeps $\pi$, so any choice that does not look at the state does.
#
# **Chains.** Nothing above couples one chain to another, so all chains of all examples are one tensor `(chains, B, D)`, and the gradient of the sum of their log-densities holds the gradient of each.

# %% tags=["remove-input"]
show(hmc)

# %%
sampler = (evaluate, energy, leapfrog, acceptance, transition, hmc, DualAveraging)
code = [line.strip() for part in sampler for line in source(part).splitlines()]
lines = len([line for line in code if line and not line.startswith("#")])
assert lines < 80

widths = torch.tensor([0.2, 3.0])
u, w = torch.randn(2, 4, 2, generator=generator)
in_u, _ = leapfrog(gaussians.log_prior, evaluate(gaussians.log_prior, u), w, torch.tensor(0.3), 9)


def narrow(z):
    return gaussians.log_prior(z / widths)


in_z, _ = leapfrog(narrow, evaluate(narrow, u * widths), w, 0.3 * widths, 9)
torch.testing.assert_close(in_z.z, in_u.z * widths)

half_period = {"step_size": math.pi / 20, "leapfrog_steps": 20, "iterations": 100}
starts = torch.randn(8, 1, generator=generator)
mirrored = {
    vary: hmc(gaussians.log_prior, starts, vary=vary, generator=generator, **half_period).z
    for vary in (False, True)
}
assert diagnostics.r_hat(mirrored[False].square()) > 1.5, "widths never mix"
assert diagnostics.r_hat(mirrored[True].square()) < 1.1

# %% tags=["remove-cell"]
glue("lines", lines, display=False)

# %% [markdown]
# Without checks of arguments and counting, these functions with the adaptation are {glue:text}`lines` lines of code.
#
# ## What the draws are worth
#
# Draws of a chain resemble each other, and $n$ of them with autocorrelations $\rho_k$ estimate a mean as well as $n/(1+2\sum_k\rho_k)$ independent ones would: the **effective sample size**, since $\operatorname{Var}\big(\frac1n\sum_iz_i\big)\approx\frac{\sigma^2}n\big(1+2\sum_k\rho_k\big)$.
# **$\hat R$** compares chains: the spread of all draws together, over the spread within each chain, is one if all chains tell the same story {cite:p}`vehtari2021`.
# ArviZ computes both.
#
# **Check.** For $x_t=\rho\,x_{t-1}+\text{noise}$ we have $\rho_k=\rho^k$, so the effective size is $n\frac{1-\rho}{1+\rho}$.

# %%
for rho in (-0.4, 0.0, 0.9):
    noise = torch.randn(3000, 8, generator=generator)
    chain = [noise[0]]
    for shock in noise[1:]:
        chain.append(rho * chain[-1] + math.sqrt(1 - rho**2) * shock)
    series = torch.stack(chain)
    known = series.numel() * (1 - rho) / (1 + rho)
    estimated = diagnostics.effective_sample_size(series)
    assert abs(estimated / known - 1) < 0.15
    assert rho == 0 or abs(series.numel() / known - 1) > 0.5, "the plain count must fail"
series[:, 0] += 3
assert diagnostics.r_hat(series) > 1.1

# %% [markdown]
# ## Every subset of the oracle
#
# The oracle's posteriors are known for every subset, and its log-densities are sums, $\log p(z)+\sum_{m\in S}\log p(x_m\mid z)$.
# All subsets, examples and chains run in one tensor; each subset finds its own step size.

# %%
names = ("a", "b", "c")
oracle = LinearGaussian.random(dict.fromkeys(names, 3), 2, orthogonal=False, generator=generator)
batch = oracle.sample(2, generator)
members = powerset(3).to(torch.float64)  # (K, M)
score = oracle.log_likelihood(batch)


def log_posterior(z):
    return gaussians.log_prior(z) + torch.einsum("km,mckb->ckb", members, score(z))


chains = hmc(
    log_posterior,
    torch.randn(4, len(members), 2, 2, generator=generator),
    step_size=torch.full((len(members), 1), 0.1),
    leapfrog_steps=8,
    vary=True,
    iterations=draws,
    warmup=150,
    generator=generator,
)
worst, distance = 0.0, []
for k, member in enumerate(members):
    subset = [name for name, inside in zip(names, member, strict=True) if inside]
    mean, covariance = oracle.posterior(batch, subset)
    z = chains.z[:, :, k] - mean
    for values, known in ((z, torch.zeros(2, 2)), (z[..., :, None] * z[..., None, :], covariance)):
        error = (values.mean((0, 1)) - known) / diagnostics.monte_carlo_error(values)
        worst = max(worst, error.abs().max().item())
    distance.append((mean / diagnostics.monte_carlo_error(z)).abs().max().item())
assert worst < 5
assert min(distance) > 5, "draws of the prior must fail"
assert diagnostics.r_hat(chains.z).max() < 1.05
assert chains.divergent.sum() == 0

# %% tags=["remove-cell"]
glue("moments", len(members) * 2 * (2 + 3), display=False)
glue("worst", f"{worst:.1f}", display=False)

# %% [markdown]
# Of {glue:text}`moments` first and second moments the worst is {glue:text}`worst` of its standard errors from the truth.

# %% [markdown]
# ## A sampler by other hands
#
# Where nothing is known exactly, a second implementation is the next best witness.
# Pyro's NUTS chooses lengths, step size and mass by itself {cite:p}`hoffman2014`; on the banana we ask both, and quadrature, for four moments.
# NUTS runs one chain on one density, so we give it the product of as many bananas as we have chains, whose coordinates are chains that share their gradients.

# %%
ours = hmc(
    banana,
    torch.randn(16, 2, generator=generator),
    step_size=0.1,
    leapfrog_steps=16,
    vary=True,
    iterations=draws,
    warmup=200,
    target=0.95,
    generator=generator,
)
pyro.set_rng_seed(seed)
kernel = NUTS(potential_fn=lambda state: -banana(state["z"]).sum(), target_accept_prob=0.9)
witness = MCMC(
    kernel,
    num_samples=draws // 4,
    warmup_steps=50,
    initial_params={"z": torch.randn(16, 2, generator=generator)},
    disable_progbar=True,
)
witness.run()
theirs = witness.get_samples()["z"]

first, second = torch.meshgrid(
    torch.linspace(-6, 6, 401), torch.linspace(-4, 22, 801), indexing="ij"
)
mass = banana(torch.stack([first, second], -1)).exp()
mass /= mass.sum()
rows = []
for name, moment in {
    "E z_1": lambda a, b: a,
    "E z_1^2": lambda a, b: a**2,
    "E z_2": lambda a, b: b,
    "E z_2^2": lambda a, b: b**2,
}.items():
    known = (mass * moment(first, second)).sum()
    of_ours, of_theirs = (moment(*z.unbind(-1)) for z in (ours.z, theirs))
    errors = [diagnostics.monte_carlo_error(values) for values in (of_ours, of_theirs)]
    assert abs(of_ours.mean() - known) < 4 * errors[0]
    assert abs(of_ours.mean() - of_theirs.mean()) < 4 * (errors[0] ** 2 + errors[1] ** 2).sqrt()
    rows.append((name, known, of_ours.mean(), errors[0], of_theirs.mean(), errors[1]))
straight = 0.0  # the mean of z_2 if the banana did not bend
assert abs(rows[2][2] - straight) > 20 * rows[2][3]

# %% tags=["remove-cell"]
for k, (_, known, mine, mine_error, nuts, nuts_error) in enumerate(rows):
    glue(f"known_{k}", f"{known:.3f}".replace("-", "−"), display=False)
    glue(f"ours_{k}", f"{mine:.3f} ± {mine_error:.3f}".replace("-", "−"), display=False)
    glue(f"nuts_{k}", f"{nuts:.3f} ± {nuts_error:.3f}".replace("-", "−"), display=False)

# %% [markdown]
# | | quadrature | ours | Pyro's NUTS |
# |---|---|---|---|
# | $\E z_1$ | {glue:text}`known_0` | {glue:text}`ours_0` | {glue:text}`nuts_0` |
# | $\E z_1^2$ | {glue:text}`known_1` | {glue:text}`ours_1` | {glue:text}`nuts_1` |
# | $\E z_2$ | {glue:text}`known_2` | {glue:text}`ours_2` | {glue:text}`nuts_2` |
# | $\E z_2^2$ | {glue:text}`known_3` | {glue:text}`ours_3` | {glue:text}`nuts_3` |
#
# With standard errors from the effective sample sizes; ours made more draws, so its errors are smaller at no merit of the algorithm.
#
# ### On a trained model
#
# A banana in a formula is not what the sampler is for.
# So we train a small JNF, both stages of it, on points $u\sim\N(0,I)$ of a plane that are seen three times: as $u_1+\sin2u_2$, as $u_2$, and as $u$ itself, each with noise.
# The target is {eq}`eq-subset-posterior` of the first two modalities, a product of two trained flows, divided once by the prior.
# NUTS again gets many chains of a few examples as the coordinates of one density; and the latent has two dimensions, so a grid can judge both.
# Two twins must fail the same comparison: the product that is not divided by the prior, and the one in which each modality has the other's flow.

# %% tags=["remove-input"]
show(draw, pair_density)

# %%
points = torch.Generator().manual_seed(seed)
seen, asked = draw("train", 2000, points), draw("test", 1000, points)
model = trained(seen, seed)
few = asked.take(torch.arange(4))
target = pair_density(model, few)


def chains_of(log_density, iterations):
    return hmc(
        log_density,
        torch.randn(64, len(few), 2, generator=generator),
        step_size=torch.full((len(few),), 0.2),
        leapfrog_steps=8,
        vary=True,
        iterations=iterations,
        warmup=30,
        generator=generator,
    ).z


pyro.set_rng_seed(seed)
witness = MCMC(
    NUTS(potential_fn=lambda state: -target(state["z"]).sum(), target_accept_prob=0.6),
    num_samples=30,
    warmup_steps=15,
    initial_params={"z": torch.randn(32, len(few), 2, generator=generator)},
    disable_progbar=True,
)
witness.run()


def estimates(z):
    """Five moments, and their errors with an effective size of at most the number of draws."""
    values = torch.cat([z, z.square(), z.prod(-1, keepdim=True)], -1)
    effective = diagnostics.effective_sample_size(values).clamp(max=z.shape[0] * z.shape[1])
    return values.mean((0, 1)), values.flatten(0, 1).std(0) / effective.sqrt()


def apart(one, other):
    """The largest difference, in combined standard errors."""
    (mean, error), (its_mean, its_error) = one, other
    return ((mean - its_mean) / (error**2 + its_error**2).sqrt()).abs().max().item()


plane = Plane(extent=7.0, side=57)
with torch.no_grad():
    on_plane = plane.posterior(pair_density(model, asked)(plane.points[:, None]).T)
mass_of = on_plane.exp() * plane.cell  # (B, P)
known = plane.points, plane.points.square(), plane.points.prod(-1, keepdim=True)
by_grid = mass_of[: len(few)] @ torch.cat(known, -1), torch.tensor(0.0)

mine, theirs = estimates(chains_of(target, 50)), estimates(witness.get_samples()["z"])
assert max(apart(mine, theirs), apart(mine, by_grid), apart(theirs, by_grid)) < 4.5
flows = model.aggregator.posteriors.flows
flows["first"], flows["second"] = flows["second"], flows["first"]
swapped = pair_density(model, few)
flows["first"], flows["second"] = flows["second"], flows["first"]
twins = {
    "undivided": lambda z: target(z) + gaussians.log_prior(z),
    "swapped": swapped,
}
off = {name: apart(estimates(chains_of(twin, 15)), theirs) for name, twin in twins.items()}
assert min(off.values()) > 10

# %% tags=["remove-cell"]
glue("trained_apart", f"{apart(mine, theirs):.1f}", display=False)
glue("trained_moments", 5 * len(few), display=False)
glue("twin_undivided", f"{off['undivided']:.0f}", display=False)
glue("twin_swapped", f"{off['swapped']:.0f}", display=False)

# %% [markdown]
# Of {glue:text}`trained_moments` moments of trained posteriors the worst differs by {glue:text}`trained_apart` combined standard errors between ours and NUTS.
# Without the division it is {glue:text}`twin_undivided`, with the flows swapped {glue:text}`twin_swapped`.

# %% [markdown]
# ## What goes wrong
#
# **Too large a step.** On a density of width one, past $\varepsilon=2$ energies explode, nothing is accepted, and well past it most proposals are counted as divergent.
# On the banana the limit depends on the place, and is smallest in the tips: there trajectories diverge first, and a chain that avoids the tips looks calm.
#
# **Many modes.** A ball without the energy to pass a ridge stays on its side.
# Chains that all start in one mode agree with each other, and are all wrong; from different starts $\hat R$ tells.
#
# **No number.** Where a density or its gradient is not a number, a proposal cannot be judged.
# Such a chain stays where it is, is counted in `nonfinite`, and leaves the step size that it shares with others alone; the others go on, and a warning tells the caller.

# %%
sweep = torch.linspace(0.2, 2.3, 15)
collapse = hmc(
    gaussians.log_prior,
    torch.randn(40, len(sweep), 5, generator=generator),
    step_size=sweep,
    leapfrog_steps=20,
    vary=True,
    iterations=30,
    generator=generator,
)
by_step = collapse.acceptance.mean(0)
assert by_step[sweep > 2.05].max() < 0.1
assert by_step[sweep < 1].min() > 0.7
assert (collapse.divergent[:, sweep > 2.2].double().mean(0) > 15).all()


def two_modes(z):
    return torch.logaddexp(gaussians.log_prior(z - 6), gaussians.log_prior(z + 6))


sides = torch.tensor([-6.0, 6.0, -6.0, 6.0])[:, None]
stuck = hmc(
    two_modes,
    sides,
    step_size=0.3,
    leapfrog_steps=10,
    vary=True,
    iterations=300,
    generator=generator,
)
from_both, from_one = diagnostics.r_hat(stuck.z), diagnostics.r_hat(stuck.z[:, ::2])
assert from_both > 1.5
assert from_one < 1.1, "chains that start alike cannot tell"


def with_a_hole(z):
    return gaussians.log_prior(z) + torch.where(z[..., 0] > 3, math.nan, 0.0)


starts = torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.5, 0.0]])
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    marked = hmc(
        with_a_hole, starts, step_size=0.5, leapfrog_steps=3, iterations=50, generator=generator
    )
assert marked.nonfinite[2] == 50
assert (marked.z[:, 2] == starts[2]).all()
assert marked.acceptance[:2].min() > 0.8
assert "not finite" in str(told[0].message)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Left, acceptance against the step size: near one for small steps, falling, and zero from a step of two. Right, four chains over iterations: two stay near minus six and two near plus six."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.2))
axes[0].plot(sweep, by_step, "o-", ms=4, color=OURS)
axes[0].axvline(2, color="0.5", lw=1, ls=":")
axes[0].annotate(r"$2\sigma$", (2.02, 0.9), color="0.4")
axes[0].set(
    xlabel=r"step size $\varepsilon/\sigma$",
    ylabel="acceptance",
    title="Past the limit nothing moves",
)
for k in range(4):
    axes[1].plot(stuck.z[:, k, 0], lw=0.8, color=(OURS, OTHER)[k % 2])
axes[1].annotate(
    rf"$\hat R={from_both.item():.1f}$ of all four, ${from_one.item():.2f}$ of the blue two",
    (0.5, 0.5),
    xycoords="axes fraction",
    ha="center",
    fontsize=9,
)
axes[1].set(xlabel="iteration", ylabel="$z$", title="Two modes, and no way across")
plt.show()

# %%
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    hasty = hmc(
        banana,
        0.5 * torch.randn(200, 2, generator=generator),
        step_size=0.7,
        leapfrog_steps=8,
        iterations=60,
        generator=generator,
    )
assert "Try a smaller step size" in str(told[0].message)
assert hasty.divergent.sum() > 1000

# %% tags=["remove-input"] mystnb={"image": {"alt": "Draws on a banana-shaped density: with an adapted step they reach far into both tips, with a step that is too large they stop short of them."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.2), sharex=True, sharey=True)
for ax, run, color, title in (
    (axes[0], ours.z, OURS, "An adapted step reaches the tips"),
    (axes[1], hasty.z[20:], WRONG, "Too large a step stops short"),
):
    ax.contour(
        first,
        second,
        banana(torch.stack([first, second], -1)),
        [-8, -4.5, -2, -0.5],
        colors="0.7",
        linewidths=0.8,
    )
    points = run.flatten(0, 1)
    points = points[torch.randperm(len(points), generator=generator)[:1500]]
    ax.plot(*points.T, ".", ms=2, color=color)
    ax.set(xlim=(-4.5, 4.5), ylim=(-2, 10), xlabel="$z_1$", title=title)
axes[0].set_ylabel("$z_2$")
plt.show()

# %% tags=["remove-cell"]
tips = [(z[..., 0].abs() > 2).double().mean().item() for z in (ours.z, hasty.z[20:])]
truth_tips = 2 * torch.special.ndtr(torch.tensor(-2.0)).item()
assert abs(tips[0] - truth_tips) < 0.015
assert tips[1] < 0.5 * truth_tips
glue("tips_true", f"{100 * truth_tips:.1f}", display=False)
glue("tips_ours", f"{100 * tips[0]:.1f}", display=False)
glue("tips_hasty", f"{100 * tips[1]:.1f}", display=False)
glue("hasty_rate", f"{hasty.acceptance.mean():.2f}", display=False)

# %% [markdown]
# Beyond $|z_1|=2$ lie {glue:text}`tips_true` percent of the density; the adapted chains put {glue:text}`tips_ours` percent of their draws there, the hasty ones, which still accept a share of {glue:text}`hasty_rate` of their proposals, {glue:text}`tips_hasty`.

# %% [markdown]
# ## The settings of the released code
#
# MultiVae samples JNF's subset posteriors with 100 iterations of ten leapfrog steps of size 0.01, without adaptation, and returns the last state.
# How much of the start is left in it?
#
# ::::{prf:lemma} What short trajectories forget
# :label: lem-short-trajectories
#
# For $\N(0,\sigma^2)$, exact trajectories of length $\tau$ and new momenta, the correlation of the state after $n$ iterations with a start that has this law is $\cos(\tau/\sigma)^n$, which is close to $e^{-n\tau^2/2\sigma^2}$ for $\tau\ll\sigma$.
# ::::
#
# :::{prf:proof}
# The equations $\dot z=v$, $\dot v=-z/\sigma^2$ give $z(\tau)=z\cos(\tau/\sigma)+v\,\sigma\sin(\tau/\sigma)$, and $v$ is independent of $z$: each iteration multiplies the covariance with the start by $\cos(\tau/\sigma)\approx e^{-\tau^2/2\sigma^2}$.
# :::
#
# With $\tau=10\cdot0.01$ and $n=100$ the exponent is $-\frac1{2\sigma^2}$: a direction of width one keeps more than half of where it started, and what keeps nothing is narrower than a third.
# So at these settings the draw is as good as its start wherever the posterior is wide.
# The preset `RELEASED` holds them; `ADAPTED` spends a tenth of the gradients, most of them while it finds its step.

# %%
sigma = torch.tensor([0.2, 0.4, 0.7, 1.0])  # for each width 1,000 chains in 32 dimensions


def bundles(z):
    return gaussians.log_prior(z / sigma[:, None])


before = torch.randn(1000, 4, 32, generator=generator) * sigma[:, None]
remains, gradients = {}, {}
for name, preset in {"released": RELEASED, "adapted": ADAPTED}.items():
    steps = torch.full((4,), float(preset["step_size"]))
    calls = []

    def counted(z, calls=calls):
        calls.append(1)
        return bundles(z)

    final = hmc(counted, before, keep=1, generator=generator, **{**preset, "step_size": steps}).z[0]
    centered = ((before * final).mean((0, 2)) / sigma.square()).abs()
    remains[name], gradients[name] = centered, len(calls)
forgotten = torch.cos(0.1 / sigma) ** 100
noise = 5 / math.sqrt(1000 * 32)
assert (remains["released"] - forgotten).abs().max() < noise + 0.01
assert forgotten[-1] > 0.5
assert remains["adapted"].max() < 0.05 + noise
assert gradients["adapted"] < gradients["released"] / 5

# %% tags=["remove-cell"]
for k in range(4):
    glue(f"released_{k}", f"{remains['released'][k]:.2f}", display=False)
    glue(f"adapted_{k}", f"{remains['adapted'][k]:.2f}", display=False)
    glue(f"lemma_{k}", f"{forgotten[k]:.2f}", display=False)
glue("released_gradients", f"{gradients['released']:,}", display=False)
glue("adapted_gradients", f"{gradients['adapted']:,}", display=False)

# %% [markdown]
# | correlation with the start, width | 0.2 | 0.4 | 0.7 | 1.0 | gradients |
# |---|---|---|---|---|---|
# | {prf:ref}`lem-short-trajectories` | {glue:text}`lemma_0` | {glue:text}`lemma_1` | {glue:text}`lemma_2` | {glue:text}`lemma_3` | |
# | `RELEASED` | {glue:text}`released_0` | {glue:text}`released_1` | {glue:text}`released_2` | {glue:text}`released_3` | {glue:text}`released_gradients` |
# | `ADAPTED` | {glue:text}`adapted_0` | {glue:text}`adapted_1` | {glue:text}`adapted_2` | {glue:text}`adapted_3` | {glue:text}`adapted_gradients` |
#
# The targets are normal, with one width for all directions, and each width has its own step: the easiest case for adaptation.
# Within one posterior widths differ, and then the narrowest holds the step; `scale` is for that.
#
# **Check.** On the trained model of this page we ask what the settings do to answers: each test example's first two modalities get one draw, the decoder makes the third from it, and the answer is **coherent** if that is in the quadrant of the example.
# The grid knows how often draws of the product itself are.
# Beside it stands the mean square distance of the draws from the product's mean, in its own widths, which is one for exact draws; it is given for the latent in which the released settings leave more.


# %%
def coherent(z):
    made = model.generate("point", z.float())
    return (quadrant(made) == asked.labels).double()


exact = (mass_of * coherent(plane.points[:, None]).T).sum(1)
center = mass_of @ plane.points
width = (mass_of @ plane.points.square() - center.square()).sqrt()
answers = {
    "product": None,
    "start": {"iterations": 1, "leapfrog_steps": 1, "step_size": 1e-6},  # it stays there
    "released": RELEASED,
    "adapted": ADAPTED,
}
right, squares = {"product": exact}, {}
for name, preset in answers.items():
    if preset is not None:
        z = answered(model, asked, preset)
        right[name], squares[name] = coherent(z), ((z - center) / width).square()


def errors(values):
    """A mean over examples, in its standard errors."""
    return values.mean(0) / (values.std(0) / len(values) ** 0.5)


for name in ("released", "adapted"):
    assert abs(errors(right[name] - exact)) < 4
assert abs(errors(right["adapted"] - right["released"])) < 4
assert errors(right["adapted"] - right["start"]) > 8, "the chain must be needed"
assert errors(squares["adapted"] - 1).abs().max() < 4
slow = errors(squares["released"] - 1).argmax()
assert errors(squares["released"] - 1)[slow] > 2, "it remembers the start"
assert errors(squares["start"] - 1).min() > 8

# %% tags=["remove-cell"]
glue("tuples", f"{len(asked):,}", display=False)
for name, values in right.items():
    error = values.std() / len(values) ** 0.5
    text = f"{values.mean():.3f}" + (f" ± {error:.3f}" if name != "product" else "")
    glue(f"coherent_{name}", text, display=False)
for name, values in squares.items():
    error = values[:, slow].std() / len(values) ** 0.5
    glue(f"square_{name}", f"{values[:, slow].mean():.2f} ± {error:.2f}", display=False)

# %% [markdown]
# | {glue:text}`tuples` test pairs | coherence | mean square distance |
# |---|---|---|
# | the product itself, on the grid | {glue:text}`coherent_product` | 1 |
# | where the chains start, a member's posterior | {glue:text}`coherent_start` | {glue:text}`square_start` |
# | `RELEASED` | {glue:text}`coherent_released` | {glue:text}`square_released` |
# | `ADAPTED` | {glue:text}`coherent_adapted` | {glue:text}`square_adapted` |
#
# So the two presets are equally coherent, within their standard errors, at a tenth of the gradients.
# By their mean squares the adapted draws are draws of the product; the released ones are still too wide, since by {prf:ref}`lem-short-trajectories` they keep a part of their start, which is wider yet.
# What the presets take in seconds, beside MultiVae and at PolyMNIST's size, is measured by `make bench`, with flows that are not trained.

# %% [markdown]
# ## Paper, released code, here
#
# | | paper {cite:p}`senellart2025` | MultiVae | here |
# |---|---|---|---|
# | **what was read** | the abstract | MultiVae 1.0.3 | |
# | **iterations, steps, step size** | not known to us | 100, 10, 0.01 | `RELEASED` the same; `ADAPTED` finds its step |
# | **adaptation** | not known to us | none | {eq}`eq-dual-averaging` while warming up |
# | **mass matrix** | not known to us | unit | unit, or `scale` |
# | **start** | not known to us | one modality of the subset at random, a draw of its base Gaussian that is not passed through the flow | an argument |
# | **acceptance** | not known to us | counted and not returned | returned, with divergences and chains without numbers |
# | **gradient** | not known to us | runs the encoders again each time | a function of $z$ alone |

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-barker
# Barker's rule accepts with probability $1/(1+e^{\Delta})$.
# Show that it satisfies detailed balance, and compare its mean acceptance with {eq}`eq-acceptance` for a normal $\Delta$ of {prf:ref}`lem-mean-exponential`.
# ::::
#
# ::::{solution} ex-barker
# :class: dropdown
# $\frac1{1+e^\Delta}=e^{-\Delta}\frac1{1+e^{-\Delta}}$, so it balances, and by {prf:ref}`lem-detailed-balance` it never accepts more often.
# As $\frac1{1+e^\Delta}\ge\frac12\min(1,e^{-\Delta})$, it accepts at least half as often, and for $\Delta\to0$ just half.
# ::::

# %% tags=["hide-input", "remove-output"]
delta = torch.linspace(-6, 6, 101)
barker = torch.sigmoid(-delta)
torch.testing.assert_close(barker, (-delta).exp() * torch.sigmoid(delta))
assert (barker < acceptance(delta)).all()
spread_of = 0.8
sample = 0.5 * spread_of**2 + spread_of * torch.randn(200_000, generator=generator)
normal_rule = 2 * torch.special.ndtr(torch.tensor(-spread_of / 2))
assert abs(acceptance(sample).mean() - normal_rule) < 0.005
assert torch.sigmoid(-sample).mean() < 0.55

# %% [markdown]
# ::::{exercise}
# :label: ex-one-step
# A trajectory of one leapfrog step is a random walk with a drift.
# Write its proposal, and say which known algorithm it is.
# ::::
#
# ::::{solution} ex-one-step
# :class: dropdown
# $z^+=z+\frac{\varepsilon^2}2\nabla\log\pi(z)+\varepsilon v$ with $v\sim\N(0,I)$: the Langevin proposal with time step $\varepsilon^2/2$, and the test is that of the Metropolis-adjusted Langevin algorithm.
# The energy error is the logarithm of its ratio, proposal densities included:
# ::::

# %% tags=["hide-input", "remove-output"]
here = evaluate(banana, torch.randn(50, 2, generator=generator))
v = torch.randn(50, 2, generator=generator)
small = torch.tensor(0.3)
there, arrived = leapfrog(banana, here, v, small, 1)


def log_proposal(to: Point, start: Point):
    drift = start.z + 0.5 * small**2 * start.gradient
    return gaussians.log_density(to.z, drift, small.expand_as(drift))


langevin = there.value + log_proposal(here, there) - here.value - log_proposal(there, here)
torch.testing.assert_close(-langevin, energy(there, arrived) - energy(here, v))

# %% [markdown]
# ::::{exercise}
# :label: ex-released-wide
# At which step size would the released 100 iterations of ten steps forget a start of width one to one percent, and what would the acceptance be in 512 dimensions?
# ::::
#
# ::::{solution} ex-released-wide
# :class: dropdown
# By {prf:ref}`lem-short-trajectories` we need $\cos(10\,\varepsilon)^{100}=0.01$, so $10\,\varepsilon=\arccos(0.01^{1/100})\approx0.3$: three times the released step.
# Such a step is still far below what 512 normal dimensions allow, so nearly everything is accepted:
# ::::

# %% tags=["hide-input", "remove-output"]
needed = math.acos(0.01 ** (1 / 100)) / 10
assert 0.029 < needed < 0.031
many = evaluate(gaussians.log_prior, torch.randn(50, 512, generator=generator))
_, delta = transition(gaussians.log_prior, many, torch.tensor(needed), 10, generator)
assert acceptance(delta).mean() > 0.98

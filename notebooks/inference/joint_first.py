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
# # Joint first
#
# Aggregating unimodal posteriors inside the training objective makes the generative model pay for what the aggregate cannot do, as {prf:ref}`lem-subset-floor` says in nats.
# Joint-first models turn the order round: train the generative model with an encoder that sees everything, freeze it, and only then ask what each modality alone can say about the latent.
# We derive what that second stage minimises, what its optimum is, and why it cannot touch the generative model; JMVAE and TELBO, which came before, are the same two ingredients mixed differently.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import math
import tempfile
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from myst_nb import glue

from multielbo import flow_kinds, flows, gaussians, plots
from multielbo.data.multimodal import MultimodalData
from multielbo.flow_kinds import masked_autoregressive
from multielbo.joint import JointVAE
from multielbo.joint_first import JointFirst
from multielbo.likelihoods import Normal
from multielbo.models.jmvae import JMVAE, TelboFit
from multielbo.models.jnf import jnf_stages
from multielbo.networks import mlp_decoder, mlp_encoder, seeded
from multielbo.oracle import LinearGaussian
from multielbo.profiles import check_profile
from multielbo.publishing.show import show
from multielbo.stages import train_stage, train_stages
from multielbo.train_config import TrainConfig
from multielbo.unimodal import PosteriorFit, UnimodalPosteriors

check_profile(profile)
plots.use_style()
generator = torch.Generator().manual_seed(seed)
epochs = {"quick": 3, "laptop": 30, "full": 100}[profile]
FORWARD, REVERSE, FLOW = map(plots.colour, ("mvae", "mmvae", "mopoe"))

# %% [markdown]
# ## Stage 1: the joint ELBO
#
# One encoder reads all modalities and gives $q(z\mid x)$, a diagonal Gaussian; the objective is the joint ELBO, {eq}`eq-joint-elbo`, and nothing else.
# In the released code the encoder has a copy of each modality's network as a head and a perceptron on their embeddings, and so has ours.

# %% tags=["remove-input"]
show(JointVAE.joint_posterior, JointVAE.bound)

# %% [markdown]
# ## Stage 2: fit the posteriors of single modalities
#
# With the joint encoder frozen, unimodal posteriors are fitted to its draws,
#
# $$
# \mathcal L_2=\E_{p_{\text{data}}(x)}\,\E_{q(z\mid x)}\Big[-\sum_m\log q(z\mid x_m)\Big].
# $$
#
# ::::{prf:lemma} Stage 2 is a sum of divergences
# :label: lem-stage-two
#
# $$
# \mathcal L_2-\E_{p_{\text{data}}}M\,\mathrm H\big(q(z\mid x)\big)
# =\E_{p_{\text{data}}}\sum_m\KL{q(z\mid x)}{q(z\mid x_m)},
# $$ (eq-posterior-fit)
#
# and what is subtracted does not depend on anything that is trained.
# ::::
#
# :::{prf:proof}
# Add and subtract $\log q(z\mid x)$ inside the expectation, once for each $m$; its expectation is minus the entropy, and $q(z\mid x)$ is frozen.
# :::
#
# The code estimates the right-hand side, from one draw: it has the same gradient as $\mathcal L_2$, and a value that one can read, in nats, with a floor.

# %% tags=["remove-input"]
show(PosteriorFit.bound)

# %% [markdown]
# ## Its optimum
#
# No $q(z\mid x_m)$ can be equal to $q(z\mid x)$ for all $x$, because it has not seen the rest.
#
# ::::{prf:lemma} The optimum of stage 2
# :label: lem-aggregated
#
# Let $\bar q(z\mid x_m)=\E_{p_{\text{data}}(x\mid x_m)}\,q(z\mid x)$ be the joint posterior averaged over whatever else may have come with $x_m$.
# Then
#
# $$
# \E\sum_m\KL{q(z\mid x)}{q(z\mid x_m)}
# =\sum_m I_m+\sum_m\E_{p_{\text{data}}(x_m)}\KL{\bar q(z\mid x_m)}{q(z\mid x_m)},
# $$
#
# where $I_m$ is the information about $z$, under $p_{\text{data}}(x)\,q(z\mid x)$, that the other modalities add to $x_m$.
# So the floor is $\sum_mI_m$, and it is reached where $q(z\mid x_m)=\bar q(z\mid x_m)$.
# If the joint encoder is exact and the data come from the model, $\bar q(z\mid x_m)=p(z\mid x_m)$.
# ::::
#
# :::{prf:proof}
# Split $\log\frac{q(z\mid x)}{q(z\mid x_m)}=\log\frac{q(z\mid x)}{\bar q(z\mid x_m)}+\log\frac{\bar q(z\mid x_m)}{q(z\mid x_m)}$.
# The expectation of the first is the conditional mutual information $I_m$ by its definition.
# The second depends on $x_m$ and $z$ alone, and given $x_m$ the law of $z$ is $\bar q(z\mid x_m)$.
# In the exact case $p_{\text{data}}(x)\,q(z\mid x)=p(x,z)$, and averaging over all but $x_m$ leaves $p(z\mid x_m)$.
# :::
#
# **Check.** On the oracle with a joint encoder of the right mean and a width that is wrong by a factor $c$, all of this is Gaussian: $\bar q(z\mid x_m)$ has the mean of $p(z\mid x_m)$ and the variance $\sigma_m^2+(c^2-1)\,\sigma^2$, where $\sigma_m$ belongs to $p(z\mid x_m)$ and $\sigma$ to $p(z\mid x)$.
# An optimiser that knows only the expected divergence, in closed form, has to arrive there.

# %%
names = ["a", "b", "c"]
oracle = LinearGaussian.random(
    dict.fromkeys(names, 3), 2, {"a": 0.8, "b": 1.2, "c": 2.0}, generator=generator
)
joint_loadings = torch.cat([oracle.loadings[m] for m in names])
noise = torch.cat([torch.full((3,), oracle.noise[m]).double() for m in names])
data_covariance = joint_loadings @ joint_loadings.T + torch.diag(noise**2)
one = {m: torch.zeros(1, 3).double() for m in names}
posterior_covariance = oracle.posterior(one)[1]
sigma = posterior_covariance.diagonal().sqrt()
gain = posterior_covariance @ (joint_loadings / noise[:, None] ** 2).T  # E[z | x] = gain x
place = {m: slice(3 * i, 3 * i + 3) for i, m in enumerate(names)}


def minimised(objective, *parameters):
    """The parameters after a search by L-BFGS, and the value there."""
    search = torch.optim.LBFGS(
        parameters,
        max_iter=800,
        tolerance_grad=1e-12,
        tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )

    def closure():
        search.zero_grad()
        loss = objective()
        loss.backward()
        return loss

    search.step(closure)
    return objective().item()


def expected_kl(coefficients, scale, other_coefficients, other_scale):
    """E_x KL(N(coefficients x, scale^2) || N(other_coefficients x, other_scale^2))."""
    gap = coefficients - other_coefficients
    shift = ((gap @ data_covariance) * gap).sum(1)
    ratio = (scale / other_scale) ** 2
    return 0.5 * (ratio + shift / other_scale**2 - 1 - ratio.log()).sum()


def only(m, coefficients):
    """Coefficients of a mean that reads x_m alone."""
    return torch.zeros(2, 9).double().index_copy(1, torch.arange(9)[place[m]], coefficients)


found = {}
for c in (0.6, 1.0, 1.5):
    for m in names:
        coefficients = torch.zeros(2, 3).double().requires_grad_()
        log_scale = torch.zeros(2).double().requires_grad_()

        def fit(m=m, c=c, coefficients=coefficients, log_scale=log_scale):
            return expected_kl(gain, c * sigma, only(m, coefficients), log_scale.exp())

        floor = minimised(fit, coefficients, log_scale)
        own = oracle.posterior(one, [m])[1]
        averaged = own.diagonal() + (c**2 - 1) * sigma**2
        exact_gain = own @ oracle.loadings[m].T / oracle.noise[m] ** 2
        torch.testing.assert_close(log_scale.exp() ** 2, averaged, rtol=1e-5, atol=0)
        torch.testing.assert_close(coefficients, exact_gain, rtol=1e-4, atol=1e-6)
        assert math.isclose(floor, 0.5 * (averaged / (c * sigma) ** 2).log().sum(), rel_tol=1e-6)
        if c == 1.0:
            information = 0.5 * (torch.logdet(own) - torch.logdet(posterior_covariance))
            assert math.isclose(floor, information, rel_tol=1e-6)
        else:
            twin = c**2 * own.diagonal()
            assert ((twin / averaged).log().abs() > 0.01).all(), "the width is not scaled, too"
        found[m, c] = floor

assert found["c", 1.0] == max(found[m, 1.0] for m in names), "the noisiest misses most"

# %% tags=["remove-cell"]
for m in names:
    glue(f"floor_{m}", f"{found[m, 1.0]:.2f}", display=False)

# %% [markdown]
# With the exact joint encoder the floors are {glue:text}`floor_a`, {glue:text}`floor_b` and {glue:text}`floor_c` nats: what the other two modalities add, most of all to the noisiest.
# A joint encoder that is too narrow hands its error on, diluted: the fitted posterior is wrong by the same *amount* of variance and not by the same factor.
# What that does to products of several modalities is a matter of {doc}`/chapters/inference/subset_posteriors`.
#
# ## A Gaussian covers, TELBO's chooses
#
# The direction of the divergence says what happens where $\bar q(z\mid x_m)$ is no Gaussian.
# Stage 2 has the posterior to be fitted in front: the best Gaussian has its mean and its variance, so it covers every hump and all that lies between.
# TELBO {cite:p}`vedantam2018` trains an ELBO of its own for each modality, with the decoder of stage 1, and so minimises $\KL{q(z\mid x_m)}{p(z\mid x_m)}$: that is large wherever $q$ has mass and $p$ has none, so its best Gaussian keeps to one hump.

# %% tags=["remove-input"]
show(TelboFit.bound)

# %% [markdown]
# **Check.** A modality that shows only $z^2$, on a line where quadrature knows everything; the fits come from optimisers and, for the cover, from two integrals.

# %%
line = torch.linspace(-5, 5, 2001).double()[:, None]
spacing = line[1, 0] - line[0, 0]
log_target = gaussians.log_prior(line) - 0.5 * ((1.8 - line[:, 0].square()) / 0.5) ** 2
log_target = log_target - torch.logsumexp(log_target, 0) - spacing.log()
target = log_target.exp()


def searched(objective, at):
    loc = torch.tensor([at]).double().requires_grad_()
    log_scale = torch.tensor([-0.5]).double().requires_grad_()
    value = minimised(lambda: objective(loc, log_scale.exp()), loc, log_scale)
    return loc.item(), log_scale.exp().item(), value


def cover(loc, scale):
    return (target * (log_target - gaussians.log_density(line, loc, scale))).sum() * spacing


def choose(loc, scale):
    log_q = gaussians.log_density(line, loc, scale)
    return (log_q.exp() * (log_q - log_target)).sum() * spacing


covering, choosing = searched(cover, 0.3), searched(choose, 0.9)
mean = (target * line[:, 0]).sum() * spacing
deviation = ((target * (line[:, 0] - mean) ** 2).sum() * spacing).sqrt()
assert math.isclose(covering[0], mean, abs_tol=1e-6)
assert math.isclose(covering[1], deviation, rel_tol=1e-6)
assert choosing[0] > 1.0
assert choosing[1] < 0.5 * covering[1]

bent = flow_kinds.spline(1, width=8, blocks=1, bins=16).double()
optimizer = torch.optim.Adam(bent.parameters(), 0.05)
base = torch.tensor([covering[0]]).double(), torch.tensor([covering[1]]).double()
for _ in range(300):
    log_q = flows.log_density(bent, line, *base)
    missed = (target * (log_target - log_q)).sum() * spacing
    optimizer.zero_grad()
    missed.backward()
    optimizer.step()
assert missed < 0.2 * covering[2]

# %% tags=["remove-cell"]
glue("covering", f"{covering[2]:.2f}", display=False)
glue("flow_missed", f"{missed.item():.2f}", display=False)
glue("choosing", f"{choosing[2]:.2f}", display=False)

# %% tags=["remove-input"] mystnb={"image": {"alt": "A target with two humps in grey; one wide Gaussian that covers both and the gap between them; one narrow Gaussian on the right hump alone; and a flow that follows both humps."}}
fig, ax = plt.subplots(figsize=(6.4, 3.1))
ax.fill_between(line[:, 0], target, color="0.87", lw=0)
for (loc, scale, _), color in ((covering, FORWARD), (choosing, REVERSE)):
    loc, scale = torch.tensor([loc]).double(), torch.tensor([scale]).double()
    ax.plot(line, gaussians.log_density(line, loc, scale).exp(), color=color)
ax.plot(line, log_q.detach().exp(), color=FLOW)
ax.annotate("stage 2, Gaussian", (-0.65, 0.36), color=FORWARD)
ax.annotate("TELBO", (1.75, 1.1), color=REVERSE)
ax.annotate("stage 2, flow", (-2.75, 0.7), color=FLOW)
ax.set(xlabel="$z$", yticks=[], xlim=(-3, 3), title="Covering, choosing, and fitting")
plt.show()

# %% [markdown]
# The covering Gaussian misses the target by {glue:text}`covering` nats and the flow by {glue:text}`flow_missed`, in the direction of stage 2; the choosing one is at {glue:text}`choosing` nats in its own.
# What is drawn from the gap between the humps is decoded to something that shows neither: the inference gap of {doc}`/chapters/inference/inference_gap`.
# It is for this that JNF puts a flow where JMVAE has a Gaussian.
#
# ## JMVAE: both at once
#
# JMVAE {cite:p}`suzuki2016` trains one objective,
#
# $$
# \ELBO(x)-\alpha\sum_m\KL{q(z\mid x)}{q(z\mid x_m)},
# $$ (eq-jmvae)
#
# which is both stages added up, with $q(z\mid x)$ free to move.
# Its gradient reaches the joint encoder, and a joint encoder that is told to resemble what one modality can know gives up what it knows.

# %% tags=["remove-input"]
show(JMVAE.bound)

# %% [markdown]
# **Check.** On the oracle with its decoders held fixed, we optimise joint and unimodal Gaussians together for several $\alpha$, from expected divergences in closed form.
# The gap of the joint encoder is zero for $\alpha=0$, which is joint first, and grows with $\alpha$.


# %%
def optimum(alpha):
    """Nats lost by the joint ELBO, and missed by the modalities, at the best linear encoders."""
    joint_gain = gain.clone().requires_grad_()
    joint_log_scale = sigma.log().requires_grad_()
    own_gains = {m: torch.zeros(2, 3).double().requires_grad_() for m in names}
    own_log_scales = {m: torch.zeros(2).double().requires_grad_() for m in names}

    def parts():
        joint = joint_gain, joint_log_scale.exp()
        lost = expected_kl(*joint, gain, sigma)  # E KL(q(z | x) || p(z | x))
        missed = [
            expected_kl(*joint, only(m, own_gains[m]), own_log_scales[m].exp()) for m in names
        ]
        return lost, sum(missed)

    posteriors = [*own_gains.values(), *own_log_scales.values()]
    minimised(lambda: parts()[1], *posteriors)
    if alpha > 0:
        everything = joint_gain, joint_log_scale, *posteriors
        minimised(lambda: parts()[0] + alpha * parts()[1], *everything)
    return [part.item() for part in parts()]


alphas = [0.0, 0.1, 0.3, 1.0, 3.0]
gaps, misses = zip(*map(optimum, alphas), strict=True)
assert gaps[0] < 1e-12
assert all(later > earlier + 1e-4 for earlier, later in pairwise(gaps))
assert math.isclose(misses[0], sum(found[m, 1.0] for m in names), rel_tol=1e-5)
assert misses[-1] < misses[0]

# %% tags=["remove-input"] mystnb={"image": {"alt": "Two curves against alpha: the gap of the joint encoder rises from zero, and what the unimodal posteriors miss of it falls."}}
fig, ax = plt.subplots(figsize=(6.4, 3.0))
ax.plot(alphas, gaps, "o-", color=REVERSE)
ax.plot(alphas, misses, "o-", color=FORWARD)
ax.annotate(
    "lost by the joint ELBO",
    (alphas[-1], gaps[-1]),
    xytext=(-6, 8),
    textcoords="offset points",
    ha="right",
    color=REVERSE,
)
ax.annotate("missed by the modalities", (0.4, 2.95), color=FORWARD)
ax.set(
    xlabel=r"$\alpha$",
    ylabel="nats",
    ylim=(0, None),
    title="JMVAE buys agreement with the joint posterior's sharpness",
)
plt.show()

# %% [markdown]
# What the modalities miss falls because there is less left to know.
# And with decoders free, a joint posterior that knows less costs the decoders, too.
#
# ## Why stage 2 cannot hurt
#
# The module that stage 2 trains holds the unimodal encoders and their flows, and nothing else.
# Joint posteriors come to it as data: a frozen encoder says the same of an example in every epoch, so it is asked once, before the first step, and no picture is decoded at all.
# **Check.** We train both stages on a small data set and compare the generative model bit by bit.

# %%
torch.manual_seed(seed)
drawn = oracle.sample(400, generator)
data = MultimodalData(
    "oracle", {m: drawn[m].float() for m in names}, torch.zeros(400, dtype=torch.int64)
)
with seeded(seed):
    joint = JointVAE(
        {m: mlp_encoder((3,), 2) for m in names},
        {m: mlp_decoder((3,), 2) for m in names},
        dict.fromkeys(names, Normal(1.0)),
        latent_dim=2,
        hidden=(16,),
    )
    posteriors = UnimodalPosteriors(
        {m: mlp_encoder((3,), 2, (16,)) for m in names},
        {m: masked_autoregressive(2, width=16) for m in names},
    )
model = JointFirst(joint, posteriors)
config = TrainConfig(epochs=epochs, batch_size=50, learning_rate=1e-2, seed=seed)
stages = jnf_stages(model, data, {"joint": config, "posteriors": config})

refused = ""
with tempfile.TemporaryDirectory() as folder:
    try:
        train_stage(stages, "posteriors", Path(folder), progress=False)
    except ValueError as error:
        refused = str(error).replace(folder, "the folder")
    train_stage(stages, "joint", Path(folder), progress=False)
    before = {name: value.clone() for name, value in joint.state_dict().items()}
    results = train_stages(stages, Path(folder), progress=False)
assert "starts from stage 'joint', which is not finished" in refused

assert all(torch.equal(joint.state_dict()[name], value) for name, value in before.items())
losses = results["posteriors"].history.loss
assert losses[-1] < losses[0]
trained = {id(p) for p in PosteriorFit(posteriors, "").parameters()}
assert trained.isdisjoint(id(p) for p in joint.parameters())

twin = JMVAE(joint, UnimodalPosteriors({m: mlp_encoder((3,), 2) for m in names}), alpha=1.0)
joint.requires_grad_(True)
(-twin.bound(data.batch(slice(0, 50))).elbo().mean()).backward()
assert all(p.grad.abs().max() > 0 for p in joint.fusion.parameters()), (
    "JMVAE moves the joint encoder"
)

# %% [markdown]
# A stage that is started before its turn says so:

# %% tags=["remove-input"]
print(refused)

# %% [markdown]
# Each stage resumes exactly where it was stopped and keeps the weights of the epoch that was best on held-out examples, with the optimiser's state of that epoch.
# A second stage that was begun after another first one is refused, because it carries the digest of the weights it started from.

# %% tags=["remove-input"]
show(train_stages, jnf_stages)

# %% [markdown]
# ## Papers, released code, here
#
# | | papers | released code {cite:p}`senellart2025multivae` | here |
# |---|---|---|---|
# | **what we have read** | JNF {cite:p}`senellart2025`: abstract and secondary sources | MultiVae 1.0.3 | |
# | **JNF, stage 1** | the joint distribution by variational inference | joint ELBO with $\beta$ and likelihood weights | the same |
# | **JNF, stage 2** | a "theoretically grounded" objective; its printed form is not known to us | $-\sum_m\log q(z\mid x_m)$, one draw; all pictures are decoded once more, for a number in the log | {eq}`eq-posterior-fit`, one draw; joint posteriors computed once |
# | **frozen model** | not known to us | gradients off, training mode stays on, so a batch normalisation would still move | gradients off, evaluation mode, not in the optimiser |
# | **best weights** | not known to us | kept, with the optimiser's state of the moment of saving | kept, with the optimiser's state of their own epoch |
# | **flow** | masked autoregressive | two blocks of width 128, whatever $D$ | two blocks at least as wide as $D$ |
# | **TELBO's divergence** | that of $q(z\mid x_m)$ | holds the joint posterior's log-variance in place of the modality's own | that of $q(z\mid x_m)$ |

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-moment-matching
# Show that among all Gaussians the one with the mean and the covariance of $\bar q$ minimises $\KL{\bar q}{\N}$, and that the minimum is the difference of the two entropies.
# ::::
#
# ::::{solution} ex-moment-matching
# :class: dropdown
# $-\E_{\bar q}\log\N(z;\mu,\Sigma)$ depends on $\bar q$ through its first two moments alone, so it is the same as for a Gaussian $g$ with these moments: $\mathrm H(g)+\KL{g}{\N(\mu,\Sigma)}$, smallest at $g$ itself.
# Subtract $\mathrm H(\bar q)$.
# ::::

# %% tags=["hide-input", "remove-output"]
entropy = -(target * log_target).sum() * spacing
difference = gaussians.entropy(deviation[None]) - entropy
assert math.isclose(difference, covering[2], rel_tol=1e-6)

# %% [markdown]
# ::::{exercise}
# :label: ex-telbo-joint-width
# In a unimodal ELBO replace $\log\sigma_m$ by the joint posterior's $\log\sigma$ in the divergence, as the table says of the released TELBO.
# What does the gradient with respect to $\sigma_m$ ask for, if the likelihood is indifferent?
# ::::
#
# ::::{solution} ex-telbo-joint-width
# :class: dropdown
# The divergence becomes $\frac12(\mu_m^2+\sigma_m^2-1)-\log\sigma$, and nothing in it grows as $\sigma_m$ shrinks: its derivative in $\sigma_m$ is $\sigma_m>0$ everywhere, and the posterior collapses to a point.
# With its own $\log\sigma_m$ the derivative $\sigma_m-1/\sigma_m$ vanishes at the prior's width.
# ::::

# %% tags=["hide-input", "remove-output"]
own_scale = torch.linspace(0.01, 3, 300).double().requires_grad_()
zero = torch.zeros(300, 1).double()
right = gaussians.kl_to_prior(zero, own_scale[:, None]).sum()
swapped = (0.5 * (own_scale**2 - 1) - math.log(0.5)).sum()
(of_right,) = torch.autograd.grad(right, own_scale)
(of_swapped,) = torch.autograd.grad(swapped, own_scale)
assert (of_swapped > 0).all()
assert of_right[0] < 0 < of_right[-1]

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
# # The linear experiment
#
# {cite:t}`hirt2024` simulate a linear multimodal Gaussian model, train networks on it, and compare likelihoods.
# It is the one experiment of this part where every number that training finds has a value that it *should* have.
# We train it here: what the masked objective must reach is the maximum of the likelihood, what the mixture objective must miss is {eq}`eq-mixture-learns`.
# On the way we meet a plateau that looks like convergence, find out what makes it, and get rid of it.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0
results = "book/results"

# %% tags=["remove-cell"]
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from myst_nb import glue

from multielbo import linear_missing_records, linear_records, masks, plots
from multielbo.linear_data import log_likelihood
from multielbo.linear_experiment import train
from multielbo.linear_likelihoods import Quadratic, quadratic
from multielbo.linear_missing import imputed
from multielbo.linear_missing import log_likelihood as observed_likelihood
from multielbo.linear_missing_experiment import train as train_with_gaps
from multielbo.linear_objectives import Settings, posteriors
from multielbo.linear_report import captured
from multielbo.linear_theory import levels, mixture_optimum
from multielbo.mixtures import Posteriors
from multielbo.profiles import check_profile
from multielbo.publishing.show import show
from multielbo.records import caption, load

check_profile(profile)
plots.use_style()
generator = torch.Generator().manual_seed(seed)
MASKED, MIXTURE = plots.INK, plots.colour("mopoe")

# %% [markdown]
# ## The data, and what is known of them
#
# Five modalities of $30$ to $59$ dimensions, $x_m=W_mz+b_m+\varepsilon_m$ with orthonormal columns in $W_m$, normal offsets and unit noise; 5,000 rows.
# In the *dense* version all modalities carry the same five latents.
# In the *sparse* version each has five more of its own, thirty latents in all.
#
# With known noise, the decoders of largest likelihood are principal components {cite:p}`tipping1999`: if $\lambda_1\ge\lambda_2\ge\dots$ are the eigenvalues of the data's covariance, each latent with $\lambda_i>s^2$ adds
#
# $$
# \tfrac12\Big[\frac{\lambda_i}{s^2}-1-\log\frac{\lambda_i}{s^2}\Big]
# $$ (eq-latent-worth)
#
# nats per row to the log-likelihood, in decreasing order.
# So we know the maximum, and also the level of the best decoders that use fewer latents, down to none.

# %% tags=["remove-input"]
show(levels)

# %%
data = {kind: linear_records.simulated(kind) for kind in ("dense", "sparse")}
ladders = {kind: levels(x, truth, truth.loadings.shape[-1]) for kind, (truth, x) in data.items()}
for kind, (truth, x) in data.items():
    ladder = ladders[kind]
    assert (ladder.diff() > 0).all()
    assert ladder[-1] > log_likelihood(truth, x), "the maximum is above the truth"


def shortfall(kind, values):
    """In percent of the largest log-likelihood."""
    best = ladders[kind][-1]
    return 100 * (best - torch.as_tensor(values, dtype=torch.float64)) / best.abs()


# %% tags=["remove-cell"]
for kind in data:
    best, nothing = ladders[kind][-1], shortfall(kind, ladders[kind][0])
    glue(f"linear_best_{kind}", f"{best:.1f}".replace("-", "−"), display=False)
    glue(f"linear_nothing_{kind}", f"{nothing:.1f}", display=False)
    last = shortfall(kind, ladders[kind][-2])
    glue(f"linear_last_{kind}", f"{last:.2f}", display=False)

# %% [markdown]
# | | largest log-likelihood, nats | no latent used | one latent unused |
# |---|---|---|---|
# | dense | {glue:text}`linear_best_dense` | {glue:text}`linear_nothing_dense` % below | {glue:text}`linear_last_dense` % below |
# | sparse | {glue:text}`linear_best_sparse` | {glue:text}`linear_nothing_sparse` % below | {glue:text}`linear_last_sparse` % below |
#
# A model that is two percent from the maximum has learned almost nothing.

# %% [markdown]
# ## No latent has to be drawn
#
# The networks are those of {doc}`/chapters/bounds/permutation_invariant_encoders`, the decoders are affine.
# For affine decoders log p is a quadratic of $z$,
#
# $$
# \log p(x_m\mid z)=c_m+h_m^\top z-\tfrac12z^\top\Lambda_mz, \qquad
# h_m=\frac{W_m^\top(x_m-b_m)}{s^2}, \quad \Lambda_m=\frac{W_m^\top W_m}{s^2}, \quad c_m=\log p(x_m\mid 0) ,
# $$
#
# and so its expectation under a Gaussian $q$ with mean $\mu$ and variances $\sigma^2$ is
#
# $$
# \E_q\log p(x_m\mid z)=c_m+h_m^\top\mu-\tfrac12\mu^\top\Lambda_m\mu-\tfrac12\sum_d(\Lambda_m)_{dd}\,\sigma_d^2 .
# $$ (eq-quadratic-expectation)
#
# :::{prf:proof}
# Expand the square in $-\frac1{2s^2}\|x_m-b_m-W_mz\|^2$; then $\E_q\,z^\top\Lambda z=\mu^\top\Lambda\mu+\operatorname{tr}(\Lambda\operatorname{diag}\sigma^2)$.
# :::
#
# With it every objective is known without a draw of $z$, except for the density of a mixture; only the mask and the batch stay random.
# It also costs less: a residual of $59$ dimensions becomes a vote of five.

# %% tags=["remove-input"]
show(Quadratic.expected, quadratic)

# %% [markdown]
# **Check** against decoders that form the residual, and against an average over many latents.

# %%
truth, x = (data["dense"][0], data["dense"][1][:, :20])
weights = {"loadings": truth.loadings[None], "offsets": truth.offsets[None]}
explain = quadratic(weights, x[:, None], truth.present, 0.9)
z = torch.randn(3000, 1, 20, 5, generator=generator, dtype=torch.float64)
q = Posteriors(
    torch.randn(1, 20, 5, generator=generator, dtype=torch.float64),
    torch.full((1, 20, 5), 0.4, dtype=torch.float64),
    torch.ones(1, 20, dtype=torch.float64),
    torch.ones(1, 5, 20, dtype=torch.bool),
)
drawn = q.loc + q.scale * z
for m, here in enumerate(truth.present):
    means = drawn @ truth.loadings[m][here].T + truth.offsets[m][here]
    direct = torch.distributions.Normal(means, 0.9).log_prob(x[m][:, here]).sum(-1)
    torch.testing.assert_close(explain(drawn)[m], direct)
    error = direct.std(0)[0] / len(z) ** 0.5
    assert ((direct.mean(0)[0] - explain.expected(q)[m]).abs() < 5 * error).all()
    at_mean = explain(q.loc)[m, 0]
    assert ((at_mean - explain.expected(q)[m]) > 0.3).all(), "the spread of q counts"

# %% [markdown]
# ## A plateau, and what makes it
#
# Start the networks as PyTorch does, with centred data and a constant step, train under the masked objective with sum pooling, and watch the exact log-likelihood of the decoders.
# It falls into place quickly, close to the maximum as it seems, and stays.
# The level at which it stays is that of the best decoders that use *no* latent, or one.
#
# The reason is in the first weights.
# A layer with PyTorch's default keeps a third of the variance of its input, and a rectifier half of the rest; between the data and $\mu$ there are nine layers.

# %%
small = {"latent_dim": 5, "epochs": 0, "width": linear_records.DENSE["width"]}
starts = {"usual": {"centred": True}, "careful": linear_records.QUICK_START}
signal, scales = {}, {}
truth, x = data["dense"]
for name, changes in starts.items():
    first = train(x, truth, Settings(**small, **changes), [0])
    everything = torch.ones(1, 5, x.shape[1], dtype=torch.bool)
    with torch.no_grad():
        answer = posteriors(
            first.network, first.weights, first.settings, x[:, None].float(), everything
        )[0]
    signal[name] = float(answer.loc[0].std(0).mean())
    scales[name] = float(answer.scale.mean())
assert signal["usual"] < 0.01 * scales["usual"]
assert signal["careful"] > 0.1 * scales["careful"]

# %% tags=["remove-cell"]
for name in starts:
    glue(f"signal_{name}", f"{signal[name]:.4f}", display=False)
    glue(f"scale_{name}", f"{scales[name]:.2f}", display=False)

# %% [markdown]
# At first the posterior means differ between rows by {glue:text}`signal_usual`, against a standard deviation of {glue:text}`scale_usual` of each posterior: $z$ is noise.
# Decoders do best to ignore noise, so their loadings shrink; then nothing tells the encoders what to say, and the rate tells them to say nothing.
# It is a saddle, not a minimum, and the way down from it is slow.
#
# Our start differs in three points.
# Weights are $\sqrt3$ times PyTorch's, except for the last ones, so that an affine layer keeps the variance of its input.
# First posteriors are narrow.
# And the rate is priced from zero, $\beta=(t/t_0)^3$ until $t_0$ and $\beta=1$ from then on: annealing as it is usual for VAEs, but with a power that stays low until all latents have found something to say.
# The step rises for an epoch and ends in a cosine, which decides the last digits.
# After that start the means differ by {glue:text}`signal_careful`, against {glue:text}`scale_careful`.


# %% tags=["remove-cell"]
def recorded(name):
    folder = Path(results) / name / "laptop"
    return load(folder) if (folder / "record.json").exists() else None


found = {name: recorded(name) for name in linear_records.RUNS}
found = {name: value for name, value in found.items() if value}
main = found.get("linear-dense/masked-sum-pooling")
usual = found.get("linear-dense/masked-sum-pooling-usual-start")

# %% tags=["remove-input"] mystnb={"image": {"alt": "Relative shortfall of the exact log-likelihood against epochs, on a logarithmic axis, for five seeds each. From the usual start the seeds come to the levels of no latent or one latent used and stay on them. From the careful start they step down the levels of one to four latents and end below a fiftieth of a percent."}}
fig, ax = plt.subplots(figsize=(6.8, 4))
for used, level in enumerate(shortfall("dense", ladders["dense"][:-1])):
    ax.axhline(float(level), color="0.8", lw=0.8)
    ax.text(0.2, float(level) * 1.02, f"{used} used", fontsize=7.5, color="0.45", va="bottom")
for value, color, label in ((usual, MIXTURE, "usual start"), (main, MASKED, "careful start")):
    if value:
        curve = shortfall("dense", value[1]["curve"])
        ax.plot(value[1]["epochs"], curve, color=color, lw=1, alpha=0.8)
        ax.plot([], [], color=color, label=label)
ax.axhline(0.1, color="0.3", lw=1, ls=":")
ax.text(0.2, 0.103, "one in a thousand", fontsize=8, color="0.3", va="bottom")
ax.set(
    yscale="log",
    xlabel="epochs",
    ylabel="% below the largest log-likelihood",
    title="The same model and objective, two starts",
)
ax.legend(loc="lower left")
plt.show()

# %% tags=["remove-input"]
Markdown(
    f"Masked objective, sum pooling, dense data: {caption(main[0])}." if main else "No record yet."
)

# %% tags=["remove-cell"]
if main:
    ends = shortfall("dense", main[0].metrics["log_likelihood"])
    glue("linear_worst", f"{ends.max():.3f}", display=False)
    glue("linear_cpu", f"{np.mean(main[0].metrics['cpu_seconds']):.1f}", display=False)
    glue("linear_epochs", f"{main[0].config['epochs']}", display=False)
else:
    for name in ("linear_worst", "linear_cpu", "linear_epochs"):
        glue(name, "(no record)", display=False)

# %% [markdown]
# After {glue:text}`linear_epochs` epochs the worst of the seeds is {glue:text}`linear_worst` % below the maximum, after {glue:text}`linear_cpu` seconds of CPU for each seed.
# Latents come into use one by one, and a seed may rest on the way.
# A curve alone cannot tell a plateau from the end; the ladder of {eq}`eq-latent-worth` can.

# %% [markdown]
# ## What is recorded
#
# All runs of one kind of data and length share networks and start.
# The mixture objective has its optimum in closed form for the very data that were drawn, {prf:ref}`thm-mixture-learns` with the law of the masks, all $32$ subsets equally likely.
# For the masked and the joint objective theory says zero, if the aggregator can be right.
# `python -m multielbo.linear_records` makes what is missing of `RUNS`, the most wanted first; the table holds what has been made.

# %% tags=["remove-cell"]
optima = {kind: mixture_optimum(x, truth, masks.independent()) for kind, (truth, x) in data.items()}


def spread(values, digits):
    values = np.asarray(values)
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"


def expected_shortfall(kind, objective):
    if objective == "mixture":
        return f"{shortfall(kind, optima[kind].log_likelihood):.2f}"
    return "0" if objective in ("masked", "joint") else "–"


lines = []
for name, (record, _) in found.items():
    if name.endswith("usual-start"):
        continue
    kind, config = name.split("/")[0].removeprefix("linear-"), record.config
    metrics = {key: np.asarray(value) for key, value in record.metrics.items()}
    divergence = metrics["divergence"]
    cells = [
        kind,
        config["objective"],
        config["aggregator"],
        str(config["epochs"]),
        spread(shortfall(kind, metrics["log_likelihood"]), 2),
        expected_shortfall(kind, config["objective"]),
        spread(metrics["log_likelihood"] - metrics["objective"], 2),
        spread(metrics["rate"], 2),
        spread(metrics["distortion"], 1),
        spread(divergence[:, -1], 2),
        spread(divergence.mean(1), 2),
        f"{metrics['cpu_seconds'].mean():.0f}",
    ]
    lines.append("| " + " | ".join(cells) + " |")

# %% tags=["remove-input"]
Markdown(
    "| data | objective | aggregator | epochs | % below the maximum | theory | log-likelihood minus objective "
    "| rate | distortion | divergence, all observed | divergence, all subsets | CPU s |\n"
    + "|---" * 12
    + "|\n"
    + "\n".join(lines)
    if lines
    else "There is no record yet; `python -m multielbo.linear_records` makes them."
)

# %% tags=["remove-cell"]
glue("dense_theory", f"{shortfall('dense', optima['dense'].log_likelihood):.3f}", display=False)
lost = {"lost": "(no record)", "seeds": "(no record)", "whole": "(no record)"}
if "linear-dense/mixture-sum-pooling" in found:
    ends = np.asarray(found["linear-dense/mixture-sum-pooling"][0].metrics["log_likelihood"])
    whole = ends > float(ladders["dense"][-2])
    lost = {"lost": f"{(~whole).sum()}", "seeds": f"{len(whole)}"}
    lost["whole"] = f"{shortfall('dense', ends[whole]).mean():.3f}" if whole.any() else "–"
for name, value in lost.items():
    glue(f"mixture_{name}", value, display=False)

# %% [markdown]
# Nats per row, mean and standard deviation over seeds; the divergence is $\KL{q(z\mid x_S)}{p(z\mid x_S)}$ under the learned decoders, on 1,000 rows.
# CPU seconds are those of training, for each seed.
# The objective of `tc` is not a bound, so its distance to the log-likelihood has no sign.
#
# On the dense data the optimum of the mixture objective costs little likelihood, {glue:text}`dense_theory` %, because shared factors only shrink.
# Training loses more: in {glue:text}`mixture_lost` of {glue:text}`mixture_seeds` seeds latents are unused at the end, each of which costs a rung of the ladder.
# The others are {glue:text}`mixture_whole` % below the maximum.
# The same start and schedule leave no latent unused under the masked objective; what schedule the mixture objective asks for we have not searched.
#
# ## Private factors collapse
#
# On the sparse data each true factor can be looked up in what was learned: $\|W^\top w\|^2/\|w\|^4$ with $w$ its true loadings, which is one for the truth, in any basis of latents.
# With noise variance one and a chance of one half to be seen, a private factor sits exactly on the threshold of {eq}`eq-private-loading`: in expectation the mixture objective learns *none* of it.
# On 5,000 rows the threshold is blurred, and theory for these very rows says how much is left.

# %% tags=["remove-input"]
show(captured, mixture_optimum)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Relative squared loadings of the five shared and the twenty-five private factors. Under both objectives the shared ones lie around six tenths, below the crosses of theory for the mixture near eight tenths. Of the private ones the masked objective has learned between a quarter and nine tenths, the mixture objective next to nothing, as the crosses near a tenth say."}}
fig, ax = plt.subplots(figsize=(7.2, 3.8))
factors = captured(optima["sparse"].model, data["sparse"][0])
at = np.arange(len(factors))
for objective, color in (("masked", MASKED), ("mixture", MIXTURE)):
    value = found.get(f"linear-sparse/{objective}-sum-pooling")
    if value:
        seeds = np.asarray(value[0].metrics["factors"])
        for row in seeds:
            ax.plot(at, row, "o", ms=3, color=color, alpha=0.5)
        ax.plot([], [], "o", ms=4, color=color, label=f"{objective}, trained")
ax.plot(at, factors, "x", ms=6, color="0.1", label="mixture, theory")
ax.axhline(1, color="0.8", lw=0.8)
ax.axvline(4.5, color="0.8", lw=0.8)
ax.set(
    xlabel="factor: five shared, then five of each modality",
    ylabel="squared loading, relative",
    ylim=(-0.03, 1.3),
    title="The mixture objective gives private factors up",
)
ax.legend(loc="upper right", ncol=3, fontsize=9)
plt.show()

# %% tags=["remove-cell"]
told = {}
for objective in ("masked", "mixture"):
    value = found.get(f"linear-sparse/{objective}-sum-pooling")
    if value:
        seeds = np.asarray(value[0].metrics["factors"])
        told[f"{objective}_private"] = f"{seeds[:, 5:].mean():.2f}"
        told[f"{objective}_shared"] = f"{seeds[:, :5].mean():.2f}"
        short_of = shortfall("sparse", value[0].metrics["log_likelihood"])
        told[f"{objective}_missing"] = f"{short_of.mean():.2f}"
for objective in ("masked", "mixture"):
    for what in ("private", "shared", "missing"):
        name = f"{objective}_{what}"
        glue(f"sparse_{name}", told.get(name, "(no record)"), display=False)
glue("sparse_theory", f"{shortfall('sparse', optima['sparse'].log_likelihood):.2f}", display=False)
glue("sparse_left", f"{factors[5:].mean():.2f}", display=False)

# %% [markdown]
# These runs are short, and not at their optimum: the masked objective, which should reach the maximum, is still {glue:text}`sparse_masked_missing` % below it, with {glue:text}`sparse_masked_private` of the private and {glue:text}`sparse_masked_shared` of the shared loadings.
# The mixture objective is at {glue:text}`sparse_mixture_missing` % where theory says {glue:text}`sparse_theory` %, with {glue:text}`sparse_mixture_private` of the private loadings where theory leaves {glue:text}`sparse_left`.
# So the collapse is there, and its size is not yet that of theory; how much of the rest is training time and how much the width of the networks, we have not separated.
# For two modalities and six dimensions, trained dots stand beside the curves of {doc}`/chapters/bounds/what_each_objective_learns`.

# %% [markdown]
# ## Half of the modalities missing
#
# Data with gaps are where an encoder for every subset is needed before training is over.
# In the released code they belong to a non-linear experiment, which {doc}`/chapters/bounds/segments_experiment` has; with linear decoders, as here, all likelihoods are exact, and that combination is ours.
# We simulate four modalities that carry the same five latents, and take half of them away: each row keeps one modality, drawn at random, and each of the others with the probability that makes half of all missing.
# With $O$ for what a row observes, the likelihood is
#
# $$
# \frac1B\sum_{i=1}^B\log p\big(x_{i,O_i}\big)
# =\sum_O\frac{B_O}B\,\Big\langle\log\N\big(x_O;\,b_O,\,W_OW_O^\top+s^2I\big)\Big\rangle_O ,
# $$ (eq-observed-likelihood)
#
# where $B_O$ rows observe $O$, and $\langle\cdot\rangle_O$ is their average, for which their mean and covariance suffice.
# Its maximum is no eigenvalue problem any more, but expectation maximisation finds it {cite:p}`rubin1982`, and every step of it is a regression of $x_m$ on $z$ over the rows that have $x_m$.
#
# The mixture objective has its optimum there, too.
# An encoder that answers for $S$ does not know what else a row observes, so it serves all rows of which a mask leaves $S$.
#
# ::::{prf:lemma} Mixture objectives and gaps
# :label: lem-imputed-gaps
#
# Let decoders have Gaussian noise, let what is missing not depend on the data, and let $r_t(S)$ be the chance that modality $t$ is observed where a mask leaves $S$.
# Over all encoders that see $x_S$ alone, the mixture objective of rows with gaps is largest at
#
# $$
# \E_S\,\E\,\log\int p(z)\,p(x_S\mid z)\prod_{t\notin S}p\big(\E[x_t\mid x_S]\,\big|\,z\big)^{r_t(S)}\,\mathrm dz-\text{const} ,
# $$ (eq-imputed-gaps)
#
# with a constant that no decoder moves.
# ::::
#
# :::{prf:proof}
# Averaged over the rows that leave $x_S$, the reconstruction of $z$ is $g(z)=\log p(x_S\mid z)+\sum_{t\notin S}r_t\,\E[\log p(x_t\mid z)\mid x_S]$.
# With Gaussian noise of variance $s^2$, $\E[\log p(x_t\mid z)\mid x_S]=\log p(\E[x_t\mid x_S]\mid z)$ less the conditional variance over $2s^2$.
# And $\E_qg-\KL{q}{p}$ is largest for $q\propto p\,e^g$, with the value $\log\int p\,e^g$.
# :::
#
# With nothing missing all $r_t$ are one, and this is {prf:ref}`lem-mean-imputation`.
# A power of a Gaussian is a Gaussian with more noise, so the same expectation maximisation finds the decoders.

# %% tags=["remove-input"]
show(observed_likelihood, imputed)

# %% [markdown]
# In training a mask keeps some of what is observed, $S\subseteq O$; both terms of {eq}`eq-masked` read $x_O$ in the place of $x$, and no term names what is missing.
# **Check** that nothing is read there: the same run with garbage in the gaps ends with the same weights, to the bit.

# %%
gaps = linear_missing_records.simulated()
few = slice(0, 500)
tiny = replace(linear_missing_records.settings("linear-missing/masked-sum-pooling"), epochs=1)
ends = []
for filling in (0.0, float("nan")):
    filled = torch.where(gaps.observed[..., None], gaps.x, filling)[:, few]
    run = train_with_gaps(filled, gaps.observed[:, few], gaps.truth, tiny, [0])
    ends.append(run.weights)
assert all((ends[0][name] == ends[1][name]).all() for name in ends[0])

seen, likeliest_here, of_mixture = linear_missing_records.optima(gaps)
top, lower = (float(observed_likelihood(m, seen)) for m in (likeliest_here, of_mixture))
assert observed_likelihood(gaps.truth, seen) < top
assert lower < top

# %% tags=["remove-cell"]
gap_records = {name: recorded(name) for name in linear_missing_records.RUNS}
gap_records = {name: value for name, value in gap_records.items() if value}


def missing_line(name):
    record = gap_records[name][0]
    metrics = {key: np.asarray(value) for key, value in record.metrics.items()}
    short_of = 100 * (top - metrics["log_likelihood"]) / abs(top)
    theory = 0.0 if record.config["objective"] == "masked" else 100 * (top - lower) / abs(top)
    cells = [
        record.config["objective"],
        record.config["aggregator"],
        spread(short_of, 3),
        f"{theory:.3f}" if theory else "0",
        spread(metrics["log_likelihood"] - metrics["objective"], 2),
        *[spread(metrics["divergence"][:, sizes == k].mean(1), 2) for k in range(5)],
        f"{metrics['cpu_seconds'].sum():.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


sizes = masks.all_subsets(linear_missing_records.MODALITIES).sum(1).numpy()
glue("gaps_best", f"{top:.2f}".replace("-", "−"), display=False)
glue("gaps_share", f"{gaps.observed.double().mean():.3f}", display=False)

# %% tags=["remove-input"]
Markdown(
    "| objective | aggregator | % below the maximum | theory | log-likelihood minus objective "
    + "".join(f"| divergence, {k} observed " for k in range(5))
    + "| CPU s, all seeds |\n"
    + "|---" * 11
    + "|\n"
    + "\n".join(missing_line(name) for name in gap_records)
    if gap_records
    else "There is no record yet; `python -m multielbo.linear_missing_records` makes them."
)


# %% tags=["remove-cell"]
def gap_shortfall(name):
    values = gap_records.get(f"linear-missing/{name}")
    level = np.asarray(values[0].metrics["log_likelihood"]) if values else np.full(1, np.nan)
    return 100 * (top - level) / abs(top)


within = gap_shortfall("masked-sum-pooling")
glue("gaps_within", str((within < 0.1).sum()), display=False)
glue("gaps_of", str(len(within)), display=False)
glue("gaps_worst", f"{within.max():.2f}", display=False)
glue("gaps_nearest", f"{gap_shortfall('mixture-sum-pooling').min():.2f}", display=False)
glue("gaps_theory", f"{100 * (top - lower) / abs(top):.2f}", display=False)

# %% [markdown]
# Nats per row, mean and standard deviation over seeds; the largest log-likelihood of these rows is {glue:text}`gaps_best` nats, with {glue:text}`gaps_share` of the modalities observed.
# What theory predicts of hidden modalities is what the likeliest decoders predict.
# Divergences are those of the table above, on complete rows that no training has seen, averaged over the subsets of each size.
# Half of the data cost the masked objective no accuracy against what half of the data can tell: with sum pooling {glue:text}`gaps_within` of {glue:text}`gaps_of` seeds are within a tenth of a percent of the maximum, the worst is {glue:text}`gaps_worst` % off.
# The mixture objective stays below its theory, {glue:text}`gaps_theory` %: with sum pooling its best seed is {glue:text}`gaps_nearest` % off, and the others lose more, as on complete data.
# Its divergences are larger for every size of subset, since its optimum is not $p(z\mid x_S)$.
#
# ## Paper, released code, here

# %% tags=["remove-input"]
short, released = linear_records.SHORT, Settings()
Markdown(
    "| | released code | here |\n|---|---|---|\n"
    f"| **training** | {released.epochs:,} epochs, batches of {released.batch}, Adam with step "
    f"{released.learning_rate:g}, width {released.width} | {short['epochs']} epochs, batches of "
    f"{short['batch']}, step {short['learning_rate']:g} with warm-up and cosine, width "
    f"{linear_records.DENSE['width']} for dense and {linear_records.SPARSE['width']} for sparse "
    "data |\n"
    "| **latents** | drawn | expectations in closed form; of a mixture one draw for its density |\n"
    "| **start, price of the rate** | its library's, constant | as above |\n"
    "| **seeds** | one by one | five, as one batched product |"
)

# %% [markdown]
# Result tables of {cite:t}`hirt2024` were not at hand, so nothing on this page is compared with a number of theirs.
# How long *their* start stays on the plateau we have not measured: PyTorch's first weights are not those of their library.
#
# ## Exercises
#
# ::::{exercise}
# :label: ex-latent-worth
# Derive {eq}`eq-latent-worth`.
# What is a latent worth whose eigenvalue is only a little above the noise?
# ::::
#
# ::::{solution} ex-latent-worth
# :class: dropdown
# Along an eigenvector the data have variance $\lambda$ and the model $s^2$ without the latent, $\lambda$ with it.
# The log-likelihood is $-\frac12[\log v+\lambda/v]$ up to a constant; the difference between $v=\lambda$ and $v=s^2$ is the formula.
# With $\lambda=(1+\epsilon)s^2$ it is $\frac12[\epsilon-\log(1+\epsilon)]\approx\frac14\epsilon^2$: weak factors are worth the square of their signal, which is why likelihood is slow to notice them.
# ::::

# %% tags=["hide-input", "remove-output"]
epsilon = 1e-3
worth = 0.5 * (epsilon - np.log1p(epsilon))
assert abs(worth / (0.25 * epsilon**2) - 1) < 1e-2

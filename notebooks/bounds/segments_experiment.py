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
# # Encoders on data in segments
#
# {doc}`/chapters/bounds/identifiability` proves what the evidence decides about latents, and trains linear decoders on it without any encoder.
# Here encoders are trained, on data whose latents we know: points in segments behind a leaky rectifier, and four modalities of which half are missing.
# The first experiment asks which latents the encoders find, under a mixture for a prior and under a standard normal one; the second what can be learned when most rows lack most of what they could tell.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0
results = "book/results"

# %% tags=["remove-cell"]
from dataclasses import replace
from inspect import signature
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from myst_nb import glue

from multielbo import gaussians, plots, segments_records
from multielbo.identifiability import halves
from multielbo.mixture_priors import mixture_of
from multielbo.mixtures import Posteriors
from multielbo.profiles import check_profile
from multielbo.publishing.show import show
from multielbo.records import caption, load
from multielbo.segment_data import DeepMixing, half_missing, random_mixing
from multielbo.segment_experiment import Settings, train
from multielbo.segment_objectives import kept_or_all, masked
from multielbo.segment_report import Scores, codes, reference, scores
from multielbo.segment_truth import truth

check_profile(profile)
plots.use_style()
generator = torch.Generator().manual_seed(seed)


def recorded(name):
    folder = Path(results) / name / "laptop"
    return load(folder) if (folder / "record.json").exists() else None


found = {name: recorded(name) for name in segments_records.RUNS}
found = {name: value for name, value in found.items() if value}


def metric(name, key):
    return np.asarray(found[name][0].metrics[key]) if name in found else np.full(1, np.nan)


def spread(values, digits=2):
    values = np.asarray(values)
    if len(values) == 1:
        return f"{values[0]:.{digits}f}".replace("-", "−")
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}".replace("-", "−")


# %% [markdown]
# ## Points, and the number of their segment
#
# The data are those of {eq}`eq-segment-mixing`: latents of two dimensions from five Gaussians, points $x$ behind two orthogonal maps with a leaky rectifier between them, and noise of a tenth.
# The segment $u$ is a second modality, one-hot, with a decoder of its own: another modality plays the part of the auxiliary variable.
# We draw the segments and the mixing once; {glue:text}`segment_rows_train` rows train, {glue:text}`segment_rows_test` new ones judge.
#
# Four things are known before anything is trained.
# The points themselves have a weak score, {eq}`eq-mcc-weak`, which is that of a linear regression of the true latents on $x$: it sees the truth, and is the ceiling for linear encoders.
# The inverse of the mixing scores less than one, because a wedge that the rectifier squeezes also squeezes signal against noise.
# The posterior means of the true model, by importance sampling, are the ceiling for everybody.
# And encoders with random weights are the floor that any training has to leave.

# %%
source = segments_records.source("bimodal")
examples, test = segments_records.drawn("bimodal")
rows = segments_records.split(test)
points, segment = test.x[0, :, :2], test.x[1].argmax(1)
exact = truth(source, points, segment, 256, generator)
settings = segments_records.Run("bimodal").settings
started = train(examples, replace(settings, epochs=0), segments_records.SEEDS["bimodal"])
untrained = scores(codes(started, test), test.z, rows)
known = {
    "points as they are": reference(points, test.z, rows),
    "inverse of the mixing": reference(source.unmix(points), test.z, rows),
    "posterior means of the true model": reference(exact.mean, test.z, rows),
}
ladder = [float(known[name].weak) for name in known]
assert ladder == sorted(ladder)
assert untrained.weak.max() < ladder[0] < ladder[-1] < 1

# %% tags=["remove-cell"]
glue("segment_rows_train", f"{len(examples.z):,}", display=False)
glue("segment_rows_test", f"{len(test.z):,}", display=False)

# %% [markdown]
# **The model.**
# Encoders with sum pooling answer with one diagonal Gaussian for $x$, for $u$, and for both.
# The decoder of $x$ has the form of the mixing, two square affine maps with a leaky rectifier between them, but all of its numbers are free; as long as its matrices are invertible it is one-to-one, as {prf:ref}`thm-piecewise-decoders` asks.
# The prior is the mixture {eq}`eq-mixture-prior` with five components, or the standard normal.
# The objective is the masked one, {eq}`eq-masked`, with the prior in the place of $q(z\mid x_\emptyset)$.
# Then an empty mask and a full one ask the same:
#
# $$
# \mathcal L_\emptyset+\mathcal L_{\setminus\emptyset}=0+\E_{q(z\mid x)}\log p(x\mid z)-\KL{q(z\mid x)}{p(z)} ,
# $$
#
# so a mask that would leave nothing of what is observed may leave all of it.

# %% tags=["remove-input"]
show(masked, kept_or_all)

# %% [markdown]
# **Check** of that, with a mixture for a prior, on average over latents; with a narrower $q(z\mid x_\emptyset)$ it is not so.

# %%
rows_of = torch.ones(2, 1, dtype=torch.bool)
prior = mixture_of(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [-1.0]]), torch.zeros(2))
full = Posteriors(*(torch.full((1, 1, 1), v) for v in (0.7, 0.4)), torch.ones(1, 1), rows_of[None])


def explain(z):
    return -0.5 * (z[..., 0] - torch.tensor([1.0, 0.5]).view(2, *[1] * (z.dim() - 1))) ** 2


draws = 4000
many = full._replace(
    loc=full.loc.expand(1, draws, 1),
    scale=full.scale.expand(1, draws, 1),
    weights=torch.ones(1, draws),
    members=rows_of.expand(2, draws)[None],
)
everything = masked(many, many, explain, prior.log_density, generator).elbo()
z = many.sample(generator)
joint = explain(z).sum(0) + prior.log_density(z) - many.log_density(z)  # S empty, with the prior
error = (everything.var() + joint.var()).sqrt() / draws**0.5
assert (everything.mean() - joint.mean()).abs() < 5 * error
narrow = gaussians.log_density(z, torch.zeros(1), torch.full((1,), 0.3))
twin = explain(z).sum(0) + narrow - many.log_density(z)
assert (everything.mean() - twin.mean()).abs() > 20 * error

# %% [markdown]
# ## What was found

# %% tags=["remove-cell"]
NAMES = {
    "segments/mixture-prior": "mixture",
    "segments/normal-prior": "standard normal",
    "segments/class-hidden": "mixture, without the class",
    "segments/wide-decoder": "mixture, wide decoder",
}


def line(name):
    level = metric(name, "log_likelihood")
    strong = metric(name, "strong")
    cells = [
        NAMES[name],
        spread(level),
        spread(metric(name, "weak")),
        spread(strong),
        f"{strong[level.argmax()]:.2f}",
        spread(metric(name, "first_strong")),
        f"{metric(name, 'cpu_seconds').sum():.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def known_line(name, value, level=""):
    each = [spread(np.atleast_1d(v.numpy())) for v in value]
    return f"| *{name}* | {level} | {each[0]} | {each[1]} | | | |"


level_of_truth = exact.log_likelihood.mean()
table = [
    "| prior | log-likelihood | weak MCC | strong MCC | of the likeliest seed "
    "| strong, from the points alone | CPU s, all seeds |",
    "|" + "---|" * 7,
    *[line(name) for name in NAMES if name in found],
    known_line("encoders with random weights", untrained),
    *[known_line(name, known[name]) for name in list(known)[:2]],
    known_line(list(known)[2], known[list(known)[2]], spread([float(level_of_truth)])),
]
main = found.get("segments/mixture-prior")

# %% tags=["remove-input"]
Markdown("\n".join(table))

# %% tags=["remove-input"]
Markdown(
    f"Mean ± standard deviation over seeds; log-likelihood of points and class (of points alone "
    f"where the class is hidden) in nats per new example, by importance sampling with 64 latents; correlations are Pearson's, half of the new "
    f"rows fit and half judge. Mixture: {caption(main[0])}."
    if main
    else "No record yet; `python -m multielbo.segments_records` makes them."
)


# %% tags=["remove-cell"]
def above(name):
    return (metric(name, "weak") > float(known["points as they are"].weak)).sum()


told = {
    "seeds": str(len(segments_records.SEEDS["bimodal"])),
    "above_mixture": str(above("segments/mixture-prior")),
    "above_normal": str(above("segments/normal-prior")),
    "level_mixture": spread([np.median(metric("segments/mixture-prior", "log_likelihood"))]),
    "level_normal": spread([np.median(metric("segments/normal-prior", "log_likelihood"))]),
    "level_truth": spread([float(level_of_truth)]),
    "strong_mixture": spread(metric("segments/mixture-prior", "strong")),
    "strong_normal": spread(metric("segments/normal-prior", "strong")),
    "strong_hidden": spread(metric("segments/class-hidden", "strong")),
    "wide": str(segments_records.RUNS["segments/wide-decoder"].settings.decoder_width),
    "wide_lowest": spread([metric("segments/wide-decoder", "strong").min()]),
}
for name, value in told.items():
    glue(f"segments_{name}", value, display=False)

# %% [markdown]
# **Up to an affine map, sometimes.**
# With a mixture for a prior {glue:text}`segments_above_mixture` of {glue:text}`segments_seeds` seeds come above the ceiling of linear encoders in the weak score, with a standard normal one {glue:text}`segments_above_normal`.
# No run reaches the log-likelihood of the truth, {glue:text}`segments_level_truth` nats, which a mixture and square decoders can express; so these are not optima of the evidence, and the theorems promise nothing for them.
#
# **A mixture explains more, and is not better identified at this length.**
# The median log-likelihood is {glue:text}`segments_level_mixture` nats with a mixture and {glue:text}`segments_level_normal` with a standard normal, the strong score {glue:text}`segments_strong_mixture` and {glue:text}`segments_strong_normal`: {glue:text}`segments_seeds` seeds do not tell them apart.
# Nor do they tell whether the class helps, without which the score is {glue:text}`segments_strong_hidden`.
#
# **Likelihood is no judge where decoders are not one-to-one.**
# With a hidden width of {glue:text}`segments_wide` every seed is likelier than every one with a square decoder and the same prior, and the least of their strong scores is {glue:text}`segments_wide_lowest`.
# Such a decoder may fold, and then {prf:ref}`thm-piecewise-decoders` does not apply.
#
# **Two pairs of axes.**
# The affine map that remains is not any one.
# The rectifier acts on the coordinates of $y=zA$ one by one, so for small noise the posterior of $y$ has independent coordinates and that of $z$ has not, and by {prf:ref}`lem-diagonal-preference` a diagonal encoder would rather have $y$.
# A mixture prior with diagonal components would rather have $z$.
# Both are the latents up to a rotation, so the weak score does not tell them apart, and the strong score does: of the rectifier's coordinates themselves it is {glue:text}`segments_rectifier` here.
# Among our seeds both kinds occur, with the prior of either form.
# In the picture each of them keeps an arm that the inverse of the mixing would have opened: what the rectifier squeezed is not yet undone.

# %% tags=["remove-cell"]
shown = slice(None, None, len(test.z) // segments_records.PLOTTED)
rectified = test.z @ source.mixing
glue("segments_rectifier", spread([reference(rectified, test.z, rows).strong]), display=False)
some = halves(segments_records.PLOTTED, torch.Generator().manual_seed(1))


def axes_of(name):
    """Strong scores of every seed with the latents and with the rectifier's coordinates."""
    of = torch.from_numpy(found[name][1]["codes"].astype(np.float64))
    return [scores(of, axes[shown], some).strong.numpy() for axes in (test.z, rectified)]


axis_lines = []
for name in NAMES:
    if name in found:
        of_latents, of_rectifier = axes_of(name)
        pairs = [
            f"{a:.2f}, {b:.2f}" if max(a, b) < 0.9 else f"**{a:.2f}, {b:.2f}**"
            for a, b in zip(of_latents, of_rectifier, strict=True)
        ]
        axis_lines.append(f"| {NAMES[name]} | " + " | ".join(pairs) + " |")
header = "| prior | " + " | ".join(f"seed {r}" for r in segments_records.SEEDS["bimodal"]) + " |"

# %% tags=["remove-input"]
Markdown(
    "\n".join(
        [
            header,
            "|---" * (1 + len(segments_records.SEEDS["bimodal"])) + "|",
            *axis_lines,
            "",
            f"Strong scores with $z$, and with $y$, on {segments_records.PLOTTED} of the new rows; "
            "bold where one of them is above 0.9.",
        ]
    )
)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Three scatter plots coloured by segment. Left the true latents, five overlapping clouds. In the middle codes of the seed with the highest strong score: the same clouds in a similar arrangement, but two of them squeezed into a narrow arm to the left. Right codes of the seed that agrees most with the rectifier's coordinates: the clouds turned against the first picture, with a thin arm downwards."}}
if main:
    of_latents, of_rectifier = axes_of("segments/mixture-prior")
    picked = of_latents.argmax(), of_rectifier.argmax()
    clouds = [test.z[shown].numpy(), *(main[1]["codes"][r].astype(float) for r in picked)]
    titles = ["true latents", f"seed {picked[0]}", f"seed {picked[1]}"]
    fig, axs = plt.subplots(1, 3, figsize=(7.6, 2.9))
    palette = [plots.colour(n) for n in ("mvae", "mmvae", "mopoe", "wb-vae", "log-pool")]
    for ax, cloud, title in zip(axs, clouds, titles, strict=True):
        ax.scatter(*cloud.T, s=5, lw=0, c=[palette[k] for k in segment[shown]])
        ax.set(title=title, xticks=[], yticks=[])
    fig.suptitle(
        "Codes of nearly one likelihood, along different axes",
        weight="bold",
        fontsize=12,
        x=0.01,
        ha="left",
    )
    plt.show()

# %% [markdown]
# ## Four modalities, half of them missing
#
# The second experiment has ten latents in five segments and four modalities of twenty-five dimensions,
#
# $$
# x_m=\ell\big(\ell(zA_{m1})A_{m2}\big)A_{m3}+\varepsilon_m , \qquad \ell(t)=\max(t,0.1\,t), \quad \varepsilon_m\sim\N(0,0.5^2I) ,
# $$ (eq-deep-mixing)
#
# with matrices of their own for each $m$.
# Each row keeps one modality, drawn at random, and each of the others with a probability such that half of all are missing, in training and in the new rows.
# Masks then hide a part of what is left, {eq}`eq-masked` reads what is observed in the place of $x$, and nothing ever reads what is missing.

# %% tags=["remove-input"]
show(DeepMixing.mix, half_missing)

# %% [markdown]
# **Check** that: the same training with garbage in the gaps ends with the same weights, to the bit.

# %%
gappy, new = segments_records.drawn("missing")
few = slice(0, 300)
part = replace(gappy, z=gappy.z[few], x=gappy.x[:, few], observed=gappy.observed[:, few])
nan = torch.where(part.observed[..., None], part.x, float("nan"))
tiny = Settings(latent_dim=10, epochs=1, batch=100, width=16, decoder_width=16, noise=None)
ends = [train(rows_given, tiny, [0]).weights for rows_given in (part, replace(part, x=nan))]
assert all((ends[0][name] == ends[1][name]).all() for name in ends[0])
assert all(value.isfinite().all() for value in ends[0].values())

parts = segments_records.split(new)
regression = reference(new.x.movedim(0, 1).flatten(1), new.z, parts)
with_gaps = reference(new.readable().movedim(0, 1).flatten(1), new.z, parts)
begun = train(
    gappy,
    replace(segments_records.Run("missing").settings, epochs=0),
    segments_records.SEEDS["missing"],
)
floor = Scores(*(v for v in scores(codes(begun, new), new.z, parts)))

# %% tags=["remove-cell"]
MISSING = {
    "segments-missing/masked-sum-pooling": "masked, sum pooling, mixture",
    "segments-missing/masked-sum-pooling-normal-prior": "masked, sum pooling, normal",
    "segments-missing/masked-poe": "masked, PoE, normal",
    "segments-missing/mixture-sum-pooling": "mixture objective, sum pooling, mixture",
}


def gap_line(name):
    cells = [
        MISSING[name],
        spread(metric(name, "log_likelihood")),
        spread(metric(name, "log_likelihood") - metric(name, "objective")),
        spread(metric(name, "weak")),
        spread(metric(name, "strong")),
        spread(metric(name, "whole_weak")),
        spread(metric(name, "whole_strong")),
        f"{metric(name, 'cpu_seconds').sum():.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def flat(values):
    return [spread(np.atleast_1d(v.numpy())) for v in values]


gap_table = [
    "| objective, aggregator, prior | log-likelihood | minus objective | weak MCC, what is there "
    "| strong | weak MCC, complete rows | strong | CPU s, all seeds |",
    "|" + "---|" * 8,
    *[gap_line(name) for name in MISSING if name in found],
    "| *encoders with random weights* | | | " + " | ".join(flat(floor)) + " | | | |",
    "| *data as they are, gaps as zeros* | | | "
    + " | ".join([*flat(with_gaps), *flat(regression)])
    + " | |",
]

# %% tags=["remove-input"]
Markdown("\n".join(gap_table))

# %% tags=["remove-cell"]
if "segments-missing/masked-poe" in found:
    gap_caption = caption(found["segments-missing/masked-poe"][0])
else:
    gap_caption = "no record yet; `python -m multielbo.segments_records` makes them"
nothing = metric("segments-missing/mixture-sum-pooling", "whole_strong")
glue("gaps_lost", str((nothing < 0.4).sum()), display=False)
glue("gaps_seeds", str(len(segments_records.SEEDS["missing"])), display=False)
for short, name in {
    "mixture": "masked-sum-pooling",
    "normal": "masked-sum-pooling-normal-prior",
    "poe": "masked-poe",
}.items():
    of = metric(f"segments-missing/{name}", "strong")
    glue(f"gaps_strong_{short}", spread(of), display=False)

# %% tags=["remove-input"]
Markdown(
    "Mean ± standard deviation over seeds; log-likelihood of what is observed in nats per new "
    "example, by importance sampling with 64 latents. *What is there*: codes of the rows with "
    f"their gaps; *complete rows*: of the same rows without. PoE: {gap_caption}."
)

# %% [markdown]
# The weak scores of the data themselves are those of a regression on true latents, a ceiling for linear encoders; no run reaches it, and with {glue:text}`epochs_missing` epochs we take this for a matter of length.
# What differs between the runs is larger than their spread.
#
# The product of experts is likeliest and has the highest weak scores.
# It weighs any subset by its precisions before it is trained, where sum pooling has to learn that for each of the fifteen; with a mixture for a prior it is not defined here.
# With sum pooling, a mixture and a standard normal end at one likelihood, and the strong score, {glue:text}`gaps_strong_mixture` and {glue:text}`gaps_strong_normal`, prefers the mixture, as the theory has it.
# The product has {glue:text}`gaps_strong_poe`, with a standard normal.
# The mixture objective is less likely than the masked one seed by seed, and {glue:text}`gaps_lost` of its {glue:text}`gaps_seeds` seeds tell less of complete rows than any other run.
# For linear decoders {doc}`/chapters/bounds/linear_experiment` has the same comparison with exact likelihoods.
#
# ## Paper, released code, here
#
# | | released code | here |
# |---|---|---|
# | **points and segment** | two latents, five segments, means from $U(-5,5)$, scales from $U(0.5,3)$, two orthogonal maps with a leaky rectifier of slope 0.1, noise 0.1; 4,000 rows | the same, one draw of it; new rows to judge |
# | **training** | 4,000 epochs, batches of 250, Adam with step $5\cdot10^{-4}$, width 128, five components, 64 importance samples | {glue:text}`epochs_bimodal` epochs, step {glue:text}`step_bimodal` with a cosine, width {glue:text}`width_bimodal`; batches, components and samples as released |
# | **decoder of the points** | two affine maps with a leaky rectifier, called injective; all widths are 128, whether this one is too we do not know | two square maps, or a hidden width of {glue:text}`segments_wide`; orthogonal at first, at the data's average and size |
# | **noise of the decoder** | not known to us for the points; trained in the second experiment | the true one for the points; trained in the second experiment |
# | **empty mask** | a learned constant, for sum pooling | the prior, so it is never asked for |
# | **four modalities** | ten latents, 25 dimensions, noise 0.5, five segments, three maps with condition numbers in the lowest quarter of $10^4$ draws; 5,000 and 5,000 rows, half missing, one kept | the same with {glue:text}`draws_mixing` draws, and {glue:text}`rows_new` new rows |
# | **its training** | 4,000 epochs, batches of 250, step $5\cdot10^{-4}$, width 256, 512 importance samples | {glue:text}`epochs_missing` epochs, batches of {glue:text}`batch_missing`, step {glue:text}`step_missing` with a cosine, width {glue:text}`width_missing`, 64 samples |
# | **latents scored** | one sample of $q(z\mid x)$ | posterior means |
#
# The settings of the release are the defaults of `Settings`; at that length we have trained neither experiment.
# Which runs the paper of {cite:t}`hirt2024` reports, with which aggregators, and what scores it finds, we do not know, so nothing here is compared with a number of theirs.

# %% tags=["remove-cell"]
for kind in ("bimodal", "missing"):
    of = segments_records.Run(kind).settings
    glue(f"epochs_{kind}", str(of.epochs), display=False)
    glue(f"batch_{kind}", str(of.batch), display=False)
    glue(f"width_{kind}", str(of.width), display=False)
    glue(f"step_{kind}", f"{of.learning_rate:g}", display=False)
glue("draws_mixing", str(signature(random_mixing).parameters["draws"].default), display=False)
glue("rows_new", f"{len(new.z):,}", display=False)

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-half-missing
# Each row keeps one of $M$ modalities for sure, and each of the others with probability $r$.
# Which $r$ makes the fraction $\mu$ missing, and which $\mu$ are possible?
# Are the modalities of a row missing independently of each other?
# ::::
#
# ::::{solution} ex-half-missing
# :class: dropdown
# On average $1+(M-1)r$ are kept, which should be $M(1-\mu)$, so $r=\frac{M(1-\mu)-1}{M-1}$; this is a probability for $0\le\mu\le\frac{M-1}M$.
# They are not independent: a modality is kept with probability $1-\mu$, but surely when all others are missing.
# ::::

# %% tags=["hide-input", "remove-output"]
kept = half_missing(4, 40_000, 0.5, generator)
assert abs(kept.double().mean() - 0.5) < 5 * (0.25 / kept.numel()) ** 0.5
alone = ~kept[1:].any(0)
assert kept[0, alone].all()
assert kept[0, ~alone].double().mean() < 0.5

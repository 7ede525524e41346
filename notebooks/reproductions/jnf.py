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
# # JNF beside MoPoE
#
# {cite:t}`senellart2025` compare JNF with models that aggregate in training.
# The paper's tables we could not read; in its authors' public exports for PolyMNIST JNF's samples are more coherent than MoPoE's for one to four inputs, and its likelihood is higher, while draws from its prior are less coherent.
# This page sets records of both models side by side, on PolyMNIST and on PolyDigits, with the time that each took.
# Then it asks what each objective spends its nats on, which may decide how much training JNF needs before it is the more coherent one.

# %% tags=["parameters"]
profile = "quick"
models = ["mvae", "mopoe", "mvtcae", "mmjsd", "mmvae-plus", "jmvae", "jnf", "jnf-dcca"]
seeds = []
betas = []
results = "book/results"
data = ""
allow_cpu = False

# %% tags=["remove-cell"]
import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown
from myst_nb import glue
from torch import Generator

from multielbo import gaussians, plots
from multielbo.data.polydigits import polydigits
from multielbo.experiments.run import untrained
from multielbo.models.jnf import joint_vae
from multielbo.models.registry import STAGED, build, recipe
from multielbo.plots import LABELS
from multielbo.presets import preset
from multielbo.reproduction import figures, tables, words
from multielbo.reproduction.page import NOTHING, open_page
from multielbo.scoreboard.markdown import grid
from multielbo.setups.registry import setup_of
from multielbo.train import TrainConfig, fit

plots.use_style()
EPOCHS = 4
asked = (profile, models, seeds, betas, results, data, allow_cpu)
page = open_page("polymnist", *asked)
compared = [model for model in page.shown if model in ("mopoe", "jnf")]
digits = open_page("polydigits", profile, compared, *asked[2:])
glue("subsets", str(2 ** len(page.names) - 1), display=False)
glue("held_out", f"{100 * recipe('jnf').held_out:g}", display=False)
glue("live_epochs", str(EPOCHS), display=False)


def stages(model, epochs):
    """The stages with the epochs of each."""
    shares = recipe(model).epochs if model in STAGED else {"one": 1.0}
    return ", ".join(f"{name} {share * epochs:g}" for name, share in shares.items())


def of_each_seed(run, metric=None):
    """Seconds of a run, or a metric, as text."""
    if run is None:
        return "not run"
    values = run.record.metrics[metric] if metric else run.record.seconds
    return ", ".join(f"{value:,.0f}".replace("-", "−") for value in values)


def draw(one, title):
    """Probe and coherence by the number of inputs, of the records of a page."""
    if one.together:
        figures.curves(
            plt.figure(figsize=(7.4, 4.4)),
            one.together,
            {"probe": "probe_by_inputs", "coherence": "coherence_by_inputs"},
            title=title,
            below=words.said(one.shown, one.together) + " Bars are two standard errors.",
        )


# %% [markdown]
# ## What is here, and how to run it
#
# Here, too, nothing of a record is trained while the book is built; those of MVAE and MoPoE on PolyMNIST are those of {doc}`/chapters/reproductions/polymnist`.
# JNF-DCCA is the model of {doc}`/chapters/inference/shared_information`.

# %% tags=["remove-input"]
Markdown(words.provenance(page.shown))

# %% tags=["remove-input"]
Markdown(words.commands("jnf", page.dataset, page.shown, page.setup))

# %% [markdown]
# The encoders and decoders of all are of one kind, and epochs are counted by stage.
# The models in stages hold {glue:text}`held_out` % of the training tuples out, to choose the best epoch of each.
# A step of MoPoE averages over the {glue:text}`subsets` subsets of PolyMNIST in its divergence, and decodes one sample of one of them for each tuple; a step of JNF's joint stage has one divergence and decodes one sample, too, and its other stages decode none:

# %% tags=["remove-input"]
Markdown(
    grid(
        ["", "stages and their epochs", "seconds, by seed"],
        [
            [
                LABELS[model],
                stages(model, preset("polymnist", model, "laptop").epochs),
                of_each_seed(page.shown[model]),
            ]
            for model in page.shown
        ],
    )
)

# %% [markdown]
# The seconds are wall time of training and evaluation, on machines that had other work to do.
# JNF's evaluation runs a chain for each test tuple and each subset of several modalities but not of all, which the joint posterior answers; so all its metrics are of the tuples that coherence is measured on, and {doc}`/chapters/inference/hmc` has the settings of the chains.
# The posterior of such a subset is a product of flows whose constant nobody knows, so we give the log-likelihood from the joint posterior alone.
#
# ## PolyMNIST
#
# In the table a row of the authors' exports stands above ours.

# %% tags=["remove-input"]
Markdown(
    tables.compared(page.tables["senellart2025/polymnist-coherence"], page.shown, page.systems)
)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Two panels over the number of input modalities on PolyMNIST, a line for MoPoE and one for JNF: latent classification and conditional coherence; joint coherence is in the legend."}}
draw(page, "PolyMNIST: aggregated in training, and joint first")
plt.show()

# %% tags=["remove-input"]
None if page.together else Markdown(NOTHING)

# %% [markdown]
# ## PolyDigits

# %% tags=["remove-input"]
Markdown(words.provenance(digits.shown))

# %% tags=["remove-input"] mystnb={"image": {"alt": "The same two panels on PolyDigits."}}
draw(digits, "PolyDigits: the same comparison on smaller pictures")
plt.show()

# %% tags=["remove-input"]
FULL = "log_likelihood_full_set"
Markdown(
    grid(
        [
            "log-likelihood of all modalities, by seed",
            *(LABELS[model] for model in digits.together),
        ],
        [["PolyDigits", *(of_each_seed(run, FULL) for run in digits.together.values())]],
    )
    if digits.together
    else NOTHING
)

# %% [markdown]
# ## What the nats are spent on
#
# The two objectives want different latents.
# MoPoE's decoders are trained on what every subset knows, and {prf:ref}`lem-shrinkage` says what that does where all is linear: factors that a modality has for itself shrink, or vanish, and those that all share stay.
# The joint ELBO has no such preference.
# It pays for a nat wherever a decoder can use it, and most of what there is to say of a picture is not its digit.
#
# So of the joint stage we expect a better bound, and latents of which a smaller part is the class.
# For the second we take the share of the variance of the posterior means that lies between the classes: with $\mu_n$ the mean of $q(z\mid x^{(n)})$ given all modalities, $\bar\mu$ the mean of all of them and $\bar\mu_c$ that of the $N_c$ in class $c$,
#
# $$
# \eta^2=\frac{\sum_c N_c\,\lVert\bar\mu_c-\bar\mu\rVert^2}{\sum_n\lVert\mu_n-\bar\mu\rVert^2} .
# $$
#
# Classes in a random order do not have the share zero: a mean of $N_c$ of the $N$ centred $\mu_n$, drawn without replacement, has the expected square $\frac1{N_c}\big(1-\frac{N_c-1}{N-1}\big)$ of their mean square, so with $C$ classes the share is $\frac{C-1}{N-1}$ on average.
#
# We train both for {glue:text}`live_epochs` epochs on PolyDigits with networks of half the width, while the book is built; both have $\beta=1$, the same step size and the same batches.


# %%
def class_share(loc, labels):
    """Share of the variance of posterior means, `(N, D)`, between the classes `labels`."""
    centred = loc - loc.mean(0)
    counts = labels.bincount().clamp(min=1)
    means = torch.zeros(len(counts), loc.shape[1]).index_add(0, labels, centred) / counts[:, None]
    return float((counts * means.square().sum(1)).sum() / centred.square().sum())


small = setup_of("polydigits-small")
settings = preset("polydigits", "mopoe", "quick")
config = TrainConfig(EPOCHS, settings.batch_size, settings.learning_rate, precision="bfloat16")
train, test = polydigits("train"), polydigits("test")
batch = test.batch(slice(None))
mixture = untrained(settings, small, build("mopoe"), seed=0)
joint = joint_vae(small, settings.latent_dim, seed=0, hidden=())
for model in (mixture, joint):
    fit(model, train, config, progress=False)
    model.eval()

found = {}
with torch.no_grad():
    answer = mixture.posterior(batch)
    of_all = {"MoPoE": (answer.loc[0], answer.scale[0]), "JNF": joint.joint_posterior(batch)}
    for (name, (loc, scale)), model in zip(of_all.items(), (mixture, joint), strict=True):
        z = gaussians.sample(loc, scale, Generator().manual_seed(0))
        told = model.log_likelihood(batch)(z).sum(0).mean().item()
        rate = gaussians.kl_to_prior(loc, scale).mean().item()
        found[name] = told, rate, told - rate, class_share(loc, test.labels)
assert found["JNF"][2] > found["MoPoE"][2]
assert found["JNF"][3] < found["MoPoE"][3]

orders = Generator().manual_seed(0)
by_chance = torch.tensor(
    [class_share(loc, test.labels[torch.randperm(len(test), generator=orders)]) for _ in range(200)]
)
expected = (len(test.labels.unique()) - 1) / (len(test) - 1)
assert abs(by_chance.mean() - expected) < 4 * by_chance.std() / len(by_chance) ** 0.5
assert found["JNF"][3] > by_chance.max()

# %% tags=["remove-input"]
ROWS = ["log-likelihood of a reconstruction", "divergence to the prior", "joint ELBO"]
Markdown(
    grid(
        ["quick profile, one seed", *found],
        [
            *(
                [
                    f"{row}, nats",
                    *(f"{value[i]:,.1f}".replace("-", "−") for value in found.values()),
                ]
                for i, row in enumerate(ROWS)
            ),
            [r"share of the class, $\eta^2$", *(f"{value[3]:.2f}" for value in found.values())],
        ],
    )
)

# %% [markdown]
# Both expectations hold.
# A draw from the posterior of a subset fixes what the subset knows, and leaves to chance what only the others could tell; the smaller the class is among what the decoders listen to, the more such a draw can disturb it.
# So we expect JNF to need longer training than MoPoE before its samples are as coherent, and to have the higher likelihood all the while.
# In the authors' exports, where JNF has trained for some hundred epochs, it leads in both; what our records say stands in the tables above.
#
# ## Exercise
#
# ::::{exercise}
# :label: ex-share-and-rate
# Let a latent be the class plus style, $z=a\,y+b\,s$ with independent $y$ and $s$ of variance one, and let $q(z\mid x)$ be exact.
# Both $a$ and $b$ double.
# What happens to $\eta^2$, and what to the error of reading $y$ off a draw $z+\varepsilon$ with $\varepsilon\sim\N(0,\sigma^2)$?
# ::::
#
# ::::{solution} ex-share-and-rate
# :class: dropdown
# $\eta^2=a^2/(a^2+b^2)$ stays.
# The best linear reading misses $y$ by a variance of $\frac{b^2+\sigma^2}{a^2+b^2+\sigma^2}$, which falls towards $1-\eta^2$ and not below: more nats help only as long as the noise counts, and then the share decides.
# ::::

# %% tags=["hide-input", "remove-output"]
a, b, sigma = 1.0, 1.5, 0.8
y, s, noise = torch.randn(3, 400_000, generator=Generator().manual_seed(0)).double()
missed = []
for scale in (1, 2, 200):
    seen = scale * (a * y + b * s) + sigma * noise
    missed.append((1 - torch.corrcoef(torch.stack([y, seen]))[0, 1] ** 2).item())
    predicted = 1 - scale**2 * a**2 / (scale**2 * (a**2 + b**2) + sigma**2)
    assert abs(missed[-1] - predicted) < 0.01
assert missed[0] > missed[1] > missed[2]
assert abs(missed[2] - b**2 / (a**2 + b**2)) < 0.01

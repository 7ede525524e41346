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
# # Scoreboard
#
# Here every published number that we could read stands beside what the library MultiVae {cite:p}`senellart2025multivae` reports and beside ours.
# A system without a run keeps its row and says so.

# %% tags=["parameters"]
profile = "quick"
published = "book/published"
results = "book/results"

# %% tags=["remove-cell"]
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown
from myst_nb import glue

from multielbo import plots
from multielbo.profiles import check_profile
from multielbo.publishing.show import show
from multielbo.scoreboard.claims import read_claims
from multielbo.scoreboard.claims_page import claims_table
from multielbo.scoreboard.comparison import WORDS, reproduces
from multielbo.scoreboard.contrasts import LEVEL, equal, greater
from multielbo.scoreboard.decisions import decide
from multielbo.scoreboard.figure import against, points
from multielbo.scoreboard.page import (
    dataset_tables,
    figures_list,
    state_of_records,
    systems_table,
    verdicts,
)
from multielbo.scoreboard.published import read_figures, read_tables
from multielbo.scoreboard.runs import read_runs
from multielbo.scoreboard.systems import read_systems

check_profile(profile)  # whichever it is, this page reads records and runs nothing
plots.use_style()
folder = Path(published)
systems = read_systems(folder)
tables = [table for table in read_tables(folder, systems) if not table.repeats]
figures = read_figures(folder, systems)
claims = read_claims(folder, systems)
runs = read_runs(Path(results), systems)
counted = Counter(cell.verdict.word for cell in verdicts(tables, runs, systems))
answers = Counter(decide(claim, runs, systems).answer for claim in claims)

glue("tables", str(len(tables)), display=False)
glue("systems", str(len(systems.systems)), display=False)
glue("confidence", f"{100 * (1 - LEVEL):.0f}", display=False)

# %% [markdown]
# ## What the present records are

# %% tags=["remove-input"]
Markdown(
    state_of_records(runs)
    + "\n\n| verdict | numbers |\n|---|---|\n"
    + "\n".join(f"| {word} | {counted[word]} |" for word in WORDS)
)

# %% [markdown]
# ## Systems
#
# The {glue:text}`systems` systems are those of the four papers, what these compare with, and our controls.

# %% tags=["remove-input"]
Markdown(systems_table(systems, runs))

# %% [markdown]
# ## What the papers claim, and what our records say
#
# Much of what the papers find is an ordering, which outlives a change of settings better than a number does.
# So we ask our records for it, whatever their profile, and name the profile beside the answer.
# A run of the quick profile answers nothing.
#
# Each claim is one or several contrasts of means over seeds.
# What one model contributes to a contrast is paired within its seeds, and models are taken as independent; Student's $t$ with the degrees of freedom of Welch and Satterthwaite gives an interval of {glue:text}`confidence` per cent.
#
# - An ordering **holds** if all its contrasts are positive with their whole intervals. It **does not hold** if one is negative with its interval, widened for the number of contrasts, because one of many may fall by chance.
# - An equality **holds** if all intervals lie within a margin, and **does not hold** if one lies outside. The margins are ours.
# - Otherwise the records leave the claim **undecided**.

# %% tags=["remove-input"]
show(greater, equal)

# %% [markdown]
# The difference in the table is such a contrast: *ours* with its standard error, and *in print* that of the published means, of the claim's own source or of the one named.
# Of several contrasts the table shows the one that speaks most against the claim.

# %% tags=["remove-input"]
Markdown(
    "| answer | claims |\n|---|---|\n"
    + "\n".join(f"| {answer} | {count} |" for answer, count in answers.most_common())
)

# %% tags=["remove-input"]
Markdown(claims_table(claims, tables, runs, systems))

# %% [markdown]
# For {cite:t}`qiu2025` and {cite:t}`hirt2024` we had no result tables, so their claims are in the words of abstracts and summaries.

# %% [markdown]
# ## How a number is judged
#
# The {glue:text}`tables` tables below hold these verdicts, counted at the top.
#
# - **Reproduced** or **not reproduced**: a run of the full profile, on the published data and with the published settings as far as we know them, decides.
# - **Not comparable**: there is a run of ours, and it is another experiment. What differs is listed below the table. A run of the laptop profile is always this, however close its numbers come.
# - **Not run**: we have the model and no record of it, or a record that does not hold the quantity.
# - **Not known**: we have a number, and we could not read what the source reports.
# - **Not implemented**: the model is not in this package.
#
# With $\bar u$ our mean over seeds, $p$ what is printed, $h$ half a unit of its last digit, and $s$ the standard errors of the two means, a number is reproduced if
#
# $$
# |\bar u - p| \;\le\; 2\sqrt{s_u^2 + s_p^2} + h .
# $$
#
# A number that is printed without a spread counts as exact, which makes it harder to reproduce, not easier.

# %% tags=["remove-input"]
show(reproduces)

# %% [markdown]
# In the tables below, a cell holds the published number as it is printed; under it stand MultiVae's and ours where there is one.
# The spreads are standard deviations over runs, ours over seeds.
#
# ## PolyMNIST
#
# The numbers of {cite:t}`sutter2021` are in a figure, so the published ones here come from elsewhere.

# %% tags=["remove-input"]
Markdown(figures_list("polymnist", figures))

# %% tags=["remove-input"]
Markdown(dataset_tables("polymnist", tables, runs, systems))

# %% [markdown]
# ## MNIST-SVHN-Text
#
# M is MNIST, S is SVHN and T is the text; *S, T → M* generates MNIST from the other two.

# %% tags=["remove-input"]
Markdown(figures_list("mnist-svhn-text", figures))

# %% tags=["remove-input"]
Markdown(dataset_tables("mnist-svhn-text", tables, runs, systems))

# %% [markdown]
# ## Bimodal CelebA
#
# I is the image, T the text of its attributes.

# %% tags=["remove-input"]
Markdown(dataset_tables("celeba", tables, runs, systems))

# %% [markdown]
# ## MNIST-SVHN

# %% tags=["remove-input"]
Markdown(dataset_tables("mnist-svhn", tables, runs, systems))

# %% [markdown]
# ## MHD, Translated PolyMNIST and MNIST

# %% tags=["remove-input"]
Markdown(
    "\n\n".join(
        dataset_tables(key, tables, runs, systems)
        for key in ("mhd", "translated-polymnist", "mnist")
    )
)

# %% tags=["remove-cell"]
shown = {"polymnist", "mnist-svhn-text", "celeba", "mnist-svhn"}
shown |= {"mhd", "translated-polymnist", "mnist"}
assert shown == set(systems.datasets), "a data set of the scoreboard is not on its page"

# %% [markdown]
# ## Ours against the published numbers

# %% tags=["remove-input"] mystnb={"image": {"alt": "Scatter of our accuracies and coherences over the published ones, one colour per system and one marker per verdict, with the diagonal on which both agree."}}
pairs = points(tables, runs, systems)
if pairs:
    fig, ax = plt.subplots(figsize=(5.6, 6.4))
    against(ax, pairs)
    gap = np.mean([abs(pair.ours.mean() - pair.published.value) for pair in pairs])
    ax.set_title(f"Ours and the published shares are {gap:.2f} apart on average")
    plt.show()

# %% tags=["remove-input"]
Markdown(
    "Bars are standard deviations over runs; the form of a marker is its verdict."
    if pairs
    else "*No record holds a number that is published, so there is nothing to draw yet.*"
)

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-exact
# A number is printed as $0.37$ with a standard deviation of $0.06$ over five runs.
# Five runs of ours have the same standard deviation.
# How far may our mean be from the printed one and still count as a reproduction?
# ::::
#
# ::::{solution} ex-exact
# :class: dropdown
# Each mean has a standard error of the deviation over the root of five, two of them add in squares, and half a unit of the last digit comes on top:
# ::::

# %% tags=["hide-input", "remove-output"]
error = 0.06 / 5**0.5
furthest = 2 * (2 * error**2) ** 0.5 + 0.005
assert round(furthest, 3) == 0.081

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
# # The data sets
#
# A reproduction is worth what its data are worth.
# This page says of every data set what a tuple holds, how many there are, whose they are, how they are made, and where they are not what a paper used.
#
# The numbers come from fact files, which `data_scripts/facts.py` writes where the data are, so that the page needs none of them.
# A data set that is not the published one carries another name, and so does every record that was made with it.

# %% tags=["parameters", "remove-cell"]
profile = "quick"
seed = 0

# %% tags=["remove-cell"]
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown
from matplotlib.patches import Arc, Circle
from myst_nb import glue
from PIL import Image
from sklearn.datasets import load_digits

from multielbo import plots
from multielbo.data.celeba import ATTRIBUTES, LENGTH, decode, encode, sentence
from multielbo.data.mnist_svhn import read_text, spell
from multielbo.data.polydigits import polydigits
from multielbo.data.recipe import bit_generator
from multielbo.profiles import check_profile
from multielbo.publishing.facts import (
    differences_table,
    originals_table,
    read_facts,
    sets_table,
)

check_profile(profile)
plots.use_style()
book = Path("book")
facts = read_facts(book / "facts")
order = [
    "polydigits",
    "polymnist-hopper",
    "polymnist-published",
    "translated-polymnist-hopper",
    "translated-polymnist-10-hopper",
    "mnist-svhn-text",
    "mnist-svhn-text-reduced",
    "celeba",
    "mhd",
    "written-spoken-drawn",
    "mfeat",
]
order += sorted(facts.keys() - set(order))


def classes(name: str, split: str = "train") -> np.ndarray:
    """How many tuples of each class a prepared data set has."""
    return np.array(facts[name]["measured"]["splits"][split]["classes"])


def entropy(counts: np.ndarray) -> float:
    """Of the class of a tuple drawn at random, in nats."""
    p = counts / counts.sum()
    return float(-(p * np.log(p)).sum())


def draw_tuples(name: str, title: str) -> None:
    """The data set's small picture: a row for each modality, a column for each tuple."""
    entry = facts[name]["measured"]
    modalities = list(entry["modalities"])
    image = np.asarray(Image.open(book / "_static" / "data" / entry["picture"]["file"]))
    side = image.shape[1] / entry["picture"]["tuples"]
    _, ax = plt.subplots(figsize=(4.4, 0.4 + 0.72 * len(modalities)))
    ax.imshow(image)
    ax.set_yticks(side * (np.arange(len(modalities)) + 0.5), modalities)
    ax.set(xticks=[], title=title)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


# %% [markdown]
# ## All of them

# %% tags=["remove-input"]
Markdown(sets_table(facts[name] for name in order))

# %% [markdown]
# *Not here* marks data that we could not obtain: their loaders are tested on small files in the same format, and the table states what their authors announce.
# Shapes are channels, height and width; for texts, characters and symbols of the alphabet; for paths, points and coordinates; for tables, columns.
#
# ## How each is prepared, and what is not as published
#
# One command each, `python data_scripts/` and what the table says, finds the originals or downloads them, checks them, and writes arrays beside a manifest with their checksums.
# `--raw` names a folder of originals that are already there, `--out` where the arrays go.

# %% tags=["remove-input"]
Markdown(differences_table(facts[name] for name in order))

# %% [markdown]
# ## PolyDigits: fits into memory, needs no download

# %% tags=["remove-input"] mystnb={"image": {"alt": "Five rows, one for each modality, and ten columns, one for each digit: in a column all images show the same digit, each in another hand and on the background of its row."}}
data = polydigits("train", seed=seed)
columns = [int((data.labels == digit).nonzero()[0]) for digit in range(10)]
fig = plt.figure(figsize=(7.2, 3.9))
plots.image_grid(
    fig,
    [[data[m][n] for n in columns] for m in data.modalities],
    rows=list(data.modalities),
    title="One digit a column, one background a row",
)
plt.show()

# %% [markdown]
# The digits are scikit-learn's, the backgrounds pictures that scikit-learn and matplotlib ship and textures that we draw.
#
# ## PolyMNIST: five pictures that share their class
#
# A tuple shows, in each of five modalities, another of MNIST's digits of one class on a random crop of the modality's own picture, with the colours inverted where the digit is {cite:p}`sutter2021`.
# The third picture of the published data is a photograph that is not free; here Grace Hopper's portrait takes its place, hence the name `polymnist-hopper`.

# %% tags=["remove-input"] mystnb={"image": {"alt": "Five tuples of the digits 7, 2, 1, 0 and 4: five rows of small colour images, each digit in another hand, on bark, on painted sky, on the portrait of a woman in uniform, on stars and on shingles."}}
draw_tuples("polymnist-hopper", "A tuple is one class and nothing else in common")
plt.show()

# %% [markdown]
# *Pictured: crops of* fractal_tree.jpg, star_field.jpg *and* shingles.jpg *by John Burkardt (GNU LGPL), of Edvard Munch's* The Scream *and of Grace Hopper's portrait by the United States Navy (both in the public domain); digits from MNIST by LeCun, Cortes and Burges (CC BY-SA 3.0).*
#
# Given the class, the modalities are independent, so what one tells about another is at most the entropy of the class.

# %%
shared = entropy(classes("polymnist-hopper"))
assert math.log(10) - 0.01 < shared < math.log(10)

# %% tags=["remove-cell"]
shape = facts["polymnist-hopper"]["measured"]["modalities"]["m0"]["shape"]
glue("shared", f"{shared:.3f}", display=False)
glue("ten", f"{math.log(10):.3f}", display=False)
glue("dimensions", f"{math.prod(shape):,}", display=False)

# %% [markdown]
# That is {glue:text}`shared` nats, little less than the {glue:text}`ten` of ten classes that are equally frequent, while the likelihood of one image sums over {glue:text}`dimensions` dimensions.
#
# **The published archive.**
# `data_scripts/polymnist_archive.py` reads `PolyMNIST.zip` where it lies and checks that every class is there as often as in MNIST.
# We could not obtain it, and its checksum is not known to us.
# Two layouts are known from the code of those who read it, and both are accepted, in `train` and in `test` of some folder:
#
# | layout | a modality | labels | read by |
# |---|---|---|---|
# | pictures | `m3/12.7.png`: image 12 of the digit 7 | in the names, so that equal names are a tuple | MoPoE, MMVAE+ |
# | tensors | `m3.pt`: one row a tuple | `labels.pt` | MVTCAE, MultiVae |
#
# Pretrained classifiers and Inception weights come in the same archive, and stay in it.
#
# ## Translated PolyMNIST: the place is private too
#
# Smaller digits at random places make PolyMNIST harder {cite:p}`daunhawer2022`.
# We take the sizes of MultiVae, whose authors train on them: each digit is scaled bilinearly by three quarters and put at one of seven by seven places {cite:p}`senellart2025`.
# A pixel of the small digit lies at whole sixths between four of the large one, so that we scale in integers, and exactly: the same bytes on every machine.
# For the same seed a tuple has the digits and the crops of the same tuple of `polymnist-hopper`.

# %% tags=["remove-input"] mystnb={"image": {"alt": "The five tuples of the figure before, on the same crops, with smaller digits that lie elsewhere in each image."}}
draw_tuples("translated-polymnist-hopper", "Smaller digits, each where it likes")
plt.show()

# %% [markdown]
# *Sources and licences as above.*

# %%
translated = classes("translated-polymnist-hopper")
assert (translated == classes("polymnist-hopper")).all()
places = 2 * math.log(7)

# %% tags=["remove-cell"]
glue("places", f"{places:.2f}", display=False)

# %% [markdown]
# The classes are those of PolyMNIST, so modalities share as much as before; but {glue:text}`places` nats more are private to each, and they move every pixel of the digit.
# The last row and the last column stay without ink: the published code draws its places from a range that leaves out the end.
#
# Extended PolyMNIST, by {cite:t}`wesego2024`, has ten backgrounds.
# Which pictures they are is not known to us, so the second five are substitutes: two photographs that scikit-learn ships, and three textures.

# %% tags=["remove-input"] mystnb={"image": {"alt": "Ten rows of small digits on ten backgrounds: the five of before, then a Chinese temple, a flower, yellow agate, red bricks and dark rings."}}
draw_tuples("translated-polymnist-10-hopper", "Ten modalities, five of them guesses")
plt.show()

# %% [markdown]
# *As above, and crops of* china.jpg *by danielbuechele and* flower.jpg *by vultilion (both CC BY 2.0).*
#
# ## MNIST-SVHN-Text: three kinds of data
#
# A tuple is one of MNIST's digits, one of SVHN's house numbers of the same class, and the class as an English word among eight characters, at a random place.
# SVHN is for non-commercial use only, and so we show none of its pixels: what follows is drawn, apart from the text, which is made as for the data.

# %% tags=["remove-input"] mystnb={"image": {"alt": "A drawing of three tuples, of the classes 3, 8 and 0: a grey handwritten digit, a coloured plate with the digit between two others, and eight boxes with the letters of its word."}}
shown = np.array([3, 8, 0])
digits = load_digits()
words = read_text(spell(shown, bit_generator(seed)))
fig, axes = plt.subplots(3, 3, figsize=(6.0, 4.0), height_ratios=(2, 2, 1))
for column, (digit, word) in enumerate(zip(shown, words, strict=True)):
    written, number, text = axes[:, column]
    written.imshow(digits.images[np.flatnonzero(digits.target == digit)[1]])
    number.imshow(
        np.full((32, 32, 3), [(60, 90, 60), (90, 60, 60), (50, 60, 100)][column], np.uint8)
    )
    for at, sign in ((0, (digit + 4) % 10), (16, digit), (32, (digit + 7) % 10)):
        number.text(
            at, 16, sign, color="#f0e8d0", fontsize=36, ha="center", va="center", clip_on=True
        )
    text.set(xlim=(-0.1, 8.1), ylim=(-0.1, 1.1), aspect=1)
    for place, character in enumerate(word):
        text.add_patch(plt.Rectangle((place, 0), 1, 1, fill=False, color=plots.INK, linewidth=0.6))
        text.text(place + 0.5, 0.45, character, ha="center", va="center", fontsize=9)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
for ax, name in zip(axes[:, 0], ("mnist", "svhn", "text"), strict=True):
    ax.set_ylabel(name, rotation=0, ha="right", va="center")
fig.suptitle("Drawn, not data: what a tuple holds", weight="bold", x=0.01, ha="left")
plt.show()

# %% tags=["remove-cell"]
reduced = facts["mnist-svhn-text-reduced"]["measured"]
for split, found in reduced["splits"].items():
    house_numbers = reduced["modalities"]["svhn"]["observations"][split]
    glue(f"reduced_{split}", f"{found['tuples']:,}", display=False)
    glue(f"svhn_{split}", f"{house_numbers:,}", display=False)
    glue(f"pairs_{split}", str(found["tuples"] // house_numbers), display=False)

# %% [markdown]
# The handwritten digits drawn here are scikit-learn's.
# Originals are kept once, and tuples point to them.
# The reduced set, `mnist-svhn-text-reduced`, makes {glue:text}`reduced_train` training tuples from {glue:text}`svhn_train` house numbers by {glue:text}`pairs_train` random matchings, and {glue:text}`reduced_test` test tuples from {glue:text}`svhn_test`.
# It holds a small part of SVHN, cropped again by SVHN's rule, and results on it are not results on MNIST-SVHN-Text.
#
# ## Bimodal CelebA: a face and its description
#
# The text names the attributes that a face has, and leaves out those it has not.
# CelebA's pictures may not be passed on, and we could not obtain them; face and attributes below are invented, the text is made as for the data.

# %% tags=["remove-input"] mystnb={"image": {"alt": "A drawing: at the left a cartoon face with glasses and a smile, at the right the text that names its attributes in lower case, separated by commas."}}
present = np.isin(ATTRIBUTES, ["Black_Hair", "Eyeglasses", "Smiling", "Young"])
description = decode(encode(sentence(present), draw=40))
fig, (face, text) = plt.subplots(1, 2, figsize=(6.6, 2.2), width_ratios=(1, 2))
face.add_patch(Circle((0, 0.25), 1.02, color="#222222"))
face.add_patch(Circle((0, 0), 0.95, color="#e0b088"))
for x in (-0.36, 0.36):
    face.add_patch(Circle((x, 0.2), 0.24, fill=False, color="#222222", linewidth=2))
    face.add_patch(Circle((x, 0.2), 0.06, color="#222222"))
face.plot([-0.12, 0.12], [0.2, 0.2], color="#222222")
face.add_patch(Arc((0, -0.25), 0.8, 0.55, theta1=200, theta2=340, color="#222222", linewidth=2))
face.set(xlim=(-1.3, 1.3), ylim=(-1.1, 1.4), aspect=1)
text.text(0, 0.5, description.replace(", ", ",\n"), va="center", family="monospace")
for ax in (face, text):
    ax.set_axis_off()
fig.suptitle("Drawn, not data: what a tuple holds", weight="bold", x=0.01, ha="left")
plt.show()

# %%
assert description == sentence(present)
assert len(encode(description)) == LENGTH

# %% [markdown]
# ## MHD: a picture, a sound, a movement
#
# Multimodal Handwritten Digits pair a picture, a spectrogram and the way of a pen by their class.
# We could not obtain them; only the shapes below are theirs.

# %% tags=["remove-input"] mystnb={"image": {"alt": "A drawing of a tuple of class 0: a grey digit, a wide grey image of invented bands, and a curve that closes to an oval."}}
stage = np.linspace(0, 2 * np.pi, 100)
band = np.exp(-(((np.arange(32)[:, None] - 16 - 8 * np.sin(np.arange(128) / 20)) / 3) ** 2))
fig, axes = plt.subplots(1, 3, figsize=(6.6, 2.0), width_ratios=(1, 2.4, 1))
axes[0].imshow(digits.images[0])
axes[1].imshow(band, aspect="auto")
axes[2].plot(0.5 + 0.3 * np.sin(stage), 0.5 + 0.45 * np.cos(stage), color=plots.INK)
axes[2].set(xlim=(0, 1), ylim=(0, 1), aspect=1)
for ax, (name, shape) in zip(
    axes, facts["mhd"]["described"]["expected"]["modalities"].items(), strict=True
):
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_title(f"{name}, {'x'.join(map(str, shape))}", fontsize=10, weight="normal")
fig.suptitle("Drawn, not data: what a tuple holds", weight="bold", x=0.01, ha="left")
plt.show()

# %% [markdown]
# ## Written, spoken and drawn digits: MHD's three kinds, from real originals
#
# MNIST's images, recordings of the Free Spoken Digit Dataset as log-mel spectrograms, and the strokes of UCI's pen digits, paired by class inside each split.
# No speaker and no writer of strokes occurs in both splits, so that a model meets new voices and new hands in the test.

# %% tags=["remove-input"] mystnb={"image": {"alt": "Five tuples of the digits 5, 6, 3, 6 and 4 in three rows: handwritten digits, dark spectrograms with light horizontal bands, and digits of straight white strokes."}}
draw_tuples("written-spoken-drawn", "One class, three senses")
plt.show()

# %% [markdown]
# *Pictured: MNIST by LeCun, Cortes and Burges (CC BY-SA 3.0), spectrograms of recordings of the Free Spoken Digit Dataset by Jackson and contributors (CC BY-SA 4.0), strokes of Pen-Based Recognition of Handwritten Digits by Alpaydin and Alimoglu (CC BY 4.0).*
#
# ## Multiple Features: six tables of the same digits
#
# UCI's data describe each digit six times over, in numbers.
# As with CelebA, the modalities of a tuple come from one original, not from a pairing by class.
# They have no split and no set-up of their own: they are our example of data that a reader brings.
#
# Small pictures of data on this page are under their originals' licences, not under the book's.
#
# ## Whose the originals are

# %% tags=["remove-input"]
Markdown(originals_table(facts[name] for name in order))

# %% [markdown]
# ## Checksums
#
# Data are the same as ours if these digests are: of each split's arrays, in the order of the modalities, as the records state them.

# %% tags=["remove-input"]
lines = [
    f"{name}-{split}\n  {found['sha256']}"
    for name in order
    for split, found in (facts[name]["measured"] or {"splits": {}})["splits"].items()
]
Markdown("```text\n" + "\n".join(lines) + "\n```")

# %% [markdown]
# ## Exercise
#
# ::::{exercise}
# :label: ex-private-place
# In Translated PolyMNIST all modalities of a tuple could be given the *same* place.
# By how much could the information that one modality has about another then grow, and which model would gain the most?
# ::::
#
# ::::{solution} ex-private-place
# :class: dropdown
# The place would be shared: independent of the class and uniform over seven by seven places, it adds its entropy, $2\log 7$ nats, to the bound.
# Translation moves every pixel of the digit, so that the place is worth more to the likelihood than the style; a model that pools its experts could then answer better from any subset.
# ::::

# %% tags=["hide-input", "remove-output"]
jointly = entropy(np.outer(translated, np.ones(49)).ravel())
assert math.isclose(jointly, shared + places, rel_tol=1e-12)

"""Pictures: one style, one colour for each model, and the few forms that chapters share.

Faces stay white, so that a figure reads on a dark page as on a light one.
"""

from __future__ import annotations

__all__ = [
    "COLOURS",
    "INK",
    "by_inputs",
    "colour",
    "density",
    "ellipse",
    "image_grid",
    "label_ends",
    "picture",
    "stamp",
    "use_style",
]

import math
from collections.abc import Callable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

INK = "#222222"
MUTED = "#6e6e6e"
# Okabe and Ito's colours, with a dark purple for their yellow: apart for colour-blind readers.
COLOURS = {
    "mvae": "#0072b2",
    "mmvae": "#d55e00",
    "mmvae-averaged": "#8c3b00",
    "mopoe": "#009e73",
    "powerset": "#222222",
    "wb-vae": "#cc79a7",
    "mwb-vae": "#6b2c6b",
    "log-pool": "#e69f00",
    "mixture-of-log-pools": "#56b4e9",
    "hellinger": "#7700ee",
    "mixture-of-hellinger": "#99bb66",
    "hellinger-exact": "#9977ff",
    "mvtcae": "#545454",
    "mmjsd": "#300c90",
    "jmvae": "#8424cc",
    "mmvae-plus": "#30003c",
    "masked-poe": "#00489c",
    "masked-sum-pooling": "#fc7890",
    "masked-self-attention": "#a84884",
    "jnf": "#8c7a46",
    "jnf-dcca": "#720000",
    "jnf-contrastive": "#1e4c26",
}
LABELS = {
    "mvae": "MVAE",
    "mmvae": "MMVAE",
    "mmvae-averaged": "MMVAE (averaged)",
    "mopoe": "MoPoE",
    "powerset": "Powerset",
    "wb-vae": "WB-VAE",
    "mwb-vae": "MWB-VAE",
    "log-pool": "Log-pool",
    "mixture-of-log-pools": "Mixture of log-pools",
    "hellinger": "Hellinger",
    "mixture-of-hellinger": "Mixture of Hellinger",
    "hellinger-exact": "Hellinger, exact",
    "mvtcae": "MVTCAE",
    "mmjsd": "mmJSD",
    "jmvae": "JMVAE",
    "mmvae-plus": "MMVAE+",
    "masked-poe": "Masked PoE",
    "masked-sum-pooling": "Masked SumPooling",
    "masked-self-attention": "Masked SelfAttention",
    "jnf": "JNF",
    "jnf-dcca": "JNF-DCCA",
    "jnf-contrastive": "JNF-Shared, contrastive",
}


def use_style() -> None:
    """Set the look of every figure that follows."""
    sns.set_theme(
        style="ticks",
        palette=list(COLOURS.values()),
        rc={
            "figure.figsize": (6.4, 3.6),
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "axes.facecolor": "white",
            "figure.dpi": 110,
            "savefig.dpi": 160,
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 12,
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "axes.labelsize": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "image.cmap": "gray",
            "image.interpolation": "nearest",
        },
    )


def colour(model: str) -> str:
    """The colour of a model, the same in every figure.

    Raises:
        ValueError: No colour has been set aside for that model.
    """
    if model not in COLOURS:
        raise ValueError(f"plots: no colour for model {model!r}; choose from {', '.join(COLOURS)}")
    return COLOURS[model]


def ellipse(
    ax: Axes,
    loc: ArrayLike,
    covariance: ArrayLike,
    *,
    color: str,
    deviations: float = 1.0,
    label: str | None = None,
    **style: object,
) -> Ellipse:
    """Draw a two-dimensional Gaussian as the curve at so many standard deviations.

    Args:
        ax: Where to draw.
        loc: Mean, `(2,)`.
        covariance: `(2, 2)`, or the standard deviations of a diagonal Gaussian, `(2,)`.
        color: Of the line; the inside is tinted with it.
        deviations: Mahalanobis radius of the curve.
        label: Text at the mean.
        style: Passed to matplotlib's `Ellipse`.
    """
    loc = np.asarray(loc, float)
    covariance = np.asarray(covariance, float)
    if covariance.ndim == 1:
        covariance = np.diag(covariance**2)
    lengths, axes = np.linalg.eigh(covariance)
    width, height = 2 * deviations * np.sqrt(lengths.clip(0))
    angle = math.degrees(math.atan2(axes[1, 0], axes[0, 0]))
    look = {"edgecolor": color, "facecolor": (*mpl.colors.to_rgb(color), 0.12), "linewidth": 1.8}
    patch = ax.add_patch(Ellipse(tuple(loc), width, height, angle=angle, **{**look, **style}))
    ax.autoscale_view()
    if label is not None:
        ax.annotate(label, loc, color=color, ha="center", va="center", weight="bold")
    return patch


def density(
    ax: Axes,
    log_density: Callable[[NDArray], ArrayLike],
    z: ArrayLike,
    *,
    color: str,
    label: str | None = None,
    fill: bool = False,
    **style: object,
) -> Line2D:
    """Draw a one-dimensional density, labelled at its peak.

    Args:
        ax: Where to draw.
        log_density: From points `(N,)` to log-densities `(N,)`.
        z: The points, in increasing order.
        color: Of line and label.
        label: Text above the peak.
        fill: Tint the area under the curve.
        style: Passed to matplotlib's `plot`.
    """
    z = np.asarray(z, float)
    height = np.exp(np.asarray(log_density(z), float))
    (line,) = ax.plot(z, height, color=color, **style)
    if fill:
        ax.fill_between(z, height, color=color, alpha=0.12, linewidth=0)
    if label is not None:
        peak = int(height.argmax())
        ax.annotate(
            label,
            (z[peak], height[peak]),
            xytext=(0, 4),
            textcoords="offset points",
            color=color,
            ha="center",
        )
    line.sticky_edges.y.append(0)
    ax.autoscale_view()
    return line


def picture(ax: Axes, image: ArrayLike) -> None:
    """Show one image `(C, H, W)`, bytes or numbers clipped to [0, 1], without axes."""
    pixels = np.asarray(image)
    pixels = pixels / 255 if pixels.dtype == np.uint8 else pixels.clip(0, 1)
    pixels = pixels.transpose(1, 2, 0)
    ax.imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
    sns.despine(ax=ax, left=True, bottom=True)


def image_grid(
    figure: Figure,
    images: Sequence[Sequence[ArrayLike | None]],
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    *,
    title: str = "",
) -> NDArray:
    """A table of images, such as inputs down the side and what was generated from them across.

    Args:
        figure: Where to draw.
        images: Rows of equally many images `(C, H, W)`; None leaves a cell empty.
        rows, columns: Labels at the left and on top.
        title: The message.

    Returns:
        The axes, `(rows, columns)`.
    """
    axes = figure.subplots(len(images), len(images[0]), squeeze=False)
    for cells, row in zip(axes, images, strict=True):
        for ax, image in zip(cells, row, strict=True):
            # An empty cell holds a white square, so that the layout treats it like any other.
            picture(ax, np.ones((1, 2, 2)) if image is None else image)
    for ax, text in zip(axes[:, 0], rows or (), strict=bool(rows)):
        ax.text(-0.15, 0.5, text, transform=ax.transAxes, ha="right", va="center", fontsize=10)
    for ax, text in zip(axes[0], columns or (), strict=bool(columns)):
        ax.set_title(text, loc="center", fontsize=10, weight="normal")
    if title:
        figure.suptitle(title, weight="bold", fontsize=12, x=0.01, ha="left")
    return axes


def by_inputs(
    ax: Axes,
    results: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    profile: str,
    ylabel: str = "",
    errors: float = 2.0,
) -> None:
    """A metric against the number of input modalities, one line a model, labelled at its end.

    Args:
        ax: Where to draw.
        results: For each model its values and their standard errors, one for each number of
            inputs from one upward.
        profile: What the values come from; the quick profile is stamped on the figure.
        ylabel: The metric and its unit.
        errors: Length of the bars in standard errors.
    """
    ends = {}
    for place, (model, (values, standard_errors)) in enumerate(results.items()):
        values = np.asarray(values, float)
        # Side by side, or equal models would hide each other.
        inputs = np.arange(1, len(values) + 1) + 0.03 * (place - (len(results) - 1) / 2)
        bars = errors * np.asarray(standard_errors, float)
        ax.errorbar(inputs, values, bars, color=colour(model), marker="o", ms=4, capsize=2)
        ends[model] = (inputs[-1], values[-1])
    ax.set(xlabel="number of input modalities", ylabel=ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    label_ends(ax, {LABELS[model]: (*end, colour(model)) for model, end in ends.items()})
    stamp(ax, profile)


def label_ends(ax: Axes, ends: Mapping[str, tuple[float, float, str]]) -> None:
    """Name each line at its right end, keeping the names a line of text apart.

    Args:
        ax: The axes, with its lines drawn and its limits final.
        ends: For each name, the end of its line in data units, and a colour.
    """
    figure = ax.figure
    figure.draw_without_rendering()  # only now the layout knows how high the axes are
    height = ax.get_position().height * figure.get_figheight() * 72
    low, high = ax.get_ylim()
    apart = 1.25 * mpl.rcParams["font.size"] * (high - low) / height
    names = sorted(ends, key=lambda name: ends[name][1])
    heights = _spread([ends[name][1] for name in names], apart)
    for name, level in zip(names, heights, strict=True):
        x, y, color = ends[name]
        ax.annotate(
            name,
            (x, y),
            xytext=(12, (level - y) * height / (high - low)),
            textcoords="offset points",
            color=color,
            va="center",
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.6, "shrinkA": 0, "shrinkB": 3},
        )


def stamp(ax: Axes, profile: str) -> None:
    """Say on the figure that quick results are none; other profiles leave no mark."""
    if profile == "quick":
        ax.text(
            0.99,
            0.02,
            "quick profile: not a result",
            transform=ax.transAxes,
            ha="right",
            va="bottom",
            color=MUTED,
            style="italic",
            fontsize=9,
        )


def _spread(levels: Sequence[float], apart: float) -> NDArray:
    """The nearest increasing levels that keep a distance, by pooling those that violate it."""
    target = np.asarray(levels, float) - apart * np.arange(len(levels))
    groups: list[list[float]] = []  # [sum, count]: isotonic regression
    for value in target:
        groups.append([value, 1])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] > groups[-1][0] / groups[-1][1]:
            total, count = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += count
    pooled = np.concatenate([np.full(int(count), total / count) for total, count in groups])
    return pooled + apart * np.arange(len(levels))

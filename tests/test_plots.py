"""The pictures say what they should: right sizes, one colour a model, labels that can be read."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.colors import to_rgb

from multielbo import plots
from multielbo.models.registry import MODELS, STAGED

# Machado, Oliveira and Fernandes (2009), severity 1, acting on linear RGB.
VISION = {
    "typical": np.eye(3),
    "protanopia": np.array(
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    ),
    "deuteranopia": np.array(
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    ),
    "tritanopia": np.array(
        [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]
    ),
}
DISTINCT = 10.0  # CIE 1976 colour difference; about 2.3 is just noticeable


@pytest.fixture
def ax():
    plots.use_style()
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def closest(colours: dict[str, str], vision: str) -> float:
    seen = [lab(VISION[vision] @ linear(to_rgb(colour))) for colour in colours.values()]
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))


def linear(rgb) -> np.ndarray:
    rgb = np.array(rgb)
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.412, 0.358, 0.181], [0.213, 0.715, 0.072], [0.019, 0.119, 0.951]])
    x, y, z = np.cbrt(to_xyz @ rgb.clip(1e-3, 1) / to_xyz.sum(1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_every_model_has_its_own_colour_and_label():
    assert set(plots.COLOURS) == set(plots.LABELS) == {*MODELS, *STAGED}
    assert len(set(plots.COLOURS.values())) == len(plots.COLOURS)


def test_a_model_without_a_colour_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^plots: no colour for model 'mopeo'; choose from "):
        plots.colour("mopeo")


@pytest.mark.parametrize("vision", VISION)
def test_the_colours_stay_apart_for_colour_blind_readers(vision):
    assert closest(plots.COLOURS, vision) > DISTINCT


def test_red_against_green_would_not_stay_apart():
    assert closest({"tab:red": "#d62728", "tab:green": "#2ca02c"}, "typical") > 2 * DISTINCT
    assert closest({"tab:red": "#d62728", "tab:green": "#2ca02c"}, "deuteranopia") < DISTINCT


def test_figures_have_a_white_face(ax):
    assert to_rgb(ax.get_facecolor()[:3]) == to_rgb(ax.figure.get_facecolor()[:3]) == (1, 1, 1)
    assert to_rgb(mpl.rcParams["savefig.facecolor"]) == (1, 1, 1)


def test_an_ellipse_is_the_curve_of_equal_mahalanobis_distance(ax):
    loc, covariance = np.array([1.0, -2.0]), np.array([[2.0, 0.9], [0.9, 1.0]])
    patch = plots.ellipse(ax, loc, covariance, color="k", deviations=2)
    points = patch.get_patch_transform().transform(patch.get_path().vertices[:-1]) - loc
    on_curve = patch.get_path().codes[:-1] != mpl.path.Path.CURVE4
    on_curve |= np.arange(len(points)) % 3 == 0  # every third vertex of a cubic spline
    distance = np.sqrt(np.einsum("ni,ij,nj->n", points, np.linalg.inv(covariance), points))
    np.testing.assert_allclose(distance[on_curve], 2, rtol=1e-6)
    own = np.linalg.inv(np.diag(covariance.diagonal()))
    variances = np.einsum("ni,ij,nj->n", points, own, points)
    assert np.ptp(variances[on_curve]) > 1  # without the correlation it is another curve


def test_a_diagonal_gaussian_is_given_by_its_standard_deviations(ax):
    patch = plots.ellipse(ax, [0, 0], [0.5, 2.0], color="k")
    extent = patch.get_patch_transform().transform([[1, 0], [0, 1], [-1, 0], [0, -1]])
    np.testing.assert_allclose(np.abs(extent).max(0), [0.5, 2.0])


def test_a_density_is_drawn_from_zero_to_its_peak(ax):
    z, constant = np.linspace(-5, 5, 501), 0.5 * np.log(2 * np.pi)
    line = plots.density(ax, lambda z: -0.5 * z**2 - constant, z, color="k", label="p")
    assert np.trapezoid(line.get_ydata(), z) == pytest.approx(1, abs=1e-6)
    taller = plots.density(ax, lambda z: -2 * z**2 - constant + np.log(2), z, color="k")
    ax.figure.draw_without_rendering()
    low, high = ax.get_ylim()
    assert low == pytest.approx(0, abs=1e-9)
    assert high > taller.get_ydata().max()
    assert [text.get_text() for text in ax.texts] == ["p"]


def test_an_image_grid_has_inputs_down_the_side_and_leaves_empty_cells_white():
    image = np.zeros((3, 4, 4), np.uint8)
    image[0] = 255
    figure = plt.figure()
    axes = plots.image_grid(
        figure, [[image, None], [image, image / 255.0]], rows=["a", "a, b"], columns=["x", "y"]
    )
    assert axes.shape == (2, 2)
    shown = [[ax.images[0].get_array() for ax in row] for row in axes]
    np.testing.assert_array_equal(shown[0][0], shown[1][1])  # bytes and fractions look alike
    np.testing.assert_array_equal(shown[0][0][..., 0], 1)
    np.testing.assert_array_equal(shown[0][1], 1)
    assert [ax.texts[0].get_text() for ax in axes[:, 0]] == ["a", "a, b"]
    plt.close(figure)


def test_image_grid_labels_must_match_the_table():
    figure = plt.figure()
    with pytest.raises(ValueError, match="shorter"):
        plots.image_grid(figure, [[None, None]], columns=["x"])
    plt.close(figure)


RESULTS = {name: ([0.5, 0.6, 0.7], [0.01, 0.01, 0.01]) for name in MODELS}


def test_lines_that_end_together_have_labels_that_do_not_overlap(ax):
    plots.by_inputs(ax, RESULTS, profile="laptop", ylabel="coherence")
    ax.figure.draw_without_rendering()
    boxes = [mpl.text.Text.get_window_extent(text) for text in ax.texts]  # without the leader lines
    assert len(boxes) == len(MODELS)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    levels = plots._spread([0.7] * len(MODELS), 0.0)
    assert np.ptp(levels) == 0  # without spreading all would lie on one spot


def test_labels_of_lines_that_end_apart_stay_at_their_ends():
    np.testing.assert_allclose(plots._spread([0.1, 0.5, 0.9], 0.2), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(plots._spread([0.1, 0.5, 0.5], 0.2), [0.1, 0.4, 0.6])


def test_error_bars_span_two_standard_errors_each_way(ax):
    plots.by_inputs(ax, {"mopoe": ([0.5, 0.8], [0.01, 0.02])}, profile="laptop")
    segments = ax.collections[0].get_segments()
    np.testing.assert_allclose([np.ptp(s[:, 1]) for s in segments], [0.04, 0.08])


@pytest.mark.parametrize(("profile", "stamped"), [("quick", True), ("laptop", False)])
def test_only_quick_results_are_stamped(ax, profile, stamped):
    plots.by_inputs(ax, RESULTS, profile=profile)
    assert ("quick profile: not a result" in [t.get_text() for t in ax.texts]) is stamped

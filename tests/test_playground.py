"""The page on which experts are dragged computes what the package computes, and can be handled."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ot
import pytest
import torch
from scipy.integrate import cubature
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, kl_divergence

import test_rendered_book
from multielbo import barycenters, divergences, full_covariance, gaussians, power_means
from test_rendered_book import VIEWS, Viewer, browser, serve  # noqa: F401

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "book" / "_playground"
NOTEBOOK = ROOT / "notebooks" / "aggregation" / "playground.py"
PAGE = "chapters/aggregation/playground.html"

# Experts: mean, standard deviation at an angle in degrees and across it, weight.
AXES = [(-1.5, 0.4, 0.8, 0.3, 0, 0.6), (1.2, -0.3, 0.5, 1.1, 0, 0.4)]
TURNED = [(-0.2, 1.3, 0.9, 0.4, 40, 0.2), (1, 0.2, 0.6, 1.2, 40, 0.5), (0, -1, 0.7, 0.7, 40, 0.3)]
CROSSED = [(-1.6, -0.3, 1.1, 0.4, 35, 0.3), (1.5, 0.2, 1.2, 0.5, -50, 0.5), (0, 1, 0.3, 1, 0, 0.2)]
CASES = {"axes": AXES, "turned": TURNED, "crossed": CROSSED}
SHARP = [(-1.5, 0, 0.15, 0.15, 0, 0.5), (0.9, 0.2, 1.5, 1.5, 0, 0.5)]
AVERAGES = ("product", "log-pool", "wasserstein", "power-mean", "mixture", "moment-match")
OBJECTIVES = ("reverse", "forward", "w2", "power")
MALFORMED = [
    "",
    "#what-is-drawn",
    "#expert=0,0,1,1,0,0.5",
    "#expert=0,0,1,1,0&expert=0,0,1,1,0,0.5",
    "#expert=0,0,1,1,0,1&expert=0,0,one,1,0,1",
    "#expert=0,0,1,1,0,1&expert=0,0,Infinity,1,0,1",
    "#expert=0,0,1,1,0,1&expert=0,,1,1,0,1",
    "#" + "&".join(["expert=0,0,1,1,0,1"] * 4),
]


def extension() -> Any:
    """The module `playground` of the book's extensions."""
    spec = importlib.util.spec_from_file_location("playground", ROOT / "book/_ext/playground.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def links() -> list[str]:
    """The states that the page's experiments link to."""
    text = NOTEBOOK.read_text(encoding="utf-8")
    return [found.replace("&amp;", "&") for found in re.findall(r'-state" href="([^"]+)"', text)]


def address(experts: list[tuple], rest: str = "") -> str:
    return "#" + "&".join(f"expert={','.join(map(str, row))}" for row in experts) + rest


def experts_of(state: str) -> list[tuple[float, ...]]:
    return [
        tuple(map(float, part.removeprefix("expert=").split(",")))
        for part in state.partition("#")[2].split("&")
        if part.startswith("expert=")
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page with nothing but the playground and its experiments, served."""
    folder, found = tmp_path_factory.mktemp("site"), extension()
    for name in (found.STYLE, *found.SCRIPTS):
        (folder / name).write_bytes((SOURCES / name).read_bytes())
    head = f'<link rel="icon" href="data:,"><link rel="stylesheet" href="{found.STYLE}">'
    head += "".join(f'<script defer src="{name}"></script>' for name in found.SCRIPTS)
    texts = "".join(
        f'<div class="playground-experiment"><p>'
        f'<a class="playground-state" href="{link}">Number {k}.</a> Text {k}.</p></div>'
        for k, link in enumerate(links())
    )
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    page = f"<!doctype html><html lang=en>{meta}{head}<body><div id=playground></div>{texts}"
    page += '<div style="height: 3000px">The page goes on.</div></body></html>'
    (folder / "index.html").write_text(page, encoding="utf-8")
    with serve(folder) as base:
        yield base


@pytest.fixture(scope="module")
def context(request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    running: Browser = request.getfixturevalue("browser")
    with running.new_context(**VIEWS["light"], reduced_motion="reduce") as opened:
        yield opened


@pytest.fixture
def window(context: BrowserContext, site: str) -> Iterator[Page]:
    """The playground as it opens; the page must not have complained when the test is over."""
    viewer = Viewer(context, site)
    assert viewer.faults("index.html") == []
    yield viewer.page
    assert viewer.heard == []
    viewer.page.close()


# The mathematics.


def compared(window: Page, experts: list[tuple], power: float = 0.5) -> dict[str, Any]:
    """What the page computes for these experts."""
    script = """hash => {
      const { averages, error } = playground.comparison.compare(playground.state.read(hash));
      for (const average of Object.values(averages)) average.logs = average.logs !== null;
      return { averages, error };
    }"""
    return window.evaluate(script, address(experts, f"&power={power}"))


def tensors(experts: list[tuple]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Means, covariances and normalised weights."""
    x, y, first, second, degrees, weight = torch.tensor(experts, dtype=torch.float64).T
    c, s = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    turn = torch.stack([c, -s, s, c], -1).unflatten(-1, (2, 2))
    covariance = turn @ torch.diag_embed(torch.stack([first, second], -1).square()) @ turn.mT
    return torch.stack([x, y], -1), covariance, weight / weight.sum()


def rotation(degrees: float) -> torch.Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[c, -s], [s, c]], dtype=torch.float64)


def square(covariance: list[float]) -> torch.Tensor:
    xx, xy, yy = covariance
    return torch.tensor([[xx, xy], [xy, yy]], dtype=torch.float64)


def packages(experts: list[tuple]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Averages by the functions for diagonal Gaussians, in the frame that all experts share."""
    loc, covariance, weights = tensors(experts)
    turn = rotation(experts[0][4])
    along = (loc @ turn)[:, None]
    scale = (turn.T @ covariance @ turn).diagonal(dim1=-2, dim2=-1).sqrt()[:, None]
    ones, w = torch.ones(1, len(loc)).double(), weights[None]
    found = {
        "product": barycenters.product(along, scale, ones, prior_exponent=0.0),
        "log-pool": barycenters.log_pool(along, scale, w),
        "wasserstein": barycenters.wasserstein(along, scale, w),
        "moment-match": barycenters.moment_match(along, scale, w),
        "power-mean": power_means.moments(power_means.power_mean(along, scale, w, 2)),
    }
    answers = {name: (at[0, 0], width[0, 0]) for name, (at, width) in found.items()}
    objectives = {
        name: {
            "reverse": (weights * gaussians.kl(*q, along[:, 0], scale[:, 0])).sum(),
            "forward": (weights * gaussians.kl(along[:, 0], scale[:, 0], *q)).sum(),
            "w2": (weights * gaussians.w2_squared(*q, along[:, 0], scale[:, 0])).sum(),
            "power": (
                weights * divergences.alpha_divergence(along[:, 0], scale[:, 0], *q, 0.5)
            ).sum(),
        }
        for name, q in answers.items()
    }
    return {
        name: (turn @ at, turn @ width.square().diag() @ turn.T, objectives[name])
        for name, (at, width) in answers.items()
    }


@pytest.mark.parametrize("case", ["axes", "turned"])
def test_averages_and_objectives_are_the_packages(window: Page, case: str) -> None:
    found = compared(window, CASES[case])["averages"]
    expected = packages(CASES[case])
    for name in ("product", "log-pool", "wasserstein"):
        mean, covariance, objectives = expected[name]
        assert found[name]["mean"] == pytest.approx(mean.tolist(), abs=1e-9), name
        torch.testing.assert_close(square(found[name]["cov"]), covariance, atol=1e-9, rtol=0)
        for key, value in objectives.items():
            assert found[name]["objectives"][key] == pytest.approx(value.item(), abs=1e-6), key


def full_averages(experts: list[tuple]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Gaussian averages of experts with any covariances."""
    loc, covariance, weights = tensors(experts)
    precision = torch.linalg.inv(covariance)
    narrow = torch.linalg.inv(precision.sum(0))
    mean = weights @ loc
    away = loc - mean
    spread = covariance + away[:, :, None] * away[:, None]
    pooled = full_covariance.log_pool(loc[:, None], covariance[:, None], weights[None])
    return {
        "product": (narrow @ (precision @ loc[..., None]).sum(0)[:, 0], narrow),
        "log-pool": (pooled[0][0, 0], pooled[1][0, 0]),
        "wasserstein": barycenters.bures_wasserstein(loc, covariance, weights),
        "moment-match": (mean, torch.einsum("m,mij->ij", weights, spread)),
    }


def objectives(experts: list[tuple], q: tuple[torch.Tensor, torch.Tensor]) -> dict[str, float]:
    """The objectives of a Gaussian by torch.distributions, POT and the chapter's closed form."""
    loc, covariance, weights = tensors(experts)
    at, parts = MultivariateNormal(*q), MultivariateNormal(loc, covariance)
    distances = [
        ot.gaussian.bures_wasserstein_distance(*(x.numpy() for x in (q[0], m, q[1], s))) ** 2
        for m, s in zip(loc, covariance, strict=True)
    ]
    both = MultivariateNormal(loc.new_zeros(2), 2 * (covariance + q[1]))
    # int sqrt(p q) dz, the convolution of two square roots, each a Gaussian times a constant.
    constant = 8 * math.pi * (covariance.det() * q[1].det()) ** 0.25
    overlap = constant * both.log_prob(loc - q[0]).exp()
    return {
        "reverse": (weights * kl_divergence(at, parts)).sum().item(),
        "forward": (weights * kl_divergence(parts, at)).sum().item(),
        "w2": float(weights.numpy() @ np.array(distances)),
        "power": (weights * 4 * (1 - overlap)).sum().item(),
    }


@pytest.mark.parametrize("case", CASES)
def test_averages_with_full_covariances_equal_the_packages_and_pots(
    window: Page, case: str
) -> None:
    found = compared(window, CASES[case])["averages"]
    for name, q in full_averages(CASES[case]).items():
        assert found[name]["mean"] == pytest.approx(q[0].tolist(), abs=1e-9), name
        torch.testing.assert_close(square(found[name]["cov"]), q[1], atol=1e-9, rtol=0)
        expected = objectives(CASES[case], q)
        assert found[name]["objectives"] == pytest.approx(expected, abs=1e-6), name


def test_swapped_fixed_point_is_told_apart(window: Page) -> None:
    _, covariance, weights = tensors(CROSSED)
    found = square(compared(window, CROSSED)["averages"]["wasserstein"]["cov"])

    def root(matrix: torch.Tensor) -> torch.Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        return (vectors * values.sqrt()[..., None, :]) @ vectors.mT

    swapped = covariance.mean(0)
    for _ in range(200):
        inner = root(root(covariance) @ swapped @ root(covariance))
        swapped = torch.einsum("m,mij->ij", weights, inner)
    assert (swapped - found).abs().max() > 1e-3


def integrated(experts: list[tuple], name: str, power: float) -> dict[str, float]:
    """Objectives of the mixture or the power mean by SciPy's adaptive cubature."""
    loc, covariance, weights = tensors(experts)
    parts = MultivariateNormal(loc, covariance)
    whole = MixtureSameFamily(Categorical(weights), parts)
    reach = 9 * covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    low, high = (loc - reach).amin(0).numpy(), (loc + reach).amax(0).numpy()

    def logs(points: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        z = torch.as_tensor(points)
        single = parts.log_prob(z[:, None])
        if name == "mixture":
            return whole.log_prob(z), single
        return torch.logsumexp(weights.log() + power * single, -1) / power, single

    def over_the_plane(integrand) -> np.ndarray:
        answer = cubature(integrand, low, high, rtol=1e-8, atol=1e-9, max_subdivisions=20_000)
        assert answer.status == "converged"
        return answer.estimate

    mass = math.log(over_the_plane(lambda z: logs(z)[0].exp().numpy()))

    def integrand(points: np.ndarray) -> np.ndarray:
        log_q, single = logs(points)
        ratio = (log_q - mass)[:, None] - single
        expert = weights * single.exp()
        terms = [
            (log_q - mass).exp() * (weights * ratio).sum(-1),
            -(expert * ratio).sum(-1),
            (weights * (single + (1 - power) * ratio).exp()).sum(-1),
        ]
        return torch.stack(terms, -1).numpy()

    reverse, forward, overlap = over_the_plane(integrand)
    return {
        "reverse": reverse,
        "forward": forward,
        "power": (1 - overlap) / (power * (1 - power)),
    }


@pytest.mark.parametrize(
    ("case", "name", "power"),
    [
        ("axes", "mixture", 0.5),
        ("turned", "mixture", 0.5),
        ("crossed", "mixture", 0.5),
        ("axes", "power-mean", 0.5),
        ("turned", "power-mean", 0.8),
        ("crossed", "power-mean", 0.2),
    ],
)
def test_integrals_are_scipys(window: Page, case: str, name: str, power: float) -> None:
    found = compared(window, CASES[case], power)["averages"][name]["objectives"]
    for key, value in integrated(CASES[case], name, power).items():
        assert found[key] == pytest.approx(value, abs=1e-6), key


@pytest.mark.parametrize("case", ["axes", "turned"])
@pytest.mark.parametrize("name", ["power-mean", "moment-match"])
def test_moments_of_non_gaussian_averages_are_the_packages(
    window: Page, case: str, name: str
) -> None:
    found = compared(window, CASES[case])["averages"][name]
    mean, covariance, _ = packages(CASES[case])[name]
    assert found["mean"] == pytest.approx(mean.tolist(), abs=1e-6)
    # The package keeps variances along the experts' axes, and no covariance between these.
    turn = rotation(CASES[case][0][4])
    along = [(turn.T @ c @ turn).diagonal() for c in (square(found["cov"]), covariance)]
    torch.testing.assert_close(*along, atol=1e-6, rtol=0)


def test_error_under_the_table_is_larger_than_the_error(window: Page) -> None:
    script = """hash => {
      const state = playground.state.read(hash);
      const { averages, error, weights, experts } = playground.comparison.compare(state);
      const { grid, normalised, measure } = playground.quadrature;
      const errors = [0.1, 4].map((step) => {
        const points = grid(experts, step);
        const rule = (logs) => playground.averages.logMixture(logs, weights);
        const other = measure(points, normalised(points, rule), weights, state.power);
        const { reverse, forward } = averages.mixture.objectives;
        return Math.max(Math.abs(other.reverse - reverse), Math.abs(other.forward - forward));
      });
      return [error, ...errors];
    }"""
    for experts in (*CASES.values(), SHARP):
        told, actual, of_a_coarse_grid = window.evaluate(script, address(experts))
        assert actual < told + 1e-11
        assert told < 1e-5
        assert of_a_coarse_grid > 1e-5, "a grid that is too coarse must show"


def test_every_average_that_is_a_barycenter_is_least_in_its_column(window: Page) -> None:
    script = """hash => {
      const { averages } = playground.comparison.compare(playground.state.read(hash));
      return playground.comparison.OBJECTIVES.map((o) => playground.comparison.least(averages, o));
    }"""
    winners = [["log-pool"], ["mixture"], ["wasserstein"], ["power-mean"]]
    rng = np.random.default_rng(0)
    for count in (2, 3, 2, 3, 2, 3):
        low, high = [-2, -1.5, 0.3, 0.3, -180, 0.1], [2, 1.5, 1.5, 1.5, 180, 1]
        experts = [tuple(rng.uniform(low, high).round(3)) for _ in range(count)]
        assert window.evaluate(script, address(experts)) == winners, experts
    same = [(-1.8, -0.5, 1.1, 0.5, 30, 0.7), (1.7, 0.4, 1.1, 0.5, 30, 0.3)]
    assert window.evaluate(script, address(same))[0] == ["log-pool", "wasserstein"]


def test_outline_of_a_density_is_the_ellipse_where_the_density_is_gaussian(window: Page) -> None:
    script = """hash => {
      const { experts } = playground.comparison.expertsOf(playground.state.read(hash));
      const points = playground.quadrature.grid(experts);
      const lines = playground.contours.ofDensity(points, points.logs[0]);
      const { inverse, minus, quadratic } = playground.gaussians;
      const precision = inverse(experts[0].cov);
      const radii = lines.flat().map((z) => quadratic(precision, minus(z, experts[0].mean)) ** 0.5);
      return [lines.length, Math.min(...radii), Math.max(...radii), playground.contours.SHARE];
    }"""
    for experts in CASES.values():
        lines, shortest, longest, share = window.evaluate(script, address(experts))
        assert lines == 1
        assert shortest == pytest.approx(2, abs=0.03)
        assert longest == pytest.approx(2, abs=0.03)
        assert share == pytest.approx(1 - math.exp(-2))


# The address.


def test_state_survives_its_address(window: Page) -> None:
    script = "hash => playground.state.write(playground.state.read(hash))"
    rest = ["", "&power=0.2", "&hide=", "&power=0.8&hide=product,mixture"]
    for experts, more in zip([*CASES.values(), SHARP], rest, strict=True):
        assert window.evaluate(script, address(experts, more)) == address(experts, more)


@pytest.mark.parametrize("hash_", MALFORMED)
def test_address_without_a_state_leaves_the_page_as_it_is(window: Page, hash_: str) -> None:
    assert window.evaluate("hash => playground.state.read(hash)", hash_) is None
    before = numbers(window)
    window.evaluate("hash => { location.hash = hash }", hash_)
    settle(window)
    assert numbers(window) == before


def test_wild_address_is_brought_within_limits(window: Page) -> None:
    wild = "#expert=1e9,-50,1e-9,99,725,-3&expert=0,0,1,1,-190,7&power=40&hide=nobody"
    found = window.evaluate("hash => playground.state.read(hash)", wild)
    first, second = found["experts"]
    assert list(first.values()) == [4.7, -2.7, 0.15, 2.5, 5, 0.01]
    assert list(second.values()) == [0, 0, 1, 1, 170, 1]
    assert (found["power"], found["hidden"]) == (0.95, [])


def test_page_opens_with_the_state_of_its_address(context: BrowserContext, site: str) -> None:
    viewer = Viewer(context, site)
    assert viewer.faults("index.html" + address(CROSSED)) == []
    assert viewer.page.locator(".playground-centre").count() == 3
    shows_the_packages_numbers(viewer.page, CROSSED)
    viewer.page.evaluate("hash => { location.hash = hash }", address(AXES))
    settle(viewer.page)
    shows_the_packages_numbers(viewer.page, AXES)
    viewer.page.close()


# What the reader does.


def settle(window: Page) -> None:
    """Wait until the picture is drawn and the address is renewed."""
    window.evaluate("""async () => {
      for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
      await new Promise((done) => setTimeout(done, 200));
    }""")


def numbers(window: Page) -> dict[str, dict[str, str]]:
    """The table, as it is written."""
    script = """rows => Object.fromEntries(rows.map((row) => [row.dataset.average,
      Object.fromEntries([...row.querySelectorAll('td')].map((cell) =>
        [cell.dataset.objective, cell.firstChild.data]))]))"""
    return window.locator(".playground-table tbody tr").evaluate_all(script)


def shows_the_packages_numbers(window: Page, experts: list[tuple]) -> None:
    table = numbers(window)
    for name, q in full_averages(experts).items():
        for key, value in objectives(experts, q).items():
            decimals = 3 if value < 9.9995 else 2 if value < 99.995 else 1 if value < 999.95 else 0
            assert float(table[name][key]) == pytest.approx(value, abs=0.51 * 10**-decimals), key


def state_of(window: Page) -> list[tuple[float, ...]]:
    settle(window)
    return experts_of(window.url)


def handle(window: Page, expert: int, name: str) -> Locator:
    kind = "centre" if name == "centre" else f"{name} axis"
    return window.get_by_role("slider", name=f"Expert {expert}: {kind}", exact=True)


def middle(handle: Locator) -> tuple[float, float]:
    box = handle.locator(".playground-knob").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_opening_state_is_the_first_experiment_and_that_of_the_static_picture(
    window: Page,
) -> None:
    opening = re.search(r'^opening = "(.+)"$', NOTEBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert opening[1] == links()[0]
    shows_the_packages_numbers(window, experts_of(links()[0]))
    assert window.get_by_role("button", pressed=True).inner_text() == "Number 0"


@pytest.mark.parametrize("name", ["centre", "first", "second"])
def test_a_drag_changes_the_numbers_to_the_packages(window: Page, name: str) -> None:
    before = numbers(window)
    x, y = middle(handle(window, 1, name))
    window.mouse.move(x + 2, y - 2)
    window.mouse.down()
    window.mouse.move(x + 30, y - 40, steps=4)
    window.mouse.up()
    moved = state_of(window)
    assert numbers(window) != before
    shows_the_packages_numbers(window, moved)
    assert middle(handle(window, 1, name)) == pytest.approx((x + 28, y - 38), abs=1)
    opened = experts_of(links()[0])
    assert moved[1] == opened[1], "the other expert stays"
    changed = {k for k in range(6) if moved[0][k] != opened[0][k]}
    assert changed == {"centre": {0, 1}, "first": {2, 4}, "second": {3, 4}}[name]
    window.mouse.move(x, y)
    assert state_of(window) == moved, "a handle that was let go stays"


def test_arrow_keys_move_the_focused_handle(window: Page) -> None:
    (x, y, *_), other = experts_of(links()[0])
    centre = handle(window, 1, "centre")
    centre.focus()
    centre.press("ArrowRight")
    centre.press("ArrowUp")
    assert state_of(window)[0][:2] == pytest.approx((x + 0.1, y + 0.1))
    centre.press("Shift+ArrowLeft")
    centre.press("Shift+ArrowDown")
    moved = state_of(window)
    assert moved[0][:2] == pytest.approx((x + 0.09, y + 0.09))
    assert moved[1] == other
    shows_the_packages_numbers(window, moved)
    assert centre.get_attribute("aria-valuetext") == "horizontal -1.51, vertical -0.21"
    centre.press("a")
    centre.press("Control+ArrowUp")
    assert state_of(window) == moved


def test_every_handle_is_reached_by_the_tab_key(window: Page) -> None:
    window.locator(".playground-buttons button").last.focus()
    seen = []
    for _ in range(8):
        window.keyboard.press("Tab")
        seen.append(window.evaluate("document.activeElement.getAttribute('aria-label')"))
    kinds = ("centre", "first axis", "second axis")
    handles = [f"Expert {m}: {kind}" for m in (1, 2) for kind in kinds]
    assert sorted(filter(lambda label: label in handles, seen)) == sorted(handles)


def test_handles_stay_in_the_picture(window: Page) -> None:
    frame = window.locator(".playground-picture").bounding_box()
    for expert, name in [(1, "centre"), (1, "first"), (2, "second"), (2, "centre")]:
        window.mouse.move(*middle(handle(window, expert, name)))
        window.mouse.down()
        window.mouse.move(frame["x"] + 3 * frame["width"], frame["y"] - 500, steps=3)
        window.mouse.up()
        settle(window)
        for m in (1, 2):
            for kind in ("centre", "first", "second"):
                x, y = middle(handle(window, m, kind))
                assert frame["x"] <= x <= frame["x"] + frame["width"]
                assert frame["y"] <= y <= frame["y"] + frame["height"]


@pytest.fixture(scope="module")
def phone(request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    running: Browser = request.getfixturevalue("browser")
    with running.new_context(**VIEWS["phone"], has_touch=True, is_mobile=True) as opened:
        yield opened


def test_touch_drags_a_handle_and_scrolls_the_page_elsewhere(
    phone: BrowserContext, site: str
) -> None:
    viewer = Viewer(phone, site)
    assert viewer.faults("index.html") == []
    window = viewer.page
    touch = phone.new_cdp_session(window)

    def swipe(x: float, y: float, up: int) -> None:
        for part in range(11):
            kind = "touchMove" if part else "touchStart"
            points = [{"x": x, "y": y - up * part / 10}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            window.wait_for_timeout(16)
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    opened, before = experts_of(links()[0]), numbers(window)
    swipe(*middle(handle(window, 2, "centre")), up=40)
    moved = state_of(window)
    assert window.evaluate("scrollY") == 0
    assert moved[1][1] > opened[1][1] + 0.5
    assert numbers(window) != before

    frame = window.locator(".playground-picture").bounding_box()
    swipe(frame["x"] + 12, frame["y"] + frame["height"] - 12, up=120)
    assert window.evaluate("scrollY") > 50
    assert state_of(window) == moved
    window.close()


def test_experiments_set_their_state_and_show_their_text(window: Page) -> None:
    for k, link in enumerate(links()):
        window.get_by_role("button", name=f"Number {k}", exact=True).click()
        assert state_of(window) == experts_of(link)
        shows_the_packages_numbers(window, experts_of(link))
        assert window.locator(".playground-note").inner_text() == f"Number {k}. Text {k}."
    window.get_by_role("link", name=f"Number {k}.").click()
    handle(window, 1, "centre").press("ArrowUp")
    settle(window)
    assert window.get_by_role("button", pressed=True).count() == 0


def test_experiments_move_where_motion_is_wanted_and_jump_where_it_is_not(
    request: pytest.FixtureRequest, site: str
) -> None:
    running: Browser = request.getfixturevalue("browser")
    drawn = {}
    for wish in ("no-preference", "reduce"):
        with running.new_context(**VIEWS["light"], reduced_motion=wish) as opened:
            viewer = Viewer(opened, site)
            viewer.faults("index.html")
            drawn[wish] = viewer.page.evaluate("""async () => {
              const knob = document.querySelector('.playground-centre'), places = new Set();
              document.querySelectorAll('.playground-buttons button')[1].click();
              for (const start = performance.now(); performance.now() < start + 900; ) {
                await new Promise(requestAnimationFrame);
                places.add(knob.getAttribute('transform'));
              }
              return [...places];
            }""")
            assert state_of(viewer.page) == experts_of(links()[1])
    assert len(drawn["no-preference"]) > 3
    assert len(drawn["reduce"]) <= 2
    assert drawn["reduce"][-1] == drawn["no-preference"][-1]


def test_sliders_set_weights_and_the_power(window: Page) -> None:
    weight = window.get_by_role("slider", name="Weight of expert 1")
    weight.fill("0.25")
    moved = state_of(window)
    assert [row[5] for row in moved] == [0.25, 0.5]
    shows_the_packages_numbers(window, moved)
    assert weight.get_attribute("aria-valuetext") == "share 0.33"
    window.get_by_role("slider", name="Power r").fill("0.2")
    settle(window)
    assert window.url.endswith("&power=0.2")
    expected = compared(window, moved, 0.2)["averages"]["power-mean"]["objectives"]["power"]
    assert float(numbers(window)["power-mean"]["power"]) == pytest.approx(expected, abs=5.1e-4)


def test_third_expert_comes_and_goes(window: Page) -> None:
    window.get_by_role("button", name="Add expert").click()
    moved = state_of(window)
    assert len(moved) == 3
    shows_the_packages_numbers(window, moved)
    window.get_by_role("button", name="Remove expert 3").click()
    assert state_of(window) == moved[:2]
    assert window.locator(".playground-handle").count() == 6


def test_typed_numbers_are_taken_and_impossible_ones_refused(window: Page) -> None:
    window.get_by_text("Type the numbers").click()

    def field(name: str) -> Locator:
        return window.get_by_label(f"Expert 1: {name}")

    typed = {"scale 1": 1.25, "scale 2": 0.8, "correlation": -0.6, "mean 1": 0.7}
    for name, value in typed.items():
        field(name).fill(str(value))
        field(name).press("Enter")
    moved = state_of(window)
    mean, covariance, _ = tensors(moved)
    wanted = torch.tensor([[1.5625, -0.6], [-0.6, 0.64]]).double()
    torch.testing.assert_close(covariance[0], wanted, atol=5e-3, rtol=0)
    assert mean[0, 0] == 0.7
    shows_the_packages_numbers(window, moved)
    for impossible in ("1.5", "-1", ""):
        field("correlation").fill(impossible)
        field("correlation").press("Enter")
        assert state_of(window) == moved


def test_least_number_is_marked_by_more_than_colour(window: Page) -> None:
    cell = window.locator("tr[data-average=log-pool] td[data-objective=reverse]")
    assert cell.text_content().endswith(", least")
    assert int(cell.evaluate("cell => getComputedStyle(cell).fontWeight")) >= 700
    assert "inset" in cell.evaluate("cell => getComputedStyle(cell).boxShadow")
    assert window.locator("td.playground-least").count() == 4


def test_distance_of_a_mixture_is_shown_as_a_bound(window: Page) -> None:
    table = numbers(window)
    assert table["mixture"]["w2"] == f"≥ {table['moment-match']['w2']}"
    # Nothing cheaper than the bound: the exact cost of moving random samples.
    loc, covariance, weights = tensors(experts_of(links()[0]))
    rng = np.random.default_rng(0)
    both = list(zip(loc.numpy(), covariance.numpy(), strict=True))
    mixture = np.concatenate([rng.multivariate_normal(*one, 200) for one in both])
    fresh = [rng.multivariate_normal(*one, 400) for one in both]
    costs = [ot.emd2([], [], ot.dist(mixture, samples)) for samples in fresh]
    cost = weights.numpy() @ costs
    assert cost > float(table["mixture"]["w2"].removeprefix("≥ "))


def test_averages_are_shown_and_hidden(window: Page) -> None:
    drawn = window.locator(".playground-averages path")
    shown = [name for name in AVERAGES if name != "moment-match"]
    read = "paths => paths.map((path) => path.dataset.average)"
    assert drawn.evaluate_all(read) == shown
    window.get_by_role("checkbox", name="product").uncheck()
    window.get_by_role("checkbox", name="moment match").check()
    settle(window)
    assert drawn.evaluate_all(read) == [*shown[1:], "moment-match"]
    assert window.url.endswith("&hide=product")


# The page of the book.


@pytest.fixture(scope="module")
def book() -> Iterator[str]:
    if not (test_rendered_book.HTML / PAGE).is_file():
        pytest.fail("the book is not rendered: run make book")
    with serve(test_rendered_book.HTML) as base:
        yield base


def test_page_of_the_book_is_dragged_without_a_fault(context: BrowserContext, book: str) -> None:
    viewer = Viewer(context, book)
    assert viewer.faults(PAGE + links()[1]) == []
    window = viewer.page
    assert not window.locator(".tag_playground-static").is_visible()
    window.get_by_role("button", name="Two experts").click()
    centre = handle(window, 1, "centre")
    centre.scroll_into_view_if_needed()
    before = numbers(window)
    x, y = middle(centre)
    window.mouse.move(x, y)
    window.mouse.down()
    window.mouse.move(x + 20, y + 20, steps=3)
    window.mouse.up()
    shows_the_packages_numbers(window, state_of(window))
    assert numbers(window) != before
    assert viewer.heard == []
    window.close()


def test_without_scripts_a_picture_and_a_sentence_remain(
    request: pytest.FixtureRequest, book: str
) -> None:
    running: Browser = request.getfixturevalue("browser")
    with running.new_context(**VIEWS["phone"], java_script_enabled=False) as opened:
        page = opened.new_page()
        page.goto(book + PAGE)
        picture = page.locator(".tag_playground-static img")
        assert picture.is_visible()
        assert len(picture.get_attribute("alt")) > 50
        assert "without them it stands still" in page.locator("noscript p").inner_text()


def test_other_pages_do_not_load_its_scripts(book: str) -> None:
    first = extension().SCRIPTS[0]
    text = {
        page: (test_rendered_book.HTML / page).read_text(encoding="utf-8")
        for page in (PAGE, "index.html", "chapters/aggregation/wasserstein.html")
    }
    assert [page for page in text if first in text[page]] == [PAGE]
    assert json.dumps(list(extension().SCRIPTS)) == json.dumps(
        re.findall(r"playground/(\w+\.js)", text[PAGE])
    ), "scripts come in the order in which they need each other"

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from markupsafe import Markup

from gaussian_yolo_node.report import plots
from gaussian_yolo_node.report.bootstrap import Estimate
from gaussian_yolo_node.report.plots import Line

EMPTY = np.empty(0)
ONE = np.array([0.5])
MANY = np.linspace(0, 1, 1300)  # more than any drawing has points, except for single boxes
HOSTILE = [
    r"$\frac{",
    "<script>alert(1)</script>",
    '"><img src=x>',
    "_hidden",
    "日本",
    "#010101",
    'id="x',
    "a\x00b",
    "",
]


def every_plot(values: np.ndarray, name: str = "car") -> dict[str, Markup]:
    lines = [Line(name, values, values), Line("other", values[::-1], values)]
    counts = np.ones(len(values), np.intp)
    bins = values[:: max(1, len(values) // 20)]
    estimates = {name: Estimate(0.5, 0.1, 0.9), "none": Estimate(None), "point": Estimate(0.1)}
    return {
        "precision_recall": plots.precision_recall("a", lines),
        "false_positives": plots.false_positives("a", lines, 0.3),
        "found_against_false": plots.found_against_false("a", lines),
        "iou_against_sigma": plots.iou_against_sigma("a", values, values, bins, bins, bins, bins),
        "reliability": plots.reliability("a", bins, bins, counts[: len(bins)]),
        "sigma_coverage": plots.sigma_coverage("a", values, {name: values}),
        "risk_coverage": plots.risk_coverage("a", lines, lines, "1 - IoU"),
        "age_timeline": plots.age_timeline("a", values, values, values),
        "differences": plots.differences("a", estimates, "difference"),
    }


@pytest.mark.parametrize("values", [EMPTY, ONE, np.full(5, 0.5), MANY], ids=["none", "one", "equal", "many"])
def test_plots_are_well_formed_and_small(values: np.ndarray) -> None:
    for name, svg in every_plot(values).items():
        root = ElementTree.fromstring(svg)
        assert root.attrib["role"] == "img" and root.attrib["aria-label"], name
        assert not root.findall(".//{http://www.w3.org/2000/svg}script")
        assert len(svg) < 200_000, name
        # Only colours that the page sets: text in fixed black would be invisible in dark mode.
        assert "#000000" not in svg and "font-family: inherit" not in svg


@pytest.mark.parametrize("ages", [ONE, np.full(5, 0.5), 20 + MANY], ids=["one", "equal", "many"])
def test_age_histogram(ages: np.ndarray) -> None:
    ElementTree.fromstring(plots.age_histogram("a", ages, {"p50": 0.5, "p99": 0.6}))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text(name: str) -> None:
    line = Line(name, ONE, ONE)
    for svg in (
        plots.precision_recall("a", [line]),
        plots.sigma_coverage("a", ONE, {name: ONE}),
        plots.differences("a", {name: Estimate(0.5)}, name),
    ):
        root = ElementTree.fromstring(svg)
        elements = {element.tag.rsplit("}", 1)[1] for element in root.iter()}
        assert elements <= {"svg", "g", "path", "defs", "use", "clipPath", "rect", "text", "tspan", "image"}
    if name.isprintable() and name.strip():
        assert name in "".join(root.itertext())


def test_equal_data_are_equal_bytes_whatever_the_user_configures() -> None:
    first = every_plot(MANY)
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": None, "lines.linewidth": 9}):
        assert every_plot(MANY) == first


def test_drawing_leaves_the_configuration_alone() -> None:
    before = dict(matplotlib.rcParams)
    every_plot(ONE)
    assert dict(matplotlib.rcParams) == before


def test_ids_belong_to_one_figure_and_are_found() -> None:
    first, second = (plots.precision_recall(name, [Line("car", ONE, ONE)]) for name in ("one", "two"))
    ids = [re.findall(r'\bid="([^"]+)"', svg) for svg in (first, second)]
    assert not set(ids[0]) & set(ids[1])
    for svg, own in zip((first, second), ids, strict=True):
        assert len(own) == len(set(own))
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= set(own)

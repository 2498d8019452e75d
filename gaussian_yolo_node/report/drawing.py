"""Converts matplotlib drawings to SVG inside HTML: equal figures give equal bytes, in the colours of the page.

Colours are drawn as placeholders that become the page's CSS variables, so that one drawing suits light and dark mode.
Text stays text: it can be searched, read aloud and shown in scripts that matplotlib's own font lacks.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from io import StringIO
from typing import Any, Concatenate, ParamSpec

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gaussian_yolo_node.report.page import plain

P = ParamSpec("P")

INK, SOFT, LINE, BAD = "#010101", "#020202", "#030303", "#040404"
COLOURS = tuple(f"#0606{index:02x}" for index in range(7))
# Rasterised points are pixels and cannot use CSS variables: a blue that is visible on white and on black.
RASTER = "#3d8fc4"

# Of report.css.
_VARIABLES = {INK: "ink", SOFT: "soft", LINE: "line", BAD: "bad"} | {
    colour: f"series-{index}" for index, colour in enumerate(COLOURS)
}
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": SOFT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.facecolor": "none",
    "font.size": 9,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "gaussian_yolo",
    "text.color": INK,
    # A dollar sign in a class name is literal.
    "text.parse_math": False,
    "xtick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.color": LINE,
    "ytick.labelcolor": SOFT,
}
_RASTER_DPI = 160
_LONGEST_LABEL = 32
_TAG = re.compile(r"<[^<>]*>")
_ID = re.compile(r'(?:\bid="|\bhref="#|url\(#)')
_HEX = re.compile(r"#0[1-6][0-9a-f]{4}\b")


def draw(
    name: str, describe: str, paint: Callable[[Axes], None], *, inches: tuple[float, float] = (4.9, 3.4)
) -> Markup:
    """Draw an inline SVG.

    Args:
        name: name of the figure, unique in the page: a prefix of its ids.
        describe: text alternative for readers who cannot see the drawing.
        paint: draws on the axes.
        inches: width and height; text is 9 points at this size.
    """
    with _style():
        figure = Figure(figsize=inches, layout="constrained")
        axes = figure.add_subplot()
        axes.set_axisbelow(True)
        paint(axes)
        written = StringIO()
        figure.savefig(written, format="svg", dpi=_RASTER_DPI, metadata={"Date": None, "Creator": None})
    return _inline(written.getvalue(), name, describe)


def drawing(
    describe: str, *, inches: tuple[float, float] = (4.9, 3.4)
) -> Callable[[Callable[Concatenate[Axes, P], None]], Callable[Concatenate[str, P], Markup]]:
    """Make a function that draws on axes one that takes the figure's name instead and returns the SVG; see `draw`."""

    def decorate(paint: Callable[Concatenate[Axes, P], None]) -> Callable[Concatenate[str, P], Markup]:
        @wraps(paint)
        def drawn(name: str, *args: P.args, **kwargs: P.kwargs) -> Markup:
            return draw(name, describe, lambda axes: paint(axes, *args, **kwargs), inches=inches)

        return drawn

    return decorate


def series_label(name: str) -> str:
    """A short name for a legend or an axis, where long names would shrink the drawing."""
    short = name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 1]}…"
    # matplotlib omits labels that are empty or start with an underscore.
    return f" {short}" if short[:1] in ("", "_") else short


@contextmanager
def _style() -> Iterator[None]:
    with matplotlib.rc_context(), warnings.catch_warnings():
        # matplotlib's font only measures the width of the text; the reader's browser has the glyphs.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()  # ignore any matplotlibrc
        matplotlib.rcParams.update(_STYLE)
        yield


def _inline(svg: str, name: str, describe: str) -> Markup:
    """The SVG element only, without the file header, with unique ids."""
    svg = plain(svg[svg.index("<svg") :])
    head, body = svg.split(">", 1)
    view = re.search(r'viewBox="([^"]+)"', head)
    assert view is not None
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = _TAG.sub(lambda match: _HEX.sub(_variable, _ID.sub(lambda prefix: f"{prefix[0]}{name}-", match[0])), body)
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{view[1]}" role="img" aria-label="{escape(plain(describe))}">{body.strip()}'
    )


def _variable(match: re.Match[str]) -> str:
    return f"var(--{_VARIABLES[match[0]]})" if match[0] in _VARIABLES else match[0]

"""The page: templates filled with values, and numbers as a reader expects them.

Names of classes, frames and files come from data, so a template escapes every value that is not `Markup`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gaussian_yolo_node.report.bootstrap import BLOCK_SECONDS, LEVEL, RESAMPLES

MISSING = "–"
_NONCHARACTERS = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_FORBIDDEN = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff{_NONCHARACTERS}]")


def plain(text: str) -> str:
    """Text with characters that HTML forbids or that mislead a reader replaced by U+FFFD.

    HTML forbids control characters and lone surrogates (from undecodable file names). Characters that change the
    writing direction make a name read as another.
    """
    return _FORBIDDEN.sub("\ufffd", text)


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """A number with this many decimals and a proper minus sign; a dash if unknown."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:{'+' if sign else ''},.{digits}f}".replace("-", "−").replace(",", "\u202f")


def percent(value: float | None, digits: int = 1, *, sign: bool = False) -> str:
    """A share 0..1 in percent, without the unit."""
    return number(None if value is None else 100 * value, digits, sign=sign)


def integer(value: float | None) -> str:
    """A whole number, with digits in groups of three."""
    return number(value, 0)


def short(value: float) -> str:
    """A setting, such as a threshold, without trailing zeros."""
    return f"{value:g}"


def share(part: float, whole: float) -> float | None:
    """The ratio; None of nothing."""
    return part / whole if whole else None


def card_value(value: Any, between: str = ", ") -> str:
    """A value from a model's card, of whatever type."""
    if isinstance(value, list | tuple):
        return between.join(f"{each:.4g}" if isinstance(each, float) else card_value(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not reported" if value is None else str(value)


def card_object(value: Any) -> str:
    """An object from a model's card, as indented JSON."""
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)


_TEMPLATES = Environment(
    loader=PackageLoader("gaussian_yolo_node", "report/templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_FILTERS = (number, percent, integer, short, share, card_value, card_object)
_TEMPLATES.filters |= {function.__name__: function for function in _FILTERS}
_TEMPLATES.globals |= {"BLOCK_SECONDS": BLOCK_SECONDS, "LEVEL": LEVEL, "RESAMPLES": RESAMPLES}


def render(name: str, values: Mapping[str, Any]) -> Markup:
    """Fill the template NAME.html.j2; a value that it uses and does not get is an error."""
    return Markup(plain(_TEMPLATES.get_template(f"{name}.html.j2").render(values)))


@dataclass(frozen=True)
class Section:
    """A section of the report, with an entry in the table of contents.

    Attributes:
        name: of its template, and the id that links point to.
        title: heading.
        values: what the template shows.
    """

    name: str
    title: str
    values: Mapping[str, Any]

    @property
    def content(self) -> Markup:
        """The body."""
        return render(self.name, self.values)


def page(title: str, subtitle: str, sections: Iterable[Section]) -> Markup:
    """The whole document.

    Args:
        title: of the window and the first heading.
        subtitle: the line below it.
        sections: in reading order.
    """
    return render("page", {"title": title, "subtitle": subtitle, "sections": list(sections)})

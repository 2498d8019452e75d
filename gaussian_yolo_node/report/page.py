"""HTML that its contents cannot break: text is escaped unless it was made here.

Names of classes, frames and files come from data. Everything that is not `Html` is treated as text.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gaussian_yolo_node.report.style import CSS

# The page is a single file: it may load nothing and run nothing. Pictures are data URIs, styles are inline.
SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

_VOID = {"br", "hr", "img", "meta"}
MISSING = "–"
_NONCHARACTERS = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_FORBIDDEN = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff{_NONCHARACTERS}]")


class Html(str):
    """Finished markup; any other string is text."""

    __slots__ = ()


Content = str | int


def tag(name: str, *content: Content, **attributes: str | int | None) -> Html:
    """An element.

    Args:
        name: name of the element.
        content: `Html` unchanged, anything else as escaped text.
        attributes: a trailing underscore is dropped (`class_`), other underscores become hyphens; None omits an
            attribute.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(*content)}</{name}>")


def join(*content: Content) -> Html:
    """Concatenate contents."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in content))


def escape(text: Content) -> str:
    """Escape text for the inside of an element or of a quoted attribute."""
    return html.escape(plain(str(text)), quote=True)


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


def count(value: float) -> str:
    """A whole number, with digits in groups of three."""
    return number(value, 0)


def table(
    headings: Sequence[Content], rows: Iterable[Sequence[Content]], *, caption: Content = "", text_columns: int = 1
) -> Html:
    """A table.

    Args:
        headings: column headings.
        rows: cells.
        caption: what the rows show.
        text_columns: number of text columns at the left; the others are numbers.
    """
    kinds = ["words" if index < text_columns else None for index in range(len(headings))]
    head = tag("tr", *(tag("th", text, scope="col", class_=kind) for text, kind in zip(headings, kinds, strict=True)))
    body = [tag("tr", *(tag("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True))) for row in rows]
    # A paragraph instead of the table's own caption: on a phone only the table should scroll.
    legend = [tag("p", caption, class_="caption")] if caption else []
    scrolled = tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="wide")
    return tag("div", *legend, scrolled, class_="tabular")


def pairs(rows: Iterable[tuple[Content, Content]]) -> Html:
    """A list of names and their values."""
    return tag("dl", *(join(tag("dt", name), tag("dd", value)) for name, value in rows))


def paragraphs(texts: Iterable[Content]) -> Html:
    """One paragraph each."""
    return join(*(tag("p", text) for text in texts))


def bullets(texts: Iterable[Content]) -> Html:
    """A list."""
    return tag("ul", *(tag("li", text) for text in texts))


@dataclass(frozen=True)
class Section:
    """A section of the report, with an entry in the table of contents.

    Attributes:
        anchor: the id that links point to.
        title: heading.
        content: body.
    """

    anchor: str
    title: str
    content: Html


def page(title: str, subtitle: Content, sections: Sequence[Section]) -> str:
    """The whole document.

    Args:
        title: of the window and the first heading.
        subtitle: the line below it.
        sections: in reading order.
    """
    contents = tag("ol", *(tag("li", tag("a", each.title, href=f"#{each.anchor}")) for each in sections))
    body = join(
        tag("header", tag("h1", title), tag("p", subtitle, class_="subtitle")),
        tag("nav", tag("h2", "Contents"), contents, aria_label="Contents"),
        tag("main", *(tag("section", tag("h2", each.title), each.content, id=each.anchor) for each in sections)),
    )
    head = join(
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=SECURITY_POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(CSS)),
        # Otherwise a browser requests /favicon.ico when a web server serves the report.
        Html('<link rel="icon" href="data:,">'),
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'

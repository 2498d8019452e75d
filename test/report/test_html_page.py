from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

from gaussian_yolo_node.report.page import (
    Html,
    Section,
    count,
    escape,
    join,
    number,
    page,
    pairs,
    percent,
    table,
    tag,
)

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "&lt;b&gt; &amp; &#60;",
    "</title></style></table>",
    "javascript:alert(1)",
    "{{7*7}} ${7*7} %s {0}",
    "\x00\x1b[31m\x7f\x9b",
    "\udcff undecodable",
    "abc\u202efdp.exe",
    "\ufffe \uffff",
    "",
]


class Reader(HTMLParser):
    """Elements and text as a browser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("name", HOSTILE)
def test_text_is_text_wherever_it_stands(name: str) -> None:
    seen = Reader(join(tag("p", name, title=name), table([name], [[name]], caption=f"{name}."), pairs([(name, name)])))

    assert {element for element, _ in seen.elements} == {
        "p", "div", "table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd",
    }  # fmt: skip
    assert all(attribute in ("title", "class", "scope") for _, given in seen.elements for attribute in given)
    assert "\x00" not in seen.text and "\u202e" not in seen.text


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_can_be_written_whatever_a_name_is(name: str) -> None:
    written = page(name, name, [Section("a", name, tag("p", name))]).encode("utf-8")

    elements = [element for element, _ in Reader(written.decode()).elements]
    assert elements.count("script") == elements.count("img") == elements.count("svg") == 0
    assert elements.count("style") == elements.count("title") == 1


def test_plain_text_comes_back() -> None:
    name = "traffic light <\"&'> 日本 ümläut\nnext"
    assert Reader(tag("p", name)).text == name
    assert Reader(tag("p", title=name)).elements[0][1]["title"] == name


def test_strings_made_from_markup_are_text_again() -> None:
    assert "&lt;b&gt;" in tag("p", tag("b", "x") + "y")
    assert join(Html("<b>"), "<b>") == "<b>&lt;b&gt;"


def test_the_page_forbids_itself_everything() -> None:
    written = page("title", "subtitle", [Section("first", "First", tag("p", "text"))])

    metas = [given for element, given in Reader(written).elements if element == "meta"]
    policy = next(given["content"] for given in metas if given.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")
    assert "script-src" not in policy and "http" not in policy
    assert ("a", {"href": "#first"}) in Reader(written).elements
    assert any(given.get("id") == "first" for _, given in Reader(written).elements)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(1.005, 1), "1.0"),
        (number(-0.5), "−0.50"),
        (number(0.5, sign=True), "+0.50"),
        (number(12345.6, 0), "12\u202f346"),
        (number(None), "–"),
        (number(float("nan")), "–"),
        (number(float("inf")), "–"),
        (number(np.float64(2)), "2.00"),
        (percent(0.1234), "12.3"),
        (percent(None), "–"),
        (percent(-0.01, sign=True), "−1.0"),
        (count(0), "0"),
        (count(1234567), "1\u202f234\u202f567"),
    ],
)
def test_numbers(shown: str, expected: str) -> None:
    assert shown == expected


def test_escape_keeps_what_html_may_hold() -> None:
    assert escape("a\tb\nc\u00a0d") == "a\tb\nc\u00a0d"
    assert escape(3) == "3"

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from gaussian_yolo_node.report.page import Section, integer, number, page, percent, plain, render
from gaussian_yolo_node.report.pictures import Pictures
from gaussian_yolo_node.report.worst import WorstFrame

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


def sections_with(name: str) -> list[Section]:
    """Sections in which a name is a cell, a caption, a definition, an item, preformatted text and an attribute."""
    told = dict.fromkeys(("name", "classes", "variance_vote"), name) | {"training": {name: [name]}}
    pictures = Pictures({name: WorstFrame(0, 1, 2)}, {name: "data:image/jpeg;base64,"}, False, (name,))
    return [
        Section("detections", "a", {"frames": 1, "counts": [(name, 1)]}),
        Section("model", "b", {"model": told, "model_hash": name}),
        Section("signature", "c", {"files": {name: name}}),
        Section("worst", "d", {"pictures": pictures, "threshold": 0.5, "apart_s": 1.0}),
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_text_is_text_wherever_it_stands(name: str) -> None:
    seen = Reader("".join(section.content for section in sections_with(name)))

    assert {element for element, _ in seen.elements} == {
        "p", "div", "table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd", "ul", "li", "code", "pre", "details",
        "summary", "figure", "img", "figcaption", "strong",
    }  # fmt: skip
    assert all(attribute in ("class", "scope", "src", "alt") for _, given in seen.elements for attribute in given)
    assert seen.text.count(plain(name)) >= 9
    assert [given["alt"] for element, given in seen.elements if element == "img"] == [
        f"Frame {plain(name)} with detections and objects"
    ]
    assert "\x00" not in seen.text and "\u202e" not in seen.text


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_can_be_written_whatever_a_name_is(name: str) -> None:
    written = page(name, name, [Section("signature", name, {"files": {name: name}})]).encode("utf-8")

    elements = [element for element, _ in Reader(written.decode()).elements]
    assert elements.count("script") == elements.count("img") == elements.count("svg") == 0
    assert elements.count("style") == elements.count("title") == 1


def test_plain_text_comes_back() -> None:
    name = "traffic light <\"&'> 日本 ümläut\nnext"
    seen = Reader("".join(section.content for section in sections_with(name)))
    assert seen.text.count(name) >= 9
    assert any(given.get("alt") == f"Frame {name} with detections and objects" for _, given in seen.elements)


def test_strings_made_from_markup_are_text_again() -> None:
    written = render("signature", {"files": {str(Markup("<b>x</b>")): Markup("<b>") + "<i>"}})
    assert "&lt;b&gt;x" in written
    assert "<b>&lt;i&gt;" in written


def test_no_template_trusts_a_value() -> None:
    templates = [path for path in (files("gaussian_yolo_node.report") / "templates").iterdir() if path.suffix == ".j2"]
    assert len(templates) > 10
    assert not any(re.search(r"\|\s*safe|autoescape", path.read_text(encoding="utf-8")) for path in templates)


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="files"):
        render("signature", {})


def test_the_page_forbids_itself_everything() -> None:
    written = page("title", "subtitle", [Section("signature", "Signature", {"files": {}})])

    metas = [given for element, given in Reader(written).elements if element == "meta"]
    policy = next(given["content"] for given in metas if given.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")
    assert "script-src" not in policy and "http" not in policy
    assert ("a", {"href": "#signature"}) in Reader(written).elements
    assert any(given.get("id") == "signature" for _, given in Reader(written).elements)


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
        (integer(0), "0"),
        (integer(1234567), "1\u202f234\u202f567"),
    ],
)
def test_numbers(shown: str, expected: str) -> None:
    assert shown == expected


def test_what_html_may_hold_is_kept() -> None:
    written = render("model", {"model": {}, "model_hash": "a\tb\nc\u00a0d"})
    assert "a\tb\nc\u00a0d" in written
    assert "<dd>3</dd>" in render("model", {"model": {}, "model_hash": 3})

"""The checker of settings: types, ranges, unknown and missing fields, nested sections."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from gaussian_yolo_node.errors import GaussianYoloError, SettingError
from gaussian_yolo_node.settings import DISTINCT, Count, Fraction, Must, bounds, check, option, read

Even = Annotated[tuple[int, int], "height and width,", Must("even numbers", lambda size: not any(s % 2 for s in size))]
Names = Annotated[tuple[str, ...], DISTINCT]


class SectionError(GaussianYoloError):
    """Raised by the sections of the tests."""


@dataclass(frozen=True)
class Section:
    rate: Fraction
    size: Even = (2, 4)
    limit: Annotated[float, bounds(above=0, most=math.inf)] = math.inf
    count: Count | None = None

    def __post_init__(self) -> None:
        if self.count == 13:
            raise SectionError("section.count brings bad luck")


@dataclass(frozen=True)
class Document:
    name: str
    section: Section
    mode: Literal["fast", "slow"] = "fast"
    flag: bool = False
    names: Names = ()
    pairs: tuple[tuple[float, float], ...] = ()
    sections: tuple[Section, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)
    optional: Section | None = None
    file: Path | None = None


def document(**changes: Any) -> dict[str, Any]:
    return {"name": "n", "section": {"rate": 0.5}, **changes}


def test_everything_is_read() -> None:
    values = document(
        mode="slow", flag=True, names=["a", "b"], pairs=[[1, 2.5], []][:1], sections=[{"rate": 0}],
        scores={"x": 1}, free={"list": [1, {"a": None}]}, optional={"rate": 0.25, "size": [6, 8]}, file="f.txt",
    )  # fmt: skip
    values["section"] |= {"limit": math.inf, "count": 3}
    assert read(Document, values, "d.yaml", SettingError) == Document(
        "n", Section(0.5, count=3), "slow", True, ("a", "b"), ((1, 2.5),), (Section(0),), {"x": 1},
        {"list": [1, {"a": None}]}, Section(0.25, (6, 8)), Path("f.txt"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([], "the document must be a mapping, not []"),
        (None, "the document must be a mapping, not None"),
        ({"section": {}}, "name is missing; it must be a text"),
        ({"name": "n"}, "section is missing; it must be a mapping"),
        (document(section={}), "section.rate is missing; it must be a number at least 0 and below 1"),
        (document(section=[1]), "section must be a mapping, not [1]"),
        (document(section=None), "section must be a mapping, not None"),
        (document(section={"rates": 1}), "unknown field section.rates; did you mean rate?"),
        (document(colour=1), "unknown field colour; known: name, section, mode, flag, names, pairs"),
        ({**document(), 3: 1}, "unknown field 3; known: name"),
        (document(name=3), "name must be a text, not 3"),
        (document(name=None), "name must be a text, not None"),
        (document(flag=1), "flag must be true or false, not 1"),
        (document(mode="slower"), "mode must be one of fast, slow, not 'slower'"),
        (document(mode=["fast"]), "mode must be one of fast, slow, not ['fast']"),
        (document(section={"rate": True}), "section.rate must be a number at least 0 and below 1, not True"),
        (document(section={"rate": "0.5"}), "section.rate must be a number at least 0 and below 1, not '0.5'"),
        (document(section={"rate": 1}), "section.rate must be a number at least 0 and below 1, not 1"),
        (document(section={"rate": math.nan}), "section.rate must be a number at least 0 and below 1, not nan"),
        (document(section={"rate": 0, "limit": 0}), "section.limit must be a number above 0, not 0"),
        (document(section={"rate": 0, "count": 0}), "section.count must be a whole number at least 1, not 0"),
        (document(section={"rate": 0, "count": 1.0}), "section.count must be a whole number at least 1, not 1.0"),
        (document(section={"rate": 0, "count": 13}), "section.count brings bad luck"),
        (document(section={"rate": 0, "size": [2]}), "section.size must be height and width, even numbers, not [2]"),
        (document(section={"rate": 0, "size": [2, 3]}), "section.size must be height and width, even numbers, not"),
        (document(section={"rate": 0, "size": [2, "4"]}), "section.size[1] must be a whole number, not '4'"),
        (document(names="ab"), "names must be a list without repetition, not 'ab'"),
        (document(names=["a", "a"]), "names must be a list without repetition, not ['a', 'a']"),
        (document(pairs=[[1, 2], [3]]), "pairs[1] must be a list of 2, not [3]"),
        (document(sections=[{"rate": 0}, {"rate": -1}]), "sections[1].rate must be a number at least 0 and below 1"),
        (document(scores={"x": "y"}), "scores.x must be a number, not 'y'"),
        (document(free=[]), "free must be a mapping, not []"),
        (document(optional={"rate": 0, "size": 3}), "optional.size must be height and width, even numbers, not 3"),
        (document(file=3), "file must be a path, not 3"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_what_it_may_be(change: Any, message: str) -> None:
    with pytest.raises(SectionError) as caught:
        read(Document, change, "d.yaml", SectionError)
    assert str(caught.value).startswith(f"d.yaml: {message}")


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "words"),
    [
        ({"least": 1}, (1, 1e300), (0, math.inf, math.nan), "at least 1"),
        ({"above": 0}, (1e-9,), (0, -1, math.inf), "above 0"),
        ({"least": 0, "most": 1}, (0, 1), (-0.1, 1.1, math.nan), "at least 0 and at most 1"),
        ({"above": 0, "most": math.inf}, (1, math.inf), (0, math.nan), "above 0"),
        ({"below": 1}, (-5, 0.9), (1, math.nan), "below 1"),
        ({}, (0, -1e300), (math.inf, math.nan), ""),
    ],
)
def test_bounds(limits: dict[str, float], inside: tuple[float, ...], outside: tuple[float, ...], words: str) -> None:
    must = bounds(**limits)
    assert must.words == words
    assert all(map(must.holds, inside)) and not any(map(must.holds, outside))


def test_settings_made_in_code_are_named_as_their_options() -> None:
    @dataclass(frozen=True)
    class Options:
        most_frames: Count = 1

        def __post_init__(self) -> None:
            check(self, SectionError, option)

    assert Options(2).most_frames == 2
    with pytest.raises(SectionError, match=r"^--most-frames must be a whole number at least 1, not 0$"):
        Options(0)

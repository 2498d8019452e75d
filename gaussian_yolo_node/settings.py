"""Settings as dataclasses: their annotations say which values are allowed.

A field is a number, a text, a path, a `Literal`, a tuple, a mapping, another dataclass, or one of these or None.
`Annotated` adds a condition, or a text that describes the value better than its type does:

    batch_size: Annotated[int, bounds(least=1)] = 8
    strides: Annotated[tuple[int, ...], "a list of strides in px,", Must("coarsest first", is_descending)]
"""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from gaussian_yolo_node.errors import GaussianYoloError, SettingError

Settings = TypeVar("Settings")
Failure = Callable[[str], GaussianYoloError]
# Values in messages.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}


@dataclass(frozen=True)
class Must:
    """A condition on a value of the annotated type, and its words: "must be a number WORDS".

    Annotations with one stand outside of classes, because names of a module are unknown to a lambda in a class.
    """

    words: str
    holds: Callable[[Any], bool]


def bounds(*, least: Any = None, above: Any = None, most: Any = None, below: Any = None) -> Must:
    """A range of numbers, which are finite unless `most` is infinite."""
    given = {"at least": least, "above": above, "at most": most, "below": below}
    tests = {"at least": operator.ge, "above": operator.gt, "at most": operator.le, "below": operator.lt}
    limits = {words: limit for words, limit in given.items() if limit is not None}
    words = " and ".join(f"{words} {limit:g}" for words, limit in limits.items() if limit != math.inf)
    if most is None:
        limits.setdefault("below", math.inf)
    return Must(words, lambda value: all(tests[words](value, limit) for words, limit in limits.items()))


Count = Annotated[int, bounds(least=1)]
Natural = Annotated[int, bounds(least=0)]
Positive = Annotated[float, bounds(above=0)]
NotNegative = Annotated[float, bounds(least=0)]
Probability = Annotated[float, bounds(least=0, most=1)]
Fraction = Annotated[float, bounds(least=0, below=1)]
DISTINCT = Must("without repetition", lambda values: len(set(values)) == len(values))


def read(kind: type[Settings], values: object, source: object, failure: Failure) -> Settings:
    """The dataclass `kind` from a parsed document, with lists as tuples.

    Args:
        source: the document's file, for messages.

    Raises:
        GaussianYoloError: of `failure`; one sentence that names the source, the field, and what it may be.
    """
    try:
        built: Settings = _build(kind, values, "")
    except GaussianYoloError as error:
        raise failure(f"{source}: {error}") from error
    return built


def check(settings: Any, failure: Failure, name: Callable[[str], str] = str) -> None:
    """Check settings that are made in code; call it in their `__post_init__`.

    Args:
        name: what messages call a field.

    Raises:
        GaussianYoloError: as in `read`.
    """
    try:
        for field, kind in _kinds(type(settings)):  # type: ignore[arg-type]  # a class can be hashed
            _converted(kind, getattr(settings, field), name(field))
    except SettingError as error:
        raise failure(str(error)) from error


def option(field: str) -> str:
    """The command-line option of a field."""
    return f"--{field.replace('_', '-')}"


@cache
def _kinds(settings: type) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(settings, include_extras=True)
    return tuple((field.name, hints[field.name]) for field in fields(settings))


def _build(kind: Any, values: object, where: str) -> Any:
    if not isinstance(values, Mapping):
        raise SettingError(f"{where or 'the document'} must be a mapping, not {_SHORT.repr(values)}")
    known, prefix = dict(_kinds(kind)), f"{where}." if where else ""
    for name in values:
        if name not in known:
            near = get_close_matches(str(name), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise SettingError(f"unknown field {prefix}{name}; {hint}")
    for field in fields(kind):
        if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise SettingError(f"{prefix}{field.name} is missing; it must be {_words(known[field.name])}")
    return kind(**{name: _converted(known[name], value, prefix + name) for name, value in values.items()})


def _converted(kind: Any, value: Any, where: str, words: str = "") -> Any:
    """`value` as `kind`; `words` describe it where it is a part of an `Annotated`."""
    origin, members = get_origin(kind), get_args(kind)

    def refuse() -> NoReturn:
        raise SettingError(f"{where} must be {words or _words(kind)}, not {_SHORT.repr(value)}")

    if origin is Annotated:
        words = _words(kind)
        converted = _converted(members[0], value, where, words)
        if not all(each.holds(converted) for each in members[1:] if isinstance(each, Must)):
            refuse()
        return converted
    if origin in (Union, UnionType):
        return None if value is None else _converted(members[0], value, where, words)
    if origin is tuple:
        if not isinstance(value, list | tuple) or (members[-1] is not Ellipsis and len(value) != len(members)):
            refuse()
        each = members[:1] * len(value) if members[-1] is Ellipsis else members
        return tuple(
            _converted(one, item, f"{where}[{i}]") for i, (one, item) in enumerate(zip(each, value, strict=True))
        )
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {key: _converted(members[1], item, f"{where}.{key}") for key, item in value.items()}
    if is_dataclass(kind):
        return value if isinstance(value, kind) else _build(kind, value, where)  # type: ignore[arg-type]
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind is Any or (origin is Literal and value in members):
        return value
    flag = isinstance(value, bool) and kind is not bool
    if flag or kind not in _PLAIN or not isinstance(value, int | float if kind is float else kind):
        refuse()
    return value


def _words(kind: Any) -> str:
    origin, members = get_origin(kind), get_args(kind)
    if origin is Annotated:
        words = [each for each in members[1:] if isinstance(each, str)] or [_words(members[0])]
        return " ".join([*words, *(each.words for each in members[1:] if isinstance(each, Must) and each.words)])
    if origin in (Union, UnionType):
        return _words(members[0])
    if origin is Literal:
        return f"{'one of ' if len(members) > 1 else ''}{', '.join(map(str, members))}"
    if origin is tuple:
        return "a list" if members[-1] is Ellipsis else f"a list of {len(members)}"
    if is_dataclass(kind):
        needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
        return f"a mapping with {', '.join(needed)}" if needed else "a mapping"
    return _PLAIN.get(kind, "a mapping")

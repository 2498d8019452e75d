"""Read JSON and YAML that others wrote: what a document may cost is limited, and what is wrong with it is one sentence.

Python's own readers raise errors of many kinds for odd input, read an integer of any length in quadratic time, and
let a document nest so deeply, or repeat itself so often, that a walk through it fails.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import yaml

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.text_files import NotTextError, decode_text

Failure = Callable[[str], GaussianYoloError]

# Lists and mappings inside each other. The deepest document of the formats read here, Scalabel's labels, has 8.
MOST_LEVELS = 64
# Digits of an integer, far more than an id or a hash has; the time to read one grows with their square.
MOST_DIGITS = 1000
# Bytes of a JSON file. The largest label files in use, those of BDD100K, have about 1.3 GB.
MOST_JSON_BYTES = 2 << 30
# Bytes of a YAML file, which takes about 10 s per MB to parse. Recipes have a few KB, and the metadata of a bag of
# 4,000 files 1 MB.
MOST_YAML_BYTES = 1 << 20
# Values of a YAML file with all of its aliases written out: more than 1 MB can hold without aliases.
MOST_YAML_VALUES = 1_000_000

_BLOCK = 1 << 20  # bytes per read
# What the parsers raise; PyYAML also for values that only look like dates and numbers.
_UNPARSED = (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, OverflowError)
_TOO_DEEP = f"it nests more than {MOST_LEVELS} levels deep"


class DocumentError(GaussianYoloError):
    """A document cannot be read; the message names its file and what is wrong."""


def read_json(path: Path, what: str = "", failure: Failure = DocumentError) -> Any:
    """The JSON document in a file.

    Args:
        what: stands before the path in messages ("predictions file").

    Raises:
        GaussianYoloError: of `failure`; the file does not exist, or is no JSON within the limits of this module.
    """
    return parse_json(_content(path, what, MOST_JSON_BYTES, failure), _named(what, path), failure)


def parse_json(text: str | bytes, source: object, failure: Failure = DocumentError) -> Any:
    """The JSON document in a text; `source` names it in messages. Raises as `read_json`."""
    return _parsed(partial(json.loads, parse_int=_integer), text, None, f"{source} is not JSON", failure)


def read_yaml(path: Path, what: str = "", failure: Failure = DocumentError) -> Any:
    """The YAML document in a file; see `read_json`."""
    return parse_yaml(_content(path, what, MOST_YAML_BYTES, failure), _named(what, path), failure)


def parse_yaml(text: str | bytes, source: object, failure: Failure = DocumentError) -> Any:
    """The YAML document in a text; `source` names it in messages. Raises as `read_json`."""
    return _parsed(partial(yaml.load, Loader=_Loader), text, MOST_YAML_VALUES, f"{source} is not valid YAML", failure)


def _parsed(
    parse: Callable[[str], Any], text: str | bytes, most_values: int | None, refusal: str, failure: Failure
) -> Any:
    try:
        document = parse(decode_text(text) if isinstance(text, bytes) else text)
        _check_levels(document, most_values)
    except NotTextError as error:
        raise failure(f"{refusal}: it is {error}") from error
    except RecursionError as error:
        raise failure(f"{refusal}: {_TOO_DEEP}") from error
    except _UNPARSED as error:
        raise failure(f"{refusal}: {_one_line(error)}") from error
    return document


def _content(path: Path, what: str, most_bytes: int, failure: Failure) -> bytes:
    content = bytearray()
    try:
        with path.open("rb") as file:
            # A pipe has no size.
            too_large = os.fstat(file.fileno()).st_size > most_bytes
            while not too_large and (block := file.read(_BLOCK)):
                content += block
                too_large = len(content) > most_bytes
    except OSError as error:
        raise failure(f"{_named(what, path)} cannot be read: {error.strerror or error}") from error
    if too_large:
        raise failure(f"{_named(what, path)} is larger than {most_bytes >> 20} MB, the most that is read")
    return bytes(content)


def _named(what: str, path: Path) -> str:
    return f"{what} {path}".strip()


def _integer(digits: str) -> int:
    _check_digits(digits)
    return int(digits)


def _check_digits(digits: str) -> None:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits, and at most {MOST_DIGITS} are read")


def _check_levels(document: Any, most_values: int | None) -> None:
    """Raise ValueError for a document that nests too deeply, or has too many values with its aliases written out."""
    level, values = [document], 0
    for _ in range(MOST_LEVELS + 1):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict | list):
                children = each.values() if isinstance(each, dict) else each
                values += len(each)
                if most_values is not None and values > most_values:
                    raise ValueError(f"with its aliases written out it has more than {most_values} values")
                inner += [child for child in children if isinstance(child, dict | list)]
        if not inner:
            return
        level = inner
    raise ValueError(_TOO_DEEP)


def _one_line(error: Exception) -> str:
    """What is wrong, without the quoted lines of PyYAML and at most as long as a line of text."""
    known = isinstance(error, yaml.YAMLError | ValueError)
    words = " ".join(str(error).split()) if known else "a value is none of the type that it is marked as"
    return words if len(words) <= 200 else f"{words[:200]} ..."


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader within the limits of this module."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._level = 0
        self._merged = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._level += 1
        if self._level > MOST_LEVELS:
            raise ValueError(_TOO_DEEP)
        node = super().compose_node(parent, index)
        self._level -= 1
        return node

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        # A mapping that merges others has the pairs of all of them, and may be merged again.
        self._merged += len(node.value)
        if self._merged > MOST_YAML_VALUES:
            raise ValueError(f"its mappings merge more than {MOST_YAML_VALUES} values")

    def construct_yaml_int(self, node: Any) -> int:
        if isinstance(node, yaml.ScalarNode):
            _check_digits(node.value)
        return int(super().construct_yaml_int(node))

    def construct_undefined(self, node: Any) -> NoReturn:
        raise ValueError(f"the tag {node.tag!r} is not read")


# The constructors of the base class are found by its table, not by name.
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor(None, _Loader.construct_undefined)

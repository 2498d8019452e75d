"""Message definitions in bags: parsed, and refused if the code made of them would take minutes or gigabytes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.interfaces.typing import Typesdict
from rosbags.typesys import TypesysError, get_types_from_idl, get_types_from_msg

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.bags.storage import Channel

# Characters of the definition of a type with those of its parts. The longest in use have about 60,000.
_MOST_CHARACTERS = 256 << 10
# Brackets inside each other in an IDL, for each of which the parser calls itself.
_MOST_BRACKETS = 16
# A constant that is computed, in an IDL: parentheses multiply the time to parse it, and shifts its digits. Recorders
# write values.
_COMPUTED = re.compile(r"=[^;,){}]*\(|<<")
# Types inside each other.
_MOST_LEVELS = 32
# Fields of a type itself; rosbags writes code for each. Values of a message with those of its parts, which are read
# even where they have no bytes.
_MOST_FIELDS, _MOST_VALUES = 2_000, 20_000
# Items of all arrays of fixed length in a bag that are not of numbers; rosbags writes code for each of them.
_MOST_ITEMS = 1_000
# Numbers in an array of fixed length, which are read at once.
_MOST_NUMBERS = 256 << 20
# Names end up in generated code.
_NAME = re.compile(r"[A-Za-z]\w*(/[A-Za-z]\w*)*", re.ASCII)
# Texts and comments of an IDL.
_NOT_CODE = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
# Separator between the parts of an IDL definition, as written by rosbag2.
_IDL_RULE = "=" * 80 + "\n"
_UNPARSED = (TypesysError, ValueError, AttributeError, AssertionError, LookupError, TypeError, OverflowError)


def parse_definition(channel: Channel) -> Typesdict:
    """The types that a channel's definition contains; none if it cannot be parsed. BagError if it is longer or nests
    more deeply than those of recorders."""
    text = channel.definition
    if len(text) > _MOST_CHARACTERS:
        raise _refusal(channel.type, f"it has {len(text)} characters, and at most {_MOST_CHARACTERS} are read")
    if channel.definition_format in ("ros2idl", "omgidl"):
        bare = _NOT_CODE.sub("", text)
        if _depth(bare) > _MOST_BRACKETS:
            raise _refusal(channel.type, f"its brackets nest more than {_MOST_BRACKETS} levels deep")
        if _COMPUTED.search(bare):
            raise _refusal(channel.type, "it computes a constant")
    try:
        return _parse(channel)
    except _UNPARSED:
        return {}
    except RecursionError as error:
        raise _refusal(channel.type, "it nests too deeply") from error


def check_types(types: Mapping[str, Any], *, ros1: bool) -> None:
    """Check that reading a message of these types takes time and memory of the message's length. BagError if a type
    contains itself or very many values, or has a constant or name that is none."""
    sizes: dict[str, tuple[int, int]] = {}
    items = 0

    def measure(name: str, level: int) -> tuple[int, int]:
        """Values of a type, and the least bytes of it; a type that the bag does not define has one."""
        if name not in types:
            return 1, 1
        if name in sizes:
            return sizes[name]
        if level > _MOST_LEVELS:
            raise _refusal(name, f"it contains itself, or types more than {_MOST_LEVELS} levels deep")
        constants, fields = types[name]
        for constant, _, value in constants:
            if not isinstance(value, int | float | str) or value in (math.inf, -math.inf) or value != value:
                raise _refusal(name, f"its constant {constant} is no value")
            if isinstance(value, int) and abs(value) >> 64:
                raise _refusal(name, f"its constant {constant} is not a number of 64 bits")
        if not all(_NAME.fullmatch(each) for each in (name, *(entry[0] for entry in (*constants, *fields)))):
            raise _refusal(name, "it has a name that is none")
        if len(fields) > _MOST_FIELDS:
            raise _refusal(name, f"it has {len(fields)} fields, and at most {_MOST_FIELDS} are read")
        values, least = 1, 0 if ros1 or fields else 1
        for field, kind in fields:
            try:
                some, bytes_ = of_field(kind, level)
            except ValueError as error:
                raise _refusal(name, f"its field {field} {error}") from error
            values, least = values + some, least + bytes_
        if values > _MOST_VALUES:
            raise _refusal(name, f"a message has more than {_MOST_VALUES} values")
        sizes[name] = values, least
        return sizes[name]

    def of_field(kind: Any, level: int) -> tuple[int, int]:
        node, details = kind
        if node == Nodetype.BASE:
            return 1, 1
        if node == Nodetype.NAME:
            return measure(details, level + 1)
        nonlocal items
        item, length = details
        values, least = of_field(item, level)
        if node == Nodetype.SEQUENCE:
            if not least:
                raise ValueError("is a list of items without bytes")
            return 1 + values, 4
        if item[0] == Nodetype.BASE and item[1][0] not in ("string", "wstring"):
            if length > _MOST_NUMBERS:
                raise ValueError(f"has {length} numbers, and at most {_MOST_NUMBERS} are read")
            return 1, length
        items += length
        if items > _MOST_ITEMS:
            raise ValueError(f"is an array of {length}, and all arrays of fixed length may have {_MOST_ITEMS} items")
        return length * values, length * least

    for name in types:
        measure(name, 0)


def _refusal(name: str, why: str) -> BagError:
    return BagError(f"the definition of {name[:100]} is refused: {why}")


def _depth(text: str) -> int:
    """How deeply the brackets of a text nest, at most."""
    level = deepest = 0
    for character in text:
        if character in "{([<":
            level += 1
            deepest = max(deepest, level)
        elif character in "})]>":
            level = max(0, level - 1)
    return deepest


def _parse(channel: Channel) -> Typesdict:
    if channel.definition_format in ("ros2msg", "ros1msg"):
        return get_types_from_msg(channel.definition, channel.type)
    types: Typesdict = {}
    if channel.definition_format in ("ros2idl", "omgidl"):
        parts = channel.definition.split(_IDL_RULE)[1:] if channel.definition.startswith(_IDL_RULE) else []
        for part in parts or [channel.definition]:
            types.update(get_types_from_idl(part.partition("\n")[2] if part.startswith("IDL: ") else part))
    return types

"""JSON and YAML that others wrote: what is read, and what costs too much or is no document."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from gaussian_yolo_node import documents
from gaussian_yolo_node.documents import (
    MOST_DIGITS,
    MOST_LEVELS,
    DocumentError,
    parse_json,
    parse_yaml,
    read_json,
    read_yaml,
)
from gaussian_yolo_node.labels import DatasetError


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def laughs(levels: int) -> str:
    """Lists of ten aliases of the list above."""
    return "\n".join(
        ["a0: &a0 [0]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels + 1))]
    )


def merges(levels: int) -> str:
    """Mappings that merge two of the mappings above."""
    lines = ["a0: &a0 {k0: 0}", "b0: &b0 {l0: 0}"]
    for n in range(1, levels + 1):
        lines += [f"{one}{n}: &{one}{n} {{<<: [*a{n - 1}, *b{n - 1}], {one}k{n}: 0}}" for one in "ab"]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("{}", {}),
        ('\ufeff{"a": [1, -2.5, null]}'.encode(), {"a": [1, -2.5, None]}),
        ("9" * MOST_DIGITS, int("9" * MOST_DIGITS)),
        (f'"{"9" * 5000}"', "9" * 5000),
        ('["[[[[["]', ["[[[[["]),
    ],
)
def test_json(text: str | bytes, document: Any) -> None:
    assert parse_json(text, "it") == document


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON"),
        (b"\xff", "is not JSON"),
        ("1" * 5000, "an integer of 5000 digits"),
        ("-" + "1" * MOST_DIGITS, f"an integer of {MOST_DIGITS + 1} digits"),
        ("[" * 100_000, f"it nests more than {MOST_LEVELS} levels deep"),
        (nested(MOST_LEVELS + 2), f"it nests more than {MOST_LEVELS} levels deep"),
        ('{"a":' * 100_000, f"it nests more than {MOST_LEVELS} levels deep"),
    ],
)
def test_json_that_is_refused(text: str | bytes, words: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_json(text, "a.json")
    assert str(caught.value).startswith("a.json is not JSON: ") and words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("", None),
        ("a: &a [1]\nb: *a\n", {"a": [1], "b": [1]}),
        ("x: &x {a: 1}\ny: {<<: *x, b: 2}", {"x": {"a": 1}, "y": {"a": 1, "b": 2}}),
        ("\ufeffa: 0x1F\r\n".encode(), {"a": 31}),
        (nested(MOST_LEVELS), parse_json(nested(MOST_LEVELS), "it")),
    ],
)
def test_yaml(text: str | bytes, document: Any) -> None:
    assert parse_yaml(text, "it") == document


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 0b_", "is not valid YAML"),
        ("a: 2020-13-45", "month must be in 1..12"),
        ("a: 2020-01-01 00:00:00 +99:00", "is not valid YAML"),
        ("a: !!timestamp x", "is not valid YAML"),
        ("a: !!bool x", "is not valid YAML"),
        ("a: !!float x", "is not valid YAML"),
        ("a: !!int ''", "is not valid YAML"),
        ("a: !!python/object:os.system x", "is not valid YAML"),
        ("a: {1", "is not valid YAML"),
        (b"a: \xff", "is not valid YAML"),
        ("a: 0x" + "f" * 5000, "an integer of 5002 digits"),
        ("a: " + "1:" * 5000 + "1", "an integer of 10001 digits"),
        ("[" * 3000, f"it nests more than {MOST_LEVELS} levels deep"),
        ("- " * 3000, f"it nests more than {MOST_LEVELS} levels deep"),
        ("a: &a [*a]", f"it nests more than {MOST_LEVELS} levels deep"),
        (laughs(12), "with its aliases written out"),
    ],
)
def test_yaml_that_is_refused(text: str | bytes, words: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_yaml(text, "a.yaml")
    message = str(caught.value)
    assert message.startswith("a.yaml is not valid YAML: ") and words in message and "\n" not in message


def test_merged_mappings_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MOST_YAML_VALUES", 1000)
    assert parse_yaml(merges(2), "it")["a2"] == {"k0": 0, "l0": 0, "ak1": 0, "bk1": 0, "ak2": 0}
    with pytest.raises(DocumentError, match="more than 1000 values"):
        parse_yaml(merges(20), "it")


@pytest.mark.parametrize(("read", "limit"), [(read_json, "MOST_JSON_BYTES"), (read_yaml, "MOST_YAML_BYTES")])
def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any, limit: str) -> None:
    path = tmp_path / "d"
    path.write_text("[1]")
    assert read(path) == [1]
    with pytest.raises(DatasetError, match=rf"^labels {path}x cannot be read: No such file"):
        read(Path(f"{path}x"), "labels", DatasetError)
    with pytest.raises(DocumentError, match=f"^{tmp_path} cannot be read: Is a directory"):
        read(tmp_path)
    monkeypatch.setattr(documents, limit, 1 << 20)
    path.write_text("[1]" + " " * (1 << 20))
    with pytest.raises(DocumentError, match=r"is larger than 1 MB"):
        read(path)


def test_a_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=('{"a": 1}',))
    writer.start()
    assert read_json(pipe) == {"a": 1}
    writer.join()

from __future__ import annotations

import math
from pathlib import Path

import pytest

from gaussian_yolo_node.documents import read_json
from gaussian_yolo_node.labels.annotations import DatasetError, Fault, FaultKind
from gaussian_yolo_node.labels.reading import is_number, read_lines


@pytest.mark.parametrize(
    ("value", "bounds", "expected"),
    [
        (0, (), True),
        (-2.5, (), True),
        (0, (0, 1), True),  # on a bound
        (1, (0, 1), True),
        (1.01, (0, 1), False),
        (-0.01, (0,), False),
        (True, (), False),
        ("1", (), False),
        (None, (), False),
        (math.nan, (), False),
        (math.inf, (), False),
        (10**400, (), False),  # too large for a float
    ],
)
def test_numbers(value: object, bounds: tuple[float, ...], expected: bool) -> None:
    assert is_number(value, *bounds) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "predictions file .*p.json cannot be read: No such file"),
        (b"", "is not JSON"),
        (b"[1", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
def test_what_is_not_json_is_one_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "p.json").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_json(tmp_path / "p.json", "predictions file", DatasetError)


@pytest.mark.parametrize(
    ("content", "lines", "message"),
    [
        (b"", [], None),
        (b"\n a b\n\n c\r\n", [(2, " a b"), (4, " c")], None),
        (b"a\n\xff", [], "the label file is not text"),
        (None, [], "the label file cannot be read: No such file or directory"),
    ],
)
def test_lines(tmp_path: Path, content: bytes | None, lines: list[tuple[int, str]], message: str | None) -> None:
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    faults: list[Fault] = []
    assert list(read_lines(path, faults.append)) == lines
    assert faults == ([] if message is None else [Fault(FaultKind.MALFORMED_LABEL, path, None, message)])

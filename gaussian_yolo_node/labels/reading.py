"""Read the files of labels and predictions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

from gaussian_yolo_node import documents
from gaussian_yolo_node.labels.annotations import DatasetError, Fault, FaultKind, Report


def read_json(path: Path, what: str = "label file") -> Any:
    """The JSON document in a file.

    Args:
        what: name of the content in messages ("predictions file", "ground truth file").

    Raises:
        DatasetError: the file does not exist, or is not JSON.
    """
    return documents.read_json(path, what, DatasetError)


def read_lines(path: Path, report: Report) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines of a label file, without blank lines; an unreadable file is passed to `report`."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as error:
        report(Fault(FaultKind.MALFORMED_LABEL, path, None, f"the label file cannot be read: {error.strerror}"))
    except UnicodeDecodeError:
        report(Fault(FaultKind.MALFORMED_LABEL, path, None, "the label file is not text"))
    else:
        yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def is_number(value: object, least: float = -math.inf, most: float = math.inf) -> TypeGuard[float]:
    """Whether a value from a file is a finite number in a range; true and false are none."""
    try:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value) and least <= value <= most  # type: ignore[arg-type,operator]
    except OverflowError:  # an integer too large for a float
        return False

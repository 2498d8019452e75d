"""Read the files of labels and predictions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

from gaussian_yolo_node.file_names import files_in
from gaussian_yolo_node.labels.annotations import Report, malformed
from gaussian_yolo_node.text_files import NotTextError, read_text


def read_lines(path: Path, report: Report) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines of a label file, without blank lines; an unreadable file is passed to `report`."""
    try:
        lines = read_text(path).split("\n")
    except OSError as error:
        report(malformed(path, None, f"the label file cannot be read: {error.strerror}"))
    except NotTextError as error:
        report(malformed(path, None, f"the label file is {error}"))
    else:
        yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


# Files that labelling tools keep among labels, with the names of classes.
_LISTS_OF_CLASSES = ("classes.txt", "obj.names.txt", "names.txt", "predefined_classes.txt", "labels.txt", "notes.json")


def label_files(folder: Path, suffix: str) -> list[Path]:
    """The label files of a folder, ".txt" or ".json", in natural order: neither hidden ones, nor the lists of classes
    that labelling tools leave there."""
    return [path for path in files_in(folder, (suffix,)) if path.name.lower() not in _LISTS_OF_CLASSES]


def is_number(value: object, least: float = -math.inf, most: float = math.inf) -> TypeGuard[float]:
    """Whether a value from a file is a finite number in a range; true and false are none."""
    try:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value) and least <= value <= most  # type: ignore[arg-type,operator]
    except OverflowError:  # an integer too large for a float
        return False

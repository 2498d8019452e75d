"""A detector under corruptions: its detections, stored cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.lab.robustness.cells import Cells
from gaussian_yolo_node.lab.robustness.corruptions import Image
from gaussian_yolo_node.lab.robustness.frames import CorruptedFrames
from gaussian_yolo_node.labels.labelled_frames import FramePredictions

# So that the whole precision-recall curve is there (SPEC section 1).
SCORE_THRESHOLD = 0.005
CLEAN = "clean"

Detect = Callable[[Image], Detections]
Cell = tuple[FramePredictions, ...]


def cell_name(corruption: str, severity: int) -> str:
    """What the cell of a corruption is called; severity 0 is the clean one, of all."""
    return f"{corruption}-{severity}" if severity else CLEAN


def corruption_cells(
    detect: Detect,
    classes: Sequence[str],
    paths: Sequence[Path],
    cells: Cells,
    corruptions: Sequence[str],
    severities: Sequence[int],
    corrupted: CorruptedFrames,
    on_frame: Callable[[str, int], None] = lambda name, done: None,
) -> dict[tuple[str, int], Cell]:
    """Detections of every corruption at every severity, and of the clean frames as ("clean", 0).

    Args:
        detect: frame uint8 [H, W, 3] BGR -> detections in frame px.
        classes: names of the class ids.
        paths: of the frames.
        cells: where results are kept; what is there is not made again.
        on_frame: told the cell's name and how many of its frames are done.
    """
    wanted = [(CLEAN, 0), *((name, severity) for name in corruptions for severity in severities)]
    found: dict[tuple[str, int], Cell] = {}
    for name, severity in wanted:
        label = cell_name(name, severity)

        def make(name: str = name, severity: int = severity, label: str = label) -> list[dict[str, Any]]:
            records = []
            for path, image in zip(paths, corrupted(paths, name, severity), strict=True):
                records.append(record(path.name, detect(image), classes))
                on_frame(label, len(records))
            return records

        found[name, severity] = parse(cells.get_or_make(label, make))
        on_frame(label, len(paths))
    return found


def record(frame: str, found: Detections, classes: Sequence[str]) -> dict[str, Any]:
    """Detections of a frame, JSON-ready."""
    return {
        "frame": frame,
        "boxes": _rounded(found.boxes),
        "scores": _rounded(found.scores),
        "classes": [classes[number] for number in found.class_ids],
        "sigmas": _rounded(found.sigmas),
    }


def parse(document: Iterable[Mapping[str, Any]]) -> Cell:
    """The records of a cell, as the evaluation takes them."""
    return tuple(
        FramePredictions(
            row["frame"],
            np.array(row["boxes"], np.float64).reshape(-1, 4),
            np.array(row["scores"], np.float64),
            np.array(row["classes"], np.str_),
            np.array(row["sigmas"], np.float64).reshape(-1, 4),
        )
        for row in document
    )


def _rounded(values: NDArray[np.float32]) -> list[Any]:
    # Seven digits hold a float32 but for its last bit, in half the file.
    return np.round(values.astype(np.float64), 5).tolist()  # type: ignore[no-any-return]

"""Detections of a detector under corruptions, stored cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.lab.robustness.cells import Cells
from gaussian_yolo_node.lab.robustness.corruptions import Image
from gaussian_yolo_node.lab.robustness.frames import CorruptedFrames
from gaussian_yolo_node.labels.labelled_frames import FramePredictions

# Low enough for the whole precision-recall curve (docs/paper_facts.md, section 1).
SCORE_THRESHOLD = 0.005
CLEAN = "clean"

Detect = Callable[[Image], Detections]
Cell = tuple[FramePredictions, ...]


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
        cells: storage of results; existing cells are not recomputed.
        on_frame: called with the cell's name and the number of finished frames.
    """
    found: dict[tuple[str, int], Cell] = {}
    for name, severity in [(CLEAN, 0), *product(corruptions, severities)]:
        label = f"{name}-{severity}" if severity else CLEAN

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
    """The records of a cell in the evaluation's format."""
    return tuple(
        FramePredictions.of(row["frame"], row["boxes"], row["scores"], row["classes"], row["sigmas"])
        for row in document
    )


def _rounded(values: NDArray[np.float32]) -> list[Any]:
    # Five decimals keep nearly all of a float32's precision in half the file size.
    return np.round(values.astype(np.float64), 5).tolist()  # type: ignore[no-any-return]

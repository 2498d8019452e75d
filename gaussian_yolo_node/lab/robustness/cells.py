"""Results of a long test, stored cell by cell, so that an interrupted test can continue."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.documents import DocumentError, read_json
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.lab.robustness import RobustnessError
from gaussian_yolo_node.labels.labelled_frames import FramePredictions

SETTINGS = "settings.json"
CELLS = "cells"
CLEAN = "clean"  # the common cell without corruption or attack
# Of a detector's boxes; low enough for the whole precision-recall curve (docs/paper_facts.md, section 1).
SCORE_THRESHOLD = 0.005


class Cells:
    """JSON documents by name in a folder, written atomically.

    Args:
        folder: created if missing.
        settings: everything that determines the cells, JSON-ready. A folder with other settings is rejected.

    Raises:
        RobustnessError: the folder has results of other settings, or cannot be used.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings = json.loads(json.dumps(settings))
        try:
            (folder / CELLS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RobustnessError(f"{folder} cannot be used as output folder: {error.strerror}") from error
        known = self._read(folder / SETTINGS)
        if known is None:
            write_json(folder / SETTINGS, {**self.settings, "hash": self.hash})
        elif known.get("hash") != self.hash:
            other = next((name for name in self.settings if known.get(name) != self.settings[name]), "hash")
            raise RobustnessError(
                f"{folder} holds results of other settings ({other}: {_short(known.get(other))} there, "
                f"{_short(self.settings.get(other))} now): give another output folder, or remove it"
            )

    @property
    def hash(self) -> str:
        """First digits of the settings' SHA-256."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:16]

    def get_or_make(self, name: str, make: Callable[[], Any]) -> Any:
        """The document of a cell, computed and stored if missing or damaged."""
        path = self.folder / CELLS / f"{name}.json"
        document = self._read(path)
        if document is None:
            document = make()
            write_json(path, document)
        return document

    @staticmethod
    def _read(path: Path) -> Any | None:
        try:
            return read_json(path)
        except DocumentError:
            return None


def record(frame: str, detections: Detections, classes: Sequence[str]) -> dict[str, Any]:
    """Detections of a frame, JSON-ready."""
    return {
        "frame": frame,
        "boxes": _rounded(detections.boxes),
        "scores": _rounded(detections.scores),
        "classes": [classes[number] for number in detections.class_ids],
        "sigmas": _rounded(detections.sigmas),
    }


def parse(document: Iterable[Mapping[str, Any]]) -> tuple[FramePredictions, ...]:
    """The records of a cell in the evaluation's format."""
    return tuple(
        FramePredictions.of(row["frame"], row["boxes"], row["scores"], row["classes"], row["sigmas"])
        for row in document
    )


def _rounded(values: NDArray[np.float32]) -> list[Any]:
    # Five decimals keep nearly all of a float32's precision in half the file size.
    return np.round(values.astype(np.float64), 5).tolist()  # type: ignore[no-any-return]


def write_json(path: Path, document: Any) -> None:
    """Write JSON atomically. Raises WriteError on failure."""
    write_whole(path, json.dumps(document) + "\n")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."

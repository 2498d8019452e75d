"""Robustness of a detector: average precision and sigmas under common corruptions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.lab.robustness.cells import CLEAN, SCORE_THRESHOLD, Cells, parse, record, write_json
from gaussian_yolo_node.lab.robustness.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    check_corruptions,
    check_severities,
    library_version,
    load_library,
)
from gaussian_yolo_node.lab.robustness.frames import CorruptedFrames, find_frames
from gaussian_yolo_node.lab.robustness.sigma import CellFigures, cell_figures, severity_correlation
from gaussian_yolo_node.labels.labelled_frames import FramePredictions

RESULT = "robustness.json"


@dataclass(frozen=True)
class RobustnessOptions:
    """Options. `least_score` is the minimum score of boxes in the sigma figures; `limit` 0 takes all frames."""

    corruptions: Sequence[str] = CORRUPTIONS
    severities: Sequence[int] = SEVERITIES
    limit: int = 0
    seed: int = 0
    workers: int = 0
    least_score: float = 0.3


@dataclass(frozen=True, eq=False)
class DetectorRobustness:
    """Figures of the clean frames, and by (corruption, severity).

    Attributes:
        clean: figures without corruption.
        cells: figures of each corruption and severity.
        rho: corruption -> Spearman correlation of the severity with the sigma of the same objects relative to clean.
        settings: of the test.
    """

    clean: CellFigures
    cells: dict[tuple[str, int], CellFigures]
    rho: dict[str, float | None]
    settings: dict[str, Any]

    @property
    def mpc(self) -> float:
        """Mean of the mAP at IoU 0.5 over all cells (Michaelis et al., 2019)."""
        return sum(cell.map50 for cell in self.cells.values()) / len(self.cells)

    @property
    def rpc(self) -> float | None:
        """`mpc` divided by the clean value; None if that is 0."""
        return self.mpc / self.clean.map50 if self.clean.map50 > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "settings": self.settings,
            "mpc50": self.mpc,
            "rpc50": self.rpc,
            "clean": self.clean.to_dict(),
            "rho_severity_sigma": self.rho,
            "cells": [
                {"corruption": name, "severity": severity, **cell.to_dict()}
                for (name, severity), cell in self.cells.items()
            ],
        }


def detector_robustness(
    detector: Detector,
    data: Path,
    output: Path,
    options: RobustnessOptions | None = None,
    *,
    labels: Path | None = None,
    on_frame: Callable[[str, int], None] = lambda name, done: None,
) -> DetectorRobustness:
    """Detect on corrupted copies of labelled frames; an interrupted test continues.

    Args:
        detector: its score threshold is set to 0.005.
        data, labels: see `find_frames`.
        output: folder of the cells and of robustness.json.
        on_frame: called with the cell's name and the number of finished frames.

    Raises:
        RobustnessError: an option, the data or the output folder is invalid, or the library is missing.
        DatasetError: the labels cannot be read.
    """
    options = options or RobustnessOptions()
    names, severities = check_corruptions(options.corruptions), check_severities(options.severities)
    load_library()
    frames = find_frames(data, labels, options.limit)
    detector.score_threshold = SCORE_THRESHOLD
    settings = {
        "kind": "detection",
        "model": detector.card.name,
        "model_hash": detector.model_hash,
        "runtime": detector.runtime.description,
        "frames": len(frames.paths),
        "frames_hash": frames.digest,
        "score_threshold": SCORE_THRESHOLD,
        "seed": options.seed,
        "library": library_version(),
    }
    cells = Cells(output, settings)

    def cell(name: str, severity: int) -> tuple[FramePredictions, ...]:
        label = f"{name}-{severity}" if severity else CLEAN

        def make() -> list[dict[str, Any]]:
            records = []
            for path, image in zip(frames.paths, corrupted(frames.paths, name, severity), strict=True):
                records.append(record(path.name, detector(image), detector.card.classes))
                on_frame(label, len(records))
            return records

        detections = parse(cells.get_or_make(label, make))
        on_frame(label, len(frames.paths))
        return detections

    with CorruptedFrames(options.workers, options.seed) as corrupted:
        clean = cell(CLEAN, 0)
        found = {(name, severity): cell(name, severity) for name, severity in product(names, severities)}
    reference = cell_figures(frames.truths, clean, clean, options.least_score)
    figures = {key: cell_figures(frames.truths, each, clean, options.least_score) for key, each in found.items()}
    rho = {name: severity_correlation({0: reference, **{s: figures[name, s] for s in severities}}) for name in names}
    result = DetectorRobustness(reference, figures, rho, {**settings, "least_score": options.least_score})
    write_json(output / RESULT, result.to_dict())
    return result

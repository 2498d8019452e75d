"""Teachers: a detector or a classifier without noise, on one thread, so that all workers give the same labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.model import resolve_model
from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.files import file_hash
from gaussian_yolo_node.runtime import RuntimeOptions


class Teacher(Protocol):
    """A model that labels."""

    name: str
    hash: str  # SHA-256 of its file, hexadecimal
    classes: tuple[str, ...]

    @property
    def kind(self) -> Literal["detection", "classification"]:
        """The kind of its labels."""
        ...

    def label(self, image_bgr: NDArray[np.uint8]) -> dict[str, Any]:
        """The labels of one image, uint8 `[H,W,3]`.

        Returns:
            a detector: "boxes" float32 `[N,4]` x1 y1 x2 y2 in px, "scores" `[N]`, "class_names" of N, "sigmas" `[N,4]`
            of centre x, centre y, width and height in px; a classifier: "probabilities" float32 `[C]`.

        Raises:
            GaussianYoloError: the model failed.
        """
        ...

    def close(self) -> None:
        """Release the model."""
        ...


class DetectorTeacher:
    """A detector in fp32, because bf16 rounding depends on the processor. See `Teacher`."""

    kind: ClassVar[Literal["detection"]] = "detection"

    def __init__(self, model: str, *, score_threshold: float, threads: int) -> None:
        self._detector = Detector.open(model, options=RuntimeOptions(threads, "fp32"), score_threshold=score_threshold)
        self.name = self._detector.card.name
        self.hash = file_hash(self._detector.model_path)
        self.classes = self._detector.card.classes

    def label(self, image_bgr: NDArray[np.uint8]) -> dict[str, Any]:
        found = self._detector(image_bgr)
        return {
            "boxes": found.boxes,
            "scores": found.scores,
            "class_names": [self.classes[index] for index in found.class_ids],
            "sigmas": found.sigmas,
        }

    def close(self) -> None:
        self._detector.close()


def open_teacher(path_or_name: str, *, score_threshold: float = 0.05, threads: int = 1) -> Teacher:
    """Open a teacher: .onnx or the name of a shipped model is a detector, .pt a classifier checkpoint.

    Args:
        score_threshold: of a detector, 0 <= t < 1.
        threads: processor threads.

    Raises:
        ModelError: the file is missing or not a teacher.
        RuntimeUnavailableError: no installed runtime can run it.
        SettingError: the threshold is out of range.
    """
    if Path(path_or_name).suffix == ".pt":
        if not Path(path_or_name).is_file():
            raise ModelError(f"there is no checkpoint {path_or_name}: give the .pt file of a trained classifier")
        from gaussian_yolo_node.lab.classification.checkpoint import ClassifierTeacher

        return ClassifierTeacher(Path(path_or_name), threads=threads)
    return DetectorTeacher(path_or_name, score_threshold=score_threshold, threads=threads)


def fixed_reference(path_or_name: str) -> str:
    """A teacher reference for other processes: paths become absolute, names of shipped models stay.

    Raises:
        ModelError: the file is missing.
    """
    if Path(path_or_name).suffix == ".pt":
        return str(Path(path_or_name).absolute())
    found = resolve_model(path_or_name)
    given = Path(path_or_name).expanduser()
    return str(given.absolute()) if given.is_file() else found.stem

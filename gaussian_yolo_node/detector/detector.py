"""The corridor: a frame goes in, detections with uncertainty come out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.calibration import SigmaCalibration, calibrate_sigmas
from gaussian_yolo_node.detector.decode import BOX_ENTRIES, CRITERIA, Criterion, decode
from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.letterbox import PAD_VALUE, Letterbox, check_frame
from gaussian_yolo_node.detector.model import DEFAULT_MODEL, ModelCard, file_hash, read_card, resolve_model
from gaussian_yolo_node.detector.nms import nms
from gaussian_yolo_node.errors import ModelError, SettingError
from gaussian_yolo_node.runtime import Runtime, RuntimeOptions, open_runtime


@dataclass(frozen=True)
class StageTimes:
    """Wall-clock seconds that the stages of one frame took."""

    preprocess_s: float
    inference_s: float
    postprocess_s: float


class Detector:
    """A model ready to run. Not thread-safe: one thread at a time, or a detector per thread.

    Attributes:
        card: what the network's heads mean.
        model_path: the file.
        model_hash: first digits of its SHA-256.
        runtime: what runs it.
        last_timing: stage times of the last frame.
        sigma_calibration: correction of the standard deviations of what is returned, None to leave them as the
            network gave them; the score and the variance vote always take the network's own.
    """

    def __init__(self, runtime: Runtime, card: ModelCard, model_path: Path) -> None:
        """Take over an open runtime; `Detector.open` is the usual way in.

        Raises:
            ModelError: the card does not fit the network.
        """
        _check_fit(runtime, card, model_path)
        self.card = card
        self.model_path = model_path
        self.model_hash = file_hash(model_path)
        self.runtime = runtime
        self.last_timing = StageTimes(0.0, 0.0, 0.0)
        self.sigma_calibration = card.sigma_calibration
        self._score_threshold = card.score_threshold
        self._iou_threshold = card.iou_threshold
        self._variance_vote = card.variance_vote
        self._criterion: Criterion = CRITERIA[0]
        self._anchors = card.anchor_sizes
        self._canvas = np.full((*card.input_size, 3), PAD_VALUE, np.uint8)
        self._letterbox = Letterbox.fit(card.input_size, card.input_size, card.resize)

    @classmethod
    def open(
        cls,
        model: str | Path = DEFAULT_MODEL,
        runtime: str = "auto",
        *,
        options: RuntimeOptions = RuntimeOptions(),  # noqa: B008
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        variance_vote: bool | None = None,
        sigma_calibration: SigmaCalibration | Literal["card"] | None = "card",
        criterion: Criterion = "gaussian",
    ) -> Detector:
        """Load a model and run it once, so that the first frame is as quick as the others.

        Args:
            model: a path, or the name of a shipped model.
            runtime: one of `runtime.RUNTIMES`.
            options: threads and precision.
            score_threshold: 0 <= t < 1; None takes the card's, as for the other two.
            iou_threshold: 0 <= t < 1.
            variance_vote: see `nms`.
            sigma_calibration: another one than the card's; None gives the network's own sigmas.
            criterion: what the score is, see `decode`.

        Raises:
            ModelError: the file is missing or unreadable, or its card is missing, wrong, or does not fit the
                network.
            RuntimeUnavailableError: the runtime is not installed, or cannot do what the options ask.
            SettingError: a threshold, the criterion or the runtime's name is not allowed.
        """
        path = resolve_model(model)
        opened = open_runtime(path, runtime, options)
        try:
            detector = cls(opened, read_card(opened.metadata, path), path)
            if score_threshold is not None:
                detector.score_threshold = score_threshold
            if iou_threshold is not None:
                detector.iou_threshold = iou_threshold
            if variance_vote is not None:
                detector.variance_vote = variance_vote
            if sigma_calibration != "card":
                detector.sigma_calibration = sigma_calibration
            detector.criterion = criterion
            opened.infer(detector._canvas)
        except BaseException:
            opened.close()
            raise
        return detector

    @property
    def score_threshold(self) -> float:
        """Lowest detection criterion, 0 <= t < 1; may change between frames."""
        return self._score_threshold

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        self._score_threshold = _threshold("score_threshold", value)

    @property
    def iou_threshold(self) -> float:
        """IoU above which a box is suppressed, 0 <= t < 1; may change between frames."""
        return self._iou_threshold

    @iou_threshold.setter
    def iou_threshold(self, value: float) -> None:
        self._iou_threshold = _threshold("iou_threshold", value)

    @property
    def variance_vote(self) -> bool:
        """Whether suppressed boxes vote on the one that is kept; may change between frames."""
        return self._variance_vote

    @variance_vote.setter
    def variance_vote(self, value: bool) -> None:
        self._variance_vote = bool(value)

    @property
    def criterion(self) -> Criterion:
        """What the score is, by which detections pass and suppress each other; may change between frames."""
        return self._criterion

    @criterion.setter
    def criterion(self, value: Criterion) -> None:
        if value not in CRITERIA:
            raise SettingError(f"criterion is {value!r}; it must be {' or '.join(CRITERIA)}")
        self._criterion = value

    def __call__(self, frame_bgr: NDArray[np.uint8]) -> Detections:
        """Detect objects in one frame.

        Args:
            frame_bgr: uint8 [H, W, 3], of any size, which may differ from frame to frame.

        Returns:
            Detections in frame px by falling score.

        Raises:
            FrameError: the frame is not uint8 [H, W, 3].
            InferenceError: the runtime failed.
            NonFiniteOutputError: the network gave NaN or infinity.
        """
        started = perf_counter()
        check_frame(frame_bgr)
        if frame_bgr.shape[:2] != self._letterbox.frame_size:
            size = (frame_bgr.shape[0], frame_bgr.shape[1])
            self._letterbox = Letterbox.fit(size, self.card.input_size, self.card.resize)
        self._letterbox.to_canvas(frame_bgr, out=self._canvas)
        prepared = perf_counter()
        heads = self.runtime.infer(self._canvas)
        inferred = perf_counter()
        candidates = decode(heads, self._anchors, self.card.strides, self._score_threshold, criterion=self._criterion)
        kept = nms(candidates, self._iou_threshold, variance_vote=self._variance_vote)
        detections = self._letterbox.to_frame(kept)
        if self.sigma_calibration is not None:
            detections = calibrate_sigmas(detections, self.sigma_calibration)
        self.last_timing = StageTimes(prepared - started, inferred - prepared, perf_counter() - inferred)
        return detections

    def close(self) -> None:
        """Release the model; the detector cannot be used afterwards."""
        self.runtime.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _check_fit(runtime: Runtime, card: ModelCard, path: Path) -> None:
    if runtime.input_size != card.input_size:
        raise ModelError(
            f"{path} takes a canvas of {runtime.input_size} px (height, width) but its card has input_size "
            f"{card.input_size}; export the model again"
        )
    if runtime.strides != card.strides:
        raise ModelError(
            f"{path} has heads of strides {list(runtime.strides)} but its card has strides "
            f"{list(card.strides)}; export the model again"
        )
    for shape, stride, anchors in zip(runtime.head_shapes, card.strides, card.anchors, strict=True):
        height, width = card.input_size
        needed = (len(anchors) * (BOX_ENTRIES + len(card.classes)), height // stride, width // stride)
        if shape != needed:
            raise ModelError(
                f"{path} has a head_{stride} of {list(shape)} (channels, rows, columns) but its card's "
                f"{len(card.classes)} classes and {len(anchors)} anchors need {list(needed)}; "
                "export the model again"
            )


def _threshold(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise SettingError(f"{name} is {value}; it must be at least 0 and below 1")
    return float(value)

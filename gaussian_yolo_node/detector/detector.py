"""The detector: takes a frame and returns detections with uncertainty."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.decode import BOX_ENTRIES, CRITERIA, Criterion, NonFiniteOutputError, decode
from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.letterbox import PAD_VALUE, Letterbox, check_frame
from gaussian_yolo_node.detector.model import DEFAULT_MODEL, ModelCard, read_card, resolve_model
from gaussian_yolo_node.detector.nms import nms
from gaussian_yolo_node.detector.sigma_correction import SigmaCalibration, calibrate_sigmas
from gaussian_yolo_node.errors import ModelError, SettingError
from gaussian_yolo_node.files import short_hash
from gaussian_yolo_node.runtime import (
    DetectingRuntime,
    Runtime,
    RuntimeOptions,
    open_device_runtime,
    open_runtime,
)
from gaussian_yolo_node.runtime.base import MODEL_HASH_KEY, DeviceDetections


@dataclass(frozen=True)
class StageTimes:
    """Wall-clock time of each stage for one frame, in s.

    If the GPU also decodes and suppresses, both are part of `inference_s`. `postprocess_s` is then the rest: waiting,
    copying back, and mapping to the frame.
    """

    preprocess_s: float
    inference_s: float
    postprocess_s: float


class Detector:
    """A loaded model. Not thread-safe: use it from one thread at a time, or one detector per thread.

    Attributes:
        card: describes the network's heads.
        model_path: the model file.
        model_hash: first digits of the model's SHA-256; for an engine, of the model that it was built from.
        runtime: runs the model.
        input_size: (height, width) of the canvas in px.
        last_timing: stage times of the last frame.
        sigma_calibration: correction of the returned standard deviations; None returns those of the network. The
            score and the variance vote always use those of the network.
    """

    def __init__(self, runtime: Runtime | DetectingRuntime, card: ModelCard, model_path: Path) -> None:
        """Take ownership of an open runtime; most callers use `Detector.open`.

        Raises:
            ModelError: the card does not match the network.
        """
        _check_fit(runtime, card, model_path)
        self.card = card
        self.model_path = model_path
        self.model_hash = runtime.metadata.get(MODEL_HASH_KEY) or short_hash(model_path)
        self.runtime = runtime
        self.last_timing = StageTimes(0.0, 0.0, 0.0)
        self.input_size = runtime.input_size
        self.sigma_calibration = card.sigma_calibration_at(runtime.input_size)
        self._device: DetectingRuntime | None = None
        self._cpu: Runtime | None = None
        if isinstance(runtime, DetectingRuntime):
            self._device = runtime
        else:
            self._cpu = runtime
        self._score_threshold = card.score_threshold
        self._iou_threshold = card.iou_threshold
        self._variance_vote = card.variance_vote
        self._criterion: Criterion = CRITERIA[0]
        self._anchors = card.anchor_sizes
        self._canvas = np.full((*self.input_size, 3), PAD_VALUE, np.uint8)
        self._letterbox = Letterbox.fit(self.input_size, self.input_size, card.resize)

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
        """Load a model and run it once, so that the first frame is as fast as the others.

        Args:
            model: a path, or the name of a shipped model.
            runtime: one of `runtime.RUNTIMES`.
            options: threads, precision, and the canvas of a model with a free input size.
            score_threshold: 0 <= t < 1; None uses the card's value.
            iou_threshold: 0 <= t < 1; None uses the card's value.
            variance_vote: see `nms`; None uses the card's value.
            sigma_calibration: replaces that of the card; None returns the network's own sigmas.
            criterion: definition of the score, see `decode`.

        Raises:
            ModelError: the file is missing or unreadable, or its card is missing, wrong, or does not match the
                network.
            RuntimeUnavailableError: the runtime is not installed, or does not support the options.
            SettingError: a threshold, the criterion or the runtime's name is not allowed.
        """
        path = resolve_model(model)
        opened = open_device_runtime(path, runtime, options) or open_runtime(path, runtime, options)
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
            detector._warm_up()
        except BaseException:
            opened.close()
            raise
        return detector

    @property
    def score_threshold(self) -> float:
        """Lowest detection criterion, 0 <= t < 1. May change between frames; on a GPU not below the engine's threshold.

        On a GPU, all boxes above the engine's threshold take part in the variance vote.
        """
        return self._score_threshold

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        threshold = _threshold("score_threshold", value)
        built = self._device.built if self._device is not None else None
        if built is not None and threshold < built.score_threshold:
            raise SettingError(
                f"score_threshold is {value}, and nothing below {built.score_threshold} comes out of this engine: give "
                f"a higher one, or {built.remedy}"
            )
        self._score_threshold = threshold

    @property
    def iou_threshold(self) -> float:
        """IoU above which a box is suppressed, 0 <= t < 1. May change between frames; fixed on a GPU."""
        return self._iou_threshold

    @iou_threshold.setter
    def iou_threshold(self, value: float) -> None:
        threshold = _threshold("iou_threshold", value)
        self._refuse_unless_built("iou_threshold", threshold)
        self._iou_threshold = threshold

    @property
    def variance_vote(self) -> bool:
        """Whether suppressed boxes vote on the kept box. May change between frames; fixed on a GPU."""
        return self._variance_vote

    @variance_vote.setter
    def variance_vote(self, value: bool) -> None:
        self._refuse_unless_built("variance_vote", bool(value))
        self._variance_vote = bool(value)

    @property
    def criterion(self) -> Criterion:
        """Definition of the score, used by threshold and suppression. May change between frames; fixed on a GPU."""
        return self._criterion

    @criterion.setter
    def criterion(self, value: Criterion) -> None:
        if value not in CRITERIA:
            raise SettingError(f"criterion is {value!r}; it must be {' or '.join(CRITERIA)}")
        self._refuse_unless_built("criterion", value)
        self._criterion = value

    def __call__(self, frame_bgr: NDArray[np.uint8]) -> Detections:
        """Detect objects in one frame.

        Args:
            frame_bgr: uint8 [H, W, 3]; the size may differ from frame to frame.

        Returns:
            Detections in frame px, by descending score.

        Raises:
            FrameError: the frame is not uint8 [H, W, 3].
            InferenceError: the runtime failed.
            NonFiniteOutputError: the network's output contains NaN or infinity.
        """
        started = perf_counter()
        check_frame(frame_bgr)
        self._fit(frame_bgr)
        if self._cpu is None:
            return self._detect_on_device(frame_bgr, started)
        self._letterbox.to_canvas(frame_bgr, out=self._canvas)
        prepared = perf_counter()
        heads = self._cpu.infer(self._canvas)
        inferred = perf_counter()
        candidates = decode(heads, self._anchors, self.card.strides, self._score_threshold, criterion=self._criterion)
        kept = nms(candidates, self._iou_threshold, variance_vote=self._variance_vote)
        detections = self._to_frame(kept, self._letterbox)
        self.last_timing = StageTimes(prepared - started, inferred - prepared, perf_counter() - inferred)
        return detections

    def detect_each(self, frames: Iterable[NDArray[np.uint8]]) -> Iterator[Detections]:
        """Detect objects in a sequence of frames; on a GPU, later frames run while the caller waits for an earlier one.

        Args:
            frames: as for `__call__`; as many are read ahead as the runtime has slots.

        Yields:
            Detections of each frame, in order.

        Raises:
            GaussianYoloError: as `__call__`, for the next frame.
        """
        if self._device is None:
            yield from map(self, frames)
            return
        waiting: deque[Letterbox] = deque()
        try:
            for frame in frames:
                check_frame(frame)
                if len(waiting) == self._device.slots:
                    yield self._finish(self._device.collect(), waiting.popleft(), perf_counter())
                self._fit(frame)
                self._device.submit(frame)
                waiting.append(self._letterbox)
            while waiting:
                yield self._finish(self._device.collect(), waiting.popleft(), perf_counter())
        finally:
            for _ in waiting:  # a caller that stops early leaves frames in the slots
                self._device.collect()

    def close(self) -> None:
        """Release the model; the detector cannot be used afterwards."""
        self.runtime.close()

    def _warm_up(self) -> None:
        if self._cpu is not None:
            self._cpu.infer(self._canvas)
        elif self._device is not None:
            for _ in range(self._device.slots):
                self(self._canvas)

    def _fit(self, frame: NDArray[np.uint8]) -> None:
        if frame.shape[:2] != self._letterbox.frame_size:
            size = (frame.shape[0], frame.shape[1])
            self._letterbox = Letterbox.fit(size, self.input_size, self.card.resize)

    def _detect_on_device(self, frame: NDArray[np.uint8], started: float) -> Detections:
        assert self._device is not None
        found = self._device.detect(frame)
        # The device measured two stages; the rest of the time is post-processing.
        return self._finish(found, self._letterbox, started + found.preprocess_s + found.inference_s)

    def _finish(self, found: DeviceDetections, letterbox: Letterbox, started: float) -> Detections:
        if not found.finite:
            raise NonFiniteOutputError(
                "the network gave NaN, infinity, or a box of infinite size; build the engine in precision fp32, or "
                "export the model again from a sound checkpoint"
            )
        kept = Detections(found.boxes, found.scores, found.class_ids, found.sigmas)
        assert self._device is not None
        if self._score_threshold > self._device.built.score_threshold:
            kept = kept[kept.scores > self._score_threshold]
        detections = self._to_frame(kept, letterbox)
        self.last_timing = StageTimes(found.preprocess_s, found.inference_s, max(0.0, perf_counter() - started))
        return detections

    def _to_frame(self, kept: Detections, letterbox: Letterbox) -> Detections:
        detections = letterbox.to_frame(kept)
        return detections if self.sigma_calibration is None else calibrate_sigmas(detections, self.sigma_calibration)

    def _refuse_unless_built(self, name: str, value: float | bool | str) -> None:
        if self._device is not None and value != getattr(self._device.built, name):
            built = self._device.built
            raise SettingError(
                f"{name} is {value}, but this engine has {getattr(built, name)} built in: {built.remedy}"
            )

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _check_fit(runtime: Runtime | DetectingRuntime, card: ModelCard, path: Path) -> None:
    free = not isinstance(runtime, DetectingRuntime) and runtime.free_size
    if runtime.input_size != card.input_size and not free:
        raise ModelError(
            f"{path} takes a canvas of {runtime.input_size} px (height, width) but its card has input_size "
            f"{card.input_size}; export the model again"
        )
    if isinstance(runtime, DetectingRuntime):  # the build has checked the heads
        return
    if runtime.strides != card.strides:
        raise ModelError(
            f"{path} has heads of strides {list(runtime.strides)} but its card has strides "
            f"{list(card.strides)}; export the model again"
        )
    for shape, stride, anchors in zip(runtime.head_shapes, card.strides, card.anchors, strict=True):
        height, width = runtime.input_size
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

"""The detector: takes a frame and returns detections with uncertainty."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.canvas import Roi, fitting_canvas, nearest_canvas
from gaussian_yolo_node.detector.decode import Criterion, NonFiniteOutputError, decode
from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.letterbox import Letterbox, check_frame
from gaussian_yolo_node.detector.model import DEFAULT_MODEL, ModelCard, check_network, read_card, resolve_model
from gaussian_yolo_node.detector.nms import nms
from gaussian_yolo_node.detector.post_processing import PostProcessing
from gaussian_yolo_node.detector.prepared import Prepared, StageTimes
from gaussian_yolo_node.detector.sigma_correction import SigmaCalibration
from gaussian_yolo_node.files import short_hash
from gaussian_yolo_node.runtime import (
    DetectingRuntime,
    InferenceError,
    Runtime,
    RuntimeOptions,
    open_device_runtime,
    open_runtime,
)
from gaussian_yolo_node.runtime.base import MODEL_HASH_KEY, DeviceDetections
from gaussian_yolo_node.runtime.canvases import LoadedCanvases
from gaussian_yolo_node.runtime.devices import run_grey


class Detector(PostProcessing, AbstractContextManager["Detector"]):
    """A loaded model. Not thread-safe, except that `prepare`, `detect` and `load` may each run in a thread of its own.

    A model with free height and width gets a canvas that fits the first frame, unless it was opened with a size; on a
    GPU, that of its engines which is nearest to it. What loads a canvas raises ModelError if the model cannot be loaded
    with it.

    Args:
        runtime: an open one, owned from now on; most callers use `Detector.open`.
        card: of the model.
        model_path: the model file.
        roi: the part of every frame that is searched.

    Attributes:
        card: describes the network's heads.
        model_path: the model file.
        model_hash: first digits of the model's SHA-256; for an engine, of the model that it was built from.
        follows_frame: whether the canvas takes the shape of the first frame.
        roi: the part of every frame that is searched; boxes are in px of the whole frame.
        notice: why another device runs the model than was asked for; empty if none does.
        last_timing: stage times of the last frame.

    Raises:
        ModelError: the card does not match the network.
    """

    def __init__(
        self,
        runtime: Runtime | DetectingRuntime,
        card: ModelCard,
        model_path: Path,
        *,
        roi: Roi = Roi(),  # noqa: B008
    ) -> None:
        super().__init__(card, runtime.built if isinstance(runtime, DetectingRuntime) else None)
        check_network(card, runtime, model_path)
        self.model_path = model_path
        self.model_hash = runtime.metadata.get(MODEL_HASH_KEY) or short_hash(model_path)
        self.roi = roi
        self.notice = "" if isinstance(runtime, DetectingRuntime) else runtime.notice
        self.last_timing = StageTimes(0.0, 0.0, 0.0)
        self._runtime = runtime
        self.follows_frame = runtime.free_size
        self._like = runtime.input_size
        self._frame_size: tuple[int, int] | None = None
        self._loaded = LoadedCanvases(runtime)
        self._sigma_calibration: SigmaCalibration | Literal["card"] | None = "card"
        self._anchors = card.anchor_sizes
        self._canvases: list[NDArray[np.uint8]] = []  # those not in use
        self._letterbox = Letterbox.fit(runtime.input_size, runtime.input_size, card.resize)

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
        roi: Roi = Roi(),  # noqa: B008
    ) -> Detector:
        """Load a model and run it once, so that the first frame is as fast as the others.

        Args:
            model: a path, or the name of a shipped model.
            runtime: one of `runtime.RUNTIMES`.
            options: threads, precision, device, and the canvas of a model with a free input size; without one, it has
                as many pixels as the card's input_size, and the shape of the first frame.
            score_threshold: 0 <= t < 1; None uses the card's value.
            iou_threshold: 0 <= t < 1; None uses the card's value.
            variance_vote: see `nms`; None uses the card's value.
            sigma_calibration: replaces that of the card; None returns the network's own sigmas.
            criterion: definition of the score, see `decode`.
            roi: the part of every frame that is searched.

        Raises:
            ModelError: the file is missing or unreadable, or its card is missing, wrong, or does not match the
                network.
            RuntimeUnavailableError: the runtime is not installed, or does not support the options.
            SettingError: a threshold, the criterion or the runtime's name is not allowed.
        """
        path = resolve_model(model)
        opened = open_device_runtime(path, runtime, options) or open_runtime(path, runtime, options)
        try:
            detector = cls(opened, read_card(opened.metadata, path), path, roi=roi)
            if options.input_size is not None:
                detector.use_canvas(options.input_size)
            detector.score_threshold = detector.score_threshold if score_threshold is None else score_threshold
            detector.iou_threshold = detector.iou_threshold if iou_threshold is None else iou_threshold
            detector.variance_vote = detector.variance_vote if variance_vote is None else variance_vote
            detector._sigma_calibration = sigma_calibration
            detector.criterion = criterion
            run_grey(opened)
        except BaseException:
            opened.close()
            raise
        return detector

    @property
    def runtime(self) -> Runtime | DetectingRuntime:
        """Runs the model on the current canvas."""
        return self._runtime

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the current canvas in px."""
        return self._runtime.input_size

    @property
    def sigma_calibration(self) -> SigmaCalibration | None:
        """Correction of the returned standard deviations; None returns those of the network.

        That of the card follows the canvas. Score and variance vote always use the network's own.
        """
        return self._correction(self._runtime)

    @sigma_calibration.setter
    def sigma_calibration(self, value: SigmaCalibration | None) -> None:
        self._sigma_calibration = value

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
        return self.detect(self.prepare(frame_bgr))

    def prepare(self, frame_bgr: NDArray[np.uint8]) -> Prepared:
        """Put a frame on a canvas, as `detect` needs it; another thread may detect in the frame before meanwhile.

        Raises:
            FrameError: as `__call__`.
            ModelError: the model cannot be loaded with a canvas for this frame.
        """
        started = perf_counter()
        check_frame(frame_bgr)
        left, top, right, bottom = self.roi.pixels((frame_bgr.shape[0], frame_bgr.shape[1]))
        searched = frame_bgr[top:bottom, left:right]
        size = (bottom - top, right - left)
        if self.follows_frame and self._frame_size is None:
            self.fit((frame_bgr.shape[0], frame_bgr.shape[1]))
        runtime = self._runtime
        if (size, runtime.input_size) != (self._letterbox.frame_size, self._letterbox.canvas_size):
            self._letterbox = Letterbox.fit(size, runtime.input_size, self.card.resize)
        if isinstance(runtime, DetectingRuntime):
            image = np.ascontiguousarray(searched)
        else:
            image = self._letterbox.to_canvas(searched, out=self._free_canvas(runtime.input_size))
        return Prepared(runtime, image, self._letterbox, (left, top), perf_counter() - started)

    def detect(self, prepared: Prepared) -> Detections:
        """Detect objects in a prepared frame, once; see `__call__`."""
        started = perf_counter()
        if isinstance(prepared.runtime, DetectingRuntime):
            result = prepared.runtime.detect(prepared.image)
            detections = prepared.to_frame(self._device_detections(result), self._correction(prepared.runtime))
            # The device measured two stages; the rest of the time is post-processing.
            rest_s = perf_counter() - started - result.preprocess_s - result.inference_s
            self.last_timing = StageTimes(result.preprocess_s, result.inference_s, max(0.0, rest_s))
            return detections
        heads = self._infer(prepared.runtime, prepared.image)
        inferred = perf_counter()
        thresholds = self._class_selection.by_class(self._score_threshold, self.card.classes)
        try:
            candidates = decode(heads, self._anchors, self.card.strides, thresholds, criterion=self._criterion)
        except NonFiniteOutputError as error:
            raise NonFiniteOutputError(f"{error}{_or_fp32(prepared.runtime.description)}") from error
        kept = nms(candidates, self._iou_threshold, variance_vote=self._variance_vote)
        detections = prepared.to_frame(kept, self._correction(prepared.runtime))
        self._canvases.append(prepared.image)
        self.last_timing = StageTimes(prepared.preprocess_s, inferred - started, perf_counter() - inferred)
        return detections

    def use_canvas(self, size: tuple[int, int] | None) -> None:
        """Use a canvas of (height, width) px for all frames; None lets a free size follow the next frame."""
        self.follows_frame = size is None and self._runtime.free_size
        self._frame_size = None
        if size is not None:
            self._runtime = self._loaded.at(size)

    def fit(self, frame_size: tuple[int, int]) -> None:
        """Use the canvas that fits frames of (height, width) px, if it follows the frames; loads it if needed."""
        self._frame_size = frame_size
        self.operate_like(self._like)

    def operate_like(self, like: tuple[int, int]) -> None:
        """Use a canvas with about as many pixels as one of (height, width) px from now on; `load` avoids the wait."""
        self._like = like
        self._runtime = self.load(like)

    def load(self, like: tuple[int, int]) -> Runtime | DetectingRuntime:
        """Load the canvas of `operate_like`, but do not use it yet."""
        if not self.follows_frame:
            return self._runtime
        size = like
        if self._frame_size is not None:
            left, top, right, bottom = self.roi.pixels(self._frame_size)
            size = fitting_canvas((bottom - top, right - left), like, self.card.strides[0])
        if isinstance(self._runtime, DetectingRuntime):
            size = nearest_canvas(size, self._runtime.canvases)
        return self._loaded.at(size)

    def unload_others(self) -> None:
        """Release all canvases but the current one."""
        self._loaded.keep_only(self._runtime)

    def close(self) -> None:
        """Release the model; the detector cannot be used afterwards."""
        self._loaded.close()

    def _free_canvas(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        # A failed frame keeps its canvas, and canvases of another size are left over after a change.
        while self._canvases:
            canvas = self._canvases.pop()
            if canvas.shape[:2] == size:
                return canvas
        return np.empty((*size, 3), np.uint8)

    def _infer(self, runtime: Runtime, canvas: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Raw heads; a GPU or NPU that fails is replaced by the processor."""
        try:
            return runtime.infer(canvas)
        except InferenceError as error:
            if runtime.device == "CPU":
                raise
            self.notice = f"device {runtime.device} fails: {error}; running on the CPU"
        replacement = runtime.at(runtime.input_size, "CPU")
        self._loaded = LoadedCanvases(replacement)
        self._runtime = replacement
        return replacement.infer(canvas)

    def _correction(self, runtime: Runtime | DetectingRuntime) -> SigmaCalibration | None:
        chosen = self._sigma_calibration
        return self.card.sigma_calibration_at(runtime.input_size) if chosen == "card" else chosen

    def _device_detections(self, result: DeviceDetections) -> Detections:
        if not result.finite:
            raise NonFiniteOutputError(
                "the network gave NaN, infinity, or a box of infinite size: export the model again from a sound "
                f"checkpoint{_or_fp32(self._runtime.description)}"
            )
        kept = Detections(result.boxes, result.scores, result.class_ids, result.sigmas)
        thresholds = self._class_selection.by_class(self._score_threshold, self.card.classes)
        if self._built is not None and np.any(thresholds > self._built.score_threshold):
            kept = kept[kept.scores > (thresholds if isinstance(thresholds, float) else thresholds[kept.class_ids])]
        return kept

    def __exit__(self, *error: object) -> None:
        self.close()


def _or_fp32(description: str) -> str:
    """Advice for a runtime that computes in less than fp32."""
    return "" if "fp32" in description else "; or run it, or build its engine, in precision fp32"

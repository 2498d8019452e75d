"""The two interfaces of inference runtimes, and their common checks.

A CPU runtime returns the raw heads of the network and does not know anchors, classes or boxes. Decoding starts with
the threshold and takes a fraction of a millisecond in numpy. So one implementation in `detector.decode` serves all
CPU runtimes, and a runtime stays small. A GPU runtime does everything from frame to detections, because copying the
heads back costs more. It has the second interface.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import GaussianYoloError, ModelError, SettingError

Precision = Literal["auto", "fp32", "bf16"]
# Keys of a model's metadata.
CARD_KEY = "gaussian_yolo.card"  # its card, JSON
MOST_CANVAS_PIXELS = 64_000_000  # of a canvas that a card asks for; no larger frame is read
PRECISION_KEY = "gaussian_yolo.precision"  # "int8" if the model is quantised, else absent
MODEL_HASH_KEY = "gaussian_yolo.model_hash"  # of an engine: the hash of the model that it was built from


class RuntimeUnavailableError(GaussianYoloError):
    """The runtime or a requested option is not available on this machine."""


class InferenceError(GaussianYoloError):
    """A runtime failed while running a model."""


class DeviceMemoryError(InferenceError):
    """The device is out of memory; models loaded before still run."""


class DeviceLostError(InferenceError):
    """The device failed; only a new process can use it again."""


@dataclass(frozen=True)
class RuntimeOptions:
    """How to run a model.

    Attributes:
        threads: processor threads per inference; 0 uses all cores.
        precision: "auto" computes in bf16 if processor and runtime support it, else in fp32. The integer layers of a
            quantised model stay integer; this option applies to the other layers. A TensorRT engine has the precision
            that it was built with.
        rebuild_engine: rebuild a TensorRT engine that does not match the model or the machine; takes minutes.
        input_size: (height, width) of the canvas in px, for a model with free height and width; None uses the card's.
        device: "auto" for the fastest, "cpu", "gpu" or "npu", or OpenVINO's or ONNX Runtime's name of a device.

    Raises:
        SettingError: a value is out of range.
    """

    threads: int = 0
    precision: Precision = "auto"
    rebuild_engine: bool = False
    input_size: tuple[int, int] | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise SettingError(f"threads is {self.threads}; give the number of threads, or 0 for all cores")
        if self.precision not in get_args(Precision):
            raise SettingError(f"precision is {self.precision!r}; choose one of {', '.join(get_args(Precision))}")
        if self.input_size is not None and min(self.input_size) < 1:
            raise SettingError(f"input_size is {show_size(self.input_size)}; give height and width in px")


class Runtime(Protocol):
    """A loaded model. Not thread-safe: use one per thread.

    Attributes:
        name: the runtime's name, as passed to `open_runtime`.
        description: runtime, version, device, precision and threads, human-readable.
        metadata: the ONNX metadata_props of the model.
        input_size: (height, width) of the canvas in px.
        strides: px per grid cell of each head, coarsest first.
        head_shapes: (channels, rows, columns) of each head, in the order of `strides`.
        free_size: whether the model can be loaded for other canvas sizes.
        device: the runtime's own name of the device that it runs on; "CPU" for the processor.
        notice: why it is not the device that was asked for; empty if it is.
    """

    name: str
    description: str
    metadata: Mapping[str, str]
    input_size: tuple[int, int]
    free_size: bool
    strides: tuple[int, ...]
    head_shapes: tuple[tuple[int, int, int], ...]
    device: str
    notice: str

    def at(self, input_size: tuple[int, int], device: str = "") -> Runtime:
        """The same model on another canvas of (height, width) px, if `free_size`, or another device.

        Both can be used, from different threads, and are closed on their own.

        Raises:
            ModelError: the size is not a multiple of the coarsest stride, or not free.
        """
        ...

    def infer(self, canvas: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Run the network on one canvas.

        Args:
            canvas: uint8 [H, W, 3] BGR of `input_size`, C-contiguous.

        Returns:
            The raw heads, float32 [1, channels, rows, columns], in the order of `strides`. They may be views of the
            runtime's memory and are valid until the next call.

        Raises:
            InferenceError: the canvas has the wrong shape or type, or the runtime failed.
        """
        ...

    def close(self) -> None:
        """Release the model; the runtime cannot be used afterwards."""
        ...


@dataclass(frozen=True)
class BuiltThresholds:
    """Settings built into a runtime that returns detections; they cannot change.

    Attributes:
        score_threshold: minimum score of a detection.
        iou_threshold: of the non-maximum suppression.
        variance_vote: whether suppressed boxes vote.
        remedy: how to get other values, as the end of a sentence: "build it again with ...".
        criterion: the score by which detections are thresholded and ranked.
    """

    score_threshold: float
    iou_threshold: float
    variance_vote: bool
    remedy: str
    criterion: str = "gaussian"


@dataclass(frozen=True)
class DeviceDetections:
    """The detections of one frame on a device, by descending score.

    Attributes:
        boxes: float32 [N, 4], x1 y1 x2 y2 in canvas px, not clipped.
        scores: float32 [N].
        class_ids: int32 [N].
        sigmas: float32 [N, 4], of centre x, centre y, width, height in canvas px.
        finite: False if the network's output contains NaN or infinity; then there are no detections.
        preprocess_s: time from frame to canvas, including the copy to the device, s.
        inference_s: time of network, decoding and suppression, s.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    sigmas: NDArray[np.float32]
    finite: bool
    preprocess_s: float
    inference_s: float


@runtime_checkable
class DetectingRuntime(Protocol):
    """A loaded model that runs on a device from frame to detections. Use it from one thread at a time, any thread.

    Attributes:
        name: the runtime's name, as passed to `Detector.open`.
        description: runtime, version, device and precision, human-readable; may change with the frames.
        metadata: card and hash of the model that it was built from.
        input_size: (height, width) of the canvas in px.
        built: settings that are built in and cannot change.
        canvases: (height, width) in px of the canvases that the model can be loaded for, by number of pixels.
        free_size: whether there are several.
    """

    name: str
    metadata: Mapping[str, str]
    input_size: tuple[int, int]
    built: BuiltThresholds
    canvases: tuple[tuple[int, int], ...]

    @property
    def description(self) -> str: ...

    @property
    def free_size(self) -> bool: ...

    def at(self, input_size: tuple[int, int]) -> DetectingRuntime:
        """The same model on another canvas of (height, width) px; see `Runtime.at`.

        Raises:
            ModelError: there is no engine for that canvas, or it is stale; gives the command that builds it.
            InferenceError: the device failed, or has not enough memory.
        """
        ...

    def detect(self, frame_bgr: NDArray[np.uint8]) -> DeviceDetections:
        """Detections of one frame, uint8 [H, W, 3] of any size.

        Raises:
            InferenceError: the device failed, see its subclasses.
        """
        ...

    def close(self) -> None:
        """Release model and device memory; the runtime cannot be used afterwards. A second call does nothing."""
        ...


def check_readable(path: Path) -> None:
    """Raise ModelError unless `path` is a non-empty file."""
    if not path.is_file():
        raise ModelError(f"model file {path} does not exist; check the path or name a shipped model")
    if path.stat().st_size == 0:
        raise ModelError(f"model file {path} is empty; copy or export it again")


def unreadable(path: Path, runtime: str, error: Exception) -> ModelError:
    """The error for a file that a runtime cannot load as a model."""
    return ModelError(
        f"{path} cannot be read as an ONNX model by {runtime} ({last_words(error)}); it may be cut short or "
        "not be ONNX: copy or export it again"
    )


def show_precision(metadata: Mapping[str, str], precision: str) -> str:
    """The precision of a model, human-readable: "int8/bf16" for a quantised model whose other layers use bf16."""
    quantised = metadata.get(PRECISION_KEY)
    return f"{quantised}/{precision}" if quantised else precision


def last_words(error: Exception) -> str:
    """The last line of a runtime's error message, which states the cause, cut to 160 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    words = " ".join((lines[-1] if lines else type(error).__name__).split())
    return words if len(words) <= 160 else words[:157] + "..."


def check_canvas(canvas: NDArray[np.uint8], input_size: tuple[int, int]) -> None:
    """Raise InferenceError unless the canvas is contiguous uint8 [H, W, 3] of `input_size`."""
    if canvas.shape != (*input_size, 3) or canvas.dtype != np.uint8 or not canvas.flags.c_contiguous:
        raise InferenceError(
            f"the canvas is {canvas.dtype} {list(canvas.shape)} where the model takes contiguous uint8 "
            f"{[*input_size, 3]}; letterbox the frame first"
        )


def parse_size(text: str, name: str = "--size") -> tuple[int, int]:
    """Height and width in px from "384x1248"; `name` is the option's, for the message.

    Raises:
        SettingError: the text has another form.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise SettingError(f"{name} is {text!r}; give HEIGHTxWIDTH in px, 256x832 for instance")
    return int(match[1]), int(match[2])


def show_size(size: Iterable[int | None]) -> str:
    """Height and width in the format of the options: 384x1248."""
    return "x".join(str(side) for side in size)

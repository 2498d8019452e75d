"""What every inference runtime offers, and the checks that all of them make.

A runtime returns the raw heads of the network and knows nothing of anchors, classes or boxes. Decoding them
is threshold-first and costs a fraction of a millisecond in numpy, so one implementation in `detector.decode`
serves every runtime of the CPU, and a runtime stays a page of code. On a GPU the heads would have to be copied back for
that, so a runtime there does the whole way from frame to detections: that is the second interface.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import GaussianYoloError, ModelError, SettingError

Precision = Literal["auto", "fp32", "bf16"]
CARD_KEY = "gaussian_yolo.card"  # in a model's metadata: its card, JSON
PRECISION_KEY = "gaussian_yolo.precision"  # in a model's metadata: "int8" where it is quantised, else absent
MODEL_HASH_KEY = "gaussian_yolo.model_hash"  # in the metadata of what was built from a model: that model's hash


class RuntimeUnavailableError(GaussianYoloError):
    """The runtime, or what was asked of it, is not to be had on this machine."""


class InferenceError(GaussianYoloError):
    """A runtime failed while it ran a model."""


class DeviceMemoryError(InferenceError):
    """The device has not enough memory left; what was loaded before still runs."""


class DeviceLostError(InferenceError):
    """The device failed in a way that only a new process gets over."""


@dataclass(frozen=True)
class RuntimeOptions:
    """How to run a model.

    Attributes:
        threads: processor threads for one inference; 0 takes all cores.
        precision: "auto" computes in bf16 where the processor has it and the runtime can, else in fp32. The integer
            layers of a quantised model stay integer; this is for the layers around them. A TensorRT engine has the
            precision it was built in.
        rebuild_engine: build a TensorRT engine again, which takes minutes, where it does not fit model or machine.
        input_size: height and width of the canvas in px, for a model whose height and width are free; None takes the
            card's.

    Raises:
        SettingError: a value is out of range.
    """

    threads: int = 0
    precision: Precision = "auto"
    rebuild_engine: bool = False
    input_size: tuple[int, int] | None = None

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
        name: the runtime's name as `open_runtime` takes it.
        description: runtime, version, device, precision and threads, for people.
        metadata: the ONNX metadata_props of the model.
        input_size: (height, width) of the canvas in px.
        strides: px per grid cell of each head, coarsest first.
        head_shapes: (channels, rows, columns) of each head, in the order of `strides`.
        free_size: whether the model takes canvases of other sizes too, when it is loaded for them.
    """

    name: str
    description: str
    metadata: Mapping[str, str]
    input_size: tuple[int, int]
    free_size: bool
    strides: tuple[int, ...]
    head_shapes: tuple[tuple[int, int, int], ...]

    def infer(self, canvas: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Run the network on one canvas.

        Args:
            canvas: uint8 [H, W, 3] BGR of `input_size`, C-contiguous.

        Returns:
            The raw heads, float32 [1, channels, rows, columns], in the order of `strides`. They may be views
            of the runtime's own memory, and hold until the next call.

        Raises:
            InferenceError: the canvas does not fit, or the runtime failed.
        """
        ...

    def close(self) -> None:
        """Release the model; the runtime cannot be used afterwards."""
        ...


@dataclass(frozen=True)
class BuiltThresholds:
    """What a runtime that gives finished detections was built with, and cannot change.

    Attributes:
        score_threshold: no detection below it comes out.
        iou_threshold: of its non-maximum suppression.
        variance_vote: whether suppressed boxes vote there.
        remedy: what to do for others, to end a sentence: "build it again with ...".
        criterion: what detections are thresholded and ranked by.
    """

    score_threshold: float
    iou_threshold: float
    variance_vote: bool
    remedy: str
    criterion: str = "gaussian"


@dataclass(frozen=True)
class DeviceDetections:
    """What a device found in one frame, by falling score.

    Attributes:
        boxes: float32 [N, 4], x1 y1 x2 y2 in canvas px, not clipped.
        scores: float32 [N].
        class_ids: int32 [N].
        sigmas: float32 [N, 4], of centre x, centre y, width, height in canvas px.
        finite: False where the network gave NaN or infinity; then there are no detections.
        preprocess_s: from the frame to the canvas, with the copy to the device, s.
        inference_s: network, decoding and suppression, s.
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
    """A loaded model whose device does the whole way from frame to detections. One thread at a time, whichever.

    Attributes:
        name: the runtime's name as `Detector.open` takes it.
        description: runtime, version, device and precision, for people; may change when frames do.
        metadata: the card of the model it was built from, and that model's hash.
        input_size: (height, width) of the canvas in px.
        built: thresholds that cannot be changed any more.
        slots: frames that may be in work at a time.
    """

    name: str
    metadata: Mapping[str, str]
    input_size: tuple[int, int]
    built: BuiltThresholds
    slots: int

    @property
    def description(self) -> str: ...

    def detect(self, frame_bgr: NDArray[np.uint8]) -> DeviceDetections:
        """Detections of one frame, uint8 [H, W, 3] of any size.

        Raises:
            InferenceError: the device failed, see its subclasses; or frames that were submitted are not collected.
        """
        ...

    def submit(self, frame_bgr: NDArray[np.uint8]) -> None:
        """Start on a frame and return at once; the frame may be changed afterwards.

        Raises:
            InferenceError: as `detect`; or all slots are taken.
        """
        ...

    def collect(self) -> DeviceDetections:
        """Wait for the frame that was submitted first.

        Raises:
            InferenceError: as `detect`; or none was submitted.
        """
        ...

    def close(self) -> None:
        """Release model and device memory; the runtime cannot be used afterwards. A second call does nothing."""
        ...


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a model, checked against what this package exports.

    Attributes:
        input_size: (height, width) in px.
        strides: of the heads, coarsest first.
        head_names: output names, in the order of `strides`.
        head_shapes: (channels, rows, columns) of each head.
        free_size: whether height and width are free in the file.
    """

    input_size: tuple[int, int]
    strides: tuple[int, ...]
    head_names: tuple[str, ...]
    head_shapes: tuple[tuple[int, int, int], ...]
    free_size: bool


Shape = Sequence[int | None]
_HEAD_NAME = re.compile(r"head_(\d+)")


def choose_input_size(
    path: Path, shape: Shape, outputs: Iterable[str], metadata: Mapping[str, str], options: RuntimeOptions
) -> tuple[int, int] | None:
    """Height and width, px, that a model is to be fixed to as it is loaded; None where there is nothing to fix.

    Args:
        path: the model file, for messages.
        shape: of its input, None for a dimension that is not fixed.
        outputs: their names.
        metadata: of the model; its card has the size where the options have none.

    Raises:
        ModelError: its size is fixed and another one is asked for, or the one asked for is no multiple of the coarsest
            stride.
    """
    if _is_image(shape) and options.input_size not in (None, tuple(shape[1:3])):
        raise ModelError(
            f"{path} takes a canvas of {show_size(shape[1:3])} px only, not of {show_size(options.input_size or ())}; "
            "leave input_size out, or export it again, which leaves the size free"
        )
    if not _is_image([1 if size is None else size for size in shape]) or None not in shape[1:3] or shape[0] != 1:
        return None
    if options.input_size is not None:
        coarsest = max((int(match[1]) for name in outputs if (match := _HEAD_NAME.fullmatch(name))), default=1)
        if any(side % coarsest for side in options.input_size):
            raise ModelError(
                f"{path} takes a height and width that are multiples of {coarsest} px, not "
                f"{show_size(options.input_size)}"
            )
        return options.input_size
    with suppress(KeyError, TypeError, ValueError):  # `read_card` says what is wrong with a card
        height, width = json.loads(metadata[CARD_KEY])["input_size"]
        return int(height), int(width)
    return None


def read_signature(
    path: Path,
    input_type: str,
    input_shapes: Sequence[Shape],
    outputs: Mapping[str, Shape],
    input_size: tuple[int, int] | None = None,
) -> Signature:
    """Check a model's inputs and outputs.

    Args:
        path: the model file, for messages.
        input_type: element type of the first input, "uint8" where it is right.
        input_shapes: shape of each input, None for a dimension that is not fixed.
        outputs: shape of each output by name.
        input_size: height and width in px that a free size was fixed to.

    Raises:
        ModelError: the input is not uint8 [1, H, W, 3], or the outputs are not heads named after their
            strides.
    """
    if input_size is not None:
        input_shapes = [_fill(shape, (None, *input_size, None)) for shape in input_shapes]
        outputs = {name: _fill(shape, _head_shape(name, input_size)) for name, shape in outputs.items()}
    if len(input_shapes) != 1 or input_type != "uint8" or not _is_image(input_shapes[0]):
        shown = ", ".join(f"{input_type} {_show(shape)}" for shape in input_shapes) or "nothing"
        raise ModelError(
            f"{path} takes {shown} where uint8 [1, height, width, 3] is needed; export it with `gaussian-yolo export` "
            "and batch 1"
        )
    heads: dict[int, tuple[str, tuple[int, int, int]]] = {}
    for name, shape in outputs.items():
        match = _HEAD_NAME.fullmatch(name)
        fixed = tuple(size for size in shape if size is not None)
        if match is None or len(shape) != 4 or len(fixed) != 4 or fixed[0] != 1:
            raise ModelError(
                f"{path} has an output {name!r} of shape {_show(shape)} where raw heads named head_STRIDE "
                "of shape [1, channels, rows, columns] are needed; export it with `gaussian-yolo export` and batch 1"
            )
        heads[int(match.group(1))] = (name, (fixed[1], fixed[2], fixed[3]))
    if not heads:
        raise ModelError(f"{path} has no outputs; export it with `gaussian-yolo export`")
    strides = tuple(sorted(heads, reverse=True))
    height, width = input_shapes[0][1], input_shapes[0][2]
    assert height is not None and width is not None  # _is_image has looked
    return Signature(
        input_size=(height, width),
        strides=strides,
        head_names=tuple(heads[stride][0] for stride in strides),
        head_shapes=tuple(heads[stride][1] for stride in strides),
        free_size=input_size is not None,
    )


def check_readable(path: Path) -> None:
    """Raise ModelError unless `path` is a file with something in it."""
    if not path.is_file():
        raise ModelError(f"model file {path} does not exist; check the path or name a shipped model")
    if path.stat().st_size == 0:
        raise ModelError(f"model file {path} is empty; copy or export it again")


def unreadable(path: Path, runtime: str, error: Exception) -> ModelError:
    """The error for a file that a runtime could not load as a model."""
    return ModelError(
        f"{path} cannot be read as an ONNX model by {runtime} ({last_words(error)}); it may be cut short or "
        "not be ONNX: copy or export it again"
    )


def show_precision(metadata: Mapping[str, str], precision: str) -> str:
    """What a model computes in, for people: "int8/bf16" if it is quantised and the rest of it is in bf16."""
    quantised = metadata.get(PRECISION_KEY)
    return f"{quantised}/{precision}" if quantised else precision


def last_words(error: Exception) -> str:
    """The part of a runtime's many-lined message that says what went wrong, on one line and not too long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    words = " ".join((lines[-1] if lines else type(error).__name__).split())
    return words if len(words) <= 160 else words[:157] + "..."


def check_canvas(canvas: NDArray[np.uint8], input_size: tuple[int, int]) -> None:
    """Raise InferenceError unless the canvas is what the model takes."""
    if canvas.shape != (*input_size, 3) or canvas.dtype != np.uint8 or not canvas.flags.c_contiguous:
        raise InferenceError(
            f"the canvas is {canvas.dtype} {_show(canvas.shape)} where the model takes contiguous uint8 "
            f"{_show((*input_size, 3))}; letterbox the frame first"
        )


def show_size(size: Iterable[int | None]) -> str:
    """Height and width, as options take them: 384x1248."""
    return "x".join(str(side) for side in size)


def _fill(shape: Shape, sizes: Shape) -> Shape:
    """The shape, its free dimensions as `sizes` has them."""
    if len(shape) != len(sizes):
        return shape
    return [given if own is None else own for own, given in zip(shape, sizes, strict=True)]


def _head_shape(name: str, input_size: tuple[int, int]) -> Shape:
    match = _HEAD_NAME.fullmatch(name)
    return [] if match is None else [None, None, *(side // int(match.group(1)) for side in input_size)]


def _is_image(shape: Shape) -> bool:
    return len(shape) == 4 and shape[0] == 1 and shape[3] == 3 and None not in shape


def _show(shape: Iterable[int | None]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"

"""Model files and their cards: the ONNX metadata describes the network to the detector."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.decode import BOX_ENTRIES
from gaussian_yolo_node.detector.letterbox import Resize
from gaussian_yolo_node.detector.sigma_correction import SigmaCalibration
from gaussian_yolo_node.documents import parse_json
from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.files import installed_prefixes
from gaussian_yolo_node.runtime.base import CARD_KEY, MOST_CANVAS_PIXELS, DetectingRuntime, Runtime
from gaussian_yolo_node.settings import DISTINCT, Count, Fraction, Must, Positive, read

DEFAULT_MODEL = "csp_nano_driving"
FORMAT_VERSION = 1

__all__ = [
    "CARD_KEY",
    "DEFAULT_MODEL",
    "ModelCard",
    "ModelError",
    "check_network",
    "read_card",
    "resolve_model",
    "shipped_models",
]


def _descends(strides: Sequence[int]) -> bool:
    return list(strides) == sorted(set(strides), reverse=True)


Name = Annotated[str, "a name", Must("", len)]
Size = Annotated[
    tuple[Count, Count],
    "[height, width] in px",
    Must("of at most 64 megapixels", lambda size: math.prod(size) <= MOST_CANVAS_PIXELS),
]
Anchors = Annotated[
    tuple[Annotated[tuple[Positive, Positive], "[width, height] in px"], ...],
    "a list of [width, height] in px",
    Must("", len),
]


@dataclass(frozen=True)
class OperatingPoint:
    """A canvas size on which a model with free height and width was measured.

    Attributes:
        input_size: (height, width) in px.
        gmacs: multiply-accumulates per frame, in 1e9.
        average_precision: by dataset and metric, 0..1: {"drive_0011": {"AP50 car": 0.8}}.
        sigma_calibration: correction of the standard deviations on canvases with about as many pixels.
    """

    input_size: Size
    gmacs: Positive
    average_precision: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sigma_calibration: SigmaCalibration | None = None


@dataclass(frozen=True)
class ModelCard:
    """Description of a network's heads and of its origin.

    Attributes:
        name: the model's name.
        classes: class names; a class id is an index into them.
        anchors: [S][A][2], width and height in canvas px, in the order of `strides`.
        strides: canvas px per grid cell of each head, coarsest first.
        input_size: (height, width) of the canvas in px.
        score_threshold: the default, 0 <= t < 1.
        iou_threshold: the default of non-maximum suppression, 0 <= t < 1.
        variance_vote: whether suppressed boxes vote on the box that is kept, by default.
        resize: how frames are resampled to the canvas, as in training; see `Letterbox`.
        sigma_calibration: correction of the standard deviations on canvases of `input_size`; None for no correction.
        operating_points: measurements by canvas size, smallest first, of a model with free height and width.
        training: data, licence, seed, command, metrics; free-form, human-readable.
        deployment: graph changes made by export, and the target runtime; free-form, human-readable.
        format_version: of the card itself.
    """

    name: Name
    classes: Annotated[tuple[Name, ...], "a list of class names", Must("", len), DISTINCT]
    anchors: Annotated[tuple[Anchors, ...], "a list of heads", Must("", len)]
    strides: Annotated[tuple[Count, ...], "a list of strides in px", Must("", len), Must("coarsest first", _descends)]
    input_size: Size
    score_threshold: Fraction = 0.3
    iou_threshold: Fraction = 0.45
    variance_vote: bool = False
    resize: Resize = "bilinear"
    sigma_calibration: SigmaCalibration | None = None
    operating_points: tuple[OperatingPoint, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    deployment: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The card as the JSON text that goes under CARD_KEY."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str, source: str | Path) -> ModelCard:
        """Parse and check a card.

        Args:
            text: JSON.
            source: the file that contains the card, for messages.

        Raises:
            ModelError: a field is missing or wrong; the message names the file and the field.
        """
        again = "; export the model again"
        values = parse_json(text, f"the card of {source}", lambda fault: ModelError(fault + again))
        version = values.get("format_version", FORMAT_VERSION) if isinstance(values, dict) else FORMAT_VERSION
        if version != FORMAT_VERSION:
            raise ModelError(
                f"the card of {source} has format_version {version!r} and this version reads {FORMAT_VERSION}{again}, "
                "or update gaussian_yolo"
            )
        card = read(cls, values, f"the card of {source}", lambda text: ModelError(text + again))
        if len(card.anchors) != len(card.strides):
            raise ModelError(
                f"the card of {source} has anchors for {len(card.anchors)} heads but strides of "
                f"{len(card.strides)}{again}"
            )
        if any(side % card.strides[0] for side in card.input_size):
            raise ModelError(
                f"the card of {source}: input_size must be multiples of the stride {card.strides[0]}, not "
                f"{card.input_size}{again}"
            )
        return card

    @property
    def anchor_sizes(self) -> list[NDArray[np.float32]]:
        """Anchors of each head, float32 [A, 2] in canvas px, as `decode` takes them."""
        return [np.asarray(head, np.float32) for head in self.anchors]

    def sigma_calibration_at(self, input_size: tuple[int, int]) -> SigmaCalibration | None:
        """The correction for a canvas (height, width) in px: that of the operating point nearest in pixel count."""
        point = self.operating_point_at(input_size)
        return self.sigma_calibration if point is None else point.sigma_calibration

    def operating_point_at(self, input_size: tuple[int, int]) -> OperatingPoint | None:
        """The operating point nearest in pixel count to a canvas (height, width) in px; None if the card has none."""

        def distance(point: OperatingPoint) -> float:
            return abs(math.log(math.prod(point.input_size) / math.prod(input_size)))

        return min(self.operating_points, key=distance, default=None)


def read_card(metadata: Mapping[str, str], path: Path) -> ModelCard:
    """The card in a model's metadata.

    Raises:
        ModelError: the model has no card, or the card is wrong.
    """
    if CARD_KEY not in metadata:
        raise ModelError(
            f"{path} has no {CARD_KEY} metadata, so its classes and anchors are unknown; export it with "
            "`gaussian-yolo export`"
        )
    return ModelCard.from_json(metadata[CARD_KEY], path)


def check_network(card: ModelCard, runtime: Runtime | DetectingRuntime, path: Path) -> None:
    """Raise ModelError unless the network of the model file `path` has the canvas and the heads that its card says."""
    if runtime.input_size != card.input_size and (isinstance(runtime, DetectingRuntime) or not runtime.free_size):
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


def resolve_model(name_or_path: str | Path) -> Path:
    """Find a model file.

    Args:
        name_or_path: a path, or the name of a shipped model with or without ".onnx".

    Raises:
        ModelError: there is no such file; the message lists the shipped models.
    """
    given = Path(name_or_path).expanduser()
    if given.is_file():
        return given
    if given.name == str(name_or_path):
        for folder in engine_folders():
            for candidate in (folder / given.name, folder / f"{given.name}.onnx"):
                if candidate.is_file():
                    return candidate
    raise ModelError(
        f"there is no model {str(name_or_path)!r}; give the path of an ONNX file, or one of the shipped models: "
        f"{', '.join(shipped_models()) or 'none is installed'}"
    )


def shipped_models() -> list[str]:
    """Names of the shipped models, sorted."""
    return sorted({file.stem for folder in engine_folders() for file in folder.glob("*.onnx")})


def engine_folders() -> list[Path]:
    """Folders to search for shipped models, in order; some may not exist."""
    installed = [prefix / "share" / "gaussian_yolo" / "engines" for prefix in installed_prefixes()]
    return [*installed, Path(__file__).resolve().parents[2] / "engines"]

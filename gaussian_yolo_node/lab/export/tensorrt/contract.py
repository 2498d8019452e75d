"""Inputs and outputs of the plugin `GaussianYoloDetect`, shared by the graph, the library and the runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from gaussian_yolo_node.detector.decode import BOX_ENTRIES, CRITERIA, Criterion
from gaussian_yolo_node.detector.model import ModelCard
from gaussian_yolo_node.errors import GaussianYoloError, SettingError
from gaussian_yolo_node.settings import bounds, check, option

PLUGIN_NAME = "GaussianYoloDetect"
PLUGIN_NAMESPACE = ""
OUTPUTS = ("num_detections", "boxes", "scores", "class_ids", "sigmas")
INTEGER_OUTPUTS = ("num_detections", "class_ids")  # int32; the others are float32

# Limits of engines/plugin/kernels.h.
HEADS = 3
MOST_ANCHORS = 8
MOST_CANDIDATES = 8192

Candidates = Annotated[int, bounds(least=1, most=MOST_CANDIDATES)]


class EngineError(GaussianYoloError):
    """An engine cannot be built with the given options."""


@dataclass(frozen=True)
class DetectAttributes:
    """Attributes of the plugin node; each is also a plugin field, stored in the engine.

    Attributes:
        anchors: width and height of each head's anchors in canvas px, flattened, in the order of `strides`.
        strides: canvas px per cell of each head, coarsest first.
        num_classes: from 1.
        input_height: of the canvas, px.
        input_width: of the canvas, px.
        score_threshold: 0 <= t < 1; objectness and score must be above it.
        iou_threshold: 0 <= t < 1; a box is suppressed above it.
        max_candidates: best (cell, class) pairs passed to suppression.
        max_detections: rows of the outputs.
        variance_vote: 1 if suppressed boxes vote on the kept box.
        criterion: index into CRITERIA.
    """

    anchors: tuple[float, ...]
    strides: tuple[int, ...]
    num_classes: int
    input_height: int
    input_width: int
    score_threshold: float
    iou_threshold: float
    max_candidates: Candidates
    max_detections: Candidates
    variance_vote: int
    criterion: int

    def __post_init__(self) -> None:
        """Raises SettingError for a number out of range."""
        check(self, SettingError, option)

    @classmethod
    def of_card(
        cls,
        card: ModelCard,
        *,
        max_candidates: int = 1000,
        max_detections: int = 300,
        criterion: Criterion = "gaussian",
    ) -> DetectAttributes:
        """Attributes for a model.

        Raises:
            EngineError: the plugin's kernels do not support the model.
            SettingError: a number is out of range.
        """
        anchors = {len(head) for head in card.anchors}
        if len(card.strides) != HEADS or len(anchors) != 1 or max(anchors) > MOST_ANCHORS:
            shown = ", ".join(str(len(head)) for head in card.anchors)
            raise EngineError(
                f"{card.name} has {len(card.strides)} heads with {shown} anchors where the plugin takes {HEADS} heads "
                f"with the same number of anchors each, up to {MOST_ANCHORS}; run it on runtime openvino or onnxruntime"
            )
        return cls(
            anchors=tuple(side for head in card.anchors for anchor in head for side in anchor),
            strides=card.strides,
            num_classes=len(card.classes),
            input_height=card.input_size[0],
            input_width=card.input_size[1],
            score_threshold=card.score_threshold,
            iou_threshold=card.iou_threshold,
            max_candidates=max_candidates,
            max_detections=max_detections,
            variance_vote=int(card.variance_vote),
            criterion=CRITERIA.index(criterion),
        )

    @property
    def head_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(channels, rows, columns) of the plugin's input heads."""
        channels = len(self.anchors) // (2 * len(self.strides)) * (BOX_ENTRIES + self.num_classes)
        return tuple((channels, self.input_height // stride, self.input_width // stride) for stride in self.strides)

    def workspace_bound(self, batch: int) -> int:
        """Upper bound of the kernels' workspace, bytes; exact: `detectWorkspaceBytes` in engines/plugin/kernels.cu."""
        pairs = self.num_classes * sum(
            len(self.anchors) // (2 * len(self.strides)) * rows * columns for _, rows, columns in self.head_shapes
        )
        candidate = 8 + 16 + 16 + 4 + 4 + self.max_candidates // 8 + 8  # key, box, sigmas, score, class, overlaps
        image = 4 * 4 + 8 * pairs + candidate * self.max_candidates + 4 * self.max_detections
        return batch * image + 12 * 256  # parts are aligned

    def as_mapping(self) -> Mapping[str, Any]:
        """Values by attribute name."""
        return asdict(self)


def output_shapes(batch: int, max_detections: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the outputs by name; rows beyond the number of detections are zero."""
    return {
        "num_detections": (batch,),
        "boxes": (batch, max_detections, 4),
        "scores": (batch, max_detections),
        "class_ids": (batch, max_detections),
        "sigmas": (batch, max_detections, 4),
    }

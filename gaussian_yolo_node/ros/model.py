"""The detector as the node's parameters describe it."""

from __future__ import annotations

from gaussian_yolo_node.detector.canvas import Roi
from gaussian_yolo_node.detector.class_selection import ClassSelection
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.rate_keeper import RateKeeper
from gaussian_yolo_node.ros.parameter_table import PerceptionParameters
from gaussian_yolo_node.runtime import RuntimeOptions


def load(values: PerceptionParameters) -> Detector:
    """Load the model. Raises as `Detector.open`."""
    options = RuntimeOptions(threads=values.threads, precision=values.precision, device=values.device)
    return Detector.open(values.model, values.runtime, options=options)


def tune(detector: Detector, values: PerceptionParameters) -> None:
    """Apply the parameters that may change between frames.

    Raises:
        SettingError: a value is built into a GPU engine, or the model does not have a class.
    """
    detector.score_threshold = values.score_threshold or detector.card.score_threshold
    detector.iou_threshold = values.iou_threshold or detector.card.iou_threshold
    vote = values.variance_vote
    detector.variance_vote = vote if isinstance(vote, bool) else detector.card.variance_vote
    detector.criterion = values.criterion
    detector.class_selection = ClassSelection.parse(values.classes, values.class_thresholds, detector.card.classes)


def choose_canvas(
    keeper: RateKeeper, detector: Detector, values: PerceptionParameters, frame_size: tuple[int, int] | None
) -> None:
    """Take the region of interest, and the fixed canvas, the one that keeps the rate, or the card's; may take seconds.

    Args:
        frame_size: (height, width) of the frames in px, if known.

    Raises:
        ModelError: the model cannot be loaded with that canvas.
    """
    detector.roi = Roi.parse(values.roi)
    detector.use_canvas(values.fixed_canvas)
    if values.keeps_rate:
        keeper.start(frame_size)
    else:
        detector.operate_like(detector.card.input_size)
        if frame_size is not None:
            detector.fit(frame_size)

"""Implementation of `gaussian-yolo calibrate`: run a detector on labelled frames and fit the correction of its
sigmas."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from rich.console import Console
from rich.progress import track

from gaussian_yolo_node.commands.detect_run import DetectionError
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.model import ModelCard
from gaussian_yolo_node.detector.sigma_correction import SigmaCalibration
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.evaluation.all_objects import COMMON_IOU, match_boxes
from gaussian_yolo_node.evaluation.paired import pair
from gaussian_yolo_node.evaluation.sigma_fit import CalibrationError, calibrated, cross_validated, fit_sigma_calibration
from gaussian_yolo_node.evaluation.uncertainty import SigmaQuality, sigma_quality
from gaussian_yolo_node.frames import Source
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, GroundTruth


@dataclass(frozen=True)
class CalibrationRun:
    """Result of a calibration.

    Attributes:
        calibration: the fit to all boxes.
        frames: number of labelled frames.
        boxes: number of detections that match an object.
        qualities: of the network's own sigmas ("raw"), of the corrected ones ("calibrated"), and of those corrected by
            the fit to the other half of the recording ("unseen", missing if there are too few boxes).
    """

    calibration: SigmaCalibration
    frames: int
    boxes: int
    qualities: Mapping[str, SigmaQuality]

    @property
    def verdict(self) -> str:
        """Whether the fit helps on unseen frames, in one sentence."""
        if "unseen" not in self.qualities:
            return "too few boxes to fit to one half of the frames and measure on the other"
        raw, unseen = self.qualities["raw"].overall.nll, self.qualities["unseen"].overall.nll
        if raw is None or unseen is None or unseen >= raw:
            return (
                "on unseen frames the corrected sigmas are no likelier than the raw ones: the halves differ too much, "
                "so give more drives before you trust the fit"
            )
        return "on unseen frames the corrected sigmas are likelier than the raw ones"


def calibrate_detector(
    detector: Detector, source: Source, labels: GroundTruth, least_score: float, console: Console
) -> CalibrationRun:
    """Fit a correction of a detector's sigmas to labelled frames that it was not trained on.

    Args:
        detector: gives the network's own sigmas, for boxes from `least_score`.
        source: frames of one recording in order, named like the label files; frames without a label are skipped.
        labels: by the frames' stems.
        least_score: minimum score of the boxes to fit to.
        console: for progress.

    Raises:
        DatasetError: no frame has a label.
        CalibrationError: the matched boxes do not allow a fit.
        DetectionError: a frame could not be processed; the message names it.
    """
    predictions = _detect_labelled(detector, source, labels, console)
    matched = match_boxes(pair(labels, predictions), COMMON_IOU, least_score)
    calibration = fit_sigma_calibration(matched)
    states = {"raw": matched, "calibrated": calibrated(matched, calibration)}
    with suppress(CalibrationError):  # too few boxes in a half: "unseen" stays missing
        states["unseen"] = cross_validated(matched)
    qualities = {name: quality for name, boxes in states.items() if (quality := sigma_quality(boxes)) is not None}
    return CalibrationRun(calibration, len(predictions), len(matched), qualities)


def calibrated_card(card: ModelCard, run: CalibrationRun, least_score: float, runtime: str) -> ModelCard:
    """The card with the correction, and the frames and boxes of the fit in `training`."""
    fitted = {
        "frames": run.frames,
        "boxes": run.boxes,
        "least_score": least_score,
        "least_iou": COMMON_IOU,
        "runtime": runtime,
    }
    training = {**card.training, "sigma_calibration": fitted}
    return replace(card, sigma_calibration=run.calibration, training=training)


def _detect_labelled(
    detector: Detector, source: Source, labels: GroundTruth, console: Console
) -> list[FramePredictions]:
    predictions = []
    for frame in track(iter(source.read, None), "calibrate", total=source.length, console=console, transient=True):
        if frame is None or labels.frame(frame.name) is None:
            continue
        try:
            predictions.append(FramePredictions(frame.name, detector(frame.image), detector.card.classes))
        except GaussianYoloError as error:
            raise DetectionError(f"frame {frame.name}: {error}") from error
    if not predictions:
        raise DatasetError(
            "not one image has a label file of its name: the labels are for images such as "
            f"{next(iter(labels.frames))}.png"
        )
    return predictions

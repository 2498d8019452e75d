"""The worst frames, with pictures if available."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation.paired import match_greedily, pair
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, GroundTruth
from gaussian_yolo_node.report.assess import Assessment, headline_curves, judge_class
from gaussian_yolo_node.report.evidence import Evidence
from gaussian_yolo_node.report.frame_images import bag_images, folder_images
from gaussian_yolo_node.report.thumbnails import Picture, annotate, data_uris
from gaussian_yolo_node.report.worst import WorstFrame, worst_frames

Floats = NDArray[np.float64]

_PANORAMA = 2.2  # width over height


@dataclass(frozen=True)
class Pictures:
    """The worst frames and their pictures.

    Attributes:
        frames: the frames by name, worst first.
        uris: data URIs by frame name, for frames that have a picture.
        panoramas: whether the pictures are too wide to be shown two per row.
        notes: which frames have no picture, and why.
    """

    frames: Mapping[str, WorstFrame]
    uris: Mapping[str, str]
    panoramas: bool
    notes: tuple[str, ...]


def pictures_of(evidence: Evidence, assessment: Assessment, most: int, folder: Path | None) -> Pictures:
    """Select the worst frames and draw their mistakes.

    Args:
        evidence, assessment: of a run.
        most: maximum number of frames.
        folder: folder with the frames; None for the played bag.
    """
    worst = worst_frames(assessment.figures, most)
    records = evidence.all_frames
    chosen = {str(records[each.row].frame): each for each in worst}
    images, notes = _images(evidence, chosen, folder)
    drawn = {
        name: _drawn(images[name], evidence.truths, assessment, records[each.row])
        for name, each in chosen.items()
        if name in images and evidence.truths is not None
    }
    widest = max((picture.shape[1] / picture.shape[0] for picture in drawn.values()), default=0.0)
    return Pictures(chosen, data_uris(drawn), widest > _PANORAMA, tuple(notes))


def _images(
    evidence: Evidence, chosen: dict[str, WorstFrame], folder: Path | None
) -> tuple[dict[str, Picture], list[str]]:
    if not chosen:
        return {}, []
    if folder is not None:
        return folder_images(folder, tuple(chosen))
    if evidence.run is None:
        return {}, ["No image folder was given, so frames are described without pictures."]
    stamps = {frame.name: frame.stamp_ns for frame in evidence.run.frames if frame.name in chosen}
    return bag_images(Path(evidence.run.bag), evidence.run.image_topic, stamps)


def _drawn(image: Picture, truths: GroundTruth | None, assessment: Assessment, record: FramePredictions) -> Picture:
    assert truths is not None and assessment.result is not None
    used = record.detections.scores >= assessment.threshold
    shown = replace(
        record, detections=record.detections[used], places=None if record.places is None else record.places[used]
    )
    paired = pair(truths, [shown])
    objects, boxes = paired.truths, paired.detections.boxes
    wanted = {curve.name: curve.iou for curve in headline_curves(assessment.result)}
    counted = np.isin(paired.truth_classes, list(wanted)) & ~objects.ignored
    taken = np.zeros(len(objects), bool)
    wrong: list[Floats] = [np.empty((0, 4))]
    for name, iou in wanted.items():
        rows = paired.detections_of(name)
        matches = match_greedily(paired, rows, paired.objects_of(name), iou)
        taken[matches[matches >= 0]] = True
        judged = judge_class(assessment.result.protocol, paired, name, iou)
        wrong.append(boxes[np.intersect1d(judged.rows[~judged.correct], rows[matches < 0])])
    return annotate(
        image, shown, objects.boxes[counted & taken], objects.boxes[counted & ~taken], objects.boxes[~counted],
        np.concatenate(wrong),
    )  # fmt: skip

"""Multi-object tracking by KITTI's rules: HOTA, CLEAR MOT and identity figures, computed by TrackEval.

HOTA: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2021; the mean over 19
overlaps 0.05 .. 0.95. MOTA, MOTP and switches: Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking
Performance: The CLEAR MOT Metrics", 2008. IDF1: Ristani et al., "Performance Measures and a Data Set for Multi-Target,
Multi-Camera Tracking", 2016. The last two at IoU 0.5.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from gaussian_yolo_node.errors import GaussianYoloError, install_line
from gaussian_yolo_node.evaluation.average_precision import ALL
from gaussian_yolo_node.evaluation.matching import Floats, box_areas, intersection_areas, overlaps
from gaussian_yolo_node.file_names import base_name, frame_name
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.classes import KITTI_CLASSES
from gaussian_yolo_node.labels.labelled_frames import DONT_CARE, FramePredictions, Truths
from gaussian_yolo_node.tracking import Tracker

Mask = NDArray[np.bool_]

IOU = 0.5
DESCRIPTION = (
    "Tracking by KITTI's rules, for each class and over all objects of all classes. Tracks on Van, Person_sitting, "
    "truncated objects or those of unknown occlusion, and others with more than half in DontCare or up to 25 px high, "
    "count neither way. HOTA over IoU 0.05 .. 0.95, the others at 0.5."
)
# Objects that are so like a class that a track on them is no error.
_NEIGHBOURS = {"car": "Van", "pedestrian": "Person_sitting"}
_MOST_OCCLUSION = 2  # 3 is unknown
_LEAST_HEIGHT = 25  # px, of a track without an object that counts as wrong


class TrackEvalMissingError(GaussianYoloError):
    """TrackEval is not installed."""


@dataclass(frozen=True)
class TrackingFigures:
    """Figures of one class, or of all. Shares are 0..1, MOTA up to 1; NaN for means over no pairs.

    Attributes:
        hota, detection, association, localisation: HOTA, DetA, AssA and LocA.
        mota, motp: accuracy and mean IoU of CLEAR MOT.
        idf1: F1 of identities.
        switches: how often an object's track has another id than before.
        fragments: how often an object is tracked again after a gap.
        tp, fp, fn: boxes of tracks on an object, on none, and objects without one.
        objects, tracks: number of ids in the truth and in the result.
    """

    name: str
    hota: float
    detection: float
    association: float
    localisation: float
    mota: float
    motp: float
    idf1: float
    switches: int
    fragments: int
    tp: int
    fp: int
    fn: int
    objects: int
    tracks: int

    def values(self) -> dict[str, float]:
        """All figures by name."""
        return {name: value for name, value in asdict(self).items() if name != "name"}


def evaluate_tracks(
    truths: Mapping[int, Truths], tracks: Mapping[int, Truths], frames: Sequence[int] | None = None
) -> tuple[TrackingFigures, ...]:
    """Compare tracks with objects, per class in the order of the names, and last over all classes.

    Args:
        truths, tracks: labelled objects, and boxes of a tracker in the same form, by frame number; a frame that is
            absent shows nothing. Categories are KITTI's types, or names of classes.
        frames: those that count, in the order of time; None for all from the first to the last of the truths.

    Raises:
        DatasetError: the truths have no object that counts.
        TrackEvalMissingError: TrackEval is not installed.
    """
    numbers = range(min(truths, default=0), max(truths, default=-1) + 1) if frames is None else frames
    names = [name for name in sorted(KITTI_CLASSES.values()) if any(_counts(of, name).any() for of in truths.values())]
    if not names:
        raise DatasetError("the ground truth has no object of an evaluated class: there is nothing to measure")
    sequences = {name: _sequence(truths, tracks, numbers, name) for name in names}
    metrics = _metrics()
    results = [{name: metric.eval_sequence(of) for name, of in sequences.items()} for metric in metrics]
    together = [of.combine_classes_det_averaged(result) for of, result in zip(metrics, results, strict=True)]
    ids = {name: (of["num_gt_ids"], of["num_tracker_ids"]) for name, of in sequences.items()}
    figures = [_figures(name, [result[name] for result in results], *ids[name]) for name in names]
    objects, tracked = np.sum(list(ids.values()), axis=0)
    return (*figures, _figures(ALL, together, int(objects), int(tracked)))


def track_predictions(predictions: Sequence[FramePredictions], rate_hz: float) -> dict[int, Truths]:
    """Give the detections of a recording ids by `Tracker`; coasting tracks are left out.

    Args:
        predictions: in the order of time, with sigmas; the digits of a frame's name are its number.
        rate_hz: frames per second between consecutive numbers, where frames have no stamp.

    Raises:
        DatasetError: a frame has no number, or no sigmas.
    """
    names = sorted({name for frame in predictions for name in frame.classes})
    tracker, result = Tracker(names), {}
    for frame in predictions:
        number = _number(frame.frame)
        if not frame.has_sigmas:
            message = f"frame {frame.frame} has no sigmas, which the tracker needs: detect with `detect --json`"
            raise DatasetError(message)
        ids = np.searchsorted(names, frame.class_names).astype(np.int32)
        detections = replace(frame.detections, class_ids=ids)
        stamp = number / rate_hz if frame.stamp_ns is None else frame.stamp_ns / 1e9
        tracks = tracker.update(detections, stamp)
        seen = ~tracks.coasting
        classes = np.array(names, np.str_)[tracks.class_ids[seen]]
        result[number] = Truths.of(tracks.boxes[seen], classes, tracks=tracks.ids[seen])
    return result


def _number(frame: str | int) -> int:
    digits = str(frame) if isinstance(frame, int) else base_name(frame_name(frame))
    if not digits.isdecimal():
        raise DatasetError(f"frame {frame} has no number: tracking labels number their frames, as in 000012.png")
    return int(digits)


def _metrics() -> tuple[Any, Any, Any]:
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what its other data sets lack
            from trackeval.metrics import CLEAR, HOTA, Identity
    except ModuleNotFoundError as error:
        raise TrackEvalMissingError(
            f"figures of tracks need TrackEval, and {error.name} is not installed: "
            f"{install_line('evaluate')}, then pip install --no-deps trackeval"
        ) from error
    quiet = {"PRINT_CONFIG": False, "THRESHOLD": IOU}
    return HOTA(), CLEAR(quiet), Identity(quiet)


def _figures(name: str, results: Sequence[Mapping[str, Any]], objects: int, tracks: int) -> TrackingFigures:
    hota, clear, identity = results
    return TrackingFigures(
        name,
        hota=float(np.mean(hota["HOTA"])),
        detection=float(np.mean(hota["DetA"])),
        association=float(np.mean(hota["AssA"])),
        localisation=float(np.mean(hota["LocA"])) if clear["CLR_TP"] else math.nan,
        mota=float(clear["MOTA"]),
        motp=float(clear["MOTP"]) if clear["CLR_TP"] else math.nan,
        idf1=float(identity["IDF1"]),
        switches=int(clear["IDSW"]),
        fragments=int(clear["Frag"]),
        tp=int(clear["CLR_TP"]),
        fp=int(clear["CLR_FP"]),
        fn=int(clear["CLR_FN"]),
        objects=objects,
        tracks=tracks,
    )


def _of_class(objects: Truths, name: str) -> Mask:
    types = [category for category, of in KITTI_CLASSES.items() if of == name]
    return np.isin(objects.categories, [name, *types])


def _counts(truth: Truths, name: str) -> Mask:
    """Which objects of a class must be tracked."""
    visible = (truth.truncation == 0) & (truth.occlusion <= _MOST_OCCLUSION)
    return _of_class(truth, name) & visible & ~truth.ignored


_NOTHING = Truths.of([], [])


def _sequence(
    truths: Mapping[int, Truths], tracks: Mapping[int, Truths], numbers: Sequence[int], name: str
) -> dict[str, Any]:
    """What TrackEval needs for one class: ids from 0 without gaps, and the IoU of all pairs, frame by frame."""
    kept = [_kept(truths.get(number, _NOTHING), tracks.get(number, _NOTHING), name) for number in numbers]
    data: dict[str, Any] = {"num_timesteps": len(kept), "similarity_scores": [iou for _, _, iou in kept]}
    for key, ids in (("gt", [of for of, _, _ in kept]), ("tracker", [of for _, of, _ in kept])):
        known, numbered = np.unique(np.concatenate([np.empty(0, np.int64), *ids]), return_inverse=True)
        ends = np.cumsum([len(each) for each in ids])
        data |= {
            f"num_{key}_ids": len(known),
            f"num_{key}_dets": len(numbered),
            f"{key}_ids": np.split(numbered.ravel(), ends[:-1]),
        }
    return data


def _kept(truth: Truths, track: Truths, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Ids of the objects and of the tracks that count, and their IoU [N, M]: `preprocess` of KITTI's devkit."""
    near = _of_class(truth, name) | (truth.categories == _NEIGHBOURS.get(name, name))
    counts = _counts(truth, name)
    mine = np.flatnonzero(_of_class(track, name))
    boxes = track.boxes[mine]
    iou = overlaps(truth.boxes[near, np.newaxis], boxes)
    likely = np.where(iou >= IOU, iou, 0.0)
    rows, columns = linear_sum_assignment(-likely)
    matched = likely[rows, columns] > 0
    rows, columns = rows[matched], columns[matched]
    free = np.ones(len(mine), bool)
    free[columns] = False
    removed = np.zeros(len(mine), bool)
    removed[columns[~counts[near][rows]]] = True
    removed |= free & (boxes[:, 3] - boxes[:, 1] <= _LEAST_HEIGHT)
    regions = truth.boxes[truth.categories == DONT_CARE]
    inside = intersection_areas(boxes[:, np.newaxis], regions) > box_areas(boxes)[:, np.newaxis] / 2
    removed |= free & inside.any(axis=1)
    return truth.tracks[counts], track.tracks[mine][~removed], iou[counts[near]][:, ~removed]

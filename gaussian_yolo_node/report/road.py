"""Tracks and places of a run against the truth of its bag: figures, and the values and drawings of their sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation import mot
from gaussian_yolo_node.evaluation.matching import overlaps
from gaussian_yolo_node.evaluation.mot import TrackEvalMissingError, TrackingFigures, evaluate_tracks
from gaussian_yolo_node.evaluation.paired import pair_frames
from gaussian_yolo_node.evaluation.position import (
    HEADINGS,
    NEAR_M,
    Placed,
    PositionResult,
    cells,
    place_errors,
    place_tracks,
    position_result,
)
from gaussian_yolo_node.evaluation.uncertainty import LEVELS, observed_coverage
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.labelled_frames import Truths
from gaussian_yolo_node.report import plots
from gaussian_yolo_node.report.evidence import Evidence

# The objects that are seen longest are drawn.
_MOST_LIVES = 30


@dataclass(frozen=True)
class Life:
    """One labelled object over the frames of a run.

    Attributes:
        name: class and number.
        frames: rows of the frames in which it is labelled.
        tracks: id of the track on it in each of these frames; -1 for none.
    """

    name: str
    frames: Sequence[int]
    tracks: Sequence[int]


@dataclass(frozen=True)
class Tracked:
    """The tracks of a run.

    Attributes:
        tracks, boxes: number of ids, and of boxes with an id.
        figures: by class, and last over all; empty if the truth has no ids, or they cannot be computed.
        lives: of the labelled objects.
        note: why there are no figures; else empty.
    """

    tracks: int
    boxes: int
    figures: tuple[TrackingFigures, ...] = ()
    lives: tuple[Life, ...] = ()
    note: str = ""

    @property
    def all(self) -> TrackingFigures | None:
        """Over all classes."""
        return self.figures[-1] if self.figures else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        classes = {each.name: each.values() for each in self.figures}
        return {"description": mot.DESCRIPTION, "tracks": self.tracks, "boxes": self.boxes, "tracking": classes}


def tracked(evidence: Evidence) -> Tracked | None:
    """The tracks of a run; None if no detection has an id. A frame without an answer has no tracks."""
    if not evidence.tracks:
        return None
    ids = np.concatenate([each.tracks for each in evidence.tracks.values()])
    count, boxes = len(np.unique(ids)), len(ids)
    truths, tracks = _by_row(evidence)
    if not any((each.tracks >= 0).any() for each in truths.values()):
        note = "The truth has no ids of objects, as KITTI's tracking labels have: nothing tells which tracks are right."
        return Tracked(count, boxes, note=note)
    try:
        figures = evaluate_tracks(truths, tracks, sorted(truths))
    except (TrackEvalMissingError, DatasetError) as error:
        return Tracked(count, boxes, note=f"No figures: {error}.")
    return Tracked(count, boxes, figures, _lives(evidence, truths, tracks))


def placed(evidence: Evidence) -> Placed | None:
    """The tracks of a run that match an object with a 3-D box; None if there are none, or no places."""
    if not evidence.places or evidence.projection is None or evidence.truths is None:
        return None
    truths, tracks = _by_row(evidence)
    names = {row: str(record.frame) for row, record in enumerate(evidence.all_frames)}
    parts = []
    for row, of in truths.items():
        places = evidence.places.get(names[row])
        if row in tracks and places is not None:
            classes = np.array([evidence.truths.class_of(name) for name in of.categories.tolist()], np.str_)
            parts.append(place_tracks(places, tracks[row], of, classes, evidence.projection))
    parts = [part for part in parts if len(part.truth)]
    return Placed.joined(parts) if parts else None


def _by_row(evidence: Evidence) -> tuple[dict[int, Truths], dict[int, Truths]]:
    """Objects and tracks by row among all frames; of the frames that are labelled."""
    if evidence.truths is None:
        return {}, {}
    pairs, _ = pair_frames(evidence.truths.frames, evidence.all_frames)
    row_of = {id(record): row for row, record in enumerate(evidence.all_frames)}
    truths = {row_of[id(record)]: frame.truths for frame, record in pairs.values()}
    names = {row: str(evidence.all_frames[row].frame) for row in truths}
    return truths, {row: evidence.tracks[name] for row, name in names.items() if name in evidence.tracks}


def _lives(evidence: Evidence, truths: Mapping[int, Truths], tracks: Mapping[int, Truths]) -> tuple[Life, ...]:
    """Which track is on which object, one row per object, by its first frame."""
    assert evidence.truths is not None
    lives: dict[int, tuple[str, list[int], list[int]]] = {}
    for row in sorted(truths):
        objects, boxes = truths[row], tracks.get(row, Truths.of([], []))
        classes = np.array([evidence.truths.class_of(name) for name in objects.categories.tolist()], np.str_)
        iou = overlaps(objects.boxes[:, np.newaxis], boxes.boxes)
        iou[classes[:, np.newaxis] != boxes.categories] = 0
        for place in np.flatnonzero((objects.tracks >= 0) & ~objects.ignored & (classes != "")):
            best = int(iou[place].argmax()) if len(boxes) else 0
            on_it = int(boxes.tracks[best]) if len(boxes) and iou[place, best] >= mot.IOU else -1
            number = int(objects.tracks[place])
            _, rows, ids = lives.setdefault(number, (f"{classes[place]} {number}", [], []))
            rows.append(row)
            ids.append(on_it)
    return tuple(Life(*each) for each in lives.values())


def track_values(here: Tracked, baseline: Tracked | None, stamps: NDArray[np.float64]) -> dict[str, Any]:
    """Values of tracks.html.j2.

    Args:
        here, baseline: of the run, and of the one it is compared with, if there is one.
        stamps: [F] of all frames, s.
    """
    longest = sorted(sorted(here.lives, key=lambda life: -len(life.frames))[:_MOST_LIVES], key=lambda x: x.frames[0])
    rows = {life.name: (np.array(life.frames), np.array(life.tracks)) for life in longest}
    return {
        "tracked": here,
        "baseline": baseline,
        "description": mot.DESCRIPTION,
        "objects": len(here.lives),
        "drawing": plots.track_lives("track-lives", rows, stamps) if rows else None,
        "drawn": len(rows),
    }


def place_values(here: Placed, baseline: Placed | None) -> dict[str, Any]:
    """Values of places.html.j2."""
    results = {"this run": position_result([here])}
    if baseline is not None:
        results["baseline"] = position_result([baseline])
    distance, ahead, sideways = place_errors(here.positions, here.truth)
    observed = {
        name: observed_coverage(of.metres, of.sigmas)
        for name, of in (("range", ahead), ("sideways", sideways))
        if len(distance)
    }
    return {
        "headings": HEADINGS,
        "rows": {name: {of: cells(row) for of, row in result.rows.items()} for name, result in results.items()},
        "near_m": NEAR_M,
        "count": len(distance),
        "drawings": {
            "range": plots.range_errors("range-errors", distance, ahead.metres, ahead.sigmas),
            "coverage": plots.sigma_coverage("place-coverage", np.array(LEVELS), observed),
        }
        if len(distance)
        else {},
    }


def road_document(here: Tracked | None, places: Placed | None) -> dict[str, Any]:
    """For JSON."""
    result: PositionResult | None = None if places is None else position_result([places])
    return {
        "tracks": None if here is None else {**here.to_dict(), "lives": [asdict(life) for life in here.lives]},
        "places": None if result is None else result.to_dict(),
    }

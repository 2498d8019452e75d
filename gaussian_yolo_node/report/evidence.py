"""The input of a report: a run's folder, or files of truth and predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags import TRUTH_TOPIC
from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.evaluation.paired import pair
from gaussian_yolo_node.files import file_hash
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.bag_records import read_bag_places, read_bag_tracks
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, GroundTruth, PlacedTracks, Truths
from gaussian_yolo_node.labels.predictions import read_predictions
from gaussian_yolo_node.labels.truths import read_ground_truth
from gaussian_yolo_node.replay.run_folder import ANSWERS_FILE, DETECTIONS_FILE, RUN_FILE, ReplayRun, read_run


@dataclass(frozen=True, eq=False)
class Evidence:
    """Measurements as read from the files.

    Attributes:
        name: name of the run or of the predictions, for headings.
        answers: predictions, one record per answered frame.
        lost: records without detections, one per frame that was played but not answered.
        truths: None if nothing is labelled.
        run: None for predictions from a file.
        tracks: detections with track ids, as boxes with ids, by frame; empty without tracking.
        places: of these tracks on the ground, by frame; empty without positions.
        projection: [3, 4], of the camera, px, if the places need it and it is known.
        files: SHA-256 by name of the files from which the figures are computed.
        notes: notes for the reader, one sentence each.
    """

    name: str
    answers: tuple[FramePredictions, ...]
    lost: tuple[FramePredictions, ...] = ()
    truths: GroundTruth | None = None
    run: ReplayRun | None = None
    tracks: Mapping[str, Truths] = field(default_factory=dict)
    places: Mapping[str, PlacedTracks] = field(default_factory=dict)
    projection: NDArray[np.float64] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def all_frames(self) -> list[FramePredictions]:
        """Answers, and unanswered frames as frames without detections, in the order of playback."""
        if self.run is None:
            return [*self.answers, *self.lost]
        place = {frame.name: number for number, frame in enumerate(self.run.frames)}
        return sorted([*self.answers, *self.lost], key=lambda record: place[str(record.frame)])


def read_run_evidence(folder: Path) -> Evidence:
    """Read the folder of a run.

    Raises:
        ReplayRunError: it is not the folder of a run.
        DatasetError: its detections cannot be read, or belong to other frames than the run's.
    """
    run = read_run(folder)
    answers = tuple(read_predictions(folder / DETECTIONS_FILE))
    names = {frame.name for frame in run.frames}
    answered: set[str] = set()
    for record in answers:
        if str(record.frame) not in names or str(record.frame) in answered:
            raise DatasetError(
                f"{folder / DETECTIONS_FILE} has the frame {record.frame} twice, or {folder / RUN_FILE} has it not: "
                "the files are not of one run; replay again"
            )
        answered.add(str(record.frame))
    lost = tuple(_nothing(frame.name, frame.stamp_ns) for frame in run.frames if frame.name not in answered)
    truths, notes = _truths_of(folder / ANSWERS_FILE)
    if truths is not None and not has_objects(truths, (*answers, *lost)):
        notes.append("The bag has truth, but no object in it is of one of the frames that were played.")
        truths = None
    tracks, places, projection = _road_of(folder / ANSWERS_FILE, run)
    return Evidence(
        folder.resolve().name,
        answers,
        lost,
        truths,
        run,
        tracks,
        places,
        projection,
        _hashes(folder / name for name in (RUN_FILE, DETECTIONS_FILE, ANSWERS_FILE)),
        (*map(str, run.notes), *notes),
    )


def read_file_evidence(ground_truth: Path, predictions: Path) -> Evidence:
    """Read predictions and truth from files, in the formats of `gaussian-yolo evaluate`.

    Raises:
        DatasetError: one of them cannot be read.
    """
    truths = read_ground_truth(ground_truth)
    answers = tuple(read_predictions(predictions, truths))
    return Evidence(predictions.name, answers, truths=truths, files=_hashes((predictions, ground_truth)))


def has_objects(truths: GroundTruth, records: Sequence[FramePredictions]) -> bool:
    """Whether any of the records' frames has an object that counts."""
    try:
        return bool(pair(truths, records).classes)
    except DatasetError:  # no frame is labelled
        return False


def _road_of(
    answers: Path, run: ReplayRun
) -> tuple[dict[str, Truths], dict[str, PlacedTracks], NDArray[np.float64] | None]:
    """Tracks and places by frame, and the camera's projection."""
    if not answers.exists():
        return {}, {}, None
    names = {frame.stamp_ns: frame.name for frame in run.frames if frame.answered_s is not None}
    tracks = {names[stamp]: of for stamp, of in read_bag_tracks(answers).items() if stamp in names}
    if not tracks:
        return {}, {}, None
    places, projection = read_bag_places(answers)
    return tracks, {names[stamp]: of for stamp, of in places.items() if stamp in names}, projection


def _truths_of(answers: Path) -> tuple[GroundTruth | None, list[str]]:
    if not answers.exists():
        return None, [f"{answers.name} is missing from the run's folder: without it there is no truth to judge by."]
    with BagReader(answers) as bag:
        labelled = TRUTH_TOPIC in bag.topics
    if not labelled:
        return None, ["The bag has no truth: this report is of latency and detections alone."]
    return read_ground_truth(answers), []


def _hashes(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each existing file, by file name."""
    return {path.name: file_hash(path) for path in paths if path.is_file()}


def _nothing(name: str, stamp_ns: int) -> FramePredictions:
    return FramePredictions.of(name, [], [], [], [], stamp_ns=stamp_ns)

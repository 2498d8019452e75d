"""Writes the files of a finished replay from its recording, so that memory does not grow with the bag."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.frames.recording import JsonArrayFile, detection_record
from gaussian_yolo_node.replay.run_folder import ANSWERS_FILE, DETECTIONS_FILE, ReplayedFrame
from gaussian_yolo_node.ros.messages import detections_from_message


def write_detections(folder: Path, topic: str, frames: Iterable[ReplayedFrame]) -> None:
    """Write detections.json, one record per answered frame, from the recorded answers.

    Args:
        folder: folder of the run.
        topic: topic of the answers.
        frames: in the order of publication, like the answers.

    Raises:
        RecordingError: the file cannot be written.
        BagError: the recording cannot be read.
    """
    answered = (frame for frame in frames if frame.answered_s is not None)
    with JsonArrayFile(folder / DETECTIONS_FILE) as file, BagReader(folder / ANSWERS_FILE) as reader:
        if topic not in reader.topics:  # no frame was answered
            return
        for frame, message in zip(answered, reader.messages({topic}), strict=True):
            file.append(_record(frame, message.decode()))


def _record(frame: ReplayedFrame, message: Any) -> dict[str, Any]:
    names = tuple(sorted({result.hypothesis.class_id for box in message.detections for result in box.results}))
    found = detections_from_message(message, names)
    # The message groups a box's classes; the detector orders by score.
    by_score = found[(-found.scores).argsort(kind="stable")]
    return detection_record(frame.name, (frame.height, frame.width), by_score, names)

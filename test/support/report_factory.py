"""Run folders in the format of a replay, and their bags."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace as Fields
from typing import Any

import numpy as np
from factories import make_image

from gaussian_yolo_node.bags import (
    CAMERA_INFO,
    CAMERA_INFO_TOPIC,
    DETECTIONS,
    IMAGE,
    IMAGE_TOPIC,
    INFO_TOPIC,
    PLACES,
    STRING,
    TRUTH_TOPIC,
    messages,
)
from gaussian_yolo_node.bags.frame_info import FrameInfo
from gaussian_yolo_node.bags.messages import serialized
from gaussian_yolo_node.bags.writing import BagWriter
from gaussian_yolo_node.replay.run_folder import (
    ANSWERS_FILE,
    DETECTIONS_FILE,
    ReplayCounters,
    ReplayedFrame,
    ReplayRun,
    write_run,
)

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
WIDTH, HEIGHT = 160, 96
CARD = {
    "name": "tiny",
    "classes": ["car", "pedestrian", "cyclist"],
    "input_size": [64, 96],
    "score_threshold": 0.3,
    "iou_threshold": 0.45,
    "variance_vote": False,
    "sigma_calibration": {"scale": [1.0, 1.1, 1.2, 1.3], "offset": [0.0, 0.01, 0.0, 0.02]},
    "training": {"data": "none", "seed": 1},
}

Box = tuple[float, float, float, float]


def make_run(
    folder: Path,
    frames: int = 24,
    *,
    drive: Path | None = None,
    truth: bool = True,
    lost: Collection[int] = (),
    wrong: int = 1,
    age_s: float = 0.02,
    names: str = "{:06d}.png",
    class_name: str = "car",
    category: str = "Car",
    first: int = 0,
    road: str = "",
    ids: bool = True,
    **fields: Any,
) -> Path:
    """A run over frames with two objects each; the detector detects 1.5 of them on average, plus false positives.

    Args:
        drive: bag to write with the images of these frames; None for a missing bag.
        truth: whether the bag contains ground truth.
        lost: numbers of the frames without an answer.
        wrong: false positives per frame.
        age_s: minimum age of an answer.
        names: of the frames, a format of their numbers.
        class_name, category: name of the objects in the detector and in the labels.
        first: number of the first frame.
        road: frame of the places of tracks that are recorded, too; empty for none. The second object's id changes
            in the middle.
        ids: whether the truth has ids and 3-D boxes where there are tracks.
        fields: of the run, to override.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(first)
    numbers = range(first, first + frames)
    stamps = [START_NS + number * PERIOD_NS for number in numbers]
    objects = [_objects(number) for number in numbers]
    played, records = [], []
    for number, stamp, boxes in zip(numbers, stamps, objects, strict=True):
        published = (number - first) * 0.1
        name = names.format(number)
        detections = _detections(boxes, number, wrong, class_name, generator)
        if number in lost:
            played.append(ReplayedFrame(name, stamp, WIDTH, HEIGHT, published))
            continue
        age = age_s + 0.002 * float(generator.random())
        played.append(ReplayedFrame(name, stamp, WIDTH, HEIGHT, published, published + age, len(detections)))
        records.append({"frame": name, "width": WIDTH, "height": HEIGHT, "detections": detections})
    (folder / DETECTIONS_FILE).write_text(json.dumps(records))
    topics = {TRUTH_TOPIC: DETECTIONS, INFO_TOPIC: STRING} if truth else {"/perception/detections": DETECTIONS}
    if road:
        topics |= {"/perception/detections": DETECTIONS, PLACES_TOPIC: PLACES, CAMERA_INFO_TOPIC: CAMERA_INFO}
    with BagWriter(folder / ANSWERS_FILE, topics, overwrite=True) as writer:
        for frame, boxes in zip(played, objects, strict=True) if truth else ():
            _write_truth(writer, frame, [(category, box) for box in boxes], solid=bool(road) and ids)
        for number, (frame, boxes) in enumerate(zip(played, objects, strict=True)) if road else ():
            if frame.answered_s is not None:
                _write_road(writer, frame, boxes, class_name, (1, 2 if number < frames / 2 else 3), road)
    if drive is not None:
        with BagWriter(drive, {IMAGE_TOPIC: IMAGE}, overwrite=True) as writer:
            for number, stamp in zip(numbers, stamps, strict=True):
                picture = make_image(HEIGHT, WIDTH, seed=number)
                writer.write(IMAGE_TOPIC, stamp, messages.raw_image(picture, messages.header(stamp, "camera")))
    answered = len(records)
    values: dict[str, Any] = {
        "bag": str(drive or "drive.mcap"),
        "image_topic": IMAGE_TOPIC,
        "mode": "realtime",
        "rate_factor": 1.0,
        "rate_hz": None,
        "score_threshold": 0.005,
        "criterion": "gaussian",
        "model": CARD,
        "model_hash": "0123456789ab",
        "runtime": "OpenVINO 2026.4 CPU bf16, 2 threads",
        "machine": "a processor, 2 cores, Linux",
        "command": ["gaussian-yolo", "replay", "drive.mcap", "-o", str(folder)],
        "started": "2026-01-01T00:00:00+00:00",
        "elapsed_s": frames * 0.1,
        "notes": [],
        "counters": ReplayCounters(frames, answered, frames - answered, 0),
        "diagnostics": {"inference_ms": "12.5", "frames_received": str(frames)},
    }
    write_run(folder, ReplayRun(**{**values, **fields}, frames=tuple(played)))
    return folder


def _objects(number: int) -> list[Box]:
    shift = float(number % 7)
    return [(10 + shift, 20.0, 50 + shift, 60.0), (90 - shift, 30.0, 120 - shift, 50.0)]


def _detections(
    boxes: list[Box], number: int, wrong: int, class_name: str, generator: np.random.Generator
) -> list[dict[str, Any]]:
    found = boxes if number % 2 else boxes[:1]
    sizes = [(box[2] - box[0], box[3] - box[1]) for box in found]
    records = []
    for box, (width, height) in zip(found, sizes, strict=True):
        sigma = [0.03 * width, 0.03 * height, 0.04 * width, 0.04 * height]
        moved = (np.array(box) + generator.normal(0, 1.0, 4)).tolist()
        score = 0.5 + 0.45 * float(generator.random())
        records.append({"class": class_name, "score": score, "box": moved, "sigma": sigma})
    for _ in range(wrong):
        score = 0.6 * float(generator.random())
        records.append(
            {"class": class_name, "score": score, "box": [130.0, 70.0, 150.0, 90.0], "sigma": [2.0, 2.0, 3.0, 3.0]}
        )
    return records


# Height, width, length, and x, y, z in the camera's frame of the two objects, m, and their rotation.
CUBOIDS = ((1.5, 1.6, 3.9, -2.0, 1.65, 10.0, 0.0), (1.5, 1.6, 3.9, 1.0, 1.65, 20.0, 0.0))
PLACES_TOPIC = "/perception/detections_3d"
TOO_FAR_M, SIGMA_M = 0.6, 0.5  # error of each place along the camera's axis, and its standard deviation


def _write_road(
    writer: BagWriter, frame: ReplayedFrame, boxes: list[Box], name: str, ids: tuple[int, int], road: str
) -> None:
    """Both objects with ids in the detections, and their places in the frame `road`, the camera's if it is that."""
    header = messages.header(frame.stamp_ns, "camera")
    found, placed = [], []
    in_camera = road == "camera"
    # From the base frame's axes to the camera's: forward is z, left is -x, up is -y.
    orientation = {"x": 0.5, "y": -0.5, "z": 0.5, "w": -0.5} if in_camera else {"w": 1.0}
    for box, track, (*_, x, y, z, _) in zip(boxes, ids, CUBOIDS, strict=True):
        centre = {"x": (box[0] + box[2]) / 2, "y": (box[1] + box[3]) / 2}
        hypothesis = Fields(class_id=name, score=0.9)
        bbox = Fields(center=Fields(position=Fields(**centre)), size_x=box[2] - box[0], size_y=box[3] - box[1])
        found.append(Fields(header=header, id=str(track), results=[Fields(hypothesis=hypothesis)], bbox=bbox))
        z += TOO_FAR_M
        position = Fields(x=x, y=y, z=z) if in_camera else Fields(x=z, y=-x, z=0.75)
        pose = Fields(position=position, orientation=Fields(**orientation))
        covariance = np.zeros((6, 6))
        covariance[:3, :3] = np.diag([0.1, 0.1, SIGMA_M**2] if in_camera else [SIGMA_M**2, 0.1, 0.1])
        result = Fields(hypothesis=hypothesis, pose=Fields(pose=pose, covariance=covariance.ravel()))
        placed.append(Fields(header=header, id=str(track), results=[result], bbox=Fields(center=pose)))
    matrix = np.array([[100.0, 0, 80, 0], [0, 100, 40, 0], [0, 0, 1, 0]])
    info = serialized(CAMERA_INFO, header=header, height=HEIGHT, width=WIDTH, p=matrix.ravel())
    writer.write(CAMERA_INFO_TOPIC, frame.stamp_ns, info)
    writer.write("/perception/detections", frame.stamp_ns, serialized(DETECTIONS, header=header, detections=found))
    there = messages.header(frame.stamp_ns, road)
    writer.write(PLACES_TOPIC, frame.stamp_ns, serialized(PLACES, header=there, detections=placed))


def _write_truth(writer: BagWriter, frame: ReplayedFrame, objects: list[tuple[str, Box]], solid: bool) -> None:
    nothing = len(objects)
    whole = (False,) * nothing, (0.0,) * nothing, (0,) * nothing
    more = (CUBOIDS[:nothing], tuple(range(4, 4 + nothing))) if solid else ((), ())
    info = FrameInfo(frame.stamp_ns, frame.name, WIDTH, HEIGHT, True, *whole, *more)
    writer.write(TRUTH_TOPIC, frame.stamp_ns, messages.truth(objects, messages.header(frame.stamp_ns, "camera")))
    writer.write(INFO_TOPIC, frame.stamp_ns, messages.text(info.to_json()))

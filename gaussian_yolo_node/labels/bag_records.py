"""Read ground truth and detections from bags for the evaluation."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags import CAMERA_INFO, DETECTIONS, PLACES, TRUTH_TOPIC, BagError
from gaussian_yolo_node.bags.frame_info import FrameInfo, read_frame_infos, stamp_ns
from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, FrameTruths, PlacedTracks, Truths

_log = logging.getLogger(__name__)

# Indices of var(cx), var(cy), var(w), var(h) in the row-major 6x6 covariance of a detection's pose.
_VARIANCES = [0, 7, 14, 21]


def read_bag_truths(path: Path) -> list[FrameTruths]:
    """The ground truth in a bag, one record per message; unlabelled frames have no record. BagError if the bag has no
    ground truth, or cannot be read."""
    with BagReader(path) as reader:
        if TRUTH_TOPIC not in reader.topics:
            raise BagError(f"{path} has no topic {TRUTH_TOPIC}: it has topics {_topics(reader)}")
        kind = reader.topics[TRUTH_TOPIC].type
        if kind != DETECTIONS:
            raise BagError(f"{path}, topic {TRUTH_TOPIC}: it is of {kind}, and not {DETECTIONS}")
        infos = read_frame_infos(reader)
        truths = [_truths(message.decode(), infos) for message in reader.messages({TRUTH_TOPIC})]
        _warn(reader)
    return truths


def read_bag_predictions(path: Path) -> list[FramePredictions]:
    """The detections in a bag, on its only Detection2DArray topic other than the ground truth.

    There is one record per message with one row per result. The name of a frame is the one given in the bag, else its
    stamp in ns.

    Raises:
        BagError: there are no detections, there are several topics, or the bag cannot be read.
    """
    with BagReader(path) as reader:
        topics = _detection_topics(reader)
        if not topics:
            raise BagError(f"{path} has no detections: it has topics {_topics(reader)}")
        if len(topics) > 1:
            raise BagError(f"{path} has {len(topics)} topics of detections, {', '.join(topics)}: one is wanted")
        names = {stamp: info.frame for stamp, info in read_frame_infos(reader).items()}
        predictions = [_predictions(message.decode(), names) for message in reader.messages(set(topics))]
        _warn(reader)
    return predictions


def read_bag_tracks(path: Path) -> dict[int, Truths]:
    """The detections with track ids, as boxes with ids, by stamp in ns; frames without any are absent."""
    tracks = {}
    with BagReader(path) as reader:
        for message in reader.messages(_detection_topics(reader)):
            decoded = message.decode()
            followed = [each for each in decoded.detections if each.id.isdecimal()]
            if followed:
                boxes, names = [_corners(each.bbox) for each in followed], [_best_class(of.results) for of in followed]
                tracks[stamp_ns(decoded.header)] = Truths.of(boxes, names, tracks=[int(each.id) for each in followed])
    return tracks


def read_bag_places(path: Path) -> tuple[dict[int, PlacedTracks], NDArray[np.float64] | None]:
    """The places of tracks by stamp in ns, and the camera's projection [3, 4] in px, if the bag has one.

    Places in the camera's frame are turned to the ground, on which the boxes stand; those in another frame are taken
    to be in one below the camera, which looks along its x axis.
    """
    places: dict[int, PlacedTracks] = {}
    projection = None
    with BagReader(path) as reader:
        cameras = {each.name for each in reader.topics.values() if each.type == CAMERA_INFO}
        frames = {each.name for each in reader.topics.values() if each.type in (DETECTIONS, PLACES)} - {TRUTH_TOPIC}
        camera_frame = ""
        for message in reader.messages(cameras | frames):
            decoded = message.decode()
            if message.type == CAMERA_INFO:
                projection = np.array(decoded.p, np.float64).reshape(3, 4)
            elif message.type == DETECTIONS:
                camera_frame = decoded.header.frame_id
            elif placed := [each for each in decoded.detections if each.id.isdecimal()]:
                places[stamp_ns(decoded.header)] = _placed(placed, decoded.header.frame_id == camera_frame)
    return places, projection


# Columns: the axes of a level optical frame, ahead, left and up.
_LEVEL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def _placed(detections: list[Any], in_camera: bool) -> PlacedTracks:
    poses = [each.results[0].pose for each in detections]
    centres = np.array([[getattr(each.pose.position, axis) for axis in "xyz"] for each in poses])
    covariances = np.array([np.reshape(each.covariance, (6, 6))[:3, :3] for each in poses])
    rotation = _LEVEL
    if in_camera:  # boxes stand upright: their axes are the ground's
        orientation = detections[0].bbox.center.orientation
        rotation = _rotation(*(getattr(orientation, axis) for axis in "xyzw")).T
        centres, covariances = centres @ rotation.T, rotation @ covariances @ rotation.T
    ids = np.array([int(each.id) for each in detections])
    return PlacedTracks(ids, centres[:, :2], covariances[:, :2, :2], rotation)


def _rotation(x: float, y: float, z: float, w: float) -> NDArray[np.float64]:
    """[3, 3], of a unit quaternion."""
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


def _detection_topics(reader: BagReader) -> list[str]:
    return [each.name for each in reader.topics.values() if each.type == DETECTIONS and each.name != TRUTH_TOPIC]


def _topics(reader: BagReader) -> str:
    return ", ".join(reader.topics) or "none"


def _warn(reader: BagReader) -> None:
    for note in reader.notes:
        _log.warning("%s", note)


def _truths(message: Any, infos: Mapping[int, FrameInfo]) -> FrameTruths:
    stamp = stamp_ns(message.header)
    info = infos.get(stamp)
    count = len(message.detections)
    if info is not None and not (
        len(info.ignored) == len(info.truncation) == len(info.occlusion) == count
        and len(info.cuboids) in (0, count)
        and len(info.tracks) in (0, count)
    ):
        raise BagError(f"the truth of frame {info.frame} has {count} objects, and its information is of another number")
    boxes = [_corners(each.bbox) for each in message.detections]
    categories = [_best_class(each.results) for each in message.detections]
    if info is None:
        return FrameTruths(str(stamp), Truths.of(boxes, categories), stamp)
    cuboids = [(np.nan,) * 7 if each is None else each for each in info.cuboids] or None
    truths = Truths.of(boxes, categories, info.ignored, info.truncation, info.occlusion, cuboids, info.tracks or None)
    return FrameTruths(info.frame, truths, stamp, (info.height, info.width))


def _predictions(message: Any, names: Mapping[int, str]) -> FramePredictions:
    stamp = stamp_ns(message.header)
    rows = [(_corners(each.bbox), result) for each in message.detections for result in each.results]
    variances = np.array([np.asarray(result.pose.covariance)[_VARIANCES] for _, result in rows], np.float64)
    # By convention, a covariance of -1 is unknown.
    sigmas = np.sqrt(variances) if (variances >= 0).all() else None
    frame = names.get(stamp, str(stamp))
    scores, classes = [_hypothesis(of).score for _, of in rows], [_class_name(of) for _, of in rows]
    try:
        return FramePredictions.of(frame, [box for box, _ in rows], scores, classes, sigmas, stamp_ns=stamp)
    except ValueError as error:
        raise BagError(f"the detections of frame {frame}: {error}") from error


def _corners(box: Any) -> tuple[float, float, float, float]:
    # Before vision_msgs 4, the centre is a Pose2D with x and y.
    centre = getattr(box.center, "position", box.center)
    half_width, half_height = box.size_x / 2, box.size_y / 2
    return centre.x - half_width, centre.y - half_height, centre.x + half_width, centre.y + half_height


def _hypothesis(result: Any) -> Any:
    # Before vision_msgs 3, the result itself has the fields of the hypothesis.
    return getattr(result, "hypothesis", result)


def _class_name(result: Any) -> str:
    hypothesis = _hypothesis(result)
    return str(hypothesis.class_id if hasattr(hypothesis, "class_id") else hypothesis.id)


def _best_class(results: Iterable[Any]) -> str:
    best = max(results, key=lambda result: _hypothesis(result).score, default=None)
    return "" if best is None else _class_name(best)

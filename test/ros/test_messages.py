from __future__ import annotations

from array import array

import cv2
import numpy as np
import pytest
from factories import make_detections, make_image

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from gaussian_yolo_node.frames.image_messages import ImageMessageError, image_from_compressed, image_from_message
from gaussian_yolo_node.ros.messages import (
    detections_from_message,
    detections_to_message,
    image_to_compressed,
    image_to_message,
    read_sigmas,
    tracks_to_message,
)

CLASSES = ("car", "pedestrian", "cyclist")
HEADER = Header(stamp=Time(sec=12, nanosec=34), frame_id="front")
BGR = make_image(6, 10)
GREY = BGR[:, :, 1]


def image_message(pixels: np.ndarray, encoding: str, padding: int = 0) -> Image:
    """An image whose rows are followed by `padding` bytes."""
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)), constant_values=7)
    return Image(
        header=HEADER,
        height=height,
        width=width,
        encoding=encoding,
        step=rows.shape[1],
        data=array("B", rows.tobytes()),
    )


# test/frames/test_image_messages.py has every encoding, and what contradicts itself.
def test_one_pixel() -> None:
    image = image_from_message(image_message(np.array([[[1, 2, 3]]], np.uint8), "bgr8"))
    np.testing.assert_array_equal(image, [[[1, 2, 3]]])


@pytest.mark.parametrize("padding", [0, 5])
def test_bgr_is_not_copied(padding: int) -> None:
    message = image_message(BGR, "bgr8", padding)
    assert np.shares_memory(image_from_message(message), np.frombuffer(message.data, np.uint8))


def compressed_message(data: bytes, layout: str = "jpeg") -> CompressedImage:
    return CompressedImage(header=HEADER, format=layout, data=array("B", data))


def encoded(extension: str, image: np.ndarray = BGR) -> bytes:
    return cv2.imencode(extension, image)[1].tobytes()


JPEG = encoded(".jpg", make_image(64, 96))
COMMENT = b"\xff\xfe" + (len(JPEG) + 2).to_bytes(2, "big") + JPEG  # as a thumbnail


def test_compressed_png_is_exact() -> None:
    image = image_from_compressed(compressed_message(encoded(".png"), "bgr8; png compressed bgr8"))
    np.testing.assert_array_equal(image, BGR)


def test_compressed_jpeg_is_close() -> None:
    picture = make_image(64, 96)
    image = image_from_compressed(image_to_compressed(picture, HEADER, quality=95))
    assert image.shape == picture.shape
    assert np.abs(image.astype(int) - picture).mean() < 10


def test_compressed_grey_becomes_bgr() -> None:
    assert image_from_compressed(compressed_message(encoded(".png", GREY), "png")).shape == (6, 10, 3)


@pytest.mark.parametrize(
    ("data", "layout", "reason"),
    [
        (b"", "jpeg", "0 bytes"),
        (b"no picture at all", "jpeg", "cannot be read (not an image OpenCV can decode): publish JPEG or PNG"),
        (JPEG[:-40], "jpeg", "JPEG without its end"),
        (JPEG[:2] + COMMENT + JPEG[2:-40], "jpeg", "JPEG without its end"),
        (encoded(".png"), "16UC1; compressedDepth png", "depth image"),
    ],
    ids=["empty", "garbage", "cut off", "cut off, with a whole thumbnail", "depth"],
)
def test_bad_compressed_images_are_refused(data: bytes, layout: str, reason: str) -> None:
    with pytest.raises(ImageMessageError) as refusal:
        image_from_compressed(compressed_message(data, layout))
    assert reason in str(refusal.value)


def test_picture_to_message_and_back() -> None:
    message = image_to_message(BGR, HEADER)
    assert message.header == HEADER
    np.testing.assert_array_equal(image_from_message(over_the_wire(message)), BGR)


def test_part_of_a_picture_to_message() -> None:
    part = make_image(20, 30)[2:8, 5:15]
    np.testing.assert_array_equal(image_from_message(image_to_message(part, HEADER)), part)


def over_the_wire(message: object) -> object:
    return deserialize_message(serialize_message(message), type(message))


def test_fields_of_a_detection() -> None:
    detections = make_detections([[10, 20, 50, 100]], [0.75], [1], [[1, 2, 3, 4]])
    message = over_the_wire(detections_to_message(detections, HEADER, CLASSES))
    assert isinstance(message, Detection2DArray)
    assert message.header == HEADER
    (detection,) = message.detections
    assert detection.header == HEADER
    assert (detection.bbox.center.position.x, detection.bbox.center.position.y) == (30, 60)
    assert (detection.bbox.size_x, detection.bbox.size_y) == (40, 80)
    assert detection.id == ""
    (result,) = detection.results
    assert result.hypothesis.class_id == "pedestrian"
    assert result.hypothesis.score == 0.75
    assert (result.pose.pose.position.x, result.pose.pose.position.y) == (30, 60)
    covariance = np.array(result.pose.covariance).reshape(6, 6)
    np.testing.assert_array_equal(covariance, np.diag([1, 4, 9, 16, 0, 0]))


def test_no_detections() -> None:
    message = over_the_wire(detections_to_message(make_detections(), HEADER, CLASSES))
    assert message.header == HEADER
    assert list(message.detections) == []
    assert read_sigmas(message).shape == (0, 4)
    assert len(detections_from_message(message, CLASSES)) == 0


def test_classes_of_one_box_are_results_of_one_detection() -> None:
    box, other = [10, 20, 50, 100], [60, 20, 90, 100]
    detections = make_detections([box, other, box], [0.4, 0.6, 0.8], [0, 0, 2])
    message = detections_to_message(detections, HEADER, CLASSES)
    found = [
        [(result.hypothesis.class_id, round(result.hypothesis.score, 5)) for result in detection.results]
        for detection in message.detections
    ]
    assert found == [[("cyclist", 0.8), ("car", 0.4)], [("car", 0.6)]]


@pytest.mark.parametrize(
    ("tracks", "expected"),
    [({}, ["", ""]), ({1: "7"}, ["", "7"]), ({0: "3"}, ["3", ""]), ({2: "4", 0: "3", 1: "7"}, ["4", "7"])],
)
def test_a_box_has_the_track_of_its_best_class_that_has_one(tracks: dict[int, str], expected: list[str]) -> None:
    box, other = [10, 20, 50, 100], [60, 20, 90, 100]
    detections = make_detections([box, other, box], [0.4, 0.6, 0.8], [0, 0, 2])
    message = over_the_wire(detections_to_message(detections, HEADER, CLASSES, tracks))
    assert [detection.id for detection in message.detections] == expected


def test_tracks_with_equal_boxes_stay_apart() -> None:
    tracking = pytest.importorskip("gaussian_yolo_node.tracking", reason="scipy is not installed (extra 'track')")
    tracker = tracking.Tracker(CLASSES)
    box = [10, 20, 50, 100]
    for stamp_s in (0.0, 0.1, 0.2):
        tracks = tracker.update(make_detections([box, box], [0.9, 0.8], [0, 0]), stamp_s)
    message = over_the_wire(tracks_to_message(tracks, HEADER, CLASSES))
    assert message.header == HEADER
    assert [detection.id for detection in message.detections] == ["1", "2"]
    assert [len(detection.results) for detection in message.detections] == [1, 1]
    np.testing.assert_array_equal(read_sigmas(message), tracks.sigmas.astype(np.float32))


def test_no_tracks() -> None:
    tracking = pytest.importorskip("gaussian_yolo_node.tracking", reason="scipy is not installed (extra 'track')")
    tracks = tracking.Tracker(CLASSES).update(make_detections(), 0.0)
    assert list(tracks_to_message(tracks, HEADER, CLASSES).detections) == []


def test_equal_boxes_with_different_sigmas_stay_apart() -> None:
    box = [10, 20, 50, 100]
    detections = make_detections([box, box], [0.5, 0.5], [0, 1], [[1, 1, 1, 1], [1, 1, 1, 2]])
    assert len(detections_to_message(detections, HEADER, CLASSES).detections) == 2


def test_sigmas_are_read_per_box() -> None:
    detections = make_detections(
        [[0, 0, 10, 10], [0, 0, 20, 20]], [0.9, 0.8], [0, 1], [[1, 2, 3, 4], [0.5, 0, 1e-3, 300]]
    )
    message = over_the_wire(detections_to_message(detections, HEADER, CLASSES))
    np.testing.assert_allclose(read_sigmas(message), detections.sigmas, rtol=1e-6)


def test_detections_to_message_and_back() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 300, (20, 2))
    detections = make_detections(
        np.concatenate([corners, corners + rng.uniform(1, 90, (20, 2))], axis=1).tolist(),
        np.sort(rng.uniform(0.1, 1, 20))[::-1].tolist(),
        rng.integers(0, 3, 20).tolist(),
        rng.uniform(0.1, 9, (20, 4)).tolist(),
    )
    message = over_the_wire(detections_to_message(detections, HEADER, CLASSES))
    back = detections_from_message(message, CLASSES)
    for field in ("boxes", "scores", "class_ids", "sigmas"):  # bit for bit
        np.testing.assert_array_equal(getattr(back, field), getattr(detections, field))


def test_an_unknown_class_name_is_named() -> None:
    message = detections_to_message(make_detections([[0, 0, 1, 1]]), HEADER, ["tram"])
    with pytest.raises(ValueError, match="'tram' is not one of car, pedestrian, cyclist"):
        detections_from_message(message, CLASSES)

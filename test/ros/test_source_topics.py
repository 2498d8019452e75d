"""The frames of a source as topics: what is published, for whom, and rectified."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from factories import make_image

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from ros.given import ERROR
from ros.harness import Ros
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from gaussian_yolo_node.frames.image_messages import image_from_message
from gaussian_yolo_node.frames.rectification import Rectifier
from gaussian_yolo_node.ros import outputs, source_topics
from gaussian_yolo_node.ros.camera_info import load_calibration
from gaussian_yolo_node.ros.parameter_table import ParameterError

FRAME = make_image(48, 160)
CALIBRATION = """\
image_width: 160
image_height: 48
camera_name: test
camera_matrix: {rows: 3, cols: 3, data: [90, 0, 81, 0, 91, 23, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.3, 0.1, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [80, 0, 79, 0, 0, 80, 24, 0, 0, 0, 1, 0]}
"""
CONVERSIONS = ("image_to_message", "image_to_compressed", "camera_info_message")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a picture."""
    path = tmp_path / "frames"
    path.mkdir()
    cv2.imwrite(str(path / "0.png"), FRAME)
    return path


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    path = tmp_path / "camera.yaml"
    path.write_text(CALIBRATION)
    return path


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each conversion, and drawing, has run."""
    counts: Counter[str] = Counter()

    def counting(module: Any, name: str) -> None:
        function = getattr(module, name)

        def count(*arguments: Any) -> Any:
            counts[name] += 1
            return function(*arguments)

        monkeypatch.setattr(module, name, count)

    for name in CONVERSIONS:
        counting(source_topics, name)
    for name in ("draw_detections", "image_to_message", "image_to_compressed"):
        counting(outputs, name)
    return counts


def started(ros: Ros, model: Path, folder: Path, **parameters: Any) -> Any:
    return ros.active(model, source=str(folder), loop=True, playback_fps=50.0, **parameters)


def listen(ros: Ros, kind: type, name: str) -> list[Any]:
    """Messages of a topic of the node, from now on."""
    messages: list[Any] = []
    ros.observer.create_subscription(kind, f"/perception/{name}", messages.append, 10)
    return messages


def test_without_subscribers_nothing_is_converted(
    ros: Ros, tiny_model: Path, folder: Path, calibration: Path, converted: Counter[str]
) -> None:
    started(ros, tiny_model, folder, camera_info_url=str(calibration))
    ros.until(lambda: len(ros.detections) > 20, "detections")
    names = {name for name, _ in ros.observer.get_topic_names_and_types()}
    assert {"/perception/image_raw", "/perception/image_raw/compressed", "/perception/camera_info"} <= names
    assert not converted


def test_only_what_is_subscribed_is_converted(
    ros: Ros, tiny_model: Path, folder: Path, calibration: Path, converted: Counter[str]
) -> None:
    started(ros, tiny_model, folder, camera_info_url=str(calibration))
    for kind, name, conversion in (
        (Image, "image_raw", "image_to_message"),
        (CompressedImage, "image_raw/compressed", "image_to_compressed"),
        (CameraInfo, "camera_info", "camera_info_message"),
    ):
        before = Counter(converted)
        messages = listen(ros, kind, name)
        ros.until(lambda messages=messages: len(messages) > 3, f"messages of {name}")
        assert set(converted) - set(before) == {conversion}


def test_pictures_and_calibration_go_with_the_detections(
    ros: Ros, tiny_model: Path, folder: Path, calibration: Path
) -> None:
    started(ros, tiny_model, folder, camera_info_url=calibration.as_uri(), frame_id="front")
    raw, compressed, camera = (
        listen(ros, Image, "image_raw"),
        listen(ros, CompressedImage, "image_raw/compressed"),
        listen(ros, CameraInfo, "camera_info"),
    )

    def together() -> Any:
        """The stamp of a frame that came on all topics."""
        stamps = [
            {(m.header.stamp.sec, m.header.stamp.nanosec) for m in messages}
            for messages in (ros.detections, raw, compressed, camera)
        ]
        return set.intersection(*stamps)

    ros.until(together, "a frame on all topics")
    assert {message.header.frame_id for message in (*raw, *compressed, *camera)} == {"front"}
    np.testing.assert_array_equal(image_from_message(raw[0]), FRAME)
    assert cv2.imdecode(np.frombuffer(compressed[0].data, np.uint8), cv2.IMREAD_COLOR).shape == FRAME.shape
    info = camera[0]
    assert (info.height, info.width, info.distortion_model) == (48, 160, "plumb_bob")
    assert list(info.k) == [90, 0, 81, 0, 91, 23, 0, 0, 1]
    assert list(info.d) == [-0.3, 0.1, 0, 0, 0]
    assert list(info.p) == [80, 0, 79, 0, 0, 80, 24, 0, 0, 0, 1, 0]


def test_rectified_frames_are_detected_and_published(
    ros: Ros, tiny_model: Path, folder: Path, calibration: Path
) -> None:
    started(ros, tiny_model, folder, camera_info_url=str(calibration), rectify=True)
    raw, drawn, camera = (
        listen(ros, Image, "image_raw"),
        listen(ros, Image, "image_annotated"),
        listen(ros, CameraInfo, "camera_info"),
    )
    ros.until(lambda: raw and drawn and camera, "all topics")
    expected = Rectifier(load_calibration(str(calibration)))(FRAME)
    assert (expected != FRAME).any()
    np.testing.assert_array_equal(image_from_message(raw[0]), expected)
    # The tiny model's boxes leave the right end of the frame free.
    np.testing.assert_array_equal(image_from_message(drawn[0])[:, 140:], expected[:, 140:])
    assert list(camera[0].d) == [0] * 5
    assert list(camera[0].k) == [80, 0, 79, 0, 80, 24, 0, 0, 1]
    assert list(camera[0].r) == [1, 0, 0, 0, 1, 0, 0, 0, 1]


def test_without_calibration_there_is_no_camera_info(ros: Ros, tiny_model: Path, folder: Path) -> None:
    node = started(ros, tiny_model, folder)
    ros.until(lambda: ros.observer.count_publishers("/perception/image_raw"), "the topic of pictures")
    assert ros.observer.count_publishers("/perception/camera_info") == 0
    node.trigger_deactivate()
    ros.until(lambda: not ros.observer.count_publishers("/perception/image_raw"), "the end of the topic")


def test_a_node_on_a_topic_publishes_no_frames(ros: Ros, tiny_model: Path) -> None:
    ros.active(tiny_model, image_topic="/image")
    ros.until(lambda: ros.observer.count_publishers("/perception/detections"), "the topic of detections")
    assert ros.observer.count_publishers("/perception/image_raw") == 0


def test_pictures_of_a_disabled_node_go_on(ros: Ros, tiny_model: Path, folder: Path) -> None:
    node = started(ros, tiny_model, folder)
    node._enabled.clear()
    raw = listen(ros, Image, "image_raw")
    ros.until(lambda: len(raw) > 3, "pictures")


@pytest.mark.parametrize(
    ("parameters", "step", "reason"),
    [
        (
            {"camera_info_url": "/nowhere.yaml"},
            "activate",
            "'camera_info_url' is /nowhere.yaml: calibration /nowhere.yaml cannot",
        ),
        ({"camera_info_url": "http://host/a.yaml"}, "activate", "give a path, file:///PATH or package://PACKAGE/PATH"),
        ({"camera_info_url": "package://no_such_package/a.yaml"}, "activate", "no_such_package"),
        ({"camera_info_url": "package://"}, "activate", "'camera_info_url' is package://"),
        ({"rectify": True}, "configure", "rectify needs the camera's calibration"),
        ({"rectify": True, "source": "", "image_topic": "/image"}, "configure", "rectify is for 'source'"),
    ],
)
def test_a_wrong_calibration_is_refused(
    ros: Ros, tiny_model: Path, folder: Path, parameters: dict[str, Any], step: str, reason: str
) -> None:
    ros.refused(reason, tiny_model, step, **{"source": str(folder), **parameters})


def test_frames_that_do_not_fit_the_calibration_are_an_error(
    ros: Ros, tiny_model: Path, folder: Path, calibration: Path
) -> None:
    calibration.write_text(CALIBRATION.replace("image_height: 48", "image_height: 96"))
    started(ros, tiny_model, folder, camera_info_url=str(calibration), rectify=True)
    ros.until_status(ERROR, "calibrated for 160x96 px, but frames have 160x48")


def test_calibrations_are_found_in_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, calibration: Path) -> None:
    share = tmp_path / "share/a_camera"
    (share / "calib").mkdir(parents=True)
    (share / "calib/front.yaml").write_text(CALIBRATION)
    index = tmp_path / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    (index / "a_camera").touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert load_calibration("package://a_camera/calib/front.yaml").size == (48, 160)
    with pytest.raises(ParameterError, match=r"rear.yaml cannot be read"):
        load_calibration("package://a_camera/calib/rear.yaml")

"""A camera driver and the node in separate processes, over Fast DDS with the shipped profile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from factories import make_model, slow_inference

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from raw_images import encode
from ros.given import OK, WARN
from ros.harness import PATIENCE_S, REPOSITORY, NodeProcess, Ros
from sensor_msgs.msg import CompressedImage

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.frames.image_messages import image_from_message
from gaussian_yolo_node.ros.messages import detections_from_message
from gaussian_yolo_node.runtime import RuntimeOptions

PLACES = (REPOSITORY, REPOSITORY / "test", REPOSITORY / "test" / "support")  # of what the publisher imports
DRIVE = REPOSITORY.parent / "shared" / "data" / "kitti" / "drive_0011" / "image"

Publish = Callable[[str, float, int], list[int]]
StartNode = Callable[..., NodeProcess]


@pytest.fixture
def publish(ros: Ros) -> Iterator[Publish]:
    """Publishes pictures from another process once the first ones are answered; returns their stamps in ns."""
    processes: list[subprocess.Popen[str]] = []

    def publish(transport: str, rate_hz: float, count: int) -> list[int]:
        command = [sys.executable, str(Path(__file__).with_name("image_publisher.py"))]
        command += [transport, str(rate_hz), str(count), *([str(DRIVE)] if DRIVE.is_dir() else [])]
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, PLACES), os.environ.get("PYTHONPATH", "")])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdin is not None and process.stdout is not None
        ros.until(lambda: ros.detections, "an answer to the first pictures")
        process.stdin.write("go\n")
        process.stdin.flush()
        os.set_blocking(process.stdout.fileno(), False)
        return list(json.loads(ros.until(process.stdout.readline, "the publisher to finish")))

    yield publish
    for process in processes:
        process.communicate(timeout=PATIENCE_S)


def answered(ros: Ros) -> list[int]:
    """Stamps of the detections so far, in ns."""
    stamps = [message.header.stamp for message in ros.detections]
    return [stamp.sec * 1_000_000_000 + stamp.nanosec for stamp in stamps]


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_every_frame_at_30_hz_is_answered(
    ros: Ros, publish: Publish, start_node: StartNode, tiny_model: Path, transport: str
) -> None:
    start_node(model=tiny_model, image_topic="/image", image_transport=transport)
    stamps = publish(transport, 30, 90)
    ros.until(lambda: answered(ros)[-1:] == stamps[-1:], "detections of the last frame")
    assert answered(ros)[-len(stamps) :] == stamps
    assert {message.header.frame_id for message in ros.detections} == {"camera_left"}
    values = ros.until_status(OK, "topic")
    assert values["frames_received"] == values["frames_processed"]
    assert values["frames_dropped"] == values["frames_skipped"] == "0"


# test/frames/test_image_messages.py has every encoding, without processes.
@pytest.mark.parametrize(
    "encoding",
    [
        "nv12",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("bayer_rggb8", "yuv422_yuy2", "rgb16", "mono8")),
    ],
)
def test_detections_are_those_of_the_picture_in_any_encoding(
    ros: Ros, publish: Publish, start_node: StartNode, driving_dir: Path, encoding: str
) -> None:
    pictures = [
        np.asarray(cv2.imread(str(path)))[:374]  # nv12 has even heights
        for path in sorted((driving_dir / "kitti/drive_0011/image").iterdir())[:3]
    ]
    with Detector.open(runtime="onnxruntime", options=RuntimeOptions(threads=1)) as detector:
        expected = [detector(image_from_message(SimpleNamespace(**encode(each, encoding)))) for each in pictures]
        classes = detector.card.classes
    start_node(image_topic="/image", runtime="onnxruntime", threads=1, input_size="card")

    stamps = publish(encoding, 2, len(pictures))
    ros.until(lambda: answered(ros)[-1:] == stamps[-1:], "detections of the last frame")

    assert answered(ros)[-len(stamps) :] == stamps
    assert any(len(each) for each in expected)
    for message, detections in zip(ros.detections[-len(pictures) :], expected, strict=True):
        found = detections_from_message(message, classes)
        order = np.argsort(-detections.scores, kind="stable")
        np.testing.assert_allclose(found.boxes, detections.boxes[order], atol=0.1)
        np.testing.assert_allclose(found.scores, detections.scores[order], atol=1e-3)


def test_at_60_hz_a_slow_model_takes_the_newest_frame_and_counts_the_others(
    ros: Ros, publish: Publish, start_node: StartNode, tmp_path: Path
) -> None:
    model = slow_inference(make_model(tmp_path / "slow.onnx"))
    start_node(model=model, image_topic="/image", threads=1, precision="fp32")
    stamps = publish("raw", 60, 120)
    ros.until(lambda: answered(ros)[-1:] == stamps[-1:], "detections of the newest frame")
    values = {key: int(value) for key, value in ros.until_status(WARN, "dropped").items() if key.startswith("frames_")}
    assert values["frames_dropped"] > 0
    assert values["frames_received"] > len(stamps)  # includes the first pictures
    assert values["frames_received"] == values["frames_processed"] + values["frames_dropped"]
    assert answered(ros) == sorted(answered(ros))


def test_annotated_pictures_reach_another_process(
    ros: Ros, publish: Publish, start_node: StartNode, tiny_model: Path
) -> None:
    pictures: list[Any] = []
    ros.observer.create_subscription(CompressedImage, "/perception/image_annotated/compressed", pictures.append, 100)
    start_node(model=tiny_model, image_topic="/image")
    stamps = publish("raw", 10, 10)
    ros.until(lambda: answered(ros)[-1:] == stamps[-1:], "detections of the last frame")
    ros.until(lambda: pictures[-1].header == ros.detections[-1].header, "the last annotated picture")
    headers = [picture.header for picture in pictures[-len(stamps) :]]
    assert headers == [message.header for message in ros.detections[-len(stamps) :]]

"""Raw image messages: every encoding gives the picture, and what contradicts itself is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from factories import make_image
from numpy.typing import NDArray
from raw_images import PADDING, encode, grey

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.nms import iou_matrix
from gaussian_yolo_node.frames.image_messages import ENCODINGS, ImageMessageError, image_from_message

# Coloured areas with soft edges: what chroma of two px and a mosaic can carry.
PICTURE = cv2.GaussianBlur(cv2.resize(make_image(48, 64), (320, 240), interpolation=cv2.INTER_NEAREST), (0, 0), 9)
# Largest difference that the conversion may make, and the mean one, in grey levels.
LOSSLESS, YUV, MOSAIC = (0, 0.0), (10, 1.5), (12, 1.0)
WHOLE = [name for name in ENCODINGS if name.startswith(("bgr", "rgb", "8UC3"))]
GREY = [name for name in ENCODINGS if name.startswith("mono") or name == "8UC1"]
LOSSY = [name for name in ENCODINGS if name not in (*WHOLE, *GREY)]
NAMED = (
    *("bgr8", "rgb8", "bgra8", "rgba8", "mono8", "8UC1", "8UC3", "bgr16", "rgb16", "bgra16", "rgba16", "mono16"),
    *("yuv422_yuy2", "yuyv", "uyvy", "yuv422", "nv12", "nv21"),
    *(f"bayer_{pattern}{bits}" for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)),
)


def message(picture: NDArray[np.uint8], encoding: str, **options: Any) -> SimpleNamespace:
    return SimpleNamespace(**encode(picture, encoding, **options))


def expected(encoding: str) -> tuple[NDArray[np.uint8], tuple[int, float]]:
    if encoding in GREY:
        return np.repeat(grey(PICTURE)[:, :, None], 3, axis=2), LOSSLESS
    if encoding in WHOLE:
        return PICTURE, LOSSLESS
    return PICTURE, MOSAIC if encoding.startswith("bayer") else YUV


def test_the_table_has_what_cameras_send() -> None:
    assert set(ENCODINGS) == set(NAMED)


@pytest.mark.parametrize("big_endian", [False, True], ids=["little", "big"])
@pytest.mark.parametrize("padding", [0, PADDING])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_encoding_gives_the_picture(encoding: str, padding: int, big_endian: bool) -> None:
    picture, (largest, mean) = expected(encoding)

    image = image_from_message(message(PICTURE, encoding, padding=padding, big_endian=big_endian))

    assert image.shape == picture.shape and image.dtype == np.uint8
    inner = np.s_[2:-2, 2:-2] if encoding.startswith("bayer") else np.s_[:]  # a mosaic has no neighbours at the border
    difference = np.abs(image.astype(int) - picture)[inner]
    assert difference.max() <= largest
    assert difference.mean() <= mean


@pytest.mark.parametrize("encoding", ["yuyv", "nv12", "bayer_rggb8"])
def test_the_smallest_picture(encoding: str) -> None:
    assert image_from_message(message(PICTURE[:2, :2], encoding)).shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("encoding", "change", "reason"),
    [
        ("yuyv", {"width": 319}, "image is 319x240 px, but in yuyv 2x1 px share a colour"),
        ("nv12", {"height": 239}, "image is 320x239 px, but in nv12 2x2 px share a colour"),
        ("nv21", {"width": 1}, "image is 1x240 px, but in nv21 2x2 px share a colour"),
        ("yuv422", {"step": 639}, "image step is 639 bytes, but 320 px of yuv422 take 640"),
        ("mono16", {"step": 639}, "image step is 639 bytes, but 320 px of mono16 take 640"),
        ("rgba16", {"step": 0}, "image step is 0 bytes, but 320 px of rgba16 take 2560"),
        ("bayer_gbrg8", {"step": 319}, "image step is 319 bytes, but 320 px of bayer_gbrg8 take 320"),
        ("nv12", {"data": bytes(240 * 326)}, "78240 bytes long, but 360 rows of step 326 take 117360"),
        ("nv12", {"height": 360}, "117360 bytes long, but 540 rows of step 326 take 176040"),  # rows of chroma counted
        ("uyvy", {"data": b""}, "0 bytes long, but 240 rows of step 646"),
        ("8UC3", {"height": 0}, "image is 320x0 px"),
        ("bgr8", {"width": 0, "step": 0, "data": b""}, "image is 0x240 px"),
        ("bgr8", {"width": 323}, "image step is 966 bytes, but 323 px of bgr8 take 969"),
        ("bgr8", {"height": 239}, "bytes long, but 239 rows of step 966 take 230874"),
        ("8UC1", {"encoding": ""}, "'' is not supported"),
        ("8UC1", {"encoding": "16UC1"}, "'16UC1' is not supported: publish one of bgr8, rgb8"),  # depth
        ("8UC1", {"encoding": "32FC1"}, "'32FC1' is not supported"),
        ("8UC1", {"encoding": "NV12"}, "'NV12' is not supported"),
    ],
)  # fmt: skip
def test_contradictory_images_are_refused(encoding: str, change: dict[str, Any], reason: str) -> None:
    contradiction = message(PICTURE, encoding)
    vars(contradiction).update(change)
    with pytest.raises(ImageMessageError) as refusal:
        image_from_message(contradiction)
    assert reason in str(refusal.value)


@pytest.fixture(scope="module")
def drive_frame(driving_dir: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(sorted((driving_dir / "kitti/drive_0011/image").iterdir())[40]))
    return np.asarray(image, np.uint8)[:374]  # nv12 and nv21 have even heights


@pytest.fixture(scope="module")
def detector() -> Any:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    with Detector.open(runtime="onnxruntime") as detector:
        yield detector


@pytest.fixture(scope="module")
def of_bgr(detector: Detector, drive_frame: NDArray[np.uint8]) -> Detections:
    return detector(drive_frame)


@pytest.mark.parametrize("encoding", WHOLE)
def test_detections_are_those_of_bgr8(
    encoding: str, detector: Detector, drive_frame: NDArray[np.uint8], of_bgr: Detections
) -> None:
    found = detector(image_from_message(message(drive_frame, encoding)))
    assert len(of_bgr) > 0
    for field in ("boxes", "scores", "class_ids", "sigmas"):
        np.testing.assert_array_equal(getattr(found, field), getattr(of_bgr, field))


@pytest.mark.parametrize("encoding", [*GREY, *LOSSY])
def test_sure_detections_survive_a_loss_of_colour(
    encoding: str, detector: Detector, drive_frame: NDArray[np.uint8], of_bgr: Detections
) -> None:
    found = detector(image_from_message(message(drive_frame, encoding)))
    sure = of_bgr[of_bgr.scores > 0.7]
    assert len(sure) > 0
    overlaps = iou_matrix(sure.boxes, found.boxes) * (sure.class_ids[:, None] == found.class_ids)
    assert (overlaps.max(axis=1) > 0.85).all()
    np.testing.assert_allclose(found.scores[overlaps.argmax(axis=1)], sure.scores, atol=0.1)

"""What is known of a picture without decoding agrees with what decoding gives."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from exif_pictures import IMAGE, JPEG, PNG, TURNED, exif, jpeg_with, segment

from gaussian_yolo_node.bags.image_header import is_cut_jpeg, is_video, orientation, picture_size
from gaussian_yolo_node.frames.files import decode_picture

_OPTIONS = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
PROGRESSIVE = cv2.imencode(".jpg", IMAGE, _OPTIONS)[1].tobytes()


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("kind", TURNED)
def test_pictures_are_turned_and_their_size_is_known_without_decoding(kind: str, turned: int) -> None:
    data = TURNED[kind](turned)
    picture = decode_picture(data, "a").image

    assert picture is not None and orientation(data) == turned
    assert picture_size(data) == picture.shape[:2] == ((80, 48) if turned > 4 else (48, 80))
    # Exif 2.32: where the first row and column of the file are seen.
    stored = decode_picture(TURNED[kind](1), "a").image
    assert stored is not None
    turns = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1), 7: stored.transpose(1, 0, 2)[::-1, ::-1], 8: np.rot90(stored, 1),
    }  # fmt: skip
    np.testing.assert_array_equal(picture, turns[turned])


@pytest.mark.parametrize("data", [b"II*\0", exif(0)[:12], exif(9), b"", b"XX" + bytes(20), exif(6)[:-8]])
def test_damaged_exif_data_turn_nothing(data: bytes) -> None:
    assert orientation(jpeg_with(segment(0xE1, b"Exif\0\0" + data))) == 1


@pytest.mark.parametrize(
    "trailer",
    [
        b"",
        bytes(4096),
        b"motion photo, no markers" * 9,
        bytes(100) + b"ftypmp4 \xff\xda\0\x08" + bytes(100),  # a video behind the photo
        bytes(9) + b"\xff\xd9 \xff\xda\0\x08 \xff\xd9",
        JPEG[len(JPEG) // 2 :],  # the tail of an older frame in the driver's buffer
        JPEG,  # two pictures
        JPEG + bytes(5),
    ],
    ids=["nothing", "zeros", "text", "FF DA", "FF D9 last", "stale tail", "two pictures", "two and zeros"],
)
@pytest.mark.parametrize("jpeg", [JPEG, PROGRESSIVE], ids=["baseline", "progressive"])
def test_a_jpeg_ends_where_its_segments_say(jpeg: bytes, trailer: bytes) -> None:
    assert not is_cut_jpeg(jpeg + trailer)
    assert decode_picture(jpeg + trailer, "a").image is not None


@pytest.mark.parametrize("jpeg", [JPEG, PROGRESSIVE], ids=["baseline", "progressive"])
def test_a_jpeg_that_ends_anywhere_before_is_cut(jpeg: bytes) -> None:
    thumbnail = segment(0xE1, b"Exif\0\0" + exif(1) + JPEG)
    whole = jpeg[:2] + thumbnail + jpeg[2:]
    assert not is_cut_jpeg(whole)
    for end in (2, 3, 7, len(thumbnail) - 5, len(thumbnail) + 9, len(whole) - 200, len(whole) - 2, len(whole) - 1):
        assert is_cut_jpeg(whole[:end])
    assert is_cut_jpeg(jpeg + jpeg[: len(jpeg) // 2])  # the second picture of two


@pytest.mark.parametrize("data", [b"", PNG, b"\xff", b"text"])
def test_what_is_no_jpeg_is_no_cut_jpeg(data: bytes) -> None:
    assert not is_cut_jpeg(data)


@pytest.mark.parametrize(
    ("layout", "data", "video"),
    [
        ("h264", b"", True),
        ("H.265; key", b"", True),
        ("", b"\0\0\0\1\x67", True),
        ("", b"\0\0\1\x67", True),
        ("jpeg", JPEG, False),
        ("bgr8; jpeg compressed bgr8", JPEG, False),
        ("png", PNG, False),
        ("", b"", False),
    ],
)
def test_parts_of_a_video_are_known(layout: str, data: bytes, video: bool) -> None:
    assert is_video(layout, data) is video

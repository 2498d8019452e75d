from __future__ import annotations

import os

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")

from bag_factory import (
    PERIOD_NS,
    START_NS,
    camera_records,
    compressed,
    header,
    image,
    info,
    new,
    pictures,
    serialized,
    text,
    text_records,
    write_recording,
)
from raw_images import encode

from gaussian_yolo_node.bags import COMPRESSED_IMAGE, IMAGE, IMAGE_TOPIC, INFO_TOPIC
from gaussian_yolo_node.frames import Frame, SourceError, open_source


def frames(spec: object) -> tuple[list[Frame], int, str]:
    """The frames of a source, its number of skipped frames, and its last message."""
    source = open_source(str(spec))
    try:
        found = []
        while (frame := source.read()) is not None:
            found.append(frame)
        return found, source.skipped, source.message
    finally:
        source.close()


@pytest.mark.parametrize("layout", ["raw", "compressed"])
@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
def test_images_come_as_frames_by_their_names(tmp_path, layout, whole):
    records = []
    for index, picture in enumerate(pictures(3)):
        stamp_ns = START_NS + index * PERIOD_NS
        topic = IMAGE_TOPIC if layout == "raw" else f"{IMAGE_TOPIC}/compressed"
        message = image(picture, stamp_ns) if layout == "raw" else compressed(picture, stamp_ns)
        if index < 2:
            records.append((INFO_TOPIC, stamp_ns, info(stamp_ns, f"{index}.png")))
        records.append((topic, stamp_ns, message))
    bag = write_recording(tmp_path / "bag", records)
    found, skipped, message = frames(bag if whole else bag / "bag.mcap")
    assert [frame.name for frame in found] == ["0.png", "1.png", str(START_NS + 2 * PERIOD_NS)]
    assert (skipped, message) == (0, "")
    for frame, picture in zip(found, pictures(3), strict=True):
        np.testing.assert_array_equal(frame.image, picture)


@pytest.mark.parametrize(("encoding", "most"), [("yuyv", 1), ("nv12", 1), ("bayer_grbg8", 3), ("rgba16", 0)])
def test_raw_images_of_any_encoding(tmp_path, encoding, most):
    picture = pictures(1)[0]
    message = serialized(new(IMAGE, header=header(START_NS), **encode(picture, encoding)))
    found, skipped, _ = frames(write_recording(tmp_path / "bag", [(IMAGE_TOPIC, START_NS, message)]))
    assert (len(found), skipped) == (1, 0)
    assert np.abs(found[0].image.astype(int) - picture).mean() <= most


def test_length_and_rate_are_those_of_the_recording(tmp_path):
    source = open_source(str(write_recording(tmp_path / "bag", camera_records(5))))
    assert (source.length, source.fps) == (5, pytest.approx(10.0))
    source.close()


def test_what_cannot_be_decoded_is_skipped(tmp_path):
    bad = bytearray(camera_records(1)[0][2])
    bad[bad.index(b"bgr8")] = ord("x")
    records = [
        (IMAGE_TOPIC, START_NS, bytes(bad)),
        (IMAGE_TOPIC, START_NS + 1, b"\0\1\0\0"),
        *((topic, stamp + 2, raw) for topic, stamp, raw in camera_records(1)),
        (INFO_TOPIC, START_NS + 3, text("nothing")),
    ]
    found, skipped, message = frames(write_recording(tmp_path / "bag", records))
    assert (len(found), skipped) == (1, 2)
    assert "skipped frame 1 of bag: topic /camera/image_raw" in message


def test_a_damaged_bag_warns(tmp_path, caplog):
    bag = write_recording(tmp_path / "bag", camera_records(5))
    os.truncate(bag / "bag.mcap", (bag / "bag.mcap").stat().st_size // 3)
    found, _, _ = frames(bag)
    assert 0 < len(found) < 5
    assert "bag.mcap is cut short" in caplog.text


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (text_records(1), "has no images: it has topics /text"),
        (
            [*camera_records(1), (f"{IMAGE_TOPIC}/compressed", START_NS, compressed(pictures(1)[0], 0))],
            "2 topics of images, .*: `gaussian-yolo replay --image-topic` takes one",
        ),
    ],
)
def test_a_bag_without_one_topic_of_images_is_an_error(tmp_path, records, words):
    with pytest.raises(SourceError, match=words):
        open_source(str(write_recording(tmp_path / "bag", records)))


def test_a_file_that_only_ends_like_a_bag_is_an_error(tmp_path):
    (tmp_path / "bag.mcap").write_bytes(b"")
    with pytest.raises(SourceError, match=r"bag\.mcap is empty"):
        open_source(str(tmp_path / "bag.mcap"))


@pytest.mark.parametrize("named", [True, False], ids=["named", "by stamp"])
def test_images_of_one_stamp_are_named_apart_and_it_is_said(tmp_path, caplog, named):
    records = [(IMAGE_TOPIC, START_NS + index, image(picture, 0)) for index, picture in enumerate(pictures(3))]
    if named:
        records = [part for record in records for part in ((INFO_TOPIC, record[1], info(0, "a.png")), record)]
    found, skipped, _ = frames(write_recording(tmp_path / "bag", records))
    assert [frame.name for frame in found] == (["a.png", "a#2.png", "a#3.png"] if named else ["0", "0#2", "0#3"])
    assert skipped == 0 and len([text for text in caplog.messages if "several images have the stamp" in text]) == 1


def test_in_realtime_images_are_as_far_apart_as_they_were_recorded(tmp_path):
    steps_s = [0.0, 0.02, 0.3, 0.32, 7200.32]  # a clock that was set is no pause
    records = [
        (IMAGE_TOPIC, START_NS + round(step * 1e9), image(picture, index))
        for index, (step, picture) in enumerate(zip(steps_s, pictures(5), strict=True))
    ]
    source = open_source(str(write_recording(tmp_path / "bag", records)), playback="realtime")
    stamps = [frame.stamp for frame in iter(source.read, None)]
    source.close()
    assert (np.diff(stamps)[:3] > np.diff(steps_s)[:3] - 0.002).all() and len(stamps) == 5


def test_a_video_in_image_messages_is_skipped_and_named(tmp_path):
    message = serialized(
        new(COMPRESSED_IMAGE, header=header(START_NS), format="h264", data=np.frombuffer(b"\0\0\0\1gZZ", np.uint8))
    )
    found, skipped, text = frames(write_recording(tmp_path / "bag", [(f"{IMAGE_TOPIC}/compressed", START_NS, message)]))
    assert (found, skipped) == ([], 1) and "part of a video" in text and "h264" in text


def test_the_parts_of_a_bag_are_in_the_order_of_their_numbers_without_hidden_ones(tmp_path):
    for number in range(12):
        records = [(IMAGE_TOPIC, START_NS + number, image(pictures(1)[0], START_NS + number))]
        part = write_recording(tmp_path / f"part{number}", records)
        (part / f"{part.name}.mcap").rename(tmp_path / f"bag_{number}.mcap")
    (tmp_path / "._bag_0.mcap").write_bytes(b"what macOS leaves")
    for folder in tmp_path.glob("part*"):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    found, _, _ = frames(tmp_path)
    assert [frame.name for frame in found] == [str(START_NS + number) for number in range(12)]

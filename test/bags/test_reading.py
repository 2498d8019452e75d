from __future__ import annotations

import os
import shutil
import sqlite3
import struct
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")

from bag_factory import (
    PERIOD_NS,
    START_NS,
    camera_records,
    compressed,
    image,
    pictures,
    ros1_header,
    ros1_store,
    split_recording,
    text,
    text_records,
    write_recording,
    write_ros1,
)
from mcap.writer import CompressionType
from mcap.writer import Writer as PlainMcapWriter

from gaussian_yolo_node.bags import COMPRESSED_IMAGE, DETECTIONS, IMAGE, IMAGE_TOPIC
from gaussian_yolo_node.bags.reading import BagError, BagReader
from gaussian_yolo_node.sources.image_messages import image_from_message

SUFFIX = {"mcap": ".mcap", "sqlite3": ".db3"}


def texts(path: Path) -> tuple[list[str], list[str]]:
    """The texts in a bag, and what the reader notes."""
    with BagReader(path) as reader:
        found = [message.decode().data for message in reader.messages({"/text"})]
        assert reader.topics["/text"].count == len(found)
        return found, reader.notes


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compression", ["none", "message", "file", "storage"])
@pytest.mark.parametrize("version", [8, 9])
def test_recordings_of_ros2_are_read(tmp_path, storage, compression, version):
    if (storage, compression) == ("sqlite3", "storage"):
        pytest.skip("SQLite has no compression of its own")
    records = camera_records()
    bag = write_recording(tmp_path / "bag", records, storage=storage, compression=compression, version=version)
    with BagReader(bag) as reader:
        messages = list(reader.messages())
        assert [(message.topic, message.stamp_ns, message.raw) for message in messages] == records
        assert messages[0].type == IMAGE
        assert reader.topics[IMAGE_TOPIC].count == len(records)
        assert reader.notes == []
        assert (reader.start_ns, reader.end_ns) == (START_NS, START_NS + 4 * PERIOD_NS)
        assert not reader.ros1
        assert (reader.compression == "") == (compression == "none")
        for message, picture in zip(messages, pictures(5), strict=True):
            np.testing.assert_array_equal(image_from_message(message.decode()), picture)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compression", ["none", "message", "file"])
def test_a_file_is_read_without_its_folder(tmp_path, storage, compression):
    bag = write_recording(tmp_path / "bag", text_records(), storage=storage, compression=compression)
    (file,) = (path for path in bag.iterdir() if path.name != "metadata.yaml")
    assert texts(file) == (list("01234"), [])


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_split_files_are_one_bag(tmp_path, storage):
    records = text_records(12)
    bag = split_recording(tmp_path / "bag", [records[i : i + 1] for i in range(12)], storage)
    found, notes = texts(bag)
    assert found == [str(i) for i in range(12)]  # bag_10 after bag_9
    assert len(notes) == 1 and "metadata.yaml" in notes[0]


def test_metadata_tells_the_order_of_files_and_which_are_missing(tmp_path):
    records = text_records(4)
    bag = split_recording(tmp_path / "bag", [records[:2], records[2:]], "mcap")
    names = ["bag_1.mcap", "bag_0.mcap", "bag_2.mcap"]
    lines = "".join(f"    - {name}\n" for name in names)
    (bag / "metadata.yaml").write_text(f"rosbag2_bagfile_information:\n  relative_file_paths:\n{lines}")
    found, notes = texts(bag)
    assert found == list("2301")
    assert "bag_2.mcap is missing" in notes[0]
    assert "time runs backwards once" in notes[1]


@pytest.mark.parametrize("content", ["", "{", "[1]", "rosbag2_bagfile_information: 3\n", "\xff"])
def test_damaged_metadata_is_noted(tmp_path, content):
    bag = write_recording(tmp_path / "bag", text_records())
    (bag / "metadata.yaml").write_bytes(content.encode("latin-1"))
    found, notes = texts(bag)
    assert found == list("01234")
    assert len(notes) == 1 and "metadata.yaml" in notes[0]


# --- damage


@pytest.mark.parametrize("compression", ["none", "storage", "message"])
@pytest.mark.parametrize("cut", [1, 30, 2_000, 100_000, 1_500_000])
def test_a_cut_mcap_gives_what_is_before_the_cut(tmp_path, compression, cut):
    # Texts that do not compress, over several chunks of 1 MB.
    rng = np.random.default_rng(0)
    noise = ["".join(map(chr, rng.integers(48, 122, 300_000))) for _ in range(12)]
    records = [("/text", START_NS + i * PERIOD_NS, text(content)) for i, content in enumerate(noise)]
    bag = write_recording(tmp_path / "bag", records, compression=compression)
    file = bag / "bag.mcap"
    whole = file.stat().st_size
    os.truncate(file, whole - cut)
    found, notes = texts(file)
    assert found == noise[: len(found)]
    lost = cut if compression == "none" else cut * 1.5
    assert len(found) >= 12 - lost / 300_000 - 1 - (4 if compression == "storage" else 0)
    assert len(notes) == 1
    if len(found) < 12:
        assert f"{len(found)} messages until 2023-11-14 22:13:2" in notes[0]


def test_every_cut_of_an_mcap_is_survived(tmp_path):
    bag = write_recording(tmp_path / "bag", text_records(4), compression="storage")
    data = (bag / "bag.mcap").read_bytes()
    file = tmp_path / "cut.mcap"
    counts = []
    for length in range(8, len(data), 7):
        file.write_bytes(data[:length])
        with BagReader(file) as reader:
            found = [message.decode().data for message in reader.messages()]
            assert len(reader.notes) == 1, length
        assert found == list("0123")[: len(found)]
        counts.append(len(found))
    assert counts == sorted(counts)
    assert counts[-1] == 4


def test_bits_that_flipped_cost_one_chunk(tmp_path):
    records = [("/text", START_NS + i * PERIOD_NS, text(f"{i}" * 700_000)) for i in range(6)]
    path = tmp_path / "bag.mcap"
    with path.open("wb") as file:
        writer = PlainMcapWriter(file, chunk_size=1_000_000, compression=CompressionType.LZ4)
        writer.start("ros2")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        channel = writer.register_channel("/text", "cdr", schema)
        for _, stamp_ns, raw in records:
            writer.add_message(channel, stamp_ns, raw, stamp_ns)
        writer.finish()
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle] ^= 255
    path.write_bytes(data)
    with BagReader(path) as reader:
        found = [message.decode().data[0] for message in reader.messages()]
        assert 3 <= len(found) < 6
        assert {"0", "5"} <= set(found)
        assert any("is damaged" in note for note in reader.notes)


def test_an_mcap_without_chunks_or_index_is_read(tmp_path):
    path = tmp_path / "bag.mcap"
    with path.open("wb") as file:
        writer = PlainMcapWriter(file, use_chunking=False, use_summary_offsets=False, use_statistics=False)
        writer.start("ros2")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        channel = writer.register_channel("/text", "cdr", schema)
        for index in (0, 2, 1, 3):
            stamp_ns = START_NS + index * PERIOD_NS * 10
            writer.add_message(channel, stamp_ns, text(str(index)), stamp_ns)
        writer.finish()
    found, notes = texts(path)
    assert found == list("0123")
    assert (
        len(notes) == 1 and "time runs backwards once, first to 2023-11-14 22:13:21.000 UTC, by up to 1.0 s" in notes[0]
    )


@pytest.mark.parametrize("cut", [1, 5_000, 100_000, 400_000])
def test_a_cut_sqlite_file_gives_what_is_before_the_cut(tmp_path, cut):
    bag = write_recording(tmp_path / "bag", text_records(10, 100_000), storage="sqlite3")
    file = bag / "bag.db3"
    os.truncate(file, file.stat().st_size - cut)
    found, notes = texts(file)
    assert found == [str(i) * 100_000 for i in range(len(found))]
    assert len(found) >= 10 - cut / 100_000 - 2
    assert len(notes) == 1 and f"{len(found)} messages until" in notes[0]


def test_what_a_killed_recorder_left_in_the_log_is_read(tmp_path):
    bag = write_recording(tmp_path / "bag", text_records(2), storage="sqlite3")
    database = sqlite3.connect(bag / "bag.db3")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    for index in (2, 3):
        stamp_ns = START_NS + index * PERIOD_NS
        row = (1, stamp_ns, text(str(index)))
        database.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", row)
    database.commit()
    copied = shutil.copytree(bag, tmp_path / "killed")
    database.close()
    assert (copied / "bag.db3-wal").stat().st_size
    found, notes = texts(copied)
    assert found == list("0123")
    assert len(notes) == 1 and "bag.db3-wal" in notes[0]


def test_a_cut_compressed_file_is_read_as_far_as_it_goes(tmp_path):
    bag = write_recording(tmp_path / "bag", text_records(3, 50_000), compression="file")
    (file,) = bag.glob("*.zstd")
    os.truncate(file, file.stat().st_size - 20)
    found, notes = texts(bag)
    assert found == [str(i) * 50_000 for i in range(len(found))]
    assert notes


# --- other recorders


def ros1_messages() -> list[tuple[str, int, object]]:
    types = ros1_store().types
    messages: list[tuple[str, int, object]] = []
    for index, picture in enumerate(pictures(3)):
        stamp_ns = START_NS + index * PERIOD_NS
        raw = types[IMAGE](
            ros1_header(stamp_ns), 8, 16, encoding="bgr8", is_bigendian=0, step=48, data=picture.reshape(-1)
        )
        messages.append(("/raw", stamp_ns, raw))
        packed = types[COMPRESSED_IMAGE](
            ros1_header(stamp_ns), "png", np.frombuffer(compressed(picture, 0)[-4:], np.uint8)
        )
        messages.append(("/packed", stamp_ns, packed))
        pose = types["geometry_msgs/msg/PoseWithCovariance"](
            types["geometry_msgs/msg/Pose"](
                types["geometry_msgs/msg/Point"](1.0, 2.0, 0.0),
                types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
            ),
            np.arange(36.0),
        )
        box = types["vision_msgs/msg/BoundingBox2D"](types["geometry_msgs/msg/Pose2D"](5.0, 6.0, 0.5), 2.0, 4.0)
        result = types["vision_msgs/msg/ObjectHypothesisWithPose"](3, 0.75, pose)
        detection = types["vision_msgs/msg/Detection2D"](ros1_header(stamp_ns), [result], box)
        messages.append(("/found", stamp_ns, types[DETECTIONS](ros1_header(stamp_ns), [detection])))
    info = types["sensor_msgs/msg/CameraInfo"]
    region = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    matrices = np.zeros(5), np.arange(9.0), np.eye(3).ravel(), np.zeros(12)
    intrinsics = info(ros1_header(START_NS), 8, 16, "plumb_bob", *matrices, 0, 0, region)
    return [*messages, ("/info", START_NS + 3 * PERIOD_NS, intrinsics)]


@pytest.mark.parametrize("compression", ["none", "bz2", "lz4"])
def test_ros1_bags_are_read_as_ros2_messages(tmp_path, compression):
    bag = write_ros1(tmp_path / "one.bag", ros1_messages(), compression)
    with BagReader(bag) as reader:
        assert reader.ros1 and reader.notes == []
        assert {name: (topic.type, topic.count) for name, topic in reader.topics.items()} == {
            "/raw": (IMAGE, 3),
            "/packed": (COMPRESSED_IMAGE, 3),
            "/found": (DETECTIONS, 3),
            "/info": ("sensor_msgs/msg/CameraInfo", 1),
        }
        raws = [message.decode() for message in reader.messages({"/raw"})]
        for index, (message, picture) in enumerate(zip(raws, pictures(3), strict=True)):
            np.testing.assert_array_equal(image_from_message(message), picture)
            assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == START_NS + index * PERIOD_NS
            assert message.header.frame_id == "camera"
        (first, *_) = reader.messages({"/found"})
        (detection,) = first.decode().detections
        (result,) = detection.results
        assert (result.hypothesis.class_id, result.hypothesis.score) == ("3", 0.75)
        assert (detection.bbox.center.position.x, detection.bbox.center.theta, detection.bbox.size_y) == (5.0, 0.5, 4.0)
        np.testing.assert_array_equal(result.pose.covariance, np.arange(36.0))
        (message,) = reader.messages({"/info"})
        np.testing.assert_array_equal(message.decode().k, np.arange(9.0))
        # What it gives is what ROS 2 would have serialised.
        (raw, *_) = reader.messages({"/raw"})
        assert raw.raw == image(pictures(1)[0], START_NS)


@pytest.mark.parametrize("cut", [1, 200, 900, 2_000])
def test_a_cut_ros1_bag_gives_what_is_before_the_cut(tmp_path, cut):
    messages = ros1_messages()
    bag = write_ros1(tmp_path / "one.bag", messages)
    data = bag.read_bytes()
    end = data.rindex(b"op=\x02")  # of the last message
    active = tmp_path / "two.bag.active"
    active.write_bytes(data[: end + 300 - cut])
    active = active.rename(tmp_path / "two.bag")
    with BagReader(active) as reader:
        found = [(message.topic, message.stamp_ns) for message in reader.messages()]
        assert found == [(topic, stamp_ns) for topic, stamp_ns, _ in messages][: len(found)]
        assert len(found) >= len(messages) - 1 - cut // 300
        assert len(reader.notes) == 1 and f"{len(found)} messages" in reader.notes[0]


@pytest.mark.parametrize("killed", [False, True], ids=["closed chunk", "open chunk"])
def test_a_ros1_bag_that_was_not_indexed_is_read(tmp_path, killed):
    bag = write_ros1(tmp_path / "one.bag", ros1_messages())
    data = bytearray(bag.read_bytes())
    at = data.index(b"index_pos=") + len("index_pos=")
    (index,) = struct.unpack_from("<Q", data, at)
    data[at : at + 8] = bytes(8)
    if killed:  # the length of the last chunk is filled in when it is full
        at = data.index(b"op=\x05")
        at = data.index(b"size=", at) + 9
        (length,) = struct.unpack_from("<I", data, at)
        data[at : at + 4] = bytes(4)
        index = at + 4 + length
    bag.write_bytes(data[:index])
    with BagReader(bag) as reader:
        assert sum(topic.count for topic in reader.topics.values()) == len(list(reader.messages())) == 10
        assert len(reader.notes) == 1 and "without the index" in reader.notes[0]


# --- types and topics


def test_messages_of_an_unknown_type_are_raw(tmp_path):
    path = tmp_path / "bag.mcap"
    with path.open("wb") as file:
        writer = PlainMcapWriter(file)
        writer.start("ros2")
        for name, kind, definition, encoding in (
            ("/text", "std_msgs/msg/String", b"string data\n", "ros2msg"),
            ("/none", "acme_msgs/msg/Thing", b"", ""),
            ("/half", "acme_msgs/msg/Half", b"acme_msgs/Missing thing\n", "ros2msg"),
            ("/odd", "acme_msgs/msg/Odd", b"int32 = = 3\n", "ros2msg"),
            ("/own", "acme_msgs/msg/Own", b"int32 number\n", "ros2msg"),
        ):
            schema = writer.register_schema(kind, encoding, definition)
            channel = writer.register_channel(name, "cdr", schema)
            writer.add_message(channel, START_NS, b"\0\1\0\0" + bytes([2, 0, 0, 0, 65, 0]), START_NS)
        writer.finish()
    with BagReader(path) as reader:
        assert [name for name, topic in reader.topics.items() if topic.decodable] == ["/own", "/text"]
        assert sorted(note.rpartition("topic ")[2] for note in reader.notes) == [
            "/half is left out", "/none is left out", "/odd is left out",
        ]  # fmt: skip
        for message in reader.messages():
            if message.topic in ("/own", "/text"):
                message.decode()
            else:
                with pytest.raises(BagError, match=rf"topic {message.topic}, .*unknown"):
                    message.decode()


def test_a_message_that_is_not_of_its_type_is_an_error(tmp_path):
    bag = write_recording(tmp_path / "bag", [("/text", START_NS, b"\0\1\0\0\xff\xff\0\0a")])
    with BagReader(bag) as reader, pytest.raises(BagError, match=r"topic /text, at 2023-11-14 22:13:20.000 UTC"):
        next(reader.messages()).decode()


def test_the_image_topic_is_found_or_asked_for(tmp_path):
    records = [*camera_records(2), *text_records(1)]
    with BagReader(write_recording(tmp_path / "one", records)) as reader:
        assert reader.image_topics() == [IMAGE_TOPIC]
        assert reader.the_image_topic(None) == reader.the_image_topic(IMAGE_TOPIC) == IMAGE_TOPIC
        with pytest.raises(BagError, match=f"no images on /text: images are on {IMAGE_TOPIC}"):
            reader.the_image_topic("/text")
        with pytest.raises(BagError, match=f"no topic /other: it has topics {IMAGE_TOPIC}, /text"):
            next(reader.messages({"/other"}))
    other = (f"{IMAGE_TOPIC}/compressed", START_NS, compressed(pictures(1)[0], START_NS))
    with (
        BagReader(write_recording(tmp_path / "two", [*records, other])) as reader,
        pytest.raises(BagError, match=f"2 topics of images: choose one of {IMAGE_TOPIC}, {IMAGE_TOPIC}/compressed"),
    ):
        reader.the_image_topic(None)
    with (
        BagReader(write_recording(tmp_path / "none", text_records(1))) as reader,
        pytest.raises(BagError, match="has no images: it has topics /text"),
    ):
        reader.the_image_topic(None)


def test_a_bag_without_messages_is_empty(tmp_path):
    with BagReader(write_recording(tmp_path / "bag", [])) as reader:
        assert (reader.topics, list(reader.messages()), reader.start_ns) == ({}, [], None)
        with pytest.raises(BagError, match="it has no topics"):
            reader.the_image_topic(None)


# --- no bags


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing", None, "does not exist"),
        ("empty.mcap", b"", "is empty"),
        ("empty.bag", b"", "is empty"),
        ("text.mcap", b"hello, world", "is not a bag"),
        ("photo.db3", b"\xff\xd8\xff", "is not a bag"),
        ("old.bag", b"#ROSBAG V1.2\n", "rosbag fix"),
        ("short.db3", b"SQLite format 3\0" + bytes(20), "cannot be read as a bag"),
    ],
)
def test_what_is_no_bag_is_one_error(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BagError, match=words) as caught:
        BagReader(path)
    assert name in str(caught.value)


def test_a_database_that_is_no_bag_is_an_error(tmp_path):
    path = tmp_path / "other.db3"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE people (name TEXT)")
    database.close()
    with pytest.raises(BagError, match="no tables of topics and messages"):
        BagReader(path)


def test_a_folder_without_bag_is_an_error(tmp_path):
    (tmp_path / "readme.txt").write_text("no bag")
    with pytest.raises(BagError, match="holds no bag"):
        BagReader(tmp_path)

from __future__ import annotations

import itertools
import os
import sqlite3

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
    read_texts,
    ros1_header,
    ros1_messages,
    ros1_store,
    split_recording,
    text_records,
    write_recording,
    write_ros1,
)
from mcap.writer import Writer as PlainMcapWriter

from gaussian_yolo_node.bags import COMPRESSED_IMAGE, DETECTIONS, IMAGE, IMAGE_TOPIC
from gaussian_yolo_node.bags.reading import BagError, BagReader
from gaussian_yolo_node.frames.image_messages import image_from_message


@pytest.mark.parametrize(
    ("storage", "compression"),
    [*itertools.product(["mcap", "sqlite3"], ["none", "message", "file"]), ("mcap", "storage")],  # not SQLite
)
@pytest.mark.parametrize("version", [8, 9])
def test_recordings_of_ros2_are_read(tmp_path, storage, compression, version):
    records = camera_records()
    bag = write_recording(tmp_path / "bag", records, storage=storage, compression=compression, version=version)
    with BagReader(bag) as reader:
        messages = list(reader.messages())
        assert [(message.topic, message.stamp_ns, message.raw) for message in messages] == records
        assert messages[0].type == IMAGE
        assert reader.topics[IMAGE_TOPIC].count == len(records)
        assert reader.notes == []
        assert (reader.start_ns, reader.end_ns) == (START_NS, START_NS + 4 * PERIOD_NS)
        assert reader.storage == storage
        assert (reader.compression == "") == (compression == "none")
        for message, picture in zip(messages, pictures(5), strict=True):
            np.testing.assert_array_equal(image_from_message(message.decode()), picture)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compression", ["none", "message", "file"])
def test_a_file_is_read_without_its_folder(tmp_path, storage, compression):
    bag = write_recording(tmp_path / "bag", text_records(), storage=storage, compression=compression)
    (file,) = (path for path in bag.iterdir() if path.name != "metadata.yaml")
    assert read_texts(file) == (list("01234"), [])


def test_a_whole_mcap_is_not_searched(tmp_path, monkeypatch):
    bag = write_recording(tmp_path / "bag", text_records())
    monkeypatch.delattr("gaussian_yolo_node.bags.mcap_file.McapFile._scan")
    assert read_texts(bag) == (list("01234"), [])


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_split_files_are_one_bag(tmp_path, storage):
    records = text_records(12)
    bag = split_recording(tmp_path / "bag", [records[i : i + 1] for i in range(12)], storage)
    found, notes = read_texts(bag)
    assert found == [str(i) for i in range(12)]  # bag_10 after bag_9
    assert len(notes) == 1 and "metadata.yaml" in notes[0]


@pytest.mark.parametrize("name", ["../outside.mcap", "/outside.mcap", "a/../../outside.mcap", "link.mcap", "pipe.mcap"])
def test_metadata_names_files_of_the_folder_only(tmp_path, name):
    bag = write_recording(tmp_path / "bag", text_records(2))
    (file,) = (path for path in bag.iterdir() if path.name != "metadata.yaml")
    (tmp_path / "outside.mcap").write_bytes(b"not for this reader")
    (bag / "link.mcap").symlink_to(tmp_path / "outside.mcap")
    os.mkfifo(bag / "pipe.mcap")
    (bag / "metadata.yaml").write_text(
        f"rosbag2_bagfile_information:\n  relative_file_paths:\n  - {name}\n  - {file.name}\n"
    )
    with BagReader(bag) as reader:
        assert [note for note in reader.notes if name in note and "refused" in note] == reader.notes
        assert len(list(reader.messages())) == 2


def test_metadata_tells_the_order_of_files_and_which_are_missing(tmp_path):
    records = text_records(4)
    bag = split_recording(tmp_path / "bag", [records[:2], records[2:]], "mcap")
    names = ["bag_1.mcap", "bag_0.mcap", "bag_2.mcap"]
    lines = "".join(f"    - {name}\n" for name in names)
    (bag / "metadata.yaml").write_text(f"rosbag2_bagfile_information:\n  relative_file_paths:\n{lines}")
    found, notes = read_texts(bag)
    assert found == list("2301")
    assert "bag_2.mcap is missing" in notes[0]
    assert "time runs backwards once" in notes[1]


@pytest.mark.parametrize("content", ["", "{", "[1]", "rosbag2_bagfile_information: 3\n", "\xff"])
def test_damaged_metadata_is_noted(tmp_path, content):
    bag = write_recording(tmp_path / "bag", text_records())
    (bag / "metadata.yaml").write_bytes(content.encode("latin-1"))
    found, notes = read_texts(bag)
    assert found == list("01234")
    assert len(notes) == 1 and "metadata.yaml" in notes[0]


@pytest.mark.parametrize("compression", ["none", "bz2", "lz4"])
def test_ros1_bags_are_read_as_ros2_messages(tmp_path, compression):
    bag = write_ros1(tmp_path / "one.bag", ros1_messages(), compression)
    with BagReader(bag) as reader:
        assert reader.storage == "ros1" and reader.notes == []
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
        # The conversion equals ROS 2's own serialisation.
        (raw, *_) = reader.messages({"/raw"})
        assert raw.raw == image(pictures(1)[0], START_NS)


def test_types_that_only_a_ros1_bag_has_are_read(tmp_path):
    types = ros1_store().types
    wait = types["builtin_interfaces/msg/Duration"](sec=3, nanosec=4)
    points = [types["geometry_msgs/msg/Point"](1.0, 2.0, 3.0)]
    custom = types["acme_msgs/msg/Custom"](ros1_header(START_NS), np.array([1, -2], np.int32), ["a", ""], points, wait)
    bag = write_ros1(tmp_path / "one.bag", [("/own", START_NS, custom)])
    with BagReader(bag) as reader:
        (message,) = reader.messages()
        content = message.decode()
        assert (content.pair.tolist(), content.names, content.points[0].z) == ([1, -2], ["a", ""], 3.0)
        assert (content.wait.sec, content.header.frame_id) == (3, "camera")
        assert not hasattr(content.header, "seq")
        assert reader.notes == []


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


# --- files that are not bags


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

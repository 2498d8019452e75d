from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")

from bag_factory import START_NS, TYPES, camera_records, text_records
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from ruamel.yaml import YAML

from gaussian_yolo_node.bags import DETECTIONS, STRING
from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.bags.writing import BagError, BagWriter

RECORDS = [*camera_records(3), *text_records(2)]


def write(path: Path, records=RECORDS, **options) -> Path:
    with BagWriter(path, {topic: TYPES[topic] for topic, _, _ in records}, **options) as writer:
        for record in records:
            writer.write(*record)
    return path


@pytest.mark.parametrize(
    ("name", "storage"),
    [("bag.mcap", "mcap"), ("bag", "mcap"), ("bag.db3", "sqlite3"), ("bag", "sqlite3"), ("a.b", "mcap")],
)
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_what_is_written_is_read_by_others_and_by_us(tmp_path, name, storage, compression):
    path = write(tmp_path / name, storage=storage, compression=compression)
    by_time = sorted(RECORDS, key=lambda record: record[1])
    with BagReader(path) as reader:
        assert [(m.topic, m.stamp_ns, m.raw) for m in reader.messages()] == by_time
        assert (reader.storage, reader.notes) == (storage, [])
        assert all("reliability: 1" in topic.qos for topic in reader.topics.values())
    # Per-message compression is only known from the metadata, which a single file lacks.
    if path.is_dir() or (storage, compression) != ("sqlite3", "zstd"):
        with AnyReader([path]) as reader:
            assert [(c.topic, stamp, bytes(raw)) for c, stamp, raw in reader.messages()] == by_time
    assert os.listdir(tmp_path) == [name]


def test_the_metadata_are_those_that_humble_reads_as_well(tmp_path):
    path = write(tmp_path / "bag")
    information = YAML(typ="safe").load(path / "metadata.yaml")["rosbag2_bagfile_information"]
    assert information["version"] == 8
    assert information["storage_identifier"] == "mcap"
    assert information["relative_file_paths"] == ["bag.mcap"]
    for topic in information["topics_with_message_count"]:
        # Later versions write a list here, which Humble cannot parse.
        assert isinstance(topic["topic_metadata"]["offered_qos_profiles"], str)
        assert topic["topic_metadata"]["type_description_hash"].startswith("RIHS01_")


def test_definitions_of_types_are_in_the_file(tmp_path):
    with BagWriter(tmp_path / "bag.mcap", {"/found": DETECTIONS}) as writer:
        writer.add_topic("/text", STRING)
        writer.write("/text", START_NS, RECORDS[-1][2])
        assert writer.topics == {"/found", "/text"}
    with (tmp_path / "bag.mcap").open("rb") as file:
        summary = make_reader(file).get_summary()
    schemas = {schema.name: schema.data.decode() for schema in summary.schemas.values()}
    assert schemas.keys() == {DETECTIONS, STRING}
    assert "MSG: vision_msgs/ObjectHypothesis" in schemas[DETECTIONS]


@pytest.mark.parametrize("name", ["bag.mcap", "bag"])
def test_nothing_is_left_of_a_bag_that_was_not_finished(tmp_path, name):
    with pytest.raises(KeyboardInterrupt), BagWriter(tmp_path / name, {"/text": STRING}) as writer:
        writer.write("/text", START_NS, RECORDS[-1][2])
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["bag.mcap", "bag"])
def test_a_bag_is_replaced_only_on_demand_and_when_the_new_one_is_whole(tmp_path, name):
    path = write(tmp_path / name)
    with pytest.raises(BagError, match=rf"{name} exists already: .*--overwrite"):
        BagWriter(path, {})
    with pytest.raises(ValueError, match="enough"), BagWriter(path, {"/text": STRING}, overwrite=True):
        raise ValueError("enough")
    with BagReader(path) as reader:
        assert len(list(reader.messages())) == len(RECORDS)
    write(path, RECORDS[:1], overwrite=True)
    with BagReader(path) as reader:
        assert len(list(reader.messages())) == 1
    assert os.listdir(tmp_path) == [name]


def test_a_folder_that_is_no_bag_is_never_overwritten(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    with pytest.raises(BagError, match="is not a bag"):
        BagWriter(folder, {}, overwrite=True)


@pytest.mark.parametrize(
    ("name", "storage", "topics", "words"),
    [
        ("bag.db3", "mcap", {}, r"does not end in \.mcap"),
        ("bag.mcap", "sqlite3", {}, r"does not end in \.db3"),
        ("file/bag.mcap", "mcap", {}, "cannot be written: (Not a directory|File exists)"),
        ("bag", "mcap", {"/thing": "acme_msgs/msg/Thing"}, "type acme_msgs/msg/Thing of topic /thing is unknown"),
    ],
)
def test_what_cannot_be_written_is_one_error(tmp_path, name, storage, topics, words):
    (tmp_path / "file").touch()
    with pytest.raises(BagError, match=words):
        BagWriter(tmp_path / name, topics, storage=storage)
    assert os.listdir(tmp_path) == ["file"]

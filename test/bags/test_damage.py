from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import struct

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")

from bag_factory import (
    PERIOD_NS,
    START_NS,
    camera_records,
    detections,
    read_texts,
    ros1_messages,
    ros1_store,
    split_recording,
    text,
    text_records,
    write_recording,
    write_ros1,
)
from mcap.writer import CompressionType
from mcap.writer import Writer as PlainMcapWriter

from gaussian_yolo_node.bags.reading import BagError, BagReader


@pytest.mark.parametrize("compression", ["none", "storage", "message"])
@pytest.mark.parametrize("cut", [1, 30, 2_000, 100_000, 1_500_000])
def test_a_cut_mcap_gives_what_is_before_the_cut(tmp_path, compression, cut):
    # Incompressible texts that fill several chunks of 1 MB.
    rng = np.random.default_rng(0)
    noise = ["".join(map(chr, rng.integers(48, 122, 300_000))) for _ in range(12)]
    records = [("/text", START_NS + i * PERIOD_NS, text(content)) for i, content in enumerate(noise)]
    bag = write_recording(tmp_path / "bag", records, compression=compression)
    file = bag / "bag.mcap"
    whole = file.stat().st_size
    os.truncate(file, whole - cut)
    found, notes = read_texts(file)
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
    found, notes = read_texts(path)
    assert found == list("0123")
    assert (
        len(notes) == 1 and "time runs backwards once, first to 2023-11-14 22:13:21.000 UTC, by up to 1.0 s" in notes[0]
    )


@pytest.mark.parametrize("cut", [1, 5_000, 100_000, 400_000])
def test_a_cut_sqlite_file_gives_what_is_before_the_cut(tmp_path, cut):
    bag = write_recording(tmp_path / "bag", text_records(10, 100_000), storage="sqlite3")
    file = bag / "bag.db3"
    os.truncate(file, file.stat().st_size - cut)
    found, notes = read_texts(file)
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
    copied = shutil.copytree(bag, tmp_path / "killed", ignore=shutil.ignore_patterns("*-shm"))
    database.close()
    assert (copied / "bag.db3-wal").stat().st_size
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    found, notes = read_texts(copied)
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    assert found == list("0123")
    assert len(notes) == 1 and "bag.db3-wal" in notes[0]


def test_a_cut_compressed_file_is_read_as_far_as_it_goes(tmp_path):
    bag = write_recording(tmp_path / "bag", text_records(3, 50_000), compression="file")
    (file,) = bag.glob("*.zstd")
    os.truncate(file, file.stat().st_size - 20)
    found, notes = read_texts(bag)
    assert found == [str(i) * 50_000 for i in range(len(found))]
    assert notes


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
    if killed:  # the length of a chunk is filled in when the chunk is complete
        at = data.index(b"op=\x05")
        at = data.index(b"size=", at) + 9
        (length,) = struct.unpack_from("<I", data, at)
        data[at : at + 4] = bytes(4)
        index = at + 4 + length
    bag.write_bytes(data[:index])
    with BagReader(bag) as reader:
        assert sum(topic.count for topic in reader.topics.values()) == len(list(reader.messages())) == 10
        assert len(reader.notes) == 1 and "without the index" in reader.notes[0]


@pytest.mark.parametrize("compression", ["none", "bz2"])
def test_a_damaged_chunk_costs_a_ros1_bag_no_other(tmp_path, compression):
    text_type = ros1_store().types["std_msgs/msg/String"]
    messages = [("/text", START_NS + i * PERIOD_NS, text_type(data=str(i) * 300_000)) for i in range(9)]
    bag = write_ros1(tmp_path / "one.bag", messages, compression)
    data = bytearray(bag.read_bytes())
    chunks = [found.start() for found in re.finditer(b"op=\x05", data)]
    assert len(chunks) > 2
    data[data.index(b"compression=", chunks[1] - 60)] ^= 1
    bag.write_bytes(data)
    with BagReader(bag) as reader:
        found = [message.decode().data[0] for message in reader.messages()]
        assert 4 <= len(found) < 9 and {"0", "8"} <= set(found)
        assert len(reader.notes) == 1 and "the chunk at byte" in reader.notes[0]


def test_damaged_definitions_that_the_index_has_too_cost_nothing(tmp_path):
    bag = write_recording(tmp_path / "bag", text_records(3), compression="none") / "bag.mcap"
    data = bytearray(bag.read_bytes())
    data[data.index(b"std_msgs/msg/String")] = 0xFF
    bag.write_bytes(data)
    assert read_texts(bag) == (list("012"), [])
    bag = write_ros1(tmp_path / "one.bag", ros1_messages())
    data = bytearray(bag.read_bytes())
    data[data.index(b"type=")] = 0xFF
    bag.write_bytes(data)
    with BagReader(bag) as reader:
        assert (len(list(reader.messages())), reader.notes) == (10, [])


def test_a_damaged_page_of_an_sqlite_file_costs_what_is_behind_it(tmp_path):
    bag = write_recording(tmp_path / "bag", text_records(200, 1000), storage="sqlite3") / "bag.db3"
    data = bytearray(bag.read_bytes())
    page = data.index(b"150" * 1000) // 4096 * 4096
    data[page : page + 100] = bytes(100)
    bag.write_bytes(data)
    found, notes = read_texts(bag)
    assert 0 < len(found) < 200
    assert len(notes) == 1 and f"{len(found)} messages until" in notes[0]


def test_an_empty_split_does_not_cost_the_others(tmp_path):
    bag = split_recording(tmp_path / "bag", [text_records(3)], "mcap")
    (bag / "bag_1.mcap").write_bytes(b"")
    found, notes = read_texts(bag)
    assert found == list("012")
    assert "bag_1.mcap is empty: nothing was recorded; the bag's other files are read" in notes[1]
    (bag / "bag_0.mcap").write_bytes(b"")
    with pytest.raises(BagError, match=r"cannot be read: .*is empty"):
        BagReader(bag)


@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.ZSTD, CompressionType.LZ4])
@pytest.mark.parametrize("cut", [0, 100])
def test_a_chunk_that_is_too_large_to_sort_is_read_message_by_message(tmp_path, monkeypatch, compression, cut):
    monkeypatch.setattr("gaussian_yolo_node.bags.blocks._LARGE_BLOCK", 1000)
    path = tmp_path / "bag.mcap"
    with path.open("wb") as file:
        writer = PlainMcapWriter(file, chunk_size=1 << 30, compression=compression)
        writer.start("ros2")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        channel = writer.register_channel("/text", "cdr", schema)
        for _, stamp_ns, raw in text_records(6, 300):
            writer.add_message(channel, stamp_ns, raw, stamp_ns)
        writer.finish()
    if cut:
        os.truncate(path, path.read_bytes().rindex(b"/text") - cut)
    found, notes = read_texts(path)
    assert found == [str(index) * 300 for index in range(len(found))]
    assert (len(found) == 6) == (notes == [] or "all of its messages are there" in notes[0] or "6 messages" in notes[0])


SEEDS = ["mcap", "mcap storage", "sqlite3", "ros1 none"]
LONGER = [pytest.param(seed, marks=pytest.mark.slow) for seed in ("mcap message", "ros1 bz2", "ros1 lz4")]


@pytest.mark.parametrize("kind", [*SEEDS, *LONGER])
def test_no_damage_is_anything_but_a_bag_error(tmp_path, kind):
    first, _, compression = kind.partition(" ")
    if first == "ros1":
        whole = write_ros1(tmp_path / "whole.bag", ros1_messages(), compression)
    else:
        found = ("/perception/detections", START_NS, detections([("car", 0.5, (1, 2, 3, 4))], 3))
        records = [*camera_records(3), *text_records(3, 50), found]
        bag = write_recording(tmp_path / "whole", records, storage=first, compression=compression or "none")
        (whole,) = (path for path in bag.iterdir() if path.suffix != ".yaml")
    data = whole.read_bytes()
    damaged = tmp_path / f"damaged{whole.suffix}"
    chance = random.Random(kind)
    for _ in range(40):
        content = bytearray(data)
        for _ in range(chance.choice((1, 1, 3))):
            # Damage the index at the end more often.
            at = chance.randrange(len(content)) if chance.random() < 0.6 else -1 - chance.randrange(len(content) // 3)
            match chance.randrange(4):
                case 0:
                    content[at] = chance.randrange(256)
                case 1:
                    del content[at:]
                case 2:
                    content[at : at + 4 if at != -4 else None] = bytes(4)
                case 3:
                    content[at:at] = b"abc"
            if len(content) < 4:
                break
        damaged.write_bytes(content)
        try:
            with BagReader(damaged) as reader:
                for message in reader.messages():
                    message.decode()
        except BagError:
            pass

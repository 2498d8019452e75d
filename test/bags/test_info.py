from __future__ import annotations

import json
import os

import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")

from bag_factory import (
    PERIOD_NS,
    START_NS,
    compressed,
    image,
    pictures,
    ros1_header,
    ros1_store,
    text,
    text_records,
    write_recording,
    write_ros1,
)
from factories import make_image

from gaussian_yolo_node.bags import IMAGE_TOPIC
from gaussian_yolo_node.bags.info import BagInfo, TopicInfo, header_stamp, read_info


def topic(info: BagInfo, name: str) -> TopicInfo:
    return next(topic for topic in info.topics if topic.name == name)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_rates_gaps_and_delays(tmp_path, storage):
    # One frame is missing; each frame is recorded 20 ms after its stamp.
    indices = (0, 1, 2, 4)
    records = [
        (IMAGE_TOPIC, START_NS + i * PERIOD_NS + 20_000_000, image(pictures(1)[0], START_NS + i * PERIOD_NS))
        for i in indices
    ]
    info = read_info(write_recording(tmp_path / "bag", [*records, *text_records(1)], storage=storage))
    camera = topic(info, IMAGE_TOPIC)
    assert (camera.count, camera.rate_hz, camera.largest_gap_s) == (4, 10.0, 0.2)
    assert camera.largest_gap_at_ns == START_NS + 2 * PERIOD_NS + 20_000_000
    assert (camera.delay_s, camera.backward, camera.sizes) == (0.02, 0, {"16x8 bgr8": 4})
    single = topic(info, "/text")
    assert (single.count, single.rate_hz, single.largest_gap_s, single.delay_s) == (1, None, None, None)
    assert (info.storage, info.messages, info.notes, info.compression) == (storage, 5, (), "")
    assert info.duration_s == pytest.approx(0.42)
    assert info.size == sum(path.stat().st_size for path in (tmp_path / "bag").glob("bag.*"))
    json.dumps(info.to_dict(), allow_nan=False)


def test_stamps_that_run_backwards_and_sizes_that_change_are_noted(tmp_path):
    stamps = (0, 3, 2, 1)
    records = [
        (
            f"{IMAGE_TOPIC}/compressed",
            START_NS + index * PERIOD_NS,
            compressed(make_image(8 + 8 * (index % 2), 16), START_NS + stamp * PERIOD_NS),
        )
        for index, stamp in enumerate(stamps)
    ]
    info = read_info(write_recording(tmp_path / "bag", records))
    assert info.notes == (
        f"topic {IMAGE_TOPIC}/compressed: 2 of 4 header stamps are before the one in front of them",
        f"topic {IMAGE_TOPIC}/compressed: images of 2 kinds: 16x8 png, 16x16 png",
    )


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_recorders_clock_that_went_back_is_noted(tmp_path, storage):
    order = (0, 1, 2, -30, -29)
    records = [("/text", START_NS + index * PERIOD_NS, text(str(index))) for index in order]
    info = read_info(write_recording(tmp_path / "bag", records, storage=storage))
    file = {"mcap": "bag.mcap", "sqlite3": "bag.db3"}[storage]
    assert info.notes == (
        f"{file}: time runs backwards once, first to 2023-11-14 22:13:17.000 UTC, by up to 3.2 s: "
        "messages are taken in the order of their times",
    )


def test_a_damaged_bag_is_told_of(tmp_path):
    bag = write_recording(tmp_path / "bag", text_records(5), compression="storage")
    os.truncate(bag / "bag.mcap", 300)
    info = read_info(bag)
    assert info.messages == sum(each.count for each in info.topics)
    assert "cut short" in info.notes[0]
    assert info.compression == "zstd"


def test_a_bag_without_messages(tmp_path):
    info = read_info(write_recording(tmp_path / "bag", []))
    assert (info.messages, info.start_ns, info.duration_s, info.topics) == (0, None, 0.0, ())


def test_a_ros1_bag(tmp_path):
    store = ros1_store()
    stamped = store.types["geometry_msgs/msg/PointStamped"](
        ros1_header(START_NS), store.types["geometry_msgs/msg/Point"](1.0, 2.0, 3.0)
    )
    info = read_info(write_ros1(tmp_path / "one.bag", [("/point", START_NS + 5_000_000, stamped)], "bz2"))
    assert (info.storage, info.compression, info.topics[0].delay_s) == ("ros1", "bz2", 0.005)


@pytest.mark.parametrize(
    ("raw", "stamp_ns"),
    [
        (bytes([0, 1, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]), 2_000_000_003),
        (bytes([0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3]), 2_000_000_003),
    ],
)
def test_stamps_are_read_in_either_byte_order(raw, stamp_ns):
    assert header_stamp(raw) == stamp_ns

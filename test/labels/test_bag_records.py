from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")

from bag_factory import START_NS, detections, info, text, text_records, write_recording

from gaussian_yolo_node.bags import DETECTIONS, INFO_TOPIC, STRING, TRUTH_TOPIC
from gaussian_yolo_node.bags.frame_info import FrameInfo
from gaussian_yolo_node.bags.reading import BagError
from gaussian_yolo_node.labels.bag_records import read_bag_predictions, read_bag_truths

CAR = ("Car", 1.0, (1.5, 2.0, 11.0, 5.0))
REGION = ("DontCare", 1.0, (0.0, 0.0, 3.0, 3.0))
FOUND = "/perception/detections"


def test_truths_are_what_was_written(tmp_path):
    bag = write_recording(
        tmp_path / "bag",
        [
            (
                INFO_TOPIC,
                START_NS,
                info(START_NS, "a.png", 2, ignored=[False, True], truncation=[0.25, 0], occlusion=[2, 0]),
            ),
            (TRUTH_TOPIC, START_NS, detections([CAR, REGION], START_NS)),
            (INFO_TOPIC, START_NS + 1, info(START_NS + 1, "b.png", labelled=False)),
            (INFO_TOPIC, START_NS + 2, info(START_NS + 2, "c.png")),
            (TRUTH_TOPIC, START_NS + 2, detections([], START_NS + 2)),
        ],
    )
    first, last = read_bag_truths(bag)  # b.png is not labelled
    assert (first.frame, first.stamp_ns, first.size) == ("a.png", START_NS, (8, 16))
    np.testing.assert_array_equal(first.truths.boxes, [CAR[2], REGION[2]])
    assert first.truths.categories.tolist() == ["Car", "DontCare"]
    assert first.truths.ignored.tolist() == [False, True]
    assert first.truths.truncation.tolist() == [0.25, 0.0]
    assert first.truths.occlusion.tolist() == [2, 0]
    assert (last.frame, last.truths.boxes.shape) == ("c.png", (0, 4))


def test_truths_without_information_go_by_their_stamps(tmp_path):
    records = [(TRUTH_TOPIC, START_NS, detections([CAR], START_NS))]
    (frame,) = read_bag_truths(write_recording(tmp_path / "bag", records))
    assert (frame.frame, frame.truths.ignored.tolist(), frame.size) == (str(START_NS), [False], None)


def test_predictions_have_a_row_a_result(tmp_path):
    found = detections([("car", 0.75, (0.0, 0.0, 4.0, 2.0)), ("cyclist", 0.5, (1.0, 1.0, 2.0, 2.0))], START_NS)
    bag = write_recording(
        tmp_path / "bag",
        [
            (INFO_TOPIC, START_NS, info(START_NS, "a.png")),
            (TRUTH_TOPIC, START_NS, detections([CAR], START_NS)),
            (FOUND, START_NS + 5, found),
            (FOUND, START_NS + 9, detections([], START_NS + 7)),
        ],
    )
    first, second = read_bag_predictions(bag)
    assert (first.frame, second.frame) == ("a.png", str(START_NS + 7))
    np.testing.assert_array_equal(first.detections.boxes, [(0, 0, 4, 2), (1, 1, 2, 2)])
    assert (first.detections.scores.tolist(), first.class_names.tolist()) == ([0.75, 0.5], ["car", "cyclist"])
    np.testing.assert_array_equal(first.detections.sigmas, [(1, 2, 3, 4)] * 2)
    assert second.detections.boxes.shape == second.detections.sigmas.shape == (0, 4)
    assert first.has_sigmas and second.has_sigmas


def test_an_unknown_covariance_is_no_sigma(tmp_path):
    records = [(FOUND, START_NS, detections([CAR], START_NS, variances=(-1, 0, 0, 0)))]
    (frame,) = read_bag_predictions(write_recording(tmp_path / "bag", records))
    assert not frame.has_sigmas and not frame.detections.sigmas.any()


def test_an_impossible_detection_is_an_error_that_names_its_frame(tmp_path):
    records = [(FOUND, START_NS, detections([("car", 0.5, (4.0, 0.0, 2.0, 1.0))], START_NS))]
    with pytest.raises(BagError, match=f"the detections of frame {START_NS}: boxes must be finite, with x1 <= x2"):
        read_bag_predictions(write_recording(tmp_path / "bag", records))


@pytest.mark.parametrize(
    ("records", "reader", "words"),
    [
        (text_records(1), read_bag_truths, "has no topic /ground_truth: it has topics /text"),
        (text_records(1), read_bag_predictions, "has no detections: it has topics /text"),
        ([(TRUTH_TOPIC, START_NS, detections([], 1))], read_bag_predictions, "has no detections"),
        (
            [(INFO_TOPIC, START_NS, info(3, "a", 1)), (TRUTH_TOPIC, START_NS, detections([], 3))],
            read_bag_truths,
            "frame a has 0 objects",
        ),
        (
            [(INFO_TOPIC, START_NS, text('{"frame": 3}')), (TRUTH_TOPIC, START_NS, detections([], 3))],
            read_bag_truths,
            "topic /ground_truth/info: it is not the information of a frame",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_one_error(tmp_path, records, reader, words):
    bag = write_recording(tmp_path / "bag", records)
    with pytest.raises(BagError, match=words):
        reader(bag)


def test_truth_on_a_topic_of_another_type_is_an_error(tmp_path):
    records = [(TRUTH_TOPIC, START_NS, text("a"))]
    bag = write_recording(tmp_path / "bag", records, types={TRUTH_TOPIC: STRING})
    with pytest.raises(BagError, match=r"topic /ground_truth: it is of std_msgs/msg/String"):
        read_bag_truths(bag)


def test_several_topics_of_detections_are_refused(tmp_path):
    types = {"/a": DETECTIONS, "/b": DETECTIONS}
    bag = write_recording(tmp_path / "bag", [(topic, START_NS, detections([CAR], 3)) for topic in types], types=types)
    with pytest.raises(BagError, match="2 topics of detections, /a, /b"):
        read_bag_predictions(bag)


def test_information_of_a_frame_survives_json():
    frame = FrameInfo(5, "ä.png", 4, 3, True, (True, False), (0.1, 0.0), (3, 0))
    assert FrameInfo.from_json(frame.to_json()) == frame
    solid = replace(frame, cuboids=(None, (1.5, 1.6, 3.9, 0.0, 1.65, 10.0, 0.1)), tracks=(-1, 7))
    assert FrameInfo.from_json(solid.to_json()) == solid


def test_information_without_tracks_is_that_of_older_bags():
    old = {"stamp_ns": 5, "frame": "a", "width": 4, "height": 3, "labelled": True}
    old |= {"ignored": [False], "truncation": [0.0], "occlusion": [0]}
    assert FrameInfo.from_json(json.dumps(old)) == FrameInfo(5, "a", 4, 3, True, (False,), (0.0,), (0,))


@pytest.mark.parametrize("content", ["", "[]", "3", "null", '{"stamp_ns": "x"}'])
def test_other_json_is_refused(content):
    with pytest.raises(ValueError, match="not the information of a frame"):
        FrameInfo.from_json(content)

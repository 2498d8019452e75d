from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gaussian_yolo_node.evaluation.paired import pair
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, FrameTruths, GroundTruth, Truths
from gaussian_yolo_node.labels.predictions import read_predictions

DETECTION = {"class": "car", "score": 0.9, "box": [1, 2, 3, 4], "sigma": [1, 1, 1, 1]}


def document(**changes: Any) -> list[Any]:
    return [{"frame": 0, "detections": []}, {"frame": "a.jpg", "detections": [DETECTION | changes]}]


def test_what_detect_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(document()))

    empty, full = read_predictions(path)

    assert (empty.frame, empty.detections.boxes.shape, empty.class_names.shape) == (0, (0, 4), (0,))
    assert (full.frame, full.detections.boxes.tolist()) == ("a.jpg", [[1, 2, 3, 4]])
    # The digits of the file are kept, which float32 would change.
    assert (full.detections.scores.tolist(), full.class_names.tolist()) == ([0.9], ["car"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ('[{"frame": 0, "detections": [', "is not JSON"),  # cut short
        ("\xff", "is not JSON"),
        ("{}", "are not a JSON array"),
        ("[1]", "record 0: it is not an object"),
        ('[{"detections": []}]', 'record 0: "frame" is neither'),
        ('[{"frame": true, "detections": []}]', 'record 0: "frame" is neither'),
        ('[{"frame": 0}]', 'record 0: "detections" is not an array'),
        ('[{"frame": 0, "detections": [3]}]', "record 0: detection 0 is not an object"),
        (json.dumps(document(score=None)), 'record 1: detection 0 has no finite "score"'),
        (json.dumps(document(score=float("nan"))), 'record 1: detection 0 has no finite "score"'),
        (json.dumps(document(score=10**400)), 'record 1: detection 0 has no finite "score"'),
        (json.dumps(document(score=1.5)), 'record 1: detection 0 has a "score" of 1.5, and scores are from 0 to 1'),
        (json.dumps(document(score=-0.1)), 'a "score" of -0.1'),
        (json.dumps(document(box=[1, 2, 3])), 'record 1: detection 0 has no "box"'),
        (json.dumps(document(box=[3, 2, 1, 4])), "x1 <= x2"),
        (json.dumps(document(**{"class": 3})), 'record 1: detection 0 has no "class"'),
    ],
)
def test_malformed_predictions_name_the_record(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(content, encoding="latin-1")

    with pytest.raises(DatasetError, match=message) as caught:
        read_predictions(path)

    assert str(path) in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read: No such file"):
        read_predictions(tmp_path / "nothing.json")


RESULT = "Car -1 -1 -10 20 50 80 110 -1 -1 -1 -1000 -1000 -1000 -10 0.9\n"


@pytest.mark.parametrize("folder", ["results", "results/data"])
def test_a_folder_of_kitti_results_is_read(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    for name, content in (("000010", RESULT * 2), ("000009", ""), ("._000009", "\0"), ("classes", "Car\n")):
        (tmp_path / folder / f"{name}.txt").write_text(content)

    empty, full = read_predictions(tmp_path / "results")

    assert (empty.frame, len(empty.detections)) == ("000009", 0)
    assert (full.frame, full.class_names.tolist()) == ("000010", ["Car", "Car"])
    assert full.detections.boxes.tolist() == [[20, 50, 80, 110]] * 2 and full.detections.scores.tolist() == [0.9, 0.9]
    truths = GroundTruth.of([FrameTruths("000010", Truths.of([[20, 50, 80, 110]], ["Car"]))])
    assert pair(truths, [full]).detection_classes.tolist() == ["car", "car"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (RESULT.rsplit(" ", 1)[0], r"a\.txt, line 1: it has no score"),
        (RESULT.replace("0.9", "7.5"), r"a\.txt, line 1: .*scores are from 0 to 1"),
        (RESULT.replace("80 110", "10 20"), r"a\.txt, line 1: .*x1 <= x2"),
        ("car 0.9 1 2 3 4", r"a\.txt, line 1: it has 6 fields"),
        (None, "have no result files"),
    ],
)
def test_malformed_kitti_results_name_the_line(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.txt").write_text(content)
    with pytest.raises(DatasetError, match=message):
        read_predictions(tmp_path)


def coco_truths(names: dict[int, str]) -> GroundTruth:
    frames = [FrameTruths(name, Truths.of([[0, 0, 9, 9]], ["car"])) for name in names.values()]
    return replace(GroundTruth.of(frames, "coco"), image_ids=names, category_ids={1: "car"})


@pytest.mark.parametrize(
    ("names", "record", "frame"),
    [
        ({7: "000012.jpg"}, {"image_id": 7}, "000012.jpg"),
        ({7: "000012.jpg"}, {"image_id": "7"}, "000012.jpg"),
        ({7: "000012.jpg"}, {"image_id": 7.0}, "000012.jpg"),
        ({7: "000012.jpg"}, {"image_id": 12}, "000012.jpg"),  # the number in the file's name
        ({7: "d/000012.jpg"}, {"image_id": 12}, "d/000012.jpg"),
        ({7: "000012.jpg"}, {"image_id": "000012"}, "000012.jpg"),
        ({7: "a.jpg"}, {"image_id": "a"}, "a.jpg"),
        ({7: "000012.jpg", 12: "000007.jpg"}, {"image_id": 12}, "000007.jpg"),  # an id is an id
        ({7: "000012.jpg", 12: "000007.jpg"}, {"image_id": 12, "file_name": "000012.jpg"}, "000012.jpg"),
    ],
)
def test_cocos_results_belong_to_their_frames(
    tmp_path: Path, names: dict[int, str], record: dict[str, Any], frame: str
) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([{"category_id": "1", "bbox": [1, 2, 3, 4], "score": 0.5, **record}]))

    found = read_predictions(path, coco_truths(names))

    assert [each.frame for each in found if len(each.detections)] == [frame]
    assert {each.frame for each in found} == set(names.values())


@pytest.mark.parametrize(
    ("names", "record", "message"),
    [
        ({7: "a/12.jpg", 8: "b/12.jpg"}, {"image_id": 12}, "may be a/12.jpg or b/12.jpg"),
        ({7: "a/x.jpg", 8: "b/x.jpg"}, {"image_id": "x"}, "x may be a/x.jpg or b/x.jpg"),
        ({7: "a.jpg"}, {"image_id": 8}, '"image_id" 8 is not in the ground truth'),
        ({7: "a.jpg"}, {"image_id": 7, "file_name": "b.jpg"}, '"file_name" b.jpg is not in the ground truth'),
        ({7: "a.jpg"}, {"image_id": 7, "category_id": 2}, '"category_id" 2 is not in the ground truth'),
    ],
)
def test_cocos_results_that_belong_to_no_frame_are_refused(
    tmp_path: Path, names: dict[int, str], record: dict[str, Any], message: str
) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([{"category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5, **record}]))
    with pytest.raises(DatasetError, match=re.escape(message)):
        read_predictions(path, coco_truths(names))


@pytest.mark.parametrize(
    ("labels", "predicted", "pairs"),
    [
        (["1630000000.100000", "1630000000.200000"], ["1630000000.200000"], {"1630000000.200000"}),
        (["1630000000.100000.png"], ["1630000000.100000"], {"1630000000.100000.png"}),
        (["day/a.png", "night/a.png"], ["night\\a.png"], {"night/a.png"}),
        (["000012"], [12], {"000012"}),
        (["12"], ["seq/12.png"], {"12"}),
    ],
)
def test_predictions_go_to_their_own_frame(labels: list[str], predicted: list[Any], pairs: set[str]) -> None:
    truths = GroundTruth.of([FrameTruths(name, Truths.of([], [])) for name in labels])
    assert set(pair(truths, [FramePredictions.of(name, [], [], []) for name in predicted]).names) == pairs


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        (["day/a.png", "night/a.png"], ["a.png"], "a.png may be day/a.png or night/a.png"),
        (["12"], ["x/12.png", "y/12.png"], "x/12.png and y/12.png"),
        (["day/a.png"], ["night/a.png"], "no frame of the predictions"),
    ],
)
def test_predictions_that_cannot_be_told_apart_are_refused(
    labels: list[str], predicted: list[str], message: str
) -> None:
    truths = GroundTruth.of([FrameTruths(name, Truths.of([], [])) for name in labels])
    with pytest.raises(DatasetError, match=re.escape(message)):
        pair(truths, [FramePredictions.of(name, [], [], []) for name in predicted])


@pytest.mark.parametrize("truth", ["person", "pedestrian", "Person"])
@pytest.mark.parametrize("name", ["person", "pedestrian"])
def test_renamed_classes_are_one_in_evaluation(truth: str, name: str) -> None:
    box = [[10, 10, 80, 90]]
    truths = GroundTruth.of([FrameTruths("a", Truths.of(box, [truth]))], "bdd")
    paired = pair(truths, [FramePredictions.of("a", box, [0.9], [name])])
    assert paired.truth_classes.tolist() == paired.detection_classes.tolist()
    assert paired.unknown_classes == () and set(paired.truth_classes.tolist()) <= set(paired.vocabulary)

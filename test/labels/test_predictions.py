from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gaussian_yolo_node.labels.annotations import DatasetError
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

"""The tracker on a drive that its noises were not chosen on, with the default model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.labels import image_files, read_image
from gaussian_yolo_node.runtime import RuntimeOptions
from gaussian_yolo_node.tracking import Tracker, TrackerSettings

CANVAS = (384, 1248)


def test_innovations_are_as_large_as_the_filter_says(driving_dir: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed (extra 'cpu')")
    options = RuntimeOptions(input_size=CANVAS)
    with Detector.open(runtime="openvino", options=options, score_threshold=TrackerSettings.weak) as detector:
        tracker, squares, ids = Tracker(detector.card.classes), [], []
        for number, path in enumerate(image_files(driving_dir / "kitti" / "drive_0011" / "image")):
            image = read_image(path)
            tracks = tracker.update(detector(image), number / 10, (image.shape[0], image.shape[1]))
            squares.append(tracks.innovations[~tracks.coasting] ** 2)
            ids.append(tracks.ids)
    assert 0.8 <= np.concatenate(squares).mean() <= 1.25
    assert all(len(np.unique(each)) == len(each) for each in ids)
    assert 7 <= len(np.unique(np.concatenate(ids))) <= 40

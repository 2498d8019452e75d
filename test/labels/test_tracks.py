"""Objects with ids, from KITTI's tracking files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.labelled_frames import Truths
from gaussian_yolo_node.labels.tracks import read_kitti_tracks

LINE = "{} {} {} {} {} 1.5 {} 1.5 1.6 3.9 1.0 1.5 20.0 1.5"
BOX = "10 20 50 60"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def line(frame: int, track: int, kind: str = "Car", truncated: int = 0, occluded: int = 0, box: str = BOX) -> str:
    return LINE.format(frame, track, kind, truncated, occluded, box)


def test_frames_ids_types_and_what_is_hidden(tmp_path: Path) -> None:
    path = write(
        tmp_path / "0002.txt",
        line(3, 7),
        line(0, -1, "DontCare", -1, -1),
        line(0, -1, "DontCare", -1, -1, "1 2 3 4"),
        line(0, 7, "Pedestrian", occluded=2),
        line(0, 8, "Person", truncated=1),
        line(0, 9, "Van", occluded=3),
    )
    frames = read_kitti_tracks(path)
    assert list(frames) == [0, 3]
    np.testing.assert_array_equal(frames[0].tracks, [-1, -1, 7, 8, 9])
    assert frames[0].categories.tolist() == ["DontCare", "DontCare", "Pedestrian", "Person_sitting", "Van"]
    np.testing.assert_array_equal(frames[0].ignored, [True, True, False, False, False])
    np.testing.assert_array_equal(frames[0].truncation, [0, 0, 0, 1, 0])
    np.testing.assert_array_equal(frames[0].occlusion, [0, 0, 2, 0, 3])
    np.testing.assert_array_equal(frames[3].boxes, [[10, 20, 50, 60]])


def test_results_of_the_devkit_have_a_score(tmp_path: Path) -> None:
    frames = read_kitti_tracks(write(tmp_path / "found.txt", line(0, 1) + " 0.9"))
    np.testing.assert_array_equal(frames[0].tracks, [1])


def test_an_empty_file_has_no_frames(tmp_path: Path) -> None:
    assert read_kitti_tracks(write(tmp_path / "found.txt")) == {}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line(4, 5), line(4, 5)], "frame 4: two objects have the id 5"),
        (["x 1 Car"], "line 1: it does not begin with the numbers of frame and track: x 1"),
        ([line(0, 1), "0 2 Car 1 2 3"], "line 2: it has 4 fields"),
        ([line(0, 1, box="10 20 5 60")], "line 1: the box 10 20 5 60 is inverted"),
        ([line(0, 1, box="10 20 nan 60")], "line 1: the box 10 20 nan 60 is not of finite numbers"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write(tmp_path / "0002.txt", *lines)
    with pytest.raises(DatasetError, match=message) as caught:
        read_kitti_tracks(path)
    assert str(path) in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_kitti_tracks(tmp_path / "none.txt")


def test_the_shared_drive(driving_dir: Path) -> None:
    frames = read_kitti_tracks(driving_dir / "kitti" / "drive_0011" / "tracking.txt")
    assert list(frames) == list(range(91))
    objects = Truths.concatenate(frames.values())
    whole = (objects.categories == "Car") & (objects.truncation == 0) & (objects.occlusion < 3)
    assert len(set(objects.tracks[whole].tolist())) == 12

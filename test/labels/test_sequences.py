from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_factory import KITTI_LINE, SOUND, make_kitti

pytest.importorskip("rosbags", reason="rosbags is not installed")

from gaussian_yolo_node.bags.reading import BagError
from gaussian_yolo_node.frames import SourceError
from gaussian_yolo_node.frames.camera_calibration import read_calibration_yaml, read_kitti_calibration
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.sequences import FrameSequence, open_sequence, parse_time

P2 = "7.215377e+02 0 6.095593e+02 4.485728e+01 0 7.215377e+02 1.728540e+02 2.163791e-01 0 0 1 2.745884e-03"
KITTI_CAMERA = Path(__file__).parents[2] / "calib" / "kitti_left_color.yaml"


def images(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True)
    for seed, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((8, 16, 3), seed, np.uint8))
    return folder


def summary(sequence: FrameSequence) -> list[tuple[str, int | None, list[str] | None]]:
    """Name, stamp and categories of each frame."""
    return [
        (frame.name, frame.stamp_ns, None if frame.truths is None else frame.truths.categories.tolist())
        for frame in sequence.frames()
    ]


def raw_drive(tmp_path: Path, stamps: str | None = None, calibrated: bool = True) -> Path:
    drive = tmp_path / "2011_09_26" / "2011_09_26_drive_0011_sync"
    images(drive / "image_02" / "data", ["0000000000.png", "0000000001.png"])
    if stamps is not None:
        (drive / "image_02" / "timestamps.txt").write_text(stamps)
    if calibrated:
        (drive.parent / "calib_cam_to_cam.txt").write_text(
            f"calib_time: 09-Jan-2012\nS_rect_02: 16 8\nP_rect_02: {P2}\n"
        )
    return drive


STAMPS = "2011-09-26 13:02:25.964389445\n2011-09-26 13:02:26.074343690\n"


def test_a_raw_drive_has_its_own_times_and_calibration(tmp_path):
    drive = raw_drive(tmp_path, STAMPS)
    for source in (drive, drive / "image_02"):
        sequence = open_sequence(source)
        assert summary(sequence) == [
            ("0000000000.png", 1_317_042_145_964_389_445, None),
            ("0000000001.png", 1_317_042_146_074_343_690, None),
        ]
        assert (sequence.length, sequence.rate_hz, sequence.notes) == (2, 10.0, [])
        frame = next(sequence.frames())
        assert frame.picture().image.shape == (8, 16, 3)
        np.testing.assert_allclose(sequence.calibration(frame).projection[0, 3], 44.85728)


def test_a_raw_drive_without_times_or_calibration_is_usable(tmp_path):
    sequence = open_sequence(raw_drive(tmp_path, calibrated=False))
    assert [stamp for _, stamp, _ in summary(sequence)] == [None, None]
    assert "timestamps.txt" in sequence.notes[0]
    assert sequence.calibration(next(sequence.frames())) is None


@pytest.mark.parametrize(
    ("stamps", "words"),
    [
        (STAMPS.split("\n")[0] + "\n", "no line for 0000000001.png"),
        (STAMPS.replace("13:02:26", "noon"), "line 2: .* is not a time"),
    ],
)
def test_wrong_times_are_an_error(tmp_path, stamps, words):
    with pytest.raises(BagError, match=words):
        open_sequence(raw_drive(tmp_path, stamps))


def test_labels_of_the_benchmark_fit_the_raw_data_by_number(tmp_path):
    drive = raw_drive(tmp_path)
    labels = tmp_path / "label_2"
    labels.mkdir()
    (labels / "000001.txt").write_text(SOUND + "\n")
    assert [names for _, _, names in summary(open_sequence(drive, labels=labels))] == [None, ["Car"]]


@pytest.mark.parametrize("inside", [False, True])
def test_object_data(tmp_path, inside):
    folder = images(tmp_path / "image_2", ["000001.png", "000007.png", "000009.png"])
    for name in ("label_2", "calib"):
        (tmp_path / name).mkdir()
    (tmp_path / "label_2" / "000001.txt").write_text(SOUND + "\n" + KITTI_LINE.format(kind="DontCare", box="1 1 2 2"))
    (tmp_path / "label_2" / "000007.txt").write_text("")
    (tmp_path / "label_2" / "000042.txt").write_text("")
    (tmp_path / "calib" / "000007.txt").write_text(f"P2: {P2}\n")
    sequence = open_sequence(folder if inside else tmp_path)
    assert summary(sequence) == [
        ("000001.png", None, ["Car", "DontCare"]),
        ("000007.png", None, []),
        ("000009.png", None, None),
    ]
    assert sequence.notes == ["1 labelled frames of label_2 have no image, and are left out"]
    known = [sequence.calibration(frame) for frame in sequence.frames()]
    assert [calibration is None for calibration in known] == [True, False, True]


TRACKING = "{frame} 3 " + KITTI_LINE.format(kind="Person", box="1 2 3 4")


def tracking(tmp_path: Path) -> Path:
    folder = images(tmp_path / "training" / "image_02" / "0002", ["000000.png", "000001.png"])
    for name, text in (("label_02", TRACKING.format(frame=1)), ("calib", f"P2: {P2}\n")):
        (tmp_path / "training" / name).mkdir()
        (tmp_path / "training" / name / "0002.txt").write_text(text)
    return folder


def test_a_tracking_sequence_is_labelled_throughout(tmp_path):
    sequence = open_sequence(tracking(tmp_path))
    assert summary(sequence) == [("000000.png", None, []), ("000001.png", None, ["Person_sitting"])]
    assert sequence.calibration(next(sequence.frames())) is not None


def test_a_tracking_label_file_fits_any_folder(tmp_path):
    tracking(tmp_path)
    folder = images(tmp_path / "copy" / "image", ["000000.png", "000001.png"])
    sequence = open_sequence(folder, labels=tmp_path / "training" / "label_02" / "0002.txt")
    assert [names for _, _, names in summary(sequence)] == [[], ["Person_sitting"]]


def test_the_tracking_benchmark_as_a_whole_asks_for_a_sequence(tmp_path):
    tracking(tmp_path)
    with pytest.raises(BagError, match=r"has the sequences 0002: choose one, such as .*image_02/0002"):
        open_sequence(tmp_path / "training")


def test_a_folder_with_images_and_labels_in_it(tmp_path):
    make_kitti(tmp_path, ["b", "a"])
    for source in (tmp_path, tmp_path / "images"):
        assert summary(open_sequence(source)) == [("a.jpg", None, ["Car"]), ("b.jpg", None, ["Car"])]
        assert summary(open_sequence(source, labelled=False)) == [("a.jpg", None, None), ("b.jpg", None, None)]


def test_a_plain_folder_has_no_truth(tmp_path):
    assert summary(open_sequence(images(tmp_path / "photos", ["b.png", "a.png"]))) == [
        ("a.png", None, None),
        ("b.png", None, None),
    ]


def bdd(names: list[str], **values: object) -> list[dict[str, object]]:
    box = {"x1": 1, "y1": 2, "x2": 3, "y2": 4}
    labels = [
        {"category": "traffic light", "box2d": box},
        {"category": "car", "box2d": box, "attributes": {"crowd": True}},
    ]
    return [{"name": name, "labels": labels, **values} for name in names]


def test_bdd_frames(tmp_path):
    folder = images(tmp_path / "day", ["a.png", "b.png"])
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps(bdd(["b.png", "missing.png"])))
    sequence = open_sequence(folder, labels=labels)
    assert summary(sequence) == [("a.png", None, None), ("b.png", None, ["traffic light", "car"])]
    assert list(sequence.frames())[1].truths.ignored.tolist() == [False, True]
    assert "1 labelled frames" in sequence.notes[0]
    (folder / "labels.json").write_text(labels.read_text())
    assert summary(open_sequence(folder, "bdd")) == summary(sequence)


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "b1c66a42.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (32, 16))
    for index in range(4):
        writer.write(np.full((16, 32, 3), 60 * index, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(
    ("records", "labelled"),
    [
        (bdd(["b1c66a42.jpg"], timestamp=400), [2]),
        (bdd(["b1c66a42-0000003.jpg"], videoName="b1c66a42", frameIndex=3), [3]),
        (bdd(["b1c66a42.jpg", "other.jpg"], timestamp=200), [1]),
    ],
)
def test_bdd_videos_are_labelled_by_index_or_time(tmp_path, video, records, labelled):
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps(records))
    sequence = open_sequence(video, labels=labels)
    found = summary(sequence)
    assert [name for name, _, _ in found] == list("0123")
    assert [index for index, (_, _, names) in enumerate(found) if names] == labelled
    assert (sequence.rate_hz, sequence.length) == (5.0, 4)
    assert [frame.picture().image.shape for frame in sequence.frames()] == [(16, 32, 3)] * 4


@pytest.mark.parametrize(
    ("records", "words"), [(bdd(["x.jpg"], timestamp=1), "no frame of the video"), (bdd(["b1c66a42.jpg"]), "neither")]
)
def test_labels_that_do_not_fit_a_video_are_an_error(tmp_path, video, records, words):
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps(records))
    with pytest.raises(BagError, match=words):
        open_sequence(video, labels=labels)


def test_what_is_no_sequence_is_one_error(tmp_path, video):
    folder = images(tmp_path / "photos", ["a.png"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd.xml").write_text("<labels/>")
    (tmp_path / "label").mkdir()
    (tmp_path / "label" / "zzz.txt").write_text(SOUND)
    inverted = images(tmp_path / "bad" / "image_2", ["000001.png"]).parent
    (inverted / "label_2").mkdir()
    (inverted / "label_2" / "000001.txt").write_text(SOUND + "\n" + KITTI_LINE.format(kind="Car", box="9 1 2 2"))
    for source, layout, labels, error, words in (
        (tmp_path / "none", "auto", None, BagError, "does not exist"),
        (tmp_path / "empty", "auto", None, SourceError, "has no images"),
        (folder, "kitti-raw", None, BagError, "no image_02/data"),
        (folder, "kitti-object", None, BagError, "no folder image_2"),
        (folder, "video", None, BagError, "not what video data are in: that is a file"),
        (video, "folder", None, BagError, "that is a folder"),
        (folder, "bdd", None, BagError, "not one JSON file .*--labels"),
        (folder, "auto", tmp_path / "nowhere", BagError, "do not exist"),
        (folder, "auto", tmp_path / "odd.xml", BagError, "neither a folder"),
        (folder, "auto", tmp_path / "label", BagError, "for none of the images, such as a.png"),
        (tmp_path / "odd.xml", "auto", None, SourceError, "cannot be read"),
        (inverted, "auto", None, DatasetError, "000001.txt, line 2: its box is not x1 <= x2"),
    ):
        with pytest.raises(error, match=words):
            open_sequence(source, layout, labels)


# --- calibration and times


def test_calibration_from_kitti_is_of_rectified_images(tmp_path):
    path = tmp_path / "calib.txt"
    path.write_text(f"P0: 1 2\nP2: {P2}\n")
    calibration = read_kitti_calibration(path, "P2")
    np.testing.assert_array_equal(
        calibration.camera_matrix, [[721.5377, 0, 609.5593], [0, 721.5377, 172.854], [0, 0, 1]]
    )
    np.testing.assert_array_equal(calibration.rectification, np.eye(3))
    assert (calibration.distortion.tolist(), calibration.size) == ([0.0] * 5, None)
    for key, words in (("P3", "no matrix P3"), ("P0", "P0 is not of 12 numbers")):
        with pytest.raises(BagError, match=words):
            read_kitti_calibration(path, key)
    with pytest.raises(BagError, match="cannot be read"):
        read_kitti_calibration(tmp_path / "none.txt", "P2")


def test_calibration_from_yaml():
    calibration = read_calibration_yaml(KITTI_CAMERA)
    assert calibration.size == (375, 1242)
    assert calibration.camera_matrix[0, 2] == 609.5593
    assert (calibration.projection.shape, calibration.distortion_model) == ((3, 4), "plumb_bob")


@pytest.mark.parametrize("content", ["", "3", "a: [", "image_width: 3", "\xff"])
def test_other_yaml_is_an_error(tmp_path, content):
    path = tmp_path / "camera.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(BagError, match=r"camera\.yaml"):
        read_calibration_yaml(path)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0", 0),
        ("1.5", 1_500_000_000),
        ("1700000000.123456789", 1_700_000_000_123_456_789),
        ("2011-09-26 13:02:25.964389445", 1_317_042_145_964_389_445),
        ("2011-09-26T13:02:25Z", 1_317_042_145_000_000_000),
        ("2011-09-26T15:02:25.5+02:00", 1_317_042_145_500_000_000),
        ("2011-09-26", 1_316_995_200_000_000_000),
    ],
)
def test_times(text, ns):
    assert parse_time(text) == ns


@pytest.mark.parametrize("text", ["", "noon", "-1", "1e9", "2011-13-01"])
def test_what_is_no_time(text):
    with pytest.raises(ValueError):
        parse_time(text)

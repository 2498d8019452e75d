"""Labelling: the same rows from any worker, no lost or duplicate rows if a worker dies, and resuming."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'scale')")
pytest.importorskip("onnx", reason="onnx is not installed (extra 'test')")

from factories import make_model
from label_factory import (
    Run,
    close_pipes,
    encoded,
    ended,
    held_up,
    let_go,
    make_folder,
    make_tar,
    plain_rows,
    reader_of,
)

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.errors import GaussianYoloError, ModelError, SettingError
from gaussian_yolo_node.frames.source import SourceError
from gaussian_yolo_node.lab.noisy_student.labelling import LabelSummary, label
from gaussian_yolo_node.lab.noisy_student.shard_work import LabellingError
from gaussian_yolo_node.lab.noisy_student.tables import DetectionRow, LabelsFolderError, read_labels
from gaussian_yolo_node.runtime import RuntimeOptions

REPOSITORY = Path(__file__).resolve().parents[3]
FAST = "csp_nano_driving"


@pytest.fixture(autouse=True)
def no_pipes_left() -> Iterator[None]:
    yield
    close_pipes()


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Six images."""
    return make_folder(tmp_path / "drive", 6)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, Path]:
    """Six images, which no test changes, and the folder of their labels."""
    folder = tmp_path_factory.mktemp("finished")
    label([str(make_folder(folder / "drive", 6))], str(tiny_model), folder / "out", images_per_shard=2)
    return folder / "drive", folder / "out"


@pytest.fixture
def labelled(finished: tuple[Path, Path], tmp_path: Path, tiny_model: Path) -> Callable[[], LabelSummary]:
    """Labels the six images into `out`, a copy of the finished folder."""
    drive, output = finished[0], Path(shutil.copytree(finished[1], tmp_path / "out"))
    return lambda: label([str(drive)], str(tiny_model), output, images_per_shard=2)


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("*.parquet"))}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_rows_are_what_the_detector_says(tmp_path: Path, driving_dir: Path, workers: int) -> None:
    """The shipped detector in this process and in workers, against direct calls."""
    frames = sorted((driving_dir / "kitti" / "drive_0052" / "image").iterdir())[:3]
    drive = tmp_path / "drive"
    drive.mkdir()
    for frame in frames:
        (drive / frame.name).symlink_to(frame)
    summary = label([str(drive)], FAST, tmp_path / "out", workers=workers, images_per_shard=2)
    assert summary == LabelSummary(images=3, skipped=0, shards=2, done_before=0)
    labels = read_labels(tmp_path / "out")
    with Detector.open(FAST, options=RuntimeOptions(1, "fp32"), score_threshold=0.05) as detector:
        assert labels.kind == "detection" and len(labels.teacher["hash"]) == 64
        assert (labels.teacher["name"], tuple(labels.teacher["classes"])) == (FAST, detector.card.classes)
        for frame, row in zip(frames, labels.rows, strict=True):
            assert isinstance(row, DetectionRow) and row.image == frame.name
            picture = cv2.imread(str(frame))
            found = detector(picture)
            assert len(found) > 3 and (row.height, row.width) == picture.shape[:2]
            np.testing.assert_array_equal(row.predictions.detections.boxes, found.boxes)
            np.testing.assert_array_equal(row.predictions.detections.scores, found.scores)
            np.testing.assert_array_equal(row.predictions.detections.sigmas, found.sigmas)
            names = [detector.card.classes[index] for index in found.class_ids]
            assert row.predictions.class_names.tolist() == names


def test_folders_tars_and_bags_in_one_run(tmp_path: Path, drive: Path, tiny_model: Path) -> None:
    factory = pytest.importorskip("bag_factory", reason="rosbags is not installed (extra 'bags')")
    tar = make_tar(tmp_path / "shards" / "0.tar", [("a.png", encoded(1)), ("b.png", encoded(2))])
    bag = factory.write_recording(tmp_path / "bag", factory.camera_records(5))
    sources = [str(drive), str(tar), str(bag)]
    rows = {}
    for workers in (1, 2):
        output = tmp_path / f"out{workers}"
        summary = label(sources, str(tiny_model), output, workers=workers, images_per_shard=2)
        assert (summary.images, summary.shards) == (13, 3 + 1 + 3)
        rows[workers] = plain_rows(output)
    assert parts(tmp_path / "out1") == parts(tmp_path / "out2") and rows[1] == rows[2]
    assert [row[1] for row in rows[1]] == [sources[0]] * 6 + [sources[1]] * 2 + [sources[2]] * 5
    assert all(row[6] == ("car", "pedestrian") for row in rows[1])


def test_what_cannot_be_read_is_skipped_counted_and_named(tmp_path: Path, drive: Path, tiny_model: Path) -> None:
    (drive / "02.png").write_text("text")
    (drive / "05.jpg").write_bytes(encoded(1, ".jpg")[:-40])
    tar = make_tar(tmp_path / "cut.tar", [(f"{index}.png", encoded(index)) for index in range(9)])
    os.truncate(tar, tar.stat().st_size // 2)
    output = tmp_path / "out"
    summary = label([str(drive), str(tar)], str(tiny_model), output, images_per_shard=3)
    labels = read_labels(output)
    assert summary.images == len(labels.rows) > 6 and summary.skipped == 2
    assert labels.skipped == (("02.png", "not an image OpenCV can decode"), ("05.jpg", "the JPEG is cut short"))
    (note,) = summary.notes
    assert note.startswith("cut.tar: it is cut short or damaged")
    # A second run recognises the shards and has nothing to do.
    again = label([str(drive), str(tar)], str(tiny_model), output, images_per_shard=3)
    assert again == LabelSummary(summary.images, 2, summary.shards, summary.shards, summary.notes)


@pytest.mark.parametrize("harm", ["removed", "cut", "flipped", "foreign", "unlisted and cut"])
def test_a_damaged_part_is_made_anew(tmp_path: Path, labelled: Callable[[], LabelSummary], harm: str) -> None:
    output = tmp_path / "out"
    whole, before = parts(output), times(output)
    part = output / "part-00001.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    new = {"cut": data[:-10], "unlisted and cut": data[:-10], "foreign": whole["part-00000.parquet"]}.get(harm, data)
    part.unlink() if harm == "removed" else part.write_bytes(new)
    if harm == "unlisted and cut":
        (output / "labels.json").unlink()
    summary = labelled()
    assert (summary.images, summary.done_before) == (6, 2)
    assert parts(output) == whole
    assert [name for name, time in times(output).items() if time == before[name]] == [
        "part-00000.parquet", "part-00002.parquet"
    ]  # fmt: skip


def test_nothing_is_done_twice_and_parts_that_are_not_listed_yet_count(
    tmp_path: Path, labelled: Callable[[], LabelSummary]
) -> None:
    """A killed run leaves parts that are not in its list, and temporary files."""
    output = tmp_path / "out"
    whole, before = parts(output), times(output)
    assert labelled().done_before == 3
    assert (parts(output), times(output)) == (whole, before)
    document = json.loads(whole["labels.json"])
    (output / "labels.json").write_text(json.dumps(document | {"shards": document["shards"][:1]}))
    (output / ".part-00002.x1y2.tmp").write_bytes(b"half")
    assert labelled().done_before == 3
    assert (parts(output), times(output)) == (whole, before)


def test_sources_that_have_changed_are_labelled_anew_where_they_did(
    tmp_path: Path, drive: Path, tiny_model: Path
) -> None:
    output = tmp_path / "out"
    label([str(drive)], str(tiny_model), output, images_per_shard=2)
    (drive / "06.png").write_bytes(encoded(6))
    assert label([str(drive)], str(tiny_model), output, images_per_shard=2).done_before == 3
    for name in ("03.png", "04.png", "05.png", "06.png"):
        (drive / name).unlink()
    summary = label([str(drive)], str(tiny_model), output, images_per_shard=2)
    assert (summary.images, summary.shards, summary.done_before) == (3, 2, 1)
    assert [row[0] for row in plain_rows(output)] == ["00.png", "01.png", "02.png"]


def test_a_killed_worker_loses_and_doubles_nothing(
    tmp_path: Path, drive: Path, tiny_model: Path, finished: tuple[Path, Path]
) -> None:
    held = drive / "03.png"
    picture = held.read_bytes()
    with held_up(held):
        run = Run([str(drive)], str(tiny_model), tmp_path / "out", workers=2, images_per_shard=2)
        worker = reader_of(held)
        assert worker in [process.pid for process in active_children()]
        let_go(held, picture)
        os.kill(worker, signal.SIGKILL)
        run.join()
    assert run.error is None
    rows = repr(plain_rows(tmp_path / "out")).replace(str(drive), str(finished[0]))
    assert rows == repr(plain_rows(finished[1]))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(parts(finished[1]))
    assert active_children() == []


def test_a_shard_that_kills_every_worker_is_named(tmp_path: Path, drive: Path, tiny_model: Path) -> None:
    held = drive / "03.png"
    with held_up(held):
        run = Run([str(drive)], str(tiny_model), tmp_path / "out", workers=2, images_per_shard=2)
        for _ in range(3):
            worker = reader_of(held)
            os.kill(worker, signal.SIGKILL)
            assert ended(worker)
        run.join()
    assert isinstance(run.error, LabellingError)
    assert f"shard {drive}[2:4] has ended 3 workers, the last by SIGKILL: look for an image" in str(run.error)
    assert active_children() == []
    # Resuming is possible, and the temporary files of dead workers are removed.
    assert sorted(parts(tmp_path / "out")) == ["labels.json", "part-00000.parquet", "part-00002.parquet"]
    assert label([str(drive)], str(tiny_model), tmp_path / "out", images_per_shard=2).done_before == 2


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path, drive: Path, tiny_model: Path) -> None:
    held = drive / "03.png"
    with held_up(held):
        code = (
            "import sys; from pathlib import Path; from gaussian_yolo_node.lab.noisy_student.labelling import label\n"
            "if __name__ == '__main__': label([sys.argv[1]], sys.argv[2], Path(sys.argv[3]), workers=2)"
        )
        parent = subprocess.Popen(
            [sys.executable, "-c", code, str(drive), str(tiny_model), str(tmp_path / "out")],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        worker = reader_of(held)
        assert worker != parent.pid
        parent.kill()
        parent.wait()
        assert ended(worker)
    label([str(drive)], str(tiny_model), tmp_path / "out")
    assert sorted(parts(tmp_path / "out")) == ["labels.json", "part-00000.parquet"]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_teacher_names_the_image(tmp_path: Path, drive: Path, workers: int) -> None:
    teacher = make_model(tmp_path / "fragile.onnx", nan_when_black=True)
    cv2.imwrite(str(drive / "03.png"), np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(LabellingError, match=rf"^image 03\.png of {drive}: .*NaN"):
        label([str(drive)], str(teacher), tmp_path / "out", workers=workers, images_per_shard=2)
    assert active_children() == []
    with pytest.raises(LabelsFolderError, match="is not finished"):
        read_labels(tmp_path / "out")


def test_two_runs_do_not_share_a_folder(tmp_path: Path, drive: Path, tiny_model: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(LabelsFolderError, match=r"another run is writing into .*: wait for it, or end it"):
            label([str(drive)], str(tiny_model), tmp_path)
    finally:
        os.close(handle)
    assert label([str(drive)], str(tiny_model), tmp_path).images == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "other.onnx"}, r"made with teacher tiny \(\w{12}\), not tiny \(\w{12}\): choose another"),
        ({"score_threshold": 0.2}, r"that were made with score threshold 0\.05, not 0\.2"),
        ({"sources": ["drive", "more"]}, "made with sources drive, not drive, more"),
        ({"images_per_shard": 3}, "images per shard 2, not 3"),
    ],
)
def test_labels_that_were_made_otherwise_are_left_alone(
    tmp_path: Path,
    drive: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "more", 1)
    make_model(tmp_path / "other.onnx", classes=("car", "pedestrian"))
    options: dict[str, Any] = {"sources": ["drive"], "teacher": str(tiny_model), "images_per_shard": 2}
    label(output=tmp_path / "out", **options)
    before = parts(tmp_path / "out")
    with pytest.raises(LabelsFolderError, match=message):
        label(output=tmp_path / "out", **options | changes)
    assert parts(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"sources": ["none"]}, SourceError, "there is no source none"),
        ({"teacher": "none"}, ModelError, "there is no model 'none'; give the path of an ONNX file, or one of the"),
        ({"teacher": "none.pt"}, ModelError, r"there is no checkpoint none\.pt"),
        ({"score_threshold": 1.0}, SettingError, "score_threshold is 1.0"),
        ({"engine": "spark"}, LabellingError, "engine must be local or ray, not 'spark'"),
        ({"workers": 0}, LabellingError, "workers must be at least 1, not 0"),
        ({"address": "auto"}, LabellingError, "address auto is a Ray cluster's: add --engine ray"),
        ({"output": "file"}, LabelsFolderError, "file cannot be used as output folder: File exists"),
    ],
)
def test_what_cannot_be(
    tmp_path: Path, drive: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any],
    error: type[GaussianYoloError], message: str
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    options: dict[str, Any] = {"sources": ["drive"], "teacher": str(tiny_model), "output": "out", **changes}
    with pytest.raises(error, match=message):
        label(**options | {"output": Path(options["output"])})
    assert not (tmp_path / "out" / "labels.json").exists()

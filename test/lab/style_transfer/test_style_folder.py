"""Stylised folders: labels are copied, runs resume, and settings are never mixed."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console
from style_factory import make_frames, make_styles, untrained_extractor

torch = pytest.importorskip("torch")

from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.lab.style_transfer.folder import FolderSummary, stylise_folder  # noqa: E402
from gaussian_yolo_node.lab.style_transfer.frames import choose_style, find_frames, find_styles  # noqa: E402
from gaussian_yolo_node.lab.style_transfer.transfer import StyleSettings, StyleTransfer  # noqa: E402
from gaussian_yolo_node.labels.annotations import DatasetError  # noqa: E402
from gaussian_yolo_node.labels.check import check_sources  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[3]
NAMES = ["000000.png", "000001.jpg", "000002.png", "000003.jpg"]


SETTINGS = {"steps": 1, "coarse_steps": 0, "optimizer": "adam", "start": "noise"}
extractor = cache(untrained_extractor)  # each run normalises it anew


def run(content: Path, styles: Path, output: Path, labels: Path | None = None, **settings: Any) -> FolderSummary:
    transfer = StyleTransfer(extractor(), StyleSettings(**{**SETTINGS, **settings}))
    return stylise_folder(
        transfer, find_frames(content, labels), find_styles(styles), output, Console(file=io.StringIO())
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def day(tmp_path: Path) -> Path:
    make_frames(tmp_path / "day", NAMES)
    make_styles(tmp_path / "styles")
    return tmp_path / "day"


@pytest.fixture(scope="module")
def stylised(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FolderSummary]:
    """The output of a whole run on frames and styles as those of `day`."""
    folder = tmp_path_factory.mktemp("stylised")
    make_frames(folder / "day", NAMES)
    return folder / "night", run(folder / "day", make_styles(folder / "styles"), folder / "night")


@pytest.fixture
def night(day: Path, stylised: tuple[Path, FolderSummary]) -> Path:
    """A copy of that output, beside `day`."""
    return Path(shutil.copytree(stylised[0], day.parent / "night"))


def test_a_training_set_comes_out(day: Path, tmp_path: Path, night: Path, stylised: tuple[Path, FolderSummary]) -> None:
    before = contents(day)
    assert str(stylised[1]) == "4 frames stylised, 0 were there, 0 skipped, 4 label files carried over"
    made = contents(tmp_path / "night")
    assert sorted(made) == sorted([*before, "stylize.json", "stylize.jsonl"])
    for name in before:
        if name.startswith("label_2"):
            assert made[name] == before[name]
        else:
            old, new = (cv2.imread(str(folder / name)) for folder in (day, tmp_path / "night"))
            assert new.shape == old.shape and (new != old).any()
            assert made[name][:2] == before[name][:2]  # the same file format
    assert contents(stylised[0].parent / "day") == before
    lines = [json.loads(line) for line in made["stylize.jsonl"].decode().splitlines()]
    assert [line["image"] for line in lines] == NAMES
    assert {line["style"] for line in lines} <= {"style0.png", "style1.png"}
    assert all(len(line["losses"][0]["total"]) == 2 for line in lines)


def test_the_result_passes_the_check_of_data(night: Path) -> None:
    from gaussian_yolo_node.labels.sources import open_source

    source = open_source(night, {"format": "kitti", "images": "image_2", "labels": "label_2"}, "night")
    result = check_sources({"train": [source]}, ["car"], tiny=4.0, samples=0)
    # The factory's label files hold the same box up to three times.
    assert [fault for fault in result.errors if "duplicate" not in fault.kind.value] == []


def test_running_again_makes_nothing_anew_and_new_frames_are_added(day: Path, tmp_path: Path, night: Path) -> None:
    first = contents(night)
    summary = run(day, tmp_path / "styles", night)
    assert (summary.made, summary.before, summary.labels) == (0, 4, 4)
    assert contents(night) == first
    shutil.copy(day / "image_2" / "000000.png", day / "image_2" / "000009.png")
    shutil.copy(day / "image_2" / "000003.jpg", day / "image_2" / "000001.jpg")  # another image with this name
    summary = run(day, tmp_path / "styles", night)
    assert (summary.made, summary.before, summary.labels) == (2, 3, 4)
    again = contents(night)
    assert {name for name in first if again[name] != first[name]} == {"image_2/000001.jpg", "stylize.jsonl"}


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda out: (out / "image_2" / "000001.jpg").unlink(), id="picture lost"),
        pytest.param(lambda out: cut(out / "stylize.jsonl", 20), id="last line cut off"),
        pytest.param(lambda out: (out / "stylize.jsonl").unlink(), id="list lost"),
        pytest.param(lambda out: (out / "image_2" / ".000002.png.part").write_bytes(b"half"), id="half a file left"),
    ],
)
def test_an_interrupted_run_goes_on_to_the_same_pictures(
    day: Path, tmp_path: Path, night: Path, damage: Callable[[Path], object]
) -> None:
    whole = contents(night)
    damage(night)
    summary = run(day, tmp_path / "styles", night)
    assert summary.made + summary.before == 4
    again = {name: data for name, data in contents(night).items() if not name.endswith(".part")}
    assert {name for name in whole if again[name] != whole[name]} <= {"stylize.jsonl"}


def cut(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:-count])


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [".", "test", "test/support", "test/lab/style_transfer"]
from gaussian_yolo_node.lab.style_transfer import transfer as style_transfer
from gaussian_yolo_node.lab.style_transfer import folder

write, calls = folder.write_whole, []

def dies_at_the_third_picture(path, data):
    calls.append(path)
    if path.parent.name == "image_2" and sum(call.parent.name == "image_2" for call in calls) == 3:
        left = path.with_name(".gaussian_yolo-killed")  # as `files.scratch_beside` names it
        left.mkdir()
        (left / path.name).write_bytes(data[:100])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, data)

folder.write_whole = dies_at_the_third_picture
from test_style_folder import run
day, styles, out = (Path({folder!r}) / name for name in ("day", "styles", "night"))
run(day, styles, out)
"""


def test_a_killed_process_loses_and_doubles_nothing(
    day: Path, tmp_path: Path, stylised: tuple[Path, FolderSummary]
) -> None:
    """Killed with a partial image and its label on the disk."""
    program = KILLED.format(folder=str(tmp_path))
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.returncode == -signal.SIGKILL
    summary = run(day, tmp_path / "styles", tmp_path / "night")
    assert (summary.before, summary.made, summary.labels) == (2, 2, 4)
    resumed, whole = contents(tmp_path / "night"), contents(stylised[0])
    assert resumed.keys() == whole.keys()  # the truncated line is gone
    for name in NAMES:
        np.testing.assert_array_equal(
            *(cv2.imread(str(folder / "image_2" / name)) for folder in (tmp_path / "night", stylised[0]))
        )


def test_unreadable_frames_are_skipped_and_counted(day: Path, tmp_path: Path) -> None:
    cut(day / "image_2" / "000001.jpg", 300)
    (day / "image_2" / "000002.png").write_bytes(b"")
    cv2.imwrite(str(day / "image_2" / "000003.jpg"), np.zeros((8, 64, 3), np.uint8))
    summary = run(day, tmp_path / "styles", tmp_path / "night")
    assert (summary.made, summary.labels) == (1, 1)
    assert [name for name, _ in summary.skipped] == NAMES[1:]
    reasons = [reason for _, reason in summary.skipped]
    assert "not a readable image" in reasons[0] and "too small" in reasons[2]
    assert set(contents(tmp_path / "night")) == {
        "image_2/000000.png", "label_2/000000.txt", "stylize.json", "stylize.jsonl"
    }  # fmt: skip


def test_labels_beside_given_in_one_file_or_none(tmp_path: Path) -> None:
    make_styles(tmp_path / "styles", 1)
    make_frames(tmp_path / "data", ["a.png", "seq/b.png"])
    shutil.move(tmp_path / "data" / "image_2", tmp_path / "data" / "images")
    shutil.move(tmp_path / "data" / "label_2", tmp_path / "data" / "labels")
    # The image folder with its labels beside it; subfolders keep their paths.
    assert run(tmp_path / "data" / "images", tmp_path / "styles", tmp_path / "1").labels == 2
    assert (tmp_path / "1" / "label_2" / "seq" / "b.txt").is_file() and (tmp_path / "1" / "image_2" / "seq" / "b.png")
    # A folder with another name has no labels beside it.
    shutil.copytree(tmp_path / "data" / "images", tmp_path / "frames")
    assert run(tmp_path / "frames", tmp_path / "styles", tmp_path / "2").labels == 0
    assert run(tmp_path / "frames", tmp_path / "styles", tmp_path / "3", tmp_path / "data" / "labels").labels == 2
    bdd = tmp_path / "train.json"
    bdd.write_bytes(b'[{"name": "a.png"}]\r\n')
    run(tmp_path / "frames", tmp_path / "styles", tmp_path / "4", bdd)
    assert (tmp_path / "4" / "train.json").read_bytes() == bdd.read_bytes()
    # Images without labels are not a data set, but can be stylised.
    shutil.rmtree(tmp_path / "data" / "labels")
    (tmp_path / "data" / "labels").mkdir()
    assert run(tmp_path / "data", tmp_path / "styles", tmp_path / "5").labels == 0


def test_styles_are_chosen_by_name_and_seed() -> None:
    names, frames = ["day", "night", "rain"], [f"{number:06d}.png" for number in range(300)]
    chosen = [choose_style(names, frame, 0) for frame in frames]
    assert chosen == [choose_style(names, frame, 0) for frame in frames]
    assert choose_style(names, "caf\udce9.jpg", 0) in names  # a name need not be UTF-8
    assert chosen != [choose_style(names, frame, 1) for frame in frames]
    assert all(chosen.count(name) > 60 for name in names)
    assert choose_style(["only"], "any.png", 5) == "only"


def broken_style(tmp: Path) -> None:
    (tmp / "styles" / "style0.png").write_bytes(b"none")


def empty_styles(tmp: Path) -> None:
    shutil.rmtree(tmp / "styles")
    (tmp / "styles").mkdir()


def no_frames(tmp: Path) -> None:
    shutil.rmtree(tmp / "day" / "image_2")
    (tmp / "day" / "image_2").mkdir()


def only_broken_frames(tmp: Path) -> None:
    for path in (tmp / "day" / "image_2").iterdir():
        path.write_bytes(b"none")


def foreign_manifest(tmp: Path) -> None:
    (tmp / "night").mkdir()
    (tmp / "night" / "stylize.json").write_text("[]")


def output_is_file(tmp: Path) -> None:
    (tmp / "night").write_bytes(b"")


@pytest.mark.parametrize(
    ("prepare", "output", "message"),
    [
        (broken_style, "night", r"style0\.png is not a readable image"),
        (empty_styles, "night", "has no pictures"),
        (lambda tmp: shutil.rmtree(tmp / "styles"), "night", "does not exist: give a picture, or a folder"),
        (no_frames, "night", "has no images"),
        (lambda tmp: shutil.rmtree(tmp / "day"), "night", "does not exist"),
        (only_broken_frames, "night", "not one image .* could be read: .*not a readable image"),
        (foreign_manifest, "night", "is no manifest of this program"),
        (output_is_file, "night", "cannot be read or written"),
        (None, "day", "would mix with the frames"),
        (None, "day/image_2", "would mix with the frames"),
        (None, "day/image_2/night", "would mix with the frames"),
        (None, "day/label_2", "would mix with the labels"),
    ],
)
def test_bad_input(
    day: Path, tmp_path: Path, prepare: Callable[[Path], object] | None, output: str, message: str
) -> None:
    if prepare is not None:
        prepare(tmp_path)
    with pytest.raises(GaussianYoloError, match=message):
        run(day, tmp_path / "styles", tmp_path / output)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("nowhere", "--labels .*nowhere does not exist"),
        ("styles", r"no image .* has its label file, NAME\.txt, in --labels"),
    ],
)
def test_bad_labels(day: Path, tmp_path: Path, labels: str, message: str) -> None:
    with pytest.raises(GaussianYoloError, match=message):
        find_frames(day, tmp_path / labels)


def test_what_the_run_was_begun_with_must_stay(day: Path, tmp_path: Path, night: Path) -> None:
    message = r"made with other settings \(steps 1, not 2\): give another folder, or remove it"
    with pytest.raises(GaussianYoloError, match=message):
        run(day, tmp_path / "styles", night, steps=2)
    style = (tmp_path / "styles" / "style1.png").rename(tmp_path / "kept.png")
    shutil.copy(tmp_path / "styles" / "style0.png", tmp_path / "styles" / "style1.png")
    with pytest.raises(GaussianYoloError, match=r"made with other settings \(styles "):
        run(day, tmp_path / "styles", night)
    style.rename(tmp_path / "styles" / "style1.png")
    (day / "image_2" / "000000.png").unlink()
    with pytest.raises(GaussianYoloError, match="was begun with a frame that is gone"):
        run(day, tmp_path / "styles", night)


def test_a_style_that_is_no_picture(day: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no picture")
    with pytest.raises(DatasetError, match="not a readable image"):
        run(day, tmp_path / "note.txt", tmp_path / "night")

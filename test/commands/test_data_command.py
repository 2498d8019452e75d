"""The commands `gaussian-yolo data check` and `gaussian-yolo anchors`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands.conftest import Run, run_apart
from data_factory import KITTI_LINE, TEN_FAULTS, make_kitti, plant_ten_faults

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def kitti_labels(tmp_path_factory: pytest.TempPathFactory, driving_dir: Path) -> Path:
    folder = tmp_path_factory.mktemp("kitti")
    archive = driving_dir / "kitti_split" / "label_2_all.tar.xz"
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)
    return folder / "label_2"


def write_config(path: Path, root: Path, train: list[dict[str, object]], validation: list[dict[str, object]]) -> None:
    shipped = yaml.safe_load((REPOSITORY / "engines" / "efficientnet_lite0_kitti_1.yaml").read_text())
    shipped["data"] = {"root": str(root), "train": train, "validation": validation}
    path.write_text(yaml.safe_dump(shipped))


def test_check_finds_ten_planted_faults(tmp_path: Path, run: Run) -> None:
    plant_ten_faults(tmp_path)
    code, out, _ = run(
        "data", "check", "--format", "kitti", "--images", tmp_path / "images", "--labels", tmp_path / "labels",
        "--json", tmp_path / "out.json", "--samples", tmp_path / "samples", "--sample-count", 3,
    )  # fmt: skip
    assert code == 1
    for kind, file, line in TEN_FAULTS:
        place = f"{tmp_path / file}:{line}: " if line else f"{tmp_path / file}: "
        assert f"{place}{kind}: " in out
    assert "12 images: 10 faults" in out
    assert len(json.loads((tmp_path / "out.json").read_text())["faults"]) == 10
    assert len(list((tmp_path / "samples").glob("*.jpg"))) == 3


def test_check_of_a_config(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("torch")
    make_kitti(tmp_path / "t", ["a", "b"])
    make_kitti(tmp_path / "v", ["c"], first_seed=5)
    sources: list[dict[str, object]] = [
        {"format": "kitti", "images": f"{folder}/images", "labels": f"{folder}/labels"} for folder in ("t", "v")
    ]
    write_config(tmp_path / "sound.yaml", tmp_path, sources[:1], sources[1:])
    code, out, _ = run("data", "check", tmp_path / "sound.yaml")
    assert code == 0
    assert "3 images: 0 faults, 0 warnings" in out
    assert "note: train has no object of pedestrian, cyclist" in out

    write_config(tmp_path / "leak.yaml", Path("elsewhere"), sources, sources[1:])
    code, out, _ = run("data", "check", tmp_path / "leak.yaml", "--data", tmp_path)
    assert code == 1
    assert "c.jpg: image in two splits: it is in validation and" in out


def test_check_of_all_kitti_labels(kitti_labels: Path, run: Run) -> None:
    code, out, _ = run("data", "check", "--format", "kitti", "--labels", kitti_labels)
    assert code == 0
    assert "28,742" in out and "4,487" in out and "1,627" in out
    assert "7,481 images: 0 faults, 11 warnings (11 tiny box)" in out


def test_check_finds_kitti_frames_of_the_validation_drive(driving_dir: Path, tmp_path: Path, run: Run) -> None:
    pytest.importorskip("torch")
    folder = "kitti/object"
    train: list[dict[str, object]] = [{"format": "kitti", "images": f"{folder}/image_2", "labels": f"{folder}/label_2"}]
    validation: list[dict[str, object]] = [
        {"format": "kitti", "images": "kitti/drive_0011/image", "labels": "kitti/drive_0011/label_2"}
    ]
    write_config(tmp_path / "c.yaml", driving_dir, train, validation)
    code, out, _ = run("data", "check", tmp_path / "c.yaml")
    assert code == 1
    assert "190 images: 2 faults (2 image in two splits), " in out
    assert "000067.jpg: near-duplicate in two splits: it is in validation and looks like" in out


def test_check_of_a_folder_needs_no_torch(tmp_path: Path) -> None:
    make_kitti(tmp_path, ["a"])
    data = ("--images", tmp_path / "images", "--labels", tmp_path / "labels")
    (done,) = run_apart(("data", "check", "--format", "kitti", *data), without=["torch"])
    assert done.code == 0, done.err
    assert "1 image: 0 faults, 0 warnings" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "check"], "either a training config, or --format"),
        (["data", "check", "{tmp}/c.yaml", "--format", "kitti"], "either a training config, or --format"),
        (["data", "check", "--format", "voc"], "unknown data format 'voc': use one of kitti, "),
        (["data", "check", "--format", "kitti"], "the data (kitti): key 'labels' is missing"),
        (["data", "check", "--format", "kitti", "--labels", "{tmp}/none"], "--labels {tmp}/none does not exist"),
        (["data", "check", "--format", "kitti", "--labels", "{tmp}", "--data", "{tmp}"], "--data belongs to"),
        (["data", "check", "--format", "kitti", "--labels", "{tmp}", "--names", "{tmp}"], "unknown key 'names'"),
        (["data", "check", "--format", "yolo", "--labels", "{tmp}"], "key 'names' is missing"),
        (["data", "check", "{tmp}/none.yaml"], "none.yaml"),
        (["anchors"], "either a training config, or --format"),
        (["anchors", "--format", "kitti", "--labels", "{tmp}/labels"], "--size is missing"),
        (["anchors", "--format", "kitti", "--labels", "{tmp}/labels", "--size", "9"], "HEIGHTxWIDTH"),
        (["anchors", "--format", "kitti", "--labels", "{tmp}/labels", "--size", "32x64"], "9 anchors need at least 9"),
        (
            ["anchors", "--format", "kitti", "--labels", "{tmp}/labels", "--size", "32x64", "--count", "4"],
            "multiple of 3",
        ),
        (["anchors", "--format", "kitti", "--labels", "{tmp}/bad", "--size", "32x64"], "bad/a.txt, line 1"),
        (
            ["anchors", "--format", "bdd", "--labels", "{tmp}/l.json", "--size", "32x64"],
            "l.json does not tell the size",
        ),
        (
            ["anchors", "--format", "bdd", "--labels", "{tmp}/l.json", "--size", "32x64", "--image-size", "720"],
            "--image-size is '720'",
        ),
    ],
)
def test_bad_input(tmp_path: Path, run: Run, arguments: list[str], message: str) -> None:
    if any(argument.endswith(".yaml") for argument in arguments):
        pytest.importorskip("torch")
    make_kitti(tmp_path, ["a", "b"])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.txt").write_text("Car 1 2 3")
    label = {"category": "car", "box2d": {"x1": 1, "y1": 2, "x2": 30, "y2": 40}}
    (tmp_path / "l.json").write_text(json.dumps([{"name": "a.jpg", "labels": [label]}]))
    code, _, err = run(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert code == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    assert message.format(tmp=tmp_path) in err


def test_anchors_of_kitti_labels(kitti_labels: Path, tmp_path: Path, run: Run) -> None:
    """YAML for a recipe from an eighth of the labels, with a fit like that of the shipped anchors."""
    for path in sorted(kitti_labels.iterdir())[::8]:
        shutil.copy(path, tmp_path)
    code, out, _ = run("anchors", "--format", "kitti", "--labels", tmp_path, "--size", "320x1024")
    assert code == 0
    assert "4,495 boxes, letterboxed to 320x1024" in out and "mean IoU 0.72" in out
    shipped = yaml.safe_load((REPOSITORY / "engines" / "efficientnet_lite0_kitti_1.yaml").read_text())
    np.testing.assert_allclose(yaml.safe_load(out)["anchors"], shipped["model"]["anchors"], rtol=0.25)


def test_anchors_of_a_config(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("torch")
    make_kitti(tmp_path, ["a"])
    lines = [KITTI_LINE.format(kind="Car", box=f"1 1 {10 + 4 * i} {8 + 3 * i}") for i in range(12)]
    (tmp_path / "labels" / "a.txt").write_text("\n".join(lines))
    source: dict[str, object] = {"format": "kitti", "images": "images", "labels": "labels"}
    write_config(tmp_path / "c.yaml", tmp_path, [source], [])
    code, out, _ = run("anchors", tmp_path / "c.yaml", "--count", 3)
    assert code == 0
    assert "12 boxes, letterboxed to 320x1024" in out and "now: 0." in out
    anchors = yaml.safe_load(out)["anchors"]
    assert [len(head) for head in anchors] == [1, 1, 1]
    assert anchors[0][0][0] > anchors[1][0][0] > anchors[2][0][0]  # the coarsest stride has the largest anchors

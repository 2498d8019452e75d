"""benchmarks/soak.py: a short run, its figures from given samples, and the page it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import cv2
from factories import make_image

REPOSITORY = Path(__file__).resolve().parents[2]
from soak import END, START, Soak, table, write  # noqa: E402

PAGE = f"# Reliability\n\n{START}old\n{END}\nThe rest.\n"


def soak(**changes: object) -> Soak:
    memory = [(float(second), 300.0 + min(second, 60) + second / 3600) for second in range(7200)]
    values = {"seconds": 7200.0, "published": 216_000, "received": 216_000, "processed": 215_990, "dropped": 10}
    return Soak("a machine", "drive/image", "tiny", 30.0, **{**values, "memory": memory, **changes})


def test_memory_counts_from_the_end_of_the_first_minute() -> None:
    run = soak()
    assert run.slope_mb_per_hour() == pytest.approx(1.0, abs=0.01)
    assert run.growth_mb() == pytest.approx(1.8, abs=0.05)  # the middle of the last tenth minus that of the first
    assert soak(memory=[(float(second), 300.0) for second in range(7200)]).growth_mb() == 0


@pytest.mark.parametrize("memory", [[], [(1.0, 300.0)], [(1.0, 300.0), (2.0, 300.0)]])
def test_a_run_that_just_began_has_no_growth(memory: list[tuple[float, float]]) -> None:
    run = soak(memory=memory, seconds=float(len(memory)))
    assert (run.growth_mb(), run.slope_mb_per_hour()) == (0, 0)
    assert "a short run" in table(run)


def test_frames_that_the_node_never_knew_of_are_lost() -> None:
    assert soak().lost == 0
    assert soak(received=215_997).lost == 3
    assert "| lost (published, but not received) | 3 |" in table(soak(received=215_997))


def test_the_page_keeps_what_is_around_the_table(tmp_path: Path) -> None:
    page = tmp_path / "reliability.md"
    page.write_text(PAGE)
    for _ in range(2):
        write(soak(), tmp_path / "reliability.json")
    assert page.read_text() == PAGE.replace("old\n", table(soak()))
    document = json.loads((tmp_path / "reliability.json").read_text())
    assert len(document["memory"]) == 120
    assert document["lost"] == 0


def test_without_a_page_the_figures_are_written(tmp_path: Path) -> None:
    write(soak(), tmp_path / "other.json")
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]


def test_the_project_s_page_has_a_place_for_the_table() -> None:
    page = (REPOSITORY / "docs" / "reliability.md").read_text()
    assert page.count(START) == page.count(END) == 1
    assert page.index(START) < page.index(END)


@pytest.mark.slow
def test_a_short_run(tmp_path: Path, tiny_model: Path) -> None:
    folder = tmp_path / "image"
    folder.mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / f"{index:03}.png"), make_image(seed=index))
    output = tmp_path / "short.json"
    command = [sys.executable, "benchmarks/soak.py", str(folder), "--model", str(tiny_model), "-o", str(output)]
    command += ["--seconds", "5", "--limit-mb", "1000"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    document = json.loads(output.read_text())
    assert document["published"] > 0
    assert document["lost"] == 0
    assert document["processed"] + document["dropped"] + document["skipped"] == document["published"]
    assert [canvas for _, canvas, _ in document["canvases"]] == ["64x96"]
    assert document["memory"][0][1] > 10

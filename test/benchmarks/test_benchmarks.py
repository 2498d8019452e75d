"""Minimal runs of the benchmark scripts, with meaningless figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def script(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, f"benchmarks/{name}.py", *arguments],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, cwd=REPOSITORY, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def run(output: Path) -> subprocess.CompletedProcess[str]:
    return script("mdconv_ablation", "--quick", "--jobs", "1", "--output", output)


@pytest.mark.parametrize("archive", [False, True])
def test_the_evaluator_is_timed_on_label_files(tmp_path: Path, archive: bool) -> None:
    folder = tmp_path / "label_2"
    folder.mkdir()
    for index in range(6):
        line = f"Car 0.00 0 1.5 {100 + index}.0 100.0 200.0 200.0 1.5 1.6 3.9 1.0 1.5 20.0 1.5\n"
        (folder / f"{index:06d}.txt").write_text(line)
    labels = folder
    if archive:
        labels = tmp_path / "labels.tar.xz"
        with tarfile.open(labels, "w:xz") as tar:
            tar.add(folder, "training/label_2")

    timed = script("evaluation_speed", labels, "--limit-s", "1000")

    assert timed.returncode == 0, timed.stderr
    assert "6 label files, 6 objects" in timed.stdout and "together" in timed.stdout


@pytest.mark.slow
def test_the_ablation_runs_resumes_and_refuses_other_settings(tmp_path: Path) -> None:
    for package in ("torch", "openvino", "sklearn", "matplotlib"):
        pytest.importorskip(package, reason=f"{package} is not installed (extras 'train', 'cpu' and 'bench')")
    output = tmp_path / "ablation"
    first = run(output)
    assert first.returncode == 0, first.stderr
    results = json.loads(output.with_suffix(".json").read_text())
    assert len(results["runs"]) == 14
    costs = results["costs"]
    assert costs["mobilenet_v1 3"]["macs"] < costs["mobilenet_v1 3.5"]["macs"] < costs["mobilenet_v1 5"]["macs"]
    assert "Not ImageNet" in output.with_suffix(".md").read_text()
    assert output.with_suffix(".png").stat().st_size > 10_000

    lost = results["runs"].popitem()[0]
    output.with_suffix(".json").write_text(json.dumps(results))
    second = run(output)
    assert second.returncode == 0, second.stderr
    assert "1/1 " in second.stdout and lost in second.stdout

    results["settings"]["epochs"] = 99
    output.with_suffix(".json").write_text(json.dumps(results))
    third = run(output)
    assert third.returncode == 1 and "other settings" in third.stderr

"""The ablation script at its smallest; its figures are worth nothing then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def run(output: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "benchmarks/mdconv_ablation.py", "--quick", "--jobs", "1", "--output", output],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, cwd=REPOSITORY, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


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

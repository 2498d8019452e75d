"""The command `robustness`, and the repeatability of corruptions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from data_factory import make_kitti
from factories import make_image
from typer.testing import CliRunner

from gaussian_yolo_node.commands.robustness import robustness
from gaussian_yolo_node.lab.robustness import RobustnessError
from gaussian_yolo_node.lab.robustness.corruptions import CORRUPTIONS, check_corruptions, check_severities, corrupt

app = typer.Typer()
app.command()(robustness)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_same_key_same_pixels(name: str) -> None:
    pytest.importorskip("imagecorruptions", reason="imagecorruptions-imaug is not installed")
    image = make_image(32, 48)
    np.random.seed(3)  # noqa: NPY002
    first = corrupt(image, name, 1, key="a.png")
    np.random.seed(4)  # noqa: NPY002
    assert first.shape == image.shape
    assert np.array_equal(first, corrupt(image, name, 1, key="a.png"))
    assert not np.array_equal(first, image)


@pytest.mark.parametrize("severity", [0, 6])
def test_bad_severity(severity: int) -> None:
    with pytest.raises(RobustnessError, match=f"severity {severity} does not exist"):
        check_severities([severity])


def test_unknown_corruption_names_the_known() -> None:
    with pytest.raises(RobustnessError, match="no corruption 'rain': known are gaussian_noise"):
        check_corruptions(["rain"])


def test_command_and_resume(tmp_path: Path, tiny_model: Path) -> None:
    pytest.importorskip("imagecorruptions", reason="imagecorruptions-imaug is not installed")
    make_kitti(tmp_path / "data", ["000000", "000001"])
    output = tmp_path / "out"
    command = [str(tiny_model), str(tmp_path / "data"), "-o", str(output), "--corruptions", "contrast",
               "--severities", "1,5", "--threads", "1"]  # fmt: skip
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    first = json.loads((output / "robustness.json").read_text())
    assert len(first["cells"]) == 2
    kept = output / "cells" / "contrast-1.json"
    before = kept.stat().st_mtime_ns
    (output / "cells" / "contrast-5.json").unlink()
    CliRunner().invoke(app, command, catch_exceptions=False)
    assert kept.stat().st_mtime_ns == before
    assert json.loads((output / "robustness.json").read_text()) == first
    with pytest.raises(RobustnessError, match="other settings"):
        CliRunner().invoke(app, [*command, "--seed", "1"], catch_exceptions=False)


def test_no_labels(tmp_path: Path, tiny_model: Path) -> None:
    pytest.importorskip("imagecorruptions", reason="imagecorruptions-imaug is not installed")
    with pytest.raises(RobustnessError, match="has no labels"):
        CliRunner().invoke(app, [str(tiny_model), str(tmp_path), "-o", str(tmp_path / "o")], catch_exceptions=False)

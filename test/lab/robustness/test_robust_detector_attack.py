"""A detector's training checkpoint under attack."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from training_runs import make_document

from gaussian_yolo_node.commands.gaussian_yolo import app
from gaussian_yolo_node.lab.robustness import RobustnessError
from gaussian_yolo_node.lab.robustness.detector_attack import AttackOptions, detector_attacks
from gaussian_yolo_node.lab.training.train import run

STILL = {"scale": [1, 1], "aspect": 0, "hue": 0, "saturation": 1, "exposure": 1, "mosaic": 0}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of an overfitted detector and of its images."""
    root = tmp_path_factory.mktemp("detector")
    document = make_document(root, epochs=2, batch_size=4, learning_rate=3e-3, backbone_rate=1.0, ema_decay=0.9)
    document["data"]["train"][0]["weight"] = 40
    document["augment"] = STILL
    (root / "recipe.yaml").write_text(yaml.safe_dump(document))
    run(root / "recipe.yaml", root / "run")
    return root


def test_average_precision_falls_with_epsilon_and_epsilon_0_is_clean(trained: Path, tmp_path: Path) -> None:
    options = AttackOptions(("fgsm", "pgd"), (0.0, 4.0, 32.0), limit=2)
    result = detector_attacks(trained / "run/last.pt", trained, tmp_path / "out", options, labels=trained / "label")
    fgsm, pgd = result["attacks"]["fgsm"], result["attacks"]["pgd"]
    assert fgsm["0"] == pgd["0"] and fgsm["0"]["map50"] > 0.9
    assert pgd["32"]["map50"] < fgsm["0"]["map50"]
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/cells").iterdir()}
    again = detector_attacks(trained / "run/last.pt", trained, tmp_path / "out", options, labels=trained / "label")
    assert again == result and {path: path.stat().st_mtime_ns for path in (tmp_path / "out/cells").iterdir()} == kept


def test_a_checkpoint_without_attacks_is_told_how(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(RobustnessError, match="give --attacks fgsm; for corruptions export it first"):
        detector_attacks(trained / "run/last.pt", trained, tmp_path / "out", AttackOptions(()))


def test_the_command(trained: Path, tmp_path: Path) -> None:
    command = ["robustness", trained / "run/last.pt", trained, "--labels", trained / "label", "-o", tmp_path / "out",
               "--attacks", "fgsm", "--epsilons", "0,8", "--limit", 1]  # fmt: skip
    result = CliRunner().invoke(app, [str(word) for word in command])
    assert result.exit_code == 0, result.stderr
    assert "fgsm epsilon 8: mAP50" in result.stdout and (tmp_path / "out/robustness.png").exists()

"""A model file as a trained network: its function, FixRes and attacks from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra 'train')")

from training_runs import make_document  # noqa: E402

from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.lab.fixres import FixRes, fixres  # noqa: E402
from gaussian_yolo_node.lab.robustness.detector_attack import AttackOptions, detector_attacks  # noqa: E402
from gaussian_yolo_node.lab.training.checkpoint import export_checkpoint, load_trained  # noqa: E402
from gaussian_yolo_node.lab.training.exported import open_trained  # noqa: E402
from gaussian_yolo_node.lab.training.train import run  # noqa: E402
from gaussian_yolo_node.lab.training.validate import detect  # noqa: E402


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, recipe, run and model file of a detector."""
    root = tmp_path_factory.mktemp("detector")
    document = make_document(root, images=2, epochs=1)
    document["data"]["validation"] = [{"format": "kitti", "images": "image", "labels": "label"}]
    (root / "synthetic.yaml").write_text(yaml.safe_dump(document))
    export_checkpoint(run(root / "synthetic.yaml", root / "run"), root / "model.onnx")
    return root


def test_a_model_file_is_its_checkpoints_function(trained: Path) -> None:
    path, ours = open_trained(trained / "model.onnx")
    theirs = load_trained(trained / "run" / "last.pt")
    assert path == trained / "model.onnx" and ours.config.model == theirs.config.model
    image = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        for head, expected in zip(ours.model(image), theirs.model(image), strict=True):
            assert torch.allclose(head, expected, atol=1e-3)


def test_the_default_model_is_a_trained_network(driving_dir: Path) -> None:
    from gaussian_yolo_node.detector.detector import Detector
    from gaussian_yolo_node.labels import read_image

    _, ours = open_trained("csp_nano_driving")
    frame = read_image(sorted((driving_dir / "kitti/drive_0011/image").iterdir())[0])
    with Detector.open(score_threshold=0.3) as detector:
        expected = detector(frame)
    found = detect(ours.model, ours.config.model, frame, 0.3)
    assert len(found) == len(expected) > 0
    assert np.abs(np.sort(found.scores) - np.sort(expected.scores)).max() < 0.05  # bf16 on some processors


def test_fixres_and_attacks_begin_with_a_model_file(trained: Path, tmp_path: Path) -> None:
    recipe = trained / "synthetic.yaml"
    outcome = fixres(trained / "model.onnx", recipe, FixRes((96, 128), epochs=1), tmp_path / "fixres")
    assert load_trained(outcome.checkpoint).config.model.input_size == (96, 128) and "AP50 car" in outcome.before
    options = AttackOptions(("fgsm",), (0.0, 8.0), limit=1)
    result = detector_attacks(trained / "model.onnx", trained, tmp_path / "attacks", options, labels=trained / "label")
    assert result["attacks"]["fgsm"].keys() == {"0", "8"}


def test_without_its_recipe_a_model_file_is_no_network(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "model.onnx", tmp_path)
    with pytest.raises(GaussianYoloError, match=r"needs its recipe beside it.*synthetic.yaml is missing"):
        open_trained(tmp_path / "model.onnx")

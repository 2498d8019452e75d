"""Average precision and sigma corrections for several canvases of one model."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("onnx", reason="onnx is not installed (extra 'train')")

import yaml  # noqa: E402

from gaussian_yolo_node.commands.gaussian_yolo import app  # noqa: E402
from gaussian_yolo_node.detector.detector import Detector  # noqa: E402
from gaussian_yolo_node.detector.model import ModelCard  # noqa: E402
from gaussian_yolo_node.evaluation.matching import MatchedBoxes, join  # noqa: E402
from gaussian_yolo_node.lab.export.onnx import export_model  # noqa: E402
from gaussian_yolo_node.lab.networks.gaussian_yolo import STRIDES  # noqa: E402

SIZE = (64, 96)  # of the frames and of the model's own canvas


class CarEverywhere(torch.nn.Module):
    """Detects a car of the anchor's size in every cell of stride 32, so that the boxes are known on every canvas."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 10, 1)
        with torch.no_grad():
            self.stem.weight.fill_(1e-7)
            assert self.stem.bias is not None
            self.stem.bias.copy_(torch.tensor([0.0, -2, 0, -2, 0, -2, 0, -2, 4, 4]))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        heads = [torch.nn.functional.avg_pool2d(self.stem(image), stride) for stride in STRIDES]
        return [heads[0], *(head - 20 for head in heads[1:])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, two sets of frames with objects near its boxes, and their recipe."""
    root = tmp_path_factory.mktemp("points")
    anchors = (((30.0, 28.0),),) * 3
    card = ModelCard(name="cells", classes=("car",), anchors=anchors, strides=STRIDES, input_size=SIZE)
    export_model(CarEverywhere(), card, root / "model.onnx")
    rng = np.random.default_rng(0)
    for name in ("town", "road"):
        for part in ("image", "label"):
            (root / name / part).mkdir(parents=True)
        for number in range(8):
            cv2.imwrite(str(root / name / "image" / f"{number:06}.png"), np.full((*SIZE, 3), 90, np.uint8))
            lines = []
            for x in (16, 48, 80):
                for y in (16, 48):
                    low, high = np.array([x - 15, y - 14]), np.array([x + 15, y + 14])
                    low, high = low + rng.normal(0, 1.5, 2), high + rng.normal(0, 1.5, 2)
                    lines.append(f"Car 0 0 0 {low[0]:.2f} {low[1]:.2f} {high[0]:.2f} {high[1]:.2f} 1 1 1 1 1 1 1\n")
            (root / name / "label" / f"{number:06}.txt").write_text("".join(lines))
    sets = [{"name": n, "format": "kitti", "images": f"{n}/image", "labels": f"{n}/label"} for n in ("town", "road")]
    recipe = {
        "name": "cells",
        "model": {"classes": ["car"], "anchors": [[[30, 28]]] * 3, "input_size": list(SIZE)},
        "data": {"root": str(root), "train": [sets[0]], "validation": sets},
        "schedule": {"epochs": 1, "crop_size": list(SIZE)},
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return root


def call(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        app, ["operating-points", str(folder / "model.onnx"), str(folder / "recipe.yaml"), *arguments]
    )


def test_points_are_measured_and_written(folder: Path) -> None:
    output = folder / "measured.onnx"
    result = call(folder, "--canvas", "64x96", "--canvas", "32x64", "-o", str(output))
    assert result.exit_code == 0, result.output
    with Detector.open(output) as detector:
        points = detector.card.operating_points
    assert [point.input_size for point in points] == [(32, 64), (64, 96)]
    # On its own canvas the model detects every object, but not with cells of a third of the frame.
    small, own = (point.average_precision["road"]["AP50 car"] for point in points)
    assert own > 0.95 > small
    assert points[0].gmacs < points[1].gmacs
    assert all(point.sigma_calibration is None for point in points)


def test_sigmas_are_fitted_to_the_named_sets(folder: Path) -> None:
    output, report = folder / "fitted.onnx", folder / "points.json"
    result = call(folder, "--canvas", "64x96", "--fit", "town", "-o", str(output), "--json", str(report))
    assert result.exit_code == 0, result.output
    with Detector.open(output) as detector:
        card = detector.card
        assert detector.sigma_calibration == card.operating_points[0].sigma_calibration == card.sigma_calibration
    assert card.sigma_calibration is not None
    assert card.training["sigma_calibration"]["sets"] == ["town"]
    (point,) = json.loads(report.read_text())
    assert 0.6 < point["sets"]["road"]["sigma"]["overall"]["within"][0] < 0.8  # on a set outside the fit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--canvas", "64"), "--canvas is '64'"),
        (("--canvas", "60x96"), "60x96 is not of multiples of 32 px"),
        (("--canvas", "64x96", "--fit", "village"), "--fit is 'village'; the recipe's sets are town, road"),
        (("--canvas", "64x96", "--data", "/nowhere"), "does not exist"),
    ],
)
def test_bad_input_is_named(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    result = call(folder, *arguments)
    assert result.exit_code == 2 and message in result.output


def test_joined_recordings_keep_their_frames_apart() -> None:
    def part(frames: list[int], sigmas: bool = True) -> MatchedBoxes:
        boxes = np.zeros((len(frames), 4))
        names = np.array(["car"] * len(frames))
        return MatchedBoxes(boxes, boxes, boxes + 1 if sigmas else None, names, np.array(frames, np.intp))

    joined = join([part([0, 0, 2]), part([]), part([0, 1])])
    assert joined.frames.tolist() == [0, 0, 2, 3, 4] and len(joined) == 5 and joined.sigmas is not None
    assert join([part([0]), part([0], sigmas=False)]).sigmas is None

"""The exported file against the torch model: same heads, right names, card inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("onnx", reason="onnx is not installed (extra 'train')")

from gaussian_yolo_node.detector.detector import Detector  # noqa: E402
from gaussian_yolo_node.detector.model import ModelCard  # noqa: E402
from gaussian_yolo_node.models.export import ExportError, export_model  # noqa: E402
from gaussian_yolo_node.models.gaussian_yolo import STRIDES, GaussianYolo, build_model  # noqa: E402
from gaussian_yolo_node.runtime import open_runtime  # noqa: E402

CLASSES = ("car", "pedestrian")
ANCHORS = tuple(tuple((float(8 * s + a), float(6 * s)) for a in range(3)) for s in (8, 4, 1))


def make_card(size: tuple[int, int]) -> ModelCard:
    return ModelCard(name="tiny", classes=CLASSES, anchors=ANCHORS, strides=STRIDES, input_size=size)


@pytest.fixture(scope="module")
def model() -> GaussianYolo:
    torch.manual_seed(0)
    built = build_model("efficientnet_lite0", len(CLASSES), width=32)
    # Fresh batch norms would hide a wrong running mean.
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    return built.eval()


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_runtimes_give_torchs_heads(model: GaussianYolo, tmp_path: Path, runtime: str) -> None:
    from gaussian_yolo_node.runtime.base import RuntimeOptions

    pytest.importorskip(runtime, reason=f"{runtime} is not installed (extra 'cpu')")
    path = tmp_path / "tiny.onnx"
    export_model(model, make_card((64, 96)), path)
    canvas = np.random.default_rng(3).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    rgb = torch.from_numpy(canvas[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        expected = [head.numpy() for head in model(rgb)]
    with_runtime = open_runtime(path, runtime, RuntimeOptions(precision="fp32"))
    heads = [head.copy() for head in with_runtime.infer(canvas)]
    with_runtime.close()
    assert [head.shape for head in heads] == [head.shape for head in expected]
    for ours, theirs in zip(heads, expected, strict=True):
        assert np.abs(ours - theirs).max() < 1e-3


def test_the_card_travels_in_the_file(model: GaussianYolo, tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    export_model(model, make_card((32, 64)), path)
    with Detector.open(path) as detector:
        assert detector.card == make_card((32, 64))


@pytest.mark.parametrize("size", [(0, 64), (33, 64), (-32, 32)])
def test_a_size_off_the_grid_is_refused(model: GaussianYolo, tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(ExportError, match="multiple of 32"):
        export_model(model, make_card(size), tmp_path / "tiny.onnx")
    assert not (tmp_path / "tiny.onnx").exists()

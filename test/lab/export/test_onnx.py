"""The exported file against the torch model: equal heads, names, and the card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("onnx", reason="onnx is not installed (extra 'train')")

from gaussian_yolo_node.detector.detector import Detector  # noqa: E402
from gaussian_yolo_node.detector.model import ModelCard, OperatingPoint  # noqa: E402
from gaussian_yolo_node.detector.sigma_correction import SigmaCalibration  # noqa: E402
from gaussian_yolo_node.errors import ModelError  # noqa: E402
from gaussian_yolo_node.lab.export.card_file import write_card  # noqa: E402
from gaussian_yolo_node.lab.export.onnx import ExportError, ExportOptions, export_model  # noqa: E402
from gaussian_yolo_node.lab.networks.gaussian_yolo import STRIDES, GaussianYolo, build_model  # noqa: E402
from gaussian_yolo_node.runtime import RuntimeOptions, open_runtime  # noqa: E402

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


@pytest.fixture(scope="module")
def exported(model: GaussianYolo, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives the model's file with a batch, which is exported once."""
    folder = tmp_path_factory.mktemp("exported")

    @cache
    def export(batch: int | None = 1) -> Path:
        path = folder / f"{batch}.onnx"
        export_model(model, make_card((64, 96)), path, ExportOptions(batch))
        return path

    return export


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("size", [None, (32, 32), (96, 160), pytest.param((160, 96), marks=pytest.mark.slow)])
def test_runtimes_give_torchs_heads_on_any_canvas(
    model: GaussianYolo, exported: Callable[..., Path], runtime: str, size: tuple[int, int] | None
) -> None:
    pytest.importorskip(runtime, reason=f"{runtime} is not installed (extra 'cpu')")
    path = exported()
    height, width = size or (64, 96)
    canvas = np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = model(torch.from_numpy(canvas[..., ::-1].copy()).permute(2, 0, 1)[None].float())
    opened = open_runtime(path, runtime, RuntimeOptions(precision="fp32", input_size=size))
    assert (opened.input_size, opened.free_size) == ((height, width), True)
    assert opened.head_shapes == tuple(tuple(head.shape[1:]) for head in expected)
    for ours, theirs in zip(opened.infer(canvas), expected, strict=True):
        assert ours.shape == tuple(theirs.shape) and np.abs(ours - theirs.numpy()).max() < 1e-3
    opened.close()
    with pytest.raises(ModelError, match="multiples of 32 px, not 64x100"):
        open_runtime(path, runtime, RuntimeOptions(input_size=(64, 100)))


def test_a_detector_maps_boxes_from_the_canvas_it_was_opened_for(exported: Callable[..., Path], tmp_path: Path) -> None:
    correction = SigmaCalibration((2.0,) * 4, (0.0,) * 4)
    points = (OperatingPoint((32, 64), 0.1), OperatingPoint((96, 160), 0.5, sigma_calibration=correction))
    path = tmp_path / "points.onnx"
    write_card(exported(), replace(make_card((32, 64)), operating_points=points), path)
    with Detector.open(path) as small, Detector.open(path, options=RuntimeOptions(input_size=(96, 192))) as large:
        assert (small.input_size, small.sigma_calibration) == ((32, 64), None)
        assert (large.input_size, large.sigma_calibration) == ((96, 192), correction)
        large.score_threshold = 0.0
        found = large(np.zeros((96, 192, 3), np.uint8))
        assert len(found) and found.boxes[:, 2].max() > 64  # beyond the smaller canvas


def test_the_card_travels_in_the_file(exported: Callable[..., Path]) -> None:
    with Detector.open(exported()) as detector:
        assert detector.card == make_card((64, 96))


@pytest.mark.parametrize("size", [(0, 64), (33, 64), (-32, 32)])
def test_a_size_off_the_grid_is_refused(model: GaussianYolo, tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(ExportError, match="multiple of 32"):
        export_model(model, make_card(size), tmp_path / "tiny.onnx")
    assert not (tmp_path / "tiny.onnx").exists()


@pytest.mark.parametrize("batch", [None, 1, 3])
def test_onnxruntime_runs_the_batch_that_was_asked_for(
    model: GaussianYolo, exported: Callable[..., Path], batch: int | None
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra 'cpu')")
    session = onnxruntime.InferenceSession(str(exported(batch)), providers=["CPUExecutionProvider"])
    for images in (1, 2, 5) if batch is None else (batch,):
        canvases = np.random.default_rng(images).integers(0, 256, (images, 64, 96, 3), dtype=np.uint8)
        with torch.no_grad():
            expected = model(torch.from_numpy(canvases[..., ::-1].copy()).permute(0, 3, 1, 2).float())
        for ours, theirs in zip(session.run(None, {"image": canvases}), expected, strict=True):
            assert ours.shape == tuple(theirs.shape)
            assert np.abs(ours - theirs.numpy()).max() < 1e-3


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("batch", [None, 3])
def test_a_runtime_refuses_a_batch_it_cannot_run(
    exported: Callable[..., Path], runtime: str, batch: int | None
) -> None:
    pytest.importorskip(runtime, reason=f"{runtime} is not installed (extra 'cpu')")
    with pytest.raises(ModelError, match=r"uint8 \[.*, 3\] where uint8 \[1, .*batch 1"):
        open_runtime(exported(batch), runtime)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "--batch must be a whole number at least 1, not 0"),
        ({"batch": -1}, "--batch must be a whole number at least 1, not -1"),
        ({"runtime": "tpu"}, "--runtime must be one of openvino, onnxruntime, not 'tpu'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        ExportOptions(**options)  # type: ignore[arg-type]


class Untraceable(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 1)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        raise RuntimeError("no trace")


def test_a_failed_export_leaves_what_was_there(model: GaussianYolo, tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError, match="no trace"):
        export_model(Untraceable(), make_card((32, 32)), path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    export_model(model, make_card((32, 32)), path)
    assert path.stat().st_size > 1e5
    assert list(tmp_path.iterdir()) == [path]


def test_output_that_cannot_be_written_is_named(model: GaussianYolo, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ExportError, match=r"folder cannot be written: Is a directory"):
        export_model(model, make_card((32, 32)), tmp_path / "folder")

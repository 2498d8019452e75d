"""Table and plot of the benchmark of operating points, from measurements made by hand."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra 'bench')")

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return importlib.import_module("operating_points")


def point(canvas: tuple[int, int], ms: float, car: float) -> dict[str, Any]:
    figures = {"AP50 car": car, "AP car": car / 2, "AP50 pedestrian": 0.25}
    return {"canvas": list(canvas), "network_ms": ms, "average_precision": {"town": figures}}


def test_the_report_has_a_row_for_each_point(benchmark: ModuleType, tmp_path: Path) -> None:
    ours = [point((192, 640), 5.04, 0.6), point((384, 1248), 18.31, 0.782)]
    document = {
        "points": {"ours": ours, benchmark.YOLOX: [point((384, 1248), 29.5, 0.722)]},
        "processor": "a processor",
        "runtime": "a runtime",
        "instructions": "AVX2",
    }
    benchmark.report(document, tmp_path / "points.json")
    text = (tmp_path / "points.md").read_text()
    assert "| ours | 192x640 | 5.0 | 60.0 / 30.0, 25.0, - |" in text
    assert "| ours | 384x1248 | 18.3 | 78.2 / 39.1, 25.0, - |" in text
    assert "| YOLOX-nano, COCO | 384x1248 | 29.5 | 72.2 / 36.1, 25.0, - |" in text
    assert "a processor, a runtime, instructions: AVX2" in text
    assert (tmp_path / "points.png").stat().st_size > 5000


def test_what_is_shown_is_what_was_measured(benchmark: ModuleType, tmp_path: Path) -> None:
    document = json.loads((REPOSITORY / "docs" / "operating_points.json").read_text())
    benchmark.report(document, tmp_path / "operating_points.json")
    shown = (REPOSITORY / "docs" / "operating_points.md").read_text()
    assert (tmp_path / "operating_points.md").read_text() == shown


def test_yolox_boxes_are_decoded_as_its_makers_do(
    benchmark: ModuleType, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a slow loop over cells, on a canvas that is not square."""
    monkeypatch.setattr(benchmark, "EVALUATED_SCORE", 0.0)  # noise scores low
    pytest.importorskip("openvino", reason="OpenVINO is not installed (extra 'cpu')")
    options = benchmark.RuntimeOptions(precision="fp32")
    network = benchmark._Yolox(weights_dir / "yolox_nano_coco.onnx", (64, 128), ("car", "pedestrian"), options)
    frame = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    found = network(frame)
    raw = network.request.get_output_tensor(0).data[0]
    best = []
    row = 0
    for stride in (8, 16, 32):
        for y in range(64 // stride):
            for x in range(128 // stride):
                w, h = np.exp(raw[row, 2:4]) * stride
                cx, cy = (raw[row, 0] + x) * stride, (raw[row, 1] + y) * stride
                best.append((raw[row, 4] * raw[row, 5 + 2], [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]))
                row += 1
    assert row == len(raw)
    score, box = max(best, key=lambda pair: pair[0])
    cars = found.class_ids == 0
    assert found.scores[cars].max() == pytest.approx(score, rel=1e-4)
    expected = np.clip(box, 0, [128, 64, 128, 64])
    np.testing.assert_allclose(found.boxes[cars][found.scores[cars].argmax()], expected, atol=0.01)


def test_without_data_it_says_so(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["operating_points.py", "--output", "points.json"])
    with pytest.raises(SystemExit) as ended:
        benchmark.main()
    assert ended.value.code == 2 and "--data is missing" in capsys.readouterr().err

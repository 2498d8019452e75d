"""The page docs/at_scale.md has the tables of its figures."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'scale')")

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_page_has_the_tables_of_its_figures() -> None:
    benchmark = importlib.import_module("at_scale")
    figures = json.loads((REPOSITORY / "docs/at_scale.json").read_text())
    page = (REPOSITORY / "docs/at_scale.md").read_text()
    begin, end = benchmark.MARKS
    assert page.split(begin)[1].split(end)[0] == f"\n{benchmark.tables(figures)}\n"

"""Fixtures of the tests of reports."""

from __future__ import annotations

import pytest

from gaussian_yolo_node.report import drawing


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are painted, but come out empty: rendering them takes most of a report's time."""
    monkeypatch.setattr(drawing.Figure, "savefig", lambda _, file, **__: file.write('<svg viewBox="0 0 1 1"></svg>'))

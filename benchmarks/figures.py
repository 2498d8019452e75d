"""Figures of the benchmarks' reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def saved_figure(
    path: Path, rows: int, columns: int, size: tuple[float, float], dpi: int = 90, **options: Any
) -> Iterator[tuple[Any, Any]]:
    """A figure of `size` inches and its axes, as of `pyplot.subplots`; saved at the end of the block."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(rows, columns, figsize=size, constrained_layout=True, **options)
    yield figure, axes
    figure.savefig(path, dpi=dpi)
    pyplot.close(figure)

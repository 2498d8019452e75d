"""A robustness test for people: a table, and AP and sigma against severity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from gaussian_yolo_node.offline.corruption.corruptions import GROUPS
from gaussian_yolo_node.offline.corruption.sigma import CellFigures

if TYPE_CHECKING:
    from gaussian_yolo_node.offline.robustness import DetectorRobustness

HEADINGS = ("severity", "mAP50", "boxes", "sigma/size", "sigma ratio", "error ratio", "in 1 sigma", "objects")


def rows(result: DetectorRobustness) -> list[tuple[str, ...]]:
    """Cells of the table as text: the clean row, then a row a corruption and severity."""
    first = ("clean", "", *_cells("0", result.clean))
    return [first] + [
        (name, _number(result.rho[name], 2), *_cells(str(severity), cell))
        for (name, severity), cell in result.cells.items()
    ]


def table(result: DetectorRobustness) -> Table:
    """A row a corruption and severity."""
    shown = Table(title=f"{result.settings['model']}, {result.settings['frames']} frames")
    shown.add_column("corruption")
    for heading in ("rho", *HEADINGS):
        shown.add_column(heading, justify="right")
    for row in rows(result):
        shown.add_row(*row)
    return shown


def draw(result: DetectorRobustness, path: Path) -> None:
    """Write a PNG: above, mAP at IoU 0.5 against severity; below, the sigma ratio; a column a group."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), layout="constrained")
    axes = figure.subplots(2, len(GROUPS), sharex=True, sharey="row")
    for column, (group, names) in enumerate(GROUPS.items()):
        for name in names:
            cells = {severity: cell for (of, severity), cell in result.cells.items() if of == name}
            if not cells:
                continue
            x = [0, *cells]
            axes[0, column].plot(x, [cell.map50 for cell in (result.clean, *cells.values())], "o-", label=name)
            ratios = [float("nan") if each.sigma_ratio is None else each.sigma_ratio for each in cells.values()]
            axes[1, column].plot(x, [1.0, *ratios], "o-", label=name)
        axes[0, column].set_title(group)
        axes[1, column].axhline(1, color="grey", linewidth=0.8)
        axes[1, column].set_xlabel("severity")
        if axes[0, column].lines:
            axes[0, column].legend(fontsize=7)
    axes[0, 0].set_ylabel("mAP at IoU 0.5")
    axes[1, 0].set_ylabel("sigma of the same objects / clean")
    figure.savefig(str(path), dpi=110)


def _cells(severity: str, cell: CellFigures) -> tuple[str, ...]:
    return (
        severity, f"{100 * cell.map50:.1f}", str(cell.above), _number(cell.sigma, 3), _number(cell.sigma_ratio, 2),
        _number(cell.error_ratio, 2), _number(cell.coverage, 2), str(cell.paired),
    )  # fmt: skip


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"

"""Report of a robustness test: a table, and plots of AP and sigma against severity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from gaussian_yolo_node.files import whole_file
from gaussian_yolo_node.lab.robustness.corruptions import GROUPS
from gaussian_yolo_node.lab.robustness.sigma import CellFigures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gaussian_yolo_node.lab.robustness.detector_robustness import DetectorRobustness

HEADINGS = ("severity", "mAP50", "boxes", "sigma/size", "sigma ratio", "error ratio", "in 1 sigma", "objects")


def rows(result: DetectorRobustness) -> list[tuple[str, ...]]:
    """Cells of the table as text: the clean row, then one row per corruption and severity."""
    first = ("clean", "", *_cells("0", result.clean))
    return [first] + [
        (name, _number(result.rho[name], 2), *_cells(str(severity), cell))
        for (name, severity), cell in result.cells.items()
    ]


def table(result: DetectorRobustness) -> Table:
    """One row per corruption and severity."""
    shown = Table(title=f"{result.settings['model']}, {result.settings['frames']} frames")
    shown.add_column("corruption")
    for heading in ("rho", *HEADINGS):
        shown.add_column(heading, justify="right")
    for row in rows(result):
        shown.add_row(*row)
    return shown


def draw(result: DetectorRobustness, path: Path) -> None:
    """Write a PNG: above, mAP at IoU 0.5 against severity; below, the sigma ratio; one column per group."""
    figure = _figure(13, 6)
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
    _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    """An empty figure, inches."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    with whole_file(path) as part:
        figure.savefig(str(part), dpi=110, format="png")


def _cells(severity: str, cell: CellFigures) -> tuple[str, ...]:
    return (
        severity,
        f"{100 * cell.map50:.1f}",
        str(cell.above),
        _number(cell.sigma, 3),
        _number(cell.sigma_ratio, 2),
        _number(cell.error_ratio, 2),
        _number(cell.coverage, 2),
        str(cell.paired),
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def draw_classifier(result: Mapping[str, Any], path: Path) -> None:
    """Write a PNG: top-1 error against severity, flip probabilities, and top-1 against epsilon."""
    figure = _figure(14, 4.5)
    error, flips, attack = figure.subplots(1, 3)
    for name, row in result["errors"].items():
        clean = {} if result["clean"] is None else {"0": 1 - result["clean"]}
        severities = {**clean, **row}
        error.plot(list(map(int, severities)), list(severities.values()), "o-", ms=3, label=name)
    error.set(xlabel="severity", ylabel="top-1 error")
    flips.barh(list(result["flips"]), list(result["flips"].values()))
    flips.set_xlabel("flip probability")
    for kind, row in result["attacks"].items():
        attack.plot(list(map(float, row)), list(row.values()), "o-", label=kind)
    attack.set(xlabel="epsilon, of 255", ylabel="top-1")
    for axis in (error, attack):
        if axis.lines:
            axis.legend(fontsize=7)
    _save(figure, path)


def draw_attacks(result: Mapping[str, Any], path: Path) -> None:
    """Write a PNG: mAP at IoU 0.5, and the sigma of the same objects relative to epsilon 0, against epsilon."""
    figure = _figure(10, 4)
    precision, sigma = figure.subplots(1, 2)
    for kind, row in result["attacks"].items():
        epsilons = list(map(float, row))
        precision.plot(epsilons, [cell["map50"] for cell in row.values()], "o-", label=kind)
        ratios = [float("nan") if cell["sigma_ratio"] is None else cell["sigma_ratio"] for cell in row.values()]
        sigma.plot(epsilons, ratios, "o-", label=kind)
    precision.set(xlabel="epsilon, of 255", ylabel="mAP at IoU 0.5")
    sigma.set(xlabel="epsilon, of 255", ylabel="sigma of the same objects / clean")
    precision.legend()
    _save(figure, path)

"""Table and figure of `noisy_student_detection.py`."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

COLUMNS = {
    "AP50 car": "car, AP at IoU 0.5, %",
    "AP car": "car, AP at IoU 0.7, %",
    "AP50 pedestrian": "pedestrian, AP at IoU 0.5, %",
    "AP50 cyclist": "cyclist, AP at IoU 0.5, %",
}
GAIN = "AP50 car"


def write_table(document: dict[str, Any], titles: dict[str, str], path: Path, figure: Path) -> None:
    """Write Markdown: one row per variant, mean ± standard deviation over the seeds, and gains per seed."""
    results = document["results"]
    seeds = sorted({result["seed"] for result in results})
    by_name = _by_name(results)
    rows = [
        f"| | {' | '.join(COLUMNS.values())} | gain in car AP at IoU 0.5, seed by seed |",
        "|---" * (2 + len(COLUMNS)) + "|",
    ]
    for name, title in titles.items():
        cells = [_spread([100 * by_name[name][seed].get(column, 0.0) for seed in seeds]) for column in COLUMNS]
        gains = [100 * (by_name[name][seed][GAIN] - by_name["teacher"][seed][GAIN]) for seed in seeds]
        shown = "" if name == "teacher" else f"{', '.join(f'{gain:+.1f}' for gain in gains)} (mean {mean(gains):+.1f})"
        rows.append(f"| {title} | {' | '.join(cells)} | {shown} |")
    counts = [
        f"{titles[name]}, seed {result['seed']}: {result['selected']['images']} of {result['selected']['of']} images, "
        f"{sum(result['selected']['boxes'].values())} boxes, {result['selected']['ignore_regions']} ignore regions"
        for name in titles
        for result in results
        if result["name"] == name and result.get("selected")
    ]
    lines = [
        "# Noisy Student for a detector",
        "",
        "Written by `benchmarks/noisy_student_detection.py`, whose head says what is trained on what; "
        f"`--length {document['length']}`, on {document['device']}, torch {document['torch']}. Seeds "
        f"{', '.join(map(str, seeds))}; mean ± standard deviation (least to most).",
        "",
        *rows,
        "",
        "Pseudo labels:",
        "",
        *(f"- {line}" for line in counts),
        "",
        f"![Each seed as a line]({figure.name})",
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_figure(results: list[dict[str, Any]], titles: dict[str, str], path: Path) -> None:
    """One line per seed from the teacher to each student."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    by_name = _by_name(results)
    names = list(titles)
    figure, axes = pyplot.subplots(1, 2, figsize=(12, 4.5), constrained_layout=True)
    for axis, column in zip(axes, ("AP50 car", "AP car"), strict=True):
        for seed in sorted({result["seed"] for result in results}):
            axis.plot(
                names, [100 * by_name[name][seed][column] for name in names], "o-", label=f"seed {seed}", alpha=0.7
            )
        axis.plot(
            names, [mean(100 * one[column] for one in by_name[name].values()) for name in names], "k_", ms=28, mew=2
        )
        axis.set_title(COLUMNS[column])
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _by_name(results: list[dict[str, Any]]) -> dict[str, dict[int, dict[str, Any]]]:
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for result in results:
        found.setdefault(result["name"], {})[result["seed"]] = result
    return found


def _spread(values: list[float]) -> str:
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{spread} ({min(values):.1f} to {max(values):.1f})"

"""Table and figure of `noisy_student_detection.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detector_trainings import COVERAGE, figure_of, gains, spread, verdict
from figures import saved_figure

COLUMNS = {
    "AP50 car": "car, AP at IoU 0.5",
    "AP car": "car, AP at IoU 0.7",
    "AP50 pedestrian": "pedestrian, AP at IoU 0.5",
    "AP50 cyclist": "cyclist, AP at IoU 0.5",
    COVERAGE: "errors in 1 sigma",
}
GAIN = "AP50 car"


def write_table(document: dict[str, Any], titles: dict[str, str], path: Path, figure: Path) -> None:
    """Write Markdown: per set and over the sets one row per variant, and a sentence on each variant's gain."""
    results = document["results"]
    sets = list(results[0]["sets"])
    seeds = sorted({found["seed"] for found in results})
    lines = [
        "# Noisy Student for a detector",
        "",
        "Written by `benchmarks/noisy_student_detection.py`, whose head says what is trained on what; "
        f"`--length {document['length']}`, on {document['device']}, torch {document['torch']}. Seeds "
        f"{', '.join(map(str, seeds))}. Percent; mean ± standard deviation over seeds (n).",
    ]
    heads = [f"| | {' | '.join(COLUMNS.values())} |", "|---" * (1 + len(COLUMNS)) + "|"]
    for title, of in [("Mean of the sets", sets), *((name, [name]) for name in sets)]:
        lines += ["", f"## {title}", "", *heads]
        for name, shown in titles.items():
            found = [one for one in results if one["name"] == name]
            cells = " | ".join(spread([figure_of(one, key, of) for one in found]) for key in COLUMNS)
            lines.append(f"| {shown} | {cells} |")
    lines += ["", "## Gains", ""]
    for name, shown in titles.items():
        for base in ("teacher", "continued"):
            if name not in ("teacher", base) and base in titles:
                differences = gains(results, base, name, lambda one: figure_of(one, GAIN, sets))
                what = f"{shown}, {COLUMNS[GAIN]}, against “{titles[base]}”,"
                lines.append(f"- {verdict(differences, what)}")
    counts = []
    for found in results:
        if selected := found.get("selected"):
            boxes = f"{sum(selected['boxes'].values())} boxes, {selected['ignore_regions']} ignore regions"
            images = f"{selected['images']} of {selected['of']} images"
            counts.append(f"- {titles[found['name']]}, seed {found['seed']}: {images}, {boxes}")
    lines += ["", "## Pseudo labels", "", *counts, "", f"![Each seed as a line]({figure.name})", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_figure(results: list[dict[str, Any]], titles: dict[str, str], path: Path) -> None:
    """One line per seed from the teacher to each student; figures are means over the sets."""
    sets = list(results[0]["sets"])
    with saved_figure(path, 1, 2, (12, 4.5)) as (_, axes):
        for axis, column in zip(axes, (GAIN, COVERAGE), strict=True):
            for seed in sorted({found["seed"] for found in results}):
                of = {found["name"]: figure_of(found, column, sets) for found in results if found["seed"] == seed}
                shown = [(name, 100 * value) for name in titles if (value := of.get(name)) is not None]
                if shown:
                    axis.plot(*zip(*shown, strict=True), "o-", label=f"seed {seed}", alpha=0.7)
            axis.set_title(f"{COLUMNS[column]}, %")
            axis.grid(alpha=0.3)
        axes[0].legend()

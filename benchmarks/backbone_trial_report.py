"""Table and figure of `backbone_trial.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from figures import saved_figure

TIME = "ms"
OVER_CLASSES = "mAP50"


def write_table(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Write Markdown: the training of each contender, then one row per contender and canvas.

    Args:
        results: of `backbone_trial.compete`, one per contender.
    """
    first = results[0]
    sets = next(iter(first["points"].values()))["sets"]
    lines = [
        "# A fair trial of backbones",
        "",
        f"Written by `benchmarks/backbone_trial.py`. Each network has {first['minutes']:g} minutes to learn, on the "
        "same data with the same augmentation, under a cosine of as many whole epochs as its steps allow; one training "
        f"each, the last epoch's averaged weights. {first['machine']}; torch {first['torch']}.",
        "",
        "| contender | network | seconds a step | epochs | minutes, with the validation |",
        "|---|---|---|---|---|",
    ]
    for found in results:
        model, taken = found["recipe"]["model"], found["trained_minutes"]
        network = ", ".join(str(model[key]) for key in ("backbone", "neck", "width", "activation") if model.get(key))
        epochs = found["recipe"]["schedule"]["epochs"]
        minutes = "not counted" if taken is None else f"{taken:.0f}"
        lines.append(f"| {found['contender']} | {network} | {found['step_s']:.2f} | {epochs} | {minutes} |")
    rows = [(found["contender"], canvas, *of) for found in results for canvas, of in _points(found).items()]
    columns = list(dict.fromkeys(key for *_, figures in rows for key in figures if key != TIME))
    lines += [
        "",
        f"Average precisions, in percent, and times of the network are means over the sets {', '.join(sets)}; "
        f"{OVER_CLASSES} is that of each set's mean over its classes.",
        "",
        f"| contender | canvas | GMACs | network, ms | {' | '.join(columns)} |",
        "|---" * (4 + len(columns)) + "|",
    ]
    for name, canvas, gmacs, figures in rows:
        cells = " | ".join(f"{figures[key]:.1f}" if key in figures else "-" for key in columns)
        lines.append(f"| {name} | {canvas} | {gmacs:.2f} | {figures[TIME]:.1f} | {cells} |")
    lines += ["", f"![Average precision against latency]({path.stem}.png)", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_figure(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot AP50 of the first class and mAP50 against inference time: one line per contender, one point per canvas."""
    first = results[0]["recipe"]["model"]["classes"][0]
    with saved_figure(path, 1, 2, (12, 5)) as (_, axes):
        for axis, key in zip(axes, (f"AP50 {first}", OVER_CLASSES), strict=True):
            for found in results:
                points = {canvas: (figures[TIME], figures[key]) for canvas, (_, figures) in _points(found).items()}
                axis.plot(*zip(*points.values(), strict=True), "o-", label=found["contender"])
                for canvas, place in points.items():
                    axis.annotate(canvas, place, textcoords="offset points", xytext=(5, -10), fontsize=7)
            axis.set(xlabel="network, ms a frame", ylabel=f"{key}, %, mean over the sets")
            axis.grid(alpha=0.3)
        axes[0].legend()


def _points(found: dict[str, Any]) -> dict[str, tuple[float, dict[str, float]]]:
    """GMACs and means over the sets, by canvas, smallest first."""
    ordered = sorted(found["points"].items(), key=lambda item: item[1]["gmacs"])
    return {canvas: (point["gmacs"], _means(point["sets"].values())) for canvas, point in ordered}


def _means(sets: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean of each figure over the sets that have it: inference time, and average precisions in percent."""
    rows: dict[str, list[float]] = {}
    for of in sets:
        percent = {key: 100 * value for key, value in of["average_precision"].items()}
        fifty = {key: value for key, value in percent.items() if key.startswith("AP50 ")}
        if fifty:
            fifty[OVER_CLASSES] = mean(fifty.values())
        for key, value in {TIME: of["inference_ms"], **fifty, **percent}.items():
            rows.setdefault(key, []).append(value)
    return {key: mean(values) for key, values in rows.items()}

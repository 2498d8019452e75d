"""Table and figure of `gaussian_vs_plain.py`."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from figures import saved_figure

PLAIN = "plain"
TITLES = {
    PLAIN: "YOLOv3's loss",
    "gaussian loss": "Gaussian loss, scored without sigma",
    "gaussian loss and criterion": "Gaussian loss and criterion",
}
COUNTS = {"right75": "TP", "wrong75": "FP", "right50": "TP, IoU 0.5", "wrong50": "FP, IoU 0.5"}
EQUAL = "FP at plain's TP"
OVER_CLASSES = "mAP50"

Rows = dict[str, dict[int, dict[str, float]]]  # figures of one set by variant and seed


def write_table(results: list[dict[str, Any]], command: str, path: Path) -> None:
    """Write Markdown: the settings, then per set one row per loss and criterion, and their differences.

    Args:
        results: of `gaussian_vs_plain.result`, in any order.
    """
    recipe = results[0]["recipe"]
    model, schedule = recipe["model"], recipe["schedule"]
    seeds = sorted({result["seed"] for result in results})
    lines = [
        "# Gaussian YOLOv3 against YOLOv3",
        "",
        "Written by `benchmarks/gaussian_vs_plain.py`, after Tables 3 to 5 of Choi et al., “Gaussian YOLOv3”, ICCV "
        "2019. Two trainings a seed, alike but for the loss; the Gaussian network is scored both ways.",
        "",
        "<!-- not typed: needs hours -->",
        "```",
        command,
        "```",
        "",
        f"Network {model.get('backbone', 'efficientnet_lite0')}, from {_start(model)}, classes "
        f"{', '.join(model['classes'])}, input {_size(model['input_size'])}; {schedule['epochs']} epochs of batches of "
        f"{schedule.get('batch_size', 8)} at {_size(schedule.get('crop_size', (256, 640)))}; seeds "
        f"{', '.join(map(str, seeds))}; torch {results[0]['torch']}. Loss options beside the kind: "
        f"{_options(recipe['loss'])}. Judged are the last epoch's averaged weights; no epoch was picked by its "
        "accuracy.",
        "",
        "AP50 and AP are all-point average precisions, in percent: at IoU 0.5, and at KITTI's where that is another. "
        "TP and FP are right and wrong detections of all classes with a score above 0.5, in BDD's protocol: IoU above "
        "0.75, or 0.5 where it says so; wrong ones on ignore regions do not count. Mean ± standard deviation over the "
        "seeds (least to most).",
        "",
        f"“{EQUAL}”: the criterion lowers every score, so a fixed threshold lets fewer detections through, right or "
        "wrong. Here each network's threshold is the one that gives as many right detections (IoU 0.5) as YOLOv3's "
        "loss gives above 0.5.",
        "",
        "Changes are seed by seed against YOLOv3's loss; the paper has -41.4 % FP and +7.3 % TP on KITTI, -40.6 % and "
        "+4.3 % on BDD, from trainings on the full data.",
    ]
    for name in _sets(results):
        lines += _of_set(name, _rows(results, name))
    lines += ["", "![Each seed as a point](gaussian_vs_plain.png)", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_figure(results: list[dict[str, Any]], path: Path) -> None:
    """One row of panels per set, one panel per figure; one point per seed, a bar for the mean."""
    first = f"AP50 {results[0]['recipe']['model']['classes'][0]}"
    panels = {first: f"{first}, %", OVER_CLASSES: f"{OVER_CLASSES}, %"}
    panels |= {name: COUNTS[name] for name in ("right50", "wrong50")} | {EQUAL: f"{EQUAL}, IoU 0.5"}
    names = _sets(results)
    size = (15, 3.2 * len(names))
    with saved_figure(path, len(names), len(panels), size, squeeze=False) as (figure, grid):
        for of_set, name in zip(grid, names, strict=True):
            rows = _rows(results, name)
            for axis, (key, title) in zip(of_set, panels.items(), strict=True):
                for place, variant in enumerate(TITLES):
                    values = [figures[key] for figures in rows[variant].values() if key in figures]
                    if values:
                        axis.bar(place, mean(values), width=0.6, color=f"C{place}", alpha=0.35)
                        axis.plot([place] * len(values), values, "o", color=f"C{place}")
                axis.set_xticks(range(len(TITLES)), ["YOLOv3", "Gaussian,\nno sigma", "Gaussian,\ncriterion"])
                axis.set(title=f"{name}: {title}", ylim=(0, None))
        figure.suptitle("Gaussian YOLOv3 against YOLOv3: a point a seed, bars are means; counts at score 0.5")


def _of_set(name: str, rows: Rows) -> list[str]:
    """The section of a set: average precisions, counts, and their changes."""
    sample = next(iter(rows[PLAIN].values()))
    precisions = [key for key in sample if key.startswith(("AP50 ", "AP ", OVER_CLASSES))]
    counts = {**COUNTS, EQUAL: EQUAL}
    lines = ["", f"## {name}", "", f"{sample['frames']:.0f} frames with {sample['truths']:.0f} objects.", ""]
    lines += [f"| | {' | '.join(precisions)} |", "|---" * (1 + len(precisions)) + "|"]
    for variant, title in TITLES.items():
        lines.append(f"| {title} | {' | '.join(_spread(rows, variant, key, '.1f') for key in precisions)} |")
    lines += ["", f"| | {' | '.join(counts.values())} |", "|---" * (1 + len(counts)) + "|"]
    for variant, title in TITLES.items():
        lines.append(f"| {title} | {' | '.join(_spread(rows, variant, key, '.0f') for key in counts)} |")
    lines += ["", f"| change | {' | '.join(counts.values())} |", "|---" * (1 + len(counts)) + "|"]
    for variant, title in list(TITLES.items())[1:]:
        lines.append(f"| {title} | {' | '.join(_change(rows, variant, key) for key in counts)} |")
    return lines


def _sets(results: list[dict[str, Any]]) -> list[str]:
    return list(next(iter(results[0]["variants"].values())))


def _rows(results: list[dict[str, Any]], name: str) -> Rows:
    """Figures of a set, average precisions in percent."""
    rows: Rows = {variant: {} for variant in TITLES}
    before: dict[tuple[str, int], list[int]] = {}
    for result in results:
        for variant, of_sets in result["variants"].items():
            figures = dict(of_sets[name])
            before[variant, result["seed"]] = figures.pop("wrong_before")
            figures |= {key: 100 * value for key, value in figures.items() if key.startswith("AP")}
            figures[OVER_CLASSES] = mean(value for key, value in figures.items() if key.startswith("AP50 "))
            rows[variant][result["seed"]] = figures
    for (variant, seed), wrong in before.items():
        wanted = int(rows[PLAIN][seed]["right50"])
        # Undefined if the network never reaches this recall.
        if 0 < wanted <= len(wrong):
            rows[variant][seed][EQUAL] = wrong[wanted - 1]
    return rows


def _spread(rows: Rows, variant: str, name: str, form: str) -> str:
    values = [figures[name] for figures in rows[variant].values() if name in figures]
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{mean(values):{form}} ± {stdev(values):.1f} ({min(values):{form}} to {max(values):{form}})"


def _change(rows: Rows, variant: str, name: str) -> str:
    """Relative change to the plain loss, percent, over the seeds with both figures."""
    pairs = [(figures.get(name), rows[PLAIN][seed].get(name)) for seed, figures in rows[variant].items()]
    values = [100 * (value / base - 1) for value, base in pairs if value is not None and base]
    if not values:
        return "-"
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):+.1f}{spread} %"


def _start(model: dict[str, Any]) -> str:
    """Description of the initial weights."""
    init = model.get("init")
    file = init["file"] if isinstance(init, dict) else init
    return Path(file).name if file else "ImageNet's weights" if model.get("pretrained", True) else "fresh weights"


def _size(pair: Any) -> str:
    return f"{pair[0]}x{pair[1]}"


def _options(loss: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in loss.items() if name != "kind") or "none"

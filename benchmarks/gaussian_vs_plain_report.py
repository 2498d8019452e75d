"""Table and figure of `gaussian_vs_plain.py`."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

PLAIN = "plain"
TITLES = {
    PLAIN: "YOLOv3's loss",
    "gaussian loss": "Gaussian loss, scored without sigma",
    "gaussian loss and criterion": "Gaussian loss and criterion",
}
COUNTS = {"right75": "TP", "wrong75": "FP", "right50": "TP, IoU 0.5", "wrong50": "FP, IoU 0.5"}
EQUAL = "FP at plain's TP"

Rows = dict[str, dict[int, dict[str, float]]]  # by variant and seed: figures


def write_table(results: list[dict[str, Any]], command: str, path: Path) -> None:
    """Markdown: what was run, then a row a way of training and scoring, and how they differ.

    Args:
        results: what `gaussian_vs_plain.result` gives, in any order.
    """
    rows = _rows(results)
    recipe, sample = results[0]["recipe"], next(iter(results[0]["variants"].values()))
    model, schedule = recipe["model"], recipe["schedule"]
    first = model["classes"][0]
    seeds = sorted(rows[PLAIN])
    lines = [
        "# Gaussian YOLOv3 against YOLOv3",
        "",
        "Written by `benchmarks/gaussian_vs_plain.py`, after Tables 3 to 5 of Choi et al., “Gaussian YOLOv3”, ICCV "
        "2019. Two trainings a seed, alike but for the loss; the Gaussian network is scored both ways.",
        "",
        "```",
        command,
        "```",
        "",
        f"Network {model.get('backbone', 'efficientnet_lite0')}, classes {', '.join(model['classes'])}, input "
        f"{_size(model['input_size'])}; {schedule['epochs']} epochs of batches of {schedule.get('batch_size', 8)} at "
        f"{_size(schedule.get('crop_size', (256, 640)))}; seeds {', '.join(map(str, seeds))}; "
        f"torch {results[0]['torch']}. Loss options beside the kind: {_options(recipe['loss'])}. "
        f"Judged on {sample['frames']:.0f} frames with {sample['truths']:.0f} objects, the last epoch's averaged "
        "weights; no epoch was picked by its accuracy.",
        "",
        f"AP is the all-point average precision of {first}. TP and FP are right and wrong detections of all classes "
        "with a score above 0.5, in BDD's protocol: IoU above 0.75, or 0.5 where it says so; wrong ones on ignore "
        "regions do not count. Mean ± standard deviation over the seeds (least to most).",
        "",
        f"| | AP at IoU 0.5, % | AP at KITTI's IoU, % | {' | '.join([*COUNTS.values(), EQUAL])} |",
        "|---" * (4 + len(COUNTS)) + "|",
    ]
    for variant, title in TITLES.items():
        figures = [*(_spread(rows, variant, name, ".1f") for name in _precisions(first))]
        figures += [_spread(rows, variant, name, ".0f") for name in (*COUNTS, EQUAL)]
        lines.append(f"| {title} | {' | '.join(figures)} |")
    lines += [
        "",
        f"“{EQUAL}”: the criterion lowers every score, so a fixed threshold lets fewer detections through, right or "
        "wrong. Here each network's threshold is the one that gives as many right detections (IoU 0.5) as YOLOv3's "
        "loss gives above 0.5.",
        "",
        "Changes seed by seed against YOLOv3's loss; the paper has -41.4 % FP and +7.3 % TP on KITTI, -40.6 % and "
        "+4.3 % on BDD, from trainings on the full data:",
        "",
        f"| | {' | '.join(COUNTS.values())} |",
        "|---" * (1 + len(COUNTS)) + "|",
    ]
    for variant, title in list(TITLES.items())[1:]:
        lines.append(f"| {title} | {' | '.join(_change(rows, variant, name) for name in COUNTS)} |")
    lines += ["", "![Each seed as a point](gaussian_vs_plain.png)", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_figure(results: list[dict[str, Any]], path: Path) -> None:
    """A panel a figure; a point a seed, a bar for the mean."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = _rows(results)
    first = results[0]["recipe"]["model"]["classes"][0]
    fifty, strict = _precisions(first)
    panels = {fifty: f"AP of {first} at IoU 0.5, %", strict: f"AP of {first} at KITTI's IoU, %"}
    panels |= {name: f"{title if 'IoU' in title else title + ', IoU 0.75'}" for name, title in COUNTS.items()}
    figure, grid = pyplot.subplots(2, 3, figsize=(12, 7), constrained_layout=True)
    for axis, (name, title) in zip(grid.flat, panels.items(), strict=True):
        for place, variant in enumerate(TITLES):
            values = [figures[name] for figures in rows[variant].values() if name in figures]
            if values:
                axis.bar(place, mean(values), width=0.6, color=f"C{place}", alpha=0.35)
                axis.plot([place] * len(values), values, "o", color=f"C{place}")
        axis.set_xticks(range(len(TITLES)), ["YOLOv3", "Gaussian,\nno sigma", "Gaussian,\ncriterion"])
        axis.set(title=title, ylim=(0, None))
    figure.suptitle("Gaussian YOLOv3 against YOLOv3: a point a seed, bars are means; counts at score 0.5")
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _rows(results: list[dict[str, Any]]) -> Rows:
    rows: Rows = {variant: {} for variant in TITLES}
    for result in results:
        for variant, figures in result["variants"].items():
            scalars = {name: value for name, value in figures.items() if name != "wrong_before"}
            scalars |= {name: 100 * value for name, value in scalars.items() if name.startswith("AP")}
            rows[variant][result["seed"]] = scalars
    for result in results:
        for variant, figures in result["variants"].items():
            wanted = int(rows[PLAIN][result["seed"]]["right50"])
            before = figures["wrong_before"]
            # A network that never finds as many has no such figure.
            if 0 < wanted <= len(before):
                rows[variant][result["seed"]][EQUAL] = before[wanted - 1]
    return rows


def _precisions(name: str) -> tuple[str, str]:
    return f"AP50 {name}", f"AP {name}"


def _spread(rows: Rows, variant: str, name: str, form: str) -> str:
    values = [figures[name] for figures in rows[variant].values() if name in figures]
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{mean(values):{form}} ± {stdev(values):.1f} ({min(values):{form}} to {max(values):{form}})"


def _change(rows: Rows, variant: str, name: str) -> str:
    """Relative change against the plain loss, percent, over the seeds that have one."""
    pairs = [(figures[name], rows[PLAIN][seed][name]) for seed, figures in rows[variant].items()]
    values = [100 * (value / base - 1) for value, base in pairs if base]
    if not values:
        return "-"
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):+.1f}{spread} %"


def _size(pair: Any) -> str:
    return f"{pair[0]}x{pair[1]}"


def _options(loss: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in loss.items() if name != "kind") or "none"

"""Table and figure of `noisy_student_digits.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from figures import saved_figure

# Descriptions of the rows, in table order.
DESCRIPTIONS = {
    "teacher": "labels alone, mild augmentation",
    "noised teacher": "labels alone, the student's noise",
    "student without noise": "labels and the teacher's, no noise",
    "student": "labels and the teacher's, noise",
    "second student": "labels and the student's, noise",
}


def write_table(results: dict[str, Any], path: Path) -> None:
    """Write Markdown: the settings, the figures of every seed, and gains over the teacher per seed."""
    found, settings, data = accuracies(results), results["settings"], results["data"]
    seeds = sorted({run["seed"] for run in results["runs"].values()})
    noise, mild = settings["noise"], settings["mild"]
    lines = [
        "# Noisy Student on digits",
        "",
        "Written by `benchmarks/noisy_student_digits.py`: Xie et al., “Self-training with Noisy Student improves "
        "ImageNet classification”, CVPR 2020, at the size of one processor core.",
        "",
        f"**Not ImageNet.** scikit-learn's 1,797 handwritten digits, 8x8 px, enlarged to {settings['image_size']}x"
        f"{settings['image_size']}. Each seed splits them anew: {data['labelled']} labelled, "
        f"{data['unlabelled']} unlabelled, {data['test']} to test, so one of these is {100 / data['test']:.2f} %. "
        f"All networks are "
        f"{settings['backbone']} of width {settings['width']}, from fresh weights, and take {settings['steps']} "
        f"optimiser steps of {settings['batch_size']} labelled images, with {settings['unlabelled_ratio']} times as "
        "many pseudo-labelled ones in a student's: as many steps, and showings of labelled images, for all. "
        "The settings were chosen on other seeds than those reported.",
        "",
        f"Pseudo labels are soft, from confidence {settings['threshold']}, balanced. Noise: RandAugment "
        f"({noise['rand_augment_ops']} operations of magnitude {noise['rand_augment_magnitude']:g}, of those that "
        f"leave a digit the digit it is: {', '.join(noise['operations'])}; no mirror images, no inversion), dropout "
        f"{noise['dropout']}, stochastic depth {noise['stochastic_depth']}. Without noise the network draws nothing. "
        f"All see random crops of at least {100 * mild['least_crop']:.0f} % of the area. The teacher is trained with "
        f"these and dropout {mild['dropout']}, and labels without any.",
        "",
        f"Machine: {results['machine']}.",
        "",
        "![Top-1 of every seed](noisy_student_digits.png)",
        "",
        f"| | learns from | top-1, % | {' | '.join(f'seed {seed}' for seed in seeds)} | over the teacher, % |",
        "|---" * (len(seeds) + 4) + "|",
    ]
    teacher = found["teacher"]
    for name, description in DESCRIPTIONS.items():
        if name in found:
            values = found[name]
            each = " | ".join(f"{values[seed]:.1f}" if seed in values else "" for seed in seeds)
            gains = [values[seed] - teacher[seed] for seed in values if seed in teacher]
            gain = "" if name == "teacher" else _spread(gains, "+")
            lines.append(f"| {name} | {description} | {_spread(list(values.values()))} | {each} | {gain} |")
    right = {
        name: [100 * run["pseudo_top1"] for run in results["runs"].values() if run["name"] == name]
        for name in ("student", "second student")
    }
    without = found.get("student without noise", {})
    noise_gains = [value - without[seed] for seed, value in found.get("student", {}).items() if seed in without]
    told = [f"{_spread(values)} % of what the {name} was given" for name, values in right.items() if values]
    lines += [
        "",
        "Mean ± standard deviation over seeds (n). Gains are differences within a seed, on the same split. A student's "
        f"steps are as many as the teacher's, but each has {1 + settings['unlabelled_ratio']} times as many images.",
        "",
        f"First student with noise over the one without: {_spread(noise_gains, '+')} %. ImageNet's students gain from "
        "noise over hundreds of epochs; a difference within the deviation says nothing."
        if noise_gains
        else "",
        "",
        f"Right among the pseudo labels' likeliest classes: {', '.join(told)}." if told else "",
        "",
        "The recipe of the first student, as `gaussian-yolo noisy-student train` reads it:",
        "",
        "```yaml",
        *_recipe(settings, data["labelled"]),
        "```",
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_figure(results: dict[str, Any], path: Path) -> None:
    """One column of points per kind, with the points of one seed joined."""
    found = accuracies(results)
    names = [name for name in DESCRIPTIONS if name in found]
    with saved_figure(path, 1, 1, (9, 4.5), dpi=100) as (_, axis):
        for seed in sorted({run["seed"] for run in results["runs"].values()}):
            places = [(place, found[name][seed]) for place, name in enumerate(names) if seed in found[name]]
            axis.plot(*zip(*places, strict=True), "o-", linewidth=0.8, alpha=0.7, label=f"seed {seed}")
        for place, name in enumerate(names):
            axis.hlines(mean(found[name].values()), place - 0.3, place + 0.3, color="black")
        axis.set_xticks(range(len(names)), [f"{name}\n{DESCRIPTIONS[name]}" for name in names], fontsize=7)
        axis.set(ylabel="top-1 on digits, %", title="Noisy Student, a tenth of the labels")
        axis.legend()


def accuracies(results: Mapping[str, Any]) -> dict[str, dict[int, float]]:
    """Kind -> seed -> top-1, percent."""
    found: dict[str, dict[int, float]] = {}
    for run in results["runs"].values():
        found.setdefault(run["name"], {})[run["seed"]] = 100 * run["top1"]
    return found


def _spread(values: Sequence[float], sign: str = "") -> str:
    deviation = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):{sign}.1f}{deviation} ({len(values)})"


def _recipe(settings: Mapping[str, Any], labelled: int) -> list[str]:
    epochs = round(settings["steps"] / -(-labelled // settings["batch_size"]), 4)
    noise = {**settings["noise"], "operations": "[" + ", ".join(settings["noise"]["operations"]) + "]"}
    return [
        "kind: classification",
        "name: student",
        "data: {root: out/digits/0, train: labelled, validation: test, pseudo: student/selected.json}",
        "model:",
        f"  backbone: {settings['backbone']}",
        f'  options: {{width: {settings["width"]}, kernels: "{settings["kernels"]}"}}',
        f"  image_size: {settings['image_size']}",
        "  crop_fraction: 1.0",
        "noise:",
        *(f"  {name}: {value}" for name, value in noise.items()),
        "schedule:",
        f"  epochs: {epochs:g}  # over the labelled images, {settings['steps']} steps",
        f"  batch_size: {settings['batch_size']}",
        f"  unlabelled_ratio: {settings['unlabelled_ratio']}",
        f"  learning_rate: {settings['learning_rate']}",
        f"  ema_decay: {settings['ema_decay']}",
        f"  warmup_steps: {settings['steps'] // 10}",
    ]

#!/usr/bin/env python3
"""MixNet against MobileNet as backbones of a detector at equal GMACs: a small version of the MixConv paper's Table 3.

Each backbone carries the light pyramid, whose width is chosen so that the detectors have the GMACs of the first one's.
All learn the recipe's driving data from random weights with the same steps, because ImageNet weights are not at hand
for all of them; so these are results of short trainings, not the paper's. `--lengths 1,2` trains for twice the steps
too: it tests whether a lead is one of convergence speed.

    pip install '.[train,cpu,bench]'
    python benchmarks/mixnet_vs_mobilenet.py --data DATA --report docs    # writes docs/mixnet_vs_mobilenet.{json,md}
    python benchmarks/mixnet_vs_mobilenet.py --data DATA --steps 100 --seeds 0 --canvas 96x320

Run it again to continue an interrupted call.
"""

from __future__ import annotations

import logging
import sys
from bisect import bisect_left
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import detector_trainings as shared
import torch
import typer
import yaml
from gaussian_vs_plain import Changes, derive

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.complexity import complexity
from gaussian_yolo_node.lab.networks.gaussian_yolo import build_model
from gaussian_yolo_node.lab.operating_points import load_sets
from gaussian_yolo_node.lab.training.config import TrainConfig
from gaussian_yolo_node.runtime.base import parse_size, show_size

NAME = "mixnet_vs_mobilenet"
BACKBONES = ("mobilenet_v2", "mixnet_s")  # the first one's GMACs are the others'
WIDTH = 64  # of the first one's pyramid
WIDTHS = range(16, 257, 8)
COLUMNS = ("AP50 car", "AP50 pedestrian", "AP50 cyclist", "AP car", shared.COVERAGE)


def main(
    data: shared.Data,
    recipe: shared.Recipe = Path("engines/csp_nano_driving.yaml"),
    output: shared.Output = Path(f"out/{NAME}"),
    report: shared.Report = None,
    seeds: shared.Seeds = "0,1,2",
    steps: shared.Steps = 600,
    lengths: Annotated[str, typer.Option(help="Times the steps, with commas between.")] = "1",
    canvas: Annotated[str, typer.Option(metavar="HxW", help="That the networks learn and run on.")] = "128x416",
    batch: shared.Batch = 8,
    minutes: shared.Minutes = 0,
    threads: shared.Threads = 0,
) -> None:
    """Train, measure, compare; finished trainings in OUTPUT are not repeated."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        size, deadline = parse_size(canvas), shared.Deadline(minutes)
        document = yaml.safe_load(recipe.read_text("utf-8"))
        config = TrainConfig.load(recipe)
        sets = load_sets(config.data.validation, data, config.model.classes)
        widths = equal_widths(size, len(config.model.classes))
        results = []
        for seed in shared.parse_seeds(seeds):
            for length in shared.parse_seeds(lengths):
                for backbone in BACKBONES:
                    one = derived(document, backbone, widths[backbone], seed, size, batch)
                    epochs = max(1, round(length * steps / shared.steps_per_epoch(one, data)))
                    folder = output / f"{backbone}_x{length}_seed{seed}"
                    if not deadline.passed or folder.with_suffix(".json").exists():
                        one = shared.with_epochs(one, epochs)
                        found = shared.result(f"{backbone} x{length}", seed, one, folder, data, sets, threads)
                        results.append(found)
    except GaussianYoloError as error:
        sys.exit(f"error: {error}")
    if results:
        write_report(results, report or output)


def equal_widths(size: tuple[int, int], classes: int) -> dict[str, int]:
    """Width of the pyramid of each backbone, for the GMACs nearest to the first one's of `WIDTH`."""

    def macs(backbone: str, width: int) -> int:
        with torch.device("meta"):
            return complexity(build_model(backbone, classes, width=width), size).macs

    wanted = macs(BACKBONES[0], WIDTH)
    chosen = {BACKBONES[0]: WIDTH}
    for backbone in BACKBONES[1:]:
        beyond = bisect_left(WIDTHS, wanted, key=partial(macs, backbone))
        neighbours = WIDTHS[max(beyond - 1, 0) : beyond + 1]
        chosen[backbone] = min(neighbours, key=lambda width: abs(macs(backbone, width) - wanted))
    return chosen


def derived(
    recipe: dict[str, Any], backbone: str, width: int, seed: int, size: tuple[int, int], batch: int
) -> dict[str, Any]:
    """The recipe for a backbone without pretrained weights, on a small canvas."""
    document = derive(recipe, "gaussian", seed, Changes(None, size, size, batch))
    document["name"] = f"{NAME}_{backbone}"
    model = {"backbone": backbone, "neck": "light", "width": width, "activation": "", "init": "", "pretrained": False}
    document["model"] |= model
    document["schedule"] |= {"fast_depthwise": False, "validate_every": 10_000}
    return document


def write_report(results: list[dict[str, Any]], folder: Path) -> None:
    """Write the figures as JSON, and a table with a sentence per length."""
    recipe = results[0]["recipe"]
    sets = list(results[0]["sets"])
    names = list(dict.fromkeys(found["name"] for found in results))
    lines = [
        "# MixNet against MobileNet",
        "",
        f"Written by `benchmarks/{NAME}.py`, after Table 3 of Tan & Le, “MixConv”, BMVC 2019. Detectors on "
        f"{show_size(tuple(recipe['model']['input_size']))} px with equal GMACs, from random weights (the paper's are "
        f"from ImageNet's), batches of {recipe['schedule']['batch_size']}; torch {torch.__version__}. Percent, means "
        f"over the sets {', '.join(sets)}; mean ± standard deviation over seeds (n).",
        "",
        f"| training | pyramid's width | epochs | GMACs | {' | '.join(COLUMNS)} |",
        "|---" * (4 + len(COLUMNS)) + "|",
    ]
    for name in names:
        of = [found for found in results if found["name"] == name]
        cells = [shared.spread([shared.figure_of(found, key, sets) for found in of]) for key in COLUMNS]
        model, epochs = of[0]["recipe"]["model"], of[0]["recipe"]["schedule"]["epochs"]
        lines.append(f"| {name} | {model['width']} | {epochs} | {of[0]['gmacs']:.3f} | {' | '.join(cells)} |")
    lines.append("")
    for length in dict.fromkeys(name.rpartition(" ")[2] for name in names):
        base, *others = (f"{backbone} {length}" for backbone in BACKBONES)
        for other in others:
            for key in COLUMNS[:2]:
                differences = shared.gains(results, base, other, partial(shared.figure_of, key=key, sets=sets))
                lines.append(f"- {shared.verdict(differences, f'{other}, {key} against {base}')}")
    shared.write_page(lines, results, folder / NAME)


if __name__ == "__main__":
    typer.run(main)

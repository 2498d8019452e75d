#!/usr/bin/env python3
"""Is a detector that learned restyled frames, as at night and in fog, better in fog that it has never seen?

Style transfer (docs/style_transfer.md) repaints frames of the training data; their labels stay. Each seed trains two
detectors with the same steps: `plain` on the frames as they are, `restyled` on these and, in as many places of an
epoch, repainted copies. Neither sees `dawn`: 200 of its frames of fog, haze and mist are held back for the measurement,
and some of the others are the styles, with those that `--style` names, a night for instance. The control `brightness`
has no repainted copies, but stronger changes of exposure and saturation: what the transfer does beyond that is its own.

    pip install '.[train,cpu,bench]'
    python benchmarks/restyled_training.py --data DATA --style starry_night.jpg --style rocket.jpg --report docs
    python benchmarks/restyled_training.py --data DATA --frames 4 --style-steps 2 --steps 20 --seeds 0

Run it again to continue an interrupted call.
"""

from __future__ import annotations

import copy
import logging
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import detector_trainings as shared
import numpy as np
import torch
import typer
import yaml
from gaussian_vs_plain import Changes, derive
from rich.console import Console

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.operating_points import load_sets
from gaussian_yolo_node.lab.style_transfer.extractors import choose_extractor, open_extractor
from gaussian_yolo_node.lab.style_transfer.folder import stylise_folder
from gaussian_yolo_node.lab.style_transfer.frames import Frames
from gaussian_yolo_node.lab.style_transfer.transfer import StyleSettings, StyleTransfer
from gaussian_yolo_node.lab.training.config import TrainConfig
from gaussian_yolo_node.runtime.base import parse_size, show_size

NAME = "restyled_training"
DAWN = "dawn"
HELD_BACK = 200
FOG_STYLES = 6
# Folder of frames, folder of labels: the frames that are repainted, and where they come from in the recipe.
REPAINTED = ("kitti/object/image_2", "kitti/object/label_2")
KINDS = {
    "plain": "frames as they are",
    "restyled": "with repainted copies",
    "brightness": "stronger exposure, no copies",
}
STRONGER = {"exposure": 3.0, "saturation": 2.5}
COLUMNS = ("AP50 car", "AP car", "AP50 pedestrian", shared.COVERAGE)


def main(
    data: shared.Data,
    style: Annotated[list[Path] | None, typer.Option(help="Style beside dawn's; may be given again.")] = None,
    recipe: shared.Recipe = Path("engines/csp_nano_driving.yaml"),
    output: shared.Output = Path(f"out/{NAME}"),
    report: shared.Report = None,
    seeds: shared.Seeds = "0,1,2",
    frames: Annotated[int, typer.Option(min=1, help="To repaint, evenly spaced.")] = 97,
    style_size: Annotated[int, typer.Option(help="Longer side to repaint at, px.")] = 512,
    style_steps: Annotated[int, typer.Option(min=1, help="Of the transfer, at each size.")] = 25,
    steps: shared.Steps = 800,
    canvas: Annotated[str, typer.Option(metavar="HxW", help="That the networks run on.")] = "192x640",
    crop: Annotated[str, typer.Option(metavar="HxW", help="That they learn on.")] = "160x448",
    batch: shared.Batch = 16,
    minutes: shared.Minutes = 0,
    threads: shared.Threads = 0,
) -> None:
    """Repaint, train, measure, compare; finished frames and trainings in OUTPUT are not repeated."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if threads:
        torch.set_num_threads(threads)
    try:
        changes = Changes(None, parse_size(canvas), parse_size(crop, "--crop"), batch)
        deadline, document = shared.Deadline(minutes), yaml.safe_load(recipe.read_text("utf-8"))
        config = TrainConfig.load(recipe)
        held, others = split_dawn(data, document)
        fog = {"name": DAWN, "format": "kitti", "images": f"{DAWN}/image", "labels": f"{DAWN}/label_2", "include": held}
        sets = load_sets([*config.data.validation, fog], data, config.model.classes)
        painted, rarity = repaint(data, output / "painted", others, style or [], frames, style_size, style_steps)
        results = []
        epochs = 0
        for seed in shared.parse_seeds(seeds):
            for kind in KINDS:
                one = derived(document, kind, seed, changes, painted, rarity)
                epochs = epochs or max(1, round(steps / shared.steps_per_epoch(one, data)))
                folder = output / f"{kind}_seed{seed}"
                if not deadline.passed or folder.with_suffix(".json").exists():
                    one = shared.with_epochs(one, epochs)
                    results.append(shared.result(kind, seed, one, folder, data, sets, threads))
    except GaussianYoloError as error:
        sys.exit(f"error: {error}")
    if results:
        write_report(results, report or output, frames, [path.name for path in style or []])


def split_dawn(data: Path, recipe: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Stems of the frames that are held back, and of the others, without those that the recipe calls doubles."""
    excluded = {
        stem
        for source in recipe["data"]["train"]
        if str(source.get("images", "")).startswith(DAWN)
        for stem in source.get("exclude", ())
    }
    stems = sorted(path.stem for path in (data / DAWN / "label_2").glob("*.txt") if path.stem not in excluded)
    order = [stems[index] for index in np.random.default_rng(0).permutation(len(stems))]
    return sorted(order[:HELD_BACK]), sorted(order[HELD_BACK:])


def repaint(
    data: Path, output: Path, fog: list[str], styles: list[Path], count: int, size: int, steps: int
) -> tuple[Path, float]:
    """A data set of at most `count` repainted frames, each in one of the styles, and how many frames there are for one.

    Raises:
        GaussianYoloError: a picture cannot be read, or the folder was made with other settings.
    """
    images, labels = (data / folder for folder in REPAINTED)
    # 000087 and 000097 are frames of drive 0011, a validation drive.
    every = sorted(path.name for path in images.iterdir() if path.stem not in ("000087", "000097"))
    count = min(count, len(every))
    names = [every[index * len(every) // count] for index in range(count)]
    pictures = {path.stem: path for path in (data / DAWN / "image").iterdir()}
    chosen = [pictures[fog[index * len(fog) // FOG_STYLES]] for index in range(FOG_STYLES)]
    settings = StyleSettings(size=size, steps=steps, coarse_steps=steps)
    transfer = StyleTransfer(open_extractor(choose_extractor("")), settings)
    print(stylise_folder(
        transfer, Frames(images, names, labels), {path.name: path for path in (*chosen, *styles)}, output,
        Console(stderr=True),
    ))  # fmt: skip
    return output.resolve(), len(every) / count


def derived(
    recipe: dict[str, Any], kind: str, seed: int, changes: Changes, painted: Path, rarity: float
) -> dict[str, Any]:
    """The recipe of a kind of training: without dawn, all kinds with the same number of images per epoch."""
    document = derive(recipe, "gaussian", seed, changes)
    document["name"] = f"{NAME}_{kind}"
    sources = [source for source in document["data"]["train"] if not str(source.get("images", "")).startswith(DAWN)]
    if kind == "restyled":
        sources = [copy.copy(source) for source in sources]
        own = next(source for source in sources if source["images"] == REPAINTED[0])
        # The copies take half of the places of their frames.
        own["weight"] = own.get("weight", 1) / 2
        copies = {"format": "kitti", "images": str(painted / "image_2"), "labels": str(painted / "label_2")}
        sources.append({**copies, "weight": round(own["weight"] * rarity, 4)})
    if kind == "brightness":
        document["augment"] = {**document["augment"], **STRONGER}
    document["data"]["train"] = sources
    return document


def write_report(results: list[dict[str, Any]], folder: Path, frames: int, styles: list[str]) -> None:
    """Write the figures as JSON, and a table with a sentence per figure."""
    recipe = results[0]["recipe"]
    others = [name for name in results[0]["sets"] if name != DAWN]
    lines = [
        "# Training with restyled frames",
        "",
        f"Written by `benchmarks/{NAME}.py`, whose head says what is trained on what: {frames} frames of KITTI "
        f"repainted in {FOG_STYLES} styles of {DAWN}{''.join(f', {name}' for name in styles)}; {HELD_BACK} other "
        f"frames of {DAWN} to measure on; {recipe['schedule']['epochs']} epochs of batches of "
        f"{recipe['schedule']['batch_size']}, {show_size(tuple(recipe['model']['input_size']))} px; torch "
        f"{torch.__version__}. Percent, mean ± standard "
        f"deviation over seeds (n).",
        "",
        f"| training | on | {' | '.join(COLUMNS)} |",
        "|---" * (2 + len(COLUMNS)) + "|",
    ]
    for kind, title in KINDS.items():
        of = [found for found in results if found["name"] == kind]
        for place, sets in ((DAWN, [DAWN]), ("mean of the other sets", others)):
            cells = [shared.spread([shared.figure_of(found, key, sets) for found in of]) for key in COLUMNS]
            lines.append(f"| {kind}: {title} | {place} | {' | '.join(cells)} |")
    lines.append("")
    for kind in ("restyled", "brightness"):
        for place, sets in ((DAWN, [DAWN]), ("the other sets", others)):
            differences = shared.gains(results, "plain", kind, partial(shared.figure_of, key="AP50 car", sets=sets))
            lines.append(f"- {shared.verdict(differences, f'{kind}, AP50 car on {place} against plain')}")
    shared.write_page(lines, results, folder / NAME)


if __name__ == "__main__":
    typer.run(main)

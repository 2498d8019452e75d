#!/usr/bin/env python3
"""Compare backbones with the same data, augmentation and training time: accuracy against latency.

Each contender is the recipe with the changes in `CONTENDERS`. Before training, some steps of each are timed on this
machine. Each gets the number of whole epochs that fit into the minutes, with a cosine schedule of that length, so a
network that trains faster sees more images. Evaluation uses the recipe's validation sets on several canvases, in the
runtime and precision that the node would select.

    pip install '.[train,cpu,bench]'
    python benchmarks/backbone_trial.py --data DATA --report docs    # writes docs/backbone_trial.{md,png}
    python benchmarks/backbone_trial.py --data DATA --contender lite0 --canvas 192x640

Run it again to continue an interrupted call. The results of a contender are in OUTPUT/CONTENDER.json; the report
covers all of them. Do not run other programs on the machine at the same time.
"""

from __future__ import annotations

import copy
import json
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
import yaml
from backbone_trial_report import write_figure, write_table
from detector_trainings import Output, Recipe, Threads, with_epochs
from rich.console import Console

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.lab.operating_points import LabelledSet, load_sets, measure_point
from gaussian_yolo_node.lab.training.checkpoint import export_checkpoint
from gaussian_yolo_node.lab.training.config import TrainConfig
from gaussian_yolo_node.lab.training.detection import DetectionTask
from gaussian_yolo_node.lab.training.loader import make_loader
from gaussian_yolo_node.lab.training.session import device_kind
from gaussian_yolo_node.lab.training.train import CHECKPOINT, run
from gaussian_yolo_node.lab.training.trainer import Trainer
from gaussian_yolo_node.labels import load_sources
from gaussian_yolo_node.runtime import RuntimeOptions
from gaussian_yolo_node.runtime.base import parse_size, show_size
from gaussian_yolo_node.runtime.machine import machine

NAME = "backbone_trial"
# Contender -> changes to the recipe, by section.
CONTENDERS: dict[str, dict[str, dict[str, Any]]] = {
    "nano_hard_swish": {},
    "nano_silu": {"model": {"activation": "silu"}},
    "nano_relu": {"model": {"activation": "relu"}},
    "lite0": {
        "model": {"backbone": "efficientnet_lite0", "neck": "light", "width": 128, "activation": "", "init": ""},
        "schedule": {"fast_depthwise": True},  # reduces the step time to two thirds
    },
}
CANVASES = ("256x832", "320x1024", "384x1248")
TIMED_STEPS = 12


@dataclass(frozen=True)
class Trial:
    """Settings of all contenders; data is a folder, minutes are per training, 0 threads is torch's default."""

    recipe: dict[str, Any]
    data: Path
    output: Path
    minutes: float
    threads: int

    def path(self, name: str) -> Path:
        """Path of a contender's results."""
        return self.output / f"{name}.json"

    def save(self, found: dict[str, Any]) -> None:
        write_whole(self.path(found["contender"]), json.dumps(found, indent=1) + "\n")


def main(
    recipe: Recipe = Path("engines/csp_nano_driving.yaml"),
    data: Annotated[Path | None, typer.Option(help="Data folder.", show_default="the recipe's")] = None,
    minutes: Annotated[float, typer.Option(min=0, help="Wall-clock time of a training.")] = 60,
    contender: Annotated[list[str] | None, typer.Option(help="May be given again.", show_default="all")] = None,
    canvas: Annotated[
        list[str] | None,
        typer.Option(metavar="HxW", help="To measure on; may be given again.", show_default=" ".join(CANVASES)),
    ] = None,
    output: Output = Path("out/trial"),
    report: Annotated[
        Path | None, typer.Option(help="Folder to write the table and the figure to.", show_default="OUTPUT")
    ] = None,
    threads: Threads = 0,
) -> None:
    """Time, train, measure, compare; finished results in OUTPUT are not repeated."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    names = contender or list(CONTENDERS)
    if not set(names) <= set(CONTENDERS):
        sys.exit(f"--contender is one of {', '.join(CONTENDERS)}")
    try:
        canvases = [parse_size(text, "--canvas") for text in canvas or CANVASES]
        config = TrainConfig.load(recipe)
        document, root = yaml.safe_load(recipe.read_text("utf-8")), data or Path(config.data.root)
        document["model"]["init"] = config.model.init  # the path is relative to the recipe
        trial = Trial(document, root, output, minutes, threads)
        sets = load_sets(config.data.validation, root, config.model.classes)
        for found in [plan(trial, name) for name in names]:
            compete(trial, found, canvases, sets)
    except GaussianYoloError as error:
        sys.exit(f"error: {error}")
    write_report(output, report or output)


def plan(trial: Trial, name: str) -> dict[str, Any]:
    """The existing results of a contender, or else its recipe with the number of epochs that fits.

    Raises:
        GaussianYoloError: the recipe or the data cannot be used.
        SystemExit: the results are of another recipe or another number of minutes.
    """
    path = trial.path(name)
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        same = derive(trial.recipe, name, found["recipe"]["schedule"]["epochs"])
        if (found["recipe"], found["minutes"]) != (same, trial.minutes):
            sys.exit(f"{path} is of another recipe or other --minutes; remove it or give another --output")
        return found
    if trial.threads:
        torch.set_num_threads(trial.threads)
    step_s, steps = time_steps(TrainConfig.from_dict(derive(trial.recipe, name, 1), name), trial.data)
    document = derive(trial.recipe, name, epochs_within(trial.minutes, step_s, steps))
    found = {"contender": name, "minutes": trial.minutes, "machine": machine(), "torch": torch.__version__}
    found |= {"step_s": step_s, "steps": steps, "recipe": document, "points": {}}
    trial.save(found)
    return found


def derive(recipe: dict[str, Any], name: str, epochs: int) -> dict[str, Any]:
    """The recipe with a contender's network, `epochs` epochs, and one validation after the last."""
    document = with_epochs(copy.deepcopy(recipe), epochs)
    document["name"] = f"{NAME}_{name}"
    for section, changes in CONTENDERS[name].items():
        document[section] |= changes
    document["schedule"]["validate_every"] = epochs
    return document


def epochs_within(minutes: float, step_s: float, steps: int) -> int:
    """Number of whole epochs of `steps` steps that fit into the minutes; at least 1."""
    return max(1, int(60 * minutes / (step_s * steps)))


def time_steps(config: TrainConfig, data: Path) -> tuple[float, int]:
    """Seconds per training step including the loading of its batch, and steps per epoch.

    A few frames of every source are used twice. The second pass is timed: frames are decoded and kernels compiled, as
    in most of a training.
    """
    images = load_sources(data, config.data.train, config.model.classes)
    steps = make_loader(images, config)[1].steps
    few = images[:: -(-steps // TIMED_STEPS)]
    with closing(DetectionTask(config, few, root=data)) as task:
        trainer = Trainer(task, device=torch.device(device_kind("auto")))
        trainer.train_epoch()
        started = time.perf_counter()
        trainer.train_epoch()
        return (time.perf_counter() - started) / task.steps_per_epoch, steps


def compete(
    trial: Trial, found: dict[str, Any], canvases: Sequence[tuple[int, int]], sets: Sequence[LabelledSet]
) -> None:
    """Train, export and measure a contender, skipping finished steps.

    Raises:
        GaussianYoloError: the data or the model cannot be used.
    """
    name = found["contender"]
    folder = trial.output / name
    checkpoint, model, written = folder / CHECKPOINT, folder / f"{name}.onnx", folder / "recipe.yaml"
    if "trained_minutes" not in found:
        print(f"== {name}: {found['recipe']['schedule']['epochs']} epochs", flush=True)
        write_whole(written, yaml.safe_dump(found["recipe"], sort_keys=False))
        resumed, started = checkpoint.exists(), time.monotonic()
        run(written, folder, resume=resumed, data_root=trial.data, threads=trial.threads)
        # The minutes of an interrupted call are unknown.
        found["trained_minutes"] = None if resumed else (time.monotonic() - started) / 60
        trial.save(found)
    if not model.exists():
        export_checkpoint(checkpoint, model)
    options, console = RuntimeOptions(trial.threads), Console(stderr=True)
    for size in canvases:
        canvas = show_size(size)
        if canvas not in found["points"]:
            point, results = measure_point(model, size, sets, [], runtime="auto", options=options, console=console)
            measured = {set_name: asdict(of) for set_name, of in results.items()}
            found["points"][canvas] = {"gmacs": point.gmacs, "sets": measured}
            trial.save(found)


def write_report(output: Path, folder: Path) -> None:
    """Write the table and the figure of all measured contenders, if any."""
    found = [json.loads(path.read_text("utf-8")) for name in CONTENDERS if (path := output / f"{name}.json").exists()]
    if results := [each for each in found if each["points"]]:
        folder.mkdir(parents=True, exist_ok=True)
        write_table(results, folder / f"{NAME}.md")
        write_figure(results, folder / f"{NAME}.png")
        print((folder / f"{NAME}.md").read_text("utf-8"))


if __name__ == "__main__":
    typer.run(main)

"""What the benchmarks of detectors share: a training that goes on, its figures on the validation sets, sentences."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any

import torch
import typer
import yaml
from rich.console import Console

from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.lab.operating_points import LabelledSet, measure_point
from gaussian_yolo_node.lab.training.checkpoint import export_checkpoint
from gaussian_yolo_node.lab.training.config import TrainConfig
from gaussian_yolo_node.lab.training.loader import make_loader
from gaussian_yolo_node.lab.training.train import CHECKPOINT, run
from gaussian_yolo_node.labels import load_sources
from gaussian_yolo_node.runtime import RuntimeOptions

COVERAGE = "in 1 sigma"
DECIDING = 3  # seeds that have to agree

# Options of the scripts.
Data = Annotated[Path, typer.Option(help="Data folder.")]
Recipe = Annotated[Path, typer.Option(help="Training recipe, YAML.")]
Output = Annotated[Path, typer.Option(help="Folder of the trainings and their results.")]
Report = Annotated[Path | None, typer.Option(help="Folder to write to.", show_default="OUTPUT")]
Seeds = Annotated[str, typer.Option(help="Seeds, with commas between.")]
Steps = Annotated[int, typer.Option(min=1, help="Of a training, about: whole epochs.")]
Batch = Annotated[int, typer.Option(min=1, help="Images a step.")]
Minutes = Annotated[float, typer.Option(min=0, help="Begin no training after these; 0 for no limit.")]
Threads = Annotated[int, typer.Option(min=0, help="Processor threads; 0 leaves torch's choice.")]


def parse_seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.replace(",", " ").split()]
    except ValueError:
        sys.exit(f"--seeds is {text!r}; give whole numbers with commas between")


def check_same(found: Any, wanted: dict[str, Any], place: Path) -> None:
    if found != wanted:
        sys.exit(f"{place} is of another recipe or other options; remove it or give another --output")


class Deadline:
    """The end of a budget: no training is begun after it. 0 minutes is no limit."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes if minutes else float("inf")

    @property
    def passed(self) -> bool:
        return time.monotonic() > self._end


def result(
    name: str, seed: int, document: dict[str, Any], folder: Path, data: Path, sets: Sequence[LabelledSet], threads: int
) -> dict[str, Any]:
    """See `trained`; the results are `name`, `seed`, `recipe`, `minutes` (None after an interruption), `torch`,
    `gmacs`, and `sets`: name -> figures, see `measure`."""
    head = {"name": name, "seed": seed, "recipe": document}

    def figures(checkpoint: Path, config: TrainConfig, minutes: float | None) -> dict[str, Any]:
        measured = measure(checkpoint, config.model.input_size, sets, threads)
        return {**head, "minutes": minutes, "torch": torch.__version__, **measured}

    return trained(document, name, seed, folder, data, threads, figures)


def trained(
    document: dict[str, Any],
    name: str,
    seed: int,
    folder: Path,
    data: Path,
    threads: int,
    figures: Callable[[Path, TrainConfig, float | None], dict[str, Any]],
) -> dict[str, Any]:
    """The results in FOLDER.json of this training; if missing, train, or go on, and measure.

    Args:
        document: the recipe; the results have it as `recipe`.
        figures: results of a checkpoint, its recipe, and minutes of the training (None after an interruption).

    Raises:
        GaussianYoloError: the recipe or the data cannot be used.
        SystemExit: the file or an unfinished training is of another recipe.
    """
    path, written, checkpoint = folder.with_suffix(".json"), folder / "recipe.yaml", folder / CHECKPOINT
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        check_same(found["recipe"], document, path)
        return found
    config = TrainConfig.from_dict(document, name)
    if written.exists():
        check_same(yaml.safe_load(written.read_text(encoding="utf-8")), document, folder)
    write_whole(written, yaml.safe_dump(document, sort_keys=False))
    print(f"== {name}, seed {seed}", flush=True)
    resumed, started = checkpoint.exists(), time.monotonic()
    run(written, folder, resume=resumed, data_root=data, threads=threads)
    minutes = None if resumed else round((time.monotonic() - started) / 60, 1)
    found = figures(checkpoint, config, minutes)
    write_whole(path, json.dumps(found, indent=1) + "\n")
    return found


def measure(checkpoint: Path, size: tuple[int, int], sets: Sequence[LabelledSet], threads: int) -> dict[str, Any]:
    """`gmacs`, and for each set its average precisions and `COVERAGE`, 0..1 (absent without matched boxes)."""
    model = checkpoint.with_name("model.onnx")
    export_checkpoint(checkpoint, model)
    options = RuntimeOptions(threads, "fp32")
    point, measured = measure_point(
        model, size, sets, [], runtime="auto", options=options, console=Console(stderr=True)
    )
    figures = {}
    for name, of in measured.items():
        covered = {} if of.sigma is None else {COVERAGE: of.sigma.overall.within[0]}
        figures[name] = {**of.average_precision, **covered}
    return {"gmacs": point.gmacs, "sets": figures}


def write_page(lines: Iterable[str], results: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the figures as PATH.json and the lines as PATH.md, and print them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = "\n".join([*lines, ""])
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def steps_per_epoch(document: dict[str, Any], data: Path) -> int:
    """Optimiser steps per epoch of a recipe. GaussianYoloError if it cannot be used."""
    config = TrainConfig.from_dict(document, document["name"])
    return make_loader(load_sources(data, config.data.train, config.model.classes), config)[1].steps


def with_epochs(document: dict[str, Any], epochs: int) -> dict[str, Any]:
    """The recipe with another number of epochs, the share of those without mosaic kept."""
    schedule = document["schedule"]
    share = schedule.get("mosaic_off_epochs", 0) / schedule["epochs"]
    return {**document, "schedule": {**schedule, "epochs": epochs, "mosaic_off_epochs": round(share * epochs)}}


def figure_of(found: dict[str, Any], key: str, sets: Iterable[str]) -> float | None:
    """Mean of a figure over the sets that have it; None if none has."""
    values = [found["sets"][name][key] for name in sets if key in found["sets"].get(name, {})]
    return mean(values) if values else None


def spread(values: Sequence[float | None], digits: int = 1) -> str:
    """Mean ± standard deviation in percent, and how many; a dash without values."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "–"
    deviation = f" ± {stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{mean(known):.{digits}f}{deviation} ({len(known)})"


def gains(
    results: Sequence[dict[str, Any]], base: str, name: str, value: Callable[[dict[str, Any]], float | None]
) -> list[float]:
    """Differences of a figure between two kinds of training, seed by seed, in percent points."""
    by_seed = {(found["name"], found["seed"]): value(found) for found in results}
    pairs = [
        (by_seed.get((base, seed)), by_seed.get((name, seed))) for seed in sorted({one["seed"] for one in results})
    ]
    return [100 * (after - before) for before, after in pairs if before is not None and after is not None]


def verdict(differences: Sequence[float], what: str) -> str:
    """A sentence on differences in percent points: which way they go, and whether all seeds agree."""
    if not differences:
        return f"{what}: not measured."
    listed = f"({', '.join(f'{value:+.1f}' for value in differences)}; mean {mean(differences):+.1f} points)"
    if len(differences) < DECIDING:
        return f"{what} is not decided by {len(differences)} seed{'s' if len(differences) > 1 else ''} {listed}."
    if min(differences) > 0 or max(differences) < 0:
        return f"{what} is {'better' if min(differences) > 0 else 'worse'} with every seed {listed}."
    return f"{what} is better with some seeds, worse with others {listed}."

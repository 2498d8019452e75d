"""The command `operating-points`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.commands import flags
from gaussian_yolo_node.errors import SettingError


def operating_points(
    model: flags.ModelArgument,
    recipe: Annotated[Path, typer.Argument(help="YAML recipe whose validation sets to measure on.")],
    canvases: Annotated[
        list[str], typer.Option("--canvas", metavar="HxW", help="Height and width, px; may be given again.")
    ],
    data: flags.TrainData = None,
    fit: Annotated[
        list[str] | None,
        typer.Option(metavar="SET", help="A set to fit the sigmas to; may be given again.", show_default="none"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the model with the points on its card.")
    ] = None,
    json_path: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Write all results as JSON.")] = None,
    runtime: Annotated[str, typer.Option(help="auto, openvino or onnxruntime.")] = "auto",
    threads: flags.Threads = 0,
) -> None:
    """Measure a model with dynamic input size on several canvases and fit its sigmas on each (needs the extra `train`).

    Frames of another shape use a fitting canvas with about as many pixels. Sets not named by --fit are only reported.

    Example: gaussian-yolo operating-points model.onnx recipe.yaml --canvas 192x640 --canvas 384x1248 --fit town
    """
    from dataclasses import asdict

    from rich.console import Console

    from gaussian_yolo_node.detector.detector import Detector
    from gaussian_yolo_node.files import prepare_target, write_whole
    from gaussian_yolo_node.lab.export.card_file import write_card
    from gaussian_yolo_node.lab.operating_points import card_with_points, load_sets, measure_point, print_points
    from gaussian_yolo_node.lab.training.config import TrainConfig
    from gaussian_yolo_node.runtime import RuntimeOptions
    from gaussian_yolo_node.runtime.base import parse_size

    sizes = [parse_size(text, "--canvas") for text in canvases]
    if output is not None:
        prepare_target(output)
    config = TrainConfig.load(recipe)
    options = RuntimeOptions(threads)
    with Detector.open(model, runtime, options=options) as detector:
        card, path = detector.card, detector.model_path
    sets = load_sets(config.data.validation, data or Path(config.data.root), card.classes)
    fitted = list(fit or ())
    unknown = sorted(set(fitted) - {each.name for each in sets})
    if unknown:
        raise SettingError(f"--fit is {unknown[0]!r}; the recipe's sets are {', '.join(each.name for each in sets)}")
    progress = Console(stderr=True)
    measured = [
        measure_point(path, size, sets, fitted, runtime=runtime, options=options, console=progress) for size in sizes
    ]
    print_points(measured, Console())
    if json_path is not None:
        points = [
            {**asdict(point), "sets": {name: asdict(of) for name, of in results.items()}} for point, results in measured
        ]
        write_whole(json_path, json.dumps(points, indent=1) + "\n")
    if output is not None:
        write_card(path, card_with_points(card, [point for point, _ in measured], fitted), output)
        print(f"written: {output}")

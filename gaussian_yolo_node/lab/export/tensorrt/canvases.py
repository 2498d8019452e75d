"""Which engines to build for a model, one for each canvas."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from gaussian_yolo_node.detector.canvas import fitting_canvas
from gaussian_yolo_node.detector.model import resolve_model
from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.lab.export.tensorrt.builder import load_model
from gaussian_yolo_node.lab.export.tensorrt.options import BuildOptions
from gaussian_yolo_node.runtime.base import show_size
from gaussian_yolo_node.runtime.tensorrt.engine_file import engine_at


@dataclass(frozen=True)
class EngineBuild:
    """An engine to build.

    Attributes:
        output: its file.
        options: with its canvas.
    """

    output: Path
    options: BuildOptions


def plan_builds(
    model: str | Path,
    output: Path,
    options: BuildOptions,
    *,
    operating_points: bool = False,
    frame_size: tuple[int, int] | None = None,
) -> list[EngineBuild]:
    """The engines of a model that the runtime can change between.

    Args:
        model: a path, or the name of a shipped model.
        output: NAME.engine, for the card's canvas; those for other canvases are NAME.HxW.engine.
        options: of all engines.
        operating_points: an engine for each operating point of the card; False: one, for its canvas.
        frame_size: (height, width) of the frames in px; the canvases then have their shape.

    Raises:
        ModelError: the model is missing, or its card is wrong.
        SettingError: the options exclude each other, or the card has no operating points.
    """
    if not operating_points and frame_size is None:
        return [EngineBuild(output, options)]
    if options.input_size is not None:
        raise SettingError(
            f"--input-size is {show_size(options.input_size)}, and --operating-points or --frame choose the canvas, "
            "too; leave one of them out"
        )
    path = resolve_model(model)
    card = load_model(path)[1]
    likes = [card.input_size]
    if operating_points:
        own = card.operating_point_at(card.input_size)
        if own is None:
            raise SettingError(
                f"{path} has no operating points; leave --operating-points out, or measure some with "
                "`gaussian-yolo operating-points`"
            )
        others = [point.input_size for point in card.operating_points if point is not own]
        likes = [own.input_size, *sorted(others, key=math.prod)]
    fitted = likes if frame_size is None else [fitting_canvas(frame_size, like, card.strides[0]) for like in likes]
    main, *canvases = dict.fromkeys(fitted)  # small ones may be the same once they have the frame's shape
    builds = [EngineBuild(output, replace(options, input_size=main if main != card.input_size else None))]
    for size in canvases:
        graph = options.save_onnx
        if graph is not None:
            graph = graph.with_name(f"{graph.stem}.{show_size(size)}{graph.suffix}")
        builds.append(EngineBuild(engine_at(output, size), replace(options, input_size=size, save_onnx=graph)))
    return builds

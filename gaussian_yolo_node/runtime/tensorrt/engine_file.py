"""Engine files: which one belongs to a model, and whether it fits model and machine."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.files import short_hash
from gaussian_yolo_node.runtime.base import check_readable, show_size
from gaussian_yolo_node.runtime.tensorrt.sidecar import EngineSidecar, read_sidecar

SUFFIX = ".engine"
_FOR_CANVAS = re.compile(r"(.+)\.(\d+)x(\d+)")  # NAME.HxW


def engine_of(path: Path) -> Path:
    """The engine of a model: beside it, of the same name; an engine is its own."""
    return path if path.suffix == SUFFIX else path.with_suffix(SUFFIX)


def engine_at(path: Path, input_size: tuple[int, int]) -> Path:
    """The engine of a model for another canvas of (height, width) px: NAME.HxW.engine."""
    main = engine_of(path)
    return main.with_name(f"{main.stem}.{show_size(input_size)}{SUFFIX}")


def engines_by_canvas(path: Path) -> dict[tuple[int, int], Path]:
    """The engines of a model that are named by their canvas, (height, width) in px."""
    main = engine_of(path)
    engines = {}
    for engine in main.parent.glob(f"{glob.escape(main.stem)}.*{SUFFIX}"):
        match = _FOR_CANVAS.fullmatch(engine.stem)
        if match is not None and match[1] == main.stem:
            engines[int(match[2]), int(match[3])] = engine
    return engines


def model_hash(path: Path) -> str | None:
    """Hash of the model that an engine must have been built from; None where only the engine is there."""
    if path.suffix != SUFFIX:
        return short_hash(path) or None
    match = _FOR_CANVAS.fullmatch(path.stem)
    names = [path.stem, match[1]] if match is not None else [path.stem]
    return next(filter(None, (short_hash(path.with_name(f"{name}.onnx")) for name in names)), None)


def read_engine(path: Path) -> EngineSidecar:
    """What is known of a model's engine.

    Args:
        path: the engine, or the model beside which it lies.

    Raises:
        ModelError: there is no engine, or nothing is known of it.
    """
    engine = engine_of(path)
    if not engine.is_file():
        source = f"{path}" if path.suffix != SUFFIX else "MODEL.onnx"
        raise ModelError(
            f"there is no engine {engine}; build it on this machine with "
            f"`gaussian-yolo build-engine {source} -o {engine}`"
        )
    check_readable(engine)
    return read_sidecar(engine)


def describe_engine(path: Path) -> str:
    """An engine and what it was built for, or what is wrong with it; nothing of CUDA is loaded for that."""
    try:
        sidecar = read_engine(path)
    except ModelError as error:
        return f"{path}: {error}"
    built = (
        f"canvas {show_size(sidecar.input_size)}, {sidecar.flavor} {sidecar.tensorrt} for SM "
        f"{sidecar.compute_capability}, {sidecar.precision}"
    )
    other = model_hash(path) not in (None, sidecar.model_hash)
    return f"{path}: {built}" + (", stale: the model beside it is another" if other else "")

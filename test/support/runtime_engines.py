"""Engines for a fake GPU, with their models and sidecars."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from engine_models import make_network
from factories import make_model
from fake_tensorrt import VERSION, write_engine

from gaussian_yolo_node.detector.model import OperatingPoint
from gaussian_yolo_node.runtime.tensorrt.engine_file import engine_at, model_hash
from gaussian_yolo_node.runtime.tensorrt.sidecar import EngineSidecar, sidecar_path, sidecar_text


def make_engine(folder: Path, *, sidecar: dict[str, Any] | None = None, engine: Any = None, **model: Any) -> Path:
    """Write a model with an engine beside it.

    Args:
        folder: to write into.
        sidecar: fields of the sidecar to override.
        engine: fields of the fake engine to override.
        model: arguments of `factories.make_model`.

    Returns:
        the model; its engine has the suffix .engine.
    """
    path = make_model(folder / "tiny.onnx", **model)
    write_engine(path.with_suffix(".engine"), path, **(engine or {}))
    write_sidecar(path.with_suffix(".engine"), replace(make_sidecar(path), **(sidecar or {})))
    return path


# Of the card of `make_engines`; its own canvas is the first.
POINTS = ((64, 96), (96, 160), (128, 192))


def make_engines(folder: Path, *canvases: tuple[int, int]) -> Path:
    """Write a model of free height and width with operating points, with an engine for its canvas and for others.

    Args:
        folder: to write into.
        canvases: the others, (height, width) in px.

    Returns:
        the model.
    """
    points = tuple(OperatingPoint(size, size[0] * size[1] / 1e4) for size in POINTS)
    path = make_network(
        folder / "tiny.onnx", input_size=("height", "width"), card={"operating_points": points, "score_threshold": 0.05}
    )
    write_engine(path.with_suffix(".engine"), path)
    write_sidecar(path.with_suffix(".engine"), make_sidecar(path))
    for canvas in canvases:
        add_engine(path, canvas)
    return path


def add_engine(model: Path, canvas: tuple[int, int], **sidecar: Any) -> Path:
    """Write a model's engine for another canvas of (height, width) px; `sidecar` overrides fields of its sidecar."""
    engine, built = engine_at(model, canvas), make_sidecar(model)
    write_engine(engine, model, input_size=canvas)
    write_sidecar(engine, replace(built, **{"card": {**built.card, "input_size": list(canvas)}, **sidecar}))
    return engine


def write_sidecar(engine: Path, sidecar: EngineSidecar) -> None:
    """Write an engine's sidecar as the builder does."""
    sidecar_path(engine).write_text(sidecar_text(sidecar))


def make_sidecar(model: Path) -> EngineSidecar:
    """The sidecar that the builder would write for a model."""
    metadata = {entry.key: entry.value for entry in onnx.load(str(model)).metadata_props}
    digest = model_hash(model)
    assert digest is not None
    return EngineSidecar(
        tensorrt=VERSION,
        compute_capability="87",
        model_hash=digest,
        card=json.loads(metadata["gaussian_yolo.card"]),
        command=f"gaussian-yolo build-engine {model} -o {model.with_suffix('.engine')}",
    )

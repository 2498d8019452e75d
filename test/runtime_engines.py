"""Engines for a fake GPU, with their models and sidecars."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from factories import make_model
from fake_tensorrt import VERSION, write_engine

from gaussian_yolo_node.runtime.tensorrt.engine_file import model_hash
from gaussian_yolo_node.runtime.tensorrt.sidecar import EngineSidecar, write_sidecar


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

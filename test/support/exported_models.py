"""Tiny models with the input layers of exported models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from factories import make_model


def make_exported(path: Path, *, dynamic: bool = False, **model: Any) -> Path:
    """A tiny model with the input layers of exported models, with batch 1 or a dynamic batch."""
    proto = onnx.load(str(make_model(path, **model)))
    graph = proto.graph
    graph.node[0].input[0] = "planes"
    graph.node.insert(0, onnx.helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]))
    if dynamic:
        next(node for node in graph.node if node.op_type == "ReduceMean").attribute[0].ints[:] = [1, 2, 3]
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))
    return path

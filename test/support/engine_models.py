"""Small networks with real convolutions in the exporter's layout, for tests of graph changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from factories import STRIDES, make_card
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from gaussian_yolo_node.detector.model import CARD_KEY

SIZE = (64, 96)
CHANNELS = 3 * (9 + 3)  # per head: anchors x (entries + classes) of factories.make_card


def make_network(
    path: Path,
    *,
    batch: int | str = 1,
    head_channels: tuple[int, int, int] = (CHANNELS,) * 3,
    head_strides: tuple[int, int, int] = STRIDES,
    head_names: tuple[str, ...] = ("head_32", "head_16", "head_8"),
    card: dict[str, Any] | None = None,
    with_card: bool = True,
    input_size: tuple[int | str, int | str] = SIZE,
    input_type: int = TensorProto.UINT8,
    weight_scale: float = 1.0,
) -> Path:
    """Write a detector: image, scaling, a stem of stride 8, a depthwise convolution, and one head per stride.

    Args:
        path: where to write.
        batch: images per inference, or a name for a dynamic batch.
        head_channels: of each head.
        head_strides: px per cell of each head, multiples of 8.
        head_names: of the outputs.
        card: fields of the card to override.
        with_card: False writes no card.
        input_size: (height, width) of the canvas in px, or names where they are free.
        input_type: of the image.
        weight_scale: of the stem's filters.
    """
    generator = np.random.default_rng(0)
    constants: dict[str, NDArray[Any]] = {
        "mean": np.float32(127.5) * np.ones((1, 3, 1, 1), np.float32),
        "inverse": np.full((1, 3, 1, 1), 1 / 64, np.float32),
        "stem.weight": (weight_scale * generator.normal(0, 0.05, (8, 3, 8, 8))).astype(np.float32),
        "stem.bias": generator.normal(0, 0.1, 8).astype(np.float32),
        "depthwise.weight": generator.normal(0, 0.3, (8, 1, 3, 3)).astype(np.float32),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["grey"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["grey", "mean"], ["centred"], "sub"),
        helper.make_node("Mul", ["centred", "inverse"], ["scaled"], "mul"),
        helper.make_node("Conv", ["scaled", "stem.weight", "stem.bias"], ["stem"], "stem", strides=[8, 8]),
        helper.make_node("Clip", ["stem", "low", "high"], ["clipped"], "clip"),
        helper.make_node("Conv", ["clipped", "depthwise.weight"], ["deep"], "depthwise", group=8, pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["deep"], ["features"], "relu"),
    ]
    outputs = []
    for name, channels, stride in zip(head_names, head_channels, head_strides, strict=True):
        constants[f"{name}.weight"] = generator.normal(0, 0.4, (channels, 8, 1, 1)).astype(np.float32)
        constants[f"{name}.bias"] = generator.normal(-1, 0.5, channels).astype(np.float32)
        pooled = "features"
        if stride > 8:
            pooled = f"{name}.pooled"
            side = stride // 8
            nodes.append(
                helper.make_node("MaxPool", ["features"], [pooled], pooled, kernel_shape=[side] * 2, strides=[side] * 2)
            )
        nodes.append(helper.make_node("Conv", [pooled, f"{name}.weight", f"{name}.bias"], [name], name))
        # Dynamic sizes, as in exported files.
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, None, None, None]))
    image = helper.make_tensor_value_info("image", input_type, [batch, *input_size, 3])
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", [image], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if with_card:
        helper.set_model_props(model, {CARD_KEY: make_card(**{"input_size": SIZE, **(card or {})}).to_json()})
    onnx.save(model, str(path))
    return path


def run_heads(model: onnx.ModelProto, batch: int = 1, seed: int = 0) -> list[NDArray[np.float32]]:
    """Heads of an image in ONNX Runtime; the outputs must be the heads."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(seed).integers(0, 256, (batch, *SIZE, 3), np.uint8)
    results: list[NDArray[np.float32]] = session.run(None, {"image": image})
    return results

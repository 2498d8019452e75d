"""Factories of small real test objects: detections, images, and ONNX models with planted boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.model import CARD_KEY, ModelCard

STRIDES = (32, 16, 8)
# Width and height in canvas px, one row per head; small enough for the tiny canvas.
ANCHORS = (
    ((40.0, 24.0), (24.0, 44.0), (60.0, 50.0)),
    ((20.0, 12.0), (12.0, 26.0), (30.0, 20.0)),
    ((6.0, 6.0), (10.0, 8.0), (6.0, 14.0)),
)
BACKGROUND_LOGIT = -12.0


@dataclass(frozen=True)
class Planted:
    """A box that a tiny model detects on every frame.

    Attributes:
        box: x1 y1 x2 y2 in canvas px.
        class_id: index into the classes.
        score: the resulting detection criterion, below 1 - sigma.
        sigma: each of the four s, 0..1.
    """

    box: tuple[float, float, float, float]
    class_id: int = 0
    score: float = 0.8
    sigma: float = 0.1


PLANTED = (
    Planted((10.0, 12.0, 34.0, 27.0), 0, score=0.8, sigma=0.1),
    Planted((50.5, 20.0, 58.5, 44.0), 1, score=0.6, sigma=0.2),
)


def make_detections(
    boxes: Sequence[Sequence[float]] = (),
    scores: Sequence[float] | None = None,
    class_ids: Sequence[int] | None = None,
    sigmas: Sequence[Sequence[float]] | float = 1.0,
) -> Detections:
    """Detections from lists; by default descending scores from 0.9, class 0, and sigmas of 1 px."""
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(count, 4),
        np.array(np.linspace(0.9, 0.1, count) if scores is None else scores, np.float32),
        np.array([0] * count if class_ids is None else class_ids, np.int32),
        np.broadcast_to(np.array(sigmas, np.float32), (count, 4)),
    )


def make_image(height: int = 48, width: int = 160, seed: int = 0) -> NDArray[np.uint8]:
    """Coloured blocks, uint8 [height, width, 3], coarse enough for a lossy codec."""
    blocks = np.random.default_rng(seed).integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8)
    return np.ascontiguousarray(blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width])


def make_card(
    input_size: tuple[int, int] = (64, 96),
    classes: Sequence[str] = ("car", "pedestrian", "cyclist"),
    **overrides: Any,
) -> ModelCard:
    """The card of a tiny model."""
    card = ModelCard(
        name="tiny",
        classes=tuple(classes),
        anchors=ANCHORS,
        strides=STRIDES,
        input_size=input_size,
        score_threshold=0.3,
    )
    return replace(card, **overrides)


def make_heads(card: ModelCard, planted: Sequence[Planted] = PLANTED) -> list[NDArray[np.float32]]:
    """Raw heads [1, A*(9+C), h, w] with the planted boxes on plain background, ordered like the strides."""
    heads = []
    for stride, anchors in zip(card.strides, card.anchors, strict=True):
        head = np.zeros(
            (len(anchors), 9 + len(card.classes), card.input_size[0] // stride, card.input_size[1] // stride),
            np.float32,
        )
        head[:, 8] = BACKGROUND_LOGIT
        heads.append(head)
    for box in planted:
        _plant(heads, card, box)
    return [head.reshape(1, -1, *head.shape[2:]) for head in heads]


def make_model(
    path: Path,
    *,
    input_size: tuple[int, int] = (64, 96),
    classes: Sequence[str] = ("car", "pedestrian", "cyclist"),
    planted: Sequence[Planted] = PLANTED,
    heads: Sequence[NDArray[np.float32]] | None = None,
    card_overrides: Mapping[str, Any] | None = None,
    with_card: bool = True,
    nan: bool = False,
    nan_when_black: bool = False,
) -> Path:
    """Write a real, tiny ONNX model and return its path.

    The image is part of the graph: each head is a constant plus a millionth of the image's mean.

    Args:
        path: the file to write; folders are created.
        input_size: (height, width) of the canvas in px.
        classes: class names.
        planted: boxes to detect on every frame.
        heads: raw heads to return instead, in the order of strides 32, 16, 8.
        card_overrides: fields of the card to override, valid or not; None removes a field.
        with_card: False writes no card.
        nan: one value of head_16 is NaN on every frame.
        nan_when_black: head_8 is NaN on a completely black frame.
    """
    import json

    import onnx
    from onnx import TensorProto, helper, numpy_helper

    card = make_card(input_size, classes)
    constants = [np.array(head, np.float32) for head in (heads if heads is not None else make_heads(card, planted))]
    if nan:
        constants[1].flat[0] = np.nan
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[0, 1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "millionth"], ["trace"]),
    ]
    added = ["trace"] * len(constants)
    if nan_when_black:
        nodes += [
            helper.make_node("Div", ["trace", "mean"], ["ratio"]),  # 0/0 on black
            helper.make_node("Mul", ["ratio", "mean"], ["fragile"]),
        ]
        added[-1] = "fragile"
    names = [f"head_{stride}" for stride in STRIDES[: len(constants)]]
    nodes += [helper.make_node("Add", [f"{name}_raw", term], [name]) for name, term in zip(names, added, strict=True)]
    # Outputs are listed finest first, to detect code that uses positions instead of names.
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, *input_size, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, list(constant.shape))
            for name, constant in reversed(list(zip(names, constants, strict=True)))
        ],
        [numpy_helper.from_array(constant, f"{name}_raw") for name, constant in zip(names, constants, strict=True)]
        + [numpy_helper.from_array(np.array(1e-6, np.float32), "millionth")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if with_card:
        fields = json.loads(card.to_json()) | dict(card_overrides or {})
        text = json.dumps({name: value for name, value in fields.items() if value is not None})
        helper.set_model_props(model, {CARD_KEY: text})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def slow_inference(path: Path) -> Path:
    """Make every inference of a tiny model take at least 50 ms on any machine: 10 GFLOP on one thread."""
    import onnx
    from onnx import helper, numpy_helper

    size, times = 1000, 5
    model = onnx.load(str(path))
    weights = np.full((size, size), 1e-6, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "weights"))
    nodes = [helper.make_node("Add", ["trace", "weights"], ["product_0"])]
    for index in range(times):
        nodes.append(helper.make_node("MatMul", [f"product_{index}", "weights"], [f"product_{index + 1}"]))
    nodes.append(helper.make_node("ReduceMin", [f"product_{times}"], ["burden"], keepdims=1))
    for node in model.graph.node:
        if node.op_type == "Add":
            node.input[1] = "burden"
    position = next(i for i, node in enumerate(model.graph.node) if node.output[0] == "trace") + 1
    for offset, node in enumerate(nodes):
        model.graph.node.insert(position + offset, node)
    onnx.save(model, str(path))
    return path


def _plant(heads: list[NDArray[np.float32]], card: ModelCard, planted: Planted) -> None:
    x1, y1, x2, y2 = planted.box
    width, height = x2 - x1, y2 - y1

    def shape_iou(anchor: tuple[float, float]) -> float:
        both = min(anchor[0], width) * min(anchor[1], height)
        return both / (anchor[0] * anchor[1] + width * height - both)

    _, scale, index = max(
        (shape_iou(anchor), scale, index) for scale, row in enumerate(card.anchors) for index, anchor in enumerate(row)
    )
    stride, anchor = card.strides[scale], card.anchors[scale][index]
    column, mu_x = divmod((x1 + x2) / 2 / stride, 1)
    row, mu_y = divmod((y1 + y2) / 2 / stride, 1)
    confidence = math.sqrt(planted.score / (1 - planted.sigma))
    entries = heads[scale][index, :, int(row), int(column)]
    entries[0], entries[2] = _logit(mu_x), _logit(mu_y)
    entries[4], entries[6] = math.log(width / anchor[0]), math.log(height / anchor[1])
    entries[1:8:2] = _logit(planted.sigma)
    entries[8] = _logit(confidence)
    entries[9:] = BACKGROUND_LOGIT
    entries[9 + planted.class_id] = _logit(confidence)


def _logit(probability: float) -> float:
    probability = min(max(probability, 1e-4), 1 - 1e-4)
    return math.log(probability / (1 - probability))

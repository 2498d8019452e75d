"""The node `GaussianYoloDetect` behind a model's raw heads, so that an engine gives detections.

Its attributes are the fields of the plugin of that name in engines/plugin, which takes them from TensorRT's parser.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gaussian_yolo_node.detector.decode import BOX_ENTRIES
from gaussian_yolo_node.detector.model import ModelCard
from gaussian_yolo_node.errors import ModelError, SettingError

PLUGIN_NAME = "GaussianYoloDetect"
OPSET_DOMAIN = "gaussian_yolo"
HEADS = 3
OUTPUTS = ("num_detections", "boxes", "scores", "class_ids", "sigmas")

# As engines/plugin/kernels.h has them.
MAX_ANCHORS = 8
MAX_CANDIDATES = 8192


@dataclass(frozen=True)
class DetectAttributes:
    """How the plugin makes detections of heads.

    Attributes:
        anchors: width and height of each anchor in canvas px, head by head, flat.
        strides: canvas px per cell of each head, coarsest first.
        num_classes: from 1.
        input_height: of the canvas, px.
        input_width: of the canvas, px.
        score_threshold: 0 <= t < 1.
        iou_threshold: 0 <= t < 1.
        max_candidates: best (cell, class) pairs that go on to suppression.
        max_detections: rows of the outputs.
        variance_vote: 1 where suppressed boxes vote on the one that is kept, else 0.
        criterion: what ranks detections; 0 is objectness * class * (1 - mean of the four s).
    """

    anchors: tuple[float, ...]
    strides: tuple[int, ...]
    num_classes: int
    input_height: int
    input_width: int
    score_threshold: float
    iou_threshold: float
    max_candidates: int = 1000
    max_detections: int = 300
    variance_vote: int = 0
    criterion: int = 0

    @property
    def anchors_per_head(self) -> int:
        return len(self.anchors) // (2 * len(self.strides))

    def head_shape(self, head: int) -> tuple[int, int, int]:
        """(channels, rows, columns) of a head."""
        stride = self.strides[head]
        channels = self.anchors_per_head * (BOX_ENTRIES + self.num_classes)
        return channels, self.input_height // stride, self.input_width // stride


def attributes_of(card: ModelCard, path: Path, *, max_detections: int = 300) -> DetectAttributes:
    """The plugin's attributes for a model.

    Args:
        card: its thresholds are built in.
        path: of the model, for messages.
        max_detections: rows of the outputs, from 1.

    Raises:
        ModelError: the plugin cannot do what the card asks.
        SettingError: `max_detections` is out of range.
    """
    counts = {len(head) for head in card.anchors}
    if len(card.strides) != HEADS or len(counts) != 1 or max(counts) > MAX_ANCHORS:
        raise ModelError(
            f"{path} has heads with {', '.join(str(len(head)) for head in card.anchors)} anchors where the plugin "
            f"takes {HEADS} heads of the same number, at most {MAX_ANCHORS}; run it with another runtime"
        )
    attributes = DetectAttributes(
        anchors=tuple(side for head in card.anchors for anchor in head for side in anchor),
        strides=card.strides,
        num_classes=len(card.classes),
        input_height=card.input_size[0],
        input_width=card.input_size[1],
        score_threshold=card.score_threshold,
        iou_threshold=card.iou_threshold,
        max_detections=max_detections,
        variance_vote=int(card.variance_vote),
    )
    if not 1 <= max_detections <= attributes.max_candidates:
        raise SettingError(f"max_detections is {max_detections}; give a number from 1 to {attributes.max_candidates}")
    return attributes


def append_plugin_node(model: Any, attributes: DetectAttributes, path: Path, batch: int | None) -> Any:
    """A copy of a model that ends in the plugin.

    Args:
        model: ONNX ModelProto: `image` uint8 [B, H, W, 3] in, a raw head `head_STRIDE` for each stride out.
        attributes: of the node.
        path: of the model, for messages.
        batch: images of one inference; None leaves it open, which the model must, too.

    Returns:
        A ModelProto whose outputs are num_detections int32 [B], boxes float32 [B, K, 4] in canvas px, scores float32
        [B, K], class_ids int32 [B, K] and sigmas float32 [B, K, 4] in canvas px.

    Raises:
        ModelError: input or heads have other names, types or shapes; or another fixed batch.
    """
    import onnx
    from onnx import TensorProto, helper

    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    graph = proto.graph
    _fix_batch(graph, attributes, path, batch)
    heads = _check_heads(graph, attributes, path, batch)
    del graph.output[:]
    fields: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(attributes).items()
    }
    node = helper.make_node(
        PLUGIN_NAME,
        heads,
        list(OUTPUTS),
        name="detect",
        domain=OPSET_DOMAIN,
        **fields,
        plugin_version="1",
        plugin_namespace="",
    )
    graph.node.append(node)
    rows: Mapping[str, tuple[int, tuple[int, ...]]] = {
        "num_detections": (TensorProto.INT32, ()),
        "boxes": (TensorProto.FLOAT, (attributes.max_detections, 4)),
        "scores": (TensorProto.FLOAT, (attributes.max_detections,)),
        "class_ids": (TensorProto.INT32, (attributes.max_detections,)),
        "sigmas": (TensorProto.FLOAT, (attributes.max_detections, 4)),
    }
    images = "batch" if batch is None else batch
    graph.output.extend(
        helper.make_tensor_value_info(name, kind, (images, *shape)) for name, (kind, shape) in rows.items()
    )
    proto.opset_import.append(helper.make_opsetid(OPSET_DOMAIN, 1))
    return proto


def _fix_batch(graph: Any, attributes: DetectAttributes, path: Path, batch: int | None) -> None:
    """Check the input, and give it its batch if the model leaves it open."""
    from onnx import TensorProto

    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    wanted = (attributes.input_height, attributes.input_width, 3)
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != TensorProto.UINT8 or _shape(inputs[0])[1:] != wanted:
        shown = ", ".join(f"{value.name} {_show(_shape(value))}" for value in inputs) or "nothing"
        raise ModelError(
            f"{path} takes {shown} where one uint8 [batch, {', '.join(map(str, wanted))}] is needed, as its card says; "
            "export it with `gaussian-yolo export`"
        )
    images = inputs[0].type.tensor_type.shape.dim[0]
    has = _shape(inputs[0])[0]
    if has is not None and has != batch:
        raise ModelError(
            f"{path} is exported for batch {has}, so no engine for batch {'dynamic' if batch is None else batch} can "
            "be built from it; export it with `gaussian-yolo export --batch dynamic`"
        )
    if has is None and batch is not None:
        images.dim_value = batch


def _check_heads(graph: Any, attributes: DetectAttributes, path: Path, batch: int | None) -> list[str]:
    """Names of the heads in the order of the strides."""
    outputs = {value.name: value for value in graph.output}
    names = [f"head_{stride}" for stride in attributes.strides]
    if set(outputs) != set(names):
        raise ModelError(
            f"{path} has the outputs {', '.join(outputs) or 'nothing'} where its card says {', '.join(names)}; export "
            "it with `gaussian-yolo export`"
        )
    for index, name in enumerate(names):
        found, wanted = _shape(outputs[name]), attributes.head_shape(index)
        if len(found) != 4 or any(has not in (None, want) for has, want in zip(found[1:], wanted, strict=True)):
            raise ModelError(
                f"{path} has {name} of shape {_show(found)} where its card ({attributes.anchors_per_head} anchors, "
                f"{attributes.num_classes} classes, {attributes.input_height}x{attributes.input_width} px) says "
                f"[batch, {', '.join(map(str, wanted))}]; export it again"
            )
    return names


def _shape(value: Any) -> tuple[int | None, ...]:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
        for dim in value.type.tensor_type.shape.dim
    )


def _show(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"

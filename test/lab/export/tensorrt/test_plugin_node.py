"""The plugin node behind the heads, and models rejected before the TensorRT build."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from engine_models import CHANNELS, make_network, run_heads
from factories import make_card, make_model
from onnx import TensorProto, helper

from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.lab.export.tensorrt.builder import prepare_model
from gaussian_yolo_node.lab.export.tensorrt.contract import DetectAttributes, EngineError
from gaussian_yolo_node.lab.export.tensorrt.options import BuildOptions
from gaussian_yolo_node.lab.export.tensorrt.plugin_node import append_plugin


def appended(path: Path, **options: Any) -> tuple[onnx.ModelProto, int | None]:
    model = onnx.load(str(path))
    batch = append_plugin(model, DetectAttributes.of_card(make_card(), **options), path)
    return model, batch


@pytest.mark.parametrize("batch", [1, 4, "batch"])
def test_the_node_has_the_cards_attributes_and_its_outputs_are_the_graphs(tmp_path: Path, batch: int | str) -> None:
    model, found = appended(make_network(tmp_path / "tiny.onnx", batch=batch), max_detections=7)
    assert found == (None if batch == "batch" else batch)
    node = model.graph.node[-1]
    assert (node.op_type, list(node.input)) == ("GaussianYoloDetect", ["head_32", "head_16", "head_8"])
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    wanted = dict(DetectAttributes.of_card(make_card(), max_detections=7).as_mapping())
    assert values.pop("plugin_version") == b"1" and values.pop("plugin_namespace") == b""
    for name, value in wanted.items():
        assert values.pop(name) == (pytest.approx(list(value)) if isinstance(value, tuple) else pytest.approx(value))
    assert not values
    shapes = {
        item.name: (
            item.type.tensor_type.elem_type,
            [size.dim_param or size.dim_value for size in item.type.tensor_type.shape.dim],
        )
        for item in model.graph.output
    }
    assert shapes == {
        "num_detections": (TensorProto.INT32, [batch]),
        "boxes": (TensorProto.FLOAT, [batch, 7, 4]),
        "scores": (TensorProto.FLOAT, [batch, 7]),
        "class_ids": (TensorProto.INT32, [batch, 7]),
        "sigmas": (TensorProto.FLOAT, [batch, 7, 4]),
    }
    assert list(node.output) == list(shapes)
    # The checker ignores operators of other domains.
    onnx.checker.check_model(model)


def test_the_image_is_cast_first_and_the_heads_stay_what_they_were(tmp_path: Path) -> None:
    path = make_network(tmp_path / "tiny.onnx")
    before = onnx.load(str(path))
    model, _ = appended(path)
    assert [node.op_type for node in model.graph.node[:3]] == ["Cast", "Transpose", "Sub"]
    raw = copy.deepcopy(model)
    raw.graph.node.pop()
    del raw.graph.output[:]
    raw.graph.output.extend(before.graph.output)
    for was, now in zip(run_heads(before), run_heads(raw), strict=True):
        np.testing.assert_array_equal(now, was)


def test_an_image_that_is_cast_first_stays_so(tmp_path: Path) -> None:
    model, _ = appended(make_model(tmp_path / "tiny.onnx"))
    assert model.graph.node[0].op_type == "Cast"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"head_channels": (CHANNELS, CHANNELS - 1, CHANNELS)},
            r"head_16 of .*tiny.onnx is \[1, 35, 4, 6\] where 3 anchors and 3 classes make 3 x \(9 \+ 3\) = 36",
        ),
        ({"head_channels": (57, 57, 57)}, r"head_32 of .* is \[1, 57, 2, 3\]"),
        (
            {"head_strides": (16, 16, 8)},
            r"head_32 of .* is \[1, 36, 4, 6\] where a canvas of 64x96 px and stride 32 make 2 rows and 3 columns",
        ),
        ({"head_names": ("head_32", "head_16", "head_4")}, "outputs head_32, head_16, head_4 .* so head_8 is missing"),
        (
            {"input_size": (96, 64)},
            r"takes image \[1, 96, 64, 3\] where .* one input uint8 \[\?, 64, 96, 3\]",
        ),
        ({"input_type": TensorProto.INT8}, r"takes image \[1, 64, 96, 3\]"),
    ],
)
def test_a_graph_that_the_card_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = make_network(tmp_path / "tiny.onnx", **change)
    with pytest.raises(EngineError, match=says):
        appended(path)


@pytest.mark.parametrize("extra", ["Identity", "Transpose"])
def test_an_image_that_is_used_otherwise_is_refused(tmp_path: Path, extra: str) -> None:
    model = onnx.load(str(make_network(tmp_path / "tiny.onnx")))
    model.graph.node.insert(0, helper.make_node(extra, ["image"], ["copy"], "copy"))
    with pytest.raises(EngineError, match=f"feeds its image to {extra} 'copy', which TensorRT cannot do with uint8"):
        append_plugin(model, DetectAttributes.of_card(make_card()), tmp_path / "tiny.onnx")


@pytest.mark.parametrize("damage", [b"", b"no model", None])
def test_a_damaged_file_is_told(tmp_path: Path, damage: bytes | None) -> None:
    path = make_network(tmp_path / "tiny.onnx")
    path.write_bytes(path.read_bytes()[:-2000] if damage is None else damage)
    with pytest.raises(ModelError, match=r"tiny\.onnx"):
        prepare_model(path, BuildOptions())


def test_a_model_without_a_card_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no gaussian_yolo\.card metadata"):
        prepare_model(make_network(tmp_path / "tiny.onnx", with_card=False), BuildOptions())


def test_a_card_of_other_classes_is_told_before_anything_is_quantised(tmp_path: Path) -> None:
    path = make_network(tmp_path / "tiny.onnx", card={"classes": ("car", "tram")})
    with pytest.raises(EngineError, match=r"3 anchors and 2 classes make 3 x \(9 \+ 2\) = 33 channels"):
        prepare_model(path, BuildOptions("int8", calibration=(str(tmp_path / "nowhere"),)))


def test_thresholds_that_are_built_in_are_in_the_card(tmp_path: Path) -> None:
    options = BuildOptions("fp32", score_threshold=0.1, iou_threshold=0.6, variance_vote=True, criterion="confidence")
    prepared = prepare_model(make_network(tmp_path / "tiny.onnx"), options)
    assert (prepared.card.score_threshold, prepared.card.iou_threshold) == (0.1, 0.6)
    assert prepared.card.variance_vote
    assert (prepared.attributes.score_threshold, prepared.attributes.criterion) == (0.1, 1)

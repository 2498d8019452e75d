from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from exported_models import make_exported
from factories import ANCHORS, make_card, make_model

from gaussian_yolo_node.engine.plane_input import take_planes
from gaussian_yolo_node.engine.plugin_node import (
    OPSET_DOMAIN,
    OUTPUTS,
    PLUGIN_NAME,
    append_plugin_node,
    attributes_of,
)
from gaussian_yolo_node.errors import ModelError, SettingError

PATH = Path("car.onnx")


def appended(path: Path, batch: int | None = 1, **card: Any) -> Any:
    attributes = attributes_of(make_card(**card), path, max_detections=50)
    return append_plugin_node(onnx.load(str(path)), attributes, path, batch)


def shapes(values: Any) -> dict[str, list[int | str]]:
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values
    }


def test_the_node_has_the_cards_numbers(tiny_model: Path) -> None:
    model = appended(tiny_model, score_threshold=0.25, variance_vote=True)
    node = model.graph.node[-1]
    fields = {field.name: onnx.helper.get_attribute_value(field) for field in node.attribute}
    assert (node.op_type, node.domain) == (PLUGIN_NAME, OPSET_DOMAIN)
    assert list(node.input) == ["head_32", "head_16", "head_8"]
    assert list(node.output) == list(OUTPUTS)
    assert np.allclose(fields.pop("anchors"), np.ravel(ANCHORS))
    assert fields.pop("score_threshold") == pytest.approx(0.25)
    assert fields.pop("iou_threshold") == pytest.approx(0.45)
    assert fields == {
        "strides": [32, 16, 8],
        "num_classes": 3,
        "input_height": 64,
        "input_width": 96,
        "max_candidates": 1000,
        "max_detections": 50,
        "variance_vote": 1,
        "criterion": 0,
        "plugin_version": b"1",
        "plugin_namespace": b"",
    }
    onnx.checker.check_model(model)


@pytest.mark.parametrize(("batch", "shown"), [(1, 1), (4, 4), (None, "batch")])
def test_outputs_have_the_batch(tmp_path: Path, batch: int | None, shown: int | str) -> None:
    model = appended(make_exported(tmp_path / "tiny.onnx", dynamic=True), batch)
    assert shapes(model.graph.input) == {"image": [shown, 64, 96, 3]}
    assert shapes(model.graph.output) == {
        "num_detections": [shown],
        "boxes": [shown, 50, 4],
        "scores": [shown, 50],
        "class_ids": [shown, 50],
        "sigmas": [shown, 50, 4],
    }


def test_the_model_itself_stays(tiny_model: Path) -> None:
    model = onnx.load(str(tiny_model))
    before = model.SerializeToString()
    append_plugin_node(model, attributes_of(make_card(), PATH), PATH, 1)
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("card", "says"),
    [
        ({"classes": ("car",)}, r"head_32 of shape \[1, 36, 2, 3\].*1 classes.*\[batch, 30, 2, 3\]"),
        ({"anchors": tuple(head[:2] for head in ANCHORS)}, r"2 anchors.*\[batch, 24, 2, 3\]"),
        ({"input_size": (96, 96)}, r"takes image \[1, 64, 96, 3\].*\[batch, 96, 96, 3\]"),
        ({"strides": (32, 16, 4)}, r"head_4"),
    ],
)
def test_heads_that_do_not_fit_the_card_are_refused(tiny_model: Path, card: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        appended(tiny_model, **card)


def _drop_head(graph: Any) -> None:
    del graph.output[0]


def _drop_all_heads(graph: Any) -> None:
    del graph.output[:]


def _float_input(graph: Any) -> None:
    graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def _no_input(graph: Any) -> None:
    del graph.input[:]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_drop_head, "outputs head_16, head_32 where its card says head_32, head_16, head_8"),
        (_drop_all_heads, "outputs nothing"),
        (_float_input, "uint8"),
        (_no_input, "takes nothing"),
    ],
)
def test_graphs_of_another_kind_are_refused(tiny_model: Path, damage: Callable[[Any], None], says: str) -> None:
    model = onnx.load(str(tiny_model))
    damage(model.graph)
    with pytest.raises(ModelError, match=says):
        append_plugin_node(model, attributes_of(make_card(), PATH), PATH, 1)


@pytest.mark.parametrize(("batch", "says"), [(4, "for batch 4"), (None, "for batch dynamic")])
def test_another_batch_than_the_models_is_refused(tiny_model: Path, batch: int | None, says: str) -> None:
    with pytest.raises(ModelError, match=f"is exported for batch 1.*{says}.*--batch dynamic"):
        appended(tiny_model, batch)


@pytest.mark.parametrize("anchors", [ANCHORS[:2], (*ANCHORS[:2], ANCHORS[2][:1]), tuple(head * 3 for head in ANCHORS)])
def test_cards_that_the_plugin_cannot_do_are_refused(anchors: Any) -> None:
    card = make_card(anchors=anchors, strides=(32, 16, 8)[: len(anchors)])
    with pytest.raises(ModelError, match=r"car\.onnx has heads with"):
        attributes_of(card, PATH)


@pytest.mark.parametrize("rows", [0, -1, 1001])
def test_a_number_of_rows_that_cannot_be_is_refused(rows: int) -> None:
    with pytest.raises(SettingError, match=f"max_detections is {rows}"):
        attributes_of(make_card(), PATH, max_detections=rows)


def test_attributes_know_the_heads() -> None:
    attributes = attributes_of(make_card(), PATH)
    assert [attributes.head_shape(head) for head in range(3)] == [(36, 2, 3), (36, 4, 6), (36, 8, 12)]
    assert len(asdict(attributes)) == 11  # as many as DetectParams in engines/plugin/kernels.h has, by other names


# The input


def test_planes_give_the_same_heads(tmp_path: Path) -> None:
    path = make_exported(tmp_path / "tiny.onnx")
    canvas = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8)
    heads = onnxruntime.InferenceSession(str(path)).run(None, {"image": canvas})
    model = onnx.load(str(path))
    assert take_planes(model.graph)
    onnx.checker.check_model(model)
    assert shapes(model.graph.input) == {"image": [1, 3, 64, 96]}
    planes = np.ascontiguousarray(canvas.transpose(0, 3, 1, 2), np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for head, expected in zip(session.run(None, {"image": planes}), heads, strict=True):
        np.testing.assert_array_equal(head, expected)


def test_planes_are_half_where_the_network_is(tmp_path: Path) -> None:
    model = onnx.load(str(make_exported(tmp_path / "tiny.onnx")))
    model.graph.node[1].output[0] = "wide"
    model.graph.node.insert(2, onnx.helper.make_node("Cast", ["wide"], ["floats"], to=onnx.TensorProto.FLOAT16))
    assert take_planes(model.graph)
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    assert model.graph.node[0].op_type == "ReduceMean"


def _reader_beside(graph: Any) -> None:
    graph.node.append(onnx.helper.make_node("Shape", ["image"], ["sizes"]))


def _other_permutation(graph: Any) -> None:
    graph.node[0].attribute[0].ints[:] = [0, 1, 2, 3]


def _only_bytes(graph: Any) -> None:
    graph.node[1].attribute[0].i = onnx.TensorProto.INT32


@pytest.mark.parametrize("change", [_reader_beside, _other_permutation, _only_bytes])
def test_other_beginnings_stay_as_they_are(tmp_path: Path, change: Callable[[Any], None]) -> None:
    model = onnx.load(str(make_exported(tmp_path / "tiny.onnx")))
    change(model.graph)
    before = model.SerializeToString()
    assert not take_planes(model.graph)
    assert model.SerializeToString() == before


def test_a_graph_that_begins_with_a_cast_keeps_bytes(tmp_path: Path) -> None:
    model = onnx.load(str(make_model(tmp_path / "tiny.onnx")))
    assert not take_planes(model.graph)

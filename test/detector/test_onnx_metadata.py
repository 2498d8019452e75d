"""Metadata read directly from the file equal those read by the onnx package."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from factories import make_model

from gaussian_yolo_node.detector.model import read_card, resolve_model, shipped_models
from gaussian_yolo_node.detector.onnx_metadata import read_metadata
from gaussian_yolo_node.errors import ModelError


@pytest.mark.parametrize("name", [*shipped_models(), "tiny"])
def test_metadata_are_those_of_the_onnx_package(name: str, tiny_model: Path) -> None:
    path = tiny_model if name == "tiny" else resolve_model(name)
    expected = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert read_metadata(path) == expected
    assert read_card(read_metadata(path), path).classes


def test_a_model_without_metadata(tmp_path: Path) -> None:
    assert read_metadata(make_model(tmp_path / "bare.onnx", with_card=False)) == {}


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\xff" * 40], ids=["empty", "text", "noise"])
def test_what_is_no_model_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.onnx is no ONNX file"):
        read_metadata(path)


def test_a_model_cut_short_and_one_that_is_not_there(tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "short.onnx"
    path.write_bytes(tiny_model.read_bytes()[:-20])
    with pytest.raises(ModelError, match="cut short"):
        read_metadata(path)
    with pytest.raises(ModelError, match="cannot be read"):
        read_metadata(tmp_path / "none.onnx")

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from factories import make_card, make_model

from gaussian_yolo_node.detector.model import CARD_KEY, read_card
from gaussian_yolo_node.detector.sigma_correction import SigmaCalibration
from gaussian_yolo_node.errors import ModelError

onnx = pytest.importorskip("onnx")

from gaussian_yolo_node.lab.export.card_file import write_card  # noqa: E402

CARD = replace(make_card(), sigma_calibration=SigmaCalibration((0.5, 1, 2, 3), (0, 0.1, 0, 0.2)))


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with other metadata besides the card."""
    path = make_model(tmp_path / "tiny.onnx")
    proto = onnx.load(str(path))
    proto.metadata_props.add(key="producer", value="someone")
    onnx.save(proto, str(path))
    return path


@pytest.mark.parametrize("name", ["other.onnx", "tiny.onnx"])  # the second is the model itself
def test_only_the_card_changes(model: Path, name: str) -> None:
    before = onnx.load(str(model))
    output = model.with_name(name)

    write_card(model, CARD, output)

    after = onnx.load(str(output))
    assert after.graph.SerializeToString(deterministic=True) == before.graph.SerializeToString(deterministic=True)
    assert (after.opset_import, after.ir_version) == (before.opset_import, before.ir_version)
    assert metadata(output).keys() == {CARD_KEY, "producer"}
    assert read_card(metadata(output), output) == CARD
    assert {path.name for path in model.parent.iterdir()} == {"tiny.onnx", name}  # no temporary files are left
    assert stat.S_IMODE(output.stat().st_mode) == stat.S_IMODE(model.stat().st_mode)


def test_a_model_without_a_card_gets_one(tmp_path: Path) -> None:
    model = make_model(tmp_path / "bare.onnx", with_card=False)
    write_card(model, CARD, model)
    assert read_card(metadata(model), model) == CARD


@pytest.mark.parametrize("output", ["tiny.onnx/out.onnx", "."])
def test_what_cannot_be_written_is_named(model: Path, output: str) -> None:
    with pytest.raises(ModelError, match="cannot be written"):
        write_card(model, CARD, model.parent / output)


def test_a_failure_leaves_what_was_there(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = model.with_name("out.onnx")
    output.write_bytes(b"before")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save", full)
    with pytest.raises(ModelError, match=r"out.onnx cannot be written: No space left"):
        write_card(model, CARD, output)
    assert output.read_bytes() == b"before"
    assert {path.name for path in model.parent.iterdir()} == {"tiny.onnx", "out.onnx"}

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories import make_card
from runtime_engines import write_sidecar

from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.runtime.tensorrt.sidecar import EngineSidecar, read_sidecar, sidecar_path

BUILT = {"tensorrt": "10.3.0", "compute_capability": "87", "model_hash": "0123456789ab"}
MACHINE = {**BUILT, "plugin_version": "1"}
SIDECAR = EngineSidecar(
    **BUILT, card=json.loads(make_card().to_json()), command="gaussian-yolo build-engine 'a b.onnx' -o a.engine"
)


def test_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_sidecar(tmp_path / "a.engine", SIDECAR)
    assert read_sidecar(tmp_path / "a.engine") == SIDECAR
    assert [path.name for path in tmp_path.iterdir()] == ["a.engine.json"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, []),
        ({"model_hash": None}, []),
        ({"tensorrt": "10.3.1"}, ["TensorRT 10.3.0 and this machine has 10.3.1"]),
        ({"compute_capability": "8"}, ["capability 87 and this one has 8"]),
        ({"model_hash": "ba9876543210"}, ["model 0123456789ab and the model is ba9876543210"]),
        ({"plugin_version": "2"}, ["plugin version 1 and this package has 2"]),
        ({"tensorrt": "11.0", "compute_capability": "110"}, ["11.0", "110"]),
    ],
)
def test_is_stale_for_each_difference(change: dict[str, Any], says: list[str]) -> None:
    reasons = SIDECAR.stale_reasons(**{**MACHINE, **change})
    assert len(reasons) == len(says)
    assert all(words in reason for words, reason in zip(says, reasons, strict=True))


@pytest.mark.parametrize(("capability", "stale"), [("86", False), ("89", False), ("8", True), ("6,8", True)])
def test_an_engine_for_several_gpus_fits_each(capability: str, stale: bool) -> None:
    sidecar = EngineSidecar("1.7", "86,89", "0123456789ab", SIDECAR.card, "")
    assert (
        bool(sidecar.stale_reasons(tensorrt="1.7", compute_capability=capability, model_hash=None, plugin_version="1"))
        == stale
    )


def test_fields_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    write_sidecar(tmp_path / "a.engine", SIDECAR)
    values = json.loads(sidecar_path(tmp_path / "a.engine").read_text())
    sidecar_path(tmp_path / "a.engine").write_text(json.dumps({**values, "built_on": "a Tuesday"}))
    assert read_sidecar(tmp_path / "a.engine") == SIDECAR


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (None, "has no .*a.engine.json"),
        ("", "is not JSON"),
        ("\xff", "is not JSON"),
        ("[]", "is not a JSON object"),
        ({"format": 2}, "format 2 and this version reads 1"),
        ({"tensorrt": None}, "tensorrt must be a text, not None"),
        ({"batch": "4"}, "batch must be a whole number, not '4'"),
        ({"batch": True}, "batch must be a whole number, not True"),
        ({"card": {}}, "lacks anchors"),
        ({"card": []}, r"card must be a mapping, not \[\]"),
        ({"card": {**SIDECAR.card, "input_size": [64]}}, r"input_size = \[64\], no \[height, width\]"),
        ({"card": {**SIDECAR.card, "input_size": "64x96"}}, 'input_size = "64x96", no'),
    ],
)
def test_a_damaged_one_is_told_by_the_field(tmp_path: Path, change: Any, says: str) -> None:
    engine = tmp_path / "a.engine"
    if isinstance(change, str):
        sidecar_path(engine).write_bytes(change.encode("latin-1"))
    elif change is not None:
        write_sidecar(engine, SIDECAR)
        values = json.loads(sidecar_path(engine).read_text())
        sidecar_path(engine).write_text(json.dumps({**values, **change}))
    with pytest.raises(ModelError, match=says):
        read_sidecar(engine)


@pytest.mark.parametrize("field", ["tensorrt", "compute_capability", "model_hash", "card", "command", "format"])
def test_a_missing_field_is_told(tmp_path: Path, field: str) -> None:
    write_sidecar(tmp_path / "a.engine", SIDECAR)
    path = sidecar_path(tmp_path / "a.engine")
    values = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in values.items() if name != field}))
    with pytest.raises(ModelError, match=field):
        read_sidecar(tmp_path / "a.engine")


@pytest.mark.parametrize("command", ["rm -rf /home", "gaussian-yolo detect x", "", "gaussian-yolo build-engine 'x"])
def test_a_command_that_is_not_the_builders_is_not_even_shown(tmp_path: Path, command: str) -> None:
    engine = tmp_path / "a.engine"
    write_sidecar(engine, replace(SIDECAR, command=command))
    with pytest.raises(ModelError, match="is not that of its builder") as refused:
        read_sidecar(engine)
    assert "rm" not in str(refused.value).split()


def test_a_command_is_quoted_for_a_shell(tmp_path: Path) -> None:
    engine = tmp_path / "a.engine"
    write_sidecar(engine, replace(SIDECAR, command="gaussian-yolo build-engine a.onnx;reboot $(id)"))
    assert read_sidecar(engine).command == "gaussian-yolo build-engine 'a.onnx;reboot' '$(id)'"

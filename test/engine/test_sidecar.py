from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gaussian_yolo_node.engine.sidecar import EngineSidecar, read_sidecar, sidecar_path, write_sidecar
from gaussian_yolo_node.errors import ModelError

SIDECAR = EngineSidecar("10.3.0", "86,89", "0123456789ab", {"name": "tiny"}, "gaussian-yolo build-engine a -o b")
HERE = {"tensorrt": "10.3.0", "compute_capability": "89", "model_hash": "0123456789ab", "plugin_version": "1"}


@pytest.mark.parametrize("batch", [1, 4, None])
def test_it_is_read_as_it_was_written(tmp_path: Path, batch: int | None) -> None:
    sidecar = EngineSidecar("10.3.0", "87", "0123456789ab", {"a": [1, {"b": None}]}, "é x", batch=batch)
    write_sidecar(tmp_path / "car.engine", sidecar)
    assert read_sidecar(tmp_path / "car.engine") == sidecar
    assert [file.name for file in tmp_path.iterdir()] == ["car.engine.json"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, []),
        ({"model_hash": None}, []),
        ({"compute_capability": "86"}, []),
        ({"compute_capability": "8"}, ["SM 86,89 and this one is 8"]),
        ({"tensorrt": "10.3.1"}, ["TensorRT 10.3.0 and this is 10.3.1"]),
        ({"model_hash": "ba9876543210"}, ["hash 0123456789ab and the one beside it has ba9876543210"]),
        ({"plugin_version": "2"}, ["plugin version 1 and this is 2"]),
        ({"tensorrt": "11.0", "plugin_version": "2"}, ["TensorRT", "plugin"]),
    ],
)
def test_reasons_to_build_again(change: dict[str, Any], says: list[str]) -> None:
    reasons = SIDECAR.stale_reasons(**(HERE | change))
    assert len(reasons) == len(says)
    assert all(words in reason for words, reason in zip(says, reasons, strict=True))


GOOD = {
    "tensorrt": "10.3.0",
    "compute_capability": "87",
    "model_hash": "0123456789ab",
    "card": {},
    "command": "gaussian-yolo build-engine a -o b",
    "format": 1,
}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is missing"),
        ("", "cannot be read"),
        ("\xff", "cannot be read"),
        ("[]", "not a JSON object"),
        ("{}", "format None"),
        (GOOD | {"format": 2}, "format 2"),
        ({name: value for name, value in GOOD.items() if name not in ("card", "tensorrt")}, "lacks tensorrt, card"),
        (GOOD | {"colour": "red"}, "unknown fields colour"),
        (GOOD | {"batch": 0}, "batch = 0"),
        (GOOD | {"batch": "1"}, 'batch = "1"'),
        (GOOD | {"max_detections": True}, "max_detections = true"),
        (GOOD | {"card": "tiny"}, 'card = "tiny"'),
        (GOOD | {"command": None}, "command = null"),
    ],
)
def test_a_damaged_one_is_told(tmp_path: Path, content: Any, says: str) -> None:
    engine = tmp_path / "car.engine"
    if content is not None:
        text = content if isinstance(content, str) else json.dumps(content)
        sidecar_path(engine).write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=rf"car\.engine\.json.*{says}.*build"):
        read_sidecar(engine)

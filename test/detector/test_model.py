from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories import make_card

from gaussian_yolo_node.detector.model import (
    CARD_KEY,
    ModelCard,
    ModelError,
    OperatingPoint,
    read_card,
    resolve_model,
)
from gaussian_yolo_node.detector.sigma_correction import SigmaCalibration
from gaussian_yolo_node.files import short_hash

CARD = make_card(training={"seed": 1, "metrics": {"AP": 0.5}})
SOURCE = "some/model.onnx"


@pytest.mark.parametrize("calibration", [None, SigmaCalibration((0.5, 1, 2, 3), (0, 0.1, 0, 0.2))])
def test_a_card_survives_its_json(calibration: SigmaCalibration | None) -> None:
    card = replace(CARD, sigma_calibration=calibration)
    assert ModelCard.from_json(card.to_json(), SOURCE) == card


POINTS = (
    OperatingPoint((32, 64), 0.1, {"town": {"AP50 car": 0.4}}, SigmaCalibration((1,) * 4, (0,) * 4)),
    OperatingPoint((64, 96), 0.3, {}, None),
    OperatingPoint((96, 192), 0.9, {}, SigmaCalibration((3,) * 4, (0,) * 4)),
)


def test_operating_points_survive_their_json() -> None:
    card = replace(CARD, operating_points=POINTS)
    assert ModelCard.from_json(card.to_json(), SOURCE) == card


@pytest.mark.parametrize(
    ("size", "index"), [((32, 64), 0), ((32, 32), 0), ((64, 64), 1), ((96, 64), 1), ((192, 96), 2), ((960, 960), 2)]
)
def test_a_canvas_takes_the_correction_of_the_point_nearest_in_pixels(size: tuple[int, int], index: int) -> None:
    card = replace(CARD, operating_points=POINTS, sigma_calibration=SigmaCalibration((9,) * 4, (0,) * 4))
    assert card.operating_point_at(size) == POINTS[index]
    assert card.sigma_calibration_at(size) == POINTS[index].sigma_calibration
    without = replace(card, operating_points=())
    assert without.operating_point_at(size) is None
    assert without.sigma_calibration_at(size) == card.sigma_calibration


def test_thresholds_have_defaults() -> None:
    fields = json.loads(CARD.to_json())
    thresholds = ("score_threshold", "iou_threshold", "variance_vote")
    for name in (*thresholds, "resize", "sigma_calibration", "training", "format_version"):
        del fields[name]

    card = ModelCard.from_json(json.dumps(fields), SOURCE)

    assert (card.score_threshold, card.iou_threshold, card.variance_vote) == (0.3, 0.45, False)
    assert (card.resize, card.sigma_calibration) == ("bilinear", None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", ""),
        ("name", 3),
        ("classes", []),
        ("classes", "car"),
        ("classes", ["car", "car"]),
        ("classes", ["car", 1]),
        ("anchors", []),
        ("anchors", [[[1, 2, 3]], [[1, 2]], [[1, 2]]]),
        ("anchors", [[[1, 0]], [[1, 2]], [[1, 2]]]),
        ("anchors", [[[1, 2]]]),  # for one head, but three strides
        ("strides", [8, 16, 32]),
        ("strides", [32, 32, 16]),
        ("strides", [32.0, 16, 8]),
        ("input_size", [64]),
        ("input_size", [64, 100]),  # not a multiple of 32
        ("input_size", [0, 96]),
        ("input_size", None),
        ("score_threshold", 1.0),
        ("score_threshold", True),
        ("iou_threshold", -0.1),
        ("iou_threshold", "0.45"),
        ("variance_vote", 1),
        ("resize", "nearest"),
        ("resize", []),
        ("sigma_calibration", []),
        ("sigma_calibration", {"scale": [1, 1, 1, 1]}),
        ("sigma_calibration", {"scale": [1, 1, 1, 1], "offset": [0, 0, 0, 0], "power": 2}),
        ("sigma_calibration", {"scale": [1, 1, 1], "offset": [0, 0, 0, 0]}),
        ("sigma_calibration", {"scale": [1, 1, 1, 0], "offset": [0, 0, 0, 0]}),
        ("sigma_calibration", {"scale": [1, 1, 1, 1], "offset": [0, 0, 0, "0"]}),
        ("operating_points", {}),
        ("operating_points", [{"gmacs": 1.0}]),
        ("operating_points", [{"input_size": [32], "gmacs": 1.0}]),
        ("operating_points", [{"input_size": [32, 64], "gmacs": "1"}]),
        ("operating_points", [{"input_size": [32, 64], "gmacs": 1.0, "ms": 3}]),
        ("operating_points", [{"input_size": [32, 64], "gmacs": 1.0, "sigma_calibration": {"scale": [1]}}]),
        ("input_size", [1 << 20, 1 << 20]),
        ("operating_points", [{"input_size": [1 << 20, 1 << 20], "gmacs": 1.0}]),
        ("training", []),
        ("format_version", 2),
        ("colour", "red"),  # unknown
    ],
)
def test_a_wrong_field_is_named_with_its_file(name: str, value: Any) -> None:
    text = json.dumps(json.loads(CARD.to_json()) | {name: value})

    with pytest.raises(ModelError, match=name) as caught:
        ModelCard.from_json(text, SOURCE)
    assert SOURCE in str(caught.value)


@pytest.mark.parametrize("name", ["name", "classes", "anchors", "strides", "input_size"])
def test_a_missing_field_is_named_with_its_file(name: str) -> None:
    fields = json.loads(CARD.to_json())
    del fields[name]

    with pytest.raises(ModelError, match=f"{SOURCE}: {name} is missing"):
        ModelCard.from_json(json.dumps(fields), SOURCE)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"card"', "[" * 100_000, '{"name": ' + "1" * 5000 + "}"])
def test_what_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match=f"{SOURCE}(: the document must be a mapping, not| is not JSON)"):
        ModelCard.from_json(text, SOURCE)


def test_a_model_without_a_card_is_refused() -> None:
    with pytest.raises(ModelError, match=CARD_KEY):
        read_card({"producer": "someone"}, Path(SOURCE))


def _install(folder: Path, name: str = "shipped.onnx") -> Path:
    engines = folder / "share" / "gaussian_yolo" / "engines"
    engines.mkdir(parents=True)
    (engines / name).write_bytes(b"model")
    return engines / name


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "any.onnx"
    path.write_bytes(b"model")

    assert resolve_model(str(path)) == resolve_model(path) == path


@pytest.mark.parametrize("name", ["shipped", "shipped.onnx"])
def test_a_name_is_found_in_the_ros_prefixes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    shipped = _install(tmp_path / "overlay")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'empty'}:{tmp_path / 'overlay'}")

    assert resolve_model(name) == shipped


def test_a_name_is_found_in_the_python_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = _install(tmp_path)
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    monkeypatch.setattr("sys.prefix", str(tmp_path))

    assert resolve_model("shipped") == shipped


@pytest.mark.parametrize("name", ["other", "no/such/file.onnx", ""])
def test_an_unknown_model_lists_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _install(tmp_path)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))

    with pytest.raises(ModelError, match="shipped") as caught:
        resolve_model(name)
    assert f"no model {name!r}" in str(caught.value)


def test_a_hash_tells_files_apart(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"")
    second.write_bytes(b"model")

    assert short_hash(first) == "e3b0c44298fc"
    assert short_hash(second) != short_hash(first)

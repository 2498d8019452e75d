from __future__ import annotations

import numpy as np
import pytest

from gaussian_yolo_node.detector.model import DEFAULT_MODEL, resolve_model
from gaussian_yolo_node.position.class_sizes import CLASS_SIZES, size_table


def test_sizes_of_classes_and_of_unknown_ones() -> None:
    table = size_table(("Car", "person", "dragon"), CLASS_SIZES)
    car, person = CLASS_SIZES["car"], CLASS_SIZES["pedestrian"]
    assert table[:2, 0].tolist() == [car.height, car.height_sigma]
    assert table[:2, 1].tolist() == [person.height, person.height_sigma]
    assert table[4:6, 0].tolist() == [car.width / 2, np.hypot(car.length, car.width) / 2]
    assert np.isnan(table[:, 2]).all()
    assert size_table((), CLASS_SIZES).shape == (8, 0)


@pytest.mark.parametrize("name", sorted(CLASS_SIZES))
def test_sizes_are_plausible(name: str) -> None:
    size = CLASS_SIZES[name]
    assert 0.5 < size.height < 4 and 0 < size.height_sigma < size.height / 4
    assert 0 < size.reach[0] < size.length and size.reach_sigma > 0 and size.shift_sigma > 0


def test_the_default_model_has_classes_of_known_size() -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime not installed")
    from gaussian_yolo_node.detector.detector import Detector

    with Detector.open(resolve_model(DEFAULT_MODEL), "onnxruntime") as detector:
        assert set(detector.card.classes) <= set(CLASS_SIZES)

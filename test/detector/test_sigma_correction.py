from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import PLANTED, Planted, make_detections, make_image, make_model
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussian_yolo_node.detector import Detector
from gaussian_yolo_node.detector.sigma_correction import SigmaCalibration, calibrate_sigmas
from gaussian_yolo_node.errors import SettingError

CALIBRATION = SigmaCalibration((0.5, 1.0, 2.0, 3.0), (0.1, 0.2, 0.0, 0.4))
ON_CARD = {"sigma_calibration": {"scale": list(CALIBRATION.scale), "offset": list(CALIBRATION.offset)}}
sides = st.floats(0.0, 1000.0, width=32)
factors = st.floats(0.01, 100.0)


@pytest.mark.parametrize(
    ("box", "sigma", "expected"),
    [
        # Width 40 applies to cx and w, height 20 to cy and h.
        ([10, 10, 50, 30], [4, 4, 4, 4], [0.5 * 4 + 0.1 * 40, 4 + 0.2 * 20, 2 * 4, 3 * 4 + 0.4 * 20]),
        ([10, 10, 50, 30], [0, 0, 0, 0], [4, 4, 0, 8]),  # a detector without uncertainty
        ([10, 10, 10, 30], [1, 1, 1, 1], [0.5, 5, 2, 11]),  # no width
    ],
)
def test_scale_and_share_of_the_size(box: list[float], sigma: list[float], expected: list[float]) -> None:
    detections = make_detections([box], sigmas=[sigma])

    calibrated = calibrate_sigmas(detections, CALIBRATION)

    np.testing.assert_allclose(calibrated.sigmas, [expected], rtol=1e-6)
    assert calibrated.sigmas.dtype == np.float32
    for name in ("boxes", "scores", "class_ids"):
        np.testing.assert_array_equal(getattr(calibrated, name), getattr(detections, name))


def test_nothing_stays_nothing() -> None:
    assert len(calibrate_sigmas(make_detections(), CALIBRATION)) == 0


@settings(deadline=None)
@given(st.lists(sides, min_size=4, max_size=4), st.lists(sides, min_size=4, max_size=4), factors)
def test_a_larger_picture_has_sigmas_larger_by_as_much(box: list[float], sigma: list[float], factor: float) -> None:
    x, y, width, height = box
    boxes, sigmas = np.array([[x, y, x + width, y + height]]), np.array([sigma])

    scaled = CALIBRATION.apply(sigmas * factor, boxes * factor)

    np.testing.assert_allclose(scaled, CALIBRATION.apply(sigmas, boxes) * factor, rtol=1e-6, atol=1e-6 * factor)


@pytest.mark.parametrize(
    ("scale", "offset", "named"),
    [
        ((1, 1, 1), (0, 0, 0, 0), "scale"),
        ((1, 1, 1, 1), (0, 0, 0, 0, 0), "offset"),
        ((1, 1, 1, 0), (0, 0, 0, 0), "scale"),
        ((1, 1, 1, -1), (0, 0, 0, 0), "scale"),
        ((1, 1, 1, 1), (0, 0, 0, -0.1), "offset"),
        ((1, 1, 1, math.nan), (0, 0, 0, 0), "scale"),
        ((1, 1, 1, 1), (0, 0, 0, math.inf), "offset"),
        ((1, 1, 1, 10**400), (0, 0, 0, 0), "scale"),
        ((1, 1, 1, True), (0, 0, 0, 0), "scale"),
        ("1111", (0, 0, 0, 0), "scale"),
        (None, (0, 0, 0, 0), "scale"),
    ],
)
def test_what_is_out_of_range_is_named(scale: Any, offset: Any, named: str) -> None:
    with pytest.raises(SettingError, match=f"sigma calibration's {named}"):
        SigmaCalibration(scale, offset)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_the_detector_applies_the_cards(tmp_path: Path, runtime: str) -> None:
    pytest.importorskip(runtime, reason=f"{runtime} not installed")
    model = make_model(tmp_path / "tiny.onnx", card_overrides=ON_CARD)
    frame = make_image(128, 192)  # twice the canvas

    with Detector.open(model, runtime, sigma_calibration=None) as detector:
        raw = detector(frame)
        detector.sigma_calibration = CALIBRATION
        set_later = detector(frame)
    with Detector.open(model, runtime) as detector:
        assert detector.card.sigma_calibration == CALIBRATION
        found = detector(frame)

    assert len(raw) == len(found) == len(PLANTED)
    np.testing.assert_allclose(found.sigmas, CALIBRATION.apply(raw.sigmas, raw.boxes), rtol=1e-6)
    np.testing.assert_allclose(found.sigmas, set_later.sigmas, rtol=1e-6)
    np.testing.assert_array_equal(found.scores, raw.scores)  # the criterion uses the network's own sigmas
    np.testing.assert_array_equal(found.boxes, raw.boxes)


def test_a_card_without_one_leaves_the_network_s(tiny_model: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime not installed")
    other = SigmaCalibration((2, 2, 2, 2), (0, 0, 0, 0))
    with Detector.open(tiny_model, "onnxruntime") as detector:
        assert detector.sigma_calibration is None
        raw = detector(make_image())
    with Detector.open(tiny_model, "onnxruntime", sigma_calibration=other) as detector:
        np.testing.assert_allclose(detector(make_image()).sigmas, raw.sigmas * 2, rtol=1e-6)


def test_of_a_box_at_the_border_the_visible_size_counts(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime not installed")
    planted = [Planted((-10.0, 12.0, 24.0, 27.0), score=0.8, sigma=0.1)]
    model = make_model(tmp_path / "tiny.onnx", planted=planted, card_overrides=ON_CARD)
    with Detector.open(model, "onnxruntime", sigma_calibration=None) as detector:
        raw = detector(make_image(64, 96))
    with Detector.open(model, "onnxruntime") as detector:
        found = detector(make_image(64, 96))

    assert raw.boxes[0, 0] == 0 and raw.boxes[0, 2] == pytest.approx(24, abs=0.1)
    assert found.sigmas[0, 0] == pytest.approx(0.5 * raw.sigmas[0, 0] + 0.1 * 24, rel=1e-2)

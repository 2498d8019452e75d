"""Noise by class and size."""

from __future__ import annotations

import numpy as np

from gaussian_yolo_node.tracking.noise import TrackNoise


def test_each_class_has_its_noise_and_unknown_ones_move_as_vehicles() -> None:
    noise = TrackNoise.of(["bus", "person", "car", "cyclist"])
    densities = noise.densities(np.array([0, 1, 2, 3]), np.full(4, 50.0))
    np.testing.assert_array_equal(densities[0], densities[2])
    np.testing.assert_array_equal(densities[1], densities[3])
    assert (densities[0] != densities[1]).all()


def test_noise_grows_with_the_box_and_never_vanishes() -> None:
    noise = TrackNoise.of(["car"])
    ids = np.zeros(4, np.int32)
    heights = np.array([-3.0, 0.0, 40.0, 80.0])
    densities, rates = noise.densities(ids, heights), noise.start_rates(heights)
    assert (densities > 0).all() and (rates > 0).all()
    assert (densities[3] > densities[2]).all() and (rates[3] > rates[2]).all()
    np.testing.assert_allclose(densities[3, 2:], 4 * densities[2, 2:])  # sizes do not change when the camera turns


def test_no_detections_and_no_classes() -> None:
    noise = TrackNoise.of([])
    assert noise.densities(np.empty(0, np.int32), np.empty(0)).shape == (0, 4)
    assert noise.start_rates(np.empty(0)).shape == (0, 4)

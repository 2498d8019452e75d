"""Motion of the picture between frames whose motion is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from gaussian_yolo_node.tracking import EgoMotion


def picture(seed: int = 0) -> np.ndarray:
    """A rich texture, uint8 [360, 960, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (36, 96, 3), np.uint8)
    return cv2.resize(coarse, (960, 360), interpolation=cv2.INTER_CUBIC)


def moved(image: np.ndarray, scale: float, shift: tuple[float, float]) -> np.ndarray:
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return cv2.warpAffine(image, matrix, (image.shape[1], image.shape[0]), borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, (0.0, 0.0)), (1.0, (14.0, -6.0)), (1.02, (-8.0, 3.0))])
def test_the_motion_is_found(scale: float, shift: tuple[float, float]) -> None:
    ego = EgoMotion()
    assert ego(picture()) is None
    motion = ego(moved(picture(), scale, shift))
    assert motion is not None
    np.testing.assert_allclose(motion.scale, scale, atol=0.003)
    np.testing.assert_allclose(motion.shift, shift, atol=1.5)


def test_objects_do_not_carry_the_picture_along() -> None:
    ego = EgoMotion()
    now = moved(picture(), 1.0, (10.0, 0.0))
    patch = picture(1)[100:260, 300:560]
    before = picture().copy()
    before[100:260, 300:560] = patch
    now[100:260, 260:520] = patch
    ego(before)
    motion = ego(now)
    assert motion is not None
    np.testing.assert_allclose(motion.shift, (10, 0), atol=1.5)


def test_nothing_to_follow() -> None:
    ego = EgoMotion()
    black = np.zeros((120, 160, 3), np.uint8)
    assert ego(black) is None and ego(black) is None
    assert ego(picture()) is None  # another size

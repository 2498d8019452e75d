"""Perturbation sequences of one image, after ImageNet-P (Hendrycks & Dietterich, ICLR 2019, section 4.2).

Each step changes the image slightly; a robust classifier keeps its prediction. The steps are this module's own, so flip
probabilities compare models with each other, but not with published figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.lab.robustness import RobustnessError

Image = NDArray[np.uint8]
# (image, frame index from 0, generator of the sequence) -> frame
Step = Callable[[Image, int, np.random.Generator], Image]

FRAMES = 30
_NOISE = 10.0  # standard deviation, of 255
_PHOTONS = 60.0  # at full brightness
_FLAKES = 5  # seed of their positions


def sequence(image: Image, name: str, rng: np.random.Generator, frames: int = FRAMES) -> list[Image]:
    """`frames` images uint8 `[H,W,3]` with an increasing perturbation of `PERTURBATIONS`.

    Raises:
        RobustnessError: unknown perturbation, or fewer than two frames.
    """
    check_perturbation(name)
    if frames < 2:
        raise RobustnessError(f"a sequence of {frames} frames has nothing to compare: give 2 or more")
    return [PERTURBATIONS[name](image, frame, rng) for frame in range(frames)]


def check_perturbation(name: str) -> None:
    """Raises RobustnessError for an unknown perturbation."""
    if name not in PERTURBATIONS:
        raise RobustnessError(f"there is no perturbation {name!r}: known are {', '.join(PERTURBATIONS)}")


def _rounded(values: NDArray[np.float64]) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _gaussian_noise(image: Image, frame: int, rng: np.random.Generator) -> Image:
    return _rounded(image + rng.normal(0, _NOISE, image.shape))


def _shot_noise(image: Image, frame: int, rng: np.random.Generator) -> Image:
    return _rounded(rng.poisson(image / 255 * _PHOTONS).astype(np.float64) * (255 / _PHOTONS))


def _motion_blur(image: Image, frame: int, rng: np.random.Generator) -> Image:
    """Blur of constant length whose direction turns by 6 degrees per frame."""
    reach = max(1.0, min(image.shape[:2]) * 0.03)  # px to either side
    way = np.array([math.cos(math.radians(6 * frame)), math.sin(math.radians(6 * frame))])
    half = math.ceil(reach) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    # Each point is spread bilinearly over four pixels, so that small kernels turn too.
    for x, y in half + np.linspace(-reach, reach, 8 * half + 1)[:, None] * way:
        column, row = int(x), int(y)
        right, down = x - column, y - row
        kernel[row : row + 2, column : column + 2] += np.outer([1 - down, down], [1 - right, right])
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), np.uint8)


def _zoom_blur(image: Image, frame: int, rng: np.random.Generator) -> Image:
    scales = 1 + np.arange(frame + 1) * 0.004
    return _rounded(np.mean([_warped(image, scale=float(scale)) for scale in scales], axis=0))


def _brightness(image: Image, frame: int, rng: np.random.Generator) -> Image:
    return _rounded(image.astype(np.float64) + 2.0 * frame)


def _snow(image: Image, frame: int, rng: np.random.Generator) -> Image:
    """The same flakes in all frames, moving down by 1 % of the height (at least 1 px) per frame."""
    height, width = image.shape[:2]
    flakes = np.random.default_rng(_FLAKES).random((height, width)) > 0.985
    snowed = image.copy()
    snowed[np.roll(flakes, frame * max(1, round(height * 0.01)), axis=0)] = 255
    return snowed


def _translate(image: Image, frame: int, rng: np.random.Generator) -> Image:
    return _warped(image, shift=image.shape[1] * 0.004 * frame)


def _rotate(image: Image, frame: int, rng: np.random.Generator) -> Image:
    return _warped(image, degrees=1.0 * frame)


def _tilt(image: Image, frame: int, rng: np.random.Generator) -> Image:
    """Rotate the image about its vertical axis (perspective)."""
    height, width = image.shape[:2]
    lift = height * 0.004 * frame
    before = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    after = np.array([[0, 0], [width, -lift], [width, height + lift], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(before, after)
    return np.asarray(cv2.warpPerspective(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT), np.uint8)


def _scale(image: Image, frame: int, rng: np.random.Generator) -> Image:
    return _warped(image, scale=1 + 0.01 * frame)


def _warped(image: Image, *, scale: float = 1.0, degrees: float = 0.0, shift: float = 0.0) -> Image:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale)
    matrix[0, 2] += shift
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT), np.uint8)


PERTURBATIONS: Mapping[str, Step] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "snow": _snow,
    "brightness": _brightness,
    "translate": _translate,
    "rotate": _rotate,
    "tilt": _tilt,
    "scale": _scale,
}

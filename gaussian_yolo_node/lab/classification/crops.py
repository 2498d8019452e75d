"""The part of a picture that a classifier sees: the centre when it is used, a random part when it learns."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
_ATTEMPTS = 10


def centre_crop(image: Image, size: int, fraction: float) -> Image:
    """The central square, `fraction` of the picture's shorter side, as `[size,size,3]`.

    Args:
        image: uint8 `[H,W,3]`, any size.
        size: side of the result, px.
        fraction: above 0, at most 1; ImageNet's custom is 0.875.
    """
    height, width = image.shape[:2]
    side = max(1, round(min(height, width) * fraction))
    return resized(image, ((height - side) // 2, (width - side) // 2, side, side), size)


def random_crop(image: Image, size: int, least_area: float, fraction: float, rng: np.random.Generator) -> Image:
    """A random part of the picture, stretched to `[size,size,3]` (Szegedy et al., "Going Deeper", CVPR 2015).

    Args:
        least_area: the part's share of the picture's area is uniform between this and 1; its width / height is 3/4 to
            4/3. 1 shows the centre, as a classifier that is used sees it.
        fraction: of that centre, see `centre_crop`.
    """
    height, width = image.shape[:2]
    if least_area >= 1:
        return centre_crop(image, size, fraction)
    for _ in range(_ATTEMPTS):
        area = height * width * rng.uniform(least_area, 1.0)
        aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < h <= height and 0 < w <= width:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            return resized(image, (top, left, h, w), size)
    return centre_crop(image, size, 1.0)


def resized(image: Image, part: tuple[int, int, int, int], size: int) -> Image:
    """The part (top, left, height, width; px) as `[size,size,3]`."""
    top, left, height, width = part
    cut = np.ascontiguousarray(image[top : top + height, left : left + width])
    if cut.shape[:2] == (size, size):
        return cut
    # Shrinking by single samples would alias.
    method = cv2.INTER_AREA if min(height, width) > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(cut, (size, size), interpolation=method), np.uint8)

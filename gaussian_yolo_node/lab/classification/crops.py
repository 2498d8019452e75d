"""Crops for a classifier: the centre at inference, a random crop in training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.uint8]
_ATTEMPTS = 10


def centre_crop(image: Image, size: int, fraction: float) -> Image:
    """The central square, `fraction` of the image's shorter side, resized to `[size,size,3]`.

    Args:
        image: uint8 `[H,W,3]`, any size.
        size: side of the result, px.
        fraction: above 0, at most 1; usually 0.875 on ImageNet.
    """
    height, width = image.shape[:2]
    side = max(1, round(min(height, width) * fraction))
    return resized(image, ((height - side) // 2, (width - side) // 2, side, side), size)


def random_crop(image: Image, size: int, least_area: float, fraction: float, rng: np.random.Generator) -> Image:
    """A random crop, resized to `[size,size,3]` (Szegedy et al., "Going Deeper", CVPR 2015).

    Args:
        least_area: the crop's share of the image's area is uniform between this value and 1; its aspect ratio
            (width / height) is 3/4 to 4/3. 1 takes the centre crop, as at inference.
        fraction: of the centre crop, see `centre_crop`.
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
    """The part (top, left, height, width; px) resized to `[size,size,3]`."""
    top, left, height, width = part
    cut = np.ascontiguousarray(image[top : top + height, left : left + width])
    if cut.shape[:2] == (size, size):
        return cut
    # Bilinear shrinking would alias.
    method = cv2.INTER_AREA if min(height, width) > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(cut, (size, size), interpolation=method), np.uint8)


def as_tensor(images: Sequence[Image]) -> Tensor:
    """Images of one size, uint8 `[H,W,3]` BGR, as uint8 `[N,3,H,W]` RGB."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(images)[..., ::-1])).permute(0, 3, 1, 2)

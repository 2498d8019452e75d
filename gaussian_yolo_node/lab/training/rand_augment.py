"""RandAugment (Cubuk et al., NeurIPS 2020), the noise of Noisy Student: random operations of one strength.

Magnitude 10 is the maximum of the paper's table of operations. Noisy Student uses up to 27 for EfficientNet-B7
(docs/paper_facts.md, section 4); bounded operations saturate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import GaussianYoloError

Image = NDArray[np.uint8]
# (image, strength relative to magnitude 10, generator) -> image of the same size
Operation = Callable[[Image, float, np.random.Generator], Image]

FULL_MAGNITUDE = 10.0
GREATEST_MAGNITUDE = 30.0
GREY = (128, 128, 128)


class RandAugmentError(GaussianYoloError):
    """An option of RandAugment is out of range; the message names it."""


def rand_augment(
    image: Image, rng: np.random.Generator, ops: int, magnitude: float, *, names: Sequence[str] | None = None
) -> Image:
    """The image after `ops` operations drawn with replacement, each of strength `magnitude`.

    Args:
        image: uint8 `[H,W,3]` BGR; not modified.
        ops: 0 returns the image itself.
        magnitude: 0..30.
        names: operations to draw from; default: all of `OPS`. `PHOTOMETRIC` keeps the geometry, as required for boxes.

    Raises:
        RandAugmentError: a number is out of range, or an operation is unknown.
    """
    chosen = tuple(OPS) if names is None else tuple(names)
    check_rand_augment(ops, magnitude, chosen)
    for index in rng.integers(len(chosen), size=ops) if ops else ():
        image = OPS[chosen[int(index)]](image, magnitude / FULL_MAGNITUDE, rng)
    return image


def check_rand_augment(ops: int, magnitude: float, names: Sequence[str] = ()) -> None:
    """Raises RandAugmentError for the first option out of range."""
    if ops < 0:
        raise RandAugmentError(f"the number of RandAugment's operations must be at least 0, not {ops}")
    if not 0 <= magnitude <= GREATEST_MAGNITUDE:
        raise RandAugmentError(f"RandAugment's magnitude must be between 0 and {GREATEST_MAGNITUDE:g}, not {magnitude}")
    unknown = [name for name in names if name not in OPS]
    if unknown:
        raise RandAugmentError(f"RandAugment has no operation {unknown[0]!r}; it has {', '.join(OPS)}")


def _signed(value: float, rng: np.random.Generator) -> float:
    return value if rng.random() < 0.5 else -value


def _lut(image: Image, table: NDArray[np.float64]) -> Image:
    """A table `[256]` or `[256,3]` applied to the channels."""
    rounded = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, rounded.reshape(1, 256, -1)), np.uint8)


def _auto_contrast(image: Image, strength: float, rng: np.random.Generator) -> Image:
    low, high = image.min((0, 1)).astype(float), image.max((0, 1)).astype(float)
    span = np.where(high > low, high - low, 1.0)
    stretched = (np.arange(256.0)[:, None] - low) * (255 / span)
    return _lut(image, np.where(high > low, stretched, np.arange(256.0)[:, None]))


def _equalize(image: Image, strength: float, rng: np.random.Generator) -> Image:
    return np.dstack([cv2.equalizeHist(np.ascontiguousarray(image[..., channel])) for channel in range(3)]).astype(
        np.uint8
    )


def _invert(image: Image, strength: float, rng: np.random.Generator) -> Image:
    return 255 - image


def _posterize(image: Image, strength: float, rng: np.random.Generator) -> Image:
    kept = max(1, 8 - int(4 * strength))  # bits
    return image & np.uint8(256 - (1 << (8 - kept)))


def _solarize(image: Image, strength: float, rng: np.random.Generator) -> Image:
    values = np.arange(256.0)
    return _lut(image, np.where(values < 256 * (1 - min(strength, 1.0)), values, 255 - values))


def _solarize_add(image: Image, strength: float, rng: np.random.Generator) -> Image:
    values = np.arange(256.0)
    return _lut(image, np.where(values < 128, values + 110 * strength, values))


def _factor(strength: float, rng: np.random.Generator) -> float:
    """A random factor; 1 is the identity, and the sign is never negative."""
    return max(0.05, 1 + _signed(0.9 * strength, rng))


def _blend(image: Image, other: NDArray[np.uint8], factor: float) -> Image:
    """Linear blend: `other` for factor 0, `image` for factor 1, extrapolation outside 0..1."""
    return np.asarray(cv2.addWeighted(image, factor, other, 1 - factor, 0), np.uint8)


def _colour(image: Image, strength: float, rng: np.random.Generator) -> Image:
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return _blend(image, grey.astype(np.uint8, copy=False), _factor(strength, rng))


def _contrast(image: Image, strength: float, rng: np.random.Generator) -> Image:
    mean = float(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).mean())
    return _lut(image, mean + (np.arange(256.0) - mean) * _factor(strength, rng))


def _brightness(image: Image, strength: float, rng: np.random.Generator) -> Image:
    return _lut(image, np.arange(256.0) * _factor(strength, rng))


_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def _sharpness(image: Image, strength: float, rng: np.random.Generator) -> Image:
    smooth = cv2.filter2D(image, -1, _SMOOTH, borderType=cv2.BORDER_REPLICATE)
    return _blend(image, smooth.astype(np.uint8, copy=False), _factor(strength, rng))


def _cutout(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """A grey square (DeVries & Taylor, 2017); 40 px of 224 at magnitude 10."""
    height, width = image.shape[:2]
    half = round(min(height, width) * 0.18 * strength / 2)
    y, x = int(rng.integers(height)), int(rng.integers(width))
    cut = image.copy()
    cut[max(0, y - half) : y + half, max(0, x - half) : x + half] = GREY
    return cut


def _moved(image: Image, matrix: NDArray[np.float64]) -> Image:
    height, width = image.shape[:2]
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderValue=GREY), np.uint8)


def _rotate(image: Image, strength: float, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    centre = ((width - 1) / 2, (height - 1) / 2)
    return _moved(image, np.asarray(cv2.getRotationMatrix2D(centre, _signed(30 * strength, rng), 1.0), np.float64))


def _affine(entry: tuple[int, int], greatest: float) -> Operation:
    """An operation that sets one entry of the matrix, at most to `greatest`: a shear, or a shift by that share of the
    side (100 px of 224 at magnitude 10)."""

    def moved(image: Image, strength: float, rng: np.random.Generator) -> Image:
        row, column = entry
        matrix = np.eye(2, 3)
        matrix[entry] = _signed(greatest * strength * (image.shape[1 - row] if column == 2 else 1), rng)
        return _moved(image, matrix)

    return moved


_PHOTOMETRIC: Mapping[str, Operation] = {
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "invert": _invert,
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "colour": _colour,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "cutout": _cutout,
}
OPS: Mapping[str, Operation] = {
    **_PHOTOMETRIC,
    "rotate": _rotate,
    "shear_x": _affine((0, 1), 0.3),
    "shear_y": _affine((1, 0), 0.3),
    "translate_x": _affine((0, 2), 0.45),
    "translate_y": _affine((1, 2), 0.45),
}
# Operations that do not move objects.
PHOTOMETRIC: tuple[str, ...] = tuple(_PHOTOMETRIC)

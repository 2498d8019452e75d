"""Inspect image files, and find duplicate and near-duplicate images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.labels import DatasetError, read_image

T = TypeVar("T")

_SIDE = 16  # side of the difference hash, bits
# Maximum number of different bits, of 256, between two views of one scene. Consecutive frames of a KITTI drive differ
# in about 33 bits, frames of different drives in at least 64.
NEAR_BITS = 40
# Grey levels; with less contrast, noise determines the hash.
_LEAST_CONTRAST = 4.0
_BATCH = 256
_ROWS = 256  # compared at once with all others: 100 MB for 100,000 of them


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """Properties of one image file.

    Attributes:
        size: (height, width) in px; None if the file cannot be read.
        digest: hash of the file's bytes.
        look: difference hash, float32 `[256]` of -1 and 1 (Krawetz, "Kind of Like That", 2013); None for an image
            without contrast.
    """

    size: tuple[int, int] | None
    error: str = ""
    digest: bytes = b""
    look: NDArray[np.float32] | None = None


def inspect_images(items: Iterable[tuple[T, Path | None]]) -> Iterator[tuple[T, ImageFacts | None]]:
    """Each item with the properties of its image, in order; decodes on all cores."""
    iterator = iter(items)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        while batch := list(islice(iterator, _BATCH)):
            facts = pool.map(lambda path: None if path is None else inspect(path), [path for _, path in batch])
            yield from zip((item for item, _ in batch), facts, strict=True)


def inspect(path: Path) -> ImageFacts:
    """Decode one image; an unreadable file has an `error`."""
    try:
        digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
        image = read_image(path)
    except OSError as error:
        return ImageFacts(None, f"is not a readable image ({error.strerror}): replace or remove it")
    except DatasetError as error:
        return ImageFacts(None, str(error).removeprefix(f"{path} "))
    return ImageFacts((image.shape[0], image.shape[1]), "", digest, difference_hash(image))


def difference_hash(image: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """`look` of an image uint8 `[H,W,3]`: whether each of 16x16 cells is brighter than its left neighbour."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if small.std() < _LEAST_CONTRAST:
        return None
    return np.where(small[:, 1:] > small[:, :-1], 1, -1).astype(np.float32).ravel()


def nearest_looks(
    looks: NDArray[np.float32], others: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each of `looks` `[N,256]`, the most similar of `others` `[M,256]`: indices `[N]` and different bits `[N]`."""
    nearest, bits = np.empty(len(looks), np.int64), np.empty(len(looks), np.int64)
    for start in range(0, len(looks), _ROWS):
        rows = slice(start, start + _ROWS)
        products = looks[rows] @ others.T
        nearest[rows], bits[rows] = products.argmax(1), (looks.shape[1] - products.max(1)) / 2
    return nearest, bits

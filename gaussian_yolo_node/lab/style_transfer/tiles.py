"""Process large images in overlapping tiles with blending."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gaussian_yolo_node.errors import SettingError

LEAST_TILE = 64  # px; smaller tiles would be mostly overlap, with too little context for the deeper layers


@dataclass(frozen=True)
class Tile:
    """A part of an image, px; right and bottom are exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    def crop(self, image: Tensor) -> Tensor:
        """This part of `[..,H,W]`, a view."""
        return image[..., self.top : self.bottom, self.left : self.right]


def tile_grid(height: int, width: int, tile: int, overlap: int) -> list[Tile]:
    """Evenly spaced tiles that cover an image, row by row, each of `tile` px or the image's side if smaller.

    Args:
        tile: side, px; 0 uses the whole image as one tile.
        overlap: minimum overlap of neighbours, px.

    Raises:
        SettingError: invalid tile or overlap.
    """
    if tile == 0:
        return [Tile(0, 0, height, width)]
    if tile < LEAST_TILE:
        raise SettingError(f"tiles of {tile} px are too small: take {LEAST_TILE} or more, or 0 for none")
    if not 0 <= overlap <= tile // 2:
        raise SettingError(f"an overlap of {overlap} px is not in 0..{tile // 2}, half of a tile")
    return [
        Tile(top, left, top + min(tile, height), left + min(tile, width))
        for top in _starts(height, tile, overlap)
        for left in _starts(width, tile, overlap)
    ]


def in_tiles(image: Tensor, tile: int, overlap: int, process: Callable[[Tile], Tensor]) -> Tensor:
    """An image assembled from the outputs of `process` for each tile.

    In an overlap the weights fall linearly towards the tile's edge and sum to 1, so equal tiles are unchanged and
    different tiles blend without a seam.

    Args:
        image: `[1,C,H,W]`, for its size and type.
        tile, overlap: see `tile_grid`.
        process: returns `[1,C,h,w]` of a tile's size.
    """
    height, width = image.shape[-2:]
    total, weights = torch.zeros_like(image), image.new_zeros(height, width)
    for part in tile_grid(height, width, tile, overlap):
        weight = torch.outer(
            _ramp(part.top, part.bottom, height, overlap, image), _ramp(part.left, part.right, width, overlap, image)
        )
        part.crop(total).add_(process(part) * weight)
        part.crop(weights).add_(weight)
    return total / weights


def _starts(length: int, tile: int, overlap: int) -> Iterator[int]:
    if length <= tile:
        yield 0
        return
    # The minimum number, evenly spaced, so that no sliver remains at the end.
    gaps = -(-(length - tile) // (tile - overlap))
    for index in range(gaps + 1):
        yield index * (length - tile) // gaps


def _ramp(start: int, end: int, length: int, overlap: int, like: Tensor) -> Tensor:
    """Weights along one side of a tile: falling towards neighbours, constant towards the image's edge."""
    at = torch.arange(end - start, dtype=like.dtype, device=like.device) + 0.5
    weights = torch.ones_like(at)
    if overlap and start > 0:
        weights = torch.minimum(weights, at / overlap)
    if overlap and end < length:
        weights = torch.minimum(weights, (end - start - at) / overlap)
    return weights

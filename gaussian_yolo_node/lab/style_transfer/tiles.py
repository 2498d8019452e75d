"""Large pictures in overlapping tiles, blended where they overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gaussian_yolo_node.errors import SettingError

LEAST_TILE = 64  # px; below, most of a tile would be overlap and the deeper layers see next to nothing


@dataclass(frozen=True)
class Tile:
    """A part of a picture, px; right and bottom excluded."""

    top: int
    left: int
    bottom: int
    right: int

    def crop(self, image: Tensor) -> Tensor:
        """This part of `[..,H,W]`, a view."""
        return image[..., self.top : self.bottom, self.left : self.right]


def tile_grid(height: int, width: int, tile: int, overlap: int) -> list[Tile]:
    """Tiles that cover a picture, row by row, evenly spread, each of `tile` px or the picture's side if that is less.

    Args:
        tile: side, px; 0 takes the whole picture as one.
        overlap: least that neighbours share, px.

    Raises:
        SettingError: tile or overlap is impossible.
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
    """A picture put together from what `process` gives for each tile.

    Where tiles overlap, each counts the less the nearer its edge is (linearly over the overlap), and the weights sum
    to 1: tiles that agree come out as they are, tiles that differ fade into each other without a seam.

    Args:
        image: `[1,C,H,W]`, for its size and type.
        tile, overlap: as for `tile_grid`.
        process: gives `[1,C,h,w]` of a tile's size.
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
    # As few as will do, then spread evenly, so that no sliver is left at the end.
    gaps = -(-(length - tile) // (tile - overlap))
    for index in range(gaps + 1):
        yield index * (length - tile) // gaps


def _ramp(start: int, end: int, length: int, overlap: int, like: Tensor) -> Tensor:
    """Weights along one side of a tile: falling towards neighbours, not towards the picture's own edge."""
    at = torch.arange(end - start, dtype=like.dtype, device=like.device) + 0.5
    weights = torch.ones_like(at)
    if overlap and start > 0:
        weights = torch.minimum(weights, at / overlap)
    if overlap and end < length:
        weights = torch.minimum(weights, (end - start - at) / overlap)
    return weights

"""Tiles: coverage, and blending without seams."""

from __future__ import annotations

import itertools

import pytest

torch = pytest.importorskip("torch")

from gaussian_yolo_node.errors import SettingError  # noqa: E402
from gaussian_yolo_node.lab.style_transfer.tiles import Tile, in_tiles, tile_grid  # noqa: E402

CASES = [  # height, width, tile, overlap
    pytest.param(100, 300, 0, 0, id="no tiles"),
    pytest.param(40, 50, 64, 16, id="smaller than a tile"),
    pytest.param(64, 64, 64, 16, id="one tile exactly"),
    pytest.param(65, 64, 64, 16, id="one row more"),
    pytest.param(64, 400, 64, 0, id="one row, no overlap, a rest"),
    pytest.param(128, 192, 64, 0, id="tiles that fit, no overlap"),
    pytest.param(150, 333, 64, 32, id="half overlaps"),
    pytest.param(375, 1242, 256, 64, id="KITTI"),
]


@pytest.mark.parametrize(("height", "width", "tile", "overlap"), CASES)
def test_tiles_cover_the_picture_and_overlap(height: int, width: int, tile: int, overlap: int) -> None:
    tiles = tile_grid(height, width, tile, overlap)
    covered = torch.zeros(height, width)
    for part in tiles:
        assert (part.bottom - part.top, part.right - part.left) == (
            (min(tile, height), min(tile, width)) if tile else (height, width)
        )
        part.crop(covered).add_(1)
    assert covered.min() >= 1
    for row in {part.top for part in tiles}:
        lefts = [(part.left, part.right) for part in tiles if part.top == row]
        assert lefts[0][0] == 0 and lefts[-1][1] == width
        assert all(end - start >= overlap for (_, end), (start, _) in itertools.pairwise(lefts))


@pytest.mark.parametrize(("height", "width", "tile", "overlap"), CASES)
def test_identity_and_constants_come_out_as_they_are(height: int, width: int, tile: int, overlap: int) -> None:
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    same = in_tiles(image, tile, overlap, lambda part: part.crop(image))
    torch.testing.assert_close(same, image, rtol=1e-6, atol=1e-6)
    grey = in_tiles(image, tile, overlap, lambda part: torch.full_like(part.crop(image), 0.25))
    torch.testing.assert_close(grey, torch.full_like(image, 0.25), rtol=1e-6, atol=1e-6)


def test_tiles_that_differ_fade_into_each_other() -> None:
    image = torch.zeros(1, 1, 64, 112)

    def by_side(part: Tile) -> torch.Tensor:
        return torch.full_like(part.crop(image), float(part.left > 0))

    blended = in_tiles(image, 64, 16, by_side)[0, 0]
    assert (blended == blended[0]).all()  # columns only
    row = blended[0]
    assert row[:48].eq(0).all() and row[64:].eq(1).all()
    steps = row[47:65].diff()
    torch.testing.assert_close(steps[1:-1], torch.full((15,), 1 / 16), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("tile", "overlap", "message"),
    [(32, 0, "take 64 or more"), (-1, 0, "take 64 or more"), (64, 33, "not in 0..32"), (64, -1, "not in 0..32")],
)
def test_impossible_tiles(tile: int, overlap: int, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        tile_grid(200, 200, tile, overlap)

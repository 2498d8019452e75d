"""The fitting canvas against an exhaustive search over all canvases."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from gaussian_yolo_node.detector.canvas import MULTIPLE, fitting_canvas

LIKE = (384, 1248)
FRAMES = {
    "1242x375": (375, 1242),
    "1280x720": (720, 1280),
    "1920x1080": (1080, 1920),
    "640x480": (480, 640),
    "720x1280": (1280, 720),
    "1x1": (1, 1),
    "32x32": (32, 32),
    "very wide": (10, 9000),
    "a line": (1, 5000),
    "a column": (5000, 1),
    **{
        f"{width}x{height}": (int(height), int(width))
        for height, width in np.random.default_rng(0).integers(1, 2500, (12, 2))
    },
}


def shown(frame: tuple[int, int], canvas: tuple[int, int]) -> Fraction:
    """Scale of a frame on a canvas: canvas px per frame px."""
    return min(Fraction(canvas[0], frame[0]), Fraction(canvas[1], frame[1]))


def area(canvas: tuple[int, int]) -> int:
    return canvas[0] * canvas[1]


def all_canvases(like: tuple[int, int], multiple: int) -> list[tuple[int, int]]:
    cells = max(1, area(like) // multiple**2)
    return [
        (rows * multiple, columns * multiple)
        for rows in range(1, cells + 1)
        for columns in range(1, cells // rows + 1)
    ]  # fmt: skip


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize(
    ("like", "multiple"), [(LIKE, 32), ((320, 320), 32), ((64, 96), 32), ((32, 32), 32), ((384, 640), 64)]
)
def test_no_canvas_shows_the_frame_larger_and_none_of_fewer_pixels_as_large(
    frame: tuple[int, int], like: tuple[int, int], multiple: int
) -> None:
    found = fitting_canvas(frame, like, multiple)
    assert all(side > 0 and side % multiple == 0 for side in found)
    assert area(found) <= area(like)
    every = all_canvases(like, multiple)
    best = max(shown(frame, canvas) for canvas in every)
    assert shown(frame, found) == best
    assert area(found) == min(area(canvas) for canvas in every if shown(frame, canvas) == best)


@pytest.mark.parametrize(
    ("frame", "canvas"),
    [
        ((375, 1242), (384, 1248)),  # the recipe's canvas is unchanged
        ((720, 1280), (512, 928)),
        ((1080, 1920), (512, 928)),
        ((480, 640), (576, 768)),
        ((1280, 720), (928, 512)),
        ((1, 1), (672, 672)),
    ],
)
def test_canvases_of_usual_cameras(frame: tuple[int, int], canvas: tuple[int, int]) -> None:
    assert fitting_canvas(frame, LIKE) == canvas


@pytest.mark.parametrize("like", [(1, 1), (20, 30), (31, 33)])
def test_there_is_always_a_cell(like: tuple[int, int]) -> None:
    assert fitting_canvas((480, 640), like) == (MULTIPLE, MULTIPLE)

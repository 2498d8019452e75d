"""The fitting canvas against an exhaustive search over all canvases."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from gaussian_yolo_node.detector.canvas import MOST_PADDING, MULTIPLE, Roi, fitting_canvas, nearest_canvas
from gaussian_yolo_node.detector.letterbox import Letterbox
from gaussian_yolo_node.errors import SettingError

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


def padding(frame: tuple[int, int], canvas: tuple[int, int]) -> Fraction:
    """Share of a canvas without image."""
    return 1 - shown(frame, canvas) ** 2 * area(frame) / area(canvas)


def best_canvas(frame: tuple[int, int], like: tuple[int, int], multiple: int) -> tuple[Fraction, int]:
    """Scale and area of the best of all canvases."""
    cells = max(1, area(like) // multiple**2)
    every = [
        (rows * multiple, columns * multiple) for rows in range(1, cells + 1) for columns in range(1, cells // rows + 1)
    ]
    full = [canvas for canvas in every if padding(frame, canvas) <= MOST_PADDING] or every
    scale = max(shown(frame, canvas) for canvas in full)
    return scale, min(area(canvas) for canvas in full if shown(frame, canvas) == scale)


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize(
    ("like", "multiple"), [(LIKE, 32), ((320, 320), 32), ((64, 96), 32), ((32, 32), 32), ((384, 640), 64)]
)
def test_no_canvas_with_little_padding_shows_the_frame_larger_and_none_of_fewer_pixels_as_large(
    frame: tuple[int, int], like: tuple[int, int], multiple: int
) -> None:
    canvas = fitting_canvas(frame, like, multiple)
    assert all(side > 0 and side % multiple == 0 for side in canvas)
    assert area(canvas) <= area(like)
    assert (shown(frame, canvas), area(canvas)) == best_canvas(frame, like, multiple)


@pytest.mark.parametrize("like", [(192, 640), (256, 832), (320, 1024), LIKE, (448, 1472), (640, 2112)])
@pytest.mark.parametrize("name", ["1242x375", "1280x720", "1920x1080", "640x480", "720x1280"])
def test_at_most_a_twentieth_of_the_canvas_is_padding(name: str, like: tuple[int, int]) -> None:
    canvas = fitting_canvas(FRAMES[name], like)
    scaled = Letterbox.fit(FRAMES[name], canvas).scaled_size
    assert 1 - area(scaled) / area(canvas) < 0.05


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


@pytest.mark.parametrize(
    ("text", "roi", "pixels"),
    [
        ("", Roi(), (0, 0, 1000, 500)),
        ("0,0.3,1,0.9", Roi(0, 0.3, 1, 0.9), (0, 150, 1000, 450)),
        (" 0.25, 0, 0.5, 1 ", Roi(0.25, 0, 0.5, 1), (250, 0, 500, 500)),
        ("0.9999,0.9999,1,1", Roi(0.9999, 0.9999, 1, 1), (999, 499, 1000, 500)),
        ("0,0,0.0001,0.0001", Roi(0, 0, 0.0001, 0.0001), (0, 0, 1, 1)),
    ],
)
def test_a_region_in_pixels(text: str, roi: Roi, pixels: tuple[int, ...]) -> None:
    assert Roi.parse(text) == roi
    assert roi.pixels((500, 1000)) == pixels
    assert Roi.parse(str(roi)) == roi


@pytest.mark.parametrize(
    "text", ["0,0,1", "a,b,c,d", "0 0 1 1", "0,0,1,1.2", "-0.1,0,1,1", "0.5,0,0.5,1", "0,1,1,0", "nan,0,1,1"]
)
def test_a_region_outside_the_frame_or_without_area_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="fractions of the frame"):
        Roi.parse(text)


@pytest.mark.parametrize(
    ("size", "canvases", "nearest"),
    [
        ((64, 96), [(64, 96)], (64, 96)),
        ((64, 96), [(640, 960), (64, 96), (32, 96)], (64, 96)),
        ((320, 1024), [(192, 640)], (192, 640)),
        ((416, 768), [(192, 640), (320, 1024), (384, 1248)], (320, 1024)),  # another shape, as many pixels
        ((416, 768), [(320, 1024), (352, 640)], (352, 640)),  # that shape, fewer pixels
        ((64, 64), [(64, 128), (128, 64)], (64, 128)),  # a tie
    ],
)
def test_the_nearest_of_some_canvases(
    size: tuple[int, int], canvases: list[tuple[int, int]], nearest: tuple[int, int]
) -> None:
    assert nearest_canvas(size, canvases) == nearest

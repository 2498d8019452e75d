"""Which canvas shows a frame largest at a given computing cost, and which part of the frame it shows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from gaussian_yolo_node.errors import SettingError

MULTIPLE = 32  # px; the network's coarsest stride, which must divide both sides of a canvas
MOST_PADDING = 0.05  # share of the canvas; padding costs as much computing as image


def fitting_canvas(frame_size: tuple[int, int], like: tuple[int, int], multiple: int = MULTIPLE) -> tuple[int, int]:
    """Find the canvas that shows a frame largest without more pixels than a reference canvas.

    Canvases with more than `MOST_PADDING` of padding are taken only if there is no other.

    Args:
        frame_size: (height, width) of the frame in px.
        like: (height, width) of the reference canvas in px.
        multiple: divisor of both sides in px.

    Returns:
        (height, width) in px. If several canvases show the frame equally large, the smallest of them.
    """
    height, width = frame_size
    cells = max(1, like[0] * like[1] // multiple**2)

    def rank(canvas: tuple[int, int]) -> tuple[bool, float, int]:
        rows, columns = canvas
        scale = min(rows / height, columns / width)
        padding = 1 - scale**2 * height * width / (rows * columns)
        return padding <= MOST_PADDING, scale, -rows * columns

    candidates = [
        (rows, min(columns, cells // rows))
        for rows in range(1, cells + 1)
        for columns in (max(1, rows * width // height), -(-rows * width // height))
    ]
    rows, columns = max(candidates, key=rank)
    return rows * multiple, columns * multiple


def nearest_canvas(size: tuple[int, int], canvases: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Of some canvases, at least one, that with nearly the height and width of a canvas (height, width) in px."""

    def distance(canvas: tuple[int, int]) -> float:
        return math.hypot(math.log(canvas[0] / size[0]), math.log(canvas[1] / size[1]))

    return min(canvases, key=distance)


@dataclass(frozen=True)
class Roi:
    """The part of every frame that is searched, in fractions of its width and height.

    Raises:
        SettingError: it is empty, or lies outside the frame.
    """

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1):
            raise SettingError(
                f"roi is {self}; give left,top,right,bottom as fractions of the frame from 0 to 1, such as 0,0.3,1,0.9"
            )

    @classmethod
    def parse(cls, text: str) -> Roi:
        """From "left,top,right,bottom"; an empty text is the whole frame.

        Raises:
            SettingError: the text is not four such numbers.
        """
        try:
            sides = [float(side) for side in text.split(",")] if text.strip() else [0.0, 0.0, 1.0, 1.0]
            left, top, right, bottom = sides
        except ValueError:
            raise SettingError(
                f"roi is {text!r}; give left,top,right,bottom as fractions of the frame, such as 0,0.3,1,0.9"
            ) from None
        return cls(left, top, right, bottom)

    def pixels(self, frame_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in px of a frame of (height, width); at least one pixel."""
        height, width = frame_size
        left, top = min(round(self.left * width), width - 1), min(round(self.top * height), height - 1)
        return left, top, max(left + 1, round(self.right * width)), max(top + 1, round(self.bottom * height))

    def __str__(self) -> str:
        return f"{self.left:g},{self.top:g},{self.right:g},{self.bottom:g}"

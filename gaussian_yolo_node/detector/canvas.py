"""Which canvas suits a frame: the one that it fills best, for as much computing as another."""

from __future__ import annotations

MULTIPLE = 32  # of which a canvas's sides are multiples: the network's coarsest stride, px


def fitting_canvas(frame_size: tuple[int, int], like: tuple[int, int], multiple: int = MULTIPLE) -> tuple[int, int]:
    """The canvas, of no more pixels than another, on which a frame is largest.

    Args:
        frame_size: height and width of the frame, px.
        like: height and width of a canvas that costs what this one may, px.
        multiple: of which both sides are multiples, px.

    Returns:
        height and width, px. Of canvases that show the frame as large, the smallest.
    """
    height, width = frame_size
    cells = max(1, like[0] * like[1] // multiple**2)

    def size(rows: int) -> tuple[int, int]:
        # No wider than the frame becomes at that height, and no higher than at that width.
        columns = min(cells // rows, -(-rows * width // height))
        return min(rows, -(-columns * height // width)) * multiple, columns * multiple

    def rank(canvas: tuple[int, int]) -> tuple[float, int]:
        return min(canvas[0] / height, canvas[1] / width), -canvas[0] * canvas[1]

    return max(map(size, range(1, cells + 1)), key=rank)

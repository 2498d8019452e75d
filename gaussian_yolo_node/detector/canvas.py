"""The canvas size that shows a frame largest at a given computing cost."""

from __future__ import annotations

MULTIPLE = 32  # px; the network's coarsest stride, which must divide both sides of a canvas


def fitting_canvas(frame_size: tuple[int, int], like: tuple[int, int], multiple: int = MULTIPLE) -> tuple[int, int]:
    """Find the canvas that shows a frame largest without more pixels than a reference canvas.

    Args:
        frame_size: (height, width) of the frame in px.
        like: (height, width) of the reference canvas in px.
        multiple: divisor of both sides in px.

    Returns:
        (height, width) in px. If several canvases show the frame equally large, the smallest of them.
    """
    height, width = frame_size
    cells = max(1, like[0] * like[1] // multiple**2)

    def size(rows: int) -> tuple[int, int]:
        # A canvas wider or higher than the scaled frame would only add padding.
        columns = min(cells // rows, -(-rows * width // height))
        return min(rows, -(-columns * height // width)) * multiple, columns * multiple

    def rank(canvas: tuple[int, int]) -> tuple[float, int]:
        return min(canvas[0] / height, canvas[1] / width), -canvas[0] * canvas[1]

    return max(map(size, range(1, cells + 1)), key=rank)

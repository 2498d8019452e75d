"""The frame type that every source delivers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Frame:
    """One image and its time stamp.

    Attributes:
        image: uint8 [H, W, 3], BGR.
        stamp: time at which the frame left the camera, in s since the epoch (the clock of `time.time()`).
        index: position in the source, from 0, including skipped frames.
        name: the file name for a frame of an image folder, else `str(index)`.
    """

    image: NDArray[np.uint8]
    stamp: float
    index: int
    name: str

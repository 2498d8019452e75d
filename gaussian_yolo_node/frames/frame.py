"""What every source delivers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Frame:
    """One image and when it was taken.

    Attributes:
        image: uint8 [H, W, 3], BGR.
        stamp: when the frame left the camera, in s since the epoch (the clock of `time.time()`).
        index: position in the source, from 0; frames that were skipped count.
        name: the file's name for a frame of an image folder, else `str(index)`.
    """

    image: NDArray[np.uint8]
    stamp: float
    index: int
    name: str

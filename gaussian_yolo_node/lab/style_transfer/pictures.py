"""Write images to files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.file_names import IMAGE_SUFFIXES, JPEG_SUFFIXES
from gaussian_yolo_node.files import write_whole

Image = NDArray[np.uint8]
JPEG_QUALITY = 95


class FolderError(GaussianYoloError):
    """A folder cannot be read or written."""


def encode(path: Path, image: Image) -> bytes:
    """The image encoded in the path's format. FolderError if that is not an image format."""
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise FolderError(f"{path} is no name of a picture: end it with {', '.join(IMAGE_SUFFIXES)}")
    if suffix in JPEG_SUFFIXES:
        return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
    pixels = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if suffix == ".pgm" else image  # .pgm has no colours
    return bytes(cv2.imencode(suffix, pixels)[1].tobytes())


def write_picture(path: Path, image: Image) -> None:
    """Write an image atomically. Raises FolderError or WriteError on failure."""
    write_whole(path, encode(path, image))

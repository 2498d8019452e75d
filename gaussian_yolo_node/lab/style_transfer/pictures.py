"""Pictures as files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.labels.images import IMAGE_SUFFIXES

Image = NDArray[np.uint8]
JPEG_QUALITY = 95


class FolderError(GaussianYoloError):
    """A folder cannot be read, or not be written to."""


def encode(path: Path, image: Image) -> bytes:
    """The picture as a file of the path's kind. FolderError where that is none of images."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise FolderError(f"{path} is no name of a picture: end it with {', '.join(IMAGE_SUFFIXES)}")
    suffix = path.suffix.lower()
    options = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return bytes(cv2.imencode(suffix, image, options)[1].tobytes())


def write_picture(path: Path, image: Image) -> None:
    """Write a picture, whole or not at all. FolderError or WriteError where that is not possible."""
    write_whole(path, encode(path, image))


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

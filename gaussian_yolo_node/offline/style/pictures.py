"""Files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.datasets.images import IMAGE_SUFFIXES
from gaussian_yolo_node.errors import GaussianYoloError

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
    """Write a picture, whole or not at all. FolderError where that is not possible."""
    _write_or_tell(path, encode(path, image))


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all. FolderError where that is not possible."""
    _write_or_tell(path, text.encode())


def _write_or_tell(path: Path, data: bytes) -> None:
    try:
        write_whole(path, data)
    except OSError as error:
        raise FolderError(f"{path} cannot be written: {error.strerror}") from error


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise

"""Cache of decoded, downscaled frames on disk, because training reads each image many times."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import struct
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.file_names import hashable
from gaussian_yolo_node.labels import DatasetError, read_image

_log = logging.getLogger(__name__)

# One file per frame: magic, height and width, height and width of the source image, CRC-32 of the pixels; then the
# pixels, uint8 [H,W,3] BGR.
_HEADER = struct.Struct("<8s5I4x")
_MAGIC = b"GYFRAME1"
# Reserved free space; on a full disk checkpoints could not be written.
RESERVE_BYTES = 1 << 30


class FrameCache:
    """A folder of frames, safe for concurrent processes.

    The key of a frame is the path, size and modification time of its image, and `fit`. A changed image, or one with a
    damaged cache file, is decoded again. If the folder is not writable, this is logged once and images are decoded
    each time.

    Args:
        folder: created if missing; may be removed between runs.
        fit: maximum height and width of frames, px; larger ones are downscaled. None keeps the original size.

    Raises:
        DatasetError: the folder cannot be created.
    """

    def __init__(self, folder: Path, fit: tuple[int, int] | None = None) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatasetError(f"cache folder {folder} cannot be made: {error.strerror}") from error
        self.folder = folder
        self.fit = fit
        self._writes = True
        self._checked: set[str] = set()

    def read(self, path: Path) -> tuple[NDArray[np.uint8], tuple[float, float]]:
        """A read-only frame, uint8 `[H,W,3]` BGR, and the ratios of its width and height to the image's.

        Raises:
            DatasetError: the image is missing or corrupt.
        """
        try:
            status = path.stat()
        except OSError as error:
            raise DatasetError(f"{path} is not a readable image ({error.strerror}): replace or remove it") from error
        key = f"{path.resolve()}\n{status.st_mtime_ns}\n{status.st_size}\n{self.fit}"
        name = hashlib.blake2b(hashable(key), digest_size=16).hexdigest()
        # 256 subfolders, because some file systems are slow with 100,000 files in a folder.
        cached = self.folder / name[:2] / f"{name[2:]}.frame"
        found = self._load(cached)
        if found is not None:
            return found
        image = read_image(path)
        frame = self._shrunk(image)
        size = (image.shape[0], image.shape[1])
        if self._writes:
            self._store(cached, frame, size)
        frame.flags.writeable = False  # like the memory-mapped frame
        return frame, (frame.shape[1] / size[1], frame.shape[0] / size[0])

    def _shrunk(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.fit is None:
            return image
        scale = min(self.fit[0] / image.shape[0], self.fit[1] / image.shape[1])
        if scale >= 1:
            return image
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)

    def _load(self, cached: Path) -> tuple[NDArray[np.uint8], tuple[float, float]] | None:
        """The frame in a file; None if the file is missing or damaged."""
        try:
            with cached.open("rb") as file:
                magic, height, width, full_height, full_width, checksum = _HEADER.unpack(file.read(_HEADER.size))
                count = height * width * 3
                if magic != _MAGIC or not count or os.fstat(file.fileno()).st_size != _HEADER.size + count:
                    return None
                frame = np.memmap(file, np.uint8, "r", _HEADER.size, (height, width, 3))
        except (OSError, struct.error):
            return None
        if cached.name not in self._checked:  # once per process
            if zlib.crc32(frame.data) != checksum:
                return None
            self._checked.add(cached.name)
        return frame, (width / full_width, height / full_height)

    def _store(self, cached: Path, frame: NDArray[np.uint8], size: tuple[int, int]) -> None:
        pixels = np.ascontiguousarray(frame)
        header = _HEADER.pack(_MAGIC, *frame.shape[:2], *size, zlib.crc32(pixels.data))
        try:
            if shutil.disk_usage(self.folder).free < RESERVE_BYTES + pixels.nbytes:
                self._stop_writing(f"less than {RESERVE_BYTES >> 20} MiB are free there")
                return
            cached.parent.mkdir(exist_ok=True)
            # Written atomically, for readers and other writers of the same frame.
            descriptor, part = tempfile.mkstemp(".part", dir=cached.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(header)
                    file.write(pixels.data)
                os.replace(part, cached)
            except BaseException:
                Path(part).unlink(missing_ok=True)
                raise
        except OSError as error:
            self._stop_writing(error.strerror or str(error))

    def _stop_writing(self, reason: str) -> None:
        self._writes = False
        _log.warning("the frame cache %s takes no more frames (%s): images are decoded each time", self.folder, reason)

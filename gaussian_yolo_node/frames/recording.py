"""Output files of a run: detections as JSON, annotated frames as a video."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import prepare_target
from gaussian_yolo_node.frames.capture import quiet_opencv

# What OpenCV's wheels can encode; browsers play only the second.
_CODECS = {".mp4": "mp4v", ".webm": "VP80"}


class RecordingError(GaussianYoloError):
    """A result file cannot be written."""


def detection_record(
    frame: str | int, image_size: tuple[int, int], detections: Detections, classes: tuple[str, ...]
) -> dict[str, Any]:
    """The JSON record of one frame.

    Args:
        frame: file name, or index in a video or stream.
        image_size: (height, width) in px.
        detections: in frame px.
        classes: names, indexed by class id.

    Returns:
        `{"frame", "width", "height", "detections": [{"class", "score", "box": [x1, y1, x2, y2], "sigma": [cx, cy, w,
        h]}]}`, boxes and standard deviations in px.
    """
    return {
        "frame": frame,
        "width": image_size[1],
        "height": image_size[0],
        "detections": [
            {
                "class": classes[class_id],
                "score": round(float(score), 6),
                "box": [round(float(value), 3) for value in box],
                "sigma": [round(float(value), 3) for value in sigma],
            }
            for class_id, score, box, sigma in zip(
                detections.class_ids, detections.scores, detections.boxes, detections.sigmas, strict=True
            )
        ],
    }


class JsonArrayFile:
    """A JSON array that grows by one record at a time and is valid after each, however the run ends."""

    _END = b"\n]\n"

    def __init__(self, path: Path) -> None:
        """Create the file with an empty array.

        Raises:
            RecordingError: the file cannot be written.
        """
        prepare_target(path, RecordingError)
        self._path = path
        self._empty = True
        try:
            self._file: BinaryIO = path.open("wb", buffering=0)
            self._file.write(b"[" + self._END)
        except OSError as error:
            raise RecordingError(f"{path} cannot be written: {error.strerror}") from error

    def append(self, record: dict[str, Any]) -> None:
        """Add one record.

        Raises:
            RecordingError: the file cannot be written; earlier records stay.
        """
        text = json.dumps(record, allow_nan=False).encode()
        separator = b"\n" if self._empty else b",\n"
        try:
            self._file.seek(-len(self._END), 2)
            # One unbuffered write, so that the closing bracket is never missing.
            self._file.write(separator + text + self._END)
        except OSError as error:
            raise RecordingError(f"{self._path} cannot be written: {error.strerror}") from error
        self._empty = False

    def __enter__(self) -> JsonArrayFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()


class VideoRecording:
    """A video file; the first frame sets its size, and later frames are fitted into it."""

    def __init__(self, path: Path, fps: float) -> None:
        """Check the path and create its folder; the file is created with the first frame.

        Raises:
            RecordingError: the folder cannot be written to, or the name ends in neither .mp4 nor .webm.
        """
        if path.suffix.lower() not in _CODECS:
            raise RecordingError(f"{path} cannot be written: a video is an .mp4 or a .webm file")
        prepare_target(path, RecordingError)
        self._path = path
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append a frame, uint8 [H, W, 3] BGR.

        Raises:
            RecordingError: OpenCV cannot write such a video.
        """
        if self._writer is None:
            # Encoders need even sides.
            self._size = (image.shape[1] // 2 * 2, image.shape[0] // 2 * 2)
            fourcc = cv2.VideoWriter.fourcc(*_CODECS[self._path.suffix.lower()])
            with quiet_opencv:
                self._writer = cv2.VideoWriter(str(self._path), fourcc, self._fps, self._size)
            if not self._writer.isOpened():
                raise RecordingError(
                    f"OpenCV cannot write a video to {self._path}: the folder is not writable, or it lacks the encoder"
                )
        self._writer.write(_fit(image, self._size))

    def __enter__(self) -> VideoRecording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.release()


def _fit(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Crop an odd last row or column; scale a frame of another size and pad it with black."""
    width, height = size
    if image.shape[0] // 2 * 2 == height and image.shape[1] // 2 * 2 == width:
        return np.ascontiguousarray(image[:height, :width])
    scale = min(width / image.shape[1], height / image.shape[0])
    scaled = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    left, top = (width - scaled[0]) // 2, (height - scaled[1]) // 2
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[top : top + scaled[1], left : left + scaled[0]] = cv2.resize(image, scaled)
    return canvas

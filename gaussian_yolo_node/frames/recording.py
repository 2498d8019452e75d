"""Output files of a run: detections as JSON, annotated frames as a video."""

from __future__ import annotations

import json
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.file_names import shown
from gaussian_yolo_node.files import WriteError, prepare_target, whole_file
from gaussian_yolo_node.frames.capture import quiet_opencv

# What OpenCV's wheels can encode; browsers play only the second.
_CODECS = {".mp4": "mp4v", ".webm": "VP80"}


class RecordingError(WriteError):
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
    columns = (detections.class_ids, detections.scores, detections.boxes, detections.sigmas)
    records = [
        {
            "class": classes[class_id],
            "score": round(float(score), 6),
            "box": [round(float(value), 3) for value in box],
            "sigma": [round(float(value), 3) for value in sigma],
        }
        for class_id, score, box, sigma in zip(*columns, strict=True)
    ]
    return {"frame": frame, "width": image_size[1], "height": image_size[0], "detections": records}


class JsonArrayFile:
    """A JSON array that grows by one record at a time; it is there, whole, when the context manager is left.

    However the block ends, it holds the records up to then, unless a result file could not be written.
    """

    def __init__(self, path: Path) -> None:
        """Check the path. RecordingError if no file can be written there."""
        prepare_target(path, RecordingError)
        self._path = path

    def append(self, record: dict[str, Any]) -> None:
        """Add one record. RecordingError if the file cannot be written."""
        text = json.dumps(record, allow_nan=False).encode()
        # One write, so that Ctrl-C never leaves a part of a record.
        self._write((b",\n" if self._file.tell() > 1 else b"\n") + text)

    def _write(self, content: bytes) -> None:
        try:
            while content:  # a disk that becomes full takes some bytes, and then none
                content = content[self._file.write(content) :]
        except OSError as error:
            raise RecordingError(f"{self._path} cannot be written: {error.strerror}") from error

    def __enter__(self) -> JsonArrayFile:
        with ExitStack() as stack:
            part = stack.enter_context(whole_file(self._path, RecordingError))
            self._file: FileIO = stack.enter_context(FileIO(part, "w"))
            self._write(b"[")
            self._whole = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        if isinstance(error[1], RecordingError):
            self._whole.__exit__(*error)
        else:
            with self._whole:
                self._write(b"\n]\n")


class VideoRecording:
    """A video file; the first frame sets its size, and later frames are fitted into it.

    It is there, whole, when the context manager is left, unless there was no frame or a result could not be written.
    """

    def __init__(self, path: Path, fps: float) -> None:
        """Check the path and create its folder. RecordingError if the folder cannot be written to, or the name ends in
        neither .mp4 nor .webm."""
        if path.suffix.lower() not in _CODECS:
            raise RecordingError(f"{path} cannot be written: a video is an .mp4 or a .webm file")
        if str(path) != shown(str(path)):
            raise RecordingError(f"{path} cannot be written: OpenCV writes only to names in UTF-8")
        prepare_target(path, RecordingError)
        self._path = path
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._whole = ExitStack()
        self._size = (0, 0)
        self._frames = 0

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append a frame, uint8 [H, W, 3] BGR. RecordingError if OpenCV cannot write such a video."""
        if self._writer is None:
            # Encoders need even sides.
            self._size = (image.shape[1] // 2 * 2, image.shape[0] // 2 * 2)
            if min(self._size) < 2:
                size = f"{image.shape[1]}x{image.shape[0]}"
                raise RecordingError(
                    f"{self._path} cannot be written: a video needs 2x2 px, and the frames are {size} px"
                )
            self._writer = self._open()
        self._writer.write(_fit(image, self._size))
        self._frames += 1

    def _open(self) -> cv2.VideoWriter:
        fourcc = cv2.VideoWriter.fourcc(*_CODECS[self._path.suffix.lower()])
        with ExitStack() as stack, quiet_opencv:
            self._part = stack.enter_context(whole_file(self._path, RecordingError))
            writer = cv2.VideoWriter(str(self._part), fourcc, self._fps, self._size)
            if self._path.is_dir() or not writer.isOpened():
                raise RecordingError(
                    f"{self._path} cannot be written: OpenCV cannot write a video of {self._size[0]}x{self._size[1]} "
                    "px there: the encoder takes no frames so large, the disk is full, or it lacks the encoder"
                )
            self._whole = stack.pop_all()
        return writer

    def __enter__(self) -> VideoRecording:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._writer is not None:
            self._writer.release()
        if isinstance(error[1], RecordingError):
            self._whole.__exit__(*error)
        else:
            with self._whole:
                self._check()

    def _check(self) -> None:
        """Raise RecordingError unless the file has all frames: OpenCV does not say that a disk is full."""
        if self._writer is None:
            return
        with quiet_opencv:
            video = cv2.VideoCapture(str(self._part))
            video.set(cv2.CAP_PROP_FORMAT, -1)  # packets, without decoding them
            count = sum(1 for _ in iter(video.grab, False))
            video.release()
        if count < self._frames:
            raise RecordingError(f"{self._path} cannot be written: OpenCV left its end out, so the disk may be full")


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

"""Darknet's letterbox: the geometry between a frame and the network's canvas.

Darknet truncates the scaled size to integers and pastes at a truncated offset, but maps boxes back with the exact
offset. Models were trained and measured with this difference of up to half a pixel, so it is kept. Darknet's
align-corners resampling is only for models that were trained with it. OpenCV's bilinear resize is faster, and its
pixel centres agree with the mapping of boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.errors import GaussianYoloError

PAD_VALUE = 128  # Darknet pads with 0.5

Resize = Literal["bilinear", "align_corners"]
Lines = NDArray[np.uint8] | NDArray[np.float32]


class FrameError(GaussianYoloError):
    """A frame is not an 8-bit colour image, or has the wrong size."""


@dataclass(frozen=True)
class Letterbox:
    """Placement of frames of one size on canvases of one size; all sizes are (height, width) in px.

    Attributes:
        frame_size: of the camera's image.
        canvas_size: of the network's input.
        scaled_size: of the frame on the canvas, with its aspect ratio, truncated to integers.
        resize: resampling of frames. "bilinear" is OpenCV's. "align_corners" is Darknet's, which maps the centres of
            the frame's corner pixels to those of the scaled frame.
    """

    frame_size: tuple[int, int]
    canvas_size: tuple[int, int]
    scaled_size: tuple[int, int]
    resize: Resize = "bilinear"

    @classmethod
    def fit(cls, frame_size: tuple[int, int], canvas_size: tuple[int, int], resize: Resize = "bilinear") -> Letterbox:
        """The largest placement of a frame on a canvas that keeps its aspect ratio.

        Raises:
            FrameError: a size is not positive.
        """
        height, width = frame_size
        canvas_height, canvas_width = canvas_size
        if min(*frame_size, *canvas_size) < 1:
            raise FrameError(
                f"a frame of {width}x{height} px does not go on a canvas of {canvas_width}x{canvas_height} px"
            )
        if canvas_width * height < canvas_height * width:
            scaled = (height * canvas_width // width, canvas_width)
        else:
            scaled = (canvas_height, width * canvas_height // height)
        return cls(frame_size, canvas_size, (max(1, scaled[0]), max(1, scaled[1])), resize)

    @property
    def scale(self) -> tuple[float, float]:
        """Canvas px per frame px in x and in y; they differ slightly because the scaled size is truncated."""
        return self.scaled_size[1] / self.frame_size[1], self.scaled_size[0] / self.frame_size[0]

    @property
    def offset(self) -> tuple[float, float]:
        """x and y of the frame's corner on the canvas in px, not truncated; used to map boxes."""
        return (self.canvas_size[1] - self.scaled_size[1]) / 2, (self.canvas_size[0] - self.scaled_size[0]) / 2

    def to_canvas(self, frame_bgr: NDArray[np.uint8], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Scale a frame onto a canvas padded with grey.

        Args:
            frame_bgr: uint8 [H, W, 3] of `frame_size`.
            out: the canvas to fill, uint8 [H, W, 3] of `canvas_size`; None allocates a new one.

        Returns:
            The canvas, uint8 [H, W, 3].

        Raises:
            FrameError: the frame is not uint8 [H, W, 3] of `frame_size`.
        """
        check_frame(frame_bgr)
        if frame_bgr.shape[:2] != self.frame_size:
            raise FrameError(
                f"the frame is {_size(frame_bgr.shape[:2])} px where {_size(self.frame_size)} px was agreed"
            )
        canvas = np.empty((*self.canvas_size, 3), np.uint8) if out is None else out
        height, width = self.scaled_size
        top, left = (self.canvas_size[0] - height) // 2, (self.canvas_size[1] - width) // 2
        canvas[:top] = PAD_VALUE
        canvas[top + height :] = PAD_VALUE
        canvas[top : top + height, :left] = PAD_VALUE
        canvas[top : top + height, left + width :] = PAD_VALUE
        region = canvas[top : top + height, left : left + width]
        if self.resize == "align_corners":
            region[:] = _resize_align_corners(frame_bgr, height, width)
        else:
            cv2.resize(frame_bgr, (width, height), dst=region, interpolation=cv2.INTER_LINEAR)
        return canvas

    def boxes_to_canvas(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Corners [N, 4] x1 y1 x2 y2 from frame px to canvas px."""
        return np.asarray(boxes * np.array(self.scale * 2) + np.array(self.offset * 2), np.float32)

    def boxes_to_frame(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Corners [N, 4] x1 y1 x2 y2 from canvas px to frame px, not clipped."""
        return np.asarray((boxes - np.array(self.offset * 2)) / np.array(self.scale * 2), np.float32)

    def to_frame(self, detections: Detections) -> Detections:
        """Map detections from canvas px to frame px and clip their boxes to the frame.

        Standard deviations are scaled like the boxes and are not changed by clipping. Detections entirely outside the
        frame are removed.
        """
        height, width = self.frame_size
        boxes = self.boxes_to_frame(detections.boxes)
        np.clip(boxes, 0, np.array([width, height, width, height], np.float32), out=boxes)
        sigmas = np.asarray(detections.sigmas / np.array(self.scale * 2), np.float32)
        mapped = Detections(boxes, detections.scores, detections.class_ids, sigmas)
        seen = np.flatnonzero((boxes[:, :2] < boxes[:, 2:]).all(axis=1))
        return mapped if len(seen) == len(mapped) else mapped[seen]


def check_frame(frame: NDArray[np.uint8]) -> None:
    """Raise FrameError unless the frame is uint8 [H, W, 3] with at least one pixel."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        shown = f"{frame.dtype} {list(frame.shape)}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise FrameError(f"the frame is {shown} where uint8 [height, width, 3] BGR is needed; convert it first")
    if frame.size == 0:
        raise FrameError("the frame has no pixels; skip it")


def _resize_align_corners(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resample uint8 [H, W, 3] to [height, width, 3] as Darknet does, rounded to the nearest integer.

    OpenCV has no such resize. Its `warpAffine` and `remap` quantise positions to 1/32 px, which causes a larger error
    than the rounding.
    """
    low, high, share = _align_corners_lines(image.shape[0], height)
    rows = _blend(image[low], image[high], share[:, np.newaxis, np.newaxis])
    low, high, share = _align_corners_lines(image.shape[1], width)
    resized = _blend(rows.take(low, axis=1), rows.take(high, axis=1), share[:, np.newaxis])
    return np.rint(resized, out=resized).astype(np.uint8)


def _blend(low: Lines, high: Lines, share: NDArray[np.float32]) -> NDArray[np.float32]:
    """`low + (high - low) * share`, float32."""
    blended = np.subtract(high, low, dtype=np.float32)
    blended *= share
    blended += low
    return blended


@lru_cache(maxsize=64)
def _align_corners_lines(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of `target` lines, the two neighbouring lines of `source` and the weight of the second."""
    at = np.arange(target) * ((source - 1) / max(1, target - 1))
    if target == 1:
        at[:] = source - 1  # as Darknet
    low = np.minimum(at.astype(np.intp), source - 1)
    return low, np.minimum(low + 1, source - 1), (at - low).astype(np.float32)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"

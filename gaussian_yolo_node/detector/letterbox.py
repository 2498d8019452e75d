"""Geometry of a frame on the network's canvas, and back (Darknet's letterbox, without its resampling).

Darknet truncates the scaled size to integers and pastes at a truncated offset, but maps boxes back with the
offset not truncated; models were trained and measured with that half pixel, so it is kept. Its align-corners
resampling is
not: OpenCV's bilinear resize keeps pixel centres where the boxes' mapping has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.errors import GaussianYoloError

PAD_VALUE = 128  # Darknet pads with 0.5


class FrameError(GaussianYoloError):
    """A frame is not an 8-bit colour image, or not of the size that was agreed."""


@dataclass(frozen=True)
class Letterbox:
    """How frames of one size lie on canvases of one size; all sizes (height, width) in px.

    Attributes:
        frame_size: of the camera's image.
        canvas_size: of the network's input.
        scaled_size: of the frame on the canvas, aspect kept, truncated to integers.
    """

    frame_size: tuple[int, int]
    canvas_size: tuple[int, int]
    scaled_size: tuple[int, int]

    @classmethod
    def fit(cls, frame_size: tuple[int, int], canvas_size: tuple[int, int]) -> Letterbox:
        """The largest placement of a frame on a canvas that keeps its aspect.

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
        return cls(frame_size, canvas_size, (max(1, scaled[0]), max(1, scaled[1])))

    @property
    def scale(self) -> tuple[float, float]:
        """Canvas px per frame px in x and in y; they differ a little, for the scaled size is truncated."""
        return self.scaled_size[1] / self.frame_size[1], self.scaled_size[0] / self.frame_size[0]

    @property
    def offset(self) -> tuple[float, float]:
        """x and y of the frame's corner on the canvas in px, not truncated, as boxes are mapped with."""
        return (self.canvas_size[1] - self.scaled_size[1]) / 2, (self.canvas_size[0] - self.scaled_size[0]) / 2

    def to_canvas(self, frame_bgr: NDArray[np.uint8], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Scale a frame onto a canvas, padded with grey.

        Args:
            frame_bgr: uint8 [H, W, 3] of `frame_size`.
            out: a canvas to fill instead of a new one, uint8 [H, W, 3] of `canvas_size`.

        Returns:
            The canvas, uint8 [H, W, 3].

        Raises:
            FrameError: the frame is not as said above.
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

        Standard deviations scale like the boxes and stay those of the box before it was clipped. Detections
        of which nothing lies inside the frame are left out.
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


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"

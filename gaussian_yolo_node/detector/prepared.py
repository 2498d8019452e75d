"""A frame on its way through the detector: on a canvas and back, and how long each stage took."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.letterbox import Letterbox
from gaussian_yolo_node.detector.sigma_correction import SigmaCalibration, calibrate_sigmas
from gaussian_yolo_node.runtime import DetectingRuntime, Runtime


@dataclass(frozen=True)
class StageTimes:
    """Wall-clock time of each stage for one frame, in s.

    If the GPU also decodes and suppresses, both are part of `inference_s`. `postprocess_s` is then the rest: waiting,
    copying back, and mapping to the frame.
    """

    preprocess_s: float
    inference_s: float
    postprocess_s: float


@dataclass(frozen=True, eq=False)
class Prepared:
    """A frame on a canvas, from `Detector.prepare`.

    Attributes:
        runtime: the one that the canvas was made for.
        image: the canvas, uint8 [H, W, 3]; for a device runtime, which letterboxes itself, the frame.
        letterbox: between the searched part of the frame and the canvas.
        corner: x and y of the searched part in px of the frame.
        preprocess_s: time that it took, s.
    """

    runtime: Runtime | DetectingRuntime
    image: NDArray[np.uint8]
    letterbox: Letterbox
    corner: tuple[int, int]
    preprocess_s: float

    def to_frame(self, kept: Detections, correction: SigmaCalibration | None) -> Detections:
        """Detections on the canvas as detections in px of the frame, with corrected sigmas."""
        detections = self.letterbox.to_frame(kept)
        if correction is not None:
            detections = calibrate_sigmas(detections, correction)
        if self.corner != (0, 0):
            detections = replace(detections, boxes=detections.boxes + np.array(self.corner * 2, np.float32))
        return detections

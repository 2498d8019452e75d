"""Implementation of `gaussian-yolo view`: run a detector over a source and hand all that comes of it to the page."""

from __future__ import annotations

import time
from collections import deque
from importlib.util import find_spec

import numpy as np

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.frames import Source, SourceError
from gaussian_yolo_node.runtime.base import show_size
from gaussian_yolo_node.view.camera import Camera
from gaussian_yolo_node.view.frame import ViewedFrame

_REPORT_PERIOD_S = 1.0
# Rate and age are those of the latest seconds.
_WINDOW_S = 5.0


def view_source(source: Source, detector: Detector, camera: Camera) -> None:
    """Detect in every frame and hand it to the page, if one is open; report once a second.

    With scipy (extra `track`), objects are followed and have ids.

    Returns when the source has ended.

    Raises:
        SourceError: no frame could be read.
    """
    started = reported = time.monotonic()
    recent: deque[tuple[float, float]] = deque()  # when each frame was finished, and its age then, s
    processed = failed = 0
    error = ""
    tracker = None
    if find_spec("scipy"):
        from gaussian_yolo_node.tracking import Tracker

        tracker = Tracker(detector.card.classes)
    while (frame := source.read()) is not None:
        try:
            detections = detector(frame.image)
            ids = None
            if tracker is not None:
                ids = tracker.update(detections, frame.stamp, frame.image.shape[:2]).ids_of(len(detections))
        except GaussianYoloError as problem:
            failed, error = failed + 1, f"frame {frame.name}: {problem}"
        else:
            processed, error = processed + 1, ""
            now = time.monotonic()
            recent.append((now, time.time() - frame.stamp))
            while now - recent[0][0] > _WINDOW_S:
                recent.popleft()
            if camera.wanted:
                classes = detector.card.classes
                camera.show(ViewedFrame(frame.image, frame.stamp, frame.name, detections, classes, ids))
        now = time.monotonic()
        if now - reported < _REPORT_PERIOD_S:
            continue
        reported = now
        rate_hz = len(recent) / min(_WINDOW_S, now - started)
        values = {
            "rate_hz": f"{rate_hz:.1f}",
            "frame_age_p50_ms": f"{np.median([age for _, age in recent]) * 1e3:.1f}" if recent else "",
            "frames_received": str(processed + failed + source.dropped + source.skipped),
            "frames_dropped": str(source.dropped),
            "canvas": show_size(detector.input_size),
        }
        camera.report(2 if error else 0, error or f"{detector.card.name} on {detector.runtime.description}", values)
    if not processed and not failed:
        raise SourceError(f"not one frame of the source could be read; {source.message}")

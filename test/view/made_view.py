"""Made data for the live view; as a program, a process that shows it on a port: `python made_view.py PORT`."""

from __future__ import annotations

import itertools
import sys
import time

import numpy as np
from factories import make_detections, make_image

from gaussian_yolo_node.position.locate import Places
from gaussian_yolo_node.view.camera import Camera
from gaussian_yolo_node.view.frame import ViewedFrame
from gaussian_yolo_node.view.server import open_camera

SIZE = (240, 640)  # height and width, px
IDS = (3, 8, -1)
DISTANCES = (8.0, 24.0, 40.0)  # m
HOSTILE = "<script>document.title = 'taken over'</script>"
CLASSES = ("car", HOSTILE, "cyclist")


def made_frame(number: int = 0, stamp_s: float | None = None) -> ViewedFrame:
    """Three objects that move: two with ids, all with places whose covariance grows with the distance."""
    shift = number % 50
    boxes = [
        (20 + shift, 60, 200 + shift, 180),
        (220 + shift, 40, 420 + shift, 220),
        (430 + shift, 90, 560 + shift, 170),
    ]
    x = np.array(DISTANCES) + 0.1 * shift
    xy = np.stack([x, np.array([3.0, 0.0, -3.0])], axis=1)
    covariance = (0.05 * x[:, None, None]) ** 2 * np.array([[1.0, 0.2], [0.2, 0.3]])
    return ViewedFrame(
        make_image(*SIZE, seed=number % 20),
        time.time() if stamp_s is None else stamp_s,
        HOSTILE,
        make_detections(boxes, class_ids=(0, 1, 2), sigmas=[(2, 2, 4, 4), (3, 3, 6, 6), (4, 4, 8, 8)]),
        CLASSES,
        np.array(IDS),
        Places(xy, covariance),
        np.array([(2.0, 0.0), (np.nan, np.nan), (-3.0, 0.5)]),
    )


def made_report(number: int = 0) -> tuple[int, str, dict[str, str]]:
    """Level, message and values of a report."""
    values = {"rate_hz": "9.8", "frame_age_p50_ms": "41.5", "canvas": "256x832"}
    return 1, f"a warning of {HOSTILE}", {**values, "frames_received": str(10 * number), "frames_dropped": str(number)}


def show(camera: Camera) -> None:
    """Frames at 20 Hz and reports at 2 Hz, until the process ends."""
    for number in itertools.count():
        if camera.wanted:
            camera.show(made_frame(number))
        if number % 10 == 0:
            camera.report(*made_report(number // 10))
        time.sleep(0.05)


if __name__ == "__main__":
    opened = open_camera(f"front {HOSTILE}", int(sys.argv[1]))
    print(opened.address, flush=True)
    show(opened)

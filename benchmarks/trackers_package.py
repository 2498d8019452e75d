#!/usr/bin/env python3
"""Trackers of the package `trackers` (Roboflow), in an environment of its own; `trackers.py` calls it.

    python -I benchmarks/trackers_package.py < request.json > answer.json

The request has the detections of each frame and the trackers to run, the answer each tracker's boxes and times. Only
numpy and what the package needs are imported.
"""

from __future__ import annotations

import importlib
import json
import sys
from time import perf_counter
from typing import Any

import numpy as np


def run(frames: list[dict[str, Any]], kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Ids, boxes and class ids of each frame, and the median time of an update in ms.

    Args:
        frames: "boxes" [N, 4], "scores" [N] and "class_ids" [N] of each.
        kind: the class of the package; options: its arguments.
    """
    # By name, because a file beside this one has the name of the package.
    supervision, package = importlib.import_module("supervision"), importlib.import_module("trackers")
    tracker = getattr(package, kind)(**options)
    found, times = [], []
    for frame in frames:
        detections = supervision.Detections(
            xyxy=np.array(frame["boxes"], float).reshape(-1, 4),
            confidence=np.array(frame["scores"], float),
            class_id=np.array(frame["class_ids"], int),
        )
        started = perf_counter()
        tracked = tracker.update(detections)
        times.append((perf_counter() - started) * 1e3)
        known = np.flatnonzero(np.array(tracked.tracker_id) >= 0)
        found.append(
            {
                "ids": np.array(tracked.tracker_id)[known].tolist(),
                "boxes": tracked.xyxy[known].tolist(),
                "class_ids": np.array(tracked.class_id)[known].tolist() if len(known) else [],
            }
        )
    return {"frames": found, "ms": float(np.median(times))}


if __name__ == "__main__":
    request = json.load(sys.stdin)
    json.dump([run(each["frames"], each["kind"], each["options"]) for each in request], sys.stdout)

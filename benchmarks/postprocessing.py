#!/usr/bin/env python3
"""Time decode and suppression of one frame, compared with a decode that activates every anchor.

Three heads of a 320x1024 canvas, 3 classes, 300 candidates around 20 objects. Both run interleaved, so that other load
on the machine affects both.

    python benchmarks/postprocessing.py --limit-ms 1.0
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from gaussian_yolo_node.detector.decode import decode
from gaussian_yolo_node.detector.detections import Detections, centres_to_corners
from gaussian_yolo_node.detector.nms import nms

CANVAS = (320, 1024)
STRIDES = (32, 16, 8)
ANCHORS = [
    np.array(row, np.float32)
    for row in ([(73, 175), (141, 178), (144, 291)], [(32, 97), (57, 64), (92, 109)], [(7, 10), (14, 24), (27, 43)])
]
CLASSES, OBJECTS, CANDIDATES, THRESHOLD = 3, 20, 300, 0.3


def main(
    limit_ms: Annotated[float, typer.Option(help="Exit 1 if the median is above this; 0 sets no limit.")] = 0.0,
    repeats: Annotated[int, typer.Option(min=10, help="Frames to time.")] = 1000,
) -> None:
    """Time decode and suppression of one frame."""
    heads = make_heads(np.random.default_rng(0))
    candidates = decode(heads, ANCHORS, STRIDES, THRESHOLD)
    assert len(candidates) == CANDIDATES
    np.testing.assert_allclose(full_decode(heads).boxes, candidates.boxes, rtol=1e-4, atol=1e-3)
    kept = len(nms(candidates))
    print(
        f"heads of {CANVAS[0]}x{CANVAS[1]}, {CLASSES} classes: {CANDIDATES} candidates, {kept} kept; "
        f"{repeats} frames, one thread"
    )
    ways: dict[str, Callable[[], object]] = {
        "decode": lambda: decode(heads, ANCHORS, STRIDES, THRESHOLD),
        "decode + nms": lambda: nms(decode(heads, ANCHORS, STRIDES, THRESHOLD)),
        "decode + nms with variance vote": lambda: nms(decode(heads, ANCHORS, STRIDES, THRESHOLD), variance_vote=True),
        "full decode + nms": lambda: nms(full_decode(heads)),
    }
    times = time_in_turn(ways, repeats)
    ours = float(np.median(times["decode + nms"]))
    for name, milliseconds in times.items():
        median, p99 = np.percentile(milliseconds, [50, 99])
        print(f"{name:32} median {median:6.3f} ms   p99 {p99:6.3f} ms   {median / ours:5.2f} of decode + nms")
    if limit_ms and ours > limit_ms:
        print(f"decode + nms is above the limit of {limit_ms} ms")
        raise typer.Exit(1)


def time_in_turn(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of each of `repeats` calls, after a warm-up of a tenth as many."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-(repeats // 10), repeats):
        for name, run in ways.items():
            started = perf_counter()
            run()
            if turn >= 0:
                times[name].append((perf_counter() - started) * 1e3)
    return {name: np.array(values) for name, values in times.items()}


def make_heads(rng: np.random.Generator) -> list[NDArray[np.float32]]:
    """Raw heads with background everywhere except at CANDIDATES anchors near OBJECTS objects."""
    heads = []
    for stride in STRIDES:
        head = rng.normal(0, 1, (3, 9 + CLASSES, CANVAS[0] // stride, CANVAS[1] // stride)).astype(np.float32)
        head[:, 8] = rng.normal(-9, 1, head[:, 8].shape)
        heads.append(head)
    taken: set[tuple[int, int, int, int]] = set()
    objects = [
        (rng.uniform([40, 40], [984, 280]), rng.uniform(20, 150, 2), rng.integers(CLASSES)) for _ in range(OBJECTS)
    ]
    while len(taken) < CANDIDATES:
        centre, size, class_id = objects[len(taken) * OBJECTS // CANDIDATES]
        scale, anchor = int(rng.integers(3)), int(rng.integers(3))
        column, row = (int(value) for value in centre / STRIDES[scale] + rng.uniform(-1, 1, 2))
        _, _, rows, columns = heads[scale].shape
        place = (scale, anchor, min(max(row, 0), rows - 1), min(max(column, 0), columns - 1))
        if place in taken:
            continue
        taken.add(place)
        entries = heads[scale][anchor, :, place[2], place[3]]
        entries[[4, 6]] = np.log(size / ANCHORS[scale][anchor]) + rng.normal(0, 0.1, 2)
        entries[1:8:2] = rng.normal(-2, 0.3, 4)
        entries[8] = rng.normal(3, 0.5)
        entries[9:] = -6
        entries[9 + class_id] = 3
    return [head.reshape(1, -1, *head.shape[2:]) for head in heads]


def full_decode(heads: list[NDArray[np.float32]]) -> Detections:
    """Baseline: activate all entries of all anchors, then apply the threshold."""
    boxes, scores, sigmas = [], [], []
    for head, anchors, stride in zip(heads, ANCHORS, STRIDES, strict=True):
        height, width = head.shape[2:]
        by_anchor = head.reshape(len(anchors), 9 + CLASSES, height, width)
        p = 1 / (1 + np.exp(-by_anchor))
        rows, columns = np.mgrid[:height, :width]
        w, h = (np.exp(by_anchor[:, 4 + 2 * axis]) * anchors[:, axis, None, None] for axis in range(2))
        x, y = (p[:, 0] + columns) * stride, (p[:, 2] + rows) * stride
        s = p[:, 1:8:2]
        boxes.append(np.stack([x, y, w, h], axis=-1).reshape(-1, 4))
        sigmas.append(np.stack([s[:, 0] * stride, s[:, 1] * stride, s[:, 2] * w, s[:, 3] * h], axis=-1).reshape(-1, 4))
        criterion = p[:, 9:] * (p[:, 8] * (1 - s.mean(axis=1)))[:, None]
        scores.append(np.where(p[:, 8:9] > THRESHOLD, criterion, 0).transpose(0, 2, 3, 1).reshape(-1, CLASSES))
    all_scores = np.concatenate(scores)
    found, class_ids = np.nonzero(all_scores > THRESHOLD)
    return Detections(
        centres_to_corners(np.concatenate(boxes)[found]),
        all_scores[found, class_ids],
        class_ids.astype(np.int32),
        np.concatenate(sigmas)[found].astype(np.float32),
    )


if __name__ == "__main__":
    typer.run(main)

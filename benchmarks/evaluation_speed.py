"""Time an evaluation of KITTI's size: read label files and perturbed copies as predictions, and evaluate them.

The copies have jittered boxes, missing and additional boxes and random scores, like the output of a mediocre detector.
Exits with 1 if the KITTI and BDD protocols together take longer than the limit.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from gaussian_yolo_node.evaluation.paired import pair
from gaussian_yolo_node.evaluation.protocols import evaluate_pairs
from gaussian_yolo_node.labels.classes import KITTI_CLASSES
from gaussian_yolo_node.labels.labelled_frames import GroundTruth
from gaussian_yolo_node.labels.predictions import read_predictions
from gaussian_yolo_node.labels.truths import read_ground_truth

LIMITED = ("kitti", "bdd")


def main(
    labels: Annotated[Path, typer.Argument(help="Folder of KITTI label files, or a .tar.xz of one.")],
    limit_s: Annotated[float, typer.Option(help="For reading both, and KITTI's and BDD's protocols, in s.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the copies.")] = 0,
) -> None:
    """Time the evaluator."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = unpack(labels, Path(scratch)) if labels.is_file() else labels
        predictions = Path(scratch) / "predictions.json"
        boxes = perturb(read_ground_truth(folder), predictions, np.random.default_rng(seed))

        started = time.perf_counter()
        truths = read_ground_truth(folder)
        read_labels_s = time.perf_counter() - started
        records = read_predictions(predictions, truths)
        paired = pair(truths, records)
        total = read_s = time.perf_counter() - started
        print(f"{len(truths.frames)} label files, {len(paired.truths)} objects, {boxes} detections")
        print(f"{'read':<10}{read_s:6.2f} s   (labels {read_labels_s:.2f} s)")
        for protocol in (*LIMITED, "all"):
            started = time.perf_counter()
            result = evaluate_pairs(protocol, paired)
            elapsed = time.perf_counter() - started
            total += elapsed if protocol in LIMITED else 0
            print(f"{protocol:<10}{elapsed:6.2f} s   mean AP {100 * result.map:.2f}")
    print(f"{'together':<10}{total:6.2f} s   reading, {' and '.join(LIMITED)}; the limit is {limit_s:g} s")
    sys.exit(total > limit_s)


def unpack(archive: Path, scratch: Path) -> Path:
    """The folder of label files in an archive."""
    folder = scratch / "labels"
    folder.mkdir()
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name.endswith(".txt") else None
            if content is not None:
                (folder / Path(member.name).name).write_bytes(content.read())
    return folder


def perturb(truths: GroundTruth, path: Path, rng: np.random.Generator) -> int:
    """Write copies of the objects in the format of `detect --json`; returns the number of boxes."""
    count = 0
    records = []
    for name, frame in truths.frames.items():
        detections = []
        for box, kind in zip(frame.truths.boxes, frame.truths.categories, strict=True):
            if kind == "DontCare" or rng.random() < 0.1:
                continue
            detections.append((KITTI_CLASSES.get(str(kind), "car"), rng.random(), shaken(box, 0.05, rng)))
            if rng.random() < 0.3:
                detections.append((KITTI_CLASSES.get(str(kind), "car"), rng.random() / 2, shaken(box, 0.15, rng)))
        x, y = rng.uniform(0, 1100), rng.uniform(100, 250)
        detections.append(("car", rng.random() / 2, [x, y, x + 80, y + 60]))
        count += len(detections)
        found = [{"class": kind, "score": score, "box": box} for kind, score, box in detections]
        records.append({"frame": f"{name}.png", "detections": found})
    path.write_text(json.dumps(records))
    return count


def shaken(box: np.ndarray, share: float, rng: np.random.Generator) -> list[float]:
    """A box with corners jittered by a share of its size."""
    x1, y1, x2, y2 = box + np.tile(box[2:] - box[:2], 2) * rng.normal(0, share, 4)
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]


if __name__ == "__main__":
    typer.run(main)

"""Select a classifier's labels for a student (Noisy Student, section 3.1; docs/paper_facts.md, section 4)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.files import prepare_target, write_whole
from gaussian_yolo_node.lab.noisy_student.balance import balance
from gaussian_yolo_node.lab.noisy_student.select_boxes import SelectionError
from gaussian_yolo_node.labels.pseudo import FORMAT
from gaussian_yolo_node.settings import Count, Probability

if TYPE_CHECKING:
    from gaussian_yolo_node.lab.noisy_student.tables import Labels

IMAGES = "images"  # images of bags and shards, beside the selected labels


@dataclass(frozen=True)
class ClassRules:
    """Rules for pseudo labels.

    Attributes:
        threshold: minimum top-1 probability.
        per_class: target number of images per class, see `balance`; None takes each image once.
        hard: write one-hot labels instead of the probabilities.
    """

    threshold: Probability = 0.3
    per_class: Count | None = None
    hard: bool = False


def select_classification(labels: Labels, output: Path, rules: ClassRules) -> dict[str, Any]:
    """Write the images whose top-1 probability reaches the threshold, with their probabilities.

    The document is `{"format": 1, "kind": "classification", "classes": [..], "images": [{"path", "probabilities",
    "copies"}]}`; paths are relative to its folder.

    Args:
        labels: of a classifier, read by `tables.read_labels`.
        output: JSON file; images in bags and shards are extracted to `images/` beside it.

    Returns:
        counts: images labelled and selected, repetitions, and the same per class.

    Raises:
        SelectionError: an option or the labels cannot be used, or the selection is empty.
    """
    from gaussian_yolo_node.lab.noisy_student.shards import extract

    if labels.kind != "classification":
        raise SelectionError(f"labels for {labels.kind} are selected by their boxes, not by classes")
    classes = tuple(labels.teacher["classes"])
    rows: Sequence[Any] = labels.rows
    probabilities = np.array([row.probabilities for row in rows], np.float32).reshape(len(rows), len(classes))
    copies = copies_of(probabilities, rules)
    kept = [(row, given, int(count)) for row, given, count in zip(rows, probabilities, copies, strict=True) if count]
    if not kept:
        raise SelectionError(f"no label has a probability of {rules.threshold:g}: lower the threshold")
    prepare_target(output)
    paths = extract([(row.source, row.image) for row, _, _ in kept], output.parent / IMAGES)
    showings = dict.fromkeys(classes, 0)
    images = []
    for row, given, count in kept:
        likeliest = int(given.argmax())
        showings[classes[likeliest]] += count
        learned = np.eye(len(classes), dtype=np.float32)[likeliest] if rules.hard else given
        path = os.path.relpath(paths[row.source, row.image], output.parent)
        images.append({"path": path, "probabilities": [round(float(p), 6) for p in learned], "copies": count})
    counts = {"images": len(kept), "of": len(rows), "showings": int(copies.sum()), "classes": showings}
    document = {
        "format": FORMAT,
        "kind": "classification",
        "classes": list(classes),
        "teacher": dict(labels.teacher),
        "rules": asdict(rules),
        "counts": counts,
        "images": images,
    }
    write_whole(output, json.dumps(document) + "\n")
    return counts


def copies_of(probabilities: NDArray[np.float32], rules: ClassRules) -> NDArray[np.int64]:
    """Repetitions `[N]` of N images with probabilities `[N,C]`. Raises SelectionError for one that is not finite."""
    if not np.isfinite(probabilities).all():
        raise SelectionError("a label's probability is no number: label again")
    copies = np.zeros(len(probabilities), np.int64)
    if not len(probabilities):
        return copies
    confidences = probabilities.max(axis=1)
    sure = np.flatnonzero(confidences >= np.float32(rules.threshold))
    if rules.per_class is None:
        copies[sure] = 1
    else:
        copies[sure] = balance(
            probabilities[sure].argmax(axis=1).astype(np.int64),
            confidences[sure].astype(np.float64),
            rules.per_class,
            probabilities.shape[1],
        )
    return copies

"""Top-1 and top-5 accuracy of a classifier."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from gaussian_yolo_node.lab.classification.checkpoint import Classifier, load_classifier
from gaussian_yolo_node.lab.classification.crops import Image
from gaussian_yolo_node.lab.classification.data import Items, read_labelled
from gaussian_yolo_node.labels import read_image

BATCH = 64


def evaluate(checkpoint: Path, data: Path, *, size: int | None = None) -> dict[str, float]:
    """Top-1 and top-5 accuracy (`top1`, `top5`, 0..1) and the number of `images`.

    Args:
        checkpoint: of a classifier.
        data: see `data.read_labelled`; its classes must be among the classifier's.
        size: side of the square network input, px; default: the checkpoint's.

    Raises:
        GaussianYoloError: the checkpoint or the data cannot be used.
    """
    classifier = load_classifier(checkpoint)
    items, _ = read_labelled(data, classifier.classes)
    return accuracy(classifier, items, size)


@torch.no_grad()
def accuracy(classifier: Classifier, items: Items, size: int | None = None) -> dict[str, float]:
    """See `evaluate`. Raises DatasetError for an unreadable image."""
    first = likeliest = 0
    truths = items.targets.argmax(axis=1)
    for start, images in _batches(items):
        answers = np.argsort(-classifier.probabilities(images, size), axis=1, kind="stable")[:, :5]
        hits = answers == truths[start : start + len(images), None]
        first += int(hits[:, 0].sum())
        likeliest += int(hits.any(axis=1).sum())
    count = len(items.paths)
    return {"top1": first / count, "top5": likeliest / count, "images": float(count)}


def _batches(items: Items) -> Iterator[tuple[int, list[Image]]]:
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(items.paths), BATCH):
            yield start, list(pool.map(read_image, items.paths[start : start + BATCH]))

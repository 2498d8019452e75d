"""How often a classifier is right."""

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
    """Shares of the pictures whose class is the likeliest (`top1`) and among the five likeliest (`top5`), and `images`.

    Args:
        checkpoint: of a classifier.
        data: see `data.read_labelled`; its classes have to be among the classifier's.
        size: side of the square that the network sees, px; the checkpoint's if not given.

    Raises:
        GaussianYoloError: checkpoint or data cannot be used.
    """
    classifier = load_classifier(checkpoint)
    items, _ = read_labelled(data, classifier.classes)
    return accuracy(classifier, items, size)


@torch.no_grad()
def accuracy(classifier: Classifier, items: Items, size: int | None = None) -> dict[str, float]:
    """See `evaluate`. Raises DatasetError for a picture that cannot be read."""
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

"""A classifier on ImageNet-C or ImageNet-P as published: errors and mCE, flips and mFR."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gaussian_yolo_node.files import short_hash
from gaussian_yolo_node.lab.classification.checkpoint import load_classifier
from gaussian_yolo_node.lab.classification.crops import centre_crop
from gaussian_yolo_node.lab.robustness import RobustnessError
from gaussian_yolo_node.lab.robustness.cells import Cells, write_json
from gaussian_yolo_node.lab.robustness.classifier import (
    BATCH,
    RESULT,
    ClassifierOptions,
    Image,
    OnCell,
    Scorer,
    flip_figures,
    summary,
)
from gaussian_yolo_node.lab.robustness.corruptions import check_severities
from gaussian_yolo_node.lab.robustness.published import Labelled, Published, digest, read_sequence
from gaussian_yolo_node.labels import read_image


def published_robustness(
    checkpoint: Path,
    data: Published,
    output: Path,
    options: ClassifierOptions,
    *,
    on_cell: OnCell = lambda name: None,
) -> dict[str, Any]:
    """Test a classifier on the published data; an interrupted test continues.

    Args:
        checkpoint: of a classifier whose classes are the data's folders.
        options: `corruptions` or `perturbations` choose among those that are there; `limit` is of each severity of a
            corruption, or of each perturbation.
        output: folder of the cells and of robustness.json.

    Returns:
        See `classifier.classifier_robustness`; `clean` is None.

    Raises:
        GaussianYoloError: one sentence naming the error.
    """
    if options.attacks:
        raise RobustnessError("--attacks are for clean pictures: give a folder a class, not ImageNet-C or ImageNet-P")
    classifier = load_classifier(checkpoint)
    severities = check_severities(options.severities)
    parts: dict[str, Labelled] = {}
    if data.kind == "imagenet_c":
        for name in (name for name in data.folders if name in options.corruptions):
            for severity in severities:
                parts[f"{name}-{severity}"] = data.pictures(name, severity, classifier.classes, options.limit)
    else:
        for name in (name for name in data.folders if name in options.perturbations):
            parts[name] = data.sequences(name, classifier.classes, options.limit)
    if not parts:
        raise RobustnessError(f"none of {', '.join(data.folders)} in {data.root} is chosen")
    scorer = Scorer(classifier, np.concatenate([part.truths for part in parts.values()]), options.mask)
    settings = {
        "kind": data.kind,
        "model": classifier.config.name,
        "model_hash": short_hash(checkpoint),
        "files": sum(len(part.paths) for part in parts.values()),
        "files_hash": digest(data.root, parts.values()),
        "mask": options.mask,
    }
    cells = Cells(output, settings)

    def cell(name: str, make: Callable[[Scorer, str, Labelled], Any]) -> Any:
        on_cell(name)
        return cells.get_or_make(name, lambda: make(scorer, name, parts[name]))

    errors: dict[str, dict[str, float]] = {}
    sequences: dict[str, dict[str, float]] = {}
    for name in parts:
        if data.kind == "imagenet_c":
            corruption, _, level = name.rpartition("-")
            errors.setdefault(corruption, {})[level] = cell(name, _error)
        else:
            sequences[name] = cell(name, _flips)
    result = summary(cells.settings, None, errors, sequences, {}, options)
    write_json(output / RESULT, result)
    return result


def _error(scorer: Scorer, _: str, pictures: Labelled) -> float:
    """Top-1 error. DatasetError for a picture that cannot be read."""
    wrong = 0
    for start in range(0, len(pictures.paths), BATCH):
        paths = pictures.paths[start : start + BATCH]
        answers = scorer.scores(list(_seen(scorer, map(read_image, paths)))).argmax(axis=1)
        wrong += int((answers != pictures.truths[start : start + BATCH]).sum())
    return wrong / len(pictures.paths)


def _flips(scorer: Scorer, perturbation: str, videos: Labelled) -> dict[str, float]:
    return flip_figures(
        perturbation, [scorer.scores(list(_seen(scorer, read_sequence(path)))) for path in videos.paths]
    )


def _seen(scorer: Scorer, images: Iterable[Image]) -> Iterator[Image]:
    """Whole pictures at the network's size."""
    return (centre_crop(image, scorer.classifier.image_size, 1.0) for image in images)

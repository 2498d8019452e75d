"""Small trainings of classifiers on synthetic images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.lab.classification.config import ClassifierConfig

CLASSES = ("dark", "light")


def make_picture(class_id: int, seed: int) -> NDArray[np.uint8]:
    """Noise `[36,44,3]` around the brightness of the class."""
    rng = np.random.default_rng([class_id, seed])
    return rng.integers(100 * class_id, 100 * class_id + 120, (36, 44, 3), dtype=np.uint8)


def make_pictures(folder: Path, count: int = 6) -> Path:
    """Write one folder per class with `count` images each."""
    for class_id, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for seed in range(count):
            cv2.imwrite(str(folder / name / f"{seed}.png"), make_picture(class_id, seed))
    return folder


def make_pseudo(folder: Path, count: int = 6) -> Path:
    """Images and their selection file with soft labels; every second image has two copies."""
    folder.mkdir(parents=True)
    images = []
    for seed in range(count):
        cv2.imwrite(str(folder / f"{seed}.png"), make_picture(seed % 2, 100 + seed))
        likely = [0.8, 0.2] if seed % 2 == 0 else [0.3, 0.7]
        images.append({"path": f"{seed}.png", "probabilities": likely, "copies": 1 + seed % 2})
    path = folder / "selected.json"
    path.write_text(json.dumps({"format": 1, "kind": "classification", "classes": list(CLASSES), "images": images}))
    return path


def make_document(root: Path, **sections: Any) -> dict[str, Any]:
    """A recipe for the images that `make_pictures` writes below `root`; `sections` are updates of its sections."""
    if not (root / "train").exists():
        make_pictures(root / "train")
    document: dict[str, Any] = {
        "kind": "classification",
        "name": "synthetic",
        "data": {"root": str(root), "train": "train", "workers": 1},
        "model": {"backbone": "mobilenet_v2", "options": {"width": 0.1}, "image_size": 32},
        "noise": {"rand_augment_magnitude": 5.0},
        "schedule": {"epochs": 2, "batch_size": 4, "warmup_steps": 2},
    }
    for name, values in sections.items():
        document[name] |= values
    return document


def make_config(root: Path, **sections: Any) -> ClassifierConfig:
    """`make_document`, read."""
    return ClassifierConfig.from_dict(make_document(root, **sections), "test")

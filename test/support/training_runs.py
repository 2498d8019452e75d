"""Small training runs on synthetic images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from gaussian_yolo_node.lab.training.config import TrainConfig
from gaussian_yolo_node.lab.training.detection import DetectionTask
from gaussian_yolo_node.lab.training.loader import BatchLoader, EpochSampler
from gaussian_yolo_node.lab.training.trainer import Trainer
from gaussian_yolo_node.labels import load_sources

SIZE = (64, 96)


def make_document(root: Path, images: int = 4, **schedule: Any) -> dict[str, Any]:
    """A recipe for synthetic images of one or two bright cars each, written below `root`; two repetitions per epoch.

    Args:
        images: number of images.
        schedule: changes to the recipe's section `schedule`.
    """
    for name in ("image", "label"):
        (root / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(images):
        image = rng.integers(0, 60, (*SIZE, 3), dtype=np.uint8)
        lines = []
        for left in (4, 50)[: 1 + index % 2]:
            x, y = left + rng.integers(0, 8), rng.integers(4, 24)
            w, h = rng.integers(24, 34), rng.integers(18, 32)
            image[y : y + h, x : x + w] = rng.integers(150, 255, 3)
            lines.append(f"Car 0 0 0 {x} {y} {x + w} {y + h} 1 1 1 1 1 1 1\n")
        cv2.imwrite(str(root / "image" / f"{index:06}.png"), image)
        (root / "label" / f"{index:06}.txt").write_text("".join(lines))
    source = {"format": "kitti", "images": "image", "labels": "label", "weight": 2}
    return {
        "name": "synthetic",
        "model": {
            "backbone": "mobilenet_v2",
            "classes": ["car"],
            "anchors": [[[90, 60]] * 3, [[50, 30]] * 3, [[30, 25]] * 3],
            "input_size": list(SIZE),
            "width": 16,
            "pretrained": False,
        },
        "data": {"root": str(root), "train": [source], "validation": []},
        "schedule": {
            "epochs": 2, "batch_size": 2, "crop_size": list(SIZE), "workers": 0, "warmup_steps": 2, "autocast": False,
            "fast_depthwise": False, **schedule,
        },
    }  # fmt: skip


def make_config(root: Path, images: int = 4, **schedule: Any) -> TrainConfig:
    """`make_document`, read."""
    return TrainConfig.from_dict(make_document(root, images, **schedule), "test")


def make_trainer(config: TrainConfig, output: Path | None = None) -> tuple[Trainer, BatchLoader, EpochSampler]:
    """The parts of a new run."""
    torch.manual_seed(config.schedule.seed)
    task = DetectionTask(config, load_sources(Path(config.data.root), config.data.train, ["car"]))
    return Trainer(task, output=output), task.loader, task.sampler

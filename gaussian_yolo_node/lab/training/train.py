"""Train a detector: `gaussian-yolo train CONFIG`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gaussian_yolo_node.lab.training.checkpoint import CheckpointError
from gaussian_yolo_node.lab.training.config import ConfigError, TrainConfig
from gaussian_yolo_node.lab.training.detection import DetectionTask
from gaussian_yolo_node.lab.training.distributed import Processes
from gaussian_yolo_node.lab.training.initialise import find_start
from gaussian_yolo_node.lab.training.loop import BEST, CHECKPOINT, train
from gaussian_yolo_node.lab.training.validate import check_sources
from gaussian_yolo_node.labels import load_sources
from gaussian_yolo_node.labels.sources import missing_paths

__all__ = ["BEST", "CHECKPOINT", "run"]


def run(
    config_path: Path, output: Path, *, data_root: Path | None = None, seed: int | None = None, **options: Any
) -> Path:
    """Train a recipe.

    Args:
        config_path: YAML recipe.
        data_root: replaces the config's `data.root`.
        seed: replaces the config's.
        output, options, return value, errors: see `loop.train`.
    """
    config = TrainConfig.load(config_path)
    if seed is not None:
        config = replace(config, schedule=replace(config.schedule, seed=seed))
    check_sources(config)
    root = data_root or Path(config.data.root)

    def make(processes: Processes) -> DetectionTask:
        check_files(config, root)
        images = load_sources(root, config.data.train, config.model.classes)
        return DetectionTask(config, images, processes, root=root, fresh=not options.get("resume"))

    return train(make, output, **options)


def check_files(config: TrainConfig, root: Path) -> None:
    """Raises ConfigError naming all missing files and folders of a recipe."""
    missing = [str(path) for path in missing_paths(root, [*config.data.train, *config.data.validation])]
    if config.model.init:
        try:
            find_start(config.model.init)
        except CheckpointError:
            missing.append(f"model.init {config.model.init}")
    if missing:
        raise ConfigError(f"{config.name} lacks {', '.join(missing)}: set data.root in the config or pass --data")

"""Batches of augmented samples; each sample depends only on seed, epoch and position, so that a resumed run repeats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gaussian_yolo_node.training.augment import Sample, augment
from gaussian_yolo_node.training.config import TrainConfig
from gaussian_yolo_node.training.datasets import LabelledImage, read_image

Batch = tuple[Tensor, list[Tensor], list[Tensor]]


class EpochSampler(Sampler[Any]):
    """Yields (epoch, position, image index, with mosaic) for one epoch; set `epoch` before each pass."""

    def __init__(self, images: Sequence[LabelledImage], config: TrainConfig) -> None:
        self.weights = np.array([image.weight for image in images])
        self.config = config
        self.epoch = 0

    def __len__(self) -> int:
        batch = self.config.schedule.batch_size
        return max(1, int(self.weights.sum()) // batch) * batch

    def __iter__(self) -> Iterator[tuple[int, int, int, bool]]:
        schedule = self.config.schedule
        rng = np.random.default_rng([schedule.seed, self.epoch])
        # A weight of 1.3 is one showing and a 30 % chance of a second.
        counts = np.floor(self.weights + rng.random(len(self.weights))).astype(int)
        order = rng.permutation(np.repeat(np.arange(len(counts)), counts))
        order = np.resize(order, len(self))
        mosaic = self.epoch < schedule.epochs - schedule.mosaic_off_epochs
        for position, index in enumerate(order):
            yield self.epoch, position, int(index), mosaic


class AugmentedImages(Dataset[Sample]):
    """Training samples by the keys of `EpochSampler`; decoded images stay in memory."""

    def __init__(self, images: Sequence[LabelledImage], config: TrainConfig) -> None:
        self.images = images
        self.config = config
        self._decoded: dict[int, NDArray[np.uint8]] = {}

    def __getitem__(self, key: tuple[int, int, int, bool]) -> Sample:
        epoch, position, index, mosaic = key
        config = self.config
        rng = np.random.default_rng([config.schedule.seed, epoch, position, 1])
        picked = [index]
        if mosaic and rng.random() < config.augment.mosaic:
            picked += [int(other) for other in rng.integers(len(self.images), size=3)]
        items = [(self._image(i), self.images[i].boxes, self.images[i].class_ids) for i in picked]
        return augment(items, config.schedule.crop_size, config.model.input_size, config.augment, rng)

    def _image(self, index: int) -> NDArray[np.uint8]:
        if index not in self._decoded:
            self._decoded[index] = read_image(self.images[index].path)
        return self._decoded[index]


def make_loader(images: Sequence[LabelledImage], config: TrainConfig) -> tuple[DataLoader[Sample], EpochSampler]:
    """The loader of a run and the sampler that selects its epoch."""
    sampler = EpochSampler(images, config)
    workers = config.schedule.workers
    loader: DataLoader[Sample] = DataLoader(
        AugmentedImages(images, config),
        batch_size=config.schedule.batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        drop_last=True,
        persistent_workers=workers > 0,
    )
    return loader, sampler


def collate(samples: Sequence[Sample]) -> Batch:
    """RGB images float32 `[B,3,H,W]` 0..255, boxes and class ids per image."""
    canvases = np.stack([sample.canvas for sample in samples])[..., ::-1]
    images = torch.from_numpy(np.ascontiguousarray(canvases)).permute(0, 3, 1, 2).float()
    boxes = [torch.from_numpy(sample.boxes) for sample in samples]
    ids = [torch.from_numpy(sample.class_ids) for sample in samples]
    return images.contiguous(memory_format=torch.channels_last), boxes, ids

"""Batches of augmented samples. A sample depends only on seed, epoch and position, so resumed runs are reproducible."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.training.augment import Labelled, augment
from gaussian_yolo_node.lab.training.config import ConfigError, TrainConfig, training_sizes
from gaussian_yolo_node.lab.training.distributed import Processes
from gaussian_yolo_node.lab.training.frame_cache import FrameCache
from gaussian_yolo_node.labels import LabelledImage, read_image

MEMORY_BYTES = 4 << 30  # per process, of cached decoded images; further images are decoded each time

MEASURED_BATCHES = 8  # for the initial statistics of unfolded batch norms
GRACE_SECONDS = 8  # of a worker after SIGTERM


class Key(NamedTuple):
    """Key of a sample: position is its index in the epoch, image the index of its image, size the canvas height and
    width in px."""

    epoch: int
    position: int
    image: int
    mosaic: bool
    size: tuple[int, int]


class Batch(NamedTuple):
    """images uint8 `[B,3,H,W]` RGB; per image boxes float32 `[N,4]` (x1 y1 x2 y2, canvas px), class ids int64 `[N]`,
    the weights of coordinate errors (`[N,4]`, see `augment.Labelled`), and its source files."""

    images: Tensor
    boxes: list[Tensor]
    class_ids: list[Tensor]
    box_weights: list[Tensor]
    files: list[tuple[str, ...]]


class EpochSampler(Sampler[list[Key]]):
    """Keys of the batches of one epoch, `accumulate` batches per step; each process draws its share of every batch.

    Attributes:
        epoch: set it before each pass.
        start: first step of the next pass, in a resumed run.
    """

    def __init__(self, images: Sequence[LabelledImage], config: TrainConfig, processes: Processes) -> None:
        self.weights = np.array([image.weight for image in images])
        self.config = config
        self.processes = processes
        self.sizes = training_sizes(config.schedule)
        self.epoch = 0
        self.start = 0
        parts = config.schedule.accumulate * processes.count
        self.share, rest = divmod(config.schedule.batch_size, parts)
        if rest:
            raise ConfigError(f"schedule.batch_size {config.schedule.batch_size} cannot be shared among {parts} parts")

    @property
    def steps(self) -> int:
        """Optimiser steps per epoch."""
        return max(1, int(self.weights.sum()) // self.config.schedule.batch_size)

    def __len__(self) -> int:
        return self.steps * self.config.schedule.accumulate

    def __iter__(self) -> Iterator[list[Key]]:
        schedule = self.config.schedule
        rng = np.random.default_rng([schedule.seed, self.epoch])
        # A weight of 1.3 means one repetition and a second one with 30 % probability.
        counts = np.floor(self.weights + rng.random(len(self.weights))).astype(int)
        order = rng.permutation(np.repeat(np.arange(len(counts)), counts))
        order = np.resize(order, self.steps * schedule.batch_size)
        epochs = math.ceil(schedule.total_steps(self.steps) / self.steps)
        mosaic = self.epoch < epochs - schedule.mosaic_off_epochs
        for step in range(self.start, self.steps):
            draw = np.random.default_rng([schedule.seed, self.epoch, step, 2]).integers(len(self.sizes))
            for part in range(schedule.accumulate):
                offset = (part * self.processes.count + self.processes.rank) * self.share
                first = step * schedule.batch_size + offset
                yield [
                    Key(self.epoch, position, int(order[position]), mosaic, self.sizes[draw])
                    for position in range(first, first + self.share)
                ]


class AugmentedImages(Dataset[Labelled]):
    """Training samples by the keys of `EpochSampler`.

    Decoded images are cached in memory up to `MEMORY_BYTES`, or on disk if the config names a cache.
    """

    def __init__(self, images: Sequence[LabelledImage], config: TrainConfig) -> None:
        self.images = images
        self.config = config
        # At least the largest size at which a frame is used.
        growth = max(1.0, config.augment.scale[1]) * config.schedule.multi_scale[1]
        height, width = (round(side * growth) for side in config.model.input_size)
        self._cache = FrameCache(Path(config.data.cache), (height, width)) if config.data.cache else None
        self._decoded: dict[int, Labelled] = {}
        self._bytes = 0

    def __getitem__(self, key: Key) -> Labelled:
        """Raises DatasetError where an image cannot be read."""
        config = self.config
        rng = np.random.default_rng([config.schedule.seed, key.epoch, key.position, 1])
        picked = [key.image]
        if key.mosaic and rng.random() < config.augment.mosaic:
            picked += [int(other) for other in rng.integers(len(self.images), size=3)]
        # Multi-scale training shows the whole scene larger or smaller, not more or less of it.
        growth = key.size[0] / config.schedule.crop_size[0], key.size[1] / config.schedule.crop_size[1]
        height, width = config.model.input_size
        reference = round(height * growth[0]), round(width * growth[1])
        sample = augment([self._read(i) for i in picked], key.size, reference, config.augment, rng)
        return sample._replace(files=tuple(str(self.images[i].path) for i in picked))

    def _read(self, index: int) -> Labelled:
        image = self.images[index]
        if self._cache is not None:
            frame, (across, down) = self._cache.read(image.path)
            boxes = image.boxes * np.array([across, down] * 2, np.float32)
            return Labelled(frame, boxes, image.class_ids, image.coordinate_weights)
        if index in self._decoded:
            return self._decoded[index]
        item = Labelled(read_image(image.path), image.boxes, image.class_ids, image.coordinate_weights)
        if self._bytes + item.image.nbytes <= MEMORY_BYTES:
            self._bytes += item.image.nbytes
            self._decoded[index] = item
        return item


class _Reported(Dataset["Labelled | GaussianYoloError"]):
    """Returns the errors of a data set instead of raising them, because a worker would wrap them in its traceback."""

    def __init__(self, samples: AugmentedImages) -> None:
        self.samples = samples

    def __getitem__(self, key: Key) -> Labelled | GaussianYoloError:
        try:
            return self.samples[key]
        except GaussianYoloError as error:
            return error


def make_loader(
    images: Sequence[LabelledImage], config: TrainConfig, processes: Processes | None = None
) -> tuple[BatchLoader, EpochSampler]:
    """The loader of a run and the sampler that selects its epoch.

    Raises:
        ConfigError: the batch cannot be divided among the processes.
    """
    sampler = EpochSampler(images, config, processes or Processes())
    return BatchLoader(AugmentedImages(images, config), sampler, config.schedule.workers), sampler


def first_images(images: Sequence[LabelledImage], config: TrainConfig) -> Iterator[Tensor]:
    """RGB images `[B,3,H,W]` of the first batches of a run, independent of the number of processes."""
    samples, sampler = AugmentedImages(images, config), EpochSampler(images, config, Processes())
    for keys in islice(sampler, MEASURED_BATCHES):
        yield collate([samples[key] for key in keys]).images


class BatchLoader:
    """The batches of a sampler's epoch, loaded by `workers` processes, or by this process if 0."""

    def __init__(self, samples: AugmentedImages, sampler: EpochSampler, workers: int) -> None:
        self._loader: DataLoader[Labelled | GaussianYoloError] = DataLoader(
            _Reported(samples),
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=_collate_reported,
            persistent_workers=workers > 0,
            worker_init_fn=_outlive_signals,
        )
        self._iterator: Iterator[Batch | GaussianYoloError] = iter(())

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        """Raises DatasetError where an image cannot be read."""
        self._iterator = iter(self._loader)
        for batch in self._iterator:
            if isinstance(batch, GaussianYoloError):
                raise batch
            yield batch

    def close(self) -> None:
        """End the workers; otherwise they live on after an error while its traceback is kept."""
        if isinstance(self._iterator, _MultiProcessingDataLoaderIter):
            self._iterator._shutdown_workers()


def collate(samples: Sequence[Labelled]) -> Batch:
    """Collate samples into one batch."""
    canvases = np.stack([sample.image for sample in samples])[..., ::-1]
    return Batch(
        torch.from_numpy(np.ascontiguousarray(canvases)).permute(0, 3, 1, 2),
        [torch.from_numpy(sample.boxes) for sample in samples],
        [torch.from_numpy(sample.class_ids) for sample in samples],
        [torch.from_numpy(sample.box_weights) for sample in samples],
        [sample.files for sample in samples],
    )


def _collate_reported(samples: Sequence[Labelled | GaussianYoloError]) -> Batch | GaussianYoloError:
    errors = [sample for sample in samples if isinstance(sample, GaussianYoloError)]
    return errors[0] if errors else collate([sample for sample in samples if isinstance(sample, Labelled)])


def _outlive_signals(worker: int) -> None:
    """Delay signals, so that the main process can finish its step; a terminal or service signals workers too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Not ignored, because ending an idle worker waits for it.
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE_SECONDS))

"""Labelled and pseudo-labelled images of a classifier, and the endless streams that training draws from.

A sample depends only on seed, stream and position, so a resumed run sees the same samples as an uninterrupted one.
"""

from __future__ import annotations

import csv
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaussian_yolo_node.documents import read_json
from gaussian_yolo_node.file_names import is_image_name, natural_key, slashed
from gaussian_yolo_node.lab.classification.config import NoiseConfig
from gaussian_yolo_node.lab.classification.crops import Image, as_tensor, random_crop
from gaussian_yolo_node.lab.training.config import ConfigError
from gaussian_yolo_node.lab.training.rand_augment import rand_augment
from gaussian_yolo_node.labels import DatasetError, read_image
from gaussian_yolo_node.labels.pseudo import FORMAT
from gaussian_yolo_node.text_files import NotTextError, read_text

MEMORY_BYTES = 2 << 30  # limit of the cache of decoded images; further images are decoded each time
BATCHES_AHEAD = 2


@dataclass(frozen=True, eq=False)
class Items:
    """Images and their targets.

    Attributes:
        paths: N files.
        targets: `[N,C]` probabilities; one-hot for labels.
        copies: `[N]`, repetitions of each image per pass.
    """

    paths: tuple[Path, ...]
    targets: NDArray[np.float32]
    copies: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.copies.sum())


def read_labelled(path: Path, classes: Sequence[str] = ()) -> tuple[Items, tuple[str, ...]]:
    """Images with one class each, and the class names.

    Args:
        path: a folder with one subfolder per class (images at any depth), or a CSV file with the columns `image` (path
            relative to the file's folder) and `class`.
        classes: names in the order of the outputs; default: the sorted classes of the data.

    Raises:
        DatasetError: the data are missing or contain no image, or a class is not in `classes`.
    """
    pairs = _of_folder(path) if path.is_dir() else _of_csv(path)
    if not pairs:
        raise DatasetError(f"{path} has no pictures: it needs a folder a class, with pictures in it, or lines")
    names = tuple(classes) or tuple(sorted({name for _, name in pairs}))
    if len(names) < 2:
        raise DatasetError(f"{path} has the one class {names[0]!r}: a classifier needs two at least")
    index = {name: number for number, name in enumerate(names)}
    for image, name in pairs:
        if name not in index:
            raise DatasetError(f"{image}: class {name!r} is not among the classes {', '.join(names)}")
    targets = np.zeros((len(pairs), len(names)), np.float32)
    targets[np.arange(len(pairs)), [index[name] for _, name in pairs]] = 1
    return Items(tuple(image for image, _ in pairs), targets, np.ones(len(pairs), np.int64)), names


def _of_folder(folder: Path) -> list[tuple[Path, str]]:
    return [
        (image, place.name)
        for place in sorted(folder.iterdir(), key=natural_key)
        if place.is_dir() and not place.name.startswith(".")
        for image in sorted(place.rglob("*"), key=natural_key)
        if is_image_name(image.name)
    ]


def _of_csv(path: Path) -> list[tuple[Path, str]]:
    if path.suffix.lower() != ".csv":
        raise DatasetError(f"{path} is neither a folder with a folder a class nor a CSV file")
    try:
        reader = csv.DictReader(StringIO(read_text(path)))
        if not {"image", "class"} <= set(reader.fieldnames or ()):
            raise DatasetError(f"{path}: its first line must name the columns image and class")
        pairs = [(path.parent / slashed(row["image"] or ""), row["class"] or "") for row in reader]
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    except (NotTextError, csv.Error) as error:
        raise DatasetError(f"{path} is no CSV text: {error}") from error
    for number, (image, name) in enumerate(pairs, start=2):
        if not name:
            raise DatasetError(f"{path}, line {number}: class is empty")
        if not image.is_file():
            raise DatasetError(f"{path}, line {number}: there is no image {image}")
    return pairs


def read_pseudo(path: Path, classes: Sequence[str]) -> Items:
    """Images with a teacher's probabilities, as written by `noisy_student.select_classes`.

    Classes are matched by name; classes unknown to the teacher get probability 0.

    Raises:
        DatasetError: the file is missing, damaged or contains detections, an image is missing, or a class is not in
            `classes`.
    """
    document = read_json(path, "selected labels", lambda fault: DatasetError(f"{fault}: damaged, select again"))
    try:
        kind, version = document["kind"], document["format"]
        if kind != "classification" or version != FORMAT:
            raise DatasetError(f"{path} holds labels for {kind} of format {version}: it needs classification, {FORMAT}")
        names, records = list(map(str, document["classes"])), document["images"]
        images = tuple(path.parent / str(record["path"]) for record in records)
        given = np.array([record["probabilities"] for record in records], np.float32).reshape(len(records), len(names))
        copies = np.array([record["copies"] for record in records], np.int64)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise DatasetError(f"selected labels {path} are damaged: select again") from error
    foreign = [name for name in names if name not in classes]
    if foreign:
        raise DatasetError(f"{path}: class {foreign[0]!r} is not among the student's classes {', '.join(classes)}")
    sums = given.sum(axis=1)
    if not len(records) or copies.min() < 0 or not copies.sum():
        raise DatasetError(f"{path} selects no picture: lower the threshold of the selection")
    if not (np.isfinite(given).all() and given.min() >= 0 and np.abs(sums - 1).max() < 0.01):
        raise DatasetError(f"selected labels {path} are damaged, a picture's probabilities are none: select again")
    lost = next((image for image in images if not image.is_file()), None)
    if lost is not None:
        raise DatasetError(f"{path}: there is no image {lost}: restore it, or select again")
    targets = np.zeros((len(records), len(classes)), np.float32)
    targets[:, [list(classes).index(name) for name in names]] = given / sums[:, None]
    return Items(images, targets, copies)


@dataclass(frozen=True)
class View:
    """Training augmentation; `size` is the side of the square in px."""

    noise: NoiseConfig
    size: int
    crop_fraction: float

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        """uint8 `[S,S,3]` BGR."""
        noise = self.noise
        crop = random_crop(image, self.size, noise.least_crop, self.crop_fraction, rng)
        if rng.random() < noise.flip:
            crop = np.ascontiguousarray(crop[:, ::-1])
        return rand_augment(crop, rng, noise.ops, noise.rand_augment_magnitude, names=noise.names)


class Stream:
    """An endless stream over `items`, shuffled anew for each pass.

    Args:
        seed: of the run.
        number: of the stream within the run.
    """

    def __init__(self, items: Items, view: View, seed: int, number: int) -> None:
        self.items, self.view = items, view
        self.seed, self.number = seed, number
        self._shown = np.repeat(np.arange(len(items.paths)), items.copies)
        self._order: tuple[int, NDArray[np.int64]] = (-1, self._shown)
        self._decoded: dict[int, Image] = {}
        self._bytes = 0

    def index(self, position: int) -> int:
        """Index of the image at a position (from 0, unbounded)."""
        turn, place = divmod(position, len(self._shown))
        if self._order[0] != turn:
            rng = np.random.default_rng([self.seed, self.number, 0, turn])
            self._order = turn, rng.permutation(self._shown)
        return int(self._order[1][place])

    def sample(self, position: int, index: int) -> Image:
        """Image `index`, augmented for `position`. Raises DatasetError if it cannot be read."""
        return self.view(self._read(index), np.random.default_rng([self.seed, self.number, 1, position]))

    def _read(self, index: int) -> Image:
        image = self._decoded.get(index)
        if image is None:
            image = read_image(self.items.paths[index])
            if self._bytes + image.nbytes <= MEMORY_BYTES:
                self._bytes += image.nbytes
                self._decoded[index] = image
        return image


class Batch(NamedTuple):
    """Images uint8 `[B,3,S,S]` RGB with targets `[B,C]`; the first `labelled` of them are labelled."""

    images: Tensor
    targets: Tensor
    labelled: int


@dataclass(frozen=True)
class Share:
    """One stream's share of each step: `count` images over all processes, and the slice of this process."""

    stream: Stream
    count: int
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        """Raises ConfigError if the images cannot be divided evenly."""
        if self.count % self.processes:
            raise ConfigError(f"{self.count} pictures of a step cannot be shared among {self.processes} processes")

    def positions(self, step: int) -> range:
        mine = self.count // self.processes
        first = step * self.count + self.rank * mine
        return range(first, first + mine)


class Batches:
    """The batches of a run: labelled images, then pseudo-labelled ones, if any.

    Args:
        shares: of the labelled stream and, if any, the pseudo-labelled stream.
        workers: threads that read and augment ahead of the training.
    """

    def __init__(self, shares: Sequence[Share], workers: int) -> None:
        self.shares = shares
        self._pool = ThreadPoolExecutor(workers)

    def steps(self, first: int, end: int) -> Iterator[Batch]:
        """The batches of steps `first` to `end`, exclusive. Raises DatasetError for an unreadable image."""
        ahead: deque[tuple[list[tuple[Share, int]], list[Future[Image]]]] = deque()
        begun = first
        for _ in range(first, end):
            while begun < end and len(ahead) <= BATCHES_AHEAD:
                ahead.append(self._begin(begun))
                begun += 1
            drawn, futures = ahead.popleft()
            targets = np.stack([share.stream.items.targets[index] for share, index in drawn])
            labelled = sum(share is self.shares[0] for share, _ in drawn)
            yield Batch(as_tensor([future.result() for future in futures]), torch.from_numpy(targets), labelled)

    def _begin(self, step: int) -> tuple[list[tuple[Share, int]], list[Future[Image]]]:
        drawn = []
        futures: list[Future[Any]] = []
        for share in self.shares:
            for position in share.positions(step):
                index = share.stream.index(position)
                drawn.append((share, index))
                futures.append(self._pool.submit(share.stream.sample, position, index))
        return drawn, futures

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def steps_of(pictures: int, batch_size: int) -> int:
    """Optimiser steps per epoch over `pictures` labelled images; at least 1."""
    return max(1, math.ceil(pictures / batch_size - 1e-9))

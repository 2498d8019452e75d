"""Labelled frames for detector tests, and corrupted copies of them, computed here or in other processes."""

from __future__ import annotations

import hashlib
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from gaussian_yolo_node.file_names import hashable
from gaussian_yolo_node.lab.robustness import RobustnessError
from gaussian_yolo_node.lab.robustness.corruptions import Image, corrupt
from gaussian_yolo_node.labels.images import image_files, read_image
from gaussian_yolo_node.labels.labelled_frames import GroundTruth
from gaussian_yolo_node.labels.truths import read_ground_truth
from gaussian_yolo_node.processes import end_with_parent, uninterrupted

_IMAGE_FOLDERS = ("image_2", "image", "images", "training/image_2")
_LABEL_FOLDERS = ("label_2", "label", "labels", "training/label_2")


@dataclass(frozen=True, eq=False)
class LabelledFrames:
    """Images with labels.

    Attributes:
        paths: of the images, in the order of their names.
        truths: their labels; may include labels of other images.
    """

    paths: tuple[Path, ...]
    truths: GroundTruth

    @property
    def digest(self) -> str:
        """Hash of names and labels, to distinguish tests on other frames or corrected labels."""
        digest = hashlib.sha256()
        for path in self.paths:
            truth = self.truths.frame(path.name)
            digest.update(hashable(path.name))
            if truth is not None:
                digest.update(truth.truths.boxes.tobytes() + "\0".join(truth.truths.categories.tolist()).encode())
        return digest.hexdigest()[:16]


def find_frames(data: Path, labels: Path | None = None, limit: int = 0) -> LabelledFrames:
    """The labelled images of a folder.

    Args:
        data: folder of images, or a folder with an image folder (image_2, image, images) and labels (label_2, ..).
        labels: ground truth as for `evaluate`; None looks beside the images.
        limit: maximum number of images, evenly spaced; 0 takes all.

    Raises:
        RobustnessError: the folder is missing, or has no images with labels.
        DatasetError: the labels cannot be read.
    """
    if not data.is_dir():
        raise RobustnessError(f"DATA {data} does not exist: give a folder of images with labels")
    images = next((data / name for name in _IMAGE_FOLDERS if (data / name).is_dir()), data)
    parents = (data, images.parent)
    found = (parent / name for parent in parents for name in _LABEL_FOLDERS if (parent / name).is_dir())
    where = labels or next(found, None)
    if where is None:
        raise RobustnessError(f"{data} has no labels (a folder label_2 beside the images): give them with --labels")
    truths = read_ground_truth(where)
    paths = [path for path in image_files(images) if truths.frame(path.name) is not None]
    if not paths:
        raise RobustnessError(f"no image in {images} has a label in {where}: their names must be the same")
    return LabelledFrames(tuple(evenly(paths, limit)), truths)


def evenly(items: Sequence[Path], limit: int) -> list[Path]:
    """At most `limit` items, evenly spaced including first and last; 0 takes all."""
    if limit < 0:
        raise RobustnessError(f"a limit of {limit} frames is not possible: give 1 or more, or 0 for all")
    if not limit or limit >= len(items):
        return list(items)
    places = np.linspace(0, len(items) - 1, limit).round().astype(int)
    return [items[place] for place in places]


class CorruptedFrames(AbstractContextManager["CorruptedFrames"]):
    """Computes corrupted copies of images, in order.

    Args:
        workers: processes; 0 corrupts in this one.
        seed: see `corrupt`.
    """

    def __init__(self, workers: int = 0, seed: int = 0) -> None:
        if workers < 0:
            raise RobustnessError(f"{workers} workers are not possible: give 0 or more")
        self.workers = workers
        self.seed = seed
        self._pool: ProcessPoolExecutor | None = None

    def __call__(self, paths: Sequence[Path], name: str, severity: int) -> Iterator[Image]:
        """Yields uint8 [H, W, 3] BGR of each path; severity 0 is the image itself."""
        if not self.workers or not severity:
            yield from (corrupted_file(path, name, severity, self.seed) for path in paths)
            return
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self.workers, get_context("spawn"), _begin)
        waiting: deque[Future[Image]] = deque()
        # Only a few ahead: workers that are faster than the detector would fill the memory.
        try:
            for path in paths:
                with uninterrupted():  # the first ones start the workers
                    waiting.append(self._pool.submit(corrupted_file, path, name, severity, self.seed))
                if len(waiting) > 2 * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise RobustnessError("a worker process died (out of memory?): use fewer with --workers") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def corrupted_file(path: Path, name: str, severity: int, seed: int) -> Image:
    """Read an image and corrupt it; severity 0 returns the original."""
    image = read_image(path)
    return corrupt(image, name, severity, key=path.name, seed=seed) if severity else image


def _begin() -> None:
    # The parent handles Ctrl-C and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None and parent.pid is not None
    end_with_parent(parent.pid)
    cv2.setNumThreads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")

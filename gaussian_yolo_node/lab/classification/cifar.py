"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) in their binary version, unpacked into a folder per class.

A record is a label byte (CIFAR-100: the coarse label, then the fine one) and 3072 bytes of pixels: 32x32 of red, of
green, of blue.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.labels import DatasetError
from gaussian_yolo_node.text_files import read_text

SIDE = 32  # px
PIXELS = 3 * SIDE * SIDE
TRAIN, TEST = "train", "test"


@dataclass(frozen=True)
class Layout:
    """The files of one of the two sets.

    Attributes:
        parts: files of the training and of the test images.
        names: file of the class names, one per line.
        label_bytes: per record; the last one is the class.
        pickles: a file of the Python version.
    """

    title: str
    parts: dict[str, Sequence[str]]
    names: str
    label_bytes: int
    pickles: str


LAYOUTS = (
    Layout(
        "CIFAR-10",
        {TRAIN: tuple(f"data_batch_{number}.bin" for number in range(1, 6)), TEST: ("test_batch.bin",)},
        "batches.meta.txt",
        1,
        "data_batch_1",
    ),
    Layout("CIFAR-100", {TRAIN: ("train.bin",), TEST: ("test.bin",)}, "fine_label_names.txt", 2, "meta"),
)


def find_cifar(folder: Path) -> Layout | None:
    """The set whose binary files a folder has; None if it has neither's.

    Raises:
        DatasetError: the folder has the Python version, or only a part of the binary one.
    """
    for layout in LAYOUTS:
        files = [*layout.parts[TRAIN], *layout.parts[TEST]]
        missing = [name for name in (*files, layout.names) if not (folder / name).is_file()]
        if len(missing) <= len(files) and any((folder / name).is_file() for name in files):
            if missing:
                raise DatasetError(f"{folder} lacks {', '.join(missing)} of {layout.title}: unpack its archive again")
            return layout
        if (folder / layout.pickles).is_file():
            raise DatasetError(
                f"{folder} is the Python version of {layout.title}, whose pickles can run any code: take the binary "
                "version (-binary.tar.gz)"
            )
    return None


def unpack_cifar(folder: Path, layout: Layout, output: Path) -> Path:
    """Write `train/CLASS/NUMBER.png` and `test/..` below `output`, unless they are there; returns `output`.

    Raises:
        DatasetError: a file is damaged.
        WriteError: a picture cannot be written.
    """
    if output.is_dir():
        return output
    names = read_text(folder / layout.names).split()
    part = output.with_name(f".{output.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for split, files in layout.parts.items():
        number = 0
        for file in files:
            data = np.fromfile(folder / file, np.uint8)
            if not len(data) or len(data) % (layout.label_bytes + PIXELS):
                raise DatasetError(
                    f"{folder / file} is no file of {layout.title}, or truncated: unpack its archive again"
                )
            records = data.reshape(-1, layout.label_bytes + PIXELS)
            labels = records[:, layout.label_bytes - 1]
            if labels.max() >= len(names):
                raise DatasetError(
                    f"{folder / file} has a label {labels.max()}, but {layout.names} has {len(names)} names"
                )
            images = records[:, layout.label_bytes :].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
            for label, image in zip(labels, images, strict=True):
                encoded = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1]
                write_whole(part / split / names[label] / f"{number:05d}.png", encoded.tobytes())
                number += 1
    os.replace(part, output)
    return output

"""Small images and networks for style transfer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from factories import make_image
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gaussian_yolo_node.lab.style_transfer.extractors import BackboneExtractor

KITTI_LINE = b"Car 0.00 0 -1.58 10 10 40 30 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\r\n"


def make_stripes(height: int = 48, width: int = 48, seed: int = 0) -> NDArray[np.uint8]:
    """Coloured diagonal stripes, uint8 BGR."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    wave = 0.5 + 0.5 * np.sin((rows + columns) / rng.uniform(1.5, 4.0))
    first, second = rng.integers(0, 256, (2, 3))
    return (first + (second - first) * wave[..., None]).astype(np.uint8)


def make_frames(folder: Path, names: list[str], labelled: bool = True) -> None:
    """Frames of 48x64 px in `image_2`, and their labels in `label_2`."""
    for seed, name in enumerate(names):
        path = folder / "image_2" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), make_image(48, 64, seed=seed))
        if labelled:
            label = (folder / "label_2" / name).with_suffix(".txt")
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_bytes(KITTI_LINE * (1 + seed % 3))


def make_styles(folder: Path, count: int = 2) -> Path:
    folder.mkdir(parents=True)
    for seed in range(count):
        cv2.imwrite(str(folder / f"style{seed}.png"), make_stripes(seed=seed))
    return folder


def untrained_extractor(seed: int = 0) -> BackboneExtractor:
    """EfficientNet-Lite0 with random weights."""
    import torch

    from gaussian_yolo_node.lab.networks.backbones import create_backbone
    from gaussian_yolo_node.lab.style_transfer.extractors import BackboneExtractor

    torch.manual_seed(seed)
    return BackboneExtractor(create_backbone("efficientnet_lite0"), "untrained")

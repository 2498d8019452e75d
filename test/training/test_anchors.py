"""Anchor clustering."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from gaussian_yolo_node.training.anchors import kmeans_anchors, shape_iou


def test_separated_clusters_are_found() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[10.0, 20], [60, 30], [120, 100]])
    sizes = np.concatenate([centre * rng.uniform(0.95, 1.05, (200, 2)) for centre in centres])
    anchors, iou = kmeans_anchors(sizes, 3)
    assert anchors == pytest.approx(centres, rel=0.03)
    assert iou > 0.93


def test_too_few_boxes_are_refused() -> None:
    with pytest.raises(ValueError, match="9 anchors"):
        kmeans_anchors(np.ones((50, 2)))


def test_the_shipped_anchors_fit_kitti(golden_dir: Path) -> None:
    """The recipe's anchors reach the mean IoU that its comment states."""
    pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    from gaussian_yolo_node.training.config import TrainConfig

    archive = golden_dir.parent / "data" / "kitti_split" / "label_2_all.tar.xz"
    recipe = Path(__file__).resolve().parents[2] / "engines" / "efficientnet_lite0_kitti.yaml"
    sizes = []
    with tarfile.open(archive) as files:
        for member in files:
            stream = files.extractfile(member)
            for line in stream.read().decode().splitlines() if stream else []:
                fields = line.split()
                if fields[0] in ("Car", "Pedestrian", "Cyclist"):
                    x1, y1, x2, y2 = map(float, fields[4:8])
                    sizes.append((x2 - x1, y2 - y1))
    assert len(sizes) == 34856
    anchors = np.array(TrainConfig.load(recipe).model.anchors).reshape(-1, 2)
    letterbox = min(320 / 375, 1024 / 1242)
    assert shape_iou(np.array(sizes) * letterbox, anchors).max(1).mean() == pytest.approx(0.723, abs=0.002)

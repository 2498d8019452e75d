"""Anchor clustering, and the fit of KITTI's published anchors."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from gaussian_yolo_node.lab.networks.yolov3 import PRESETS
from gaussian_yolo_node.lab.training.anchors import AnchorError, anchors_for, kmeans_anchors, mean_iou, sizes_on_canvas

KITTI_IMAGE = (375, 1242)  # height, width of most images


@pytest.fixture(scope="module")
def kitti_sizes(driving_dir: Path) -> np.ndarray:
    """Widths and heights of cars, pedestrians and cyclists in all KITTI label files, px."""
    sizes = []
    with tarfile.open(driving_dir / "kitti_split" / "label_2_all.tar.xz") as files:
        for member in files:
            stream = files.extractfile(member)
            for line in stream.read().decode().splitlines() if stream else []:
                fields = line.split()
                if fields[0] in ("Car", "Pedestrian", "Cyclist"):
                    x1, y1, x2, y2 = map(float, fields[4:8])
                    sizes.append((x2 - x1, y2 - y1))
    assert len(sizes) == 34856
    return np.array(sizes)


def test_separated_clusters_are_found() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[10.0, 20], [60, 30], [120, 100]])
    sizes = np.concatenate([centre * rng.uniform(0.95, 1.05, (200, 2)) for centre in centres])
    anchors, iou = kmeans_anchors(sizes, 3)
    assert anchors == pytest.approx(centres, rel=0.03)
    assert iou > 0.93


def test_anchors_are_shared_out_coarsest_first() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.uniform(5, 200, (500, 2))
    fit = anchors_for(sizes, np.array([100, 100]), (200, 200))
    assert [len(row) for row in fit.anchors] == [3, 3, 3] and fit.boxes == 500
    areas = [w * h for row in reversed(fit.anchors) for w, h in row]
    assert areas == sorted(areas)
    assert fit.mean_iou == pytest.approx(mean_iou(2 * sizes, np.array(fit.anchors).reshape(-1, 2)))
    assert fit == anchors_for(sizes, np.array([100, 100]), (200, 200))


@pytest.mark.parametrize(
    ("resize", "expected"), [("letterbox", [[20.0, 10], [10, 20]]), ("stretch", [[20.0, 20], [20, 20]])]
)
def test_sizes_come_to_the_canvas(resize: str, expected: list[list[float]]) -> None:
    """A wide and a tall image, resized to a square."""
    images = np.array([[50, 100], [100, 50]])
    found = sizes_on_canvas(np.array([[10.0, 5], [5, 10]]), images, (200, 200), resize)  # type: ignore[arg-type]
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("sizes", "count", "message"),
    [
        (np.ones((50, 2)), 9, "9 anchors need at least 9 distinct box sizes, got 1"),
        (np.empty((0, 2)), 9, "got 0"),
        (np.array([[5.0, 0.0]] * 20), 9, "without width or height"),
        (np.array([[5.0, np.nan]] * 20), 9, "without width or height"),
        (np.random.default_rng(0).uniform(1, 9, (50, 2)), 7, "multiple of 3"),
    ],
)
def test_unusable_boxes_are_refused(sizes: np.ndarray, count: int, message: str) -> None:
    with pytest.raises(AnchorError, match=message):
        anchors_for(sizes, np.array([100, 100]), (96, 96), count=count)


def test_the_published_kitti_anchors_are_those_of_stretched_images(kitti_sizes: np.ndarray) -> None:
    """The setting of the paper: 512x512. With letterboxing its anchors hardly match."""
    published = np.array(PRESETS["kitti"].anchors)
    image = np.array(KITTI_IMAGE)
    stretched = sizes_on_canvas(kitti_sizes, image, (512, 512), "stretch")
    assert mean_iou(stretched, published) == pytest.approx(0.694, abs=0.001)
    assert mean_iou(sizes_on_canvas(kitti_sizes, image, (512, 512)), published) < 0.4
    assert anchors_for(kitti_sizes, image, (512, 512), resize="stretch", restarts=1).mean_iou > 0.715


@pytest.mark.parametrize("name", ["efficientnet_lite0_kitti_1", "efficientnet_lite0_kitti_2"])
def test_the_shipped_anchors_fit_kitti(kitti_sizes: np.ndarray, name: str) -> None:
    """The recipes' anchors reach the mean IoU that the first one's comment states."""
    pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    from gaussian_yolo_node.lab.training.config import TrainConfig

    model = TrainConfig.load(Path(__file__).resolve().parents[3] / "engines" / f"{name}.yaml").model
    anchors = np.array(model.anchors).reshape(-1, 2)
    sizes = sizes_on_canvas(kitti_sizes, np.array(KITTI_IMAGE), model.input_size)
    assert mean_iou(sizes, anchors) == pytest.approx(0.723, abs=0.002)

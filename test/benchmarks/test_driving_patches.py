"""Patches of driving data, and what the ablation on them says, from hand-made figures."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

for package in ("torch", "matplotlib"):
    pytest.importorskip(package, reason=f"{package} is not installed (extras 'train' and 'bench')")

from training_runs import make_document  # noqa: E402


@pytest.fixture
def patches() -> ModuleType:
    return importlib.import_module("driving_patches")


def test_cars_are_bright_and_background_is_dark(patches: ModuleType, tmp_path: Path) -> None:
    """The synthetic cars are at least 150 bright on ground below 60."""
    make_document(tmp_path, images=12)
    sources = [{"format": "kitti", "images": "image", "labels": "label"}]
    images, classes = patches.load_patches(tmp_path, sources, 10, 32)
    assert images.shape == (len(classes), 32, 32, 3) and images.dtype == np.uint8
    assert (classes == 0).sum() == 10 and set(classes.tolist()) <= {0, 3}
    centres = images[:, 12:20, 12:20].mean((1, 2, 3))
    assert centres[classes == 0].min() > 120 and (classes == 3).any()
    assert images[classes == 3].mean((1, 2, 3)).max() < 60
    again, _ = patches.load_patches(tmp_path, sources, 10, 32)
    np.testing.assert_array_equal(again, images)


def test_a_square_beyond_the_border_repeats_the_edge(patches: ModuleType) -> None:
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)[..., None].repeat(3, 2)
    cut = patches._cut(image, (-2.0, -2.0, 4.0), 4)
    assert cut[..., 0].tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [4, 4, 4, 5]]


def test_the_drives_of_both_parts_differ(patches: ModuleType, driving_dir: Path) -> None:
    from gaussian_yolo_node.labels import load_sources

    names = [
        {image.path for image in load_sources(driving_dir, sources, patches.CLASSES[:3])}
        for sources in (patches.TRAIN, patches.TEST)
    ]
    assert names[0] and names[1] and not names[0] & names[1]
    assert not any(path.stem.startswith("Seq05VD") for path in names[0])


def figures(gains: Sequence[float]) -> dict[str, Any]:
    """Runs of three kernels: the MDConv lies halfway in MACs between two single kernels of 50 and 60 %."""
    macs = {"3": 100, "5": 200, "3.5": 150}
    runs = {}
    for seed, gain in enumerate(gains):
        for kernels, accuracy in (("3", 0.5), ("5", 0.6), ("3.5", 0.55 + gain / 100)):
            run = {"host": "mobilenet_v2", "kernels": kernels, "layer": None, "seed": seed, "accuracy": accuracy}
            runs[f"{kernels} {seed}"] = run
    settings = {
        "data": "patches", "image_size": 48, "width": 0.35, "training_images": 1200, "test_images": 800, "epochs": 8,
    }  # fmt: skip
    costs = {
        f"mobilenet_v2 {kernels}": {"macs": 1e6 * of, "ms": 1.0, "parameters": 1e6} for kernels, of in macs.items()
    }
    return {"settings": settings, "machine": "a machine", "runs": runs, "costs": costs}


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([1.0, 2.0, 3.0], "by +1.0, +2.0, +3.0 points, seed by seed: MDConv is better, as the paper says."),
        ([-1.0, -2.0, -3.0], ": MDConv is worse, unlike in the paper."),
        ([1.0, -1.0, 2.0], ": this does not decide it."),
        ([5.0], ": this does not decide it."),
    ],
)
def test_a_conclusion(patches: ModuleType, tmp_path: Path, gains: Sequence[float], expected: str) -> None:
    report = importlib.import_module("mdconv_report")
    results = figures(gains)
    assert report.conclusion(results, "mobilenet_v2").endswith(expected)
    report.write_table(results, tmp_path / "a.md")
    report.write_figure(results, tmp_path / "a.png")
    text = (tmp_path / "a.md").read_text()
    assert expected in text and "driving patches" in text and "at most 300 of each class" in text
    assert "MobileNet V1" not in text and "one layer replaced" not in text
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_an_unfinished_seed_does_not_count(patches: ModuleType) -> None:
    report = importlib.import_module("mdconv_report")
    results = figures([1.0, 2.0, 3.0, -9.0])
    del results["runs"]["5 3"]
    assert "by +1.0, +2.0, +3.0 points" in report.conclusion(results, "mobilenet_v2")
    for kernels in ("3", "5"):
        results["runs"] = {name: run for name, run in results["runs"].items() if run["kernels"] != kernels}
    assert report.conclusion(results, "mobilenet_v2") == "MobileNet V2: no seed is finished."

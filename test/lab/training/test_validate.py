"""Average precisions of several sets, and the canvas of each frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from factories import ANCHORS, PLANTED, Planted, make_card, make_heads  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from training_runs import make_document  # noqa: E402

from gaussian_yolo_node.lab.training.config import ConfigError, TrainConfig  # noqa: E402
from gaussian_yolo_node.lab.training.validate import average_precisions, check_sources, detect  # noqa: E402

CLASSES = ("car", "pedestrian", "cyclist")
SIZE = (64, 96)
# A car and a pedestrian that the network detects, and a car that it misses.
CAR, PEDESTRIAN = (planted.box for planted in PLANTED)
UNSEEN = (60.0, 2.0, 90.0, 18.0)


class Planting(nn.Module):
    """Returns the same boxes on every canvas, and records the canvas sizes."""

    def __init__(self, planted: Sequence[Planted] = PLANTED) -> None:
        super().__init__()
        self.planted = planted
        self.device = nn.Parameter(torch.zeros(1))
        self.canvases: list[tuple[int, int]] = []

    def forward(self, image: Tensor) -> list[Tensor]:
        size = (image.shape[2], image.shape[3])
        self.canvases.append(size)
        return [torch.from_numpy(head) for head in make_heads(make_card(size, CLASSES), self.planted)]


def write_frame(folder: Path, stem: str, *objects: tuple[str, tuple[float, ...]]) -> None:
    """Write a frame with its objects."""
    for name in ("image", "label"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "image" / f"{stem}.png"), np.zeros((*SIZE, 3), np.uint8))
    lines = [f"{kind} 0 0 0 {' '.join(map(str, box))} 1 1 1 1 1 1 1" for kind, box in objects]
    (folder / "label" / f"{stem}.txt").write_text("\n".join(lines))


def source_of(name: str) -> dict[str, Any]:
    return {"format": "kitti", "images": f"{name}/image", "labels": f"{name}/label"}


def make_config(root: Path, *sources: dict[str, Any]) -> TrainConfig:
    document = make_document(root / "train")
    document["model"] |= {"classes": list(CLASSES), "anchors": [list(map(list, level)) for level in ANCHORS]}
    document["data"] |= {"root": str(root), "validation": list(sources)}
    return TrainConfig.from_dict(document, "test")


@pytest.fixture
def day(tmp_path: Path) -> dict[str, Any]:
    """A set whose objects are all detected."""
    write_frame(tmp_path / "day", "a", ("Car", CAR))
    return source_of("day")


@pytest.fixture
def night(tmp_path: Path) -> dict[str, Any]:
    """A set whose pedestrian is detected and whose car is missed."""
    write_frame(tmp_path / "night", "a", ("Car", UNSEEN), ("Pedestrian", PEDESTRIAN))
    return source_of("night")


OF_DAY = {"AP50 car": 1.0, "AP car": 1.0, "mAP50": 1.0, "mAP": 1.0}
OF_NIGHT = {"AP50 car": 0.0, "AP car": 0.0, "AP50 pedestrian": 1.0, "AP pedestrian": 1.0, "mAP50": 0.5, "mAP": 0.5}
MEANS = {"AP50 car": 0.5, "AP car": 0.5, "AP50 pedestrian": 1.0, "AP pedestrian": 1.0, "mAP50": 0.75, "mAP": 0.75}


def under(name: str, figures: dict[str, float]) -> dict[str, float]:
    return {f"{name}/{key}": value for key, value in figures.items()}


def test_one_set_without_a_name_has_plain_figures(tmp_path: Path, night: dict[str, Any]) -> None:
    assert average_precisions(Planting(), make_config(tmp_path, night), tmp_path) == OF_NIGHT


def test_one_set_with_a_name_has_both(tmp_path: Path, night: dict[str, Any]) -> None:
    config = make_config(tmp_path, {"name": "dark", **night})
    assert average_precisions(Planting(), config, tmp_path) == {**OF_NIGHT, **under("dark", OF_NIGHT)}


@pytest.mark.parametrize(
    "names",
    [
        ("day", "night"),
        (None, None),  # named after their label folders, which contain slashes
        ("a", "a/b"),
        ("AP50 car", "m/AP50 car"),
        (None, "night"),
    ],
)
def test_two_sets_have_figures_of_their_own_and_means(
    tmp_path: Path, day: dict[str, Any], night: dict[str, Any], names: tuple[str | None, str | None]
) -> None:
    sources = [
        source if name is None else {"name": name, **source} for name, source in zip(names, (day, night), strict=True)
    ]
    first, second = (source.get("name", source["labels"]) for source in sources)
    found = average_precisions(Planting(), make_config(tmp_path, *sources), tmp_path)
    assert found == {**under(first, OF_DAY), **under(second, OF_NIGHT), **MEANS}


def test_a_set_may_be_a_part_of_a_folder(tmp_path: Path, day: dict[str, Any]) -> None:
    write_frame(tmp_path / "day", "night_1", ("Car", UNSEEN))
    parts = ({"name": "day", "exclude": ["night_*"], **day}, {"name": "night", "include": ["night_*"], **day})
    found = average_precisions(Planting(), make_config(tmp_path, *parts), tmp_path)
    assert (found["day/AP50 car"], found["night/AP50 car"], found["AP50 car"]) == (1, 0, 0.5)


def test_two_sets_of_one_name_are_refused(tmp_path: Path, day: dict[str, Any], night: dict[str, Any]) -> None:
    for sources, name in (([{"name": "x", **day}, {"name": "x", **night}], "x"), ([day, day], "day/label")):
        with pytest.raises(ConfigError, match=f"data.validation: two sources are called '{name}': give each a 'name'"):
            check_sources(make_config(tmp_path, *sources))


@pytest.mark.parametrize(
    ("frame", "canvas"),
    [((64, 96), (64, 96)), ((96, 64), (96, 64)), ((10, 400), (32, 192)), ((50, 50), (64, 64)), ((640, 960), (64, 96))],
)
def test_each_frame_is_seen_on_the_canvas_that_fits_it(
    tmp_path: Path, frame: tuple[int, int], canvas: tuple[int, int]
) -> None:
    model = Planting(planted=())
    detect(model, make_config(tmp_path).model, np.zeros((*frame, 3), np.uint8))
    assert model.canvases == [canvas]

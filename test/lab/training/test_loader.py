"""Contents of batches."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from training_runs import make_config, make_document  # noqa: E402

from gaussian_yolo_node.lab.training import loader as loader_module  # noqa: E402
from gaussian_yolo_node.lab.training.config import ConfigError, TrainConfig  # noqa: E402
from gaussian_yolo_node.lab.training.distributed import Processes  # noqa: E402
from gaussian_yolo_node.lab.training.loader import (  # noqa: E402
    MEASURED_BATCHES,
    Batch,
    EpochSampler,
    Key,
    first_images,
    make_loader,
)
from gaussian_yolo_node.labels import LabelledImage, load_sources  # noqa: E402

NOTHING = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)


def make_images(*weights: float) -> list[LabelledImage]:
    return [LabelledImage(Path(f"{index}.png"), *NOTHING, weight) for index, weight in enumerate(weights)]


def batches_of(config: TrainConfig, processes: Processes | None = None, epoch: int = 0, start: int = 0) -> list[Batch]:
    images = load_sources(Path(config.data.root), config.data.train, ["car"])
    loader, sampler = make_loader(images, config, processes)
    sampler.epoch, sampler.start = epoch, start
    with closing(loader):
        return list(loader)


def keys_of(sampler: EpochSampler, epoch: int = 0) -> list[Key]:
    sampler.epoch = epoch
    return [key for batch in sampler for key in batch]


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    assert [batch.files for batch in found] == [batch.files for batch in expected]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.images, other.images)
        assert all(
            torch.equal(a, b) for a, b in zip(one.boxes + one.class_ids, other.boxes + other.class_ids, strict=True)
        )


def test_batches(tmp_path: Path) -> None:
    config = make_config(tmp_path, batch_size=4)
    batches = batches_of(config)
    assert len(batches) == 2  # four images, two repetitions each
    for images, boxes, class_ids, weights, files in batches:
        assert images.shape == (4, 3, 64, 96) and images.dtype == torch.uint8
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert [len(item) for item in boxes] == [len(item) for item in class_ids] and len(files) == 4
        assert [item.shape for item in weights] == [item.shape for item in boxes]
    shown = Counter(files[0] for batch in batches for files in batch.files)
    assert set(shown.values()) == {2} and len(shown) == 4


def test_batches_repeat_with_workers_from_the_cache_and_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    config = make_config(tmp_path, multi_scale=[0.5, 1.5])
    expected = batches_of(config, epoch=3)
    assert len(expected) == 4
    with_workers = replace(config, schedule=replace(config.schedule, workers=2))
    assert_same(batches_of(with_workers, epoch=3), expected)
    assert_same(batches_of(config, epoch=3, start=3), expected[3:])
    cached = replace(config, data=replace(config.data, cache=str(tmp_path / "cache")))
    for _ in range(2):
        assert_same(batches_of(cached, epoch=3), expected)
    assert list((tmp_path / "cache").glob("*/*.frame"))
    other = batches_of(config, epoch=4)
    assert not all(
        torch.equal(a.images, b.images)
        for a, b in zip(other, expected, strict=True)
        if a.images.shape == b.images.shape
    )


@pytest.mark.parametrize(("count", "accumulate"), [(2, 1), (2, 2), (4, 1), (1, 4)])
def test_processes_and_parts_share_the_batch(tmp_path: Path, count: int, accumulate: int) -> None:
    config = make_config(tmp_path, batch_size=4, multi_scale=[0.5, 1.5])
    whole = list(EpochSampler(make_images(3, 3, 2), config, Processes()))
    parted = replace(config, schedule=replace(config.schedule, accumulate=accumulate))
    shares = [list(EpochSampler(make_images(3, 3, 2), parted, Processes(rank, count))) for rank in range(count)]
    assert [len(share) for share in shares] == [2 * accumulate] * count
    for step, batch in enumerate(whole):
        parts = [share[step * accumulate + part] for part in range(accumulate) for share in shares]
        assert [key for keys in parts for key in keys] == batch
        assert len({key.size for key in batch}) == 1


def test_a_batch_that_cannot_be_shared(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size 2 cannot be shared among 3"):
        EpochSampler(make_images(9), make_config(tmp_path), Processes(0, 3))


def test_all_sizes_come_up(tmp_path: Path) -> None:
    sampler = EpochSampler(make_images(200), make_config(tmp_path, multi_scale=[0.5, 1.5]), Processes())
    sizes = Counter(key.size for key in keys_of(sampler))
    assert set(sizes) == {(32, 32 + 32 // 2), (64, 96), (96, 144)} or set(sizes) == {(32, 64), (64, 96), (96, 128)}
    assert min(sizes.values()) > 40


def test_weights_are_expected_showings(tmp_path: Path) -> None:
    sampler = EpochSampler(make_images(0.5, 1.0, 3.5, 0.0), make_config(tmp_path, batch_size=1), Processes())
    assert sampler.steps == len(sampler) == 5
    shown = Counter(key.image for epoch in range(100) for key in keys_of(sampler, epoch))
    assert shown[3] == 0 and shown[0] == pytest.approx(50, abs=20) and shown[2] == pytest.approx(350, abs=30)


def test_the_last_epochs_are_without_mosaic(tmp_path: Path) -> None:
    sampler = EpochSampler(make_images(4), make_config(tmp_path, epochs=3, mosaic_off_epochs=1), Processes())
    assert [{key.mosaic for key in keys_of(sampler, epoch)} for epoch in range(3)] == [{True}, {True}, {False}]


def test_a_larger_canvas_shows_objects_larger(tmp_path: Path) -> None:
    document = make_document(tmp_path)
    document["augment"] = {"scale": [1, 1], "aspect": 0, "flip": 0, "mosaic": 0}
    widths = []
    for factor in (1.0, 2.0):
        document["schedule"]["multi_scale"] = [factor, factor]
        batch = batches_of(TrainConfig.from_dict(document, "test"))[0]
        widths.append([float(box[0, 2] - box[0, 0]) for box in batch.boxes])
    assert widths[1] == pytest.approx([2 * width for width in widths[0]])


def test_images_beyond_the_memory_are_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(tmp_path)
    expected = batches_of(config)
    monkeypatch.setattr(loader_module, "MEMORY_BYTES", 64 * 96 * 3 * 2)  # two of the four
    assert_same(batches_of(config), expected)


@pytest.mark.parametrize(("images", "accumulate"), [(4, 1), (12, 1), (6, 2)])
def test_the_first_images_are_those_that_the_run_begins_with(tmp_path: Path, images: int, accumulate: int) -> None:
    config = make_config(tmp_path, images=images, multi_scale=[0.5, 1.5], accumulate=accumulate)
    found = list(first_images(load_sources(tmp_path, config.data.train, ["car"]), config))
    expected = [batch.images for batch in batches_of(config)]
    assert len(found) == min(MEASURED_BATCHES, len(expected))
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=False))

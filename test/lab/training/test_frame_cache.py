"""The cache of decoded frames: correct pixels with missing or damaged files."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from factories import make_image

from gaussian_yolo_node.lab.training import frame_cache
from gaussian_yolo_node.lab.training.frame_cache import FrameCache
from gaussian_yolo_node.labels import DatasetError, read_image

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), make_image(100, 300))
    return path


def cached_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.frame"))


@pytest.mark.parametrize(
    ("fit", "size"),
    [
        (None, (100, 300)),
        ((50, 300), (50, 150)),
        ((50, 100), (33, 100)),
        ((1000, 1000), (100, 300)),  # never enlarged
        ((1, 1), (1, 1)),
    ],
)
def test_frames_fit_and_tell_their_scale(
    tmp_path: Path, image: Path, fit: tuple[int, int] | None, size: tuple[int, int]
) -> None:
    cache = FrameCache(tmp_path / "cache", fit)
    fresh, fresh_scale = cache.read(image)
    mapped, mapped_scale = cache.read(image)
    assert isinstance(mapped, np.memmap) and not fresh.flags.writeable and not mapped.flags.writeable
    assert fresh.shape == mapped.shape == (*size, 3)
    assert fresh_scale == mapped_scale == (size[1] / 300, size[0] / 100)
    np.testing.assert_array_equal(fresh, mapped)
    if size == (100, 300):
        np.testing.assert_array_equal(fresh, read_image(image))


def test_sizes_do_not_mix(tmp_path: Path, image: Path) -> None:
    FrameCache(tmp_path / "cache", (50, 300)).read(image)
    assert FrameCache(tmp_path / "cache").read(image)[0].shape == (100, 300, 3)


def test_a_changed_image_is_decoded_anew(tmp_path: Path, image: Path) -> None:
    cache = FrameCache(tmp_path / "cache")
    cache.read(image)
    cv2.imwrite(str(image), np.zeros((10, 20, 3), np.uint8))
    assert cache.read(image)[0].shape == (10, 20, 3)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:20],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"NOTMAGIC" + data[8:],
        lambda data: data[:-5] + bytes(5),
        lambda data: data[:8] + b"\xff" * 16 + data[24:],
    ],
    ids=["empty", "header cut", "pixels cut", "too long", "other file", "pixels changed", "size changed"],
)
def test_a_damaged_file_is_replaced(tmp_path: Path, image: Path, damage) -> None:  # type: ignore[no-untyped-def]
    expected, _ = FrameCache(tmp_path / "cache").read(image)
    (file,) = cached_files(tmp_path / "cache")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    found, _ = FrameCache(tmp_path / "cache").read(image)
    np.testing.assert_array_equal(found, expected)
    assert file.read_bytes() == whole


def test_a_full_disk_is_said_once(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(frame_cache, "RESERVE_BYTES", 1 << 60)  # more than any disk has
    cache = FrameCache(tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert cache.read(image)[0].shape == (100, 300, 3)
    assert len(caplog.records) == 1 and "takes no more frames" in caplog.text
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache = FrameCache(tmp_path / "cache")
    assert cache.read(image)[0].shape == (100, 300, 3)
    assert "No space left on device" in caplog.text
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_processes_share_it(tmp_path: Path) -> None:
    for index in range(8):
        cv2.imwrite(str(tmp_path / f"{index}.png"), make_image(64, 96, seed=index))
    code = (
        "import sys; from pathlib import Path; from gaussian_yolo_node.lab.training.frame_cache import FrameCache\n"
        "folder = Path(sys.argv[1]); cache = FrameCache(folder / 'cache', (32, 96))\n"
        "print(sum(int(cache.read(folder / f'{i}.png')[0].sum(dtype='int64')) for _ in range(20) for i in range(8)))"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    sums = {child.communicate(timeout=60)[0] for child in children}
    assert [child.returncode for child in children] == [0, 0]
    assert len(sums) == 1 and int(sums.pop()) > 0
    assert len(cached_files(tmp_path / "cache")) == 8
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_it_goes_to_worker_processes(tmp_path: Path, image: Path) -> None:
    cache = pickle.loads(pickle.dumps(FrameCache(tmp_path / "cache", (50, 300))))
    assert cache.read(image)[0].shape == (50, 150, 3)


def test_errors_name_the_file(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path / "cache")
    with pytest.raises(DatasetError, match=r"none\.png is not a readable image"):
        cache.read(tmp_path / "none.png")
    (tmp_path / "bad.png").write_bytes(b"garbage")
    with pytest.raises(DatasetError, match=r"bad\.png is not a readable image"):
        cache.read(tmp_path / "bad.png")
    with pytest.raises(DatasetError, match="cannot be made"):
        FrameCache(tmp_path / "bad.png" / "cache")

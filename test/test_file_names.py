from __future__ import annotations

from pathlib import Path

import pytest

from gaussian_yolo_node.file_names import (
    AmbiguousNameError,
    FrameNames,
    files_in,
    frame_name,
    hashable,
    is_absolute,
    is_image_name,
    natural_key,
    numbered,
    shown,
    slashed,
)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("000012.png", "000012"),
        ("000012.JPG", "000012"),
        ("000012.txt", "000012"),
        ("1630000000.100000", "1630000000.100000"),  # a time, no suffix
        ("1630000000.100000.png", "1630000000.100000"),
        ("drive.2024-01-02", "drive.2024-01-02"),
        ("day\\0000.jpg", "day/0000"),
        (".\\day\\0000.jpg", "day/0000"),
        ("./day/0000", "day/0000"),
        ("a.jpg.png", "a.jpg"),
        (".jpg", ".jpg"),  # a hidden file without suffix
        ("", ""),
    ],
)
def test_only_known_suffixes_are_no_part_of_a_frames_name(name: str, wanted: str) -> None:
    assert frame_name(name) == wanted


@pytest.mark.parametrize(
    "names",
    [
        [f"{number}.jpg" for number in range(1, 13)],
        ["a.jpg", "a1.jpg", "a2.jpg", "a10.jpg", "b.jpg"],
        ["000009.png", "000010.png"],
        ["bag_2.mcap", "bag_10.mcap"],
        ["1", "01", "2"],
    ],
)
def test_numbers_in_names_are_in_their_order(names: list[str]) -> None:
    order = sorted({*names}, key=natural_key)
    assert [name.lstrip("0") for name in order] == [name.lstrip("0") for name in names]


def test_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("10.txt", "2.TXT", "._2.txt", ".hidden.txt", "a.json"):
        (tmp_path / name).touch()
    assert [path.name for path in files_in(tmp_path, (".txt",))] == ["2.TXT", "10.txt"]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        *((f"a{suffix}", True) for suffix in (".jpg", ".JPG", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".ppm")),
        ("._a.jpg", False),
        ("d/._a.jpg", False),
        ("a.txt", False),
        ("jpg", False),
    ],
)
def test_names_of_pictures(name: str, is_one: bool) -> None:
    assert is_image_name(name) is is_one


@pytest.mark.parametrize(
    ("frames", "name", "found"),
    [
        (["a.jpg"], "a.jpg", "a.jpg"),
        (["a.jpg"], "a", "a.jpg"),
        (["a"], "a.jpg", "a"),
        (["a.jpg", "a.png"], "a.png", "a.png"),  # the whole name decides
        (["day/a.jpg", "night/a.jpg"], "day\\a.jpg", "day/a.jpg"),
        (["day/a.jpg"], "a.jpg", "day/a.jpg"),  # a name without a folder
        (["a.jpg"], "day/a.jpg", "a.jpg"),  # labels without a folder
        (["day/a.jpg"], "night/a.jpg", None),  # not of another folder
        (["1630000000.100000", "1630000000.200000"], "1630000000.200000.png", "1630000000.200000"),
        (["1630000000.100000"], "1630000000.200000", None),
        ([], "a", None),
    ],
)
def test_frames_are_found_by_their_whole_name(frames: list[str], name: str, found: str | None) -> None:
    assert FrameNames(frames).find(name) == found


@pytest.mark.parametrize(
    ("frames", "name"), [(["a.jpg", "a.png"], "a"), (["day/a.jpg", "night/a.jpg"], "a.jpg"), (["x/a", "y/a"], "a")]
)
def test_what_cannot_be_told_apart_names_both(frames: list[str], name: str) -> None:
    with pytest.raises(AmbiguousNameError, match=f"{name} may be {frames[0]} or {frames[1]}"):
        FrameNames(frames).find(name)


@pytest.mark.parametrize(
    ("name", "wanted"), [("C:\\data\\a.jpg", True), ("/home/a.jpg", True), ("day\\a.jpg", False), ("a:b", False)]
)
def test_absolute_names_of_any_system(name: str, wanted: bool) -> None:
    assert is_absolute(slashed(name)) is wanted


@pytest.mark.parametrize(("name", "wanted"), [("a.png", "a#2.png"), ("0", "0#2"), ("1.5", "1.5#2")])
def test_equal_names_are_numbered(name: str, wanted: str) -> None:
    assert numbered(name, 2) == wanted


def test_a_name_that_is_not_utf8_can_be_shown() -> None:
    assert shown("caf\udce9.jpg") == "caf\\udce9.jpg" and shown("café") == "café"
    assert hashable("café") == "café".encode() and hashable("caf\udce9") != hashable("caf\udcea")

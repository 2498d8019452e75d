from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gaussian_yolo_node.files import WriteError, installed_prefixes, prepare_target, write_whole


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"\x00\xff", b"\x00\xff", id="bytes"),
        pytest.param("grüß\r\n", "grüß\r\n".encode(), id="text is UTF-8, its line ends as they are"),
        pytest.param("", b"", id="empty"),
    ],
)
def test_what_is_given_is_there(tmp_path: Path, content: bytes | str, expected: bytes) -> None:
    path = tmp_path / "new" / "folders" / "file.bin"
    write_whole(path, content)
    assert path.read_bytes() == expected
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]


def test_a_newer_one_takes_the_place_of_what_was_there_and_of_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old and longer")
    (tmp_path / ".file.part").write_text("cut sh")
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("interruption", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    def fails(descriptor: int) -> None:
        raise interruption

    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", fails)
    expected = WriteError if isinstance(interruption, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        write_whole(path, "new")
    if isinstance(interruption, OSError):
        assert str(caught.value) == f"{path} cannot be written: No space left on device"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_target_is_prepared_and_nothing_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "file"
    prepare_target(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["file/inside", "."])
def test_a_target_that_cannot_be_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="cannot be written"):
        prepare_target(tmp_path / name)


def test_a_device_is_written_as_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    prepare_target(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, "text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)


def test_a_prefix_that_is_named_twice_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/opt/ros/jazzy{os.pathsep}{sys.prefix}{os.pathsep}")
    assert installed_prefixes() == [Path("/opt/ros/jazzy"), Path(sys.prefix)]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="file/inside cannot be written"):
        write_whole(tmp_path / "file" / "inside", "text")

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gaussian_yolo_node.files import WriteError, write_whole


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


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="file/inside cannot be written"):
        write_whole(tmp_path / "file" / "inside", "text")

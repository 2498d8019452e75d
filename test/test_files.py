from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gaussian_yolo_node.files import (
    PlaceError,
    WriteError,
    below,
    installed_prefixes,
    prepare_target,
    whole_file,
    write_whole,
)

REPOSITORY = Path(__file__).resolve().parents[1]


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


def test_a_newer_one_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old and longer")
    path.chmod(0o640)
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_goes_at_the_next_write_and_what_a_living_one_needs_stays(tmp_path: Path) -> None:
    imports = "import sys, time; from pathlib import Path; from gaussian_yolo_node.files import whole_file\n"
    write = (
        "with whole_file(Path(sys.argv[1])) as part: part.write_text('half'); print(part, flush=True); time.sleep(99)"
    )
    command = [sys.executable, "-c", imports + write, tmp_path / "file"]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) for _ in range(2)]
    try:
        killed, living = (Path(writer.stdout.readline().strip()) for writer in writers if writer.stdout is not None)
        assert killed.read_text() == living.read_text() == "half" and killed.parent != living.parent
        writers[0].kill()
        writers[0].wait()
        assert killed.exists()
        write_whole(tmp_path / "file", "new")
        assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "file", living.parent])
        assert living.read_text() == "half"
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


def test_temporary_names_cannot_be_guessed(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        with whole_file(tmp_path / "file") as part:
            names.add(part.parent)
            assert part.parent.stat().st_mode & 0o777 == 0o700
            part.touch()
    assert len(names) == 3


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    for content in ("first", "second"):
        write_whole(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "file").read_text() == content


def test_a_pipe_gets_the_bytes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, "content")
    reader.join()
    assert read == [b"content"] and pipe.is_fifo()


def test_a_device_stays_a_device() -> None:
    write_whole(Path("/dev/null"), "content")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(WriteError, match="/dev/full cannot be written: No space left on device"):
        write_whole(Path("/dev/full"), "content")


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


@pytest.mark.parametrize("name", ["a", "a/b.png", "./a", "a//b", "..a", "a..b/c", "a\\b", "link inside", "folder"])
def test_names_below_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link inside").symlink_to(tmp_path / "folder")
    place = below(tmp_path, name)
    assert place.parts[: len(tmp_path.parts)] == tmp_path.parts and place == tmp_path / name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *(
            (name, "leads out of its folder")
            for name in ("", ".", "..", "/", "/etc/passwd", "../a", "a/../../b", "a/..")
        ),
        ("nul\0", "leads out of its folder"),
        *((name, "a link leads out of") for name in ("link", "link/new", "folder/up/x", "loop/x")),
        *((name, "is a device or a pipe") for name in ("pipe", "folder/pipe")),
    ],
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "link").symlink_to("/etc")
    (root / "folder" / "up").symlink_to("../..")
    (root / "loop").symlink_to(tmp_path)
    for pipe in ("pipe", "folder/pipe"):
        os.mkfifo(root / pipe)
    with pytest.raises(PlaceError, match=reason):
        below(root, name)

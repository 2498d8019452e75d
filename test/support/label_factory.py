"""Sources to label, and an image that blocks its reader until the test releases it."""

from __future__ import annotations

import errno
import os
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import cv2
from factories import make_image

from gaussian_yolo_node.lab.noisy_student.labelling import label
from gaussian_yolo_node.lab.noisy_student.tables import DetectionRow, read_labels

T = TypeVar("T")
LIMIT_S = 120.0


def encoded(seed: int, suffix: str = ".png") -> bytes:
    """A small encoded image; images of neighbouring seeds differ in size, so that boxes differ."""
    return cv2.imencode(suffix, make_image(48 + 4 * (seed % 5), 96 + 8 * (seed % 3), seed))[1].tobytes()


def make_folder(folder: Path, count: int) -> Path:
    """`count` images, 00.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (folder / f"{index:02d}.png").write_bytes(encoded(index))
    return folder


def make_tar(path: Path, members: Sequence[tuple[str, bytes]], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
    return path


def plain_rows(folder: Path) -> list[tuple[object, ...]]:
    """The rows of a folder of labels as comparable values."""
    rows = [row for row in read_labels(folder).rows if isinstance(row, DetectionRow)]
    return [
        (row.image, row.source, row.shard, row.index, row.height, row.width, tuple(row.predictions.class_names),
         *(tuple(values.ravel().tolist()) for values in (boxes.boxes, boxes.scores, boxes.sigmas)))
        for row in rows
        for boxes in [row.predictions.detections]
    ]  # fmt: skip


class Run(threading.Thread):
    """`label` in a thread."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(daemon=True)
        self._arguments = arguments
        self._options = options
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            label(*self._arguments, **self._options)
        except BaseException as error:
            self.error = error


@contextmanager
def held_up(picture: Path) -> Iterator[None]:
    """Within the block the image is a pipe that blocks its reader; afterwards the file is restored."""
    data = picture.read_bytes()
    picture.unlink()
    os.mkfifo(picture)
    try:
        yield
    finally:
        let_go(picture, data)


def let_go(picture: Path, data: bytes) -> None:
    part = picture.with_name(f".{picture.name}.part")
    part.write_bytes(data)
    os.replace(part, picture)


def reader_of(pipe: Path) -> int:
    """Wait for a process that reads the pipe and return it; it stays blocked, as nothing is written."""
    handle = within_limit(lambda: _open_to_write(pipe))
    try:
        return within_limit(lambda: _who_has_open(pipe))
    finally:
        # Keeps the pipe open, so that the reader ends only when killed.
        _kept_open.append(handle)


def close_pipes() -> None:
    """Release all blocked readers."""
    while _kept_open:
        os.close(_kept_open.pop())


def within_limit(look: Callable[[], T | None]) -> T:
    """Poll a function until it returns a value."""
    end = time.monotonic() + LIMIT_S
    while not (found := look()):
        assert time.monotonic() < end, "nothing has come within the limit"
        time.sleep(0.01)
    return found


def ended(pid: int) -> bool:
    """Wait until a process has ended; a zombie counts as ended."""

    def look() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    return within_limit(look)


_kept_open: list[int] = []


def _open_to_write(pipe: Path) -> int | None:
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # no reader yet
            return None
        raise


def _who_has_open(pipe: Path) -> int | None:
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                if any(os.readlink(handle) == str(pipe) for handle in (process / "fd").iterdir()):
                    return int(process.name)
            except OSError:  # it has ended or belongs to another user
                continue
    return None

"""Files written whole or not at all, foreign names placed below a folder, file hashes, and the package's places."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from gaussian_yolo_node.errors import GaussianYoloError

BLOCK = 1 << 20  # bytes per read when hashing
_SCRATCH = ".gaussian_yolo-"  # start of the names of folders for unfinished files
_swept: set[Path] = set()  # folders without leftovers of killed processes


class WriteError(GaussianYoloError):
    """A file cannot be written; the message names the file and the reason."""


class PlaceError(GaussianYoloError):
    """A name from a file leads out of the folder that it belongs to."""


def write_whole(path: Path, content: bytes | str, error: type[GaussianYoloError] = WriteError) -> None:
    """Write bytes, or text as UTF-8, as `whole_file` does; names of files in it need not be UTF-8."""
    with whole_file(path, error) as part:
        part.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


def prepare_target(path: Path, error: type[GaussianYoloError] = WriteError) -> None:
    """Create the parent folders of a file that will be written; call it before long work.

    Raises:
        WriteError, or `error`: the file cannot be written there.
    """
    folder = path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise error(f"{path} cannot be written: {reason.strerror}: {folder}") from reason
    if path.is_dir():
        raise error(f"{path} cannot be written: it is a folder; give the path of a file")
    if not os.access(folder, os.W_OK) and not _is_stream(path):
        raise error(f"{path} cannot be written: folder {folder} is read-only")


@contextmanager
def whole_file(path: Path, error: type[GaussianYoloError] = WriteError) -> Iterator[Path]:
    """A temporary path with the name of `path` to write to; at the end of the block it takes the place of `path`.

    Parent folders are created, links followed, the permissions of an existing file kept. If the block fails, the
    previous file stays and nothing else. A device or a pipe, such as /dev/stdout, gets the bytes at the end.

    Args:
        error: raised for an OSError, also one of the block.

    Raises:
        WriteError, or `error`: the file cannot be written.
    """
    try:
        if _is_stream(path):
            with tempfile.TemporaryDirectory(prefix="gaussian-yolo-") as folder:
                part = Path(folder) / path.name
                yield part
                with part.open("rb") as written, path.open("wb") as stream:
                    shutil.copyfileobj(written, stream)
            return
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch_beside(target) as scratch:
            part = scratch / target.name
            yield part
            if target.is_file():
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            move_whole(part, target)
    except OSError as reason:
        raise error(f"{path} cannot be written: {reason.strerror or reason}") from reason


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, with an unpredictable hidden name; it is removed at the end of the block.

    A killed process leaves its folder; the next process that writes there removes it.
    """
    _sweep(target.parent)
    scratch, lock = _locked_folder(target.parent)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(lock)


def move_whole(part: Path, target: Path) -> None:
    """Flush a file, or a folder of files, to the disk and rename it to `target`. OSError if the disk does not have it
    whole; `target` is unchanged."""
    for file in [*part.iterdir(), part] if part.is_dir() else [part]:
        _flush(file)
    os.replace(part, target)
    with suppress(OSError):  # some file systems cannot flush a folder
        _flush(target.parent)


def inner_path(name: str) -> PurePosixPath:
    """A name from a bag, a tar, a manifest or a topic as a relative path. PlaceError if the name is empty or absolute,
    or has `..`."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise PlaceError(f"the name {name!r} is refused: it leads out of its folder")
    return path


def below(root: Path, name: str) -> Path:
    """The place of such a name below `root`. PlaceError if the name leads out of `root`, also by a link, or to a device
    or a pipe."""
    path = root / inner_path(name)
    if not path.resolve().is_relative_to(root.resolve()):
        raise PlaceError(f"the name {name!r} is refused: a link leads out of {root}")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise PlaceError(f"the name {name!r} is refused: {path} is a device or a pipe")
    return path


def _is_stream(path: Path) -> bool:
    """Whether a path is a device or a pipe, which a renamed file would destroy, or a descriptor as /dev/stdout is."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    descriptors = (Path("/dev"), Path("/proc/self/fd"), Path("/dev/fd"))
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or path.absolute().parent in descriptors


def _locked_folder(parent: Path) -> tuple[Path, int]:
    """A new folder, and a descriptor that holds its lock."""
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=parent))
        with suppress(FileNotFoundError):
            lock = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            if scratch.is_dir():  # not swept by another process before it was locked
                return scratch, lock
            os.close(lock)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder; a living process holds a lock on its own."""
    if folder in _swept:  # listing a large folder for each of its files would be slow
        return
    for left in folder.glob(f"{_SCRATCH}*"):
        with suppress(OSError):
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)
            finally:
                os.close(lock)
    _swept.add(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_hash(path: Path) -> str:
    """Hexadecimal SHA-256 of a file; "" if the file does not exist."""
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(BLOCK):
                digest.update(block)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return ""
    return digest.hexdigest()


def short_hash(path: Path) -> str:
    """First 12 digits of `file_hash`, enough to distinguish models."""
    return file_hash(path)[:12]


def installed_prefixes() -> list[Path]:
    """Prefixes below which the package may be installed: those of sourced ROS workspaces, then Python's, each once."""
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    return list(dict.fromkeys(Path(prefix) for prefix in prefixes if prefix))

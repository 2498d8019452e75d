"""Images in tars, as WebDataset's shards are: found by a pattern, read one after the other, taken out."""

from __future__ import annotations

import glob
import hashlib
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.frames.files import Picture, decode_picture

SUFFIXES = (".tar", ".tar.gz", ".tgz")
MEMBER_SUFFIXES = (".jpg", ".jpeg", ".png")

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
# What reading a damaged tar may raise, packed or not.
_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error)


def expand(pattern: str) -> list[str]:
    """Paths that a pattern names: `{000..099}` and `{a,b}` in their order, whether they are there or not; `*`, `?` and
    `[0-9]` those that are there, sorted."""
    braces = _BRACES.search(pattern)
    if braces is not None:
        before, after = pattern[: braces.start()], pattern[braces.end() :]
        return [path for choice in _choices(braces[1]) for path in expand(f"{before}{choice}{after}")]
    if glob.has_magic(pattern) and not Path(pattern).exists():
        return sorted(glob.glob(pattern))
    return [pattern]


def _choices(text: str) -> list[str]:
    span = _RANGE.fullmatch(text)
    if span is None:
        return text.split(",")
    first, last = span.groups()
    return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]


def has_image(path: Path) -> bool:
    """Whether there is an image in a tar; looks no further than the first. A tar that cannot be read has none."""
    try:
        with tarfile.open(path) as tar:
            return any(_is_image(member) for member in tar)
    except _DAMAGE:
        return False


def pictures(path: Path) -> Iterator[tuple[str, Picture]]:
    """Name and picture of each image, in the order of the tar.

    What ails the tar itself comes last, as a picture without pixels whose name is empty; all before that is sound.
    """
    seen: set[str] = set()
    try:
        for name, data in _members(path):
            if name in seen:
                yield name, Picture(None, name, "the name is in the tar twice: the first one is taken")
                continue
            seen.add(name)
            yield name, decode_picture(data, name)
    except _DAMAGE as error:
        reason = "it is cut short or damaged" if seen else "it is not a tar, or damaged"
        yield "", Picture(None, None, f"{reason} ({error}); {len(seen)} images can be read, what came after is missing")


def extract(path: Path, prefix: str, wanted: set[str], folder: Path) -> dict[str, Path]:
    """Write the images of a tar that are wanted, byte for byte, unless they are there; name -> file.

    Args:
        prefix: what stands before the names of members in `wanted`.

    Raises:
        WriteError: a file cannot be written.
    """
    found: dict[str, Path] = {}
    if not any(name.startswith(prefix) for name in wanted):
        return found
    try:
        for member, data in _members(path):
            name = prefix + member
            if name in wanted and name not in found:
                target = folder / _place(name)
                if not target.exists() or target.stat().st_size != len(data):
                    write_whole(target, data)
                found[name] = target
    except _DAMAGE:
        pass  # the caller names what is missing
    return found


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each image; raises one of `_DAMAGE` where the tar ends too early."""
    with tarfile.open(path) as tar:
        for member in tar:
            if _is_image(member):
                file = tar.extractfile(member)
                assert file is not None
                yield member.name, file.read()
        # tarfile takes a header that it cannot read for the end; the real end is a block of zeros.
        assert tar.fileobj is not None
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("there is no mark of its end")


def _is_image(member: tarfile.TarInfo) -> bool:
    name = PurePosixPath(member.name)
    return member.isreg() and name.suffix.lower() in MEMBER_SUFFIXES and not name.name.startswith(".")


def _place(name: str) -> PurePosixPath:
    """Where a member goes; one whose name leads out of the folder gets another."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return PurePosixPath(hashlib.sha256(name.encode()).hexdigest()[:16] + path.suffix)
    return path

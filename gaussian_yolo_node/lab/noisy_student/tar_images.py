"""Images in tars (WebDataset shards): expand a pattern, read sequentially, extract."""

from __future__ import annotations

import glob
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from gaussian_yolo_node.file_names import is_image_name, natural_key
from gaussian_yolo_node.files import PlaceError, below, inner_path, write_whole
from gaussian_yolo_node.frames.files import Picture, decode_picture

SUFFIXES = (".tar", ".tar.gz", ".tgz")

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
# Bytes of an image file; 64 megapixels without compression have 192 MB.
_MOST_BYTES = 256 << 20
# Exceptions on reading a damaged tar, compressed or not.
_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error)


def expand(pattern: str) -> list[str]:
    """Paths of a pattern: `{000..099}` and `{a,b}` expand in order, even to missing files; `*`, `?` and `[0-9]` match
    existing files, sorted."""
    braces = _BRACES.search(pattern)
    if braces is not None:
        before, after = pattern[: braces.start()], pattern[braces.end() :]
        return [path for choice in _choices(braces[1]) for path in expand(f"{before}{choice}{after}")]
    if glob.has_magic(pattern) and not Path(pattern).exists():
        return sorted(glob.glob(pattern), key=natural_key)
    return [pattern]


def _choices(text: str) -> list[str]:
    span = _RANGE.fullmatch(text)
    if span is None:
        return text.split(",")
    first, last = span.groups()
    return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]


def has_image(path: Path) -> bool:
    """True if a tar contains an image; stops at the first. An unreadable tar contains none."""
    try:
        with tarfile.open(path) as tar:
            return any(_is_image(member) for member in tar)
    except _DAMAGE:
        return False


def pictures(path: Path) -> Iterator[tuple[str, Picture]]:
    """Name and pixels of each image, in the order of the tar.

    An error of the tar itself comes last, as an image with an empty name and no pixels; all images before it are valid.
    """
    seen: set[str] = set()
    try:
        for name, data in _members(path):
            if name in seen:
                yield name, Picture(None, name, "the name is in the tar twice: the first one is taken")
                continue
            seen.add(name)
            try:
                inner_path(name)
            except PlaceError as error:
                yield name, Picture(None, name, str(error))
            else:
                yield name, decode_picture(data, name)
    except _DAMAGE as error:
        reason = "it is cut short or damaged" if seen else "it is not a tar, or damaged"
        yield "", Picture(None, None, f"{reason} ({error}); {len(seen)} images can be read, what came after is missing")


def extract(path: Path, prefix: str, wanted: set[str], folder: Path) -> dict[str, Path]:
    """Write the wanted images of a tar, byte for byte, unless they exist; name -> file.

    Args:
        prefix: precedes the member names in `wanted`.

    Raises:
        WriteError: a file cannot be written.
        PlaceError: a name leads out of the folder.
    """
    found: dict[str, Path] = {}
    if not any(name.startswith(prefix) for name in wanted):
        return found
    try:
        for member, data in _members(path):
            name = prefix + member
            if name in wanted and name not in found:
                target = below(folder, name)
                if not target.exists() or target.stat().st_size != len(data):
                    write_whole(target, data)
                found[name] = target
    except _DAMAGE:
        pass  # the caller reports missing images
    return found


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each image; raises one of `_DAMAGE` for a truncated tar."""
    with tarfile.open(path) as tar:
        for member in tar:
            if _is_image(member):
                if member.size > _MOST_BYTES:
                    raise tarfile.ReadError(
                        f"{member.name} has {member.size} bytes, and at most {_MOST_BYTES} are read"
                    )
                file = tar.extractfile(member)
                assert file is not None
                yield member.name, file.read()
        # tarfile treats an unreadable header as the end; the real end is a block of zeros.
        assert tar.fileobj is not None
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("there is no mark of its end")


def _is_image(member: tarfile.TarInfo) -> bool:
    # A sparse file has any number of bytes that are not in the tar.
    return member.isreg() and not member.issparse() and is_image_name(member.name)

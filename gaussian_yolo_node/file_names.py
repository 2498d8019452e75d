"""Names of files and frames: which are pictures, which are hidden, their order, and what two names have in common."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jfif", ".jpe")
# Suffixes that are no part of a frame's name. Any other dot belongs to it, as in "1630000000.100000".
_DROPPED = (*IMAGE_SUFFIXES, ".txt", ".json")
_DRIVE = re.compile(r"[A-Za-z]:/")
_DIGITS = re.compile(r"\d+")
_MOST_DIGITS = 24  # of a number in a name that is sorted as one; times in ns have 19


def is_hidden(name: str) -> bool:
    """Whether a file name is hidden; macOS writes "._x.jpg" beside "x.jpg" and "._x.txt" beside "x.txt"."""
    return os.path.basename(name).startswith(".")


def is_image_name(name: str) -> bool:
    """Whether a file name is that of a picture; a hidden file is none."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_hidden(name)


def natural_key(path: Path | str) -> tuple[str, str]:
    """Sort key by which 2.jpg comes before 10.jpg."""
    text = str(path)
    return _DIGITS.sub(lambda digits: digits[0].lstrip("0").zfill(_MOST_DIGITS), text), text


def files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a folder, not of its subfolders, with one of the suffixes (lower case), in natural order, without
    hidden ones."""
    with os.scandir(folder) as entries:
        paths = [Path(entry.path) for entry in entries if entry.name.lower().endswith(suffixes)]
    return sorted((path for path in paths if not is_hidden(path.name)), key=natural_key)


def shown(name: str) -> str:
    r"""A name as text that can be encoded: bytes that are not UTF-8 as \udcNN."""
    return name.encode("utf-8", "backslashreplace").decode()


def hashable(name: str) -> bytes:
    """The bytes of a name for a hash; they need not be UTF-8."""
    return name.encode("utf-8", "surrogatepass")


def slashed(name: str) -> str:
    """A name from a file of any system: with /, and without "./" before it."""
    name = name.replace("\\", "/")
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def is_absolute(name: str) -> bool:
    """Whether a name with / is an absolute path, of this system or of Windows."""
    return name.startswith("/") or _DRIVE.match(name) is not None


def frame_name(name: str) -> str:
    """What identifies a frame: its whole name with /, without the suffix of a picture or of its labels."""
    name = slashed(name)
    suffix = next((suffix for suffix in _DROPPED if name.lower().endswith(suffix)), "")
    stem = name.removesuffix(name[len(name) - len(suffix) :])
    return stem if base_name(stem) else name


def base_name(name: str) -> str:
    """The last part of a name with /."""
    return name.rpartition("/")[2]


def numbered(name: str, number: int) -> str:
    """A name made different from an equal one: "000012#2.png"."""
    stem = frame_name(name)
    return f"{stem}#{number}{name[len(stem) :]}"


class AmbiguousNameError(ValueError):
    """A name may be that of several frames; the message names two of them."""


class FrameNames:
    """Frames by their names, to be looked up by the names in other files.

    Args:
        names: as the frames are called; with a folder, if they have one.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._exact: dict[str, str] = {}
        self._whole: dict[str, list[str]] = {}
        self._base: dict[str, list[str]] = {}
        for name in names:
            key = frame_name(name)
            self._exact[slashed(name)] = name
            self._whole.setdefault(key, []).append(name)
            self._base.setdefault(base_name(key), []).append(name)

    def find(self, name: str) -> str | None:
        """The frame of a name, which may lack the suffix or have that of another picture format.

        Names that both have a folder are the same only if the folders are.

        Raises:
            AmbiguousNameError: several frames may be meant.
        """
        exact = self._exact.get(slashed(name))
        if exact is not None:
            return exact
        key = frame_name(name)
        matches = self._whole.get(key)
        if matches is None:
            matches = self._base.get(base_name(key), [])
            if "/" in key:
                matches = [each for each in matches if "/" not in slashed(each)]
        if len(matches) > 1:
            raise AmbiguousNameError(f"{name} may be {matches[0]} or {matches[1]}: write the whole name")
        return matches[0] if matches else None

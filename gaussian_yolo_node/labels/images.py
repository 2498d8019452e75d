"""Image files: pixels, sizes, folders and lists."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags.image_header import may_be_rotated, size_in_header
from gaussian_yolo_node.frames.files import IMAGE_SUFFIXES, ImageFiles
from gaussian_yolo_node.labels.annotations import DatasetError, Fault, FaultKind, Report


def read_image(path: Path) -> NDArray[np.uint8]:
    """Pixels uint8 `[H,W,3]` BGR; DatasetError if the file is missing, truncated or corrupt."""
    (picture,) = ImageFiles([path]).play()
    if picture.image is None:
        raise DatasetError(f"{path} is not a readable image ({picture.trouble}): replace or remove it")
    return picture.image


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image in px as `read_image` decodes it, from its header if possible (PNG, JPEG).

    Raises:
        DatasetError: the file is not an image.
    """
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError as error:
        raise DatasetError(f"{path} is not a readable image ({error.strerror}): replace or remove it") from error
    size = size_in_header(head)
    if size is None or may_be_rotated(head):
        height, width = read_image(path).shape[:2]
        return height, width
    return size


def image_files(folder: Path) -> list[Path]:
    """The images of a folder, sorted by name. DatasetError if the folder does not exist."""
    _check_folder(folder)
    return sorted(path for entry in os.scandir(folder) if ImageFiles.accepts(path := Path(entry.path)))


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise DatasetError(f"image folder {folder} does not exist: set data.root in the config or pass --data")


class ImageTree:
    """Images of a folder and its subfolders, looked up by the names in label files; of None, no images."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._by_path: dict[str, Path] = {}
        self._by_name: dict[str, Path] = {}
        if folder is None:
            return
        _check_folder(folder)
        for parent, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                    path = Path(parent) / name
                    self._by_path[path.relative_to(folder).as_posix()] = path
                    self._by_name.setdefault(name, path)

    def find(self, name: str, labels: Path, place: int | str, report: Report, subfolder: str = "") -> Path | None:
        """Look up a path in `subfolder` or in the folder, with or without suffix; else a file name in any subfolder.

        If there is a folder, but no such image, this is reported as a fault of `place` in the file `labels`.
        """
        names = (name,) if name.lower().endswith(IMAGE_SUFFIXES) else tuple(name + s for s in IMAGE_SUFFIXES)
        for candidate in names:
            path = self._by_path.get(f"{subfolder}/{candidate}") if subfolder else None
            path = path or self._by_path.get(candidate) or self._by_name.get(Path(candidate).name)
            if path is not None:
                return path
        if self.folder is not None:
            report(Fault(FaultKind.MISSING_IMAGE, labels, place, f"there is no image {name} in {self.folder}"))
        return None


@dataclass(frozen=True)
class Pick:
    """Selects images of a source.

    Attributes:
        exclude: stems, or patterns of stems ("Seq05VD_*"), to exclude.
        only: selected stems, with their line in the list; None: all.
        list_file: the list.
        include: patterns; a stem must match one of them. Empty: all.
    """

    exclude: frozenset[str] = frozenset()
    only: dict[str, int] | None = None
    list_file: Path | None = None
    include: tuple[str, ...] = ()

    def wants(self, stem: str, group: str = "") -> bool:
        """Whether an image is selected; an image of the sequence `group` may also be named "group/stem"."""
        names = {stem, f"{group}/{stem}", group} if group else {stem}

        def one_of(patterns: Iterable[str]) -> bool:
            return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)

        return (
            (self.only is None or stem in self.only)
            and not (names & self.exclude or one_of(self._exclude_patterns))
            and (not self.include or one_of(self.include))
        )

    @cached_property
    def _exclude_patterns(self) -> tuple[str, ...]:
        """The patterns of `exclude`, separate from its plain names, of which there may be thousands."""
        return tuple(name for name in self.exclude if set(name) & set("*?["))

    def report_absent(self, seen: set[str], report: Report) -> None:
        """Report the images of the list that are not among those `seen`."""
        for stem, line in (self.only or {}).items():
            if self.list_file is not None and stem not in seen and self.wants(stem):
                message = f"there is no image {stem} in the source's folder"
                report(Fault(FaultKind.MISSING_IMAGE, self.list_file, line, message))


def read_list(path: Path) -> list[tuple[int, str]]:
    """Line numbers and entries of a text file with one image name per line.

    Raises:
        DatasetError: the file cannot be read, or is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DatasetError(f"image list {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"image list {path} is not text") from error
    entries = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not entries:
        raise DatasetError(f"image list {path} is empty")
    return entries

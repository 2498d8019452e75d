"""Image files: pixels, sizes, folders and lists."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags.image_header import picture_size
from gaussian_yolo_node.file_names import (
    IMAGE_SUFFIXES,
    base_name,
    files_in,
    frame_name,
    is_absolute,
    is_hidden,
    is_image_name,
    natural_key,
    slashed,
)
from gaussian_yolo_node.frames.files import read_picture
from gaussian_yolo_node.labels.annotations import DatasetError, Fault, FaultKind, Report
from gaussian_yolo_node.text_files import text_of


def read_image(path: Path) -> NDArray[np.uint8]:
    """Pixels uint8 `[H,W,3]` BGR; DatasetError if the file is missing, truncated or corrupt."""
    picture = read_picture(path)
    if picture.image is None:
        raise DatasetError(f"{path} is not a readable image ({picture.error}): replace or remove it")
    return picture.image


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image in px as `read_image` decodes it, from its header if possible (PNG, JPEG).
    DatasetError if the file is not an image."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            size = picture_size(data)
    except OSError as error:
        raise DatasetError(f"{path} is not a readable image ({error.strerror}): replace or remove it") from error
    except ValueError:  # an empty file, which `read_image` names
        size = None
    return (read_image(path).shape[0], read_image(path).shape[1]) if size is None else size


def image_files(folder: Path) -> list[Path]:
    """The images of a folder, in natural order. DatasetError if the folder does not exist."""
    _check_folder(folder)
    return files_in(folder, IMAGE_SUFFIXES)


def images_by_frame(folder: Path, report: Report) -> dict[str, Path]:
    """The images of a folder by the name of their frame; two of one name are reported, and the first is taken.

    DatasetError if the folder does not exist.
    """
    images: dict[str, Path] = {}
    for path in image_files(folder):
        first = images.setdefault(frame_name(path.name), path)
        if first is not path:
            message = f"its labels cannot be distinguished from those of {first.name}: rename or remove one"
            report(Fault(FaultKind.AMBIGUOUS_NAME, path, None, message))
    return images


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise DatasetError(f"image folder {folder} does not exist: set data.root in the config or pass --data")


class ImageTree:
    """Images of a folder and its subfolders, looked up by the names in label files; of None, no images."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        names: list[str] = []
        if folder is not None:
            _check_folder(folder)
            for parent, folders, files in os.walk(folder):
                folders[:] = [name for name in folders if not is_hidden(name)]
                names += [(Path(parent) / name).relative_to(folder).as_posix() for name in files if is_image_name(name)]
        names.sort(key=natural_key)
        self._paths = set(names)
        self._of_frame: dict[str, list[str]] = {}
        self._of_base: dict[str, list[str]] = {}
        for name in names:
            self._of_frame.setdefault(frame_name(name), []).append(name)
            self._of_base.setdefault(base_name(name), []).append(name)
            if frame_name(name) != name:
                self._of_base.setdefault(base_name(frame_name(name)), []).append(name)

    def find(self, name: str, labels: Path, place: int | str, report: Report, subfolder: str = "") -> Path | None:
        """Look up a path in `subfolder` or in the folder, with or without suffix; a name without a folder, in any
        subfolder.

        If there is a folder, but no such image, or several, this is reported as a fault of `place` in the file
        `labels`.
        """
        if self.folder is None:
            return None
        matches = self._candidates(slashed(name), slashed(subfolder))
        if len(matches) == 1:
            return self.folder / matches[0]
        if matches:
            message = f"{name} may be {matches[0]} or {matches[1]} of {self.folder}: write the whole name"
            report(Fault(FaultKind.AMBIGUOUS_NAME, labels, place, message))
            return None
        message = f"there is no image {name} in {self.folder}"
        if is_absolute(slashed(name)):
            message += ": write names relative to that folder, with / between folders"
        report(Fault(FaultKind.MISSING_IMAGE, labels, place, message))
        return None

    def _candidates(self, name: str, subfolder: str) -> list[str]:
        """Paths in the folder that may be meant, the best kind of match only."""
        assert self.folder is not None
        inside = self._inside(name)
        for each in ([f"{subfolder}/{inside}"] if subfolder else []) + [inside]:
            if each in self._paths:
                return [each]
            # A name with a suffix is that file, and no other of its frame.
            matches = [] if is_image_name(each) else self._of_frame.get(each, [])
            if matches:
                return matches
        # The pictures of another sequence may have the same names.
        matches = [] if "/" in name else self._of_base.get(name, [])
        return [each for each in matches if not subfolder or "/" not in each or _is_of(each, subfolder)]

    def _inside(self, name: str) -> str:
        """The name relative to the folder; unchanged if it is not of a file in it."""
        assert self.folder is not None
        folder = self.folder.absolute()
        if is_absolute(name):
            path = Path(os.path.normpath(name))
            return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else name
        parts = name.split("/")
        # Names may begin with the last folders of the path: "train/0001.jpg" in ".../train".
        for count in range(1, len(parts)):
            if folder.parts[-count:] == tuple(parts[:count]) and name not in self._paths:
                return "/".join(parts[count:])
        return name


def _is_of(path: str, sequence: str) -> bool:
    """Whether a picture is in the folder of a sequence, or its file name begins with that of the sequence."""
    after = base_name(path).removeprefix(sequence)
    return sequence in path.split("/")[:-1] or (after != base_name(path) and not after[:1].isalnum())


@dataclass(frozen=True)
class Pick:
    """Selects images of a source.

    Attributes:
        exclude: names, or patterns of names ("Seq05VD_*"), to exclude; see `file_names.frame_name`.
        only: names of the selected frames, with their line in the list; None: all.
        include: patterns; a name must match one of them. Empty: all.
    """

    exclude: frozenset[str] = frozenset()
    only: dict[str, int] | None = None
    list_file: Path | None = None
    include: tuple[str, ...] = ()

    def wants(self, name: str, group: str = "") -> bool:
        """Whether an image is selected; one of the sequence `group` may also be named "group/stem"."""
        whole = frame_name(name)
        names = {whole, base_name(whole)} | ({f"{group}/{whole}", group} if group else set())

        def one_of(patterns: Iterable[str]) -> bool:
            return any(fnmatchcase(each, pattern) for pattern in patterns for each in names)

        return (
            self._lists(names, f"{group}/{whole}" if group else whole)
            and not (names & self.exclude or one_of(self._exclude_patterns))
            and (not self.include or one_of(self.include))
        )

    @cached_property
    def _exclude_patterns(self) -> tuple[str, ...]:
        """The patterns of `exclude`, separate from its plain names, of which there may be thousands."""
        return tuple(name for name in self.exclude if set(name) & set("*?["))

    @cached_property
    def _only_by_base(self) -> dict[str, list[str]]:
        bases: dict[str, list[str]] = {}
        for entry in self.only or {}:
            bases.setdefault(base_name(entry), []).append(entry)
        return bases

    def _lists(self, names: set[str], whole: str) -> bool:
        if self.only is None or not names.isdisjoint(self.only):
            return True
        # Entries with folders are those of an image without one, if only one of them can be meant.
        return "/" not in whole and len(self._only_by_base.get(whole, ())) == 1

    def report_absent(self, seen: Iterable[str], report: Report) -> None:
        """Report the images of the list that are not among those `seen`, whose names are as given to `wants`."""
        if self.only is None or self.list_file is None:
            return
        whole = {frame_name(name) for name in seen}
        bases = {base_name(name) for name in whole}
        for entry, line in self.only.items():
            base = base_name(entry)
            alone = len(self._only_by_base[base]) == 1
            there = entry in whole or (base in bases if "/" not in entry else base in whole and alone)
            if not there and self.wants(entry):
                message = f"there is no image {entry} in the source's folder"
                if not alone and base in bases:
                    first, second = self._only_by_base[base][:2]
                    message += f": {first} and {second} differ in their folders, and {base} has none"
                report(Fault(FaultKind.MISSING_IMAGE, self.list_file, line, message))


def read_list(path: Path) -> list[tuple[int, str]]:
    """Line numbers and entries, with /, of a text file with one image name per line. DatasetError if the file cannot be
    read, is empty, or has an entry twice."""
    lines = text_of(path, f"image list {path}", DatasetError).split("\n")
    entries = [(number, slashed(line.strip())) for number, line in enumerate(lines, start=1) if line.strip()]
    if not entries:
        raise DatasetError(f"image list {path} is empty")
    first: dict[str, int] = {}
    for number, entry in entries:
        if first.setdefault(entry, number) != number:
            raise DatasetError(
                f"image list {path}, line {number}: {entry} is already in line {first[entry]}: remove one of them; "
                "'weight' of the source shows its images more often"
            )
    return entries

"""Split sources of unlabelled images (folders, tars, bags) into shards that are labelled independently.

A WebDataset tar is a plain tar, read here with Python's `tarfile`. The `webdataset` library uses the same module, adds
the grouping of members into samples, which is not needed here, and silently truncates a damaged tar.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags import is_bag
from gaussian_yolo_node.file_names import IMAGE_SUFFIXES, hashable, is_image_name, natural_key
from gaussian_yolo_node.files import inner_path
from gaussian_yolo_node.frames.files import read_picture
from gaussian_yolo_node.frames.source import SourceError
from gaussian_yolo_node.lab.noisy_student import tar_images

# Bags need extra packages (the extra `bags`), which folders and tars do not.
if TYPE_CHECKING:
    from gaussian_yolo_node.lab.noisy_student.bag_images import BagPictures

WHOLE = -1  # an index: the whole tar or bag instead of an image


@dataclass(frozen=True)
class Shard:
    """The unit of work of a worker; small, without pixels.

    Attributes:
        name: unique among the shards of a plan.
        source: as given by the caller.
        kind: of the source.
        path: of the folder, tar or bag, absolute.
        first: index of the first image in the folder or bag.
        count: number of images; None for all to the end.
        members: image paths relative to a folder.
        prefix: added before the member names of a tar if the source has several tars.
        topic: of a bag.
        size: in bytes, to detect a changed source.
    """

    name: str
    source: str
    kind: Literal["folder", "tar", "bag"]
    path: str
    first: int = 0
    count: int | None = None
    members: tuple[str, ...] = ()
    prefix: str = ""
    topic: str = ""
    size: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 (hex) that identifies the shard independently of its source's location."""
        values = {name: value for name, value in asdict(self).items() if name != "path"}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Shard:
        """Inverse of `to_json`."""
        values = json.loads(text)
        return cls(**{**values, "members": tuple(values["members"])})


@dataclass(frozen=True, eq=False)
class ShardImage:
    """An image of a shard, or the reason why it is missing.

    Attributes:
        name: unique in the source.
        index: in the folder, tar or bag; `WHOLE` for an error of the whole tar or bag.
        image_bgr: uint8 `[H,W,3]`.
    """

    name: str
    index: int
    image_bgr: NDArray[np.uint8] | None
    reason: str = ""


def plan_shards(sources: Sequence[str], images_per_shard: int = 64, topic: str | None = None) -> list[Shard]:
    """Split sources into shards, in the order of the sources and their images.

    Args:
        sources: image folders, including subfolders; tars, also as a pattern (`*`, `?`, `[0-9]`, `{000..099}`,
            `{a,b}`), one shard per tar; ROS bags.
        images_per_shard: for folders and bags.
        topic: image topic of a bag; None for the only one.

    Raises:
        SourceError: a source is missing, duplicated, or has no images.
        BagError: a bag cannot be read, or has no such topic.
    """
    if images_per_shard < 1:
        raise SourceError(f"images_per_shard must be at least 1, not {images_per_shard}")
    if not sources:
        raise SourceError("there is nothing to label: name folders of images, .tar shards or bags")
    shards: list[Shard] = []
    for number, source in enumerate(sources):
        if source in sources[:number]:
            raise SourceError(f"{source} is given twice: name it once")
        shards += _shards_of(source, images_per_shard, topic)
    return shards


class ShardReader:
    """Reads shards one after the other; a bag stays open between its ranges."""

    def __init__(self) -> None:
        self._bag: BagPictures | None = None

    def images(self, shard: Shard) -> Iterator[ShardImage]:
        """The images of a shard; unreadable images come with the reason."""
        read = {"folder": _read_folder, "tar": _read_tar, "bag": self._read_bag}[shard.kind]
        for found in read(shard):
            try:
                found.name.encode()
            except UnicodeEncodeError:
                shown = found.name.encode(errors="backslashreplace").decode()
                yield ShardImage(shown, found.index, None, "the name is not UTF-8: rename the file")
            else:
                yield found

    def close(self) -> None:
        """Close what is open."""
        if self._bag is not None:
            self._bag.close()
            self._bag = None

    def _read_bag(self, shard: Shard) -> Iterator[ShardImage]:
        from gaussian_yolo_node.lab.noisy_student import bag_images

        path, bag = Path(shard.path), self._bag
        if bag is None or (bag.path, bag.topic) != (path, shard.topic) or bag.position > shard.first:
            self.close()
            bag = self._bag = bag_images.BagPictures(path, shard.topic)
        for index, name, picture in bag.range(shard.first, shard.count):
            yield ShardImage(name or path.name, index, picture.image, picture.error)


def extract(wanted: Iterable[tuple[str, str]], folder: Path) -> dict[tuple[str, str], Path]:
    """Extract images of any source to files, for training.

    Images of folders stay in place. Images of tars are copied to `folder` byte for byte, those of bags are written as
    PNG. Files are written atomically; existing files are kept.

    Args:
        wanted: (source, name) of the images, as in `LabelledRow`.
        folder: for images of tars and bags; one subfolder per source.

    Returns:
        (source, name) -> file.

    Raises:
        SourceError: a source or an image no longer exists.
        WriteError: a file cannot be written.
        PlaceError: a name leads out of its folder.
    """
    by_source: dict[str, set[str]] = {}
    for source, name in wanted:
        by_source.setdefault(source, set()).add(name)
    paths: dict[tuple[str, str], Path] = {}
    for source, names in by_source.items():
        found = _extract_source(source, names, folder)
        missing = sorted(names - found.keys())
        if missing:
            raise SourceError(
                f"{source} has no readable image {missing[0]} any more ({len(missing)} are missing): put it back, or "
                "label again"
            )
        paths |= {(source, name): path for name, path in found.items()}
    return paths


def _shards_of(source: str, images_per_shard: int, topic: str | None) -> list[Shard]:
    path = Path(source)
    if path.is_dir() and not is_bag(path):
        return _folder_shards(source, images_per_shard)
    if path.exists() and is_bag(path):
        return _bag_shards(source, images_per_shard, topic)
    if source.endswith(tar_images.SUFFIXES):
        return _tar_shards(source)
    if path.is_file():
        raise SourceError(
            f"{source} is not a source of images: give a folder of images, .tar shards, or a bag (.mcap, .db3, .bag)"
        )
    raise SourceError(f"there is no source {source}: give a folder of images, .tar shards, or a bag")


def _folder_shards(source: str, images_per_shard: int) -> list[Shard]:
    root = Path(source)
    names = _image_names(root)
    if not names:
        tars = next(root.rglob("*.tar"), None)
        hint = f"; shards are given as '{source}/*.tar'" if tars is not None else ""
        raise SourceError(f"folder {source} has no images: looked for {', '.join(IMAGE_SUFFIXES)}{hint}")
    shards = []
    for first in range(0, len(names), images_per_shard):
        members = names[first : first + images_per_shard]
        size = sum(_file_size(root / name) for name in members)
        name = f"{source}[{first}:{first + len(members)}]"
        shards.append(
            Shard(name, source, "folder", str(root.absolute()), first, len(members), tuple(members), size=size)
        )
    return shards


def _image_names(root: Path) -> list[str]:
    def refuse(error: OSError) -> None:
        raise SourceError(f"folder {error.filename} cannot be read: {error.strerror}") from error

    names = []
    for parent, folders, files in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(parent, name) for name in files)
        names += [path.relative_to(root).as_posix() for path in paths if is_image_name(path.name)]
    return sorted(names, key=natural_key)


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a dangling link, which is skipped when it is read
        return 0


def _tar_shards(source: str) -> list[Shard]:
    paths = tar_images.expand(source)
    absent = next((path for path in paths if not Path(path).is_file()), None)
    if absent is not None or not paths:
        also = f", which {source} names" if absent not in (None, source) else ""
        raise SourceError(f"there is no tar {absent or source}{also}: give .tar files, or a pattern of them")
    if not any(tar_images.has_image(Path(path)) for path in paths):
        raise SourceError(f"{source} has no images in it: looked for members {', '.join(IMAGE_SUFFIXES)}")
    common = os.path.commonpath([os.path.dirname(path) or "." for path in paths])
    shards = []
    for path in paths:
        prefix = "" if paths == [source] else f"{os.path.relpath(path, common)}/"
        size = Path(path).stat().st_size
        shards.append(Shard(path, source, "tar", str(Path(path).absolute()), prefix=prefix, size=size))
    return shards


def _bag_shards(source: str, images_per_shard: int, topic: str | None) -> list[Shard]:
    from gaussian_yolo_node.lab.noisy_student import bag_images

    of_images, count, size = bag_images.overview(Path(source), topic)
    path = str(Path(source).absolute())
    # The last range is open-ended: a damaged bag may contain more images than its count.
    *firsts, last = range(0, max(count, 1), images_per_shard)
    ranges = [(first, f"{first + images_per_shard}", images_per_shard) for first in firsts]
    return [
        Shard(f"{source}[{first}:{end}]", source, "bag", path, first, each, topic=of_images, size=size)
        for first, end, each in [*ranges, (last, "", None)]
    ]


def _read_folder(shard: Shard) -> Iterator[ShardImage]:
    for index, name in enumerate(shard.members, start=shard.first):
        picture = read_picture(Path(shard.path) / name)
        yield ShardImage(name, index, picture.image, picture.error)


def _read_tar(shard: Shard) -> Iterator[ShardImage]:
    for index, (name, picture) in enumerate(tar_images.pictures(Path(shard.path))):
        if name:
            yield ShardImage(shard.prefix + name, index, picture.image, picture.error)
        else:
            yield ShardImage(Path(shard.path).name, WHOLE, None, picture.error)


def _extract_source(source: str, names: set[str], folder: Path) -> dict[str, Path]:
    path = Path(source)
    if path.is_dir() and not is_bag(path):
        return {name: file for name in names if (file := path / inner_path(name)).is_file()}
    place = folder / f"{_safe(Path(source).stem)}-{hashlib.sha256(hashable(source)).hexdigest()[:8]}"
    if path.exists() and is_bag(path):
        from gaussian_yolo_node.lab.noisy_student import bag_images

        return bag_images.extract(path, names, place)
    found: dict[str, Path] = {}
    for shard in _tar_shards(source):
        found |= tar_images.extract(Path(shard.path), shard.prefix, names, place)
    return found


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)

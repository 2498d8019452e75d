"""The images to stylise, their labels, and the styles to choose from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gaussian_yolo_node.file_names import IMAGE_SUFFIXES, frame_name, hashable, is_image_name, natural_key
from gaussian_yolo_node.lab.style_transfer.pictures import FolderError

# Image folders of a data set; its labels are beside them.
IMAGE_FOLDERS = ("image_2", "images", "image")
LABEL_FOLDERS = ("label_2", "labels", "label")


@dataclass(frozen=True)
class Frames:
    """The images to stylise.

    Attributes:
        folder: of the images.
        names: their relative paths, with /, sorted.
        labels: folder with label files of the same paths and stems, a single label file for all, or None.
    """

    folder: Path
    names: Sequence[str]
    labels: Path | None

    def label_of(self, name: str) -> Path | None:
        if self.labels is None or not self.labels.is_dir():
            return None
        path = self.labels / f"{frame_name(name)}.txt"
        return path if path.is_file() else None


def find_frames(content: Path, labels: Path | None = None) -> Frames:
    """The frames of an image folder, including subfolders, or of a data set with `image_2` and `label_2`.

    Args:
        content: either folder; `images`, `image`, `labels`, `label` are accepted too.
        labels: folder of label files, or one JSON file; default: the folder beside the images, if the image folder has
            one of the names above.

    Raises:
        FolderError: there are no images, or the labels do not match them.
    """
    if not content.is_dir():
        raise FolderError(f"image folder {content} does not exist")
    folder = next((content / name for name in IMAGE_FOLDERS if (content / name).is_dir()), content)
    names = sorted(images_in(folder), key=natural_key)
    if not names:
        raise FolderError(f"{folder} has no images ({', '.join(IMAGE_SUFFIXES)})")
    given = labels is not None
    if labels is None and folder.resolve().name in IMAGE_FOLDERS:
        beside = (folder.resolve().parent / name for name in LABEL_FOLDERS)
        labels = next((path for path in beside if path.is_dir()), None)
    elif labels is not None and not labels.exists():
        raise FolderError(f"--labels {labels} does not exist")
    frames = Frames(folder, names, labels)
    if labels is None or labels.is_file() or any(map(frames.label_of, names)):
        return frames
    if given:
        raise FolderError(f"no image of {folder} has its label file, NAME.txt, in --labels {labels}")
    return Frames(folder, names, None)


def find_styles(style: Path) -> dict[str, Path]:
    """An image, or all images of a folder, by name. FolderError if there is none."""
    if style.is_file():
        return {style.name: style}
    if not style.is_dir():
        raise FolderError(f"style {style} does not exist: give a picture, or a folder of pictures")
    names = sorted(images_in(style), key=natural_key)
    if not names:
        raise FolderError(f"style folder {style} has no pictures ({', '.join(IMAGE_SUFFIXES)})")
    return {name: style / name for name in names}


def choose_style(names: Sequence[str], frame: str, seed: int) -> str:
    """A random style that depends only on the frame's name and the seed."""
    return names[frame_seed(frame, seed) % len(names)]


def frame_seed(frame: str, seed: int) -> int:
    """A seed per frame, independent of the order of frames."""
    return int.from_bytes(hashlib.sha256(hashable(f"{seed} {frame}")).digest()[:7], "big")


def images_in(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if is_image_name(name):
                yield (Path(parent) / name).relative_to(folder).as_posix()

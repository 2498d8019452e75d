"""ImageNet-C and ImageNet-P as published (Hendrycks & Dietterich, ICLR 2019), with or without the folders of groups.

    [GROUP/]CORRUPTION/SEVERITY/CLASS/NAME.JPEG     ImageNet-C: noise/gaussian_noise/1/n01440764/..
    [GROUP/]PERTURBATION/CLASS/NAME.mp4             ImageNet-P: digital/tilt/n01440764/..

Further corruptions, and the perturbations of other difficulties (`gaussian_noise_2`), are left out: mCE and mFR are
without them. Pictures are seen whole, because they are already the networks' central crop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.file_names import is_hidden, is_image_name
from gaussian_yolo_node.frames.video import VideoFile
from gaussian_yolo_node.lab.robustness import RobustnessError
from gaussian_yolo_node.lab.robustness.corruptions import CORRUPTIONS, SEVERITIES, Image
from gaussian_yolo_node.lab.robustness.frames import evenly
from gaussian_yolo_node.lab.robustness.perturbations import PERTURBATIONS

VIDEO_SUFFIX = ".mp4"


@dataclass(frozen=True)
class Labelled:
    """N files and their class ids `[N]`."""

    paths: Sequence[Path]
    truths: NDArray[np.intp]


@dataclass(frozen=True)
class Published:
    """One of the two data sets.

    Attributes:
        kind: which.
        root: the folder that the user named.
        folders: by corruption or perturbation, in the order of the paper.
    """

    kind: Literal["imagenet_c", "imagenet_p"]
    root: Path
    folders: Mapping[str, Path]

    def pictures(self, corruption: str, severity: int, classes: Sequence[str], limit: int) -> Labelled:
        """The pictures of a corruption, at most `limit`, evenly spaced (0: all). RobustnessError if there are none."""
        return _labelled(
            self.folders[corruption] / str(severity), classes, limit, lambda path: is_image_name(path.name), "pictures"
        )

    def sequences(self, perturbation: str, classes: Sequence[str], limit: int) -> Labelled:
        """The videos of a perturbation; see `pictures`."""
        return _labelled(self.folders[perturbation], classes, limit, _is_video, f"videos (*{VIDEO_SUFFIX})")


def find_published(data: Path) -> Published | None:
    """The data set that a folder holds; None if it holds neither, as a folder per class.

    Raises:
        RobustnessError: a corruption's folder has neither severities nor videos.
    """
    if not data.is_dir():
        return None
    groups = [data, *(place for place in sorted(data.iterdir()) if place.is_dir())]
    places = {place.name: place for group in groups for place in sorted(group.iterdir()) if place.is_dir()}
    corruptions = {name: places[name] for name in CORRUPTIONS if name in places and _has_severities(places[name])}
    if corruptions:
        return Published("imagenet_c", data, corruptions)
    perturbations = {name: places[name] for name in PERTURBATIONS if name in places}
    if not perturbations:
        return None
    empty = next((place for place in perturbations.values() if not any(place.glob(f"*/*{VIDEO_SUFFIX}"))), None)
    if empty is None:
        return Published("imagenet_p", data, perturbations)
    raise RobustnessError(
        f"{empty} has neither the folders 1 to {SEVERITIES[-1]} of ImageNet-C nor the videos CLASS/*{VIDEO_SUFFIX} of "
        "ImageNet-P: unpack the published archives side by side"
    )


def read_sequence(path: Path) -> list[Image]:
    """The frames of a video, uint8 `[H,W,3]` BGR. RobustnessError if it has fewer than two."""
    frames = [picture.image for picture in VideoFile(path).play() if picture.image is not None]
    if len(frames) < 2:
        raise RobustnessError(f"{path} has {len(frames)} readable frames, and flips need two: unpack it again")
    return frames


def digest(root: Path, parts: Iterable[Labelled]) -> str:
    """Hash of the names of files."""
    listing = hashlib.sha256()
    for part in parts:
        for path in part.paths:
            listing.update(f"{path.relative_to(root)}\n".encode())
    return listing.hexdigest()[:16]


def _has_severities(folder: Path) -> bool:
    return any((folder / str(severity)).is_dir() for severity in SEVERITIES)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() == VIDEO_SUFFIX and not is_hidden(path.name)


def _labelled(folder: Path, classes: Sequence[str], limit: int, accepts: Callable[[Path], bool], what: str) -> Labelled:
    if not folder.is_dir():
        raise RobustnessError(f"{folder} does not exist: unpack the whole archive, or leave it out (--severities)")
    found = [path for path in sorted(folder.glob("*/*")) if accepts(path)]
    if not found:
        raise RobustnessError(f"{folder} has no {what} in folders of classes: unpack the archive again")
    index = {name: number for number, name in enumerate(classes)}
    foreign = next((path for path in found if path.parent.name not in index), None)
    if foreign is not None:
        raise RobustnessError(
            f"{foreign}: class {foreign.parent.name!r} is not among the classifier's classes; it must be trained on "
            "ImageNet's folders (n01440764, ..)"
        )
    paths = evenly(found, limit)
    return Labelled(paths, np.array([index[path.parent.name] for path in paths], np.intp))

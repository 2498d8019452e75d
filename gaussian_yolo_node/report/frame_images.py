"""Pictures of frames for thumbnails, from the played bag or from a folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags import COMPRESSED_IMAGE
from gaussian_yolo_node.bags.info import header_stamp
from gaussian_yolo_node.bags.reading import BagReader, Message
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.file_names import IMAGE_SUFFIXES, AmbiguousNameError, FrameNames, files_in
from gaussian_yolo_node.frames.files import Picture, read_picture
from gaussian_yolo_node.frames.image_messages import image_from_compressed, image_from_message

Image = NDArray[np.uint8]

_HEADER_BYTES = 12  # up to the end of the stamp


def folder_images(folder: Path, names: Collection[str]) -> tuple[dict[str, Image], list[str]]:
    """Pictures in a folder by frame name, with or without its suffix, and a description of missing ones."""
    if not folder.is_dir():
        return {}, [f"The image folder {folder} does not exist, so frames are described without pictures."]
    # Looked up instead of joined: a name from the data must not become a path on this machine.
    files = FrameNames(path.name for path in files_in(folder, IMAGE_SUFFIXES))
    images = {}
    for name in names:
        with suppress(AmbiguousNameError):  # no picture is better than another frame's
            file = files.find(name)
            picture = Picture(None, None) if file is None else read_picture(folder / file)
            if picture.image is not None:
                images[name] = picture.image
    missing = [name for name in names if name not in images]
    if missing:
        return images, [f"{folder} has no picture of {len(missing)} of the worst frames, such as {missing[0]}."]
    return images, []


def bag_images(bag: Path, topic: str, stamps: Mapping[str, int]) -> tuple[dict[str, Image], list[str]]:
    """Pictures from a bag, and a description of missing ones, which do not stop a report.

    Args:
        bag: its path.
        topic: topic of the images.
        stamps: header stamps in ns of the wanted frames, by their names.
    """
    if not stamps:
        return {}, []
    if not bag.exists():
        return {}, [f"The bag {bag} is not there any more, so frames are described without pictures."]
    images: dict[str, Image] = {}
    notes: list[str] = []
    wanted = {stamp: name for name, stamp in stamps.items()}
    try:
        with BagReader(bag) as reader:
            for message in reader.messages({topic}):
                # Both types of image start with their header, so the pixels of other frames need no decoding.
                name = wanted.pop(header_stamp(message.raw), None) if len(message.raw) >= _HEADER_BYTES else None
                if name is None:
                    continue
                try:
                    images[name] = _picture(message)
                except GaussianYoloError as error:
                    notes.append(f"The picture of frame {name} cannot be shown: {error}.")
                if not wanted:
                    break
    except GaussianYoloError as error:
        return images, [*notes, f"Not all pictures of the worst frames can be shown: {error}."]
    if wanted:
        notes.append(f"The bag {bag} has no picture of {len(wanted)} of the worst frames.")
    return images, notes


def _picture(message: Message) -> Image:
    decoded = message.decode()
    return image_from_compressed(decoded) if message.type == COMPRESSED_IMAGE else image_from_message(decoded)

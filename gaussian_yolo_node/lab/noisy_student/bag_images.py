"""Images of bags by their index on the topic: ranges for shards, and single images as files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2

from gaussian_yolo_node.bags import COMPRESSED_IMAGE
from gaussian_yolo_node.bags.frame_info import stamp_ns
from gaussian_yolo_node.bags.reading import BagError, BagReader, Message
from gaussian_yolo_node.files import below, write_whole
from gaussian_yolo_node.frames.files import Picture
from gaussian_yolo_node.frames.image_messages import ImageMessageError, image_from_compressed, image_from_message
from gaussian_yolo_node.frames.source import SourceError


def overview(path: Path, topic: str | None) -> tuple[str, int, int]:
    """The image topic of a bag, its message count and the size of its files in bytes.

    Args:
        topic: of the images; None for the only image topic.

    Raises:
        SourceError: the bag cannot be read, has no such topic, or has several image topics.
    """
    try:
        with BagReader(path) as reader:
            topic_name = reader.the_image_topic(topic)
            return topic_name, reader.topics[topic_name].count, sum(file.stat().st_size for file in reader.files)
    except BagError as error:
        hint = " with --topic" if topic is None and "choose one of" in str(error) else ""
        raise SourceError(f"{error}{hint}") from error


class BagPictures:
    """The images of a topic, read forwards; a later range costs only the messages in between.

    Raises:
        SourceError: the bag cannot be read.
    """

    def __init__(self, path: Path, topic: str) -> None:
        self.path = path
        self.topic = topic
        self.position = 0
        try:
            self._reader = BagReader(path)
        except BagError as error:
            raise SourceError(str(error)) from error
        self._compressed = self._reader.topics[topic].type == COMPRESSED_IMAGE
        self._messages = self._reader.messages({topic})

    def range(self, first: int, count: int | None) -> Iterator[tuple[int, str, Picture]]:
        """Index, name and pixels of `count` images from `first`, which must not be before `position`.

        Without `count`, reads to the end; then an error of the bag comes last, with index -1 and an empty name.
        """
        end = None if count is None else first + count
        while end is None or self.position < end:
            message = next(self._messages, None)
            if message is None:
                break
            index = self.position
            self.position += 1
            if index >= first:
                yield (index, *self._picture(index, message))
        if end is None:
            for note in self._reader.notes:
                yield -1, "", Picture(None, None, note)

    def close(self) -> None:
        """Close the bag."""
        self._reader.close()

    def _picture(self, index: int, message: Message) -> tuple[str, Picture]:
        # Stamps may repeat if no publisher set them; the index does not.
        name = f"{self.topic.strip('/')}/{index:06d}"
        try:
            content = message.decode()
            name = f"{name}_{stamp_ns(content.header)}"
            image = image_from_compressed(content) if self._compressed else image_from_message(content)
        except (BagError, ImageMessageError) as error:
            return name, Picture(None, name, str(error))
        return name, Picture(image, name)


def extract(path: Path, wanted: set[str], folder: Path) -> dict[str, Path]:
    """Write the wanted images of a bag as PNG unless they exist; name -> file.

    Raises:
        SourceError: the bag cannot be read.
        WriteError: a file cannot be written.
        PlaceError: a name leads out of the folder.
    """
    targets = {name: below(folder, f"{name}.png") for name in wanted}
    found = {name: target for name, target in targets.items() if target.exists()}
    by_topic: dict[str, set[str]] = {}
    for name in wanted - found.keys():
        by_topic.setdefault(name.rpartition("/")[0], set()).add(name)
    for topic, names in by_topic.items():
        for name, picture in _all_of(path, topic):
            if name in names and picture.image is not None:
                data = cv2.imencode(".png", picture.image)[1].tobytes()
                write_whole(targets[name], data)
                found[name] = targets[name]
    return found


def _all_of(path: Path, topic: str) -> Iterator[tuple[str, Picture]]:
    try:
        with BagReader(path) as reader:
            known = next((name for name in reader.image_topics() if name.strip("/") == topic), None)
    except BagError as error:
        raise SourceError(str(error)) from error
    if known is None:
        return
    with closing(BagPictures(path, known)) as bag:
        for _, name, picture in bag.range(0, None):
            yield name, picture

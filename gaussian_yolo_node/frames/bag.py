"""The images of a bag as frames."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from gaussian_yolo_node.bags import COMPRESSED_IMAGE, INFO_TOPIC
from gaussian_yolo_node.bags.frame_info import FrameInfo, stamp_ns
from gaussian_yolo_node.bags.reading import BagError, BagReader
from gaussian_yolo_node.file_names import numbered
from gaussian_yolo_node.frames.decoding import MAX_MEGAPIXELS
from gaussian_yolo_node.frames.files import IMAGE_FPS, Picture
from gaussian_yolo_node.frames.image_messages import ImageMessageError, image_from_compressed, image_from_message
from gaussian_yolo_node.frames.source import SourceError

_log = logging.getLogger(__name__)


class BagImages:
    """The images on a bag's only image topic, in recording order.

    The name of a frame is the one given in the bag, else its stamp in ns; of frames that would have one name, from the
    second on, "#" and the number are appended.

    Raises:
        SourceError: the bag cannot be read, has no images, or has several image topics.
    """

    def __init__(self, path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> None:
        self._path = path
        self._max_megapixels = max_megapixels
        self.name = path.name
        try:
            with BagReader(path) as reader:
                topics = reader.image_topics()
                if len(topics) > 1:
                    raise SourceError(
                        f"{path} has {len(topics)} topics of images, {', '.join(topics)}: "
                        "`gaussian-yolo replay --image-topic` takes one of them"
                    )
                self._topic = reader.the_image_topic(None)
                self.length: int | None = reader.topics[self._topic].count
                duration_s = ((reader.end_ns or 0) - (reader.start_ns or 0)) / 1e9
                self._notes = list(reader.notes)
        except BagError as error:
            raise SourceError(str(error)) from error
        self.fps = (self.length - 1) / duration_s if duration_s > 0 and self.length > 1 else IMAGE_FPS
        for note in self._notes:
            _log.warning("%s", note)

    def shortfall(self, frames: int) -> str:
        return f"{frames} of its {self.length} frames" if self.length is not None and frames < self.length else ""

    def _apart(self, name: str, used: Counter[str]) -> str:
        used[name] += 1
        if used[name] == 1:
            return name
        if used.total() == len(used) + 1:  # the first time in this playing
            _log.warning(
                "%s: several images have the stamp %s: the later ones are called #2 and so on", self.name, name
            )
        return numbered(name, used[name])

    def play(self) -> Iterator[Picture]:
        with BagReader(self._path) as reader:
            topics = {self._topic, INFO_TOPIC} & reader.topics.keys()
            compressed = reader.topics[self._topic].type == COMPRESSED_IMAGE
            # The information on a frame is recorded before its picture, so few names are held here.
            names: dict[int, str] = {}
            used: Counter[str] = Counter()
            first_ns: int | None = None
            for message in reader.messages(topics):
                try:
                    content = message.decode()
                    if message.topic == INFO_TOPIC:
                        info = FrameInfo.from_json(content.data)
                        names[info.stamp_ns] = info.frame
                        continue
                    stamp = stamp_ns(content.header)
                    name = self._apart(names.pop(stamp, str(stamp)), used)
                except (BagError, ValueError) as error:
                    if message.topic == self._topic:
                        yield Picture(None, None, str(error))
                    continue
                first_ns = message.stamp_ns if first_ns is None else first_ns
                time_s = (message.stamp_ns - first_ns) / 1e9
                try:
                    read = image_from_compressed if compressed else image_from_message
                    image = read(content, self._max_megapixels)
                except ImageMessageError as error:
                    yield Picture(None, name, str(error), time_s)
                else:
                    yield Picture(image, name, time_s=time_s)

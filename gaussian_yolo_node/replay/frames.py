"""A bag's images for a replay: the serialised messages, with the fields that the replay needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gaussian_yolo_node.bags import COMPRESSED_IMAGE, DETECTIONS, INFO_TOPIC, STRING, TRUTH_TOPIC
from gaussian_yolo_node.bags.reading import BagReader, Message
from gaussian_yolo_node.frames.image_messages import VIDEO_MESSAGE
from gaussian_yolo_node.ros.driving.cdr import CdrError, ImageHead, image_head

# Copied into the recording, so that it can be evaluated without the bag.
_TRUTH_TYPES = {TRUTH_TOPIC: DETECTIONS, INFO_TOPIC: STRING}


class Selection:
    """The part of a bag that is replayed.

    Args:
        reader: the open bag.
        wanted: topic of the images; empty for the only one.

    Attributes:
        topic: topic of the images.
        kind: message type of the images.
        copied: types of the topics that are copied into the recording unchanged.

    Raises:
        BagError: there is no such topic, or several to choose from.
    """

    def __init__(self, reader: BagReader, wanted: str) -> None:
        self.reader = reader
        self.topic = reader.the_image_topic(wanted or None)
        self.kind = reader.topics[self.topic].type
        self.copied = {name: kind for name, kind in _TRUTH_TYPES.items() if self._holds(name, kind)}

    @property
    def count(self) -> int:
        """Number of images stated by the bag."""
        return self.reader.topics[self.topic].count

    @property
    def compressed(self) -> bool:
        """True for CompressedImage topics."""
        return self.kind == COMPRESSED_IMAGE

    @property
    def target(self) -> str:
        """Topic on which the images are published; compressed images go where the node subscribes to them."""
        add = self.compressed and not self.topic.endswith("/compressed")
        return f"{self.topic}/compressed" if add else self.topic

    @property
    def has_truth(self) -> bool:
        """Whether the bag has ground truth for the answers."""
        return TRUTH_TOPIC in self.copied

    def _holds(self, topic: str, kind: str) -> bool:
        found = self.reader.topics.get(topic)
        return found is not None and found.type == kind and found.count > 0


@dataclass(frozen=True, eq=False)
class BagFrame:
    """One image message.

    Attributes:
        raw: the serialised message to publish.
        bag_ns: recording time in ns; never less than the previous frame's.
        head: stamp and size.
        fault: why no node could read the image; empty if it may be published.
    """

    raw: bytes
    bag_ns: int
    head: ImageHead
    fault: str = ""


@dataclass
class BagTime:
    """Recording times, forced not to run backwards.

    Attributes:
        latest_ns: the latest time so far.
        backwards: how often the bag's time was earlier than that.
    """

    latest_ns: int | None = None
    backwards: int = 0

    def forward(self, bag_ns: int) -> int:
        """The given time, or the latest one if that is later."""
        if self.latest_ns is not None and bag_ns < self.latest_ns:
            self.backwards += 1
            return self.latest_ns
        self.latest_ns = bag_ns
        return bag_ns


def frames_and_copies(selection: Selection, time: BagTime) -> Iterator[BagFrame | Message]:
    """The images as frames, and the messages of the copied topics unchanged, in the bag's order."""
    for message in selection.reader.messages({selection.topic, *selection.copied}):
        if message.topic != selection.topic:
            yield message
            continue
        bag_ns = time.forward(message.stamp_ns)
        try:
            head = image_head(message.raw, message.type)
            yield BagFrame(message.raw, bag_ns, head, VIDEO_MESSAGE if head.video else "")
        except CdrError as error:
            yield BagFrame(message.raw, bag_ns, ImageHead(0, 0, 0), f"the bag's message cannot be read: {error}")

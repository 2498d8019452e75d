"""The images of a bag as a replay takes them: serialised as they are, with what must be known of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from gaussian_yolo_node.bags.reading import BagReader, Message
from gaussian_yolo_node.ros.driving.cdr import CdrError, ImageHead, image_head


@dataclass(frozen=True, eq=False)
class BagFrame:
    """One image message.

    Attributes:
        raw: as it is published.
        bag_ns: when it was recorded, ns; never less than the frame's before.
        head: stamp and size.
        fault: why no node could read it; empty if it may be published.
    """

    raw: bytes
    bag_ns: int
    head: ImageHead
    fault: str = ""


@dataclass
class BagTime:
    """Recording times that do not run backwards, whatever the bag says.

    Attributes:
        latest_ns: the latest so far.
        backwards: how often the bag's time was before that.
    """

    latest_ns: int | None = None
    backwards: int = 0

    def forward(self, bag_ns: int) -> int:
        """The time, or the latest if that is later."""
        if self.latest_ns is not None and bag_ns < self.latest_ns:
            self.backwards += 1
            return self.latest_ns
        self.latest_ns = bag_ns
        return bag_ns


def frames_and_copies(
    reader: BagReader, image_topic: str, copied: Collection[str], time: BagTime
) -> Iterator[BagFrame | Message]:
    """The images of one topic as frames, and the messages of the copied topics as they are, in the bag's order."""
    for message in reader.messages({image_topic, *copied}):
        if message.topic != image_topic:
            yield message
            continue
        bag_ns = time.forward(message.stamp_ns)
        try:
            yield BagFrame(message.raw, bag_ns, image_head(message.raw, message.type))
        except CdrError as error:
            yield BagFrame(message.raw, bag_ns, ImageHead(0, 0, 0), f"the bag's message cannot be read: {error}")

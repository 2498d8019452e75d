"""A bag's images for a replay: the serialised messages, when each is due, and reading ahead of the player."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from gaussian_yolo_node.bags import CAMERA_INFO, COMPRESSED_IMAGE, DETECTIONS, INFO_TOPIC, STRING, TRUTH_TOPIC
from gaussian_yolo_node.bags.reading import BagReader, Message
from gaussian_yolo_node.frames.image_messages import VIDEO_MESSAGE
from gaussian_yolo_node.ros.driving.cdr import CdrError, ImageHead, image_head

# A bag may hold several drives; the pause between them is shortened.
LONGEST_GAP_S = 60.0
SHORTENED_GAP_S = 1.0
# Copied into the recording, so that it can be evaluated without the bag.
_TRUTH_TYPES = {TRUTH_TOPIC: DETECTIONS, INFO_TOPIC: STRING}
# Interval in s at which the reading thread checks whether its consumer has left.
_STEP_S = 0.1

Item = TypeVar("Item")


class Selection:
    """The part of a bag that is replayed.

    Args:
        reader: the open bag.
        wanted: topic of the images; empty for the only one.

    Attributes:
        topic: topic of the images.
        count: number of images stated by the bag.
        compressed: whether they are CompressedImage messages.
        target: topic on which they are published; compressed images go where the node subscribes to them.
        copied: types of the topics that are copied into the recording unchanged.
        has_truth: whether the bag has ground truth for the answers.
        camera_info: topic of the camera's matrix beside the images; empty if the bag has none.

    Raises:
        BagError: there is no such topic, or several to choose from.
    """

    def __init__(self, reader: BagReader, wanted: str) -> None:
        self.reader = reader
        self.topic = reader.the_image_topic(wanted or None)
        self.count = reader.topics[self.topic].count
        self.compressed = reader.topics[self.topic].type == COMPRESSED_IMAGE
        base = self.topic.removesuffix("/compressed")
        self.target = f"{base}/compressed" if self.compressed else self.topic
        self.copied = {name: kind for name, kind in _TRUTH_TYPES.items() if self._holds(name, kind)}
        self.has_truth = TRUTH_TOPIC in self.copied
        beside = f"{base.rpartition('/')[0]}/camera_info"
        self.camera_info = beside if self._holds(beside, CAMERA_INFO) else ""
        if self.camera_info:
            self.copied[self.camera_info] = CAMERA_INFO

    def _holds(self, name: str, kind: str) -> bool:
        topic = self.reader.topics.get(name)
        return topic is not None and topic.type == kind and topic.count > 0


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


class Schedule:
    """When frames are due, in ns from the first: by their times in the bag, or at a fixed rate.

    Args:
        rate_factor: speed relative to the bag.
        rate_hz: frames per second, whatever the bag's times.

    Attributes:
        shortened: number of gaps in the bag that were shortened.
    """

    def __init__(self, rate_factor: float, rate_hz: float | None) -> None:
        self._factor = rate_factor
        self._hz = rate_hz
        self._frames = 0
        self._latest_ns: int | None = None
        self._elapsed_ns = 0
        self.shortened = 0

    def due_ns(self, bag_ns: int) -> int:
        """When the next frame, recorded at `bag_ns`, is due."""
        gap = 0 if self._latest_ns is None else bag_ns - self._latest_ns
        self._latest_ns = bag_ns
        if self._hz is None and gap > LONGEST_GAP_S * 1e9:
            gap = int(SHORTENED_GAP_S * 1e9)
            self.shortened += 1
        self._elapsed_ns += gap
        self._frames += 1
        # Computed from the start each time, so that rounding errors do not accumulate.
        return round((self._frames - 1) * 1e9 / self._hz) if self._hz else round(self._elapsed_ns / self._factor)


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


class Prefetched(Generic[Item]):
    """The items of an iterable, read up to `depth` ahead in a thread; can be iterated once.

    The player then never waits for the disk or for decompression. An exception of the iterable is raised to the
    consumer at the same position. Leaving the context manager ends the thread.
    """

    def __init__(self, items: Iterable[Item], depth: int) -> None:
        self._queue: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(depth)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(items,), name="reader", daemon=True)
        self._thread.start()

    def _run(self, items: Iterable[Item]) -> None:
        try:
            for item in items:
                if not self._put((item,)):
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, entry: tuple[Item] | BaseException | None) -> bool:
        while not self._closing.is_set():
            try:
                self._queue.put(entry, timeout=_STEP_S)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[Item]:
        while (entry := self._queue.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            yield entry[0]

    def __enter__(self) -> Prefetched[Item]:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

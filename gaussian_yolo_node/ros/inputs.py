"""The node's inputs: an image topic, or a source read in its own thread."""

from __future__ import annotations

import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.time import Time
from rclpy.timer import Timer
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from gaussian_yolo_node.display import safe
from gaussian_yolo_node.frames import Frame, Source, SourceError, SourceState, open_source
from gaussian_yolo_node.frames.image_messages import (
    ImageMessageError,
    check_compressed,
    decode_compressed,
    image_from_message,
)
from gaussian_yolo_node.frames.rectification import Rectifier
from gaussian_yolo_node.ros.camera_info import load_calibration
from gaussian_yolo_node.ros.diagnostics import FrameStatistics
from gaussian_yolo_node.ros.image_transport import ImageTopic, image_topic
from gaussian_yolo_node.ros.mailbox import Mailbox
from gaussian_yolo_node.ros.parameter_table import ParameterError, PerceptionParameters
from gaussian_yolo_node.ros.qos import create_subscription
from gaussian_yolo_node.ros.silence import why_silent
from gaussian_yolo_node.ros.source_topics import SourceTopics

# A topic silent for longer than this gets a warning.
_SILENCE_S = 3.0
# Pauses between attempts to open a missing camera.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
# Time between looks of a waiting source whether the node is closing.
_ENABLED_POLL_S = 0.1
# Time between looks for a publisher of images, s.
_SEARCH_PERIOD_S = 0.2

_RELIABILITY = {"best_effort": QoSReliabilityPolicy.BEST_EFFORT, "reliable": QoSReliabilityPolicy.RELIABLE}


@dataclass(frozen=True)
class Arrival:
    """A frame that has arrived.

    Attributes:
        header: stamp and frame_id, copied to everything published for the frame.
        picture: decodes the frame to uint8 [H, W, 3] BGR. The worker calls it, so a dropped frame costs no decoding.
        at: when it arrived, s, by `time.perf_counter`.
    """

    header: Header
    picture: Callable[[], NDArray[np.uint8]]
    at: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class InputStatus:
    """What the node says of its input.

    Attributes:
        state: "topic", or the state of the source.
        error: why no frames arrive, for an error status; empty if they do.
        notice: another reason for a warning; empty if there is none.
        skipped: frames that could not be decoded and never arrived.
        dropped: frames that were overwritten by newer ones before they reached the node.
        message: the latest error, even if it is over.
    """

    state: str
    error: str = ""
    notice: str = ""
    skipped: int = 0
    dropped: int = 0
    message: str = ""


@dataclass(eq=False)
class Input(ABC):
    """The node's input. While `enabled` is not set, it ignores frames; a file that loses none waits."""

    node: Node
    parameters: PerceptionParameters
    mailbox: Mailbox[Arrival]
    statistics: FrameStatistics
    enabled: threading.Event

    @abstractmethod
    def __post_init__(self) -> None: ...

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """(height, width) in px of the frames to come, if it is known."""
        return None

    @property
    @abstractmethod
    def status(self) -> InputStatus: ...

    @abstractmethod
    def start(self) -> None:
        """Let frames arrive."""

    @abstractmethod
    def close(self) -> None:
        """Stop; no frame arrives afterwards."""


class TopicInput(Input):
    """Images from a topic. The executor's thread only puts them in the mailbox."""

    def __post_init__(self) -> None:
        self._error = ""
        self._missed = 0
        self._last_number = 0
        self._subscription: Subscription | None = None
        self._seen: ImageTopic | None = None  # at the latest look
        self._subscribed: ImageTopic | None = None
        self._search: Timer | None = None

    def start(self) -> None:
        self._look_for_images()
        # In wall time: a node without a clock must find its images, too. The search goes on: a camera's driver may come
        # back with another type of images.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._search = self.node.create_timer(_SEARCH_PERIOD_S, self._look_again, clock=steady)

    def _look_again(self) -> None:
        if self._subscription is not None and self.statistics.silence_s <= _SILENCE_S:
            return
        try:
            self._look_for_images()
        except ParameterError as error:  # of the quality of service; nothing above a timer would report it
            self._end_search()
            self._error = str(error)

    def _look_for_images(self) -> None:
        """Subscribe once it is known to what, and anew if that changes."""
        before, topic = self._seen, image_topic(self.node, self.parameters)
        self._seen = topic
        # A driver announces raw and compressed images one after the other, in any order.
        at_once = self.parameters.image_transport != "auto" or (topic is not None and topic.kind is Image)
        if topic is None or topic == self._subscribed or not (at_once or topic == before):
            return
        self._unsubscribe()
        self._subscribed = topic
        # ROS 2 Humble passes the message without its info.
        numbered = hasattr(Subscription, "CallbackType")
        receive: Callable[..., None] = self._receive_numbered if numbered else self._receive
        reliability = _RELIABILITY[self.parameters.reliability]
        # Only the newest image is useful, so the subscription does not queue images either.
        self._subscription = create_subscription(self.node, topic.kind, topic.name, receive, reliability)

    def _end_search(self) -> None:
        if self._search is not None:
            self.node.destroy_timer(self._search)
            self._search = None

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self.node.destroy_subscription(self._subscription)
            self._subscription = None
            self._last_number = 0

    @property
    def _topic(self) -> str:
        if self._subscription is None:
            return str(self.node.resolve_topic_name(self.parameters.image_topic))
        return str(self._subscription.topic_name)

    @property
    def status(self) -> InputStatus:
        return InputStatus("topic", self._error, self._notice(), dropped=self._missed)

    def _notice(self) -> str:
        silence_s = self.statistics.silence_s
        if silence_s <= _SILENCE_S:
            return ""
        kind = ""
        if self._subscription is not None and self._subscribed is not None:
            kind = f"sensor_msgs/msg/{self._subscribed.kind.__name__}"
        why = why_silent(self.node, self._topic, kind, self.parameters)
        return f"no image on {self._topic} for {silence_s:.0f} s: {why}"

    def close(self) -> None:
        self._end_search()
        self._unsubscribe()

    def _receive_numbered(self, message: Image | CompressedImage, info: Mapping[str, Any]) -> None:
        # The number is None if the middleware does not number messages.
        number = info["publication_sequence_number"] or 0
        missed = number - self._last_number - 1 if self._last_number else 0
        # Each publisher numbers its own messages, so gaps mean nothing with several publishers.
        if missed > 0 and self.node.count_publishers(self._topic) == 1:
            self._missed += missed
        self._last_number = number
        self._receive(message)

    def _receive(self, message: Image | CompressedImage) -> None:
        if not self.enabled.is_set():
            self.statistics.note_ignored()
            return
        self.statistics.count_received()
        if isinstance(message, CompressedImage):
            # A picture that is not worth decoding must not take the place of one that waits.
            try:
                data = check_compressed(message, self.parameters.max_megapixels)
            except ImageMessageError as error:
                if self.statistics.count_failed(str(error)):
                    self.node.get_logger().error(str(error))
                return
            picture = partial(decode_compressed, data, message.format)
        else:
            picture = partial(image_from_message, message, self.parameters.max_megapixels)
        self.mailbox.put(Arrival(message.header, picture))


class SourceInput(Input):
    """Frames from a source, read in a thread.

    A missing camera is retried indefinitely; a missing file is an error at once. The frames are also topics.

    Raises:
        SourceError: a file or folder cannot be opened.
        ParameterError, CalibrationError: the calibration cannot be read, or cannot rectify.
    """

    def __post_init__(self) -> None:
        parameters, mailbox = self.parameters, self.mailbox
        live = _is_live(parameters.source)
        self._newest_wins = live or parameters.playback == "realtime"
        self._deliver = mailbox.put if self._newest_wins else mailbox.put_when_empty
        self._closing = threading.Event()
        self._open_error = self._failure = ""
        calibration = load_calibration(parameters.camera_info_url) if parameters.camera_info_url else None
        self._rectifier = Rectifier(calibration) if calibration is not None and parameters.rectify else None
        self._calibration = calibration
        self._topics: SourceTopics | None = None
        self._source: Source | None = None if live else self._open()
        self._thread = threading.Thread(target=self._run, name=f"source {parameters.shown_input}", daemon=True)

    def start(self) -> None:
        self._topics = SourceTopics(self.node, self._calibration, self._rectifier)
        self._thread.start()

    @property
    def frame_size(self) -> tuple[int, int] | None:
        return self._source.frame_size if self._source else None

    @property
    def status(self) -> InputStatus:
        source, error = self._source, self._open_error
        if source is None:
            state = SourceState.LOST if error else SourceState.OPENING
            return InputStatus(state.value, self._failure or error, self._notice(state), message=error)
        state = source.state
        error = source.message if state is SourceState.LOST else ""
        if state is SourceState.FINISHED and self._unanswered() > 0:
            # A client that waits for the end also expects the detections of the last frame.
            state = SourceState.STREAMING
        return InputStatus(
            state.value, self._failure or error, self._notice(state), source.skipped, source.dropped, source.message
        )

    def _notice(self, state: SourceState) -> str:
        late = state is SourceState.OPENING and self.statistics.silence_s > _SILENCE_S
        return f"waiting for the first frame of {self.parameters.shown_input}" if late else ""

    def close(self) -> None:
        self._closing.set()
        if self._source is not None:
            self._source.close()
        # A thread inside OpenCV's open of a dead camera cannot be interrupted; it is a daemon and ends by itself.
        if self._thread.ident is not None:
            self._thread.join(1.0)
        if self._topics is not None:
            self._topics.destroy()

    def _unanswered(self) -> int:
        statistics = self.statistics
        return statistics.received - statistics.processed - statistics.failed - self.mailbox.dropped

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:  # an internal error; without frames, the node must not look well
            self._failure = f"internal error: {error!r}"
            self.node.get_logger().error(safe(traceback.format_exc()))

    def _read(self) -> None:
        if self._source is None:
            self._source = self._open_until_there()
        if self._source is None:
            return
        if self._closing.is_set():  # closed during the open
            self._source.close()
            return
        while (frame := self._next(self._source)) is not None:
            arrival = self._arrival(frame)
            if self._topics is not None:
                self._topics.publish(frame.image, arrival.header)
            if self._newest_wins and not self.enabled.is_set():
                self.statistics.note_ignored()
            else:
                self.statistics.count_received()
                self._deliver(arrival)

    def _next(self, source: Source) -> Frame | None:
        """The next frame; if every frame counts, it is read once the node is enabled."""
        while not self._newest_wins and not self._closing.is_set() and not self.enabled.wait(_ENABLED_POLL_S):
            self.statistics.note_ignored()
        return source.read()

    def _open_until_there(self) -> Source | None:
        pause = _FIRST_PAUSE_S
        while not self._closing.is_set():
            try:
                return self._open()
            except SourceError as error:
                if not self._open_error:
                    self.node.get_logger().error(f"{error}; trying again until it is there")
                self._open_error = str(error)
            self._closing.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        return None

    def _open(self) -> Source:
        return open_source(
            self.parameters.source,
            playback=self.parameters.playback,
            fps=self.parameters.playback_fps,
            loop=self.parameters.loop,
            max_megapixels=self.parameters.max_megapixels,
        )

    def _arrival(self, frame: Frame) -> Arrival:
        # Keep the frame's age when converting its stamp from system time to the node's clock, which may be simulated.
        now = self.node.get_clock().now().nanoseconds
        stamp = Time(nanoseconds=max(0, now - int((time.time() - frame.stamp) * 1e9)))
        header = Header(stamp=stamp.to_msg(), frame_id=self.parameters.frame_id)
        rectifier = self._rectifier
        return Arrival(header, partial(rectifier, frame.image) if rectifier is not None else lambda: frame.image)


def _is_live(source: str) -> bool:
    source = source.strip()
    return source.isdigit() or source.startswith("/dev/") or "://" in source or " ! " in source

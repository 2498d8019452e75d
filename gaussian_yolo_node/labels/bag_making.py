"""Convert driving data to a bag with images, calibration and ground truth."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags import (
    CAMERA_INFO,
    CAMERA_INFO_TOPIC,
    COMPRESSED_IMAGE,
    DETECTIONS,
    IMAGE,
    IMAGE_TOPIC,
    INFO_TOPIC,
    STRING,
    TRUTH_TOPIC,
    BagError,
    messages,
)
from gaussian_yolo_node.bags.frame_info import FrameInfo
from gaussian_yolo_node.bags.image_header import orientation
from gaussian_yolo_node.bags.writing import BagWriter, Compression, StorageName
from gaussian_yolo_node.file_names import numbered
from gaussian_yolo_node.frames.camera_calibration import Calibration
from gaussian_yolo_node.labels.labelled_frames import Truths
from gaussian_yolo_node.labels.sequences import FrameSequence, SequenceFrame

# First stamp for frames without times: 2001-09-09 01:46:40 UTC. It is fixed so that the bags of equal frames are equal.
DEFAULT_START_NS = 1_000_000_000_000_000_000
# Image files are stored unchanged; frames of a video are encoded as JPEG.
_JPEG_QUALITY = 95
_SIGNATURES = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png"}


@dataclass(frozen=True)
class MakeOptions:
    """Options of the bag to write.

    Attributes:
        image: store pixels (bgr8), or the unchanged files (JPEG, PNG).
        rate_hz: replaces the times of the data by this constant rate; None uses the times, else the camera's rate.
        calibration: replaces the calibration of the data; `no_calibration` writes none.
        frames: number of frames to write, looping if necessary; None writes all frames `loops` times.
        start_ns: stamp of the first frame; None keeps its own.
    """

    storage: StorageName = "mcap"
    compression: Compression = "none"
    image: Literal["raw", "compressed"] = "raw"
    rate_hz: float | None = None
    calibration: Calibration | None = None
    no_calibration: bool = False
    frame_id: str = "camera"
    frames: int | None = None
    loops: int = 1
    start_ns: int | None = None
    overwrite: bool = False

    def check(self) -> None:
        """Raise BagError for invalid values."""
        if self.rate_hz is not None and not 0 < self.rate_hz <= 1e6:
            raise BagError(f"the rate must be above 0 Hz, and it is {self.rate_hz:g}")
        if self.loops < 1 or (self.frames is not None and self.frames < 1):
            raise BagError("at least one frame, and one round, is needed for a bag")
        if self.frames is not None and self.loops != 1:
            raise BagError("--frames and --loop exclude each other: both say when to end")
        # The seconds of a stamp are an int32.
        if self.start_ns is not None and not 0 <= self.start_ns < 2**31 * 1_000_000_000:
            raise BagError("the start must be between 1970 and 2038, as a stamp of ROS is")


@dataclass
class MakeSummary:
    """Summary of the written bag.

    Attributes:
        frames: number of images; `labelled` of them have a truth message, with `objects` objects in total.
        skipped: error message by name of each unreadable image file.
        sizes: number of images by (width, height).
    """

    frames: int = 0
    labelled: int = 0
    objects: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    first_ns: int = 0
    last_ns: int = 0
    notes: list[str] = field(default_factory=list)


def make_bag(
    sequence: FrameSequence,
    output: Path,
    options: MakeOptions,
    on_frame: Callable[[int, int | None], None] = lambda done, total: None,
) -> MakeSummary:
    """Write a sequence to a bag.

    Args:
        output: see `BagWriter`.
        on_frame: called after each frame with the number of frames written and their total, None if unknown.

    Raises:
        BagError: the options conflict, the bag cannot be written, or no image can be read.
    """
    options.check()
    summary = MakeSummary(notes=list(sequence.notes))
    image_topic = IMAGE_TOPIC if options.image == "raw" else f"{IMAGE_TOPIC}/compressed"
    topics = {image_topic: IMAGE if options.image == "raw" else COMPRESSED_IMAGE}
    total = options.frames
    if total is None and sequence.length is not None:
        total = sequence.length * options.loops
    with BagWriter(
        output, topics, storage=options.storage, compression=options.compression, overwrite=options.overwrite
    ) as writer:
        for frame, stamp_ns in _stamped(sequence, options, summary):
            encoded = _encoded(frame, options, summary)
            if encoded is None:
                continue
            _write(writer, frame, stamp_ns, encoded, sequence, options, summary)
            on_frame(summary.frames, total)
            if summary.frames == options.frames:
                break
        if not summary.frames:
            errors = "; ".join(f"{name}: {error}" for name, error in list(summary.skipped.items())[:3])
            raise BagError(f"{sequence.description}: none of the images can be read ({errors or 'there are none'})")
    if len(summary.sizes) > 1:
        sizes = ", ".join(f"{width}x{height} ({count})" for (width, height), count in summary.sizes.most_common())
        summary.notes.append(f"images of {len(summary.sizes)} sizes: {sizes}")
    return summary


def _write(
    writer: BagWriter,
    frame: SequenceFrame,
    stamp_ns: int,
    encoded: _Encoded,
    sequence: FrameSequence,
    options: MakeOptions,
    summary: MakeSummary,
) -> None:
    """Write one frame: first its information, then the image."""
    header = messages.header(stamp_ns, options.frame_id)
    height, width = encoded.size
    labelled = frame.truths is not None
    truths = Truths.of([], []) if frame.truths is None else frame.truths
    solid = np.isfinite(truths.cuboids[:, 0])
    cuboids = tuple(tuple(each.tolist()) if known else None for each, known in zip(truths.cuboids, solid, strict=True))
    ignored, truncation, occlusion, tracks = (
        tuple(column.tolist()) for column in (truths.ignored, truths.truncation, truths.occlusion, truths.tracks)
    )
    optional = (cuboids if solid.any() else (), tracks if (truths.tracks >= 0).any() else ())
    info = FrameInfo(stamp_ns, frame.name, width, height, labelled, ignored, truncation, occlusion, *optional)
    _send(writer, INFO_TOPIC, STRING, stamp_ns, messages.text(info.to_json()))
    if labelled:
        truth = messages.truth(zip(truths.categories.tolist(), truths.boxes.tolist(), strict=True), header)
        _send(writer, TRUTH_TOPIC, DETECTIONS, stamp_ns, truth)
    calibration = options.calibration
    if calibration is None and not options.no_calibration:
        calibration = sequence.calibration(frame)
    if calibration is not None:
        if calibration.size is not None and calibration.size != encoded.size:
            shown = f"{calibration.size[1]}x{calibration.size[0]}"
            note = f"the calibration is for images of {shown} px, and there are some of {width}x{height}"
            summary.notes += [] if note in summary.notes else [note]
        message = calibration.message(calibration.size or encoded.size, header)
        _send(writer, CAMERA_INFO_TOPIC, CAMERA_INFO, stamp_ns, message)
    if isinstance(encoded.content, bytes):
        image = messages.compressed_image(encoded.content, encoded.layout, header)
        _send(writer, f"{IMAGE_TOPIC}/compressed", COMPRESSED_IMAGE, stamp_ns, image)
    else:
        _send(writer, IMAGE_TOPIC, IMAGE, stamp_ns, messages.raw_image(encoded.content, header))
    if not summary.frames:
        summary.first_ns = stamp_ns
    summary.last_ns = stamp_ns
    summary.frames += 1
    summary.labelled += labelled
    summary.objects += len(truths)
    summary.sizes[width, height] += 1


def _send(writer: BagWriter, topic: str, kind: str, stamp_ns: int, raw: bytes) -> None:
    """Write a message; its first message adds a topic to the bag."""
    if topic not in writer.topics:
        writer.add_topic(topic, kind)
    writer.write(topic, stamp_ns, raw)


@dataclass(frozen=True, eq=False)
class _Encoded:
    """Pixels, or the bytes of an image file with their layout, and (height, width) in px."""

    content: NDArray[np.uint8] | bytes
    size: tuple[int, int]
    layout: str = ""


def _encoded(frame: SequenceFrame, options: MakeOptions, summary: MakeSummary) -> _Encoded | None:
    """The image to write; None, with an entry in the summary, if it cannot be decoded."""
    picture = frame.picture()
    if picture.image is None:
        # Later rounds read the same file again.
        summary.skipped.setdefault(frame.file.name if frame.file else f"frame {frame.name}", picture.error)
        return None
    height, width = picture.image.shape[:2]
    if options.image == "raw":
        return _Encoded(picture.image, (height, width))
    data = b"" if frame.file is None else frame.file.read_bytes()
    layout = next((name for start, name in _SIGNATURES.items() if data.startswith(start)), "")
    # Subscribers ignore Exif, because the frame_id is that of the sensor, so a turned picture is stored as pixels.
    if layout and orientation(data) == 1:
        return _Encoded(data, (height, width), layout)
    suffix, layout = (".jpg", "jpeg") if frame.file is None else (".png", "png")
    _, encoded = cv2.imencode(suffix, picture.image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return _Encoded(encoded.tobytes(), (height, width), layout)


def _stamped(
    sequence: FrameSequence, options: MakeOptions, summary: MakeSummary
) -> Iterator[tuple[SequenceFrame, int]]:
    """The frames of all rounds with stamps in ns; from the second round on, names end in "#" and the round's number."""
    round_ = 0
    offset_ns = 0
    while options.frames is not None or round_ < options.loops:
        round_ += 1
        stamps: list[int] = []
        for index, frame in enumerate(sequence.frames()):
            stamps.append(_own_stamp(frame, index, sequence, options))
            if round_ == 1 and index == 0 and options.start_ns is not None:
                offset_ns = options.start_ns - stamps[0]
            named = frame if round_ == 1 else replace(frame, name=numbered(frame.name, round_))
            yield named, stamps[-1] + offset_ns
        if not summary.frames:
            return  # another round would be empty too
        offset_ns += stamps[-1] - stamps[0] + _step(stamps, sequence, options)


def _own_stamp(frame: SequenceFrame, index: int, sequence: FrameSequence, options: MakeOptions) -> int:
    if frame.stamp_ns is not None and options.rate_hz is None:
        return frame.stamp_ns
    if frame.time_s is not None and options.rate_hz is None:
        return DEFAULT_START_NS + round(frame.time_s * 1e9)
    return DEFAULT_START_NS + round(index * 1e9 / (options.rate_hz or sequence.rate_hz))


def _step(stamps: list[int], sequence: FrameSequence, options: MakeOptions) -> int:
    """Time from the last frame of a round to the first of the next, ns."""
    steps = [after - before for before, after in pairwise(stamps) if after > before]
    return round(statistics.median(steps)) if steps else round(1e9 / (options.rate_hz or sequence.rate_hz))

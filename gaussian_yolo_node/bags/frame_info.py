"""Information on the images of a bag: names, sizes, and the truth data without a field in vision_msgs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from gaussian_yolo_node.bags import INFO_TOPIC, BagError
from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.documents import DocumentError, parse_json


@dataclass(frozen=True)
class FrameInfo:
    """Information on one image, sent as JSON on `INFO_TOPIC`.

    Attributes:
        stamp_ns: stamp of the image, ns.
        frame: its name, such as the file name.
        width, height: px.
        labelled: whether the image is labelled. Only then there is a truth message, which may be empty.
        ignored, truncation, occlusion: one value per object, in the order of the truth message; see `FrameTruths`.
        cuboids, tracks: the same of `Truths`, None for an object without a 3-D box; empty if no object has any.
    """

    stamp_ns: int
    frame: str
    width: int
    height: int
    labelled: bool
    ignored: tuple[bool, ...] = ()
    truncation: tuple[float, ...] = ()
    occlusion: tuple[int, ...] = ()
    cuboids: tuple[tuple[float, ...] | None, ...] = ()
    tracks: tuple[int, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> FrameInfo:
        """Parse the output of `to_json`; raises ValueError for any other text."""
        try:
            values = parse_json(text, "the text")
            return cls(
                int(values["stamp_ns"]),
                str(values["frame"]),
                int(values["width"]),
                int(values["height"]),
                bool(values["labelled"]),
                tuple(map(bool, values["ignored"])),
                tuple(map(float, values["truncation"])),
                tuple(map(int, values["occlusion"])),
                # Bags made before these were known have neither.
                tuple(None if each is None else tuple(map(float, each)) for each in values.get("cuboids", ())),
                tuple(map(int, values.get("tracks", ()))),
            )
        except (DocumentError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"it is not the information of a frame: {error!r}") from error


def stamp_ns(header: Any) -> int:
    """The stamp of a message's header, ns."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def read_frame_infos(reader: BagReader, topic: str = INFO_TOPIC) -> dict[int, FrameInfo]:
    """The information on the frames of a bag, by stamp in ns; empty if the bag does not have the topic.

    Raises:
        BagError: a message is not a valid `FrameInfo`.
    """
    infos: dict[int, FrameInfo] = {}
    if topic not in reader.topics:
        return infos
    for message in reader.messages({topic}):
        try:
            info = FrameInfo.from_json(message.decode().data)
        except (ValueError, AttributeError) as error:
            raise BagError(f"{reader.path}, topic {topic}: {error}") from error
        infos[info.stamp_ns] = info
    return infos

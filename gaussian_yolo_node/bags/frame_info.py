"""What a bag says of its images beside their pictures: names, sizes, and what truths have no field for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from gaussian_yolo_node.bags import INFO_TOPIC, BagError
from gaussian_yolo_node.bags.reading import BagReader


@dataclass(frozen=True)
class FrameInfo:
    """What a bag says of one image beside its picture; a message of `INFO_TOPIC`, as JSON.

    Attributes:
        stamp_ns: of the image, ns.
        frame: its name, as that of the file it was.
        width, height: px.
        labelled: whether somebody looked for objects in it; only then there is a truth message, maybe an empty one.
        ignored, truncation, occlusion: of each object of the truth, in its order; see `FrameTruths`.
    """

    stamp_ns: int
    frame: str
    width: int
    height: int
    labelled: bool
    ignored: tuple[bool, ...] = ()
    truncation: tuple[float, ...] = ()
    occlusion: tuple[int, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> FrameInfo:
        """Raises ValueError for what `to_json` has not written."""
        try:
            values = json.loads(text)
            return cls(
                int(values["stamp_ns"]),
                str(values["frame"]),
                int(values["width"]),
                int(values["height"]),
                bool(values["labelled"]),
                tuple(map(bool, values["ignored"])),
                tuple(map(float, values["truncation"])),
                tuple(map(int, values["occlusion"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"it is not the information of a frame: {error!r}") from error


def stamp_ns(header: Any) -> int:
    """The stamp of a message's header, ns."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def read_frame_infos(reader: BagReader, topic: str = INFO_TOPIC) -> dict[int, FrameInfo]:
    """What a bag says of its frames, by stamp in ns; empty if it has no such topic.

    Raises:
        BagError: a message is not of that kind.
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

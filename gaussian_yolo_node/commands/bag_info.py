"""The command `bag info`: the contents of a bag."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaussian_yolo_node.commands.progress import progress_bar
from gaussian_yolo_node.files import write_whole

if TYPE_CHECKING:
    from gaussian_yolo_node.bags.info import BagInfo, TopicInfo

# Right-aligned columns of the table of topics.
_NUMBERS = (2, 3, 4, 5)


def info(
    bag: Annotated[Path, typer.Argument(help="ROS 2 bag (folder, .mcap, .db3) or ROS 1 .bag, damaged or not.")],
    json_path: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Also write it as JSON.")] = None,
) -> None:
    """List the topics, types, rates and gaps of a bag, and its faults.

    Example: gaussian-yolo bag info drive.mcap
    """
    from gaussian_yolo_node.bags.info import read_info

    with progress_bar("reading") as on_message:
        result = read_info(bag, on_message)
    for line in (*_head(result), *_table(result)):
        print(line)
    for note in result.notes:
        print(f"note: {note}")
    if json_path is not None:
        write_whole(json_path, json.dumps(result.to_dict(), indent=2) + "\n")


def _head(info: BagInfo) -> list[str]:
    """The lines above the table of topics."""
    from gaussian_yolo_node.bags.storage import shown_time

    span = ""
    if info.start_ns is not None and info.end_ns is not None:
        span = f", {info.duration_s:.3f} s from {shown_time(info.start_ns)} to {shown_time(info.end_ns)}"
    files = f"{len(info.files)} files of " if len(info.files) > 1 else ""
    packed = f", compressed ({info.compression})" if info.compression else ""
    return [f"{info.path}: {files}{info.storage}{packed}, {info.size / 1e6:.1f} MB", f"{info.messages} messages{span}"]


def _table(result: BagInfo) -> Iterator[str]:
    """The topics in columns, not cut to the terminal's width, so that names can be copied."""
    rows: list[tuple[str, ...]] = [("topic", "type", "messages", "rate", "largest gap", "delay", "images")]
    rows += [_row(topic, result.start_ns or 0) for topic in result.topics]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(
            text.rjust(width) if place in _NUMBERS else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()


def _row(topic: TopicInfo, start_ns: int) -> tuple[str, ...]:
    gap = ""
    if topic.largest_gap_s is not None and topic.largest_gap_at_ns is not None:
        gap = f"{topic.largest_gap_s:.3f} s at {(topic.largest_gap_at_ns - start_ns) / 1e9:.1f} s"
    return (
        topic.name,
        topic.type if topic.decodable else f"{topic.type} (unknown)",
        str(topic.count),
        "" if topic.rate_hz is None else f"{topic.rate_hz:.2f} Hz",
        gap,
        "" if topic.delay_s is None else f"{topic.delay_s * 1e3:.1f} ms",
        ", ".join(topic.sizes),
    )

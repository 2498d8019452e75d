"""`gaussian-yolo bag make` and `bag info`: driving data into bags, and what is in one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaussian_yolo_node.bags import BagError

if TYPE_CHECKING:
    from gaussian_yolo_node.bags.info import BagInfo, TopicInfo
    from gaussian_yolo_node.labels.bag_making import MakeSummary

# More names of unreadable files say nothing more.
_MOST_NAMES = 10
# Columns of the table of topics that are set flush right.
_NUMBERS = (2, 3, 4, 5)


class Layout(str, Enum):
    auto = "auto"
    kitti_object = "kitti-object"
    kitti_tracking = "kitti-tracking"
    kitti_raw = "kitti-raw"
    bdd = "bdd"
    folder = "folder"
    video = "video"


class Storage(str, Enum):
    mcap = "mcap"
    sqlite3 = "sqlite3"


class ImageKind(str, Enum):
    raw = "raw"
    compressed = "compressed"


class Compression(str, Enum):
    none = "none"
    zstd = "zstd"


def make(
    source: Annotated[
        Path,
        typer.Argument(
            help="KITTI raw drive, object folder (with image_2) or tracking sequence (image_02/0000); folder of "
            "images, or with images and labels in it; video."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT", help="The bag: a file if it ends in .mcap or .db3, else a folder."
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH|none",
            help="KITTI label folder, tracking label file, or BDD/Scalabel JSON.",
            show_default="the data set's own",
        ),
    ] = None,
    layout: Annotated[Layout, typer.Option("--format", help="Layout of the source.")] = Layout.auto,
    storage: Annotated[
        Storage | None, typer.Option(help="Storage of the bag.", show_default="as OUT ends, or mcap")
    ] = None,
    image: Annotated[
        ImageKind, typer.Option(help="raw: bgr8 pixels. compressed: the JPEG and PNG files as they are.")
    ] = ImageKind.raw,
    compression: Annotated[
        Compression, typer.Option(help="zstd packs MCAP's chunks, or SQLite's messages.")
    ] = Compression.none,
    rate: Annotated[
        float | None,
        typer.Option(metavar="HZ", help="Even steps.", show_default="the data's own times, else 10 Hz or the video's"),
    ] = None,
    camera_info: Annotated[
        str | None,
        typer.Option(metavar="YAML|none", help="File of ROS's camera_calibration.", show_default="KITTI's calibration"),
    ] = None,
    frame_id: Annotated[str, typer.Option(help="Of the headers.")] = "camera",
    frames: Annotated[
        int | None, typer.Option(min=1, help="Write this many frames, from the start again as often as it takes.")
    ] = None,
    loop: Annotated[int, typer.Option(min=1, help="Write all frames this many times.")] = 1,
    start: Annotated[
        str | None,
        typer.Option(
            help="Stamp of the first frame: ISO 8601 (UTC), or s since 1970.", show_default="the data's own, else 1e9"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bag that is there.")] = False,
) -> None:
    """Make driving data into a ROS 2 bag: images, camera_info, and truth where there is one.

    Example: gaussian-yolo bag make drive/image --labels drive/label_2 -o drive.mcap
    """
    from gaussian_yolo_node.bags.camera_calibration import read_calibration_yaml
    from gaussian_yolo_node.bags.writing import check_target
    from gaussian_yolo_node.labels.bag_making import MakeOptions, make_bag
    from gaussian_yolo_node.labels.sequences import open_sequence, parse_time

    try:
        start_ns = None if start is None else parse_time(start)
    except ValueError as error:
        raise BagError(f"--start {start} is no time: write 2011-09-26T13:02:25, or seconds since 1970") from error
    given = camera_info if camera_info not in (None, "none") else None
    options = MakeOptions(
        storage=(storage or (Storage.sqlite3 if output.suffix == ".db3" else Storage.mcap)).value,
        compression=compression.value,
        image=image.value,
        rate_hz=rate,
        calibration=None if given is None else read_calibration_yaml(Path(given)),
        no_calibration=camera_info == "none",
        frame_id=frame_id,
        frames=frames,
        loops=loop,
        start_ns=start_ns,
        overwrite=overwrite,
    )
    # Before labels are read and images looked for.
    options.check()
    check_target(output, overwrite=overwrite)
    labelled = labels != Path("none")
    sequence = open_sequence(source, layout.value, labels if labelled else None, labelled=labelled)
    with _progress("writing") as on_frame:
        summary = make_bag(sequence, output, options, on_frame)
    print(f"{output}: {_told(summary)}, from {sequence.description}")
    for name, trouble in list(summary.skipped.items())[:_MOST_NAMES]:
        print(f"skipped {name}: {trouble}", file=sys.stderr)
    if len(summary.skipped) > _MOST_NAMES:
        print(f"skipped {len(summary.skipped) - _MOST_NAMES} more", file=sys.stderr)
    for note in summary.notes:
        print(f"note: {note}", file=sys.stderr)


def info(
    bag: Annotated[Path, typer.Argument(help="ROS 2 bag (folder, .mcap, .db3) or ROS 1 .bag, damaged or not.")],
    json_path: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Write it as JSON, too.")] = None,
) -> None:
    """List topics, types, rates and gaps of a bag, and what is wrong with it.

    Example: gaussian-yolo bag info drive.mcap
    """
    from gaussian_yolo_node.bags.info import read_info, shown

    with _progress("reading") as on_message:
        result = read_info(bag, on_message)
    for line in (*shown(result), *_table(result)):
        print(line)
    for note in result.notes:
        print(f"note: {note}")
    if json_path is not None:
        try:
            json_path.write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise BagError(f"{json_path} cannot be written: {error.strerror}") from error


def _told(summary: MakeSummary) -> str:
    seconds = (summary.last_ns - summary.first_ns) / 1e9
    rate = f" ({(summary.frames - 1) / seconds:.1f} Hz)" if seconds > 0 else ""
    (width, height), _ = summary.sizes.most_common(1)[0]
    truth = f"{summary.labelled} with truth ({summary.objects} objects)" if summary.labelled else "none with truth"
    skipped = f", {len(summary.skipped)} skipped" if summary.skipped else ""
    return f"{summary.frames} frames of {width}x{height} px, {truth}, {seconds:.1f} s{rate}{skipped}"


def _table(result: BagInfo) -> Iterator[str]:
    """The topics in columns, however wide that is: names are there to be copied."""
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


@contextmanager
def _progress(doing: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on the terminal's error stream, and what to call with how much is done of how much."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

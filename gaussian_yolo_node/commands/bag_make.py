"""The command `bag make`: convert driving data to a bag."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.commands.progress import progress_bar

if TYPE_CHECKING:
    from gaussian_yolo_node.labels.bag_making import MakeSummary

# Longer lists of unreadable files are cut.
_MOST_NAMES = 10


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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bag.")] = False,
) -> None:
    """Convert driving data to a ROS 2 bag: images, camera_info, and ground truth if there is any.

    Example: gaussian-yolo bag make drive/image --labels drive/label_2 -o drive.mcap
    """
    from gaussian_yolo_node.bags.writing import check_target
    from gaussian_yolo_node.frames.camera_calibration import read_calibration_yaml
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
    # Checked before labels and images are read.
    options.check()
    check_target(output, overwrite=overwrite)
    labelled = labels != Path("none")
    sequence = open_sequence(source, layout.value, labels if labelled else None, labelled=labelled)
    with progress_bar("writing") as on_frame:
        summary = make_bag(sequence, output, options, on_frame)
    print(f"{output}: {_told(summary)}, from {sequence.description}")
    for name, reason in list(summary.skipped.items())[:_MOST_NAMES]:
        print(f"skipped {name}: {reason}", file=sys.stderr)
    if len(summary.skipped) > _MOST_NAMES:
        print(f"skipped {len(summary.skipped) - _MOST_NAMES} more", file=sys.stderr)
    for note in summary.notes:
        print(f"note: {note}", file=sys.stderr)


def _told(summary: MakeSummary) -> str:
    seconds = (summary.last_ns - summary.first_ns) / 1e9
    rate = f" ({(summary.frames - 1) / seconds:.1f} Hz)" if seconds > 0 else ""
    (width, height), _ = summary.sizes.most_common(1)[0]
    truth = f"{summary.labelled} with truth ({summary.objects} objects)" if summary.labelled else "none with truth"
    skipped = f", {len(summary.skipped)} skipped" if summary.skipped else ""
    return f"{summary.frames} frames of {width}x{height} px, {truth}, {seconds:.1f} s{rate}{skipped}"

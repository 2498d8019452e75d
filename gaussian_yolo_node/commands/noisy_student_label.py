"""The command `noisy-student label`."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

_SHOWN = 20  # skipped images that are printed; labels.json lists all


class LabelEngine(str, Enum):
    local = "local"
    ray = "ray"


def label(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Folders of images, WebDataset shards ('drives/{000..099}.tar', 'drives/*.tar'), or ROS bags.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="LABELS", help="Folder for the labels.")],
    teacher: Annotated[
        str, typer.Option(help="Detector: name of a shipped model, or .onnx file; classifier: .pt checkpoint.")
    ],
    engine: Annotated[LabelEngine, typer.Option(help="Processes of this machine, or Ray Data.")] = LabelEngine.local,
    workers: Annotated[int, typer.Option(min=1, help="How many label at a time, each on one processor thread.")] = 1,
    address: Annotated[
        str,
        typer.Option(
            help="Ray cluster, HOST:PORT or auto; it must see all files under the same paths.",
            show_default="Ray on this machine",
        ),
    ] = "",
    score_threshold: Annotated[float, typer.Option(help="Minimum score of a box, at least 0 and below 1.")] = 0.05,
    images_per_shard: Annotated[
        int, typer.Option(min=1, help="Of folders and bags; a shard is what is lost when a worker dies.")
    ] = 64,
    topic: Annotated[str | None, typer.Option(help="Topic of a bag's images.", show_default="the only one")] = None,
) -> None:
    """Label images with a teacher: one row per image in Parquet files, with labels.json next to them.

    After an interruption, the same command resumes at the interrupted shard. The labels do not depend on the engine or
    the number of workers.

    Example: gaussian-yolo noisy-student label drives/monday --teacher csp_nano_driving -o out/labels
    """
    from rich.console import Console

    from gaussian_yolo_node.lab.noisy_student.labelling import label as label_sources
    from gaussian_yolo_node.lab.noisy_student.tables import read_document

    summary = label_sources(
        sources,
        teacher,
        output,
        engine=engine.value,
        workers=workers,
        address=address,
        images_per_shard=images_per_shard,
        score_threshold=score_threshold,
        topic=topic,
        console=Console(stderr=True),
    )
    for note in summary.notes:
        print(f"note: {note}", file=sys.stderr)
    if summary.skipped:
        document = read_document(output) or {"shards": []}
        skipped = [skip for shard in document["shards"] for skip in shard["skipped"]]
        for skip in skipped[:_SHOWN]:
            print(f"skipped: {skip['image']}: {skip['reason']}", file=sys.stderr)
        if len(skipped) > _SHOWN:
            print(f"skipped: {len(skipped) - _SHOWN} more, see labels.json", file=sys.stderr)
    print(
        f"labelled: {summary.images} images, {summary.skipped} skipped, in {summary.shards} shards "
        f"({summary.done_before} of them done before): {output}"
    )

"""The command `report`: write the report of a replay."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.errors import SettingError


class ReportProtocol(str, Enum):
    all = "all"
    kitti = "kitti"
    bdd = "bdd"
    coco = "coco"


def report(
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="Folder that `replay -o` wrote.")] = None,
    ground_truth: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Truth, as `evaluate` takes it; instead of a run.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Predictions, as `evaluate` takes them; instead of a run.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the frames, for thumbnails.", show_default="the run's bag"),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Folder of the run to compare with, of the same bag.")
    ] = None,
    protocol: Annotated[
        ReportProtocol | None, typer.Option(help="Of the average precision.", show_default="the data's own")
    ] = None,
    thumbnails: Annotated[int, typer.Option(min=0, help="How many of the worst frames are shown.")] = 12,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="HTML", help="Where to; the JSON goes beside it.", show_default="RUN"),
    ] = None,
) -> None:
    """Write the report of a replay: one self-contained HTML file, and its figures as JSON.

    With --ground-truth and --predictions it reports on files instead of a run, without latency.

    Example: gaussian-yolo report runs/new --baseline runs/old
    """
    from gaussian_yolo_node.report.write import write_file_report, write_report

    chosen = None if protocol is None else protocol.value
    if run is not None:
        if ground_truth is not None or predictions is not None:
            raise SettingError("a run has its own truth and predictions: give RUN, or the files, not both")
        written = write_report(
            run, baseline=baseline, thumbnails=thumbnails, protocol=chosen, images=images, output=output
        )
    else:
        if ground_truth is None or predictions is None:
            raise SettingError("give the folder of a run, or both --ground-truth and --predictions")
        if baseline is not None:
            raise SettingError("--baseline compares runs; give the folder of a run")
        if output is None:
            raise SettingError("say where the report goes with --output report.html")
        written = write_file_report(
            ground_truth, predictions, output, images=images, thumbnails=thumbnails, protocol=chosen
        )
    print(f"written: {written} and {written.with_suffix('.json').name}")

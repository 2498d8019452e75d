"""The command `data check`: find faults in data, and summarise the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.commands.data_options import DataSelection, of_data
from gaussian_yolo_node.files import write_whole

EXIT_FAULTS = 1


@of_data
def check(
    selection: DataSelection,
    samples: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write pictures with their boxes into this folder.")
    ] = None,
    sample_count: Annotated[int, typer.Option(min=1, help="Number of pictures per split.")] = 12,
    tiny: Annotated[float, typer.Option(min=0, help="Warn about boxes with a side shorter than this, px.")] = 4.0,
    limit: Annotated[int, typer.Option(min=0, help="Lines to print per kind of fault; 0 prints all.")] = 50,
    json_path: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Write all results as JSON.")] = None,
) -> None:
    """Check the data of a training config, or one data set in a given format.

    Finds images that are missing, corrupt, of another size than labelled, duplicated, or in two splits; labels that are
    malformed or of an unknown class; boxes that are inverted, empty, outside the image, duplicated, or tiny. Exits with
    1 if there are faults; warnings do not count.

    Example: gaussian-yolo data check recipe.yaml --data data --samples out/samples
    """
    from rich.console import Console

    from gaussian_yolo_node.labels.check import check_sources
    from gaussian_yolo_node.labels.check_report import (
        draw_samples,
        fault_lines,
        images_table,
        notes,
        objects_table,
        result_dict,
        verdict,
    )

    with Console(stderr=True).status("checking") as status:
        result = check_sources(
            selection.splits,
            selection.classes,
            tiny=tiny,
            samples=sample_count if samples is not None else 0,
            progress=lambda count: status.update(f"checking: {count:,} images"),
        )
    console = Console()
    console.print(images_table(result.splits))
    for split in result.splits:
        console.print(objects_table(split, selection.classes, tiny))
        for line in notes(split, selection.classes):
            print(line)
    shown = [fault for fault in result.faults if not fault.kind.is_summed_up]
    for line in fault_lines(shown, limit):
        print(line)
    if samples is not None:
        print(f"samples: {len(draw_samples(result.samples, samples))} pictures in {samples}")
    if json_path is not None:
        write_whole(json_path, json.dumps(result_dict(result), indent=1) + "\n")
    print(verdict(result))
    if result.errors:
        raise typer.Exit(EXIT_FAULTS)

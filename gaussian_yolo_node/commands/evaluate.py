"""The command `evaluate`: compare detections with labels."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.evaluation import LEAST_SCORE


class OutputError(GaussianYoloError):
    """A result cannot be written."""


class Protocol(str, Enum):
    all = "all"
    kitti = "kitti"
    bdd = "bdd"
    coco = "coco"


def evaluate(
    ground_truth: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="Folder of KITTI label files, BDD100K or Scalabel JSON (file or folder), COCO JSON, the list of BDD's "
            "evaluation, or a bag.",
        ),
    ],
    predictions: Annotated[
        Path,
        typer.Option(
            metavar="PATH", help="What `detect --json` wrote, the lists of BDD's or COCO's evaluation, or a bag."
        ),
    ],
    protocol: Annotated[
        Protocol, typer.Option(help="all: every labelled object, as the models' pages; or the official ones.")
    ] = Protocol.all,
    output: Annotated[
        Path | None, typer.Option("--json", "--output", metavar="OUT", help="Write all figures, unrounded.")
    ] = None,
    iou: Annotated[
        list[float] | None,
        typer.Option(min=0, max=1, help="Also at this IoU (protocols all and bdd); may be given several times."),
    ] = None,
    score: Annotated[
        float, typer.Option(min=0, max=1, help="From which right, wrong and missing boxes are counted.")
    ] = 0.5,
    least_score: Annotated[
        float, typer.Option(min=0, max=1, help="Of the detections whose scores and sigmas are judged; AP counts all.")
    ] = LEAST_SCORE,
) -> None:
    """Compute the average precision of predictions against labels, and the calibration of their scores and sigmas.

    Example: gaussian-yolo evaluate --protocol kitti --ground-truth label_2/ --predictions found.json
    """
    from rich.console import Console

    from gaussian_yolo_node.evaluation import all_objects, tables
    from gaussian_yolo_node.evaluation.paired import pair
    from gaussian_yolo_node.evaluation.protocols import check_classes, evaluate_pairs
    from gaussian_yolo_node.evaluation.uncertainty_report import uncertainty_report
    from gaussian_yolo_node.labels.predictions import read_predictions
    from gaussian_yolo_node.labels.truths import read_ground_truth

    truths = read_ground_truth(ground_truth)
    paired = pair(truths, read_predictions(predictions, truths))
    check_classes(paired)
    result = evaluate_pairs(protocol.value, paired, score, iou or ())
    quality = all_objects.evaluate(paired, least_score)
    console = Console()
    console.print(tables.curve_table(result))
    console.print(tables.counts_table(result))
    if quality.sigma is not None:
        console.print(tables.sigma_table({"predicted": quality.sigma.rows, "by class": quality.sigma.classes}))
    lines = (*tables.uncertainty_lines(quality), tables.coverage_line(paired), *result.notes, result.description)
    for line in lines:
        console.print(line, markup=False, highlight=False)
    if output is not None:
        uncertainty = uncertainty_report(paired, least_score=least_score).to_dict()
        document = {**quality.to_dict(), **result.to_dict(), "uncertainty": uncertainty}
        try:
            output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{output} cannot be written: {error.strerror}") from error

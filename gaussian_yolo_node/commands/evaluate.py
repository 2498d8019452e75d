"""The command `evaluate`: compare detections with labels."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaussian_yolo_node.evaluation import LEAST_SCORE
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.labels.annotations import DatasetError

if TYPE_CHECKING:
    from gaussian_yolo_node.evaluation.paired import Paired


class Protocol(str, Enum):
    all = "all"
    kitti = "kitti"
    bdd = "bdd"
    coco = "coco"
    position = "position"
    mot = "mot"


def evaluate(
    ground_truth: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="Folder of KITTI label files, BDD100K or Scalabel JSON (file or folder), COCO JSON, the list of BDD's "
            "evaluation, or a bag. For mot, a label file of KITTI's tracking benchmark.",
        ),
    ],
    predictions: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="What `detect --json` wrote, the lists of BDD's or COCO's evaluation, a folder of KITTI's result "
            "files, or a bag. For mot, the first, which is tracked, or tracks in KITTI's format (*.txt).",
        ),
    ],
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="all: every labelled object, as the models' pages; the official ones; position: places on the ground; "
            "mot: tracks."
        ),
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
        float,
        typer.Option(
            min=0, max=1, help="Minimum score of the detections whose scores and sigmas are evaluated; AP uses all."
        ),
    ] = LEAST_SCORE,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Calibration of KITTI's left colour camera (protocol position).")
    ] = None,
    image_size: Annotated[
        str, typer.Option(metavar="HxW", help="Of the images, in px (protocol position).")
    ] = "375x1242",
    camera_height: Annotated[float, typer.Option(help="Above the ground, m (protocol position).")] = 1.65,
    camera_pitch: Annotated[float, typer.Option(help="Positive if it looks down, rad (protocol position).")] = 0.0,
    camera_roll: Annotated[
        float, typer.Option(help="Positive if its right side is lower, rad (protocol position).")
    ] = 0.0,
    rate: Annotated[
        float, typer.Option(min=0.1, help="Frames per second of detections that mot tracks, if they have no stamps.")
    ] = 10.0,
) -> None:
    """Compute the average precision of predictions against labels, and the calibration of their scores and sigmas; or,
    with protocol position, the errors of their places on the ground against KITTI's 3-D boxes.

    With protocol mot, the accuracy of tracks.

    Example: gaussian-yolo evaluate --protocol kitti --ground-truth label_2/ --predictions found.json
    """
    from rich.console import Console

    from gaussian_yolo_node.evaluation import all_objects, tables
    from gaussian_yolo_node.evaluation.paired import pair
    from gaussian_yolo_node.evaluation.protocols import check_classes, evaluate_pairs
    from gaussian_yolo_node.evaluation.uncertainty_report import uncertainty_report
    from gaussian_yolo_node.labels.predictions import read_predictions
    from gaussian_yolo_node.labels.truths import read_ground_truth

    if protocol is Protocol.mot:
        evaluate_mot(ground_truth, predictions, rate, output)
        return
    truths = read_ground_truth(ground_truth)
    paired = pair(truths, read_predictions(predictions, truths))
    check_classes(paired)
    if protocol is Protocol.position:
        from gaussian_yolo_node.runtime.base import parse_size

        pose = (camera_height, camera_pitch, camera_roll)
        document = _evaluate_positions(paired, calibration, parse_size(image_size, "--image-size"), pose, least_score)
        if output is not None:
            _write(output, document)
        return
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
        _write(output, {**quality.to_dict(), **result.to_dict(), "uncertainty": uncertainty})


def _evaluate_positions(
    paired: Paired,
    calibration_file: Path | None,
    size: tuple[int, int],
    pose: tuple[float, float, float],
    least_score: float,
) -> dict[str, Any]:
    """Print the figures of protocol position, and return them for JSON."""
    from rich.console import Console

    from gaussian_yolo_node.evaluation import position
    from gaussian_yolo_node.frames.camera_calibration import read_kitti_calibration
    from gaussian_yolo_node.position.camera import Camera, CameraPose

    if calibration_file is None:
        raise DatasetError("protocol position needs the camera: give --calibration, a file of KITTI's calib folder")
    key = "P_rect_02" if "cam_to_cam" in calibration_file.name else "P2"
    calibration = read_kitti_calibration(calibration_file, key)
    camera = Camera(calibration.camera_matrix, size, CameraPose.level(*pose))
    result = position.position_result([position.place_detections(paired, camera, calibration, least_score)])
    console = Console()
    console.print(position.position_table(result))
    for line in (position.state_line(result), position.DESCRIPTION):
        console.print(line, markup=False, highlight=False)
    return result.to_dict()


def evaluate_mot(ground_truth: Path, predictions: Path, rate_hz: float, output: Path | None) -> None:
    """Print the figures of tracks; see `evaluation.mot`."""
    from rich.console import Console

    from gaussian_yolo_node.evaluation import mot, tables
    from gaussian_yolo_node.evaluation.average_precision import finite
    from gaussian_yolo_node.labels.predictions import read_predictions
    from gaussian_yolo_node.labels.truths import read_kitti_tracks

    truths = read_kitti_tracks(ground_truth)
    if predictions.suffix == ".txt":
        tracks = read_kitti_tracks(predictions)
    else:
        tracks = mot.track_predictions(read_predictions(predictions), rate_hz)
    figures = mot.evaluate_tracks(truths, tracks)
    console = Console()
    console.print(tables.tracking_table(figures))
    console.print(mot.DESCRIPTION, markup=False, highlight=False)
    if output is not None:
        classes = {each.name: {key: finite(value) for key, value in each.values().items()} for each in figures}
        _write(output, {"protocol": "mot", "description": mot.DESCRIPTION, "tracking": classes})


def _write(output: Path, document: dict[str, Any]) -> None:
    write_whole(output, json.dumps(document, indent=1) + "\n")

"""The command `calibrate`: fit a model's sigmas to labelled frames."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.commands import flags
from gaussian_yolo_node.evaluation import LEAST_SCORE


def calibrate(
    model: flags.ModelArgument,
    images: Annotated[Path, typer.Option(metavar="DIR", help="Frames that the model was not trained on, one drive.")],
    labels: Annotated[Path, typer.Option(metavar="DIR", help="Their KITTI label files.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the model with the fit on its card (extra: train).")
    ] = None,
    input_size: flags.InputSize = None,
    runtime: flags.Runtime = "auto",
    threads: flags.Threads = 0,
    least_score: Annotated[
        float, typer.Option(min=0, max=1, help="Minimum score of the boxes that the sigmas are fitted to.")
    ] = LEAST_SCORE,
) -> None:
    """Fit a model's sigmas to the errors on labelled frames: sigma' = a*sigma + b*size, one a and one b per coordinate.

    The table shows the raw sigmas, the calibrated sigmas, and the sigmas calibrated on the other half of the recording,
    which show what to expect on unseen frames.

    Example: gaussian-yolo calibrate model.onnx --images drive/image --labels drive/label_2 -o calibrated.onnx
    """
    from rich.console import Console

    from gaussian_yolo_node.commands.calibrate_run import calibrate_detector, calibrated_card
    from gaussian_yolo_node.detector.detector import Detector
    from gaussian_yolo_node.detector.sigma_correction import COORDINATES
    from gaussian_yolo_node.evaluation import tables
    from gaussian_yolo_node.files import prepare_target
    from gaussian_yolo_node.frames import open_source
    from gaussian_yolo_node.labels.annotations import DatasetError
    from gaussian_yolo_node.labels.truths import read_kitti_labels
    from gaussian_yolo_node.runtime import RuntimeOptions

    if output is not None:
        import onnx  # noqa: F401  # fail before the work if it is missing

        from gaussian_yolo_node.lab.export.card_file import write_card

        prepare_target(output)
    truths = read_kitti_labels(labels)
    if not images.is_dir():
        raise DatasetError(f"image folder {images} does not exist")
    source = open_source(str(images))
    options = RuntimeOptions(threads, input_size=flags.parse_input_size(input_size))
    try:
        with Detector.open(
            model, runtime, options=options, score_threshold=least_score, sigma_calibration=None
        ) as detector:
            run = calibrate_detector(detector, source, truths, least_score, Console(stderr=True))
            description = detector.runtime.description
    finally:
        source.close()
    if source.message:
        print(f"note: {source.message}", file=sys.stderr)
    console = Console()
    console.print(tables.sigma_table({name: quality.rows for name, quality in run.qualities.items()}))
    print(f"{run.boxes} boxes from score {least_score:g} on their objects in {run.frames} frames; {description}")
    console.print(tables.SIGMA_METHOD, markup=False, highlight=False)
    print(run.verdict)
    for name, a, b in zip(COORDINATES, run.calibration.scale, run.calibration.offset, strict=True):
        print(f"{name}: sigma' = {a:.3f} sigma + {b:.3f} {'width' if name in ('cx', 'w') else 'height'}")
    if output is not None:
        card = calibrated_card(detector.card, run, least_score, description)
        write_card(detector.model_path, card, output)
        print(f"written: {output}")

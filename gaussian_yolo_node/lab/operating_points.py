"""`gaussian-yolo operating-points`: a model on several canvases, with a sigma correction for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import track
from rich.table import Table

from gaussian_yolo_node.detector.canvas import MULTIPLE, fitting_canvas
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.model import ModelCard, OperatingPoint
from gaussian_yolo_node.detector.sigma_correction import SigmaCalibration
from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.evaluation import LEAST_SCORE
from gaussian_yolo_node.evaluation.all_objects import COMMON_IOU, LOOSE_IOU, evaluate, match_boxes, ranked_sigma_quality
from gaussian_yolo_node.evaluation.matching import MatchedBoxes, join
from gaussian_yolo_node.evaluation.paired import Paired, pair
from gaussian_yolo_node.evaluation.sigma_fit import calibrated, fit_sigma_calibration, scaled_to_coverage
from gaussian_yolo_node.evaluation.uncertainty import SigmaQuality
from gaussian_yolo_node.lab.complexity import onnx_complexity
from gaussian_yolo_node.labels import image_size, load_sources, read_image
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, GroundTruth
from gaussian_yolo_node.labels.truths import read_kitti_labels
from gaussian_yolo_node.runtime import RuntimeOptions
from gaussian_yolo_node.runtime.base import show_size

EVALUATED_SCORE = 0.005  # minimum score of boxes in the average precision (docs/paper_facts.md, section 1)


@dataclass(frozen=True)
class LabelledSet:
    """A named set of labelled frames that the model was not trained on."""

    name: str
    images: tuple[Path, ...]
    truths: GroundTruth


@dataclass(frozen=True)
class SetResult:
    """Results of a model on one set at one operating point.

    Attributes:
        canvas: height and width in px for the frames of the set.
        average_precision: by figure, `AP50 car`, `AP car` (at KITTI's IoU), 0..1.
        sigma: figures of the corrected standard deviations, for boxes from `LEAST_SCORE`; None without such boxes.
        inference_ms: median time of the network alone.
    """

    canvas: tuple[int, int]
    average_precision: Mapping[str, float]
    sigma: SigmaQuality | None
    inference_ms: float


def load_sets(sources: Sequence[Mapping[str, object]], root: Path, classes: Sequence[str]) -> list[LabelledSet]:
    """The validation sets of a recipe, each a named source of format kitti.

    Raises:
        SettingError: a set has no name.
        DatasetError: a set cannot be read.
    """
    sets = []
    for source in sources:
        if "name" not in source or source.get("format") != "kitti":
            raise SettingError("every validation set of the recipe needs a name and format kitti")
        images = tuple(image.path for image in load_sources(root, [source], classes))
        sets.append(LabelledSet(str(source["name"]), images, read_kitti_labels(root / str(source["labels"]))))
    return sets


def measure_point(
    model: Path,
    size: tuple[int, int],
    sets: Sequence[LabelledSet],
    fitted: Sequence[str],
    *,
    runtime: str,
    options: RuntimeOptions,
    console: Console,
) -> tuple[OperatingPoint, dict[str, SetResult]]:
    """Average precision and sigma correction of a model on a canvas.

    Frames of another shape use a canvas of the same area that fits them.

    Args:
        size: height and width of the canvas, px.
        sets: to measure on.
        fitted: names of the sets used to fit the correction; the others are only reported.
        options: of the runtime; its size is set here.

    Returns:
        the operating point, and the result on each set by name, with the correction applied.

    Raises:
        GaussianYoloError: the model cannot be run, a frame cannot be read, or the boxes do not allow a fit.
    """
    if any(side % MULTIPLE for side in size):
        raise SettingError(f"the canvas {show_size(size)} is not of multiples of {MULTIPLE} px")
    paired: dict[str, Paired] = {}
    canvases: dict[str, tuple[int, int]] = {}
    times: dict[str, float] = {}
    for each in sets:
        height, width = image_size(each.images[0])
        canvases[each.name] = fitting_canvas((height, width), size)
        predictions, times[each.name] = _detect(
            model, each, runtime, replace(options, input_size=canvases[each.name]), console
        )
        paired[each.name] = pair(each.truths, predictions)
    matched = {name: match_boxes(of, COMMON_IOU, LEAST_SCORE) for name, of in paired.items()}
    calibration = _fit([matched[name] for name in fitted]) if fitted else None
    results = {}
    for name, of in paired.items():
        boxes, loose = matched[name], match_boxes(of, LOOSE_IOU, LEAST_SCORE)
        if calibration is not None:
            boxes, loose = calibrated(boxes, calibration), calibrated(loose, calibration)
        quality = ranked_sigma_quality(boxes, loose)
        results[name] = SetResult(canvases[name], average_precision(of), quality, times[name])
    gmacs = float(f"{onnx_complexity(model, size).macs / 1e9:.4g}")
    figures = {name: dict(result.average_precision) for name, result in results.items()}
    return OperatingPoint(size, gmacs, figures, calibration), results


def card_with_points(card: ModelCard, points: Sequence[OperatingPoint], fitted: Sequence[str]) -> ModelCard:
    """The card with the operating points, smallest first, and the sets their corrections were fitted to."""
    ordered = tuple(sorted(points, key=lambda point: point.input_size[0] * point.input_size[1]))
    changed = replace(card, operating_points=ordered)
    training = {**card.training, "sigma_calibration": {"sets": list(fitted), "least_score": LEAST_SCORE}}
    return replace(changed, sigma_calibration=changed.sigma_calibration_at(card.input_size), training=training)


def print_points(measured: Sequence[tuple[OperatingPoint, Mapping[str, SetResult]]], console: Console) -> None:
    """A table: one row per operating point and set."""
    table = Table()
    for heading in ("canvas, px", "set"):
        table.add_column(heading)
    classes = list(dict.fromkeys(name for _, sets in measured for of in sets.values() for name in of.average_precision))
    for heading in ("GMACs", "network, ms", *classes, "in 1 sigma, %", "in 2 sigma, %", "Spearman"):
        table.add_column(heading, justify="right")
    for point, sets in measured:
        for name, result in sets.items():
            sigma = result.sigma
            table.add_row(
                show_size(result.canvas),
                name,
                f"{point.gmacs:.2f}",
                f"{result.inference_ms:.1f}",
                *(_percent(result.average_precision.get(key)) for key in classes),
                *(["-"] * 3 if sigma is None else _sigma_cells(sigma)),
            )
    console.print(table)


def _fit(sets: Sequence[MatchedBoxes]) -> SigmaCalibration:
    """The correction of sigmas for boxes of several sets, each of which counts as much, however large it is."""
    most = max(len(boxes) for boxes in sets)
    balanced = join([boxes for boxes in sets for _ in range(round(most / max(1, len(boxes))))])
    return scaled_to_coverage(balanced, fit_sigma_calibration(balanced))


def _detect(
    model: Path, of: LabelledSet, runtime: str, options: RuntimeOptions, console: Console
) -> tuple[list[FramePredictions], float]:
    """Detections of a set, and the median inference time, ms."""
    predictions, times = [], []
    with Detector.open(
        model, runtime, options=options, score_threshold=EVALUATED_SCORE, sigma_calibration=None
    ) as detector:
        shown = f"{show_size(detector.input_size)} {of.name}"
        for path in track(of.images, shown, console=console, transient=True):
            predictions.append(FramePredictions(path.name, detector(read_image(path)), detector.card.classes))
            times.append(detector.last_timing.inference_s * 1e3)
    return predictions, median(times)


def average_precision(paired: Paired) -> dict[str, float]:
    """AP by figure, `AP50 car` and, if KITTI uses another IoU, `AP car`, of classes with truths; 0..1."""
    result = evaluate(paired)
    return {
        f"{kind} {row.name}": round(row.ap, 4)
        for kind, rows in (("AP50", result.at_common_iou), ("AP", result.at_kitti_iou))
        for row in rows
        if row.truths and (kind == "AP50" or row.iou != COMMON_IOU)
    }


def _sigma_cells(sigma: SigmaQuality) -> list[str]:
    within = [[of.within[count] * 100 for of in sigma.coordinates.values()] for count in (0, 1)]
    rho = sigma.correlations[0].rho
    return [*(f"{min(shares):.0f}..{max(shares):.0f}" for shares in within), "-" if rho is None else f"{rho:.2f}"]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.1f}"

"""Average precision against inference time for every canvas of a model, compared with the published YOLOX-nano.

    python benchmarks/operating_points.py --data DATA --yolox yolox_nano.onnx --output docs/operating_points.json
    python benchmarks/operating_points.py --yolox yolox_nano.onnx --output docs/operating_points.json --times   # again
    ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/operating_points.py --precision fp32 ...   # as without AVX-512

Both are measured by the same code on the same frames, canvas by canvas in one run. The report, a table and a plot, is
written beside the JSON.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from gaussian_yolo_node.detector.canvas import fitting_canvas
from gaussian_yolo_node.detector.detections import Detections, centres_to_corners
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.letterbox import Letterbox
from gaussian_yolo_node.detector.model import DEFAULT_MODEL, resolve_model
from gaussian_yolo_node.detector.nms import nms
from gaussian_yolo_node.evaluation.paired import pair
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.lab.operating_points import (
    EVALUATED_SCORE,
    LabelledSet,
    average_precision,
    load_sets,
    measure_point,
)
from gaussian_yolo_node.lab.training.config import TrainConfig
from gaussian_yolo_node.labels import read_image
from gaussian_yolo_node.labels.labelled_frames import FramePredictions
from gaussian_yolo_node.runtime import RuntimeOptions, open_runtime
from gaussian_yolo_node.runtime.base import show_size
from gaussian_yolo_node.runtime.machine import machine

CANVASES = ("192x640", "256x832", "320x1024", "384x1248", "448x1472", "512x1664", "640x2112")
RECIPE = Path(__file__).parents[1] / "engines" / "csp_nano_driving.yaml"
ROUNDS = 30
YOLOX = "YOLOX-nano, COCO"
# The corresponding COCO classes: person, bicycle, car.
COCO_ROWS = {"car": 2, "pedestrian": 0, "cyclist": 1}
Size = tuple[int, int]


def measure(
    model: str, data: Path, yolox: Path | None, canvases: Sequence[Size], runtime: str, options: RuntimeOptions
) -> dict[str, Any]:
    """Points of both networks by name, and the measuring conditions."""
    console = Console(stderr=True)
    with Detector.open(model, runtime, options=options) as detector:
        card, path = detector.card, detector.model_path
    sets = load_sets(TrainConfig.load(RECIPE).data.validation, data, card.classes)
    points: dict[str, list[dict[str, Any]]] = {card.name: []}
    for size in canvases:
        point, _ = measure_point(path, size, sets, (), runtime=runtime, options=options, console=console)
        points[card.name].append({"canvas": list(size), "average_precision": dict(point.average_precision)})
        if yolox is not None:
            points.setdefault(YOLOX, []).append(_yolox_point(yolox, size, sets, card.classes, options, console))
    return {"points": points}


def time_networks(
    document: dict[str, Any], model: str, yolox: Path | None, runtime: str, options: RuntimeOptions
) -> dict[str, Any]:
    """The document with the median milliseconds of each network on each canvas, all of them in turn, round by round."""
    rng = np.random.default_rng(0)
    calls: list[tuple[dict[str, Any], Callable[[], object]]] = []
    for network, points in document["points"].items():
        for point in points:
            height, width = point["canvas"]
            canvas = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            if network == YOLOX:
                assert yolox is not None
                request = _Yolox(yolox, (height, width), (), options).request
                calls.append((point, partial(request.infer, [canvas.transpose(2, 0, 1)[None].astype(np.float32)])))
            else:
                opened = open_runtime(resolve_model(model), runtime, replace(options, input_size=(height, width)))
                document["runtime"] = opened.description
                calls.append((point, partial(opened.infer, canvas)))
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for (_, call), taken in zip(calls, times, strict=True):
            call()  # what another network left in the caches is gone
            started = perf_counter()
            call()
            taken.append((perf_counter() - started) * 1e3)
    for (point, _), taken in zip(calls, times, strict=True):
        point["network_ms"] = round(median(taken), 2)
    return {**document, "instructions": os.environ.get("ONEDNN_MAX_CPU_ISA", "all"), "processor": machine()}


def _yolox_point(
    path: Path,
    size: Size,
    sets: Sequence[LabelledSet],
    classes: Sequence[str],
    options: RuntimeOptions,
    console: Console,
) -> dict[str, Any]:
    precision = {}
    for each in sets:
        frame = read_image(each.images[0])
        canvas = fitting_canvas((frame.shape[0], frame.shape[1]), size)
        network = _Yolox(path, canvas, classes, options)
        predictions = []
        for image in track(each.images, f"{show_size(canvas)} {each.name}", console=console, transient=True):
            predictions.append(FramePredictions(image.name, network(read_image(image)), tuple(classes)))
        precision[each.name] = average_precision(pair(each.truths, predictions))
    return {"canvas": list(size), "average_precision": precision}


class _Yolox:
    """The published YOLOX-nano in OpenVINO, with its own decoding and this project's letterbox and suppression."""

    def __init__(self, path: Path, canvas: Size, classes: Sequence[str], options: RuntimeOptions) -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(path)
        model.reshape({model.inputs[0]: [1, 3, *canvas]})
        properties = {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
        if options.precision == "fp32":
            properties["INFERENCE_PRECISION_HINT"] = "f32"
        self.request = core.compile_model(model, "CPU", properties).create_infer_request()
        self.canvas = canvas
        self.rows = [5 + COCO_ROWS[name] for name in classes]
        grids = [
            np.stack(
                [*np.meshgrid(np.arange(canvas[1] // s), np.arange(canvas[0] // s)), np.full(_cells(canvas, s), s)], -1
            )
            for s in (8, 16, 32)
        ]
        self.places = np.concatenate([grid.reshape(-1, 3) for grid in grids]).astype(np.float32)

    def __call__(self, frame: NDArray[np.uint8]) -> Detections:
        letterbox = Letterbox.fit((frame.shape[0], frame.shape[1]), self.canvas)
        image = letterbox.to_canvas(frame).transpose(2, 0, 1)[None].astype(np.float32)
        self.request.infer([image])
        raw = self.request.get_output_tensor(0).data[0]
        scores = raw[:, 4:5] * raw[:, self.rows]
        cells, ids = np.nonzero(scores > EVALUATED_SCORE)
        cell, stride = self.places[cells, :2], self.places[cells, 2:]
        boxes = np.concatenate([(raw[cells, :2] + cell) * stride, np.exp(raw[cells, 2:4]) * stride], 1)
        found = Detections(
            centres_to_corners(boxes).astype(np.float32),
            scores[cells, ids].astype(np.float32),
            ids.astype(np.int32),
            np.ones((len(ids), 4), np.float32),
        )
        return letterbox.to_frame(nms(found, 0.45))


def _cells(canvas: Size, stride: int) -> Size:
    return canvas[0] // stride, canvas[1] // stride


def report(document: dict[str, Any], output: Path) -> None:
    """Write the Markdown table and the plot beside the JSON."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sets = list(next(iter(document["points"].values()))[0]["average_precision"])
    figures, axes = pyplot.subplots(1, len(sets), figsize=(5 * len(sets), 4), constrained_layout=True)
    lines = ["| network | canvas | ms | " + " | ".join(sets) + " |", "|---|---|---|" + "---|" * len(sets)]
    for number, (network, points) in enumerate(document["points"].items()):
        for name, axis in zip(sets, np.atleast_1d(axes), strict=True):
            times = [point["network_ms"] for point in points]
            for key, style in (("AP50 car", "o-"), ("AP50 pedestrian", "s--")):
                values = [point["average_precision"][name].get(key, 0) * 100 for point in points]
                axis.plot(times, values, style, color=f"C{number}", label=f"{network}, {key.removeprefix('AP50 ')}")
            axis.set(title=name, xlabel="network, ms", ylabel="AP at IoU 0.5, %", ylim=(0, 100))
            axis.grid(alpha=0.3)
        for point in points:
            cells = [_cell(point["average_precision"][name]) for name in sets]
            ms = f"{point['network_ms']:.1f}"
            lines.append(" | ".join([f"| {network}", show_size(point["canvas"]), ms, *cells]) + " |")
    np.atleast_1d(axes)[0].legend(fontsize=8)
    figures.savefig(output.with_suffix(".png"), dpi=90)
    note = (
        "AP in percent of cars at IoU 0.5 / 0.7, of pedestrians and of cyclists at 0.5, as on the pages of the models; "
        f"median milliseconds of the network alone. {document['processor']}, {document['runtime']}, "
        f"instructions: {document['instructions']}. By `python benchmarks/operating_points.py`."
    )
    picture = f"![AP against time]({output.with_suffix('.png').name})"
    text = ["# Operating points", "", note, "", picture, "", *lines, ""]
    output.with_suffix(".md").write_text("\n".join(text), encoding="utf-8")


def _cell(of: dict[str, float]) -> str:
    def percent(key: str) -> str:
        return f"{of[key] * 100:.1f}" if key in of else "-"

    car = f"{percent('AP50 car')} / {percent('AP car')}"
    return f"{car}, {percent('AP50 pedestrian')}, {percent('AP50 cyclist')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--yolox", type=Path, help="YOLOX-nano's published ONNX file")
    parser.add_argument("--canvas", action="append", help="HxW; may be given again")
    parser.add_argument("--runtime", default="openvino")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--times", action="store_true", help="keep the accuracy in OUTPUT, measure times again")
    arguments = parser.parse_args()
    options = RuntimeOptions(precision=arguments.precision)
    if arguments.times:
        document = json.loads(arguments.output.read_text(encoding="utf-8"))
    elif arguments.data is None:
        parser.error("--data is missing")
    else:
        sizes = [(int(h), int(w)) for h, w in (text.split("x") for text in arguments.canvas or CANVASES)]
        document = measure(arguments.model, arguments.data, arguments.yolox, sizes, arguments.runtime, options)
    document = time_networks(document, arguments.model, arguments.yolox, arguments.runtime, options)
    write_whole(arguments.output, json.dumps(document, indent=1) + "\n")
    report(document, arguments.output)


if __name__ == "__main__":
    main()

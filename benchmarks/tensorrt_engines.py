#!/usr/bin/env python3
"""Build engines ahead of time without a GPU: build time of TensorRT for RTX, engine size, and accuracy.

Builds each model in each precision for each GPU. With --drive, ONNX Runtime runs the graph given to TensorRT, with raw
heads in place of the plugin, on the frames of a labelled drive, and reports the average precision of cars.

    python benchmarks/tensorrt_engines.py [efficientnet_lite0_kitti ...] [--capability 86 --capability 89] [--drive DIR]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Annotated

import cv2
import numpy as np
import onnx
import typer

from gaussian_yolo_node.detector import Detector
from gaussian_yolo_node.detector.model import DEFAULT_MODEL, read_card, resolve_model
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.evaluation.all_objects import evaluate
from gaussian_yolo_node.evaluation.paired import pair
from gaussian_yolo_node.lab.export.tensorrt.builder import build_engine
from gaussian_yolo_node.lab.export.tensorrt.options import BuildOptions
from gaussian_yolo_node.lab.export.tensorrt.precision import EnginePrecision, with_precision
from gaussian_yolo_node.labels.labelled_frames import FramePredictions
from gaussian_yolo_node.labels.truths import read_kitti_labels
from gaussian_yolo_node.runtime.base import PRECISION_KEY

MODELS = (DEFAULT_MODEL, "efficientnet_lite0_kitti", "mixnet_s_kitti")
LEAST_SCORE = 0.005  # minimum score of detections in the average precision


def main(
    models: Annotated[list[str] | None, typer.Argument(help="Names or paths of models.")] = None,
    capability: Annotated[list[str] | None, typer.Option(help="GPU to build for; may be given again.")] = None,
    drive: Annotated[Path | None, typer.Option(help="Folder with image/ and label_2/ as KITTI has them.")] = None,
) -> None:
    """Print a table of engines, and one of accuracies."""
    try:
        print("| model | precision | SM | batch | s | MB |\n|---|---|---|---|---|---|")
        for name in models or MODELS:
            for precision in precisions(name):
                for target in capability or ["86", "89"]:
                    print(engine_row(name, precision, target), flush=True)
        if drive is not None:
            print("\n| model | precision | car AP@0.5 | car AP@0.7 |\n|---|---|---|---|")
            for name in models or MODELS:
                for precision in precisions(name):
                    print(accuracy_row(name, precision, drive), flush=True)
    except GaussianYoloError as error:
        sys.exit(f"error: {error}")


def precisions(name: str) -> list[EnginePrecision]:
    """Precisions that a model can be built in without calibration frames."""
    model = onnx.load(str(resolve_model(name)))
    return ["int8"] if any(entry.key == PRECISION_KEY for entry in model.metadata_props) else ["fp32", "fp16"]


def engine_row(name: str, precision: EnginePrecision, target: str) -> str:
    """Build an engine; returns a table row."""
    with tempfile.TemporaryDirectory() as folder:
        engine = Path(folder) / "model.engine"
        started = perf_counter()
        sidecar = build_engine(name, engine, BuildOptions(precision, compute_capabilities=(target,)))
        seconds, size = perf_counter() - started, engine.stat().st_size / 1e6
    batch = f"1 to {sidecar.batch}" if sidecar.dynamic_batch else f"{sidecar.batch}"
    return f"| {sidecar.model} | {precision} | {target} | {batch} | {seconds:.1f} | {size:.1f} |"


def accuracy_row(name: str, precision: EnginePrecision, drive: Path) -> str:
    """Detect with the graph given to TensorRT; returns a table row."""
    path = resolve_model(name)
    model = onnx.load(str(path))
    card = read_card({entry.key: entry.value for entry in model.metadata_props}, path)
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "model.onnx"
        onnx.save(with_precision(model, path, card, precision, (), 1, None), str(graph))
        with Detector.open(graph, "onnxruntime", score_threshold=LEAST_SCORE) as detector:
            frames = []
            for image in sorted((drive / "image").iterdir()):
                frame = cv2.imread(str(image))
                if frame is None:
                    continue
                detections = detector(frame.astype(np.uint8, copy=False))
                frames.append(FramePredictions(image.stem, detections, card.classes))
    result = evaluate(pair(read_kitti_labels(drive / "label_2"), frames))
    aps = (rows[0].ap for rows in (result.at_common_iou, result.at_kitti_iou))
    return f"| {card.name} | {precision} | " + " | ".join(f"{ap:.3f}" for ap in aps) + " |"


if __name__ == "__main__":
    typer.run(main)

"""The built-in detectors as model files."""

from __future__ import annotations

from pathlib import Path

from gaussian_yolo_node.detector.model import ModelCard
from gaussian_yolo_node.lab.export.onnx import ExportOptions, check_size, export_model
from gaussian_yolo_node.lab.networks.factory import build_fresh, find_built_in
from gaussian_yolo_node.lab.networks.gaussian_yolo import STRIDES
from gaussian_yolo_node.lab.networks.yolov3 import ANCHORS_PER_SCALE, PRESETS, Preset


def export_built_in(
    name: str, output: Path, size: tuple[int, int] | None = None, options: ExportOptions | None = None
) -> ModelCard:
    """Write a built-in detector with fresh weights as a model file, for timing or compatibility checks.

    Args:
        name: a key of `BUILT_INS`.
        output: the ONNX file to write.
        size: canvas height and width, px; default: the detector's.
        options: batch and runtime.

    Raises:
        GaussianYoloError: unknown detector.
        ExportError: it cannot be exported with these options.
    """
    built_in = find_built_in(name)
    check_size(size or built_in.input_size, max(STRIDES))
    preset = PRESETS[built_in.preset]
    card = ModelCard(
        name=output.stem,
        classes=preset.classes,
        anchors=_anchors(preset),
        strides=STRIDES,
        input_size=size or built_in.input_size,
        resize=built_in.resize,
        training={"network": name, "weights": "fresh: it detects nothing until it is trained"},
    )
    return export_model(build_fresh(name), card, output, options)


def _anchors(preset: Preset) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Anchors in the order of `STRIDES`; presets list the finest stride first."""
    count = ANCHORS_PER_SCALE
    rows = [preset.anchors[start : start + count] for start in range(0, len(preset.anchors), count)]
    return tuple(tuple((float(width), float(height)) for width, height in row) for row in reversed(rows))

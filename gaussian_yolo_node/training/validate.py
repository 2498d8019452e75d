"""Average precision of a torch model, through the detector's own letterbox, decode and NMS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gaussian_yolo_node.datasets import LabelledImage, load_sources, read_image
from gaussian_yolo_node.detector.decode import decode
from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.letterbox import Letterbox
from gaussian_yolo_node.detector.nms import nms
from gaussian_yolo_node.evaluation.kitti import evaluate
from gaussian_yolo_node.evaluation.predictions import FramePredictions
from gaussian_yolo_node.evaluation.truths import read_kitti_labels
from gaussian_yolo_node.models.gaussian_yolo import STRIDES, GaussianYolo
from gaussian_yolo_node.training.config import ConfigError, ModelConfig, TrainConfig

# The official evaluation threshold (SPEC section 1); the card's own is for driving.
SCORE_THRESHOLD = 0.005


def average_precisions(model: GaussianYolo, config: TrainConfig, root: Path) -> dict[str, float]:
    """All-point AP by name (`AP50 car`, `AP car` at KITTI's IoU, ..), over the validation sources of the config;
    `mAP50` and `mAP` are the means over the classes that have truths.

    Args:
        model: in eval mode.
        root: the data folder.

    Raises:
        ConfigError: see `check_sources`.
    """
    check_sources(config)
    found: dict[str, list[float]] = {}
    for source in config.data.validation:
        images = load_sources(root, [source], config.model.classes)
        predictions = [_predict(model, config.model, image) for image in images]
        result = evaluate(read_kitti_labels(root / str(source["labels"])), predictions)
        for prefix, rows in (("AP50", result.at_common_iou), ("AP", result.at_kitti_iou)):
            for row in rows:
                if row.truths:  # without any there is no AP
                    found.setdefault(f"{prefix} {row.name}", []).append(row.all_point)
    figures = {name: float(np.mean(values)) for name, values in found.items()}
    for prefix in ("AP50", "AP"):
        of_classes = [value for name, value in figures.items() if name.startswith(f"{prefix} ")]
        if of_classes:
            figures[f"m{prefix}"] = float(np.mean(of_classes))
    return figures


def check_sources(config: TrainConfig) -> None:
    """Raises ConfigError where a validation source is one that the evaluation cannot read."""
    for source in config.data.validation:
        if source.get("format") != "kitti":
            raise ConfigError(
                f"data.validation: a source has format {source.get('format')!r}, but validation reads kitti only"
            )


def _predict(model: GaussianYolo, config: ModelConfig, image: LabelledImage) -> FramePredictions:
    detections = detect(model, config, read_image(image.path))
    classes = np.array(config.classes)[detections.class_ids]
    return FramePredictions(
        image.path.stem, detections.boxes.astype(np.float64), detections.scores.astype(np.float64), classes
    )


def detect(
    model: GaussianYolo, config: ModelConfig, frame: np.ndarray, score_threshold: float = SCORE_THRESHOLD
) -> Detections:
    """Detections of a torch model on a frame uint8 `[H,W,3]` BGR, in frame px."""
    size = (frame.shape[0], frame.shape[1])
    letterbox = Letterbox.fit(size, config.input_size)
    canvas = letterbox.to_canvas(frame)[..., ::-1]
    device = next(model.parameters()).device
    with torch.no_grad():
        heads = model(torch.from_numpy(canvas.copy()).permute(2, 0, 1)[None].to(device).float())
    anchors = [np.asarray(head, np.float32) for head in config.anchors]
    candidates = decode([head.cpu().numpy() for head in heads], anchors, STRIDES, score_threshold)
    return letterbox.to_frame(nms(candidates, config.iou_threshold))

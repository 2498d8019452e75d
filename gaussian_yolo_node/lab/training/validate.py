"""Average precision of a torch model, through the detector's own letterbox, decode and NMS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gaussian_yolo_node.detector.canvas import fitting_canvas
from gaussian_yolo_node.detector.decode import decode
from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.letterbox import Letterbox
from gaussian_yolo_node.detector.nms import nms
from gaussian_yolo_node.evaluation.all_objects import evaluate
from gaussian_yolo_node.evaluation.paired import pair
from gaussian_yolo_node.file_names import frame_name
from gaussian_yolo_node.lab.networks.gaussian_yolo import STRIDES, GaussianYolo
from gaussian_yolo_node.lab.training.config import ConfigError, ModelConfig, TrainConfig
from gaussian_yolo_node.labels import LabelledImage, load_sources, read_image
from gaussian_yolo_node.labels.labelled_frames import FramePredictions
from gaussian_yolo_node.labels.truths import read_kitti_labels

# The official evaluation threshold (docs/paper_facts.md, section 1); the card's threshold is for driving.
SCORE_THRESHOLD = 0.005


def average_precisions(model: GaussianYolo, config: TrainConfig, root: Path) -> dict[str, float]:
    """All-point AP on the validation sets of the config: `AP50 car`, `AP car` (at KITTI's IoU), ..; `mAP50` and `mAP`
    are the means over the classes that have truths.

    With several sets each has its own figures, `SET/AP50 car`, and the figures without a set are the means over the
    sets. Each frame uses the canvas that fits it, with at most the recipe's number of pixels.

    Args:
        model: in eval mode.
        root: the data folder.

    Raises:
        ConfigError: see `check_sources`.
    """
    check_sources(config)
    figures: dict[str, float] = {}
    of_sets: dict[str, list[float]] = {}
    names = config.data.validation_names
    for index, source in enumerate(config.data.validation):
        images = load_sources(root, [source], config.model.classes)
        predictions = [_predict(model, config.model, image) for image in images]
        result = evaluate(pair(read_kitti_labels(root / str(source["labels"])), predictions))
        of_set: dict[str, float] = {}
        for kind, rows in (("AP50", result.at_common_iou), ("AP", result.at_kitti_iou)):
            # AP is undefined without truths.
            of_classes = {f"{kind} {row.name}": row.ap for row in rows if row.truths}
            of_set |= of_classes
            if of_classes:
                of_set[f"m{kind}"] = float(np.mean(list(of_classes.values())))
        for name, value in of_set.items():
            of_sets.setdefault(name, []).append(value)
            if names:
                figures[f"{names[index]}/{name}"] = value
    return figures | {name: float(np.mean(values)) for name, values in of_sets.items()}


def check_sources(config: TrainConfig) -> None:
    """Raises ConfigError for a validation source that the evaluation cannot read, or a duplicate name."""
    for source in config.data.validation:
        if source.get("format") != "kitti":
            raise ConfigError(
                f"data.validation: a source has format {source.get('format')!r}, but validation reads kitti only"
            )
    names = config.data.validation_names
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"data.validation: two sources are called {twice[0]!r}: give each a 'name' of its own")


def _predict(model: GaussianYolo, config: ModelConfig, image: LabelledImage) -> FramePredictions:
    detections = detect(model, config, read_image(image.path))
    return FramePredictions(frame_name(image.path.name), detections, config.classes)


def detect(
    model: GaussianYolo, config: ModelConfig, frame: np.ndarray, score_threshold: float = SCORE_THRESHOLD
) -> Detections:
    """Detections of a torch model on a frame uint8 `[H,W,3]` BGR, in frame px."""
    size = (frame.shape[0], frame.shape[1])
    letterbox = Letterbox.fit(size, fitting_canvas(size, config.input_size))
    canvas = letterbox.to_canvas(frame)[..., ::-1]
    device = next(model.parameters()).device
    with torch.no_grad():
        heads = model(torch.from_numpy(canvas.copy()).permute(2, 0, 1)[None].to(device).float())
    anchors = [np.asarray(head, np.float32) for head in config.anchors]
    candidates = decode([head.cpu().numpy() for head in heads], anchors, STRIDES, score_threshold)
    return letterbox.to_frame(nms(candidates, config.iou_threshold))

"""FGSM and PGD on a detector: average precision and sigmas against epsilon. Gradients need the torch network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaussian_yolo_node.detector.decode import decode
from gaussian_yolo_node.detector.letterbox import Letterbox
from gaussian_yolo_node.detector.nms import nms
from gaussian_yolo_node.files import short_hash
from gaussian_yolo_node.lab.networks.gaussian_yolo import STRIDES
from gaussian_yolo_node.lab.robustness import RobustnessError
from gaussian_yolo_node.lab.robustness.attacks import attacked, check_attacks
from gaussian_yolo_node.lab.robustness.cells import CLEAN, SCORE_THRESHOLD, Cells, parse, record, write_json
from gaussian_yolo_node.lab.robustness.frames import LabelledFrames, find_frames
from gaussian_yolo_node.lab.robustness.sigma import cell_figures
from gaussian_yolo_node.lab.training.checkpoint import Trained
from gaussian_yolo_node.lab.training.exported import open_trained
from gaussian_yolo_node.lab.training.loss import YoloLoss
from gaussian_yolo_node.labels.classes import KITTI_CLASSES
from gaussian_yolo_node.labels.images import read_image

RESULT = "robustness.json"
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class AttackOptions:
    """Options of the attack.

    Attributes:
        attacks: "fgsm", "pgd".
        epsilons: of 255, on the network's canvas.
        limit: frames; 0 takes all.
        least_score: minimum score of boxes in the sigma figures.
    """

    attacks: Sequence[str] = ("fgsm",)
    epsilons: Sequence[float] = (0.0, 1.0, 2.0, 4.0, 8.0)
    limit: int = 0
    seed: int = 0
    least_score: float = 0.3


def detector_attacks(
    checkpoint: Path,
    data: Path,
    output: Path,
    options: AttackOptions,
    *,
    labels: Path | None = None,
    on_cell: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Attack a detector's loss on labelled frames; an interrupted test continues.

    Args:
        checkpoint: of a detector's training, or a model file or shipped model: see `open_trained`.
        data, labels: see `find_frames`.
        output: folder of the cells and of robustness.json.

    Returns:
        the contents of robustness.json: `settings`, and `attacks`: attack -> epsilon -> `sigma.CellFigures` relative to
        epsilon 0.

    Raises:
        GaussianYoloError: one sentence naming the error.
    """
    check_attacks(options.attacks, options.epsilons)
    if not options.attacks:
        raise RobustnessError(
            f"{checkpoint} is a checkpoint, which can be attacked: give --attacks fgsm; for corruptions export it first"
        )
    checkpoint, trained = open_trained(checkpoint)
    frames = find_frames(data, labels, options.limit)
    settings = {
        "kind": "detection attacks",
        "model": trained.config.name,
        "model_hash": short_hash(checkpoint),
        "frames": len(frames.paths),
        "frames_hash": frames.digest,
        "score_threshold": SCORE_THRESHOLD,
        "seed": options.seed,
    }
    cells = Cells(output, settings)
    victim = _Victim(trained, frames, options.seed)

    def cell(kind: str, epsilon: float) -> Any:
        # With epsilon 0 every attack is the clean cell.
        name = f"{kind}-{epsilon:g}" if epsilon else CLEAN
        on_cell(name)
        return parse(cells.get_or_make(name, lambda: victim.detections(kind, epsilon)))

    clean = cell(options.attacks[0], 0.0)
    result = {
        "settings": {**settings, "least_score": options.least_score},
        "attacks": {
            kind: {
                f"{epsilon:g}": cell_figures(frames.truths, cell(kind, epsilon), clean, options.least_score).to_dict()
                for epsilon in options.epsilons
            }
            for kind in options.attacks
        },
    }
    write_json(output / RESULT, result)
    return result


class _Victim:
    def __init__(self, trained: Trained, frames: LabelledFrames, seed: int) -> None:
        self.model, self.config, self.frames, self.seed = trained.model, trained.config.model, frames, seed
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        self.loss = YoloLoss(self.config.anchors, STRIDES, len(self.config.classes), trained.config.loss)
        self.anchors = [np.asarray(head, np.float32) for head in self.config.anchors]

    def detections(self, kind: str, epsilon: float) -> list[dict[str, Any]]:
        """Records of all frames."""
        return [self._detect(path, kind, epsilon, number) for number, path in enumerate(self.frames.paths)]

    def _detect(self, path: Path, kind: str, epsilon: float, number: int) -> dict[str, Any]:
        image = read_image(path)
        letterbox = Letterbox.fit((image.shape[0], image.shape[1]), self.config.input_size)
        canvas = letterbox.to_canvas(image)[..., ::-1].copy()
        pixels = torch.from_numpy(canvas).permute(2, 0, 1)[None].float()
        boxes, ids = self._truths(path, letterbox)

        def loss(given: Tensor) -> Tensor:
            return self.loss(self.model(given), [boxes], [ids]).total[None]

        changed = attacked(kind, pixels, loss, epsilon, torch.Generator().manual_seed(self.seed + number))
        with torch.no_grad():
            heads = [head.numpy() for head in self.model(changed)]
        candidates = decode(heads, self.anchors, STRIDES, SCORE_THRESHOLD)
        return record(path.name, letterbox.to_frame(nms(candidates, self.config.iou_threshold)), self.config.classes)

    def _truths(self, path: Path, letterbox: Letterbox) -> tuple[Tensor, Tensor]:
        """Boxes `[N,4]` on the canvas and class ids `[N]` of objects of the network's classes."""
        labelled = self.frames.truths.frame(path.name)
        assert labelled is not None  # `find_frames` takes labelled images only
        truth = labelled.truths
        names = [KITTI_CLASSES.get(str(name), str(name)) for name in truth.categories]
        known = np.array([name in self.config.classes for name in names], bool) & ~truth.ignored
        boxes = letterbox.boxes_to_canvas(truth.boxes[known].astype(np.float32))
        ids = [self.config.classes.index(name) for name, wanted in zip(names, known, strict=True) if wanted]
        return torch.from_numpy(np.asarray(boxes, np.float32).reshape(-1, 4)), torch.tensor(ids, dtype=torch.int64)

"""The task of training a detector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from gaussian_yolo_node.lab.networks.gaussian_yolo import STRIDES
from gaussian_yolo_node.lab.training.checkpoint import network_of
from gaussian_yolo_node.lab.training.config import TrainConfig
from gaussian_yolo_node.lab.training.depthwise import use_fast_depthwise
from gaussian_yolo_node.lab.training.distributed import Processes
from gaussian_yolo_node.lab.training.initialise import initial_model
from gaussian_yolo_node.lab.training.loader import Batch, first_images, make_loader
from gaussian_yolo_node.lab.training.loss import YoloLoss
from gaussian_yolo_node.lab.training.task import Means, Task
from gaussian_yolo_node.labels import LabelledImage

TERMS = ("box", "objectness", "classification")


class DetectionTask(Task):
    """See `task.Task`.

    Args:
        images: of the training.
        root: the data folder; default: the recipe's.
        fresh: False if the initial weights will be replaced.
    """

    config: TrainConfig

    def __init__(
        self,
        config: TrainConfig,
        images: Sequence[LabelledImage] = (),
        processes: Processes | None = None,
        *,
        root: Path | None = None,
        fresh: bool = True,
    ) -> None:
        self.config, self.images, self.fresh = config, images, fresh
        self.root = root or Path(config.data.root)
        self.loader, self.sampler = make_loader(images, config, processes)
        self.steps_per_epoch = self.sampler.steps
        self.accumulate = config.schedule.accumulate
        self.autocast = config.schedule.autocast
        self.best_metric = config.best_metric
        self.validates = bool(config.data.validation)
        self.loss = YoloLoss(config.model.anchors, STRIDES, len(config.model.classes), config.loss)

    def network(self, device: torch.device) -> nn.Module:
        config = self.config
        fresh = partial(initial_model, config.model, partial(first_images, self.images, config))
        model = fresh() if self.fresh else network_of(config.model)
        if device.type == "cpu" and self.autocast and config.schedule.fast_depthwise:
            use_fast_depthwise(model)  # float32 already has fast kernels
        return model

    def batches(self, epoch: int, start: int, end: int) -> Iterable[Batch]:
        self.sampler.epoch, self.sampler.start = epoch, start
        return self.loader

    def inputs(self, batch: Batch, device: torch.device) -> Tensor:
        return batch.images.to(device, non_blocking=True).float()

    def losses(self, outputs: Sequence[Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        truths = (batch.boxes, batch.class_ids, batch.box_weights)
        boxes, class_ids, weights = ([item.to(outputs[0].device) for item in items] for items in truths)
        losses = self.loss(outputs, boxes, class_ids, weights)
        # Means over the positives of this part become sums.
        weight = max(losses.positives, 1)
        terms = torch.stack([getattr(losses, name).detach() for name in TERMS])
        return losses.total * weight, torch.cat([terms * weight, terms.new_tensor([losses.positives])])

    def divisor(self, sums: Sequence[float]) -> float:
        schedule = self.config.schedule
        return schedule.batch_size if schedule.normalise_by == "images" else max(sums[-1], 1)

    def means(self, sums: Sequence[float]) -> Means:
        *totals, positives = sums
        means = {name: value / max(positives, 1) for name, value in zip(TERMS, totals, strict=True)}
        return means | {"positives": positives}

    def validate(self, weights: Mapping[str, Tensor], device: torch.device) -> Means:
        """Average precisions by name, see `validate.average_precisions`."""
        from gaussian_yolo_node.lab.training.validate import average_precisions

        model = network_of(self.config.model)
        model.load_state_dict(weights)
        return average_precisions(model.eval().to(device), self.config, self.root)

    def close(self) -> None:
        self.loader.close()

    def __str__(self) -> str:
        return f"{len(self.images)} images"

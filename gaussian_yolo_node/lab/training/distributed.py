"""Distributed training with `torchrun`: the same steps as one process with the whole batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gaussian_yolo_node.errors import GaussianYoloError

Value = TypeVar("Value")
# The other processes wait while the first validates.
TIMEOUT = timedelta(hours=3)


class ProcessesError(GaussianYoloError):
    """The processes of a run cannot communicate."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run and the rank of this one; by default a single process."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0  # rank on this machine, which is the index of its GPU

    @property
    def main(self) -> bool:
        """True for the process that logs, saves and validates."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """`values` summed over all processes, elementwise."""
        if self.count > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def share(self, value: Value) -> Value:
        """Broadcast the main process's `value`."""
        if self.count == 1:
            return value
        box = [value if self.main else None]
        dist.broadcast_object_list(box, src=0)
        return cast(Value, box[0])


@contextmanager
def join(device: str) -> Iterator[Processes]:
    """Join the process group if started by `torchrun`.

    Args:
        device: "cpu" or "cuda"; selects the communication backend.

    Raises:
        ProcessesError: the environment variables of `torchrun` are invalid, or another process has ended.
    """
    try:
        count, rank, local_rank = (
            int(os.environ.get(name, default))
            for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))
        )
    except ValueError as error:
        raise ProcessesError("WORLD_SIZE, RANK and LOCAL_RANK must be numbers: unset them or use torchrun") from error
    if count == 1:
        yield Processes()
        return
    processes = Processes(rank, count, local_rank)
    try:
        dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=TIMEOUT)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ProcessesError(f"process {rank} of {count} cannot meet the others: {reason}; use torchrun") from error
    try:
        yield processes
    except RuntimeError as error:
        lost = isinstance(error, dist.DistError) or "gloo" in str(error) or "NCCL" in str(error)
        if not lost:
            raise
        raise ProcessesError(f"process {rank} of {count} has lost another one, whose own message says why") from error
    finally:
        dist.destroy_process_group()


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm with the statistics of the images of all processes; on any device, unlike `nn.SyncBatchNorm`."""

    def forward(self, image: Tensor) -> Tensor:
        if not self.training:
            return super().forward(image)
        x = image.float()
        sums = _SumOverProcesses.apply(torch.cat([x.sum((0, 2, 3)), x.new_tensor([x.numel() / x.shape[1]])]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        # Two passes, because a difference of squares is inaccurate for small variances.
        centred = x - mean[:, None, None]
        variance = _SumOverProcesses.apply(centred.square().sum((0, 2, 3))) / total
        self._remember(mean.detach(), variance.detach() * (total / (total - 1).clamp(min=1)))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(image.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes. Every process's loss depends on it, so its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed


def share_batch_norms(model: nn.Module) -> None:
    """Replace every batch norm in `model` by a shared one with the same parameters, statistics and names."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
                shared.weight, shared.bias = child.weight, child.bias
                shared.running_mean, shared.running_var = child.running_mean, child.running_var
                shared.num_batches_tracked = child.num_batches_tracked
                setattr(module, name, shared.train(child.training))

"""All backbones by name, and conversion of their weights from and to timm's state dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.networks import efficientnet, mixnet, mobilenet
from gaussian_yolo_node.lab.networks.blocks import TENSORFLOW, Backbone, GroupedPointwise
from gaussian_yolo_node.lab.networks.csp_darknet import CspDarknetNano
from gaussian_yolo_node.lab.networks.darknet import Darknet53

BACKBONES: dict[str, Callable[..., Backbone]] = {
    **{name: partial(efficientnet.EfficientNet, name) for name in efficientnet.SCALING},
    **{name: partial(efficientnet.EfficientNetLite, name) for name in efficientnet.LITE_SCALING},
    **{name: partial(mixnet.MixNet, name) for name in mixnet.MEMBERS},
    **{name: partial(mobilenet.MobileNet, name) for name in mobilenet.TABLES},
    "csp_darknet_nano": CspDarknetNano,
    "darknet53": Darknet53,
}
# timm's prefix of weights converted from TensorFlow; the networks differ only in padding and batch norm.
TENSORFLOW_PREFIX = "tf_"
# Prefixes of the parts that a backbone without classifier lacks.
HEAD_PREFIXES = ("conv_head.", "bn2.", "classifier.")


class StateDictError(GaussianYoloError):
    """A state dict does not fit the model.

    Attributes:
        missing: names in the model but not in the state dict.
        foreign: names in the state dict but not in the model.
        misshapen: names whose shapes differ, with both shapes.
    """

    def __init__(self, missing: Iterable[str], foreign: Iterable[str], misshapen: Iterable[str]) -> None:
        self.missing, self.foreign, self.misshapen = tuple(missing), tuple(foreign), tuple(misshapen)
        kinds = (("missing", self.missing), ("foreign", self.foreign), ("of another shape", self.misshapen))
        listed = "; ".join(f"{len(names)} {kind}: {', '.join(names)}" for kind, names in kinds if names)
        super().__init__(f"the state dict is not of this model: {listed}")


def create_backbone(name: str, num_classes: int = 0, **options: object) -> Backbone:
    """A backbone with fresh weights.

    Args:
        name: a key of `BACKBONES`; the prefix `tf_` of an EfficientNet or MixNet selects the padding and batch norm of
            the authors' TensorFlow weights, as in timm.
        num_classes: outputs of the classifier; 0 builds none.
        options: further arguments of the class (`stochastic_depth`, `kernels` of MobileNet, ...).

    Raises:
        GaussianYoloError: unknown backbone.
    """
    plain = name.removeprefix(TENSORFLOW_PREFIX)
    if plain not in BACKBONES or (plain != name and not plain.startswith(("efficientnet", "mixnet"))):
        raise GaussianYoloError(f"unknown backbone {name!r}: choose one of {', '.join(BACKBONES)}")
    if plain != name:
        options = {"convention": TENSORFLOW, **options}
    return BACKBONES[plain](num_classes=num_classes, **options)


def load_timm_state_dict(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Load a state dict in timm's names and layout, or a checkpoint of timm's training with one, into a backbone.

    A backbone without classifier ignores the head of a classifier's state dict. The counters `num_batches_tracked` may
    be absent.

    Raises:
        StateDictError: names are missing, foreign or of another shape (all listed); the model is unchanged.
    """
    state = _weights_in(state)
    wanted = to_timm_state_dict(model)
    headless = not any(name.startswith(HEAD_PREFIXES) for name in wanted)
    given = {name: value for name, value in state.items() if not (headless and name.startswith(HEAD_PREFIXES))}
    missing = sorted(name for name in wanted.keys() - given.keys() if not name.endswith(".num_batches_tracked"))
    foreign = sorted(given.keys() - wanted.keys())
    misshapen = [
        f"{name} {tuple(given[name].shape)} for {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in given and given[name].shape != value.shape
    ]
    if missing or foreign or misshapen:
        raise StateDictError(missing, foreign, misshapen)
    with torch.no_grad():
        for name, value in wanted.items():
            if name in given:
                # These tensors are views of the model's own, including the slices of grouped convolutions.
                value.copy_(given[name])


def _weights_in(checkpoint: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """The state dict of a checkpoint, averaged weights first, without the prefix of parallel training."""
    nested = (checkpoint.get(key) for key in ("state_dict_ema", "model_ema", "state_dict", "model"))
    state = next((found for found in nested if isinstance(found, Mapping)), checkpoint)
    for prefix in ("module.", "_orig_mod."):
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def to_timm_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The model's state dict in timm's names and layout; the tensors are views of the model's.

    The only difference: timm stores a 1x1 convolution with g groups as g convolutions, `NAME.0.weight`, ...
    """
    state: dict[str, Tensor] = dict(model.state_dict())
    for name, module in model.named_modules():
        if isinstance(module, GroupedPointwise):
            prefix = f"{name}." if name else ""
            for index, part in enumerate(state.pop(f"{prefix}weight").chunk(module.groups)):
                state[f"{prefix}{index}.weight"] = part
    return state

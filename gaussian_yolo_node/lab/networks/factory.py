"""The built-in detectors by name. For other backbones, necks and classes see `gaussian_yolo.build_model`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from gaussian_yolo_node.detector.letterbox import Resize
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.networks.blocks import measure_batch_norms
from gaussian_yolo_node.lab.networks.darknet import gaussian_yolov3_darknet53
from gaussian_yolo_node.lab.networks.gaussian_yolo import build_model
from gaussian_yolo_node.lab.networks.yolov3 import INPUT_SIZE, PRESETS

WIDE_SIZE = (256, 832)  # height, width: the shape of a road camera's image
# Noisy Student's teachers and students, far too slow for a camera.
LARGE_BACKBONES = tuple(f"efficientnet_l{member}" for member in range(3))
LIGHT_BACKBONES = (
    *(f"efficientnet_lite{member}" for member in range(5)),
    *(f"mixnet_{member}" for member in "sml"),
    *(f"efficientnet_b{member}" for member in range(8)),
    "mobilenet_v1",
    "mobilenet_v2",
)


@dataclass(frozen=True)
class BuiltIn:
    """A detector that can be built from its name.

    Attributes:
        network: builds it with fresh weights.
        preset: classes and anchors, a key of `yolov3.PRESETS`.
        input_size: default height and width, px.
        neck: name for display.
        resize: resizing of frames to the canvas, see `Letterbox`.
    """

    network: Callable[[], nn.Module]
    preset: str
    input_size: tuple[int, int]
    neck: str
    resize: Resize = "bilinear"


def _official(preset: str) -> BuiltIn:
    network = partial(gaussian_yolov3_darknet53, preset)
    return BuiltIn(network, preset, INPUT_SIZE, "YOLOv3", "align_corners")


def _light(backbone: str) -> BuiltIn:
    network = partial(build_model, backbone, len(PRESETS["kitti"].classes))
    return BuiltIn(network, "kitti", WIDE_SIZE, "light pyramid")


BUILT_INS: dict[str, BuiltIn] = {
    "gaussian-yolov3-darknet53": _official("bdd"),
    "gaussian-yolov3-darknet53-kitti": _official("kitti"),
    **{backbone: _light(backbone) for backbone in (*LIGHT_BACKBONES, *LARGE_BACKBONES)},
}


def find_built_in(name: str) -> BuiltIn:
    """The detector `name`. GaussianYoloError for an unknown name; the message lists all."""
    if name not in BUILT_INS:
        raise GaussianYoloError(f"there is no built-in detector {name!r}; there are {', '.join(BUILT_INS)}")
    return BUILT_INS[name]


def build_fresh(name: str, seed: int = 0) -> nn.Module:
    """A built-in detector with fresh weights in eval mode: RGB 0..255 in, raw heads in the order of `STRIDES` out.

    Its batch norms get the statistics of made-up pictures: with fresh ones signals shrink to denormal numbers, which
    slow down a CPU, and with those of noise, which later layers average out, a picture's signals grow beyond bounds.
    """
    built_in = find_built_in(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = built_in.network()
        measure_batch_norms(model, [_pictures()])
    return model.eval()


def _pictures(side: int = 128) -> Tensor:
    """Pictures `[B,3,S,S]`, RGB 0..255: clouds of every size, from noise to nearly flat, in high and low contrast."""
    clouds = [
        functional.interpolate(torch.rand(1, 3, side // size, side // size), side, mode="bilinear")
        for size in (1, 4, 16, 64)
    ]
    faint = [0.9 * torch.rand(1) + 0.1 * cloud for cloud in clouds]
    return 255 * torch.cat([*clouds, *faint])

"""YOLOv3 and Gaussian YOLOv3 on Darknet-53 (Redmon & Farhadi, "YOLOv3", 2018), written as Darknet's `.cfg`.

The cfg is the only description of the network: `darknet.Darknet` builds it, and Darknet runs it with the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gaussian_yolo_node.lab.networks.darknet_cfg import YOLO_ENTRIES

# The paper's Table 1. c = convolution 3x3; d = the same at stride 2; rN = N residual blocks, 1x1 to half and 3x3 back.
DARKNET53 = "c32 d64 r1 d128 r2 d256 r8 d512 r8 d1024 r4"
# One string per scale, strides 32, 16, 8: width of its 1x1 convolutions, and the backbone layer concatenated with the
# narrowed and upsampled previous scale.
SCALES = ("n512", "n256 join61", "n128 join36")
FEATURE_LAYERS = (36, 61, 74)  # the last of Darknet-53 at strides 8, 16, 32
ANCHORS_PER_SCALE = 3

HeadKind = Literal["Gaussian_yolo", "yolo"]


@dataclass(frozen=True)
class Preset:
    """Classes and anchors of a detector.

    Attributes:
        classes: class names.
        anchors: width and height in px of the 512x512 input, smallest first; three per stride, from 8 to 32.
    """

    classes: tuple[str, ...]
    anchors: tuple[tuple[int, int], ...]


# Choi et al., "Gaussian YOLOv3", ICCV 2019: classes and anchors of the published weights.
PRESETS = {
    "bdd": Preset(
        ("bike", "bus", "car", "motor", "person", "rider", "traffic light", "traffic sign", "train", "truck"),
        ((7, 10), (14, 24), (27, 43), (32, 97), (57, 64), (92, 109), (73, 175), (141, 178), (144, 291)),
    ),
    "kitti": Preset(
        ("car", "pedestrian", "cyclist"),
        ((13, 30), (23, 53), (17, 102), (45, 76), (27, 172), (67, 116), (49, 240), (82, 170), (118, 206)),
    ),
}
INPUT_SIZE = (512, 512)


def darknet53_cfg(input_size: tuple[int, int] = (256, 256)) -> str:
    """The backbone without classifier: 75 layers, with the weights `darknet53.conv.74`."""
    return "\n".join([_net(input_size), *_backbone()])


def yolov3_cfg(
    classes: int,
    anchors: Sequence[tuple[float, float]],
    input_size: tuple[int, int] = INPUT_SIZE,
    kind: HeadKind = "Gaussian_yolo",
) -> str:
    """The detector: 107 layers, heads at strides 32, 16, 8.

    Args:
        classes: number of classes.
        anchors: width and height in px of the input, smallest first; three per stride, from 8 to 32.
        input_size: height and width, px.
        kind: heads with or without uncertainty.
    """
    sections = [_net(input_size), *_backbone()]
    entries = ANCHORS_PER_SCALE * (YOLO_ENTRIES[kind] + classes)
    for index, words in enumerate(scale.split() for scale in SCALES):
        width = int(words[0].removeprefix("n"))
        if index:
            sections += [_section("route", layers="-4"), _convolution(width, 1), _section("upsample", stride="2")]
            sections.append(_section("route", layers=f"-1, {words[1].removeprefix('join')}"))
        for _ in range(3):
            sections += [_convolution(width, 1), _convolution(2 * width, 3)]
        sections.append(_section("convolutional", size="1", stride="1", pad="1", filters=entries, activation="linear"))
        first = ANCHORS_PER_SCALE * (len(SCALES) - 1 - index)
        sections.append(
            _section(
                kind,
                mask=",".join(str(first + member) for member in range(ANCHORS_PER_SCALE)),
                anchors=", ".join(f"{w:g},{h:g}" for w, h in anchors),
                classes=classes,
                num=len(anchors),
                jitter=".3",
                ignore_thresh=".5",
                truth_thresh="1",
                random="1",
            )
        )
    return "\n".join(sections)


def _backbone() -> list[str]:
    sections: list[str] = []
    width = 0
    for word in DARKNET53.split():
        kind, number = word[0], int(word[1:])
        if kind == "r":
            block = [_convolution(width // 2, 1), _convolution(width, 3)]
            sections += [*block, _section("shortcut", **{"from": "-3"}, activation="linear")] * number
        else:
            width = number
            sections.append(_convolution(width, 3, 2 if kind == "d" else 1))
    return sections


def _net(input_size: tuple[int, int]) -> str:
    """The [net] section: input and training options of the official Gaussian YOLOv3."""
    height, width = input_size
    return _section(
        "net",
        batch=64,
        subdivisions=16,
        width=width,
        height=height,
        channels=3,
        momentum="0.9",
        decay="0.0005",
        angle=0,
        saturation="1.5",
        exposure="1.5",
        hue=".1",
        learning_rate="0.0001",
        burn_in=1000,
        max_batches=500200,
        policy="steps",
        steps="400000,450000",
        scales=".1,.1",
    )


def _convolution(filters: int, size: int, stride: int = 1) -> str:
    return _section(
        "convolutional", batch_normalize=1, filters=filters, size=size, stride=stride, pad=1, activation="leaky"
    )


def _section(kind: str, **options: object) -> str:
    return "\n".join([f"[{kind}]", *(f"{name}={value}" for name, value in options.items()), ""])

"""MobileNet V1 (Howard et al., 2017) and V2 (Sandler et al., CVPR 2018) with replaceable depthwise kernels.

For the ablations of the MixConv paper: a larger kernel or an MDConv in all layers or in one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.networks.blocks import (
    PYTORCH,
    BlockSpec,
    Convention,
    TableBackbone,
    parse_table,
    round_channels,
)
from gaussian_yolo_node.lab.networks.mdconv import Kernels

TABLES = {
    "mobilenet_v1": (
        "dsa_r1_k3_s1_e1_c64",
        "dsa_r2_k3_s2_e1_c128",
        "dsa_r2_k3_s2_e1_c256",
        "dsa_r6_k3_s2_e1_c512",
        "dsa_r2_k3_s2_e1_c1024",
    ),
    "mobilenet_v2": (
        "ds_r1_k3_s1_e1_c16",
        "ir_r2_k3_s2_e6_c24",
        "ir_r3_k3_s2_e6_c32",
        "ir_r4_k3_s2_e6_c64",
        "ir_r3_k3_s1_e6_c96",
        "ir_r3_k3_s2_e6_c160",
        "ir_r1_k3_s1_e6_c320",
    ),
}
STEM_CHANNELS = 32
V2_HEAD_CHANNELS = 1280  # never scaled down


class MobileNet(TableBackbone):
    """MobileNet V1 or V2.

    Args:
        name: a key of `TABLES`.
        num_classes: outputs of the classifier; 0 builds none.
        kernels: replaces the 3x3 depthwise convolutions: a `mdconv.Kernels` string ("5", "3.5.7", "3.5-exp") for
            the whole network, or a mapping from the number of a depthwise layer (from 0, in order) to such a string.
        width: multiplies the channels (the papers' alpha).
        convention: padding and batch norm of the weights' source.
        dropout: on the classifier's input.
        stochastic_depth: rate at which the last block is skipped in training (V1 has no skips).

    Raises:
        GaussianYoloError: unknown name, malformed kernels, or a layer number out of range.
    """

    def __init__(
        self,
        name: str = "mobilenet_v2",
        num_classes: int = 0,
        *,
        kernels: str | Mapping[int, str] | None = None,
        width: float = 1.0,
        convention: Convention = PYTORCH,
        dropout: float = 0.2,
        stochastic_depth: float = 0.0,
    ) -> None:
        if name not in TABLES:
            raise GaussianYoloError(f"unknown MobileNet {name!r}: choose one of {', '.join(TABLES)}")
        stages = parse_table(TABLES[name], width)
        if kernels is not None:
            stages = replace_kernels(stages, kernels)
        super().__init__(
            stages,
            stem=round_channels(STEM_CHANNELS * width),
            head=round_channels(V2_HEAD_CHANNELS * max(width, 1.0)) if name == "mobilenet_v2" else 0,
            activation="relu6",
            convention=convention,
            num_classes=num_classes,
            dropout=dropout,
            stochastic_depth=stochastic_depth,
        )


def replace_kernels(stages: list[list[BlockSpec]], kernels: str | Mapping[int, str]) -> list[list[BlockSpec]]:
    """The stages with other depthwise kernels, in every block or in the numbered ones."""
    count = sum(map(len, stages))
    if isinstance(kernels, str):
        kernels = dict.fromkeys(range(count), kernels)
    for number in kernels:
        if not 0 <= number < count:
            raise GaussianYoloError(f"there is no depthwise layer {number}: they are numbered 0 to {count - 1}")
    replaced, number = [], 0
    for blocks in stages:
        row = []
        for spec in blocks:
            text = kernels.get(number)
            row.append(spec if text is None else replace(spec, kernels=Kernels.parse(text)))
            number += 1
        replaced.append(row)
    return replaced

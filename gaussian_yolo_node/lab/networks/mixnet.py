"""MixNet-S, M and L (Tan & Le, "MixConv: Mixed Depthwise Convolutional Kernels", BMVC 2019, Figure 5)."""

from __future__ import annotations

from dataclasses import dataclass

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.networks.blocks import PYTORCH, Convention, TableBackbone, parse_table, round_channels

SMALL = (
    "ds_r1_k3_s1_e1_c16",
    "ir_r1_k3_s2_e6_c24_a2_p2 ir_r1_k3_s1_e3_c24_a2_p2",
    "ir_r1_k3.5.7_s2_e6_c40_se0.5_silu ir_r3_k3.5_s1_e6_c40_a2_p2_se0.5_silu",
    "ir_r1_k3.5.7_s2_e6_c80_p2_se0.25_silu ir_r2_k3.5_s1_e6_c80_p2_se0.25_silu",
    "ir_r1_k3.5.7_s1_e6_c120_a2_p2_se0.5_silu ir_r2_k3.5.7.9_s1_e3_c120_a2_p2_se0.5_silu",
    "ir_r1_k3.5.7.9.11_s2_e6_c200_se0.5_silu ir_r2_k3.5.7.9_s1_e6_c200_p2_se0.5_silu",
)
MEDIUM = (
    "ds_r1_k3_s1_e1_c24",
    "ir_r1_k3.5.7_s2_e6_c32_a2_p2 ir_r1_k3_s1_e3_c32_a2_p2",
    "ir_r1_k3.5.7.9_s2_e6_c40_se0.5_silu ir_r3_k3.5_s1_e6_c40_a2_p2_se0.5_silu",
    "ir_r1_k3.5.7_s2_e6_c80_se0.25_silu ir_r3_k3.5.7.9_s1_e6_c80_a2_p2_se0.25_silu",
    "ir_r1_k3_s1_e6_c120_se0.5_silu ir_r3_k3.5.7.9_s1_e3_c120_a2_p2_se0.5_silu",
    "ir_r1_k3.5.7.9_s2_e6_c200_se0.5_silu ir_r3_k3.5.7.9_s1_e6_c200_p2_se0.5_silu",
)
HEAD_CHANNELS = 1536  # not scaled


@dataclass(frozen=True)
class Member:
    """One network of the family."""

    table: tuple[str, ...]
    stem: int
    width: float
    dropout: float


MEMBERS = {
    "mixnet_s": Member(SMALL, 16, 1.0, 0.2),
    "mixnet_m": Member(MEDIUM, 24, 1.0, 0.25),
    "mixnet_l": Member(MEDIUM, 24, 1.3, 0.25),
}


class MixNet(TableBackbone):
    """MixNet-S, M or L.

    Args:
        name: a key of `MEMBERS`.
        num_classes: outputs of the classifier; 0 builds none.
        convention: `PYTORCH` for timm's weights `mixnet_*`, `TENSORFLOW` for the authors' (`tf_mixnet_*`).
        dropout: on the classifier's input; default: the paper's.
    """

    def __init__(
        self,
        name: str = "mixnet_s",
        num_classes: int = 0,
        *,
        convention: Convention = PYTORCH,
        dropout: float | None = None,
        stochastic_depth: float = 0.0,
    ) -> None:
        if name not in MEMBERS:
            raise GaussianYoloError(f"unknown MixNet {name!r}: choose one of {', '.join(MEMBERS)}")
        member = MEMBERS[name]
        super().__init__(
            parse_table(member.table, member.width),
            stem=round_channels(member.stem * member.width),
            head=HEAD_CHANNELS,
            activation="relu",
            convention=convention,
            num_classes=num_classes,
            dropout=member.dropout if dropout is None else dropout,
            stochastic_depth=stochastic_depth,
        )

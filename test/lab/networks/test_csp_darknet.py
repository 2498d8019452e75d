"""CSPDarknet: feature layers, grammar, and activations."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

import torch.nn.functional as F  # noqa: E402

from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.lab.networks import csp_darknet  # noqa: E402
from gaussian_yolo_node.lab.networks.backbones import BACKBONES, create_backbone  # noqa: E402
from gaussian_yolo_node.lab.networks.blocks import ACTIVATIONS  # noqa: E402
from gaussian_yolo_node.lab.networks.csp_darknet import (  # noqa: E402
    Activation,
    Bottleneck,
    CspDarknetNano,
    SpatialPyramidPooling,
)
from gaussian_yolo_node.lab.networks.gaussian_yolo import build_model  # noqa: E402


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("size", [(64, 96), (32, 32), (160, 64)])
def test_features_lie_at_strides_8_16_32_with_every_activation(activation: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        maps = CspDarknetNano(activation).eval().features(255 * torch.rand(2, 3, *size))
    assert [tuple(x.shape) for x in maps] == [
        (2, channels, size[0] // stride, size[1] // stride)
        for channels, stride in zip(CspDarknetNano.feature_channels, (8, 16, 32), strict=True)
    ]
    assert all(x.isfinite().all() for x in maps)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_activation_is_that_of_every_layer_up_to_the_heads(activation: str) -> None:
    with torch.device("meta"):
        model = build_model("csp_darknet_nano", 1, width=16, neck="csp", activation=activation)
    found = [module.function for module in model.modules() if isinstance(module, Activation)]
    convolutions = sum(isinstance(module, torch.nn.Conv2d) for module in model.modules())
    assert len(found) == convolutions - 2 * len(model.heads)
    assert set(found) == {ACTIVATIONS[activation]}


def test_without_a_choice_it_is_yolox_silu() -> None:
    with torch.device("meta"):
        model = build_model("csp_darknet_nano", 1, width=16, neck="csp")
    assert {module.function for module in model.modules() if isinstance(module, Activation)} == {F.silu}


def test_the_classifier_averages_the_last_map() -> None:
    torch.manual_seed(0)
    model = create_backbone("csp_darknet_nano", num_classes=5).eval()
    image = 255 * torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(model(image), model.classifier(model.features(image)[-1].mean((2, 3))))


def test_the_table_is_yolox_nanos() -> None:
    model = CspDarknetNano()
    blocks = [
        [module.residual for module in stage.modules() if isinstance(module, Bottleneck)] for stage in model.stages
    ]
    # Depth 0.33 of 3, 9, 9, 3; the last stage follows the pooling and has no residual addition.
    assert blocks == [[True], [True] * 3, [True] * 3, [False]]
    depthwise = [m.stride for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1]
    assert depthwise.count((2, 2)) == 4


def test_pooling_keeps_the_maxima_of_three_windows() -> None:
    pooling = SpatialPyramidPooling(4, "relu").eval()
    pooling.reduce, pooling.mix = torch.nn.Identity(), torch.nn.Identity()
    x = torch.zeros(1, 1, 15, 15)
    x[..., 7, 7] = 1
    with torch.no_grad():
        windows = pooling(x)[0]
    assert [int(window.sum()) for window in windows] == [1, 25, 81, 169]


@pytest.mark.parametrize(
    "word", ["dw_64", "dw_c", "dw_c64_r2", "spp5", "csp", "csp_r", "csp_r1q", "csp_rx", "ir_r1_k3_s1_e1_c16", "SPP"]
)
def test_a_malformed_word_is_named(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setattr(csp_darknet, "STAGES", ("dw_c32 csp_r1", f"dw_c64 {word}"))
    with pytest.raises(GaussianYoloError, match=f"^block '{word}' does not read like 'dw_c64', 'spp' or 'csp_r3'$"):
        CspDarknetNano()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"backbone": "csp_darknet_nano", "neck": "csp", "activation": "swish"},
            "unknown activation 'swish': choose one of relu, relu6, silu, hard_swish",
        ),
        (
            {"backbone": "csp_darknet_nano", "neck": "light", "activation": "relu"},
            "neck light has one activation only: leave model.activation out",
        ),
        (
            {"backbone": "csp_darknet_nano", "neck": "yolov3", "activation": "silu"},
            "neck yolov3 has one activation only: leave model.activation out",
        ),
        (
            {"backbone": "csp_darknet_nano", "neck": "csp", "activation": "silu", "stochastic_depth": 0.2},
            "csp_darknet_nano has no choice of stochastic_depth: leave it out",
        ),
        (
            {"backbone": "mobilenet_v2", "activation": "relu", "stochastic_depth": 0.2},
            "mobilenet_v2 has no choice of activation: leave it out",
        ),
        (
            {"backbone": "darknet53", "activation": "relu", "stochastic_depth": 0.2},
            "darknet53 has no choice of stochastic_depth or activation: leave it out",
        ),
        ({"backbone": "tf_mixnet_s", "activation": "relu"}, "tf_mixnet_s has no choice of activation: leave it out"),
        ({"backbone": "resnet", "activation": "relu"}, "unknown backbone 'resnet'"),
    ],
)
def test_a_choice_that_there_is_not(options: dict[str, Any], message: str) -> None:
    with torch.device("meta"), pytest.raises(GaussianYoloError) as error:
        build_model(options.pop("backbone"), 1, **options)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name != "csp_darknet_nano"])
def test_no_other_backbone_has_a_choice_of_activation(backbone: str) -> None:
    with torch.device("meta"), pytest.raises(GaussianYoloError, match=f"^{backbone} has no choice of activation"):
        build_model(backbone, 1, neck="csp", activation="hard_swish")

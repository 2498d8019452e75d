"""Every backbone against timm's outputs, the papers' parameter counts, and the common interface."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.lab.networks.backbones import (  # noqa: E402
    BACKBONES,
    StateDictError,
    create_backbone,
    load_timm_state_dict,
    to_timm_state_dict,
)
from gaussian_yolo_node.lab.networks.blocks import PYTORCH, TENSORFLOW, Convention  # noqa: E402

TIMM = (
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b4",
    "efficientnet_b7",
    "mixnet_s",
    "mixnet_m",
    "mixnet_l",
    "tf_efficientnet_lite0",
)
LARGE = ("efficientnet_b4", "efficientnet_b7")
# Millions, see docs/paper_facts.md, sections 2 and 3; the Lite and MobileNet counts are from their papers and model
# cards.
PARAMETERS = {
    "mixnet_s": "4.135",
    "mixnet_m": "5.014",
    "mixnet_l": "7.329",
    "efficientnet_b0": "5.29",
    "efficientnet_b1": "7.79",
    "efficientnet_b2": "9.11",
    "efficientnet_b3": "12.23",
    "efficientnet_b4": "19.34",
    "efficientnet_b5": "30.39",
    "efficientnet_b6": "43.04",
    "efficientnet_b7": "66.35",
    "efficientnet_l0": "140.8",
    "efficientnet_l1": "272.6",
    "efficientnet_l2": "480.3",
    "efficientnet_lite0": "4.7",
    "efficientnet_lite1": "5.4",
    "efficientnet_lite2": "6.1",
    "efficientnet_lite3": "8.2",
    "efficientnet_lite4": "13.0",
    "mobilenet_v1": "4.2",
    "mobilenet_v2": "3.5",
    "darknet53": "41.6",
}


def seeded_weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight for a name of timm's state dict, as defined in the golden README."""
    rng = np.random.default_rng(sum((i + 1) * byte for i, byte in enumerate(key.encode())) % (2**31 - 1))
    if key.endswith("running_var"):
        return 1 + 0.2 * rng.random(shape)
    if key.endswith("running_mean"):
        return 0.05 * rng.standard_normal(shape)
    if len(shape) == 1 and key.endswith("weight"):
        return 1 + 0.1 * rng.standard_normal(shape)
    if len(shape) == 1:
        return 0.05 * rng.standard_normal(shape)
    return rng.standard_normal(shape) * np.sqrt(1.5 / max(1, np.prod(shape[1:])))


def golden_case(folder: Path, name: str) -> tuple[dict[str, np.ndarray], dict[str, torch.Tensor], torch.Tensor]:
    """timm's outputs, its seeded state dict, and the input."""
    golden = dict(np.load(folder / "timm" / f"{name}.npz"))
    shapes = {
        str(key): ast.literal_eval(str(shape)) for key, shape in zip(golden["keys"], golden["shapes"], strict=True)
    }
    state = {key: torch.from_numpy(np.asarray(seeded_weight(key, shape), np.float32)) for key, shape in shapes.items()}
    image = np.random.default_rng(42).standard_normal(tuple(golden["input_shape"])).astype(np.float32)
    return golden, state, torch.from_numpy(image)


def relative_error(ours: torch.Tensor, theirs: np.ndarray) -> float:
    return float(np.abs(ours.numpy() - theirs).max() / np.abs(theirs).max())


# The large ones are B0 with more depth and width.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in TIMM]
)
def test_equals_timm(golden_dir: Path, name: str) -> None:
    golden, state, image = golden_case(golden_dir, name)
    model = create_backbone(name, num_classes=1000).eval()
    load_timm_state_dict(model, state)
    with torch.no_grad():
        features = model.head_features(image)
        logits = model.classifier(features.mean((2, 3)))
    # A tenth of the golden tolerance, because a wrong batch-norm epsilon causes an error of about 1e-3.
    assert relative_error(logits[0], golden["logits"]) <= 1e-4
    assert relative_error(features.mean((0, 2, 3)), golden["features_mean"]) <= 1e-4


@pytest.mark.parametrize("name", ["mixnet_s", "efficientnet_b0", "tf_efficientnet_lite0"])
@pytest.mark.parametrize("wrong", ["padding", "epsilon"])
def test_the_other_convention_does_not_equal_timm(golden_dir: Path, name: str, wrong: str) -> None:
    golden, state, image = golden_case(golden_dir, name)
    right, other = (TENSORFLOW, PYTORCH) if name.startswith("tf_") else (PYTORCH, TENSORFLOW)
    convention = Convention(
        other.padding if wrong == "padding" else right.padding,
        other.bn_epsilon if wrong == "epsilon" else right.bn_epsilon,
        right.bn_momentum,
    )
    model = create_backbone(name, num_classes=1000, convention=convention).eval()
    load_timm_state_dict(model, state)
    with torch.no_grad():
        assert relative_error(model(image)[0], golden["logits"]) > 1e-4


@pytest.mark.parametrize(("name", "millions"), PARAMETERS.items())
def test_parameters_of_the_classifier(name: str, millions: str) -> None:
    with torch.device("meta"):
        model = create_backbone(name, num_classes=1000)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert f"{count / 1e6:.{len(millions.partition('.')[2])}f}" == millions


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("size", [(64, 96), pytest.param((96, 32), marks=pytest.mark.slow)])
def test_features_lie_at_strides_8_16_32(name: str, size: tuple[int, int]) -> None:
    # The meta device avoids the minutes and gigabytes of the largest networks.
    with torch.device("meta"):
        model = create_backbone(name).eval()
        image = torch.zeros(1, 3, *size)
    with torch.no_grad():
        maps = model.features(image)
    assert [tuple(x.shape) for x in maps] == [
        (1, channels, size[0] // stride, size[1] // stride)
        for channels, stride in zip(model.feature_channels, (8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("name", BACKBONES)
def test_without_classifier_there_are_the_same_features_and_no_logits(name: str) -> None:
    with torch.device("meta"):
        model = create_backbone(name)
        assert model.feature_channels == create_backbone(name, num_classes=5).feature_channels
    assert not any(key.startswith(("conv_head", "bn2", "classifier")) for key in model.state_dict())
    with pytest.raises(GaussianYoloError, match="pass num_classes"):
        model(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("name", ["mixnet_l", "tf_mixnet_m", "efficientnet_b0", "efficientnet_lite0", "mobilenet_v2"])
def test_state_dict_round_trip_through_timms_names(name: str) -> None:
    torch.manual_seed(1)
    source = create_backbone(name, num_classes=7)
    target = create_backbone(name, num_classes=7)
    state = {key: value.clone() for key, value in to_timm_state_dict(source).items()}
    load_timm_state_dict(target, state)
    theirs, ours = source.state_dict(), target.state_dict()
    assert all(torch.equal(theirs[key], ours[key]) for key in theirs)
    again = to_timm_state_dict(target)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)


@pytest.mark.parametrize("name", TIMM)
def test_names_and_shapes_are_timms(golden_dir: Path, name: str) -> None:
    golden = np.load(golden_dir / "timm" / f"{name}.npz")
    with torch.device("meta"):
        state = to_timm_state_dict(create_backbone(name, num_classes=1000))
    ours = {key: str(tuple(value.shape)) for key, value in state.items() if not key.endswith("num_batches_tracked")}
    theirs = dict(zip(golden["keys"], golden["shapes"], strict=True))
    assert ours == {key: shape for key, shape in theirs.items() if not key.endswith("num_batches_tracked")}


def test_a_headless_backbone_takes_a_classifiers_weights() -> None:
    source = create_backbone("mixnet_s", num_classes=3)
    target = create_backbone("mixnet_s")
    load_timm_state_dict(target, to_timm_state_dict(source))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for theirs, ours in zip(source.eval().features(image), target.eval().features(image), strict=True):
            assert torch.equal(theirs, ours)


def test_missing_foreign_and_misshapen_entries_are_listed_and_nothing_is_loaded() -> None:
    model = create_backbone("mixnet_s", num_classes=3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = {key: value + 1 for key, value in to_timm_state_dict(model).items()}
    del state["conv_stem.weight"], state["blocks.1.0.conv_pw.1.weight"]
    state["fc.weight"] = torch.zeros(1)
    state["classifier.bias"] = torch.zeros(1000)
    with pytest.raises(StateDictError) as raised:
        load_timm_state_dict(model, state)
    assert raised.value.missing == ("blocks.1.0.conv_pw.1.weight", "conv_stem.weight")
    assert raised.value.foreign == ("fc.weight",)
    for part in ("blocks.1.0.conv_pw.1.weight", "conv_stem.weight", "fc.weight", "classifier.bias (1000,) for (3,)"):
        assert part in str(raised.value)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("state", [{}, {"model": torch.zeros(1)}])
def test_a_state_dict_of_something_else_is_refused(state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(StateDictError, match="missing"):
        load_timm_state_dict(create_backbone("mobilenet_v1"), state)


@pytest.mark.parametrize("name", ["resnet50", "", "tf_", "tf_mobilenet_v1", "tf_tf_mixnet_s", "EfficientNet_B0"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(GaussianYoloError, match=r"unknown backbone .*mixnet_s"):
        create_backbone(name)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": state, "epoch": 3, "arch": "mixnet_s"},
        lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {"state_dict": {}, "state_dict_ema": state},
        lambda state: {"model": {f"_orig_mod.{name}": value for name, value in state.items()}},
    ],
    ids=["module", "state_dict", "both", "averaged", "compiled"],
)
def test_checkpoints_of_timms_training_are_loaded(wrap: Callable[[dict[str, torch.Tensor]], dict[str, Any]]) -> None:
    source, target = create_backbone("mixnet_s", num_classes=3), create_backbone("mixnet_s", num_classes=3)
    load_timm_state_dict(target, wrap(to_timm_state_dict(source)))
    assert all(torch.equal(value, target.state_dict()[name]) for name, value in source.state_dict().items())

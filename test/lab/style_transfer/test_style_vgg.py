"""VGG19 with random weights: names, pooling, normalisation, and weight files."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.files import file_hash  # noqa: E402
from gaussian_yolo_node.lab.style_transfer import vgg  # noqa: E402
from gaussian_yolo_node.lab.style_transfer.vgg import (  # noqa: E402
    CONVOLUTIONS,
    Vgg19,
    WeightsError,
    load_vgg19_weights,
    normalise_weights,
)

# Indices in torchvision's `vgg19().features`, which counts convolutions, ReLUs and pooling layers.
TORCHVISION = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
LAYERS = (
    "conv1_1 conv1_2 pool1 conv2_1 conv2_2 pool2 conv3_1 conv3_2 conv3_3 conv3_4 pool3 "
    "conv4_1 conv4_2 conv4_3 conv4_4 pool4 conv5_1 conv5_2 conv5_3 conv5_4 pool5"
)


@pytest.fixture(scope="module")
def network() -> Vgg19:
    torch.manual_seed(0)
    network = Vgg19().requires_grad_(False)
    for convolution in network.convolutions.values():
        # With torch's default, the outputs after sixteen layers would hardly depend on the image.
        torch.nn.init.kaiming_normal_(convolution.weight)
    return network


def random_image(height: int = 32, width: int = 48, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def double_copy(network: Vgg19) -> Vgg19:
    copy = Vgg19().double().requires_grad_(False)
    copy.load_state_dict(network.state_dict())
    return copy


def torchvision_state(network: Vgg19) -> dict[str, torch.Tensor]:
    return {
        f"features.{index}.{part}": getattr(network.convolutions[name], part).detach().clone()
        for index, name in zip(TORCHVISION, CONVOLUTIONS, strict=True)
        for part in ("weight", "bias")
    }


def test_layers_are_the_papers(network: Vgg19) -> None:
    assert list(network.layers) == LAYERS.split()
    channels = [3, 64, 64, 128, 128, *[256] * 4, *[512] * 8]
    shapes = [tuple(network.convolutions[name].weight.shape) for name in CONVOLUTIONS]
    assert shapes == [(after, before, 3, 3) for before, after in itertools.pairwise(channels)]
    assert sum(p.numel() for p in network.parameters()) == 20_024_384  # torchvision's vgg19().features


def test_responses_are_those_of_the_plain_chain(network: Vgg19) -> None:
    found = network.responses(random_image(), network.layers)
    x = random_image()
    for name in network.layers:
        if name.startswith("pool"):
            x = F.avg_pool2d(x, 2, 2)
        else:
            x = torch.relu(F.conv2d(x, network.convolutions[name].weight, network.convolutions[name].bias, padding=1))
        assert torch.equal(found[name], x), name
    assert torch.equal(network(random_image()), x)


def test_relu_is_another_name_of_the_rectified_layer(network: Vgg19) -> None:
    found = network.responses(random_image(), ["relu2_1", "conv2_1"])
    assert torch.equal(found["relu2_1"], found["conv2_1"])
    assert found["conv2_1"].min() == 0


def test_nothing_behind_the_last_wanted_layer_is_computed(network: Vgg19) -> None:
    broken = Vgg19()
    broken.load_state_dict(network.state_dict())
    del broken.convolutions["conv3_1"]
    assert broken.responses(random_image(), ["pool2", "conv1_1"]).keys() == {"pool2", "conv1_1"}
    assert broken.responses(random_image(), []) == {}


@pytest.mark.parametrize("name", ["conv6_1", "conv1_3", "relu", "pool6", "features.0", ""])
def test_unknown_layers_are_named(network: Vgg19, name: str) -> None:
    with pytest.raises(GaussianYoloError, match=f"no layer {name!r}: choose of conv1_1, conv1_2, pool1"):
        network.responses(random_image(), ["conv1_1", name])


def test_small_images(network: Vgg19) -> None:
    with pytest.raises(GaussianYoloError, match="8x8 px is too small for pool4"):
        network.responses(random_image(8, 8), ["conv5_1"])


def test_normalised_weights_give_means_of_one_and_the_same_function(network: Vgg19) -> None:
    images = [random_image(seed=1).double(), random_image(40, 32, seed=2).double()]
    normalised, original = (double_copy(network) for _ in range(2))
    with torch.no_grad():
        # A filter without activation keeps its scale.
        for which in (normalised, original):
            which.convolutions["conv2_2"].weight[3] = 0
            which.convolutions["conv2_2"].bias[3] = -1
    scales = normalise_weights(normalised, images)
    assert list(scales) == list(CONVOLUTIONS)
    with torch.no_grad():
        found = [normalised.responses(image, CONVOLUTIONS) for image in images]
        for name in CONVOLUTIONS:
            flat = torch.cat([responses[name].flatten(2)[0] for responses in found], dim=1)
            wanted = torch.ones(len(flat), dtype=torch.float64)
            silent = flat.sum(1) == 0
            wanted[silent] = 0
            torch.testing.assert_close(flat.mean(1), wanted, rtol=1e-9, atol=1e-9)
            assert (scales[name][silent] == 1).all()
        # On another image, every layer equals the original's divided by its scale.
        fresh = random_image(32, 64, seed=3).double()
        after, before = (which.responses(fresh, which.layers) for which in (normalised, original))
        for name in CONVOLUTIONS:
            torch.testing.assert_close(after[name] * scales[name].view(1, -1, 1, 1), before[name], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(
            normalised(fresh) * scales["conv5_4"].view(1, -1, 1, 1), original(fresh), rtol=1e-9, atol=1e-9
        )


def test_normalising_twice_changes_nothing_more(network: Vgg19) -> None:
    normalised, image = double_copy(network), random_image().double()
    normalise_weights(normalised, [image])
    again = normalise_weights(normalised, [image])
    for name, scale in again.items():
        torch.testing.assert_close(scale, torch.ones_like(scale), rtol=1e-9, atol=1e-9, msg=name)


def test_normalising_without_images(network: Vgg19) -> None:
    with pytest.raises(GaussianYoloError, match="without images"):
        normalise_weights(network, [])


def test_weights_in_torchvisions_names_load(tmp_path: Path, network: Vgg19, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    torch.save({**torchvision_state(network), "classifier.0.weight": torch.zeros(2)}, path)
    monkeypatch.setattr(vgg, "CHECKSUM", file_hash(path)[:8])  # of this file, as the real file is not available
    loaded = Vgg19()
    assert load_vgg19_weights(loaded, path) == path
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_weights_are_looked_for_where_torch_hub_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = r"vgg19-dcbb9e9d\.pth"
    message = (
        rf"checkpoints/{file}, are not there: fetch it with: "
        rf"curl -fLO https://download\.pytorch\.org/models/{file} and give --vgg-weights {file}"
    )
    with pytest.raises(WeightsError, match=message):
        load_vgg19_weights(Vgg19())
    assert not list(tmp_path.iterdir())


def test_weights_with_a_wrong_checksum(tmp_path: Path) -> None:
    path = tmp_path / "vgg19-dcbb9e9d.pth"
    path.write_bytes(b"cut off")
    with pytest.raises(WeightsError, match=r"damaged or another file .*not dcbb9e9d.*curl -fLO"):
        load_vgg19_weights(Vgg19(), path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features.10.weight": None}, r"has no features\.10\.weight"),
        ({"features.34.bias": torch.zeros(3)}, r"has another shape of features\.34\.bias"),
        ("no dict", "it is not torchvision's VGG19"),
    ],
)
def test_weights_of_another_network(network: Vgg19, change: object, message: str) -> None:
    state: object = {**torchvision_state(network), **change} if isinstance(change, dict) else change
    with pytest.raises(WeightsError, match=message):
        vgg.fill_from_torchvision(Vgg19(), state, Path("weights.pth"))


def test_weights_are_read_without_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"features.0.weight": Path("/")}, path)
    monkeypatch.setattr(vgg, "CHECKSUM", file_hash(path)[:8])
    with pytest.raises(WeightsError, match="is not a state dict"):
        load_vgg19_weights(Vgg19(), path)

"""MobileNet with replaced depthwise kernels."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.lab.networks.mdconv import MDConv, merge_mdconvs  # noqa: E402
from gaussian_yolo_node.lab.networks.mobilenet import TABLES, MobileNet  # noqa: E402

LAYERS = {"mobilenet_v1": 13, "mobilenet_v2": 17}


def depthwise_layers(model: MobileNet) -> list[torch.nn.Module]:
    return [module for name, module in model.named_modules() if name.endswith("conv_dw")]


def kernels_of(layer: torch.nn.Module) -> tuple[int, ...]:
    return layer.kernels if isinstance(layer, MDConv) else (layer.kernel_size[0],)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("text", ["3", "5", "7", "9", "11", "3.5", "3.5.7.9.11", "3.5.7-exp", "11-dil", "3.5.7-dil"])
def test_the_whole_network_takes_other_kernels(name: str, text: str) -> None:
    torch.manual_seed(0)
    model = MobileNet(name, num_classes=10, kernels=text, width=0.25).eval()
    layers = depthwise_layers(model)
    assert len(layers) == LAYERS[name]
    sizes = tuple(int(size) for size in text.split("-")[0].split("."))
    assert {kernels_of(layer) for layer in layers} == {sizes}
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        logits = model(image)
        assert logits.shape == (1, 10)
        assert [x.shape[-1] for x in model.features(image)] == [8, 4, 2]
        merge_mdconvs(model)
        torch.testing.assert_close(model(image), logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", TABLES)
def test_one_layer_at_a_time(name: str) -> None:
    for number in range(LAYERS[name]):
        with torch.device("meta"):
            layers = depthwise_layers(MobileNet(name, kernels={number: "3.5.7"}))
        expected = [(3,)] * LAYERS[name]
        expected[number] = (3, 5, 7)
        assert [kernels_of(layer) for layer in layers] == expected


@pytest.mark.parametrize("name", TABLES)
def test_kernels_of_three_change_nothing(name: str) -> None:
    with torch.device("meta"):
        plain, replaced = MobileNet(name), MobileNet(name, kernels="3")
    assert {k: v.shape for k, v in plain.state_dict().items()} == {k: v.shape for k, v in replaced.state_dict().items()}


@pytest.mark.parametrize(
    ("kernels", "complaint"),
    [
        ("big", "'big'"),
        ({17: "5"}, "no depthwise layer 17: they are numbered 0 to 16"),
        ({-1: "5"}, "no depthwise layer -1"),
        ({2: "4"}, "odd and at least 3"),
    ],
)
def test_impossible_replacements_are_refused(kernels: str | dict[int, str], complaint: str) -> None:
    with pytest.raises(GaussianYoloError, match=complaint):
        MobileNet("mobilenet_v2", kernels=kernels)


@pytest.mark.parametrize(("width", "head"), [(0.5, 1280), (1.4, 1792)])
def test_v2s_head_grows_but_does_not_shrink(width: float, head: int) -> None:
    with torch.device("meta"):
        assert MobileNet("mobilenet_v2", 10, width=width).conv_head.out_channels == head


def test_an_unknown_mobilenet_is_refused() -> None:
    with pytest.raises(GaussianYoloError, match="mobilenet_v1, mobilenet_v2"):
        MobileNet("mobilenet_v9")

"""MDConv against a per-channel loop, its merged form, and the paper's formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed (extra 'test')")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.lab.complexity import Complexity, complexity  # noqa: E402
from gaussian_yolo_node.lab.networks.mdconv import (  # noqa: E402
    Kernels,
    MDConv,
    merge_mdconvs,
    partition_channels,
)


@st.composite
def layers(draw: st.DrawFn) -> tuple[MDConv, torch.Tensor]:
    """An MDConv and an input of any size, including sizes smaller than the kernels."""
    groups = draw(st.integers(1, 5))
    given_kernels = st.lists(st.sampled_from([3, 5, 7, 9, 11]), min_size=groups, max_size=groups)
    kernels = draw(st.one_of(st.just([3, 5, 7, 9, 11][:groups]), given_kernels))
    partition = draw(st.sampled_from(["equal", "exponential"]))
    channels = draw(st.integers(groups if partition == "equal" else 2 ** (groups - 1), 20))
    torch.manual_seed(draw(st.integers(0, 2**16)))
    layer = MDConv(
        channels,
        kernels,
        draw(st.sampled_from([1, 2])),
        partition=partition,
        dilated=draw(st.booleans()),
        padding=draw(st.sampled_from(["same", "symmetric"])),
    )
    return layer, torch.randn(draw(st.integers(1, 2)), channels, draw(st.integers(1, 14)), draw(st.integers(1, 14)))


def naive(layer: MDConv, x: np.ndarray) -> np.ndarray:
    """Every output pixel of every channel as the sum of its taps inside the image."""
    batch, channels, height, width = x.shape
    stride = layer.stride
    out = np.zeros((batch, channels, math.ceil(height / stride), math.ceil(width / stride)))
    filters = [(kernel, w) for kernel, conv in zip(layer.kernels, layer, strict=True) for w in conv.weight]
    for channel, (kernel, weight) in enumerate(filters):
        spacing = (kernel - 1) // (len(weight[0]) - 1)
        offsets = []
        for size in (height, width):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            offsets.append(total // 2 if layer.padding == "same" else kernel // 2)
        for row in range(out.shape[2]):
            for column in range(out.shape[3]):
                for i, line in enumerate(weight[0]):
                    for j, tap in enumerate(line):
                        y = row * stride - offsets[0] + i * spacing
                        z = column * stride - offsets[1] + j * spacing
                        if 0 <= y < height and 0 <= z < width:
                            out[:, channel, row, column] += float(tap) * x[:, channel, y, z]
    return out


# The loop is slow, hence few and small examples; the merged form gets many more.
@settings(max_examples=25, deadline=None)
@given(layers())
def test_equals_a_loop_over_channels_pixels_and_taps(case: tuple[MDConv, torch.Tensor]) -> None:
    layer, x = case
    x = x[:1, :, :8, :8]
    with torch.no_grad():
        np.testing.assert_allclose(layer(x).numpy(), naive(layer, x.numpy()), atol=1e-5)


@settings(max_examples=150, deadline=None)
@given(layers())
def test_merged_equals_unmerged(case: tuple[MDConv, torch.Tensor]) -> None:
    layer, x = case
    merged = layer.merge()
    assert merged.kernel_size == (max(layer.kernels),) * 2
    assert merged.groups == merged.in_channels == x.shape[1]
    with torch.no_grad():
        torch.testing.assert_close(merged(x), layer(x), atol=1e-5, rtol=0)


@settings(max_examples=50, deadline=None)
@given(layers())
def test_costs_equal_the_formulas(case: tuple[MDConv, torch.Tensor]) -> None:
    layer, x = case
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(x[:1])
    # PyTorch counts a multiply-add as two operations.
    assert 2 * complexity(layer, (x.shape[2], x.shape[3]), x.shape[1]).macs == counter.get_total_flops()


@pytest.mark.parametrize(
    ("text", "channels", "size", "parameters", "macs"),
    [
        ("3.5.7", 30, (8, 8), 10 * (9 + 25 + 49), 64 * 830),
        ("3.5", 5, (7, 9), 3 * 9 + 2 * 25, 63 * 77),
        ("3.5.7.9-exp", 32, (4, 4), 16 * 9 + 8 * 25 + 4 * 49 + 4 * 81, 16 * 864),
        ("3.5.7-dil", 30, (8, 8), 30 * 9, 64 * 270),
    ],
)
def test_costs_of_known_layers(text: str, channels: int, size: tuple[int, int], parameters: int, macs: int) -> None:
    layer = Kernels.parse(text).build(channels, 1, "symmetric")
    assert isinstance(layer, MDConv)
    assert complexity(layer, size, channels) == Complexity(parameters, macs)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 11])
@pytest.mark.parametrize("size", [(1, 1), (6, 9), (7, 8), (16, 16)])
def test_one_group_is_a_plain_depthwise_convolution(stride: int, kernel: int, size: tuple[int, int]) -> None:
    mixed = MDConv(6, [kernel], stride)
    plain = torch.nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6, bias=False)
    plain.load_state_dict({"weight": mixed.state_dict()["0.weight"]})
    x = torch.randn(2, 6, *size)
    assert torch.equal(mixed(x), plain(x))


@pytest.mark.parametrize(
    ("channels", "groups", "mode", "expected"),
    [
        (32, 4, "equal", (8, 8, 8, 8)),
        (32, 4, "exponential", (16, 8, 4, 4)),
        (32, 5, "equal", (8, 6, 6, 6, 6)),  # the first gets the remainder
        (33, 4, "exponential", (16, 8, 4, 5)),  # the last gets the rest
        (7, 1, "equal", (7,)),
        (7, 1, "exponential", (7,)),
        (3, 3, "equal", (1, 1, 1)),
        (4, 3, "exponential", (2, 1, 1)),
    ],
)
def test_partition(channels: int, groups: int, mode: str, expected: tuple[int, ...]) -> None:
    assert partition_channels(channels, groups, mode) == expected


@pytest.mark.parametrize(
    ("channels", "groups", "mode", "complaint"),
    [
        (2, 3, "equal", "2 channels are too few for 3 groups"),
        (3, 3, "exponential", "3 channels are too few"),
        (8, 0, "equal", "at least one group"),
        (8, 2, "linear", "unknown partition 'linear'"),
    ],
)
def test_impossible_partitions_are_refused(channels: int, groups: int, mode: str, complaint: str) -> None:
    with pytest.raises(GaussianYoloError, match=complaint):
        partition_channels(channels, groups, mode)


@pytest.mark.parametrize(
    ("kernels", "stride", "complaint"),
    [([3, 4], 1, "not 4"), ([1, 3], 1, "not 1"), ([-3], 1, "not -3"), ([3, 5], 3, "stride 3"), ([], 1, "one group")],
)
def test_impossible_layers_are_refused(kernels: list[int], stride: int, complaint: str) -> None:
    with pytest.raises(GaussianYoloError, match=complaint):
        MDConv(8, kernels, stride)


@pytest.mark.parametrize("text", ["", "3.", ".3", "3,5", "03", "3-dil-exp", "3.5-equal", "3x3", "three"])
def test_malformed_kernels_are_refused(text: str) -> None:
    with pytest.raises(GaussianYoloError, match="do not read like"):
        Kernels.parse(text)


@pytest.mark.parametrize("text", ["4", "1", "3.4"])
def test_kernels_without_a_centre_are_refused(text: str) -> None:
    with pytest.raises(GaussianYoloError, match="odd and at least 3"):
        Kernels.parse(text).build(8, 1, "same")


def test_merging_a_network_replaces_what_it_may() -> None:
    network = torch.nn.Sequential(
        MDConv(8, [3, 5], padding="same"), torch.nn.Sequential(MDConv(8, [3, 5, 7], 2), torch.nn.ReLU())
    ).eval()
    x = torch.randn(1, 8, 10, 12)
    before = network(x)
    assert merge_mdconvs(network, largest=5) is network
    assert [isinstance(module, MDConv) for module in (network[0], network[1][0])] == [False, True]
    merge_mdconvs(network)
    assert not any(isinstance(module, MDConv) for module in network.modules())
    torch.testing.assert_close(network(x), before, atol=1e-5, rtol=0)
    assert not network[1][0].training
    assert isinstance(merge_mdconvs(MDConv(4, [3, 5])), torch.nn.Conv2d)


def test_merging_keeps_the_number_format() -> None:
    assert MDConv(4, [3, 5]).double().merge().weight.dtype == torch.float64

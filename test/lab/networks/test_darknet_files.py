from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from darknet_factory import random_weights, small_cfg

from gaussian_yolo_node.lab.networks.darknet_cfg import parse_cfg, read_cfg
from gaussian_yolo_node.lab.networks.darknet_files import (
    ConvolutionWeights,
    Weights,
    WeightsError,
    read_partial_weights,
    read_weights,
    write_weights,
)
from gaussian_yolo_node.lab.networks.yolov3 import PRESETS, darknet53_cfg, yolov3_cfg

CFG = parse_cfg(small_cfg(), "small.cfg")
WHOLE = 20 + 4 * (
    (3 * 9 + 4) * 8  # layer 0: bias, norm and kernels of 8 filters
    + (4 * 25 + 1) * 8  # grouped, without batch norm
    + (8 + 4) * 8
    + (8 * 9 + 4) * 12
    + (12 * 9 + 4) * 16
    + (16 + 1) * 22  # a head
    + (28 + 1) * 22
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "some.weights"
    write_weights(path, random_weights(CFG))
    return path


def assert_same(ours: Weights, theirs: Weights) -> None:
    assert (ours.version, ours.seen, len(ours.convolutions)) == (theirs.version, theirs.seen, len(theirs.convolutions))
    for a, b in zip(ours.convolutions, theirs.convolutions, strict=True):
        np.testing.assert_array_equal(a.bias, b.bias)
        np.testing.assert_array_equal(a.kernels, b.kernels)
        assert (a.norm is None) == (b.norm is None)
        if a.norm is not None and b.norm is not None:
            np.testing.assert_array_equal(a.norm, b.norm)


@pytest.mark.parametrize(
    ("version", "seen", "header"),
    [
        ((0, 2, 0), 0, 20),  # the official code's
        ((0, 2, 5), 2**40 + 3, 20),  # more images than 4 bytes hold
        ((1, 0, 0), 7, 20),
        ((0, 1, 0), 2**31 - 1, 16),  # the older form
        ((0, 0, 9), 0, 16),
    ],
)
def test_both_headers_come_back(tmp_path: Path, version: tuple[int, int, int], seen: int, header: int) -> None:
    weights = replace(random_weights(CFG), version=version, seen=seen)
    write_weights(tmp_path / "a", weights)

    read = read_weights(tmp_path / "a", CFG)
    write_weights(tmp_path / "b", read)

    assert_same(read, weights)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").stat().st_size == header + WHOLE - 20


def test_values_lie_in_darknets_order(path: Path) -> None:
    values = np.frombuffer(path.read_bytes(), "<f4", offset=20)
    first = read_weights(path, CFG).convolutions[0]

    assert first.norm is not None
    parts = [first.bias, *first.norm, first.kernels.ravel()]  # bias, scale, mean, variance, kernels OIHW
    np.testing.assert_array_equal(np.concatenate(parts), values[: 8 * (4 + 27)])


def test_the_official_file_comes_back_bit_for_bit(golden_dir: Path, tmp_path: Path) -> None:
    folder = golden_dir / "darknet_tiny"

    write_weights(tmp_path / "out.weights", read_weights(folder / "tiny.weights", read_cfg(folder / "tiny.cfg")))

    assert (tmp_path / "out.weights").read_bytes() == (folder / "tiny.weights").read_bytes()


def test_every_bit_pattern_comes_back(tmp_path: Path) -> None:
    """Negative zero, subnormals and NaNs in the kernels."""
    weights = random_weights(CFG)
    odd = np.array([0x80000000, 1, 0x7FC01234, 0xFF800000, 0x7F800000], np.uint32).view(np.float32)
    weights.convolutions[1].kernels.ravel()[:5] = odd
    write_weights(tmp_path / "a", weights)

    write_weights(tmp_path / "b", read_weights(tmp_path / "a", CFG))

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("layers", [1, 3, 7])
def test_the_first_layers_alone_are_read(tmp_path: Path, layers: int) -> None:
    weights = random_weights(CFG, layers=layers)
    write_weights(tmp_path / "some.conv.3", weights)

    assert_same(read_partial_weights(tmp_path / "some.conv.3", CFG), weights)


# Bytes of a truncated file, and the messages.
SHORT = [
    (WHOLE - 1, "inside layer 11 ([convolutional] in line 71), which takes bytes 16,940 to 19,492"),
    (WHOLE - 4 * 29 * 22, "before layer 11 ([convolutional] in line 71)"),
    (20 + 4 * 31 * 8 + 4, "inside layer 1 ([convolutional] in line 15), which takes bytes 1,012 to 4,244"),
    (24, "inside layer 0 ([convolutional] in line 6), which takes bytes 20 to 1,012"),
    (20, "before layer 0 ([convolutional] in line 6), which takes bytes 20 to 1,012"),
]


@pytest.mark.parametrize(("size", "message"), SHORT, ids=[str(size) for size, _ in SHORT])
def test_a_short_file_is_named_with_layer_and_sizes(path: Path, size: int, message: str) -> None:
    path.write_bytes(path.read_bytes()[:size])

    with pytest.raises(WeightsError) as caught:
        read_weights(path, CFG)

    assert f"{path} holds {size:,} bytes where small.cfg needs {WHOLE:,}: it ends {message}" in str(caught.value)


@pytest.mark.parametrize("size", [20, 24, 1016, WHOLE - 1])
def test_a_part_that_ends_inside_a_layer_is_named(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])

    with pytest.raises(WeightsError, match=rf"holds {size:,} bytes and ends (inside|before) layer \d+ .* of small.cfg"):
        read_partial_weights(path, CFG)


@pytest.mark.parametrize("read", [read_weights, read_partial_weights])
@pytest.mark.parametrize("extra", [1, 4, 1000])
def test_a_long_file_is_named_with_layer_and_sizes(path: Path, read: object, extra: int) -> None:
    path.write_bytes(path.read_bytes() + bytes(extra))

    with pytest.raises(WeightsError) as caught:
        read(path, CFG)  # type: ignore[operator]

    assert f"holds {WHOLE + extra:,} bytes where small.cfg needs {WHOLE:,}: {extra:,} are left after layer 11" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds 0 bytes"),
        (bytes(19), "holds 19 bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(WHOLE), "does not begin with a Darknet version"),
        (b"PK\x03\x04" + bytes(WHOLE), "does not begin with a Darknet version"),
        (b"\x08\x08\x12\x07pytorch" + bytes(WHOLE), "does not begin with a Darknet version"),  # ONNX
        (struct.pack("<iii", 1001, 0, 0) + bytes(WHOLE - 12), "reads 1001.0.0"),  # Darknet's transposed form
        (struct.pack("<iii", -1, 2, 0) + bytes(WHOLE - 12), "reads -1.2.0"),
    ],
    ids=["empty", "header cut", "png", "zip", "onnx", "transposed", "negative"],
)
def test_a_foreign_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "some.weights").write_bytes(data)

    with pytest.raises(WeightsError, match=message):
        read_weights(tmp_path / "some.weights", CFG)


@pytest.mark.parametrize("wrong", [-1e-3, np.nan])
def test_a_file_of_the_right_size_for_another_network_is_refused(tmp_path: Path, wrong: float) -> None:
    weights = random_weights(CFG)
    third = weights.convolutions[2]
    assert third.norm is not None
    third.norm[2, 4] = wrong
    write_weights(tmp_path / "some.weights", weights)

    with pytest.raises(WeightsError, match=r"the running variances of layer 2 \(\[convolutional\] in line 23\)"):
        read_weights(tmp_path / "some.weights", CFG)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"missing\.weights cannot be read"):
        read_weights(tmp_path / "missing.weights", CFG)


@pytest.mark.parametrize(
    ("text", "layers", "size"),
    [
        (yolov3_cfg(10, PRESETS["bdd"].anchors), 75, 246_585_408),  # the published file
        (darknet53_cfg(), 52, 162_482_580),  # darknet53.conv.74
    ],
    ids=["bdd", "darknet53"],
)
def test_the_official_files_have_their_sizes(text: str, layers: int, size: int) -> None:
    convolutions = parse_cfg(text, "official").convolutions

    values = sum(
        layer.shape[0] * (layer.in_channels * layer.kernel**2 + (4 if layer.batch_normalize else 1))
        for layer in convolutions
    )
    assert (len(convolutions), 20 + 4 * values) == (layers, size)


def test_arrays_need_not_be_contiguous(tmp_path: Path) -> None:
    kernels = np.asfortranarray(random_weights(CFG).convolutions[0].kernels)
    first = random_weights(CFG).convolutions[0]
    write_weights(tmp_path / "a", Weights((first,)))
    write_weights(tmp_path / "b", Weights((ConvolutionWeights(first.bias, first.norm, kernels),)))

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

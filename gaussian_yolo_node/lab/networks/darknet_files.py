"""Read and write Darknet's files, `.cfg` (see `darknet_cfg`) and `.weights`, bit for bit.

A `.weights` file starts with int32 major, minor, revision and the number of images seen (8 bytes from version 0.2 on, 4
before). Each convolution follows with bias, scale, running mean and variance (the last three only with batch norm), and
kernels OIHW, all little-endian float32. The file does not identify its network; only the sizes can be checked.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import whole_file
from gaussian_yolo_node.lab.networks.darknet_cfg import Cfg, Convolutional

Floats = NDArray[np.float32]
_VERSION = struct.Struct("<iii")
_VERSION_LIMIT = 1000  # from this number on Darknet assumes another layout


class WeightsError(GaussianYoloError):
    """A `.weights` file cannot be read or does not match the network."""


@dataclass(frozen=True, eq=False)
class ConvolutionWeights:
    """Weights of one convolution with O filters.

    Attributes:
        bias: float32 [O]; added after the batch norm, if there is one.
        norm: float32 [3, O], scale, running mean and running variance; None without batch norm.
        kernels: float32 [O, I/groups, K, K].
    """

    bias: Floats
    norm: Floats | None
    kernels: Floats


@dataclass(frozen=True, eq=False)
class Weights:
    """A `.weights` file.

    Attributes:
        version: major, minor, revision.
        seen: number of training images seen.
        convolutions: in network order; a partial file has only the first ones.
    """

    convolutions: tuple[ConvolutionWeights, ...]
    version: tuple[int, int, int] = (0, 2, 0)
    seen: int = 0


def read_weights(path: Path, cfg: Cfg) -> Weights:
    """Read the weights of a whole network.

    Raises:
        WeightsError: the file is unreadable, is not a `.weights` file, or is too short or too long for the network; the
            message names the layer and both sizes.
    """
    file = _File.read(path)
    count, end = _whole_layers(file, cfg)
    if count < len(cfg.convolutions):
        needed = file.begin + sum(map(_bytes, cfg.convolutions))
        raise WeightsError(
            f"{path} holds {len(file.data):,} bytes where {cfg.source} needs {needed:,}: it ends "
            f"{_cut(file, cfg.convolutions[count], end)}; give the weights of this network"
        )
    return _weights(file, cfg, count)


def read_partial_weights(path: Path, cfg: Cfg) -> Weights:
    """Read the weights of a network's first layers (such as `darknet53.conv.74`) or of the whole network.

    Raises:
        WeightsError: see `read_weights`, but the file may end after any convolution.
    """
    file = _File.read(path)
    count, end = _whole_layers(file, cfg)
    if count < len(cfg.convolutions) and (end < len(file.data) or not count):
        raise WeightsError(
            f"{path} holds {len(file.data):,} bytes and ends {_cut(file, cfg.convolutions[count], end)} of "
            f"{cfg.source}; give whole layers of this network"
        )
    return _weights(file, cfg, count)


def write_weights(path: Path, weights: Weights) -> None:
    """Write a file that `read_weights` reads back bit for bit. Raises WriteError on failure."""
    with whole_file(path) as part, part.open("wb") as file:
        file.write(_VERSION.pack(*weights.version))
        file.write(struct.pack("<q" if _seen_bytes(weights.version) == 8 else "<i", weights.seen))
        for convolution in weights.convolutions:
            for values in (convolution.bias, convolution.norm, convolution.kernels):
                if values is not None:
                    file.write(values.astype("<f4", copy=False).tobytes())


@dataclass(frozen=True)
class _File:
    """A file's bytes and header; the values begin at byte `begin`."""

    path: Path
    data: bytes
    version: tuple[int, int, int]
    seen: int
    begin: int

    @classmethod
    def read(cls, path: Path) -> _File:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
        if len(data) < _VERSION.size + 8:
            raise WeightsError(f"{path} holds {len(data)} bytes, no more than a .weights file's header; copy it again")
        major, minor, revision = version = _VERSION.unpack_from(data)
        if not all(0 <= number < _VERSION_LIMIT for number in version):
            raise WeightsError(
                f"{path} does not begin with a Darknet version (it reads {major}.{minor}.{revision}), so it is no "
                ".weights file; give the one that belongs to the cfg"
            )
        begin = _VERSION.size + _seen_bytes((major, minor, revision))
        seen = int.from_bytes(data[_VERSION.size : begin], "little", signed=True)
        return cls(path, data, (major, minor, revision), seen, begin)


def _whole_layers(file: _File, cfg: Cfg) -> tuple[int, int]:
    """The number of complete convolutions in the file, and the end offset of the last one."""
    end = file.begin
    for count, layer in enumerate(cfg.convolutions):
        if end + _bytes(layer) > len(file.data):
            return count, end
        end += _bytes(layer)
    if end < len(file.data):
        raise WeightsError(
            f"{file.path} holds {len(file.data):,} bytes where {cfg.source} needs {end:,}: {len(file.data) - end:,} "
            f"are left after {_name(cfg.convolutions[-1])}, the last with weights; give the weights of this network"
        )
    return len(cfg.convolutions), end


def _cut(file: _File, layer: Convolutional, begin: int) -> str:
    where = "before" if begin == len(file.data) else "inside"
    return f"{where} {_name(layer)}, which takes bytes {begin:,} to {begin + _bytes(layer):,}"


def _weights(file: _File, cfg: Cfg, count: int) -> Weights:
    """The first `count` convolutions."""
    convolutions = []
    at = file.begin
    for layer in cfg.convolutions[:count]:
        values = np.frombuffer(file.data, "<f4", _bytes(layer) // 4, at).astype(np.float32, copy=False)
        convolutions.append(_convolution(values, layer, file.path, cfg))
        at += _bytes(layer)
    return Weights(tuple(convolutions), file.version, file.seen)


def _convolution(values: Floats, layer: Convolutional, path: Path, cfg: Cfg) -> ConvolutionWeights:
    filters = layer.shape[0]
    norm = None
    kernels = values[filters:]
    if layer.batch_normalize:
        norm, kernels = kernels[: 3 * filters].reshape(3, filters), kernels[3 * filters :]
        # Negative variances reveal a file for another network of the same size.
        if not (norm[2] >= 0).all():
            raise WeightsError(
                f"{path} is not for {cfg.source}: the running variances of {_name(layer)} would not all be at "
                "least 0; give the weights of this network"
            )
    shape = (filters, layer.in_channels // layer.groups, layer.kernel, layer.kernel)
    return ConvolutionWeights(values[:filters], norm, kernels.reshape(shape))


def _seen_bytes(version: tuple[int, int, int]) -> int:
    return 8 if version[0] * 10 + version[1] >= 2 else 4


def _bytes(layer: Convolutional) -> int:
    per_filter = layer.in_channels // layer.groups * layer.kernel**2 + (4 if layer.batch_normalize else 1)
    return 4 * layer.shape[0] * per_filter


def _name(layer: Convolutional) -> str:
    return f"layer {layer.index} ([convolutional] in line {layer.line})"

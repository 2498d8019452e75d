"""Seeded random weights for Darknet networks, scaled to keep every map finite."""

from __future__ import annotations

import numpy as np

from gaussian_yolo_node.lab.networks.darknet_cfg import Cfg
from gaussian_yolo_node.lab.networks.darknet_files import ConvolutionWeights, Weights

# A small network with all supported sections; heads at strides 32 and 16.
HEAD = """
[convolutional]
size=1
stride=1
filters={filters}
activation=linear

[{kind}]
mask={mask}
anchors=10,13, 16,30, 33,23, 30,61
classes=2
num=4
"""
BODY = """[net]
width=96
height=64
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=4
pad=1
activation=leaky

# one without batch norm, grouped
[convolutional]
filters=8
size=5
stride=2
padding=2
groups=2
activation=relu

[convolutional]
batch_normalize=1
filters=8
size=1
activation=logistic

[shortcut]
from=-2
activation=leaky

[convolutional]
batch_normalize=1
filters=12
size=3
stride=2
pad=1
activation=leaky

[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=leaky
"""
NECK = """
[route]
layers=-3

[upsample]
stride=2
scale=.5

[route]
layers=-1, 4
"""


def small_cfg(kind: str = "Gaussian_yolo") -> str:
    """The text of a small network with heads of 2 anchors and 2 classes."""
    filters = 2 * ((9 if kind == "Gaussian_yolo" else 5) + 2)
    heads = [HEAD.format(kind=kind, mask=mask, filters=filters) for mask in ("2,3", "0,1")]
    return BODY + heads[0] + NECK + heads[1]


def random_weights(cfg: Cfg, seed: int = 0, layers: int | None = None) -> Weights:
    """Weights of all convolutions, or of the first few."""
    rng = np.random.default_rng(seed)
    convolutions = []
    for layer in cfg.convolutions[:layers]:
        filters = layer.shape[0]
        inputs = layer.in_channels // layer.groups
        kernels = rng.standard_normal((filters, inputs, layer.kernel, layer.kernel), np.float32)
        kernels /= np.float32(np.sqrt(inputs * layer.kernel**2))
        norm = None
        if layer.batch_normalize:
            norm = np.stack(
                [
                    rng.uniform(0.8, 1.2, filters),
                    rng.normal(0, 0.05, filters),
                    rng.uniform(0.5, 1.5, filters),
                ]
            ).astype(np.float32)
        convolutions.append(ConvolutionWeights(rng.normal(0, 0.05, filters).astype(np.float32), norm, kernels))
    return Weights(tuple(convolutions), (0, 2, 5), seen=32_013_312)

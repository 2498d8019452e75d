"""Torch networks: backbones, necks, Gaussian heads, Darknet's files. Needs the `train` extra."""

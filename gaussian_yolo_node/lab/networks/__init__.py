"""Torch modules that become model files: backbones, necks, Gaussian heads, Darknet's files. Needs the `train` extra."""

"""Torch modules that become model files: backbones, neck, Gaussian heads, ONNX export. Needs the `train` extra."""

"""Engines of TensorRT: a model becomes one file that a GPU runs from the canvas to finished detections."""

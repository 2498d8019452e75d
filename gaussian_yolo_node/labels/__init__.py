"""Labels and predictions in the common formats of driving datasets, for training, evaluation and bags."""

from gaussian_yolo_node.labels.annotations import IGNORE, DatasetError, LabelledImage
from gaussian_yolo_node.labels.images import image_files, image_size, read_image
from gaussian_yolo_node.labels.sources import load_sources

__all__ = ["IGNORE", "DatasetError", "LabelledImage", "image_files", "image_size", "load_sources", "read_image"]

"""Labels and predictions in the common formats of driving datasets, for training, evaluation and bags."""

from gaussian_yolo_node.labels.annotations import IGNORE, DatasetError, LabelledImage
from gaussian_yolo_node.labels.images import image_files, image_size, read_image
from gaussian_yolo_node.labels.kitti import load_kitti, read_kitti_label
from gaussian_yolo_node.labels.sources import load_sources
from gaussian_yolo_node.labels.yolo import load_coco_txt

__all__ = [
    "IGNORE",
    "DatasetError",
    "LabelledImage",
    "image_files",
    "image_size",
    "load_coco_txt",
    "load_kitti",
    "load_sources",
    "read_image",
    "read_kitti_label",
]

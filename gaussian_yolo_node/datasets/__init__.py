"""Labelled images for training, in the formats that driving data come in."""

from gaussian_yolo_node.datasets.annotations import IGNORE, DatasetError, LabelledImage
from gaussian_yolo_node.datasets.images import image_files, image_size, read_image
from gaussian_yolo_node.datasets.kitti import load_kitti, read_kitti_label
from gaussian_yolo_node.datasets.sources import load_sources
from gaussian_yolo_node.datasets.yolo import load_coco_txt

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

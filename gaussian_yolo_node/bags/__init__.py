"""Read, write and inspect ROS bags without ROS; damaged bags are read as far as possible."""

from pathlib import Path

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.file_names import files_in

IMAGE_TOPIC = "/camera/image_raw"
CAMERA_INFO_TOPIC = "/camera/camera_info"
# vision_msgs/Detection2DArray with the stamp of its image; class_id is the dataset's category, the score is 1.
TRUTH_TOPIC = "/ground_truth"
# std_msgs/String, one JSON document per frame: the data without a field in Detection2DArray; see
# `frame_info.FrameInfo`.
INFO_TOPIC = "/ground_truth/info"

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
DETECTIONS = "vision_msgs/msg/Detection2DArray"
PLACES = "vision_msgs/msg/Detection3DArray"
STRING = "std_msgs/msg/String"


class BagError(GaussianYoloError):
    """A bag cannot be read or written; the message names the file and the remedy."""


# Suffixes of bag files.
SUFFIXES = (".mcap", ".db3", ".bag", ".bag.active", ".mcap.zstd", ".db3.zstd")


def is_bag(path: Path) -> bool:
    """Whether a path is a bag: a bag file, or a folder written by `ros2 bag record`."""
    if path.is_dir():
        try:
            return bool(files_in(path, SUFFIXES))
        except OSError:
            return False
    return path.name.endswith(SUFFIXES)

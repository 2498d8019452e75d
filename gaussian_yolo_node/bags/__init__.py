"""ROS bags without ROS: reading, also damaged ones; writing; what is in one."""

from pathlib import Path

from gaussian_yolo_node.errors import GaussianYoloError

IMAGE_TOPIC = "/camera/image_raw"
CAMERA_INFO_TOPIC = "/camera/camera_info"
# vision_msgs/Detection2DArray with the stamp of its image; class_id is the data set's category, the score is 1.
TRUTH_TOPIC = "/ground_truth"
# std_msgs/String, JSON, of every frame: what a Detection2DArray has no field for; see `frame_info.FrameInfo`.
INFO_TOPIC = "/ground_truth/info"

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
DETECTIONS = "vision_msgs/msg/Detection2DArray"
STRING = "std_msgs/msg/String"


class BagError(GaussianYoloError):
    """A bag cannot be read or written; names the file and the mend."""


# What bag files end in.
SUFFIXES = (".mcap", ".db3", ".bag", ".bag.active", ".mcap.zstd", ".db3.zstd")


def is_bag(path: Path) -> bool:
    """Whether a path names a bag: a file, or the folder that `ros2 bag record` makes."""
    if path.is_dir():
        try:
            return any(child.name.endswith(SUFFIXES) for child in path.iterdir())
        except OSError:
            return False
    return path.name.endswith(SUFFIXES)

"""The camera's calibration: from the file that a URL names, and as sensor_msgs/CameraInfo."""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.frames.camera_calibration import Calibration, read_calibration_yaml
from gaussian_yolo_node.frames.rectification import scaled
from gaussian_yolo_node.ros.parameter_table import ParameterError


def load_calibration(url: str) -> Calibration:
    """The calibration in a YAML file of ROS's camera_calibration.

    Args:
        url: a path, file:///PATH, or package://PACKAGE/PATH below the package's share folder.

    Raises:
        ParameterError: there is no such package or file, or it is not of camera_calibration.
    """
    scheme, separator, rest = url.partition("://")
    try:
        if not separator:
            return read_calibration_yaml(Path(url))
        if scheme == "file":
            return read_calibration_yaml(Path(rest))
        if scheme == "package":
            package, _, below = rest.partition("/")
            return read_calibration_yaml(Path(get_package_share_directory(package)) / below)
    except (BagError, PackageNotFoundError, ValueError) as error:
        raise ParameterError(f"parameter 'camera_info_url' is {url}: {error}") from error
    raise ParameterError(f"parameter 'camera_info_url' is {url}: give a path, file:///PATH or package://PACKAGE/PATH")


def camera_info_message(calibration: Calibration, size: tuple[int, int], header: Header) -> CameraInfo:
    """The camera for a frame of (height, width) px.

    Raises:
        CalibrationError: the frame does not fit the calibration.
    """
    fitting = scaled(calibration, size)
    return CameraInfo(
        header=header,
        height=size[0],
        width=size[1],
        distortion_model=fitting.distortion_model,
        d=fitting.distortion.tolist(),
        k=fitting.camera_matrix.ravel().tolist(),
        r=fitting.rectification.ravel().tolist(),
        p=fitting.projection.ravel().tolist(),
    )

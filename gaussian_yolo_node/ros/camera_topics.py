"""What other topics of the camera say: its matrix, and depth images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image

from gaussian_yolo_node.position import Camera, CameraPose, PositionError
from gaussian_yolo_node.ros.messages import stamp_seconds
from gaussian_yolo_node.ros.parameter_table import COMPRESSED_SUFFIX, PerceptionParameters

DepthImage = NDArray[np.uint16] | NDArray[np.float32]

# Models of sensor_msgs/distortion_models.hpp whose coefficients are OpenCV's, and how many of them there may be.
_OPENCV_MODELS = ("", "plumb_bob", "rational_polynomial")
_OPENCV_COUNTS = (4, 5, 8, 12, 14)
_DEPTH_TYPES: dict[str, Any] = {"16UC1": np.uint16, "32FC1": np.float32}
_KEPT = 10  # depth images; their frame may take a while to be detected
_USUAL_PERIOD_S = 0.1  # of depth images, as long as there is only one


@dataclass(frozen=True)
class Calibration:
    """A camera's matrix.

    Attributes:
        matrix: its nine numbers by rows, px.
        distortion: coefficients of OpenCV's model; empty for a rectified image.
        size: (height, width) in px of the image that the numbers hold for.
    """

    matrix: tuple[float, ...]
    distortion: tuple[float, ...]
    size: tuple[int, int]

    @classmethod
    def of(cls, info: CameraInfo, rectified: bool) -> Calibration:
        """The calibration in a message: K and D, or of a rectified image the first three columns of P.

        Raises:
            PositionError: it has no size or a distortion model that OpenCV's functions do not take.
        """
        height, width, left, top = int(info.height), int(info.width), 0, 0
        if info.roi.height and info.roi.width:  # the image is a part of the sensor's
            height, width, left, top = (
                int(number) for number in (info.roi.height, info.roi.width, info.roi.x_offset, info.roi.y_offset)
            )
        if not height or not width:
            raise PositionError("the CameraInfo has no width and height: calibrate the camera")
        matrix = np.reshape(info.p, (3, 4))[:, :3] if rectified else np.reshape(info.k, (3, 3))
        distortion = () if rectified or not any(info.d) else tuple(map(float, info.d))
        if distortion and not (info.distortion_model in _OPENCV_MODELS and len(distortion) in _OPENCV_COUNTS):
            raise PositionError(
                f"OpenCV does not take the camera's distortion model '{info.distortion_model}' with {len(distortion)} "
                "coefficients: rectify the images, and set image_topic to them"
            )
        shifted = matrix - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
        return cls(tuple(shifted.ravel().tolist()), distortion, (height, width))

    def camera(self, frame_size: tuple[int, int], pose: CameraPose) -> Camera:
        """The camera for frames (height, width) in px, which may be scaled.

        Raises:
            PositionError: the matrix cannot be inverted.
        """
        scale = np.array([[frame_size[1] / self.size[1]], [frame_size[0] / self.size[0]], [1.0]])
        distortion = np.array(self.distortion) if self.distortion else None
        return Camera(np.reshape(self.matrix, (3, 3)) * scale, frame_size, pose, distortion)


class CameraTopics:
    """Subscriptions to the camera's matrix and to depth images.

    Attributes:
        calibration: the camera's; None until it is known.
        notice: why there is no matrix or no depth image; empty if nothing is wrong.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.calibration: Calibration | None = None
        self._source = "", False  # topic of the calibration, and whether its P counts
        self._trouble = ""
        self._info: Subscription | None = None
        self._depth: Subscription | None = None
        self._images: tuple[tuple[float, DepthImage], ...] = ()
        self._unmatched = False
        self._depth_trouble = ""

    def follow(self, values: PerceptionParameters) -> None:
        """Subscribe to the topics of the parameters; those that were subscribed to before stay."""
        info = values.camera_info_topic or self._usual_info_topic(values)
        source = self._node.resolve_topic_name(info), values.image_is_rectified
        if source != self._source:
            self._source, self.calibration, self._trouble = source, None, ""
        self._info = self._subscribed(self._info, CameraInfo, info, self._receive_info)
        self._depth = self._subscribed(self._depth, Image, values.depth_topic, self._receive_depth)

    def close(self) -> None:
        """End the subscriptions; the calibration stays."""
        self._info = self._subscribed(self._info, CameraInfo, "", self._receive_info)
        self._depth = self._subscribed(self._depth, Image, "", self._receive_depth)

    @property
    def notice(self) -> str:
        if self._trouble:
            return f"no positions: {self._trouble}"
        if self.calibration is None:
            return f"positions wait for the camera's matrix on {self._source[0]} (parameter camera_info_topic)"
        if self._depth is not None and (self._unmatched or not self._images):
            reason = self._depth_trouble or f"no depth image on {self._depth.topic_name} is of the time of the frames"
            return f"{reason}; positions do without"
        return ""

    def depth_at(self, stamp_s: float) -> DepthImage | None:
        """The depth image nearest to a stamp, within half the period of such images; None if there is none."""
        images = self._images
        if not images:
            return None
        stamps = np.array([stamp for stamp, _ in images])
        steps = np.diff(stamps)
        steps = steps[steps > 0]
        period = float(np.median(steps)) if len(steps) else _USUAL_PERIOD_S
        nearest = int(np.abs(stamps - stamp_s).argmin())
        # Stamps are float64 seconds since 1970, which have steps of 0.2 us.
        self._unmatched = bool(abs(stamps[nearest] - stamp_s) > period / 2 + 1e-6)
        return None if self._unmatched else images[nearest][1]

    def _receive_info(self, message: CameraInfo) -> None:
        """Take over a camera's matrix."""
        try:
            self.calibration, self._trouble = Calibration.of(message, rectified=self._source[1]), ""
        except PositionError as error:
            self.calibration, self._trouble = None, str(error)

    def _receive_depth(self, message: Image) -> None:
        try:
            image, self._depth_trouble = depth_from_message(message), ""
        except PositionError as error:
            self._images, self._depth_trouble = (), str(error)
            return
        # A new tuple each time: the worker reads it meanwhile.
        self._images = (*self._images[1 - _KEPT :], (stamp_seconds(message.header), image))

    def _usual_info_topic(self, values: PerceptionParameters) -> str:
        """Beside the images, as image_transport has it; of a source, beside the node's own topics."""
        if not values.image_topic:
            return "~/camera_info"
        images = self._node.resolve_topic_name(values.image_topic).removesuffix(COMPRESSED_SUFFIX)
        return f"{images.rpartition('/')[0]}/camera_info"

    def _subscribed(self, old: Subscription | None, kind: type, topic: str, receive: Any) -> Subscription | None:
        """A subscription to the topic instead of the old one, or the old one if it is that; None without a topic."""
        if old is not None:
            if topic and old.topic_name == self._node.resolve_topic_name(topic):
                return old
            self._node.destroy_subscription(old)
        if kind is Image:
            self._images, self._unmatched, self._depth_trouble = (), False, ""
        if not topic:
            return None
        qos = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        return self._node.create_subscription(kind, topic, receive, qos)


def depth_from_message(message: Image) -> DepthImage:
    """The values of a depth image: 16UC1 in mm as uint16, 32FC1 in m as float32, [height, width] (REP 118).

    Raises:
        PositionError: another encoding, or its fields contradict each other.
    """
    if message.encoding not in _DEPTH_TYPES:
        raise PositionError(f"the depth image's encoding is '{message.encoding}': publish 16UC1 in mm or 32FC1 in m")
    native = np.dtype(_DEPTH_TYPES[message.encoding])
    height, width, step = int(message.height), int(message.width), int(message.step)
    if not height or not width or step < width * native.itemsize or len(message.data) != height * step:
        raise PositionError(
            f"the depth image is {width}x{height} px with step {step} and {len(message.data)} bytes, which contradict "
            "each other"
        )
    stored = native.newbyteorder(">" if message.is_bigendian else "<")
    values: NDArray[Any] = np.ndarray((height, width), stored, message.data, strides=(step, native.itemsize))
    return values.astype(native, copy=False)

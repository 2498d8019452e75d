"""Pixels of image messages read by rclpy or rosbags."""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags.image_header import is_cut_jpeg
from gaussian_yolo_node.errors import GaussianYoloError

# encoding -> (channels, OpenCV conversion to BGR)
_ENCODINGS: dict[str, tuple[int, int | None]] = {
    "bgr8": (3, None),
    "rgb8": (3, cv2.COLOR_RGB2BGR),
    "mono8": (1, cv2.COLOR_GRAY2BGR),
    "bgra8": (4, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, cv2.COLOR_RGBA2BGR),
}


class RawImage(Protocol):
    """A sensor_msgs/Image; `data` is a buffer of bytes."""

    height: Any
    width: Any
    encoding: Any
    step: Any
    data: Any


class CompressedPicture(Protocol):
    """A sensor_msgs/CompressedImage; `data` is a buffer of bytes."""

    format: Any
    data: Any


class ImageMessageError(GaussianYoloError):
    """An image message cannot be read as an 8-bit picture."""


def image_from_message(message: RawImage) -> NDArray[np.uint8]:
    """The image in a raw image message.

    A bgr8 message is not copied: the array is a view of `message.data`, rows `message.step` bytes apart.

    Returns:
        uint8 [height, width, 3], BGR.

    Raises:
        ImageMessageError: the encoding is not one of bgr8, rgb8, mono8, bgra8, rgba8, or width, height, step
            and the length of the data contradict each other.
    """
    encoding = str(message.encoding)
    if encoding not in _ENCODINGS:
        raise ImageMessageError(f"image encoding '{encoding}' is not supported: publish one of {', '.join(_ENCODINGS)}")
    channels, conversion = _ENCODINGS[encoding]
    height, width, step = int(message.height), int(message.width), int(message.step)
    if height < 1 or width < 1:
        raise ImageMessageError(f"image is {width}x{height} px: the publisher must fill width and height")
    if step < width * channels:
        raise ImageMessageError(
            f"image step is {step} bytes, but {width} px of {encoding} take {width * channels}: "
            "the publisher must set step to the bytes from one row to the next"
        )
    if len(message.data) != height * step:
        raise ImageMessageError(
            f"image data is {len(message.data)} bytes long, but {height} rows of step {step} take "
            f"{height * step}: the publisher must fill all rows"
        )
    if channels == 1:
        pixels = np.ndarray((height, width), np.uint8, message.data, strides=(step, 1))
    else:
        pixels = np.ndarray((height, width, channels), np.uint8, message.data, strides=(step, channels, 1))
    return pixels if conversion is None else _to_bgr(pixels, conversion)


def image_from_compressed(message: CompressedPicture) -> NDArray[np.uint8]:
    """The image in a compressed image message (JPEG, PNG, or any other format that OpenCV decodes).

    Returns:
        uint8 [height, width, 3], BGR.

    Raises:
        ImageMessageError: depth compression, truncated JPEG data, or data that is not an image.
    """
    layout = str(message.format)
    data = np.frombuffer(message.data, np.uint8)
    if "compressedDepth" in layout:
        raise ImageMessageError(f"compressed image format '{layout}' is a depth image: publish a colour image")
    if is_cut_jpeg(data.tobytes()):
        raise ImageMessageError(
            f"compressed image of {len(data)} bytes is a JPEG without its end: publish the whole file"
        )
    # The header's frame_id is that of the sensor, so an Exif rotation must not be applied.
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if len(data) else None
    except cv2.error:  # a header that declares more pixels than OpenCV allocates
        image = None
    if image is None:
        raise ImageMessageError(
            f"compressed image of {len(data)} bytes, format '{layout}', cannot be read: publish JPEG or PNG"
        )
    return np.asarray(image, np.uint8)


def _to_bgr(pixels: NDArray[np.uint8], conversion: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)

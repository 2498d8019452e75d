"""Pixels of image messages read by rclpy or rosbags."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags.image_header import is_cut_jpeg, is_video
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.frames.decoding import MAX_MEGAPIXELS, PictureError, check_header, check_pixels, decode_checked


@dataclass(frozen=True)
class _Encoding:
    """How the pixels of a raw image lie in its data.

    Attributes:
        channels: samples per px in a row.
        conversion: OpenCV's conversion of 8-bit samples to BGR; None if they are BGR.
        sample_bytes: 1, or 2 for 16-bit samples, which are scaled to 8 bit.
        block: columns and rows of px that share a colour; width and height must be multiples.
        chroma_below: whether half as many rows of chroma follow those of luma.
    """

    channels: int
    conversion: int | None
    sample_bytes: int = 1
    block: tuple[int, int] = (1, 1)
    chroma_below: bool = False


# The names of sensor_msgs/image_encodings.hpp, and nv12, which Isaac publishes. Each 16-bit encoding has an 8-bit one.
# OpenCV names a Bayer pattern after the second row and column, ROS after the first.
_ENCODINGS: dict[str, _Encoding] = {
    "bgr8": _Encoding(3, None),
    "rgb8": _Encoding(3, cv2.COLOR_RGB2BGR),
    "mono8": _Encoding(1, cv2.COLOR_GRAY2BGR),
    "bgra8": _Encoding(4, cv2.COLOR_BGRA2BGR),
    "rgba8": _Encoding(4, cv2.COLOR_RGBA2BGR),
    "8UC1": _Encoding(1, cv2.COLOR_GRAY2BGR),
    "8UC3": _Encoding(3, None),
    "yuv422_yuy2": _Encoding(2, cv2.COLOR_YUV2BGR_YUY2, block=(2, 1)),
    "yuyv": _Encoding(2, cv2.COLOR_YUV2BGR_YUY2, block=(2, 1)),
    "uyvy": _Encoding(2, cv2.COLOR_YUV2BGR_UYVY, block=(2, 1)),
    "yuv422": _Encoding(2, cv2.COLOR_YUV2BGR_UYVY, block=(2, 1)),
    "nv12": _Encoding(1, cv2.COLOR_YUV2BGR_NV12, block=(2, 2), chroma_below=True),
    "nv21": _Encoding(1, cv2.COLOR_YUV2BGR_NV21, block=(2, 2), chroma_below=True),
    "bayer_rggb8": _Encoding(1, cv2.COLOR_BayerBG2BGR),
    "bayer_bggr8": _Encoding(1, cv2.COLOR_BayerRG2BGR),
    "bayer_gbrg8": _Encoding(1, cv2.COLOR_BayerGR2BGR),
    "bayer_grbg8": _Encoding(1, cv2.COLOR_BayerGB2BGR),
}
_ENCODINGS |= {
    f"{name[:-1]}16": replace(encoding, sample_bytes=2) for name, encoding in _ENCODINGS.items() if name.endswith("8")
}

# Encodings of raw image messages that can be read.
ENCODINGS: tuple[str, ...] = tuple(_ENCODINGS)
# What is wrong with a message that holds H.264 or the like.
VIDEO_MESSAGE = "compressed image is a part of a video, not a picture: publish or record JPEG or PNG"


class ImageMessageError(GaussianYoloError):
    """An image message cannot be read as an 8-bit picture."""


def image_from_message(message: Any, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """The image in a sensor_msgs/Image.

    A bgr8 message is not copied: the array is a view of `message.data`, rows `message.step` bytes apart. Of 16-bit
    samples the high byte is taken, so 65535 becomes 255. YUV is that of BT.601, 16 to 235. In nv12 and nv21, the rows
    of chroma follow those of luma with the same step.

    Returns:
        uint8 [height, width, 3], BGR.

    Raises:
        ImageMessageError: the encoding is not one of `ENCODINGS`, the image is too large, or width, height, step and
            the length of the data contradict each other.
    """
    name = str(message.encoding)
    if name not in _ENCODINGS:
        raise ImageMessageError(f"image encoding '{name}' is not supported: publish one of {', '.join(ENCODINGS)}")
    encoding = _ENCODINGS[name]
    height, width, step = int(message.height), int(message.width), int(message.step)
    if height < 1 or width < 1:
        raise ImageMessageError(f"image is {width}x{height} px: the publisher must fill width and height")
    try:
        check_pixels(width * height, max_megapixels)
    except PictureError as error:
        raise ImageMessageError(f"image is too large: {error}") from error
    across, down = encoding.block
    if width % across or height % down:
        raise ImageMessageError(
            f"image is {width}x{height} px, but in {name} {across}x{down} px share a colour: "
            "the publisher must send whole blocks"
        )
    pixel_bytes = encoding.channels * encoding.sample_bytes
    if step < width * pixel_bytes:
        raise ImageMessageError(
            f"image step is {step} bytes, but {width} px of {name} take {width * pixel_bytes}: "
            "the publisher must set step to the bytes from one row to the next"
        )
    rows = height * 3 // 2 if encoding.chroma_below else height
    if len(message.data) != rows * step:
        raise ImageMessageError(
            f"image data is {len(message.data)} bytes long, but {rows} rows of step {step} take "
            f"{rows * step}: the publisher must fill all rows"
        )
    samples: NDArray[np.uint8] = np.ndarray(
        (rows, width, encoding.channels, encoding.sample_bytes),
        np.uint8,
        message.data,
        strides=(step, pixel_bytes, encoding.sample_bytes, 1),
    )
    high_byte = 0 if message.is_bigendian else -1
    pixels = samples[:, :, 0, high_byte] if encoding.channels == 1 else samples[..., high_byte]
    if encoding.sample_bytes > 1:
        pixels = np.ascontiguousarray(pixels)
    return pixels if encoding.conversion is None else np.asarray(cv2.cvtColor(pixels, encoding.conversion), np.uint8)


def image_from_compressed(message: Any, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """The image in a sensor_msgs/CompressedImage (JPEG, PNG, or any other format that OpenCV decodes): uint8 [height,
    width, 3], BGR. ImageMessageError as of `check_compressed`, or if the data are not an image."""
    return decode_compressed(check_compressed(message, max_megapixels), str(message.format))


def decode_compressed(data: bytes, layout: str) -> NDArray[np.uint8]:
    """The image in the data that `check_compressed` has returned, uint8 [height, width, 3], BGR. ImageMessageError if
    the data are not an image."""
    # The header's frame_id is that of the sensor, so an Exif rotation must not be applied.
    try:
        return decode_checked(data, by_exif=False)
    except PictureError as error:
        raise _unreadable(data, layout, error) from error


def check_compressed(message: Any, max_megapixels: float = MAX_MEGAPIXELS) -> bytes:
    """The data of a compressed image message, after a look at its header that takes less than a millisecond.
    ImageMessageError for depth compression, truncated JPEG or PNG data, too large an image, or an unknown format."""
    layout = str(message.format)
    data = bytes(memoryview(message.data))
    if "compressedDepth" in layout:
        raise ImageMessageError(f"compressed image format '{layout}' is a depth image: publish a colour image")
    if is_video(layout, data[:4]):
        raise ImageMessageError(f"{VIDEO_MESSAGE}, format '{layout}'")
    if is_cut_jpeg(data):
        raise ImageMessageError(
            f"compressed image of {len(data)} bytes is a JPEG without its end: publish the whole file"
        )
    try:
        check_header(data, max_megapixels)
    except PictureError as error:
        raise _unreadable(data, layout, error) from error
    return data


def _unreadable(data: bytes, layout: str, error: PictureError) -> ImageMessageError:
    return ImageMessageError(
        f"compressed image of {len(data)} bytes, format '{layout}', cannot be read ({error}): publish JPEG or PNG"
    )

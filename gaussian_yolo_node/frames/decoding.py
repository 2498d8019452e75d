"""The one place where bytes become a picture: the number of pixels is checked before they are decoded."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags.image_header import HeaderError, declared_pixels, orientation
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.frames.capture import quiet_opencv

# The largest frame that is read, megapixels. Sensors of cameras in use have up to 61; decoded, 64 take 192 MB.
MAX_MEGAPIXELS = 64.0


class PictureError(GaussianYoloError):
    """A picture cannot be decoded, or is too large; the message is a clause about "it"."""


def decode(data: bytes, *, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """The pixels of an image file, turned as its Exif data say: uint8 [H, W, 3], BGR. PictureError if the data are no
    picture, cut short, or have more than `max_megapixels` million pixels."""
    check_header(data, max_megapixels)
    return decode_checked(data, by_exif=True)


def decode_checked(data: bytes, *, by_exif: bool) -> NDArray[np.uint8]:
    """As `decode`, of data that `check_header` has let through."""
    try:
        with quiet_opencv:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise PictureError(f"not an image OpenCV can decode ({error.err})") from error
    if image is None:
        raise PictureError("not an image OpenCV can decode")
    # Turned here: which formats OpenCV turns depends on its version.
    return _upright(np.asarray(image, np.uint8), orientation(data)) if by_exif else np.asarray(image, np.uint8)


def _upright(image: NDArray[np.uint8], turned: int) -> NDArray[np.uint8]:
    """The image turned by Exif's orientation (Exif 2.32, 4.6.4, tag 0112)."""
    if turned >= 5:
        image = np.swapaxes(image, 0, 1)
    if turned in (3, 4, 7, 8):
        image = image[::-1]
    if turned in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def check_header(data: bytes, max_megapixels: float) -> None:
    """Raise PictureError if a picture's header shows that it should not be decoded; see `decode`."""
    try:
        pixels = declared_pixels(data)
    except HeaderError as error:
        raise PictureError(str(error)) from error
    if not pixels:  # a decoder might read another number from a header that is damaged
        raise PictureError("not an image OpenCV can decode")
    check_pixels(pixels, max_megapixels)


def check_pixels(pixels: int, max_megapixels: float) -> None:
    """Raise PictureError for a frame of more than so many million pixels."""
    if pixels > max_megapixels * 1e6:
        raise PictureError(f"it has {pixels / 1e6:.0f} megapixels, and at most {max_megapixels:g} are read")

"""Raw image messages in every encoding, as drivers publish them: rows padded to `step`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PADDING = 6
# sensor_msgs/image_encodings.hpp: colours of the first two px of the first two rows, as indices into BGR.
_BAYER = {"rggb": (2, 1, 1, 0), "bggr": (0, 1, 1, 2), "gbrg": (1, 0, 2, 1), "grbg": (1, 2, 0, 1)}
# Rows: Y, U, V of BT.601 from R, G, B of 0..1 (ITU-R BT.601-7, 2.5), Y from 16 to 235.
_BT601 = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]])


def encode(bgr: NDArray[np.uint8], encoding: str, padding: int = PADDING, big_endian: bool = False) -> dict[str, Any]:
    """The fields of a sensor_msgs/Image, without its header, from a uint8 [H, W, 3] picture.

    16-bit samples are 257 times those of 8 bit, so that 255 becomes 65535.
    """
    if encoding.endswith("16"):
        eight = _samples(bgr, f"{encoding[:-2]}8").astype(np.uint16) * 257
        # A low byte that differs from the high one shows which of them is read.
        samples = (eight & 0xFF00 | 0x0055).astype(">u2" if big_endian else "<u2").view(np.uint8)
    else:
        samples = _samples(bgr, encoding)
    rows = np.pad(samples.reshape(len(samples), -1), ((0, 0), (0, padding)), constant_values=7)
    return {
        "height": bgr.shape[0],
        "width": bgr.shape[1],
        "encoding": encoding,
        "is_bigendian": int(big_endian),
        "step": rows.shape[1],
        "data": np.ascontiguousarray(rows).reshape(-1),
    }


def grey(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma of 0 to 255, [H, W]."""
    return np.asarray(np.rint(bgr @ np.array([0.114, 0.587, 0.299])), np.uint8)


def _samples(bgr: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """Rows of samples."""
    opaque = np.full((*bgr.shape[:2], 1), 200, np.uint8)
    if encoding in ("bgr8", "8UC3"):
        return bgr
    if encoding == "rgb8":
        return np.ascontiguousarray(bgr[:, :, ::-1])
    if encoding in ("bgra8", "rgba8"):
        return np.concatenate([bgr if encoding == "bgra8" else bgr[:, :, ::-1], opaque], axis=2)
    if encoding in ("mono8", "8UC1"):
        return grey(bgr)
    if encoding.startswith("bayer_"):
        pattern = np.array(_BAYER[encoding[6:10]]).reshape(2, 2)
        rows, columns = np.indices(bgr.shape[:2])
        return bgr[rows, columns, pattern[rows % 2, columns % 2]]
    return _yuv(bgr, encoding)


def _yuv(bgr: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    height, width = bgr.shape[:2]
    yuv = np.rint(bgr[:, :, ::-1] / 255 @ _BT601.T + (16, 128, 128))
    luma, pairs = yuv[:, :, 0], yuv[:, :, 1:].reshape(height, width // 2, 2, 2).mean(axis=2)  # pairs: [H, W/2, UV]
    if encoding in ("nv12", "nv21"):
        blocks = pairs.reshape(height // 2, 2, width // 2, 2).mean(axis=1)
        chroma = blocks if encoding == "nv12" else blocks[:, :, ::-1]
        return np.concatenate([luma, chroma.reshape(height // 2, width)]).astype(np.uint8)
    luma_pairs = luma.reshape(height, width // 2, 2)
    if encoding in ("yuv422_yuy2", "yuyv"):
        order = luma_pairs[:, :, 0], pairs[:, :, 0], luma_pairs[:, :, 1], pairs[:, :, 1]
    else:
        order = pairs[:, :, 0], luma_pairs[:, :, 0], pairs[:, :, 1], luma_pairs[:, :, 1]
    return np.stack(order, axis=-1).reshape(height, 2 * width).astype(np.uint8)

"""The annotated frames of a bag as a video and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.frames.image_messages import image_from_compressed
from gaussian_yolo_node.frames.recording import VideoRecording

SHEET_COLUMNS = 3
SHEET_ROWS = 4
SHEET_TILE_WIDTH = 640  # px
WEB_WIDTH = 640  # px


def annotated_frames(bag: Path, topic: str) -> Iterator[NDArray[np.uint8]]:
    """Frames uint8 `[H,W,3]` BGR of a CompressedImage topic."""
    with BagReader(bag) as reader:
        for message in reader.messages({topic}):
            yield image_from_compressed(message.decode())


def write_pictures(bag: Path, topic: str, count: int, fps: float, out: Path) -> None:
    """Write the `count` annotated frames of `bag` to a folder: as videos at `fps`, and evenly spaced ones as a picture.

    annotated.mp4 has the frames' size; annotated.webm, which browsers play, is at most `WEB_WIDTH` wide, because its
    encoder is slow.
    """
    chosen = set(np.linspace(0, max(0, count - 1), SHEET_COLUMNS * SHEET_ROWS).round().astype(int).tolist())
    tiles = []
    with VideoRecording(out / "annotated.mp4", fps) as full, VideoRecording(out / "annotated.webm", fps) as web:
        for index, frame in enumerate(annotated_frames(bag, topic)):
            full.write(frame)
            web.write(_of_width(frame, min(frame.shape[1], WEB_WIDTH)))
            if index in chosen:
                tiles.append(_of_width(frame, SHEET_TILE_WIDTH))
    if tiles:
        write_whole(out / "contact_sheet.png", cv2.imencode(".png", contact_sheet(tiles))[1].tobytes())


def _of_width(frame: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    size = (width, round(frame.shape[0] * width / frame.shape[1]))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def contact_sheet(tiles: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Tiles uint8 `[h,w,3]` in rows of `SHEET_COLUMNS`; smaller ones are padded with black."""
    height = max(tile.shape[0] for tile in tiles)
    width = max(tile.shape[1] for tile in tiles)
    rows = -(-len(tiles) // SHEET_COLUMNS)
    sheet = np.zeros((rows * height, min(len(tiles), SHEET_COLUMNS) * width, 3), np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // SHEET_COLUMNS * height, index % SHEET_COLUMNS * width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet

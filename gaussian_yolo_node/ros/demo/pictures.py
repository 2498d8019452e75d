"""The annotated frames of a bag as a video and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.frames.recording import VideoRecording

SHEET_COLUMNS = 3
SHEET_ROWS = 4
SHEET_TILE_WIDTH = 640  # px


def annotated_frames(bag: Path, topic: str) -> Iterator[NDArray[np.uint8]]:
    """Frames uint8 `[H,W,3]` BGR of a CompressedImage topic."""
    with BagReader(bag) as reader:
        for message in reader.messages({topic}):
            yield np.asarray(cv2.imdecode(message.decode().data, cv2.IMREAD_COLOR), np.uint8)


def write_pictures(bag: Path, topic: str, count: int, fps: float, video: Path, sheet: Path) -> None:
    """Write the `count` annotated frames of `bag` as a video at `fps`, and evenly spaced ones as one picture."""
    chosen = set(np.linspace(0, max(0, count - 1), SHEET_COLUMNS * SHEET_ROWS).round().astype(int).tolist())
    tiles = []
    with VideoRecording(video, fps) as recording:
        for index, frame in enumerate(annotated_frames(bag, topic)):
            recording.write(frame)
            if index in chosen:
                height = round(frame.shape[0] * SHEET_TILE_WIDTH / frame.shape[1])
                tile = cv2.resize(frame, (SHEET_TILE_WIDTH, height), interpolation=cv2.INTER_AREA)
                tiles.append(np.asarray(tile, np.uint8))
    if tiles:
        cv2.imwrite(str(sheet), contact_sheet(tiles))


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

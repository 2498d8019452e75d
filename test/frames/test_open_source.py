from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gaussian_yolo_node.frames import SourceError, open_source


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("", {}, "no source given"),
        ("   ", {}, "no source given"),
        ("no/such/thing.mp4", {}, "no/such/thing.mp4 does not exist"),
        ("x" * 5000, {}, "does not exist"),  # longer than any valid path
        (".", {"playback": "slow"}, "playback must be"),
        (".", {"fps": -1.0}, "must not be negative"),
    ],
)
def test_refusals(spec: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(spec, **options)


def test_the_limit_of_megapixels(tmp_path: Path) -> None:
    """Larger frames of a folder are skipped; a larger video is refused."""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 50, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((4, 5, 3), np.uint8))
    source = open_source(str(tmp_path), max_megapixels=0.001)
    frame = source.read()
    assert frame is not None and frame.name == "b.png" and source.read() is None
    assert source.skipped == 1 and "0.001" in source.message
    source.close()
    with pytest.raises(SourceError, match=r"image .*a\.png cannot be read: it has 0 megapixels, and at most 0\.001"):
        open_source(str(tmp_path / "a.png"), max_megapixels=0.001)
    video = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (50, 40))
    writer.write(np.zeros((40, 50, 3), np.uint8))
    writer.release()
    with pytest.raises(SourceError, match=r"video .*a\.avi cannot be read: it has 0 megapixels, and at most 0\.001"):
        open_source(str(video), max_megapixels=0.001)


def test_long_pipeline_is_a_pipeline() -> None:
    with pytest.raises(SourceError, match=r"^pipeline"):
        open_source("videotestsrc ! " + "identity ! " * 500 + "appsink")

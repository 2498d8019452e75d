"""Sources of frames: cameras and streams, video files, images, bags."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from gaussian_yolo_node.bags import is_bag
from gaussian_yolo_node.errors import install_line
from gaussian_yolo_node.file_names import is_image_name
from gaussian_yolo_node.frames.camera import CameraSource
from gaussian_yolo_node.frames.capture import is_url
from gaussian_yolo_node.frames.decoding import MAX_MEGAPIXELS
from gaussian_yolo_node.frames.files import FileSource, ImageFiles, Media, list_images
from gaussian_yolo_node.frames.source import Frame, Source, SourceError, SourceState
from gaussian_yolo_node.frames.urls import local_path
from gaussian_yolo_node.frames.video import VideoFile

__all__ = ["Frame", "Source", "SourceError", "SourceState", "open_source"]


def open_source(
    spec: str,
    *,
    playback: Literal["fastest", "realtime"] = "fastest",
    fps: float = 0.0,
    loop: bool = False,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Source:
    """Open a source given by the user.

    Args:
        spec: a camera index ("0"); an image folder, image file, video file, ROS bag with one image topic, or camera
            device ("/dev/video0"); a URL ("rtsp://...", "http://...", "file://..."), live or of a video that ends; or a
            GStreamer pipeline (text with " ! ", ending in `appsink`). A number is always a camera index; write "./0"
            for a folder with that name.
        playback: files only. "fastest": deliver each frame on request. "realtime": deliver at the rate of a camera.
        fps: files only. Rate of realtime playback in Hz; 0 is the video's own rate, or 10 for images.
        loop: files only. Restart at the end.
        max_megapixels: frames with more than so many million pixels are skipped, and a video or stream of such is
            refused.

    Raises:
        SourceError: there is no such file, folder or camera, or it contains nothing readable.
    """
    spec = spec.strip()
    if not spec:
        raise SourceError("no source given: name a camera, a video, an image folder, a URL or a pipeline")
    if playback not in ("fastest", "realtime"):
        raise SourceError(f"playback must be 'fastest' or 'realtime', not '{playback}'")
    if fps < 0:
        raise SourceError(f"the playback rate must not be negative, and it is {fps:g} fps")
    if spec.isascii() and spec.isdigit():
        return CameraSource.open(spec, max_megapixels=max_megapixels)
    play = partial(FileSource, realtime=playback == "realtime", fps=fps, loop=loop)
    path = Path(os.path.expanduser(spec))
    if os.path.exists(path):
        if path.is_char_device():
            return CameraSource.open(str(path), max_megapixels=max_megapixels)
        return play(_media(path, max_megapixels))
    if is_url(spec):
        return _stream(spec, play, max_megapixels)
    if " ! " in spec:
        return CameraSource.open(spec, max_megapixels=max_megapixels)
    raise SourceError(f"source {spec} does not exist: there is no such file, folder or device")


def _stream(url: str, play: Callable[[Media], Source], max_megapixels: float) -> Source:
    """A live stream, or a recorded one, which is played like a file."""
    path = local_path(url)
    if path is not None:
        if not path.exists():
            raise SourceError(f"source {url} does not exist: there is no file {path}")
        return play(_media(path, max_megapixels))
    camera = CameraSource.open(url, max_megapixels=max_megapixels)
    if not camera.states_length:
        return camera
    camera.close()
    return play(VideoFile(url, max_megapixels))


def _media(path: Path, max_megapixels: float) -> Media:
    """The media in a file or folder."""
    if path.is_dir():
        try:
            return ImageFiles(list_images(path), max_megapixels)
        except SourceError:
            if not is_bag(path):
                raise
    if not is_bag(path):
        open_file = ImageFiles.single if is_image_name(path.name) else VideoFile
        return open_file(path, max_megapixels)
    try:
        from gaussian_yolo_node.frames.bag import BagImages
    except ModuleNotFoundError as error:
        raise SourceError(f"bag {path} needs {error.name}, which is not installed: {install_line('bags')}") from error
    return BagImages(path, max_megapixels)

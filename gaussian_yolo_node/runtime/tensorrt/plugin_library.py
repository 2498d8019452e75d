"""`libgaussian_yolo_plugin.so`: where it is, and the kernel in it that puts frames on the network's canvas."""

from __future__ import annotations

import ctypes
import os
import stat
from functools import cache
from pathlib import Path
from typing import Any

from gaussian_yolo_node.files import installed_prefixes
from gaussian_yolo_node.runtime.base import InferenceError, RuntimeUnavailableError

LIBRARY = "libgaussian_yolo_plugin.so"
VARIABLE = "GAUSSIAN_YOLO_PLUGIN"
PLUGIN_VERSION = "1"  # of GaussianYoloDetect, as engines have it

# Numbers of `Resize` and `Layout` in engines/plugin/kernels.h.
RESIZES = {"bilinear": 0, "align_corners": 1}
CANVAS, PLANES = 0, 1


class PreprocessParams(ctypes.Structure):
    """The struct of that name in engines/plugin/kernels.h, field by field."""

    _fields_ = [
        ("frame_height", ctypes.c_int),
        ("frame_width", ctypes.c_int),
        ("canvas_height", ctypes.c_int),
        ("canvas_width", ctypes.c_int),
        ("resize", ctypes.c_int),
        ("layout", ctypes.c_int),
        ("rgb", ctypes.c_int),
        ("scale", ctypes.c_float),
    ]


class PluginLibrary:
    """The loaded library.

    Attributes:
        path: its file.

    Raises:
        RuntimeUnavailableError: it cannot be loaded, or is of another version of this package.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._preprocess = _load(path).gy_preprocess
        except OSError as error:
            raise RuntimeUnavailableError(
                f"{path} cannot be loaded ({error}); build it again on this machine from engines/plugin"
            ) from error
        except AttributeError as error:
            raise RuntimeUnavailableError(
                f"{path} has no gy_preprocess; build it again from this version's engines/plugin"
            ) from error

    def preprocess(
        self, params: PreprocessParams, frame: int, pitch: int, output: int, half: bool, stream: int
    ) -> None:
        """Put the letterbox kernel on a stream.

        Args:
            params: sizes and layout.
            frame: device address of uint8 [H, W, 3] BGR, rows `pitch` bytes apart.
            pitch: bytes.
            output: device address of the network's input.
            half: whether planes hold half rather than float.
            stream: handle.

        Raises:
            InferenceError: the kernel could not be launched.
        """
        code = self._preprocess(
            ctypes.byref(params),
            ctypes.c_void_p(frame),
            ctypes.c_size_t(pitch),
            ctypes.c_void_p(output),
            ctypes.c_int(half),
            ctypes.c_void_p(stream),
        )
        if code:
            raise InferenceError(
                f"the letterbox kernel of {self.path} failed with CUDA error {code}; build it again for this GPU"
            )


def find_plugin() -> Path:
    """The library: where the package is installed, or the file that GAUSSIAN_YOLO_PLUGIN names.

    Not beside an engine: who gives you an engine must not give you code.

    Raises:
        RuntimeUnavailableError: it is in none of these places, which are listed; or every user may write it.
    """
    path = _find()
    if any(entry.stat().st_mode & stat.S_IWOTH for entry in (path, path.parent)):
        raise RuntimeUnavailableError(
            f"{path} is not loaded: every user of this machine may replace it; chmod o-w the file and its folder"
        )
    return path


def _find() -> Path:
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise RuntimeUnavailableError(
                f"{VARIABLE} names {named}, which does not exist; build it or clear {VARIABLE}"
            )
        return Path(named)
    folders = [prefix / "share" / "gaussian_yolo" / "lib" for prefix in installed_prefixes()]
    folders.append(Path(__file__).resolve().parents[3] / "engines" / "plugin" / "build")
    for folder in folders:
        if (folder / LIBRARY).is_file():
            return folder / LIBRARY
    raise RuntimeUnavailableError(
        f"there is no {LIBRARY} in {', '.join(map(str, folders))}; build it (docs/jetson.md), and name it in "
        f"{VARIABLE} if it lies elsewhere"
    )


@cache
def _load(path: Path) -> Any:
    # Once a process: what is registered with TensorRT must not be unloaded.
    return ctypes.CDLL(str(path))

"""Which machine this is, as far as it decides what the GPU runtime needs, and how that is installed on it."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["jetson", "nvidia", "cpu"]

# Where pycuda's build finds CUDA's headers and, for linking without a driver, its stubs.
_PYCUDA = (
    "CPATH=/usr/local/cuda/include LIBRARY_PATH=/usr/local/cuda/lib64:/usr/local/cuda/lib64/stubs "
    "python3 -m pip install pycuda"
)


@dataclass(frozen=True)
class Board:
    """A machine.

    Attributes:
        kind: "jetson", "nvidia" (another machine with an NVIDIA driver) or "cpu".
        name: model of the board or processor architecture, for people.
        release: of Jetson Linux ("36.4.0") or of the NVIDIA driver ("570.86.15"); empty if there is none.
    """

    kind: Kind
    name: str
    release: str = ""

    @property
    def jetpack(self) -> int:
        """JetPack's major version; 0 where there is none or it is not known."""
        major = self.release.split(".")[0]
        if self.kind != "jetson" or not major.isdigit():
            return 0
        return {32: 4, 34: 5, 35: 5, 36: 6, 38: 7, 39: 7}.get(int(major), 0)

    def install_line(self, missing: str) -> str:
        """The shell line that installs something here.

        Args:
            missing: "pycuda", "tensorrt", "tensorrt_rtx", "cuda" or "driver".
        """
        return _LINES[self.kind][missing]


_LINES: dict[Kind, dict[str, str]] = {
    "jetson": {
        "driver": "flash the board with JetPack: its driver is part of the system",
        "cuda": "sudo apt install nvidia-jetpack",
        "tensorrt": "sudo apt install nvidia-jetpack python3-libnvinfer",
        "tensorrt_rtx": "TensorRT for RTX is for desktops: build the engine with TensorRT on this board",
        "pycuda": _PYCUDA,
    },
    "nvidia": {
        "driver": "sudo ubuntu-drivers install",
        "cuda": "sudo apt install cuda-toolkit  # https://developer.nvidia.com/cuda-downloads",
        "tensorrt": "python3 -m pip install tensorrt",
        "tensorrt_rtx": "python3 -m pip install tensorrt_rtx",
        "pycuda": _PYCUDA,
    },
}
_LINES["cpu"] = {
    **_LINES["nvidia"],
    "driver": "this machine has no NVIDIA GPU that its system knows of; use runtime auto, openvino or onnxruntime",
}


def read_board(root: Path = Path("/")) -> Board:
    """Look at the machine.

    Args:
        root: of the file system to look in.
    """
    architecture = platform.machine()
    name = _text(root / "proc/device-tree/model").strip("\0\n ")
    tegra = re.search(r"R(\d+)\D*REVISION:\s*([\d.]+)", _text(root / "etc/nv_tegra_release"))
    if tegra is not None or "jetson" in name.lower():
        return Board("jetson", name or "Jetson", f"{tegra[1]}.{tegra[2]}" if tegra else "")
    driver = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", _text(root / "proc/driver/nvidia/version"))
    if driver is not None:
        return Board("nvidia", f"{architecture} with an NVIDIA GPU", driver[1])
    return Board("cpu", name or architecture)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""

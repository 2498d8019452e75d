"""Implementation of `gaussian-yolo doctor`: which optional parts this machine has, and how to install the others."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaussian_yolo_node.commands.typer_version import INSTALL_TYPER
from gaussian_yolo_node.detector.model import engine_folders
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.ros.fastdds_profile import ROOM_BYTES, SHARED_MEMORY, fastdds_profile, shared_memory_bytes
from gaussian_yolo_node.runtime.tensorrt.board import Board, read_board
from gaussian_yolo_node.runtime.tensorrt.engine_file import SUFFIX, describe_engine
from gaussian_yolo_node.runtime.tensorrt.plugin_library import find_plugin

if TYPE_CHECKING:
    from rich.console import Console

PROBE_TIMEOUT_S = 60.0

# Each probe runs in its own Python process, because an incompatible package may crash it. Each prints its version, a
# tab, and details.
_PROBES = {
    "NVIDIA driver": """
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
version, count = ctypes.c_int(), ctypes.c_int()
cuda.cuDriverGetVersion(ctypes.byref(version))
code = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
names = []
for number in range(count.value):
    name, major, minor = ctypes.create_string_buffer(99), ctypes.c_int(), ctypes.c_int()
    cuda.cuDeviceGetName(name, 99, number)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, number)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, number)
    names.append(f"{name.value.decode()} (SM {major.value}{minor.value})")
detail = ", ".join(names) or f"no GPU (error {code})"
print(f"CUDA {version.value // 1000}.{version.value % 1000 // 10}", detail, sep="\\t")
""",
    "TensorRT": "import tensorrt\nprint(tensorrt.__version__)",
    # `tensorrt_rtx` only forwards to `tensorrt_rtx_bindings`.
    "TensorRT for RTX": (
        "try:\n import tensorrt_rtx as trt\nexcept ModuleNotFoundError:\n import tensorrt_rtx_bindings as trt\n"
        "print(trt.__version__)"
    ),
    "pycuda": """
import pycuda, pycuda.driver
print(pycuda.VERSION_TEXT, "built for CUDA %d.%d.%d" % pycuda.driver.get_version(), sep="\\t")
""",
    "OpenVINO": """
import sys
sys.modules["openvino_telemetry"] = None
import openvino
print(openvino.get_version().split("-")[0], ", ".join(openvino.Core().available_devices), sep="\\t")
""",
    "ONNX Runtime": """
import onnxruntime
print(onnxruntime.__version__, ", ".join(onnxruntime.get_available_providers()), sep="\\t")
""",
    "OpenCV": """
import cv2, re
found = re.search(r"GStreamer:\\s*(\\S+)", cv2.getBuildInformation())
print(cv2.__version__, "GStreamer " + ("yes" if found and found[1] == "YES" else "no"), sep="\\t")
""",
    "typer": """
from importlib.metadata import version
from gaussian_yolo_node.commands.typer_version import typer_fault
if typer_fault():
    raise SystemExit(typer_fault())
print(version("typer"))
""",
    "rclpy (ROS 2)": "import os, rclpy\nprint(os.environ.get('ROS_DISTRO', 'ROS_DISTRO not set'))",
    "vision_msgs": "from vision_msgs.msg import Detection2DArray\nprint('')",
    "tf2_msgs": "from tf2_msgs.msg import TFMessage\nprint('')",
}
# Times the network, so it runs after the other probes.
_RATE_PROBE = """
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.rate_keeper import RateKeeper
with Detector.open() as detector:
    keeper = RateKeeper(detector, 30.0)
    keeper.start()
    print(f"{detector.card.name}: {keeper.notice or keeper.choice}")
"""
_FOR_GPU = frozenset({"NVIDIA driver", "CUDA toolkit", "TensorRT", "TensorRT for RTX", "pycuda", "plugin library"})
_MORE_SHARED_MEMORY = "docker run --shm-size 1g or --ipc host"
_INSTALL = {
    "OpenVINO": "python3 -m pip install 'openvino>=2024.4'",
    "ONNX Runtime": "python3 -m pip install 'onnxruntime>=1.17'",
    "typer": INSTALL_TYPER,
    "OpenCV": "sudo apt install python3-opencv",
    "rclpy (ROS 2)": "https://docs.ros.org: install ROS 2 and source its setup.bash",
    "vision_msgs": "sudo apt install ros-$ROS_DISTRO-vision-msgs",
    "tf2_msgs": "sudo apt install ros-$ROS_DISTRO-tf2-msgs",
    "shared memory": f"in a container: {_MORE_SHARED_MEMORY}",
    "plugin library": "cmake -S engines/plugin -B engines/plugin/build && cmake --build engines/plugin/build",
}
_BOARD_INSTALL = {"NVIDIA driver": "driver", "CUDA toolkit": "cuda", "TensorRT": "tensorrt", "pycuda": "pycuda"}


@dataclass(frozen=True)
class Part:
    """One part that was probed.

    Attributes:
        name: name of the part.
        found: whether it is installed and loads.
        version: its version, empty if it has none.
        detail: devices, paths, or why it does not load.
        install: shell command that installs it here; empty if it is installed or useless here.
    """

    name: str
    found: bool
    version: str
    detail: str
    install: str = ""


@dataclass(frozen=True)
class Report:
    """Result of the examination.

    Attributes:
        board: the machine.
        python: version of Python.
        parts: in the order in which `detect` needs them.
        engines: one line per TensorRT engine that models may have next to them.
        runtimes: for each runtime, "ready" or what is missing.
        canvas: the canvas on which the default model keeps 30 Hz here, its accuracy, and what larger ones would cost.
    """

    board: Board
    python: str
    parts: tuple[Part, ...]
    engines: tuple[str, ...]
    runtimes: dict[str, str]
    canvas: str

    def to_json(self) -> str:
        """As JSON text, with the fields above."""
        fields: dict[str, Any] = asdict(self)
        fields["board"]["jetpack"] = self.board.jetpack
        return json.dumps(fields, indent=1)


def run(as_json: bool) -> None:
    """Examine the machine and print what was found, as a table if rich is there to draw it."""
    report = examine()
    if as_json or find_spec("rich") is None:
        print(report.to_json())
    else:
        from rich.console import Console

        print_report(report, Console())


def examine(board: Board | None = None) -> Report:
    """Examine the machine; takes some seconds.

    Args:
        board: use this board instead of detecting it.
    """
    board = board or read_board()
    started: dict[str, subprocess.Popen[str]] = {}
    try:
        started |= {name: _start(script) for name, script in _PROBES.items()}
        parts = {name: _part(name, board, *_finish(process)) for name, process in started.items()}
    finally:  # also if this process is interrupted
        for process in started.values():
            process.kill()
    rate, line, reason = _finish(_start(_RATE_PROBE))
    parts["CUDA toolkit"] = _part("CUDA toolkit", board, *_toolkit())
    parts["plugin library"] = _part("plugin library", board, *_plugin())
    parts["shared memory"] = _part("shared memory", board, *_shared_memory())
    order = ("NVIDIA driver", "CUDA toolkit", "TensorRT", "TensorRT for RTX", "pycuda", "plugin library")
    listed = tuple(parts[name] for name in (*order, *(name for name in parts if name not in order)))
    canvas = line if rate else f"the default model cannot be timed: {reason}"
    return Report(board, platform.python_version(), listed, tuple(_engines()), _runtimes(parts), canvas)


def print_report(report: Report, console: Console) -> None:
    """Print a table, followed by what to install."""
    from rich.markup import escape
    from rich.table import Table

    board = report.board
    jetpack = f", JetPack {board.jetpack}" if board.jetpack else ""
    release = f", release {board.release}{jetpack}" if board.release else ""
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    say(f"{board.name}{release}; Python {report.python}")
    table = Table()
    for heading in ("part", "found", "version", "detail"):
        table.add_column(heading, overflow="fold")
    for part in report.parts:
        table.add_row(part.name, "yes" if part.found else "no", part.version, escape(part.detail))
    console.print(table)
    for engine in report.engines:
        say(f"engine {engine}")
    for name, state in report.runtimes.items():
        say(f"runtime {name}: {state}")
    say(report.canvas)
    wanted = [part for part in report.parts if part.install]
    if not wanted and not all(part.found for part in report.parts):
        console.print("nothing is to be installed: what is missing is of use with an NVIDIA GPU alone")
    if wanted:
        console.print("to install what is missing:")
    for part in wanted:
        say(f"  {part.name}: {part.install}")


def _part(name: str, board: Board, found: bool, version: str, detail: str) -> Part:
    # TensorRT for RTX is an alternative on desktops only, and GPU parts are useless without a GPU.
    useless = name == "TensorRT for RTX" or (name in _FOR_GPU and board.kind == "cpu")
    if found or useless:
        return Part(name, found, version, detail)
    line = board.install_line(_BOARD_INSTALL[name]) if name in _BOARD_INSTALL else _INSTALL[name]
    return Part(name, found, version, detail, line)


def _start(script: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _finish(process: subprocess.Popen[str]) -> tuple[bool, str, str]:
    try:
        output, errors = process.communicate(timeout=PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return False, "", f"does not load within {PROBE_TIMEOUT_S:.0f} s"
    if process.returncode < 0:
        return False, "", f"crashes when it is loaded (signal {-process.returncode})"
    if process.returncode:
        return False, "", _last_line(errors)
    version, _, detail = _last_line(output).partition("\t")
    return not detail.startswith("no GPU"), version, detail


def _toolkit() -> tuple[bool, str, str]:
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    try:
        done = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, "", f"{nvcc}: {getattr(error, 'strerror', None) or 'does not answer'}"
    release = re.search(r"release (\S+),", done.stdout)
    return release is not None, release[1] if release else "", nvcc


def _plugin() -> tuple[bool, str, str]:
    try:
        return True, "", str(find_plugin())
    except GaussianYoloError as error:
        return False, "", str(error).split(";")[0]


def _shared_memory() -> tuple[bool, str, str]:
    size = shared_memory_bytes()
    if not size:
        return False, "", f"there is no {SHARED_MEMORY}, so images between processes are lost"
    more = "" if size >= ROOM_BYTES else f", for {SHARED_MEMORY} is small; {_MORE_SHARED_MEMORY} gives it more"
    return True, f"{size >> 20} MiB", f"Fast DDS takes {fastdds_profile()}{more}"


def _engines() -> Iterable[str]:
    seen: set[Path] = set()
    for folder in [*engine_folders(), Path.cwd()]:
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield describe_engine(path)


def _runtimes(parts: dict[str, Part]) -> dict[str, str]:
    needs: dict[str, tuple[str, ...]] = {
        "openvino": ("OpenVINO", "OpenCV"),
        "onnxruntime": ("ONNX Runtime", "OpenCV"),
        "tensorrt": ("NVIDIA driver", "TensorRT", "pycuda", "plugin library"),
    }
    states = {}
    for runtime, names in needs.items():
        missing = [name for name in names if not parts[name].found]
        states[runtime] = f"lacks {', '.join(missing)}" if missing else "ready"
    return states


def _last_line(text: str) -> str:
    lines = text.strip("\n").splitlines()
    return lines[-1] if lines else ""

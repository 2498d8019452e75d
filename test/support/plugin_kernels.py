"""The plugin's CUDA kernels behind ctypes: compiled by the C++ compiler and run on the CPU
(engines/plugin/cpu_shim), or by nvcc and run on a GPU (engines/plugin/gpu_library.cu)."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from numpy.typing import NDArray
from postprocessing_cases import Options

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.letterbox import Letterbox

PLUGIN = Path(__file__).resolve().parents[2] / "engines" / "plugin"
HEADS, MAX_ANCHORS = 3, 8
CRITERIA = ("gaussian", "confidence")
RESIZES = ("bilinear", "align_corners")
MODES = ("fibers", "threads")

_FLAGS = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-pthread", "-DGAUSSIAN_YOLO_CPU_SHIM"]
_SOURCES = ["kernels.cu", "cpu_shim/library.cpp", "cpu_shim/schedule.cpp"]
NVCC_FLAGS = ["-std=c++17", "-O3", "--fmad=false"]  # those of CMakeLists.txt that affect results


class DetectParams(ctypes.Structure):
    """As in kernels.h."""

    _fields_ = (
        ("anchors", ctypes.c_float * 2 * MAX_ANCHORS * HEADS),
        ("strides", ctypes.c_int * HEADS),
        ("anchors_per_head", ctypes.c_int),
        ("num_classes", ctypes.c_int),
        ("input_height", ctypes.c_int),
        ("input_width", ctypes.c_int),
        ("score_threshold", ctypes.c_float),
        ("iou_threshold", ctypes.c_float),
        ("max_candidates", ctypes.c_int),
        ("max_detections", ctypes.c_int),
        ("variance_vote", ctypes.c_int),
        ("criterion", ctypes.c_int),
    )


class PreprocessParams(ctypes.Structure):
    """As in kernels.h."""

    _fields_ = (
        ("frame_height", ctypes.c_int),
        ("frame_width", ctypes.c_int),
        ("canvas_height", ctypes.c_int),
        ("canvas_width", ctypes.c_int),
        ("resize", ctypes.c_int),
        ("layout", ctypes.c_int),
        ("rgb", ctypes.c_int),
        ("scale", ctypes.c_float),
    )


class Schedule(ctypes.Structure):
    """As in cpu_shim/schedule.h."""

    _fields_ = (("mode", ctypes.c_int), ("dropped_sync", ctypes.c_int), ("seed", ctypes.c_uint64))


@dataclass(frozen=True)
class Outputs:
    """What `launchDetect` writes for a batch of N, see DetectOutputs."""

    counts: NDArray[np.int32]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    sigmas: NDArray[np.float32]

    @classmethod
    def of(cls, batch: int, rows: int) -> Outputs:
        """Outputs filled with values that the kernels must overwrite."""
        return cls(
            np.full(batch, 12345, np.int32),
            np.full((batch, rows, 4), np.nan, np.float32),
            np.full((batch, rows), np.nan, np.float32),
            np.full((batch, rows), 12345, np.int32),
            np.full((batch, rows, 4), np.nan, np.float32),
        )

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return self.counts, self.boxes, self.scores, self.class_ids, self.sigmas

    def image(self, index: int) -> Detections:
        """Detections of one successful image; asserts zeros beyond the count."""
        count = int(self.counts[index])
        assert 0 <= count <= self.scores.shape[1]
        for rows in self.arrays[1:]:
            assert not rows[index, count:].any(), "not filled with zeros"
        return Detections(*(rows[index, :count] for rows in self.arrays[1:]))

    def bytes(self) -> bytes:
        return b"".join(array.tobytes() for array in self.arrays)


@dataclass(frozen=True)
class Call:
    """Arguments of one detection: heads float32 or float16 [N, A*(9+C), h, w], in the order of the strides."""

    heads: Sequence[NDArray[Any]]
    anchors: Sequence[NDArray[np.float32]]
    strides: Sequence[int]
    options: Options = field(default_factory=Options)

    @property
    def batch(self) -> int:
        return int(self.heads[0].shape[0])

    @property
    def half(self) -> bool:
        return self.heads[0].dtype == np.float16

    @property
    def params(self) -> DetectParams:
        _, channels, height, width = self.heads[0].shape
        params = DetectParams(
            anchors_per_head=len(self.anchors[0]),
            num_classes=channels // len(self.anchors[0]) - 9,
            input_height=height * self.strides[0],
            input_width=width * self.strides[0],
            score_threshold=self.options.score_threshold,
            iou_threshold=self.options.iou_threshold,
            max_candidates=self.options.max_candidates,
            max_detections=self.options.max_detections,
            variance_vote=self.options.variance_vote,
            criterion=CRITERIA.index(self.options.criterion),
        )
        params.strides[:] = self.strides
        for head, anchors in enumerate(self.anchors):
            for anchor, (width_px, height_px) in enumerate(anchors):
                params.anchors[head][anchor][:] = float(width_px), float(height_px)
        return params

    def record(self) -> bytes:
        """The format of cpu_shim/replay.cpp."""
        heads = b"".join(np.ascontiguousarray(head).tobytes() for head in self.heads)
        return struct.pack("i", 0) + bytes(self.params) + struct.pack("ii", self.batch, self.half) + heads


@dataclass(frozen=True)
class FrameCall:
    """Arguments of one preprocessing: frame uint8 [H, W, 3], whose rows may be non-contiguous."""

    frame: NDArray[np.uint8]
    letterbox: Letterbox
    dtype: Any = np.uint8  # uint8 for a canvas [H, W, 3]; float32 or float16 for planes [3, H, W]
    rgb: bool = True
    scale: float = 1.0

    @property
    def params(self) -> PreprocessParams:
        return PreprocessParams(
            *self.letterbox.frame_size,
            *self.letterbox.canvas_size,
            RESIZES.index(self.letterbox.resize),
            self.dtype != np.uint8,
            self.rgb,
            self.scale,
        )

    @property
    def half(self) -> bool:
        return bool(self.dtype == np.float16)

    def record(self) -> bytes:
        """The format of cpu_shim/replay.cpp, with contiguous rows."""
        pitch = self.frame.shape[1] * 3
        return struct.pack("i", 1) + bytes(self.params) + struct.pack("ii", self.half, pitch) + self.frame.tobytes()


class Kernels(Protocol):
    """A library of the kernels on CPU or GPU; arrays are in CPU memory."""

    path: Path

    def detect(self, call: Call, *, seed: int = 0) -> Outputs:
        """Run the kernels. On the CPU, `seed` shuffles blocks and threads; on a GPU, odd seeds run them as a graph."""
        ...

    def params_error(self, params: DetectParams) -> str | None:
        """The error in the parameters; None if they are valid."""
        ...

    def workspace_bytes(self, params: DetectParams, batch: int) -> int:
        """Workspace size; 0 for invalid parameters."""
        ...

    def preprocess(self, call: FrameCall) -> NDArray[Any]:
        """Compute the canvas or the planes."""
        ...


class CpuKernels:
    """See `Kernels`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.library = ctypes.CDLL(str(path))
        self.library.gy_cpu_params_error.restype = ctypes.c_char_p
        self.library.gy_cpu_workspace_bytes.restype = ctypes.c_size_t

    def detect(self, call: Call, *, seed: int = 0, mode: str = "fibers", dropped_sync: int = 0) -> Outputs:
        schedule = Schedule(MODES.index(mode), dropped_sync, seed)
        return _detect(call, lambda *arguments: self.library.gy_cpu_detect(ctypes.byref(schedule), *arguments))

    def params_error(self, params: DetectParams) -> str | None:
        return _text(self.library.gy_cpu_params_error(ctypes.byref(params)))

    def workspace_bytes(self, params: DetectParams, batch: int) -> int:
        return int(self.library.gy_cpu_workspace_bytes(ctypes.byref(params), batch))

    def preprocess(self, call: FrameCall) -> NDArray[Any]:
        return _preprocess(call, lambda *arguments: self.library.gy_preprocess(*arguments, None))


class GpuKernels:
    """See `Kernels`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.library = ctypes.CDLL(str(path))
        self.library.gy_gpu_params_error.restype = ctypes.c_char_p
        self.library.gy_gpu_workspace_bytes.restype = ctypes.c_size_t

    def detect(self, call: Call, *, seed: int = 0) -> Outputs:
        return _detect(call, lambda *arguments: self.library.gy_gpu_detect(*arguments, seed % 2, None))

    def params_error(self, params: DetectParams) -> str | None:
        return _text(self.library.gy_gpu_params_error(ctypes.byref(params)))

    def workspace_bytes(self, params: DetectParams, batch: int) -> int:
        return int(self.library.gy_gpu_workspace_bytes(ctypes.byref(params), batch))

    def preprocess(self, call: FrameCall) -> NDArray[Any]:
        return _preprocess(call, lambda *arguments: self.library.gy_gpu_preprocess(*arguments, 0, None))

    def time_detect(self, call: Call, runs: int) -> float:
        """Mean time of `runs` runs of a graph, microseconds."""
        time = ctypes.c_float()
        _detect(call, lambda *arguments: self.library.gy_gpu_detect(*arguments, runs, ctypes.byref(time)))
        return time.value

    def time_preprocess(self, call: FrameCall, runs: int) -> float:
        """See `time_detect`."""
        time = ctypes.c_float()
        _preprocess(call, lambda *arguments: self.library.gy_gpu_preprocess(*arguments, runs, ctypes.byref(time)))
        return time.value


def _detect(call: Call, run: Callable[..., int]) -> Outputs:
    outputs = Outputs.of(call.batch, call.options.max_detections)
    heads = [np.ascontiguousarray(head) for head in call.heads]
    error = run(
        ctypes.byref(call.params),
        call.batch,
        (ctypes.c_void_p * HEADS)(*(head.ctypes.data for head in heads)),
        int(call.half),
        (ctypes.c_void_p * 5)(*(array.ctypes.data for array in outputs.arrays)),
    )
    assert error == 0, f"cudaError {error}"
    return outputs


def _preprocess(call: FrameCall, run: Callable[..., int]) -> NDArray[Any]:
    height, width = call.letterbox.canvas_size
    shape = (height, width, 3) if call.dtype == np.uint8 else (3, height, width)
    output = np.full(shape, 77, call.dtype)
    error = run(
        ctypes.byref(call.params),
        ctypes.c_void_p(call.frame.ctypes.data),
        ctypes.c_size_t(call.frame.strides[0]),
        ctypes.c_void_p(output.ctypes.data),
        int(call.half),
    )
    if error:
        raise ValueError(f"cudaError {error}")
    return output


def _text(words: bytes | None) -> str | None:
    return words.decode() if words else None


def build(output: Path, *flags: str, program: bool = False) -> Path:
    """Compile the kernels for the CPU, as a library or as the replay program; skips the test without a compiler."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the kernels with")
    kind = ["cpu_shim/replay.cpp"] if program else ["-fPIC", "-shared"]
    # g++ does not recognise .cu files as C++.
    command = [compiler, *_FLAGS, *flags, "-x", "c++", *_SOURCES, *kind, "-o", str(output)]
    ran = subprocess.run(command, cwd=PLUGIN, capture_output=True, text=True)
    if "cannot find -l" in ran.stderr:
        pytest.skip(f"this g++ lacks a sanitizer's library: {ran.stderr.strip().splitlines()[-1]}")
    assert ran.returncode == 0, ran.stderr
    return output


def gpu_missing() -> str:
    """The reason why kernels cannot run on a GPU here; empty if they can."""
    if shutil.which("nvcc") is None:
        return "no nvcc to compile the kernels with"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver to run the kernels"
    count = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return "" if not failed and count.value else "no NVIDIA GPU to run the kernels on"


def build_for_gpu(output: Path) -> Path:
    """Compile the kernels for this machine's GPU, as a library."""
    command = ["nvcc", *NVCC_FLAGS, "-arch=native", "-shared", "-Xcompiler=-fPIC", "kernels.cu", "gpu_library.cu"]
    ran = subprocess.run([*command, "-o", str(output)], cwd=PLUGIN, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return output


@dataclass(frozen=True)
class Replayed:
    """Exit of the replay program: 0, 3 if repetitions differ, 66 for a sanitizer error, None if it hung."""

    status: int | None
    errors: str
    outputs: bytes


def replay(
    program: Path,
    calls: Sequence[Call | FrameCall],
    *,
    mode: str = "fibers",
    seed: int = 1,
    repetitions: int = 1,
    dropped_sync: int = 0,
    limit: float = 120,
) -> Replayed:
    """Run calls in a program built with a sanitizer, for at most `limit` seconds."""
    record, outputs = program.with_suffix(".calls"), program.with_suffix(".outputs")
    record.write_bytes(b"".join(call.record() for call in calls))
    numbers = (MODES.index(mode), seed, repetitions, dropped_sync)
    command = [str(program), str(record), str(outputs), *map(str, numbers)]
    environment = {"ASAN_OPTIONS": "exitcode=66", "UBSAN_OPTIONS": "exitcode=66", "TSAN_OPTIONS": "halt_on_error=1"}
    try:
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=limit)
    except subprocess.TimeoutExpired:
        return Replayed(None, "", b"")
    if "unexpected memory mapping" in ran.stderr:
        pytest.skip("this g++'s ThreadSanitizer does not know the memory layout of this kernel")
    return Replayed(ran.returncode, ran.stderr, outputs.read_bytes())

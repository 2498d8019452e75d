"""From frames to the network's input: the kernel against OpenCV and the package's letterbox."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from plugin_kernels import CpuKernels, FrameCall, Kernels

from gaussian_yolo_node.detector.letterbox import Letterbox
from gaussian_yolo_node.runtime.tensorrt import plugin_library

FRAMES = [
    (93, 211),
    (375, 1242),
    (1080, 1920),
    (64, 96),  # as it is
    (128, 192),  # by 2, where OpenCV averages areas
    (32, 48),  # enlarged
    (1, 1000),
    (1000, 1),
    (500, 2),
    (1, 1),
    (2, 3),
]
RESIZES = ["bilinear", "align_corners"]


def _noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("frame_size", FRAMES)
@pytest.mark.parametrize("canvas_size", [(64, 96), (160, 96), (256, 832)])
@pytest.mark.parametrize("resize", RESIZES)
def test_the_canvas_is_the_letterboxs(
    frame_size: tuple[int, int], canvas_size: tuple[int, int], resize: Any, kernels: Kernels
) -> None:
    """Exactly so with OpenCV's own code; a grey level is left to builds of it that resize by a vendor's library."""
    letterbox = Letterbox.fit(frame_size, canvas_size, resize)
    frame = _noise(*frame_size)

    canvas = kernels.preprocess(FrameCall(frame, letterbox))

    np.testing.assert_allclose(canvas.astype(int), letterbox.to_canvas(frame).astype(int), rtol=0, atol=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_planes_hold_the_canvas(dtype: Any, rgb: bool, scale: float, kernels: Kernels) -> None:
    letterbox = Letterbox.fit((93, 211), (96, 160))
    frame = _noise(93, 211)

    planes = kernels.preprocess(FrameCall(frame, letterbox, dtype, rgb, scale))

    canvas = kernels.preprocess(FrameCall(frame, letterbox))[:, :, :: -1 if rgb else 1].transpose(2, 0, 1)
    np.testing.assert_array_equal(planes, (canvas * np.float32(scale)).astype(dtype))


@pytest.mark.parametrize("scale", [2e-7, 2.4e-7, 1.0, 256.9, 300.0])
def test_halves_are_rounded_to_the_nearest(scale: float, kernels: Kernels) -> None:
    """Subnormal ones, and those that become infinity, too."""
    frame = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)

    planes = kernels.preprocess(FrameCall(frame, Letterbox.fit((16, 16), (16, 16)), np.float16, scale=scale))

    with np.errstate(over="ignore"):
        expected = (np.arange(256).astype(np.float32) * np.float32(scale)).astype(np.float16)
    np.testing.assert_array_equal(planes, np.broadcast_to(expected.reshape(16, 16), (3, 16, 16)))


def test_rows_of_a_frame_may_lie_apart(kernels: Kernels) -> None:
    wide = _noise(93, 300)
    letterbox = Letterbox.fit((93, 211), (96, 160))

    padded = kernels.preprocess(FrameCall(wide[:, :211], letterbox))

    np.testing.assert_array_equal(padded, kernels.preprocess(FrameCall(wide[:, :211].copy(), letterbox)))


def test_the_runtime_calls_the_kernel_as_it_is(cpu_kernels: CpuKernels) -> None:
    """Its struct, its numbers and the order of its arguments; the CPU's addresses stand in for the GPU's."""
    frame = _noise(93, 211)
    letterbox = Letterbox.fit((93, 211), (96, 160), "align_corners")
    planes = np.zeros((3, 96, 160), np.float16)
    params = plugin_library.PreprocessParams(
        93, 211, 96, 160, plugin_library.RESIZES["align_corners"], plugin_library.PLANES, 1, 0.5
    )

    library = plugin_library.PluginLibrary(cpu_kernels.path)
    library.preprocess(params, frame.ctypes.data, 3 * 211, planes.ctypes.data, half=True, stream=0)

    np.testing.assert_array_equal(planes, cpu_kernels.preprocess(FrameCall(frame, letterbox, np.float16, scale=0.5)))


@pytest.mark.parametrize(
    "letterbox",
    [
        Letterbox((0, 10), (64, 96), (64, 96)),
        Letterbox((10, 0), (64, 96), (64, 96)),
        Letterbox((10, 10), (64, 0), (64, 96)),
        Letterbox((16385, 1), (64, 96), (64, 96)),
        Letterbox((10, 11), (64, 96), (64, 96)),  # rows would overlap
    ],
)
def test_refuses_sizes_that_cannot_be(letterbox: Letterbox, kernels: Kernels) -> None:
    with pytest.raises(ValueError, match="cudaError 1"):
        kernels.preprocess(FrameCall(_noise(10, 10), letterbox))

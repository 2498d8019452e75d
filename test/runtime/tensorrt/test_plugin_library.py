from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import make_image
from plugin_kernels import build

from gaussian_yolo_node.detector.letterbox import Letterbox
from gaussian_yolo_node.runtime import InferenceError, RuntimeUnavailableError
from gaussian_yolo_node.runtime.tensorrt import plugin_library
from gaussian_yolo_node.runtime.tensorrt.plugin_library import (
    CANVAS,
    LIBRARY,
    PLANES,
    RESIZES,
    VARIABLE,
    PluginLibrary,
    PreprocessParams,
    find_plugin,
)

CANVAS_SIZE = (64, 96)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> PluginLibrary:
    """The kernels' own library, compiled for the CPU: the addresses it takes are then the host's."""
    return PluginLibrary(build(tmp_path_factory.mktemp("plugin") / LIBRARY, "-O0"))


def preprocess(plugin: PluginLibrary, frame: Any, output: Any, resize: str, layout: int) -> None:
    params = PreprocessParams(*frame.shape[:2], *CANVAS_SIZE, RESIZES[resize], layout, 0, 1.0)
    plugin.preprocess(params, frame.ctypes.data, frame.strides[0], output.ctypes.data, output.dtype == np.float16, 0)


@pytest.mark.parametrize("resize", list(RESIZES))
@pytest.mark.parametrize("size", [(64, 96), (128, 160), (37, 211), (1, 1)])
def test_the_kernel_fills_the_canvas_as_the_letterbox_does(
    plugin: PluginLibrary, resize: Any, size: tuple[int, int]
) -> None:
    frame = make_image(*size)
    canvas = np.full((*CANVAS_SIZE, 3), 7, np.uint8)

    preprocess(plugin, frame, canvas, resize, CANVAS)

    expected = Letterbox.fit(size, CANVAS_SIZE, resize).to_canvas(frame)
    assert np.abs(canvas.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_kernel_fills_planes_with_grey_levels_in_the_order_of_the_canvas(plugin: PluginLibrary, dtype: Any) -> None:
    frame = make_image(64, 96)
    planes = np.full((3, *CANVAS_SIZE), 7, dtype)

    preprocess(plugin, frame, planes, "bilinear", PLANES)

    assert np.abs(planes.transpose(1, 2, 0).astype(float) - frame).max() <= 1


def test_a_launch_that_fails_is_an_error(plugin: PluginLibrary) -> None:
    frame = make_image(4, 4)
    canvas = np.zeros((*CANVAS_SIZE, 3), np.uint8)
    params = PreprocessParams(0, -3, *CANVAS_SIZE, 0, CANVAS, 0, 1.0)
    with pytest.raises(InferenceError, match="letterbox kernel"):
        plugin.preprocess(params, frame.ctypes.data, 12, canvas.ctypes.data, False, 0)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Prefixes under which nothing is installed."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "ros"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "python"))
    monkeypatch.setattr(
        plugin_library, "__file__", str(tmp_path / "checkout" / "package" / "runtime" / "tensorrt" / "module.py")
    )
    return tmp_path


PLACES = ("ros/share/gaussian_yolo/lib", "python/share/gaussian_yolo/lib", "checkout/engines/plugin/build")


@pytest.mark.parametrize("place", PLACES)
def test_the_library_is_found_where_it_is_installed(nowhere: Path, place: str) -> None:
    (nowhere / place).mkdir(parents=True)
    (nowhere / place / LIBRARY).touch()
    assert find_plugin() == nowhere / place / LIBRARY


@pytest.mark.parametrize("open_to_all", [LIBRARY, "."])
def test_a_library_that_every_user_may_replace_is_refused(nowhere: Path, open_to_all: str) -> None:
    folder = nowhere / PLACES[0]
    folder.mkdir(parents=True)
    (folder / LIBRARY).touch()
    (folder / open_to_all).chmod(0o777)
    with pytest.raises(RuntimeUnavailableError, match="every user of this machine may replace it"):
        find_plugin()


def test_a_library_beside_an_engine_is_not_loaded(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(nowhere)
    (nowhere / LIBRARY).touch()
    with pytest.raises(RuntimeUnavailableError, match="there is no"):
        find_plugin()


def test_the_variable_goes_before_all_places(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nowhere / PLACES[0]).mkdir(parents=True)
    (nowhere / PLACES[0] / LIBRARY).touch()
    monkeypatch.setenv(VARIABLE, str(nowhere / "mine.so"))
    with pytest.raises(RuntimeUnavailableError, match=r"mine\.so, which does not exist"):
        find_plugin()
    (nowhere / "mine.so").touch()
    assert find_plugin() == nowhere / "mine.so"


def test_a_library_that_is_nowhere_is_told_with_the_places(nowhere: Path) -> None:
    with pytest.raises(RuntimeUnavailableError) as caught:
        find_plugin()
    for place in PLACES:
        assert str(nowhere / place) in str(caught.value)


def test_a_file_that_is_no_library_is_told(tmp_path: Path) -> None:
    (tmp_path / LIBRARY).write_bytes(b"\x7fELF")
    with pytest.raises(RuntimeUnavailableError, match="cannot be loaded"):
        PluginLibrary(tmp_path / LIBRARY)


def test_a_library_of_something_else_is_told() -> None:
    import ctypes.util

    name = ctypes.util.find_library("m")
    if name is None:
        pytest.skip("no libm to try with")
    with pytest.raises(RuntimeUnavailableError, match="has no gy_preprocess"):
        PluginLibrary(Path(name))

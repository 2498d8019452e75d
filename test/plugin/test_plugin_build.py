"""The TensorRT plugin: built by CMake, then driven as TensorRT drives it, where its headers and nvcc are there."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SOURCES = Path(__file__).resolve().parents[2] / "engines" / "plugin"
DRIVER = Path(__file__).with_name("plugin_driver.cpp")
FLOAT, HALF, INT8, INT32 = 0, 1, 2, 3  # nvinfer1::DataType
LINEAR, CHW32 = 0, 5  # nvinfer1::TensorFormat; the second is any other
TYPES = [FLOAT, FLOAT, FLOAT, INT32, FLOAT, FLOAT, INT32, FLOAT]  # heads, then outputs

GOOD: dict[str, Any] = {
    "anchors": np.arange(1, 19, dtype=np.float32),
    "strides": np.array([32, 16, 8], np.int32),
    "num_classes": np.array([3], np.int32),
    "input_height": np.array([96], np.int32),
    "input_width": np.array([160], np.int32),
    "max_candidates": np.array([500], np.int32),
    "max_detections": np.array([100], np.int32),
    "variance_vote": np.array([1], np.int32),
    "criterion": np.array([1], np.int32),
    "score_threshold": np.array([0.1], np.float32),
    "iou_threshold": np.array([0.45], np.float32),
}
OPTIONAL = {"max_candidates": 1000, "max_detections": 300, "variance_vote": 0, "criterion": 0}
SHAPES = [(1, 36, 3, 5), (1, 36, 6, 10), (1, 36, 12, 20)]


class Field(ctypes.Structure):
    """nvinfer1::PluginField."""

    _fields_ = (("name", ctypes.c_char_p), ("data", ctypes.c_void_p), ("type", ctypes.c_int), ("length", ctypes.c_int))


class Fields(ctypes.Structure):
    """nvinfer1::PluginFieldCollection."""

    _fields_ = (("count", ctypes.c_int), ("fields", ctypes.POINTER(Field)))


_KINDS = {"f": 1, "i": 5, "l": 10}  # nvinfer1::PluginFieldType kFLOAT32, kINT32, kINT64


class Driver:
    """The plugin's creator behind plugin_driver.cpp."""

    def __init__(self, driver: Path, plugin: Path) -> None:
        self.library: Any = ctypes.CDLL(str(driver))
        for name in ("drv_text", "drv_messages"):
            getattr(self.library, name).restype = ctypes.c_char_p
        for name in ("drv_create", "drv_clone", "drv_attach"):
            getattr(self.library, name).restype = ctypes.c_void_p
        for name in ("drv_field_names", "drv_serialized"):
            getattr(self.library, name).restype = ctypes.POINTER(Fields)
        for name in ("drv_open", "drv_supports"):
            getattr(self.library, name).restype = ctypes.c_bool
        self.library.drv_workspace.restype = ctypes.c_size_t
        assert self.library.drv_open(os.fsencode(plugin))

    def call(self, name: str, plugin: int, *arguments: Any) -> Any:
        return getattr(self.library, f"drv_{name}")(ctypes.c_void_p(plugin), *arguments)

    def create(self, attributes: dict[str, Any]) -> int | None:
        fields = (Field * len(attributes))(
            *(
                Field(name.encode(), values.ctypes.data, _KINDS[values.dtype.char], values.size)
                for name, values in attributes.items()
            )
        )
        return self.library.drv_create(ctypes.byref(Fields(len(attributes), fields)))

    def serialized(self, plugin: int) -> dict[str, Any]:
        """Copies of the fields that an engine gets."""
        collection = self.call("serialized", plugin).contents
        found = {}
        for field in collection.fields[: collection.count]:
            kind = {1: np.float32, 5: np.int32}[field.type]
            text = ctypes.string_at(field.data, field.length * 4)
            found[field.name.decode()] = np.frombuffer(text, kind)
        return found

    @property
    def messages(self) -> str:
        return self.library.drv_messages().decode()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """TensorRT's headers and the library."""
    root = os.environ.get("TENSORRT_ROOT")
    if not root:
        pytest.skip("TENSORRT_ROOT names no TensorRT, whose headers the plugin needs")
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if nvcc is None or shutil.which("cmake") is None:
        pytest.skip("nvcc and cmake are needed to build the plugin")
    folder = tmp_path_factory.mktemp("plugin")
    options = [f"-DTENSORRT_ROOT={root}", f"-DCMAKE_CUDA_COMPILER={nvcc}", "-DCMAKE_CUDA_ARCHITECTURES=86"]
    _run("cmake", "-S", str(SOURCES), "-B", str(folder / "build"), *options)
    _run("cmake", "--build", str(folder / "build"))
    _run("cmake", "--install", str(folder / "build"), "--prefix", str(folder / "prefix"))
    return Path(root), folder / "prefix" / "share" / "gaussian_yolo" / "lib" / "libgaussian_yolo_plugin.so"


@pytest.fixture(scope="module")
def driver(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Driver:
    root, plugin = built
    output = tmp_path_factory.mktemp("driver") / "driver.so"
    nvcc = Path(shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc") or "").resolve()
    folders = [root / "include", *root.glob("include/*-linux-gnu"), nvcc.parents[1] / "include", _cuda_include(nvcc)]
    includes = [flag for folder in folders for flag in ("-isystem", str(folder))]
    _run("g++", "-std=c++17", "-shared", "-fPIC", *includes, str(DRIVER), "-o", str(output), "-ldl")
    return Driver(output, plugin)


@pytest.fixture
def plugin(driver: Driver) -> Iterator[int]:
    made = driver.create(GOOD)
    assert made is not None, driver.messages
    yield made
    driver.call("destroy", made)


def test_the_library_shows_what_it_must_and_needs_no_tensorrt(built: tuple[Path, Path]) -> None:
    library = built[1]
    shown = _run("nm", "-D", "--defined-only", str(library)).split()[2::3]
    assert sorted(shown) == ["getCreators", "gy_preprocess", "setLoggerFinder"]
    dynamic = _run("readelf", "-d", str(library))
    assert "soname: [libgaussian_yolo_plugin.so]" in dynamic
    assert "nvinfer" not in dynamic and "cudart" not in dynamic


def test_creator(driver: Driver) -> None:
    texts = [driver.library.drv_text(which).decode() for which in range(4)]
    assert texts == ["GaussianYoloDetect", "1", "", "PLUGIN CREATOR_V3ONE"]
    names = driver.library.drv_field_names().contents
    assert {field.name.decode(): field.type for field in names.fields[: names.count]} == {
        name: _KINDS[values.dtype.char] for name, values in GOOD.items()
    }


@pytest.mark.parametrize("per_head", [1, 3, 8])
def test_attributes_survive_engine_clone_and_context(driver: Driver, per_head: int) -> None:
    given = GOOD | {"anchors": np.linspace(1.5, 300, 6 * per_head, dtype=np.float32)}
    first = driver.create(given)
    assert first is not None
    plugins = [first, driver.call("clone", first), driver.call("attach", first)]
    plugins.append(driver.create(driver.serialized(first)))
    for made in plugins:
        found = driver.serialized(made)
        assert found.keys() == given.keys()
        for name, values in given.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)
        driver.call("destroy", made)
    assert driver.messages == ""


def test_defaults(driver: Driver) -> None:
    made = driver.create({name: values for name, values in GOOD.items() if name not in OPTIONAL})
    assert made is not None
    found = driver.serialized(made)
    assert {name: int(found[name][0]) for name in OPTIONAL} == OPTIONAL
    driver.call("destroy", made)


@pytest.mark.parametrize("name", sorted(GOOD.keys() - OPTIONAL.keys()))
def test_a_missing_attribute_is_named(driver: Driver, name: str) -> None:
    assert driver.create({other: values for other, values in GOOD.items() if other != name}) is None
    assert driver.messages == f"GaussianYoloDetect: attribute {name} is missing\n"


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("anchors", np.zeros(0, np.float32), "anchors has 0 values"),
        ("anchors", np.ones(17, np.float32), "anchors has 17 values"),  # not in pairs
        ("anchors", np.ones(16, np.float32), "anchors has 16 values"),  # not for three heads
        ("anchors", np.ones(54, np.float32), "1 to 8 anchors"),
        ("anchors", np.ones(18, np.int32), "anchors must be float32"),
        ("anchors", np.array([*range(1, 18), 0], np.float32), "anchors has 0 at 17"),
        ("anchors", np.array([np.nan, *range(1, 18)], np.float32), "anchors has nan at 0"),
        ("anchors", np.array([np.inf, *range(1, 18)], np.float32), "anchors has inf at 0"),
        ("strides", np.array([32, 16], np.int32), "strides has 2 values where 3"),
        ("strides", np.array([32, 16, 0], np.int32), "strides must be positive"),
        ("strides", np.array([64, 16, 8], np.int32), "divide input_height"),
        ("num_classes", np.array([0], np.int32), "num_classes"),
        ("num_classes", np.array([3], np.int64), "num_classes must be int32"),
        ("num_classes", np.array([1.5], np.float32), "num_classes must be int32"),
        ("input_width", np.array([96, 160], np.int32), "input_width has 2 values where 1"),
        ("score_threshold", np.array([1], np.float32), "score_threshold"),
        ("score_threshold", np.array([np.nan], np.float32), "score_threshold"),
        ("iou_threshold", np.array([-0.1], np.float32), "iou_threshold"),
        ("max_candidates", np.array([8193], np.int32), "max_candidates"),
        ("max_detections", np.array([0], np.int32), "max_detections"),
        ("variance_vote", np.array([2], np.int32), "variance_vote"),
        ("criterion", np.array([-1], np.int32), "criterion"),
        ("score_treshold", np.array([0.5], np.float32), "no attribute score_treshold"),
    ],
)
def test_a_bad_attribute_is_refused_with_the_reason(driver: Driver, name: str, values: Any, reason: str) -> None:
    assert driver.create(GOOD | {name: values}) is None
    assert reason in driver.messages


@pytest.mark.parametrize("batch", [1, 4, -1])
def test_output_shapes(driver: Driver, plugin: int, batch: int) -> None:
    status, found = _output_shapes(driver, plugin, [(batch, *shape[1:]) for shape in SHAPES])
    assert status == 0, driver.messages
    assert found == [(batch,), (batch, 100, 4), (batch, 100), (batch, 100), (batch, 100, 4)]


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ([SHAPES[0], (1, 39, 6, 10), SHAPES[2]], "head 1 is [batch, 39, 6, 10]"),
        ([SHAPES[2], SHAPES[1], SHAPES[0]], "head 0 is [batch, 36, 12, 20]"),  # finest first
        ([SHAPES[0], SHAPES[1], (-1, -1, 12, 21)], "head 2 is [batch, -1, 12, 21]"),
        (SHAPES[:2], "has 2 inputs"),
        ([shape[:3] for shape in SHAPES], "head 0 has 3 dimensions"),
    ],
)
def test_heads_of_another_shape_are_refused(
    driver: Driver, plugin: int, shapes: list[tuple[int, ...]], reason: str
) -> None:
    assert _output_shapes(driver, plugin, shapes)[0] != 0
    assert reason in driver.messages


@pytest.mark.parametrize(
    ("given", "accepted"),
    [((FLOAT,) * 3, True), ((HALF,) * 3, True), ((FLOAT, HALF, FLOAT), False), ((INT8,) * 3, False)],
)
def test_output_types(driver: Driver, plugin: int, given: tuple[int, int, int], accepted: bool) -> None:
    found = (ctypes.c_int * 5)()
    assert (driver.call("output_types", plugin, (ctypes.c_int * 3)(*given), found) == 0) == accepted
    assert ("data type" in driver.messages) != accepted
    if accepted:
        assert list(found) == TYPES[3:]


@pytest.mark.parametrize("head_type", [FLOAT, HALF])
def test_formats(driver: Driver, plugin: int, head_type: int) -> None:
    types = [head_type] * 3 + TYPES[3:]
    for position in range(8):
        for other in (FLOAT, HALF, INT8, INT32):
            asked = [*types[:position], other, *types[position + 1 :]]
            # The first head is free to be either; the rest follow it.
            wanted = other in (FLOAT, HALF) if position == 0 else other == types[position]
            assert _supports(driver, plugin, position, asked, [LINEAR] * 8) == wanted, (position, other)
        formats = [CHW32 if index == position else LINEAR for index in range(8)]
        assert not _supports(driver, plugin, position, types, formats)
    assert not _supports(driver, plugin, 8, types, [LINEAR] * 8)


@pytest.mark.parametrize(
    ("batches", "accepted"), [((1, 1, 1), True), ((16, 16, 16), True), ((2, 1, 2), False), ((0, 0, 0), False)]
)
def test_shapes_of_a_run(driver: Driver, plugin: int, batches: tuple[int, int, int], accepted: bool) -> None:
    shapes = [(batch, *shape[1:]) for batch, shape in zip(batches, SHAPES, strict=True)]
    assert (driver.call("configure", plugin, _array(shapes)) == 0) == accepted
    assert (driver.call("shape_change", plugin, _array(shapes)) == 0) == accepted
    assert ("batch" in driver.messages) != accepted


def test_workspace_grows_with_the_largest_batch(driver: Driver, plugin: int) -> None:
    sizes = [driver.call("workspace", plugin, _array([(batch, *shape[1:]) for shape in SHAPES])) for batch in (1, 2, 8)]
    assert 0 < sizes[0] < sizes[1] < sizes[2] <= 8 * sizes[0]


def test_a_real_registry_takes_the_library(built: tuple[Path, Path]) -> None:
    """TensorRT for RTX, which needs no GPU for this; in a process of its own, for plugins stay registered."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")
    attributes = {name: (values.dtype.name, values.tolist()) for name, values in GOOD.items()}
    ran = _run(sys.executable, "-c", _REGISTRY, str(built[1]), repr(attributes))
    assert ran.splitlines()[-1] == "created True, refused True"


_REGISTRY = """
import ast, sys
import numpy as np
import tensorrt_rtx_bindings as trt

logger = trt.Logger(trt.Logger.ERROR)
registry = trt.get_plugin_registry()
assert registry.load_library(sys.argv[1]) is not None
creator = registry.get_creator("GaussianYoloDetect", "1", "")
arrays = {name: np.array(values, kind) for name, (kind, values) in ast.literal_eval(sys.argv[2]).items()}
kinds = {"float32": trt.PluginFieldType.FLOAT32, "int32": trt.PluginFieldType.INT32}

def create(arrays):
    fields = [trt.PluginField(name, values, kinds[values.dtype.name]) for name, values in arrays.items()]
    return creator.create_plugin("detect", trt.PluginFieldCollection(fields), trt.TensorRTPhase.BUILD)

created = create(arrays)
print(f"created {created is not None}, refused {create(arrays | {'strides': arrays['anchors']}) is None}")
"""


def _array(shapes: Sequence[tuple[int, ...]]) -> Any:
    padded = [(*shape, 0, 0)[:4] for shape in shapes]
    return (ctypes.c_int64 * 4 * len(shapes))(*((ctypes.c_int64 * 4)(*shape) for shape in padded))


def _output_shapes(driver: Driver, plugin: int, shapes: Sequence[tuple[int, ...]]) -> tuple[int, list[tuple[int, ...]]]:
    ranks, sizes = (ctypes.c_int * 5)(), (ctypes.c_int64 * 4 * 5)()
    status = driver.call("output_shapes", plugin, len(shapes), len(shapes[0]), _array(shapes), ranks, sizes)
    return status, [tuple(size[:rank]) for rank, size in zip(ranks, sizes, strict=True)]


def _supports(driver: Driver, plugin: int, position: int, types: list[int], formats: list[int]) -> bool:
    eight = ctypes.c_int * 8
    return bool(driver.call("supports", plugin, position, eight(*types), eight(*formats)))


def _cuda_include(nvcc: Path) -> Path:
    """Of the toolkit that a wrapper script of that name calls."""
    shown = subprocess.run([str(nvcc), "--dryrun", "-c", "x.cu"], capture_output=True, text=True, check=False)
    tops = [line.split("=", 1)[1] for line in shown.stderr.splitlines() if line.startswith("#$ TOP=")]
    return Path(tops[0].strip()) / "include" if tops else nvcc.parents[1] / "include"


def _run(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout

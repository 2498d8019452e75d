"""plugin.cpp against TensorRT's headers, and the library in TensorRT."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from engine_models import make_network

REPOSITORY = Path(__file__).resolve().parents[4]
PLUGIN = REPOSITORY / "engines" / "plugin"
EXPORTS = {"getCreators", "setLoggerFinder", "gy_preprocess"}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, built with the user's command for one GPU."""
    root = os.environ.get("TENSORRT_ROOT")
    if root is None:
        pytest.skip("TENSORRT_ROOT names no TensorRT, and no package has its headers")
    for tool in ("cmake", "nvcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    folder = tmp_path_factory.mktemp("plugin")
    configure = ["cmake", "-S", str(PLUGIN), "-B", str(folder), f"-DTENSORRT_ROOT={root}"]
    cuda = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin" / "nvcc"
    if cuda.is_file():
        configure.append(f"-DCMAKE_CUDA_COMPILER={cuda}")
    for command in ([*configure, "-DCMAKE_CUDA_ARCHITECTURES=87-real"], ["cmake", "--build", str(folder)]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "libgaussian_yolo_plugin.so"


def test_loads_without_tensorrt_and_has_what_the_runtime_calls(library: Path) -> None:
    loaded = ctypes.CDLL(str(library))
    assert all(hasattr(loaded, name) for name in EXPORTS)


def test_shows_nothing_else(library: Path) -> None:
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed")
    listed = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    assert {line.split()[-1] for line in listed.splitlines()} == EXPORTS


@pytest.mark.parametrize("batch", [1, "batch"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_builds_an_engine_with_it(library: Path, tmp_path: Path, precision: str, batch: int | str) -> None:
    """In its own process, because a process can have only one plugin of a name."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")
    model = make_network(tmp_path / "tiny.onnx", batch=batch)
    command = [
        sys.executable,
        "-m",
        "gaussian_yolo_node.commands",
        "build-engine",
        model,
        "-o",
        tmp_path / "tiny.engine",
    ]
    command += ["--compute-capability", "86", "--precision", precision, "--plugin", library]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert b"GaussianYoloDetect" in (tmp_path / "tiny.engine").read_bytes()


@pytest.mark.parametrize(
    ("attribute", "value", "says"),
    [
        ("num_classes", 0, "num_classes must be at least 1"),
        ("strides", [32, 16], "of three heads"),
        ("score_threshold", 1.0, "score_threshold must be"),
        ("max_detections", None, "max_detections is missing"),
        ("num_classes", 4, r"head 0 must be \[N, 39, 2, 3\]"),
    ],
)
def test_attributes_that_are_wrong_are_told(library: Path, attribute: str, value: object, says: str) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")
    script = f"""
import re, sys
from pathlib import Path
import onnx
sys.path[:0] = [{str(REPOSITORY)!r}, {str(REPOSITORY / "test" / "support")!r}]
import tempfile
from engine_models import make_network
from gaussian_yolo_node.lab.export.tensorrt import tensorrt_api
from gaussian_yolo_node.lab.export.tensorrt.builder import prepare_model
from gaussian_yolo_node.lab.export.tensorrt.options import BuildOptions

path = make_network(Path(tempfile.mkdtemp()) / "tiny.onnx")
model = onnx.load_from_string(prepare_model(path, BuildOptions("fp32"), rtx=True).serialized)
node = model.graph.node[-1]
kept = [entry for entry in node.attribute if entry.name != {attribute!r}]
del node.attribute[:]
node.attribute.extend(kept)
if {value!r} is not None:
    node.attribute.append(onnx.helper.make_attribute({attribute!r}, {value!r}))
found = tensorrt_api.find_tensorrt(ahead_of_time=True)
log = tensorrt_api.make_logger(found.module)
builder = found.module.Builder(log)
tensorrt_api.provide_plugin(found, Path({str(library)!r}))
network = builder.create_network(found.network_flags())
parser = found.module.OnnxParser(network, log)
parsed = parser.parse(model.SerializeToString())
config = builder.create_builder_config()
config.num_compute_capabilities = 1
config.set_compute_capability(found.compute_capabilities()["86"], 0)
plan = builder.build_serialized_network(network, config) if parsed else None
assert plan is None
print(log.take())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    import re

    assert re.search(f"GaussianYoloDetect: .*{says}", done.stdout + done.stderr), done.stdout + done.stderr

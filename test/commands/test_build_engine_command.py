from __future__ import annotations

from pathlib import Path

import pytest
from commands.conftest import Result, Run, run_apart
from engine_models import CHANNELS, make_network

from gaussian_yolo_node.commands.build_engine import parse_capabilities
from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.lab.export.tensorrt import tensorrt_api

# TensorRT and its companions.
MISSING = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "pycuda", "modelopt")


def assert_one_line(done: Result, *words: str) -> None:
    assert done.code == 2, done.err
    lines = done.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.err
    assert all(word in lines[0] for word in words), lines[0]


@pytest.mark.parametrize(
    ("text", "capabilities"),
    [("86", ("86",)), ("8.6", ("86",)), ("86,8.9, 12.0", ("86", "89", "120")), ("86,8.6", ("86",))],
)
def test_capabilities(text: str, capabilities: tuple[str, ...]) -> None:
    assert parse_capabilities(text) == capabilities


@pytest.mark.parametrize("text", ["", ",", "86,", "sm86", "8", "1234", "86;89", "-86"])
def test_other_capabilities_are_told(text: str) -> None:
    with pytest.raises(SettingError, match="--compute-capability is"):
        parse_capabilities(text)


def test_without_tensorrt_the_help_is_there_and_a_build_says_what_is_missing(tmp_path: Path) -> None:
    build = ("build-engine", make_network(tmp_path / "tiny.onnx"), "-o", tmp_path / "tiny.engine")
    helped, done = run_apart(("build-engine", "--help"), build, without=MISSING)
    assert "NAME.engine" in helped.out
    assert_one_line(done, "needs the package tensorrt or tensorrt_rtx", "install it with `")


def test_an_engine_by_the_command(run: Run, tmp_path: Path) -> None:
    try:
        tensorrt_api.import_tensorrt("tensorrt_rtx")
    except ImportError:
        pytest.skip("TensorRT for RTX is not installed")
    model, engine = make_network(tmp_path / "tiny.onnx"), tmp_path / "tiny.engine"
    done = run("build-engine", model, "-o", engine, "--compute-capability", "86,8.9")
    assert done.code == 0, done.err
    (built,) = done.out.splitlines()
    assert built.startswith(f"built: {engine}, tiny in fp16 for SM 86,89, canvas 64x96, TensorRT for RTX ")
    make_network(model, head_channels=(CHANNELS + 1,) * 3)
    assert_one_line(run("build-engine", model, "-o", engine, "--compute-capability", "86"), "head_32", "= 36 channels")
    assert_one_line(run("build-engine", tmp_path / "no.onnx", "-o", engine, "--compute-capability", "86"), "no.onnx")
    if not Path("/dev/nvidiactl").exists() and not Path("/proc/device-tree/model").exists():
        assert_one_line(run("build-engine", model, "-o", engine), "an engine is built for the GPU of this machine")

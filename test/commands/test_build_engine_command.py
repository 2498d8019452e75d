from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from engine_models import CHANNELS, make_network

from gaussian_yolo_node.commands.build_engine import parse_capabilities
from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.lab.export.tensorrt import tensorrt_api

REPOSITORY = Path(__file__).resolve().parents[2]

# A process that can import neither TensorRT nor its companion packages.
BARE = """
import sys
for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "pycuda", "modelopt"):
    sys.modules[name] = None
from gaussian_yolo_node.commands.gaussian_yolo import main
main()
"""


def run(*arguments: str | Path, bare: bool = False) -> subprocess.CompletedProcess[str]:
    start = ["-c", BARE] if bare else ["-m", "gaussian_yolo_node.commands"]
    return subprocess.run(
        [sys.executable, *start, "build-engine", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
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
    assert "NAME.engine" in run("--help", bare=True).stdout
    model = make_network(tmp_path / "tiny.onnx")
    done = run(model, "-o", tmp_path / "tiny.engine", bare=True)
    assert_one_line(done, "needs the package tensorrt or tensorrt_rtx", "install it with `")


def test_an_engine_by_the_command(tmp_path: Path) -> None:
    try:
        tensorrt_api.import_tensorrt("tensorrt_rtx")
    except ImportError:
        pytest.skip("TensorRT for RTX is not installed")
    model, engine = make_network(tmp_path / "tiny.onnx"), tmp_path / "tiny.engine"
    done = run(model, "-o", engine, "--compute-capability", "86,8.9")
    assert done.returncode == 0, done.stderr
    (built,) = done.stdout.splitlines()
    assert built.startswith(f"built: {engine}, tiny in fp16 for SM 86,89, canvas 64x96, TensorRT for RTX ")
    make_network(model, head_channels=(CHANNELS + 1,) * 3)
    assert_one_line(run(model, "-o", engine, "--compute-capability", "86"), "head_32", "= 36 channels")
    assert_one_line(run(tmp_path / "no.onnx", "-o", engine, "--compute-capability", "86"), "no.onnx")
    if not Path("/dev/nvidiactl").exists() and not Path("/proc/device-tree/model").exists():
        assert_one_line(run(model, "-o", engine), "an engine is built for the GPU of this machine")

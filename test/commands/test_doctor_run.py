from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from gaussian_yolo_node.commands import doctor_run
from gaussian_yolo_node.commands.doctor_run import Part, Report, examine, print_report
from gaussian_yolo_node.runtime.tensorrt.board import Board, read_board
from gaussian_yolo_node.runtime.tensorrt.plugin_library import VARIABLE


def make_root(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        path = tmp_path / name.replace("__", "/").replace("_tree", "-tree")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


TEGRA = (
    "# R36 (release), REVISION: 4.0, GCID: 37537400, BOARD: generic, EABI: aarch64, DATE: Fri Sep 13 04:36:44 UTC 2024"
)
ORIN = {"proc__device_tree__model": "NVIDIA Jetson AGX Orin\0"}
NVIDIA = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Fri Jan 10 03:50:00 UTC 2025\nGCC version: 13\n"


@pytest.mark.parametrize(
    ("files", "kind", "name", "release", "jetpack"),
    [
        ({}, "cpu", None, "", 0),
        (ORIN | {"etc__nv_tegra_release": TEGRA}, "jetson", "NVIDIA Jetson AGX Orin", "36.4.0", 6),
        ({"proc__device_tree__model": "NVIDIA Jetson AGX Thor\0"}, "jetson", "NVIDIA Jetson AGX Thor", "", 0),
        ({"etc__nv_tegra_release": TEGRA.replace("R36", "R38").replace("4.0", "2.1")}, "jetson", "Jetson", "38.2.1", 7),
        ({"etc__nv_tegra_release": TEGRA.replace("R36", "R35")}, "jetson", "Jetson", "35.4.0", 5),
        ({"etc__nv_tegra_release": TEGRA.replace("R36", "R99")}, "jetson", "Jetson", "99.4.0", 0),
        ({"proc__driver__nvidia__version": NVIDIA}, "nvidia", None, "570.86.15", 0),
        ({"proc__device_tree__model": "Raspberry Pi 5\0"}, "cpu", "Raspberry Pi 5", "", 0),
        ({"proc__driver__nvidia__version": ""}, "cpu", None, "", 0),
    ],
)  # fmt: skip
def test_knows_the_board(
    tmp_path: Path, files: dict[str, str], kind: str, name: str | None, release: str, jetpack: int
) -> None:
    board = read_board(make_root(tmp_path, **files))

    assert (board.kind, board.release, board.jetpack) == (kind, release, jetpack)
    assert board.name == name or name is None


@pytest.mark.parametrize("kind", ["jetson", "nvidia", "cpu"])
@pytest.mark.parametrize("missing", ["driver", "cuda", "tensorrt", "tensorrt_rtx", "pycuda"])
def test_has_a_line_to_install_each_part_on_each_board(kind: str, missing: str) -> None:
    assert Board(kind, "some").install_line(missing)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def report() -> Report:
    return examine(Board("jetson", "NVIDIA Jetson Orin Nano", "36.4.0"))


def test_finds_what_this_environment_has(report: Report) -> None:
    parts = {part.name: part for part in report.parts}
    opencv = parts["OpenCV"]
    assert opencv.found and opencv.version[0].isdigit() and opencv.detail in ("GStreamer yes", "GStreamer no")
    for part in report.parts:
        assert part.found or part.detail or part.name in ("vision_msgs", "tf2_msgs")
        assert bool(part.install) == (not part.found and part.name != "TensorRT for RTX")
    assert report.runtimes.keys() == {"openvino", "onnxruntime", "tensorrt"}
    for runtime, module in (("openvino", "OpenVINO"), ("onnxruntime", "ONNX Runtime")):
        assert (report.runtimes[runtime] == "ready") == (parts[module].found and opencv.found)
    if "ready" in report.runtimes.values():
        assert report.canvas.startswith("csp_nano_driving: ")
        assert "30 Hz" in report.canvas


def test_where_no_gpu_is_no_part_of_one_is_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_run, "_PROBES", dict.fromkeys(doctor_run._PROBES, "import nothing_of_that_name"))
    monkeypatch.setattr(doctor_run, "_RATE_PROBE", "print('a canvas')")
    report = examine(Board("cpu", "x86_64"))

    assert not any(part.found for part in report.parts if part.name not in ("CUDA toolkit", "shared memory"))
    wanted = {part.name for part in report.parts if part.install}
    assert wanted == {"OpenVINO", "ONNX Runtime", "OpenCV", "typer", "rclpy (ROS 2)", "vision_msgs", "tf2_msgs"}
    assert "nothing_of_that_name" in report.parts[0].detail
    assert report.runtimes["openvino"] == "lacks OpenVINO, OpenCV"


@pytest.mark.parametrize(
    ("script", "found", "version", "detail"),
    [
        ("print('1.2.3\\tone, two')", True, "1.2.3", "one, two"),
        ("print('noise'); print('1.2.3')", True, "1.2.3", ""),
        ("print('')", True, "", ""),
        ("import os; os.abort()", False, "", "crashes when it is loaded (signal 6)"),
        ("raise ImportError('libnvinfer.so.10 is missing')", False, "", "ImportError: libnvinfer.so.10 is missing"),
        ("print('CUDA 12.6\\tno GPU (error 100)')", False, "CUDA 12.6", "no GPU (error 100)"),
    ],
)
def test_a_package_that_does_not_load_is_told_and_does_no_harm(
    script: str, found: bool, version: str, detail: str
) -> None:
    assert doctor_run._finish(doctor_run._start(script)) == (found, version, detail)


def test_a_model_that_cannot_be_timed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_run, "_PROBES", dict.fromkeys(doctor_run._PROBES, "print('')"))
    monkeypatch.setattr(doctor_run, "_RATE_PROBE", "raise SystemExit('no runtime')")
    assert examine(Board("cpu", "x86_64")).canvas == "the default model cannot be timed: no runtime"


def test_a_package_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_run, "PROBE_TIMEOUT_S", 0.2)
    assert "does not load within" in doctor_run._finish(doctor_run._start("import time; time.sleep(60)"))[2]


def test_the_plugin_and_engines_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "libgaussian_yolo_plugin.so"
    library.touch()
    (tmp_path / "car.engine").write_bytes(b"engine")
    monkeypatch.setenv(VARIABLE, str(library))
    monkeypatch.chdir(tmp_path)

    assert doctor_run._plugin() == (True, "", str(library))
    assert any("car.engine" in line for line in doctor_run._engines())


def test_where_only_parts_for_a_gpu_are_missing_nothing_is_to_be_installed() -> None:
    text = io.StringIO()
    parts = (Part("TensorRT", False, "", "no module"), Part("OpenVINO", True, "2024.4", "CPU"))
    print_report(Report(Board("cpu", "x86_64"), "3.11", parts, (), {}, ""), Console(file=text, width=100))
    assert "nothing is to be installed: what is missing is of use with an NVIDIA GPU alone" in text.getvalue()


def test_json_has_all(report: Report) -> None:
    fields = json.loads(report.to_json())
    assert fields["board"] == {"kind": "jetson", "name": "NVIDIA Jetson Orin Nano", "release": "36.4.0", "jetpack": 6}
    assert [part["name"] for part in fields["parts"]] == [part.name for part in report.parts]
    assert fields["runtimes"] == report.runtimes


def test_the_table_shows_brackets_and_says_what_to_install() -> None:
    parts = (Part("TensorRT", False, "", "no [red]module[/red]", "sudo apt install nvidia-jetpack"),)
    board = Board("jetson", "NVIDIA Jetson Orin Nano", "36.4.0")
    text = io.StringIO()
    print_report(
        Report(board, "3.10.12", parts, ("a.engine: [fp16]",), {"tensorrt": "lacks TensorRT"}, "m: canvas 1x2"),
        Console(file=text, width=100),
    )

    shown = text.getvalue()
    for piece in ("JetPack 6", "no [red]module[/red]", "a.engine: [fp16]", "TensorRT: sudo apt install nvidia-jetpack"):
        assert piece in shown

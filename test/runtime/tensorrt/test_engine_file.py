from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories import PLANTED, make_image, make_model
from fake_cuda import Gpu
from fake_tensorrt import write_engine
from runtime_engines import make_engine, make_sidecar, write_sidecar

from gaussian_yolo_node.detector import Detector
from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.runtime import InferenceError, RuntimeOptions, RuntimeUnavailableError
from gaussian_yolo_node.runtime.tensorrt import rebuilding
from gaussian_yolo_node.runtime.tensorrt.cuda import open_gpu
from gaussian_yolo_node.runtime.tensorrt.engine_file import describe_engine
from gaussian_yolo_node.runtime.tensorrt.plugin_library import VARIABLE

FRAME = make_image(64, 96)
Uninstall = Callable[[str], None]


def opened(model: Path, runtime: str = "tensorrt", **options: Any) -> Detector:
    return Detector.open(model, runtime, options=RuntimeOptions(**options))


# Engines that do not fit


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tensorrt": "10.13.3"}, "TensorRT"),
        ({"compute_capability": "89"}, "89"),
        ({"model_hash": "0123456789ab"}, "0123456789ab"),
        ({"plugin_version": "0"}, "plugin"),
    ],
)
def test_a_stale_engine_is_refused_with_the_command_that_builds_it(
    gpu: Gpu, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    model = make_engine(tmp_path, sidecar=change)
    with pytest.raises(ModelError, match="is stale") as caught:
        opened(model)
    assert says in str(caught.value)
    assert f"`gaussian-yolo build-engine {model} -o {model.with_suffix('.engine')}`" in str(caught.value)


def test_an_engine_whose_model_is_not_there_is_taken_as_it_is(gpu: Gpu, tmp_path: Path) -> None:
    model = make_engine(tmp_path)
    engine = model.with_suffix(".engine").rename(tmp_path / "car.engine")
    Path(f"{model.with_suffix('.engine')}.json").rename(f"{engine}.json")
    with opened(engine) as detector:
        assert len(detector(FRAME)) == 2


def test_a_model_without_an_engine_is_told_how_to_build_one(gpu: Gpu, tiny_model: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "car.onnx")
    with pytest.raises(ModelError, match=rf"no engine .*car\.engine.*build-engine {model} -o"):
        opened(model)


def test_an_engine_without_a_sidecar_is_told(gpu: Gpu, tmp_path: Path) -> None:
    model = make_engine(tmp_path)
    Path(f"{model.with_suffix('.engine')}.json").unlink()
    with pytest.raises(ModelError, match=r"tiny\.engine\.json"):
        opened(model)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"no engine", r"cannot be loaded by TensorRT 10\.3\.0 \(Serialization assertion magicTag failed\.\)"),
    ],
)
def test_a_damaged_engine_is_told(gpu: Gpu, tmp_path: Path, content: bytes, says: str) -> None:
    model = make_engine(tmp_path)
    model.with_suffix(".engine").write_bytes(content)
    with pytest.raises(ModelError, match=says):
        opened(model)


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ({"batch": 4}, "one image of a fixed size"),
        ({"layout": "int32"}, "where uint8"),
        ({"outputs": ["num_detections", "boxes"]}, "has the tensors image, num_detections, boxes"),
    ],
)
def test_an_engine_of_another_kind_is_told(gpu: Gpu, tmp_path: Path, engine: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        opened(make_engine(tmp_path, engine=engine))


def test_an_engine_for_larger_batches_only_is_told(gpu: Gpu, tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="not in the range that it was built for"):
        opened(make_engine(tmp_path, engine={"batch": -1, "profile": False}))


def test_an_engine_for_any_batch_runs_one_image_at_a_time(gpu: Gpu, tmp_path: Path) -> None:
    with opened(make_engine(tmp_path, engine={"batch": -1})) as detector:
        assert len(detector(FRAME)) == 2


# Built again where asked


def test_is_built_again_where_asked(
    gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_engine(tmp_path)
    make_model(model, planted=PLANTED[:1])  # another one now
    commands: list[list[str]] = []

    def build(command: list[str]) -> int:
        commands.append(command)
        write_engine(model.with_suffix(".engine"), model)
        write_sidecar(model.with_suffix(".engine"), make_sidecar(model))
        return 0

    monkeypatch.setattr(rebuilding, "run_child", build)
    with opened(model, rebuild_engine=True) as detector:
        assert len(detector(FRAME)) == 1
    with opened(model, rebuild_engine=True):
        pass
    assert [command[1:4] for command in commands] == [["-m", "gaussian_yolo_node.commands", "build-engine"]]
    assert commands[0][0] == sys.executable and str(model) in commands[0]
    assert "building it now" in caplog.text


def test_a_build_that_fails_is_told(gpu: Gpu, tmp_path: Path) -> None:
    model = make_engine(tmp_path, sidecar={"tensorrt": "9.0", "command": "gaussian-yolo build-engine nowhere.onnx"})
    with pytest.raises(ModelError, match=r"could not be built; run `gaussian-yolo build-engine nowhere\.onnx`"):
        opened(model, rebuild_engine=True)


def test_an_engine_alone_cannot_be_built_again(gpu: Gpu, tmp_path: Path) -> None:
    engine = tmp_path / "car.engine"
    engine.write_bytes(b"engine")
    with pytest.raises(ModelError, match=r"car\.engine"):
        opened(engine, rebuild_engine=True)


# What runtime auto takes


def test_auto_takes_the_gpu_where_the_model_has_an_engine(gpu: Gpu, tmp_path: Path) -> None:
    with opened(make_engine(tmp_path), "auto") as detector:
        assert detector.runtime.name == "tensorrt"


def test_auto_takes_the_processor_where_there_is_no_engine(gpu: Gpu, tmp_path: Path) -> None:
    with opened(make_model(tmp_path / "car.onnx"), "auto") as detector:
        assert detector.runtime.name != "tensorrt"


@pytest.mark.parametrize("reason", ["stale", "no pycuda", "no GPU", "no plugin"])
def test_auto_takes_the_processor_where_the_engine_does_not_run_and_says_why(
    gpu: Gpu,
    tmp_path: Path,
    reason: str,
    uninstall: Uninstall,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = make_engine(tmp_path, sidecar={"tensorrt": "9.0"} if reason == "stale" else {})
    if reason == "no pycuda":
        uninstall("pycuda")
    elif reason == "no GPU":
        gpu.fail("cuInit", "no CUDA-capable device is detected")
    elif reason == "no plugin":
        monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere.so"))
    with caplog.at_level(logging.WARNING), opened(model, "auto") as detector:
        assert detector.runtime.name != "tensorrt"
    said = {"stale": "is stale", "no pycuda": "pycuda", "no GPU": "no CUDA-capable device", "no plugin": "nowhere.so"}
    assert said[reason] in caplog.text


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_processors_runtime_is_taken_where_it_is_asked_for(gpu: Gpu, tmp_path: Path, runtime: str) -> None:
    pytest.importorskip(runtime, reason=f"{runtime} not installed")
    with opened(make_engine(tmp_path), runtime) as detector:
        assert detector.runtime.name == runtime


# What is missing


@pytest.mark.parametrize(
    ("package", "says"),
    [
        ("pycuda", r"needs pycuda.*`CPATH=.* -m pip install pycuda`"),
        ("tensorrt", r"needs the package tensorrt.*`python3 -m pip install tensorrt`"),
    ],
)
def test_a_missing_package_is_told_with_the_line_that_installs_it(
    gpu: Gpu, tmp_path: Path, uninstall: Uninstall, package: str, says: str
) -> None:
    model = make_engine(tmp_path)
    uninstall(package)
    with pytest.raises(RuntimeUnavailableError, match=says):
        opened(model)


@pytest.mark.parametrize("call", ["cuInit", "cuDeviceGet"])
def test_no_gpu_is_told(gpu: Gpu, tmp_path: Path, call: str) -> None:
    gpu.fail(call, "no CUDA-capable device is detected")
    with pytest.raises(RuntimeUnavailableError, match=r"no GPU to use.*no CUDA-capable device"):
        opened(make_engine(tmp_path))


def test_a_plugin_of_another_tensorrt_is_told(gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "refused.so").touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "refused.so"))
    with pytest.raises(ModelError, match=r"does not take the plugins of .*refused\.so"):
        opened(make_engine(tmp_path))


def test_without_any_of_it_all_that_is_missing_is_told(
    tiny_model: Path, uninstall: Uninstall, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_gpu.cache_clear()
    uninstall("pycuda")
    uninstall("tensorrt")
    monkeypatch.setenv(VARIABLE, "nowhere.so")
    with pytest.raises(
        RuntimeUnavailableError, match=r"needs pycuda.*needs the package tensorrt.*names nowhere\.so"
    ) as caught:
        opened(tiny_model)
    assert "\n" not in str(caught.value)


# In a line for people


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda model: None, "canvas 64x96, tensorrt 10.3.0 for SM 87"),
        (lambda model: make_model(model, planted=()), "stale: the model beside it is another"),
        (lambda model: model.unlink(), "10.3.0 for SM 87"),
        (lambda model: Path(f"{model.with_suffix('.engine')}.json").unlink(), ".json"),
        (lambda model: model.with_suffix(".engine").unlink(), "there is no engine"),
    ],
)
def test_an_engine_is_described(gpu: Gpu, tmp_path: Path, damage: Callable[[Path], Any], says: str) -> None:
    model = make_engine(tmp_path)
    damage(model)
    assert says in describe_engine(model.with_suffix(".engine"))


def test_a_sidecar_is_read_as_it_was_written(tmp_path: Path) -> None:
    from gaussian_yolo_node.runtime.tensorrt.engine_file import read_engine

    model = make_engine(tmp_path)
    sidecar = replace(make_sidecar(model), command="gaussian-yolo build-engine 'a b.onnx' -o c.engine")
    write_sidecar(model.with_suffix(".engine"), sidecar)
    assert read_engine(model) == sidecar

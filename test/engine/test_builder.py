from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exported_models import make_exported
from factories import make_card, make_model
from typer.testing import CliRunner

from gaussian_yolo_node.cli import app
from gaussian_yolo_node.detector.model import file_hash
from gaussian_yolo_node.engine import builder
from gaussian_yolo_node.engine.builder import BuildError, BuildOptions, build_engine, compile_network, network_graph
from gaussian_yolo_node.engine.plugin_node import attributes_of
from gaussian_yolo_node.engine.sidecar import read_sidecar
from gaussian_yolo_node.engine.tensorrt_api import TensorRtApi, load_api
from gaussian_yolo_node.errors import GaussianYoloError, ModelError, SettingError
from gaussian_yolo_node.runtime.base import RuntimeUnavailableError

TARGETS = ("86", "89")


def quiet(phase: str, done: int, steps: int) -> None:
    pass


def half(path: Path) -> Path:
    """A model whose heads are computed in half, as AutoCast leaves them."""
    proto = onnx.load(str(path))
    graph = proto.graph
    cast = next(node for node in graph.node if node.op_type == "Cast")
    cast.attribute[0].i = onnx.TensorProto.FLOAT16
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for value in graph.output:
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(proto, str(path))
    return path


# Real builds, by TensorRT for RTX


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dynamic", [False, True], ids=["batch 1", "dynamic"])
def test_a_model_becomes_an_engine_without_a_gpu(
    rtx: TensorRtApi, created: list[Any], tmp_path: Path, precision: str, target: str, dynamic: bool
) -> None:
    path = make_exported(tmp_path / "tiny.onnx", dynamic=dynamic)
    path = half(path) if precision == "fp16" else path
    attributes = attributes_of(make_card(), path, max_detections=50)
    batch = None if dynamic else 1
    graph = network_graph(onnx.load(str(path)), attributes, path, batch)
    engine = compile_network(rtx, graph, precision, (target,), BuildOptions(batch=batch), quiet)
    assert len(engine) > 1000
    made = created[0]
    assert np.allclose(made.anchors, attributes.anchors)
    assert made.score_threshold == pytest.approx(0.3) and made.iou_threshold == pytest.approx(0.45)
    assert (made.strides, made.num_classes, made.input_height, made.input_width) == ((32, 16, 8), 3, 64, 96)
    assert (made.max_candidates, made.max_detections, made.variance_vote, made.criterion) == (1000, 50, 0, 0)


@pytest.mark.parametrize(("batch", "images"), [(1, 1), (3, 3), (None, -1)])
def test_outputs_have_the_plugins_shapes(
    rtx: TensorRtApi, created: list[Any], tmp_path: Path, batch: int | None, images: int
) -> None:
    path = make_exported(tmp_path / "tiny.onnx", dynamic=True)
    graph = network_graph(onnx.load(str(path)), attributes_of(make_card(), path), path, batch)
    log = rtx.trt.Logger(rtx.trt.Logger.ERROR)
    network = rtx.make_network(rtx.trt.Builder(log), strongly_typed=True)
    assert rtx.trt.OnnxParser(network, log).parse(graph)
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    assert {output.name: (tuple(output.shape), output.dtype.name) for output in outputs} == {
        "num_detections": ((images,), "INT32"),
        "boxes": ((images, 300, 4), "FLOAT"),
        "scores": ((images, 300), "FLOAT"),
        "class_ids": ((images, 300), "INT32"),
        "sigmas": ((images, 300, 4), "FLOAT"),
    }
    assert tuple(network.get_input(0).shape) == (images, 3, 64, 96)


def test_fp16_is_in_the_whole_network_from_its_input(rtx: TensorRtApi, tmp_path: Path) -> None:
    pytest.importorskip("modelopt", reason="nvidia-modelopt is not installed")
    path, kept = make_exported(tmp_path / "tiny.onnx", dynamic=True), tmp_path / "kept.onnx"
    options = BuildOptions("fp16", batch=None, compute_capabilities=TARGETS, keep_onnx=kept)
    assert build_engine(path, tmp_path / "tiny.engine", options, quiet).precision == "fp16"
    graph = onnx.load(str(kept)).graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    assert {tensor.data_type for tensor in graph.initializer} == {onnx.TensorProto.FLOAT16}


def test_fp16_without_modelopt_says_how_to_install_it(
    rtx: TensorRtApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "modelopt.onnx.autocast", None)
    path = make_exported(tmp_path / "tiny.onnx")
    options = BuildOptions("fp16", compute_capabilities=TARGETS)
    with pytest.raises(RuntimeUnavailableError, match=r"needs nvidia-modelopt.*pip install 'nvidia-modelopt\[onnx\]'"):
        build_engine(path, tmp_path / "tiny.engine", options, quiet)


@pytest.fixture
def options(rtx: TensorRtApi) -> BuildOptions:
    return BuildOptions(compute_capabilities=TARGETS)


def test_the_sidecar_tells_what_was_built(options: BuildOptions, tmp_path: Path) -> None:
    path, engine = make_exported(tmp_path / "tiny.onnx"), tmp_path / "tiny.engine"
    phases: list[str] = []
    changed = BuildOptions(compute_capabilities=TARGETS, score_threshold=0.5, variance_vote=True, max_detections=20)
    sidecar = build_engine(path, engine, changed, lambda phase, done, steps: phases.append(phase))
    assert engine.stat().st_size > 1000 and phases
    assert read_sidecar(engine) == sidecar
    assert sidecar.model_hash == file_hash(path)
    assert (sidecar.compute_capability, sidecar.precision, sidecar.batch) == ("86,89", "fp32", 1)
    assert (sidecar.flavor, sidecar.model, sidecar.max_detections) == ("tensorrt_rtx", "tiny", 20)
    assert (sidecar.card["score_threshold"], sidecar.card["variance_vote"]) == (0.5, True)
    assert sidecar.command.startswith(f"gaussian-yolo build-engine {path} -o {engine} ")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tiny.engine", "tiny.engine.json", "tiny.onnx"]


def test_the_command_in_the_sidecar_builds_it_again(options: BuildOptions, tmp_path: Path) -> None:
    path, engine, kept = make_exported(tmp_path / "a b.onnx"), tmp_path / "tiny.engine", tmp_path / "kept.onnx"
    words = [str(path), "-o", str(engine), "--compute-capability", "8.6,89", "--iou-threshold", "0.5"]
    words += ["--no-variance-vote", "--keep-onnx", str(kept), "--workspace", "64"]
    first = CliRunner().invoke(app, ["build-engine", *words])
    assert first.exit_code == 0, first.output
    assert "built: " in first.output and "--saveEngine=" in first.output
    sidecar = read_sidecar(engine)
    engine.unlink()
    again = CliRunner().invoke(app, shlex.split(sidecar.command)[1:])
    assert again.exit_code == 0, again.output
    assert read_sidecar(engine) == sidecar
    assert onnx.load(str(kept)).graph.node[-1].op_type == "GaussianYoloDetect"


def test_heads_that_reach_the_plugin_in_another_shape_are_refused(rtx: TensorRtApi, tmp_path: Path) -> None:
    path = make_exported(tmp_path / "tiny.onnx")
    proto = onnx.ModelProto()
    proto.ParseFromString(network_graph(onnx.load(str(path)), attributes_of(make_card(), path), path, 1))
    next(field for field in proto.graph.node[-1].attribute if field.name == "num_classes").i = 4
    with pytest.raises(BuildError, match="TensorRT for RTX"):
        compile_network(rtx, proto.SerializeToString(), "fp32", TARGETS, BuildOptions(), quiet)


def test_an_operator_that_tensorrt_does_not_know_is_told_in_its_words(rtx: TensorRtApi, tmp_path: Path) -> None:
    path = make_exported(tmp_path / "tiny.onnx")
    graph = network_graph(onnx.load(str(path)), attributes_of(make_card(), path), path, 1)
    proto = onnx.ModelProto()
    proto.ParseFromString(graph)
    proto.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(BuildError, match=r"does not take the model \(.*NoSuchOperator"):
        compile_network(rtx, proto.SerializeToString(), "fp32", TARGETS, BuildOptions(), quiet)


def test_an_unknown_gpu_is_told_with_the_known_ones(rtx: TensorRtApi, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"--compute-capability 52 is none.*75, 80, 86, 89"):
        build_engine(tiny_model, tmp_path / "a.engine", BuildOptions(compute_capabilities=("52",)), quiet)


@pytest.mark.parametrize("reason", [KeyboardInterrupt, SettingError])
def test_a_build_can_be_broken_off(options: BuildOptions, tmp_path: Path, reason: type[BaseException]) -> None:
    path, engine = make_exported(tmp_path / "tiny.onnx"), tmp_path / "tiny.engine"
    engine.write_bytes(b"as it was")

    def stop(phase: str, done: int, steps: int) -> None:
        raise reason

    with pytest.raises(reason):
        build_engine(path, engine, options, stop)
    assert engine.read_bytes() == b"as it was"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tiny.engine", "tiny.onnx"]


def test_ctrl_c_while_tensorrt_works_ends_the_build(options: BuildOptions, tmp_path: Path) -> None:
    def interrupt(phase: str, done: int, steps: int) -> None:
        signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        build_engine(make_exported(tmp_path / "tiny.onnx"), tmp_path / "tiny.engine", options, interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.onnx"]


def test_a_timing_cache_is_refused_where_none_is_kept(rtx: TensorRtApi, tiny_model: Path, tmp_path: Path) -> None:
    options = BuildOptions(compute_capabilities=TARGETS, timing_cache=tmp_path / "cache")
    with pytest.raises(SettingError, match="leave --timing-cache out"):
        build_engine(tiny_model, tmp_path / "a.engine", options, quiet)


def test_a_dla_is_refused_where_none_is_known(rtx: TensorRtApi, tmp_path: Path) -> None:
    options = BuildOptions(compute_capabilities=TARGETS, dla=0, precision="fp16")
    with pytest.raises(SettingError, match="has no DLA"):
        build_engine(make_exported(tmp_path / "tiny.onnx"), tmp_path / "a.engine", options, quiet)


# What is refused before TensorRT is needed


@pytest.fixture
def no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("gaussian_yolo_node.engine.tensorrt_api.import_module", missing)
    yield


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"precision": "bf16"}, "precision is 'bf16'"),
        ({"precision": "fp32", "calibration": ("a",)}, "calibration"),
        ({"workspace_mib": -1}, "workspace is -1"),
        ({"batch": 0}, "batch is 0"),
        ({"dla": -1, "precision": "int8"}, "DLA"),
        ({"dla": 0, "precision": "fp32"}, "DLA"),
        ({"score_threshold": 1.0}, "score_threshold is 1.0"),
        ({"iou_threshold": -0.1}, "iou_threshold is -0.1"),
        ({"iou_threshold": float("nan")}, "iou_threshold is nan"),
        ({"compute_capabilities": ("86", "86")}, "twice"),
    ],
)
def test_options_out_of_range_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        BuildOptions(**values)


@pytest.mark.parametrize(
    ("quantised", "values", "says"),
    [
        (False, {"precision": "int8"}, "is not quantised; give --calibration"),
        (True, {"precision": "fp16"}, "is quantised; build it with --precision int8"),
        (True, {"calibration": ("frames",)}, "is quantised already"),
        (False, {"dla": 0}, "DLA computes in fp16 and int8"),
        (False, {"batch": 2}, "is exported for batch 1"),
    ],
)
def test_what_the_model_is_not_fit_for_is_told(
    no_tensorrt: None, tmp_path: Path, quantised: bool, values: dict[str, Any], says: str
) -> None:
    path = make_model(tmp_path / "tiny.onnx")
    if quantised:
        proto = onnx.load(str(path))
        proto.metadata_props.add(key="gaussian_yolo.precision", value="int8")
        onnx.save(proto, str(path))
    with pytest.raises(GaussianYoloError, match=says):
        build_engine(path, tmp_path / "tiny.engine", BuildOptions(**values), quiet)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08"])
def test_a_damaged_model_is_told(no_tensorrt: None, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"tiny\.onnx"):
        build_engine(path, tmp_path / "tiny.engine", BuildOptions(), quiet)


def test_a_model_without_a_card_is_told(no_tensorrt: None, tmp_path: Path) -> None:
    path = make_model(tmp_path / "tiny.onnx", with_card=False)
    with pytest.raises(ModelError, match=r"has no gaussian_yolo\.card"):
        build_engine(path, tmp_path / "tiny.engine", BuildOptions(), quiet)


def test_a_folder_that_is_not_there_is_told(no_tensorrt: None, tiny_model: Path, tmp_path: Path) -> None:
    for output in (tmp_path / "none" / "a.engine", tmp_path, tiny_model):
        with pytest.raises(BuildError, match=f"{output} cannot be written"):
            build_engine(tiny_model, output, BuildOptions(), quiet)
        with pytest.raises(BuildError, match=f"{output} cannot be written"):
            build_engine(tiny_model, tmp_path / "a.engine", BuildOptions(keep_onnx=output), quiet)


def test_a_plugin_that_is_not_there_is_told(no_tensorrt: None, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"no plugin library .*none\.so"):
        build_engine(tiny_model, tmp_path / "a.engine", BuildOptions(plugin=tmp_path / "none.so"), quiet)


def test_without_tensorrt_it_says_how_to_install_it(no_tensorrt: None, tiny_model: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["build-engine", str(tiny_model), "-o", str(tmp_path / "a.engine")])
    assert result.exit_code == 2
    words = " ".join(result.output.split())
    assert "needs TensorRT, which cannot be imported (tensorrt: No module named 'tensorrt'" in words
    assert "pip install tensorrt" in words or "apt install" in words
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("version", "fits"), [("10.2.0", False), ("10.3.0", True), ("11.4.1", True), ("12.0", False)])
def test_other_versions_are_refused(monkeypatch: pytest.MonkeyPatch, version: str, fits: bool) -> None:
    class Package:
        __version__ = version

    monkeypatch.setattr("gaussian_yolo_node.engine.tensorrt_api.import_module", lambda name: Package)
    if fits:
        assert load_api("tensorrt").version == version
    else:
        with pytest.raises(RuntimeUnavailableError, match=f"TensorRT {version} is installed.*10.3 up to 11"):
            load_api("tensorrt")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"precision": "int8", "calibration": ("a b", "c")},
        {"batch": None, "workspace_mib": 512, "dla": 1, "precision": "fp16"},
        {"variance_vote": True, "score_threshold": 0.25, "max_detections": 10},
        {"variance_vote": False, "compute_capabilities": ("86", "120"), "plugin": Path("lib.so")},
    ],
)
def test_the_command_says_the_options(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], tiny_model: Path
) -> None:
    options, heard = BuildOptions(**values), []

    def build(model: Path, output: Path, options: BuildOptions, report: Any) -> Any:
        heard.append(options)
        raise SettingError("heard")

    monkeypatch.setattr(builder, "build_engine", build)
    line = builder.command(tiny_model, Path("a.engine"), options)
    assert CliRunner().invoke(app, shlex.split(line)[1:]).exit_code == 2
    assert heard == [options]


@pytest.mark.parametrize("text", ["", "86,", "ada", "8.6.1.2"])
def test_capabilities_that_are_none_are_refused(tiny_model: Path, text: str) -> None:
    result = CliRunner().invoke(app, ["build-engine", str(tiny_model), "-o", "a.engine", "--compute-capability", text])
    assert result.exit_code == 2
    assert "--compute-capability is" in result.output

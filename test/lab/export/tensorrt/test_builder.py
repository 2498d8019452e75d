"""Engines built ahead of time by the real TensorRT for RTX; no GPU needed."""

from __future__ import annotations

import shlex
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from engine_models import CHANNELS, SIZE, make_network
from factories import make_card
from rich.console import Console
from typer.testing import CliRunner

from gaussian_yolo_node.errors import GaussianYoloError, SettingError
from gaussian_yolo_node.files import short_hash
from gaussian_yolo_node.lab.export.tensorrt import tensorrt_api
from gaussian_yolo_node.lab.export.tensorrt.builder import _use_dla, build_engine, prepare_model
from gaussian_yolo_node.lab.export.tensorrt.contract import DetectAttributes, EngineError, output_shapes
from gaussian_yolo_node.lab.export.tensorrt.options import BuildOptions, command_line
from gaussian_yolo_node.runtime.base import RuntimeUnavailableError
from gaussian_yolo_node.runtime.tensorrt.sidecar import EngineSidecar, read_sidecar

try:
    tensorrt_api.import_tensorrt("tensorrt_rtx")
    RTX = True
except ImportError:
    RTX = False
needs_rtx = pytest.mark.skipif(not RTX, reason="TensorRT for RTX is not installed")


def ahead(precision: Any = "fp32", *capabilities: str, **options: Any) -> BuildOptions:
    return BuildOptions(precision, compute_capabilities=capabilities or ("86",), **options)


# The network that TensorRT parses


@needs_rtx
@pytest.mark.parametrize("capability", ["86", "89"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("batch", [1, 3, "batch"])
def test_an_engine_and_its_sidecar(tmp_path: Path, batch: int | str, precision: Any, capability: str) -> None:
    model, engine = make_network(tmp_path / "tiny.onnx", batch=batch), tmp_path / "tiny.engine"
    options = ahead(precision, capability, max_batch=5, score_threshold=0.2, max_detections=17)
    sidecar = build_engine(model, engine, options)
    assert engine.stat().st_size > 10_000
    assert read_sidecar(engine) == sidecar
    assert sidecar.card["score_threshold"] == 0.2
    assert (sidecar.flavor, sidecar.precision, sidecar.compute_capability) == ("tensorrt_rtx", precision, capability)
    assert (sidecar.model, sidecar.model_hash) == ("tiny", short_hash(model))
    assert (sidecar.batch, sidecar.dynamic_batch) == ((5, True) if batch == "batch" else (batch, False))
    assert sidecar.max_detections == 17
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.onnx", "tiny.engine", "tiny.engine.json"}


@needs_rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("batch", [1, "batch"])
def test_the_plugin_is_made_with_the_attributes_and_gives_the_shapes(
    tmp_path: Path, batch: int | str, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gaussian_yolo_node.lab.export.tensorrt import build_time_plugin

    found = tensorrt_api.find_tensorrt(ahead_of_time=True)
    trt = found.module
    made: list[dict[str, Any]] = []
    real = build_time_plugin._creator_class(trt).create_plugin

    def create(self: Any, name: str, fields: Any, phase: Any) -> Any:
        plugin = real(self, name, fields, phase)
        made.append(plugin.fields)
        return plugin

    monkeypatch.setattr(build_time_plugin._creator_class(trt), "create_plugin", create)
    path = make_network(tmp_path / "tiny.onnx", batch=batch)
    prepared = prepare_model(path, ahead(precision, max_detections=9, criterion="confidence"), rtx=True)
    log = tensorrt_api.make_logger(trt)
    builder = trt.Builder(log)
    tensorrt_api.provide_plugin(found, None)
    network = builder.create_network(found.network_flags())
    parser = trt.OnnxParser(network, log)
    assert parser.parse(prepared.serialized), log.take()
    wanted = DetectAttributes.of_card(make_card(), max_detections=9, criterion="confidence").as_mapping()
    assert len(made) == 1
    assert made[0].keys() == wanted.keys()
    for name, values in made[0].items():
        np.testing.assert_allclose(values, np.atleast_1d(wanted[name]), rtol=1e-6)
    assert network.get_layer(network.num_layers - 1).type == trt.LayerType.PLUGIN_V3
    tensors = [network.get_output(index) for index in range(network.num_outputs)]
    assert {tensor.name: tuple(tensor.shape) for tensor in tensors} == output_shapes(1 if batch == 1 else -1, 9)
    types = {tensor.name: tensor.dtype for tensor in tensors}
    assert [types[name] == trt.int32 for name in output_shapes(1, 1)] == [True, False, False, True, False]
    assert network.get_input(0).dtype == trt.DataType.UINT8


@needs_rtx
@pytest.mark.parametrize("size", [None, (32, 64), (96, 160)])
def test_an_engine_of_a_model_with_a_free_size_is_for_one_canvas(tmp_path: Path, size: tuple[int, int] | None) -> None:
    path = make_network(tmp_path / "free.onnx", input_size=("height", "width"))
    prepared = prepare_model(path, ahead(input_size=size), rtx=True)
    height, width = size or SIZE
    assert (prepared.attributes.input_height, prepared.attributes.input_width) == (height, width)
    assert prepared.card.input_size == (height, width)
    sidecar = build_engine(path, tmp_path / "free.engine", ahead(input_size=size))
    assert tuple(sidecar.card["input_size"]) == (height, width)
    assert ("--input-size" in sidecar.command) is (size is not None)


@pytest.mark.parametrize(
    ("input_size", "asked", "message"),
    [
        (SIZE, (32, 64), "takes a canvas of 64x96 px only; leave --input-size, --operating-points and --frame out"),
        (("height", "width"), (32, 60), "--input-size is 32x60; give multiples of 32 px"),
    ],
)
def test_a_canvas_that_cannot_be_is_refused(
    tmp_path: Path, input_size: tuple[int | str, int | str], asked: tuple[int, int], message: str
) -> None:
    path = make_network(tmp_path / "tiny.onnx", input_size=input_size)
    with pytest.raises(GaussianYoloError, match=message):
        prepare_model(path, ahead(input_size=asked))


@needs_rtx
def test_int8_of_a_quantised_model(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra 'cpu')")
    import cv2
    from factories import make_image

    for index in range(4):
        cv2.imwrite(str(tmp_path / f"{index}.png"), make_image(64, 96, seed=index))
    model = make_network(tmp_path / "tiny.onnx")
    sidecar = build_engine(model, tmp_path / "tiny.engine", ahead("int8", calibration=(str(tmp_path),)))
    assert sidecar.precision == "int8"
    assert sidecar.model_hash == short_hash(model)


@needs_rtx
def test_the_graph_is_written_where_asked(tmp_path: Path) -> None:
    model = make_network(tmp_path / "tiny.onnx")
    build_engine(model, tmp_path / "tiny.engine", ahead(save_onnx=tmp_path / "graph.onnx"))
    assert onnx.load(str(tmp_path / "graph.onnx")).graph.node[-1].op_type == "GaussianYoloDetect"


@needs_rtx
@pytest.mark.parametrize("there", [True, False])
def test_a_failed_build_leaves_what_was_there(tmp_path: Path, there: bool) -> None:
    engine = tmp_path / "tiny.engine"
    if there:
        engine.write_bytes(b"old")
    model = onnx.load(str(make_network(tmp_path / "tiny.onnx")))
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type = "Det"  # an operator that TensorRT does not have
    onnx.save(model, str(tmp_path / "tiny.onnx"))
    with pytest.raises(EngineError, match=r"TensorRT .* cannot read the graph of tiny: .*Det"):
        build_engine(tmp_path / "tiny.onnx", engine, ahead())
    assert sorted(path.name for path in tmp_path.iterdir()) == (["tiny.engine"] if there else []) + ["tiny.onnx"]
    assert not there or engine.read_bytes() == b"old"


@needs_rtx
def test_a_wrong_head_is_refused_before_tensorrt_sees_it(tmp_path: Path) -> None:
    model = make_network(tmp_path / "tiny.onnx", head_channels=(CHANNELS + 3,) * 3)
    with pytest.raises(EngineError, match=r"head_32 of .*= 36 channels"):
        build_engine(model, tmp_path / "tiny.engine", ahead())


@needs_rtx
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"compute_capabilities": ("87",)}, "--compute-capability has '87'; TensorRT for RTX .* builds for 75, 80, 86"),
    ],
)
def test_what_tensorrt_for_rtx_cannot_do_is_told(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        build_engine(make_network(tmp_path / "tiny.onnx"), tmp_path / "tiny.engine", BuildOptions(**options))


# Without TensorRT


@pytest.mark.parametrize(
    ("output", "options", "kind", "says"),
    [
        ("tiny.plan", {}, SettingError, r"must be named NAME\.engine"),
        ("/dev/null/tiny.engine", {}, EngineError, "/dev/null/tiny.engine cannot be written"),
        ("tiny.engine", {"save_onnx": Path("/dev/null/g.onnx")}, EngineError, "/dev/null/g.onnx cannot be written"),
    ],
)
def test_an_output_that_cannot_be_is_told_at_once(
    tmp_path: Path, output: str, options: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        build_engine(tmp_path / "no_such.onnx", tmp_path / output, BuildOptions(**options))


def without(monkeypatch: pytest.MonkeyPatch, module: str | None = None, **attributes: Any) -> None:
    def find(name: str) -> Any:
        if name == module:
            return types.SimpleNamespace(**attributes)
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(tensorrt_api, "import_module", find)


def test_without_tensorrt_it_is_told_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch)
    with pytest.raises(RuntimeUnavailableError, match=r"the package tensorrt or tensorrt_rtx.*install it with `"):
        build_engine(make_network(tmp_path / "tiny.onnx"), tmp_path / "tiny.engine")
    with pytest.raises(RuntimeUnavailableError, match="needs the package tensorrt_rtx,"):
        build_engine(make_network(tmp_path / "tiny.onnx"), tmp_path / "tiny.engine", ahead())


@pytest.mark.parametrize(
    ("version", "taken"),
    [("10.3.0", True), ("10.13.3.9", True), ("11.1.0", True), ("10.2.0.19", False), ("8.6.1", False)],
)
def test_an_old_tensorrt_is_told(monkeypatch: pytest.MonkeyPatch, version: str, taken: bool) -> None:
    without(monkeypatch, "tensorrt", __version__=version)
    if taken:
        assert tensorrt_api.find_tensorrt().version == version
    else:
        with pytest.raises(RuntimeUnavailableError, match=rf"TensorRT {version} is .* needs 10\.3 or later"):
            tensorrt_api.find_tensorrt()


@pytest.mark.parametrize(("flag", "flags"), [({"STRONGLY_TYPED": 1}, 2), ({}, 0)])
def test_networks_are_strongly_typed_with_or_without_a_flag_for_it(flag: dict[str, int], flags: int) -> None:
    module = types.SimpleNamespace(NetworkDefinitionCreationFlag=types.SimpleNamespace(**flag))
    assert tensorrt_api.TensorRt("tensorrt", module).network_flags() == flags


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"precision": "bf16"}, "--precision must be one of fp32, fp16, int8, not 'bf16'"),
        ({"criterion": "objectness"}, "--criterion must be one of gaussian, confidence, not 'objectness'"),
        ({"max_batch": 0}, "--max-batch must be a whole number at least 1, not 0"),
        ({"dla": -1}, "--dla must be a whole number at least 0, not -1"),
        ({"score_threshold": 1.0}, "--score-threshold must be a number at least 0 and below 1, not 1.0"),
        ({"iou_threshold": float("nan")}, "--iou-threshold must be a number at least 0 and below 1, not nan"),
        ({"dla": 0, "compute_capabilities": ("86",)}, "give one of them"),
    ],
)
def test_options_out_of_range_are_told(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        BuildOptions(**options)


# Commands


def test_the_command_builds_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from gaussian_yolo_node.commands.gaussian_yolo import app
    from gaussian_yolo_node.lab.export.tensorrt import builder

    options = BuildOptions(
        "int8",
        calibration=("a b", "c"),
        compute_capabilities=("86", "89"),
        max_batch=2,
        score_threshold=0.1,
        iou_threshold=0.0,
        variance_vote=False,
        criterion="confidence",
        max_detections=5,
        plugin=Path("p.so"),
        save_onnx=Path("s.onnx"),
    )
    called: list[tuple[Any, ...]] = []

    def build(model: str, output: Path, given: BuildOptions, console: Console) -> EngineSidecar:
        called.append((model, output, given))
        return EngineSidecar("1", "86", "", {"input_size": [64, 96]}, "", dynamic_batch=True)

    monkeypatch.setattr(builder, "build_engine", build)
    for wanted in (options, BuildOptions()):
        words = shlex.split(command_line("m x.onnx", Path("e.engine"), wanted))
        assert words[0] == "gaussian-yolo"
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, result.output
        assert called.pop() == ("m x.onnx", Path("e.engine"), wanted)


# Features of TensorRT on a board, as far as TensorRT for RTX has the calls


@needs_rtx
def test_an_accelerator_that_is_not_there_is_told() -> None:
    trt = tensorrt_api.import_tensorrt("tensorrt_rtx")
    builder = trt.Builder(tensorrt_api.make_logger(trt))
    with pytest.raises(SettingError, match="--dla is 0 and this machine has none"):
        _use_dla(trt, builder, builder.create_builder_config(), 0)


def test_an_accelerator_takes_what_it_can() -> None:
    kinds = types.SimpleNamespace(DLA="dla")
    trt = types.SimpleNamespace(DeviceType=kinds, BuilderFlag=types.SimpleNamespace(GPU_FALLBACK="fallback"))
    flags: list[str] = []
    config = types.SimpleNamespace(set_flag=flags.append)
    _use_dla(trt, types.SimpleNamespace(num_DLA_cores=2), config, 1)
    assert (config.default_device_type, config.DLA_core, flags) == ("dla", 1, ["fallback"])
    with pytest.raises(SettingError, match="has 2, numbered from 0"):
        _use_dla(trt, types.SimpleNamespace(num_DLA_cores=2), config, 2)

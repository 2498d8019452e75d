"""Build an engine file and its sidecar from a model file."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from gaussian_yolo_node.detector.model import CARD_KEY, ModelCard, read_card, resolve_model
from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.files import prepare_target, short_hash, whole_file, write_whole
from gaussian_yolo_node.lab.export.free_size import fix_size
from gaussian_yolo_node.lab.export.tensorrt.contract import (
    INTEGER_OUTPUTS,
    PLUGIN_NAME,
    DetectAttributes,
    EngineError,
    output_shapes,
)
from gaussian_yolo_node.lab.export.tensorrt.options import BuildOptions, command_line
from gaussian_yolo_node.lab.export.tensorrt.plugin_node import append_plugin
from gaussian_yolo_node.lab.export.tensorrt.precision import EnginePrecision, default_precision, with_precision
from gaussian_yolo_node.lab.export.tensorrt.progress import run_build
from gaussian_yolo_node.lab.export.tensorrt.tensorrt_api import TensorRt, find_tensorrt, make_logger, provide_plugin
from gaussian_yolo_node.runtime.base import RuntimeUnavailableError, show_size, unreadable
from gaussian_yolo_node.runtime.tensorrt.engine_file import SUFFIX
from gaussian_yolo_node.runtime.tensorrt.plugin_library import find_plugin
from gaussian_yolo_node.runtime.tensorrt.sidecar import EngineSidecar, sidecar_path, sidecar_text

CALIBRATION_FRAMES = 128  # evenly spaced if the sources are finite


@dataclass(frozen=True)
class PreparedModel:
    """A model's graph, ready for TensorRT.

    Attributes:
        serialized: the ONNX graph with the plugin node.
        card: the model's, with the built-in thresholds.
        attributes: of the plugin node.
        precision: of the graph.
        batch: images per inference; None for a dynamic batch.
    """

    serialized: bytes
    card: ModelCard
    attributes: DetectAttributes
    precision: EnginePrecision
    batch: int | None


def load_model(path: Path) -> tuple[Any, ModelCard]:
    """An ONNX model with its card.

    Raises:
        ModelError: the file is missing or unreadable, or has no card.
        RuntimeUnavailableError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise RuntimeUnavailableError(
            "build-engine needs the package onnx; install it with `python3 -m pip install onnx`"
        ) from error
    try:
        model = onnx.load(str(path))
        # A truncated file may still parse, with part of its graph.
        onnx.checker.check_model(model)
    except Exception as error:
        raise unreadable(path, f"onnx {onnx.__version__}", error) from error
    return model, read_card({entry.key: entry.value for entry in model.metadata_props}, path)


def prepare_model(
    path: Path, options: BuildOptions, console: Console | None = None, *, rtx: bool = False
) -> PreparedModel:
    """The graph for TensorRT; does not need TensorRT.

    Args:
        path: the model.
        options: of the engine.
        console: for progress output; None for none.
        rtx: True for TensorRT for RTX. There int8 leaves depthwise convolutions in float, because RTX turns them into
            dense convolutions with mostly zero filters, as the size of its engines shows.

    Raises:
        ModelError: the file is missing or unreadable, or has no matching card.
        EngineError: network and card do not match, or the plugin or the precision does not support the model.
        RuntimeUnavailableError: a required package is not installed.
        QuantizeError: the model cannot be quantised, or no frame can be read.
        SourceError: there is no such source.
    """
    model, card = load_model(path)
    import onnx

    metadata = {entry.key: entry.value for entry in model.metadata_props}
    changes = {
        name: value
        for name in ("score_threshold", "iou_threshold", "variance_vote")
        if (value := getattr(options, name)) is not None
    }
    card = replace(card, **changes)
    if options.input_size is not None and options.input_size != card.input_size:
        if all(size.HasField("dim_value") for size in model.graph.input[0].type.tensor_type.shape.dim[1:3]):
            raise EngineError(
                f"{path} takes a canvas of {show_size(card.input_size)} px only; leave --input-size, "
                "--operating-points and --frame out, or export it again"
            )
        if any(side % card.strides[0] for side in options.input_size):
            raise SettingError(
                f"--input-size is {show_size(options.input_size)}; give multiples of {card.strides[0]} px"
            )
        card = replace(
            card, input_size=options.input_size, sigma_calibration=card.sigma_calibration_at(options.input_size)
        )
    fix_size(model, card.input_size)
    attributes = DetectAttributes.of_card(card, max_detections=options.max_detections, criterion=options.criterion)
    # Check the original graph first: quantising takes minutes and would change the message.
    trial = onnx.ModelProto()
    trial.CopyFrom(model)
    append_plugin(trial, attributes, path)
    precision = options.precision or default_precision(model)
    model = with_precision(
        model, path, card, precision, options.calibration, CALIBRATION_FRAMES, console, float_depthwise=rtx
    )
    batch = append_plugin(model, attributes, path)
    onnx.helper.set_model_props(model, {**metadata, CARD_KEY: card.to_json()})
    return PreparedModel(model.SerializeToString(), card, attributes, precision, batch)


def build_engine(
    model: str | Path, output: Path, options: BuildOptions | None = None, console: Console | None = None
) -> EngineSidecar:
    """Build an engine; on failure or Ctrl-C `output` is unchanged.

    Args:
        model: a path, or the name of a shipped model.
        output: the engine to write, NAME.engine; the sidecar is written beside it.
        options: of the engine.
        console: for progress output; None for none.

    Returns:
        the sidecar.

    Raises:
        RuntimeUnavailableError: TensorRT, the plugin library, or a package that the options need is missing.
        EngineError: TensorRT cannot build the engine (with its message), or the file cannot be written.
        GaussianYoloError: see `prepare_model`.
    """
    options = options or BuildOptions()
    if output.suffix != SUFFIX:
        raise SettingError(f"the engine {output} must be named NAME{SUFFIX}, which is how the runtime finds it")
    for target in filter(None, (output, options.save_onnx)):
        prepare_target(target, EngineError)
    path = resolve_model(model)
    tensorrt = find_tensorrt(ahead_of_time=bool(options.compute_capabilities))
    capabilities = _check_machine(tensorrt, options)
    library = _library(tensorrt, options)
    prepared = prepare_model(path, options, console, rtx=tensorrt.is_rtx)
    try:
        if options.save_onnx is not None:
            write_whole(options.save_onnx, prepared.serialized)
        engine = _build(tensorrt, prepared, options, library, console)
        sidecar = EngineSidecar(
            tensorrt=tensorrt.version,
            compute_capability=capabilities,
            model_hash=short_hash(path),
            card=json.loads(prepared.card.to_json()),
            command=command_line(model, output, options),
            flavor=tensorrt.flavor,
            precision=prepared.precision,
            model=prepared.card.name,
            batch=prepared.batch or options.max_batch,
            dynamic_batch=prepared.batch is None,
            max_detections=options.max_detections,
            criterion=options.criterion,
        )
        with (
            whole_file(sidecar_path(output), EngineError) as of_sidecar,
            whole_file(output, EngineError) as of_engine,  # replaced first
        ):
            of_sidecar.write_text(sidecar_text(sidecar))
            of_engine.write_bytes(engine)
    except OSError as error:
        raise EngineError(f"{output} cannot be written: {error.strerror or error}") from error
    return sidecar


def _check_machine(tensorrt: TensorRt, options: BuildOptions) -> str:
    """Compute capabilities to build for, in the sidecar's format."""
    from gaussian_yolo_node.runtime.tensorrt.cuda import open_gpu

    known = tensorrt.compute_capabilities()
    for capability in options.compute_capabilities:
        if capability not in known:
            raise SettingError(
                f"--compute-capability has {capability!r}; TensorRT for RTX {tensorrt.version} builds for "
                f"{', '.join(known)}"
            )
    if tensorrt.is_rtx and options.dla is not None:
        raise SettingError("--dla is for boards with TensorRT, and TensorRT for RTX is installed here; leave it out")
    if options.compute_capabilities:
        return ",".join(options.compute_capabilities)
    try:
        return open_gpu().compute_capability
    except RuntimeUnavailableError as error:
        hint = "; without a GPU, --compute-capability builds ahead of time" if tensorrt.is_rtx else ""
        raise RuntimeUnavailableError(f"an engine is built for the GPU of this machine: {error}{hint}") from error


def _library(tensorrt: TensorRt, options: BuildOptions) -> Path | None:
    """The plugin library; None to use the stand-in."""
    if options.plugin is not None:
        if not options.plugin.is_file():
            raise EngineError(f"--plugin names {options.plugin}, which does not exist; build it from engines/plugin")
        return options.plugin
    # For ahead-of-time builds the library may be missing, or belong to another TensorRT on this machine.
    return None if tensorrt.is_rtx and options.compute_capabilities else find_plugin()


def _build(
    tensorrt: TensorRt, prepared: PreparedModel, options: BuildOptions, library: Path | None, console: Console | None
) -> bytes:
    """The engine."""
    trt = tensorrt.module
    log = make_logger(trt)
    builder = trt.Builder(log)
    provide_plugin(tensorrt, library)
    network = builder.create_network(tensorrt.network_flags())
    parser = trt.OnnxParser(network, log)
    if not parser.parse(prepared.serialized):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        said = "; ".join(f"{error.node_operator()} {error.node_name()!r}: {error.desc()}" for error in errors)
        raise EngineError(f"TensorRT {tensorrt.version} cannot read the graph of {prepared.card.name}: {_line(said)}")
    log.take()  # earlier messages about a missing plugin or GPU are irrelevant
    _check_network(trt, network, prepared)
    config = builder.create_builder_config()
    if prepared.batch is None:
        config.add_optimization_profile(_profile(builder, network, options.max_batch))
    if options.dla is not None:
        _use_dla(trt, builder, config, options.dla)
    if options.compute_capabilities:
        config.num_compute_capabilities = len(options.compute_capabilities)
        known = tensorrt.compute_capabilities()
        for index, capability in enumerate(options.compute_capabilities):
            config.set_compute_capability(known[capability], index)
    plan = run_build(trt, config, lambda: builder.build_serialized_network(network, config), console)
    if plan is None:
        raise EngineError(f"TensorRT {tensorrt.version} cannot build {prepared.card.name}: {_line(log.take())}")
    return bytes(plan)


def _check_network(trt: Any, network: Any, prepared: PreparedModel) -> None:
    """Check that the parsed network has the outputs that the runtime reads."""
    wanted = output_shapes(-1 if prepared.batch is None else prepared.batch, prepared.attributes.max_detections)
    outputs = {}
    for index in range(network.num_outputs):
        tensor = network.get_output(index)
        outputs[tensor.name] = (tuple(tensor.shape), tensor.dtype)
    for name, shape in wanted.items():
        kind = trt.int32 if name in INTEGER_OUTPUTS else trt.float32
        if outputs.get(name) != (shape, kind):
            raise EngineError(
                f"{PLUGIN_NAME} gives {name} as {outputs.get(name)} where {(shape, kind)} is needed; build its library "
                "again from this version's engines/plugin"
            )


def _profile(builder: Any, network: Any, max_batch: int) -> Any:
    image = network.get_input(0)
    _, *rest = image.shape
    profile = builder.create_optimization_profile()
    profile.set_shape(image.name, (1, *rest), (max_batch, *rest), (max_batch, *rest))
    return profile


def _use_dla(trt: Any, builder: Any, config: Any, core: int) -> None:
    cores = builder.num_DLA_cores
    if core >= cores:
        there = f"has {cores}, numbered from 0" if cores else "has none"
        raise SettingError(f"--dla is {core} and this machine {there}; leave it out or give one that is there")
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _line(said: str) -> str:
    return " ".join(said.split())[:600] or "it did not say why"

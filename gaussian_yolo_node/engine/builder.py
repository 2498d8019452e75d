"""An engine of a model file, by TensorRT: precision, plugin, parse, build, and what is noted beside it."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.model import ModelCard, file_hash, read_card, resolve_model
from gaussian_yolo_node.engine.contract_plugin import register_contract_plugin
from gaussian_yolo_node.engine.plane_input import take_planes
from gaussian_yolo_node.engine.plugin_node import DetectAttributes, append_plugin_node, attributes_of
from gaussian_yolo_node.engine.precision import check_precision, to_half, to_symmetric
from gaussian_yolo_node.engine.progress import make_monitor
from gaussian_yolo_node.engine.sidecar import EngineSidecar, sidecar_path, write_sidecar
from gaussian_yolo_node.engine.tensorrt_api import TensorRtApi, load_api
from gaussian_yolo_node.errors import GaussianYoloError, ModelError, SettingError
from gaussian_yolo_node.runtime.base import PRECISION_KEY, RuntimeUnavailableError
from gaussian_yolo_node.runtime.cuda import open_gpu
from gaussian_yolo_node.runtime.loaded_engine import log_class, register_plugins
from gaussian_yolo_node.runtime.plugin_library import PLUGIN_VERSION, find_plugin

LARGEST_BATCH = 8  # of a dynamic one
CALIBRATION_FRAMES = 128
_MIB = 1 << 20

Report = Callable[[str, int, int], None]  # phase, steps done, steps in all


class BuildError(GaussianYoloError):
    """TensorRT cannot build the engine, or it cannot be written."""


@dataclass(frozen=True)
class BuildOptions:
    """How to build.

    Attributes:
        precision: "fp32", "fp16" or "int8"; None is the model's own, int8 if it is quantised and else fp32.
        calibration: sources of frames to quantise by, as `open_source` takes them; for int8 of a float model. For
            fp16 they show how large values get, instead of noise.
        workspace_mib: most memory for intermediate results, MiB; 0 leaves it to TensorRT.
        dla: core of a deep-learning accelerator to use, None for none.
        timing_cache: file of measurements that a next build goes faster with; made if it is missing.
        batch: images of one inference; None builds for 1 to LARGEST_BATCH, best for 1.
        compute_capabilities: of the GPUs to build for, "86"; empty is the GPU here. Others need TensorRT for RTX.
        plugin: the plugin's library; None looks where the runtime does.
        score_threshold: to build in; None takes the card's, as for the next two.
        iou_threshold: to build in.
        variance_vote: to build in.
        max_detections: rows of the outputs.
        keep_onnx: where to keep the graph that TensorRT gets, None for nowhere.

    Raises:
        SettingError: a value is out of range, or two do not go together.
    """

    precision: str | None = None
    calibration: tuple[str, ...] = ()
    workspace_mib: int = 0
    dla: int | None = None
    timing_cache: Path | None = None
    batch: int | None = 1
    compute_capabilities: tuple[str, ...] = ()
    plugin: Path | None = None
    score_threshold: float | None = None
    iou_threshold: float | None = None
    variance_vote: bool | None = None
    max_detections: int = 300
    keep_onnx: Path | None = None

    def __post_init__(self) -> None:
        check_precision(self.precision)
        if self.precision == "fp32" and self.calibration:
            raise SettingError("calibration frames are for int8 and fp16; leave them out for fp32")
        if self.workspace_mib < 0:
            raise SettingError(f"workspace is {self.workspace_mib} MiB; give a size, or 0 to leave it to TensorRT")
        if self.batch is not None and self.batch < 1:
            raise SettingError(f"batch is {self.batch}; give a number of images from 1, or dynamic")
        if self.dla is not None and (self.dla < 0 or self.precision == "fp32"):
            raise SettingError("a DLA, by its number from 0, computes in fp16 and int8; give --precision fp16 or int8")
        for name in ("score_threshold", "iou_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise SettingError(f"{name} is {value}; give a value from 0 up to but not 1")
        if len(set(self.compute_capabilities)) != len(self.compute_capabilities):
            raise SettingError(f"compute capabilities {', '.join(self.compute_capabilities)} are named twice")

    @property
    def flavor(self) -> Any:
        """The package that this asks for; None where either does."""
        return "tensorrt_rtx" if self.compute_capabilities else None


def build_engine(model: str | Path, output: Path, options: BuildOptions, report: Report) -> EngineSidecar:
    """Build an engine, and write it with what is known of it; a failure leaves what was at `output`.

    Args:
        model: a path, or the name of a shipped model.
        output: the engine's file.
        options: how.
        report: is told of progress, and may raise to end the build.

    Returns:
        What stands in the file beside the engine.

    Raises:
        ModelError: the model is missing or damaged, does not fit its card, or is not what the options need.
        SettingError: an option that this TensorRT does not know.
        RuntimeUnavailableError: TensorRT, its plugin, a GPU or nvidia-modelopt are missing; says how to install them.
        BuildError: TensorRT refuses; its own words are in it. Or the engine cannot be written.
        QuantizeError: no calibration frame can be read.
        SourceError: there is no such source.
    """
    path = resolve_model(model)
    proto, card = load_model(path)
    card = _with_thresholds(card, options)
    precision = _precision(proto, path, options)
    attributes = attributes_of(card, path, max_detections=options.max_detections)
    append_plugin_node(proto, attributes, path, options.batch)  # says what does not fit before the long work
    for file in filter(None, (output, options.keep_onnx, options.timing_cache)):
        if not file.absolute().parent.is_dir() or file.is_dir() or file.resolve() == path.resolve():
            raise BuildError(f"{file} cannot be written: give the path of another file, in a folder that exists")
    if options.plugin is not None and not options.plugin.is_file():
        raise BuildError(f"there is no plugin library {options.plugin}; build it from engines/plugin")
    api = load_api(options.flavor)
    api.check_options(dla=options.dla, timing_cache=options.timing_cache)
    targets = options.compute_capabilities or _this_gpu(api)
    register_plugin(api, options, output)
    try:
        with tempfile.TemporaryDirectory(prefix=".build-", dir=output.absolute().parent) as folder:
            proto = _in_precision(proto, path, card, precision, options, Path(folder), report)
            graph = network_graph(proto, attributes, path, options.batch)
            if options.keep_onnx is not None:
                options.keep_onnx.write_bytes(graph)
            engine = compile_network(api, graph, precision, targets, options, report)
            part = Path(folder) / "engine"
            part.write_bytes(engine)
            sidecar = EngineSidecar(
                tensorrt=api.version,
                compute_capability=",".join(targets),
                model_hash=file_hash(path),
                card=json.loads(card.to_json()),
                command=command(path, output, options),
                flavor=api.flavor,
                precision=precision,
                model=card.name,
                plugin_version=PLUGIN_VERSION,
                batch=options.batch,
                max_detections=options.max_detections,
            )
            # An engine without a sidecar is refused, one with another's would be run.
            sidecar_path(output).unlink(missing_ok=True)
            os.replace(part, output)
            write_sidecar(output, sidecar)
    except OSError as error:
        raise BuildError(f"{error.filename or output} cannot be written: {error.strerror or error}") from error
    return sidecar


def load_model(path: Path) -> tuple[Any, ModelCard]:
    """A model file as ModelProto, and its card.

    Raises:
        ModelError: it cannot be read, or has no card.
        BuildError: the onnx package is missing.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise BuildError("building an engine needs the onnx package: python3 -m pip install onnx") from error
    try:
        proto = onnx.load(str(path))
    except (DecodeError, OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as an ONNX model ({error}); copy or export it again") from error
    return proto, read_card({entry.key: entry.value for entry in proto.metadata_props}, path)


def network_graph(proto: Any, attributes: DetectAttributes, path: Path, batch: int | None) -> bytes:
    """What TensorRT parses: planes of grey levels `image` in, the plugin's outputs out.

    Raises:
        ModelError: the model does not fit the attributes.
    """
    graph = append_plugin_node(proto, attributes, path, batch)
    take_planes(graph.graph)
    return bytes(graph.SerializeToString())


def register_plugin(api: TensorRtApi, options: BuildOptions, output: Path) -> None:
    """Make TensorRT know the plugin: the compiled one, or for TensorRT for RTX one that knows types and shapes only.

    Raises:
        RuntimeUnavailableError: there is no library.
        ModelError: TensorRT does not take it.
    """
    if api.flavor == "tensorrt_rtx" and options.plugin is None:
        register_contract_plugin(api.trt)
    else:
        register_plugins(api.trt, options.plugin or find_plugin(output))


def compile_network(
    api: TensorRtApi, graph: bytes, precision: str, targets: tuple[str, ...], options: BuildOptions, report: Report
) -> bytes:
    """An engine of a graph, serialised.

    Raises:
        BuildError: TensorRT refuses the graph or cannot build it.
        SettingError: as `build_engine`.
    """
    log = log_class(api.trt)()
    monitor = make_monitor(api.trt, report)
    builder = api.trt.Builder(log)
    network = api.make_network(builder, strongly_typed=not api.typed_by_flags(options.dla))
    parser = api.trt.OnnxParser(network, log)
    with monitor.watch():
        parsed = parser.parse(graph)
    if not parsed:
        raise BuildError(
            f"{api.title} does not take the model{log.take()}; export it again with `gaussian-yolo export`"
        )
    config = builder.create_builder_config()
    config.progress_monitor = monitor
    if options.workspace_mib:
        config.set_memory_pool_limit(api.trt.MemoryPoolType.WORKSPACE, options.workspace_mib * _MIB)
    if options.dla is not None:
        api.use_dla(config, options.dla, precision)
    api.set_targets(config, targets)
    image = network.get_input(0)
    if options.batch is None:
        profile = builder.create_optimization_profile()
        shape = tuple(image.shape)[1:]
        profile.set_shape(image.name, (1, *shape), (1, *shape), (LARGEST_BATCH, *shape))
        config.add_optimization_profile(profile)
    cache = _read_cache(config, options.timing_cache)
    with monitor.watch():
        engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BuildError(
            f"{api.title} cannot build the engine{log.take()}; where memory is short, give a smaller --workspace"
        )
    if cache is not None and options.timing_cache is not None:
        options.timing_cache.write_bytes(bytes(config.get_timing_cache().serialize()))
    return bytes(engine)


def command(path: Path, output: Path, options: BuildOptions) -> str:
    """The line that builds an engine again."""
    words = ["gaussian-yolo", "build-engine", str(path), "-o", str(output)]
    defaults = BuildOptions()
    for name, option in _OPTIONS.items():
        value = getattr(options, name)
        if value == getattr(defaults, name):
            continue
        if name == "variance_vote":
            words.append("--variance-vote" if value else "--no-variance-vote")
        elif name == "calibration":
            words += [word for source in value for word in (option, source)]
        elif name == "compute_capabilities":
            words += [option, ",".join(value)]
        else:
            words += [option, "dynamic" if value is None else str(value)]
    return shlex.join(words)


_OPTIONS = {
    "precision": "--precision",
    "calibration": "--calibration",
    "workspace_mib": "--workspace",
    "dla": "--dla",
    "timing_cache": "--timing-cache",
    "batch": "--batch",
    "compute_capabilities": "--compute-capability",
    "plugin": "--plugin",
    "score_threshold": "--score-threshold",
    "iou_threshold": "--iou-threshold",
    "variance_vote": "--variance-vote",
    "max_detections": "--max-detections",
    "keep_onnx": "--keep-onnx",
}


def _this_gpu(api: TensorRtApi) -> tuple[str, ...]:
    try:
        return (open_gpu().compute_capability,)
    except RuntimeUnavailableError as error:
        if api.flavor != "tensorrt_rtx":
            raise
        raise RuntimeUnavailableError(f"{error}; or name the GPUs to build for with --compute-capability") from error


def _with_thresholds(card: ModelCard, options: BuildOptions) -> ModelCard:
    names = ("score_threshold", "iou_threshold", "variance_vote")
    return replace(card, **{name: getattr(options, name) for name in names if getattr(options, name) is not None})


def _precision(proto: Any, path: Path, options: BuildOptions) -> str:
    quantised = any(entry.key == PRECISION_KEY and entry.value == "int8" for entry in proto.metadata_props)
    if quantised and options.precision in ("fp32", "fp16"):
        raise ModelError(f"{path} is quantised; build it with --precision int8, or take the model it was made from")
    if quantised and options.calibration:
        raise ModelError(f"{path} is quantised already; leave --calibration out")
    if options.precision == "int8" and not quantised and not options.calibration:
        raise ModelError(
            f"{path} is not quantised; give --calibration with frames like those to come, or a model that "
            "`gaussian-yolo quantize` wrote"
        )
    precision = options.precision or ("int8" if quantised else "fp32")
    if options.dla is not None and precision == "fp32":
        raise SettingError("a DLA computes in fp16 and int8; give --precision fp16 or int8")
    return precision


def _in_precision(
    proto: Any, path: Path, card: ModelCard, precision: str, options: BuildOptions, folder: Path, report: Report
) -> Any:
    import onnx

    if precision == "int8":
        if options.calibration:
            from gaussian_yolo_node.models.quantize import quantize_model

            report("calibrating", 0, 1)
            quantize_model(path, options.calibration, folder / "int8.onnx", limit=CALIBRATION_FRAMES)
            proto = onnx.load(str(folder / "int8.onnx"))
        to_symmetric(proto, path)
    elif precision == "fp16":
        report("converting to fp16", 0, 1)
        to_half(path, folder / "fp16.onnx", _canvases(proto, card, options))
        proto = onnx.load(str(folder / "fp16.onnx"))
    return proto


def _canvases(proto: Any, card: ModelCard, options: BuildOptions) -> NDArray[np.uint8]:
    """A batch to see on how large the network's values get; coarse noise unless frames are given."""
    images = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    if options.calibration:
        from gaussian_yolo_node.models.quantize import read_frames

        canvases = read_frames(options.calibration, card, CALIBRATION_FRAMES).canvases
        return np.stack([canvases[index % len(canvases)] for index in range(images)])
    height, width = card.input_size
    blocks = np.random.default_rng(0).integers(0, 256, (images, -(-height // 8), -(-width // 8), 3), np.uint8)
    return blocks.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]


def _read_cache(config: Any, path: Path | None) -> Any:
    if path is None:
        return None
    data = b""
    with suppress(FileNotFoundError):
        data = path.read_bytes()
    cache = config.create_timing_cache(data)
    # Measurements of another GPU or version are not taken over, and the file is written anew.
    config.set_timing_cache(cache, False)
    return cache

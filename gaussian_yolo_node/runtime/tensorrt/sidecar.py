"""What an engine was built from and for, in a JSON file beside it: NAME.engine.json."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from gaussian_yolo_node.documents import read_json
from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.runtime.base import show_size
from gaussian_yolo_node.runtime.tensorrt.plugin_library import PLUGIN_VERSION
from gaussian_yolo_node.runtime.tensorrt.rebuilding import PROGRAM
from gaussian_yolo_node.settings import read

FORMAT = 1
_REBUILD = "build the engine again with `gaussian-yolo build-engine`"


@dataclass(frozen=True)
class EngineSidecar:
    """What an engine was built from and for.

    Attributes:
        tensorrt: version of TensorRT, which alone can load the engine.
        compute_capability: of the GPU, "87"; of several, for which TensorRT for RTX built it ahead of time, "86,89".
        model_hash: of the ONNX file, as `files.short_hash` gives it.
        card: of the model, with the thresholds that were built in.
        command: builds the engine again.
        flavor: package that runs the engine, "tensorrt" or "tensorrt_rtx".
        precision: "fp32", "fp16" or "int8".
        model: the model's name.
        plugin_version: of `GaussianYoloDetect`.
        batch: most images of one inference; 0 where the sidecar does not say.
        dynamic_batch: whether fewer may be given.
        max_detections: rows of the outputs.
        criterion: what a detection's score is, "gaussian" or "confidence".
    """

    tensorrt: str
    compute_capability: str
    model_hash: str
    card: Mapping[str, Any]
    command: str
    flavor: str = "tensorrt"
    precision: str = "fp32"
    model: str = ""
    plugin_version: str = PLUGIN_VERSION
    batch: int = 1
    dynamic_batch: bool = False
    max_detections: int = 300
    criterion: str = "gaussian"
    format: int = field(default=FORMAT, kw_only=True)

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the canvas in px."""
        height, width = self.card["input_size"]
        return height, width

    def command_at(self, engine: Path, input_size: tuple[int, int]) -> str:
        """Builds an engine of the same model for another canvas of (height, width) px, with the options of this one."""
        words = shlex.split(self.command)
        for option in ("-o", "--output", "--input-size", "--save-onnx"):
            if option in words:
                at = words.index(option)
                del words[at : at + 2]
        return shlex.join([*words, "-o", str(engine), "--input-size", show_size(input_size)])

    def differences(self, other: EngineSidecar) -> list[str]:
        """Why another engine must not run in the place of this one, on another canvas; empty if it may."""
        mine, others = self._results(), other._results()
        return [f"its {name} is {others[name]} and not {mine[name]}" for name in mine if others[name] != mine[name]]

    def _results(self) -> dict[str, object]:
        """What the detections of a frame depend on."""
        thresholds = ("score_threshold", "iou_threshold", "variance_vote")
        own = {"model": self.model_hash, "criterion": self.criterion, "max_detections": self.max_detections}
        return own | {name: self.card[name] for name in thresholds}

    def stale_reasons(
        self, *, tensorrt: str, compute_capability: str, model_hash: str | None, plugin_version: str
    ) -> list[str]:
        """Why the engine must not be used here, empty where it may.

        Args:
            tensorrt: version here.
            compute_capability: of this machine's GPU.
            model_hash: of the model that is wanted, None where that is not known.
            plugin_version: of the plugin that this package brings.
        """
        reasons = []
        if self.tensorrt != tensorrt:
            reasons.append(f"it was built by TensorRT {self.tensorrt} and this machine has {tensorrt}")
        if compute_capability not in self.compute_capability.split(","):
            reasons.append(
                f"it was built for GPUs of compute capability {self.compute_capability} and this one has "
                f"{compute_capability}"
            )
        if model_hash is not None and self.model_hash != model_hash:
            reasons.append(f"it was built from model {self.model_hash} and the model is {model_hash} now")
        if self.plugin_version != plugin_version:
            reasons.append(f"it holds plugin version {self.plugin_version} and this package has {plugin_version}")
        return reasons


def sidecar_path(engine: Path) -> Path:
    """Where an engine's sidecar is."""
    return engine.with_name(f"{engine.name}.json")


def sidecar_text(sidecar: EngineSidecar) -> str:
    """What the file holds."""
    return json.dumps(asdict(sidecar), indent=1) + "\n"


def read_sidecar(engine: Path) -> EngineSidecar:
    """Read and check an engine's sidecar.

    Raises:
        ModelError: it is missing, or names the field that is missing or wrong.
    """
    path = sidecar_path(engine)
    if not path.exists():
        raise ModelError(f"{engine} has no {path}, so what it was built for is unknown; {_REBUILD}")
    values = read_json(path, "", lambda fault: ModelError(f"{fault}; {_REBUILD}"))
    if not isinstance(values, dict):
        raise ModelError(f"{path} is not a JSON object; {_REBUILD}")
    if values.get("format") != FORMAT:
        raise ModelError(f"{path} has format {values.get('format')!r} and this version reads {FORMAT}; {_REBUILD}")
    # Fields of a later version that still has this format only say more.
    known = {entry.name: values[entry.name] for entry in fields(EngineSidecar) if entry.name in values}
    sidecar = read(EngineSidecar, known, path, lambda text: ModelError(f"{text}; {_REBUILD}"))
    for name in _CARD:
        if name not in sidecar.card:
            raise ModelError(f"the card of {path} lacks {name}; {_REBUILD}")
    size = sidecar.card["input_size"]
    if not isinstance(size, list) or [type(side) for side in size] != [int, int]:
        raise ModelError(f"the card of {path} has input_size = {json.dumps(size)}, no [height, width]; {_REBUILD}")
    # The command is shown to be copied, so it must be the builder's, quoted for a shell.
    try:
        words = shlex.split(sidecar.command)
    except ValueError:
        words = []
    if tuple(words[:2]) != PROGRAM:
        raise ModelError(f"the command of {path} is not that of its builder; {_REBUILD}")
    return replace(sidecar, command=shlex.join(words))


# Of the card, which the detector checks in full: what its builder always writes and the runtime needs.
_CARD = (
    *("anchors", "classes", "input_size", "name", "strides"),
    *("score_threshold", "iou_threshold", "variance_vote"),
)

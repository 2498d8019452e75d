"""What is known of an engine: a JSON file beside it, NAME.engine.json."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from gaussian_yolo_node.errors import ModelError

FORMAT = 1


@dataclass(frozen=True)
class EngineSidecar:
    """An engine, and what it fits.

    Attributes:
        tensorrt: version that built it, which alone can load it.
        compute_capability: of the GPU it is for, "87"; of several, with commas.
        model_hash: first 12 digits of the SHA-256 of the model it was built from.
        card: of that model, with the thresholds that are built in.
        command: builds it again.
        flavor: "tensorrt", or "tensorrt_rtx" for TensorRT for RTX.
        precision: "fp32", "fp16" or "int8".
        model: the model's name.
        plugin_version: of GaussianYoloDetect.
        batch: images of one inference; None where it is dynamic.
        max_detections: rows of its outputs.
        format: of this file.
    """

    tensorrt: str
    compute_capability: str
    model_hash: str
    card: Mapping[str, Any]
    command: str
    flavor: str = "tensorrt"
    precision: str = "fp32"
    model: str = ""
    plugin_version: str = "1"
    batch: int | None = 1
    max_detections: int = 300
    format: int = FORMAT

    def stale_reasons(
        self, *, tensorrt: str, compute_capability: str, model_hash: str | None, plugin_version: str
    ) -> list[str]:
        """Why the engine does not fit here, a clause each; empty if it does.

        Args:
            tensorrt: the version installed.
            compute_capability: of the GPU, "87".
            model_hash: of the model beside it, None where only the engine is there.
            plugin_version: of the plugin's library.
        """
        reasons = []
        if tensorrt != self.tensorrt:
            reasons.append(f"it was built by TensorRT {self.tensorrt} and this is {tensorrt}")
        if compute_capability not in self.compute_capability.split(","):
            reasons.append(
                f"it was built for GPUs of SM {self.compute_capability} and this one is {compute_capability}"
            )
        if model_hash is not None and model_hash != self.model_hash:
            reasons.append(
                f"it was built from a model with hash {self.model_hash} and the one beside it has {model_hash}"
            )
        if plugin_version != self.plugin_version:
            reasons.append(f"it was built with plugin version {self.plugin_version} and this is {plugin_version}")
        return reasons


def sidecar_path(engine: Path) -> Path:
    """NAME.engine.json of NAME.engine."""
    return engine.with_name(f"{engine.name}.json")


def write_sidecar(engine: Path, sidecar: EngineSidecar) -> None:
    """Write what is known of an engine beside it, in one step.

    Raises:
        OSError: it cannot be written.
    """
    target = sidecar_path(engine)
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_text(json.dumps(asdict(sidecar), indent=1) + "\n", encoding="utf-8")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def read_sidecar(engine: Path) -> EngineSidecar:
    """What is known of an engine.

    Raises:
        ModelError: the file beside it is missing or wrong; names it and the field.
    """
    path = sidecar_path(engine)
    mend = "build the engine again with `gaussian-yolo build-engine`"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing, so it is unknown what {engine.name} was built for; {mend}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); {mend}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} is not a JSON object; {mend}")
    if values.get("format") != FORMAT:
        raise ModelError(f"{path} has format {values.get('format')!r} and this version reads {FORMAT}; {mend}")
    known = {field.name: field for field in fields(EngineSidecar)}
    missing = [name for name, field in known.items() if field.default is MISSING and name not in values]
    if missing:
        raise ModelError(f"{path} lacks {', '.join(missing)}; {mend}")
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise ModelError(f"{path} has unknown fields {', '.join(unknown)}; update gaussian_yolo, or {mend}")
    for name, value in values.items():
        holds, meaning = _CHECKS.get(name, _TEXT)
        if not holds(value):
            raise ModelError(f"{path} has {name} = {json.dumps(value)}, which must be {meaning}; {mend}")
    return EngineSidecar(**values)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


_TEXT: tuple[Callable[[object], bool], str] = (lambda value: isinstance(value, str), "text")
_CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "card": (lambda value: isinstance(value, dict), "an object"),
    "batch": (lambda value: value is None or _is_count(value), "null or a number from 1"),
    "max_detections": (_is_count, "a number from 1"),
    "format": (_is_count, "a number"),
}

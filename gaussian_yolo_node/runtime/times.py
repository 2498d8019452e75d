"""How long a network takes on this machine, kept in the user's cache."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from gaussian_yolo_node.documents import DocumentError, read_json
from gaussian_yolo_node.files import WriteError, write_whole
from gaussian_yolo_node.runtime.base import DetectingRuntime, Runtime, show_size
from gaussian_yolo_node.runtime.devices import time_s
from gaussian_yolo_node.runtime.machine import machine

_RUNS = 12


def cache_file() -> Path:
    """The file of measured times; XDG_CACHE_HOME changes its folder."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder / "gaussian_yolo" / "network_times.json"


def known_time_s(runtime: Runtime | DetectingRuntime, model_hash: str, size: tuple[int, int]) -> float | None:
    """The time of an earlier measurement for (height, width) px with the same model, processor, cores and runtime."""
    value = _read().get(_key(runtime, model_hash), {}).get(show_size(size))
    return value / 1e3 if isinstance(value, int | float) and 0 < value < 1e6 else None


def measure_s(runtime: Runtime | DetectingRuntime, model_hash: str) -> float:
    """Time the network on this runtime's canvas, s, and keep the result if the cache can be written."""
    seconds = time_s(runtime, _RUNS)
    times = _read()
    times.setdefault(_key(runtime, model_hash), {})[show_size(runtime.input_size)] = round(seconds * 1e3, 3)
    _write(times)
    return seconds


def forget(runtime: Runtime | DetectingRuntime, model_hash: str) -> None:
    """Have all canvases of a model measured again at the next start, because the machine was busy when they were."""
    times = _read()
    if times.pop(_key(runtime, model_hash), None):
        _write(times)


def _key(runtime: Runtime | DetectingRuntime, model_hash: str) -> str:
    return f"{model_hash} on {machine()} by {runtime.description}"


def _write(times: dict[str, dict[str, float]]) -> None:
    with suppress(WriteError):  # such as a read-only home; it is measured again next time
        write_whole(cache_file(), json.dumps(times, indent=1) + "\n")


def _read() -> dict[str, dict[str, float]]:
    try:
        times = read_json(cache_file())
    except DocumentError:
        return {}
    return times if isinstance(times, dict) and all(isinstance(entry, dict) for entry in times.values()) else {}

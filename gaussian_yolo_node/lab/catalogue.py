"""The list of models: the cost of each and its inference time on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from gaussian_yolo_node.detector.model import read_card, resolve_model, shipped_models
from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.lab.complexity import Complexity, complexity, onnx_complexity
from gaussian_yolo_node.lab.export.built_in import export_built_in
from gaussian_yolo_node.lab.export.onnx import ExportOptions
from gaussian_yolo_node.lab.networks import mixnet, mobilenet
from gaussian_yolo_node.lab.networks.backbones import create_backbone
from gaussian_yolo_node.lab.networks.efficientnet import LITE_SCALING, SCALING
from gaussian_yolo_node.lab.networks.factory import BUILT_INS
from gaussian_yolo_node.runtime import CPU_RUNTIMES, Runtime, RuntimeOptions, RuntimeUnavailableError, open_runtime

WARM_UP, LEAST_RUNS, LEAST_SECONDS = 3, 10, 1.0


@dataclass(frozen=True)
class Entry:
    """One model.

    Attributes:
        name: the name for `export` or `detect --model`.
        neck: name of the neck, "shipped", or "classifier".
        input_size: height and width, px.
        cost: of one image of that size.
        path: file of a shipped model; None for a built-in one.
    """

    name: str
    neck: str
    input_size: tuple[int, int]
    cost: Complexity
    path: Path | None = None


def catalogue(names: Sequence[str] | None = None) -> list[Entry]:
    """Shipped models, then the built-in detectors: all of them, or the given names in that order.

    Raises:
        SettingError: an unknown name; the message lists all names.
        ModelError: a shipped file is damaged.
    """
    shipped = shipped_models()
    known = [*shipped, *BUILT_INS]
    for name in names or ():
        if name not in known:
            raise SettingError(f"there is no model {name!r}; there are {', '.join(known)}")
    return [_shipped(name) if name in shipped else _built_in(name) for name in names or known]


def classifiers() -> list[Entry]:
    """The backbones as classifiers of ImageNet's 1,000 classes, at the resolution of their papers."""
    sizes = {name: scaling.resolution for name, scaling in {**SCALING, **LITE_SCALING}.items()}
    sizes |= dict.fromkeys((*mixnet.MEMBERS, *mobilenet.TABLES), 224)
    entries = []
    for name, side in sizes.items():
        with torch.device("meta"):
            model = create_backbone(name, 1000)
        entries.append(Entry(name, "classifier", (side, side), complexity(model, (side, side))))
    return entries


def print_catalogue(entries: Iterable[Entry], console: Console, options: RuntimeOptions | None = None) -> None:
    """Print a table on `console`; with `options`, also time each model, which takes a while."""
    table = Table()
    for heading in ("model", "neck", "input, px"):
        table.add_column(heading, overflow="fold")
    headings = ["params, M", "GMACs", *(f"{name}, ms" for name in CPU_RUNTIMES if options is not None)]
    for heading in headings:
        table.add_column(heading, justify="right")
    described: dict[str, str] = {}
    with console.status("") as status:
        for entry in entries:
            times = []
            if options is not None:
                status.update(f"measuring {entry.name}")
                times = [_milliseconds(entry, runtime, options, described) for runtime in CPU_RUNTIMES]
            table.add_row(
                entry.name,
                entry.neck,
                "x".join(map(str, entry.input_size)),
                f"{entry.cost.parameters / 1e6:.2f}",
                f"{entry.cost.macs / 1e9:.2f}",
                *times,
            )
    console.print(table)
    for name, description in described.items():
        console.print(
            f"{name}: {description}; median of one image after another, network only", markup=False, highlight=False
        )


def time_runtime(runtime: Runtime) -> float:
    """Median seconds of one inference."""
    canvas = np.random.default_rng(0).integers(0, 256, (*runtime.input_size, 3), dtype=np.uint8)
    for _ in range(WARM_UP):
        runtime.infer(canvas)
    times: list[float] = []
    while len(times) < LEAST_RUNS or sum(times) < LEAST_SECONDS:
        started = perf_counter()
        runtime.infer(canvas)
        times.append(perf_counter() - started)
    return median(times)


def _shipped(name: str) -> Entry:
    import onnx

    path = resolve_model(name)
    cost = onnx_complexity(path)  # raises ModelError for a damaged file
    metadata = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    card = read_card(metadata, path)
    return Entry(name, "shipped", card.input_size, cost, path)


def _built_in(name: str) -> Entry:
    built_in = BUILT_INS[name]
    with torch.device("meta"):
        model = built_in.network()
    return Entry(name, built_in.neck, built_in.input_size, complexity(model, built_in.input_size))


def _milliseconds(entry: Entry, name: str, options: RuntimeOptions, described: dict[str, str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = entry.path
        if path is None:
            path = Path(folder) / "model.onnx"
            export_built_in(entry.name, path, options=ExportOptions(runtime=name))
        try:
            runtime = open_runtime(path, name, options)
        except RuntimeUnavailableError:
            return "not installed"
        described[name] = runtime.description
        try:
            return f"{time_runtime(runtime) * 1e3:.1f}"
        finally:
            runtime.close()

"""Plays a source through the installed node: once in real time, recorded, and once as fast as the node takes it.

Leaves in the output folder: annotated.mp4 and .webm, detections.mcap, contact_sheet.png, summary.json, node.log.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from gaussian_yolo_node.bags import COMPRESSED_IMAGE, DETECTIONS
from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.bags.writing import BagWriter
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.display import without_secrets
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.frames import open_source
from gaussian_yolo_node.frames.camera import CameraSource
from gaussian_yolo_node.processes import run_until_signal
from gaussian_yolo_node.ros.demo import DemoError
from gaussian_yolo_node.ros.demo.observer import Observer, percentile_ms
from gaussian_yolo_node.ros.demo.pictures import write_pictures
from gaussian_yolo_node.ros.driving.node_process import NodeProcess
from gaussian_yolo_node.runtime.base import parse_size
from gaussian_yolo_node.runtime.machine import machine
from gaussian_yolo_node.view import DEFAULT_PORT, LOCALHOST

NAMESPACE = "/demo"
NODE = f"{NAMESPACE}/perception"
PICTURES = f"{NODE}/image_annotated/compressed"
# Images in a folder have no rate of their own; this is the rate the node is made for.
FOLDER_FPS = 30.0
# A camera never ends; the demo does.
LIVE_SECONDS = 20.0
BARE_RUNS = 100
RESULTS = ("annotated.mp4", "annotated.webm", "detections.mcap", "contact_sheet.png", "summary.json")
# Where a frame's time goes, from its arrival to the publication of its detections.
STAGES = ("wait_ms", "decode_ms", "preprocess_ms", "inference_ms", "postprocess_ms", "publish_ms")


def main(
    source: Annotated[str, typer.Option(help="Video, folder of images, camera index, URL or GStreamer pipeline.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out/demo"),
    rate: Annotated[float, typer.Option(help="Frames per second of a file; 0: its own, 30 for images.", min=0)] = 0,
    model: Annotated[str, typer.Option(help="Name or path of a model; empty: the default.")] = "",
    runtime: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or tensorrt.")] = "auto",
    view: Annotated[bool, typer.Option("--view", help="Show it live, on a page in the browser.")] = False,
) -> None:
    """Show the perception node at work."""
    # A domain of our own keeps other people's nodes out of the figures.
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    try:
        followed = view and find_spec("scipy") is not None
        parameters = {"runtime": runtime, "view_port": DEFAULT_PORT if view else 0, "tracking": followed}
        run(source, out, rate, {**parameters, **({"model": model} if model else {})})
    except GaussianYoloError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


def run(source: str, out: Path, rate: float, parameters: dict[str, Any]) -> None:
    """Both passes, the bare network between them, and the results in `out`."""
    console = Console()
    playback_fps, live = probe(source, rate)
    out.mkdir(parents=True, exist_ok=True)
    bag = out / "detections.mcap"
    for stale in RESULTS:
        (out / stale).unlink(missing_ok=True)

    if parameters["view_port"]:
        console.print(f"live view: http://{LOCALHOST}:{parameters['view_port']}/", highlight=False)
    given = {"source": source if live else str(Path(source).expanduser().resolve()), **parameters}
    realtime = {**given, "playback": "realtime", "playback_fps": playback_fps}
    with BagWriter(bag, {f"{NODE}/detections": DETECTIONS, PICTURES: COMPRESSED_IMAGE}) as recording:
        seen = observe("in real time", realtime, recording, out / "node.log", LIVE_SECONDS if live else 0, console)
    if not seen.published_at:
        reason = seen.driver.status or f"see {out / 'node.log'}"
        raise DemoError(f"the node processed no frame of {without_secrets(source)}: {reason}")
    console.print(seen.driver.diagnostics["canvas_choice"], highlight=False)
    summary = summarise(source, seen, playback_fps)
    summary["detections_per_class"] = count_classes(bag)
    console.print("bare network ...")
    canvas = parse_size(summary["canvas"])
    summary["bare_network_ms"] = bare_network_ms(seen.driver.diagnostics["model"], str(parameters["runtime"]), canvas)
    summary["overhead_p50_ms"] = round(summary["frame_age_p50_ms"] - summary["bare_network_ms"], 2)
    if not live:
        fastest = {**given, "playback": "fastest"}
        quick = observe("as fast as the node takes it", fastest, None, out / "node_fastest.log", 0, console)
        summary["fastest_fps"] = rate_of(quick.published_at)
        summary["fastest_frames"] = len(quick.published_at)
    write_pictures(bag, PICTURES, seen.annotated, playback_fps or summary["fps"], out)
    write_whole(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    table = Table(show_header=False)
    for key, value in summary.items():
        table.add_row(key, json.dumps(value) if isinstance(value, dict) else str(value))
    console.print(table)
    console.print(f"in {out}: {', '.join(RESULTS)}", highlight=False)


def probe(source: str, rate: float) -> tuple[float, bool]:
    """Playback rate of a source in Hz (0: a live one's own), and whether it is live.

    Raises:
        SourceError: it cannot be opened.
    """
    opened = open_source(source)
    try:
        if isinstance(opened, CameraSource):
            return 0.0, True
        return rate or (FOLDER_FPS if Path(source).expanduser().is_dir() else opened.fps), False
    finally:
        opened.close()


def observe(
    title: str, parameters: dict[str, Any], bag: BagWriter | None, log: Path, seconds: float, console: Console
) -> Observer:
    """Run the node over its source once.

    Args:
        bag: takes detections and annotated frames; without it the node need not draw.
        seconds: limit for a source that does not end; 0: none.
    """
    settings = {**parameters, "autostart": False, "diagnostics_period": 0.2}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        NodeProcess(NAMESPACE, settings, log) as process,
        Observer(process, bag.write if bag else lambda *_: None, annotated=bag is not None) as seen,
        Progress(*columns, console=console) as progress,
    ):
        task = progress.add_task(title, total=None)
        seen.start()
        seen.watch(seconds, lambda done: progress.update(task, completed=done))
        progress.update(task, completed=len(seen.published_at), total=len(seen.published_at))
    return seen


def summarise(source: str, seen: Observer, playback_fps: float) -> dict[str, Any]:
    """Figures of the recorded pass."""
    values = seen.driver.diagnostics
    return {
        "source": without_secrets(source),
        "playback_fps": playback_fps or None,
        "frames_in": seen.driver.count("frames_received"),
        "frames_processed": seen.driver.count("frames_processed"),
        "frames_dropped": seen.driver.count("frames_dropped"),
        "frames_skipped": seen.driver.count("frames_skipped"),
        "frames_recorded": len(seen.published_at),
        "frames_annotated": seen.annotated,
        "fps": rate_of(seen.published_at),
        "frame_age_p50_ms": percentile_ms(seen.ages, 50),
        "frame_age_p99_ms": percentile_ms(seen.ages, 99),
        **{key: float(values[key] or "nan") for key in STAGES},
        "canvas": values["canvas"],
        "canvas_accuracy": values["canvas_accuracy"] or None,
        "model": values["model"].rsplit("/", 1)[-1],
        "model_hash": values["model_hash"],
        "runtime": values["runtime"],
        "machine": machine(),
    }


def rate_of(times_ns: list[int]) -> float | None:
    """Frames per second between the first and the last of `times_ns`; None for fewer than two."""
    if len(times_ns) < 2:
        return None
    return round((len(times_ns) - 1) / max(1e-9, (times_ns[-1] - times_ns[0]) / 1e9), 2)


def count_classes(bag: Path) -> dict[str, int]:
    """Detections by class name; a box that keeps several classes counts for the best."""
    counts: Counter[str] = Counter()
    with BagReader(bag) as reader:
        for message in reader.messages({f"{NODE}/detections"}):
            counts.update(detection.results[0].hypothesis.class_id for detection in message.decode().detections)
    return dict(sorted(counts.items()))


def bare_network_ms(model: str, runtime: str, canvas: tuple[int, int]) -> float:
    """Median time of the network alone on a canvas of (height, width) px, with nothing else running."""
    with Detector.open(model, runtime) as detector:
        if canvas != detector.input_size:
            detector.use_canvas(canvas)
        frame = np.random.default_rng(0).integers(0, 256, (*canvas, 3), dtype=np.uint8)
        times = []
        for _ in range(BARE_RUNS):
            detector(frame)
            times.append(detector.last_timing.inference_s)
    return round(float(np.median(times)) * 1e3, 2)


if __name__ == "__main__":
    run_until_signal(lambda: typer.run(main))

#!/usr/bin/env python3
"""Time the node from camera to published detections, and the bare network in the same run.

    python benchmarks/node_latency.py data/kitti/drive_0011/image

The network also runs alone before, between and after the node's runs, because on a machine with varying speed only
figures of one run can be compared. At a camera's rate the cores idle between frames and every frame starts cold.
Therefore the network is timed both back to back and once per frame period; the node's overhead at the camera's rate is
its frame age minus the latter.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import rclpy
import typer
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from vision_msgs.msg import Detection2DArray

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.model import DEFAULT_MODEL
from gaussian_yolo_node.processes import end_child, run_until_signal, start_child
from gaussian_yolo_node.ros.fastdds_profile import fastdds_environment

REPOSITORY = Path(__file__).resolve().parents[1]
# The node reports over the latest 5 s and 300 frames; the start-up must have left this window.
WARM_UP_S = 5.0
NETWORK_S = 2.0


def main(
    source: Annotated[str, typer.Argument(help="Video file or image folder; played in a loop.")],
    model: Annotated[str, typer.Option(help="Name or path of the model.")] = DEFAULT_MODEL,
    runtime: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or tensorrt.")] = "auto",
    fps: Annotated[float, typer.Option(min=1, help="The camera's rate.")] = 30.0,
    seconds: Annotated[float, typer.Option(min=5, help="How long to play at each speed.")] = 10.0,
    limit_ms: Annotated[float, typer.Option(help="Exit 1 if the overhead is above this; 0: no limit.")] = 0.0,
) -> None:
    """Time the node from camera to published detections."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.update(fastdds_environment(REPOSITORY / "launch"))
    detector = Detector.open(model, runtime)
    print(
        f"{detector.card.name} on {detector.runtime.description}; {platform.processor() or platform.machine()}, "
        f"{os.cpu_count()} cores; {source}"
    )

    alone = network_ms(detector, 0.0)
    paced = network_ms(detector, fps)
    fastest = node_values(source, model, runtime, seconds, "fastest", 0.0)
    alone += network_ms(detector, 0.0)
    paced += network_ms(detector, fps)
    camera = node_values(source, model, runtime, seconds, "realtime", fps)
    paced += network_ms(detector, fps)
    alone += network_ms(detector, 0.0)

    show("network alone, back to back", alone)
    show(f"network alone, {fps:g} Hz", paced)
    for name, values in (("node, as fast as it takes", fastest), (f"node, {fps:g} Hz", camera)):
        print(
            f"{name:28} {values['rate_hz']:>6} fps   frame age p50 {values['frame_age_p50_ms']:>6} "
            f"p99 {values['frame_age_p99_ms']:>6} ms   of it network {values['inference_ms']:>6} ms   "
            f"received {values['frames_received']} dropped {values['frames_dropped']}"
        )
    overhead = float(camera["frame_age_p50_ms"]) - float(np.median(paced))
    share = float(camera["frame_age_p50_ms"]) - float(camera["inference_ms"])
    print(f"overhead at {fps:g} Hz: {overhead:.2f} ms above the network alone, {share:.2f} ms outside the network")
    if limit_ms and overhead > limit_ms:
        print(f"the overhead is above the limit of {limit_ms} ms")
        raise typer.Exit(1)


def network_ms(detector: Detector, fps: float) -> list[float]:
    """Inference times in ms over NETWORK_S seconds: one per frame period, or back to back if `fps` is 0."""
    canvas = np.random.default_rng(0).integers(0, 256, (*detector.card.input_size, 3), np.uint8)
    times: list[float] = []
    start = time.perf_counter()
    while time.perf_counter() - start < NETWORK_S:
        if fps:
            time.sleep(max(0.0, start + (len(times) + 1) / fps - time.perf_counter()))
        detector(canvas)
        times.append(detector.last_timing.inference_s * 1e3)
    return times


def node_values(source: str, model: str, runtime: str, seconds: float, playback: str, fps: float) -> dict[str, str]:
    """Values of a node process on /diagnostics after some seconds of playback, with a subscriber."""
    parameters = {
        "source": source,
        "model": model,
        "runtime": runtime,
        "playback": playback,
        "playback_fps": fps,
        "loop": "true",
        "input_size": "card",  # as the network alone has
    }
    command = [sys.executable, "-m", "gaussian_yolo_node.ros.perception_node", "--ros-args", "--log-level", "warn"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    context = rclpy.Context()
    rclpy.init(context=context)
    observer = rclpy.create_node("node_latency", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(observer)
    values: dict[str, str] = {}
    first: list[float] = []

    def note_start(_: Detection2DArray) -> None:
        if not first:
            first.append(time.monotonic())

    def note_values(message: DiagnosticArray) -> None:
        values.update({value.key: value.value for value in message.status[0].values})

    observer.create_subscription(Detection2DArray, "/perception/detections", note_start, 10)
    observer.create_subscription(DiagnosticArray, "/diagnostics", note_values, 10)
    process = start_child(command, cwd=REPOSITORY)
    try:
        while not first or time.monotonic() - first[0] < WARM_UP_S + seconds:
            executor.spin_once(timeout_sec=0.5)
            if process.poll() is not None:
                raise SystemExit(f"the node ended with {process.returncode}")
            if values.get("last_error"):
                raise SystemExit(f"the node reports: {values['last_error']}")
    finally:
        end_child(process)
        executor.shutdown()
        observer.destroy_node()
        context.try_shutdown()
    return values


def show(name: str, times: list[float]) -> None:
    print(f"{name:28} median {np.median(times):6.2f} ms   p99 {np.percentile(times, 99):6.2f} ms")


if __name__ == "__main__":
    run_until_signal(lambda: typer.run(main))

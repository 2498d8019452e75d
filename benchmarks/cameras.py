#!/usr/bin/env python3
"""Rate, frame age and memory of one process with 1, 2 and 4 cameras, which share one model.

    python benchmarks/cameras.py data/kitti/drive_0011/image

Each camera plays the same frames in a loop. The canvas is the one that the process chooses for the rate of all cameras
together, unless --canvas fixes it for all numbers of cameras.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import rclpy
import typer
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rich.console import Console
from rich.table import Table

from gaussian_yolo_node.processes import end_child, run_until_signal, start_child
from gaussian_yolo_node.ros.fastdds_profile import fastdds_environment
from gaussian_yolo_node.runtime.machine import machine

REPOSITORY = Path(__file__).resolve().parents[1]
START_S = 60.0
WARM_UP_S = 6.0  # the node reports over the latest 5 s
COLUMNS = {"rate_hz": "Hz", "frame_age_p50_ms": "age p50, ms", "frame_age_p99_ms": "age p99, ms", "canvas": "canvas"}


def main(
    source: Annotated[str, typer.Argument(help="Video file or image folder; played in a loop.")],
    fps: Annotated[float, typer.Option(min=1, help="Rate of each camera.")] = 10.0,
    seconds: Annotated[float, typer.Option(min=1, help="How long to play after the warm-up.")] = 10.0,
    canvas: Annotated[str, typer.Option(metavar="HxW", help="Canvas of all cameras; empty: as the rate allows.")] = "",
    counts: Annotated[str, typer.Option(help="Numbers of cameras, with commas between.")] = "1,2,4",
) -> None:
    """Time several cameras in one process."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.update(fastdds_environment(REPOSITORY / "launch"))
    table = Table(title=f"{machine()}; {source} at {fps:g} Hz")
    for heading in ("cameras", *COLUMNS.values(), "dropped", "memory, MiB"):
        table.add_column(heading, justify="right")
    for count in map(int, counts.split(",")):
        names = [f"camera_{index}" for index in range(count)]
        shared = {"source": source, "playback": "realtime", "playback_fps": fps, "loop": True, "target_rate": fps}
        values, memory_mib = play({**shared, "cameras": names, "input_size": canvas}, names, seconds)
        for name in names:
            cells = [values[name][key] for key in COLUMNS]
            last = f"{memory_mib:.0f}" if name == names[-1] else ""
            table.add_row(str(count) if name == names[0] else "", *cells, values[name]["frames_dropped"], last)
    Console().print(table)


def play(parameters: dict[str, Any], names: list[str], seconds: float) -> tuple[dict[str, dict[str, str]], float]:
    """The latest values of each camera on /diagnostics, and the resident memory of the process in MiB."""
    context = rclpy.Context()
    rclpy.init(context=context)
    observer = rclpy.create_node("cameras_benchmark", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(observer)
    values: dict[str, dict[str, str]] = {}

    def note(message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith("/perception: perception"):
                values[status.name.split("/")[1]] = {value.key: value.value for value in status.values}

    observer.create_subscription(DiagnosticArray, "/diagnostics", note, 10)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cameras.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
        command = [
            sys.executable,
            "-m",
            "gaussian_yolo_node.ros.cameras_node",
            "--ros-args",
            "--params-file",
            str(file),
        ]
        process = start_child([*command, "--log-level", "warn"], cwd=REPOSITORY)
        try:
            end = time.monotonic() + START_S
            started = False
            while time.monotonic() < end:
                executor.spin_once(timeout_sec=0.2)
                if process.poll() is not None:
                    sys.exit(f"the node ended with {process.returncode}")
                if not started and all(values.get(name, {}).get("source_state") == "streaming" for name in names):
                    started, end = True, time.monotonic() + WARM_UP_S + seconds
            if not started:
                sys.exit(f"not all cameras started within {START_S:.0f} s: {values}")
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        finally:
            end_child(process)
            executor.shutdown()
            observer.destroy_node()
            context.try_shutdown()
    return values, pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    run_until_signal(lambda: typer.run(main))

#!/usr/bin/env python3
"""What the node does while another program takes a core: dropped frames, and the canvas on /diagnostics over time.

    python benchmarks/busy_machine.py data/kitti/drive_0011/image

Needs the installed package (`make env`), and the environment of `source .venv/setup.bash`.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.processes import run_until_signal
from gaussian_yolo_node.ros.driving.driver import NodeDriver
from gaussian_yolo_node.ros.driving.node_process import NodeProcess
from gaussian_yolo_node.ros.driving.own_node import OwnNode
from gaussian_yolo_node.runtime.machine import machine


def main(
    source: Annotated[Path, typer.Argument(help="Video file or image folder; played in a loop.")],
    fps: Annotated[float, typer.Option(min=1, help="Rate of the camera, and target_rate.")] = 30.0,
    calm: Annotated[float, typer.Option(min=1, help="Seconds before and after the burner.")] = 15.0,
    busy: Annotated[float, typer.Option(min=1, help="Seconds with the burner.")] = 20.0,
) -> None:
    """Play frames in real time, burn a core for some seconds, and print what changes."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    settings = {"source": str(source.resolve()), "playback": "realtime", "playback_fps": fps, "target_rate": fps}
    settings |= {"loop": True, "autostart": False, "diagnostics_period": 0.5}
    print(f"{machine()}; {source} at {fps:g} Hz; a core is burned from {calm:g} to {calm + busy:g} s")
    with (
        tempfile.TemporaryDirectory() as folder,
        NodeProcess("/busy", settings, Path(folder) / "node.log") as process,
        OwnNode("busy_machine") as own,
    ):
        driver = NodeDriver(own, process.name, process)
        driver.configure()
        driver.activate()
        started, shown = time.monotonic(), ""
        burner = multiprocessing.get_context("spawn").Process(target=burn, daemon=True)
        while (now := time.monotonic() - started) < 2 * calm + busy:
            own.spin(0.1)
            if now > calm and burner.pid is None:
                burner.start()
            if now > calm + busy and burner.is_alive():
                burner.kill()
            values = driver.diagnostics
            if values and values["canvas"] != shown:
                shown = values["canvas"]
                print(f"{now:5.1f} s: canvas {shown}, network {values['inference_ms'] or '-'} ms: {driver.status}")
        received, dropped = driver.count("frames_received"), driver.count("frames_dropped")
        print(f"{dropped} of {received} frames dropped, age p99 {driver.diagnostics['frame_age_p99_ms']} ms at the end")
        driver.close()


def burn() -> None:
    """Occupy a core until killed."""
    while True:
        pass


if __name__ == "__main__":
    run_until_signal(lambda: typer.run(main))

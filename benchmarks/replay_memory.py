#!/usr/bin/env python3
"""Check that memory stays constant during the replay of a long bag, in the player and in the node.

    python benchmarks/replay_memory.py data/kitti/drive_0011/image
    python benchmarks/replay_memory.py drive.mcap --frames 3000 --limit-mb 20

The bag loops real frames of a folder or a bag. Growth counts from the end of the first minute, or of the first quarter
of a run shorter than four minutes; exits with 1 if it exceeds the limit in either process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer

from gaussian_yolo_node.bags import IMAGE, IMAGE_TOPIC
from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.bags.typestore import make_typestore
from gaussian_yolo_node.bags.writing import BagWriter
from gaussian_yolo_node.detector.model import DEFAULT_MODEL
from gaussian_yolo_node.labels.images import image_files, read_image
from gaussian_yolo_node.processes import run_until_signal, start_child
from gaussian_yolo_node.runtime.machine import machine

REPOSITORY = Path(__file__).resolve().parents[1]
RATE_HZ = 30.0
START_NS = 1_700_000_000_000_000_000
SAMPLE_S = 0.5
WARM_UP_S = 60.0
PERCEPTION = b"perception_node"


def main(
    source: Annotated[Path, typer.Argument(help="Folder of images, or a bag with raw images.")],
    frames: Annotated[int, typer.Option(min=10, help="Frames of the long bag; 18,000 are 10 minutes.")] = 18_000,
    model: Annotated[str, typer.Option(help="Name or path of the model.")] = DEFAULT_MODEL,
    lockstep: Annotated[bool, typer.Option("--lockstep", help="As fast as the node answers, not at 30 Hz.")] = False,
    limit_mb: Annotated[float, typer.Option(help="Exit 1 if either process grows by more.")] = 20.0,
    scale: Annotated[float, typer.Option(help="Of the images; a long bag of full ones is large.")] = 1.0,
) -> None:
    """Replay a long bag and print how much memory grows."""
    with tempfile.TemporaryDirectory(prefix="replay_memory_") as scratch:
        bag = Path(scratch) / "long.mcap"
        write_long_bag(bag, source, frames, scale)
        print(f"{frames} frames, {bag.stat().st_size / 1e9:.2f} GB, of {source}; {model}; {machine()}")
        mode = ["--lockstep"] if lockstep else ["--rate", "1"]
        command = [
            sys.executable,
            "-m",
            "gaussian_yolo_node.commands",
            "replay",
            str(bag),
            "-o",
            str(Path(scratch) / "run"),
        ]
        process = start_child(
            [*command, "--model", model, "--no-report", *mode],
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{os.environ.get('PYTHONPATH', '')}"},
        )
        samples = watch(process)
        if process.returncode:
            raise typer.Exit(process.returncode)
    if not report(samples, limit_mb):
        raise typer.Exit(1)


def write_long_bag(path: Path, source: Path, frames: int, scale: float) -> None:
    """Loop the source's frames into a bag at RATE_HZ, each with its own stamp."""
    store = make_typestore()
    messages = list(raw_images(source, scale))
    with BagWriter(path, {IMAGE_TOPIC: IMAGE}) as writer:
        for index, raw in enumerate(islice(cycle(messages), frames)):
            stamp = START_NS + round(index * 1e9 / RATE_HZ)
            message: Any = store.deserialize_cdr(raw, IMAGE)
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
            writer.write(IMAGE_TOPIC, stamp, bytes(store.serialize_cdr(message, IMAGE)))


def raw_images(source: Path, scale: float) -> Iterator[bytes]:
    """Serialised images of a bag, or of a folder's files."""
    if not source.is_dir() or not image_files(source):
        with BagReader(source) as reader:
            topic = reader.the_image_topic(None)
            yield from (message.raw for message in reader.messages({topic}))
        return
    store = make_typestore()
    kinds = store.types
    for path in image_files(source):
        picture = cv2.resize(read_image(path), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        height, width = picture.shape[:2]
        header = kinds["std_msgs/msg/Header"](kinds["builtin_interfaces/msg/Time"](0, 0), "camera")
        data = np.ascontiguousarray(picture).reshape(-1)
        yield bytes(store.serialize_cdr(kinds[IMAGE](header, height, width, "bgr8", 0, width * 3, data), IMAGE))


def watch(process: subprocess.Popen[bytes]) -> dict[str, list[tuple[float, float]]]:
    """(time in s, resident MB) of the replay and the node it starts, until the end."""
    samples: dict[str, list[tuple[float, float]]] = {"player": [], "node": []}
    started = time.monotonic()
    while process.poll() is None:
        node = child_of(process.pid)
        if node is not None:  # once both processes run
            for name, pid in (("player", process.pid), ("node", node)):
                megabytes = resident_mb(pid)
                if megabytes:
                    samples[name].append((time.monotonic() - started, megabytes))
        time.sleep(SAMPLE_S)
    return samples


def child_of(pid: int) -> int | None:
    """The perception node among a process's children."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and PERCEPTION in (folder / "cmdline").read_bytes():
                return int(folder.name)
        except (FileNotFoundError, ProcessLookupError):  # the process has ended
            continue
    return None


def resident_mb(pid: int) -> float:
    """Resident memory of a process, MB, including mapped files; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def report(samples: dict[str, list[tuple[float, float]]], limit_mb: float) -> bool:
    """Print each process's growth; returns whether both are within the limit."""
    within = True
    for name, values in samples.items():
        if not values:
            print(f"{name:6} ended before it could be measured")
            return False
        times, megabytes = np.array(values).T
        begin = times[0] + min(WARM_UP_S, (times[-1] - times[0]) / 4)
        after = megabytes[times >= begin]
        growth = float(after.max() - after[0])
        within &= growth <= limit_mb
        print(
            f"{name:6} {after[0]:7.1f} MB after {begin - times[0]:.0f} s, at most {after.max():7.1f}, at the end "
            f"{after[-1]:7.1f} of {times[-1] - times[0]:.0f} s: growth {growth:5.1f} MB, limit {limit_mb:g}"
        )
    return within


if __name__ == "__main__":
    run_until_signal(lambda: typer.run(main))

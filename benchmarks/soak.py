#!/usr/bin/env python3
"""Play frames to the node for hours: counts, memory and canvas, to a JSON file and the table of docs/reliability.md.

    python benchmarks/soak.py data/kitti/drive_0011/image --seconds 7200

Frames are raw images on a topic at a fixed rate. Results are written every minute, so an interrupted run leaves them.
Needs the installed package (`make env`), and the environment of `source .venv/setup.bash`. Exits with 1 if frames are
lost or memory grows by more than the limit.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.labels.images import image_files, read_image
from gaussian_yolo_node.ros.driving import DrivingError
from gaussian_yolo_node.ros.driving.driver import NodeDriver
from gaussian_yolo_node.ros.driving.node_process import NodeProcess, installed_fastdds_environment
from gaussian_yolo_node.ros.driving.own_node import STEP_S, OwnNode
from gaussian_yolo_node.runtime.machine import machine

REPOSITORY = Path(__file__).resolve().parents[1]
START, END = "<!-- soak: written by benchmarks/soak.py -->\n", "<!-- soak: end -->\n"
WARM_UP_S = 60.0
# Time for the node's last report after the last frame, s.
SETTLE_S = 5.0
LEVELS = {b"\0": "OK", b"\1": "WARN", b"\2": "ERROR", b"\3": "STALE"}


@dataclass
class Soak:
    """A run; the fields of the JSON file.

    Attributes:
        machine, frames, model: where and with what.
        rate_hz: of the frames.
        seconds: how long the run lasted so far.
        published: frames that were sent.
        received, processed, dropped, skipped: as the node counts; dropped are replaced by newer ones.
        answered: messages of detections that came back.
        dropped_at_start: before the end of the first minute.
        canvases: second, canvas and status at each change.
        levels: seconds with each level on /diagnostics.
        age_p99_ms: largest 99th percentile of the frame age of all reports after the first minute.
        memory: second and resident memory of the node in MB, once per second.
    """

    machine: str
    frames: str
    model: str
    rate_hz: float
    seconds: float = 0.0
    published: int = 0
    received: int = 0
    processed: int = 0
    dropped: int = 0
    skipped: int = 0
    answered: int = 0
    dropped_at_start: int = 0
    canvases: list[tuple[float, str, str]] = field(default_factory=list)
    levels: Counter[str] = field(default_factory=Counter)
    age_p99_ms: float = 0.0
    memory: list[tuple[float, float]] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Frames that the node never knew of."""
        return self.published - self.received

    def warm_memory(self) -> list[tuple[float, float]]:
        """Samples after the first minute, or the second half of a shorter run."""
        start = min(WARM_UP_S, self.seconds / 2)
        return [sample for sample in self.memory if sample[0] >= start]

    def growth_mb(self) -> float:
        """Median memory of the last tenth of the warm samples minus that of their first tenth, MB."""
        values = [megabytes for _, megabytes in self.warm_memory()]
        tenth = max(1, len(values) // 10)
        return float(np.median(values[-tenth:]) - np.median(values[:tenth])) if values else 0.0

    def slope_mb_per_hour(self) -> float:
        """Slope of a straight line through the warm samples."""
        samples = np.array(self.warm_memory())
        return float(3600 * np.polyfit(samples[:, 0], samples[:, 1], 1)[0]) if len(samples) > 2 else 0.0


def main(
    frames: Annotated[Path, typer.Argument(help="Folder of images; played in a loop.")],
    seconds: Annotated[float, typer.Option(min=5, help="How long to play.")] = 7200.0,
    rate: Annotated[float, typer.Option(min=1, help="Frames per second, and target_rate.")] = 30.0,
    model: Annotated[str, typer.Option(help="Name or path of the model. Empty: the default.")] = "",
    limit_mb: Annotated[float, typer.Option(help="Exit 1 if memory grows by more after the first minute.")] = 2.0,
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file; the table goes beside it.")] = (
        REPOSITORY / "docs" / "reliability.json"
    ),
) -> None:
    """Play frames to the node, and write what became of them."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ.update(installed_fastdds_environment())
    settings: dict[str, Any] = {"image_topic": "/soak/image", "target_rate": rate, "autostart": False}
    settings |= {"model": model} if model else {}
    soak = Soak(machine(), f"{frames.parent.name}/{frames.name}", model, rate)
    with (
        tempfile.TemporaryDirectory() as folder,
        NodeProcess("/soak", settings, Path(folder) / "node.log") as process,
        OwnNode("soak_player") as own,
    ):
        try:
            play(soak, own, process, messages(frames), seconds, output)
        finally:
            write(soak, output)
    print(table(soak), end="")
    if soak.lost or soak.growth_mb() > limit_mb:
        raise typer.Exit(1)


def messages(folder: Path) -> Iterator[Any]:
    """The folder's images as messages, again and again."""
    from std_msgs.msg import Header

    from gaussian_yolo_node.ros.messages import image_to_message

    pictures = [image_to_message(read_image(path), Header(frame_id="soak")) for path in image_files(folder)]
    return cycle(pictures)


def play(soak: Soak, own: OwnNode, process: NodeProcess, images: Iterator[Any], seconds: float, output: Path) -> None:
    """Publish in time, and take note of everything that comes back."""
    from sensor_msgs.msg import Image
    from vision_msgs.msg import Detection2DArray

    def count_answer(_: Any) -> None:
        soak.answered += 1

    driver = NodeDriver(own, process.name, process)
    publisher = own.node.create_publisher(Image, "/soak/image", 1)
    own.node.create_subscription(Detection2DArray, driver.topic("detections"), count_answer, 100)
    driver.configure()
    driver.activate()
    driver.until(lambda: publisher.get_subscription_count() > 0, 20.0, "the node subscribes to no images")
    soak.model = driver.diagnostics["model"].rpartition("/")[2]
    started = time.monotonic()
    due, noted, written = started, started, started
    while (now := time.monotonic()) - started < seconds:
        if now >= due:
            message = next(images)
            message.header.stamp = own.node.get_clock().now().to_msg()
            publisher.publish(message)
            soak.published += 1
            due += 1 / soak.rate_hz
        own.spin(max(0.0, min(STEP_S, due - time.monotonic())))
        if now - noted >= 1:
            noted = now
            process.check_alive()
            note(soak, driver, process, now - started)
        if now - written >= 60:
            written = now
            write(soak, output)
    settled = time.monotonic() + SETTLE_S
    driver.holds(lambda: time.monotonic() > settled, SETTLE_S + 1)
    count(soak, driver)
    driver.close()


def note(soak: Soak, driver: NodeDriver, process: NodeProcess, second: float) -> None:
    """Take a sample, each second."""
    soak.seconds = second
    soak.memory.append((round(second, 1), round(resident_mb(process.pid), 2)))
    values = driver.diagnostics
    if not values:
        return
    count(soak, driver)
    soak.levels[LEVELS[driver.level]] += 1
    if values["canvas"] and (not soak.canvases or soak.canvases[-1][1] != values["canvas"]):
        soak.canvases.append((round(second, 1), values["canvas"], driver.status))
    if second < WARM_UP_S:
        soak.dropped_at_start = soak.dropped
    elif values["frame_age_p99_ms"]:
        soak.age_p99_ms = max(soak.age_p99_ms, float(values["frame_age_p99_ms"]))


def count(soak: Soak, driver: NodeDriver) -> None:
    soak.received, soak.processed, soak.dropped, soak.skipped = (
        driver.count(f"frames_{what}") for what in ("received", "processed", "dropped", "skipped")
    )


def resident_mb(pid: int) -> float:
    """Resident memory of a process, MB."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except FileNotFoundError:
        raise DrivingError("the node has ended") from None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def write(soak: Soak, output: Path) -> None:
    """Write the JSON file, with memory once per minute, and the table into the page of the same name, if it exists."""
    document = {**asdict(soak), "levels": dict(soak.levels), "lost": soak.lost}
    document["memory"] = soak.memory[:: max(1, round(len(soak.memory) / max(1.0, soak.seconds / 60)))]
    document |= {"growth_mb": round(soak.growth_mb(), 2), "slope_mb_per_hour": round(soak.slope_mb_per_hour(), 2)}
    write_whole(output, json.dumps(document, indent=1) + "\n")
    page = output.with_suffix(".md")
    if page.is_file():
        before, _, rest = page.read_text(encoding="utf-8").partition(START)
        if rest:
            write_whole(page, before + START + table(soak) + END + rest.partition(END)[2])


def table(soak: Soak) -> str:
    """The run as Markdown."""
    warm = [megabytes for _, megabytes in soak.warm_memory()] or [0.0]
    short = "" if soak.seconds >= 3600 else ", a short run"
    changes = "; ".join(f"{canvas} at {second:.0f} s" for second, canvas, _ in soak.canvases) or "none"
    levels = ", ".join(f"{name} {seconds} s" for name, seconds in sorted(soak.levels.items())) or "none"
    rows = {
        "duration": f"{soak.seconds / 60:.1f} min{short}",
        "machine": soak.machine,
        "model, frames": f"{soak.model}, {soak.frames} at {soak.rate_hz:g} Hz on a topic",
        "published": f"{soak.published:,}",
        "received": f"{soak.received:,}",
        "processed": f"{soak.processed:,}",
        "answers that came back": f"{soak.answered:,}",
        "dropped for a newer frame": f"{soak.dropped:,}, of them {soak.dropped_at_start:,} in the first minute",
        "failed": f"{soak.skipped:,}",
        "lost (published, but not received)": f"{soak.lost:,}",
        "frame age p99, largest of the reports after the first minute": f"{soak.age_p99_ms:.0f} ms",
        "memory after the first minute; largest": f"{warm[0]:.1f} MB; {max(warm):.1f} MB",
        "growth after the first minute; slope": f"{soak.growth_mb():+.2f} MB; {soak.slope_mb_per_hour():+.2f} MB/h",
        "canvas": changes,
        "level on /diagnostics": levels,
    }
    return "|  |  |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows.items())


if __name__ == "__main__":
    typer.run(main)

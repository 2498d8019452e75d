"""The command `replay`: play a bag through the perception node, evaluate the answers, and write a report."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaussian_yolo_node.commands import flags
from gaussian_yolo_node.errors import GaussianYoloError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from gaussian_yolo_node.replay.frame_log import FrameLog
    from gaussian_yolo_node.replay.run_folder import ReplayCounters


class MissingRosError(GaussianYoloError):
    """A command needs ROS 2, which this Python cannot import."""


def replay(
    bag: Annotated[Path, typer.Argument(help="ROS 2 bag (folder, .mcap, .db3) or ROS 1 .bag.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="Folder for the results.")],
    lockstep: Annotated[
        bool,
        typer.Option(
            "--lockstep",
            help="Publish each frame after the answer to the previous one: measures accuracy. The default.",
        ),
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="FACTOR", help="In real time, at this multiple of the bag's speed: measures drops and age."
        ),
    ] = None,
    hz: Annotated[float | None, typer.Option(help="In real time, at this many frames per second.")] = None,
    model: flags.Model = None,
    runtime: Annotated[str | None, typer.Option(help="auto, openvino or onnxruntime.", show_default="auto")] = None,
    threads: Annotated[int | None, typer.Option(min=0, help="Processor threads; 0 uses all cores.")] = None,
    score_threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=0.99,
            help="Minimum detection criterion; 0 is the model's.",
            show_default="the model's; 0.005 in lockstep with truth in the bag",
        ),
    ] = None,
    criterion: Annotated[
        str | None, typer.Option(help="What detections are ranked by: gaussian or confidence.", show_default="gaussian")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:=VALUE", help="Another parameter of the node, such as tracking:=true; repeatable."),
    ] = None,
    image_topic: Annotated[str, typer.Option(help="Topic in the bag.", show_default="the only one")] = "",
    node: Annotated[str, typer.Option(metavar="/NAME", help="Name of a running node.", show_default="a new one")] = "",
    remap: Annotated[list[str] | None, typer.Option(metavar="FROM:=TO", help="Remap a topic; may be repeated.")] = None,
    timeout: Annotated[
        float, typer.Option(help="In lockstep, time in s after which a frame without an answer counts as failed.")
    ] = (10.0),
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html and report.json.")] = True,
    baseline: Annotated[Path | None, typer.Option(metavar="RUN", help="Run to compare with in the report.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run in the folder.")] = False,
) -> None:
    """Play a bag through the perception node and record its answers; Ctrl-C keeps the answers so far.

    Example: gaussian-yolo replay drive.mcap -o runs/drive --rate 1
    """
    if sum((lockstep, rate is not None, hz is not None)) > 1:
        raise typer.BadParameter("--lockstep, --rate and --hz exclude each other")
    with _ros():
        from gaussian_yolo_node.replay import ReplayOptions
        from gaussian_yolo_node.replay.run import replay as play
    parameters: dict[str, Any] = {
        "model": model,
        "runtime": runtime,
        "threads": threads,
        "score_threshold": score_threshold,
        "criterion": criterion,
        **dict(map(_parameter, parameter or [])),
    }
    options = ReplayOptions(
        bag=bag,
        output=output,
        mode="lockstep" if rate is None and hz is None else "realtime",
        rate_factor=1.0 if rate is None else rate,
        rate_hz=hz,
        image_topic=image_topic,
        node=node,
        parameters={name: value for name, value in parameters.items() if value is not None},
        remaps=remap or [],
        timeout_s=timeout,
        overwrite=overwrite,
        command=["gaussian-yolo", *sys.argv[1:]],
    )
    with _Bar() as bar:
        outcome = play(options, bar.update, bar.start)
        bar.finish(outcome.run.counters)
    for line in outcome.run.summary_lines():
        print(line)
    for note in outcome.run.notes:
        print(f"note: {note}", file=sys.stderr)
    if report and outcome.run.counters.answered and not outcome.interrupted:
        from gaussian_yolo_node.report.write import write_report

        print(f"report: {write_report(output, baseline=baseline)}")
    if outcome.error is not None:
        raise outcome.error
    if outcome.interrupted:
        raise KeyboardInterrupt


def _parameter(text: str) -> tuple[str, Any]:
    """Name and value, which is written as in ROS's YAML files."""
    from gaussian_yolo_node.documents import DocumentError, parse_yaml

    name, arrow, value = text.partition(":=")
    try:
        read = parse_yaml(value, "--parameter")
    except DocumentError:
        read = None
    if not (name and arrow) or read is None:
        raise typer.BadParameter(f"--parameter {text} is not of the form NAME:=VALUE, such as tracking:=true")
    return name, read


class _Bar:
    """Progress of a replay on stderr: frames, rate, drops."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        # Refreshed rarely, so that drawing does not delay frames in real time.
        self._progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[fps]:.1f} fps, {task.fields[dropped]} dropped, {task.fields[failed]} failed"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            refresh_per_second=4,
        )
        self._task: TaskID = self._progress.add_task("starting", total=None, fps=0.0, dropped=0, failed=0)
        self._started = 0.0

    def start(self, frames: int) -> None:
        """Start the bar: the node is ready, and the bag holds this many frames."""
        self._started = time.monotonic()
        self._progress.update(self._task, description="replay", total=frames or None)

    def update(self, log: FrameLog) -> None:
        """Advance the bar by one played frame."""
        counters = log.counters()
        self._progress.update(
            self._task,
            completed=counters.played,
            fps=counters.played / max(1e-9, time.monotonic() - self._started),
            dropped=counters.dropped - log.in_flight,
            failed=counters.failed,
        )

    def finish(self, counters: ReplayCounters) -> None:
        """Show the final counts, as the summary does: what was in flight is answered or dropped now."""
        self._progress.update(self._task, completed=counters.played, dropped=counters.dropped, failed=counters.failed)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


@contextmanager
def _ros() -> Iterator[None]:
    """Turn a Python without ROS 2 into an error that says how to get it."""
    ros = ("rclpy", "lifecycle_msgs", "sensor_msgs", "vision_msgs", "diagnostic_msgs", "rosgraph_msgs", "std_msgs")
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in (*ros, "rcl_interfaces", "builtin_interfaces"):
            raise
        raise MissingRosError(
            f"replay plays through the ROS 2 node, but this Python has no {error.name}: source ROS 2's setup.bash and "
            "the workspace's, or in a checkout `make env` and `source .venv/setup.bash`"
        ) from error

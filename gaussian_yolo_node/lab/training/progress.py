"""Progress of a run: a bar on a terminal, else log lines; TensorBoard; a file with one line per epoch."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gaussian_yolo_node.documents import DocumentError, parse_json
from gaussian_yolo_node.files import write_whole

log = logging.getLogger("gaussian_yolo.train")
HISTORY = "history.jsonl"
LINE_SECONDS = 60.0  # between log lines within an epoch


class RunProgress:
    """Shows the steps of a run.

    Args:
        console: shows a bar if it is a terminal.
        epochs, steps: epochs of the run and steps per epoch.
        shown: False disables output, for all processes but the first.
    """

    def __init__(self, console: Console, epochs: int, steps: int, shown: bool = True) -> None:
        self.epochs, self.steps = epochs, steps
        self.shown = shown
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/" + str(epochs)),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[validation]}"),
            console=console,
            disable=not (shown and console.is_terminal),
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("", total=epochs * steps, epoch=1, losses="", validation="")
        self._since = self._line = time.monotonic()
        self._begun = 0

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, epoch: int, done: int) -> None:
        """Start an epoch, or continue it after `done` steps; `epoch` counts from 0."""
        self._since = self._line = time.monotonic()
        self._begun = done
        self._bar.update(self._task, epoch=epoch + 1, completed=epoch * self.steps + done)

    def step(self, epoch: int, done: int, means: Mapping[str, float], rate: float) -> None:
        """Report `done` finished steps with their mean losses `means` and the highest learning rate `rate`."""
        text = _figures({**means, "rate": rate})
        self._bar.update(self._task, completed=epoch * self.steps + done, losses=text)
        now = time.monotonic()
        if self.shown and self._bar.disable and now - self._line > LINE_SECONDS:
            self._line = now
            left = (now - self._since) / (done - self._begun) * (self.steps * (self.epochs - epoch) - done)
            where = f"epoch {epoch + 1}/{self.epochs}  step {done}/{self.steps}"
            log.info("%s  %s  left %s", where, text, _span(left))

    def epoch(self, epoch: int, means: Mapping[str, float], rate: float) -> None:
        """Report `epoch` finished epochs."""
        if self.shown:
            took = time.monotonic() - self._since
            log.info("epoch %d/%d  %s  %s", epoch, self.epochs, _figures({**means, "rate": rate}), _span(took))

    def validation(self, figures: Mapping[str, float]) -> None:
        """Report the latest average precisions by name, with their `epoch`."""
        values = {name: value for name, value in figures.items() if name != "epoch"}
        brief = {name: value for name, value in values.items() if name.startswith(("AP50 ", "mAP50"))}
        self._bar.update(self._task, validation=_figures(brief or values))
        if self.shown:
            log.info("epoch %d  validation  %s", int(figures["epoch"]), _figures(values))


class History:
    """`history.jsonl`: one JSON object per line, with the mean losses of an epoch or a validation, and its `epoch`."""

    def __init__(self, folder: Path, last: Mapping[str, float]) -> None:
        """Continue after the epochs `last` of each kind; drops lines of a killed run after its checkpoint."""
        self.path = folder / HISTORY
        lines = self.path.read_text().splitlines(keepends=True) if self.path.is_file() else []
        self._lines = [line for line in lines if _is_within(line, last)]
        write_whole(self.path, "".join(self._lines))

    def add(self, kind: str, epoch: int, figures: Mapping[str, float]) -> None:
        """Add a line of `kind` "train" or "validation". Raises WriteError on failure."""
        self._lines.append(json.dumps({"kind": kind, **figures, "epoch": epoch}) + "\n")
        write_whole(self.path, "".join(self._lines))


def _is_within(line: str, last: Mapping[str, float]) -> bool:
    """True if a line is complete and not of a later epoch."""
    try:
        record = parse_json(line, "the line")
        return float(record["epoch"]) <= last[record["kind"]]
    except (DocumentError, ValueError, KeyError, TypeError):
        return False


def _figures(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

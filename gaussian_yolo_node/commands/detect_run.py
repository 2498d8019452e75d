"""Implementation of `gaussian-yolo detect`: run a detector over a source and write the results to files."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.drawing import draw_detections
from gaussian_yolo_node.detector.prepared import StageTimes
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.frames import Frame, Source, SourceError
from gaussian_yolo_node.frames.recording import JsonArrayFile, VideoRecording, detection_record

_package_log = logging.getLogger("gaussian_yolo_node")
# Frame rate of a video whose source does not state one, Hz.
_FALLBACK_FPS = 10.0


class DetectionError(GaussianYoloError):
    """A frame in the middle of a source could not be processed."""


@dataclass
class RunSummary:
    """Result of a run.

    Attributes:
        frames: number of frames processed.
        detections: number of detections in them.
        skipped: number of frames that could not be decoded.
        elapsed_s: from the first read to the last result, s.
        stages: stage times of each frame.
        interrupted: whether Ctrl-C ended the run.
    """

    frames: int = 0
    detections: int = 0
    skipped: int = 0
    elapsed_s: float = 0.0
    stages: list[StageTimes] | None = None
    interrupted: bool = False

    def __str__(self) -> str:
        line = f"{self.frames} frames, {self.skipped} skipped, {self.detections} detections"
        if not self.frames or not self.stages:
            return line
        times = np.array([(s.preprocess_s, s.inference_s, s.postprocess_s) for s in self.stages])
        pre, inference, post = np.median(times, axis=0) * 1e3
        return (
            f"{line}, {self.frames / self.elapsed_s:.1f} fps "
            f"(median ms: preprocess {pre:.1f}, inference {inference:.1f}, postprocess {post:.1f})"
        )


def detect_source(
    source: Source,
    detector: Detector,
    console: Console,
    *,
    json_path: Path | None = None,
    video_path: Path | None = None,
) -> RunSummary:
    """Detect in every frame of a source, showing progress.

    Ctrl-C ends the run like the end of the source. However the run ends, the files contain all frames up to then.

    Args:
        source: open source; read to its end.
        detector: open detector.
        console: for progress and warnings.
        json_path: file for an array of detection records.
        video_path: file for the annotated frames.

    Raises:
        SourceError: no frame could be read.
        DetectionError: a frame could not be processed; the message names it.
        RecordingError: a file cannot be written.
    """
    classes = detector.card.classes
    stages: list[StageTimes] = []
    summary = RunSummary(stages=stages)
    sinks: list[Callable[[Frame, Detections], None]] = []
    with ExitStack() as stack:
        if json_path is not None:
            records = stack.enter_context(JsonArrayFile(json_path))
            sinks.append(
                lambda frame, detections: records.append(
                    detection_record(_frame_key(frame), frame.image.shape[:2], detections, classes)
                )
            )
        if video_path is not None:
            video = stack.enter_context(VideoRecording(video_path, source.fps or _FALLBACK_FPS))
            sinks.append(lambda frame, detections: video.write(draw_detections(frame.image, detections, classes)))
        progress = stack.enter_context(_progress(console))
        warnings = _WarningsOn(console)
        _package_log.addHandler(warnings)
        stack.callback(_package_log.removeHandler, warnings)
        task = progress.add_task("detect", total=source.length, fps=0.0)
        started = perf_counter()
        try:
            while (frame := source.read()) is not None:
                detections = _detect(detector, frame)
                for sink in sinks:
                    sink(frame, detections)
                stages.append(detector.last_timing)
                summary.frames += 1
                summary.detections += len(detections)
                progress.update(
                    task, completed=summary.frames + source.skipped, fps=summary.frames / (perf_counter() - started)
                )
        except KeyboardInterrupt:
            summary.interrupted = True
        summary.elapsed_s = perf_counter() - started
        summary.skipped = source.skipped
    if not summary.frames and not summary.interrupted:
        raise SourceError(f"not one frame of the source could be read; {source.message}")
    return summary


def _detect(detector: Detector, frame: Frame) -> Detections:
    try:
        return detector(frame.image)
    except GaussianYoloError as error:
        raise DetectionError(f"frame {frame.name}: {error}") from error


def _frame_key(frame: Frame) -> str | int:
    """A frame's name, if it has one, otherwise its index."""
    return frame.index if frame.name == str(frame.index) else frame.name


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} fps"),
        TimeRemainingColumn(),
        console=console,
    )


class _WarningsOn(logging.Handler):
    """Shows warnings above the progress bar."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(f"warning: {record.getMessage()}", markup=False, highlight=False, soft_wrap=True)

"""The threads that turn frames into detections."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock
from rclpy.impl.rcutils_logger import RcutilsLogger

from gaussian_yolo_node.detector.detector import Detector, Prepared
from gaussian_yolo_node.detector.rate_keeper import RateKeeper
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.ros.diagnostics import FrameStatistics, FrameTimes
from gaussian_yolo_node.ros.inputs import Arrival
from gaussian_yolo_node.ros.mailbox import Mailbox
from gaussian_yolo_node.ros.outputs import Outputs

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class _Job:
    """A frame on its canvas; times in s."""

    arrival: Arrival
    image: NDArray[np.uint8]
    prepared: Prepared
    wait: float
    decode: float


class Worker:
    """Takes frames from the mailbox, detects and publishes. A failed frame is counted and skipped.

    With more than two cores, or on a GPU or NPU, a second thread decodes and letterboxes the next frame while the
    network runs; on fewer cores that would only take time from the network. Ends when the mailbox is closed.
    """

    def __init__(
        self,
        mailbox: Mailbox[Arrival],
        detector: Detector,
        keeper: RateKeeper,
        outputs: Outputs,
        statistics: FrameStatistics,
        clock: Clock,
        logger: RcutilsLogger,
    ) -> None:
        self._mailbox = mailbox
        self._detector = detector
        self._keeper = keeper
        self._outputs = outputs
        self._statistics = statistics
        self._clock = clock
        self._logger = logger
        self._ready: Mailbox[_Job] = Mailbox()
        loops = {"detector": self._run}
        if len(os.sched_getaffinity(0)) > 2 or getattr(detector.runtime, "device", "GPU") != "CPU":
            loops = {"prepare": self._run_preparation, "detector": self._run_detection}
        self._threads = [threading.Thread(target=loop, name=name, daemon=True) for name, loop in loops.items()]
        for thread in self._threads:
            thread.start()

    def join(self, timeout: float) -> None:
        """Wait up to `timeout` s for the current frame to finish."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while (arrival := self._mailbox.get()) is not None:
            self._attempt(lambda arrival: self._process(self._prepare(arrival)), arrival)

    def _run_preparation(self) -> None:
        while (arrival := self._mailbox.get()) is not None:
            self._attempt(lambda arrival: self._ready.put_when_empty(self._prepare(arrival)), arrival)
        self._ready.close()

    def _run_detection(self) -> None:
        while (job := self._ready.get()) is not None:
            self._attempt(self._process, job)

    def _attempt(self, step: Callable[[Item], None], item: Item) -> None:
        try:
            step(item)
        except GaussianYoloError as error:
            if self._statistics.count_failed(str(error)):
                self._logger.error(str(error))
        except Exception as error:
            # An internal error: log the traceback, but keep processing frames.
            if self._statistics.count_failed(f"internal error: {error!r}"):
                self._logger.error(traceback.format_exc())

    def _prepare(self, arrival: Arrival) -> _Job:
        started = time.perf_counter()
        image = arrival.picture()
        decoded = time.perf_counter()
        prepared = self._detector.prepare(image)
        return _Job(arrival, image, prepared, started - arrival.at, decoded - started)

    def _process(self, job: _Job) -> None:
        started = time.perf_counter()
        detections = self._detector.detect(job.prepared)
        detected = time.perf_counter()
        header = job.arrival.header
        self._outputs.publish_detections(detections, header, job.image.shape[:2])
        published = time.perf_counter()
        stages = self._detector.last_timing
        self._statistics.count_processed(
            FrameTimes(
                age=self._age(job.arrival),
                wait=job.wait,
                decode=job.decode,
                preprocess=stages.preprocess_s,
                inference=stages.inference_s,
                postprocess=stages.postprocess_s,
                publish=published - detected,
            )
        )
        self._outputs.publish_annotated(job.image, detections, header)
        before = job.decode + stages.preprocess_s if len(self._threads) == 1 else 0.0
        self._keeper.frame_done(stages.inference_s, published - started + before)

    def _age(self, arrival: Arrival) -> float | None:
        stamp = arrival.header.stamp
        if stamp.sec == 0 and stamp.nanosec == 0:  # the publisher did not set it
            return None
        return (self._clock.now().nanoseconds - stamp.sec * 1_000_000_000 - stamp.nanosec) / 1e9

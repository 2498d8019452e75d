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

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.prepared import Prepared
from gaussian_yolo_node.detector.rate_keeper import RateKeeper
from gaussian_yolo_node.display import safe
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.ros.diagnostics import FrameStatistics, FrameTimes
from gaussian_yolo_node.ros.inputs import Arrival
from gaussian_yolo_node.ros.mailbox import Mailbox
from gaussian_yolo_node.ros.outputs import Outputs
from gaussian_yolo_node.ros.supervisor import Step

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
        self._given_up = threading.Event()
        loops = {"detector": self._run}
        if len(os.sched_getaffinity(0)) > 2 or getattr(detector.runtime, "device", "GPU") != "CPU":
            loops = {"prepare": self._run_preparation, "detector": self._run_detection}
        self._steps: dict[str, Step | None] = dict.fromkeys(loops)
        self._threads = [threading.Thread(target=loop, name=name, daemon=True) for name, loop in loops.items()]
        for thread in self._threads:
            thread.start()

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` s for the current frame to finish; returns whether the worker has ended."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def step(self) -> Step | None:
        """What it does with its oldest frame; None while it waits for one."""
        steps = [step for step in list(self._steps.values()) if step is not None]
        return min(steps, key=lambda step: step.since, default=None)

    def give_up(self, reason: str) -> None:
        """Have nothing more to do with the frames: those taken count as failed, and no result of theirs is published.

        A thread that is held ends once it is not; the detector must not be used or closed before. Another worker can
        take over the mailbox at once.
        """
        self._given_up.set()
        self._mailbox.wake()
        self._ready.close()
        for _ in range(self._mailbox.taken - self._statistics.processed - self._statistics.failed):
            self._statistics.count_failed(reason)

    def _run(self) -> None:
        while (arrival := self._mailbox.get(self._given_up.is_set)) is not None:
            self._attempt(lambda arrival: self._process(self._prepare(arrival)), arrival)

    def _run_preparation(self) -> None:
        while (arrival := self._mailbox.get(self._given_up.is_set)) is not None:
            self._attempt(self._hand_over, arrival)
        self._ready.close()

    def _hand_over(self, arrival: Arrival) -> None:
        job = self._prepare(arrival)
        self._end_step()
        self._ready.put_when_empty(job)

    def _run_detection(self) -> None:
        while (job := self._ready.get()) is not None:
            self._attempt(self._process, job)

    def _attempt(self, step: Callable[[Item], None], item: Item) -> None:
        try:
            step(item)
        except GaussianYoloError as error:
            if self._count_failed(str(error)):
                self._logger.error(str(error))
        except Exception as error:
            # An internal error: log the traceback, but keep processing frames.
            if self._count_failed(f"internal error: {error!r}"):
                self._logger.error(safe(traceback.format_exc()))
        finally:
            self._end_step()

    def _count_failed(self, message: str) -> bool:
        return not self._given_up.is_set() and self._statistics.count_failed(message)

    def _begin(self, name: str, *, loads: bool = False, mendable: bool = True) -> None:
        """Note this thread's next step with its frame."""
        thread = threading.current_thread().name
        before = self._steps[thread]
        self._steps[thread] = Step(name, before.since if before else time.monotonic(), loads, mendable)

    def _end_step(self) -> None:
        self._steps[threading.current_thread().name] = None

    def _prepare(self, arrival: Arrival) -> _Job:
        started = time.perf_counter()
        self._begin("decoding a frame")
        image = arrival.picture()
        decoded = time.perf_counter()
        first = self._statistics.processed == 0
        self._begin("putting a frame on the canvas", loads=first)
        prepared = self._detector.prepare(image)
        return _Job(arrival, image, prepared, started - arrival.at, decoded - started)

    def _process(self, job: _Job) -> None:
        started = time.perf_counter()
        self._begin("running the network", loads=self._statistics.processed == 0)
        detections = self._detector.detect(job.prepared)
        detected = time.perf_counter()
        if self._given_up.is_set():
            return
        header = job.arrival.header
        self._begin("publishing detections", mendable=False)
        self._outputs.publish_detections(detections, header, job.image.shape[:2])
        published = time.perf_counter()
        if self._given_up.is_set():
            return
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
        self._end_step()
        self._begin("loading a canvas", loads=True)
        before = job.decode + stages.preprocess_s if len(self._threads) == 1 else 0.0
        self._keeper.frame_done(stages.inference_s, published - started + before)

    def _age(self, arrival: Arrival) -> float | None:
        stamp = arrival.header.stamp
        if stamp.sec == 0 and stamp.nanosec == 0:  # the publisher did not set it
            return None
        return (self._clock.now().nanoseconds - stamp.sec * 1_000_000_000 - stamp.nanosec) / 1e9

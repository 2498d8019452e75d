"""The thread that turns frames into detections."""

from __future__ import annotations

import threading
import time
import traceback

from rclpy.clock import Clock
from rclpy.impl.rcutils_logger import RcutilsLogger

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.ros.diagnostics import FrameStatistics, FrameTimes
from gaussian_yolo_node.ros.inputs import Arrival
from gaussian_yolo_node.ros.mailbox import Mailbox
from gaussian_yolo_node.ros.outputs import Outputs


class Worker:
    """Takes frames from the mailbox, detects and publishes. A failed frame is counted and skipped.

    Ends when the mailbox is closed.
    """

    def __init__(
        self,
        mailbox: Mailbox[Arrival],
        detector: Detector,
        outputs: Outputs,
        statistics: FrameStatistics,
        clock: Clock,
        logger: RcutilsLogger,
    ) -> None:
        self._mailbox = mailbox
        self._detector = detector
        self._outputs = outputs
        self._statistics = statistics
        self._clock = clock
        self._logger = logger
        self._thread = threading.Thread(target=self._run, name="detector", daemon=True)
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait up to `timeout` s for the current frame to finish."""
        self._thread.join(timeout)

    def _run(self) -> None:
        while (arrival := self._mailbox.get()) is not None:
            try:
                self._process(arrival)
            except GaussianYoloError as error:
                if self._statistics.count_failed(str(error)):
                    self._logger.error(str(error))
            except Exception as error:
                # An internal error: log the traceback, but keep processing frames.
                if self._statistics.count_failed(f"internal error: {error!r}"):
                    self._logger.error(traceback.format_exc())

    def _process(self, arrival: Arrival) -> None:
        image = arrival.picture()
        detections = self._detector(image)
        detected = time.perf_counter()
        self._outputs.publish_detections(detections, arrival.header)
        published = time.perf_counter()
        stages = self._detector.last_timing
        self._statistics.count_processed(
            FrameTimes(
                age=self._age(arrival),
                preprocess=stages.preprocess_s,
                inference=stages.inference_s,
                postprocess=stages.postprocess_s,
                publish=published - detected,
            )
        )
        self._outputs.publish_annotated(image, detections, arrival.header)

    def _age(self, arrival: Arrival) -> float | None:
        stamp = arrival.header.stamp
        if stamp.sec == 0 and stamp.nanosec == 0:  # the publisher did not set it
            return None
        return (self._clock.now().nanoseconds - stamp.sec * 1_000_000_000 - stamp.nanosec) / 1e9

"""Lockstep: each frame waits for the answer to the previous one, so the result does not depend on the machine's
speed."""

from __future__ import annotations

import time
from typing import Any

from gaussian_yolo_node.replay import ReplayError
from gaussian_yolo_node.replay.frame_log import Row
from gaussian_yolo_node.replay.frames import BagFrame
from gaussian_yolo_node.replay.player import Player

# After this many consecutive frames without a response, the replay gives up on the node.
_MOST_SILENT = 5


class Lockstep(Player):
    """Publishes a frame, waits until the node answers it or reports a failure, then publishes the next.

    Args:
        timeout_s: a frame without a response within this time has failed.
        arguments: arguments of Player.
    """

    def __init__(self, *arguments: Any, timeout_s: float) -> None:
        super().__init__(*arguments)
        self._timeout_s = timeout_s
        self._silent = 0

    def _play(self, frame: BagFrame) -> None:
        index = self._publish(frame)
        log = self.played.log
        reports = self._driver.reports
        deadline = time.monotonic() + self._timeout_s
        while log.waiting:
            self._own.spin()
            self._check()
            if self._driver.reports != reports:
                reports = self._driver.reports
                for _ in range(self._new_failures()):
                    # The failure may belong to a frame that was given up earlier.
                    if not log.forgive() and log.waiting:
                        log.fail(index, self._failure_words)
                if self._driver.is_idle:
                    log.expect_no_late_answers()
            if log.waiting and time.monotonic() > deadline:
                self._give_up(index)
        if not log[index].failure:
            self._silent = 0

    def _give_up(self, index: int) -> None:
        self.played.log.fail(index, f"no answer within {self._timeout_s:g} s", answer_owed=True)
        self._silent += 1
        if self._silent == _MOST_SILENT:
            raise ReplayError(
                f"node {self._driver.name} has not answered {_MOST_SILENT} frames in a row, within "
                f"{self._timeout_s:g} s each; it says: {self._driver.status or 'nothing'}"
            )

    def _finish(self) -> None:
        pass

    def _recording_time(self, row: Row) -> int:
        return row.bag_ns

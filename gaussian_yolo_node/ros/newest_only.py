"""Work beside the detector that may fall behind: a thread does it on the newest item and skips the others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from rclpy.impl.rcutils_logger import RcutilsLogger

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.ros.mailbox import Mailbox

Item = TypeVar("Item")


class NewestOnly(Generic[Item]):
    """Runs `step` in a thread on the newest item that was put. An error is logged, and later items go on."""

    def __init__(self, name: str, step: Callable[[Item], None], logger: RcutilsLogger) -> None:
        self._name = name
        self._step = step
        self._logger = logger
        self._mailbox: Mailbox[Item] = Mailbox()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Replace the waiting item, if there is one."""
        self._mailbox.put(item)

    def close(self) -> None:
        """Drop the waiting item, and wait for the current one."""
        self._mailbox.close()
        self._thread.join()

    def _run(self) -> None:
        while (item := self._mailbox.get()) is not None:
            try:
                self._step(item)
            except Exception as error:
                reason = str(error) if isinstance(error, GaussianYoloError) else f"internal error: {error!r}"
                self._logger.error(f"{self._name}: {reason}", throttle_duration_sec=10.0)

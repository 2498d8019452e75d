"""One slot between the thread that receives frames and the thread that processes them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Holds only the latest item: a slow worker skips to the newest instead of falling behind.

    One thread puts, one thread gets. After `close`, no item is accepted or returned.

    Attributes:
        taken: items that `get` has given out.
        dropped: items that were put but never taken: overwritten by a newer item, or discarded by `close`.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: Item | None = None
        self._closed = False
        self.dropped = self.taken = 0

    def put(self, item: Item) -> None:
        """Replace the waiting item; the replaced item, or an item put after `close`, counts as dropped."""
        with self._condition:
            if self._closed:
                self.dropped += 1
                return
            if self._item is not None:
                self.dropped += 1
            self._item = item
            self._condition.notify_all()

    def put_when_empty(self, item: Item) -> None:
        """Wait until the slot is empty, then fill it: back-pressure instead of dropping."""
        with self._condition:
            self._condition.wait_for(lambda: self._item is None or self._closed)
            if self._closed:
                self.dropped += 1
                return
            self._item = item
            self._condition.notify_all()

    def get(self, given_up: Callable[[], bool] = lambda: False) -> Item | None:
        """Wait for an item and take it; None after `close`, or if the caller has `given_up`, which `wake` checks."""
        with self._condition:
            self._condition.wait_for(lambda: self._item is not None or self._closed or given_up())
            if self._closed or given_up():
                return None
            item, self._item = self._item, None
            self.taken += 1
            self._condition.notify_all()
            return item

    def wake(self) -> None:
        """Let the waiting threads look again whether they have given up."""
        with self._condition:
            self._condition.notify_all()

    def close(self) -> None:
        """Release every waiting thread; an item still waiting counts as dropped."""
        with self._condition:
            if self._item is not None:
                self.dropped += 1
                self._item = None
            self._closed = True
            self._condition.notify_all()

from __future__ import annotations

import threading
from collections.abc import Callable

from gaussian_yolo_node.ros.mailbox import Mailbox

PATIENCE_S = 30.0


def test_the_newest_item_wins_and_the_others_are_counted() -> None:
    mailbox: Mailbox[int] = Mailbox()
    for item in range(5):
        mailbox.put(item)
    assert mailbox.get() == 4
    assert mailbox.dropped == 4


def test_an_item_is_given_out_once() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.put(1)
    assert mailbox.get() == 1
    mailbox.put(2)
    assert mailbox.get() == 2
    assert mailbox.dropped == 0


def test_get_waits_for_an_item() -> None:
    mailbox: Mailbox[str] = Mailbox()
    got: list[str | None] = []
    waiting = _start(lambda: got.append(mailbox.get()))
    mailbox.put("frame")
    waiting.join(PATIENCE_S)
    assert got == ["frame"]


def test_back_pressure_drops_nothing_and_keeps_the_order() -> None:
    mailbox: Mailbox[int] = Mailbox()
    putting = _start(lambda: [mailbox.put_when_empty(item) for item in range(200)])
    got = [mailbox.get() for _ in range(200)]
    putting.join(PATIENCE_S)
    assert got == list(range(200))
    assert mailbox.dropped == 0


def test_close_wakes_a_waiting_get() -> None:
    mailbox: Mailbox[int] = Mailbox()
    got: list[int | None] = []
    waiting = _start(lambda: got.append(mailbox.get()))
    mailbox.close()
    waiting.join(PATIENCE_S)
    assert got == [None]


def test_close_wakes_a_waiting_put_and_counts_both_items() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.put(1)
    waiting = _start(lambda: mailbox.put_when_empty(2))
    mailbox.close()
    waiting.join(PATIENCE_S)
    assert not waiting.is_alive()
    assert mailbox.get() is None
    assert mailbox.dropped == 2


def test_what_comes_after_close_is_dropped() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.close()
    mailbox.put(1)
    mailbox.put_when_empty(2)
    assert mailbox.get() is None
    assert mailbox.dropped == 2


def _start(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread

"""Messages to systemd, if it started this process with Type=notify; sd_notify(3) describes them."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

# Far below any sensible WatchdogSec.
_ALIVE_PERIOD_S = 1.0

_alive_at = 0.0


def ready() -> None:
    """Say that the process has started."""
    _send("READY=1")


def alive() -> None:
    """Say that the process works, at most once per second; without this for WatchdogSec, systemd starts it anew."""
    global _alive_at
    now = time.monotonic()
    if now - _alive_at >= _ALIVE_PERIOD_S:
        _alive_at = now
        _send("WATCHDOG=1")


def _send(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # "@" stands for the zero byte of Linux's abstract addresses. A manager that is gone is no fault of this process.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.setblocking(False)
        connection.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)

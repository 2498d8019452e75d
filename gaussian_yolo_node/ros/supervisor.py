"""Whether frames are finished, and what becomes of a worker that finishes none.

A thread cannot be ended from outside. So a worker that is held is reported, then left behind with its detector, and
others take their place; if that cannot help, the process ends and the program that started it starts it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

# Exit code of a process whose worker is held for ever: EX_TEMPFAIL of sysexits.h, "try again later".
EXIT_HELD = 75
# Time between two looks at the worker, s.
LOOK_S = 0.2
# A frame that is not finished after this many times the usual one is an error, but not before the first of these times,
# s; the second is the limit of a frame for which a canvas may be loaded.
_FRAMES, HELD_S, LOADING_S = 10, 1.0, 15.0
# A worker that is held for this much longer is left behind, s.
LEAVE_S = 10.0
# A worker that is held so soon after the start of the last new one, s, would be held again.
AGAIN_S = 120.0


@dataclass(frozen=True)
class Step:
    """What a thread of the worker does with a frame.

    Attributes:
        name: such as "running the network".
        since: when it took the frame, s by `time.monotonic`.
        loads: whether a canvas may have to be loaded meanwhile.
        mendable: whether another thread would help.
    """

    name: str
    since: float
    loads: bool = False
    mendable: bool = True


class Action(Enum):
    """What the node has to do."""

    NOTHING = auto()
    RESTART = auto()
    """Go on with a new worker and a new detector."""
    END = auto()
    """End the process with EXIT_HELD."""


class Supervisor:
    """Judges a worker by what it is doing at each look.

    Args:
        clock: s, monotonic.

    Attributes:
        error: why no frame is finished, for an error status; empty if frames are finished, or none arrives.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: Step | None = None
        self._restarted_at = -AGAIN_S
        self.error = ""

    def look(self, step: Step | None, usual_s: float | None) -> Action:
        """Judge the worker; every LOOK_S.

        Args:
            step: what it does, for its oldest frame; None if it waits for one.
            usual_s: what a frame takes, s; None before the first.
        """
        now, last = self._clock(), self._last
        self._last = step
        # A process that was stopped sees a long step once, at its first look afterwards.
        if step is None or last is None or step.since != last.since:
            self.error = ""
            return Action.NOTHING
        limit_s = LOADING_S if step.loads or usual_s is None else max(HELD_S, _FRAMES * usual_s)
        held_s = now - step.since
        if held_s <= limit_s:
            self.error = ""
            return Action.NOTHING
        self.error = f"no frame has been finished for {held_s:.0f} s: the worker is {step.name}"
        if held_s <= limit_s + LEAVE_S:
            return Action.NOTHING
        if not step.mendable or now - self._restarted_at < AGAIN_S:
            return Action.END
        self._restarted_at = now
        return Action.RESTART

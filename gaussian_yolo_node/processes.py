"""Signals that end a program, and child processes that end with it.

SIGINT, SIGTERM and SIGHUP are one thing: they interrupt the program as Ctrl-C does, it cleans up, and its exit code is
128 plus the signal's number.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_INTERRUPTED = 128 + signal.SIGINT
CHILD_END_S = 5.0  # the node promises to end within 3 s of SIGINT

_AGAIN_S = 0.05  # after which a signal that came at a bad moment is sent again
_PR_SET_PDEATHSIG = 1  # prctl(2)
_STARTER = "GAUSSIAN_YOLO_STARTER"  # environment variable: process id
_received: list[int] = []


def run_until_signal(program: Callable[[], None]) -> None:
    """Run a program that `END_SIGNALS` interrupt; each raises KeyboardInterrupt in the main thread. SystemExit if the
    program raised it, or a signal came; then with 128 plus its number."""
    _received.clear()
    hook, sys.unraisablehook = sys.unraisablehook, _interrupt_again
    try:
        with on_end_signals(_interrupt):
            program()
    except BaseException as error:
        if not _received and not isinstance(error, KeyboardInterrupt):
            raise
        if not isinstance(error, SystemExit):  # whose cause has been printed
            print("interrupted", file=sys.stderr)
        _received.append(signal.SIGINT)
    finally:
        sys.unraisablehook = hook
    if _received:
        # CPython remembers a KeyboardInterrupt that went through exec(), such as a dataclass's, and at the end kills
        # itself by SIGINT; another exec() makes it forget.
        exec("")
        sys.exit(128 + _received[0])


def note_signal(number: int) -> None:
    """Remember a signal that the program handles itself before it ends, for its exit code."""
    _received.append(number)


@contextmanager
def on_end_signals(handle: Callable[[int, FrameType | None], object]) -> Iterator[dict[signal.Signals, Any]]:
    """Handle `END_SIGNALS` in the block, except those that this process ignores, as `nohup` has it.

    Yields the handlers before, by signal; empty outside of the main thread, which alone handles signals.
    """
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in END_SIGNALS}
        before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, handle)
    try:
        yield before
    finally:
        restore(before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let `END_SIGNALS` that come in the block interrupt after it: a child that is half started prints an error."""
    came: list[int] = []
    with on_end_signals(lambda number, frame: came.append(number)):
        yield
    for number in came:
        signal.raise_signal(number)


def restore(handlers: dict[signal.Signals, Any]) -> None:
    """Handle signals as before."""
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def start_child(command: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.Popen[Any]:
    """Start a program in a session and process group of its own, which a terminal's Ctrl-C does not reach.

    A Python program of this package that calls `end_with_starter` ends with this process, also if that is killed.
    Call it in the main thread: the kernel watches the thread, not the process.
    """
    env = {**(options.pop("env", None) or os.environ), _STARTER: str(os.getpid())}
    return subprocess.Popen(command, env=env, start_new_session=True, **options)


def end_child(process: subprocess.Popen[Any], timeout_s: float = CHILD_END_S) -> int:
    """End a child of `start_child` with SIGINT, or after a timeout its group with SIGKILL; returns the exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def run_child(command: Sequence[str]) -> int:
    """Run a program of `start_child` to its end, or until this process is interrupted; returns the exit code."""
    process = start_child(command)
    try:
        return process.wait()
    finally:
        end_child(process)


def end_with_starter() -> None:
    """In a child of `start_child`: be sent SIGTERM when the process that started it ends, however it ends."""
    starter = os.environ.pop(_STARTER, "")  # not for this process's own children
    # A starter that lives but is not the parent has started a program in between, which is to end with it instead.
    if starter.isdecimal() and (int(starter) == os.getppid() or not os.path.exists(f"/proc/{starter}")):
        end_with_parent(int(starter))


def end_with_parent(parent: int) -> None:
    """Be sent SIGTERM when the parent process, whose id this is, ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before
        os.kill(os.getpid(), signal.SIGTERM)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # While the program cleans up, only a person who presses Ctrl-C again interrupts that.
    if _received and number != signal.SIGINT:
        return
    if _is_importing(frame):  # an exception in a module's C++ would abort the process
        _send_again(number)
        return
    _received.append(number)
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib."):
        frame = frame.f_back
    return frame is not None


def _interrupt_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Python ignores exceptions in destructors and callbacks of weak references, so an interrupt there, too."""
    if unraisable.exc_type is KeyboardInterrupt and _received:
        _send_again(_received.pop())
    else:
        sys.__unraisablehook__(unraisable)


def _send_again(number: int) -> None:
    timer = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()

"""Signals end a program as Ctrl-C does, and its children end with it, also if it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gaussian_yolo_node.processes import END_SIGNALS, end_child, on_end_signals, run_child, start_child

REPOSITORY = Path(__file__).resolve().parents[1]
HEAD = "import os, signal, sys, time\nfrom gaussian_yolo_node.processes import *\n"
# A parent that starts a child of this package; each prints its process id.
CHILD = HEAD + "end_with_starter()\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
PARENT = HEAD + "child = start_child([sys.executable, '-c', sys.argv[1]])\nprint('started', flush=True)\ntime.sleep(60)"


def python(code: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=REPOSITORY, text=True, **pipes, **options)  # type: ignore[call-overload, no-any-return]


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def program(body: str, **options: object) -> subprocess.Popen[str]:
    """A program of ours that says when a signal may come; WAIT stands for a minute of work."""
    body = body.replace("WAIT", '(print("ready", flush=True), time.sleep(60))')
    process = python(f"{HEAD}def program():\n {body}\nrun_until_signal(program)", **options)
    if "ready" in body:
        assert line_of(process) == "ready"
    return process


@pytest.mark.parametrize("signum", END_SIGNALS, ids=lambda signum: signum.name)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param("WAIT", id="interrupted"),
        pytest.param("exec('WAIT')", id="interrupted in exec"),
        pytest.param("try: WAIT\n finally: print('cleaned')", id="with something to clean"),
        pytest.param("try: WAIT\n except KeyboardInterrupt: pass", id="caught"),
        pytest.param("try: WAIT\n except KeyboardInterrupt: sys.exit(2)", id="another exit code"),
        pytest.param("try: WAIT\n except KeyboardInterrupt: raise OSError('torn')", id="another error"),
        pytest.param(
            "seen = []\n with on_end_signals(lambda number, frame: seen.append(number)):\n"
            "  print('ready', flush=True)\n  while not seen: time.sleep(0.05)\n"
            " note_signal(seen[0])\n raise KeyboardInterrupt",
            id="handled by the program",
        ),
    ],
)
def test_the_exit_code_names_the_signal(signum: signal.Signals, body: str) -> None:
    process = program(body)
    process.send_signal(signum)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signum, errors
    assert "Traceback" not in errors
    assert out == ("cleaned\n" if "cleaned" in body else "")


# Each takes a second, during which an exception would abort the process, be ignored, or leave a child half started.
LATER = {
    "import": "sys.path.insert(0, {folder!r})\n import slow",
    "destructor": "class A:\n  def __del__(self): {second}\n a = A()\n del a",
    "weak reference": "import weakref\n class A: pass\n a = A()\n b = weakref.ref(a, lambda _: {second})\n del a",
    "block": "with uninterrupted(): {second}; print('cleaned')",
}


@pytest.mark.parametrize("signum", END_SIGNALS, ids=lambda signum: signum.name)
@pytest.mark.parametrize("moment", LATER)
def test_a_signal_at_a_bad_moment_interrupts_later(tmp_path: Path, moment: str, signum: signal.Signals) -> None:
    second = "(print('ready', flush=True), time.sleep(1))"
    (tmp_path / "slow.py").write_text(f"import time\n{second}\nprint('cleaned')\n")
    process = program(LATER[moment].format(folder=str(tmp_path), second=second) + "\n time.sleep(60)")
    if moment == "import":
        assert line_of(process) == "ready"
    process.send_signal(signum)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signum, errors
    assert (out, errors) == ("cleaned\n" if moment in ("import", "block") else "", "interrupted\n")


@pytest.mark.parametrize(("body", "code"), [("pass", 0), ("sys.exit(3)", 3), ("raise KeyboardInterrupt", 130)])
def test_without_a_signal_the_exit_code_is_the_programs(body: str, code: int) -> None:
    process = program(body)
    process.communicate(timeout=60)
    assert process.returncode == code


@pytest.mark.parametrize(("second", "cleaned"), [(signal.SIGTERM, True), (signal.SIGHUP, True), (signal.SIGINT, False)])
def test_while_it_cleans_up_only_ctrl_c_interrupts(second: signal.Signals, cleaned: bool) -> None:
    cleaning = "print('cleans', flush=True); input(); print('cleaned')"
    process = program(f"try: WAIT\n finally: {cleaning}", stdin=subprocess.PIPE)
    process.send_signal(signal.SIGHUP)
    assert line_of(process) == "cleans"
    process.send_signal(second)
    out, errors = process.communicate("\n" if cleaned else None, timeout=60)
    assert process.returncode == 129 and out == ("cleaned\n" if cleaned else ""), errors


def test_what_nohup_ignores_stays_ignored() -> None:
    ignoring = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    code = f"{HEAD}{ignoring}run_until_signal(lambda: (print('ready', flush=True), input()))"
    process = python(code, stdin=subprocess.PIPE)
    assert line_of(process) == "ready"
    process.send_signal(signal.SIGHUP)
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


def test_handlers_are_those_of_before_after_the_block() -> None:
    before = [signal.getsignal(number) for number in END_SIGNALS]
    caught: list[int] = []
    with on_end_signals(lambda number, frame: caught.append(number)):
        for number in END_SIGNALS:
            signal.raise_signal(number)
    assert caught == list(END_SIGNALS)
    assert [signal.getsignal(number) for number in END_SIGNALS] == before


@pytest.mark.parametrize("signum", [*END_SIGNALS, signal.SIGKILL], ids=lambda signum: signum.name)
def test_a_child_ends_with_a_parent_however_that_ends(signum: signal.Signals) -> None:
    parent = python(PARENT, CHILD)
    lines = sorted([line_of(parent), line_of(parent)])  # of parent and child, in any order
    assert lines[1] == "started"
    parent.send_signal(signum)
    assert parent.wait(60) != 0
    assert parent.stdout is not None and parent.stdout.read() == ""  # the child, which writes there too, has ended
    parent.communicate()


def test_a_child_whose_parent_ended_before_it_looked_ends() -> None:
    environment = {**os.environ, "GAUSSIAN_YOLO_STARTER": "999999999"}
    process = python(CHILD, env=environment)
    assert process.wait(60) == -signal.SIGTERM
    process.communicate()


def test_a_grandchild_does_not_end_with_what_is_not_its_parent(tmp_path: Path) -> None:
    (tmp_path / "grandchild.py").write_text(f"{HEAD}end_with_starter()")
    (tmp_path / "child.py").write_text(
        "import os, subprocess, sys\n"
        f"grandchild = [sys.executable, {str(tmp_path / 'grandchild.py')!r}]\n"
        f"sys.exit(subprocess.run(grandchild, env=os.environ | {{'PYTHONPATH': {str(REPOSITORY)!r}}}).returncode)"
    )
    assert run_child([sys.executable, str(tmp_path / "child.py")]) == 0


@pytest.mark.parametrize(("stubborn", "timeout_s", "code"), [(False, 60, -signal.SIGINT), (True, 0.5, -signal.SIGKILL)])
def test_a_child_has_a_process_group_of_its_own_and_ends_at_last(stubborn: bool, timeout_s: float, code: int) -> None:
    ignoring = "signal.signal(signal.SIGINT, signal.SIG_IGN)\n" if stubborn else ""
    command = [sys.executable, "-c", f"import signal, time\n{ignoring}print('ready', flush=True)\ntime.sleep(60)"]
    child = start_child(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert line_of(child) == "ready"
    assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
    assert end_child(child, timeout_s) == code
    assert end_child(child) == code  # once more does no harm
    child.communicate()

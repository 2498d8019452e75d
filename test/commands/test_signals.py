"""SIGINT, SIGTERM and SIGHUP at random moments: the exit code names the signal, and nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra 'train')")
pytest.importorskip("onnx", reason="onnx is not installed (extra 'train')")
pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'scale')")

from command_cases import CASES, CommandCase, make_bag, make_inputs

from gaussian_yolo_node.processes import END_SIGNALS

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
TOKEN = "GAUSSIAN_YOLO_TEST"
# Besides the commands that write: with processes of their own, and without an end.
MORE = (
    CommandCase("train IN/long.yaml -o OUT/a --threads 1"),
    CommandCase("noisy-student label IN/frames --teacher IN/tiny.onnx --workers 2 --images-per-shard 1 -o OUT/a"),
    CommandCase(
        "robustness IN/tiny.onnx IN/data --corruptions contrast --severities 1,2,3 --threads 1 --workers 2 -o OUT/a"
    ),
    CommandCase("view IN/frames --model IN/tiny.onnx --runtime onnxruntime --threads 1 --port 0"),
    CommandCase("doctor"),
)
REPLAY = CommandCase("replay IN/long.mcap -o OUT/a --model IN/tiny.onnx --runtime onnxruntime --threads 1 --rate 1")
ALL = [*CASES, *MORE, REPLAY]
FEW = [case for case in ALL if case.line.startswith(("train IN/long", "bag make IN/data -o OUT/a.db3"))] + [REPLAY]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_inputs(tmp_path_factory.mktemp("inputs"))
    make_bag(folder / "long.mcap", 400)
    return folder


class Run:
    """A command in a process: a token in its environment marks its children, a folder takes its temporary files."""

    def __init__(self, case: CommandCase, inputs: Path, folder: Path) -> None:
        self.outputs, self.temporary = folder / "out", folder / "tmp"
        for place in (self.outputs, self.temporary):
            place.mkdir(parents=True)
        self.token = uuid.uuid4().hex
        path = f"{REPOSITORY}:{os.environ.get('PYTHONPATH', '')}"
        environment = {
            **os.environ,
            "PYTHONPATH": path,
            "TMPDIR": str(self.temporary),
            TOKEN: self.token,
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": str(folder / "log"),
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache"),  # which torch keeps
        }
        self.log = folder / "log.txt"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gaussian_yolo_node.commands", *case.words(inputs, self.outputs)],
                stdout=log,
                stderr=log,
                env=environment,
            )

    def processes(self) -> list[str]:
        """Living processes with the token."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{TOKEN}={self.token}".encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # ended meanwhile, or of another user
                continue
        return found

    def is_ready_or_ended(self) -> bool:
        """Whether it has a handler for SIGTERM, or has ended."""
        if self.process.poll() is not None:
            return True
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), "0")
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    def code(self) -> int:
        """The exit code as a shell shows it."""
        code = self.process.wait(PATIENCE_S)
        return code if code >= 0 else 128 - code

    def left(self) -> list[Path]:
        """Temporary files."""
        return [*self.temporary.iterdir(), *self.outputs.rglob(".*")]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def interrupted(case: CommandCase, inputs: Path, folder: Path, moments: int, longest_s: float) -> None:
    """Interrupt a command at random moments of its duration, at most `longest_s`, by each signal in turn."""
    case.skip_without_its_packages()
    rng, signals = random.Random(str(case)), cycle(END_SIGNALS)
    begun = time.monotonic()
    whole = Run(case, inputs, folder / "whole")
    try:
        whole.process.wait(longest_s)  # one without an end is interrupted, too
        assert whole.code() in (0, 1), whole.log.read_text()
    except subprocess.TimeoutExpired:
        pass
    finally:
        whole.end()
    duration = time.monotonic() - begun
    for number in range(moments):
        signum = next(signals)
        run = Run(case, inputs, folder / str(number))
        try:
            assert until(run.is_ready_or_ended)  # before, a signal ends Python, which is starting
            time.sleep(rng.uniform(0.0, duration))
            ended = run.process.poll() is not None
            run.process.send_signal(signum)
            code, told = run.code(), f"{signum.name}: {run.log.read_text()}"
            finished = code in (0, 1) and (ended or any(run.outputs.iterdir()))  # or it was about to end
            assert finished or code == 128 + signum, told
            assert "Traceback" not in told, told
            assert until(lambda run=run: not run.processes()), run.processes()  # type: ignore[misc]
            assert run.left() == [], told
        finally:
            run.end()


@pytest.mark.parametrize("case", FEW, ids=str)
def test_three_moments(inputs: Path, tmp_path: Path, case: CommandCase) -> None:
    interrupted(case, inputs, tmp_path, 3, 5.0)


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=str)
def test_twenty_moments(inputs: Path, tmp_path: Path, case: CommandCase) -> None:
    interrupted(case, inputs, tmp_path, 20, 20.0)


@pytest.mark.parametrize("signum", [*END_SIGNALS, signal.SIGKILL], ids=lambda signum: signum.name)
def test_a_replay_that_ends_leaves_no_node(inputs: Path, tmp_path: Path, signum: signal.Signals) -> None:
    REPLAY.skip_without_its_packages()
    run = Run(REPLAY, inputs, tmp_path)
    try:
        assert until(lambda: any("perception_node" in command for command in run.processes())), run.log.read_text()
        run.process.send_signal(signum)
        assert run.code() == 128 + signum, run.log.read_text()
        assert until(lambda: not run.processes()), run.processes()
    finally:
        run.end()

"""Label with local processes; a worker that dies is replaced and its shard repeated.

Each worker has its own pipe, so a worker killed in the middle of a message does not affect the others.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.noisy_student.shard_work import (
    MAX_DEATHS,
    Assignment,
    Job,
    LabellingError,
    Results,
    ShardWorker,
    too_deadly,
)
from gaussian_yolo_node.processes import uninterrupted

_END_S = 2.0


def run(assignment: Assignment, jobs: Sequence[Job], workers: int) -> Results:
    """Label shards with `workers` processes; yields number and entry of each shard on completion.

    The processes end with the iteration.

    Raises:
        GaussianYoloError: a worker failed, or a shard killed `MAX_DEATHS` workers.
    """
    waiting = deque(jobs)
    deaths: Counter[int] = Counter()
    team: dict[int, _Worker] = {}
    try:
        while waiting or team:
            while waiting and len(team) < workers:
                worker = _Worker.start(assignment, waiting.popleft())
                team[id(worker)] = worker
            ready = set(wait([worker.pipe for worker in team.values()]))
            for key, worker in list(team.items()):
                if worker.pipe not in ready:
                    continue
                try:
                    kind, content = worker.pipe.recv()
                except (EOFError, OSError):
                    del team[key]
                    worker.end()
                    _count_death(deaths, worker)
                    waiting.appendleft(worker.job)
                    continue
                if kind == "error":
                    raise LabellingError(content)
                yield worker.job[0], content
                if waiting and worker.give(waiting[0]):
                    waiting.popleft()
                else:
                    del team[key]
                    worker.end()
    finally:
        for worker in team.values():
            worker.process.kill()
        for worker in team.values():
            worker.end()


def _count_death(deaths: Counter[int], worker: _Worker) -> None:
    number, shard = worker.job
    deaths[number] += 1
    if deaths[number] == MAX_DEATHS:
        raise LabellingError(too_deadly(shard, _how(worker.process.exitcode)))


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f", the last by {signal.Signals(-exit_code).name}"
    return f", the last with exit code {exit_code}"


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    job: Job

    @classmethod
    def start(cls, assignment: Assignment, job: Job) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(assignment, theirs), name="label", daemon=True)
        with uninterrupted():
            process.start()
        # With this end closed here, the pipe closes when the worker dies.
        theirs.close()
        worker = cls(process, ours, job)
        worker.give(job)
        return worker

    def give(self, job: Job) -> bool:
        """Send a shard; False if the worker has died."""
        try:
            self.pipe.send(job)
        except OSError:
            return False
        self.job = job
        return True

    def end(self) -> None:
        """Close the pipe, which ends the worker, and wait for it."""
        self.pipe.close()
        self.process.join(_END_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _work(assignment: Assignment, pipe: Connection) -> None:
    """Runs in the worker."""
    # Ctrl-C reaches every process of a terminal; the parent ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        worker = ShardWorker(assignment)
        while True:
            number, shard = pipe.recv()
            pipe.send(("done", worker(number, shard)))
    except GaussianYoloError as error:
        pipe.send(("error", str(error)))
    except (EOFError, BrokenPipeError):
        pass  # no more work


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)

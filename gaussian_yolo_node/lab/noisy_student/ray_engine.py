"""Labelling with Ray Data, on this machine or a cluster: a pool of actors, each with a teacher open.

An actor puts the part of a shard into the folder of labels itself, and gives back only what is to be listed of it. So
all machines of a cluster must see that folder, the sources and the teacher under the same paths. Ray does a shard again
whose actor, or whole machine, has died; as a part is put there whole, and is the same whoever makes it, a shard that
was done twice is there once.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
from gaussian_yolo_node.lab.noisy_student.shards import Shard
from gaussian_yolo_node.lab.noisy_student.tables import unfinished

_CONNECT_S = 5.0
_STORE_BYTES = 512 << 20  # only what is listed of shards goes through Ray's store


def run(assignment: Assignment, jobs: Sequence[Job], workers: int, address: str) -> Results:
    """Label shards with `workers` actors; number and entry of each, as they are done.

    Args:
        address: of a cluster, "host:port" or "auto"; empty starts Ray on this machine, for this run alone. A Ray that
            this process has started or joined already is used as it is.

    Raises:
        GaussianYoloError: there is no such cluster, a worker failed, or a shard has killed `MAX_DEATHS` of them.
    """
    items = [{"number": number, "shard": shard.to_json()} for number, shard in jobs]
    with started(workers, address) as ray:
        labelled = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            ShardActor,
            fn_constructor_args=(assignment,),
            batch_size=1,
            # One at a time, so that only the shard that an actor was at has to be done again. Ray restarts actors.
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
        )
        try:
            for row in labelled.iter_rows():
                if row["error"]:
                    raise LabellingError(row["error"])
                yield int(row["number"]), json.loads(row["entry"])
        except ray.exceptions.RayError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            raise LabellingError(
                f"Ray gave up: {reason}; what is finished stays, and the same command goes on"
            ) from error


class ShardActor:
    """Lives in a process of Ray's."""

    def __init__(self, assignment: Assignment) -> None:
        self._folder = Path(assignment.folder)
        self._worker = ShardWorker(assignment)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Label the one shard in `batch`. Errors go back as text: Ray would wrap them in traces, and try again."""
        number, shard = int(batch["number"][0]), Shard.from_json(str(batch["shard"][0]))
        entry: dict[str, Any] = {}
        trouble = ""
        # Ray tells nobody who died over what; but a worker that dies leaves the file that it was writing.
        if len(unfinished(self._folder, number)) >= MAX_DEATHS:
            trouble = too_deadly(shard)
        else:
            try:
                entry = self._worker(number, shard)
            except GaussianYoloError as error:
                trouble = str(error)
        return {"number": [number], "entry": [json.dumps(entry)], "error": [trouble]}


def _import_ray(address: str) -> Any:
    # Ray reads these when it is imported. Whoever has imported it already has said what is wanted.
    if "ray" not in sys.modules:
        # It is not to report to its makers what is done with it.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Its C++ part writes warnings onto the terminal of which nobody can make anything.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        if not address:
            # Takes the loopback interface for the machine's address, whatever the name says, so that no port is open
            # to the network; and whoever else is on this machine does not know the token.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
            if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray
    import ray.data

    return ray


@contextmanager
def started(workers: int, address: str = "") -> Iterator[Any]:
    """The module `ray`, started or joined; what was started or joined here is left again.

    Raises:
        LabellingError: there is no such cluster, or Ray does not start.
        ModuleNotFoundError: ray is not installed, or not with what Ray Data needs.
    """
    if address:
        check_reachable(address)
    ray = _import_ray(address)
    with _quiet(ray):
        if ray.is_initialized():
            yield ray
            return
        _start(ray, workers, address)
        try:
            yield ray
        finally:
            ray.shutdown()


def _start(ray: Any, workers: int, address: str) -> None:
    options: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    if address:
        options["address"] = address
    else:
        # One more than workers: Ray Data has tasks of its own.
        options |= {"num_cpus": workers + 1, "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    # Ray gives itself half a minute to come up, which is short on a machine that is at work.
    for last in (False, True):
        try:
            with _no_stderr():
                ray.init(**options)
            return
        except Exception as error:  # of no class of its own where Ray does not come up in time
            ray.shutdown()
            if last or address:
                what = f"the Ray cluster at {address} cannot be joined" if address else "Ray cannot be started"
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise LabellingError(f"{what}: {reason}") from error


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Ray says what its log level is before it heeds it. Its failures are exceptions."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def check_reachable(address: str) -> None:
    """Ask at the door first: Ray itself goes on asking for a minute, and prints what it thinks of it.

    Raises:
        LabellingError: nobody answers, or it is no address.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdecimal():
        raise LabellingError(f"address {address!r} is not that of a Ray cluster: give HOST:PORT (6379 usually) or auto")
    try:
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise LabellingError(
            f"the Ray cluster at {address} cannot be reached: {error}; `ray start --head` starts one"
        ) from error


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Keep Ray's log off the terminal; its files have it."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    before = [logger.level for logger in loggers]
    context = ray.data.DataContext.get_current()
    shown = context.enable_progress_bars, context.print_on_execution_start
    context.enable_progress_bars = context.print_on_execution_start = False
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars, context.print_on_execution_start = shown
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)

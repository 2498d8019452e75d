"""Label with Ray Data, on this machine or a cluster: a pool of actors, each with an open teacher.

An actor writes the part of a shard to the folder of labels and returns only its entry for the list. All machines of a
cluster therefore need that folder, the sources and the teacher under the same paths. Ray repeats a shard if its actor
or its machine dies. Parts are written atomically and do not depend on the actor, so a repeated shard appears once.
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
_STORE_BYTES = 512 << 20  # only the entries of shards pass through Ray's store


def run(assignment: Assignment, jobs: Sequence[Job], workers: int, address: str) -> Results:
    """Label shards with `workers` actors; yields number and entry of each shard on completion.

    Args:
        address: of a cluster, "host:port" or "auto"; empty starts Ray on this machine for this run only. A Ray already
            started or joined by this process is used unchanged.

    Raises:
        GaussianYoloError: the cluster is not reachable, a worker failed, or a shard killed `MAX_DEATHS` workers.
    """
    items = [{"number": number, "shard": shard.to_json()} for number, shard in jobs]
    with started(workers, address) as ray:
        labelled = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            ShardActor,
            fn_constructor_args=(assignment,),
            batch_size=1,
            # One task per actor, so that only the current shard is lost if an actor dies. Ray restarts actors.
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
    """Runs in a Ray process."""

    def __init__(self, assignment: Assignment) -> None:
        self._folder = Path(assignment.folder)
        self._worker = ShardWorker(assignment)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Label the one shard in `batch`. Errors are returned as text, because Ray would add a traceback and retry."""
        number, shard = int(batch["number"][0]), Shard.from_json(str(batch["shard"][0]))
        entry: dict[str, Any] = {}
        failure = ""
        # Ray does not report which shard killed an actor, but a dying worker leaves its temporary file.
        if len(unfinished(self._folder, number)) >= MAX_DEATHS:
            failure = too_deadly(shard)
        else:
            try:
                entry = self._worker(number, shard)
            except GaussianYoloError as error:
                failure = str(error)
        return {"number": [number], "entry": [json.dumps(entry)], "error": [failure]}


def _import_ray(address: str) -> Any:
    # Ray reads these variables on import; do not change them for a caller that has imported it already.
    if "ray" not in sys.modules:
        # Disable usage reports.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Suppress the C++ part's internal warnings on the terminal.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        if not address:
            # Makes Ray use the loopback interface as the machine's address, so that no port is open to the network.
            # The token keeps out other users of this machine.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
            if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray
    import ray.data

    return ray


@contextmanager
def started(workers: int, address: str = "") -> Iterator[Any]:
    """The module `ray`, started or joined, and left again at the end if it was started or joined here.

    Raises:
        LabellingError: the cluster is not reachable, or Ray does not start.
        ModuleNotFoundError: ray or a dependency of Ray Data is not installed.
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
        # One more than workers, for Ray Data's own tasks.
        options |= {"num_cpus": workers + 1, "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    # Ray's start-up timeout of half a minute is short on a busy machine.
    for last in (False, True):
        try:
            with _no_stderr():
                ray.init(**options)
            return
        except Exception as error:  # a start-up timeout has no exception class of its own
            ray.shutdown()
            if last or address:
                what = f"the Ray cluster at {address} cannot be joined" if address else "Ray cannot be started"
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise LabellingError(f"{what}: {reason}") from error


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Hide stderr: Ray prints before it applies its log level. Failures are raised as exceptions."""
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
    """Try a connection first, because Ray itself retries for a minute and prints messages.

    Raises:
        LabellingError: no answer, or an invalid address.
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
    """Keep Ray's log off the terminal; it is still written to Ray's files."""
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

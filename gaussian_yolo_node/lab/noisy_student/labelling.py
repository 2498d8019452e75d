"""Label unlabelled images with a teacher: shard by shard, resumable, each image exactly once.

See docs/paper_facts.md, section 4.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gaussian_yolo_node.files import file_hash, write_whole
from gaussian_yolo_node.lab.noisy_student import local_engine
from gaussian_yolo_node.lab.noisy_student.shard_work import (
    Assignment,
    LabellingError,
    Results,
    entry_of,
    in_this_process,
)
from gaussian_yolo_node.lab.noisy_student.shards import Shard, plan_shards
from gaussian_yolo_node.lab.noisy_student.tables import (
    FORMAT,
    LABELS,
    LabelsFolderError,
    part_name,
    read_document,
    unfinished,
)
from gaussian_yolo_node.lab.noisy_student.teachers import fixed_reference, open_teacher

Engine = Literal["local", "ray"]
_WRITE_EVERY_S = 1.0


@dataclass(frozen=True)
class LabelSummary:
    """The result of `label`.

    Attributes:
        images: labelled images in the folder, one row each.
        skipped: unreadable images; `labels.json` lists them with the reason.
        shards: in the folder.
        done_before: shards finished by earlier runs.
        notes: errors of tars and bags, one sentence each.
    """

    images: int
    skipped: int
    shards: int
    done_before: int
    notes: tuple[str, ...] = ()


def label(
    sources: Sequence[str],
    teacher: str,
    output: Path,
    *,
    engine: Engine = "local",
    workers: int = 1,
    address: str = "",
    images_per_shard: int = 64,
    score_threshold: float = 0.05,
    topic: str | None = None,
    console: Console | None = None,
) -> LabelSummary:
    """Label all images of the sources. Calling again continues; finished shards stay, byte for byte.

    The rows do not depend on engine and workers: every worker computes on one thread in fp32.

    Args:
        sources: see `shards.plan_shards`.
        teacher: file or name, see `teachers.open_teacher`.
        output: folder of the labels; created if missing.
        engine: "local" uses processes on this machine (one worker: this process); "ray" uses Ray Data.
        workers: number of parallel workers.
        address: of a Ray cluster, "host:port" or "auto"; empty starts Ray on this machine. All machines need this
            package, and the sources, the teacher and the output under the same paths.
        images_per_shard: for folders and bags.
        score_threshold: minimum score of a detector's boxes.
        topic: image topic of a bag with several.
        console: for a progress bar.

    Raises:
        GaussianYoloError: one sentence naming the error. Finished shards stay.
        KeyboardInterrupt: calling again continues the run.
        ModuleNotFoundError: ray is not installed.
    """
    _check(engine, workers, address)
    shards = plan_shards(sources, images_per_shard, topic)
    opened = open_teacher(teacher, score_threshold=score_threshold)
    described = {"name": opened.name, "hash": opened.hash, "classes": list(opened.classes)}
    kind = opened.kind
    opened.close()
    header = {
        "format": FORMAT,
        "kind": kind,
        "teacher": described,
        "score_threshold": score_threshold,
        "sources": list(sources),
        "images_per_shard": images_per_shard,
        "topic": topic,
    }
    assignment = Assignment(str(output.absolute()), fixed_reference(teacher), str(described["hash"]), score_threshold)
    with _sole_user(output):
        folder = _Folder(output, header, shards, assignment)
        before = len(folder.entries)
        waiting = [(number, shard) for number, shard in enumerate(shards) if number not in folder.entries]
        results = _results(engine, assignment, waiting, workers, address)
        # Workers end first in any case; their leftovers are removed afterwards.
        with folder.kept_up_to_date(), closing(results), _progress(console) as progress:
            task = progress.add_task("label", total=len(shards), completed=before, images=folder.images)
            for number, entry in results:
                folder.add(number, entry)
                progress.update(task, completed=len(folder.entries), images=folder.images)
    entries = folder.entries.values()
    return LabelSummary(
        sum(entry["rows"] for entry in entries),
        sum(len(entry["skipped"]) for entry in entries),
        len(entries),
        before,
        tuple(note for number in sorted(folder.entries) for note in folder.entries[number]["notes"]),
    )


def _check(engine: str, workers: int, address: str) -> None:
    if engine not in ("local", "ray"):
        raise LabellingError(f"engine must be local or ray, not {engine!r}")
    if workers < 1:
        raise LabellingError(f"workers must be at least 1, not {workers}")
    if address and engine != "ray":
        raise LabellingError(f"address {address} is a Ray cluster's: add --engine ray")


def _results(
    engine: Engine, assignment: Assignment, jobs: list[tuple[int, Shard]], workers: int, address: str
) -> Results:
    if not jobs or (engine == "local" and workers == 1):
        return in_this_process(assignment, jobs)
    if engine == "local":
        return local_engine.run(assignment, jobs, workers)
    # Importing Ray takes seconds, and Ray is optional.
    from gaussian_yolo_node.lab.noisy_student import ray_engine

    return ray_engine.run(assignment, jobs, workers, address)


class _Folder:
    """The folder of labels during a run; `entries` of finished shards by number.

    Raises:
        LabelsFolderError: it contains labels made with other settings.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], shards: Sequence[Shard], assignment: Assignment) -> None:
        self._path = path
        self._header = header
        self._planned = len(shards)
        self._written = 0.0
        document = read_document(path)
        if document is not None:
            self._check_same(document)
        self._remove_leftovers()
        recorded = {} if document is None else {shard["file"]: shard["sha256"] for shard in document["shards"]}
        self.entries = {
            number: entry
            for number, shard in enumerate(shards)
            if (entry := self._finished(number, shard, assignment, recorded)) is not None
        }
        self.images = sum(entry["rows"] for entry in self.entries.values())

    def add(self, number: int, entry: dict[str, Any]) -> None:
        """Record a finished shard."""
        self.entries[number] = entry
        self.images += entry["rows"]
        # Parts describe themselves, so an outdated list loses nothing.
        if time.monotonic() - self._written > _WRITE_EVERY_S:
            self._write()

    @contextmanager
    def kept_up_to_date(self) -> Iterator[None]:
        """Write `labels.json` before and, in any case, after; remove temporary files."""
        self._write()
        try:
            yield
        finally:
            self._remove_leftovers()
            self._write()

    def _check_same(self, document: Mapping[str, Any]) -> None:
        for key, wanted in self._header.items():
            there = document.get(key)
            if there != wanted:
                if key == "teacher":
                    there, wanted = (f"{one['name']} ({one['hash'][:12]})" for one in (document[key], wanted))
                raise LabelsFolderError(
                    f"{self._path} holds labels that were made with {key.replace('_', ' ')} {_shown(there)}, not "
                    f"{_shown(wanted)}: choose another output folder, or remove this one"
                )

    def _finished(
        self, number: int, shard: Shard, assignment: Assignment, recorded: Mapping[str, str]
    ) -> dict[str, Any] | None:
        name = part_name(number)
        if name in recorded and file_hash(self._path / name) != recorded[name]:
            return None
        return entry_of(self._path, number, shard, assignment)

    def _remove_leftovers(self) -> None:
        planned = {part_name(number) for number in range(self._planned)}
        beyond = [path for path in self._path.glob("part-*.parquet") if path.name not in planned]
        for path in (*unfinished(self._path), *beyond):
            path.unlink(missing_ok=True)

    def _write(self) -> None:
        entries = [self.entries[number] for number in sorted(self.entries)]
        document = {
            **self._header,
            "images": sum(entry["rows"] for entry in entries),
            "planned": self._planned,
            "shards": entries,
        }
        write_whole(self._path / LABELS, json.dumps(document, indent=1) + "\n")
        self._written = time.monotonic()


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@contextmanager
def _sole_user(folder: Path) -> Iterator[None]:
    """Create the folder if missing, and lock it; the lock of a killed run does not persist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise LabelsFolderError(f"{folder} cannot be used as output folder: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise LabelsFolderError(f"another run is writing into {folder}: wait for it, or end it") from error
    finally:
        os.close(handle)


def _progress(console: Console | None) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("shards, {task.fields[images]} images"),
        TimeRemainingColumn(),
        console=console,
        disable=console is None or not console.is_terminal,
    )

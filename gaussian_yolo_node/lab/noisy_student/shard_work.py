"""The work of a worker in any process: label a shard and write its part to the folder of labels."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaussian_yolo_node.errors import GaussianYoloError, ModelError
from gaussian_yolo_node.files import file_hash
from gaussian_yolo_node.lab.noisy_student.shards import WHOLE, Shard, ShardImage, ShardReader
from gaussian_yolo_node.lab.noisy_student.tables import new_part, part_name, read_about, write_rows
from gaussian_yolo_node.lab.noisy_student.teachers import Teacher, open_teacher

MAX_DEATHS = 3  # of workers on one shard, after which the shard is to blame

Job = tuple[int, Shard]  # number in the plan, and shard
# Number and `labels.json` entry of each finished shard; closing the generator ends the workers.
Results = Generator[tuple[int, dict[str, Any]], None, None]


class LabellingError(GaussianYoloError):
    """Labelling failed; the message names the image, the shard or the option."""


@dataclass(frozen=True)
class Assignment:
    """The settings shared by all workers of a run.

    Attributes:
        folder: of the labels, absolute; the same path for every worker.
        teacher: see `teachers.fixed_reference`.
        teacher_hash: expected hash of the teacher's file on every machine.
        score_threshold: of a detector.
    """

    folder: str
    teacher: str
    teacher_hash: str
    score_threshold: float


class ShardWorker:
    """A worker with its teacher, which is opened for the first shard."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._folder = Path(assignment.folder)
        self._teacher: Teacher | None = None
        self._reader = ShardReader()

    def __call__(self, number: int, shard: Shard) -> dict[str, Any]:
        """Label a shard and write its part atomically; repeating a shard replaces its part.

        Args:
            number: of the shard in the plan, which names the part.

        Returns:
            the shard's entry of `labels.json`.

        Raises:
            GaussianYoloError: the teacher cannot be opened, differs on this machine, or failed on an image; or the part
                cannot be written.
        """
        with new_part(self._folder, number) as path:
            teacher = self._opened()
            rows, about = self._label(teacher, shard)
            write_rows(path, teacher.kind, rows, about)
        entry = entry_of(self._folder, number, shard, self._assignment)
        if entry is None:
            raise LabellingError(f"{self._folder / part_name(number)} is not what was written: the disk is damaged")
        return entry

    def close(self) -> None:
        """Release teacher and sources."""
        self._reader.close()
        if self._teacher is not None:
            self._teacher.close()

    def _opened(self) -> Teacher:
        if self._teacher is None:
            given = self._assignment
            self._teacher = open_teacher(given.teacher, score_threshold=given.score_threshold, threads=1)
            if self._teacher.hash != given.teacher_hash:
                raise ModelError(f"the file of teacher {given.teacher} has changed, or is another one on this machine")
        return self._teacher

    def _label(self, teacher: Teacher, shard: Shard) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Rows of a shard, and the metadata of its part."""
        rows: list[dict[str, Any]] = []
        skipped: list[dict[str, str]] = []
        notes: list[str] = []
        for image in self._reader.images(shard):
            if image.image_bgr is not None:
                rows.append(_row(teacher, shard, image))
            elif image.index == WHOLE:
                notes.append(f"{image.name}: {image.reason}")
            else:
                skipped.append({"image": image.name, "reason": image.reason})
        made_from = {**_made_from(shard, self._assignment), "shard": shard.name}
        return rows, {**made_from, "skipped": skipped, "notes": notes}


def entry_of(folder: Path, number: int, shard: Shard, assignment: Assignment) -> dict[str, Any] | None:
    """The `labels.json` entry of a shard with a complete part; None if the part is missing or of another plan."""
    path = folder / part_name(number)
    about = read_about(path)
    if about is None or any(about.get(key) != value for key, value in _made_from(shard, assignment).items()):
        return None
    return {
        "name": shard.name,
        "images": about["rows"] + len(about["skipped"]),
        "rows": about["rows"],
        "file": path.name,
        "sha256": file_hash(path),
        "skipped": about["skipped"],
        "notes": about["notes"],
    }


def _made_from(shard: Shard, assignment: Assignment) -> dict[str, Any]:
    return {"teacher": assignment.teacher_hash, "score_threshold": assignment.score_threshold, "digest": shard.digest}


def _row(teacher: Teacher, shard: Shard, image: ShardImage) -> dict[str, Any]:
    assert image.image_bgr is not None
    try:
        found = teacher.label(image.image_bgr)
    except GaussianYoloError as error:
        raise LabellingError(f"image {image.name} of {shard.source}: {error}") from error
    height, width = image.image_bgr.shape[:2]
    row = {
        "image": image.name,
        "source": shard.source,
        "shard": shard.name,
        "index": image.index,
        "height": height,
        "width": width,
    }
    if teacher.kind == "classification":
        return {**row, "probabilities": found["probabilities"].tolist()}
    return {
        **row,
        "boxes": found["boxes"].tolist(),
        "scores": found["scores"].tolist(),
        "classes": found["class_names"],
        "sigmas": found["sigmas"].tolist(),
    }


def too_deadly(shard: Shard, how: str = "") -> str:
    """The message about a shard that kills every worker."""
    return (
        f"shard {shard.name} has ended {MAX_DEATHS} workers{how}: look for an image in it that is too large for the "
        "memory, or give fewer workers"
    )


def in_this_process(assignment: Assignment, jobs: Sequence[Job]) -> Results:
    """Label shards one after the other in this process; yields number and entry of each."""
    worker = ShardWorker(assignment)
    try:
        for number, shard in jobs:
            yield number, worker(number, shard)
    finally:
        worker.close()

"""Folders of labels: a teacher's predictions for every image, as Parquet files with `labels.json` beside them.

A part contains the rows of one shard, with metadata about its inputs and the skipped images, so that `labels.json`, the
list of parts, can be rebuilt from the parts.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gaussian_yolo_node.documents import DocumentError, parse_json
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import below, file_hash, inner_path
from gaussian_yolo_node.labels.labelled_frames import FramePredictions

FORMAT = 1
LABELS = "labels.json"
# Metadata key in the Parquet schema.
_METADATA = b"gaussian_yolo.labels"

Kind = Literal["detection", "classification"]

_COMMON = [
    ("image", pa.string()),
    ("source", pa.string()),
    ("shard", pa.string()),
    ("index", pa.int64()),
    ("height", pa.int32()),
    ("width", pa.int32()),
]
# Bytes that a part may unpack to, 4 of each number. A shard of 10,000 images with 1,000 probabilities each has 40 MB.
_MOST_BYTES = 256 << 20
_QUADS = pa.list_(pa.list_(pa.float32(), 4))
_COLUMNS: Mapping[str, list[tuple[str, Any]]] = {
    "detection": [
        *_COMMON,
        ("boxes", _QUADS),
        ("scores", pa.list_(pa.float32())),
        ("classes", pa.list_(pa.string())),
        ("sigmas", _QUADS),
    ],
    "classification": [*_COMMON, ("probabilities", pa.list_(pa.float32()))],
}


class LabelsFolderError(GaussianYoloError):
    """A folder of labels cannot be read or written, or is unfinished; the message says what to do."""


@dataclass(frozen=True, eq=False)
class LabelledRow:
    """The columns common to both kinds of rows.

    Attributes:
        image: name in the source: path relative to the folder, member of the tar, index and stamp in the bag.
        source: as given by the caller.
        shard: name of the shard.
        index: of the image in its folder, tar or bag, from 0.
        height, width: px.
    """

    image: str
    source: str
    shard: str
    index: int
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class DetectionRow(LabelledRow):
    """Row of a detector."""

    predictions: FramePredictions


@dataclass(frozen=True, eq=False)
class ClassificationRow(LabelledRow):
    """Row of a classifier: probabilities float32 `[C]` of the teacher's classes."""

    probabilities: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Labels:
    """A finished folder of labels.

    Attributes:
        teacher: "name", "hash" and "classes".
        rows: in the order of the sources; all of the class for `kind`.
        skipped: (image, reason) of unreadable images.
    """

    kind: Kind
    teacher: Mapping[str, Any]
    score_threshold: float
    sources: tuple[str, ...]
    rows: tuple[LabelledRow, ...]
    skipped: tuple[tuple[str, str], ...]


def read_labels(folder: Path) -> Labels:
    """All labels of a folder.

    Raises:
        LabelsFolderError: not a folder of labels, or unfinished, or a file is missing or damaged.
    """
    document = read_document(folder)
    if document is None:
        raise LabelsFolderError(f"{folder} holds no labels, it has no {LABELS}: `noisy-student label` makes it")
    missing = document["planned"] - len(document["shards"])
    if missing:
        raise LabelsFolderError(
            f"{folder} is not finished, {missing} of {document['planned']} shards are missing: run the same "
            "`noisy-student label` again, it goes on"
        )
    rows: list[LabelledRow] = []
    for shard in document["shards"]:
        path = below(folder, shard["file"])
        if file_hash(path) != shard["sha256"]:
            raise LabelsFolderError(
                f"{path} is {'damaged' if path.exists() else 'missing'}: run the same `noisy-student label` again, it "
                "makes that part anew"
            )
        rows += _read_rows(path, document["kind"])
    return Labels(
        document["kind"],
        document["teacher"],
        document["score_threshold"],
        tuple(document["sources"]),
        tuple(rows),
        tuple((skip["image"], skip["reason"]) for shard in document["shards"] for skip in shard["skipped"]),
    )


def read_document(folder: Path) -> dict[str, Any] | None:
    """`labels.json` of a folder; None if missing.

    Raises:
        LabelsFolderError: it is damaged, or of another version.
    """
    path = folder / LABELS
    try:
        document = parse_json(path.read_bytes(), path)
        if document["format"] != FORMAT:
            raise LabelsFolderError(f"{path} is of format {document['format']!r}, not {FORMAT}: another version's")
        # The rest of this module relies on these fields.
        if document["kind"] not in _COLUMNS or not isinstance(document["planned"], int):
            raise ValueError("kind or planned")
        tuple(document[key] for key in ("teacher", "score_threshold", "sources"))
        for shard in document["shards"]:
            tuple(shard[key] for key in ("name", "sha256", "images", "rows"))
            inner_path(shard["file"])
            tuple((skip["image"], skip["reason"]) for skip in shard["skipped"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LabelsFolderError(f"{path} cannot be read: {error.strerror}") from error
    except (DocumentError, ValueError, KeyError, TypeError) as error:
        raise LabelsFolderError(
            f"{path} is damaged: remove it and run the same `noisy-student label` again, finished parts stay"
        ) from error
    return dict(document)


def part_name(number: int) -> str:
    """File name of a shard's part, by its number."""
    return f"part-{number:05d}.parquet"


@contextmanager
def new_part(folder: Path, number: int) -> Iterator[Path]:
    """A temporary file for a part; at the end of the block it is synced and renamed to the part.

    It exists from the beginning of the block, so a process that dies leaves a trace of its current shard.
    """
    target = folder / part_name(number)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=".tmp", dir=folder)
    except OSError as error:
        raise LabelsFolderError(f"{target} cannot be written: {error.strerror}") from error
    try:
        os.fchmod(handle, 0o644)
        yield Path(name)
        os.fsync(handle)
        os.replace(name, target)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise LabelsFolderError(f"{target} cannot be written: {error.strerror or error}") from error
        raise
    finally:
        os.close(handle)


def unfinished(folder: Path, number: int | None = None) -> list[Path]:
    """Temporary files of all parts or one part, left by running or dead processes."""
    stem = "part-*" if number is None else Path(part_name(number)).stem
    return sorted(folder.glob(f".{stem}.*.tmp"))


def write_rows(path: Path, kind: Kind, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> None:
    """Write the rows of a part; the same rows give the same bytes.

    Args:
        rows: values by column; numbers of a list as nested lists.
        about: metadata on inputs and skipped images, JSON-ready; `read_about` returns it.
    """
    schema = pa.schema(_COLUMNS[kind], metadata={_METADATA: json.dumps({"format": FORMAT, "kind": kind, **about})})
    table = pa.Table.from_pylist([dict(row) for row in rows], schema)
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def read_about(path: Path) -> dict[str, Any] | None:
    """The metadata of a part, after reading all of it; None if it is missing, damaged or not a part."""
    try:
        table = _read_table(path, page_checksum_verification=True)
        about = json.loads((table.schema.metadata or {})[_METADATA])
        known = about["format"] == FORMAT and table.column_names == [name for name, _ in _COLUMNS[about["kind"]]]
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return None
    return {**about, "rows": table.num_rows} if known else None


def _read_rows(path: Path, kind: Kind) -> Iterator[LabelledRow]:
    try:
        table = _read_table(path)
        if [(field.name, field.type) for field in table.schema] != _COLUMNS[kind]:
            raise LabelsFolderError(f"{path} has other columns than labels for {kind}: it is of another version")
        table = table.combine_chunks()
    except (OSError, pa.ArrowException, ValueError) as error:  # of a name that is not UTF-8, too
        raise LabelsFolderError(f"{path} cannot be read: {error}") from error
    common: Iterator[tuple[str, str, str, int, int, int]] = zip(
        *(table[name].to_pylist() for name, _ in _COMMON), strict=True
    )
    if kind == "classification":
        for place, probabilities in zip(common, _lists(table["probabilities"]), strict=True):
            yield ClassificationRow(*place, probabilities=probabilities)
        return
    columns = (_lists(table["boxes"]), _lists(table["scores"]), table["classes"].to_pylist(), _lists(table["sigmas"]))
    for place, boxes, scores, classes, sigmas in zip(common, *columns, strict=True):
        try:
            predictions = FramePredictions.of(place[0], boxes, scores, classes, sigmas)
        except ValueError as error:
            raise LabelsFolderError(f"{path}, image {place[0]}: {error}; label again") from error
        yield DetectionRow(*place, predictions=predictions)


def _read_table(path: Path, **options: Any) -> Any:
    """A Parquet file as a table. Raises ArrowInvalid if its few bytes stand for more than the parts of shards have."""
    with pq.ParquetFile(path) as file:
        # Also raises for damage that ends the process where the columns are asked below.
        file.scan_contents()
        found = file.metadata
    groups = [found.row_group(number) for number in range(found.num_row_groups)]
    values = sum(group.column(number).num_values for group in groups for number in range(group.num_columns))
    if max(4 * values, sum(group.total_byte_size for group in groups)) > _MOST_BYTES:
        raise pa.ArrowInvalid(f"it unpacks to more than {_MOST_BYTES >> 20} MB")
    texts = [field.name for field in found.schema.to_arrow_schema() if pa.types.is_string(field.type)]
    table = pq.read_table(path, read_dictionary=texts, **options)
    # A text that stands in many rows is stored once; the table has it in each.
    for place, name in enumerate(table.column_names):
        if pa.types.is_dictionary(table.schema.types[place]):
            longest = max(
                (pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0 for chunk in table[name].chunks), default=0
            )
            if longest * table.num_rows > _MOST_BYTES:
                raise pa.ArrowInvalid(f"its column {name} unpacks to more than {_MOST_BYTES >> 20} MB")
            table = table.set_column(place, name, table[name].cast(pa.string()))
    table.validate(full=True)  # that texts are UTF-8, and lists where their offsets say
    return table


def _lists(column: Any) -> list[NDArray[np.float32]]:
    """Arrays `[N]`, or `[N,4]` of lists of four, of each row, without conversion through Python numbers."""
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
    values, quads = column.combine_chunks().flatten(), column.type == _QUADS
    flat = np.asarray((values.flatten() if quads else values).to_numpy(zero_copy_only=False), np.float32)
    return np.split(flat.reshape(-1, 4) if quads else flat, np.cumsum(lengths)[:-1]) if len(lengths) else []

"""Parts of labels: round trip, damaged files, unfinished folders."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'scale')")

import pyarrow as pa
import pyarrow.parquet as pq

from gaussian_yolo_node.files import file_hash
from gaussian_yolo_node.lab.noisy_student import tables
from gaussian_yolo_node.lab.noisy_student.tables import (
    ClassificationRow,
    DetectionRow,
    LabelsFolderError,
    new_part,
    read_about,
    read_labels,
    unfinished,
    write_rows,
)

PLACE = {"image": "a/b.png", "source": "drives", "shard": "drives[0:1]", "index": 7, "height": 375, "width": 1242}


def detection_row(count: int, **changes: Any) -> dict[str, Any]:
    values = np.sort(np.random.default_rng(count).uniform(0, 100, (2, count, 4)).astype(np.float32))
    return {
        **PLACE,
        "boxes": values[0].tolist(),
        "scores": np.linspace(0.9, 0.1, count).astype(np.float32).tolist(),
        "classes": [f"class {index}" for index in range(count)],
        "sigmas": values[1].tolist(),
        **changes,
    }


def test_a_row_that_is_no_detection_is_refused(tmp_path: Path) -> None:
    row = detection_row(1, boxes=[[9.0, 0.0, 1.0, 1.0]])
    with pytest.raises(LabelsFolderError, match=r"image a/b\.png: boxes must be .*; label again"):
        read_labels(make_labels(tmp_path, [row]))


def make_labels(folder: Path, *parts: list[dict[str, Any]], kind: Any = "detection", **changes: Any) -> Path:
    """A finished folder of labels."""
    shards = []
    for number, rows in enumerate(parts):
        with new_part(folder, number) as path:
            write_rows(path, kind, rows, {"shard": str(number)})
        file = folder / f"part-{number:05d}.parquet"
        shards.append(
            {"name": str(number), "images": len(rows), "rows": len(rows), "file": file.name, "sha256": file_hash(file),
             "skipped": [{"image": f"{number}.jpg", "reason": "cut"}], "notes": []}
        )  # fmt: skip
    document = {"format": 1, "kind": kind, "teacher": {"name": "t", "hash": "0", "classes": ["a", "b"]},
                "score_threshold": 0.05, "sources": ["drives"], "images": 0, "planned": len(parts),
                "shards": shards} | changes  # fmt: skip
    (folder / "labels.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("counts", [[], [0], [0, 0, 0], [3], [2, 0, 5], [0, 1, 0]])
def test_detections_come_back(tmp_path: Path, counts: list[int]) -> None:
    given = [detection_row(count, index=index) for index, count in enumerate(counts)]
    rows = read_labels(make_labels(tmp_path, given)).rows
    assert len(rows) == len(counts)
    for row, wanted, count in zip(rows, given, counts, strict=True):
        assert isinstance(row, DetectionRow)
        assert (row.image, row.source, row.shard, row.index) == ("a/b.png", "drives", "drives[0:1]", wanted["index"])
        assert (row.height, row.width) == (375, 1242)
        for name, shape in (("boxes", (count, 4)), ("scores", (count,)), ("sigmas", (count, 4))):
            values = getattr(row.predictions.detections, name)
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values, np.array(wanted[name], np.float32).reshape(shape))
        assert row.predictions.class_names.tolist() == wanted["classes"]


def test_probabilities_come_back(tmp_path: Path) -> None:
    labels = read_labels(make_labels(tmp_path, [{**PLACE, "probabilities": [0.25, 0.75]}], [], kind="classification"))
    (row,) = labels.rows
    assert isinstance(row, ClassificationRow) and labels.kind == "classification"
    assert row.probabilities.dtype == np.float32 and row.probabilities.tolist() == [0.25, 0.75]


def test_parts_come_in_their_order_and_what_was_skipped_is_known(tmp_path: Path) -> None:
    labels = read_labels(make_labels(tmp_path, [detection_row(1)], [], [detection_row(2), detection_row(0)]))
    assert [len(row.predictions.detections) for row in labels.rows if isinstance(row, DetectionRow)] == [1, 2, 0]
    assert labels.skipped == tuple((f"{number}.jpg", "cut") for number in range(3))
    assert (labels.teacher["classes"], labels.sources, labels.score_threshold) == (["a", "b"], ("drives",), 0.05)


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_rows(tmp_path / name, "detection", [detection_row(3)], {"shard": "x"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_part_tells_what_it_was_made_from(tmp_path: Path) -> None:
    write_rows(tmp_path / "part", "detection", [detection_row(1)] * 2, {"digest": "abc"})
    about = read_about(tmp_path / "part")
    assert about == {"format": 1, "kind": "detection", "digest": "abc", "rows": 2}


def test_what_is_no_part_tells_nothing(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    write_rows(whole, "detection", [detection_row(40)], {})
    data = bytearray(whole.read_bytes())
    data[len(data) // 3] ^= 0xFF
    (tmp_path / "flipped").write_bytes(data)
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:-9])
    (tmp_path / "text").write_text("nothing")
    (tmp_path / "empty").touch()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign")
    for name in ("flipped", "cut", "text", "empty", "foreign", "absent"):
        assert read_about(tmp_path / name) is None, name
    assert read_about(whole) is not None


def test_a_part_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_part(tmp_path, 0) as path:
        path.write_bytes(b"half")
        assert unfinished(tmp_path) == unfinished(tmp_path, 0) == [path] and unfinished(tmp_path, 1) == []
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with new_part(tmp_path, 12) as path:
        path.write_bytes(b"whole")
    (made,) = tmp_path.iterdir()
    assert (made.name, made.read_bytes()) == ("part-00012.parquet", b"whole")
    assert made.stat().st_mode & 0o777 == 0o644


def test_a_part_that_cannot_be_written(tmp_path: Path) -> None:
    message = r"part-00000\.parquet cannot be written: No such file"
    with pytest.raises(LabelsFolderError, match=message), new_part(tmp_path / "absent", 0):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no labels, it has no labels.json: `noisy-student label` makes it"),
        ("", "labels.json is damaged: remove it and run the same"),
        ("[]", "damaged"),
        ('{"format": 1}', "damaged"),
        ('{"format": 2}', "of format 2, not 1: another version's"),
        ('{"format": 1, "kind": "depth", "planned": 0, "shards": []}', "damaged"),
        ('{"format": 1, "kind": "detection", "planned": 0, "shards": []}', "damaged"),
    ],
)
def test_a_folder_that_holds_no_labels(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "labels.json").write_text(text)
    with pytest.raises(LabelsFolderError, match=message):
        read_labels(tmp_path)


def test_a_folder_that_is_not_finished(tmp_path: Path) -> None:
    folder = make_labels(tmp_path, [detection_row(1)], planned=3)
    with pytest.raises(LabelsFolderError, match="not finished, 2 of 3 shards are missing: run the same"):
        read_labels(folder)


def test_a_part_that_is_damaged_or_missing(tmp_path: Path) -> None:
    folder = make_labels(tmp_path, [detection_row(1)], [detection_row(2)])
    part = folder / "part-00001.parquet"
    os.truncate(part, part.stat().st_size - 1)
    with pytest.raises(LabelsFolderError, match=r"part-00001\.parquet is damaged: run the same"):
        read_labels(folder)
    part.unlink()
    with pytest.raises(LabelsFolderError, match=r"part-00001\.parquet is missing"):
        read_labels(folder)


@pytest.mark.parametrize("bomb", ["a long text in each row", "many numbers in a row"])
def test_a_part_that_unpacks_to_gigabytes(tmp_path: Path, bomb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few KB: one text of 2 MB in each of 1,000 rows, or a zero more than are read."""
    monkeypatch.setattr(tables, "_MOST_BYTES", 16 << 20)
    rows = [detection_row(1)] * 1000
    path = tmp_path / "part-00000.parquet"
    write_rows(path, "detection", rows, {})
    assert read_about(path) is not None
    table = pq.read_table(path)
    if bomb.startswith("a long"):
        texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1000, np.int8)), ["a" * (2 << 20)])
        table = table.set_column(0, "image", texts)
    else:
        count = (16 << 20) // 4 + 1
        offsets = np.linspace(0, count, 1001).astype(np.int32)
        zeros = pa.ListArray.from_arrays(offsets, pa.array(np.zeros(count, np.float32)))
        table = table.set_column(7, "scores", zeros)
    pq.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 1 << 20
    assert read_about(path) is None


def test_a_part_of_the_other_kind(tmp_path: Path) -> None:
    folder = make_labels(tmp_path, [detection_row(1)])
    document = json.loads((folder / "labels.json").read_text()) | {"kind": "classification"}
    (folder / "labels.json").write_text(json.dumps(document))
    with pytest.raises(LabelsFolderError, match="has other columns than labels for classification"):
        read_labels(folder)

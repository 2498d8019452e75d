"""Labelling on Ray: the same rows as in one process, also if a worker is killed; unreachable clusters."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'scale')")
pytest.importorskip("onnx", reason="onnx is not installed (extra 'test')")

from label_factory import Run, close_pipes, held_up, let_go, make_folder, plain_rows, reader_of

from gaussian_yolo_node.files import file_hash
from gaussian_yolo_node.lab.noisy_student import ray_engine
from gaussian_yolo_node.lab.noisy_student.labelling import label
from gaussian_yolo_node.lab.noisy_student.shard_work import Assignment, LabellingError
from gaussian_yolo_node.lab.noisy_student.shards import plan_shards


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    """One Ray session for all tests, because it starts slowly."""
    # Not imported here: the engine sets it up first.
    for module in ("ray", "pandas"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed (extra 'scale')")
    with ray_engine.started(workers=2) as ray:
        yield ray


@pytest.fixture(autouse=True)
def no_pipes_left() -> Iterator[None]:
    yield
    close_pipes()


def test_two_workers_give_the_bytes_of_one_process(tmp_path: Path, tiny_model: Path, session: Any) -> None:
    drive = make_folder(tmp_path / "drive", 6)
    label([str(drive)], str(tiny_model), tmp_path / "one", images_per_shard=2)
    summary = label([str(drive)], str(tiny_model), tmp_path / "ray", engine="ray", workers=2, images_per_shard=2)
    assert (summary.images, summary.shards, summary.done_before) == (6, 3, 0)
    assert {path.name: path.read_bytes() for path in (tmp_path / "ray").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()
    }


@pytest.mark.slow  # test_labelling.py kills workers without Ray
def test_a_killed_worker_loses_and_doubles_nothing(tmp_path: Path, tiny_model: Path, session: Any) -> None:
    drive = make_folder(tmp_path / "drive", 6)
    label([str(drive)], str(tiny_model), tmp_path / "one", images_per_shard=2)
    held = drive / "03.png"
    picture = held.read_bytes()
    with held_up(held):
        run = Run([str(drive)], str(tiny_model), tmp_path / "ray", engine="ray", workers=2, images_per_shard=2)
        worker = reader_of(held)
        let_go(held, picture)
        os.kill(worker, signal.SIGKILL)
        run.join()
    assert run.error is None
    assert plain_rows(tmp_path / "ray") == plain_rows(tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "ray").iterdir()) == [
        "labels.json", *(f"part-{number:05d}.parquet" for number in range(3))
    ]  # fmt: skip


def test_a_shard_that_killed_three_workers_is_named(tmp_path: Path, tiny_model: Path) -> None:
    """Detected by their temporary files."""
    (shard,) = plan_shards([str(make_folder(tmp_path / "drive", 2))])
    actor = ray_engine.ShardActor(Assignment(str(tmp_path), str(tiny_model), file_hash(tiny_model), 0.05))
    batch = {"number": np.array([7]), "shard": np.array([shard.to_json()])}
    for name in "abc":
        assert actor(batch)["error"] == [""]
        (tmp_path / f".part-00007.{name}.tmp").touch()
        (tmp_path / f".part-00008.{name}.tmp").touch()
    assert actor(batch)["error"] == [
        f"shard {shard.name} has ended 3 workers: look for an image in it that is too large for the memory, or give "
        "fewer workers"
    ]


def test_errors_come_back_as_text(tmp_path: Path, tiny_model: Path) -> None:
    (shard,) = plan_shards([str(make_folder(tmp_path / "drive", 2))])
    actor = ray_engine.ShardActor(Assignment(str(tmp_path), str(tiny_model), "another", 0.05))
    (error,) = actor({"number": [0], "shard": [shard.to_json()]})["error"]
    assert error == f"the file of teacher {tiny_model} has changed, or is another one on this machine"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "the Ray cluster at 127.0.0.1:9 cannot be reached: .*refused; `ray start --head` starts one"),
        ("nowhere.invalid:6379", "the Ray cluster at nowhere.invalid:6379 cannot be reached"),
        ("127.0.0.1:99999", "cannot be reached"),
        ("127.0.0.1", "address '127.0.0.1' is not that of a Ray cluster: give HOST:PORT"),
        ("ray://127.0.0.1:10001", "is not that of a Ray cluster"),
    ],
)
def test_clusters_that_are_not_there(address: str, message: str) -> None:
    with pytest.raises(LabellingError, match=message):
        ray_engine.check_reachable(address)

"""What killed processes leave in /dev/shm goes; what living ones use, and what is not Fast DDS's, stays."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from gaussian_yolo_node.ros.shared_memory import reclaim

SEGMENT, PORT = "fastrtps_0123456789abcdef", "fastrtps_port7411"


def make(folder: Path, *names: str, age_s: float = 60.0) -> None:
    for name in names:
        (folder / name).write_bytes(b"memory")
        os.utime(folder / name, (time.time() - age_s,) * 2)


@pytest.mark.parametrize(
    "names",
    [
        (SEGMENT, f"{SEGMENT}_el"),
        ("fastdds_0123456789abcdef", "fastdds_0123456789abcdef_el"),
        (PORT, f"{PORT}_el", f"sem.{PORT}_mutex"),
        (PORT, f"{PORT}_sl", f"sem.{PORT}_mutex"),
        (PORT, f"{PORT}_el", f"{PORT}_sl"),
        (f"{SEGMENT}_el",),
    ],
    ids=" ".join,
)
def test_what_nobody_locks_goes(tmp_path: Path, names: tuple[str, ...]) -> None:
    make(tmp_path, *names, "other_segment", "other_segment_el", "fastrtps_short_el", SEGMENT[:-1])
    assert len(reclaim(tmp_path)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["other_segment", "other_segment_el", "fastrtps_short_el", SEGMENT[:-1]]
    )


@pytest.mark.parametrize("kind", [fcntl.LOCK_EX, fcntl.LOCK_SH])
@pytest.mark.parametrize("locked", ["_el", "_sl"])
def test_what_a_process_locks_stays(tmp_path: Path, locked: str, kind: int) -> None:
    make(tmp_path, PORT, f"{PORT}_el", f"{PORT}_sl", f"sem.{PORT}_mutex")
    with (tmp_path / f"{PORT}{locked}").open("rb") as file:
        fcntl.flock(file, kind)
        assert reclaim(tmp_path) == [] and len(list(tmp_path.iterdir())) == 4
    assert reclaim(tmp_path) == [PORT] and not list(tmp_path.iterdir())


def test_what_a_process_may_be_about_to_lock_stays(tmp_path: Path) -> None:
    make(tmp_path, SEGMENT, f"{SEGMENT}_el", age_s=0)
    assert reclaim(tmp_path) == [] and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_without_any(tmp_path: Path, there: bool) -> None:
    assert reclaim(tmp_path if there else tmp_path / "shm") == []

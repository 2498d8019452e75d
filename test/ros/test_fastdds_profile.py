"""The Fast DDS profile for the size of /dev/shm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gaussian_yolo_node.commands import doctor_run
from gaussian_yolo_node.ros import fastdds_profile as module
from gaussian_yolo_node.ros.fastdds_profile import VARIABLES, fastdds_environment, fastdds_profile, shared_memory_bytes

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCH = REPOSITORY / "launch"
LARGE, SMALL = "fastdds_shm.xml", "fastdds_shm_small.xml"
MIB = 1 << 20


@pytest.mark.parametrize(
    ("size", "profile"), [(0, SMALL), (64 * MIB, SMALL), (512 * MIB - 1, SMALL), (512 * MIB, LARGE), (24 << 30, LARGE)]
)
def test_segments_fit(monkeypatch: pytest.MonkeyPatch, size: int, profile: str) -> None:
    monkeypatch.setattr(module, "shared_memory_bytes", lambda: size)
    assert fastdds_profile() == profile


def segment_bytes(profile: str) -> int:
    (size,) = re.findall(r"<segment_size>(\d+)</segment_size>", (LAUNCH / profile).read_text())
    return int(size)


def test_the_profiles_differ_in_the_segment_alone() -> None:
    large, small = (
        re.sub(r"<!--.*?-->|<segment_size>\d+<", "", (LAUNCH / name).read_text(), flags=re.DOTALL)
        for name in (LARGE, SMALL)
    )
    assert large == small
    assert segment_bytes(LARGE) == 64 * MIB
    # A raw frame of 1080p fits into a segment, and the segments of seven processes into a container's /dev/shm.
    assert segment_bytes(SMALL) > 1920 * 1080 * 3 and 7 * segment_bytes(SMALL) < 64 * MIB


def test_a_missing_dev_shm_has_no_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert shared_memory_bytes() > 0
    monkeypatch.setattr(module, "SHARED_MEMORY", tmp_path / "none")
    assert shared_memory_bytes() == 0


@pytest.mark.parametrize("name", VARIABLES)
def test_a_profile_of_the_user_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert set(fastdds_environment(LAUNCH)) == set(VARIABLES)
    monkeypatch.setenv(name, "/home/me/profile.xml")
    assert fastdds_environment(LAUNCH) == {}


@pytest.mark.parametrize(
    ("size", "found", "version", "words"),
    [
        (24 << 30, True, "24576 MiB", "Fast DDS takes fastdds_shm.xml"),
        (
            64 * MIB,
            True,
            "64 MiB",
            "Fast DDS takes fastdds_shm_small.xml, for /dev/shm is small; docker run --shm-size",
        ),
        (0, False, "", "there is no /dev/shm"),
    ],
)
def test_doctor_says_which(monkeypatch: pytest.MonkeyPatch, size: int, found: bool, version: str, words: str) -> None:
    for place in (module, doctor_run):
        monkeypatch.setattr(place, "shared_memory_bytes", lambda: size)
    result = doctor_run._shared_memory()
    assert result[:2] == (found, version)
    assert words in result[2]


def test_setup_scripts_get_a_path() -> None:
    prefix = Path(sys.prefix)
    if not (prefix / "share/gaussian_yolo/launch" / fastdds_profile()).is_file():
        pytest.skip("gaussian_yolo is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "gaussian_yolo_node.ros.fastdds_profile"],
        env={**os.environ, "AMENT_PREFIX_PATH": "/nothing"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{prefix}/share/gaussian_yolo/launch/{fastdds_profile()}\n"

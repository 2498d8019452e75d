"""docs/systemd: a unit that systemd takes, that restarts what fails, and that may do little."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gaussian_yolo_node.ros import supervisor

UNIT = Path(__file__).resolve().parents[1] / "docs" / "systemd" / "gaussian-yolo.service"


def settings() -> dict[str, str]:
    return dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and line[0] != "#")


def test_a_node_that_fails_or_hangs_is_started_again() -> None:
    unit = settings()
    assert unit["Type"] == "notify"
    assert unit["NotifyAccess"] == "all"  # the node is a child of ros2 launch
    assert unit["Restart"] == "always"
    assert int(unit["WatchdogSec"]) > 2 * supervisor.LOADING_S


def test_what_would_stop_camera_gpu_or_other_nodes_is_not_set() -> None:
    unit = settings()
    for name in (
        "MemoryDenyWriteExecute",
        "PrivateDevices",
        "ProtectClock",
        "PrivateNetwork",
        "PrivateIPC",
        "RemoveIPC",
    ):
        assert unit.get(name, "no") == "no", name
    assert {"AF_UNIX", "AF_INET", "AF_NETLINK"} <= set(unit["RestrictAddressFamilies"].split())


def analyse(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run([program, *arguments, str(UNIT)], capture_output=True, text=True, check=False)
    if "--offline" in done.stderr:
        pytest.skip("systemd-analyze is older than version 250")
    return done


def test_its_exposure_is_below_4() -> None:
    report = analyse("security", "--offline=true", "--no-pager").stdout
    found = re.search(r"exposure level for gaussian-yolo.service: ([0-9.]+)", report)
    assert found, report
    assert float(found[1]) < 4


def test_systemd_understands_every_line() -> None:
    complaints = analyse("verify").stderr
    assert "Unknown" not in complaints and "Failed to parse" not in complaints

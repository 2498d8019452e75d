"""The installed perception node as a child process, started the way `ros2 launch` starts it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from gaussian_yolo_node.processes import end_child, start_child
from gaussian_yolo_node.ros.driving import DrivingError
from gaussian_yolo_node.ros.driving.own_node import interrupt_afterwards
from gaussian_yolo_node.ros.fastdds_profile import fastdds_environment

EXECUTABLE = Path("lib/gaussian_yolo/perception_node")
SHARE = Path("share/gaussian_yolo")


def find_installed(relative: Path) -> Path:
    """A file of the installed package, below one of the prefixes that ROS would look in.

    Raises:
        DrivingError: the package is not installed.
    """
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    for prefix in filter(None, prefixes):
        if (Path(prefix) / relative).exists():
            return Path(prefix) / relative
    raise DrivingError(f"{relative} is not installed: run 'make env', or build with colcon and source its setup")


def installed_fastdds_environment() -> dict[str, str]:
    """`fastdds_environment` of the installed package.

    Raises:
        DrivingError: the package is not installed.
    """
    return fastdds_environment(find_installed(SHARE / "launch"))


class NodeProcess:
    """A running `perception_node`; as a context manager it is stopped on leaving.

    Args:
        namespace: of the node, which is called `perception`.
        parameters: over those of the installed parameter file.
        log: file that takes the node's output.
        remaps: topics and services that go by another name, each as `from:=to`.

    Raises:
        DrivingError: the package is not installed.
    """

    def __init__(self, namespace: str, parameters: Mapping[str, object], log: Path, remaps: Sequence[str] = ()) -> None:
        executable = find_installed(EXECUTABLE)
        defaults = find_installed(SHARE / "launch" / "config" / "perception.yaml")
        self.name = f"{namespace}/perception"
        self._folder = tempfile.TemporaryDirectory(prefix="gaussian_yolo_")
        # A file, not -p arguments: there a camera index would become a number.
        overrides = Path(self._folder.name) / "parameters.yaml"
        overrides.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(parameters)}}))
        command = [
            str(executable),
            "--ros-args",
            *("-r", "__node:=perception", "-r", f"__ns:={namespace}"),
            *(argument for remap in remaps for argument in ("-r", remap)),
            *("--params-file", str(defaults), "--params-file", str(overrides)),
        ]
        environment = {**installed_fastdds_environment(), **os.environ}
        self._log = log.open("w")
        try:
            with interrupt_afterwards():
                # Ctrl-C is for the process that runs the node: it saves what there is, then ends the node.
                self._process = start_child(command, stdout=self._log, stderr=self._log, env=environment)
        except KeyboardInterrupt:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def check_alive(self) -> None:
        """Raise DrivingError if the node has ended by itself."""
        code = self._process.poll()
        if code is not None:
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise DrivingError(f"the node {how}: see {self._log.name}")

    def stop(self) -> int:
        """End the node with SIGINT, as Ctrl-C does, and return its exit code."""
        code = end_child(self._process)
        self._log.close()
        self._folder.cleanup()
        return code

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

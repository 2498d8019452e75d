"""Which of the shipped Fast DDS profiles suits this machine.

Each process has a segment in /dev/shm. Where there is no room for it, Fast DDS sends images over UDP and loses most.
`python -m gaussian_yolo_node.ros.fastdds_profile` prints the profile's path. Imports no ROS, for launch files.
"""

from __future__ import annotations

import os
from pathlib import Path

from gaussian_yolo_node.files import installed_prefixes

# Fast DDS 2 (Humble, Jazzy) reads the first, Fast DDS 3 (Kilted, Lyrical) the second.
VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
SHARED_MEMORY = Path("/dev/shm")

# Below this size of /dev/shm, in bytes, there is no room for the large segments of a driver, the node, recorders and
# viewers.
ROOM_BYTES = 512 << 20


def shared_memory_bytes() -> int:
    """Size of /dev/shm; 0 if there is none."""
    try:
        size = os.statvfs(SHARED_MEMORY)
    except FileNotFoundError:
        return 0
    return size.f_blocks * size.f_frsize


def fastdds_profile() -> str:
    """Name of the profile whose segments fit into /dev/shm."""
    return "fastdds_shm.xml" if shared_memory_bytes() >= ROOM_BYTES else "fastdds_shm_small.xml"


def fastdds_environment(launch_folder: Path) -> dict[str, str]:
    """Environment that makes Fast DDS use the profile; empty if the user has set one.

    A process that publishes images needs it before it starts ROS.
    """
    if any(name in os.environ for name in VARIABLES):
        return {}
    return dict.fromkeys(VARIABLES, str(launch_folder / fastdds_profile()))


if __name__ == "__main__":
    folders = [prefix / "share" / "gaussian_yolo" / "launch" for prefix in installed_prefixes()]
    print(next(path for folder in folders if (path := folder / fastdds_profile()).is_file()))

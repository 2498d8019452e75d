"""Removes what killed processes left of Fast DDS in /dev/shm. Imports no ROS.

A participant has a segment `fastrtps_HEX`, from Fast DDS 3 on `fastdds_HEX`, and ports `.._portNUMBER` with a
semaphore. Beside each is a file that its owner keeps locked (`_el` exclusively, `_sl` shared), however it ends.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from gaussian_yolo_node.ros.fastdds_profile import SHARED_MEMORY

_LOCK = re.compile(r"((?:fastrtps|fastdds)_(?:[0-9a-z]{16}|port\d{1,5}))_[es]l")
# Younger files may belong to a process that is between creating and locking them.
_MIN_AGE_S = 2.0


def reclaim(folder: Path = SHARED_MEMORY) -> list[str]:
    """Remove the segments and ports of ended processes of this user; returns their names."""
    removed = []
    names = os.listdir(folder) if folder.is_dir() else []
    for name in sorted({match[1] for match in map(_LOCK.fullmatch, names) if match}):
        locks = [folder / f"{name}{end}" for end in ("_el", "_sl")]
        if all(map(_is_free, locks)):
            for path in (folder / name, folder / f"sem.{name}_mutex", *locks):
                with suppress(OSError):
                    path.unlink()
            removed.append(name)
    return removed


def _is_free(lock: Path) -> bool:
    """Whether no process holds the lock; True for one that does not exist."""
    with suppress(FileNotFoundError):
        status = lock.stat()
        if status.st_uid != os.geteuid() or time.time() - status.st_mtime < _MIN_AGE_S:
            return False
        descriptor = os.open(lock, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
    return True

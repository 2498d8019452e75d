"""Models in memory once per process, however many cameras they serve."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from gaussian_yolo_node.runtime.base import RuntimeOptions

Item = TypeVar("Item")


class Shared(Generic[Item]):
    """Items that live as long as a caller holds them; callers with equal keys get the same one. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: WeakValueDictionary[Hashable, Item] = WeakValueDictionary()

    def get(self, key: Hashable, make: Callable[[], Item]) -> Item:
        """The item of a key; `make` creates it if no caller holds one."""
        with self._lock:
            item = self._items.get(key)
            if item is None:
                item = self._items[key] = make()
            return item


def share_key(path: Path, options: RuntimeOptions, device: str) -> Hashable:
    """Equal for the same contents of a file with the same options."""
    status = path.stat()
    return path.resolve(), status.st_mtime_ns, status.st_size, replace(options, device=device)

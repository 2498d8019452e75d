"""Results of a long test, cell by cell, so that one that was interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.lab.robustness import RobustnessError

SETTINGS = "settings.json"
CELLS = "cells"


class Cells:
    """JSON documents by name in a folder; each file is whole or not there.

    Args:
        folder: made if it is not there.
        settings: all that decides what is in a cell, JSON-ready. A folder of other settings is refused.

    Raises:
        RobustnessError: the folder holds results of other settings, or cannot be used.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings = json.loads(json.dumps(settings))
        try:
            (folder / CELLS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RobustnessError(f"{folder} cannot be used as output folder: {error.strerror}") from error
        known = self._read(folder / SETTINGS)
        if known is None:
            write_json(folder / SETTINGS, {**self.settings, "hash": self.hash})
        elif known.get("hash") != self.hash:
            other = next((name for name in self.settings if known.get(name) != self.settings[name]), "hash")
            raise RobustnessError(
                f"{folder} holds results of other settings ({other}: {_short(known.get(other))} there, "
                f"{_short(self.settings.get(other))} now): give another output folder, or remove it"
            )

    @property
    def hash(self) -> str:
        """First digits of the settings' SHA-256."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:16]

    def get(self, name: str) -> Any | None:
        """The document of a cell, None where it is not done; a damaged one is not done."""
        return self._read(self.folder / CELLS / f"{name}.json")

    def get_or_make(self, name: str, make: Callable[[], Any]) -> Any:
        """The document of a cell, made and stored if it is not there."""
        known = self.get(name)
        if known is not None:
            return known
        document = make()
        write_json(self.folder / CELLS / f"{name}.json", document)
        return document

    @staticmethod
    def _read(path: Path) -> Any | None:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def write_json(path: Path, document: Any) -> None:
    """Write JSON, whole or not at all. WriteError where it cannot be written."""
    write_whole(path, json.dumps(document) + "\n")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."

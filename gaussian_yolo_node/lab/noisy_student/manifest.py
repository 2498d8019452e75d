"""The finished steps of a folder, so that an interrupted chain can continue."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from gaussian_yolo_node.documents import DocumentError, parse_json
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import below, file_hash, write_whole
from gaussian_yolo_node.settings import read

NAME = "manifest.json"


class ManifestError(GaussianYoloError):
    """A folder contains results of other settings or a damaged manifest; the message says what to do."""


@dataclass(frozen=True)
class Done:
    """A finished step: its inputs, its outputs (file -> hash), and counts to report."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, str]
    counts: Mapping[str, Any]


@dataclass(frozen=True)
class _Document:
    format: Literal[1]
    steps: Mapping[str, Done]
    begun: Mapping[str, Any] = field(default_factory=dict)


class Manifest:
    """`manifest.json` of a folder: steps by name, in order of completion.

    Args:
        folder: created if missing.

    Raises:
        ManifestError: the folder cannot be created, or the file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            text = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise ManifestError(f"{folder} cannot be used as output folder: {error.strerror}") from error
        document = self._parse(text) if text else _Document(1, {})
        self.steps, self._begun = dict(document.steps), document.begun

    def run(
        self, name: str, inputs: Mapping[str, Any], make: Callable[[], tuple[list[Path], Mapping[str, Any]]]
    ) -> Done:
        """Run a step unless it is done, that is, has the same inputs and unchanged outputs.

        Args:
            inputs: everything that determines the result, JSON-ready: hashes of files and settings.
            make: runs the step; returns the files it wrote to the folder, and counts. After an interruption it is
                called again in the next run and must resume by itself.

        Raises:
            ManifestError: the step was started or finished with other inputs.
            PlaceError: the manifest names a file outside of the folder.
        """
        wanted = json.loads(json.dumps(inputs))
        done = self.steps.get(name)
        begun = done.inputs if done else self._begun.get(name)
        if begun is not None and begun != wanted:
            raise ManifestError(
                f"{self.folder}: step {name!r} was made with another {_first_difference(begun, wanted)}; choose "
                f"another output folder, or remove this one"
            )
        if done and all(file_hash(below(self.folder, path)) == value for path, value in done.outputs.items()):
            return done
        self._write(begun={name: wanted})
        files, counts = make()
        outputs = {os.path.relpath(path, self.folder): file_hash(path) for path in files}
        self.steps[name] = Done(wanted, outputs, dict(counts))
        self._write(begun={})
        return self.steps[name]

    def _parse(self, text: bytes) -> _Document:
        mend = "remove the file, and the steps are done again"
        try:
            document = parse_json(text, self.path)
        except DocumentError as error:
            raise ManifestError(f"{self.path} is damaged: {mend}") from error
        return read(_Document, document, self.path, lambda fault: ManifestError(f"{fault}: {mend}"))

    def _write(self, begun: Mapping[str, Any]) -> None:
        self._begun = begun
        write_whole(self.path, json.dumps(asdict(_Document(1, self.steps, begun)), indent=1) + "\n")


def _first_difference(one: Any, other: Any) -> str:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}):
            if one.get(key) != other.get(key):
                return str(key)
    return "input"

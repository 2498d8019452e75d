"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from gaussian_yolo_node.sources.source import SourceError


def write_bytes_whole(path: Path, data: bytes) -> None:
    """Write a file, and the folders that it is in. Raises SourceError where that is not possible."""
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=".tmp", dir=path.parent)
        with open(handle, "wb") as file:
            os.fchmod(handle, 0o644)
            file.write(data)
            file.flush()
            os.fsync(handle)
        os.replace(part, path)
    except BaseException as error:
        if part is not None:
            Path(part).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise SourceError(f"{path} cannot be written: {error.strerror}") from error
        raise

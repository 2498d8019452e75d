"""Which format a file of labels or predictions is of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gaussian_yolo_node.evaluation import LabelError

BAG_SUFFIXES = (".mcap", ".db3", ".bag")


def is_bag(path: Path) -> bool:
    """Whether a path names a bag: a file, or the folder that `ros2 bag record` makes."""
    if path.is_dir():
        return (path / "metadata.yaml").exists() or any(
            child.name.endswith(BAG_SUFFIXES) or child.name.endswith((".mcap.zstd", ".db3.zstd"))
            for child in path.iterdir()
        )
    return path.suffix in BAG_SUFFIXES


def read_document(path: Path, what: str) -> Any:
    """The JSON document in a file.

    Args:
        what: to call it in messages ("predictions", "ground truth").

    Raises:
        LabelError: there is no such file, or it is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise LabelError(f"{what} {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise LabelError(f"{what} {path} are not JSON: {error}") from error

"""JSON files of labels and predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gaussian_yolo_node.labels.annotations import LabelError


def read_document(path: Path, what: str) -> Any:
    """The JSON document in a file.

    Args:
        what: name of the content in messages ("predictions", "ground truth").

    Raises:
        LabelError: the file does not exist, or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise LabelError(f"{what} {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise LabelError(f"{what} {path} are not JSON: {error}") from error

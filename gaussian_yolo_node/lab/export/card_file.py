"""The card of a model file, replaced; everything else in the file stays as it is. Needs only the onnx package."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from gaussian_yolo_node.detector.model import CARD_KEY, ModelCard
from gaussian_yolo_node.errors import ModelError


def check_writable(output: Path) -> None:
    """Raise ModelError unless a model can be written there; long work can ask before it starts."""
    folder = output.absolute().parent
    if output.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ModelError(f"{output} cannot be written: give the path of a file in a folder that exists")


def write_card(model: Path, card: ModelCard, output: Path) -> None:
    """Write a model file once more, with another card; a failure leaves what was at `output`.

    Args:
        model: the ONNX file.
        card: goes into the metadata, in the place of the one there.
        output: the file to write, which may be `model`.

    Raises:
        ModelError: the model cannot be read or the output cannot be written.
    """
    import onnx

    check_writable(output)
    try:
        proto = onnx.load(str(model))
        kept = [(entry.key, entry.value) for entry in proto.metadata_props if entry.key != CARD_KEY]
        onnx.helper.set_model_props(proto, dict(kept) | {CARD_KEY: card.to_json()})
        # Beside the target, so that replacing it is one step whatever happens.
        with tempfile.TemporaryDirectory(prefix=".card-", dir=output.absolute().parent) as folder:
            part = Path(folder) / "model.onnx"
            onnx.save(proto, str(part))
            os.replace(part, output)
    except OSError as error:
        raise ModelError(f"{output} cannot be written: {error.strerror or error}") from error

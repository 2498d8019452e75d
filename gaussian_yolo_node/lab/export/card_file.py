"""Replace the card of a model file and nothing else. Needs only the onnx package."""

from __future__ import annotations

from pathlib import Path

from gaussian_yolo_node.detector.model import CARD_KEY, ModelCard
from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.files import whole_file


def write_card(model: Path, card: ModelCard, output: Path) -> None:
    """Write a copy of a model file with another card; on failure `output` is unchanged.

    Args:
        model: the ONNX file.
        card: replaces the card in the metadata.
        output: the file to write; may be `model`.

    Raises:
        ModelError: the model cannot be read or the output cannot be written.
    """
    import onnx

    with whole_file(output, ModelError) as part:
        proto = onnx.load(str(model))
        kept = [(entry.key, entry.value) for entry in proto.metadata_props if entry.key != CARD_KEY]
        onnx.helper.set_model_props(proto, dict(kept) | {CARD_KEY: card.to_json()})
        onnx.save(proto, str(part))

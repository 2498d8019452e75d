"""A model file as a trained network, for what needs gradients or more training: FixRes and attacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gaussian_yolo_node.detector.model import read_card, resolve_model
from gaussian_yolo_node.lab.networks.folded import read_folded, start_from
from gaussian_yolo_node.lab.training.checkpoint import CheckpointError, Trained, load_trained, network_of
from gaussian_yolo_node.lab.training.config import TrainConfig


def open_trained(path_or_name: str | Path) -> tuple[Path, Trained]:
    """The file and the network of a training checkpoint (.pt), or of a float model file or shipped model.

    A model file does not say its architecture; its recipe does, which the card names and which lies beside the file, as
    with the shipped models. Batch norms are folded; they stay identities.

    Raises:
        CheckpointError: the checkpoint cannot be used, or the recipe is missing.
        ModelError, FoldedWeightsError, ConfigError: the file or its recipe cannot be used, or is of another network.
    """
    if Path(path_or_name).suffix == ".pt":
        return Path(path_or_name), load_trained(Path(path_or_name))
    import onnx

    path = resolve_model(path_or_name)
    read_folded(path)  # raises FoldedWeightsError for any other file
    card = read_card({entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}, path)
    recipe = path.with_name(str(card.training.get("recipe", f"{card.name}.yaml")))
    if not recipe.is_file():
        raise CheckpointError(f"{path} needs its recipe beside it, for the network's architecture: {recipe} is missing")
    config = TrainConfig.load(recipe)
    model = replace(
        config.model, classes=card.classes, anchors=card.anchors, input_size=card.input_size, pretrained=False, init=""
    )
    network = network_of(model)
    start_from(network, path, model.classes, model.anchors, ())
    return path, Trained(network.eval(), replace(config, model=model), 0, {})

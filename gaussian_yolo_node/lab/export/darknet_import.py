"""Import a Darknet `.cfg` and `.weights` as a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gaussian_yolo_node.detector.model import ModelCard
from gaussian_yolo_node.files import short_hash
from gaussian_yolo_node.lab.export.onnx import export_model
from gaussian_yolo_node.lab.networks.darknet import Darknet, DarknetDetector, DarknetError, NormForm, folded
from gaussian_yolo_node.lab.networks.darknet_cfg import Cfg, read_cfg
from gaussian_yolo_node.lab.networks.darknet_files import Weights, read_weights
from gaussian_yolo_node.lab.networks.yolov3 import PRESETS
from gaussian_yolo_node.text_files import NotTextError, read_text


def import_darknet(
    cfg_path: Path,
    weights_path: Path,
    output: Path,
    *,
    classes: Path | None = None,
    size: tuple[int, int] | None = None,
    norm_form: NormForm = "gpu",
) -> ModelCard:
    """Write an ONNX model with the same outputs as the Darknet network.

    Frames are resized as in Darknet (`resize: align_corners` on the card). A plain `[yolo]` network gets uncertainty 0.

    Args:
        cfg_path: the network; heads may be [Gaussian_yolo] or [yolo].
        weights_path: its weights.
        output: the ONNX file to write.
        classes: file of class names, one per line; default: those of the published network with the same anchors, or
            else `class_0`, `class_1`, ...
        size: canvas height and width, px; default: the cfg's.
        norm_form: which of Darknet's two batch norms to use, see `darknet.NormForm`.

    Returns:
        the card in the file.

    Raises:
        CfgError, WeightsError, DarknetError, ExportError: one sentence naming the file, line or layer, and the fix.
    """
    cfg = read_cfg(cfg_path, size)
    network = Darknet(cfg.layers, norm_form)
    detector = DarknetDetector(network)
    names = _read_names(classes, cfg) if classes is not None else _known_names(cfg)
    weights = read_weights(weights_path, cfg)
    network.load_weights(weights)
    card = ModelCard(
        name=output.stem,
        classes=names,
        anchors=tuple(head.anchors for head in detector.heads),
        strides=tuple(head.stride for head in detector.heads),
        input_size=cfg.input_size,
        resize="align_corners",
        training=_origin(cfg_path, weights_path, cfg, weights, norm_form),
    )
    return export_model(DarknetDetector(folded(network)), card, output)


def _origin(cfg_path: Path, weights_path: Path, cfg: Cfg, weights: Weights, norm_form: NormForm) -> dict[str, Any]:
    files = " and ".join(f"{path.name} ({short_hash(path)})" for path in (cfg_path, weights_path))
    origin: dict[str, Any] = {
        "imported": f"from Darknet: {files}",
        "images_seen": weights.seen,
        "batch_norm": norm_form,
    }
    return origin if cfg.heads[0].gaussian else {**origin, "sigma": "none: plain YOLOv3"}


def _read_names(path: Path, cfg: Cfg) -> tuple[str, ...]:
    try:
        lines = read_text(path).split("\n")
    except OSError as error:
        raise DarknetError(f"{path} cannot be read as class names: {error}") from error
    except NotTextError as error:
        raise DarknetError(f"class names {path} are {error}") from error
    names = tuple(line.strip() for line in lines if line.strip())
    head = cfg.heads[0]
    if len(names) != head.classes:
        raise DarknetError(
            f"{path} names {len(names)} classes where {cfg.source}, line {head.line}, has classes={head.classes}; "
            "give one name a line"
        )
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DarknetError(f"{path} names {twice!r} twice; class names must differ")
    return names


def _known_names(cfg: Cfg) -> tuple[str, ...]:
    heads = sorted(cfg.heads, key=lambda head: head.stride)
    anchors = tuple(anchor for head in heads for anchor in head.anchors)
    for preset in PRESETS.values():
        if anchors == preset.anchors and heads[0].classes == len(preset.classes):
            return preset.classes
    return tuple(f"class_{index}" for index in range(heads[0].classes))

"""The command `stylize`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.errors import SettingError


class StyleOptimizer(str, Enum):
    lbfgs = "lbfgs"
    adam = "adam"


class Start(str, Enum):
    content = "content"
    noise = "noise"


class PreserveColor(str, Enum):
    none = "none"
    histogram = "histogram"
    luminance = "luminance"


class Reconstruct(str, Enum):
    content = "content"
    style = "style"


_Layers = typer.Option(metavar="NAME,..", help="Layers, with commas.", show_default="the extractor's")


def stylize(
    content: Annotated[Path, typer.Argument(metavar="CONTENT", help="Picture, or folder of pictures.")],
    style: Annotated[Path, typer.Argument(metavar="STYLE", help="Picture, or folder of pictures to choose from.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture; of a folder, the folder to write.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="Folder of label files, or one JSON file, to carry over.", show_default="label_2 beside"),
    ] = None,
    extractor: Annotated[
        str, typer.Option(help="vgg19, efficientnet_lite0, or a training checkpoint.", show_default="vgg19 if there")
    ] = "",
    vgg_weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="VGG19's weights.", show_default="torch.hub's")
    ] = None,
    content_layers: Annotated[str, _Layers] = "",
    style_layers: Annotated[str, _Layers] = "",
    style_weights: Annotated[
        str, typer.Option(metavar="W,..", help="One for each style layer.", show_default="1/number each")
    ] = "",
    alpha: Annotated[
        float | None, typer.Option(help="Weight of the content, of the whole frame.", show_default="balanced")
    ] = None,
    beta: Annotated[float, typer.Option(help="Weight of the style.")] = 1.0,
    optimizer: Annotated[StyleOptimizer, typer.Option(help="lbfgs as in the paper, or adam.")] = StyleOptimizer.lbfgs,
    steps: Annotated[int, typer.Option(help="Steps of the optimizer.")] = 60,
    coarse_steps: Annotated[int, typer.Option(help="Steps before that, at half the size; 0 for none.")] = 40,
    start: Annotated[Start, typer.Option(help="What to begin with.")] = Start.content,
    preserve_color: Annotated[
        PreserveColor, typer.Option(help="Keep the content's colours: recolour the style, or transfer luminance only.")
    ] = PreserveColor.none,
    tile: Annotated[int, typer.Option(help="Side of tiles for large frames, px; 0 for none.")] = 0,
    size: Annotated[int, typer.Option(help="Longer side to compute at, px; 0 is the frame's own.")] = 0,
    style_scale: Annotated[float, typer.Option(help="Size of the style: at 1, its shorter side is the frame's.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of noise, and of the choice among styles.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Processor threads; 0 leaves PyTorch's choice.")] = 0,
    reconstruct: Annotated[
        Reconstruct | None,
        typer.Option(help="Instead, write what each layer knows of CONTENT's content, or of STYLE's style, into -o."),
    ] = None,
) -> None:
    """Paint pictures in the style of others (needs the extra `train`); labels stay true, for nothing moves.

    Example: gaussian-yolo stylize kitti/training night.jpg -o kitti_night

    A folder becomes a training set: OUTPUT/image_2 and OUTPUT/label_2. Run the same command again to go on with one
    that was interrupted.
    """
    import torch

    from gaussian_yolo_node.offline.style.extractors import open_extractor
    from gaussian_yolo_node.offline.style_transfer import StyleSettings, StyleTransfer

    settings = StyleSettings(
        content_layers=_names(content_layers),
        style_layers=_names(style_layers),
        style_weights=_numbers(style_weights),
        alpha=alpha,
        beta=beta,
        optimizer=optimizer.value,
        steps=steps,
        coarse_steps=coarse_steps,
        start=start.value,
        preserve_colour=preserve_color.value,
        size=size,
        style_scale=style_scale,
        tile=tile,
        seed=seed,
    )
    if threads:
        torch.set_num_threads(threads)
    transfer = StyleTransfer(open_extractor(extractor or "efficientnet_lite0", vgg_weights), settings)
    import cv2

    from gaussian_yolo_node.datasets.images import read_image

    a, b = read_image(content), read_image(style)
    transfer.normalise([a, b])
    r = transfer(a, b)
    cv2.imwrite(str(output), r.image)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in _names(text))
    except ValueError:
        raise SettingError(
            f"--style-weights {text!r} must be numbers with commas between, 0.2,0.8 for instance"
        ) from None

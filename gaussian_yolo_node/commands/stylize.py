"""The command `stylize`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaussian_yolo_node.commands import flags
from gaussian_yolo_node.errors import SettingError

if TYPE_CHECKING:
    from rich.console import Console

    from gaussian_yolo_node.lab.style_transfer.optimise import Loss
    from gaussian_yolo_node.lab.style_transfer.transfer import StyleTransfer


class StyleOptimizer(str, Enum):
    lbfgs = "lbfgs"
    adam = "adam"


class Start(str, Enum):
    recolored = "recolored"
    content = "content"
    noise = "noise"


class PreserveColor(str, Enum):
    none = "none"
    histogram = "histogram"
    luminance = "luminance"


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
    balance: Annotated[
        float | None,
        typer.Option(
            help="Instead of alpha: weight of the content a response, at any size.", show_default="the extractor's"
        ),
    ] = None,
    beta: Annotated[float, typer.Option(help="Weight of the style.")] = 1.0,
    optimizer: Annotated[StyleOptimizer, typer.Option(help="lbfgs as in the paper, or adam.")] = StyleOptimizer.lbfgs,
    steps: Annotated[int, typer.Option(help="Steps of the optimizer.")] = 60,
    scales: Annotated[int, typer.Option(help="Sizes to search at, coarse to fine, each twice the one before.")] = 3,
    coarse_steps: Annotated[int, typer.Option(help="Steps at each of the smaller sizes; 0 for none.")] = 40,
    total_variation: Annotated[
        float, typer.Option(metavar="W", help="Weight of the result's smoothness, 0.05 for instance; 0 for none.")
    ] = 0.0,
    start: Annotated[
        Start, typer.Option(help="Begin with the content, in its own or the style's colours, or with noise.")
    ] = Start.recolored,
    preserve_color: Annotated[
        PreserveColor, typer.Option(help="Keep the content's colours: recolour the style, or transfer luminance only.")
    ] = PreserveColor.none,
    tile: Annotated[int, typer.Option(help="Side of tiles for large frames, px; 0 for none.")] = 0,
    size: Annotated[int, typer.Option(help="Longer side to compute at, px; 0 is the frame's own.")] = 0,
    style_scale: Annotated[float, typer.Option(help="Size of the style: at 1, its shorter side is the frame's.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise and of the choice among styles.")] = 0,
    device: flags.TrainDevice = flags.Device.auto,
    threads: flags.TrainThreads = 0,
    losses: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write one picture's losses as JSON; a folder's always are.")
    ] = None,
    reconstruct: Annotated[
        bool,
        typer.Option("--reconstruct", help="Instead, write into -o what each layer knows of CONTENT and of STYLE."),
    ] = False,
) -> None:
    """Paint pictures in the style of others (needs the extra `train`); labels stay valid, because nothing moves.

    Example: gaussian-yolo stylize kitti/training night.jpg -o kitti_night

    A folder becomes a training set: OUTPUT/image_2 and OUTPUT/label_2. Run the same command again to resume after an
    interruption.
    """
    from rich.console import Console

    from gaussian_yolo_node.lab.style_transfer.extractors import choose_extractor, open_extractor
    from gaussian_yolo_node.lab.style_transfer.folder import stylise_folder
    from gaussian_yolo_node.lab.style_transfer.frames import find_frames, find_styles
    from gaussian_yolo_node.lab.style_transfer.transfer import StyleSettings, StyleTransfer
    from gaussian_yolo_node.lab.threads import use_threads

    settings = StyleSettings(
        content_layers=flags.words(content_layers),
        style_layers=flags.words(style_layers),
        style_weights=flags.numbers("--style-weights", style_weights),
        alpha=alpha,
        balance=balance,
        beta=beta,
        optimizer=optimizer.value,
        steps=steps,
        scales=scales,
        coarse_steps=coarse_steps,
        total_variation=total_variation,
        start=start.value,
        preserve_colour=preserve_color.value,
        size=size,
        style_scale=style_scale,
        tile=tile,
        seed=seed,
    )
    use_threads(threads)
    _refuse_mix(content, style, output, labels, reconstruct)
    transfer = StyleTransfer(
        open_extractor(choose_extractor(extractor, vgg_weights), vgg_weights), settings, device.value
    )
    console = Console(stderr=True)
    print(f"extractor: {transfer.extractor.name}")
    if reconstruct:
        for path in _reconstruct(transfer, content, style, output, console):
            print(path)
    elif content.is_dir():
        frames = find_frames(content, labels)
        summary = stylise_folder(transfer, frames, find_styles(style), output, console)
        for name, reason in summary.skipped:
            print(f"skipped {name}: {reason}", file=sys.stderr)
        print(f"{output}: {summary}")
    else:
        _one_picture(transfer, content, style, output, losses, console)


def _refuse_mix(content: Path, style: Path, output: Path, labels: Path | None, reconstruct: bool) -> None:
    """Reject invalid arguments before a network is loaded."""
    if not content.exists():
        raise SettingError(f"CONTENT {content} does not exist: give a picture or a folder of pictures")
    if not style.exists():
        raise SettingError(f"STYLE {style} does not exist: give a picture or a folder of pictures")
    if reconstruct:
        if content.is_dir() or style.is_dir() or output.is_file():
            raise SettingError("--reconstruct takes two pictures, and a folder for -o")
        return
    if content.is_dir():
        if output.is_file():
            raise SettingError(f"-o {output} is a file: CONTENT is a folder, so give a folder to write")
        return
    if labels is not None:
        raise SettingError("--labels belongs to a folder of pictures; one picture's label stays as it is")
    if output.is_dir():
        raise SettingError(f"-o {output} is a folder: CONTENT is one picture, so give the name of one")
    if output.resolve() in (content.resolve(), style.resolve()):
        raise SettingError(f"-o {output} would overwrite its own input: give another name")


def _one_picture(
    transfer: StyleTransfer, content: Path, style: Path, output: Path, losses: Path | None, console: Console
) -> None:
    from gaussian_yolo_node.files import write_whole
    from gaussian_yolo_node.lab.style_transfer.folder import losses_record
    from gaussian_yolo_node.lab.style_transfer.frames import choose_style, find_styles
    from gaussian_yolo_node.lab.style_transfer.pictures import encode, write_picture
    from gaussian_yolo_node.labels.images import read_image

    styles = find_styles(style)
    chosen = choose_style(sorted(styles), content.name, transfer.settings.seed)
    picture, painting = read_image(content), read_image(styles[chosen])
    encode(output, picture[:1, :1])  # reports a wrong suffix now, not after minutes
    transfer.normalise([picture, painting])
    with step_bar(console, transfer.settings.steps) as show:
        result = transfer(picture, painting, on_step=show)
    write_picture(output, result.image)
    if losses is not None:
        write_whole(losses, json.dumps({"style": chosen, **losses_record(result)}) + "\n")
    first, last = (sum(tile[index].total for tile in result.losses) / len(result.losses) for index in (0, -1))
    steps = max(len(tile) - 1 for tile in result.losses)
    print(f"{output}: style {chosen}, loss {first:.4g} -> {last:.4g} in {steps} steps")


def _reconstruct(transfer: StyleTransfer, content: Path, style: Path, output: Path, console: Console) -> Iterator[Path]:
    from gaussian_yolo_node.lab.style_transfer.pictures import write_picture
    from gaussian_yolo_node.labels.images import read_image

    pictures = read_image(content), read_image(style)
    transfer.normalise(pictures)
    with step_bar(console, transfer.settings.steps) as show:
        for name, image in transfer.reconstructions(*pictures, on_step=show):
            write_picture(output / f"{name}.png", image)
            yield output / f"{name}.png"


@contextmanager
def step_bar(console: Console, steps: int) -> Iterator[Callable[[int, Loss], None]]:
    """A terminal progress bar from 1 to `steps`, restarted for each tile or layer."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("step", total=steps, loss="")

        def show(step: int, loss: Loss) -> None:
            bar.update(task, completed=step, loss=f"{loss.total:.4g}")

        yield show

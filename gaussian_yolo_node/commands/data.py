"""Commands about data sets: what is wrong with them, what is in them, and the anchors that fit them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaussian_yolo_node.commands.sizes import parse_size
from gaussian_yolo_node.errors import GaussianYoloError, SettingError

if TYPE_CHECKING:
    from gaussian_yolo_node.lab.training.config import TrainConfig
    from gaussian_yolo_node.labels.sources import Source

EXIT_FAULTS = 1
# Height and width of KITTI's commonest image, px.
_KITTI_SIZE = (375, 1242)


class DataOutputError(GaussianYoloError):
    """A result cannot be written."""


class Resize(str, Enum):
    letterbox = "letterbox"
    stretch = "stretch"


_Config = Annotated[Path | None, typer.Argument(metavar="CONFIG", help="Training config whose data to take.")]
_Data = Annotated[Path | None, typer.Option(help="Folder of the data sets.", show_default="the config's")]
_Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Without a config: kitti, kitti_tracking, bdd, scalabel, coco, yolo, coco_txt or detections.",
    ),
]
_Images = Annotated[Path | None, typer.Option(help="Folder of images; without, labels alone are looked at.")]
_Labels = Annotated[Path | None, typer.Option(help="Folder of label files, or the JSON file.")]
_Names = Annotated[
    Path | None, typer.Option(help="Class names of YOLO txt: a file with one a line, or a YAML file with `names`.")
]
_List = Annotated[Path | None, typer.Option("--list", help="Text file that names the images to take, one a line.")]
_Classes = Annotated[
    str | None,
    typer.Option(help="Classes of the network, with commas.", show_default="the format's, or all categories"),
]


def check(
    config: _Config = None,
    data: _Data = None,
    data_format: _Format = None,
    images: _Images = None,
    labels: _Labels = None,
    names: _Names = None,
    image_list: _List = None,
    classes: _Classes = None,
    samples: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write pictures with their boxes into this folder.")
    ] = None,
    sample_count: Annotated[int, typer.Option(min=1, help="How many, of each split.")] = 12,
    tiny: Annotated[float, typer.Option(min=0, help="Warn of boxes with a side shorter than this, px.")] = 4.0,
    limit: Annotated[int, typer.Option(min=0, help="Lines to print of each kind of fault; 0 prints all.")] = 50,
    json_path: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Write all that was found.")] = None,
) -> None:
    """Find what is wrong with data: of a training config, or of one data set in a format.

    Looks for images that are missing, corrupt, of another size than labelled, double, or in two splits; for labels that
    are malformed or of unknown class; for boxes that are inverted, empty, outside the image, double, tiny. Exits with 1
    if there are faults; warnings are none.

    Example: gaussian-yolo data check recipe.yaml --data data --samples out/samples
    """
    from rich.console import Console

    from gaussian_yolo_node.labels.check import CheckOptions, check_sources
    from gaussian_yolo_node.labels.check_report import (
        draw_samples,
        fault_lines,
        images_table,
        notes,
        objects_table,
        result_dict,
        verdict,
    )

    selection = _select(config, data, data_format, images, labels, names, image_list, classes)
    options = CheckOptions(tiny=tiny, samples=sample_count if samples is not None else 0)
    with Console(stderr=True).status("checking") as status:
        result = check_sources(
            selection.splits, selection.classes, options, lambda count: status.update(f"checking: {count:,} images")
        )
    console = Console()
    console.print(images_table(result.splits))
    for split in result.splits:
        console.print(objects_table(split, selection.classes, tiny))
        for line in notes(split, selection.classes):
            print(line)
    shown = [fault for fault in result.faults if not fault.kind.is_summed_up]
    for line in fault_lines(shown, limit):
        print(line)
    if samples is not None:
        print(f"samples: {len(draw_samples(result.samples, samples))} pictures in {samples}")
    if json_path is not None:
        _write_json(json_path, result_dict(result))
    print(verdict(result))
    if result.errors:
        raise typer.Exit(EXIT_FAULTS)


def anchors(
    config: _Config = None,
    data: _Data = None,
    data_format: _Format = None,
    images: _Images = None,
    labels: _Labels = None,
    names: _Names = None,
    image_list: _List = None,
    classes: _Classes = None,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Canvas height and width, px.", show_default="the config's")
    ] = None,
    count: Annotated[int, typer.Option(min=3, help="How many, a multiple of 3.")] = 9,
    resize: Annotated[
        Resize, typer.Option(help="How images come to the canvas; the detector keeps their proportions.")
    ] = Resize.letterbox,
    seed: Annotated[int, typer.Option(help="Of the k-means; same boxes and seed, same anchors.")] = 0,
    image_size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Size of images that are not given, px.", show_default="KITTI's 375x1242"),
    ] = None,
) -> None:
    """Anchors that fit labelled boxes, by k-means with the distance 1 - IoU, as YAML for a training config.

    Takes the training data of a config, or one data set in a format.

    Example: gaussian-yolo anchors --format kitti --images image_2 --labels label_2 --size 320x1024
    """
    import numpy as np

    from gaussian_yolo_node.lab.training.anchors import anchors_for, mean_iou, sizes_on_canvas
    from gaussian_yolo_node.lab.training.box_sizes import box_sizes

    selection = _select(config, data, data_format, images, labels, names, image_list, classes)
    recipe = selection.config
    if size is not None:
        canvas = parse_size(size)
    elif recipe is not None:
        canvas = recipe.model.input_size
    else:
        raise SettingError("--size is missing: give the canvas's HEIGHTxWIDTH in px, 320x1024 for instance")
    default = _KITTI_SIZE if (data_format or "").startswith("kitti") else None
    if image_size is not None:
        default = _parse_image_size(image_size)
    train = next(iter(selection.splits.values()))
    boxes, image_sizes = box_sizes(train, selection.classes, default)
    fit = anchors_for(boxes, image_sizes, canvas, resize=resize.value, count=count, seed=seed)
    how = "letterboxed" if resize is Resize.letterbox else "stretched"
    print(f"# k-means with 1 - IoU over {fit.boxes:,} boxes, {how} to {canvas[0]}x{canvas[1]}, seed {seed};")
    print(f"# mean IoU {fit.mean_iou:.3f}")
    if recipe is not None:
        own = np.array(recipe.model.anchors).reshape(-1, 2)
        on_canvas = sizes_on_canvas(boxes, image_sizes, canvas, resize.value)
        print(f"# (the anchors that are in {config} now: {mean_iou(on_canvas, own):.3f})")
    print("anchors:  # w, h in px, for strides 32, 16, 8")
    for head in fit.anchors:
        print("  - [" + ", ".join(f"[{w:.1f}, {h:.1f}]" for w, h in head) + "]")


def _parse_image_size(text: str) -> tuple[int, int]:
    try:
        return parse_size(text)
    except SettingError as error:
        raise SettingError(str(error).replace("--size", "--image-size")) from error


@dataclass(frozen=True)
class _Selection:
    splits: Mapping[str, Sequence[Source]]
    classes: Sequence[str] | None
    config: TrainConfig | None = None


def _select(
    config: Path | None,
    data: Path | None,
    data_format: str | None,
    images: Path | None,
    labels: Path | None,
    names: Path | None,
    image_list: Path | None,
    classes: str | None,
) -> _Selection:
    """The data of a config or of the options.

    Raises:
        SettingError: both are given, or neither.
        ConfigError, DatasetError: one of them is written wrong.
    """
    from gaussian_yolo_node.labels.sources import FORMATS, open_source

    if (config is None) == (data_format is None):
        raise SettingError("give either a training config, or --format with --labels and --images")
    listed = [name.strip() for name in classes.split(",")] if classes else None
    if data_format is None:
        return _of_config(config, data, listed)
    if data is not None:
        raise SettingError("--data belongs to a training config; with --format give --images and --labels")
    given = {"images": images, "labels": labels, "names": names, "list": image_list}
    for key, path in given.items():
        if path is not None and not path.exists():
            raise SettingError(f"--{key} {path} does not exist")
    renamed = {"coco_txt": {"images": "folder"}, "detections": {"labels": "detections"}}.get(data_format, {})
    mapping = {renamed.get(key, key): str(path.absolute()) for key, path in given.items() if path is not None}
    source = open_source(Path(), {"format": data_format, **mapping}, "the data", labels_only=True)
    return _Selection({"data": [source]}, listed or FORMATS[data_format].usual_classes)


def _of_config(path: Path | None, data: Path | None, classes: list[str] | None) -> _Selection:
    from gaussian_yolo_node.lab.training.config import TrainConfig
    from gaussian_yolo_node.labels.sources import open_source

    assert path is not None
    config = TrainConfig.load(path)
    root = data or Path(config.data.root)
    splits = {"train": config.data.train, "validation": config.data.validation}
    opened = {
        split: [open_source(root, source, f"{split} source {number}") for number, source in enumerate(sources, start=1)]
        for split, sources in splits.items()
    }
    return _Selection(opened, classes or config.model.classes, config)


def _write_json(path: Path, document: object) -> None:
    try:
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataOutputError(f"{path} cannot be written: {error.strerror}") from error

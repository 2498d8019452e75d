"""Options that select the data of a command: those of a training config, or one data set in a given format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaussian_yolo_node.commands.flags import words
from gaussian_yolo_node.errors import SettingError

if TYPE_CHECKING:
    from gaussian_yolo_node.lab.training.config import TrainConfig
    from gaussian_yolo_node.labels.sources import Source


@dataclass(frozen=True)
class DataSelection:
    """Sources by split, the classes to use, and the training config or the format that they are of."""

    splits: Mapping[str, Sequence[Source]]
    classes: Sequence[str] | None
    config: TrainConfig | None = None
    format: str = ""


def select_data(
    config: Annotated[Path | None, typer.Argument(metavar="CONFIG", help="Training config whose data to take.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the data sets.", show_default="the config's")] = None,
    data_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Without a config: kitti, kitti_tracking, bdd, scalabel, coco, yolo, coco_txt or detections.",
        ),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of images; without, labels alone are looked at.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Folder of label files, or the JSON file.")] = None,
    names: Annotated[
        Path | None,
        typer.Option(help="Class names of YOLO txt: a file with one per line, or a YAML file with `names`."),
    ] = None,
    image_list: Annotated[
        Path | None, typer.Option("--list", help="Text file with the names of the images to take, one per line.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Classes of the network, with commas.", show_default="the format's, or all categories"),
    ] = None,
) -> DataSelection:
    """The data of a config or of the options.

    Raises:
        SettingError: both are given, or neither.
        ConfigError, DatasetError: one of them is malformed.
    """
    from gaussian_yolo_node.labels.sources import FORMATS, open_source

    if (config is None) == (data_format is None):
        raise SettingError("give either a training config, or --format with --labels and --images")
    listed = list(words(classes)) if classes else None
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
    return DataSelection({"data": [source]}, listed or FORMATS[data_format].usual_classes, format=data_format)


def of_data(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of `select_data`, whose selection is its first argument."""
    shared, own = (signature(each, eval_str=True).parameters for each in (select_data, command))
    parameters = [*shared.values(), *list(own.values())[1:]]

    @wraps(command)
    def run(**given: Any) -> None:
        command(select_data(**{name: given.pop(name) for name in shared}), **given)

    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _of_config(path: Path | None, data: Path | None, classes: list[str] | None) -> DataSelection:
    from gaussian_yolo_node.lab.training.config import TrainConfig
    from gaussian_yolo_node.lab.training.train import check_files
    from gaussian_yolo_node.labels.sources import open_source

    assert path is not None
    config = TrainConfig.load(path)
    root = data or Path(config.data.root)
    check_files(config, root)
    splits = {"train": config.data.train, "validation": config.data.validation}
    opened = {
        split: [open_source(root, source, f"{split} source {number}") for number, source in enumerate(sources, start=1)]
        for split, sources in splits.items()
    }
    return DataSelection(opened, classes or config.model.classes, config)

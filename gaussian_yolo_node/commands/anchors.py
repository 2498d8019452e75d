"""The command `anchors`: fit anchors to labelled boxes."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from gaussian_yolo_node.commands.data_options import DataSelection, of_data
from gaussian_yolo_node.errors import SettingError

# Height and width of KITTI's most common image size, px.
_KITTI_SIZE = (375, 1242)


class Resize(str, Enum):
    letterbox = "letterbox"
    stretch = "stretch"


@of_data
def anchors(
    selection: DataSelection,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Canvas height and width, px.", show_default="the config's")
    ] = None,
    count: Annotated[int, typer.Option(min=3, help="How many, a multiple of 3.")] = 9,
    resize: Annotated[
        Resize, typer.Option(help="How images are resized to the canvas; the detector letterboxes.")
    ] = Resize.letterbox,
    seed: Annotated[int, typer.Option(help="Seed of the k-means.")] = 0,
    image_size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Size of images that are not given, px.", show_default="KITTI's 375x1242"),
    ] = None,
) -> None:
    """Fit anchors to labelled boxes by k-means with the distance 1 - IoU; prints YAML for a training config.

    Reads the training data of a config, or one data set in a given format.

    Example: gaussian-yolo anchors --format kitti --images image_2 --labels label_2 --size 320x1024
    """
    import numpy as np

    from gaussian_yolo_node.lab.training.anchors import anchors_for, box_sizes, mean_iou, sizes_on_canvas
    from gaussian_yolo_node.runtime.base import parse_size

    recipe = selection.config
    if size is not None:
        canvas = parse_size(size)
    elif recipe is not None:
        canvas = recipe.model.input_size
    else:
        raise SettingError("--size is missing: give the canvas's HEIGHTxWIDTH in px, 320x1024 for instance")
    default = _KITTI_SIZE if selection.format.startswith("kitti") else None
    if image_size is not None:
        default = parse_size(image_size, "--image-size")
    train = next(iter(selection.splits.values()))
    boxes, image_sizes = box_sizes(train, selection.classes, default)
    fit = anchors_for(boxes, image_sizes, canvas, resize=resize.value, count=count, seed=seed)
    how = "letterboxed" if resize is Resize.letterbox else "stretched"
    print(f"# k-means with 1 - IoU over {fit.boxes:,} boxes, {how} to {canvas[0]}x{canvas[1]}, seed {seed};")
    print(f"# mean IoU {fit.mean_iou:.3f}")
    if recipe is not None:
        own = np.array(recipe.model.anchors).reshape(-1, 2)
        on_canvas = sizes_on_canvas(boxes, image_sizes, canvas, resize.value)
        print(f"# (the config's anchors now: {mean_iou(on_canvas, own):.3f})")
    print("anchors:  # w, h in px, for strides 32, 16, 8")
    for head in fit.anchors:
        print("  - [" + ", ".join(f"[{w:.1f}, {h:.1f}]" for w, h in head) + "]")

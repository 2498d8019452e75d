"""Report the result of a dataset check as tables, lines, JSON and pictures."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from gaussian_yolo_node.file_names import frame_name, hashable
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.labels import DatasetError, read_image
from gaussian_yolo_node.labels.annotations import Fault, FaultKind
from gaussian_yolo_node.labels.check import IGNORED, UNUSED, CheckResult, SamplePicture, SplitContent

_QUANTILES = (0.1, 0.5, 0.9)
_GREY = (160, 160, 160)


def images_table(splits: Sequence[SplitContent]) -> Table:
    """Number of images per split."""
    table = Table("split", "images", "without labels", "without objects", "objects", "ignored", title="Images")
    for column in table.columns[1:]:
        column.justify = "right"
    for split in splits:
        objects = sum(len(sizes) for (_, used), sizes in split.sizes.items() if used not in (IGNORED, UNUSED))
        ignored = sum(len(sizes) for (_, used), sizes in split.sizes.items() if used == IGNORED)
        counts = (split.images, split.unlabelled, split.empty, objects, ignored)
        table.add_row(split.name, *(f"{count:,}" for count in counts))
    return table


def objects_table(split: SplitContent, classes: Sequence[str] | None, tiny: float) -> Table:
    """Counts and sizes per category of one split."""
    headings = ("label", "used as", "objects", "width px", "height px", f"< {tiny:g} px")
    table = Table(*headings, title=f"Objects: {split.name}")
    table.caption = "sizes: the median, and what 10 and 90 % of the objects are at most"
    for column in table.columns[2:]:
        column.justify, column.no_wrap = "right", True  # in a narrow terminal, only the names wrap
    rows = dict(split.sizes)
    unused = [key for key in rows if key[1] == UNUSED]
    others = [size for key in unused for size in rows.pop(key)]
    order = {name: index for index, name in enumerate([*(classes or ()), IGNORED])}
    for name, used in sorted(rows, key=lambda key: (order.get(key[1], -1), -len(rows[key]))):
        table.add_row(name, used, *_size_cells(rows[name, used], tiny))
    if others:
        table.add_row(unused[0][0] if len(unused) == 1 else f"{len(unused)} others", UNUSED, *_size_cells(others, tiny))
    return table


def _size_cells(sizes: Sequence[tuple[float, float]], tiny: float) -> list[str]:
    array = np.array(sizes)
    cells = [f"{middle:.0f} ({low:.0f}-{high:.0f})" for low, middle, high in np.quantile(array, _QUANTILES, axis=0).T]
    return [f"{len(array):,}", *cells, f"{int((array.min(1) < tiny).sum()):,}"]


def notes(split: SplitContent, classes: Sequence[str] | None) -> list[str]:
    """Lines about possible mistakes: images without labels, classes without objects."""
    lines = []
    if split.unlabelled:
        more = [".."] if split.unlabelled > len(split.first_unlabelled) else []
        named = ", ".join([*map(str, split.first_unlabelled), *more])
        lines.append(f"note: {split.unlabelled:,} of {split.name} without labels, training leaves them out: {named}")
    used = {used for _, used in split.sizes}
    absent = [name for name in classes or () if name not in used]
    if absent:
        lines.append(f"note: {split.name} has no object of {', '.join(absent)}")
    return lines


def fault_lines(faults: Sequence[Fault], limit: int) -> list[str]:
    """One line per fault, "FILE:LINE: kind: message"; beyond `limit` per kind only a count. 0: no limit."""
    lines, shown = [], Counter[FaultKind]()
    for fault in faults:
        shown[fault.kind] += 1
        if not limit or shown[fault.kind] <= limit:
            lines.append(f"{fault.where}: {fault.kind.value}: {fault.message}")
    more = {kind.value: count - limit for kind, count in shown.items() if limit and count > limit}
    hint = "--limit 0 prints all, --json has them"
    return [*lines, *(f"... and {count:,} more of kind '{kind}': {hint}" for kind, count in more.items())]


def verdict(result: CheckResult) -> str:
    """One line with the number of faults by kind."""
    images = sum(split.images for split in result.splits)
    parts = []
    for faults, word in ((result.errors, "fault"), (result.warnings, "warning")):
        kinds = Counter(fault.kind.value for fault in faults)
        listed = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
        parts.append(f"{len(faults):,} {word}{'' if len(faults) == 1 else 's'}" + (f" ({listed})" if listed else ""))
    return f"{images:,} image{'' if images == 1 else 's'}: {', '.join(parts)}"


def result_dict(result: CheckResult) -> dict[str, Any]:
    """The whole result as plain values for JSON."""
    return {
        "splits": {split.name: _split_dict(split) for split in result.splits},
        "faults": [_fault_dict(fault) for fault in result.errors],
        "warnings": [_fault_dict(fault) for fault in result.warnings],
    }


def _split_dict(split: SplitContent) -> dict[str, Any]:
    categories = []
    for (label, used), sizes in split.sizes.items():
        width, height = np.quantile(np.array(sizes), _QUANTILES, axis=0).T.tolist()
        shown = {"label": label, "used_as": used, "objects": len(sizes)}
        categories.append({**shown, "width_px": width, "height_px": height})
    counts = {"images": split.images, "unlabelled": split.unlabelled, "empty": split.empty}
    return {**counts, "categories": categories}


def _fault_dict(fault: Fault) -> dict[str, Any]:
    place = {} if fault.place is None else {"line" if isinstance(fault.place, int) else "record": fault.place}
    return {"kind": fault.kind.value, "file": str(fault.file), **place, "message": fault.message}


def draw_samples(samples: Sequence[SamplePicture], folder: Path) -> list[Path]:
    """Write each sample with its boxes as a JPEG into `folder`, which is created.

    Truths are solid with one colour per class, ignore regions hatched grey, and unused categories thin grey.

    Raises:
        DatasetError: a picture cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, sample in enumerate(samples):
            path = folder / f"{sample.split}_{number:03d}_{frame_name(sample.image.name)}.jpg"
            ok, data = cv2.imencode(".jpg", draw_sample(sample), [cv2.IMWRITE_JPEG_QUALITY, 90])
            assert ok
            write_whole(path, data.tobytes(), DatasetError)
            written.append(path)
    except OSError as error:
        raise DatasetError(f"samples cannot be written to {folder}: {error.strerror}") from error
    return written


def draw_sample(sample: SamplePicture) -> NDArray[np.uint8]:
    """The image with its boxes, uint8 `[H,W,3]` BGR."""
    picture = read_image(sample.image)
    scale = max(0.35, min(picture.shape[:2]) / 1200)
    for annotation, used_as in sorted(sample.boxes, key=lambda box: box[1] not in (IGNORED, UNUSED)):
        x1, y1, x2, y2 = (int(value) for value in np.rint(np.clip(annotation.box, -1e6, 1e6)))
        if used_as == IGNORED:
            _hatch(picture, x1, y1, x2, y2)
        colour = _GREY if used_as in (IGNORED, UNUSED) else _colour(used_as)
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, 1 if used_as == UNUSED else max(1, round(2 * scale)))
        name = annotation.name
        plain = used_as in (IGNORED, UNUSED, name.lower())  # visible from the style, or equal
        text = name if plain else f"{name}: {used_as}"
        origin = (max(0, x1), max(12, y1 - 3))
        cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
    return picture


def _hatch(picture: NDArray[np.uint8], x1: int, y1: int, x2: int, y2: int) -> None:
    region = picture[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)]
    rows, columns = np.indices(region.shape[:2])
    region[(rows + columns) % 8 == 0] = _GREY


def _colour(name: str) -> tuple[int, int, int]:
    """A fixed BGR colour for a class name."""
    hue = (sum(hashable(name)) * 0.618034) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)

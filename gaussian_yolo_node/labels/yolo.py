"""YOLO txt labels (Darknet): one file per image, one line per object, "class cx cy w h" relative to the
image, or "class x y x y x y ..", a polygon."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gaussian_yolo_node.file_names import is_absolute
from gaussian_yolo_node.labels.annotations import (
    AnnotatedImage,
    Annotation,
    DatasetError,
    Fault,
    FaultKind,
    Report,
    malformed,
)
from gaussian_yolo_node.labels.images import Pick, image_files, image_size, read_list
from gaussian_yolo_node.labels.reading import label_files, read_lines

# Boxes may reach somewhat out of the image.
_MOST_RELATIVE = 2.0

# The 80 classes of COCO's detection task, in the order of the YOLO txt files.
COCO_NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip


@dataclass(frozen=True)
class YoloTxt:
    """Images with their label files.

    Attributes:
        images: folder of images; None: the list contains their paths.
        labels: folder of label files with the images' stems; None: Darknet's rule, the path of the image with its last
            folder "images" replaced by "labels".
        names: of the classes, by number.
        roots: folders that relative paths in the list may start from.
    """

    images: Path | None
    labels: Path | None
    names: tuple[str, ...]
    pick: Pick
    roots: tuple[Path, ...] = ()

    def read(self, report: Report) -> Iterator[AnnotatedImage]:
        """Every image, and every label file without an image; see `convert.Reader`."""
        images = self._listed(report) if self.images is None else image_files(self.images)
        image_of: dict[Path, Path] = {}
        for image in images:
            label = self._label_of(image)
            first = image_of.setdefault(label, image)
            if not self.pick.wants(image.name):
                continue
            if first is not image:
                message = f"it has the label file {label.name} of {first}, too: rename or remove one"
                report(Fault(FaultKind.AMBIGUOUS_NAME, image, None, message))
            elif label.is_file():
                yield self._read_labels(image, label, report)
            else:
                yield AnnotatedImage(image, label, [], unlabelled=True)
        if self.images is None:  # `_listed` has read the list
            return
        seen = [image.name for image in images]
        for label in [] if self.labels is None or not self.labels.is_dir() else label_files(self.labels, ".txt"):
            if label not in image_of and self.pick.wants(label.stem):
                message = f"its image {self.images / label.stem}.* does not exist"
                report(Fault(FaultKind.MISSING_IMAGE, label, None, message))
                seen.append(label.stem)
        self.pick.report_absent(seen, report)

    def _listed(self, report: Report) -> list[Path]:
        list_file = self.pick.list_file
        if list_file is None:
            raise DatasetError("a source of format yolo needs 'images', a folder, or 'list', a file of image paths")
        images = []
        for number, entry in read_list(list_file):
            candidates = [Path(entry)] if is_absolute(entry) else [root / entry for root in self.roots]
            path = next((path for path in candidates if path.is_file()), None)
            if path is not None:
                images.append(path)
            else:
                message = f"there is no image {' or '.join(map(str, candidates))}"
                if is_absolute(entry):
                    message += ": write paths relative to the list, with / between folders"
                report(Fault(FaultKind.MISSING_IMAGE, list_file, number, message))
        return images

    def _label_of(self, image: Path) -> Path:
        folder = self.labels
        if folder is None:
            parts = list(image.parent.parts)
            if "images" in parts:
                parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
            folder = Path(*parts)
        return folder / f"{image.stem}.txt"

    def _read_labels(self, image: Path, label: Path, report: Report) -> AnnotatedImage:
        try:
            size = image_size(image)
        except DatasetError as error:
            report(Fault(FaultKind.UNREADABLE_IMAGE, image, None, str(error).removeprefix(f"{image} ")))
            return AnnotatedImage(None, label, [])
        return AnnotatedImage(image, label, list(self._read_objects(label, size, report)))

    def _read_objects(self, label: Path, size: tuple[int, int], report: Report) -> Iterator[Annotation]:
        height, width = size
        for number, line in read_lines(label, report):
            try:
                class_number, (x1, y1, x2, y2) = _row(line.split())
            except ValueError as error:
                report(malformed(label, number, f"expected 'class cx cy w h', not {line.strip()[:60]!r}{error}"))
                continue
            if not 0 <= class_number < len(self.names):
                message = f"its class {class_number} has no name: the source names {len(self.names)}, from 0"
                report(Fault(FaultKind.UNKNOWN_CLASS, label, number, message))
                continue
            yield Annotation(self.names[class_number], (x1 * width, y1 * height, x2 * width, y2 * height), number)


def _row(fields: list[str]) -> tuple[int, tuple[float, float, float, float]]:
    """Class number and x1 y1 x2 y2, relative to the image; the bounds of a polygon. ValueError if the row is malformed;
    the message completes that with the cause, if it is a common one."""
    try:
        number, numbers = float(fields[0]), [float(field) for field in fields[1:]]
    except ValueError:
        raise ValueError(": separate numbers by spaces" if "," in "".join(fields) else "") from None
    if not number.is_integer():
        raise ValueError(": a class is a whole number")
    if len(numbers) == 5:
        raise ValueError(": predictions have a sixth number, labels have none")
    if len(numbers) < 4 or len(numbers) % 2:
        raise ValueError("")
    if any(_MOST_RELATIVE < abs(value) < math.inf for value in numbers):
        raise ValueError(": numbers are relative to the image, 0 to 1, not in px")
    if len(numbers) == 4:
        cx, cy, w, h = numbers
        return int(number), (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    xs, ys = numbers[::2], numbers[1::2]
    return int(number), (min(xs), min(ys), max(xs), max(ys))

"""YOLO txt labels (Darknet): one file per image, one line per object, "class cx cy w h" relative to the image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gaussian_yolo_node.labels.annotations import AnnotatedImage, Annotation, DatasetError, Fault, FaultKind, Report
from gaussian_yolo_node.labels.images import Pick, image_files, image_size, read_list
from gaussian_yolo_node.labels.reading import read_lines

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
        seen = {path.stem for path in images}
        for image in images:
            if not self.pick.wants(image.stem):
                continue
            label = self._label_of(image)
            if label.is_file():
                yield self._read_labels(image, label, report)
            else:
                yield AnnotatedImage(image, label, [], unlabelled=True)
        if self.images is None:  # `_listed` has read the list
            return
        if self.labels is not None:
            for label in sorted(self.labels.glob("*.txt")):
                if label.stem not in seen and self.pick.wants(label.stem):
                    message = f"its image {self.images / label.stem}.* does not exist"
                    report(Fault(FaultKind.MISSING_IMAGE, label, None, message))
                    seen.add(label.stem)
        self.pick.report_absent(seen, report)

    def _listed(self, report: Report) -> list[Path]:
        list_file = self.pick.list_file
        if list_file is None:
            raise DatasetError("a source of format yolo needs 'images', a folder, or 'list', a file of image paths")
        images = []
        for number, entry in read_list(list_file):
            candidates = [Path(entry)] if Path(entry).is_absolute() else [root / entry for root in self.roots]
            path = next((path for path in candidates if path.is_file()), None)
            if path is not None:
                images.append(path)
            else:
                message = f"there is no image {' or '.join(map(str, candidates))}"
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
                kind, *numbers = line.split()
                class_number, (cx, cy, w, h) = int(kind), map(float, numbers)
            except ValueError:
                message = f"expected 'class cx cy w h', not {line.strip()[:60]!r}"
                report(Fault(FaultKind.MALFORMED_LABEL, label, number, message))
                continue
            if not 0 <= class_number < len(self.names):
                message = f"its class {class_number} has no name: the source names {len(self.names)}, from 0"
                report(Fault(FaultKind.UNKNOWN_CLASS, label, number, message))
                continue
            box = (cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height
            yield Annotation(self.names[class_number], box, number)

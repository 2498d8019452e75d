"""Pseudo labels: detections on unlabelled images (Xie et al., Noisy Student, CVPR 2020, section 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gaussian_yolo_node.labels.annotations import (
    AnnotatedImage,
    Annotation,
    DatasetError,
    Fault,
    FaultKind,
    LabelError,
    Report,
)
from gaussian_yolo_node.labels.images import ImageTree, Pick
from gaussian_yolo_node.labels.predictions import read_predictions


@dataclass(frozen=True)
class Detections:
    """A folder of images, and the output of `gaussian-yolo detect FOLDER --json`.

    Attributes:
        positive: minimum score of a detection that counts as ground truth.
        ignore: minimum score of an ignore region; a detection below it is background.
    """

    images: Path | None
    labels: Path
    pick: Pick
    positive: float
    ignore: float

    @property
    def categories(self) -> None:
        return None

    def read(self, report: Report) -> Iterator[AnnotatedImage]:
        """Every frame of the file; see `convert.Reader`."""
        try:
            frames = read_predictions(self.labels)
        except LabelError as error:
            raise DatasetError(str(error)) from error
        tree = None if self.images is None else ImageTree(self.images)
        seen: set[str] = set()
        for number, frame in enumerate(frames):
            # Frames of a video are numbers; the extracted images are named 000012.jpg and so on.
            name = f"{frame.frame:06d}" if isinstance(frame.frame, int) else frame.frame
            place = f"record {number} ({name})"
            if not self.pick.wants(Path(name).stem):
                continue
            seen.add(Path(name).stem)
            image = None if tree is None else tree.find(name)
            if tree is not None and image is None:
                message = f"there is no image {name} in {tree.folder}"
                report(Fault(FaultKind.MISSING_IMAGE, self.labels, place, message))
            annotations = []
            for index, (box, score) in enumerate(zip(frame.boxes, frame.scores, strict=True)):
                if score >= self.ignore:
                    x1, y1, x2, y2 = map(float, box)
                    truth = score >= self.positive
                    where = f"{place}, detection {index}"
                    annotations.append(Annotation(str(frame.classes[index]), (x1, y1, x2, y2), where, not truth))
            yield AnnotatedImage(image, self.labels, annotations)
        self.pick.report_absent(seen, report)

"""Check a dataset: find all faults, not only the first, and count its contents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.labels import DatasetError
from gaussian_yolo_node.labels.annotations import IGNORE, AnnotatedImage, Annotation, Fault, FaultKind, box_fault
from gaussian_yolo_node.labels.classes import BACKGROUND, UNKNOWN, is_region
from gaussian_yolo_node.labels.convert import class_of, unknown_class
from gaussian_yolo_node.labels.image_check import NEAR_BITS, ImageFacts, inspect_images, nearest_looks
from gaussian_yolo_node.labels.sources import Source

IGNORED = "ignored"
UNUSED = "not used"
# px by which a box may extend beyond the image, because labels are rounded.
_EDGE_TOLERANCE = 1.0
# Maximum number of unlabelled images that are listed by name.
_NAMED = 5
# Maximum difference between coordinates of duplicate boxes, px.
_SAME_BOX = 0.05


@dataclass(frozen=True, eq=False)
class SamplePicture:
    """An image and the boxes to draw on it, each with its use: a class, "ignored" or "not used"."""

    split: str
    image: Path
    boxes: list[tuple[Annotation, str]]


@dataclass(eq=False)
class SplitContent:
    """Contents of one split.

    Attributes:
        images: number of images, labelled or not; without images, the number of label records.
        unlabelled: number of images without labels.
        first_unlabelled: paths of the first of these.
        empty: number of labelled images without an object of any class.
        sizes: (width, height) in px of all objects, by category and use: a class, "ignored" or "not used".
    """

    name: str
    images: int = 0
    unlabelled: int = 0
    first_unlabelled: list[Path] = field(default_factory=list)
    empty: int = 0
    sizes: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CheckResult:
    """Result of a check: faults and warnings in the order of the files, contents by split, pictures to draw."""

    faults: list[Fault]
    splits: list[SplitContent]
    samples: list[SamplePicture]

    @property
    def errors(self) -> list[Fault]:
        return [fault for fault in self.faults if not fault.kind.is_warning]

    @property
    def warnings(self) -> list[Fault]:
        return [fault for fault in self.faults if fault.kind.is_warning]


def check_sources(
    splits: Mapping[str, Sequence[Source]],
    classes: Sequence[str] | None,
    *,
    tiny: float = 4.0,
    samples: int = 12,
    seed: int = 0,
    progress: Callable[[int], None] = lambda images: None,
) -> CheckResult:
    """Read all sources and decode all their images.

    Args:
        splits: sources by name of the split, for example "train" and "validation".
        classes: of the network; None makes every category a class.
        tiny: a box with a side shorter than this gives a warning, px.
        samples: number of pictures to draw per split.
        seed: of their random choice.
        progress: called after each image with the number of images checked.
    """
    return _Check(classes, tiny, samples, np.random.default_rng(seed), progress).run(splits)


@dataclass(eq=False)
class _Check:
    classes: Sequence[str] | None
    tiny: float
    samples: int
    rng: np.random.Generator
    progress: Callable[[int], None]
    faults: list[Fault] = field(default_factory=list)
    seen: int = 0
    first_with: dict[bytes, tuple[str, Path]] = field(default_factory=dict)
    looks: dict[str, list[tuple[Path, NDArray[np.float32]]]] = field(default_factory=dict)

    def run(self, splits: Mapping[str, Sequence[Source]]) -> CheckResult:
        contents, samples = [], []
        for split, sources in splits.items():
            content = SplitContent(split)
            contents.append(content)
            kept: list[SamplePicture] = []
            for source in sources:
                kept += self._source(source, content)
            picked = self.rng.permutation(len(kept))[: self.samples]
            samples += [kept[index] for index in sorted(picked)]
        self._compare_splits()
        return CheckResult(self.faults, contents, samples)

    def _add(self, kind: FaultKind, file: Path, place: int | str | None, message: str) -> None:
        self.faults.append(Fault(kind, file, place, message))

    def _source(self, source: Source, content: SplitContent) -> list[SamplePicture]:
        """Check one source; returns a random choice of its pictures to draw."""
        name_of = self._naming(source)
        kept: list[SamplePicture] = []
        drawable = 0
        for annotated, facts in inspect_images(self._read(source)):
            boxes = self._image(annotated, facts, name_of, content)
            if annotated.image is None or facts is None or facts.size is None or annotated.unlabelled:
                continue
            # Reservoir sampling: every picture has the same probability.
            drawable += 1
            place = len(kept) if drawable <= self.samples else int(self.rng.integers(drawable))
            if place < self.samples:
                kept[place : place + 1] = [SamplePicture(content.name, annotated.image, boxes)]
        return kept

    def _read(self, source: Source) -> Iterator[tuple[AnnotatedImage, Path | None]]:
        try:
            for annotated in source.reader.read(self.faults.append):
                yield annotated, annotated.image
        except DatasetError as error:
            self._add(FaultKind.UNUSABLE_SOURCE, Path(source.name), None, str(error))

    def _naming(self, source: Source) -> Callable[[Annotation], str | None]:
        """A function from an annotation to its use; None for an unknown category."""
        classes, class_map = self.classes, source.class_map(self.classes or ())
        names = {IGNORE: IGNORED, BACKGROUND: UNUSED, UNKNOWN: None}

        def use_of(annotation: Annotation) -> str | None:
            class_id = class_of(annotation, class_map)
            if classes is not None or class_id == UNKNOWN:
                return classes[class_id] if classes and class_id >= 0 else names[class_id]
            return IGNORED if annotation.ignored or is_region(annotation.name) else annotation.name

        return use_of

    def _image(
        self,
        annotated: AnnotatedImage,
        facts: ImageFacts | None,
        name_of: Callable[[Annotation], str | None],
        content: SplitContent,
    ) -> list[tuple[Annotation, str]]:
        self.seen += 1
        self.progress(self.seen)
        content.images += 1
        size = annotated.size
        if facts is not None and annotated.image is not None:
            self._picture(annotated, annotated.image, facts, content.name)
            size = facts.size or size
        if annotated.unlabelled:
            content.unlabelled += 1
            if annotated.image is not None and len(content.first_unlabelled) < _NAMED:
                content.first_unlabelled.append(annotated.image)
            return []
        drawn: list[tuple[Annotation, str]] = []
        sound: list[Annotation] = []
        for annotation in annotated.annotations:
            fault = box_fault(annotated.labels, annotation) or _outside(annotated.labels, annotation, size)
            if fault is not None:
                self.faults.append(fault)
            used_as = name_of(annotation)
            if used_as is None:
                self.faults.append(unknown_class(annotated, annotation))
            if fault is not None and fault.kind is not FaultKind.OUTSIDE_IMAGE:
                continue
            used_as = used_as or UNUSED
            x1, y1, x2, y2 = annotation.box
            content.sizes.setdefault((annotation.name, used_as), []).append((x2 - x1, y2 - y1))
            drawn.append((annotation, used_as))
            if used_as != UNUSED and not annotation.ignored and not is_region(annotation.name):
                sound.append(annotation)
        content.empty += not any(used_as not in (IGNORED, UNUSED) for _, used_as in drawn)
        self._small_and_same(annotated.labels, sound)
        return drawn

    def _picture(self, annotated: AnnotatedImage, path: Path, facts: ImageFacts, split: str) -> None:
        if facts.size is None:
            self._add(FaultKind.UNREADABLE_IMAGE, path, None, facts.error)
            return
        if annotated.size is not None and annotated.size != facts.size:
            (height, width), (labelled_height, labelled_width) = facts.size, annotated.size
            message = f"it is {width}x{height} px, and {annotated.labels.name} says {labelled_width}x{labelled_height}"
            self._add(FaultKind.WRONG_SIZE, path, None, message)
        if annotated.unlabelled:
            return  # training omits it, so it may also be in a source of pseudo labels
        first_split, first = self.first_with.setdefault(facts.digest, (split, path))
        if first_split != split:
            message = f"it is in {split} and, the same picture, as {first} in {first_split}: exclude it from one"
            self._add(FaultKind.LEAK, path, None, message)
        elif first is not path:
            self._add(FaultKind.DUPLICATE_IMAGE, path, None, f"it is the same picture as {first}")
        elif facts.look is not None:
            self.looks.setdefault(split, []).append((path, facts.look))

    def _small_and_same(self, labels: Path, annotations: list[Annotation]) -> None:
        places: dict[tuple[int, ...], int | str] = {}
        for annotation in annotations:
            x1, y1, x2, y2 = annotation.box
            if min(x2 - x1, y2 - y1) < self.tiny:
                message = f"the box of {annotation.name} is {x2 - x1:.1f}x{y2 - y1:.1f} px"
                self._add(FaultKind.TINY_BOX, labels, annotation.place, message)
            key = tuple(math.floor(value / _SAME_BOX + 0.5) for value in annotation.box)
            first = places.setdefault(key, annotation.place)
            if first != annotation.place:
                where = f"line {first}" if isinstance(first, int) else first
                message = f"the box of {annotation.name} is that of {where} again: remove one"
                self._add(FaultKind.DUPLICATE_BOX, labels, annotation.place, message)

    def _compare_splits(self) -> None:
        for earlier, name in combinations(self.looks, 2):
            looks, others = (np.stack([look for _, look in self.looks[split]]) for split in (name, earlier))
            for (path, _), other, bits in zip(self.looks[name], *nearest_looks(looks, others), strict=True):
                if bits <= NEAR_BITS:
                    near = self.looks[earlier][other][0]
                    message = f"it is in {name} and looks like {near} in {earlier} ({bits} of 256 bits differ)"
                    self._add(FaultKind.NEAR_DUPLICATE, path, None, message)


def _outside(labels: Path, annotation: Annotation, size: tuple[int, int] | None) -> Fault | None:
    if size is None:
        return None
    height, width = size
    x1, y1, x2, y2 = annotation.box
    reach = max(-x1, -y1, x2 - width, y2 - height)
    if reach <= _EDGE_TOLERANCE:
        return None
    entirely = x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0
    how = "lies outside" if entirely else f"reaches {reach:.1f} px out of"
    message = f"the box {annotation.shown_box} {how} the image of {width}x{height} px"
    return Fault(FaultKind.OUTSIDE_IMAGE, labels, annotation.place, message)

"""The `train` and `validation` sources of a config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaussian_yolo_node.documents import read_yaml
from gaussian_yolo_node.file_names import frame_name
from gaussian_yolo_node.labels.annotations import DatasetError, LabelledImage
from gaussian_yolo_node.labels.bdd import Bdd
from gaussian_yolo_node.labels.classes import BDD_CATEGORIES, BDD_CLASSES, KITTI_CLASSES, KITTI_TYPES, ClassMap
from gaussian_yolo_node.labels.coco import CocoJson
from gaussian_yolo_node.labels.convert import Reader, convert
from gaussian_yolo_node.labels.images import Pick, read_list
from gaussian_yolo_node.labels.kitti import KittiObjects, KittiTracking, kitti_label_files
from gaussian_yolo_node.labels.pseudo import DetectionLabels, SelectedLabels
from gaussian_yolo_node.labels.reading import is_number
from gaussian_yolo_node.labels.yolo import COCO_NAMES, YoloTxt
from gaussian_yolo_node.text_files import text_of


@dataclass(frozen=True)
class Source:
    """One checked source of a config.

    Attributes:
        rules: category -> class, "ignore" or "background"; they override the defaults of `ClassMap`.
        categories: all that the format defines, so that others are faults; None if it defines none.
        weight: expected number of times that an epoch shows each image.
        skip_missing: skip labels without an image; otherwise training reports an error.
        only_objects: skip images that show none of the classes.
    """

    name: str
    reader: Reader
    rules: Mapping[str, str]
    categories: tuple[str, ...] | None
    weight: float
    skip_missing: bool
    only_objects: bool

    def class_map(self, classes: Sequence[str]) -> ClassMap:
        """The map from categories to `classes`. DatasetError if the target of a rule does not exist."""
        try:
            return ClassMap(classes, self.categories, self.rules)
        except DatasetError as error:
            raise DatasetError(f"{self.name}: {error}") from error


def load_sources(root: Path, sources: Sequence[Mapping[str, object]], classes: Sequence[str]) -> list[LabelledImage]:
    """All labelled images of the `sources` of a config, in a fixed order.

    Args:
        root: folder that relative paths of the sources start from.
        sources: each with `format` and the keys of that format, see `FORMATS`. Keys of all formats: `name` for
            messages, `exclude: [stems or patterns]`, `include: [patterns]`, `weight: times per epoch`,
            `map: {category: class | ignore | background}`, `ignore: [categories]`, `missing: skip`, `empty: skip`.
        classes: class names, in the order of the network's outputs.

    Raises:
        DatasetError: a source or its data are invalid; the message names the source.
    """
    loaded: list[LabelledImage] = []
    for number, mapping in enumerate(sources, start=1):
        source = open_source(root, mapping, f"data source {number}")
        images = convert(source.reader, source.class_map(classes), source.weight, skip_missing=source.skip_missing)
        if not images:
            raise DatasetError(f"{source.name}: none of its images has labels; check its paths")
        if source.only_objects:
            images = [image for image in images if (image.class_ids >= 0).any()]
            if not images:
                raise DatasetError(f"{source.name}: none of its images shows one of {', '.join(classes)}")
        loaded += images
    return loaded


def missing_paths(root: Path, sources: Sequence[Mapping[str, object]]) -> list[Path]:
    """Missing files and folders that `sources` name, each once."""
    named = [root / str(source[key]) for source in sources for key in _PATHS if isinstance(source.get(key), str)]
    return [path for path in dict.fromkeys(named) if not path.exists()]


def open_source(root: Path, mapping: Mapping[str, object], name: str, *, labels_only: bool = False) -> Source:
    """Check one source of a config; its files are opened later, when it is read.

    Args:
        name: prefix of every error message.

    Raises:
        DatasetError: a key is unknown, missing, or has an invalid value.
    """
    kind, layout = check_keys(mapping, name, labels_only=labels_only)
    name = f"{mapping.get('name', name)} ({kind})"
    options = Options(root, mapping, name)
    for key, allowed in {"missing": ("error", "skip"), "empty": ("keep", "skip")}.items():
        if mapping.get(key, allowed[0]) not in allowed:
            raise DatasetError(f"{name}: {key!r} is {mapping[key]!r}: write {' or '.join(allowed)}")
    skip_missing = mapping.get("missing", "skip" if layout.by_image and "list" not in mapping else "error") == "skip"
    only_objects = mapping.get("empty", "skip" if kind == "coco_txt" else "keep") == "skip"
    weight = options.number("weight", 1.0)
    return Source(name, layout.make(options), options.rules(), layout.categories, weight, skip_missing, only_objects)


def check_keys(mapping: Mapping[str, object], name: str, *, labels_only: bool = False) -> tuple[str, Layout]:
    """Format and layout of a source of a config, see `open_source`. DatasetError for an unknown or missing key."""
    kind = mapping.get("format")
    if not isinstance(kind, str) or kind not in FORMATS:
        raise DatasetError(f"{name}: unknown data format {kind!r}: use one of {', '.join(FORMATS)}")
    layout = FORMATS[kind]
    known = ("format", *layout.required, *layout.optional, *_COMMON)
    unknown = [str(key) for key in mapping if key not in known]
    missing = [key for key in layout.required if key not in mapping and not (labels_only and key == "images")]
    faults = [f"unknown key {key!r}" for key in unknown] + [f"key {key!r} is missing" for key in missing]
    if faults:
        raise DatasetError(f"{mapping.get('name', name)} ({kind}): {', '.join(faults)}; known: {', '.join(known)}")
    return kind, layout


@dataclass(frozen=True)
class Options:
    """The values of one source, checked on access."""

    root: Path
    mapping: Mapping[str, object]
    name: str

    def path(self, key: str) -> Path:
        """A path, relative to the root. DatasetError for any other value."""
        value = self.mapping[key]
        if not isinstance(value, str) or not value:
            raise DatasetError(f"{self.name}: {key!r} must be a path, not {value!r}")
        return self.root / value

    def path_or_none(self, key: str) -> Path | None:
        return self.path(key) if key in self.mapping else None

    def images_and_labels(self, labels: str = "labels") -> tuple[Path | None, Path, Pick]:
        """The folder of images, if there is one, the labels, and the selected images."""
        return self.path_or_none("images"), self.path(labels), self.pick()

    def number(self, key: str, default: float) -> float:
        """A finite number >= 0. DatasetError for any other value."""
        value = self.mapping.get(key, default)
        if not is_number(value, 0):
            raise DatasetError(f"{self.name}: {key!r} must be a number from 0, not {value!r}")
        return float(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings. DatasetError for any other value, such as unquoted numbers."""
        value = self.mapping.get(key, ())
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise DatasetError(f'{self.name}: {key!r} must be a list of quoted names, ["000087"], not {value!r}')
        return tuple(value)

    def pick(self) -> Pick:
        """The images selected by `exclude`, `include` and `list`, without those that have labels in `unlabelled_in`."""
        exclude = self.texts("exclude")
        labelled = self.path_or_none("unlabelled_in")
        if labelled is not None:  # hand-labelled images are in another source
            exclude += tuple(frame_name(path.name) for path in kitti_label_files(labelled))
        file = self.path_or_none("list")
        listed = None if file is None else {frame_name(entry): number for number, entry in read_list(file)}
        return Pick(frozenset(exclude), listed, file, self.texts("include"))

    def scores(self, key: str) -> dict[str, float]:
        """A number in 0..1 by category. DatasetError for any other value."""
        value: Any = self.mapping.get(key, {})
        scores: dict[Any, Any] = value if isinstance(value, dict) else {"": None}
        if not all(isinstance(name, str) and is_number(score, 0, 1) for name, score in scores.items()):
            raise DatasetError(f"{self.name}: {key!r} must be scores of 0 to 1, such as {{Car: 0.4}}, not {value!r}")
        return {name: float(score) for name, score in scores.items()}

    def rules(self) -> dict[str, str]:
        """The rules from `map` and `ignore`."""
        rules = self.mapping.get("map", {})
        if not isinstance(rules, dict) or not all(isinstance(text, str) for pair in rules.items() for text in pair):
            raise DatasetError(f"{self.name}: 'map' must be a mapping such as {{person: pedestrian}}, not {rules!r}")
        # In the format "detections", `ignore` is a score.
        ignored = () if self.mapping.get("format") == "detections" else self.texts("ignore")
        both = sorted(set(rules) & set(ignored))
        if both:
            raise DatasetError(f"{self.name}: {both[0]!r} is in 'map' and in 'ignore'; decide")
        return {**rules, **dict.fromkeys(ignored, "ignore")}

    def names(self, key: str) -> tuple[str, ...]:
        """Class names: a list, a mapping from numbers, a file with one name per line, or a YAML file with `names`."""
        value: Any = self.mapping[key]
        if isinstance(value, str):
            value = self._read_names(self.root / value)
        if isinstance(value, dict) and sorted(value) == list(range(len(value))):
            value = [value[number] for number in range(len(value))]
        if not isinstance(value, list | tuple) or not value or not all(isinstance(item, str) for item in value):
            raise DatasetError(f"{self.name}: {key!r} must be a list of class names in the order of their numbers")
        return tuple(value)

    def _read_names(self, path: Path) -> Any:
        what = f"{self.name}: file of class names"
        if path.suffix not in (".yaml", ".yml"):
            return [line.strip() for line in text_of(path, f"{what} {path}", DatasetError).split("\n") if line.strip()]
        document = read_yaml(path, what, DatasetError)
        return document.get("names") if isinstance(document, dict) else None


@dataclass(frozen=True)
class Layout:
    """A format: its keys, how to open it, all its categories if they are fixed, whether its images (not its label
    records) define the dataset, and the usual classes of a network for such data."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    make: Callable[[Options], Reader]
    categories: tuple[str, ...] | None = None
    by_image: bool = False
    usual_classes: tuple[str, ...] | None = None


_KITTI = tuple(KITTI_CLASSES.values())
_PATHS = ("images", "labels", "folder", "list", "detections", "unlabelled_in")
_COMMON = ("name", "exclude", "include", "weight", "map", "ignore", "missing", "empty")


def _kitti(options: Options) -> Reader:
    positive = options.scores("positive")
    types = [*KITTI_TYPES, *options.rules()]
    for name in positive:
        if name not in types:
            raise DatasetError(f"{options.name}: 'positive' names {name!r}; types are {', '.join(types)}")
    return KittiObjects(*options.images_and_labels(), positive)


def _kitti_tracking(options: Options) -> Reader:
    return KittiTracking(*options.images_and_labels(), options.texts("sequences"))


def _coco_txt(options: Options) -> Reader:
    folder = options.path("folder")
    return YoloTxt(folder / "images", folder / "labels", COCO_NAMES, options.pick())


def _yolo(options: Options) -> Reader:
    list_file = options.path_or_none("list")
    images, labels = options.path_or_none("images"), options.path_or_none("labels")
    if images is None and list_file is None:
        raise DatasetError(f"{options.name}: it needs 'images', a folder, or 'list', a file of image paths")
    roots = (options.root,) if list_file is None else (list_file.parent, options.root)
    return YoloTxt(images, labels, options.names("names"), options.pick(), roots)


def _detections(options: Options) -> Reader:
    positive, ignore = options.number("positive", 0.6), options.number("ignore", 0.2)
    if ignore > positive:
        raise DatasetError(f"{options.name}: 'ignore', {ignore:g}, is above 'positive', {positive:g}: exchange them")
    return DetectionLabels(*options.images_and_labels("detections"), positive, ignore)


_BOTH = ("images", "labels")
_BDD = Layout(_BOTH, ("list",), lambda of: Bdd(*of.images_and_labels()), BDD_CATEGORIES, usual_classes=BDD_CLASSES)
FORMATS: Mapping[str, Layout] = {
    "kitti": Layout(_BOTH, ("list", "positive", "unlabelled_in"), _kitti, KITTI_TYPES, True, _KITTI),
    "kitti_tracking": Layout(_BOTH, ("sequences",), _kitti_tracking, KITTI_TYPES, True, _KITTI),
    "bdd": _BDD,
    "scalabel": _BDD,
    "coco": Layout(_BOTH, ("list",), lambda of: CocoJson(*of.images_and_labels())),
    "yolo": Layout(("names",), ("images", "labels", "list"), _yolo, by_image=True),
    "coco_txt": Layout(("folder",), ("list",), _coco_txt, by_image=True),
    "detections": Layout(("images", "detections"), ("list", "positive", "unlabelled_in"), _detections),
    "pseudo": Layout(("labels",), ("list",), lambda of: SelectedLabels(of.path("labels"), of.pick())),
}

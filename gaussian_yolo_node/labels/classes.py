"""Map the categories of a dataset to the classes of a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gaussian_yolo_node.labels.annotations import IGNORE, DatasetError

BACKGROUND = -2  # background for this network
UNKNOWN = -3

KITTI_TYPES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc", "DontCare")
# KITTI types that Gaussian YOLOv3 is trained on, and their class names.
KITTI_CLASSES = {"Car": "car", "Pedestrian": "pedestrian", "Cyclist": "cyclist"}
# The ten classes of BDD100K's paper, used by its detection labels of 2018.
BDD_CLASSES = ("bike", "bus", "car", "motor", "person", "rider", "traffic light", "traffic sign", "train", "truck")
# New names and additional categories of the later releases.
BDD_NEW_NAMES = (
    "bicycle", "motorcycle", "pedestrian", "other person", "other vehicle", "trailer", "caravan", "van",
)  # fmt: skip
BDD_CATEGORIES = (*BDD_CLASSES, *BDD_NEW_NAMES)

# Synonyms; the first one is the canonical name.
_SYNONYMS = (
    ("person", "pedestrian"),
    ("bike", "bicycle"),
    ("motor", "motorcycle", "motorbike"),
    ("train", "tram"),
)
# Groups of similar categories. A category that is not a class, but is similar to one, would be wrong as background. It
# becomes an ignore region, as in KITTI's evaluation.
_FAMILIES = (
    ("car", "van", "truck", "bus", "train", "trailer", "caravan", "other vehicle"),
    ("person", "rider", "cyclist", "bike", "motor", "person sitting", "other person"),
    ("traffic light",),
    ("traffic sign", "stop sign"),
)
# Categories that may contain any object.
_ALWAYS_IGNORED = ("dontcare", "misc")


class ClassMap:
    """Maps each category of a source to a class id, IGNORE, BACKGROUND or UNKNOWN.

    Args:
        classes: of the network, in the order of its outputs.
        known: all categories that the format of the dataset defines; None if it defines none.
        rules: category -> a class, "ignore" or "background"; they override the defaults.

    Raises:
        DatasetError: the target of a rule is not a class, "ignore" or "background".
    """

    def __init__(
        self, classes: Sequence[str], known: Iterable[str] | None = None, rules: Mapping[str, str] | None = None
    ) -> None:
        self.classes = tuple(classes)
        targets = {name: index for index, name in enumerate(classes)}
        targets |= {"ignore": IGNORE, "background": BACKGROUND}
        self._ids: dict[str, int] = {}
        for category, target in (rules or {}).items():
            if target not in targets:
                raise DatasetError(
                    f"'map' turns {category!r} into {target!r}, which is no class of the network: "
                    f"give one of {', '.join(classes)}, or ignore, or background"
                )
            self._ids[_plain(category)] = targets[target]
        self._known = None if known is None else {_canonical(name) for name in known}

    def __call__(self, category: str) -> int:
        """The class id, or IGNORE, BACKGROUND or UNKNOWN."""
        if category not in self._ids:
            self._ids[category] = self._ids.get(_plain(category), self._default(category))
        return self._ids[category]

    def _default(self, category: str) -> int:
        for form in (_plain, _canonical):
            forms = [form(name) for name in self.classes]
            if form(category) in forms:
                return forms.index(form(category))
        name, canonical = _canonical(category), set(map(_canonical, self.classes))
        if self._known is not None and name not in self._known:
            return UNKNOWN
        akin = any(name in family and not canonical.isdisjoint(family) for family in _FAMILIES)
        return IGNORE if akin or name in _ALWAYS_IGNORED else BACKGROUND


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def _canonical(name: str) -> str:
    plain = _plain(name)
    return next((group[0] for group in _SYNONYMS if plain in group), plain)


def common_names(truths: Iterable[str], predicted: Iterable[str]) -> dict[str, str]:
    """One name for each class that data set and detector name differently ("person", "Pedestrian"), as `ClassMap` gives
    a detector its classes: the name in both, else the data set's. Classes that a detector tells apart stay apart.
    """
    groups: dict[str, tuple[set[str], set[str]]] = {}
    for place, names in enumerate((truths, predicted)):
        for name in names:
            groups.setdefault(_canonical(name), (set(), set()))[place].add(name)
    common: dict[str, str] = {}
    for of_truths, of_predicted in groups.values():
        both = sorted(of_truths & of_predicted)
        if len(of_predicted) == 1 and of_truths:
            common |= dict.fromkeys(of_truths | of_predicted, (both or sorted(of_truths))[0])
        elif of_predicted:
            by_plain = {_plain(name): name for name in sorted(of_predicted)}
            first = sorted(of_predicted)[0]
            common |= {name: by_plain.get(_plain(name), first) for name in of_truths - of_predicted}
    return common


def is_region(category: str) -> bool:
    """Whether a category is always an ignore region: KITTI's DontCare and Misc."""
    return _plain(category) in _ALWAYS_IGNORED

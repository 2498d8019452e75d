"""From the categories of a data set to the classes of a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gaussian_yolo_node.labels.annotations import IGNORE, DatasetError

BACKGROUND = -2  # not labelled, as far as this network is concerned
UNKNOWN = -3

KITTI_TYPES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc", "DontCare")
# Those that Gaussian YOLOv3 is trained on, and their names there.
KITTI_CLASSES = {"Car": "car", "Pedestrian": "pedestrian", "Cyclist": "cyclist"}
# The ten of BDD100K's paper, under which its detection labels of 2018 go.
BDD_CLASSES = ("bike", "bus", "car", "motor", "person", "rider", "traffic light", "traffic sign", "train", "truck")
# What later releases call them, and what those have besides.
BDD_NEW_NAMES = (
    "bicycle", "motorcycle", "pedestrian", "other person", "other vehicle", "trailer", "caravan", "van",
)  # fmt: skip
BDD_CATEGORIES = (*BDD_CLASSES, *BDD_NEW_NAMES)

# Names of one thing; the first stands for all.
_SYNONYMS = (
    ("person", "pedestrian"),
    ("bike", "bicycle"),
    ("motor", "motorcycle", "motorbike"),
    ("train", "tram"),
)
# What is easily taken for one another. A category that is not trained but has a relative that is would teach the wrong
# thing as background: it becomes an ignore region, as in the evaluation of KITTI.
_FAMILIES = (
    ("car", "van", "truck", "bus", "train", "trailer", "caravan", "other vehicle"),
    ("person", "rider", "cyclist", "bike", "motor", "person sitting", "other person"),
    ("traffic light",),
    ("traffic sign", "stop sign"),
)
# Could be anything.
_ALWAYS_IGNORED = ("dontcare", "misc")


class ClassMap:
    """What becomes of each category of a source.

    Args:
        classes: of the network, in the order of its outputs.
        known: all categories that the data set's format defines; None where it defines none.
        rules: category -> a class, "ignore" or "background"; before the defaults.

    Raises:
        DatasetError: a rule leads nowhere.
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
        try:
            return self._ids[category]
        except KeyError:
            self._ids[category] = self._ids.get(_plain(category), self._default(category))
            return self._ids[category]

    def _default(self, category: str) -> int:
        for index, name in enumerate(self.classes):
            if _plain(name) == _plain(category):
                return index
        name = _canonical(category)
        canonical = [_canonical(other) for other in self.classes]
        if name in canonical:
            return canonical.index(name)
        if self._known is not None and name not in self._known:
            return UNKNOWN
        if name in _ALWAYS_IGNORED or any(
            name in family and not set(canonical).isdisjoint(family) for family in _FAMILIES
        ):
            return IGNORE
        return BACKGROUND


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def _canonical(name: str) -> str:
    plain = _plain(name)
    return next((group[0] for group in _SYNONYMS if plain in group), plain)


def is_region(category: str) -> bool:
    """Whether a category names a region to ignore rather than objects: KITTI's DontCare and Misc."""
    return _plain(category) in _ALWAYS_IGNORED

"""The text of Darknet's `.cfg` files: sections of options, each with its line for messages.

Darknet ignores unknown sections and options. Here they are errors, because a network built without them would run with
wrong results.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from gaussian_yolo_node.errors import GaussianYoloError

ACTIVATIONS = ("linear", "leaky", "relu", "logistic")

Number = TypeVar("Number", int, float)


class CfgError(GaussianYoloError):
    """A `.cfg` cannot be read, has an unknown section or option, or contradicts itself."""


@dataclass(frozen=True)
class Section:
    """A section of the file.

    Attributes:
        source: the file, for messages.
        kind: the name in brackets, with aliases resolved.
        line: from 1.
        options: values by name, each with its line.
    """

    source: str
    kind: str
    line: int
    options: dict[str, tuple[str, int]]

    def error(self, complaint: str, option: str = "") -> CfgError:
        """`complaint` with the line of the option, or of the section if the option is absent."""
        line = self.options[option][1] if option in self.options else self.line
        return CfgError(f"{self.source}, line {line}: [{self.kind}] {complaint}")

    def text(self, name: str, default: str | None = None) -> str:
        if name in self.options:
            return self.options[name][0]
        if default is None:
            raise self.error(f"lacks {name}; add {name}=...")
        return default

    def integer(self, name: str, default: int | None = None, *, least: int) -> int:
        value = self._number(name, self.text(name, None if default is None else str(default)), int, "a whole number")
        if value < least:
            raise self.error(f"has {name}={value}, which must be at least {least}", name)
        return value

    def number(self, name: str, default: float) -> float:
        return self._number(name, self.text(name, str(default)), float, "a number")

    def integers(self, name: str, default: str | None = None) -> list[int]:
        return [self._number(name, part, int, "a whole number") for part in self.text(name, default).split(",")]

    def numbers(self, name: str) -> list[float]:
        return [self._number(name, part, float, "a number") for part in self.text(name).split(",")]

    def activation(self, default: str) -> str:
        name = self.text("activation", default)
        if name not in ACTIVATIONS:
            raise self.error(
                f"has activation={name}, which is not supported; known are {', '.join(ACTIVATIONS)}", "activation"
            )
        return name

    def _number(self, name: str, text: str, read: Callable[[str], Number], wanted: str) -> Number:
        try:
            value = read(text)
            if not math.isfinite(value) or (read is int and abs(value) >= 1 << 31):  # Darknet's numbers have 32 bits
                raise ValueError
        except (ValueError, OverflowError):
            raise self.error(f"has {name}={self.text(name, text)}, where {text!r} is not {wanted}", name) from None
        return value


def split_sections(text: str, source: str) -> list[Section]:
    """The sections of a cfg, in order.

    Raises:
        CfgError: a section or option is unknown, duplicated or malformed; the message names the line.
    """
    sections: list[Section] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = "".join(raw.split())  # Darknet removes all white space
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            kind = line[1:-1] if line.endswith("]") else line[1:]
            kind = _ALIASES.get(kind, kind)
            if kind not in _OPTIONS:
                known = ", ".join(f"[{name}]" for name in _OPTIONS)
                raise CfgError(f"{source}, line {number}: unknown section {line}; supported are {known}")
            sections.append(Section(source, kind, number, {}))
            continue
        name, sign, value = line.partition("=")
        if not sections or not sign:
            shown = raw.strip()[:60].encode("ascii", "backslashreplace").decode()
            raise CfgError(f"{source}, line {number}: '{shown}' is neither [section] nor option=value inside of one")
        section = sections[-1]
        if name not in _OPTIONS[section.kind]:
            known = ", ".join(_OPTIONS[section.kind])
            raise CfgError(f"{source}, line {number}: unknown option {name} of [{section.kind}]; supported are {known}")
        if name in section.options:
            raise CfgError(
                f"{source}, line {number}: {name} is already given in line {section.options[name][1]}; leave one"
            )
        section.options[name] = (value, number)
    return sections


_ALIASES = {"network": "net", "conv": "convolutional"}
# Options of Darknet's own training are accepted but not used.
_ANY = "stopbackward onlyforward learning_rate"
_YOLO = "classes num mask anchors max jitter ignore_thresh truth_thresh random"
_OPTIONS = {
    kind: names.split()
    for kind, names in {
        "net": "width height channels batch subdivisions time_steps notruth random momentum decay learning_rate "
        "burn_in max_batches max_epochs policy steps scales step scale gamma power adam B1 B2 eps inputs max_crop "
        "min_crop max_ratio min_ratio center clip angle aspect saturation exposure hue",
        "convolutional": f"filters size stride pad padding groups activation batch_normalize {_ANY}",
        "shortcut": f"from activation {_ANY}",
        "route": f"layers {_ANY}",
        "upsample": f"stride scale {_ANY}",
        "Gaussian_yolo": f"{_YOLO} {_ANY}",
        "yolo": f"{_YOLO} {_ANY}",
    }.items()
}

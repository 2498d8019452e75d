"""The text of Darknet's `.cfg` files: sections of options, each with its line for messages.

Darknet ignores unknown sections and options. Here they are errors, because a network built without them would run with
wrong results. Options that only its training reads are accepted, also those of AlexeyAB's fork.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from gaussian_yolo_node.errors import GaussianYoloError

ACTIVATIONS = ("linear", "leaky", "relu", "logistic")

_log = logging.getLogger(__name__)

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
        return [self._number(name, part, int, "a whole number") for part in self._parts(name, default)]

    def numbers(self, name: str) -> list[float]:
        return [self._number(name, part, float, "a number") for part in self._parts(name)]

    def _parts(self, name: str, default: str | None = None) -> list[str]:
        return self.text(name, default).removesuffix(",").split(",")

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
    unused: list[str] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = "".join(_COMMENT.split(raw)[0].split())  # Darknet removes all white space
        if not line:
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
        if name in _TRAINING_OF_FORK.get(section.kind, ()):
            unused.append(f"{name} (line {number})")
            continue
        if name in _WITHOUT_EFFECT and section.kind in _WITHOUT_EFFECT[name][0]:
            _check_without_effect(section, name, value, number)
            continue
        if name not in _OPTIONS[section.kind]:
            known = ", ".join(_OPTIONS[section.kind])
            raise CfgError(f"{source}, line {number}: unknown option {name} of [{section.kind}]; supported are {known}")
        if name in section.options:
            raise CfgError(
                f"{source}, line {number}: {name} is already given in line {section.options[name][1]}; leave one"
            )
        section.options[name] = (value, number)
    if unused:
        _log.warning("%s: not used, because only training reads them: %s", source, ", ".join(unused))
    return sections


def _check_without_effect(section: Section, name: str, value: str, line: int) -> None:
    """Raise CfgError if an option of AlexeyAB's fork changes what the network computes."""
    wanted = _WITHOUT_EFFECT[name][1]
    try:
        same = value == wanted or float(value) == float(wanted)
    except ValueError:
        same = False
    if not same:
        raise CfgError(
            f"{section.source}, line {line}: [{section.kind}] has {name}={value}, which changes the detections and is "
            f"not supported; {name}={wanted} would be"
        )


_ALIASES = {"network": "net", "conv": "convolutional"}
_COMMENT = re.compile("[#;]")
# Options of Darknet's own training are accepted but not used.
_ANY = "stopbackward onlyforward learning_rate"
_YOLO = "classes num mask anchors max jitter ignore_thresh truth_thresh random"
_OPTIONS = {
    kind: names.split()
    for kind, names in {
        "net": "width height channels batch subdivisions time_steps notruth random momentum decay learning_rate "
        "burn_in max_batches max_epochs policy steps scales step scale gamma power adam B1 B2 eps inputs max_crop "
        "min_crop max_ratio min_ratio center clip angle aspect saturation exposure hue letter_box",
        "convolutional": f"filters size stride pad padding groups activation batch_normalize {_ANY}",
        "shortcut": f"from activation {_ANY}",
        "route": f"layers {_ANY}",
        "upsample": f"stride scale {_ANY}",
        "Gaussian_yolo": f"{_YOLO} {_ANY}",
        "yolo": f"{_YOLO} {_ANY}",
    }.items()
}
# The same of AlexeyAB's fork, whose use is worth a remark.
_YOLO_TRAINING_OF_FORK = (
    "max_delta counters_per_class label_smooth_eps focal_loss iou_loss iou_thresh iou_thresh_kind iou_normalizer "
    "cls_normalizer obj_normalizer delta_normalizer uc_normalizer objectness_smooth total map show_details "
    "beta_nms resize"
)
_TRAINING_OF_FORK = {
    kind: names.split()
    for kind, names in {
        "net": "mosaic mosaic_bound mixup cutmix blur gaussian_noise flip label_smooth_eps ema_alpha "
        "resize_step dynamic_minibatch optimized_memory workspace_size_limit_MB try_fix_nan loss_scale adversarial_lr "
        "attention unsupervised contrastive contrastive_jit_flip contrastive_color sgdr_cycle sgdr_mult "
        "batches_per_cycle batches_cycle_mult num_sigmas_reject_badlabels equidistant_point "
        "badlabels_rejection_percentage weights_reject_freq show_receptive_field "
        "use_cuda_graph seq_scales sequential_subdivisions augment_speed "
        "init_sequential_subdivisions mini_batch multi_scale",
        "convolutional": "burnin_update train_only_bn assisted_excitation grad_centr",
        "Gaussian_yolo": _YOLO_TRAINING_OF_FORK,
        "yolo": _YOLO_TRAINING_OF_FORK,
    }.items()
}
_HEADS = ("Gaussian_yolo", "yolo")
# Options of AlexeyAB's fork that change what is computed: their sections, and the value that changes nothing.
_WITHOUT_EFFECT: dict[str, tuple[tuple[str, ...], str]] = {
    "scale_x_y": (_HEADS, "1"),
    "new_coords": (_HEADS, "0"),
    "nms_kind": (_HEADS, "greedynms"),
    "yolo_point": (_HEADS, "center"),
    "dilation": (("convolutional",), "1"),
    "antialiasing": (("convolutional",), "0"),
    "binary": (("convolutional",), "0"),
    "xnor": (("convolutional",), "0"),
    "deform": (("convolutional",), "0"),
    "groups": (("route",), "1"),
    "group_id": (("route",), "0"),
    "weights_type": (("shortcut",), "none"),
}

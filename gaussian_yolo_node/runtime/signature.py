"""What a model file takes and gives, checked: the shapes of its input and its raw heads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gaussian_yolo_node.documents import DocumentError, parse_json
from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.runtime.base import CARD_KEY, MOST_CANVAS_PIXELS, RuntimeOptions, show_size


@dataclass(frozen=True)
class Signature:
    """Checked inputs and outputs of a model that this package exported.

    Attributes:
        input_size: (height, width) in px.
        strides: of the heads, coarsest first.
        head_names: output names, in the order of `strides`.
        head_shapes: (channels, rows, columns) of each head.
        free_size: whether height and width are free in the file.
    """

    input_size: tuple[int, int]
    strides: tuple[int, ...]
    head_names: tuple[str, ...]
    head_shapes: tuple[tuple[int, int, int], ...]
    free_size: bool


Shape = Sequence[int | None]
_HEAD_NAME = re.compile(r"head_(\d+)")


def choose_input_size(
    path: Path, shape: Shape, outputs: Iterable[str], metadata: Mapping[str, str], options: RuntimeOptions
) -> tuple[int, int] | None:
    """(height, width) in px to load a model with; None if its size is not free, or is unknown.

    Args:
        path: the model file, for messages.
        shape: of the input; None for a free dimension.
        outputs: output names.
        metadata: of the model; its card gives the size if the options have none.

    Raises:
        ModelError: the size is fixed and a different one is requested, or the requested size is not a multiple of the
            coarsest stride.
    """
    if _is_image(shape) and options.input_size not in (None, tuple(shape[1:3])):
        raise ModelError(
            f"{path} takes a canvas of {show_size(shape[1:3])} px only, not of {show_size(options.input_size or ())}; "
            "leave input_size out, or export it again, which leaves the size free"
        )
    if not _is_image([1 if size is None else size for size in shape]) or None not in shape[1:3] or shape[0] != 1:
        return None
    if options.input_size is not None:
        coarsest = max((int(match[1]) for name in outputs if (match := _HEAD_NAME.fullmatch(name))), default=1)
        if any(side % coarsest for side in options.input_size):
            raise ModelError(
                f"{path} takes a height and width that are multiples of {coarsest} px, not "
                f"{show_size(options.input_size)}"
            )
        return options.input_size
    # `read_card` reports errors in a card.
    with suppress(DocumentError, KeyError, TypeError, ValueError, OverflowError):
        height, width = map(int, parse_json(metadata[CARD_KEY], path)["input_size"])
        return (height, width) if height * width <= MOST_CANVAS_PIXELS else None
    return None


def read_signature(
    path: Path,
    input_type: str,
    input_shapes: Sequence[Shape],
    outputs: Mapping[str, Shape],
    input_size: tuple[int, int] | None = None,
) -> Signature:
    """Check a model's inputs and outputs.

    Args:
        path: the model file, for messages.
        input_type: element type of the first input; must be "uint8".
        input_shapes: shape of each input; None for a free dimension.
        outputs: shape of each output by name.
        input_size: (height, width) in px chosen for a free size.

    Raises:
        ModelError: the input is not uint8 [1, H, W, 3], or the outputs are not heads named after their strides.
    """
    if input_size is not None:
        input_shapes = [_fill(shape, (None, *input_size, None)) for shape in input_shapes]
        outputs = {name: _fill(shape, _head_shape(name, input_size)) for name, shape in outputs.items()}
    if len(input_shapes) != 1 or input_type != "uint8" or not _is_image(input_shapes[0]):
        shown = ", ".join(f"{input_type} {_show(shape)}" for shape in input_shapes) or "nothing"
        raise ModelError(
            f"{path} takes {shown} where uint8 [1, height, width, 3] is needed; export it with `gaussian-yolo export` "
            "and batch 1"
        )
    heads: dict[int, tuple[str, tuple[int, int, int]]] = {}
    for name, shape in outputs.items():
        match = _HEAD_NAME.fullmatch(name)
        fixed = tuple(size for size in shape if size is not None)
        if match is None or len(shape) != 4 or len(fixed) != 4 or fixed[0] != 1:
            raise ModelError(
                f"{path} has an output {name!r} of shape {_show(shape)} where raw heads named head_STRIDE "
                "of shape [1, channels, rows, columns] are needed; export it with `gaussian-yolo export` and batch 1"
            )
        heads[int(match.group(1))] = (name, (fixed[1], fixed[2], fixed[3]))
    if not heads:
        raise ModelError(f"{path} has no outputs; export it with `gaussian-yolo export`")
    strides = tuple(sorted(heads, reverse=True))
    height, width = input_shapes[0][1], input_shapes[0][2]
    assert height is not None and width is not None  # checked by _is_image
    return Signature(
        input_size=(height, width),
        strides=strides,
        head_names=tuple(heads[stride][0] for stride in strides),
        head_shapes=tuple(heads[stride][1] for stride in strides),
        free_size=input_size is not None,
    )


def _fill(shape: Shape, sizes: Shape) -> Shape:
    """The shape, with its free dimensions taken from `sizes`."""
    if len(shape) != len(sizes):
        return shape
    return [given if own is None else own for own, given in zip(shape, sizes, strict=True)]


def _head_shape(name: str, input_size: tuple[int, int]) -> Shape:
    match = _HEAD_NAME.fullmatch(name)
    return [] if match is None else [None, None, *(side // int(match.group(1)) for side in input_size)]


def _is_image(shape: Shape) -> bool:
    return len(shape) == 4 and shape[0] == 1 and shape[3] == 3 and None not in shape


def _show(shape: Iterable[int | None]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"

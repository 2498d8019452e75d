"""Canvas sizes in command options."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from gaussian_yolo_node.errors import SettingError

InputSize = Annotated[
    str | None,
    typer.Option(
        "--input-size",
        metavar="HxW",
        help="Canvas height and width in px, of a model that leaves them free.",
        show_default="the model's",
    ),
]


def parse_size(text: str, option: str = "--size") -> tuple[int, int]:
    """Height and width from "HxW", px.

    Raises:
        SettingError: the text has another form.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise SettingError(f"{option} is {text!r}; give HEIGHTxWIDTH in px, 256x832 for instance")
    return int(match[1]), int(match[2])


def parse_input_size(text: str | None) -> tuple[int, int] | None:
    """The value of `InputSize`. Raises SettingError for any other form."""
    return None if text is None else parse_size(text, "--input-size")

"""Canvas sizes in command options."""

from __future__ import annotations

from typing import Annotated

import typer

InputSize = Annotated[
    str | None,
    typer.Option(
        "--input-size",
        metavar="HxW",
        help="Canvas height and width in px, of a model that leaves them free.",
        show_default="the model's",
    ),
]


def parse_input_size(text: str | None) -> tuple[int, int] | None:
    """The value of `InputSize`. Raises SettingError for any other form."""
    from gaussian_yolo_node.runtime.base import parse_size

    return None if text is None else parse_size(text, "--input-size")

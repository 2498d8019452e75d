"""Building an engine again as its sidecar says, without trusting the sidecar.

A file beside an engine may come from anywhere. Of the command in it, only known options with plain values are taken;
the program, its subcommand and the engine that is written are ours.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.processes import run_child

PROGRAM = ("gaussian-yolo", "build-engine")
_NUMBER = r"[0-9]{1,6}"
_FRACTION = r"[0-9.]{1,20}(?:e-[0-9]{1,2})?"
# The options that may be repeated, and what their values look like; None for a switch.
_OPTIONS: dict[str, str | None] = {
    "--precision": "fp32|fp16|int8",
    "--dla": _NUMBER,
    "--compute-capability": r"[0-9.,]{1,99}",
    "--max-batch": _NUMBER,
    "--score-threshold": _FRACTION,
    "--iou-threshold": _FRACTION,
    "--variance-vote": None,
    "--no-variance-vote": None,
    "--criterion": "gaussian|confidence",
    "--max-detections": _NUMBER,
    "--input-size": r"[0-9]{1,5}x[0-9]{1,5}",
}


def rebuild(command: str, engine: Path) -> None:
    """Run our builder for an engine; its output goes to the terminal.

    Args:
        command: as `build-engine` wrote it into the sidecar.
        engine: to write.

    Raises:
        ModelError: the command asks for more than may be repeated unseen, or the build fails.
    """
    # A process of its own gives back all the GPU memory that a build takes.
    words = [sys.executable, "-m", "gaussian_yolo_node.commands", PROGRAM[1], *checked_arguments(command, engine)]
    if run_child(words):
        raise ModelError(f"{engine} could not be built; run `{command}` to see why")


def checked_arguments(command: str, engine: Path) -> list[str]:
    """The arguments of `build-engine` in a command, with the engine to write.

    Raises:
        ModelError: an option or value is not among those that may be repeated.
    """

    def refuse(what: str) -> ModelError:
        return ModelError(f"{engine} is not built again by itself: {what}; build it with `gaussian-yolo build-engine`")

    try:
        words = shlex.split(command)
    except ValueError:
        raise refuse("the command beside it cannot be read") from None
    if tuple(words[:2]) != PROGRAM or len(words) < 3:
        raise refuse("the command beside it is not that of its builder")
    model, rest = words[2], iter(words[3:])
    if model.startswith("-"):
        raise refuse("the command beside it names no model")
    arguments = []
    for word in rest:
        if word in ("-o", "--output", "--save-onnx"):  # the engine is given; what trtexec gets is not needed
            next(rest, None)
        elif word == "--calibration":
            frames = next(rest, "")
            if not frames or not Path(frames).exists():  # no stream, and no pipeline, which may start anything
                raise refuse(f"its frames for calibration, {frames!r}, are not on this machine")
            arguments += [word, frames]
        elif word not in _OPTIONS:
            raise refuse(f"the command beside it has {word}")
        elif (pattern := _OPTIONS[word]) is None:
            arguments.append(word)
        else:
            value = next(rest, "")
            if re.fullmatch(pattern, value) is None:
                raise refuse(f"the command beside it has {word} {value!r}")
            arguments += [word, value]
    return [model, "-o", str(engine), *arguments]

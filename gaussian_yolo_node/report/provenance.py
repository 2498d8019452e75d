"""What was measured and how: the sections that make the report's figures reproducible."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gaussian_yolo_node.files import file_hash
from gaussian_yolo_node.replay.run_folder import ReplayRun
from gaussian_yolo_node.report.page import (
    Content,
    Html,
    Section,
    bullets,
    count,
    join,
    number,
    pairs,
    paragraphs,
    table,
    tag,
)


def model_section(model: Mapping[str, Any], model_hash: str) -> Section:
    """The model's card.

    Args:
        model: the card as an object; empty if it is not known.
        model_hash: hash of the model file.
    """
    if not model:
        content = paragraphs(["The model's card is not known: the file was not on the machine that recorded this run."])
        return Section("model", "Model", join(content, pairs([("hash", model_hash or "not known")])))
    named = [
        ("name", _text(model.get("name"))),
        ("file's SHA-256", f"{model_hash}… (first {len(model_hash)} digits)" if model_hash else "not known"),
        ("classes", _list(model.get("classes"))),
        ("input, height × width", _list(model.get("input_size"), " × ") + " px"),
        ("score threshold of the card", _text(model.get("score_threshold"))),
        ("IoU of non-maximum suppression", _text(model.get("iou_threshold"))),
        ("variance vote", _text(model.get("variance_vote"))),
        ("calibration of the sigmas", _calibration(model.get("sigma_calibration"))),
    ]
    rest = {key: model[key] for key in ("training", "deployment") if model.get(key)}
    details = [
        tag("details", tag("summary", f"{key.capitalize()}, as the card tells it"), tag("pre", _json(value)))
        for key, value in rest.items()
    ]
    return Section("model", "Model", join(pairs(named), *details))


def method_section(run: ReplayRun | None, notes: Sequence[str], commands: Sequence[str]) -> Section:
    """How the figures were measured.

    Args:
        run: the recorded run; None for predictions from a file.
        notes: notes for the reader, one sentence each.
        commands: commands that repeat the measurement.
    """
    parts: list[Html] = []
    if run is not None:
        parts.append(pairs(_run_facts(run)))
    if notes:
        parts += [tag("h3", "Notes"), bullets(notes)]
    if commands:
        parts += [tag("h3", "To repeat"), tag("pre", "\n".join(commands))]
    if run is not None and run.diagnostics:
        rows = sorted(run.diagnostics.items())
        told = table(("key", "value"), rows, text_columns=2)
        parts.append(tag("details", tag("summary", "The node's last diagnostics message"), told))
    return Section("method", "How it was measured", join(*parts))


def limits_section(sentences: Iterable[Content]) -> Section:
    """What the figures do not cover."""
    return Section("limits", "What this report does not say", bullets(sentences))


def signature_section(files: Mapping[str, str]) -> Section:
    """The hashes of the input files.

    Args:
        files: SHA-256 by file name.
    """
    intro = (
        "Who signs, signs for these files: their SHA-256 tells whether a copy is the same. The figures above follow "
        "from them alone."
    )
    lines = tag("div", *(tag("div", name) for name in ("Name", "Date", "Signature")), class_="signature")
    hashes = [(tag("code", name), tag("code", digest)) for name, digest in files.items()]
    listed = table(("file", "SHA-256"), hashes, text_columns=2) if files else join()
    return Section("signature", "Signature", join(tag("p", intro), listed, lines))


def file_hashes(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each existing file, by file name."""
    return {path.name: file_hash(path) for path in paths if path.is_file()}


def shell(words: Sequence[str]) -> str:
    """A command line, quoted for the shell."""
    return shlex.join(words)


def _run_facts(run: ReplayRun) -> list[tuple[str, Content]]:
    sizes = sorted({(frame.width, frame.height) for frame in run.frames if frame.width})
    return [
        ("bag", run.bag),
        ("image topic", run.image_topic),
        ("frames", f"{count(len(run.frames))}, " + (", ".join(f"{w} × {h} px" for w, h in sizes) or "size not told")),
        ("mode", _mode(run)),
        ("score threshold", "the node does not tell" if run.score_threshold is None else f"{run.score_threshold:g}"),
        ("criterion", run.criterion or "the node does not tell"),
        ("runtime", run.runtime or "the node does not tell"),
        ("machine", run.machine),
        ("started", run.started),
        ("took", f"{number(run.elapsed_s, 1)} s"),
    ]


def _mode(run: ReplayRun) -> str:
    if run.mode == "lockstep":
        return "lockstep: the next frame after the answer"
    return f"real time at {run.rate_hz:g} Hz" if run.rate_hz else f"real time, {run.rate_factor:g} times the bag's pace"


def _calibration(value: Any) -> str:
    if not isinstance(value, dict):
        return "none"
    shown = [f"{name}: {_list(value[name])}" for name in ("scale", "offset") if name in value]
    return "; ".join(shown) + " (centre x, centre y, width, height)"


def _list(value: Any, between: str = ", ") -> str:
    values = value if isinstance(value, list | tuple) else [value]
    return between.join(f"{each:.4g}" if isinstance(each, float) else _text(each) for each in values)


def _text(value: Any) -> str:
    if value is None:
        return "not told"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)

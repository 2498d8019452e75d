"""Stylise a folder of frames and copy its labels: a new training set from an existing one.

    OUTPUT/image_2/..        the frames, with their original names and sizes
    OUTPUT/label_2/..        the label files of those frames, byte for byte
    OUTPUT/NAME.json         labels in a single file, byte for byte
    OUTPUT/stylize.json      the settings
    OUTPUT/stylize.jsonl     one line per finished frame: its input's hash, its style, its losses

A frame is finished once its line is written. All files are written atomically, so a run can stop at any time and the
next one continues.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gaussian_yolo_node.documents import DocumentError, parse_json, read_json
from gaussian_yolo_node.files import file_hash, write_whole
from gaussian_yolo_node.lab.style_transfer.frames import IMAGE_FOLDERS, Frames, choose_style, frame_seed
from gaussian_yolo_node.lab.style_transfer.optimise import Loss
from gaussian_yolo_node.lab.style_transfer.pictures import FolderError, encode
from gaussian_yolo_node.lab.style_transfer.transfer import Image, PictureError, StyleTransfer, Stylised
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.images import read_image
from gaussian_yolo_node.text_files import decode_text

FORMAT = 1
MANIFEST, FINISHED = "stylize.json", "stylize.jsonl"
IMAGES, LABELS = "image_2", "label_2"
NORMALISING_FRAMES, NORMALISING_STYLES = 4, 8


@dataclass
class FolderSummary:
    """Summary of a run: frames stylised now and before, label files copied, and skipped frames with reasons."""

    made: int = 0
    before: int = 0
    labels: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{self.made} frames stylised, {self.before} were there, {len(self.skipped)} skipped"
        return f"{text}, {self.labels} label files carried over"


def stylise_folder(
    transfer: StyleTransfer, frames: Frames, styles: Mapping[str, Path], output: Path, console: Console
) -> FolderSummary:
    """Stylise all unfinished frames. Unreadable ones are skipped.

    Args:
        transfer: its extractor is normalised on some of the frames and all styles.
        styles: one or more images by name; each frame gets one of them, see `choose_style`.
        output: folder, new or of an earlier run with the same settings.
        console: for the progress bar.

    Raises:
        FolderError: the output is the input, was made with other settings, or cannot be written; or no frame can be
            read.
        DatasetError: a style image cannot be read.
    """
    _refuse_overlap(frames, output)
    pictures = {name: read_image(path) for name, path in styles.items()}
    try:
        (output / IMAGES).mkdir(parents=True, exist_ok=True)
        normalising = _begin(transfer, frames, styles, output)
        normalising += [pictures[name] for name in _spread(sorted(pictures), NORMALISING_STYLES)[:NORMALISING_STYLES]]
        transfer.normalise(normalising)
        if frames.labels is not None and frames.labels.is_file():
            write_whole(output / frames.labels.name, frames.labels.read_bytes())
        summary = _run(transfer, frames, pictures, output, console)
    except OSError as error:
        raise FolderError(f"{error.filename or output} cannot be read or written: {error.strerror}") from error
    if not summary.made + summary.before:
        raise FolderError(f"not one image of {frames.folder} could be read: {summary.skipped[0][1]}")
    return summary


def _run(
    transfer: StyleTransfer, frames: Frames, pictures: Mapping[str, Image], output: Path, console: Console
) -> FolderSummary:
    summary = FolderSummary()
    finished = _finished(output / FINISHED)
    names, steps, seed = sorted(pictures), transfer.settings.steps, transfer.settings.seed
    with _progress(console) as bar, (output / FINISHED).open("a", encoding="utf-8") as lines:
        task = bar.add_task("stylize", total=len(frames.names), step="")
        for name in frames.names:
            target = output / IMAGES / name
            digest = _hash_or_none(frames.folder / name)
            if digest is not None and finished.get(name) == digest and target.is_file():
                summary.before += 1
                summary.labels += frames.label_of(name) is not None
                bar.advance(task)
                continue
            try:
                image = read_image(frames.folder / name)
                style = choose_style(names, name, seed)

                def show(step: int, loss: Loss) -> None:
                    bar.update(task, step=f"step {step}/{steps}  loss {loss.total:.4g}")

                result = transfer(image, pictures[style], seed=frame_seed(name, seed), on_step=show)
            except (DatasetError, PictureError) as error:
                summary.skipped.append((name, str(error)))
                bar.advance(task)
                continue
            summary.labels += _carry_label(frames, name, output)
            write_whole(target, encode(target, result.image))
            lines.write(json.dumps({"image": name, "input": digest, "style": style, **losses_record(result)}) + "\n")
            lines.flush()
            summary.made += 1
            bar.advance(task)
    return summary


def losses_record(result: Stylised) -> dict[str, Any]:
    """Losses for JSON: per tile, one list for each part of the loss."""
    return {
        "losses": [
            {
                part: [float(f"{getattr(loss, part):.6g}") for loss in tile]
                for part in ("total", "content", "style", "variation")
            }
            for tile in result.losses
        ]
    }


def _begin(transfer: StyleTransfer, frames: Frames, styles: Mapping[str, Path], output: Path) -> list[Image]:
    """Write the manifest, or compare it with the existing one; returns the frames to normalise on."""
    wanted: dict[str, Any] = {
        **asdict(transfer.settings),
        "extractor": transfer.extractor.name,
        "weights": transfer.extractor.weights,
        "styles": {name: file_hash(path) for name, path in styles.items()},
    }
    wanted = json.loads(json.dumps(wanted))
    path = output / MANIFEST
    if path.exists():
        document = _read_manifest(path)
        other = [key for key in wanted if document["settings"].get(key) != wanted[key]]
        if other:
            change = f"{other[0]} {document['settings'].get(other[0])!r}, not {wanted[other[0]]!r}"
            raise FolderError(f"{output} was made with other settings ({change}): give another folder, or remove it")
        names = document["normalised_on"]
        try:
            return [read_image(frames.folder / name) for name in names]
        except DatasetError as error:
            raise FolderError(f"{output} was begun with a frame that is gone: {error}") from error
    chosen: dict[str, Image] = {}
    for name in _spread(frames.names, NORMALISING_FRAMES):
        try:
            chosen[name] = read_image(frames.folder / name)
        except DatasetError:
            continue  # reported later, when this frame is processed
        if len(chosen) == NORMALISING_FRAMES:
            break
    canonical = json.dumps(wanted, sort_keys=True)
    document = {
        "format": FORMAT,
        "settings": wanted,
        "settings_hash": hashlib.sha256(canonical.encode()).hexdigest(),
        "normalised_on": list(chosen),
    }
    write_whole(path, json.dumps(document, indent=1) + "\n")
    return list(chosen.values())


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        document = read_json(path)
    except DocumentError:
        document = None
    if not isinstance(document, dict) or document.get("format") != FORMAT or "settings" not in document:
        raise FolderError(f"{path} is no manifest of this program: give another folder, or remove it")
    return document


def _finished(path: Path) -> dict[str, str]:
    """The input's hash of each finished frame; ignores a truncated last line."""
    finished: dict[str, str] = {}
    if path.exists():
        text = decode_text(path.read_bytes(), "replace")
        for line in text.splitlines():
            try:
                record = parse_json(line, path)
                finished[record["image"]] = record["input"]
            except (DocumentError, KeyError, TypeError):
                continue
        if text and not text.endswith("\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")
    return finished


def _refuse_overlap(frames: Frames, output: Path) -> None:
    images, target = frames.folder.resolve(), output.resolve()
    own = {images, images.parent} if images.name in IMAGE_FOLDERS else {images}
    if target in own or target / IMAGES == images or images in target.parents:
        raise FolderError(f"{output} would mix with the frames in {frames.folder}: give another folder to write")
    if frames.labels is not None:
        labels = frames.labels.resolve()
        if target in labels.parents or target == labels or labels in target.parents:
            raise FolderError(f"{output} would mix with the labels {frames.labels}: give another folder to write")
        if labels.name in (MANIFEST, FINISHED):
            raise FolderError(f"{labels.name} is the name of a file of stylize's own: rename --labels {frames.labels}")


def _carry_label(frames: Frames, name: str, output: Path) -> bool:
    label = frames.label_of(name)
    if label is None:
        return False
    write_whole((output / LABELS / name).with_suffix(".txt"), label.read_bytes())
    return True


def _spread(names: Sequence[str], count: int) -> list[str]:
    """`count` evenly spread names first, then the others."""
    count = min(count, len(names))
    first = [names[index * len(names) // count] for index in range(count)]
    return list(dict.fromkeys([*first, *names]))


def _hash_or_none(path: Path) -> str | None:
    try:
        return file_hash(path) or None
    except OSError:
        return None  # reading the image reports the reason


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[step]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )

"""The contact sheet of docs/style_transfer.md: an image in several styles, and reconstructions from layers.

    python benchmarks/style_contact_sheet.py highway.png starry_night.jpg rocket.jpg rain snow --report docs

`rain` and `snow` are drawn, not read. First: the first style, its transfer, the same with total variation, with the
style recoloured by histogram matching, and of luminance only. Then the other styles, each before its transfer. Below:
reconstructions of the content from single layers, and of the first style from an increasing number of layers.

REPORT/style_transfer.{jpg,json} are written, and the table between the marks in REPORT/style_transfer.md. Its grain is
the mean absolute Laplacian of the grey picture: of the result, of the style at the size that it is seen at, and their
ratio.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gaussian_yolo_node.lab.style_transfer.colour import PreserveColour
from gaussian_yolo_node.lab.style_transfer.extractors import choose_extractor, open_extractor
from gaussian_yolo_node.lab.style_transfer.transfer import StyleSettings, StyleTransfer
from gaussian_yolo_node.labels.images import read_image

Image = NDArray[np.uint8]
CELL = 360  # width, px
GAP = 4
COLUMNS = 4
WIDTH = COLUMNS * CELL + (COLUMNS - 1) * GAP
CAPTION = 18
MOST_BYTES = 400_000
NAME = "style_transfer"
MARKS = "<!-- written by benchmarks/style_contact_sheet.py -->", "<!-- end -->"
SMOOTH = 0.05  # weight of the total variation, where it is on
# Caption, colours that are kept, weight of the total variation.
VARIANTS: tuple[tuple[str, PreserveColour, float], ...] = (
    ("transfer", "none", 0.0),
    ("total variation", "none", SMOOTH),
    ("colour histogram matched", "histogram", 0.0),
    ("luminance only", "luminance", 0.0),
)


def main() -> None:
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    content = _of_size(read_image(arguments.content), arguments.size)
    styles = {name: DRAWN[name]() if name in DRAWN else read_image(Path(name)) for name in arguments.styles}
    settings = StyleSettings(steps=arguments.steps, coarse_steps=arguments.coarse_steps)
    extractor = open_extractor(choose_extractor(arguments.extractor))
    StyleTransfer(extractor, settings).normalise([content, *styles.values()])
    ratio = content.shape[0] / content.shape[1]
    first = _cell(content, CELL, ratio, f"content: {arguments.content.stem}")
    rows: list[list[Image]] = [[]]
    figures = []
    for number, (path, style) in enumerate(styles.items()):
        name = Path(path).stem
        if len(rows[-1]) == COLUMNS:
            rows.append([])
        rows[-1].append(_cell(style, CELL, ratio, name))
        for caption, preserve, variation in VARIANTS if number == 0 else VARIANTS[:1]:
            started = perf_counter()
            chosen = replace(settings, preserve_colour=preserve, total_variation=variation)
            result = StyleTransfer(extractor, chosen)(content, style)
            losses = [loss.total for loss in result.losses[0]]
            rises = sum(after > before for before, after in itertools.pairwise(losses))
            figures.append(
                {
                    "style": name,
                    "preserve_colour": preserve,
                    "total_variation": variation,
                    "seconds": round(perf_counter() - started, 1),
                    "style_grain": round(grain(_of_shorter_side(style, min(content.shape[:2]))), 2),
                    "grain": round(grain(result.image), 2),
                    "first": losses[0],
                    "last": losses[-1],
                    "steps": len(losses) - 1,
                    "steps_that_rose": rises,
                }
            )
            print(json.dumps(figures[-1]), flush=True)
            if len(rows[-1]) == COLUMNS:
                rows.append([])
            rows[-1].append(_cell(result.image, CELL, ratio, caption))
    # The content image begins the last row if there is room, else it gets its own row at the top.
    rows[-1].insert(0, first) if len(rows[-1]) < COLUMNS else rows.insert(0, [first])
    small = replace(settings, size=arguments.size // 2, steps=arguments.reconstruction_steps)
    reconstructed = dict(StyleTransfer(extractor, small).reconstructions(content, next(iter(styles.values()))))
    for kind in ("content", "style"):
        named = {name: image for name, image in reconstructed.items() if name.startswith(kind)}
        width = (WIDTH - (len(named) - 1) * GAP) // len(named)
        rows.append([_cell(image, width, ratio, name.replace("_", " ", 1)) for name, image in named.items()])
    document = {
        "extractor": extractor.name,
        "content": [*content.shape[:2]],
        "scales": settings.scales,
        "coarse_steps": arguments.coarse_steps,
        "threads": arguments.threads,
        "machine": platform.machine(),
        "torch": torch.__version__,
        "runs": figures,
    }
    arguments.report.mkdir(parents=True, exist_ok=True)
    _write(arguments.report / f"{NAME}.jpg", _stack(rows))
    (arguments.report / f"{NAME}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    page = arguments.report / f"{NAME}.md"
    if page.exists():
        page.write_text(with_table(page.read_text(encoding="utf-8"), document), encoding="utf-8")


def grain(image: Image) -> float:
    """Mean absolute Laplacian of the grey picture, of 255."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean())


def with_table(page: str, document: dict[str, Any]) -> str:
    """The page with the table of a document between its marks."""
    before, rest = page.split(MARKS[0])
    return f"{before}{MARKS[0]}\n{table(document)}\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


def table(document: dict[str, Any]) -> str:
    """Markdown: the settings, one row per run, and whether the results have more grain than their styles."""
    height, width = document["content"]
    runs = document["runs"]
    lines = [
        f"{document['extractor']}, a frame of {width}x{height} px, {document['scales']} sizes, "
        f"{document['coarse_steps']} steps at each of the smaller ones; torch {document['torch']}, "
        f"{document['threads']} thread. Seconds are of a busy machine.",
        "",
        "| style | colours | total variation | loss at full size, first → last | steps that raised it "
        "| grain of the style | of the result | ratio | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {run['style']} | {run['preserve_colour']} | {run['total_variation']:g} "
        f"| {run['first']:.3f} → {run['last']:.3f} | {run['steps_that_rose']} of {run['steps']} "
        f"| {run['style_grain']:.1f} | {run['grain']:.1f} | {run['grain'] / run['style_grain']:.2f} "
        f"| {run['seconds']:.0f} |"
        for run in runs
    ]
    most = max(run["grain"] / run["style_grain"] for run in runs)
    return "\n".join(
        [*lines, "", f"Grain is the mean absolute Laplacian; no result has more than {most:.2f} times its style's."]
    )


def _of_size(image: Image, longer: int) -> Image:
    scale = longer / max(image.shape[:2])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _of_shorter_side(image: Image, shorter: int) -> Image:
    scale = shorter / min(image.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=how).astype(np.uint8, copy=False)


def draw_rain(height: int = 400, width: int = 600) -> Image:
    """A grey-blue dusk behind slanted streaks and their smear on a wet road."""
    rng = np.random.default_rng(1)
    ground = np.linspace(0, 1, height)[:, None, None]
    picture = np.broadcast_to(
        np.array([88.0, 74, 62]) * (1 - ground) + np.array([48.0, 42, 38]) * ground, (height, width, 3)
    ).copy()
    streaks = np.zeros((height, width), np.float32)
    for _ in range(900):
        x, y, length = int(rng.integers(0, width)), int(rng.integers(-20, height)), int(rng.integers(12, 45))
        brightness = float(rng.uniform(40, 130))
        cv2.line(streaks, (x, y), (x - length // 4, y + length), brightness, 1, cv2.LINE_AA)
    lights = np.zeros((height, width, 3), np.float32)
    lamps = ((90.0, 190.0, 255.0), (200.0, 220.0, 255.0), (70.0, 70.0, 230.0))
    for _ in range(25):
        x, colour, reach = int(rng.integers(0, width)), int(rng.integers(0, len(lamps))), int(rng.integers(20, 80))
        cv2.ellipse(lights, (x, int(height * 0.75)), (4, reach), 0, 0, 360, lamps[colour], -1)
    picture += cv2.GaussianBlur(lights, (0, 0), 5) + cv2.GaussianBlur(streaks, (0, 0), 0.7)[..., None]
    return picture.clip(0, 255).astype(np.uint8)


def draw_snow(height: int = 400, width: int = 600) -> Image:
    """White ground and grey sky, dark twigs, flakes of several sizes."""
    rng = np.random.default_rng(2)
    ground = np.linspace(0, 1, height)[:, None, None] > 0.55
    picture = np.where(ground, np.array([246.0, 240, 236]), np.array([214.0, 206, 198])) * np.ones((height, width, 1))
    soft = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 12)
    picture += soft[..., None] * 220
    for _ in range(160):
        x, y = int(rng.integers(0, width)), int(height * rng.uniform(0.2, 0.6))
        end = (x + int(rng.integers(-30, 30)), y - int(rng.integers(10, 70)))
        cv2.line(picture, (x, y), end, (70, 66, 72), int(rng.integers(1, 3)), cv2.LINE_AA)
    for radius, count in ((1, 900), (2, 350), (4, 60)):
        flakes = np.zeros((height, width), np.float32)
        for _ in range(count):
            cv2.circle(
                flakes, (int(rng.integers(0, width)), int(rng.integers(0, height))), radius, 1.0, -1, cv2.LINE_AA
            )
        picture += (255 - picture) * cv2.GaussianBlur(flakes, (0, 0), radius * 0.6)[..., None].clip(0, 1)
    return picture.clip(0, 255).astype(np.uint8)


DRAWN: dict[str, Callable[[], Image]] = {"rain": draw_rain, "snow": draw_snow}


def _cell(image: Image, width: int, ratio: float, caption: str) -> Image:
    """The centre of an image, with the content's aspect ratio and a caption below."""
    height = round(width * ratio)
    scale = max(width / image.shape[1], height / image.shape[0])
    size = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (resized.shape[0] - height) // 2, (resized.shape[1] - width) // 2
    cell = np.full((height + CAPTION, width, 3), 255, np.uint8)
    cell[:height] = resized[top : top + height, left : left + width]
    cv2.putText(cell, caption, (2, height + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return cell


def _stack(rows: Sequence[Sequence[Image]]) -> Image:
    lines = []
    for row in rows:
        gap = np.full((row[0].shape[0], GAP, 3), 255, np.uint8)
        line = np.hstack([part for cell in row for part in (cell, gap)][:-1])
        lines.append(np.pad(line, ((0, GAP), (0, WIDTH - line.shape[1]), (0, 0)), constant_values=255))
    return np.vstack(lines)


def _write(path: Path, sheet: Image) -> None:
    for quality in range(92, 30, -4):
        data = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        if len(data) < MOST_BYTES:
            break
    path.write_bytes(data.tobytes())
    print(f"{path}: {len(data):,} bytes, JPEG quality {quality}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("content", type=Path)
    parser.add_argument("styles", nargs="+", help=f"pictures, or {' or '.join(DRAWN)}")
    parser.add_argument("--report", type=Path, required=True, help="folder to write to")
    parser.add_argument("--extractor", default="")
    parser.add_argument("--size", type=int, default=640, help="longer side to compute at, px")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--coarse-steps", type=int, default=40)
    parser.add_argument("--reconstruction-steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()

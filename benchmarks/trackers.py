#!/usr/bin/env python3
"""The same detections through several trackers: HOTA, IDF1, switches and time, also with every second frame dropped.

Ours takes the detector's sigma of each box. Beside it: ours with one fixed noise in px, ours with one fixed share of
the box, ours by overlap alone in one round (as SORT), and SORT, OC-SORT and ByteTrack of the package `trackers`, which
is installed into an environment of its own, `.cache/trackers`. KITTI's drive 0011 has labelled ids. Those of drive 0095
are linked by the overlap of consecutive labels; the noises of our tracker were chosen on that drive.

    pip install '.[cpu,evaluate]' && pip install --no-deps trackeval
    python benchmarks/trackers.py --data DATA --report docs    # writes docs/trackers.md
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.model import DEFAULT_MODEL
from gaussian_yolo_node.detector.sigma_correction import coordinate_sizes
from gaussian_yolo_node.evaluation.matching import overlaps
from gaussian_yolo_node.evaluation.mot import ALL, TrackingFigures, evaluate_tracks
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.labels import image_files, read_image
from gaussian_yolo_node.labels.labelled_frames import DONT_CARE, Truths
from gaussian_yolo_node.labels.truths import read_kitti_labels, read_kitti_tracks
from gaussian_yolo_node.processes import run_until_signal
from gaussian_yolo_node.runtime import RuntimeOptions
from gaussian_yolo_node.runtime.machine import machine
from gaussian_yolo_node.tracking import Tracker, TrackerSettings
from gaussian_yolo_node.tracking.association import assign
from gaussian_yolo_node.tracking.tracker import GATE

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "trackers==2.6.1"
HELD_OUT, CHOSEN_ON = "drive_0011", "drive_0095_right"  # folders of DATA/kitti
RATE_HZ = 10.0
CANVAS = (384, 1248)
LEAST_SCORE = TrackerSettings.weak
STRONG = (TrackerSettings.strong, 0.5)  # least scores of strong detections
LINK_IOU, LINK_FRAMES = 0.2, 8  # objects of one class in frames so near are one
TIMED_OBJECTS = (20, 100, 300)
Size = tuple[int, int]
Frames = dict[int, Detections]


@dataclass(frozen=True)
class Row:
    """One tracker on one selection of frames.

    Attributes:
        drive: folder of the recording.
        name: of the tracker.
        strong: least score of strong detections.
        drop: whether every second frame was dropped.
        figures: over all classes.
        ms: median time of a frame.
        nis: mean of the squared normalised innovations per coordinate inside the gate, of all pairs, and the share of
            pairs outside the gate; None for trackers without a covariance.
    """

    drive: str
    name: str
    strong: float
    drop: bool
    figures: TrackingFigures
    ms: float
    nis: tuple[float, float, float] | None = None


def main(
    data: Annotated[Path, typer.Option(help="Folder of the shared driving data.")],
    report: Annotated[Path, typer.Option(help="Folder for trackers.md.")],
    model: Annotated[str, typer.Option(help="Name or path of the model.")] = DEFAULT_MODEL,
    runtime: Annotated[str, typer.Option(help="Runtime of the detector.")] = "openvino",
    package: Annotated[bool, typer.Option(help="Also run the trackers of the package.")] = True,
) -> None:
    """Compare trackers."""
    options = RuntimeOptions(input_size=CANVAS)
    rows: list[Row] = []
    with Detector.open(model, runtime, options=options, score_threshold=LEAST_SCORE) as detector:
        classes, description = detector.card.classes, detector.runtime.description
        for drive in (HELD_OUT, CHOSEN_ON):
            folder = data / "kitti" / drive
            images = image_files(folder / "image")
            height, width = read_image(images[0]).shape[:2]
            detected = {int(path.stem): detector(read_image(path)) for path in images}
            labels = folder / "tracking.txt"
            truths = read_kitti_tracks(labels) if labels.exists() else linked_truths(folder / "label_2")
            for drop, strong in product((False, True), STRONG):
                frames = dict(list(detected.items())[:: 2 if drop else 1])
                judged = [number for number in frames if number in truths or labels.exists()]
                found = our_tracks(frames, classes, (height, width), strong)
                found += package_tracks(frames, classes, strong, RATE_HZ / (1 + drop)) if package else []
                for name, tracks, ms, nis in found:
                    figures = next(each for each in evaluate_tracks(truths, tracks, judged) if each.name == ALL)
                    rows.append(Row(drive, name, strong, drop, figures, ms, nis))
                    print(line(rows[-1]), flush=True)
    write_whole(report / "trackers.md", page(rows, f"{model} on a canvas of {CANVAS[0]}x{CANVAS[1]}, {description}"))


def linked_truths(folder: Path) -> dict[int, Truths]:
    """Labels without ids, linked from frame to frame by overlap; for files whose stems are the frames' numbers."""
    frames: dict[int, Truths] = {}
    known: dict[int, tuple[int, str, NDArray[np.float64]]] = {}  # id -> latest frame, type, box
    for stem, frame in read_kitti_labels(folder).frames.items():
        number, boxes, types = int(stem), frame.truths.boxes, frame.truths.categories
        ids = np.full(len(types), -1)
        old = [each for each, (latest, _, _) in known.items() if number - latest <= LINK_FRAMES]
        overlap = overlaps(np.array([known[each][2] for each in old]).reshape(-1, 1, 4), boxes)
        overlap[np.array([known[each][1] for each in old], np.str_)[:, np.newaxis] != types] = 0
        for row, column in zip(*assign(1 - overlap, 1 - LINK_IOU), strict=True):
            ids[column] = old[row]
        for place in np.flatnonzero(types != DONT_CARE):
            if ids[place] < 0:
                ids[place] = len(known)
            known[int(ids[place])] = (number, str(types[place]), boxes[place])
        ids[types == DONT_CARE] = -1
        frames[number] = Truths.of(boxes, types, tracks=ids)  # truncated objects count, too
    return frames


Found = tuple[str, dict[int, Truths], float, tuple[float, float, float] | None]


def our_tracks(frames: Frames, classes: Sequence[str], size: Size, strong: float) -> list[Found]:
    """Our tracker with the detector's sigmas and without: name, tracks, ms and `Row.nis`."""
    all_boxes, all_sigmas = (
        np.concatenate([getattr(each, name) for each in frames.values()]) for name in ("boxes", "sigmas")
    )
    sizes = np.maximum(coordinate_sizes(all_boxes), 1.0)
    fixed = np.sqrt((all_sigmas**2).mean(axis=0))
    share = np.sqrt(((all_sigmas / sizes) ** 2).mean(axis=0))

    def in_px(found: Detections) -> Detections:
        return replace(found, sigmas=np.broadcast_to(fixed, (len(found), 4)))

    def in_shares(found: Detections) -> Detections:
        return replace(found, sigmas=coordinate_sizes(found.boxes) * share)

    settings = TrackerSettings(strong=strong)
    alone = TrackerSettings(strong=strong, weak=strong, gate=np.inf)
    found: list[Found] = []
    for name, change, chosen, raw in (
        ("ours", None, settings, False),
        ("ours, the detections' boxes", None, settings, True),
        ("ours, one noise in px", in_px, settings, False),
        ("ours, one share of the box", in_shares, settings, False),
        ("ours, overlap alone, one round", in_px, alone, False),
    ):
        tracks, ms, nis = track(frames, classes, size, chosen, change, raw)
        found.append((name, tracks, ms, nis if np.isfinite(chosen.gate) and not raw else None))
    return found


def track(
    frames: Frames,
    classes: Sequence[str],
    size: Size,
    settings: TrackerSettings,
    change: Callable[[Detections], Detections] | None,
    raw: bool,
) -> tuple[dict[int, Truths], float, tuple[float, float, float]]:
    """Boxes with ids, median ms of a frame, and `Row.nis`."""
    tracker, names = Tracker(classes, settings), np.array(classes, np.str_)
    tracks, times, innovations = {}, [], []
    limits = np.array([size[1], size[0], size[1], size[0]], float)
    for number, found in frames.items():
        given = found if change is None else change(found)
        started = thread_time()
        now = tracker.update(given, number / RATE_HZ, size)
        times.append((thread_time() - started) * 1e3)
        seen = ~now.coasting
        boxes = found.boxes[now.rows[seen]].astype(float) if raw else np.clip(now.boxes[seen], 0, limits)
        tracks[number] = Truths.of(boxes, names[now.class_ids[seen]], tracks=now.ids[seen])
        innovations.append(now.innovations[seen])
    squares = np.concatenate(innovations) ** 2
    inside = squares.sum(axis=1) <= GATE
    return tracks, median(times), (float(squares[inside].mean()), float(squares.mean()), float(1 - inside.mean()))


def package_tracks(frames: Frames, classes: Sequence[str], strong: float, rate_hz: float) -> list[Found]:
    """SORT, OC-SORT and ByteTrack of the package, with the same thresholds; ByteTrack also with its own."""
    given = [
        {"boxes": each.boxes.tolist(), "scores": each.scores.tolist(), "class_ids": each.class_ids.tolist()}
        for each in frames.values()
    ]
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "ByteTrack": ("ByteTrackTracker", {"track_activation_threshold": strong, "high_conf_det_threshold": strong}),
        "OC-SORT": ("OCSORTTracker", {"high_conf_det_threshold": strong}),
        "SORT": ("SORTTracker", {"track_activation_threshold": strong}),
    }
    if strong == STRONG[-1]:
        kinds["ByteTrack, 0.7 and 0.6"] = ("ByteTrackTracker", {})
    request: list[dict[str, Any]] = [
        {"frames": given, "kind": kind, "options": {"frame_rate": rate_hz, **options}}
        for kind, options in kinds.values()
    ]
    answers = json.loads(_in_environment(json.dumps(request)))
    names = np.array(classes, np.str_)
    found: list[Found] = []
    for name, answer in zip(kinds, answers, strict=True):
        tracks = {
            number: Truths.of(each["boxes"], names[np.array(each["class_ids"], int)], tracks=each["ids"])
            for number, each in zip(frames, answer["frames"], strict=True)
        }
        found.append((name, tracks, answer["ms"], None))
    return found


def _in_environment(request: str) -> str:
    folder = REPOSITORY / ".cache" / "trackers"
    python = folder / "bin" / "python"
    if not (folder / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", PACKAGE], check=True)
        (folder / ".installed").touch()
    script = Path(__file__).with_name("trackers_package.py")
    # Isolated, so that the package's name means the package and not this file.
    run = subprocess.run([python, "-I", script], input=request, stdout=subprocess.PIPE, text=True, check=True)
    return run.stdout


def objects_ms(count: int) -> float:
    """Median time of a frame in which as many objects move, ms."""
    rng = np.random.default_rng(0)
    centres, sides = rng.uniform([0, 100], [1200, 300], (count, 2)), rng.uniform(20, 80, (count, 2))
    speeds, ids = rng.normal(0, 30, (count, 2)), rng.integers(0, 3, count).astype(np.int32)
    tracker, times = Tracker(("car", "pedestrian", "cyclist")), []
    for number in range(120):
        middle = centres + speeds * number / RATE_HZ
        boxes = np.concatenate([middle - sides / 2, middle + sides / 2], axis=1) + rng.normal(0, 0.5, (count, 4))
        scores = rng.uniform(0.3, 0.9, count).astype(np.float32)
        found = Detections(boxes.astype(np.float32), scores, ids, np.full((count, 4), 2, np.float32))
        started = thread_time()
        tracker.update(found, number / RATE_HZ)
        times.append((thread_time() - started) * 1e3)
    return median(times[20:])


def page(rows: Sequence[Row], detections: str) -> str:
    """The report in Markdown."""
    head = "| tracker | strong from | HOTA | AssA | LocA | IDF1 | MOTA | switches | tracks | ms |"
    times = ", ".join(f"{count} objects {objects_ms(count):.2f} ms" for count in TIMED_OBJECTS)
    objects = {row.drive: row.figures.objects for row in rows if not row.drop}
    lines = [
        "# Trackers",
        "",
        "Written by `python benchmarks/trackers.py --data DATA --report docs`: the same detections through each "
        f"tracker, all classes together, by KITTI's rules. Detections: {detections}, from score {LEAST_SCORE:g}. "
        f"{machine()}.",
        "",
        "*Ours* gives filtered boxes. The package's trackers give the detections' own, as does *ours, the detections' "
        "boxes*. *One noise* and *one share* replace the detector's sigma by its root mean square over the drive, in "
        "px or as a share of the box. *Overlap alone* has neither gate nor second round, as SORT. SORT, OC-SORT and "
        f"ByteTrack are those of `{PACKAGE}` with the same least score of strong detections; *0.7 and 0.6* are "
        "ByteTrack's own. Strong from 0.3 is the default. Times are of a core.",
        "",
        f"Drive 0011 ({objects[HELD_OUT]} objects) was used neither for training nor for the noises. The least score "
        "0.3 is the model's own; the rule of confirmation was chosen on drive 0095, but with results on drive 0011 in "
        "sight. That scores count more after a longer gap follows from the time in which errors persist; on drives "
        "0095 and 0052 it changes HOTA and IDF1 by less than 0.1 and MOTA by +0.4. Drive 0011 has so few tracks that "
        "one more or less is several points, and detections in fp32 instead of bf16 move figures by up to 3; smaller "
        "differences say nothing. On "
        f"drive 0095 ({objects[CHOSEN_ON]} objects) the detector was trained and the noises were chosen; ids were "
        "linked by the overlap of consecutive labels, and half of the frames are labelled.",
    ]
    for drive, drop in product((HELD_OUT, CHOSEN_ON), (False, True)):
        title = f"## {drive}, " + ("every second frame dropped" if drop else "10 Hz")
        lines += ["", title, "", head, "|---|" + "---|" * 9]
        lines += [line(row) for row in rows if (row.drive, row.drop) == (drive, drop)]
    lines += [
        "",
        "## Honesty of the filter",
        "",
        "Mean of the squared normalised innovations per coordinate, of all pairs of a track and a detection. 1 is "
        "honest; below 1 the filter is too careful. Errors have longer tails than a Gaussian, of whose pairs 1 % would "
        f"lie outside the gate (squared distance above {GATE:g}), with a mean of 0.97 inside. Outside, the box is "
        "restarted.",
        "",
        "| drive | noise | strong from | frames | all pairs | outside the gate | mean inside |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.nis is not None:
            inside, everything, outside = row.nis
            cells = (row.drive, row.name, f"{row.strong:g}", "every second" if row.drop else "all", f"{everything:.2f}")
            lines.append("| " + " | ".join((*cells, f"{outside * 100:.0f} %", f"{inside:.2f}")) + " |")
    lines += ["", "## Time", "", f"Our tracker, median of a frame: {times}.", ""]
    return "\n".join(lines)


def line(row: Row) -> str:
    """A row of a table."""
    of = row.figures
    shares = [f"{share * 100:.1f}" for share in (of.hota, of.association, of.localisation, of.idf1, of.mota)]
    cells = [row.name, f"{row.strong:g}", *shares, str(of.switches), str(of.tracks), f"{row.ms:.2f}"]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    run_until_signal(lambda: typer.run(main))

#!/usr/bin/env python3
"""Choose the noises of the tracker (`gaussian_yolo_node/tracking/noise.py`) on KITTI's drives 0095 and 0052.

The detections that the tracker links go through its filter with many candidate noises at once. A candidate is judged
per coordinate, by the log likelihood of the detections given those before (innovations), and WEIGHT times that of the
labelled objects given the filter's estimate. Pairs outside the gate restart the filter and are not judged. The
cross-entropy method (Rubinstein, "The cross-entropy method for combinatorial and continuous optimization", 1999)
searches.

    python benchmarks/tracker_noise.py --data DATA
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections, corners_to_centres
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.model import DEFAULT_MODEL
from gaussian_yolo_node.evaluation.matching import overlaps
from gaussian_yolo_node.labels import image_files, read_image
from gaussian_yolo_node.labels.classes import KITTI_CLASSES
from gaussian_yolo_node.labels.labelled_frames import Truths
from gaussian_yolo_node.labels.truths import read_kitti_labels
from gaussian_yolo_node.runtime import RuntimeOptions
from gaussian_yolo_node.tracking import Tracker, TrackerSettings
from gaussian_yolo_node.tracking.kalman import BoxStates, ErrorModel
from gaussian_yolo_node.tracking.tracker import GATE

DRIVES = ("drive_0095_right", "drive_0052")
CANVAS, RATE_HZ = (384, 1248), 10.0
WEIGHT = 3.0
LEAST_LENGTH, LEAST_IOU = 4, 0.5
CANDIDATES, ELITE, ITERATIONS, ROUNDS = 96, 12, 12, 3
LARGEST_SHARE = 0.98  # at 1, two measurements at one time would contradict each other for certain
NAMES = ("vehicle", "person", "turning", "start", "start_turning", "share", "time_s")
# Logarithms (of the share, its logit): where the search begins and how far it goes; also a weak prior.
CENTRE = np.array([0.0, -0.2, 2.0, 1.0, 3.5, 1.5, 0.3])
SPREAD = np.array([1.0, 1.0, 1.5, 0.7, 1.0, 1.2, 0.8])
FIXED = np.array([[name in ("turning", "start_turning")] * 2 for name in NAMES])  # of width and height: 0
NONE = -9.0
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Chains:
    """Detections that belong together, by falling length; step t of chain n.

    Attributes:
        measured, sigmas: [T, N, 4], px.
        elapsed: [T, N, 1], since the step before, s.
        counts: [T], chains that have the step.
        persons: [N], whether it is a person or a cyclist.
        truths: [T, N, 4], centre and size of the labelled object, px; NaN without.
    """

    measured: Floats
    sigmas: Floats
    elapsed: Floats
    counts: NDArray[np.intp]
    persons: NDArray[np.bool_]
    truths: Floats


def main(
    data: Annotated[Path, typer.Option(help="Folder of the shared driving data.")],
    model: Annotated[str, typer.Option(help="Name or path of the model.")] = DEFAULT_MODEL,
) -> None:
    """Print the noises, and how large the innovations become with them."""
    options = RuntimeOptions(input_size=CANVAS)
    with Detector.open(model, "openvino", options=options, score_threshold=TrackerSettings.weak) as detector:
        drives = [chains(data / "kitti" / drive, detector) for drive in DRIVES]
    best = search(drives)
    for name, row in zip(NAMES, decode(best[:, np.newaxis]), strict=True):
        print(f"{name:14}", np.round(row[0], 3))
    for drive, each in zip(DRIVES, drives, strict=True):
        _, _, squares = judge(each, best[:, np.newaxis], None)
        inside = squares.sum(axis=1) <= GATE
        print(f"{drive}: {len(squares)} pairs, mean squared innovation {squares.mean():.2f}, inside the gate")
        print(f"    {squares[inside].mean():.2f} ({inside.mean():.1%}), per coordinate", squares[inside].mean(axis=0))


def chains(folder: Path, detector: Detector) -> Chains:
    """The tracks of a drive, with the objects where its `label_2` has the frame."""
    tracker = Tracker(detector.card.classes)
    found: dict[int, tuple[bool, list[tuple[Any, ...]]]] = {}
    labels = read_kitti_labels(folder / "label_2").frames
    for path in image_files(folder / "image"):
        detections, number = detector(read_image(path)), int(path.stem)
        labelled = labels[path.stem].truths if path.stem in labels else Truths.of([], [])
        objects = _objects(detections, detector.card.classes, labelled)
        tracks = tracker.update(detections, number / RATE_HZ)
        for identity, row, class_id in zip(tracks.ids, tracks.rows, tracks.class_ids, strict=True):
            if row >= 0:
                person = detector.card.classes[class_id] != "car"
                step = (detections.centres_sizes[row], detections.sigmas[row], number / RATE_HZ, objects[row])
                found.setdefault(int(identity), (person, []))[1].append(step)
    kept = sorted((each for each in found.values() if len(each[1]) >= LEAST_LENGTH), key=lambda each: -len(each[1]))
    longest, count = len(kept[0][1]), len(kept)
    measured, truths = np.zeros((longest, count, 4)), np.full((longest, count, 4), np.nan)
    sigmas, stamps = np.ones((longest, count, 4)), np.zeros((longest, count, 1))
    for place, (_, steps) in enumerate(kept):
        for rows, column in zip((measured, sigmas, stamps, truths), zip(*steps, strict=True), strict=True):
            rows[: len(steps), place] = np.array(column).reshape(len(steps), -1)
    counts = np.array([sum(len(steps) > step for _, steps in kept) for step in range(longest)])
    elapsed = np.maximum(np.diff(stamps, axis=0, prepend=stamps[:1]), 0)
    return Chains(measured, np.maximum(sigmas, 0.1), elapsed, counts, np.array([each[0] for each in kept]), truths)


def _objects(detections: Detections, classes: tuple[str, ...], truths: Truths) -> Floats:
    """[N, 4], centre and size of the object that each detection matches; NaN for none."""
    result = np.full((len(detections), 4), np.nan)
    if not len(truths) or not len(detections):
        return result
    names = np.array([KITTI_CLASSES.get(name, "") for name in truths.categories], np.str_)
    iou = overlaps(detections.boxes[:, np.newaxis].astype(float), truths.boxes)
    iou[np.array(classes)[detections.class_ids][:, np.newaxis] != names] = 0
    matched = iou.max(axis=1) >= LEAST_IOU
    result[matched] = corners_to_centres(truths.boxes)[iou.argmax(axis=1)[matched]]
    return result


def decode(candidates: Floats) -> Floats:
    """[7, B, 4] logarithms -> the values of `NAMES`."""
    values: Floats = np.exp(candidates)
    values[5] = LARGEST_SHARE / (1 + np.exp(-candidates[5]))
    return values


def judge(
    chains: Chains, candidates: Floats, pairs: list[NDArray[np.bool_]] | None
) -> tuple[Floats, list[NDArray[np.bool_]], Floats]:
    """Log likelihoods [B, 4] of the candidates, which pairs were judged, and all squared innovations.

    Args:
        candidates: [7, B, 4].
        pairs: per step, which chains are judged; None, with one candidate, for those inside its gate, and those of
            which only one detection is known.
    """
    vehicle, person, turning, start, start_turning, share, time = decode(candidates)[:, :, np.newaxis]
    many = candidates.shape[1]
    relative = np.where(chains.persons[:, np.newaxis], person, vehicle)

    def flat(values: Floats, count: int) -> Floats:
        return np.broadcast_to(values, (many, count, values.shape[-1])).reshape(many * count, -1)

    def begin(step: int, rates: Any) -> BoxStates:
        count = int(chains.counts[step])
        heights = np.maximum(chains.measured[step, :count, 3:], 1.0)
        errors = ErrorModel(flat(share, count), flat(time, count))
        rate_sigmas = flat(np.hypot(start * heights, start_turning), count)
        measured, sigmas = flat(chains.measured[step, :count], count), flat(chains.sigmas[step, :count], count)
        return BoxStates.start(measured, sigmas, np.zeros_like(measured) + rates, rate_sigmas, errors)

    states, likelihood = begin(0, 0.0), np.zeros((many, 4))
    ages, judged, squares = np.ones(chains.measured.shape[1], int), [], []
    for step in range(1, len(chains.counts)):
        count = int(chains.counts[step])
        array = states.array.reshape(9, many, -1, 4)[:, :, :count].reshape(9, many * count, 4)
        heights = np.maximum(chains.measured[step - 1, :count, 3:], 1.0)
        density = flat((relative[:, :count] * heights) ** 2 + turning**2, count)
        errors = ErrorModel(flat(share, count), flat(time, count))
        states = BoxStates(array).predict(flat(chains.elapsed[step, :count], count), density, errors)
        measured, sigmas = flat(chains.measured[step, :count], count), flat(chains.sigmas[step, :count], count)
        fresh = begin(step, states.rates)
        expected = states.variances + sigmas**2 * (1 - errors.share)
        lasting = sigmas * np.sqrt(errors.share)
        expected = expected + 2 * lasting * states.array[5] + lasting**2 * states.array[8]
        states, innovations = states.update(measured, sigmas, errors)
        if pairs is None:
            square = innovations**2
            squares.append(square)
            good = (square.sum(axis=1) <= GATE) | (ages[:count] == 1)
        else:
            good = pairs[step - 1]
        judged.append(good)
        ages = np.where(good, ages[:count] + 1, 1)
        terms = -0.5 * (innovations**2 + np.log(expected)).reshape(many, count, 4)
        likelihood += terms[:, good].sum(axis=1)
        states = BoxStates(np.where(np.tile(good, many)[:, np.newaxis], states.array, fresh.array))
        truths = chains.truths[step, :count]
        known = np.isfinite(truths[:, 0])
        values, variances = (each.reshape(many, count, 4)[:, known] for each in (states.values, states.variances))
        off = -0.5 * ((values - truths[known]) ** 2 / variances + np.log(variances))
        likelihood += WEIGHT * off.sum(axis=1)
    return likelihood, judged, np.concatenate(squares) if squares else np.empty((0, 4))


def search(drives: list[Chains]) -> Floats:
    """The best candidate, [7, 4]; each coordinate is searched on its own, because the filter keeps them apart."""
    rng = np.random.default_rng(0)
    fixed = np.concatenate([np.zeros_like(FIXED), FIXED], axis=1)
    mean = np.where(fixed, NONE, CENTRE[:, np.newaxis])
    for _ in range(ROUNDS):
        pairs = [judge(each, mean[:, np.newaxis], None)[1] for each in drives]
        spread = np.repeat(SPREAD[:, np.newaxis], 4, axis=1)
        for _ in range(ITERATIONS):
            normal = rng.standard_normal((len(NAMES), CANDIDATES, 4))
            candidates = mean[:, np.newaxis] + spread[:, np.newaxis] * normal
            candidates[:, 0] = mean
            candidates = np.where(fixed[:, np.newaxis], NONE, candidates)
            prior = ((candidates - CENTRE[:, np.newaxis, np.newaxis]) / SPREAD[:, np.newaxis, np.newaxis]) ** 2
            score = -0.5 * np.where(fixed[:, np.newaxis], 0, prior).sum(axis=0)
            score += sum(judge(each, candidates, judged)[0] for each, judged in zip(drives, pairs, strict=True))
            order = np.argsort(-score, axis=0)[:ELITE]
            elite = np.stack([candidates[:, order[:, place], place] for place in range(4)], axis=2)
            mean, spread = elite.mean(axis=1), elite.std(axis=1) + 0.01
    return mean


if __name__ == "__main__":
    typer.run(main)

"""A classifier under corruptions, perturbations and attacks: errors, mCE, flips, and top-1 against epsilon."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gaussian_yolo_node.documents import read_json
from gaussian_yolo_node.files import short_hash
from gaussian_yolo_node.lab.classification.checkpoint import Classifier, load_classifier
from gaussian_yolo_node.lab.classification.crops import as_tensor, centre_crop
from gaussian_yolo_node.lab.classification.data import Items, read_labelled
from gaussian_yolo_node.lab.robustness import RobustnessError
from gaussian_yolo_node.lab.robustness.attacks import attacked, check_attacks
from gaussian_yolo_node.lab.robustness.cells import Cells, write_json
from gaussian_yolo_node.lab.robustness.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    check_corruptions,
    check_severities,
    corrupt,
    library_version,
    load_library,
)
from gaussian_yolo_node.lab.robustness.flips import flip_probability, is_noise, mean_flip_rate, top5_distance
from gaussian_yolo_node.lab.robustness.frames import evenly
from gaussian_yolo_node.lab.robustness.mce import mean_corruption_error
from gaussian_yolo_node.lab.robustness.perturbations import PERTURBATIONS, check_perturbation, sequence
from gaussian_yolo_node.labels import read_image

BATCH = 32
RESULT = "robustness.json"
Image = NDArray[np.uint8]
OnCell = Callable[[str], None]


@dataclass(frozen=True)
class ClassifierOptions:
    """Options of the test.

    Attributes:
        corruptions, severities: see `corruptions`; empty skips them.
        perturbations: see `perturbations`; empty skips them.
        attacks: "fgsm", "pgd"; epsilons: of 255.
        limit: images, evenly spaced; 0 takes all.
        mask: restrict predictions to the classes in the data, such as the 200 of ImageNet-A.
        baseline_flips: perturbation -> flip probability of the baseline network of mFR; empty skips mFR.
    """

    corruptions: Sequence[str] = CORRUPTIONS
    severities: Sequence[int] = SEVERITIES
    perturbations: Sequence[str] = tuple(PERTURBATIONS)
    attacks: Sequence[str] = ()
    epsilons: Sequence[float] = (0.0, 1.0, 2.0, 4.0, 8.0)
    limit: int = 0
    seed: int = 0
    mask: bool = False
    baseline_flips: Mapping[str, float] | None = None


def classifier_robustness(
    checkpoint: Path, data: Path, output: Path, options: ClassifierOptions, *, on_cell: OnCell = lambda name: None
) -> dict[str, Any]:
    """Test a classifier; an interrupted test continues.

    Images are corrupted after the centre crop, as in ImageNet-C.

    Args:
        checkpoint: of a classifier.
        data: see `classification.data.read_labelled`.
        output: folder of the cells and of robustness.json.

    Returns:
        the contents of robustness.json: `clean` (top1), `errors` (corruption -> severity -> top-1 error), `mce` in
        percent against AlexNet (None unless all corruptions and severities were tested), `flips`,
        `mean_flip_probability`, `mfr` (None without a baseline), `top5_distance`, and `attacks` (attack -> epsilon ->
        top1).

    Raises:
        GaussianYoloError: one sentence naming the error.
    """
    names = check_corruptions(options.corruptions) if options.corruptions else ()
    for name in options.perturbations:
        check_perturbation(name)
    severities = check_severities(options.severities)
    check_attacks(options.attacks, options.epsilons)
    if names:
        load_library()
    classifier = load_classifier(checkpoint)
    pictures = _Pictures(classifier, *_limited(read_labelled(data, classifier.classes)[0], options.limit), options)
    cells = Cells(output, pictures.settings(checkpoint))

    def cell(name: str, make: Callable[[], Any]) -> Any:
        on_cell(name)
        return cells.get_or_make(name, make)

    clean = cell("clean", lambda: pictures.top1(pictures.crops))
    errors = {
        name: {
            str(severity): 1 - cell(f"{name}-{severity}", partial(pictures.corrupted, name, severity))
            for severity in severities
        }
        for name in names
    }
    sequences = {name: cell(f"sequence-{name}", partial(pictures.perturbed, name)) for name in options.perturbations}
    attacks = {
        kind: {f"{eps:g}": cell(f"{kind}-{eps:g}", partial(pictures.attacked, kind, eps)) for eps in options.epsilons}
        for kind in options.attacks
    }
    result = summary(cells.settings, clean, errors, sequences, attacks, options)
    write_json(output / RESULT, result)
    return result


def summary(
    settings: Mapping[str, Any],
    clean: float | None,
    errors: Mapping[str, Mapping[str, float]],
    sequences: Mapping[str, Mapping[str, float]],
    attacks: Mapping[str, Mapping[str, float]],
    options: ClassifierOptions,
) -> dict[str, Any]:
    """The contents of robustness.json, see `classifier_robustness`."""
    flips = {name: found["flip"] for name, found in sequences.items()}
    whole = set(errors) == set(CORRUPTIONS) and all(len(row) == len(SEVERITIES) for row in errors.values())
    return {
        "settings": settings,
        "clean": clean,
        "errors": errors,
        "mce": mean_corruption_error({name: list(row.values()) for name, row in errors.items()}) if whole else None,
        "flips": flips,
        "mean_flip_probability": float(np.mean(list(flips.values()))) if flips else None,
        "mfr": mean_flip_rate(flips, options.baseline_flips) if flips and options.baseline_flips else None,
        "top5_distance": {name: found["top5"] for name, found in sequences.items()},
        "attacks": attacks,
    }


def _limited(items: Items, limit: int) -> tuple[list[Path], NDArray[np.intp]]:
    """Paths and class ids of at most `limit` images."""
    paths = evenly(items.paths, limit)
    of = dict(zip(items.paths, items.targets.argmax(axis=1), strict=True))
    return paths, np.array([of[path] for path in paths], np.intp)


class Scorer:
    """Logits of a classifier; with `mask`, classes that are not among `truths` cannot be the answer."""

    def __init__(self, classifier: Classifier, truths: NDArray[np.intp], mask: bool) -> None:
        self.classifier = classifier
        # Added to the logits.
        self.mask = torch.zeros(len(classifier.classes))
        if mask:
            self.mask[np.setdiff1d(np.arange(len(classifier.classes)), truths)] = -torch.inf

    def logits(self, pixels: Tensor) -> Tensor:
        """`[B,C]` of RGB `[B,3,S,S]`, 0..255."""
        return self.classifier.model(self.classifier.model.normalisation(pixels.float())) + self.mask

    @torch.no_grad()
    def scores(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        """Logits `[N,C]` of N images uint8 `[S,S,3]` BGR."""
        parts = [self.logits(as_tensor(crops[start : start + BATCH])) for start in range(0, len(crops), BATCH)]
        return np.asarray(torch.cat(parts).numpy(), np.float32)


class _Pictures(Scorer):
    """The centre-cropped images of a test: `crops` uint8 `[S,S,3]` BGR."""

    def __init__(
        self, classifier: Classifier, paths: list[Path], truths: NDArray[np.intp], options: ClassifierOptions
    ) -> None:
        super().__init__(classifier, truths, options.mask)
        self.paths, self.truths, self.options = paths, truths, options
        fraction, size = classifier.config.model.crop_fraction, classifier.image_size
        self.crops = [centre_crop(read_image(path), size, fraction) for path in paths]

    def settings(self, checkpoint: Path) -> dict[str, Any]:
        """Everything that determines the cells."""
        digest = hashlib.sha256(b"".join(crop.tobytes() for crop in self.crops) + self.truths.tobytes())
        return {
            "kind": "classification",
            "model": self.classifier.config.name,
            "model_hash": short_hash(checkpoint),
            "pictures": len(self.paths),
            "pictures_hash": digest.hexdigest()[:16],
            "mask": self.options.mask,
            "seed": self.options.seed,
            "library": library_version(),
        }

    def top1(self, crops: Sequence[Image]) -> float:
        """Top-1 accuracy."""
        return float((self.scores(crops).argmax(axis=1) == self.truths).mean())

    def corrupted(self, name: str, severity: int) -> float:
        """`top1` under a corruption."""
        seed = self.options.seed
        return self.top1(
            [corrupt(crop, name, severity, key=str(number), seed=seed) for number, crop in enumerate(self.crops)]
        )

    def perturbed(self, name: str) -> dict[str, float]:
        """Flip probability and top-5 distance over the sequences of all images."""
        return flip_figures(
            name,
            [
                self.scores(sequence(crop, name, np.random.default_rng([self.options.seed, number])))
                for number, crop in enumerate(self.crops)
            ],
        )

    def attacked(self, kind: str, epsilon: float) -> float:
        """`top1` under an attack of at most epsilon."""
        generator = torch.Generator().manual_seed(self.options.seed)
        right = 0
        for start in range(0, len(self.crops), BATCH):
            pixels = as_tensor(self.crops[start : start + BATCH]).float()
            truths = torch.from_numpy(self.truths[start : start + BATCH])

            def loss(given: Tensor, truths: Tensor = truths) -> Tensor:
                return F.cross_entropy(self.logits(given), truths, reduction="none")

            changed = attacked(kind, pixels, loss, epsilon, generator)
            with torch.no_grad():
                right += int((self.logits(changed).argmax(1) == truths).sum())
        return right / len(self.crops)


def flip_figures(perturbation: str, scores: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    """Flip probability (`flip`) and top-5 distance (`top5`) of scores `[F,C]`, one array per sequence."""
    noise = is_noise(perturbation)
    return {
        "flip": flip_probability([each.argmax(axis=1) for each in scores], noise=noise),
        "top5": top5_distance(scores, noise=noise),
    }


def read_baseline(path: Path) -> dict[str, float]:
    """Flip probabilities of another network, from JSON `{perturbation: probability}` or its robustness.json.

    Raises:
        RobustnessError: the file is neither.
    """
    wanted = "no JSON of flip probabilities by perturbation"
    document = read_json(path, "baseline", lambda fault: RobustnessError(f"{fault}: {wanted}"))
    try:
        return {str(name): float(value) for name, value in document.get("flips", document).items()}
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise RobustnessError(f"baseline {path} is {wanted}") from error

"""Whether dropping what is most uncertain leaves what is better: risk against coverage.

El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification", JMLR 2010; the area and what it is
above the oracle's as Geifman et al., "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation.all_objects import class_ious, judge_class, match_boxes
from gaussian_yolo_node.evaluation.matching import Floats, MatchedBoxes, box_areas
from gaussian_yolo_node.evaluation.paired import Paired
from gaussian_yolo_node.evaluation.uncertainty import box_uncertainty

_DICT_POINTS = 100


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Mean risk of the surest, as more and more are kept.

    Attributes:
        coverage: [N], share that is kept: 1/N, 2/N .. 1.
        risk: [N], mean risk of these. Of equally uncertain ones each is as likely to be kept: an expectation.
        oracle: [N], the same with the least risks first: no order is better.
        area: mean of `risk`, AURC.
        oracle_area: mean of `oracle`.
        random_area: mean risk of all, which is what dropping at random leaves.
    """

    coverage: Floats
    risk: Floats
    oracle: Floats
    area: float
    oracle_area: float
    random_area: float

    @property
    def gain(self) -> float | None:
        """How far from random (0) to the oracle (1); below 0 is worse than random. None if the risks are all equal."""
        room = self.random_area - self.oracle_area
        # Equal risks have means that differ by rounding.
        if room <= 1e-12 * abs(self.random_area):
            return None
        return (self.random_area - self.area) / room

    def at(self, coverage: float) -> float:
        """Mean risk when this share is kept, above 0 to 1; of what falls between two boxes, the greater share."""
        # A share such as 0.07 times 100 lies a rounding above the whole number it means.
        kept = int(np.ceil(coverage * len(self.risk) * (1 - 1e-12)))
        return float(self.risk[min(max(kept, 1), len(self.risk)) - 1])

    def to_dict(self) -> dict[str, Any]:
        """For JSON; the curve at each percent of coverage."""
        shares = np.arange(1, _DICT_POINTS + 1) / _DICT_POINTS
        oracle = replace(self, risk=self.oracle)
        return {
            "boxes": len(self.risk),
            "area": self.area,
            "oracle_area": self.oracle_area,
            "random_area": self.random_area,
            "gain": self.gain,
            "coverage": shares.tolist(),
            "risk": [self.at(share) for share in shares],
            "oracle": [oracle.at(share) for share in shares],
        }


@dataclass(frozen=True, eq=False)
class DetectionRisks:
    """Detections that count, right ones and wrong ones, by class and falling score.

    Attributes:
        scores: [N].
        risks: [N], 1 - IoU with the object that was found, 1 for a false positive.
        uncertainties: [N], `box_uncertainty`; None if sigmas are unknown.
    """

    scores: Floats
    risks: Floats
    uncertainties: Floats | None


def risk_coverage(uncertainties: Floats, risks: Floats) -> RiskCoverage | None:
    """Drop the most uncertain first.

    Args:
        uncertainties: [N], of whatever kind: only their order counts.
        risks: [N], what each that is kept costs.

    Returns:
        None if N is 0.
    """
    count = len(risks)
    if not count:
        return None
    kept = np.arange(1, count + 1)
    # The expected sum over a group of equals grows by its mean with each that is kept.
    _, group, sizes = np.unique(uncertainties, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=risks) / sizes
    risk = np.cumsum(np.repeat(means, sizes)) / kept
    oracle = np.cumsum(np.sort(risks)) / kept
    return RiskCoverage(
        kept / count, risk, oracle, float(risk.mean()), float(oracle.mean()), float(np.mean(risks, dtype=np.float64))
    )


def box_risks(matched: MatchedBoxes) -> Mapping[str, Mapping[str, RiskCoverage]]:
    """What sigmas tell of the errors of boxes that found their object, and what the size of the box alone would.

    Large boxes have large errors in px and small ones low IoU, so any sigma that grows with the box looks good by
    itself. It must tell more than the size does.

    Returns:
        By risk ("1 - IoU", "centre error" and "size error", Euclidean in px) and by what is dropped by: "sigma"
        (`box_uncertainty` for IoU; sigma of centre or size in px for the errors) and "box size". Empty without sigmas
        or boxes.
    """
    if matched.sigmas is None or not len(matched):
        return {}
    errors, sigmas, areas = matched.errors, matched.sigmas, box_areas(matched.boxes)
    by_risk = {
        "1 - IoU": (1 - matched.ious, box_uncertainty(matched.boxes, sigmas), -areas),
        "centre error": (_length(errors[:, :2]), _length(sigmas[:, :2]), areas),
        "size error": (_length(errors[:, 2:]), _length(sigmas[:, 2:]), areas),
    }
    return {
        name: {
            "sigma": _at_least_one(risk_coverage(sigma, risk)),
            "box size": _at_least_one(risk_coverage(size, risk)),
        }
        for name, (risk, sigma, size) in by_risk.items()
    }


def detection_risks(paired: Paired, iou_threshold: float, least_score: float) -> DetectionRisks:
    """What keeping each detection costs, by the rules for every labelled object (`all_objects.judge_class`).

    Args:
        iou_threshold: of a detection with its object, to have found it.
        least_score: of the detections that count.
    """
    found = paired.found
    # With its place in the order as its score, a detection's verdict tells whose it is.
    order = np.lexsort((found.places, -found.scores))
    places = np.empty(len(order))
    places[order] = np.arange(len(order))
    ranked = replace(paired, found=replace(found, scores=-places))
    rows = [np.empty(0, np.intp)]
    right = [np.empty(0, bool)]
    for name in class_ious(paired):
        judged = judge_class(ranked, name, iou_threshold)
        of_class = order[(-judged.scores).astype(np.intp)]
        kept = found.scores[of_class] >= least_score
        rows.append(of_class[kept])
        right.append(judged.correct[kept])
    row, correct = np.concatenate(rows), np.concatenate(right)
    risks = np.ones(len(row))
    risks[_in_order_of_frames(found.frames[row], correct)] = 1 - match_boxes(paired, iou_threshold, least_score).ious
    uncertainties = None if found.sigmas is None else box_uncertainty(found.boxes[row], found.sigmas[row])
    return DetectionRisks(found.scores[row], risks, uncertainties)


def detection_curves(risks: DetectionRisks) -> Mapping[str, RiskCoverage]:
    """Risk and coverage by what is dropped by, "score" and "sigma"; without sigmas or detections less."""
    curves = {"score": risk_coverage(-risks.scores, risks.risks)}
    if risks.uncertainties is not None:
        curves["sigma"] = risk_coverage(risks.uncertainties, risks.risks)
    return {name: curve for name, curve in curves.items() if curve is not None}


def _in_order_of_frames(frames: NDArray[np.intp], correct: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Places of what is correct, in the order in which `match_boxes` gives them."""
    places = np.flatnonzero(correct)
    return places[np.argsort(frames[places], kind="stable")]


def _length(vectors: Floats) -> Floats:
    lengths: Floats = np.sqrt((vectors**2).sum(axis=1))
    return lengths


def _at_least_one(curve: RiskCoverage | None) -> RiskCoverage:
    assert curve is not None  # there are boxes
    return curve

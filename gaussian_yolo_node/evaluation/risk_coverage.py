"""Risk against coverage: whether dropping the most uncertain detections lowers the mean risk of the rest.

El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification", JMLR 2010. The area, and its excess
over the oracle's, as in Geifman et al., "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gaussian_yolo_node.evaluation.all_objects import class_ious, judge_class
from gaussian_yolo_node.evaluation.matching import Floats, MatchedBoxes, box_areas, overlaps
from gaussian_yolo_node.evaluation.paired import Paired
from gaussian_yolo_node.evaluation.uncertainty import box_uncertainty

_DICT_POINTS = 100


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Mean risk of the least uncertain detections, as a function of the share kept.

    Attributes:
        coverage: [N], share that is kept: 1/N, 2/N .. 1.
        risk: [N], mean risk of the kept ones. Among equal uncertainties this is the expectation over a random order.
        oracle: [N], the same ordered by risk, which no order can beat.
        area: mean of `risk`, AURC.
        oracle_area: mean of `oracle`.
        random_area: mean risk of all, the expected risk when dropping at random.
    """

    coverage: Floats
    risk: Floats
    oracle: Floats
    area: float
    oracle_area: float
    random_area: float

    @property
    def gain(self) -> float | None:
        """Position between random (0) and the oracle (1); below 0 is worse than random. None if all risks are equal."""
        room = self.random_area - self.oracle_area
        # Equal risks have means that differ by rounding.
        if room <= 1e-12 * abs(self.random_area):
            return None
        return (self.random_area - self.area) / room

    def at(self, coverage: float) -> float:
        """Mean risk when a share in (0, 1] is kept; a fraction of a box rounds up."""
        # Rounding can put, say, 0.07 * 100 just above the whole number.
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
    """Detections that count, correct and wrong, by class and falling score.

    Attributes:
        scores: [N].
        risks: [N], 1 - IoU with the matched object, 1 for a false positive.
        uncertainties: [N], `box_uncertainty`; None if sigmas are unknown.
    """

    scores: Floats
    risks: Floats
    uncertainties: Floats | None


def risk_coverage(uncertainties: Floats, risks: Floats) -> RiskCoverage:
    """Drop the most uncertain first.

    Args:
        uncertainties: [N], N > 0, in any unit: only their order counts.
        risks: [N], cost of keeping each one.
    """
    count = len(risks)
    kept = np.arange(1, count + 1)
    # Within a group of equal uncertainties, each one kept adds the group's mean to the expected sum.
    _, group, sizes = np.unique(uncertainties, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=risks) / sizes
    risk = np.cumsum(np.repeat(means, sizes)) / kept
    oracle = np.cumsum(np.sort(risks)) / kept
    return RiskCoverage(
        kept / count, risk, oracle, float(risk.mean()), float(oracle.mean()), float(np.mean(risks, dtype=np.float64))
    )


def box_risks(matched: MatchedBoxes) -> Mapping[str, Mapping[str, RiskCoverage]]:
    """How well sigmas rank the errors of matched boxes, compared with ranking by box size.

    Large boxes have large errors in px and small boxes have low IoU, so any sigma that grows with the box looks good by
    itself. Sigma must do better than the size does.

    Returns:
        By risk ("1 - IoU", "centre error" and "size error", Euclidean in px), then by ranking: "sigma"
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
        name: {"sigma": risk_coverage(sigma, risk), "box size": risk_coverage(size, risk)}
        for name, (risk, sigma, size) in by_risk.items()
    }


def detection_risks(paired: Paired, iou_threshold: float, least_score: float) -> DetectionRisks:
    """Risk of each detection from `least_score`, by the rules for every labelled object (`all_objects.judge_class`)."""
    judged = [judge_class(paired, name, iou_threshold) for name in class_ious(paired)]
    rows, matches = (
        np.concatenate([np.empty(0, np.intp), *(getattr(of, field)[of.scores >= least_score] for of in judged)])
        for field in ("rows", "matches")
    )
    detections, correct = paired.detections[rows], matches >= 0
    risks = np.ones(len(rows))
    risks[correct] = 1 - overlaps(detections.boxes[correct], paired.truths.boxes[matches[correct]])
    uncertainties = box_uncertainty(detections.boxes, detections.sigmas) if paired.has_sigmas else None
    return DetectionRisks(detections.scores, risks, uncertainties)


def detection_curves(risks: DetectionRisks) -> Mapping[str, RiskCoverage]:
    """Risk-coverage curves by ranking, "score" and "sigma"; "sigma" needs sigmas, and both need detections."""
    if not len(risks.scores):
        return {}
    curves = {"score": risk_coverage(-risks.scores, risks.risks)}
    if risks.uncertainties is not None:
        curves["sigma"] = risk_coverage(risks.uncertainties, risks.risks)
    return curves


def _length(vectors: Floats) -> Floats:
    return np.sqrt((vectors**2).sum(axis=1))

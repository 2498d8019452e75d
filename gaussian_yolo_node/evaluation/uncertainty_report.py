"""All that an evaluation says about scores and sigmas, in one result for pages and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gaussian_yolo_node.evaluation import LEAST_SCORE
from gaussian_yolo_node.evaluation.all_objects import (
    COMMON_IOU,
    LOOSE_IOU,
    Judged,
    class_ious,
    judge_class,
    match_boxes,
    ranked_sigma_quality,
    scores_and_correct,
)
from gaussian_yolo_node.evaluation.paired import Paired
from gaussian_yolo_node.evaluation.reliability import ScoreQuality, score_quality
from gaussian_yolo_node.evaluation.risk_coverage import RiskCoverage, box_risks, detection_curves, detection_risks
from gaussian_yolo_node.evaluation.sigma_curves import (
    CoverageCurve,
    IouAgainstSigma,
    Likelihood,
    Sharpness,
    coverage_curve,
    iou_against_sigma,
    likelihoods,
    sharpness,
)
from gaussian_yolo_node.evaluation.threshold_curves import (
    TermEffect,
    ThresholdCurve,
    false_positives_by_threshold,
    term_effects,
)
from gaussian_yolo_node.evaluation.uncertainty import SigmaQuality


@dataclass(frozen=True, eq=False)
class UncertaintyReport:
    """How far scores and sigmas can be trusted.

    Attributes:
        iou: minimum IoU of a correct detection with its object; `iou_against_sigma` includes boxes with IoU 0.1 or
            more.
        least_score: minimum score of the detections in everything except `thresholds`.
        boxes: number of detections that match an object.
        score: calibration of the score, all classes together.
        sigma: coverage, likelihood and calibration errors; None without sigmas or boxes, as are the next four.
        likelihoods: by coordinate, compared with sigmas that do not depend on the box.
        iou_against_sigma: the paper's figure, both ways.
        detection_risks: risk-coverage curves including false positives, whose risk is 1; by ranking: "score", "sigma".
        thresholds: true and false positives, by class and "all".
        term_effects: with and without the uncertainty term, all classes together: "common" at `iou`, "class" at the
            minimum IoU of each class (`all_objects.class_ious`), which demands better placed boxes. None without a run
            to compare with.
    """

    iou: float
    least_score: float
    boxes: int
    score: ScoreQuality
    sigma: SigmaQuality | None
    coverage: CoverageCurve | None
    sharpness: Mapping[str, Sharpness] | None
    likelihoods: Mapping[str, Likelihood] | None
    iou_against_sigma: IouAgainstSigma | None
    box_risks: Mapping[str, Mapping[str, RiskCoverage]]
    detection_risks: Mapping[str, RiskCoverage]
    thresholds: Mapping[str, ThresholdCurve]
    term_effects: Mapping[str, tuple[TermEffect, ...]] | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: null for missing values; px and nats unless a name says otherwise."""
        against = self.iou_against_sigma
        effects = self.term_effects
        return {
            "iou": self.iou,
            "least_score": self.least_score,
            "boxes": self.boxes,
            "score": asdict(self.score),
            "sigma": None if self.sigma is None else asdict(self.sigma),
            "coverage": None if self.coverage is None else _coverage_dict(self.coverage),
            "sharpness": _each_as_dict(self.sharpness),
            "likelihoods": _each_as_dict(self.likelihoods),
            "iou_by_sigma": None if against is None else [asdict(each) for each in against.by_sigma],
            "sigma_by_iou": None if against is None else [asdict(each) for each in against.by_iou],
            "box_risks": {
                risk: {by: curve.to_dict() for by, curve in curves.items()} for risk, curves in self.box_risks.items()
            },
            "detection_risks": {by: curve.to_dict() for by, curve in self.detection_risks.items()},
            "thresholds": {name: curve.to_dict() for name, curve in self.thresholds.items()},
            "term_effects": effects and {iou: [_effect_dict(effect) for effect in of] for iou, of in effects.items()},
        }


def uncertainty_report(
    paired: Paired, *, least_score: float = LEAST_SCORE, without_term: Paired | None = None
) -> UncertaintyReport:
    """Judge scores and sigmas by the rules for every labelled object (`all_objects.judge_class`).

    Args:
        least_score: minimum score of the detections whose scores and sigmas are judged.
        without_term: the same frames with criterion "confidence", to show the effect of the uncertainty term.
    """
    common = dict.fromkeys(class_ious(paired), COMMON_IOU)
    judged = _judged(paired, common)
    matched, loose = (match_boxes(paired, iou, least_score) for iou in (COMMON_IOU, LOOSE_IOU))
    effects = None
    if without_term is not None:
        ious = {"common": common, "class": class_ious(paired)}
        effects = {name: _effects(paired, without_term, of) for name, of in ious.items()}
    return UncertaintyReport(
        COMMON_IOU,
        least_score,
        len(matched),
        score_quality(*scores_and_correct(judged.values(), least_score)),
        ranked_sigma_quality(matched, loose),
        coverage_curve(matched),
        sharpness(matched),
        likelihoods(matched),
        iou_against_sigma(loose),
        box_risks(matched),
        detection_curves(detection_risks(paired, COMMON_IOU, least_score)),
        {name: false_positives_by_threshold([of]) for name, of in judged.items()}
        | {"all": false_positives_by_threshold(judged.values())},
        effects,
    )


def _judged(paired: Paired, ious: Mapping[str, float]) -> dict[str, Judged]:
    return {name: judge_class(paired, name, iou) for name, iou in ious.items()}


def _effects(with_term: Paired, without_term: Paired, ious: Mapping[str, float]) -> tuple[TermEffect, ...]:
    with_curve, without_curve = (
        false_positives_by_threshold(_judged(paired, ious).values()) for paired in (with_term, without_term)
    )
    return term_effects(with_curve, without_curve)


def _coverage_dict(curve: CoverageCurve) -> dict[str, Any]:
    observed = {name: values.tolist() for name, values in curve.observed.items()}
    return {"expected": curve.expected.tolist(), "observed": observed}


def _each_as_dict(figures: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if figures is None else {name: asdict(of) for name, of in figures.items()}


def _effect_dict(effect: TermEffect) -> dict[str, Any]:
    fields = asdict(effect)
    if effect.equal is not None and math.isinf(effect.equal.threshold):
        fields["equal"]["threshold"] = None  # above all scores
    return fields

"""Evaluation from truths and predictions in one call, as the command does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gaussian_yolo_node.evaluation.paired import pair
from gaussian_yolo_node.evaluation.protocols import ProtocolResult, check_classes, evaluate_pairs
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, GroundTruth


def evaluate_protocol(
    protocol: str, truths: GroundTruth, predictions: Sequence[FramePredictions], **options: Any
) -> ProtocolResult:
    paired = pair(truths, predictions)
    check_classes(paired)
    return evaluate_pairs(protocol, paired, **options)

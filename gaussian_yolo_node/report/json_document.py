"""The figures of a report as JSON, for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from gaussian_yolo_node.report.bootstrap import LEVEL, RESAMPLES
from gaussian_yolo_node.report.comparison import ComparedRuns
from gaussian_yolo_node.report.contents import Contents
from gaussian_yolo_node.report.road import road_document

_FORMAT = 1


def json_document(contents: Contents) -> str:
    """All figures, unrounded: shares in 0..1, times in s, sigmas in px; null for what cannot be measured."""
    evidence, assessment = contents.evidence, contents.assessment
    run, result, answered = evidence.run, assessment.result, assessment.answered
    document: dict[str, Any] = {
        "format": _FORMAT,
        "name": evidence.name,
        "protocol": None if result is None else result.protocol,
        "ap": {} if result is None else result.ap,
        "map": None if result is None else result.map,
        "score_threshold": assessment.threshold,
        "accuracy": None if result is None else result.to_dict(),
        "accuracy_answered": None if answered is None else answered.to_dict(),
        "drop_cost_map": None if result is None or answered is None else answered.map - result.map,
        "intervals": {
            "bootstrap": _bootstrap(contents.intervals.block),
            "figures": {name: asdict(estimate) for name, estimate in contents.intervals.estimates.items()},
        },
        "uncertainty": None if contents.uncertainty is None else contents.uncertainty.to_dict(),
        **road_document(contents.tracked, contents.placed),
        "latency": None if contents.latency is None else asdict(contents.latency),
        "counters": None if run is None else asdict(run.counters),
        "worst_frames": [
            {"name": name, "false_positives": each.false_positives, "missed": each.missed}
            for name, each in contents.pictures.frames.items()
        ],
        "comparison": None,
        "notes": list(evidence.notes),
        "commands": list(contents.commands),
        "files": contents.files,
    }
    if run is not None:
        fields = ("bag", "image_topic", "mode", "rate_factor", "rate_hz", "criterion", "model", "model_hash")
        document["run"] = {name: getattr(run, name) for name in (*fields, "runtime", "machine", "started", "elapsed_s")}
    if contents.baseline is not None:
        document["comparison"] = {
            "baseline": contents.baseline.evidence.name,
            **_comparison(contents.baseline.compared),
        }
    return json.dumps(_plain(document), indent=1, allow_nan=False) + "\n"


def _comparison(compared: ComparedRuns) -> dict[str, Any]:
    return {
        "frames": compared.frames,
        "only_run": compared.only_run,
        "only_baseline": compared.only_baseline,
        "bootstrap": _bootstrap(compared.block),
        "figures": {
            key: {
                "run": row.run,
                "baseline": row.baseline,
                "difference": row.difference.value,
                "low": row.difference.low,
                "high": row.difference.high,
                "verdict": row.verdict,
            }
            for key, row in compared.rows.items()
        },
    }


def _bootstrap(block: int) -> dict[str, Any]:
    return {"resamples": RESAMPLES, "block_frames": block, "level": LEVEL}


def _plain(value: Any) -> Any:
    """A value that JSON can represent; non-finite numbers become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

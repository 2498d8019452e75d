"""What the node says of itself on /diagnostics: a summary, and a status each for input, detector and output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.rate_keeper import RateKeeper
from gaussian_yolo_node.display import safe
from gaussian_yolo_node.ros.diagnostics import FrameStatistics
from gaussian_yolo_node.ros.inputs import Arrival, InputStatus
from gaussian_yolo_node.ros.mailbox import Mailbox
from gaussian_yolo_node.ros.parameter_table import PerceptionParameters
from gaussian_yolo_node.runtime.base import show_size

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
# Ages outside these limits, s, are errors of a clock: a fraction of a second is the jitter of clocks in step.
_MOST_AHEAD_S, _OLDEST_S = 0.1, 60.0
# Below this share of the rate that it could have, the detector is too slow.
_SLOW = 0.9

Verdict = tuple[bytes, str]


@dataclass(frozen=True)
class Parts:
    """What the statuses are about.

    Attributes:
        name: full name of the node.
        error: why the node cannot work; empty if it can.
        busy_with: what it waits for, such as a model that loads; empty if it does not wait.
        enabled: whether it processes frames.
        values: the parameters.
        now_s: the node's clock, s; 0 if it has none yet.
        detector, input, keeper: None until there is one.
        held: why no frame is finished although frames arrive; empty if they are.
        road_notice: why places on the ground are missing; empty if they are not.
    """

    name: str
    error: str
    busy_with: str
    enabled: bool
    values: PerceptionParameters
    now_s: float
    statistics: FrameStatistics
    mailbox: Mailbox[Arrival]
    detector: Detector | None
    input: InputStatus | None
    keeper: RateKeeper | None
    held: str = ""
    road_notice: str = ""


def statuses(parts: Parts) -> list[DiagnosticStatus]:
    """The summary, with the worst level and all values, then the statuses of the three parts."""
    values = _values(parts)
    verdicts = {"input": _input(parts), "detector": _detector(parts), "output": _output(parts)}
    idle = _idle(parts)
    if idle is not None:
        verdicts = dict.fromkeys(verdicts, idle)
    worst = max(verdicts.values(), key=lambda verdict: verdict[0])
    if worst[0] == OK:
        worst = verdicts["input"]
    camera = parts.values.shown_input if parts.values.source else parts.values.image_topic
    hardware = camera or parts.values.frame_id
    return [
        build_status(f"{parts.name}: perception", hardware, *worst, values),
        *(
            build_status(f"{parts.name}: {part}", hardware, *verdict, {key: values[key] for key in _KEYS[part].split()})
            for part, verdict in verdicts.items()
        ),
    ]


def build_status(
    name: str, hardware_id: str, level: bytes, message: str, values: Mapping[str, str]
) -> DiagnosticStatus:
    """A status message without secrets and control characters; `level` is a constant of DiagnosticStatus."""
    return DiagnosticStatus(
        level=level,
        name=name,
        message=safe(message),
        hardware_id=safe(hardware_id),
        values=[KeyValue(key=key, value=safe(value)) for key, value in values.items()],
    )


def _idle(parts: Parts) -> Verdict | None:
    """For all parts alike, as long as the node does not work."""
    if parts.error:
        return ERROR, parts.error
    if parts.busy_with:
        return OK, parts.busy_with
    if parts.detector is None:
        return OK, "unconfigured"
    if parts.input is None:
        return OK, "inactive"
    if not parts.enabled and not parts.input.error:
        return OK, "disabled: call ~/enable with data: true"
    return None


def _input(parts: Parts) -> Verdict:
    if parts.input is None:
        return OK, ""
    if parts.input.error:
        return ERROR, parts.input.error
    recent = parts.statistics.recent()
    warnings = [parts.input.notice, _stamps(parts, recent.age_s), parts.road_notice]
    if 0 < recent.arrival_hz < parts.values.min_rate:
        warnings.append(f"{recent.arrival_hz:.1f} Hz arrive, fewer than min_rate, {parts.values.min_rate:g} Hz")
    return _first(warnings, f"{parts.input.state}, {parts.statistics.rate_hz:.1f} Hz")


def _stamps(parts: Parts, age_s: float | None) -> str:
    if parts.now_s == 0:
        return "use_sim_time is true and nothing publishes /clock, so frames have no age"
    if age_s is None:
        return "the images have stamps of zero, so their age is unknown" if parts.statistics.processed else ""
    if age_s < -_MOST_AHEAD_S:
        return f"stamps are {-age_s:.1f} s ahead of this node's clock: set the clocks of camera and computer in step"
    if age_s > _OLDEST_S:
        return f"stamps are {age_s:.0f} s old: set the clocks in step, or use_sim_time where a bag is played"
    return ""


def _detector(parts: Parts) -> Verdict:
    if parts.detector is None:
        return OK, ""
    statistics = parts.statistics
    failures = statistics.take_unreported_failures()
    if parts.held:
        return ERROR, parts.held
    if statistics.failing:
        return ERROR, statistics.last_error
    recent = statistics.recent()
    warnings = [parts.detector.notice, parts.keeper.notice if parts.keeper else ""]
    if failures:
        warnings.insert(0, f"{failures} frames failed: {statistics.last_error}")
    if recent.dropped_share > parts.values.max_dropped:
        share, limit = 100 * recent.dropped_share, 100 * parts.values.max_dropped
        warnings.append(f"{share:.0f} % of the frames are dropped, more than max_dropped, {limit:.0f} %")
    if parts.values.keeps_rate and recent.dropped_share > 0:
        possible = min(parts.values.target_rate, recent.arrival_hz)
        if 0 < recent.processed_hz < _SLOW * possible:
            warnings.append(f"{recent.processed_hz:.1f} Hz of {possible:.1f} Hz that arrive and target_rate asks for")
    return _first(warnings, f"{parts.detector.card.name} on canvas {show_size(parts.detector.input_size)}")


def _output(parts: Parts) -> Verdict:
    oldest = parts.statistics.recent().age_p99_s
    warnings = []
    if oldest is not None and parts.values.max_age < oldest <= _OLDEST_S:
        warnings.append(f"detections are {oldest:.2f} s old (p99), more than max_age, {parts.values.max_age:g} s")
    return _first(warnings, f"{parts.statistics.processed} frames published")


def _first(warnings: list[str], otherwise: str) -> Verdict:
    return next(((WARN, warning) for warning in warnings if warning), (OK, otherwise))


def _values(parts: Parts) -> dict[str, str]:
    detector, statistics, keeper, values = parts.detector, parts.statistics, parts.keeper, parts.values
    source = parts.input or InputStatus("closed")
    return {
        "frames_received": str(statistics.received + source.skipped + source.dropped),
        "frames_processed": str(statistics.processed),
        "frames_dropped": str(parts.mailbox.dropped + source.dropped),
        "frames_skipped": str(statistics.failed + source.skipped),
        **statistics.values(),
        "model": str(detector.model_path) if detector else values.model,
        "model_card": json.dumps(detector.card, default=vars) if detector else "",
        "model_hash": detector.model_hash if detector else "",
        "runtime": detector.runtime.description if detector else values.runtime,
        "canvas": show_size(detector.input_size) if detector else "",
        "canvas_accuracy": keeper.accuracy if keeper else "",
        "canvas_choice": keeper.choice if keeper else "",
        "target_rate": f"{values.target_rate:g}" if values.keeps_rate else "",
        "score_threshold": f"{detector.score_threshold:g}" if detector else "",
        "iou_threshold": f"{detector.iou_threshold:g}" if detector else "",
        "criterion": detector.criterion if detector else values.criterion,
        "source": values.shown_input,
        "source_state": source.state,
        "last_error": parts.error or statistics.last_error or source.message,
    }


# Which values the status of each part has.
_KEYS = {
    "input": "source source_state frames_received frames_skipped wait_ms decode_ms",
    "detector": "model model_hash runtime canvas canvas_accuracy canvas_choice target_rate frames_dropped "
    "preprocess_ms inference_ms postprocess_ms",
    "output": "frames_processed rate_hz frame_age_p50_ms frame_age_p99_ms frame_age_max_ms publish_ms",
}

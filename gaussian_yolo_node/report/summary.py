"""The report's summary: the key figures and their caveats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gaussian_yolo_node.evaluation.protocols import ProtocolResult
from gaussian_yolo_node.replay.run_folder import ReplayRun
from gaussian_yolo_node.report.accuracy import RESAMPLED
from gaussian_yolo_node.report.bootstrap import Estimate
from gaussian_yolo_node.report.compared import interval
from gaussian_yolo_node.report.comparison import measure_of
from gaussian_yolo_node.report.latency import Latency
from gaussian_yolo_node.report.page import (
    MISSING,
    Content,
    Html,
    Section,
    bullets,
    count,
    join,
    number,
    percent,
    tag,
)


@dataclass(frozen=True)
class Card:
    """A figure in large type.

    Attributes:
        name: name of the figure.
        value: with its unit.
        detail: explanation, or the interval.
    """

    name: Content
    value: Content
    detail: Content = ""


def summary_section(cards: Iterable[Card], statements: Iterable[Content], warnings: Iterable[Content]) -> Section:
    """Cards, then sentences, then warnings."""
    told = list(warnings)
    alarm = [tag("div", tag("strong", "To be noted"), bullets(told), class_="warning")] if told else []
    return Section("summary", "Summary", join(_cards(cards), *alarm, bullets(statements)))


def accuracy_cards(
    result: ProtocolResult, answered: ProtocolResult | None, estimates: Mapping[str, Estimate]
) -> list[Card]:
    """Mean AP, and the cost of drops."""
    estimate = estimates.get("map", Estimate(None)) if result.protocol in RESAMPLED else Estimate(None)
    between = interval(estimate, measure_of("map"))
    cards = [
        Card(
            f"mean AP, protocol {result.protocol}",
            f"{percent(result.map, 2)} %",
            f"95 % interval {between}" if between != MISSING else "over all labelled frames",
        )
    ]
    if answered is not None:
        cost = answered.map - result.map
        cards.append(
            Card(
                "mean AP, answered frames only",
                f"{percent(answered.map, 2)} %",
                f"the drops cost {number(None if math.isnan(cost) else 100 * cost)} points",
            )
        )
    return cards


def latency_cards(run: ReplayRun, latency: Latency) -> list[Card]:
    """Drops and ages."""
    counters = run.counters
    share = counters.dropped / counters.played if counters.played else math.nan
    ages = latency.age_percentiles_s
    failed = f", {count(counters.failed)} failed" if counters.failed else ""
    cards = [
        Card(
            "frames dropped",
            count(counters.dropped),
            f"{percent(share, 2)} % of {count(counters.played)} played{failed}",
        )
    ]
    for level in (50, 99):
        age = ages.get(level)
        cards.append(
            Card(
                f"age of the answer, p{level}",
                f"{number(None if age is None else 1e3 * age, 1)} ms",
                "lockstep: a node at rest" if run.mode == "lockstep" else f"at {number(latency.played_hz, 1)} Hz",
            )
        )
    return cards


def sigma_card(estimate: Estimate | None) -> list[Card]:
    """Whether errors are as large as the sigmas claim."""
    if estimate is None or estimate.value is None:
        return []
    return [Card("errors within 1 sigma", f"{percent(estimate.value)} %", "a Gaussian has 68.3 %")]


def _cards(cards: Iterable[Card]) -> Html:
    return tag(
        "div",
        *(
            tag(
                "div",
                tag("div", card.name, class_="name"),
                tag("div", card.value, class_="value"),
                tag("div", card.detail, class_="detail"),
                class_="card",
            )
            for card in cards
        ),
        class_="cards",
    )

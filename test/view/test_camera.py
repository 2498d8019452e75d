"""A camera of the live view without a server."""

from __future__ import annotations

import time
from typing import Any

import pytest
from view.made_view import made_frame, made_report

from gaussian_yolo_node.view import camera as module
from gaussian_yolo_node.view.camera import HISTORY_S, Camera


class Clock:
    """In place of the module `time`, for both clocks."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def make_camera(watched: bool = True, news: list[int] | None = None) -> Camera:
    heard = [] if news is None else news
    return Camera("front", "http://127.0.0.1:1/", lambda: watched, lambda: heard.append(1), lambda camera: None)


def test_a_frame_that_nobody_looks_at_is_not_kept() -> None:
    news: list[int] = []
    camera = make_camera(watched=False, news=news)
    assert not camera.wanted
    camera.show(made_frame())
    assert camera.frame_after(0) is None and news == []


def test_the_newest_frame_wins(clock: Clock) -> None:
    camera = make_camera()
    for number in range(3):
        camera.show(made_frame(number, stamp_s=float(number)))
        clock.now += 1
    found = camera.frame_after(0)
    assert found is not None and found[1]["stamp"] == 2.0
    assert camera.frame_after(found[0]) is None
    # It is encoded once, however many ask.
    again = camera.frame_after(0)
    assert again is not None and again[2] is found[2]


@pytest.mark.parametrize(("rate", "least", "most"), [(5, 5, 5), (10, 10, 10), (30, 9, 12), (100, 10, 13)])
def test_pictures_per_second(clock: Clock, rate: int, least: int, most: int) -> None:
    news: list[int] = []
    camera = make_camera(news=news)
    for number in range(rate):
        clock.now = 1000.0 + number / rate
        camera.show(made_frame(number))
    assert least <= len(news) <= most


def test_nothing_of_a_forgotten_frame_is_left(clock: Clock) -> None:
    camera = make_camera()
    camera.show(made_frame())
    assert camera.frame_after(0) is not None
    camera.forget_frame()
    assert camera.frame_after(0) is None


def test_reports_of_the_last_minute(clock: Clock) -> None:
    camera = make_camera()
    for number in range(100):
        camera.report(*made_report(number))
        clock.now += 1
    number, reports = camera.reports_after(0)
    assert number == 100
    assert [report["time"] for report in reports] == [1039.0 + second for second in range(61)]
    assert reports[-1]["time"] - reports[0]["time"] == HISTORY_S
    assert reports[-1]["frames_dropped"] == 99 and reports[-1]["canvas"] == "256x832" and reports[-1]["level"] == 1
    assert camera.reports_after(98) == (100, reports[-2:])
    assert camera.reports_after(100) == (100, [])


def test_fast_reports_are_thinned_out_and_the_newest_is_there(clock: Clock) -> None:
    camera = make_camera()
    for number in range(200):
        camera.report(*made_report(number))
        assert camera.reports_after(number)[1][0]["frames_dropped"] == number
        clock.now += 0.05
    assert 40 <= len(camera.reports_after(0)[1]) <= 52


@pytest.mark.parametrize("text", ["", "nan", "inf", "no number"])
def test_a_figure_that_is_none(clock: Clock, text: str) -> None:
    camera = make_camera()
    camera.report(0, "", {"rate_hz": text})
    (report,) = camera.reports_after(0)[1]
    assert report["rate_hz"] is None and report["frames_dropped"] is None and report["canvas"] == ""


def test_the_clocks_are_those_of_the_process() -> None:
    camera = make_camera()
    before = time.time()
    camera.report(*made_report())
    report: dict[str, Any] = camera.reports_after(0)[1][0]
    assert before <= report["time"] <= time.time()

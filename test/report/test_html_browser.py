"""The report in a real browser: no console output, no network requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from chromium import visit
from report_factory import make_run

from gaussian_yolo_node.report.write import write_report


class _Nothing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """Address of an empty web server."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Nothing)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()
    thread.join()


def test_what_a_page_says_and_asks_for_is_seen(tmp_path: Path, server: str) -> None:
    """Console output and requests of a page are detected; otherwise the other tests would prove nothing."""
    page = tmp_path / "talkative.html"
    page.write_text(
        f"<!DOCTYPE html><title>t</title><img src='{server}/picture.png'>"
        f"<script>console.warn('a warning'); fetch('{server}/fetched').catch(() => 0); undefined_name;</script>"
    )

    seen = visit(page, tmp_path)

    assert any("a warning" in line for line in seen.console)
    assert any("undefined_name" in line for line in seen.console)
    assert f"{server}/picture.png" in seen.requests
    assert f"{server}/fetched" in seen.requests


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report with all sections, one without truth, and one in which every name is hostile."""
    folder = tmp_path_factory.mktemp("reports")
    baseline = make_run(folder / "baseline", wrong=3, criterion="confidence")
    full = make_run(folder / "full", drive=folder / "drive.mcap", lost=(3, 4))
    script = "</title></style><script>console.error('in {:d}'); fetch('http://127.0.0.1:9/')</script>"
    image = (
        "\"><img src='http://127.0.0.1:9/x.png' onerror=console.error(1)><style>@import 'http://127.0.0.1:9/'</style>"
    )
    hostile = make_run(
        folder / "hostile", names=script, class_name=image, category=image, notes=[image], machine=script, bag=image
    )
    return {
        "full": write_report(full, baseline=baseline),
        "no truth": write_report(make_run(folder / "bare", truth=False)),
        "hostile": write_report(hostile),
    }


@pytest.mark.parametrize("name", ["full", "no truth", "hostile"])
def test_the_report_says_nothing_and_asks_for_nothing(reports: dict[str, Path], tmp_path: Path, name: str) -> None:
    seen = visit(reports[name], tmp_path)

    assert seen.console == []
    assert seen.requests == []


@pytest.mark.parametrize(
    ("size", "flags"),
    [((1100, 900), ()), ((500, 900), ()), ((1100, 900), ("--blink-settings=preferredColorScheme=0",))],
    ids=["screen", "phone", "dark"],
)
def test_the_report_can_be_seen(
    reports: dict[str, Path], tmp_path: Path, size: tuple[int, int], flags: tuple[str, ...]
) -> None:
    seen = visit(reports["full"], tmp_path, size, *flags)

    picture = cv2.imread(str(seen.picture))
    assert picture is not None and picture.shape[1] == size[0]
    ground = int(np.median(picture))
    assert ground < 60 if flags else ground > 230
    # Text contrasts with the background, over the whole width of the text.
    differs = np.abs(picture.astype(int) - ground).max(axis=2) > 100
    assert 0.01 < differs.mean() < 0.3
    assert differs[:, : size[0] // 2].any() and differs[:, size[0] // 2 :].any()

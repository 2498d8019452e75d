"""The page in a real browser, on made data of a process that is killed and started again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed (extra 'view')")

from devtools import Tab
from view.made_view import DISTANCES, HOSTILE, IDS
from view.viewer import free_port

TEST = Path(__file__).resolve().parents[1]
STAMP = "document.querySelector('.frame')?.dataset.stamp"
# While nothing listens, the browser itself notes each refused connection; no page can prevent that.
REFUSED = "net::ERR_CONNECTION_REFUSED"


@pytest.fixture
def start() -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    """Starts a process that shows made data on a port; it listens when this returns."""
    started: list[subprocess.Popen[str]] = []

    def start(port: int) -> subprocess.Popen[str]:
        path = os.pathsep.join(map(str, (TEST.parent, TEST, TEST / "support")))
        process = subprocess.Popen(
            [sys.executable, str(TEST / "view" / "made_view.py"), str(port)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        started.append(process)
        assert process.stdout is not None and process.stdout.readline().startswith("http://")
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_the_page_lives_through_a_restart(tmp_path: Path, start: Callable[[int], subprocess.Popen[str]]) -> None:
    port = free_port()
    process = start(port)
    site = f"http://127.0.0.1:{port}/"
    with Tab(site, tmp_path) as tab:
        # Frames move.
        first = tab.until(STAMP)
        assert tab.evaluate("[document.querySelector('canvas').width, document.querySelector('canvas').height]") == [
            640,
            240,
        ]
        pixels = "document.querySelector('canvas').toDataURL()"
        tab.evaluate(f"window.shown = {pixels}")
        tab.until(f"{STAMP} > {first} && {pixels} !== window.shown")

        # A box's id stays with it while it moves.
        of_box = "document.querySelector('.picture g[data-id=\"3\"] rect').getAttribute('x')"
        before = tab.evaluate(of_box)
        tab.until(f"{of_box} !== '{before}'")
        ids = "[...document.querySelectorAll('.picture g[data-id]')].map(g => Number(g.dataset.id)).sort().join()"
        assert tab.evaluate(ids) == "3,8"
        assert tab.evaluate("document.querySelectorAll('.picture rect').length") == len(IDS)

        # The band reaches one sigma of the edge, sqrt(2^2 + 4^2 / 4) px, to both sides of the mean box.
        band = tab.evaluate(
            "(() => { const g = document.querySelector('.picture g[data-id=\"3\"]');"
            "return g.querySelector('.band').getBBox().width - g.querySelector('rect').getBBox().width })()"
        )
        assert band == pytest.approx(2 * 8**0.5, abs=0.02)

        # On the road, the ellipse grows with the distance, and each tracked object has a trail.
        radii = tab.evaluate("[...document.querySelectorAll('#road ellipse')].map(e => Number(e.getAttribute('rx')))")
        assert radii == sorted(radii) and len(radii) == len(DISTANCES)
        assert radii[2] > 2 * radii[0]
        tab.until("document.querySelector('#road .trail[data-id=\"8\"]').points.length > 3")
        assert tab.evaluate("document.querySelectorAll('#road .velocity').length") == 2

        # Names are text.
        assert tab.evaluate("document.querySelector('h2').textContent") == f"front {HOSTILE}"
        assert HOSTILE in tab.evaluate("document.querySelector('.picture g[data-id=\"8\"]').textContent")
        assert HOSTILE in tab.evaluate("document.querySelector('.frame').textContent")
        assert HOSTILE in tab.until("document.querySelector('.level-1')?.textContent")
        assert tab.evaluate("document.scripts.length") == 1
        assert tab.evaluate("document.title") == "Live view"

        # The last minute's figures.
        graphs = "[...document.querySelectorAll('.graph')].map(g => g.querySelector('p').textContent)"
        rate, age, drops, canvas = tab.until(f"document.querySelectorAll('.graph polyline').length === 4 && {graphs}")
        assert (rate, age, canvas) == ("rate 9.8 Hz", "age 42 ms", "canvas 256x832 px")
        assert re.fullmatch(r"drops \d+\.\d / s", drops)

        assert tab.errors == []
        assert {url for url in tab.requests if not url.startswith(("data:", "about:"))} <= {
            *(site + name for name in ("", "page.css", "live.js", "camera.js", "road.js", "svg.js", "graph.js")),
            f"ws://127.0.0.1:{port}/live",
        }

        # Killed: the page says so. Started again: it goes on by itself.
        process.kill()
        process.wait()
        tab.until("document.body.classList.contains('lost')")
        last = tab.evaluate(STAMP)
        time.sleep(1)
        start(port)
        tab.until(f"!document.body.classList.contains('lost') && {STAMP} > {last}")
        assert tab.evaluate(ids) == "3,8"
        assert tab.evaluate("document.querySelectorAll('section.camera').length") == 1
        assert [error for error in tab.errors if REFUSED not in error] == []


def test_a_hidden_tab_asks_for_nothing(tmp_path: Path, start: Callable[[int], subprocess.Popen[str]]) -> None:
    port = free_port()
    start(port)
    with Tab(f"http://127.0.0.1:{port}/", tmp_path) as tab:
        tab.until(STAMP)
        tab.hide(True)
        time.sleep(0.5)  # an answer may be on its way
        last = tab.evaluate(STAMP)
        time.sleep(1)
        assert tab.evaluate(STAMP) == last
        tab.hide(False)
        tab.until(f"{STAMP} !== '{last}'")
        assert tab.errors == []

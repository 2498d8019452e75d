"""The report in a real browser: nothing on the console, nothing asked of the network."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from chromium import visit


class _Nothing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """Address of a web server that has nothing."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Nothing)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()
    thread.join()


def test_what_a_page_says_and_asks_for_is_seen(tmp_path: Path, server: str) -> None:
    """Otherwise the other tests would prove nothing."""
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

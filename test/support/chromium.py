"""Open a page in headless Chromium and record console messages and network requests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_CONSOLE = re.compile(r":CONSOLE[:(]\d+\)?\]\s*(.*)")
# The browser itself requests updates, the time and the sign-in state. Most of this can be disabled; for the rest, name
# resolution is blocked, and its log entries do not come from a page.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--enable-logging=stderr",
)
_NOT_A_PAGE = "not an origin"


@dataclass(frozen=True)
class Visit:
    """Results of a page visit.

    Attributes:
        console: console messages of any level.
        requests: requested addresses, except for the page itself.
        picture: screenshot, PNG.
    """

    console: list[str]
    requests: list[str]
    picture: Path


def visit(page: Path, folder: Path, size: tuple[int, int] = (1100, 1600), *flags: str) -> Visit:
    """Open a local file; skips the test if Chromium is not installed.

    Args:
        page: the file.
        folder: for the profile, the log and the screenshot.
        size: width and height of the window, px.
        flags: additional browser flags.
    """
    browser = find_browser()
    log, picture = folder / "net-log.json", folder / f"{page.stem}-{size[0]}.png"
    done = subprocess.run(
        [
            browser,
            *FLAGS,
            *flags,
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={size[0]},{size[1]}",
            f"--screenshot={picture}",
            f"--log-net-log={log}",
            page.resolve().as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        errors="replace",
    )
    assert picture.exists(), f"the browser took no screenshot:\n{done.stderr[-2000:]}"
    console = [found[1] for line in done.stderr.splitlines() if (found := _CONSOLE.search(line))]
    return Visit(console, _requests(log, page), picture)


def find_browser() -> str:
    """Path of Chromium; skips the test if it is not installed."""
    browser = next((path for name in _NAMES if (path := shutil.which(name)) and not _is_snap(Path(path))), None)
    if browser is None:
        pytest.skip(f"no Chromium on PATH that may read any folder (looked for {', '.join(_NAMES)}, not a snap)")
    return browser


def _is_snap(browser: Path) -> bool:
    """True if the browser is confined to the user's home, like Ubuntu's snap, which has its own empty /tmp."""
    with browser.open("rb") as file:
        return "/snap/" in str(browser.resolve()) or b"/snap/" in file.read(4096)


def _requests(log: Path, page: Path) -> list[str]:
    document = json.loads(log.read_text(errors="replace"))
    kinds = {number: name for name, number in document["constants"]["logEventTypes"].items()}
    asked = []
    for event in document["events"]:
        values = event.get("params") or {}
        is_request = kinds.get(event["type"]) == "URL_REQUEST_START_JOB" and "url" in values
        if is_request and values.get("initiator") != _NOT_A_PAGE:
            asked.append(values["url"])
    return [url for url in asked if url != page.resolve().as_uri() and not url.startswith("data:")]

"""A tab of headless Chromium that stays open: evaluate in it, and record what it says and asks for."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import pytest
from chromium import FLAGS, find_browser

PATIENCE_S = 30.0


class Tab:
    """A page in a browser of its own; as a context manager, the browser ends on leaving. Skips without Chromium.

    Attributes:
        errors: messages of errors and warnings on the console, of exceptions, and of failed loads.
        requests: addresses that the page asked for.
    """

    def __init__(self, address: str, folder: Path, size: tuple[int, int] = (1400, 900)) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._log = (folder / "browser.log").open("w+")
        profile = folder / "profile"
        window = f"--window-size={size[0]},{size[1]}"
        command = [find_browser(), *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", window]
        self._browser = subprocess.Popen(
            [*command, "about:blank"], stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )
        self._loop = asyncio.new_event_loop()
        self._answers: dict[int, dict[str, Any]] = {}
        self._asked = 0
        self._socket: Any = None
        try:
            self._loop.run_until_complete(self._connect(self._devtools()))
            for domain in ("Runtime", "Log", "Network", "Page"):
                self._call(f"{domain}.enable")
            self._call("Page.navigate", url=address)
        except BaseException:
            self.close()
            raise

    def _devtools(self) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            self._log.seek(0)
            if found := re.search(r"DevTools listening on ws://([\d.:]+)/", self._log.read()):
                return f"http://{found[1]}"
            time.sleep(0.05)
        pytest.fail("the browser did not start")

    async def _connect(self, devtools: str) -> None:
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"{devtools}/json/list") as answer:
            tabs = json.loads(await answer.text())
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        self._socket = await self._session.ws_connect(address, max_msg_size=0)

    def _call(self, method: str, **parameters: Any) -> Any:
        self._asked += 1
        number = self._asked

        async def call() -> dict[str, Any]:
            await self._socket.send_str(json.dumps({"id": number, "method": method, "params": parameters}))
            while number not in self._answers:
                self._take(json.loads((await self._socket.receive(PATIENCE_S)).data))
            return self._answers.pop(number)

        answer = self._loop.run_until_complete(call())
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _take(self, message: dict[str, Any]) -> None:
        values = message.get("params", {})
        match message.get("method"):
            case None:
                self._answers[message["id"]] = message
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(values["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if values["type"] in ("error", "warning", "assert"):
                self.errors.append(json.dumps(values["args"]))
            case "Log.entryAdded" if values["entry"]["level"] in ("error", "warning"):
                self.errors.append(f"{values['entry']['text']} {values['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.requests.append(values["request"]["url"])
            case "Network.webSocketCreated":
                self.requests.append(values["url"])

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression, as JSON has it; a promise is awaited."""
        given = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        result = self._call("Runtime.evaluate", **given)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, expression: str) -> Any:
        """Evaluate until the value is true, and return it."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if value := self.evaluate(expression):
                return value
            time.sleep(0.05)
        pytest.fail(f"waited {PATIENCE_S:.0f} s in vain for {expression}; errors: {self.errors}")

    def hide(self, hidden: bool) -> None:
        """Have the page believe that its tab is hidden, or shown again."""
        self.evaluate(
            f"Object.defineProperty(document, 'hidden', {{value: {str(hidden).lower()}, configurable: true}});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        picture = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def close(self) -> None:
        """End the browser."""
        if self._socket is not None:
            self._loop.run_until_complete(self._socket.close())
            self._loop.run_until_complete(self._session.close())
        self._loop.close()
        os.killpg(self._browser.pid, signal.SIGKILL)
        self._browser.wait()
        self._log.close()

    def __enter__(self) -> Tab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

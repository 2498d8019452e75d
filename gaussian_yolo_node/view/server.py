"""The web server of the live view: a thread of the process whose cameras it shows.

The page asks over a web socket for what is newer than it has; the answer comes when there is something. So a slow
viewer skips frames and delays no other, and a page in a hidden tab, which does not ask, costs nothing.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import struct
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from gaussian_yolo_node.errors import GaussianYoloError, install_line
from gaussian_yolo_node.view import LOCALHOST
from gaussian_yolo_node.view.camera import Camera

if TYPE_CHECKING:
    from aiohttp import web

Result = TypeVar("Result")

_LOOPBACK = (LOCALHOST, "localhost", "::1")
# The longest that the page waits for an answer, s; then there is an empty one, and a page that hears nothing for
# several times as long connects again.
_LONGEST_WAIT_S = 2.0
# A page looks as long as its last question is younger.
_WATCHED_S = 1.5 * _LONGEST_WAIT_S
# A viewer whose machine has gone without a word is found by pings at this interval, s.
_HEARTBEAT_S = 20.0

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class ViewError(GaussianYoloError):
    """The live view cannot be opened."""


def open_camera(name: str, port: int, host: str = LOCALHOST) -> Camera:
    """Add a camera to the page on this address; the first one of a process starts the server, the last one ends it.

    Args:
        name: of the camera; unique on the page.
        port: 0 takes a free one.
        host: address of this machine to listen on; 0.0.0.0 for all. All that can reach it see the cameras.

    Raises:
        ViewError: the address is taken or not this machine's, or aiohttp is not installed.
    """
    with _lock:
        server = _servers.get((host, port))
        if server is None:
            server = _servers[host, port] = _Server(host, port)
        return server.add(name)


def _close_camera(server: _Server, camera: Camera) -> None:
    with _lock:
        if server.cameras != (camera,):
            server.remove(camera)
        elif _servers.get(server.key) is server:
            # The camera stays in the list: a page that waits for the node's return keeps what it has.
            del _servers[server.key]
            server.close()


@dataclass(eq=False)
class _Viewer:
    """A connected page: whether there is something new, and the numbers of report and frame it has of each camera."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    has: dict[Camera, tuple[int, int]] = field(default_factory=dict)


class _Server:
    """One thread with an event loop; the loop's thread alone touches the viewers."""

    def __init__(self, host: str, port: int) -> None:
        try:
            from aiohttp import web
        except ModuleNotFoundError as error:
            raise ViewError(
                f"the live view needs {error.name}, which is not installed: {install_line('view')}, or "
                "apt install python3-aiohttp"
            ) from error
        self._web = web
        self.key = host, port
        self.cameras: tuple[Camera, ...] = ()
        self._viewers: set[_Viewer] = set()
        self._handlers: set[asyncio.Task[Any]] = set()
        self._asked_at = -math.inf
        self._page = {file.name: file.read_bytes() for file in (files("gaussian_yolo_node.view") / "page").iterdir()}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="view", daemon=True)
        self._thread.start()
        try:
            self.port = self._do(self._open())
        except (OSError, OverflowError) as error:
            self._end_thread()
            number = getattr(error, "errno", None) or 0
            reason = os.strerror(number) if number > 0 else error.args[-1]
            raise ViewError(
                f"the live view cannot listen on {host}, port {port}: {reason}; choose another port or host"
            ) from error

    @property
    def address(self) -> str:
        """URL of the page."""
        host = self.key[0]
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def add(self, name: str) -> Camera:
        """A new camera."""
        camera = Camera(name, self.address, self._is_watched, self._wake, lambda each: _close_camera(self, each))
        self.cameras = (*self.cameras, camera)
        return camera

    def remove(self, camera: Camera) -> None:
        """Take a camera off the page."""
        self.cameras = tuple(each for each in self.cameras if each is not camera)
        self._wake()

    def close(self) -> None:
        """End all connections and the thread."""
        self._do(self._shut())
        self._end_thread()

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> int:
        application = self._web.Application()
        application.router.add_get("/live", self._live)
        application.router.add_get("/{name:[a-z.]*}", self._file)
        self._runner = self._web.AppRunner(application, access_log=None)
        await self._runner.setup()
        host, port = self.key
        try:
            await self._web.TCPSite(self._runner, host, port).start()
        except (OSError, OverflowError):
            await self._runner.cleanup()
            raise
        return int(self._runner.addresses[0][1])

    async def _shut(self) -> None:
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._runner.cleanup()

    def _is_watched(self) -> bool:
        return time.monotonic() - self._asked_at < _WATCHED_S

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: a camera was closed while its last frame came
            self._loop.call_soon_threadsafe(self._announce)

    def _announce(self) -> None:
        for viewer in self._viewers:
            viewer.news.set()

    def _refuse_other_sites(self, request: web.Request) -> None:
        """Pages of other sites must not read the cameras through the browser of a user who may."""
        origin = request.headers.get("Origin")
        foreign = origin is not None and urlsplit(origin).netloc != request.host
        # A name that an attacker has point to this machine passes the comparison above.
        renamed = self.key[0] in _LOOPBACK and urlsplit(f"//{request.host}").hostname not in _LOOPBACK
        if foreign or renamed:
            raise self._web.HTTPForbidden(text="this page is not for other sites\n")

    async def _file(self, request: web.Request) -> web.Response:
        self._refuse_other_sites(request)
        name = request.match_info["name"] or "index.html"
        if name not in self._page:
            raise self._web.HTTPNotFound
        kind = _TYPES[name[name.rindex(".") :]]
        return self._web.Response(body=self._page[name], content_type=kind, charset="utf-8", headers=_HEADERS)

    async def _live(self, request: web.Request) -> web.WebSocketResponse:
        self._refuse_other_sites(request)
        socket = self._web.WebSocketResponse(heartbeat=_HEARTBEAT_S, max_msg_size=1024, compress=False)
        await socket.prepare(request)
        handler, viewer = asyncio.current_task(), _Viewer()
        assert handler is not None
        self._handlers.add(handler)
        self._viewers.add(viewer)
        try:
            async for _ in socket:  # any message is a question
                await socket.send_bytes(await self._answer(viewer))
        except ConnectionError:  # it has gone
            pass
        finally:
            self._handlers.discard(handler)
            self._viewers.discard(viewer)
            if not self._viewers:
                self._asked_at = -math.inf
                for camera in self.cameras:
                    camera.forget_frame()
        return socket

    async def _answer(self, viewer: _Viewer) -> bytes:
        """What the viewer does not have yet, as soon as there is something: length of a JSON object, as 4 bytes, big
        end first; the object; the pictures of its frames, one after the other."""
        self._asked_at = time.monotonic()
        deadline = self._asked_at + _LONGEST_WAIT_S
        while True:
            viewer.news.clear()
            had, viewer.has = viewer.has, {}
            reports, frames, pictures = [], [], []
            for camera in self.cameras:
                last_report, last_frame = had.get(camera, (0, 0))
                report_number, new = camera.reports_after(last_report)
                reports += [{"camera": camera.name, **report} for report in new]
                newest = camera.frame_after(last_frame)
                if newest is not None:
                    last_frame, description, picture = newest
                    frames.append({"camera": camera.name, "bytes": len(picture), **description})
                    pictures.append(picture)
                viewer.has[camera] = report_number, last_frame
            left = deadline - time.monotonic()
            if reports or frames or list(had) != list(viewer.has) or left <= 0:
                names = [camera.name for camera in viewer.has]
                text = json.dumps({"cameras": names, "reports": reports, "frames": frames}, allow_nan=False).encode()
                return b"".join([struct.pack(">I", len(text)), text, *pictures])
            # Not wait_for: before Python 3.12 it may swallow the cancellation that ends the server.
            alarm = self._loop.call_later(left, viewer.news.set)
            try:
                await viewer.news.wait()
            finally:
                alarm.cancel()


_servers: dict[tuple[str, int], _Server] = {}
_lock = threading.Lock()

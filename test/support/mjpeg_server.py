"""An MJPEG-over-HTTP camera on 127.0.0.1 that can disconnect, stall and return."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import cv2
from factories import make_image

JPEG = cv2.imencode(".jpg", make_image(64, 96))[1].tobytes()


class MjpegServer:
    """Serves `http://127.0.0.1:PORT/`, 100 frames a second, from `start` to `stop`."""

    def __init__(self) -> None:
        self.stalled = threading.Event()
        self.halves = threading.Event()  # every other frame is cut
        self._stopping = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/camera.mjpg"

    def start(self) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner._stream(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._stopping.clear()
        ThreadingHTTPServer.daemon_threads = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        self.stalled.clear()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _stream(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        sent = 0
        try:
            while not self._stopping.is_set():
                if not self.stalled.is_set():
                    sent += 1
                    data = JPEG[: len(JPEG) // 2] if self.halves.is_set() and sent % 2 else JPEG
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    handler.wfile.write(head.encode() + data + b"\r\n")
                time.sleep(0.01)
        except OSError:
            pass  # the client disconnected

    def __enter__(self) -> MjpegServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

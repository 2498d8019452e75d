"""The live view's server, spoken to as the page does, without a browser."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import socket
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed (extra 'view')")

import aiohttp
from view.made_view import CLASSES, HOSTILE, made_frame, made_report
from view.viewer import Viewer, get, until, watch

from gaussian_yolo_node.view import server
from gaussian_yolo_node.view.camera import Camera
from gaussian_yolo_node.view.frame import ViewedFrame
from gaussian_yolo_node.view.server import ViewError, open_camera


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question is answered after a tenth of its time if there is nothing."""
    monkeypatch.setattr(server, "_LONGEST_WAIT_S", 0.2)
    monkeypatch.setattr(server, "_WATCHED_S", 0.3)


@pytest.fixture
def opened() -> Iterator[Callable[..., Camera]]:
    """Opens cameras on a free port, and closes them after the test."""
    cameras: list[Camera] = []

    def open_one(name: str = "front", host: str = "127.0.0.1", port: int = 0) -> Camera:
        cameras.append(open_camera(name, port, host))
        return cameras[-1]

    yield open_one
    for camera in cameras:
        camera.close()
    assert "view" not in {thread.name for thread in threading.enumerate()}


async def show_when_wanted(camera: Camera, frame: ViewedFrame) -> None:
    await until(lambda: camera.wanted)
    camera.show(frame)


class TestPage:
    def test_every_file_that_the_page_names_is_there(self, opened: Callable[..., Camera]) -> None:
        camera = opened()
        status, page, headers = get(camera.address)
        assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        for name, kind in (
            *((f"{name}.js", "text/javascript") for name in ("live", "camera", "road", "graph", "svg")),
            ("page.css", "text/css"),
        ):
            status, text, headers = get(camera.address + name)
            assert status == 200 and headers["Content-Type"].startswith(kind)
            # No address outside of this server; the name of SVG is not loaded.
            assert "://" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "://" not in page

    @pytest.mark.parametrize("name", ["nothing.js", "server.py", "..%2fserver.py", "page/live.js"])
    def test_there_is_nothing_else(self, opened: Callable[..., Camera], name: str) -> None:
        assert get(opened().address + name)[0] == 404

    def test_this_machine_alone_reaches_it(self, opened: Callable[..., Camera]) -> None:
        port = int(opened().address.rsplit(":", 1)[1].rstrip("/"))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), 1)

    def test_others_reach_it_where_told_so(self, opened: Callable[..., Camera]) -> None:
        port = int(opened(host="0.0.0.0").address.rsplit(":", 1)[1].rstrip("/"))
        assert get(f"http://127.0.0.2:{port}/")[0] == 200

    @pytest.mark.parametrize("path", ["", "live"])
    @pytest.mark.parametrize(
        "headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}]
    )
    def test_other_sites_do_not(self, opened: Callable[..., Camera], path: str, headers: dict[str, str]) -> None:
        assert get(opened().address + path, **headers)[0] == 403

    def test_its_own_page_does(self, opened: Callable[..., Camera]) -> None:
        camera = opened()

        async def work(viewer: Viewer) -> None:
            assert (await viewer.next())[0]["cameras"] == ["front"]

        watch(camera.address, work, Origin=camera.address.rstrip("/"))


class TestFrames:
    def test_frame_and_report_arrive(self, opened: Callable[..., Camera]) -> None:
        camera = opened(HOSTILE)
        camera.report(*made_report(3))
        frame = made_frame(5)

        async def work(viewer: Viewer) -> None:
            answer, _ = await viewer.next()
            assert answer["cameras"] == [HOSTILE] and answer["frames"] == []
            (report,) = answer["reports"]
            assert report["camera"] == HOSTILE and report["rate_hz"] == 9.8 and report["frames_dropped"] == 3
            await viewer.ask()
            await show_when_wanted(camera, frame)
            answer, pictures = await viewer.hear()
            assert pictures == [frame.jpeg()]
            (described,) = answer["frames"]
            assert described == {"camera": HOSTILE, "bytes": len(pictures[0]), **frame.describe()}
            assert [item["label"] for item in described["objects"]] == list(CLASSES)
            assert [item.get("id") for item in described["objects"]] == [3, 8, None]
            assert answer["reports"] == []

        watch(camera.address, work)

    def test_nothing_is_taken_while_nobody_looks(self, opened: Callable[..., Camera]) -> None:
        camera = opened()
        image = np.zeros((40, 60, 3), np.uint8)
        frames = [ViewedFrame(image, 0.0, "", made_frame().detections, CLASSES)]

        assert not camera.wanted
        camera.show(frames[0])

        async def connected_only(viewer: Viewer) -> None:
            await asyncio.sleep(0.1)
            assert not camera.wanted  # it has not asked

        watch(camera.address, connected_only)

        async def work(viewer: Viewer) -> None:
            await viewer.next()
            await viewer.ask()
            await show_when_wanted(camera, frames[0])
            assert len((await viewer.hear())[1]) == 1

        watch(camera.address, work)
        asyncio.run(until(lambda: camera.frame_after(0) is None))
        assert not camera.wanted
        alive = weakref.ref(image)
        frames.clear()
        del image
        gc.collect()
        assert alive() is None

    def test_a_slow_viewer_gets_the_newest_and_delays_nobody(self, opened: Callable[..., Camera]) -> None:
        camera = opened()

        async def work(viewer: Viewer) -> None:
            await viewer.next()
            await viewer.ask()
            await show_when_wanted(camera, made_frame(0, stamp_s=0.0))
            # From here on it is busy: nobody takes what the server sends.
            for number in range(1, 6):
                await show_when_wanted(camera, made_frame(number, stamp_s=float(number)))
            assert (await viewer.hear())[0]["frames"][0]["stamp"] == 0
            assert [frame["stamp"] for frame in (await viewer.next())[0]["frames"]] == [5]

        watch(camera.address, work)

    def test_cameras_of_one_process_share_the_page(self, opened: Callable[..., Camera]) -> None:
        front, rear = opened("front"), opened("rear")
        assert front.address == rear.address

        async def work(viewer: Viewer) -> None:
            assert (await viewer.next())[0]["cameras"] == ["front", "rear"]
            await until(lambda: front.wanted and rear.wanted)
            front.show(made_frame(0, stamp_s=1.0))
            rear.show(made_frame(0, stamp_s=2.0))
            stamps: dict[str, float] = {}
            while len(stamps) < 2:
                stamps |= {frame["camera"]: frame["stamp"] for frame in (await viewer.next())[0]["frames"]}
            assert stamps == {"front": 1.0, "rear": 2.0}
            front.close()
            assert (await viewer.next())[0]["cameras"] == ["rear"]

        watch(rear.address, work)

    @pytest.mark.usefixtures("short_waits")
    def test_an_answer_comes_even_if_there_is_nothing(self, opened: Callable[..., Camera]) -> None:
        async def work(viewer: Viewer) -> None:
            await viewer.next()
            answer, pictures = await viewer.next()
            assert answer == {"cameras": ["front"], "reports": [], "frames": []} and pictures == []

        watch(opened().address, work)


class TestEnd:
    def test_the_last_camera_ends_the_server(self, opened: Callable[..., Camera]) -> None:
        camera = opened()
        port = int(camera.address.rsplit(":", 1)[1].rstrip("/"))

        async def work(viewer: Viewer) -> None:
            await viewer.next()
            await viewer.ask()
            camera.close()
            assert (await viewer.socket.receive(5)).type in (
                aiohttp.WSMsgType.CLOSE,
                aiohttp.WSMsgType.CLOSED,
                aiohttp.WSMsgType.CLOSING,
            )

        watch(camera.address, work)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 1)
        # The node's worker may still hand something over.
        camera.show(made_frame())
        camera.report(*made_report())
        assert opened(port=port).address == camera.address

    @pytest.mark.usefixtures("short_waits")
    def test_fifty_reconnects_leave_nothing(self, opened: Callable[..., Camera]) -> None:
        camera = opened()
        frames = itertools.cycle([made_frame(number) for number in range(5)])
        over = threading.Event()

        def feed() -> None:
            while not over.wait(0.02):
                camera.show(next(frames))

        feeding = threading.Thread(target=feed)
        feeding.start()
        try:

            async def beside(other: Viewer) -> None:
                """One page stays, fifty come and go."""
                await other.next()
                for _ in range(2):
                    for _ in range(50):
                        async with (
                            aiohttp.ClientSession() as session,
                            session.ws_connect(f"{camera.address}live") as connection,
                        ):
                            await Viewer(connection).ask()
                    await asyncio.sleep(0.5)  # longer than any question waits for its answer
                    while (await other.next())[0]["frames"] == []:
                        pass
                    gc.collect()
                    sockets = len(os.listdir("/proc/self/fd"))
                    after.append((threading.active_count(), sockets, tracemalloc.get_traced_memory()[0]))

            after: list[tuple[int, int, int]] = []  # threads, sockets, bytes
            tracemalloc.start()
            watch(camera.address, beside)
        finally:
            tracemalloc.stop()
            over.set()
            feeding.join()
        first, second = after
        assert second[:2] == first[:2]
        assert second[2] - first[2] < 200_000  # one picture each would be more than a million

    def test_it_ends_while_frames_arrive(self) -> None:
        """The end may come in the very moment at which a viewer's wait ends."""
        frame = made_frame()
        for _ in range(40):
            camera = open_camera("front", 0)

            async def work(viewer: Viewer, camera: Camera = camera) -> None:
                await viewer.next()
                await viewer.ask()
                await show_when_wanted(camera, frame)
                camera.close()

            watch(camera.address, work)
        assert "view" not in {thread.name for thread in threading.enumerate()}

    @pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
    def test_a_port_that_is_taken(self, host: str) -> None:
        with socket.socket() as taken:
            taken.bind((host, 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(ViewError, match=rf"{host}, port {port}: Address already in use; choose another port"):
                open_camera("front", port, host)
        assert "view" not in {thread.name for thread in threading.enumerate()}

    @pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "not an address"])
    def test_an_address_that_is_not_ours(self, host: str) -> None:
        with pytest.raises(ViewError, match=f"cannot listen on {host}"):
            open_camera("front", 0, host)

    def test_without_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "aiohttp", None)
        with pytest.raises(ViewError, match=r"pip install '\.\[view\]'"):
            open_camera("front", 0)

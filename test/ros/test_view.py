"""The node's live view: it follows the node's lifecycle and restarts."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factories import PLANTED

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("aiohttp", reason="aiohttp is not installed (extra 'view')")

from rclpy.parameter import Parameter
from ros.given import FAILURE, SUCCESS
from ros.harness import PATIENCE_S, NodeProcess, Ros
from view.viewer import Viewer, free_port, watch

from gaussian_yolo_node.ros.cameras_node import open_cameras


def has_thread() -> bool:
    return "view" in {thread.name for thread in threading.enumerate()}


def answers(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


async def see_frames(viewer: Viewer) -> None:
    """Two frames, and a report."""
    first, _ = await viewer.next_frame()
    assert first["camera"] == "/perception" and first["frame"] == "camera" and first["size"] == [160, 48]
    assert [item["label"] for item in first["objects"]] == ["car", "pedestrian"]
    assert len(first["objects"]) == len(PLANTED)
    second, _ = await viewer.next_frame()
    assert second["stamp"] > first["stamp"]


def test_a_page_meets_the_node_again_after_a_restart(
    start_node: Callable[..., NodeProcess], tiny_model: Path, folder: Path
) -> None:
    port = free_port()
    for _ in range(2):
        process = start_node(model=tiny_model, source=folder, loop=True, view_port=port)

        async def work(viewer: Viewer, process: NodeProcess = process) -> None:
            await see_frames(viewer)
            while (report := await viewer.next_report())["canvas"] != "64x96":
                pass
            assert report["camera"] == "/perception" and report["level"] in (0, 1)
            # A page that looks does not keep the process from ending.
            await viewer.ask()
            assert process.interrupt(signal.SIGINT) == 0

        for _ in range(int(PATIENCE_S * 10)):
            if answers(port):
                break
            assert process.process.poll() is None, process.output
            threading.Event().wait(0.1)
        watch(f"http://127.0.0.1:{port}/", work)
        assert f"live view: http://127.0.0.1:{port}/" in process.output
        assert process.left_behind() == []


def test_it_is_there_from_configure_to_cleanup(ros: Ros, tiny_model: Path, folder: Path) -> None:
    port = free_port()
    node = ros.node(model=str(tiny_model), source=str(folder), loop=True, view_port=port)
    assert not has_thread() and not answers(port)
    for _ in range(2):
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        watch(f"http://127.0.0.1:{port}/", see_frames)
        assert node.trigger_deactivate() == SUCCESS
        assert answers(port)
        assert node.trigger_cleanup() == SUCCESS
        assert not has_thread() and not answers(port)


def test_none_by_default(ros: Ros, tiny_model: Path, folder: Path) -> None:
    node = ros.node(model=str(tiny_model), source=str(folder))
    assert node.trigger_configure() == SUCCESS
    assert not has_thread()


def test_the_page_says_why_the_node_does_not_work(ros: Ros, folder: Path) -> None:
    port = free_port()
    node = ros.node(model="no_such_model", source=str(folder), view_port=port)
    assert node.trigger_configure() == FAILURE

    async def work(viewer: Viewer) -> None:
        report = await viewer.next_report()
        assert report["level"] == 2 and "no_such_model" in report["message"]

    watch(f"http://127.0.0.1:{port}/", work)
    node.set_parameters([Parameter("view_port", value=0)])
    assert node.trigger_configure() == FAILURE
    assert not answers(port)


def test_a_taken_port_is_an_error_that_another_port_mends(ros: Ros, tiny_model: Path, folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        reason, port = "Address already in use; choose another port or host", taken.getsockname()[1]
        node = ros.refused(reason, tiny_model, source=str(folder), view_port=port)
        node.set_parameters([Parameter("view_port", value=free_port())])
        assert node.trigger_configure() == SUCCESS


def test_cameras_of_one_process_share_the_page(ros: Ros, tiny_model: Path, folder: Path) -> None:
    port = free_port()
    given: dict[str, Any] = {"cameras": ["front", "rear"], "model": str(tiny_model), "view_port": port}
    given |= {"autostart": False, "loop": True, "front.source": str(folder), "rear.source": str(folder)}
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    nodes: list[Any] = open_cameras(threading.Event(), context=ros.context, parameter_overrides=overrides)
    for node in nodes:
        ros.add(node)
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS

    async def work(viewer: Viewer) -> None:
        seen = set()
        while len(seen) < 2:
            answer, _ = await viewer.next()
            assert answer["cameras"] == ["/front/perception", "/rear/perception"]
            seen |= {(frame["camera"], frame["frame"]) for frame in answer["frames"]}
        assert seen == {("/front/perception", "front"), ("/rear/perception", "rear")}
        assert nodes[0].trigger_deactivate() == SUCCESS and nodes[0].trigger_cleanup() == SUCCESS
        while (await viewer.next())[0]["cameras"] != ["/rear/perception"]:
            await asyncio.sleep(0)

    watch(f"http://127.0.0.1:{port}/", work)

"""Speaks to the live view as its page does."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp

PATIENCE_S = 30.0
Answer = tuple[dict[str, Any], list[bytes]]


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Viewer:
    """A page, as the server knows it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def ask(self) -> None:
        await self.socket.send_str("next")

    async def hear(self) -> Answer:
        data = (await self.socket.receive(PATIENCE_S)).data
        (length,) = struct.unpack_from(">I", data)
        answer = json.loads(data[4 : 4 + length])
        start, pictures = 4 + length, []
        for frame in answer["frames"]:
            pictures.append(data[start : start + frame["bytes"]])
            start += frame["bytes"]
        assert start == len(data)
        return answer, pictures

    async def next(self) -> Answer:
        await self.ask()
        return await self.hear()

    async def next_frame(self) -> tuple[dict[str, Any], bytes]:
        """The next frame of any camera, and its picture."""
        while True:
            answer, pictures = await self.next()
            if pictures:
                return answer["frames"][0], pictures[0]

    async def next_report(self) -> dict[str, Any]:
        """The newest report of any camera."""
        while True:
            answer, _ = await self.next()
            if answer["reports"]:
                return dict(answer["reports"][-1])


def watch(address: str, work: Callable[[Viewer], Coroutine[Any, Any, None]], **headers: str) -> None:
    """Do some work as one page."""

    async def run() -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{address}live", headers=headers) as socket:
            await work(Viewer(socket))

    asyncio.run(run())


def get(address: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    async def run() -> tuple[int, str, dict[str, str]]:
        async with aiohttp.ClientSession() as session, session.get(address, headers=headers) as answer:
            return answer.status, await answer.text(), dict(answer.headers)

    return asyncio.run(run())


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)

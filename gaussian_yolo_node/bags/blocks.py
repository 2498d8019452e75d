"""Blocks of messages, read one at a time so that memory does not grow with the file."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Entry(NamedTuple):
    """A message in a block: channel id, time in ns, serialised bytes."""

    channel: int
    stamp_ns: int
    raw: bytes


@dataclass(frozen=True)
class Block:
    """A part of a file.

    Attributes:
        start_ns: time of its earliest message, ns.
        channels: ids of the channels with messages in it; None if unknown.
        read: returns its messages, sorted by time unless sorting would need too much memory.
    """

    start_ns: int
    channels: frozenset[int] | None
    read: Callable[[frozenset[int]], Iterable[Entry]]


def merged(blocks: Iterable[Block], channels: frozenset[int]) -> Iterator[Entry]:
    """The messages of the given channels by time; only blocks that overlap in time are in memory together."""
    # Next message of each open block. The number keeps blocks with equal times in file order.
    opened: list[tuple[int, int, Entry, Iterator[Entry]]] = []

    def advance(number: int, rest: Iterator[Entry]) -> None:
        entry = next(rest, None)
        if entry is not None:
            heapq.heappush(opened, (entry.stamp_ns, number, entry, rest))

    def pop() -> Entry:
        _, number, entry, rest = heapq.heappop(opened)
        advance(number, rest)
        return entry

    for number, block in enumerate(sorted(blocks, key=lambda block: block.start_ns)):
        if block.channels is not None and channels.isdisjoint(block.channels):
            continue
        while opened and opened[0][0] < block.start_ns:
            yield pop()
        advance(number, iter(block.read(channels)))
    while opened:
        yield pop()

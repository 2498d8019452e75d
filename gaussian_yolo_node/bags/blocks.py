"""Messages lie in blocks that are read one after the other, so that memory does not grow with the file."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Entry(NamedTuple):
    """A message in a block: id of its channel, time in ns, bytes."""

    channel: int
    stamp_ns: int
    raw: bytes


@dataclass(frozen=True)
class Block:
    """A part of a file.

    Attributes:
        start_ns: time of its earliest message.
        channels: ids of those that have messages in it; None if that is not known.
        read: its messages, by time where that takes no more memory than a chunk should.
    """

    start_ns: int
    channels: frozenset[int] | None
    read: Callable[[frozenset[int]], Iterable[Entry]]


def merged(blocks: Iterable[Block], channels: frozenset[int]) -> Iterator[Entry]:
    """The messages of some channels by time, with no more blocks in memory than overlap in time."""
    # Of each open block, its next message; the number keeps blocks of equal times in the file's order.
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

"""Files of blocks of messages, read one block at a time so that memory does not grow with the file."""

from __future__ import annotations

import heapq
import struct
from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import zstandard
from mcap.exceptions import EndOfFile, McapError
from rosbags.rosbag1 import ReaderError

from gaussian_yolo_node.bags.limits import Allowance, BoundedFile
from gaussian_yolo_node.bags.storage import Channel, Storage

# A larger block is read message by message and not sorted. Recorders write chunks of 0.8 to 4 MB.
_LARGE_BLOCK = 64 << 20

# Bytes of the messages of all blocks in memory. Blocks of one recording overlap by a few.
_MOST_HELD = 512 << 20
# Errors from reading damaged bytes. LZ4 raises RuntimeError.
UNREADABLE = (
    McapError, ReaderError, ValueError, EOFError, OSError, LookupError, struct.error, zstandard.ZstdError,
    RuntimeError, OverflowError, AssertionError,
)  # fmt: skip


class Entry(NamedTuple):
    """A message in a block: channel id, time in ns, serialised bytes."""

    channel: int
    stamp_ns: int
    raw: bytes


@dataclass
class Block:
    """A chunk of a file, or a run of messages outside chunks.

    Attributes:
        offset: its first byte in the file.
        size: bytes, uncompressed; 0 if unknown.
        start_ns, end_ns: times of its earliest and latest message, ns.
        channels: ids of the channels with messages in it; empty if unknown.
    """

    offset: int
    size: int = 0
    start_ns: int = 0
    end_ns: int = 0
    channels: set[int] = field(default_factory=set)
    chunk: bool = True


class BlockFile(Storage):
    """An open file of blocks; a subclass finds them, and reads the messages of one."""

    def __init__(self, path: Path, notes: list[str]) -> None:
        super().__init__(path, notes)
        self._found: dict[int, Channel] = {}
        self._counts: Counter[int] = Counter()
        self._blocks: list[Block] = []
        self._noted: set[int] = set()  # offsets of the blocks whose damage is in a note
        self._allowance = Allowance(self.size)
        with BoundedFile(path) as file:
            damage = self._find_blocks(file)
        if damage:
            self._note_damage(damage[0], self._counts.total())
        self.channels = [replace(channel, count=self._counts[number]) for number, channel in self._found.items()]

    @abstractmethod
    def _find_blocks(self, file: BufferedReader) -> list[str]:
        """Find channels and blocks, from the index or else with `_look_inside`; returns what is damaged."""

    @abstractmethod
    def _entries(self, file: BufferedReader, block: Block) -> Iterator[Entry]:
        """The messages of a block in file order; raises one of `UNREADABLE` at damage.

        While `channels` is empty, it also takes the definitions of channels.
        """

    def messages(self, ids: Collection[int]) -> Iterator[tuple[Channel, int, bytes]]:
        """As in `Storage`. Of the blocks, those that overlap in time are in memory together, up to a limit."""
        self._allowance = Allowance(self.size)
        held = 0  # bytes of sorted blocks that are not read to their end
        sizes: dict[int, int] = {}
        wanted = {channel.id: channel for channel in self.channels if channel.id in ids}
        # Next message of each open block. The number keeps blocks with equal times in file order.
        opened: list[tuple[int, int, Entry, Iterator[Entry]]] = []

        def advance(number: int, rest: Iterator[Entry]) -> None:
            nonlocal held
            entry = next(rest, None)
            if entry is None:
                held -= sizes.pop(number, 0)
            else:
                heapq.heappush(opened, (entry.stamp_ns, number, entry, rest))

        def before(end_ns: float) -> Iterator[tuple[Channel, int, bytes]]:
            while opened and opened[0][0] < end_ns:
                _, number, entry, rest = heapq.heappop(opened)
                advance(number, rest)
                yield wanted[entry.channel], entry.stamp_ns, entry.raw

        for number, block in enumerate(sorted(self._blocks, key=lambda block: block.start_ns)):
            if not block.channels or not block.channels.isdisjoint(wanted):
                yield from before(block.start_ns if held < _MOST_HELD else float("inf"))
                entries = self._readable(block, wanted)
                if block.size <= _LARGE_BLOCK:
                    in_order = sorted(entries, key=lambda entry: entry.stamp_ns)
                    sizes[number] = sum(len(entry.raw) for entry in in_order)
                    held += sizes[number]
                    entries = iter(in_order)
                advance(number, entries)
        yield from before(float("inf"))

    def _readable(self, block: Block, wanted: Collection[int]) -> Iterator[Entry]:
        """The messages of a block; of a damaged block, those before the damage."""
        previous: dict[int, int] = {}
        try:
            with BoundedFile(self.path) as file:
                for entry in self._entries(file, block):
                    self._backward.see(previous.get(entry.channel, 0), entry.stamp_ns)
                    previous[entry.channel] = entry.stamp_ns
                    if entry.channel in wanted:
                        yield entry
        except UNREADABLE as error:
            if block.offset not in self._noted:
                self.notes.append(f"{self.path.name}: {self._damage(block, error)}: messages are missing")

    def _take(self, block: Block) -> None:
        """Add the next block of the file."""
        if self._blocks and 0 < block.end_ns < self._blocks[-1].start_ns:
            self._backward.see(self._blocks[-1].end_ns, block.start_ns)
        self._blocks.append(block)
        if block.channels or block.end_ns:
            self._extend(block.start_ns, block.end_ns)

    def _look_inside(self, file: BufferedReader, block: Block) -> list[str]:
        """Take a block that is in no index, and count its messages; returns what is damaged."""
        damage = []
        try:
            for channel, stamp_ns, _ in self._entries(file, block):
                self._counts[channel] += 1
                block.start_ns = min(block.start_ns, stamp_ns) if block.channels else stamp_ns
                block.end_ns = max(block.end_ns, stamp_ns)
                block.channels.add(channel)
        except UNREADABLE as error:
            damage = [self._damage(block, error)]
        if block.channels:
            self._take(block)
        return damage

    def _damage(self, block: Block, error: Exception) -> str:
        self._noted.add(block.offset)
        why = "it is cut short" if isinstance(error, (EndOfFile, struct.error)) else str(error) or type(error).__name__
        return f"the chunk at byte {block.offset} is damaged ({why})"

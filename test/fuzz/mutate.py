"""Seeded mutations of files: the same number gives the same file."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40,
            (1 << 63) - 1, (1 << 64) - 1)  # fmt: skip
_TOKENS = (
    b"[", b"]", b"{", b"}", b"(", b")", b",", b":", b"-", b".", b'"', b"'", b"#", b"\\", b"\n", b"\r\n", b"\t", b"\0",
    b"%s", b"null", b"true", b"NaN", b"Infinity", b"1e999", b"-1", b"0", b"1.0", b"0x", b"0b_", b"1_0",
    b"99999999999999999999", b"9" * 400, b"9" * 1200, b"[" * 100, b"- " * 80, b"&a ", b"*a", b"<<: *a", b"!!int ",
    b"!!timestamp ", b"2020-13-45", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3\x28", b"..", b"/", b"string[", b"=1e999",
    b"[]", b"{}", b'""', b"\xff\xd8", b"\xff\xda",
)  # fmt: skip


def mutated(seeds: Sequence[bytes], name: str) -> bytes:
    """One of the seeds with one to four changes; `name` decides which."""
    rng = random.Random(name)
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        rng.choice(_CHANGES)(data, rng, seeds)
    return bytes(data)


def _place(data: bytearray, rng: random.Random) -> int:
    # Headers are at the begin, indices at the end.
    size = len(data)
    within = rng.choice((size, size, min(size, 64), min(size, 512)))
    at = rng.randint(0, within)
    return size - at if rng.random() < 0.2 else at


def _flip(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    at = _place(data, rng)
    if at < len(data):
        data[at] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    at = _place(data, rng)
    if at < len(data):
        data[at] = rng.randrange(256)


def _number(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    size, layout = rng.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
    value = rng.choice(_NUMBERS) + rng.randint(-2, 2)
    at = _place(data, rng)
    data[at : at + size] = struct.pack(rng.choice("<>") + layout, value % (1 << 8 * size))


def _token(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    at = _place(data, rng)
    data[at : at + rng.choice((0, 0, 1, 4))] = rng.choice(_TOKENS)


def _remove(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 8, 64, 1024))]


def _repeat(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    at = _place(data, rng)
    piece = data[at : at + rng.choice((1, 4, 16, 256))]
    data[at:at] = piece * rng.choice((1, 2, 50))


def _cut(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    del data[_place(data, rng) :]


def _splice(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    other = bytearray(rng.choice(seeds))
    data[_place(data, rng) :] = other[_place(other, rng) :]


_CHANGES = (_flip, _flip, _byte, _byte, _number, _number, _number, _token, _token, _remove, _repeat, _cut, _splice)

"""Read text files as other programs write them."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path

from gaussian_yolo_node.errors import GaussianYoloError

_WIDE = {
    **dict.fromkeys((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "UTF-32"),
    **dict.fromkeys((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "UTF-16"),
}


class NotTextError(GaussianYoloError):
    """The bytes are no UTF-8 text; the message completes "FILE is ..."."""


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, see `decode_text`. Raises OSError, too."""
    return decode_text(path.read_bytes())


def text_of(path: Path, named: str, failure: Callable[[str], GaussianYoloError]) -> str:
    """As `read_text`; `failure` makes the error, in whose message `named` stands for the file."""
    try:
        return read_text(path)
    except OSError as error:
        raise failure(f"{named} cannot be read: {error.strerror}") from error
    except NotTextError as error:
        raise failure(f"{named} is {error}") from error


def decode_text(data: bytes, errors: str = "strict") -> str:
    r"""UTF-8 text with or without a byte order mark, with lines that end in \n.

    Args:
        errors: what becomes of bytes that are not UTF-8, as in `bytes.decode`.

    Raises:
        NotTextError: the text is UTF-16 or UTF-32, or the bytes are no text.
    """
    wide = next((name for mark, name in _WIDE.items() if data.startswith(mark)), None)
    if wide is None and b"\0" in data[:4096]:
        # Windows tools may write UTF-16 without a mark: every other byte of English text is then 0.
        even, odd = data[:4096:2], data[1:4096:2]
        letters = odd if not any(even) else even if not any(odd) else b"\0"
        plain = letters.decode("ascii", "replace").replace("\n", "").replace("\r", "")
        wide = "UTF-16" if plain.isprintable() else None
    if wide is not None:
        raise NotTextError(f"not text in UTF-8, but in {wide}: save it as UTF-8")
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise NotTextError("not text") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")

"""What may be shown of text that came from elsewhere: no secrets, and nothing that a terminal obeys."""

from __future__ import annotations

import re
import sys
from typing import Any, TextIO

# Keys in an address or a pipeline whose values are secrets; and from this length on, a value is taken for one anyway.
_SECRET_KEY = r"[\w.-]*(?:pass|pwd|pw|token|secret|key|sig|auth|cred|session|jwt|user|login)[\w.-]*"
_LONG = 16
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)(?P<rest>\S*@[^\s'\"<>]*|[^\s'\"<>]+)")
_KEY_AND_VALUE = re.compile(r"(?P<key>[^?&;#=]+)=(?P<value>[^&;#]*)")
# Properties of GStreamer's elements, such as user-pw of rtspsrc.
_PROPERTY = re.compile(
    r"(?i)(?P<key>\b[\w-]*(?:pw|passw\w*|passphrase|token|secret)\s*=\s*)(?P<value>\"[^\"]*\"|[^\s&]+)"
)
# C0 without tab and line feed, DEL, C1, single surrogates, and what turns the direction of writing.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# What rich writes itself: colours, lines cleared and left, the cursor hidden; and the return to the line's start.
_OF_RICH = re.compile(r"(\x1b\[[0-9;?]*[A-HJKmhl]|\r)")


def without_secrets(text: str) -> str:
    """A text with `***` for the secrets in its addresses: password, user that is a token, values of the query.

    An "@" or "/" that belongs to a password need not be escaped: rather is too much masked than too little. Secrets
    that are part of a path, as some services have them, are not recognised.
    """
    return _PROPERTY.sub(r"\g<key>***", _ADDRESS.sub(_without_secrets, text))


def _without_secrets(address: re.Match[str]) -> str:
    rest = address["rest"]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, shown = "", rest
    if "@" in rest and ("@" in authority or ":" in authority):
        secret, _, shown = rest.rpartition("@")
        name, colon, _ = secret.partition(":")
        user = f"{name}:***@" if colon else "***@"
    head, mark, query = shown.partition("?")
    if mark:
        query = _KEY_AND_VALUE.sub(_without_value, query) if "=" in query else _without_long(query)
    return f"{address['scheme']}{user}{head}{mark}{query}"


def _without_value(entry: re.Match[str]) -> str:
    key, value = entry["key"], entry["value"]
    return f"{key}=***" if re.fullmatch(_SECRET_KEY, key, re.IGNORECASE) else f"{key}={_without_long(value)}"


def _without_long(value: str) -> str:
    return value if len(value) < _LONG else "***"


def safe(text: str) -> str:
    """A text without secrets and control characters."""
    return printable(without_secrets(text))


def printable(text: str) -> str:
    r"""A text with escapes such as \x1b for control characters, which a terminal would obey; lines and tabs stay."""
    return _CONTROL.sub(lambda control: control[0].encode("unicode_escape", "surrogatepass").decode(), text)


def guard_terminal() -> None:
    """Write only `printable` text to standard output and error from now on; rich's colours and progress stay."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, _Guarded):
            setattr(sys, name, _Guarded(stream))


class _Guarded:
    """A text stream; `print` gets this, and rich the stream that its attribute of this name has."""

    def __init__(self, stream: TextIO, of_rich: bool = False) -> None:
        self._stream = stream
        self._of_rich = of_rich
        if not of_rich:
            self.rich_proxied_file = _Guarded(stream, of_rich=True)

    def write(self, text: str) -> int:
        if self._of_rich:
            parts = _OF_RICH.split(text)  # every second one is rich's
            self._stream.write("".join(part if at % 2 else printable(part) for at, part in enumerate(parts)))
        else:
            self._stream.write(printable(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

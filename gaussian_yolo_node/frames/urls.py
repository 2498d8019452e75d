"""Addresses of sources: local files behind `file://`, and whether what a server sends has an end."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException, HTTPMessage
from pathlib import Path

_TIMEOUT_S = 5.0
# A playlist is short, and what it lists may go on for ever.
_PLAYLISTS = ("mpegurl", "dash+xml")


def local_path(spec: str) -> Path | None:
    """The path of a `file://` address; None for any other."""
    parts = urllib.parse.urlsplit(spec)
    if parts.scheme.lower() != "file" or parts.netloc not in ("", "localhost"):
        return None
    return Path(urllib.parse.unquote(parts.path, errors="surrogateescape"))


def has_end(spec: str) -> bool:
    """Whether an HTTP server states the length of what it sends from an address, so that it is a file, not a camera.

    False if the server does not answer.
    """
    parts = urllib.parse.urlsplit(spec)
    if parts.scheme.lower() not in ("http", "https"):
        return False
    # urllib takes no user and password in an address; FFmpeg does.
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    for method in ("HEAD", "GET"):  # small servers know no HEAD
        headers = _headers(plain, method)
        if headers is not None:
            kind = headers.get_content_type()
            return "Content-Length" in headers and not kind.endswith(_PLAYLISTS) and not kind.startswith("multipart/")
    return False


def _headers(address: str, method: str) -> HTTPMessage | None:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method=method), timeout=_TIMEOUT_S) as answer:
            return answer.headers
    except (OSError, ValueError, HTTPException):
        return None

"""What is masked and escaped before text from elsewhere is shown."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from gaussian_yolo_node.display import _Guarded, printable, without_secrets
from gaussian_yolo_node.errors import SettingError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("0", "0"),
        ("/home/me/a@b:c.mp4", "/home/me/a@b:c.mp4"),
        ("http://host:80/a", "http://host:80/a"),
        ("rtsp://host/a@b", "rtsp://host/a@b"),
        ("rtsp://user:secret@host:554/a", "rtsp://user:***@host:554/a"),
        ("rtsp://user:s3c@ret@host:554/a", "rtsp://user:***@host:554/a"),
        ("rtsp://user:sec/ret@host/a", "rtsp://user:***@host/a"),
        ("rtsp://user:sec?ret@host/a", "rtsp://user:***@host/a"),
        ("rtsp://user:s@c/r@t@host/a", "rtsp://user:***@host/a"),
        ("rtsp://user:se:cret@host/a", "rtsp://user:***@host/a"),
        ("rtsp://:secret@host/a", "rtsp://:***@host/a"),
        ("'rtsp://user:s'ec\"ret@host/a'", "'rtsp://user:***@host/a'"),
        ("rtsp://user:@host/a", "rtsp://user:***@host/a"),
        ("https://ghp_sEcReT@host/a", "https://***@host/a"),
        ("RTSP://user:%73ecret@[::1]:554/a", "RTSP://user:***@[::1]:554/a"),
        ("srt+udp://user:secret@host", "srt+udp://user:***@host"),
        ("http://host/a?channel=1&subtype=0", "http://host/a?channel=1&subtype=0"),
        ("http://host/a?token=secret&channel=1", "http://host/a?token=***&channel=1"),
        ("http://host/a?channel=1&Access_Token=secret#t=3", "http://host/a?channel=1&Access_Token=***"),
        ("http://host/a?X-Amz-Signature=secret", "http://host/a?X-Amz-Signature=***"),
        ("http://host/a?q=0123456789abcdef0123", "http://host/a?q=***"),
        ("http://host/a?0123456789abcdef0123", "http://host/a?***"),
        ("http://user:secret@host/a?pwd=secret", "http://user:***@host/a?pwd=***"),
        ("rtspsrc location=rtsp://u:secret@h/a ! appsink", "rtspsrc location=rtsp://u:***@h/a ! appsink"),
        ('rtspsrc user-id=me user-pw="sec ret" ! appsink', "rtspsrc user-id=me user-pw=*** ! appsink"),
        ("srtsrc uri=srt://h?passphrase=secret ! appsink", "srtsrc uri=srt://h?passphrase=*** ! appsink"),
        (
            "two: rtsp://a:secret@b/c and 'rtsp://d:secret@e' fail",
            "two: rtsp://a:***@b/c and 'rtsp://d:***@e' fail",
        ),
    ],
)
def test_secrets_of_addresses_are_masked(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown  # masked once, masked for ever


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("Straße 車 🚗\t\n", "Straße 車 🚗\t\n"),
        ("\x1b]52;c;cm0gLXJm\x07.jpg", "\\x1b]52;c;cm0gLXJm\\x07.jpg"),
        ("\x1b[2J\x1b[1;1H", "\\x1b[2J\\x1b[1;1H"),
        ("a\rb\x08\x00\x7f\x9b", "a\\rb\\x08\\x00\\x7f\\x9b"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("caf\udce9.jpg", "caf\\udce9.jpg"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_errors_are_shown_without_secrets_and_control_characters() -> None:
    error = SettingError("stream rtsp://me:secret@host/a\x1b]0;title\x07 fails")
    assert str(error) == "stream rtsp://me:***@host/a\\x1b]0;title\\x07 fails"


def test_what_rich_writes_stays_and_what_names_bring_does_not() -> None:
    written = io.StringIO()
    stream = _Guarded(written)
    print("name \x1b[31mred", file=stream)
    stream.rich_proxied_file.write("\r\x1b[2K\x1b[1Anumber \x1b[1m3\x1b[0m \x1b]52;c;eA==\x07\n")
    assert written.getvalue() == "name \\x1b[31mred\n\r\x1b[2K\x1b[1Anumber \x1b[1m3\x1b[0m \\x1b]52;c;eA==\\x07\n"


def test_a_command_writes_no_control_characters_of_a_name(tmp_path: Path) -> None:
    name = tmp_path / "a\x1b]0;owned\x07\udce9.mp4"
    command = [sys.executable, "-m", "gaussian_yolo_node.commands", "detect", str(name)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"\x1b" not in done.stderr and b"\\x1b]0;owned\\x07\\udce9.mp4" in done.stderr
    assert b"Traceback" not in done.stderr

from __future__ import annotations

from pathlib import Path

import pytest

from gaussian_yolo_node.text_files import NotTextError, decode_text, read_text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"car\nperson\n", "car\nperson\n"),
        (b"\xef\xbb\xbfcar\r\nperson\r\n", "car\nperson\n"),
        (b"car\rperson", "car\nperson"),
        ("Fußgänger".encode(), "Fußgänger"),
        (b"", ""),
        (b"\xef\xbb\xbf", ""),
    ],
)
def test_text_is_read_whatever_wrote_it(tmp_path: Path, data: bytes, text: str) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    assert read_text(tmp_path / "a.txt") == text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("car\r\n".encode("utf-16"), "UTF-16: save it as UTF-8"),
        (b"\xfe\xff\0c\0a\0r", "UTF-16: save it as UTF-8"),
        ("car\r\n".encode("utf-16-le"), "UTF-16: save it as UTF-8"),  # without a mark
        ("car".encode("utf-32"), "UTF-32: save it as UTF-8"),
        (b"caf\xe9", "not text$"),
    ],
)
def test_other_encodings_are_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(NotTextError, match=message):
        decode_text(data)

from __future__ import annotations

from typing import Any

import pytest

from gaussian_yolo_node.frames import SourceError, open_source


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("", {}, "no source given"),
        ("   ", {}, "no source given"),
        ("no/such/thing.mp4", {}, "no/such/thing.mp4 does not exist"),
        ("x" * 5000, {}, "does not exist"),  # longer than any valid path
        (".", {"playback": "slow"}, "playback must be"),
        (".", {"fps": -1.0}, "must not be negative"),
    ],
)
def test_refusals(spec: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(spec, **options)


def test_long_pipeline_is_a_pipeline() -> None:
    with pytest.raises(SourceError, match=r"^pipeline"):
        open_source("videotestsrc ! " + "identity ! " * 500 + "appsink")

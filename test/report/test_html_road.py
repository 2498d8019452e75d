"""Tracks and places in the report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from report_factory import TOO_FAR_M, make_run

pytest.importorskip("scipy", reason="scipy is not installed (extra 'evaluate')")

from gaussian_yolo_node.report.write import write_report

pytestmark = pytest.mark.usefixtures("unrendered")


def document(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return result


@pytest.mark.parametrize("frame", ["camera", "road"])
def test_tracks_and_places_are_held_against_the_truth(tmp_path: Path, frame: str) -> None:
    pytest.importorskip("trackeval", reason="TrackEval is not installed")
    base = make_run(tmp_path / "base", road="road", lost=range(10, 16))
    path = write_report(make_run(tmp_path / "run", road=frame), baseline=base, thumbnails=0)

    tracks = document(path)["tracks"]
    assert (tracks["tracks"], tracks["boxes"]) == (3, 48)
    overall = tracks["tracking"]["all"]
    assert (overall["switches"], overall["tp"], overall["fp"], overall["fn"]) == (1, 48, 0, 0)
    assert overall["idf1"] == pytest.approx(0.75)  # of the second object, half is another id
    assert [life["name"] for life in tracks["lives"]] == ["car 4", "car 5"]
    assert tracks["lives"][1]["tracks"] == [2] * 12 + [3] * 12

    places = document(path)["places"]
    near = places["near"]
    assert (near["objects"], near["placed"]) == (48, 48)
    # Along lines of sight that are a little to the side of the camera's axis.
    assert near["range_bias"] == pytest.approx((TOO_FAR_M / 10.2 + TOO_FAR_M / 20) / 2, rel=0.05)
    assert near["range_covered"] == [0.0, 1.0]
    assert places["bands"]["10-20 m"]["placed"] == 24

    page = path.read_text()
    assert 'id="tracks"' in page and 'id="places"' in page and "Who is followed" in page
    assert "the baseline has 36 of 3" in " ".join(page.split())


def test_without_tracks_there_is_no_section(tmp_path: Path) -> None:
    path = write_report(make_run(tmp_path / "run"), thumbnails=0)
    assert document(path)["tracks"] is None and document(path)["places"] is None
    assert 'id="tracks"' not in path.read_text()


@pytest.mark.parametrize(("truth", "ids"), [(True, False), (False, False)])
def test_without_ids_in_the_truth_tracks_are_counted(tmp_path: Path, truth: bool, ids: bool) -> None:
    path = write_report(make_run(tmp_path / "run", road="road", truth=truth, ids=ids), thumbnails=0)
    assert document(path)["tracks"] | {"description": ""} == {
        "description": "", "tracks": 3, "boxes": 48, "tracking": {}, "lives": [],
    }  # fmt: skip
    assert "The truth has no ids" in path.read_text()
    assert document(path)["places"] is None


def test_without_trackeval_the_report_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    path = write_report(make_run(tmp_path / "run", road="road"), thumbnails=0)
    assert "figures of tracks need TrackEval" in path.read_text()
    assert document(path)["places"] is not None

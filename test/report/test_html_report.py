"""The whole report, for run folders as a replay writes them."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from evaluation_factory import evaluate_protocol
from report_factory import make_run

from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.predictions import read_predictions
from gaussian_yolo_node.labels.truths import read_ground_truth
from gaussian_yolo_node.replay.run_folder import ANSWERS_FILE, DETECTIONS_FILE, RUN_FILE, ReplayRunError
from gaussian_yolo_node.report.comparison import ComparisonError
from gaussian_yolo_node.report.write import ReportError, write_file_report, write_report

HOSTILE = "<script>alert('{:d}')</script>"
HOSTILE_CLASS = '"><img src=x onerror=alert(1)>$\\frac{'


class Page(HTMLParser):
    """The file as a browser parses it."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.sections: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        self.text = re.sub(r"[ \t\n]+", " ", self.text)  # as it is shown, except in <pre>

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "section":
            self.sections.append(str(dict(attrs)["id"]))

    def handle_data(self, data: str) -> None:
        self.text += data


def report(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return result


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its bag, two frames lost."""
    folder = tmp_path_factory.mktemp("runs")
    return make_run(folder / "run", drive=folder / "drive.mcap", lost=(5, 6))


@pytest.fixture(scope="module")
def plain_report(plain_run: Path) -> Path:
    """The report of `plain_run`, in its folder."""
    return write_report(plain_run)


def test_everything_is_in_it(plain_run: Path, plain_report: Path) -> None:
    path = plain_report
    page = Page(path)

    assert path == plain_run / "report.html"
    assert page.sections == [
        "summary", "accuracy", "uncertainty", "latency", "worst", "model", "method", "limits", "signature",
    ]  # fmt: skip
    links = {str(given["href"])[1:] for name, given in page.elements if name == "a"}
    assert links == set(page.sections)
    assert sum(name == "svg" for name, _ in page.elements) == 10
    pictures = [str(given["src"]) for name, given in page.elements if name == "img"]
    assert len(pictures) == 12 or len(pictures) == len(report(path)["worst_frames"])
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in pictures)
    for words in ("tiny", "a processor, 2 cores", "gaussian-yolo replay drive.mcap", "2 frames (8.3 %) were dropped"):
        assert words in page.text


def test_the_page_needs_nothing_else(plain_report: Path) -> None:
    content = plain_report.read_text()
    page = Page(plain_report)

    assert {"script", "link", "iframe", "object", "form"} & {name for name, _ in page.elements} == {"link"}
    for _, given in page.elements:
        for key, value in given.items():
            if key in ("src", "href", "xlink:href"):
                assert str(value).startswith(("data:", "#")), value
            assert not key.startswith("on")
    assert not re.search(r"url\((?!#)", content) and "@import" not in content
    variables = set(re.findall(r"var\(--([a-z0-9-]+)\)", content))
    assert {"ink", "series-0"} <= variables <= set(re.findall(r"--([a-z0-9-]+):", content))
    ids = [given["id"] for _, given in page.elements if "id" in given]
    assert len(ids) == len(set(ids))


def test_the_json_has_the_figures_of_the_evaluation(plain_run: Path, plain_report: Path) -> None:
    document = report(plain_report)
    truths = read_ground_truth(plain_run / ANSWERS_FILE)
    answers = read_predictions(plain_run / DETECTIONS_FILE)
    answered = evaluate_protocol("all", truths, answers)

    assert document["accuracy_answered"]["map"] == answered.map
    assert document["map"] < answered.map
    assert document["ap"] == document["accuracy"]["ap"]
    assert document["ap"]["car"]["0.7"] < answered.ap["car"]["0.7"]
    assert document["ap"]["cyclist"] == {"0.5": None}
    assert document["drop_cost_map"] == pytest.approx(answered.map - document["map"])
    assert document["counters"] == {"played": 24, "answered": 22, "dropped": 2, "failed": 0}
    assert document["latency"]["longest_loss_frames"] == 2
    assert 0.02 <= document["latency"]["age_percentiles_s"]["50"] <= 0.022
    assert document["score_threshold"] == 0.3  # from the card: the node ran below it for the curves
    estimate = document["intervals"]["figures"]["ap/car"]
    assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert estimate["value"] == pytest.approx(document["ap"]["car"]["0.7"], abs=1e-12)
    assert document["uncertainty"]["boxes"] > 0
    assert set(document["files"]) == {RUN_FILE, DETECTIONS_FILE, ANSWERS_FILE}


def test_equal_runs_have_equal_reports(plain_run: Path, plain_report: Path, tmp_path: Path) -> None:
    assert write_report(plain_run, output=tmp_path / "b.html").read_bytes() == plain_report.read_bytes()


@pytest.mark.usefixtures("unrendered")
@pytest.mark.parametrize(("protocol", "iou"), [("all", "0.7"), ("kitti", "0.7"), ("bdd", "0.75"), ("coco", "0.75")])
def test_every_protocol(plain_run: Path, tmp_path: Path, protocol: str, iou: str) -> None:
    if protocol == "coco":
        pytest.importorskip("pycocotools")
    path = write_report(plain_run, protocol=protocol, thumbnails=0, output=tmp_path / "report.html")
    document = report(path)

    assert document["protocol"] == protocol
    assert 0 < document["ap"]["car"][iou] <= 1
    assert ("moderate" in Page(path).text) == (protocol == "kitti")
    # The interval is for the displayed AP with these protocols only.
    assert ("The interval is of the AP" in Page(path).text) == (protocol in ("all", "bdd"))


@pytest.mark.usefixtures("unrendered")
def test_without_truth_it_is_latency_and_detections(tmp_path: Path) -> None:
    path = write_report(make_run(tmp_path / "run", truth=False))
    page = Page(path)

    assert page.sections == ["summary", "detections", "latency", "model", "method", "limits", "signature"]
    assert "says nothing of accuracy" in page.text and "The bag has no truth" in page.text
    document = report(path)
    assert (document["ap"], document["map"], document["uncertainty"]) == ({}, None, None)
    assert document["latency"]["age_percentiles_s"]["99"] > 0


@pytest.mark.usefixtures("unrendered")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lost": range(24)}, "Not one frame was answered."),
        ({"frames": 1}, "Of 1 frames played"),
        ({"frames": 2, "wrong": 0}, "of 4 objects were found"),
        ({"mode": "lockstep", "truth": False}, "In lockstep nothing can be dropped"),
        ({"rate_hz": 120.0, "truth": False}, "published at 120.0 Hz"),
        ({"model": {}, "model_hash": "", "truth": False}, "The model's card is not known"),
        ({"notes": ["2 frames were published late"], "truth": False}, "2 frames were published late"),
        ({"score_threshold": None, "criterion": "", "truth": False}, "the node does not tell"),
        ({"score_threshold": 0.45}, "At the score threshold 0.45"),
        (
            {"class_name": "bus"},
            "cannot be held against the bag's truth: no predicted class is one of the ground truth",
        ),
        ({"category": "bus", "class_name": "bus"}, "mean AP, protocol bdd"),
        ({"wrong": 30}, "false positives"),
    ],
)
def test_runs_of_all_kinds(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    path = write_report(make_run(tmp_path / "run", **options), thumbnails=2)
    assert words in Page(path).text


@pytest.mark.usefixtures("unrendered")
def test_a_bag_that_is_gone(tmp_path: Path) -> None:
    path = write_report(make_run(tmp_path / "run", drive=tmp_path / "drive.mcap"))
    assert "data:image/jpeg" in path.read_text()
    (tmp_path / "drive.mcap").unlink()

    gone = Page(write_report(tmp_path / "run"))
    assert not any(name == "img" for name, _ in gone.elements)
    assert "is not there any more" in gone.text
    assert "000000.png" in gone.text  # frames without a picture are listed, too


@pytest.mark.usefixtures("unrendered")
def test_a_bag_of_other_frames_and_a_damaged_one(tmp_path: Path) -> None:
    bag = tmp_path / "drive.mcap"
    run = make_run(tmp_path / "run", drive=bag)
    make_run(tmp_path / "other", drive=bag, first=100)
    assert "has no picture of" in Page(write_report(run)).text
    bag.write_bytes(b"no bag")
    assert "pictures of the worst frames" in Page(write_report(run)).text


@pytest.mark.usefixtures("unrendered")
def test_no_pixel_where_none_is_wanted(plain_run: Path, tmp_path: Path) -> None:
    content = write_report(plain_run, thumbnails=0, output=tmp_path / "report.html").read_text()
    assert "data:image/jpeg" not in content and 'id="worst"' not in content


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run & <b>",
        names=HOSTILE,
        class_name=HOSTILE_CLASS,
        category=HOSTILE_CLASS,
        lost=(3,),
        notes=["<script>note()</script>", "\x00\x1b[31m \u202e"],
        machine="</dd><script>machine()</script>",
        runtime="<style>*{display:none}</style>",
        command=["gaussian-yolo", "replay", "a b; rm -rf ~", "</pre><script>"],
        diagnostics={"<script>": "</table><script>x()</script>"},
        model={"name": "<img src=//x>", "classes": None, "training": {"</pre><script>": ["<!--"]}},
        model_hash="<i>",
        bag="<svg onload=x()>",
    )
    path = write_report(run, baseline=make_run(tmp_path / "<script>", names=HOSTILE, class_name=HOSTILE_CLASS))
    page = Page(path)

    names = {name for name, _ in page.elements}
    assert "script" not in names and "i" not in names and "b" not in names
    assert sum(name == "style" for name, _ in page.elements) == 1
    assert not any(name == "img" for name, _ in page.elements)
    assert not any(key.startswith("on") for _, given in page.elements for key in given)
    assert HOSTILE_CLASS in page.text and "<script>note()</script>" in page.text
    assert "'a b; rm -rf ~'" in page.text
    assert "\x00" not in page.text
    assert HOSTILE_CLASS in report(path)["ap"]


@pytest.mark.usefixtures("unrendered")
def test_a_baseline(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", wrong=0, age_s=0.01)
    baseline = make_run(tmp_path / "baseline", wrong=4, age_s=0.03)
    path = write_report(run, baseline=baseline)
    page, comparison = Page(path), report(path)["comparison"]

    assert "comparison" in page.sections
    assert comparison["frames"] == 24 and comparison["baseline"] == "baseline"
    figures = comparison["figures"]
    assert figures["false_positives"]["verdict"] == "better"
    assert figures["age_p50_s"]["verdict"] == "better"
    assert figures["age_p50_s"]["difference"] == pytest.approx(-0.02, abs=0.003)
    assert figures["found"]["difference"] == 0
    assert "baseline: run.json" in page.text
    assert "the baseline, where it finds as many" in page.text


@pytest.mark.usefixtures("unrendered")
def test_a_run_as_its_own_baseline(plain_run: Path, tmp_path: Path) -> None:
    comparison = report(write_report(plain_run, baseline=plain_run, output=tmp_path / "r.html"))["comparison"]
    for row in comparison["figures"].values():
        assert row["difference"] in (0, None) and row["verdict"] == "none"


@pytest.mark.usefixtures("unrendered")
def test_criteria_and_lost_frames_forbid_some_verdicts(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", wrong=0)
    other = make_run(tmp_path / "confidence", wrong=4, criterion="confidence")
    path = write_report(run, baseline=other)
    assert report(path)["comparison"]["figures"]["false_positives"]["verdict"] == "changed"
    assert "is no verdict" in Page(path).text
    assert "What the uncertainty term of the score is worth" in Page(path).text

    silent = make_run(tmp_path / "silent", wrong=4, lost=range(4, 24))
    full = make_run(tmp_path / "full", wrong=4)
    figures = report(write_report(silent, baseline=full))["comparison"]["figures"]
    assert figures["false_positives"]["verdict"] == "changed"
    assert figures["ap/car"]["verdict"] == figures["lost"]["verdict"] == "worse"


@pytest.mark.usefixtures("unrendered")
def test_ages_in_lockstep_are_no_verdict(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", mode="lockstep", age_s=0.01)
    path = write_report(run, baseline=make_run(tmp_path / "baseline", mode="lockstep", age_s=0.03))
    assert report(path)["comparison"]["figures"]["age_p50_s"]["verdict"] == "changed"
    assert "repeat both runs" in Page(path).text


@pytest.mark.usefixtures("unrendered")
def test_what_is_no_run(tmp_path: Path, plain_run: Path) -> None:
    with pytest.raises(ReplayRunError, match="is not the folder of a replay"):
        write_report(tmp_path)
    run = make_run(tmp_path / "run", frames=4)
    with pytest.raises(ComparisonError, match="no frame in common"):
        write_report(run, baseline=make_run(tmp_path / "other", frames=4, first=50))
    with pytest.raises(ComparisonError, match="one frame in common"):
        write_report(run, baseline=make_run(tmp_path / "last", frames=4, first=3))
    with pytest.raises(ReplayRunError):
        write_report(run, baseline=tmp_path / "nowhere")
    with pytest.raises(ReportError, match=r"ends in \.html"):
        write_report(run, output=tmp_path / "report.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot be written"):
        write_report(run, output=tmp_path / "file" / "report.html")
    shutil.copy(plain_run / DETECTIONS_FILE, run / DETECTIONS_FILE)
    with pytest.raises(DatasetError, match="not of one run"):
        write_report(run)
    (run / DETECTIONS_FILE).unlink()
    with pytest.raises(DatasetError, match="cannot be read"):
        write_report(run)


@pytest.mark.usefixtures("unrendered")
def test_answers_that_are_missing_or_of_other_frames(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / ANSWERS_FILE).unlink()
    assert "answers.mcap is missing" in Page(write_report(run)).text
    other = make_run(tmp_path / "other", first=100)
    shutil.copy(other / ANSWERS_FILE, run / ANSWERS_FILE)
    page = Page(write_report(run))
    assert "accuracy" not in page.sections and "no object in it is of one of the frames" in page.text


@pytest.mark.usefixtures("unrendered")
def test_of_files(plain_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "report.html"
    path = write_file_report(plain_run / ANSWERS_FILE, plain_run / DETECTIONS_FILE, output)
    page = Page(path)

    assert path == output and "latency" not in page.sections and "accuracy" in page.sections
    truths = read_ground_truth(plain_run / ANSWERS_FILE)
    expected = evaluate_protocol("all", truths, read_predictions(plain_run / DETECTIONS_FILE))
    assert report(path)["map"] == expected.map
    assert "No image folder was given" in page.text


@pytest.mark.usefixtures("unrendered")
def test_real_frames_of_a_folder(driving_dir: Path, tmp_path: Path) -> None:
    """Predictions equal to one label file's boxes, with the picture of the frame."""
    drive = driving_dir / "kitti" / "drive_0011"
    truths = read_ground_truth(drive / "label_2")
    cars = ((name, frame.truths.boxes[frame.truths.categories == "Car"]) for name, frame in truths.frames.items())
    name, boxes = next((name, boxes[1:]) for name, boxes in cars if len(boxes))
    found = [{"class": "car", "score": 0.9, "box": box.tolist()} for box in boxes]
    record = {"frame": f"{name}.png", "width": 1242, "height": 375, "detections": found}
    (tmp_path / "found.json").write_text(json.dumps([record]))

    path = write_file_report(
        drive / "label_2", tmp_path / "found.json", tmp_path / "report.html", images=drive / "image"
    )

    (worst,) = report(path)["worst_frames"]
    assert worst["false_positives"] == 0 and worst["missed"] >= 1
    assert sum(name == "img" for name, _ in Page(path).elements) == 1
    assert "have no sigmas" in Page(path).text


def test_a_long_run_is_a_page_that_can_be_mailed(tmp_path: Path) -> None:
    path = write_report(make_run(tmp_path / "run", frames=1500, lost=range(0, 1500, 9)), thumbnails=0)
    assert path.stat().st_size < 1_000_000

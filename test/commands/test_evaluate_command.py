"""`evaluate` and `calibrate`, on a tiny model with constant boxes and labels that scatter around them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands.conftest import Run
from factories import PLANTED, make_image, make_model

from gaussian_yolo_node.detector.detector import Detector

LABEL = "{} 0.00 0 1.5 {:.3f} {:.3f} {:.3f} {:.3f} 1.5 1.6 3.9 1.0 1.5 20.0 1.5\n"
FRAMES = 32
SPREAD = 0.03  # of errors, as a share of the box size


@pytest.fixture(autouse=True)
def _needs() -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime not installed")


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Objects at the model's boxes, within 3 % of their size."""
    return make_drive(tmp_path_factory.mktemp("drive"), [SPREAD] * FRAMES)


def make_drive(folder: Path, spreads: list[float]) -> Path:
    """Frames of the canvas size; `spreads` is the distance of each frame's objects from the model's boxes, as a share
    of their size."""
    rng = np.random.default_rng(0)
    (folder / "image").mkdir()
    (folder / "label_2").mkdir()
    for index in range(len(spreads) + 1):  # the last frame has no labels
        cv2.imwrite(str(folder / "image" / f"{index:06d}.jpg"), make_image(64, 96, seed=index))
    for index, spread in enumerate(spreads):
        lines = []
        for kind, planted in zip(("Car", "Pedestrian"), PLANTED, strict=True):
            x1, y1, x2, y2 = planted.box
            size = np.array([x2 - x1, y2 - y1])
            centre = np.array([x1 + x2, y1 + y2]) / 2 + rng.normal(0, spread, 2) * size
            half = size * (1 + rng.normal(0, spread, 2)) / 2
            lines.append(LABEL.format(kind, *(centre - half), *(centre + half)))
        (folder / "label_2" / f"{index:06d}.txt").write_text("".join(lines))
    return folder


def drive_arguments(drive: Path) -> list[str | Path]:
    return ["--images", drive / "image", "--labels", drive / "label_2", "--runtime", "onnxruntime"]


def test_calibrate_writes_a_model_with_true_sigmas(tmp_path: Path, drive: Path, run: Run) -> None:
    pytest.importorskip("onnx")
    wrong = {"sigma_calibration": {"scale": [9] * 4, "offset": [9] * 4}}  # the fit uses the network's own sigmas
    model = make_model(tmp_path / "tiny.onnx", card_overrides=wrong)
    output = tmp_path / "calibrated.onnx"
    done = run("calibrate", model, *drive_arguments(drive), "-o", output)
    assert done.code == 0, done.err
    printed = done.out
    assert f"{2 * FRAMES} boxes from score 0.05 on their objects in {FRAMES} frames" in printed
    assert all(state in printed for state in ("raw", "calibrated", "unseen", f"written: {output}"))
    assert "on unseen frames the corrected sigmas are likelier" in printed
    assert "cx: sigma' = " in printed and "sigma + " in printed
    with Detector.open(output, "onnxruntime") as detector:
        card = detector.card
        found = detector(make_image(64, 96))
    assert card.training["sigma_calibration"]["boxes"] == 2 * FRAMES
    sizes = np.tile(found.boxes[:, 2:] - found.boxes[:, :2], 2)
    relative = np.sqrt(((found.sigmas / sizes) ** 2).mean(axis=0))
    np.testing.assert_allclose(relative, SPREAD, rtol=0.25)  # two boxes with 32 errors each


def test_calibrate_only_shows_without_an_output(tmp_path: Path, drive: Path, run: Run) -> None:
    model = make_model(tmp_path / "tiny.onnx")
    before = model.read_bytes()
    done = run("calibrate", model, *drive_arguments(drive))
    assert done.code == 0, done.err
    assert "written" not in done.out
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.onnx"] and model.read_bytes() == before


def test_too_few_boxes_for_a_half_are_said(tmp_path: Path, drive: Path, run: Run) -> None:
    """At score 0.7 and above only the cars remain, fewer than thirty in half of the frames."""
    model = make_model(tmp_path / "tiny.onnx")
    done = run("calibrate", model, *drive_arguments(drive), "--least-score", "0.7")
    assert done.code == 0, done.err
    printed = done.out
    assert "too few boxes to fit to one half" in printed and "unseen" not in printed


def test_a_fit_that_does_not_carry_over_is_said(tmp_path: Path, run: Run) -> None:
    """Errors are six times as large in the second half."""
    model = make_model(tmp_path / "tiny.onnx")
    drive = make_drive(tmp_path, [0.01] * 20 + [0.06] * 20)
    done = run("calibrate", model, *drive_arguments(drive))
    assert done.code == 0, done.err
    assert "no likelier than the raw ones" in done.out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--images": "{tmp}/none"}, "none does not exist"),
        ({"--labels": "{tmp}/none"}, "none does not exist"),
        ({"--images": "{tmp}/other"}, "not one image has a label file of its name"),
        ({"--least-score": "0.9"}, "0 boxes lie on an object"),
        ({"--least-score": "1"}, "score_threshold is 1.0"),
        ({"--output": "/dev/null/out.onnx"}, "/dev/null/out.onnx cannot be written"),
        ({"--runtime": "abacus"}, "no runtime 'abacus'"),
    ],
)
def test_bad_input_to_calibrate(
    tmp_path: Path, drive: Path, tiny_model: Path, run: Run, changes: dict[str, str], message: str
) -> None:
    (tmp_path / "other").mkdir()
    cv2.imwrite(str(tmp_path / "other" / "elsewhere.jpg"), make_image(64, 96))
    given = drive_arguments(drive)
    options = dict(zip(map(str, given[::2]), map(str, given[1::2]), strict=True))
    options |= {name: value.format(tmp=tmp_path) for name, value in changes.items()}
    done = run("calibrate", tiny_model, *(part for pair in options.items() for part in pair))
    assert done.code == 2, done.err
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]


def test_writing_names_the_extra_it_needs_before_the_work(
    tmp_path: Path, drive: Path, tiny_model: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    done = run("calibrate", tiny_model, *drive_arguments(drive), "-o", tmp_path / "out.onnx")
    assert done.code == 2, done.err
    assert "pip install '.[train]'" in done.err


def test_a_frame_that_fails_is_named(tmp_path: Path, drive: Path, run: Run) -> None:
    model = make_model(tmp_path / "nan.onnx", nan=True)
    done = run("calibrate", model, *drive_arguments(drive))
    assert done.code == 2, done.err
    assert "error: frame 000000.jpg: " in done.err


def test_evaluate_writes_ap_by_class_and_iou(tmp_path: Path, run: Run) -> None:
    truth = [{"name": "a", "category": "car", "bbox": [0, 0, 9, 9]}]
    found = [{**truth[0], "score": 0.9}, {"name": "b", "category": "car", "bbox": [0, 0, 9, 9], "score": 0.95}]
    for name, document in (("truth", truth), ("found", found)):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    paths = ["--ground-truth", tmp_path / "truth.json", "--predictions", tmp_path / "found.json"]
    done = run("evaluate", "--protocol", "bdd", *paths, "--json", tmp_path / "out.json")
    assert done.code == 0, done.err
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["ap"] == {"car": {"0.5": 0.5, "0.7": 0.5, "0.75": 0.5}} and result["map"] == 0.5
    printed = done.out
    assert "protocol bdd" in printed and "50.00" in printed


CALIBRATION = "P0: 0 0 0 0 0 0 0 0 0 0 0 0\nP2: 700 0 600 0 0 700 180 0 0 0 1 0\n"


def position_case(folder: Path) -> list[str | Path]:
    """Options for a car 20 m ahead, found where it is labelled."""
    box = [569.0, 184.8, 631.0, 244.0]
    (folder / "label_2").mkdir()
    line = "Car 0.00 0 1.5 {} {} {} {} 1.5 1.6 3.9 0.0 1.65 20.0 1.57\n".format(*box)
    (folder / "label_2" / "000000.txt").write_text(line)
    detection = {"class": "car", "score": 0.9, "box": box, "sigma": [1.0] * 4}
    (folder / "found.json").write_text(json.dumps([{"frame": "000000.png", "detections": [detection]}]))
    (folder / "calib.txt").write_text(CALIBRATION)
    return ["--protocol", "position", "--ground-truth", folder / "label_2", "--predictions", folder / "found.json"]


def test_evaluate_writes_errors_of_places(tmp_path: Path, run: Run) -> None:
    options = [*position_case(tmp_path), "--calibration", tmp_path / "calib.txt", "--json", tmp_path / "out.json"]
    done = run("evaluate", *options)
    assert done.code == 0, done.err
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["protocol"] == "position" and result["near"]["placed"] == 1 and result["near"]["range_error"] < 0.02
    assert "protocol position" in done.out
    # The pose counts: from twice the height, the lower edge is twice as far away, and the height contradicts it.
    done = run("evaluate", *options, "--camera-height", "3.3")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "out.json").read_text())["states"]["apart"] == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "give --calibration"),
        (["--calibration", "{tmp}/none.txt"], "none.txt cannot be read"),
        (["--calibration", "{tmp}/calib.txt", "--image-size", "big"], "--image-size is 'big'"),
        (["--calibration", "{tmp}/calib.txt", "--camera-height", "0"], "height above the ground"),
    ],
)
def test_what_places_need(tmp_path: Path, run: Run, more: list[str], message: str) -> None:
    options = [*position_case(tmp_path), *(each.format(tmp=tmp_path) for each in more)]
    done = run("evaluate", *options)
    assert done.code == 2, done.err
    assert message in done.err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--ground-truth", "nothing"], "ground truth nothing does not exist"),
        (["--predictions", "nothing"], "predictions file nothing cannot be read"),
        (["--protocol", "kitti"], "needs KITTI labels"),
        (["--protocol", "coco", "--iou", "0.6"], "has IoUs of its own"),
        (["--json", "."], "cannot be written"),
    ],
)
def test_bad_input_to_evaluate(tmp_path: Path, changed: list[str], message: str, run: Run) -> None:
    path = tmp_path / "both.json"
    path.write_text(json.dumps([{"name": "a", "category": "car", "bbox": [0, 0, 9, 9], "score": 0.5}]))
    done = run("evaluate", "--ground-truth", path, "--predictions", path, *changed)
    assert done.code == 2, done.err
    error = done.err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_names_on_either_side_are_told_where_none_is_of_both(tmp_path: Path, run: Run) -> None:
    truth = {"name": "a", "category": "shoe", "bbox": [0, 0, 9, 9]}
    (tmp_path / "truth.json").write_text(json.dumps([truth]))
    (tmp_path / "found.json").write_text(json.dumps([{**truth, "category": "boot", "score": 0.5}]))
    paths = ["--ground-truth", tmp_path / "truth.json", "--predictions", tmp_path / "found.json"]
    done = run("evaluate", "--protocol", "bdd", *paths)
    assert done.code == 2, done.err
    assert "predicted are boot, and the ground truth has shoe" in done.err


def test_the_coco_protocol_names_the_extra_it_needs(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    path = tmp_path / "both.json"
    path.write_text(json.dumps([{"name": "a", "category": "car", "bbox": [0, 0, 9, 9], "score": 0.5}]))
    done = run("evaluate", "--protocol", "coco", "--ground-truth", path, "--predictions", path)
    assert done.code == 2, done.err
    assert "pip install '.[evaluate]'" in done.err


def test_a_bag_is_both_truth_and_predictions(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("rosbags", reason="rosbags not installed")
    from bag_factory import DETECTIONS, INFO_TOPIC, START_NS, TRUTH_TOPIC, TYPES, detections, info, write_recording

    box = (100.0, 100.0, 200.0, 200.0)
    car, hidden, region = ("Car", 1.0, box), ("Car", 1.0, (300.0, 0.0, 400.0, 99.0)), ("DontCare", 1.0, (0.0,) * 4)
    records = [
        (INFO_TOPIC, START_NS, info(START_NS, "a.png", 3, truncation=[0.0, 0.9, 0.0])),
        (TRUTH_TOPIC, START_NS, detections([car, hidden, region], START_NS)),
        ("/found", START_NS, detections([("car", 0.9, box)], START_NS)),
    ]
    bag = write_recording(tmp_path / "bag", records, types={**TYPES, "/found": DETECTIONS})
    paths = ["--ground-truth", bag, "--predictions", bag]
    done = run("evaluate", "--protocol", "kitti", *paths, "--json", tmp_path / "out.json")
    assert done.code == 0, done.err
    result = json.loads((tmp_path / "out.json").read_text())
    easy = next(row for row in result["counts"] if row["name"] == "car" and row["difficulty"] == "easy")
    assert (easy["tp"], easy["fp"], easy["fn"]) == (1, 0, 0)  # the truncated object does not count
    assert result["frames"]["matched"] == ["a.png"] and result["sigma"]["boxes"] == 1
    assert "protocol kitti" in done.out


def write_tracking_labels(path: Path) -> Path:
    lines = [
        f"{frame} 7 Car 0 0 1.5 {10 + frame} 20 {60 + frame} 60 1.5 1.6 3.9 1.0 1.5 20.0 1.5" for frame in range(6)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("given", ["tracks", "detections"])
def test_tracks_are_evaluated(tmp_path: Path, run: Run, given: str) -> None:
    pytest.importorskip("trackeval", reason="trackeval is not installed (pip install --no-deps trackeval)")
    labels = write_tracking_labels(tmp_path / "0002.txt")
    found = labels
    if given == "detections":
        records = [
            {
                "frame": f"{frame:06d}.png",
                "detections": [
                    {"class": "car", "score": 0.9, "box": [10 + frame, 20, 60 + frame, 60], "sigma": [1, 1, 1, 1]}
                ],
            }
            for frame in range(6)
        ]
        found = tmp_path / "found.json"
        found.write_text(json.dumps(records))
    paths = ["--ground-truth", labels, "--predictions", found]
    done = run("evaluate", "--protocol", "mot", *paths, "--json", tmp_path / "out.json")
    assert done.code == 0, done.err
    result = json.loads((tmp_path / "out.json").read_text())
    missed = 0 if given == "tracks" else 1  # the first frame, before a track is confirmed
    assert result["tracking"]["car"] == result["tracking"]["all"]
    assert (result["tracking"]["car"]["fn"], result["tracking"]["car"]["switches"]) == (missed, 0)
    assert result["tracking"]["car"]["mota"] == pytest.approx(1 - missed / 6)
    assert "protocol mot" in done.out


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ("none.txt", "0002.txt", "cannot be read"),
        ("0002.txt", "none.txt", "cannot be read"),
        ("0002.txt", "none", "No such file"),
    ],
)
def test_bad_input_to_the_evaluation_of_tracks(
    tmp_path: Path, run: Run, labels: str, predictions: str, message: str
) -> None:
    write_tracking_labels(tmp_path / "0002.txt")
    paths = ["--ground-truth", tmp_path / labels, "--predictions", tmp_path / predictions]
    done = run("evaluate", "--protocol", "mot", *paths)
    assert done.code == 2, done.err
    assert message in done.err

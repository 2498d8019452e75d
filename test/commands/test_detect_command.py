from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands.conftest import Result, Run, run_apart
from factories import PLANTED, make_image, make_model
from mjpeg_server import MjpegServer

from gaussian_yolo_node.detector.detector import Detector

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "gaussian_yolo_node.commands"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY)}
LABEL = "Car 0.00 0 1.5 {:.2f} {:.2f} {:.2f} {:.2f} 1.5 1.6 3.9 1.0 1.5 20.0 1.5\n"


def assert_one_line_error(result: Result, message: str) -> None:
    assert result.code == 2
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0], result.err
    assert "Traceback" not in result.err
    assert "OpenCV(" not in result.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for index in range(6):
        cv2.imwrite(str(folder / f"{index:06d}.jpg"), make_image(128, 192, seed=index))
    return folder


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder of files that cannot be used."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "truncated.onnx").write_bytes(tiny_model.read_bytes()[:1000])
    make_model(folder / "cardless.onnx", with_card=False)
    make_model(folder / "nan.onnx", nan=True)
    (folder / "video.mp4").write_bytes(b"garbage" * 1000)
    (folder / "empty").mkdir()
    (folder / "corrupt").mkdir()
    (folder / "corrupt" / "0.jpg").write_bytes(b"garbage")
    return folder


def test_detect_writes_json_and_video(run: Run, tmp_path: Path, folder: Path, tiny_model: Path) -> None:
    result = run(
        "detect", folder, "--model", tiny_model, "--json", tmp_path / "out.json", "--video", tmp_path / "out.mp4"
    )

    assert result.code == 0, result.err
    assert "6 frames, 0 skipped, 12 detections" in result.out
    assert "inference" in result.out and "tiny on " in result.out
    records = json.loads((tmp_path / "out.json").read_text())
    assert [record["frame"] for record in records] == [f"{index:06d}.jpg" for index in range(6)]
    with Detector.open(tiny_model) as detector:
        expected = detector(cv2.imread(str(folder / "000000.jpg")))
    assert records[0].keys() == {"frame", "width", "height", "detections"}
    assert (records[0]["width"], records[0]["height"]) == (192, 128)
    for found, planted, box, sigma in zip(
        records[0]["detections"], PLANTED, expected.boxes, expected.sigmas, strict=True
    ):
        assert found.keys() == {"class", "score", "box", "sigma"}
        assert found["class"] == ("car", "pedestrian")[planted.class_id]
        assert found["score"] == pytest.approx(planted.score, abs=1e-3)
        np.testing.assert_allclose(found["box"], box, atol=1e-3)
        np.testing.assert_allclose(found["sigma"], sigma, atol=1e-3)
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 6


def test_detect_by_confidence(run: Run, tmp_path: Path, folder: Path, tiny_model: Path) -> None:
    image, out = folder / "000000.jpg", tmp_path / "out.json"

    result = run("detect", image, "--model", tiny_model, "--criterion", "confidence", "--json", out)

    assert result.code == 0, result.err
    scores = [found["score"] for found in json.loads(out.read_text())[0]["detections"]]
    assert scores == pytest.approx([planted.score / (1 - planted.sigma) for planted in PLANTED], abs=1e-3)


def test_frames_of_a_video_are_named_by_index(run: Run, tmp_path: Path, tiny_model: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "in.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (64, 48))
    for index in range(3):
        writer.write(make_image(48, 64, seed=index))
    writer.release()

    result = run("detect", tmp_path / "in.mp4", "--model", tiny_model, "--json", tmp_path / "out.json")

    assert result.code == 0, result.err
    assert [record["frame"] for record in json.loads((tmp_path / "out.json").read_text())] == [0, 1, 2]


def test_corrupt_image_is_skipped_counted_and_named(run: Run, tmp_path: Path, tiny_model: Path) -> None:
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.jpg"), make_image())
    whole = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(whole[: len(whole) // 2])

    result = run("detect", tmp_path, "--model", tiny_model, "--json", tmp_path / "out.json")

    assert result.code == 0, result.err
    assert "2 frames, 1 skipped" in result.out
    assert "warning: skipped 1.jpg" in result.err
    assert [record["frame"] for record in json.loads((tmp_path / "out.json").read_text())] == ["0.jpg", "2.jpg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}", "--model", "{tmp}/none.onnx"], "there is no model"),
        (["{folder}", "--model", "{tmp}/truncated.onnx"], "truncated.onnx"),
        (["{folder}", "--model", "{tmp}/cardless.onnx"], "has no gaussian_yolo.card metadata"),
        (["{tmp}/video.mp4", "--model", "{model}"], "video.mp4 cannot be read"),
        (["{tmp}/empty", "--model", "{model}"], "has no images"),
        (["{tmp}/corrupt", "--model", "{model}"], "not one frame of the source could be read; skipped 0.jpg"),
        (["{tmp}/nothing", "--model", "{model}"], "does not exist"),
        (["63", "--model", "{model}"], "camera 63 cannot be opened"),
        (["{folder}", "--model", "{model}", "--score-threshold", "2"], "score_threshold is 2.0"),
        (["{folder}", "--model", "{model}", "--score-threshold", "nan"], "score_threshold is nan"),
        (["{folder}", "--model", "{model}", "--iou-threshold", "-1"], "iou_threshold is -1.0"),
        (["{folder}", "--model", "{model}", "--threads", "-1"], "threads is -1"),
        (["{folder}", "--model", "{model}", "--runtime", "abacus"], "no runtime 'abacus'"),
        (["{folder}", "--model", "{model}", "--input-size", "wide"], "--input-size is 'wide'; give HEIGHTxWIDTH"),
        (["{folder}", "--model", "{model}", "--input-size", "32x64"], "takes a canvas of 64x96 px only, not of 32x64"),
        (["{folder}", "--model", "{model}", "--json", "/dev/null/out.json"], "/dev/null/out.json cannot be written"),
        (["{folder}", "--model", "{model}", "--video", "{tmp}/out.gif"], "out.gif cannot be written"),
        (["{folder}", "--model", "{tmp}/nan.onnx"], "frame 000000.jpg: "),
    ],
)
def test_bad_input_to_detect(
    run: Run, bad: Path, folder: Path, tiny_model: Path, arguments: list[str], message: str
) -> None:
    result = run("detect", *(part.format(tmp=bad, folder=folder, model=tiny_model) for part in arguments))

    assert_one_line_error(result, message)


def test_error_in_the_middle_keeps_the_frames_before_it(run: Run, tmp_path: Path) -> None:
    model = make_model(tmp_path / "fragile.onnx", nan_when_black=True)
    for index in range(5):
        cv2.imwrite(str(tmp_path / f"{index}.png"), make_image(64, 96) * (index != 3))

    result = run("detect", tmp_path, "--model", model, "--json", tmp_path / "o.json", "--video", tmp_path / "o.mp4")

    assert_one_line_error(result, "frame 3.png: ")
    assert [record["frame"] for record in json.loads((tmp_path / "o.json").read_text())] == ["0.png", "1.png", "2.png"]
    assert cv2.VideoCapture(str(tmp_path / "o.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3


@pytest.mark.parametrize(
    "signum",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
    ids=lambda signum: signum.name,
)
def test_interrupt_keeps_the_frames_before_it(tmp_path: Path, tiny_model: Path, signum: signal.Signals) -> None:
    out = tmp_path / "out.json"
    with MjpegServer() as server:
        child = subprocess.Popen(
            [*COMMAND, "detect", server.url, "--model", str(tiny_model), "--json", str(out)],
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while child.poll() is None and not any(file.stat().st_size > 1000 for file in tmp_path.glob(".*/out.json")):
            time.sleep(0.05)
        assert not out.exists()
        child.send_signal(signum)
        try:
            stdout, stderr = child.communicate(timeout=30)
        finally:
            child.kill()

    assert child.returncode == 128 + signum, stderr
    assert stderr.endswith("interrupted\n") and "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == [out]
    records = json.loads(out.read_text())
    assert f"{len(records)} frames" in stdout
    assert len(records) > 0


def test_evaluate_what_detect_wrote(run: Run, tmp_path: Path, folder: Path, tiny_model: Path) -> None:
    (tmp_path / "label_2").mkdir()
    box = np.array(PLANTED[0].box) * 2  # frames are twice the canvas size
    for index in range(5):
        (tmp_path / "label_2" / f"{index:06d}.txt").write_text(LABEL.format(*box))
    assert run("detect", folder, "--model", tiny_model, "--json", tmp_path / "p.json").code == 0

    result = run(
        "evaluate", "--ground-truth", tmp_path / "label_2", "--predictions", tmp_path / "p.json",
        "--output", tmp_path / "result.json",
    )  # fmt: skip

    assert result.code == 0, result.err
    car, pedestrian = (next(line for line in result.out.splitlines() if name in line) for name in ("car", "pedestrian"))
    assert [cell.strip() for cell in car.split("│")[1:6]] == ["car", "all", "5", "0.7", "100.00"]
    assert [cell.strip() for cell in pedestrian.split("│")[1:6]] == ["pedestrian", "all", "0", "0.5", "-"]
    assert "5 of 6 predicted frames have labels: 000000 to 000004" in result.out
    assert "1 predicted frames have no truth and are not counted: 000005.jpg" in result.out
    assert "All-point interpolated" in result.out
    assert json.loads((tmp_path / "result.json").read_text())["mean_ap"]["kitti_iou"] == 1.0


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        (LABEL.format(1, 1, 9, 9), None, "cannot be read"),
        (LABEL.format(1, 1, 9, 9), "[", "is not JSON"),
        ("Car 1 2 3", "[]", "000000.txt, line 1"),
        (None, "[]", "has no frames with names"),  # no *.txt, so it is read as JSON
        (LABEL.format(1, 1, 9, 9), '[{"frame": "b.jpg", "detections": []}]', "no frame of the predictions"),
    ],
)
def test_bad_input_to_evaluate(
    run: Run, tmp_path: Path, labels: str | None, predictions: str | None, message: str
) -> None:
    if labels is not None:
        (tmp_path / "000000.txt").write_text(labels)
    if predictions is not None:
        (tmp_path / "p.json").write_text(predictions)

    result = run("evaluate", "--ground-truth", tmp_path, "--predictions", tmp_path / "p.json")

    assert_one_line_error(result, message)


def test_training_commands_name_the_extra_they_need(tmp_path: Path) -> None:
    commands = [(command, tmp_path / "input", "-o", tmp_path / "out") for command in ("train", "export")]
    for done in run_apart(*commands, without=["torch"]):
        assert_one_line_error(done, "pip install '.[train]'")


def test_missing_checkpoint(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")

    assert_one_line_error(run("export", tmp_path / "none.pt", "-o", tmp_path / "out.onnx"), "none.pt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet"], "gaussian-yolov3-darknet53, "),
        (["mobilenet_v2", "--size", "100x100"], "100x100 is not a multiple of 32"),
        (["mobilenet_v2", "--size", "100"], "HEIGHTxWIDTH"),
        (["mobilenet_v2", "--batch", "0"], "--batch is '0'"),
        (["mobilenet_v2", "--batch", "many"], "or dynamic"),
    ],
)
def test_bad_export(run: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")

    result = run("export", *arguments, "-o", tmp_path / "out.onnx")

    assert_one_line_error(result, message)
    assert result.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_export_of_a_built_in_detector_and_its_row_in_the_list(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")

    result = run("export", "mobilenet_v2", "-o", tmp_path / "out.onnx", "--size", "64x96")
    assert result.code == 0, result.err
    assert "64x96 px, batch 1" in result.out
    assert "fresh" in result.err
    with Detector.open(tmp_path / "out.onnx") as detector:
        assert detector.card.input_size == (64, 96)

    listed = run("models", "mobilenet_v2")  # test/lab/test_catalogue.py has the figures
    assert listed.code == 0, listed.err
    assert "mobilenet_v2" in listed.out


def test_help_and_version(run: Run) -> None:
    help_text = run("--help")
    assert help_text.code == 0
    assert all(command in help_text.out for command in ("detect", "evaluate", "train", "export", "models"))
    assert run("--version").out.startswith("gaussian-yolo ")
    assert run("fly").code == 2

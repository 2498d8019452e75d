"""The benchmark of peers: its protocol, the peers' decoding, its report, and a minimal run with meaningless figures."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

for package in ("openvino", "onnxruntime", "onnx", "matplotlib"):
    pytest.importorskip(package, reason=f"{package} is not installed (extras 'cpu', 'test' and 'bench')")

from factories import PLANTED, Planted, make_card, make_heads, make_image, make_model  # noqa: E402

from gaussian_yolo_node.detector.detector import Detector  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
# Answers each request with the next of its arguments.
STAND_IN = "import sys; [print(text, flush=True) for text, line in zip(sys.argv[1:], sys.stdin)]"
OPENED = '{"description": "Stand-in 1.0"}'


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, with an environment of the peers that has the packages of this one, and no Ultralytics."""
    module = importlib.import_module("peers")
    monkeypatch.setattr(module, "ENVIRONMENT", make_environment(tmp_path / "peers" / "venv", refused="*ultralytics*"))
    return module


@pytest.fixture
def worker() -> ModuleType:
    return importlib.import_module("peers_worker")


def make_environment(folder: Path, refused: str) -> Path:
    """This interpreter, in whose place pip installs nothing and fails where its arguments match `refused`."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\ncase "$*" in {refused}) exit 1;; *pip*) exit 0;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (folder / "ready").touch()
    return folder


def make_frames(folder: Path, count: int = 3) -> Path:
    folder.mkdir()
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:06}.png"), make_image(seed=index))
    return folder


def stand_in(*answers: str) -> list[str]:
    return [sys.executable, "-c", STAND_IN, *answers]


def test_contestants_take_turns_on_the_same_frames(benchmark: ModuleType, tmp_path: Path) -> None:
    frames = sorted(make_frames(tmp_path / "frames").iterdir())
    turns: list[tuple[str, str]] = []

    class Note:
        network = description = "none"

        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, frame: Path) -> tuple[float, int]:
            turns.append((self.name, frame.stem))
            return 2.0, 1

    answers = [OPENED, '{"ms": 4.0, "detections": 2}', '{"ms": 6.0, "detections": 3}']
    with benchmark.Peer("peer", "net", stand_in(*answers), {"peer": "stand-in"}) as peer:
        document = benchmark.measure([Note("a"), peer, Note("b")], frames, 2)

    assert turns == [("a", "000000"), ("b", "000000"), ("a", "000002"), ("b", "000002")]
    assert document["frame"] == [48, 160]
    assert document["rows"][1] == {
        "name": "peer", "network": "net", "description": "Stand-in 1.0", "ms": [4.0, 6.0], "detections": [2, 3],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (['{"error": "OSError: no such model"}'], "peer net fails: OSError: no such model"),
        ([], "peer net ended with exit code 0"),
        ([OPENED, '{"error": "ValueError: no image"}'], "peer net fails: ValueError: no image"),
        ([OPENED], "peer net ended with exit code 0"),
    ],
)
def test_a_peer_that_fails_is_named(benchmark: ModuleType, answers: Sequence[str], message: str) -> None:
    with (
        pytest.raises(benchmark.PeersError, match=message),
        benchmark.Peer("peer", "net", stand_in(*answers), {}) as peer,
    ):
        peer(Path("frame.png"))


@pytest.mark.parametrize("peer", ["onnxruntime", "opencv"])
@pytest.mark.parametrize("planted", [PLANTED, (*PLANTED, Planted((12.0, 12.0, 36.0, 27.0), 0, score=0.5)), ()])
def test_peers_find_what_the_detector_finds(
    worker: ModuleType, tmp_path: Path, peer: str, planted: Sequence[Planted]
) -> None:
    model = make_model(tmp_path / "tiny.onnx", planted=planted)
    frame = make_image()
    with Detector.open(model, "onnxruntime") as detector:
        expected = detector(frame)
        card = asdict(detector.card)
    request = {"peer": peer, "model": str(model), "canvas": [64, 96], "card": card}
    network, _ = {"onnxruntime": worker.open_onnxruntime, "opencv": worker.open_opencv}[peer](worker.sized(request))

    boxes, scores, ids = worker.detect_gaussian(network, frame, (64, 96), card)

    assert len(worker.open_peer(request)[0](frame)) == len(expected)
    np.testing.assert_allclose(scores, expected.scores, atol=1e-4)
    np.testing.assert_array_equal(ids, expected.class_ids)
    size = np.array([160, 48] * 2, np.float32)
    np.testing.assert_allclose(np.clip(boxes, 0, size), expected.boxes, atol=0.02)


def test_yolox_boxes_are_decoded_in_their_cells(worker: ModuleType) -> None:
    """One box in a cell of each stride, two of them alike; the canvas is twice the frame."""
    raw = np.zeros((1, 8 * 16 + 4 * 8 + 2 * 4, 5 + 2), np.float32)
    for row, score in ((8 * 3 + 2, 0.9), (8 * 16 + 8 * 1 + 1, 0.8), (8 * 16 + 4 * 8 + 4 * 1 + 3, 0.7)):
        raw[0, row] = [0.5, 0.5, np.log(2), 0, score, 0, 1]
    seen = []

    def network(blob: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        seen.append(blob)
        return [raw]

    boxes, scores, ids = worker.detect_yolox(network, make_image(32, 64), (64, 128))

    assert seen[0].shape == (1, 3, 64, 128) and seen[0].dtype == np.float32
    np.testing.assert_allclose(scores, [0.9, 0.8, 0.7])
    assert ids.tolist() == [1, 1, 1]
    centres = np.array([[10.5 * 8, 1.5 * 8], [1.5 * 16, 1.5 * 16], [3.5 * 32, 1.5 * 32]]) / 2
    sizes = np.array([[16, 8], [32, 16], [64, 32]]) / 2
    np.testing.assert_allclose(boxes, np.concatenate([centres - sizes / 2, centres + sizes / 2], 1), rtol=1e-5)


def test_a_network_without_detections_is_no_error(worker: ModuleType) -> None:
    card = make_card()
    heads = make_heads(card, ())
    boxes, scores, ids = worker.detect_gaussian(lambda blob: heads, make_image(), (64, 96), asdict(card))
    assert boxes.shape == (0, 4) and scores.shape == ids.shape == (0,)


def row(name: str, network: str, ms: list[float], description: str = "") -> dict[str, Any]:
    return {
        "name": name, "network": network, "description": description, "ms": ms, "detections": [1, 2, 3],
    }  # fmt: skip


def test_ratios_compare_times_of_the_same_round(benchmark: ModuleType, tmp_path: Path) -> None:
    rows = [
        row("ours", "a", [10, 20, 40], "bf16"),
        row("ours", "a", [20, 40, 80], "fp32"),
        row("Peer", "slow", [90, 90, 90]),
        row("Peer", "fast", [30, 70, 120], "2 threads"),
    ]
    document = {
        "rows": rows, "frame": [375, 1242], "canvas": [384, 1248], "processor": "a processor", "load": 0.1,
        "left_out": ["Other: not here"],
    }  # fmt: skip
    benchmark.write_report(document, tmp_path)
    text = (tmp_path / "peers.md").read_text()
    assert "- Peer, at its fastest (fast, 2 threads): 3.0 times that of bf16; 1.5 times that of fp32." in text
    assert "| Peer | fast | 14.3 | 70.0 (50.0 to 95.0) | 3.00 | 2.0 |" in text
    assert "load average 0.1" in text and "- Other: not here" in text
    assert (tmp_path / "peers.png").stat().st_size > 5000


def test_what_is_shown_is_what_was_measured(benchmark: ModuleType, tmp_path: Path) -> None:
    benchmark.write_report(json.loads((REPOSITORY / "docs" / "peers.json").read_text()), tmp_path)
    assert (tmp_path / "peers.md").read_text() == (REPOSITORY / "docs" / "peers.md").read_text()


def test_a_minimal_run_without_ultralytics(
    benchmark: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A YOLOX model that is none is left out, with its reason."""
    model = make_model(tmp_path / "tiny.onnx")
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"no graph")
    benchmark.main(make_frames(tmp_path / "frames"), wrong, str(model), "64x96", 2, tmp_path / "report", "")

    document = json.loads((tmp_path / "report" / "peers.json").read_text())
    assert [(each["name"], each["detections"]) for each in document["rows"] if each["name"] != "gaussian_yolo"] == [
        ("ONNX Runtime", [2, 2]), ("OpenCV", [2, 2]),
    ]  # fmt: skip
    assert document["rows"][0]["name"] == "gaussian_yolo" and document["rows"][0]["detections"] == [2, 2]
    left_out = document["left_out"]
    assert [reason.split(":")[0] for reason in left_out] == [
        "Ultralytics", "ONNX Runtime wrong fails", "OpenCV wrong fails",
    ]  # fmt: skip
    captured = capfd.readouterr()
    assert captured.out == (tmp_path / "report" / "peers.md").read_text() + "\n"
    assert left_out[1] in captured.err


def test_an_environment_that_cannot_be_built_is_an_error(benchmark: ModuleType, tmp_path: Path) -> None:
    folder = make_environment(tmp_path / "broken", refused="*pip*")
    with pytest.raises(benchmark.PeersError, match=r"cannot be installed.*delete .*broken"):
        benchmark.install(folder, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames": Path("nowhere")}, "error: folder nowhere cannot be read: No such file or directory"),
        ({"canvas": "big"}, "error: --canvas is 'big'"),
        ({"peer_model": Path("none.onnx")}, "error: --peer-model none.onnx does not exist"),
    ],
)
def test_wrong_arguments_are_one_line(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], message: str
) -> None:
    make_frames(tmp_path / "frames", 1)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        benchmark.main(**{"frames": Path("frames"), **arguments})
    assert str(ended.value.code).startswith(message) and len(str(ended.value.code).splitlines()) == 1

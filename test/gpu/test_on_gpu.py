"""What only a GPU can show: docs/jetson.md lists these as the checks to run on a board."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from engine_models import make_network
from factories import PLANTED, make_card, make_image, make_model
from gpu_build import build

from gaussian_yolo_node.detector import Detections, Detector
from gaussian_yolo_node.detector.decode import NonFiniteOutputError
from gaussian_yolo_node.detector.letterbox import Letterbox
from gaussian_yolo_node.detector.model import OperatingPoint
from gaussian_yolo_node.detector.pace import time_points
from gaussian_yolo_node.errors import ModelError, SettingError
from gaussian_yolo_node.runtime import RuntimeOptions, open_device_runtime
from gaussian_yolo_node.runtime.tensorrt.cuda import Gpu
from gaussian_yolo_node.runtime.tensorrt.plugin_library import CANVAS, RESIZES, PluginLibrary, PreprocessParams

REPOSITORY = Path(__file__).resolve().parents[2]
FP32 = RuntimeOptions(precision="fp32")
SIZES = [(720, 1280), (375, 1242), (64, 96), (33, 500)]


def detect(model: Path, runtime: str, frames: list[Any], **settings: Any) -> list[Detections]:
    with Detector.open(model, runtime, options=FP32, **settings) as detector:
        return [detector(frame) for frame in frames]


def assert_alike(found: Detections, expected: Detections, px: float, score: float) -> None:
    """The same boxes, but for those whose score is so near the threshold that rounding may decide on them."""
    clear = expected[expected.scores > 0.3 + 2 * score]
    assert len(clear) <= len(found) <= len(expected) + np.count_nonzero(found.scores <= 0.3 + 2 * score)
    for row in range(len(clear)):
        same = found.class_ids == clear.class_ids[row]
        distance = np.abs(found.boxes - clear.boxes[row]).max(axis=1) + np.where(same, 0, np.inf)
        nearest = int(distance.argmin())
        assert distance[nearest] < px
        assert abs(float(found.scores[nearest] - clear.scores[row])) < score
        np.testing.assert_allclose(found.sigmas[nearest], clear.sigmas[row], rtol=0.02, atol=px)


def test_finds_the_planted_boxes(tiny: Path) -> None:
    found = detect(tiny, "tensorrt", [make_image(64, 96)])[0]
    np.testing.assert_allclose(found.boxes, [planted.box for planted in PLANTED], atol=0.02)
    np.testing.assert_allclose(found.scores, [planted.score for planted in PLANTED], atol=1e-4)


@pytest.mark.parametrize("vote", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_random_heads_become_what_numpy_makes_of_them(
    plugin: PluginLibrary, tmp_path: Path, seed: int, vote: bool
) -> None:
    card = make_card((256, 320))
    rng = np.random.default_rng(seed)
    heads = [rng.normal(0, 1.5, (1, 36, 256 // s, 320 // s)).astype(np.float32) for s in card.strides]
    model = make_model(
        tmp_path / "random.onnx", input_size=(256, 320), heads=heads, card_overrides={"variance_vote": vote}
    )
    build(model, "--precision", "fp32")
    frame = [make_image(256, 320)]
    assert_alike(detect(model, "tensorrt", frame)[0], detect(model, "onnxruntime", frame)[0], px=0.05, score=1e-4)


def test_the_shipped_model_finds_what_onnx_runtime_finds(shipped: Path, driving_dir: Path) -> None:
    pictures = sorted((driving_dir / "kitti" / "drive_0011").rglob("*.jp*g"))[:20]
    frames = [cv2.imread(str(path)) for path in pictures]
    if not frames:
        pytest.skip("shared driving data not present")
    on_gpu, on_cpu = detect(shipped, "tensorrt", frames), detect(shipped, "onnxruntime", frames)
    for found, expected in zip(on_gpu, on_cpu, strict=True):
        assert_alike(found, expected, px=1.0, score=0.02)  # tensor cores round to 10 bits (TF32)


@pytest.mark.parametrize("resize", list(RESIZES))
@pytest.mark.parametrize("size", SIZES)
def test_the_letterbox_is_the_processors_to_one_grey_level(
    gpu: Gpu, plugin: PluginLibrary, size: tuple[int, int], resize: Any
) -> None:
    frame, canvas = make_image(*size), np.empty((256, 832, 3), np.uint8)
    with gpu, gpu.errors("a test"):
        source, target = gpu.cuda.mem_alloc(frame.nbytes), gpu.cuda.mem_alloc(canvas.nbytes)
        gpu.cuda.memcpy_htod(source, frame)
        params = PreprocessParams(*size, 256, 832, RESIZES[resize], CANVAS, 0, 1.0)
        plugin.preprocess(params, int(source), size[1] * 3, int(target), False, 0)
        gpu.cuda.memcpy_dtoh(canvas, target)
        source.free()
        target.free()
    expected = Letterbox.fit(size, (256, 832), resize).to_canvas(frame)
    assert np.abs(canvas.astype(int) - expected).max() <= 1


def test_frames_run_as_one_graph(tiny: Path) -> None:
    with Detector.open(tiny, "tensorrt") as detector:
        for size in SIZES:
            # One of the two lies on the padding of a wide frame.
            assert len(detector(make_image(*size))) >= 1
        assert detector.runtime.description.endswith(", CUDA graph")


def test_the_same_frame_gives_the_same_bytes(shipped: Path) -> None:
    frame = make_image(375, 1242)
    with Detector.open(shipped, "tensorrt") as detector:
        results = {b"".join(v.tobytes() for v in vars(detector(frame)).values()) for _ in range(100)}
    assert len(results) == 1


def test_a_frame_that_is_not_finite_is_told_and_the_next_is_fine(plugin: PluginLibrary, tmp_path: Path) -> None:
    model = build(make_model(tmp_path / "fragile.onnx", nan_when_black=True), "--precision", "fp32")
    with Detector.open(model, "tensorrt") as detector:
        with pytest.raises(NonFiniteOutputError):
            detector(np.zeros((64, 96, 3), np.uint8))
        assert len(detector(make_image(64, 96))) == 2


def test_two_cameras_at_once_do_not_disturb_each_other(shipped: Path) -> None:
    frames = [make_image(375, 1242, 1), make_image(720, 1280, 2)]
    expected = [found.scores.tobytes() for found in detect(shipped, "tensorrt", frames)]
    wrong: list[int] = []

    def camera(number: int) -> None:
        with Detector.open(shipped, "tensorrt") as detector:
            for _ in range(200):
                if detector(frames[number]).scores.tobytes() != expected[number]:
                    wrong.append(number)

    threads = [threading.Thread(target=camera, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_opening_and_closing_leaves_no_memory_taken(tiny: Path, nothing_leaks: None) -> None:
    for _ in range(20):
        with Detector.open(tiny, "tensorrt") as detector:
            for size in SIZES:
                detector(make_image(*size))


def test_a_stale_engine_is_refused_and_built_again_where_asked(tiny: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    model.write_bytes(tiny.read_bytes())
    build(model, "--precision", "fp32")
    make_model(model, planted=PLANTED[:1])
    with pytest.raises(ModelError, match=r"stale.*gaussian-yolo build-engine"):
        open_device_runtime(model, "tensorrt")
    runtime = open_device_runtime(model, "tensorrt", RuntimeOptions(rebuild_engine=True))
    assert runtime is not None
    assert len(runtime.detect(make_image(64, 96)).scores) == 1
    runtime.close()


def test_the_canvas_changes_between_engines(
    plugin: PluginLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    canvases = ((64, 96), (96, 160), (128, 192))
    points = tuple(OperatingPoint(size, 1.0) for size in canvases)
    model = make_network(tmp_path / "free.onnx", input_size=("height", "width"), card={"operating_points": points})
    build(model, "--precision", "fp32", "--operating-points")
    with Detector.open(model, "tensorrt") as detector:
        timed = time_points(detector, 1.0)
        assert [point.measured and point.network_s > 0 for point in timed] == [True] * len(canvases)
        assert detector.follows_frame
        for canvas in (*canvases, *canvases):
            detector.use_canvas(canvas)
            detector(make_image(375, 1242))
            assert detector.input_size == canvas
            assert detector.runtime.description.endswith(", CUDA graph")


def test_what_is_built_in_is_not_changed(tiny: Path) -> None:
    with Detector.open(tiny, "tensorrt", score_threshold=0.7) as detector:
        assert len(detector(make_image(64, 96))) == 1
        with pytest.raises(SettingError):
            detector.score_threshold = 0.1


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck", "synccheck"])
def test_compute_sanitizer_finds_nothing(tiny: Path, tool: str) -> None:
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not installed; it comes with the CUDA toolkit")
    program = [sys.executable, "-m", "gaussian_yolo_node.commands", "benchmark", str(tiny), "--runtime", "tensorrt"]
    command = [sanitizer, "--tool", tool, "--error-exitcode", "9", *program, "--frames", "3", "--size", "48x160"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_measures_every_stage(plugin: PluginLibrary, shipped: Path, tmp_path: Path, precision: str) -> None:
    """Leaves out/gpu_PRECISION.json, to be read by people: how fast a board is no test can know."""
    model = tmp_path / shipped.name
    model.write_bytes(shipped.read_bytes())
    build(model, "--precision", precision)
    output = REPOSITORY / "out" / f"gpu_{precision}.json"
    output.parent.mkdir(exist_ok=True)
    program = [sys.executable, "-m", "gaussian_yolo_node.commands", "benchmark", str(model), "--runtime", "tensorrt"]
    done = subprocess.run(
        [*program, "--json", str(output)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(output.read_text())
    assert figures["runtime"].startswith("TensorRT") and figures["fps"] > 0

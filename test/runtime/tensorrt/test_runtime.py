from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import make_image
from fake_cuda import Gpu
from fake_tensorrt import FP32
from runtime_engines import make_engine

from gaussian_yolo_node.detector import Detections, Detector
from gaussian_yolo_node.detector.decode import NonFiniteOutputError
from gaussian_yolo_node.detector.prepared import StageTimes
from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.runtime import InferenceError, open_device_runtime
from gaussian_yolo_node.runtime.base import DetectingRuntime, DeviceLostError, DeviceMemoryError

BLACK = np.zeros((64, 96, 3), np.uint8)


@pytest.fixture
def model(gpu: Gpu, tmp_path: Path) -> Path:
    return make_engine(tmp_path)


def opened(model: Path, **settings: Any) -> Detector:
    return Detector.open(model, "tensorrt", **settings)


def on_cpu(model: Path, frames: list[Any], **settings: Any) -> list[Detections]:
    with Detector.open(model, "onnxruntime", options=FP32, **settings) as detector:
        return [detector(frame) for frame in frames]


def assert_same(found: Detections, expected: Detections) -> None:
    for name in ("boxes", "scores", "class_ids", "sigmas"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


FRAMES = [make_image(height, width, seed) for seed, (height, width) in enumerate([(64, 96), (128, 160), (128, 160)])]
FRAMES += [make_image(37, 211, 3), make_image(128, 160, 4), make_image(128, 160, 4)[:, ::-1]]


def test_finds_what_the_cpu_finds_in_frames_of_any_size(model: Path) -> None:
    expected = on_cpu(model, FRAMES)
    assert len({found.scores.tobytes() for found in expected}) > 3  # else mixed up frames would not be noticed

    with opened(model) as detector:
        for frame, wanted in zip(FRAMES, expected, strict=True):
            assert_same(detector(frame), wanted)


def test_an_engine_is_a_model_of_its_own(model: Path) -> None:
    expected = on_cpu(model, FRAMES[:1])[0]
    with Detector.open(model) as of_model:
        digest = of_model.model_hash
    engine = model.with_suffix(".engine")
    moved = engine.rename(engine.with_name("other.engine"))
    Path(f"{engine}.json").rename(f"{moved}.json")

    with Detector.open(moved) as detector:
        assert isinstance(detector.runtime, DetectingRuntime)
        assert detector.model_hash == digest
        assert_same(detector(FRAMES[0]), expected)


def test_stage_times_are_those_of_events_and_sum_up(model: Path) -> None:
    with opened(model) as detector:
        assert detector(FRAMES[0]) is not None
        times = detector.last_timing
    assert isinstance(times, StageTimes)
    assert times.inference_s == pytest.approx(0.003)  # three operations on the pretend clock
    assert times.preprocess_s >= 0.002 and times.postprocess_s >= 0


def test_frames_are_launched_as_one_graph(model: Path, gpu: Gpu) -> None:
    with opened(model) as detector:
        gpu.calls.clear()
        detector(FRAMES[1])
        first = list(gpu.calls)
        gpu.calls.clear()
        detector(FRAMES[2])
        assert "CUDA graph" in detector.runtime.description and "no CUDA" not in detector.runtime.description
    assert "enqueue" in first
    assert "cuGraphLaunch" in gpu.calls
    assert not {"enqueue", "gy_preprocess", "cuStreamBeginCapture_v2", "cuMemAlloc", "cuMemcpyHtoDAsync"} & {*gpu.calls}


def test_another_frame_size_is_recorded_anew(model: Path, gpu: Gpu) -> None:
    with opened(model) as detector:
        detector(FRAMES[1])
        gpu.calls.clear()
        detector(FRAMES[3])
        assert gpu.calls.count("cuStreamBeginCapture_v2") == 1
        assert gpu.calls.index("cuGraphExecDestroy") < gpu.calls.index("cuMemFree")
        assert len(gpu.graphs) == 1


@pytest.mark.parametrize(
    ("call", "after"),
    [
        ("cuStreamBeginCapture_v2", 0),
        ("cuStreamEndCapture", 0),
        ("cuGraphInstantiateWithFlags", 0),
        ("gy_preprocess", 1),  # the first is the run before
        ("enqueue", 1),
        ("cuEventRecordWithFlags", 3),
        ("cuMemcpyDtoHAsync", 1),
    ],
)
def test_works_without_a_graph_where_none_can_be_recorded(model: Path, gpu: Gpu, call: str, after: int) -> None:
    expected = on_cpu(model, FRAMES)
    gpu.fail(call, "operation not permitted when stream is capturing", code=900, after=after, times=1)

    with opened(model) as detector:
        for frame, wanted in zip(FRAMES, expected, strict=True):
            assert_same(detector(frame), wanted)
        assert "no CUDA graph (" in detector.runtime.description
        assert "operation not permitted" in detector.runtime.description or "900" in detector.runtime.description


def test_an_old_driver_has_no_graphs_and_is_told(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fake_libcuda import FakeLibcuda

    monkeypatch.delattr(FakeLibcuda, "cuStreamBeginCapture_v2")
    with opened(model) as detector:
        assert "older than CUDA 11.4" in detector.runtime.description


def test_results_hold_though_the_memory_is_used_again(model: Path) -> None:
    with opened(model) as detector:
        found = [detector(frame) for frame in FRAMES]
    for one, wanted in zip(found, on_cpu(model, FRAMES), strict=True):
        assert_same(one, wanted)


def test_a_closed_runtime_says_so_and_may_be_closed_again(model: Path) -> None:
    runtime = open_device_runtime(model)
    assert runtime is not None
    runtime.detect(FRAMES[0])
    runtime.close()
    runtime.close()
    with pytest.raises(InferenceError, match="closed"):
        runtime.detect(FRAMES[0])


def test_each_step_may_be_in_a_thread_of_its_own(model: Path) -> None:
    expected = on_cpu(model, FRAMES[:2])
    results: list[Any] = []

    def in_thread(step: Callable[[], Any]) -> Any:
        thread = threading.Thread(target=lambda: results.append(step()))
        thread.start()
        thread.join()
        return results[-1]

    detector = in_thread(lambda: opened(model))
    assert_same(in_thread(lambda: detector(FRAMES[0])), expected[0])
    assert_same(in_thread(lambda: detector(FRAMES[1])), expected[1])
    in_thread(detector.close)


def test_cameras_share_the_weights_and_nothing_else(model: Path, gpu: Gpu) -> None:
    expected = on_cpu(model, FRAMES[1:3])
    front, rear = opened(model), opened(model)
    assert gpu.calls.count("deserialize") == 1
    assert gpu.calls.count("create_execution_context") == 2

    threads = []
    found: dict[str, list[Detections]] = {"front": [], "rear": []}
    for name, camera, frame in (("front", front, FRAMES[1]), ("rear", rear, FRAMES[2])):
        work = lambda name=name, camera=camera, frame=frame: found[name].extend(camera(frame) for _ in range(3))  # noqa: E731
        threads.append(threading.Thread(target=work))
    for thread in threads:
        thread.start()
        thread.join()  # the pretend GPU is not thread-safe
    front.close()
    assert_same(rear(FRAMES[2]), expected[1])
    rear.close()

    assert all(one.scores.tobytes() == expected[0].scores.tobytes() for one in found["front"])
    assert all(one.scores.tobytes() == expected[1].scores.tobytes() for one in found["rear"])


def test_an_engine_that_was_built_again_is_loaded_anew(model: Path, gpu: Gpu) -> None:
    engine = model.with_suffix(".engine")
    with opened(model):
        engine.write_text(engine.read_text() + " ")
        import os

        os.utime(engine, ns=(1, 1))
        with opened(model):
            assert gpu.calls.count("deserialize") == 2


@pytest.mark.parametrize("frame", ["black first", "black later"])
def test_heads_that_are_not_finite_are_the_error_that_the_cpu_raises(gpu: Gpu, tmp_path: Path, frame: str) -> None:
    model = make_engine(tmp_path, nan_when_black=True)
    with opened(model) as detector:
        if frame == "black later":
            assert len(detector(FRAMES[0])) == 2
        with pytest.raises(NonFiniteOutputError, match="NaN"):
            detector(BLACK)
        assert len(detector(FRAMES[0])) == 2


@pytest.mark.parametrize("count", [-2, 301, 2**30])
def test_a_count_that_cannot_be_is_an_error(gpu: Gpu, tmp_path: Path, count: int) -> None:
    model = make_engine(tmp_path, engine={"count": count})
    with pytest.raises(InferenceError, match="300 is the most"):
        opened(model)


def test_no_detections_and_as_many_as_there_is_room_for(gpu: Gpu, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with opened(make_engine(tmp_path / "none", planted=())) as detector:
        assert len(detector(FRAMES[0])) == 0
    (tmp_path / "one").mkdir()
    with opened(make_engine(tmp_path / "one", engine={"max_detections": 1})) as detector:
        assert len(detector(FRAMES[0])) == 1


def test_sigmas_are_corrected_and_boxes_clipped_as_on_the_cpu(gpu: Gpu, tmp_path: Path) -> None:
    calibration = {"scale": [1.5, 2.0, 1.0, 0.5], "offset": [0.1, 0.0, 0.02, 0.3]}
    model = make_engine(tmp_path, card_overrides={"sigma_calibration": calibration, "resize": "align_corners"})
    with opened(model) as detector:
        assert_same(detector(FRAMES[1]), on_cpu(model, [FRAMES[1]])[0])


# What an engine has built in


@pytest.mark.parametrize("threshold", [0.3, 0.65, 0.9])
def test_a_higher_score_threshold_is_applied_afterwards(model: Path, threshold: float) -> None:
    expected = on_cpu(model, FRAMES[:1], score_threshold=threshold)[0]
    with opened(model, score_threshold=threshold) as detector:
        assert_same(detector(FRAMES[0]), expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score_threshold", 0.29),
        ("iou_threshold", 0.46),
        ("iou_threshold", 0.2),
        ("variance_vote", True),
        ("criterion", "confidence"),
    ],
)
def test_what_is_built_in_cannot_be_changed(model: Path, name: str, value: float | bool) -> None:
    with pytest.raises(SettingError, match=f"{name} is {value}.*gaussian-yolo build-engine"):
        opened(model, **{name: value})
    with opened(model) as detector:
        before = getattr(detector, name)
        with pytest.raises(SettingError, match=name):
            setattr(detector, name, value)
        assert getattr(detector, name) == before
        setattr(detector, name, before)


# Failures


@pytest.mark.parametrize(
    ("call", "made"), [("cuMemAlloc", 3), ("cuMemHostAlloc", 2), ("cuStreamCreate", 1), ("cuEventCreate", 3)]
)
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_opening_without_memory_says_so_and_leaves_nothing(
    model: Path, gpu: Gpu, call: str, made: int, after: int
) -> None:
    gpu.fail(call, "out of memory", code=2, after=after, times=1)
    try:
        opened(model).close()
    except InferenceError as error:
        if call.startswith("cuMem"):
            assert isinstance(error, DeviceMemoryError) and "64 of 8192 MiB" in str(error)
    else:
        assert after >= made  # so many are not made while one is opened


def test_a_frame_too_large_is_an_error_and_the_next_one_works(model: Path, gpu: Gpu) -> None:
    with opened(model) as detector:
        detector(FRAMES[1])
        gpu.fail("cuMemHostAlloc", "out of memory", times=1)
        with pytest.raises(DeviceMemoryError, match="frames of 211x37 px"):
            detector(FRAMES[3])
        assert_same(detector(FRAMES[3]), on_cpu(model, FRAMES[3:4])[0])


@pytest.mark.parametrize(
    ("call", "kind"), [("deserialize", "does not fit"), ("create_execution_context", "made ready")]
)
def test_an_engine_that_does_not_fit_into_memory(model: Path, gpu: Gpu, call: str, kind: str) -> None:
    gpu.fail(call, "Requested amount of GPU memory (123) could not be allocated", times=1)
    with pytest.raises(DeviceMemoryError, match=rf"{kind}.*Requested amount"):
        opened(model)
    opened(model).close()


def test_what_tensorrt_logs_is_in_the_error(model: Path, gpu: Gpu) -> None:
    with opened(model) as detector:
        gpu.fail("enqueue", "IExecutionContext::enqueueV3: Error Code 7:  Internal\n Error")
        with pytest.raises(InferenceError, match="Error Code 7: Internal Error"):
            detector(FRAMES[1])
        gpu.mend()
        assert_same(detector(FRAMES[1]), on_cpu(model, FRAMES[1:2])[0])


@pytest.mark.parametrize(
    "operation", ["network", "letterbox", "copy to device", "cuGraphLaunch", "cuStreamSynchronize"]
)
def test_a_lost_gpu_is_told_again_and_again_and_can_be_closed(model: Path, gpu: Gpu, operation: str) -> None:
    detector = opened(model)
    detector(FRAMES[0])
    gpu.fail(operation, "an illegal memory access was encountered", code=700, sticky=True)
    for _ in range(3):
        with pytest.raises(DeviceLostError, match=r"illegal memory access.*start this program again"):
            detector(FRAMES[0])
    detector.close()
    gpu.memory.clear()  # what the system frees with the process
    gpu.events.clear()
    gpu.graphs.clear()


def test_a_context_that_cannot_be_made_current(model: Path, gpu: Gpu) -> None:
    detector = opened(model)
    gpu.fail("cuCtxPushCurrent", "context is destroyed")
    with pytest.raises(DeviceLostError, match="context is destroyed"):
        detector(FRAMES[0])
    gpu.mend()
    detector.close()


def test_nothing_of_the_gpu_is_imported_before_it_is_asked_for() -> None:
    script = (
        "import sys, gaussian_yolo_node.commands, gaussian_yolo_node.detector.detector, gaussian_yolo_node.runtime\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('pycuda', 'tensorrt', 'tensorrt_rtx')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")

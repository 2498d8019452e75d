"""A model's engines for several canvases, on a fake GPU."""

from __future__ import annotations

import logging
import shlex
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import make_image
from fake_cuda import Gpu
from fake_tensorrt import FP32
from runtime_engines import POINTS, add_engine, make_engines, make_sidecar

from gaussian_yolo_node.detector import Detector
from gaussian_yolo_node.detector import pace as pace_module
from gaussian_yolo_node.detector.pace import time_points
from gaussian_yolo_node.detector.rate_keeper import RateKeeper
from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.runtime import RuntimeOptions
from gaussian_yolo_node.runtime.base import DeviceMemoryError
from gaussian_yolo_node.runtime.tensorrt import rebuilding
from gaussian_yolo_node.runtime.tensorrt.engine_file import engine_at, engines_by_canvas, model_hash
from gaussian_yolo_node.runtime.tensorrt.engines import Engines
from gaussian_yolo_node.runtime.tensorrt.sidecar import read_sidecar

SMALL, MEDIUM, LARGE = POINTS
FRAME = make_image(128, 192)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gaussian_yolo" / "network_times.json"


@pytest.fixture
def model(gpu: Gpu, tmp_path: Path) -> Path:
    return make_engines(tmp_path, MEDIUM, LARGE)


def opened(model: Path, **options: Any) -> Detector:
    return Detector.open(model, "tensorrt", options=RuntimeOptions(**options))


# Files


def test_engines_are_named_by_their_canvas(tmp_path: Path) -> None:
    names = ("a.engine", "a.64x96.engine", "a.96x160.engine", "ab.64x96.engine", "a.b.64x96.engine", "a.64x.engine")
    for name in (*names, "a.64x96.engine.json"):
        (tmp_path / name).touch()
    for path in (tmp_path / "a.onnx", tmp_path / "a.engine"):
        assert engines_by_canvas(path) == {size: engine_at(path, size) for size in (SMALL, MEDIUM)}
    assert engine_at(tmp_path / "a.onnx", SMALL).name == "a.64x96.engine"
    assert engines_by_canvas(tmp_path / "[a].onnx") == {}


@pytest.mark.parametrize("beside", [["a"], ["a.64x96"], ["a", "a.64x96"], []])
def test_the_model_of_an_engine_has_its_name_without_the_canvas(tmp_path: Path, beside: list[str]) -> None:
    for name in beside:
        (tmp_path / f"{name}.onnx").write_text(name)
    found = model_hash(tmp_path / "a.64x96.engine")
    assert found == (model_hash(tmp_path / f"{beside[-1]}.onnx") if beside else None)


# Canvases


def test_the_canvases_are_those_with_an_engine(model: Path) -> None:
    with opened(model) as detector:
        assert detector.input_size == SMALL
        assert detector.runtime.canvases == (SMALL, MEDIUM, LARGE)
        assert detector.follows_frame


def test_a_canvas_is_changed_and_finds_what_the_processor_finds_on_it(model: Path) -> None:
    with opened(model) as detector:
        for canvas in (LARGE, SMALL, MEDIUM):
            detector.use_canvas(canvas)
            found = detector(FRAME)
            assert detector.input_size == canvas
            with Detector.open(model, "onnxruntime", options=replace(FP32, input_size=canvas)) as on_cpu:
                expected = on_cpu(FRAME)
            assert len(expected) > 0
            np.testing.assert_array_equal(found.boxes, expected.boxes)
            np.testing.assert_array_equal(found.sigmas, expected.sigmas)


def test_a_frame_that_waits_while_the_canvas_changes_is_right(model: Path) -> None:
    with opened(model) as detector:
        prepared = detector.prepare(FRAME)
        expected = detector.detect(prepared)
        detector.use_canvas(LARGE)
        np.testing.assert_array_equal(detector.detect(prepared).boxes, expected.boxes)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_canvas_chosen_at_once_loads_no_other(model: Path, gpu: Gpu, size: tuple[int, int]) -> None:
    with opened(model, input_size=size) as detector:
        assert detector.input_size == detector.card.input_size == size
        assert not detector.follows_frame
        assert gpu.calls.count("deserialize") == 1


def test_canvases_that_are_not_used_are_freed(model: Path, gpu: Gpu) -> None:
    with opened(model) as detector:
        one = len(gpu.memory)
        for size in (MEDIUM, LARGE):
            detector.use_canvas(size)
        assert len(gpu.memory) > 2 * one
        detector.unload_others()
        assert len(gpu.memory) == one
        detector.use_canvas(SMALL)  # by an engine that is not the first any more


def test_an_engine_that_is_opened_by_its_own_name_has_one_canvas(model: Path) -> None:
    with opened(engine_at(model, MEDIUM)) as detector:
        assert (detector.input_size, detector.follows_frame) == (MEDIUM, False)
        assert detector.model_hash == model_hash(model)


@pytest.mark.parametrize(
    ("frame", "like", "canvas"),
    [
        ((100, 200), LARGE, (96, 192)),  # the fitting one
        ((200, 200), LARGE, MEDIUM),  # 128x128 would fit
        ((100, 200), SMALL, SMALL),  # 32x64 would fit
    ],
)
def test_the_canvas_is_the_one_that_is_nearest_to_what_fits_the_frame(
    model: Path, frame: tuple[int, int], like: tuple[int, int], canvas: tuple[int, int]
) -> None:
    add_engine(model, (96, 192))
    with opened(model) as detector:
        detector.operate_like(like)
        detector.fit(frame)
        assert detector.input_size == canvas


# Engines that are not there, or do not fit


def test_a_canvas_without_an_engine_is_told_with_the_command_that_builds_it(gpu: Gpu, tmp_path: Path) -> None:
    model = make_engines(tmp_path)
    engine = engine_at(model, LARGE)
    command = f"`gaussian-yolo build-engine {model} -o {engine} --input-size 128x192`"
    with opened(model) as detector:
        assert not detector.follows_frame
        with pytest.raises(ModelError, match="no engine for 128x192") as caught:
            detector.use_canvas(LARGE)
        assert command in str(caught.value)
        assert detector.input_size == SMALL
        assert len(detector(FRAME)) > 0
    with pytest.raises(ModelError, match="no engine for 128x192"):
        opened(model, input_size=LARGE)


def test_the_command_keeps_the_options_of_the_main_engine(tmp_path: Path) -> None:
    model = make_engines(tmp_path)
    command = (
        "gaussian-yolo build-engine 'a b.onnx' -o a.engine --input-size 1x2 --precision int8 --dla 1 --save-onnx g"
    )
    words = shlex.split(replace(make_sidecar(model), command=command).command_at(Path("c d.engine"), LARGE))
    assert words == [
        *("gaussian-yolo", "build-engine", "a b.onnx", "--precision", "int8", "--dla", "1"),
        *("-o", "c d.engine", "--input-size", "128x192"),
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tensorrt": "10.13"}, "is stale"),
        ({"model_hash": "0123456789ab"}, "is stale"),
        ({"criterion": "confidence"}, "its criterion is confidence and not gaussian"),
        ({"max_detections": 9}, "its max_detections is 9 and not 300"),
        ({"iou_threshold": 0.7}, r"its iou_threshold is 0\.7 and not 0\.45"),
        ({"input_size": [64, 64]}, "its canvas is 64x64"),
    ],
)
def test_an_engine_that_does_not_fit_is_passed_over_and_refused_where_it_is_asked_for(
    model: Path, caplog: pytest.LogCaptureFixture, change: dict[str, Any], says: str
) -> None:
    card = {**make_sidecar(model).card, "input_size": list(LARGE)}
    of_card = {name: value for name, value in change.items() if name in card}
    add_engine(model, LARGE, **({"card": card | of_card} if of_card else change))
    with caplog.at_level(logging.WARNING), opened(model) as detector:
        assert detector.runtime.canvases == (SMALL, MEDIUM)
        with pytest.raises(ModelError, match=says) as caught:
            detector.use_canvas(LARGE)
    assert "`gaussian-yolo build-engine " in str(caught.value)
    assert "the engine is not used" in caplog.text


def test_engines_alone_must_be_of_one_model(model: Path) -> None:
    model.unlink()
    engine = engine_at(model, LARGE)
    text = Path(f"{engine}.json").read_text().replace(read_sidecar(engine).model_hash, "0123456789ab")
    Path(f"{engine}.json").write_text(text)
    with pytest.raises(ModelError, match="its model is 0123456789ab"):
        Engines(model.with_suffix(".engine")).at(LARGE)


def test_auto_takes_the_processor_for_a_canvas_without_an_engine(
    gpu: Gpu, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_engines(tmp_path)
    with Detector.open(model, options=RuntimeOptions(input_size=LARGE)) as detector:
        assert detector.runtime.name != "tensorrt" and detector.input_size == LARGE
    assert "no engine for 128x192" in caplog.text


@pytest.mark.parametrize("there", ["missing", "stale", "built otherwise"])
def test_an_engine_is_built_when_it_is_needed_where_that_is_asked_for(
    model: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    if there == "missing":
        engine_at(model, LARGE).unlink()
    else:
        add_engine(model, LARGE, **{"stale": {"tensorrt": "9"}, "built otherwise": {"criterion": "confidence"}}[there])
    commands: list[list[str]] = []

    def build(command: list[str]) -> int:
        commands.append(command)
        add_engine(model, LARGE)
        return 0

    monkeypatch.setattr(rebuilding, "run_child", build)
    with opened(model, rebuild_engine=True) as detector:
        assert commands == []
        detector.use_canvas(LARGE)
        assert detector.input_size == LARGE
    assert [command[-4:] for command in commands] == [["-o", str(engine_at(model, LARGE)), "--input-size", "128x192"]]


def test_a_canvas_for_which_there_is_no_memory_leaves_the_present_one(model: Path, gpu: Gpu) -> None:
    with opened(model) as detector:
        before = len(gpu.memory)
        gpu.fail("create_execution_context", "Requested amount of GPU memory (1) could not be allocated", times=1)
        with pytest.raises(DeviceMemoryError):
            detector.use_canvas(LARGE)
        assert len(gpu.memory) == before
        assert len(detector(FRAME)) > 0


# Rate


def test_operating_points_are_timed_on_their_engines_and_then_known(
    model: Path, gpu: Gpu, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    with opened(model) as detector:
        timed = time_points(detector, 30)
        assert [point.point.input_size for point in timed] == [SMALL, MEDIUM, LARGE]
        assert [point.network_s for point in timed] == pytest.approx([0.003] * 3)  # three operations on the fake clock
        assert cache.is_file()
        monkeypatch.setattr(pace_module, "measure_s", None)
        assert time_points(detector, 30) == timed


@pytest.mark.parametrize(
    ("engines", "points"),
    [
        ([], []),
        ([LARGE], [SMALL, LARGE]),
        ([(96, 192), (96, 128)], [SMALL, MEDIUM]),  # of the shapes of other frames
        ([(64, 64)], [SMALL]),
    ],
)
def test_only_operating_points_with_an_engine_are_a_choice(
    gpu: Gpu, tmp_path: Path, engines: list[tuple[int, int]], points: list[tuple[int, int]]
) -> None:
    with opened(make_engines(tmp_path, *engines)) as detector:
        assert [timed.point.input_size for timed in time_points(detector, 30)] == points


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def keeper_and_clock(model: Path) -> Iterator[tuple[RateKeeper, Detector, Clock, list[str]]]:
    clock, warnings = Clock(), list[str]()
    with opened(model) as detector:
        keeper = RateKeeper(detector, 30, warn=warnings.append, clock=clock)
        keeper.start((FRAME.shape[0], FRAME.shape[1]))
        yield keeper, detector, clock, warnings
        keep(keeper, clock, 0, 0.0)


def keep(keeper: RateKeeper, clock: Clock, seconds: float, network_s: float) -> None:
    for _ in range(int(30 * seconds)):
        clock.now += 1 / 30
        keeper.frame_done(network_s, network_s + 0.002)
    while any(thread.name == "canvas" for thread in threading.enumerate()):
        time.sleep(0.01)


def test_a_busy_gpu_gets_a_smaller_canvas_and_a_larger_one_again(
    keeper_and_clock: tuple[RateKeeper, Detector, Clock, list[str]],
) -> None:
    keeper, detector, clock, warnings = keeper_and_clock
    assert detector.input_size == LARGE
    assert keeper.choice.startswith("canvas 128x192: 3.0 ms of 25.0 ms at 30 Hz")
    keep(keeper, clock, 11, 0.003)
    keep(keeper, clock, 2, 0.045)
    assert detector.input_size == SMALL
    assert len(detector(FRAME)) > 0
    keep(keeper, clock, 20, 0.003)
    assert detector.input_size == LARGE
    assert len(warnings) == 2


def test_a_canvas_that_cannot_be_loaded_is_a_warning_and_the_present_one_stays(
    gpu: Gpu, keeper_and_clock: tuple[RateKeeper, Detector, Clock, list[str]]
) -> None:
    keeper, detector, clock, warnings = keeper_and_clock
    keep(keeper, clock, 11, 0.003)
    detector.unload_others()  # the smaller one, which is loaded beforehand
    gpu.fail("create_execution_context", "Requested amount of GPU memory (1) could not be allocated")
    keep(keeper, clock, 2, 0.045)
    assert detector.input_size == LARGE
    assert len(warnings) == 1 and warnings[0].startswith("the canvas stays 128x192: ")
    gpu.mend()
    keep(keeper, clock, 12, 0.045)
    assert detector.input_size == SMALL

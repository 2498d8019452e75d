"""Which engines are built for a model's operating points."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from engine_models import make_network
from typer.testing import CliRunner

from gaussian_yolo_node.commands.gaussian_yolo import app
from gaussian_yolo_node.detector.canvas import fitting_canvas
from gaussian_yolo_node.detector.model import DEFAULT_MODEL, OperatingPoint, resolve_model
from gaussian_yolo_node.errors import ModelError, SettingError
from gaussian_yolo_node.lab.export.tensorrt import builder, tensorrt_api
from gaussian_yolo_node.lab.export.tensorrt.builder import load_model
from gaussian_yolo_node.lab.export.tensorrt.canvases import EngineBuild, plan_builds
from gaussian_yolo_node.lab.export.tensorrt.options import BuildOptions, command_line
from gaussian_yolo_node.runtime.tensorrt.sidecar import EngineSidecar, read_sidecar

OUTPUT = Path("out/car.engine")
POINTS = tuple(OperatingPoint(size, 1.0 + i) for i, size in enumerate([(64, 192), (96, 288), (128, 384)]))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_network(
        tmp_path / "car.onnx",
        input_size=("height", "width"),
        card={"operating_points": POINTS, "input_size": (96, 288)},
    )


def planned(*arguments: Any, **settings: Any) -> list[tuple[str, tuple[int, int] | None]]:
    return [(build.output.name, build.options.input_size) for build in plan_builds(*arguments, **settings)]


def test_one_engine_unless_more_are_asked_for() -> None:
    options = BuildOptions(input_size=(64, 96))
    assert plan_builds("no such model", OUTPUT, options) == [EngineBuild(OUTPUT, options)]


def test_an_engine_for_each_operating_point_the_cards_own_first(model: Path) -> None:
    assert planned(model, OUTPUT, BuildOptions(), operating_points=True) == [
        ("car.engine", None),
        ("car.64x192.engine", (64, 192)),
        ("car.128x384.engine", (128, 384)),
    ]


@pytest.mark.parametrize(
    ("points", "canvases"),
    [
        (True, [("car.engine", (128, 192)), ("car.64x96.engine", (64, 96)), ("car.160x256.engine", (160, 256))]),
        (False, [("car.engine", (128, 192))]),
    ],
)
def test_canvases_have_the_shape_of_the_frames(
    model: Path, points: bool, canvases: list[tuple[str, tuple[int, int]]]
) -> None:
    frame = (360, 560)
    assert planned(model, OUTPUT, BuildOptions(), operating_points=points, frame_size=frame) == canvases
    assert canvases[0][1] == fitting_canvas(frame, (96, 288))


def test_the_shipped_models_operating_points_differ_in_the_shape_of_a_camera() -> None:
    path = resolve_model(DEFAULT_MODEL)
    count = len(load_model(path)[1].operating_points)
    names = [name for name, _ in planned(path, OUTPUT, BuildOptions(), operating_points=True, frame_size=(720, 1280))]
    assert len(set(names)) == count and names[0] == "car.engine"


def test_small_operating_points_that_get_the_same_canvas_get_one_engine(model: Path) -> None:
    assert planned(model, OUTPUT, BuildOptions(), operating_points=True, frame_size=(32, 1600)) == [
        ("car.engine", (32, 864)),
        ("car.32x384.engine", (32, 384)),
        ("car.32x1536.engine", (32, 1536)),
    ]
    few = [name for name, _ in planned(model, OUTPUT, BuildOptions(), operating_points=True, frame_size=(9000, 1))]
    assert len(few) == len(set(few))


def test_the_other_options_are_those_of_all_and_graphs_have_names_of_their_own(model: Path) -> None:
    options = BuildOptions("fp32", score_threshold=0.2, save_onnx=Path("g.onnx"))
    builds = plan_builds(model, OUTPUT, options, operating_points=True)
    assert {(build.options.precision, build.options.score_threshold) for build in builds} == {("fp32", 0.2)}
    assert [str(build.options.save_onnx) for build in builds] == ["g.onnx", "g.64x192.onnx", "g.128x384.onnx"]


@pytest.mark.parametrize(
    ("card", "options", "settings", "says"),
    [
        ({}, {"input_size": (64, 96)}, {"operating_points": True}, "--input-size is 64x96, and --operating-points"),
        ({}, {"input_size": (64, 96)}, {"frame_size": (720, 1280)}, "leave one of them out"),
        ({"operating_points": ()}, {}, {"operating_points": True}, "no operating points; leave --operating-points out"),
    ],
)
def test_what_cannot_be_planned_is_told(
    tmp_path: Path, card: dict[str, Any], options: dict[str, Any], settings: dict[str, Any], says: str
) -> None:
    model = make_network(tmp_path / "car.onnx", input_size=("height", "width"), card=card)
    with pytest.raises(SettingError, match=says):
        plan_builds(model, OUTPUT, BuildOptions(**options), **settings)


def test_a_model_that_is_missing_is_told() -> None:
    with pytest.raises(ModelError, match="no model 'no_such'"):
        plan_builds("no_such", OUTPUT, BuildOptions(), operating_points=True)


def test_the_command_builds_them_all(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[tuple[str, BuildOptions]] = []

    def build(path: str, output: Path, options: BuildOptions, console: object) -> EngineSidecar:
        built.append((output.name, options))
        return EngineSidecar("1", "86", "", {"input_size": list(options.input_size or (96, 288))}, "")

    monkeypatch.setattr(builder, "build_engine", build)
    words = shlex.split(command_line(model, OUTPUT, BuildOptions("fp32")))[1:]
    result = CliRunner().invoke(app, [*words, "--operating-points"])
    assert result.exit_code == 0, result.output
    assert [name for name, _ in built] == ["car.engine", "car.64x192.engine", "car.128x384.engine"]
    assert result.stdout.count("built: ") == 3 and "canvas 128x384" in result.stdout

    built.clear()
    assert CliRunner().invoke(app, [*words, "--frame", "720x1280"]).exit_code == 0
    assert built == [("car.engine", BuildOptions("fp32", input_size=fitting_canvas((720, 1280), (96, 288))))]
    refused = CliRunner().invoke(app, [*words, "--frame", "720"])
    assert refused.exit_code == 2 and "--frame is '720'" in refused.output + refused.stderr


def test_real_engines_of_two_canvases(tmp_path: Path) -> None:
    try:
        tensorrt_api.import_tensorrt("tensorrt_rtx")
    except ImportError:
        pytest.skip("TensorRT for RTX is not installed")
    points = tuple(OperatingPoint(size, 1.0) for size in ((64, 96), (96, 160)))
    model = make_network(tmp_path / "car.onnx", input_size=("height", "width"), card={"operating_points": points})
    builds = plan_builds(
        model, tmp_path / "car.engine", BuildOptions("fp16", compute_capabilities=("86",)), operating_points=True
    )
    for build in builds:
        builder.build_engine(model, build.output, build.options)
    sidecars = [read_sidecar(build.output) for build in builds]
    assert [sidecar.input_size for sidecar in sidecars] == [(64, 96), (96, 160)]
    assert sidecars[0].differences(sidecars[1]) == []
    command = sidecars[0].command_at(builds[1].output, (96, 160))
    assert sorted(command.split()) == sorted(sidecars[1].command.split())

"""The int8 version of a detector: results in both runtimes, layers in float, and rejected models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from factories import ANCHORS, make_image, make_model

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra 'train')")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra 'cpu')")

from torch import Tensor, nn  # noqa: E402

from gaussian_yolo_node.commands.gaussian_yolo import main  # noqa: E402
from gaussian_yolo_node.detector.detector import Detector  # noqa: E402
from gaussian_yolo_node.detector.letterbox import Letterbox  # noqa: E402
from gaussian_yolo_node.detector.model import CARD_KEY, ModelCard, resolve_model  # noqa: E402
from gaussian_yolo_node.errors import ModelError  # noqa: E402
from gaussian_yolo_node.frames import SourceError  # noqa: E402
from gaussian_yolo_node.lab.complexity import onnx_complexity  # noqa: E402
from gaussian_yolo_node.lab.export.onnx import export_model  # noqa: E402
from gaussian_yolo_node.lab.export.quantize import QuantizeError, quantize_model, read_frames  # noqa: E402
from gaussian_yolo_node.lab.export.quantize_graph import float_layers  # noqa: E402
from gaussian_yolo_node.lab.networks.blocks import Backbone  # noqa: E402
from gaussian_yolo_node.lab.networks.gaussian_yolo import STRIDES, GaussianYolo  # noqa: E402
from gaussian_yolo_node.lab.networks.padding import padded_conv  # noqa: E402
from gaussian_yolo_node.runtime import RuntimeOptions, open_runtime  # noqa: E402
from gaussian_yolo_node.runtime.base import Precision  # noqa: E402

SIZE = (64, 96)
CARD = ModelCard(
    name="tiny",
    classes=("car", "pedestrian"),
    anchors=ANCHORS,
    strides=STRIDES,
    input_size=SIZE,
    score_threshold=0.2,
    training={"seed": 3},
    deployment={"runtime": "openvino"},
)


class Stage(nn.Module):
    """An inverted residual as in MobileNetV2, its first half with stride 2."""

    def __init__(self, channels: int, out_channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self.down = padded_conv(channels, channels, 3, stride=2, groups=channels)
        self.project = nn.Conv2d(channels, out_channels, 1)
        self.depthwise = padded_conv(out_channels, out_channels, 5, groups=out_channels)
        self.back = nn.Conv2d(out_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(self.activation(self.down(x)))
        return x + self.back(self.activation(self.depthwise(x)))


class SmallBackbone(Backbone):
    """A small network with asymmetric padding, depthwise layers, linear ends and residuals, like EfficientNets."""

    feature_channels = (16, 24, 32)

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self.stem = padded_conv(3, 8, 3, stride=2)
        self.stages = nn.ModuleList(Stage(*pair, activation) for pair in ((8, 12), (12, 16), (16, 24), (24, 32)))

    def features(self, image: Tensor) -> list[Tensor]:
        x = self.activation(self.stem(image))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[1:]


def small_network(activation: nn.Module, neck: str) -> GaussianYolo:
    torch.manual_seed(0)
    model = GaussianYolo(SmallBackbone(activation), len(CARD.classes), width=16, neck=neck)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    for head in model.heads:
        head.weight.data *= 0.05  # sizes are exponentials
    return model


@pytest.fixture(scope="module", params=[(nn.ReLU6(), "yolov3"), (nn.SiLU(), "light")], ids=["relu6", "swish"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float model; the towers of one neck end in ReLU, those of the other in leaky ReLU."""
    path = tmp_path_factory.mktemp("float") / "tiny.onnx"
    export_model(small_network(*request.param), CARD, path)
    return path


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images; the fourth is truncated."""
    folder = tmp_path_factory.mktemp("frames")
    for index in range(10):
        cv2.imwrite(str(folder / f"{index}.jpg"), make_image(75, 121, seed=index))
    (folder / "3.jpg").write_bytes((folder / "3.jpg").read_bytes()[:-100])
    return folder


@pytest.fixture(scope="module")
def quantised(model: Path, frames: Path) -> Path:
    path = model.with_name("tiny_int8.onnx")
    quantize_model(model, [str(frames)], path, limit=8)
    return path


def heads(path: Path, runtime: str, precision: Precision = "auto") -> list[np.ndarray]:
    opened = open_runtime(path, runtime, RuntimeOptions(1, precision))
    try:
        return [head.copy() for head in opened.infer(make_image(*SIZE, seed=99))]
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("runtime", "precision"), [("onnxruntime", "auto"), ("openvino", "fp32"), ("openvino", "auto")]
)
def test_both_runtimes_give_nearly_the_heads_of_float(
    model: Path, quantised: Path, runtime: str, precision: Precision
) -> None:
    pytest.importorskip(runtime, reason=f"{runtime} is not installed (extra 'cpu')")
    for ours, exact in zip(heads(quantised, runtime, precision), heads(model, runtime, "fp32"), strict=True):
        error = np.sqrt(np.mean((ours - exact) ** 2)) / exact.std()
        assert 1e-5 < error < 0.15


def test_integers_are_everywhere_but_in_the_first_layer_and_the_heads(quantised: Path) -> None:
    graph = onnx.load(str(quantised)).graph
    makers = {name: node for node in graph.node for name in node.output}
    outputs = {output.name for output in graph.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    in_float = [node for node in convolutions if node is convolutions[0] or node.output[0] in outputs]
    assert len(in_float) == 1 + len(STRIDES)
    for node in convolutions:
        given = [makers[name].op_type if name in makers else "constant" for name in node.input]
        if node in in_float:
            assert "DequantizeLinear" not in given
        else:
            assert set(given) == {"DequantizeLinear"}
        assert "Pad" not in given
    for head in in_float[1:]:
        activation = makers[head.input[0]]
        assert activation.op_type in ("Relu", "LeakyRelu")
        assert makers[activation.input[0]].op_type == "Conv"


def test_nothing_is_rounded_for_a_layer_in_float(quantised: Path) -> None:
    graph = onnx.load(str(quantised)).graph
    rounded = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in graph.node:
        if node.op_type in ("Sigmoid", "Mul", "Sub"):
            assert rounded.isdisjoint(node.input)
    read = {name for node in graph.node for name in node.input}
    assert read >= {item.name for item in graph.initializer}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_card_comes_along_and_tells_how_it_was_quantised(quantised: Path, frames: Path, runtime: str) -> None:
    pytest.importorskip(runtime, reason=f"{runtime} is not installed (extra 'cpu')")
    with Detector.open(quantised, runtime) as detector:
        card = detector.card
        assert "int8/" in detector.runtime.description
        detector(make_image(50, 70))
    assert replace(card, name=CARD.name, deployment=CARD.deployment) == CARD
    assert card.name == "tiny_int8"
    how = card.deployment["int8"]
    assert card.deployment["runtime"] == "openvino"
    assert how["tool"].startswith("ONNX Runtime ")
    assert (how["frames"], how["sources"]) == (5, [str(frames)])
    assert sum("head" in layer for layer in how["float_layers"]) == len(STRIDES)


def test_it_counts_as_the_float_model_does(model: Path, quantised: Path) -> None:
    exact, ours = onnx_complexity(model), onnx_complexity(quantised)
    assert ours.macs == exact.macs
    # An export stores equal biases once; quantised biases have their own scales and are stored separately.
    assert ours.parameters == pytest.approx(exact.parameters, rel=0.03)


def test_a_float_model_is_not_called_int8(model: Path) -> None:
    opened = open_runtime(model, "onnxruntime", RuntimeOptions(1, "fp32"))
    assert "int8" not in opened.description


@pytest.mark.parametrize(
    ("copies", "limit", "taken"),
    [
        (1, 100, [0, 1, 2, 4, 5, 6, 7, 8, 9]),  # 3 is damaged
        (1, 4, [0, 4, 7]),  # every third of the readable ones
        (2, 5, [0, 5, 9, 4, 8]),  # every fourth of two times nine
    ],
)
def test_frames_are_letterboxed_and_spread_evenly(frames: Path, copies: int, limit: int, taken: list[int]) -> None:
    read = read_frames([str(frames)] * copies, CARD, limit)

    assert read.skipped == copies
    letterbox = Letterbox.fit((75, 121), SIZE)
    assert len(read.canvases) == len(taken)
    for canvas, index in zip(read.canvases, taken, strict=True):
        np.testing.assert_array_equal(canvas, letterbox.to_canvas(cv2.imread(str(frames / f"{index}.jpg"))))


def foreign(folder: Path, _: Path) -> Path:
    return make_model(folder / "plain.onnx", with_card=False)


def without_convolutions(folder: Path, _: Path) -> Path:
    return make_model(folder / "constant.onnx")


def missing(folder: Path, _: Path) -> Path:
    return folder / "none.onnx"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (missing, ModelError, "there is no model"),
        (foreign, ModelError, "has no gaussian_yolo.card metadata"),
        (without_convolutions, QuantizeError, "has no convolutions but those that stay in float"),
        (lambda _, quantised: quantised, QuantizeError, "is quantised already; give the float model"),
    ],
)
def test_a_model_that_cannot_be_quantised_is_told(
    tmp_path: Path,
    quantised: Path,
    frames: Path,
    make: Callable[[Path, Path], Path],
    error: type[Exception],
    message: str,
) -> None:
    path = make(tmp_path, quantised)
    output = tmp_path / "out.onnx"
    output.write_bytes(b"before")

    with pytest.raises(error, match=message) as caught:
        quantize_model(path, [str(frames)], output, limit=4)
    assert str(path) in str(caught.value)
    assert output.read_bytes() == b"before"


def test_frames_that_are_not_there_are_told(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty has no images"):
        quantize_model(model, [str(tmp_path / "empty")], output, limit=4)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "0.png").write_bytes(b"no picture")
    with pytest.raises(QuantizeError, match=r"not one frame of .*damaged could be read: skipped 0\.png"):
        quantize_model(model, [str(tmp_path / "damaged")], output, limit=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged", "empty"]


def test_output_that_cannot_be_written_is_named(model: Path, frames: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(QuantizeError, match="folder cannot be written: Is a directory"):
        quantize_model(model, [str(frames)], tmp_path / "folder", limit=1)


def test_the_command_says_what_it_did(
    model: Path,
    frames: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out.onnx"
    arguments = ["quantize", str(model), "--frames", str(frames), "--frames", str(frames), "-o", str(output)]
    monkeypatch.setattr("sys.argv", ["gaussian-yolo", *arguments, "--limit", "3"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"quantised: {output}, tiny_int8, calibrated on 3 frames, skipped 2 unreadable\n"
    assert open_runtime(output, "onnxruntime").metadata[CARD_KEY]


def test_a_decoupled_head_stays_in_float_to_its_outputs() -> None:
    graph = onnx.load(str(resolve_model("csp_nano_driving"))).graph
    for node in graph.node:
        node.name = node.name or node.output[0]
    kept = set(float_layers(graph))
    makers = {name: node for node in graph.node for name in node.output}
    for output in graph.output:
        joined = makers[output.name]
        assert joined.op_type == "Concat"
        assert joined.name in kept
        assert all(makers[name].op_type == "Slice" and makers[name].name in kept for name in joined.input)
    convolutions = [node.name for node in graph.node if node.op_type == "Conv" and node.name in kept]
    assert len(convolutions) == 1 + 2 * len(graph.output)  # the first one, and boxes and classes of each head

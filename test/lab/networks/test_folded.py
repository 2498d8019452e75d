"""Trainings that start from a model file: YOLOX-nano's features and boxes, this program's files, and rejected files."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import make_image, make_model

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra 'train')")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from gaussian_yolo_node.detector.model import ModelCard  # noqa: E402
from gaussian_yolo_node.lab.export.onnx import ExportOptions, export_model  # noqa: E402
from gaussian_yolo_node.lab.networks.blocks import ACTIVATIONS  # noqa: E402
from gaussian_yolo_node.lab.networks.csp_darknet import Activation  # noqa: E402
from gaussian_yolo_node.lab.networks.folded import (  # noqa: E402
    SIGMA_START,
    FoldedWeightsError,
    read_folded,
    start_from,
    unfold,
)
from gaussian_yolo_node.lab.networks.gaussian_yolo import STRIDES, GaussianYolo, build_model  # noqa: E402
from gaussian_yolo_node.lab.networks.neck import BOX_ENTRIES  # noqa: E402
from gaussian_yolo_node.labels.yolo import COCO_NAMES  # noqa: E402

CLASSES = ("car", "pedestrian", "cyclist", "tram")
ANCHORS = (
    ((60.0, 130.0), (150.0, 80.0), (240.0, 140.0)),
    ((56.0, 35.0), (29.0, 70.0), (93.0, 50.0)),
    ((23.0, 17.0), (15.0, 39.0), (36.0, 25.0)),
)
# Our class -> initial COCO class; there is none for a tram.
STARTS = {"car": "car", "pedestrian": "person", "cyclist": "bicycle"}
YOLOX = "yolox_nano_coco.onnx"
YOLOX_SIZE = 416  # px, height and width of its input
YOLOX_MAPS = ("input.471", "input.531", "input.591")  # after the neck, finest first
SIZE = (64, 96)


def rgb_frames(count: int = 2, size: tuple[int, int] = SIZE) -> list[Tensor]:
    """Batches of two images each."""
    return [
        torch.from_numpy(np.stack([make_image(*size, seed=2 * batch + i) for i in range(2)])).permute(0, 3, 1, 2)
        for batch in range(count)
    ]


def heads_of(model: nn.Module, image: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return [head.clone() for head in model(image.float())]


def assert_close(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max().item() <= tolerance


def yolox_like(activation: str = "silu", classes: Sequence[str] = CLASSES, anchors: Any = ANCHORS) -> GaussianYolo:
    torch.manual_seed(0)
    return build_model(
        "csp_darknet_nano", len(classes), anchors_per_scale=len(anchors[0]), width=64, neck="csp", activation=activation
    )


# YOLOX-nano as published


@pytest.fixture(scope="module")
def yolox(weights_dir: Path) -> Path:
    if not (weights_dir / YOLOX).is_file():
        pytest.skip(f"{YOLOX} is not among the shared weights")
    return weights_dir / YOLOX


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    """A uint8 BGR frame of the fixed input size of YOLOX's file."""
    return make_image(YOLOX_SIZE, YOLOX_SIZE, seed=7)


@pytest.fixture(scope="module")
def published(yolox: Path, frame: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of onnxruntime on the frame: the file's output and the maps after its neck."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra 'cpu')")
    model = onnx.load(str(yolox))
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in YOLOX_MAPS)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = ["output", *YOLOX_MAPS]
    image = np.ascontiguousarray(frame.transpose(2, 0, 1)[None].astype(np.float32))
    return dict(zip(names, session.run(names, {"images": image}), strict=True))


@pytest.fixture(scope="module")
def started(yolox: Path) -> GaussianYolo:
    model = yolox_like()
    filled = start_from(model, yolox, CLASSES, ANCHORS, rgb_frames())
    assert filled == len(read_folded(yolox)) == 113
    return model


def as_image(frame: np.ndarray) -> Tensor:
    return torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1)[None].float()


def test_features_behind_the_neck_are_yoloxs(
    started: GaussianYolo, published: dict[str, np.ndarray], frame: np.ndarray
) -> None:
    with torch.no_grad():
        maps = started.neck(started.backbone.features(started.normalise(as_image(frame))))
    expected = [torch.from_numpy(published[name]) for name in YOLOX_MAPS]
    assert all(x.std() > 0.1 for x in expected)
    assert_close(maps, expected, 1e-3)


def test_every_anchor_starts_as_yoloxs_box(
    started: GaussianYolo, published: dict[str, np.ndarray], frame: np.ndarray
) -> None:
    per_stride = {}
    first = 0
    for stride in reversed(STRIDES):  # the file begins with the finest
        cells = YOLOX_SIZE // stride
        per_stride[stride] = published["output"][0, first : first + cells**2].reshape(cells, cells, -1)
        first += cells**2
    assert first == published["output"].shape[1]
    near = 0
    for head, stride, anchors in zip(heads_of(started, as_image(frame)), STRIDES, ANCHORS, strict=True):
        theirs = per_stride[stride]
        ours = head[0].numpy().reshape(len(anchors), BOX_ENTRIES + len(CLASSES), *theirs.shape[:2])
        for raw, anchor in zip(ours, anchors, strict=True):
            activated = 1 / (1 + np.exp(-raw))
            for axis in (0, 1):
                # Sizes are the same ..
                np.testing.assert_allclose(
                    np.exp(raw[4 + 2 * axis]) * anchor[axis], np.exp(theirs[..., 2 + axis]) * stride, rtol=2e-3
                )
                # .. and centres agree up to the logistic function in the middle of the cell.
                centre = theirs[..., axis]
                np.testing.assert_allclose(activated[2 * axis], 1 / (1 + np.exp(2 - 4 * centre)), atol=1e-3)
                middle = np.abs(centre - 0.5) < 0.2
                np.testing.assert_allclose(activated[2 * axis][middle], centre[middle], atol=0.011)
                near += int(middle.sum())
            np.testing.assert_allclose(activated[8], theirs[..., 4], atol=1e-3)
            for index, name in enumerate(CLASSES):
                if name in STARTS:
                    of_coco = theirs[..., 5 + COCO_NAMES.index(STARTS[name])]
                    np.testing.assert_allclose(activated[BOX_ENTRIES + index], of_coco, atol=1e-3)
    assert near > 1000


def test_sigmas_and_unknown_classes_start_fresh(started: GaussianYolo) -> None:
    fresh = yolox_like()
    for head, other in zip(started.heads, fresh.heads, strict=True):
        boxes, others = (x.boxes.weight.view(3, BOX_ENTRIES, -1) for x in (head, other))
        assert torch.equal(boxes[:, 1:8:2], others[:, 1:8:2])
        assert head.boxes.bias.view(3, -1)[:, 1:8:2].eq(SIGMA_START).all()
        classes, others = (x.classes.weight.view(3, len(CLASSES), -1) for x in (head, other))
        tram = CLASSES.index("tram")
        assert torch.equal(classes[:, tram], others[:, tram])
        assert not any(torch.equal(classes[:, index], others[:, index]) for index in range(tram))


def test_the_names_of_bdd_start_as_cocos(yolox: Path) -> None:
    classes, anchors = ("bike", "rider", "motor", "person", "bus"), tuple(level[:1] for level in ANCHORS)
    model = yolox_like(classes=classes, anchors=anchors)
    start_from(model, yolox, classes, anchors, [])
    coarse = read_folded(yolox)[-7]  # its classes; the coarsest level is stored last
    rows = [COCO_NAMES.index(name) for name in ("bicycle", "person", "motorcycle", "person", "bus")]
    assert torch.equal(model.heads[0].classes.weight, coarse.weight[rows])
    assert torch.equal(model.heads[0].classes.bias, coarse.bias[rows])


def test_another_activation_keeps_the_scales_and_measures_its_own_statistics(
    started: GaussianYolo, yolox: Path
) -> None:
    model = yolox_like("hard_swish")
    frames = rgb_frames()
    start_from(model, yolox, CLASSES, ANCHORS, frames)
    used = {module.function for module in model.modules() if isinstance(module, Activation)}
    assert used == {ACTIVATIONS["hard_swish"]}
    state, of_silu = model.state_dict(), started.state_dict()
    differing = {name for name, value in state.items() if not torch.equal(value, of_silu[name])}
    assert differing and all(
        name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in differing
    )
    # The input of this norm has passed the model's activation; SiLU would give other statistics.
    conv, norm, _ = model.neck.bottom_up[1].mix
    measured = norm.running_mean.clone()
    inputs: list[Tensor] = []
    hook = conv.register_forward_hook(lambda module, given, output: inputs.append(output))
    model.train()
    for batch in frames:
        heads_of(model, batch)
    hook.remove()
    mean = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
    assert torch.allclose(measured, mean, atol=1e-4)
    assert not torch.allclose(started.neck.bottom_up[1].mix[1].running_mean, mean, atol=1e-2)


@pytest.mark.parametrize("change", ["width", "neck"])
def test_yolox_does_not_start_another_network(yolox: Path, change: str) -> None:
    options: dict[str, Any] = {
        "width": 64,
        "neck": "csp",
        **{"width": {"width": 32}, "neck": {"neck": "light"}}[change],
    }
    model = build_model("csp_darknet_nano", 4, **options)
    with pytest.raises(FoldedWeightsError, match=rf"{YOLOX}.* where the recipe's network has .*: set model\.backbone"):
        start_from(model, yolox, CLASSES, ANCHORS, [])


# Unfolding


def lively(model: nn.Module, seed: int = 3) -> nn.Module:
    """Random batch norms, because fresh ones would hide a wrong assignment."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.8, 1.2, generator=generator)
            with torch.no_grad():
                module.weight.uniform_(0.7, 1.3, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)
    return model.eval()


def test_unfolding_leaves_the_function_and_gives_the_frames_statistics() -> None:
    torch.manual_seed(0)
    model = lively(build_model("csp_darknet_nano", 2, width=16, neck="csp"))
    frames, other = rgb_frames(3), rgb_frames(4)[-1]
    before = [heads_of(model, image) for image in (*frames, other)]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    unfold(model, frames)
    assert any(not torch.equal(value, state[name]) for name, value in model.state_dict().items() if "running" in name)
    for image, expected in zip((*frames, other), before, strict=True):
        assert_close(heads_of(model, image), expected, 1e-4)
    # In training mode with all frames in one batch, the batch statistics equal the measured ones.
    batch = torch.cat(frames)
    evaluated = heads_of(model, batch)
    assert_close(heads_of(model.train(), batch), evaluated, 1e-4)


def test_unfolded_statistics_are_those_of_the_inputs() -> None:
    torch.manual_seed(0)
    model = lively(nn.Sequential(nn.Conv2d(3, 5, 1, bias=False), nn.BatchNorm2d(5)))
    frames = rgb_frames(3)
    with torch.no_grad():
        given = torch.cat([model[0](batch.float()) for batch in frames]).double()
    unfold(model, iter(frames))
    assert torch.allclose(model[1].running_mean.double(), given.mean((0, 2, 3)), rtol=1e-5, atol=1e-4)
    assert torch.allclose(model[1].running_var.double(), given.var((0, 2, 3), correction=0), rtol=1e-5)


def test_a_channel_that_never_changes_stays_what_it_is() -> None:
    model = lively(nn.Sequential(nn.BatchNorm2d(3)))
    image = torch.full((2, 3, 4, 4), 7.0)
    with torch.no_grad():
        before = model(image)
    unfold(model, [image])
    with torch.no_grad():
        assert torch.allclose(model(image), before, atol=1e-5)
        assert torch.allclose(model.train()(image), before, atol=1e-5)


def test_without_frames_nothing_is_unfolded() -> None:
    model = lively(nn.Sequential(nn.BatchNorm2d(3)))
    before = copy.deepcopy(model.state_dict())
    unfold(model, [])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# Files of this program

NETWORKS = [
    ("csp_darknet_nano", "csp", 16),
    pytest.param("mobilenet_v2", "light", 16, marks=pytest.mark.slow),
    ("efficientnet_b0", "light", 16),  # with squeeze-excite: convolutions without batch norm
    ("efficientnet_lite0", "yolov3", 8),
]


def ours(backbone: str, neck: str, width: int, *, classes: int = 2, anchors: int = 3, seed: int = 0) -> GaussianYolo:
    torch.manual_seed(seed)
    return build_model(backbone, classes, anchors_per_scale=anchors, width=width, neck=neck)


def export(model: GaussianYolo, path: Path, merge_up_to: int = 0) -> Path:
    anchors = tuple(level[: model.anchors_per_scale] for level in ANCHORS)
    card = ModelCard(
        name="tiny", classes=CLASSES[: model.num_classes], anchors=anchors, strides=STRIDES, input_size=SIZE
    )
    export_model(model, card, path, ExportOptions(merge_up_to=merge_up_to))
    return path


@pytest.mark.parametrize(("backbone", "neck", "width"), NETWORKS)
def test_a_file_of_ours_gives_its_own_heads(tmp_path: Path, backbone: str, neck: str, width: int) -> None:
    first = lively(ours(backbone, neck, width))
    path = export(first, tmp_path / "first.onnx")
    second = ours(backbone, neck, width, seed=1)
    filled = start_from(second, path, CLASSES[:2], ANCHORS, rgb_frames())
    assert filled == sum(isinstance(module, nn.Conv2d) for module in second.modules())
    image = rgb_frames(3)[-1]
    expected = heads_of(first, image)
    scale = max(1.0, max(head.abs().max().item() for head in expected))
    assert_close(heads_of(second, image), expected, 1e-3 * scale)


@pytest.fixture(scope="module")
def csp_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(lively(ours("csp_darknet_nano", "csp", 16)), tmp_path_factory.mktemp("csp") / "first.onnx")


def test_arrays_that_are_the_same_are_in_the_file_once(csp_file: Path) -> None:
    kinds = [node.op_type for node in onnx.load(str(csp_file)).graph.node]
    assert "Identity" in kinds  # the exporter stores equal biases of fresh heads once
    assert len(read_folded(csp_file)) == kinds.count("Conv")


@pytest.mark.parametrize("merge_up_to", [0, 11])
def test_mixed_kernels_are_not_started_from(tmp_path: Path, merge_up_to: int) -> None:
    path = export(ours("mixnet_s", "light", 8), tmp_path / "mixnet.onnx", merge_up_to)
    with pytest.raises(FoldedWeightsError, match=r"mixnet\.onnx.*(not folded|convolutions where)"):
        start_from(ours("mixnet_s", "light", 8), path, CLASSES[:2], ANCHORS, [])


@pytest.mark.parametrize(
    ("changes", "fresh"),
    [
        ({"classes": 3}, ("classes",)),  # boxes are kept
        ({"anchors": 1}, ("boxes", "classes")),
        ({"classes": 4, "anchors": 2}, ("boxes", "classes")),
    ],
)
def test_heads_of_other_classes_or_anchors_stay_fresh(
    csp_file: Path, changes: dict[str, int], fresh: tuple[str, ...]
) -> None:
    first = lively(ours("csp_darknet_nano", "csp", 16))
    second = ours("csp_darknet_nano", "csp", 16, seed=1, **changes)
    before = copy.deepcopy(second.heads)
    filled = start_from(second, csp_file, CLASSES[: second.num_classes], ANCHORS, rgb_frames())
    assert filled == sum(isinstance(module, nn.Conv2d) for module in second.modules()) - 3 * len(fresh)
    for head, unfilled, given in zip(second.heads, before, first.heads, strict=True):
        for part in ("boxes", "classes"):
            expected = getattr(unfilled if part in fresh else given, part)
            assert torch.equal(getattr(head, part).weight, expected.weight)
            assert torch.equal(getattr(head, part).bias, expected.bias)
    image = rgb_frames(3)[-1].float()
    with torch.no_grad():
        mine, theirs = (m.neck(m.backbone.features(m.normalise(image))) for m in (second, first))
    assert_close(mine, theirs, 1e-3)


# Rejected files


def write_onnx(path: Path, nodes: list[Any], arrays: dict[str, np.ndarray]) -> Path:
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def convolutions(*shapes: tuple[int, ...]) -> tuple[list[Any], dict[str, np.ndarray]]:
    """A chain of convolutions with weights of these shapes; the file need not run."""
    nodes, arrays = [], {}
    for number, shape in enumerate(shapes):
        arrays |= {f"w{number}": np.zeros(shape, np.float32), f"b{number}": np.zeros(shape[0], np.float32)}
        nodes.append(helper.make_node("Conv", ["image", f"w{number}", f"b{number}"], [f"c{number}"]))
    return nodes, arrays


def quantised(path: Path) -> Path:
    weight = np.zeros((16, 3, 3, 3), np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale"], ["w_float"]),
        helper.make_node("Conv", ["image", "w_float", "b"], ["out"]),
    ]
    return write_onnx(path, nodes, {"w": weight, "scale": np.array(1, np.float32), "b": np.zeros(16, np.float32)})


def without_bias(path: Path) -> Path:
    nodes, arrays = convolutions((16, 3, 3, 3))
    del nodes[0].input[2]
    return write_onnx(path, nodes, arrays)


def garbage(path: Path) -> Path:
    path.write_bytes(b"no protobuf \xff\x00" * 20)
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def missing(path: Path) -> Path:
    return path


def without_convolutions(path: Path) -> Path:
    return make_model(path)


def fewer(path: Path) -> Path:
    return write_onnx(path, *convolutions((16, 3, 6, 6), (16, 1, 3, 3)))


def cut_yolox(path: Path) -> Path:
    return write_onnx(path, *convolutions((16, 12, 3, 3), (16, 1, 3, 3)))


def yolox_of_other_classes(path: Path) -> Path:
    level = [(64, 64, 1, 1)] * 5 + [(3, 64, 1, 1)] + [(64, 64, 1, 1)] * 4 + [(4, 64, 1, 1), (1, 64, 1, 1)]
    return write_onnx(path, *convolutions((16, 12, 3, 3), *(3 * level)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing, "cannot be read as an ONNX model: check model.init"),
        (garbage, "cannot be read as an ONNX model: check model.init"),
        (empty, "has no convolutions: check model.init"),
        (without_convolutions, "has no convolutions: check model.init"),
        (quantised, "its weights are quantised or not folded; start from the float model"),
        (without_bias, "its weights are quantised or not folded; start from the float model"),
        (fewer, r"has 2 convolutions where the recipe's network has \d+: set model.backbone, neck and width"),
        (cut_yolox, "has not the heads of YOLOX-nano for COCO"),
        (yolox_of_other_classes, "has not the heads of YOLOX-nano for COCO"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, make: Any, message: str) -> None:
    path = make(tmp_path / "start.onnx")
    with pytest.raises(FoldedWeightsError, match=message) as error:
        start_from(ours("csp_darknet_nano", "csp", 16), path, CLASSES[:2], ANCHORS, [])
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (("csp_darknet_nano", "csp", 24), r"convolution \d+ is \[16, 256, 1, 1\] where .* \[24, 256, 1, 1\]"),
        (("csp_darknet_nano", "light", 16), r"has 110 convolutions where the recipe's network has \d+"),
        (("mobilenet_v2", "csp", 16), r"has 110 convolutions where the recipe's network has \d+"),
    ],
)
def test_a_file_of_another_network_is_named(csp_file: Path, network: tuple[str, str, int], message: str) -> None:
    with pytest.raises(FoldedWeightsError, match=f"{message}.*: set model.backbone, neck and width") as error:
        start_from(ours(*network), csp_file, CLASSES[:2], ANCHORS, [])
    assert str(error.value).startswith(str(csp_file))

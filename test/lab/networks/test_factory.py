"""Every built-in detector as a file in every CPU runtime, and its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("onnx", reason="onnx is not installed (extra 'train')")

from torch import nn  # noqa: E402

from gaussian_yolo_node.detector.detector import Detector  # noqa: E402
from gaussian_yolo_node.detector.model import ModelCard  # noqa: E402
from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.lab.complexity import complexity  # noqa: E402
from gaussian_yolo_node.lab.export.built_in import export_built_in  # noqa: E402
from gaussian_yolo_node.lab.export.onnx import ExportOptions  # noqa: E402
from gaussian_yolo_node.lab.networks.backbones import BACKBONES, create_backbone  # noqa: E402
from gaussian_yolo_node.lab.networks.darknet import gaussian_yolov3_darknet53  # noqa: E402
from gaussian_yolo_node.lab.networks.factory import BUILT_INS, LARGE_BACKBONES, build_fresh, find_built_in  # noqa: E402
from gaussian_yolo_node.lab.networks.gaussian_yolo import STRIDES, GaussianYolo, build_model  # noqa: E402
from gaussian_yolo_node.lab.networks.mdconv import MDConv  # noqa: E402
from gaussian_yolo_node.lab.networks.yolov3 import PRESETS  # noqa: E402
from gaussian_yolo_node.runtime import RuntimeOptions, open_runtime  # noqa: E402

Export = Callable[..., tuple[Path, ModelCard]]
SIZE = (64, 96)
RUNTIMES = ("onnxruntime", "openvino")
# The smallest of each family; the others differ from it in depth and width only, EfficientNet-B0 from Lite0 in what
# MixNet has, too, MobileNet V1 from V2 in the order of the same layers.
FAMILIES = (
    "gaussian-yolov3-darknet53-kitti",
    "efficientnet_lite0",
    "mixnet_s",
    "mobilenet_v2",
    "csp_darknet_nano",
    "darknet53",
)


def by_family(names: Iterable[str], families: Sequence[str] = FAMILIES) -> list[Any]:
    """Parameters for a test, of which all but one of each family are slow."""
    return [name if name in families else pytest.param(name, marks=pytest.mark.slow) for name in names]


@cache
def fresh(name: str) -> nn.Module:
    return build_fresh(name)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Export]:
    """Exports a built-in detector for `SIZE` with further options; the same one once."""

    @cache
    def exported(name: str, **options: Any) -> tuple[Path, ModelCard]:
        path = tmp_path_factory.mktemp("exported") / "model.onnx"
        return path, export_built_in(name, path, SIZE, ExportOptions(**options))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gaussian_yolo_node.lab.export.built_in.build_fresh", fresh)
        yield exported
    fresh.cache_clear()


def rgb(canvas: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(canvas[..., ::-1].copy()).permute(2, 0, 1)[None].float()


# Of the largest, gigabytes each, one is enough. Darknet's networks are compared in test_darknet_import.py, too.
@pytest.mark.parametrize(
    "name", by_family((name for name in BUILT_INS if name not in LARGE_BACKBONES[1:]), FAMILIES[1:])
)
def test_every_built_in_detector_gives_torchs_heads_in_every_runtime(name: str, export: Export) -> None:
    for runtime in RUNTIMES:
        pytest.importorskip(runtime, reason=f"{runtime} is not installed (extra 'cpu')")
    path, card = export(name)
    canvas = np.random.default_rng(3).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = [head.numpy() for head in fresh(name)(rgb(canvas))]
    # Heads of a network with vanishing signals would always agree.
    assert all(head.std(axis=(0, 2, 3)).max() > 0.01 for head in expected)
    for name_of_runtime in RUNTIMES:
        runtime = open_runtime(path, name_of_runtime, RuntimeOptions(precision="fp32"))
        heads = [head.copy() for head in runtime.infer(canvas)]
        runtime.close()
        assert runtime.strides == card.strides == STRIDES
        for ours, theirs in zip(heads, expected, strict=True):
            assert ours.shape == theirs.shape
            assert np.abs(ours - theirs).max() <= 1e-3


# The others are built and counted for the catalogue.
@pytest.mark.parametrize("name", by_family(BUILT_INS))
def test_every_built_in_detector_builds_and_counts(name: str) -> None:
    built_in = find_built_in(name)
    preset = PRESETS[built_in.preset]
    with torch.device("meta"):
        model = built_in.network()
        heads = model.eval()(torch.zeros(1, 3, *SIZE))
    channels = 3 * (9 + len(preset.classes))
    assert [tuple(head.shape) for head in heads] == [(1, channels, SIZE[0] // s, SIZE[1] // s) for s in STRIDES]
    cost = complexity(model, built_in.input_size)
    assert cost.parameters > 1e6 and cost.macs > 1e9


@pytest.mark.parametrize("neck", ["light", "yolov3", "csp"])
@pytest.mark.parametrize("backbone", by_family(BACKBONES))
def test_every_backbone_takes_every_neck(backbone: str, neck: str) -> None:
    with torch.device("meta"):
        heads = build_model(backbone, 2, width=8, neck=neck).eval()(torch.zeros(1, 3, 32, 64))
    assert [tuple(head.shape) for head in heads] == [(1, 33, 1, 2), (1, 33, 2, 4), (1, 33, 4, 8)]


def test_the_yolov3_neck_on_darknet53_is_the_official_network() -> None:
    torch.manual_seed(0)
    official = gaussian_yolov3_darknet53("kitti").eval()
    ours = GaussianYolo(create_backbone("darknet53"), len(PRESETS["kitti"].classes), neck="yolov3").eval()
    # In cfg order: the backbone, then each scale from the coarsest, beginning with the narrowing of the previous one.
    parts: list[nn.Module] = [ours.backbone]
    for level, tower, head in zip((2, 1, 0), ours.towers, ours.heads, strict=True):
        parts += [*([ours.neck.join[level]] if level < 2 else []), ours.neck.mix[level], tower, head]
    units = [module for part in parts for module in part.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    theirs = [m for unit in official.darknet.convolutions for m in (unit.conv, unit.norm) if m is not None]
    assert len(units) == len(theirs)
    for mine, other in zip(units, theirs, strict=True):
        if isinstance(other, nn.BatchNorm2d):
            nn.init.normal_(other.bias, std=0.1)
        mine.load_state_dict(other.state_dict())
    image = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        for mine, other in zip(ours(image), official(image), strict=True):
            assert torch.allclose(mine, other, atol=1e-5)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in official.parameters())


@pytest.mark.parametrize(
    ("backbone", "mean", "scale"),
    [
        ("efficientnet_lite0", 127.0, 1 / 128),
        ("darknet53", 0.0, 1 / 255),
        ("mixnet_s", (123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375)),
    ],
)
def test_each_backbone_brings_its_normalisation(backbone: str, mean: object, scale: object) -> None:
    with torch.device("meta"):
        network = create_backbone(backbone)
    detector = GaussianYolo(network, 1, width=16)
    image = torch.rand(1, 3, 2, 2) * 255
    expected = (image - torch.tensor(mean).view(-1, 1, 1)) * torch.tensor(scale).view(-1, 1, 1)
    assert torch.allclose(detector.normalise(image), expected, atol=1e-5)
    assert not any("normalise" in name for name in detector.state_dict())


@pytest.mark.parametrize("picture", ["black", "white", "noise", "ramp", "checks"])
@pytest.mark.parametrize("name", ["efficientnet_b0", "mixnet_s", "mobilenet_v2"])
def test_fresh_detectors_give_finite_boxes_on_any_picture(name: str, picture: str) -> None:
    height, width = 96, 160
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    image = {
        "black": torch.zeros(1),
        "white": torch.full((1,), 255.0),
        "noise": 255 * torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)),
        "ramp": columns * 255 / width,
        "checks": (rows // 8 + columns // 8) % 2 * 255.0,
    }[picture]
    with torch.no_grad():
        heads = fresh(name)(image.expand(1, 3, height, width).float())
    # exp() of a raw width or height overflows float32 from 88 on, and a box of e^8 anchors is no box.
    assert max(float(head.abs().max()) for head in heads) < 20


def test_fresh_weights_are_the_same_every_time_and_leave_the_global_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = build_fresh("mobilenet_v2").state_dict(), build_fresh("mobilenet_v2").state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["heads.0.weight"], build_fresh("mobilenet_v2", seed=1).state_dict()["heads.0.weight"])


def test_a_built_in_detector_opens_as_a_detector(export: Export) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra 'cpu')")
    path, card = export("mobilenet_v2")
    assert card.deployment == {}  # without MDConvs there is nothing to say of them
    with Detector.open(path, "onnxruntime") as detector:
        detector(np.zeros((48, 64, 3), np.uint8))
        assert detector.card.classes == PRESETS["kitti"].classes
        assert detector.card.anchors[-1] == ((13, 30), (23, 53), (17, 102))  # stride 8 has the small ones
        assert "fresh" in detector.card.training["weights"]


def test_unknown_names_list_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(GaussianYoloError, match=r"'resnet'.*gaussian-yolov3-darknet53.*mixnet_s"):
        export_built_in("resnet", tmp_path / "model.onnx")
    with pytest.raises(GaussianYoloError, match=r"unknown neck 'bifpn'.*light, yolov3, csp"):
        build_model("mixnet_s", 3, neck="bifpn")
    with pytest.raises(GaussianYoloError, match=r"unknown backbone 'resnet'.*efficientnet_lite0"):
        build_model("resnet", 3)
    with pytest.raises(GaussianYoloError, match="no ImageNet weights for mixnet_s"):
        build_model("mixnet_s", 3, pretrained=True)


@pytest.mark.parametrize(
    ("options", "merged"),
    [
        ({}, ["3.5", "3.5.7"]),
        ({"merge_up_to": 0}, []),
        ({"runtime": "onnxruntime"}, ["3.5", "3.5.7", "3.5.7.9", "3.5.7.9.11"]),
    ],
)
def test_the_card_names_the_merged_mdconvs(export: Export, options: dict[str, Any], merged: list[str]) -> None:
    onnx = pytest.importorskip("onnx")
    names = [name for name, _ in fresh("mixnet_s").named_parameters()]
    path, card = export("mixnet_s", **options)
    model = fresh("mixnet_s")
    assert [name for name, _ in model.named_parameters()] == names  # the model's own MDConvs stay
    kernels = {".".join(map(str, model.get_submodule(name).kernels)) for name in card.deployment["merged_mdconv"]}
    assert (card.deployment["runtime"], sorted(kernels)) == (options.get("runtime", ExportOptions().runtime), merged)
    graph = onnx.load(str(path)).graph
    unmerged = sum(isinstance(module, MDConv) for module in model.modules()) - len(card.deployment["merged_mdconv"])
    assert sum(node.op_type == "Split" for node in graph.node) == unmerged


def test_merged_and_unmerged_files_agree(export: Export) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra 'cpu')")
    canvas = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    unmerged, merged = (
        open_runtime(export("mixnet_s", **options)[0], "onnxruntime").infer(canvas)
        for options in ({"merge_up_to": 0}, {"runtime": "onnxruntime"})  # the latter merges all
    )
    for separate, together in zip(unmerged, merged, strict=True):
        assert np.abs(separate - together).max() < 1e-4

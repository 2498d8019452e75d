"""Darknet's networks in torch, against the official C implementation's outputs and its published networks."""

from __future__ import annotations

from dataclasses import fields
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from darknet_factory import random_weights, small_cfg

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from gaussian_yolo_node.detector.decode import decode  # noqa: E402
from gaussian_yolo_node.lab.complexity import complexity  # noqa: E402
from gaussian_yolo_node.lab.networks.darknet import (  # noqa: E402
    Darknet,
    Darknet53,
    DarknetDetector,
    DarknetError,
    NormForm,
    folded,
    gaussian_yolov3_darknet53,
)
from gaussian_yolo_node.lab.networks.darknet_cfg import Cfg, parse_cfg, read_cfg  # noqa: E402
from gaussian_yolo_node.lab.networks.darknet_files import read_partial_weights, read_weights, write_weights  # noqa: E402
from gaussian_yolo_node.lab.networks.yolov3 import PRESETS, darknet53_cfg, yolov3_cfg  # noqa: E402


def loaded(cfg: Cfg, form: NormForm = "gpu", seed: int = 0) -> Darknet:
    network = Darknet(cfg.layers, form)
    network.load_weights(random_weights(cfg, seed))
    return network.eval()


def run(network: torch.nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        return list(network(image))


@pytest.mark.parametrize("fold", [False, True], ids=["as trained", "folded"])
@pytest.mark.parametrize(("form", "tolerance"), [("cpu", 2e-6), ("gpu", 1e-4)])  # the golden run was on a CPU
def test_the_official_input_gives_the_official_heads(
    golden_dir: Path, form: NormForm, tolerance: float, fold: bool
) -> None:
    folder = golden_dir / "darknet_tiny"
    golden = np.load(folder / "expected.npz")
    cfg = read_cfg(folder / "tiny.cfg")
    network = Darknet(cfg.layers, form)
    network.load_weights(read_weights(folder / "tiny.weights", cfg))
    network.eval()

    heads = run(folded(network) if fold else network, torch.from_numpy(golden["input"])[None])

    for index, head in enumerate(heads):
        expected = golden[f"head{index}"]
        ours = head.numpy().reshape(expected.shape)
        logistic = [entry for entry in range(ours.shape[1]) if entry not in (4, 6)]
        ours[:, logistic] = 1 / (1 + np.exp(-ours[:, logistic]))
        np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance)


def test_weights_go_through_the_network_bit_for_bit(golden_dir: Path, tmp_path: Path) -> None:
    folder = golden_dir / "darknet_tiny"
    cfg = read_cfg(folder / "tiny.cfg")
    weights = read_weights(folder / "tiny.weights", cfg)
    network = Darknet(cfg.layers)
    network.load_weights(weights)

    write_weights(tmp_path / "out.weights", network.to_weights(weights.version, weights.seen))

    assert (tmp_path / "out.weights").read_bytes() == (folder / "tiny.weights").read_bytes()


def test_every_kind_of_layer_computes_what_it_says() -> None:
    """Against the same network written by hand."""
    from torch.nn import functional as F

    cfg = parse_cfg(small_cfg(), "small.cfg")
    network = loaded(cfg)
    w = {layer.index: value for layer, value in zip(cfg.convolutions, random_weights(cfg).convolutions, strict=True)}
    t = torch.from_numpy

    def convolution(x: torch.Tensor, index: int, **options: int) -> torch.Tensor:
        x = F.conv2d(x, t(w[index].kernels), **options)
        if (norm := w[index].norm) is not None:
            scale, mean, variance = (t(row)[:, None, None] for row in norm)
            x = (x - mean) / torch.sqrt(variance + 1e-5) * scale
        return x + t(w[index].bias)[:, None, None]

    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    x = F.leaky_relu(convolution(image, 0, stride=4, padding=1), 0.1)
    first = x = F.relu(convolution(x, 1, stride=2, padding=2, groups=2))
    x = torch.sigmoid(convolution(x, 2))
    x = F.leaky_relu(x + first, 0.1)
    fine = x = F.leaky_relu(convolution(x, 4, stride=2, padding=1), 0.1)
    x = F.leaky_relu(convolution(x, 5, stride=2, padding=1), 0.1)
    enlarged = x.repeat_interleave(2, 2).repeat_interleave(2, 3) * 0.5
    expected = [convolution(x, 6), convolution(torch.cat([enlarged, fine], 1), 11)]

    for ours, theirs in zip(run(network, image), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", ["gpu", "cpu"])
def test_folding_and_the_form_of_the_norm_agree(form: NormForm) -> None:
    cfg = parse_cfg(small_cfg(), "small.cfg")
    network = loaded(cfg, form)
    image = torch.rand(1, 3, 64, 96)

    deployed = folded(network)

    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in deployed.modules())
    for ours, theirs in zip(run(deployed, image), run(network, image), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("form", "expected"), [("gpu", 1 / (2e-5) ** 0.5), ("cpu", 1 / (1e-5**0.5 + 1e-6))])
def test_the_forms_of_the_norm_part_at_small_variances(form: NormForm, expected: float) -> None:
    norm = loaded(parse_cfg(small_cfg(), "small.cfg"), form).convolutions[0].norm
    assert norm is not None
    torch.nn.init.ones_(norm.weight), torch.nn.init.zeros_(norm.bias)
    norm.running_var.fill_(1e-5), norm.running_mean.zero_()

    with torch.no_grad():
        assert norm(torch.ones(1, 8, 1, 1))[0, 0].item() == pytest.approx(expected, rel=1e-5)


def test_a_part_fills_the_first_layers_only(tmp_path: Path) -> None:
    cfg = parse_cfg(small_cfg(), "small.cfg")
    network = loaded(cfg, seed=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    write_weights(tmp_path / "some.conv", random_weights(cfg, seed=2, layers=3))

    network.load_weights(read_partial_weights(tmp_path / "some.conv", cfg))

    changed = {
        name.split(".")[1] for name, value in network.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("preset", "digest"),
    # Of the layers of cfg/Gaussian_yolov3_BDD.cfg and cfg/Gaussian_yolov3_KITTI_3cls.cfg of the official repository.
    [
        ("bdd", "d08077ab295de36e3c86c201014f928dcbb49e84221a9bb4c3ef36ab471d9e5d"),
        ("kitti", "5a1f6cda64bbc165269d2fa35b282fb32cd9c31fde33577c618fe0192bf80c29"),
    ],
)
def test_the_built_in_networks_are_those_of_the_official_cfgs(preset: str, digest: str) -> None:
    chosen = PRESETS[preset]
    layers = parse_cfg(yolov3_cfg(len(chosen.classes), chosen.anchors), preset).layers

    rows = [
        (type(layer).__name__, *(getattr(layer, field.name) for field in fields(layer) if field.name != "line"))
        for layer in layers
    ]

    assert sha256(repr(rows).encode()).hexdigest() == digest
    with torch.device("meta"):
        assert gaussian_yolov3_darknet53(preset).darknet.description == layers


@pytest.mark.parametrize(("preset", "channels"), [("bdd", 57), ("kitti", 36)])
def test_heads_are_coarsest_first(preset: str, channels: int) -> None:
    with torch.device("meta"):
        model = gaussian_yolov3_darknet53(preset).eval()
        heads = model(torch.empty(1, 3, 64, 96))

    assert [tuple(head.shape) for head in heads] == [(1, channels, 64 // s, 96 // s) for s in (32, 16, 8)]
    assert [head.stride for head in model.heads] == [32, 16, 8]
    assert model.heads[0].anchors == PRESETS[preset].anchors[6:]


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(DarknetError, match="choose one of bdd, kitti"):
        gaussian_yolov3_darknet53("coco")


def test_multiply_accumulates_are_those_of_the_paper() -> None:
    """99.0e9 operations, two per multiply-accumulate; uncertainty adds less than a thousandth."""
    size = (512, 512)
    plain = parse_cfg(yolov3_cfg(10, PRESETS["bdd"].anchors, size, "yolo"), "plain")
    with torch.device("meta"):
        gaussian = complexity(gaussian_yolov3_darknet53("bdd", size), size)
        without = complexity(DarknetDetector(Darknet(plain.layers)), size)

    assert 2 * gaussian.macs == pytest.approx(99.04e9, abs=5e6)
    assert 2 * without.macs == pytest.approx(99.0e9, abs=5e6)
    assert 0 < gaussian.macs / without.macs - 1 < 1e-3
    assert gaussian.parameters == 61_593_739


def test_darknet53_gives_features_and_logits() -> None:
    torch.manual_seed(0)
    backbone = Darknet53(num_classes=7).eval()
    image = torch.rand(1, 3, 64, 96)

    with torch.no_grad():
        maps = backbone.features(image)
        logits = backbone(image)
        expected = backbone.classifier(maps[-1].mean((2, 3)))

    assert [tuple(x.shape) for x in maps] == [
        (1, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(backbone.feature_channels, (8, 16, 32), strict=True)
    ]
    assert backbone.feature_channels == (256, 512, 1024)
    torch.testing.assert_close(logits, expected)


def test_darknet53_takes_the_weights_of_its_part_of_the_detector(tmp_path: Path) -> None:
    """The detector's first 52 convolutions are the backbone, as in darknet53.conv.74."""
    cfg = parse_cfg(darknet53_cfg(), "darknet53.cfg")
    write_weights(tmp_path / "darknet53.conv.74", random_weights(cfg))
    assert (tmp_path / "darknet53.conv.74").stat().st_size == 162_482_580
    detector_cfg = parse_cfg(yolov3_cfg(3, PRESETS["kitti"].anchors), "kitti.cfg")
    detector = Darknet(detector_cfg.layers).eval()
    detector.load_weights(read_partial_weights(tmp_path / "darknet53.conv.74", detector_cfg))
    backbone = Darknet53().eval()
    backbone.darknet.load_weights(read_weights(tmp_path / "darknet53.conv.74", cfg))
    (tmp_path / "darknet53.conv.74").unlink()
    image = torch.rand(1, 3, 64, 64)

    with torch.no_grad():
        for ours, theirs in zip(backbone.features(image), detector.outputs(image, (36, 61, 74)), strict=True):
            torch.testing.assert_close(ours, theirs)
            assert torch.isfinite(ours).all()


def test_plain_heads_become_certain_ones() -> None:
    cfg = parse_cfg(small_cfg("yolo"), "plain.cfg")
    network = loaded(cfg)
    image = torch.rand(1, 3, 64, 96)

    deployed = DarknetDetector(folded(network)).eval()
    heads = [head.numpy() for head in run(deployed, image * 255)]

    for wide, plain in zip(heads, run(network, image), strict=True):
        by_anchor = wide.reshape(2, 11, *wide.shape[2:])
        kept = [0, 2, 4, 6, 8, 9, 10]
        np.testing.assert_allclose(by_anchor[:, kept], plain.numpy().reshape(2, 7, *plain.shape[2:]), atol=1e-5)
        assert (by_anchor[:, 1:8:2] == -128).all()
    anchors = [np.array(head.anchors, np.float32) for head in deployed.heads]
    found = decode(heads, anchors, [head.stride for head in deployed.heads], 0.1)
    assert len(found) and (found.sigmas == 0).all()
    probabilities = 1 / (1 + np.exp(-heads[0].reshape(2, 11, -1)[:, 8:]))
    objectness, classes = probabilities[:, :1], probabilities[:, 1:]
    assert found.scores.max() >= (objectness * classes).max() - 1e-6


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("channels=3", "channels=1", "reads 1 channels"),
        ("[upsample]\nstride=2", "[upsample]\nstride=1", r"strides \[32, 32\]"),
    ],
)
def test_a_network_that_is_no_detector_is_refused(old: str, new: str, message: str) -> None:
    text = small_cfg().replace(old, new).replace("layers=-1, 4", "layers=-1")
    text = text.replace("[route]\nlayers=-1\n\n", "") if "stride=1" in new else text

    with pytest.raises(DarknetError, match=message):
        DarknetDetector(Darknet(parse_cfg(text, "some.cfg").layers))


def test_a_backbone_is_no_detector() -> None:
    with torch.device("meta"), pytest.raises(DarknetError, match=r"strides \[\]"):
        DarknetDetector(Darknet(parse_cfg(darknet53_cfg(), "darknet53.cfg").layers))

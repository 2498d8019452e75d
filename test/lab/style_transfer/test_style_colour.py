"""Colour preservation: matched statistics, unchanged hues."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from gaussian_yolo_node.lab.style_transfer.colour import (  # noqa: E402
    luminance,
    match_colours,
    match_luminance,
    with_luminance,
)

# RGB -> I and Q of YIQ.
IQ = torch.tensor([[0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def colours(seed: int, height: int = 20, width: int = 30) -> torch.Tensor:
    """An image with correlated channels."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.rand(3, 3, generator=generator)
    values = torch.rand(3, height * width, generator=generator)
    return (mixing @ values / 3).view(1, 3, height, width)


def moments(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    flat = image[0].flatten(1).double()
    return flat.mean(1), torch.cov(flat, correction=0)


def test_style_takes_the_contents_mean_and_covariance() -> None:
    style, content = colours(1), colours(2, 17, 23)
    for found, wanted in zip(moments(match_colours(style, content)), moments(content), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


def test_equal_colours_stay() -> None:
    style = colours(1)
    torch.testing.assert_close(match_colours(style, style), style, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("flat", [0.0, 0.5, 1.0])
def test_flat_and_grey_pictures_stay_finite(flat: float) -> None:
    one_colour = torch.full((1, 3, 8, 8), flat)
    grey = colours(3)[:, :1].expand(-1, 3, -1, -1).contiguous()
    for style, content in ((one_colour, colours(1)), (colours(1), one_colour), (grey, colours(1)), (colours(1), grey)):
        matched = match_colours(style, content)
        assert matched.isfinite().all()
        torch.testing.assert_close(moments(matched)[0], moments(content)[0], rtol=1e-3, atol=1e-3)
        assert match_luminance(luminance(style), luminance(content)).isfinite().all()


def test_luminance_takes_mean_and_deviation() -> None:
    style, content = luminance(colours(1)), luminance(colours(2))
    matched = match_luminance(style, content)
    assert matched.mean().item() == pytest.approx(content.mean().item(), abs=1e-5)
    assert matched.std().item() == pytest.approx(content.std().item(), rel=1e-3)


def test_new_luminance_leaves_the_hues() -> None:
    image = 0.3 + 0.4 * colours(1)
    wanted = luminance(image) + 0.1 * (torch.rand(1, 1, 20, 30) - 0.5)
    changed = with_luminance(image, wanted)
    torch.testing.assert_close(luminance(changed), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(IQ @ changed[0].flatten(1), IQ @ image[0].flatten(1), rtol=1e-3, atol=2e-4)
    torch.testing.assert_close(with_luminance(image, luminance(image)), image, rtol=1e-5, atol=1e-6)


def test_results_are_clipped() -> None:
    assert with_luminance(colours(1), torch.full((1, 1, 20, 30), 2.0)).max() == 1

"""Gradients of the fast depthwise convolutions, against the library's."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

from gaussian_yolo_node.lab.networks.mdconv import MDConv  # noqa: E402
from gaussian_yolo_node.lab.networks.padding import SameConv2d  # noqa: E402
from gaussian_yolo_node.lab.training import depthwise  # noqa: E402
from gaussian_yolo_node.lab.training.depthwise import use_fast_depthwise  # noqa: E402

GEOMETRIES = [  # kernel, stride, padding, height, width
    (1, 1, 0, 4, 5),
    (3, 1, 1, 9, 7),
    (5, 1, 2, 8, 20),
    (5, 1, 0, 9, 11),
    (3, 2, 1, 9, 12),
    (3, 2, 0, 17, 22),
    (5, 2, 2, 16, 9),
    (7, 2, 3, 15, 16),
    (5, 1, 2, 1, 1),
    (5, 3, 2, 11, 13),
]


def _gradients(conv: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    image = image.clone().requires_grad_()
    out = conv(image)
    torch.manual_seed(1)
    # Drawn in float64 and then rounded, because random bfloat16 numbers depend on the processor.
    out.backward(torch.randn(out.shape, dtype=torch.float64).to(out.dtype))
    assert image.grad is not None
    return [out.detach(), image.grad, *(p.grad for p in conv.parameters() if p.grad is not None)]


def _pair(conv: nn.Module) -> tuple[nn.Module, int]:
    import copy

    fast = copy.deepcopy(conv)
    return fast, use_fast_depthwise(fast)


@pytest.mark.parametrize("library", [False, True], ids=["taps", "library"])
@pytest.mark.parametrize(("kernel", "stride", "padding", "height", "width"), GEOMETRIES)
def test_gradients_equal_the_librarys(kernel, stride, padding, height, width, library, monkeypatch):
    function = depthwise._library_weight_gradient if library else depthwise._tap_sums
    monkeypatch.setattr(depthwise, "_weight_gradient", lambda: function)
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=True).double()
    fast, changed = _pair(plain)
    assert changed == 1
    image = torch.randn(2, 6, height, width, dtype=torch.float64)
    for ours, theirs in zip(_gradients(fast, image), _gradients(plain, image), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.slow  # the same function as above, compiled
def test_compiled_gradients_equal_the_librarys():
    torch.manual_seed(0)
    plain = SameConv2d(8, 8, 5, 2, groups=8)
    fast, _ = _pair(plain)
    image = torch.randn(2, 8, 12, 20)
    for ours, theirs in zip(_gradients(fast, image), _gradients(plain, image), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_bfloat16_under_autocast_stays_near_float32(monkeypatch):
    monkeypatch.setattr(depthwise, "_weight_gradient", lambda: depthwise._tap_sums)
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
    fast, _ = _pair(plain)
    image = torch.randn(2, 6, 10, 10)
    with torch.autocast("cpu", torch.bfloat16):
        ours = _gradients(fast, image)
    assert ours[0].dtype is torch.bfloat16
    assert ours[2].dtype is torch.float32
    for value, exact in zip(ours, _gradients(plain, image), strict=True):
        torch.testing.assert_close(value.float(), exact, rtol=0.05, atol=0.1)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(6, 6, 3),  # not depthwise
        nn.Conv2d(6, 12, 3, groups=6),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6),
        nn.Conv2d(6, 6, 3, padding="same", groups=6),
        nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect", groups=6),
        nn.Conv2d(1, 1, 3),
    ],
)
def test_other_convolutions_stay_as_they_are(conv):
    assert use_fast_depthwise(conv) == 0


def test_state_dict_and_gradients_of_an_mdconv_stay(monkeypatch):
    monkeypatch.setattr(depthwise, "_weight_gradient", lambda: depthwise._tap_sums)
    torch.manual_seed(0)
    plain = MDConv(10, (3, 5, 7), stride=2, padding="same").double()
    fast, changed = _pair(plain)
    assert changed == 3
    assert list(fast.state_dict()) == list(plain.state_dict())
    image = torch.randn(1, 10, 13, 16, dtype=torch.float64)
    for ours, theirs in zip(_gradients(fast, image), _gradients(plain, image), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_frozen_kernel_gets_no_gradient(monkeypatch):
    monkeypatch.setattr(depthwise, "_weight_gradient", lambda: pytest.fail("computed for nothing"))
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
    conv.weight.requires_grad_(False)
    use_fast_depthwise(conv)
    image = torch.randn(1, 4, 5, 5, requires_grad=True)
    conv(image).sum().backward()
    assert conv.weight.grad is None and image.grad is not None

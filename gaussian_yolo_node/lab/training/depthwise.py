"""Fast training of depthwise convolutions on a CPU.

oneDNN has no fast backward kernels for most depthwise convolutions in channels-last bfloat16; they take most of a
training step of an EfficientNet or a MixNet. The gradients are simple. The input gradient is a depthwise convolution
with the kernel rotated by 180 degrees. The weight gradient is a sum of products per kernel tap, which `torch.compile`
fuses into one loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

log = logging.getLogger("gaussian_yolo.train")


def use_fast_depthwise(model: nn.Module) -> int:
    """Use the gradients of this module in the depthwise convolutions of `model`.

    Forward results, parameters and state dict stay the same. Dilated convolutions are not changed.

    Returns:
        the number of changed convolutions.
    """
    found = 0
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and _is_plain_depthwise(module):
            # On the instance, so that its class keeps padding and state dict.
            setattr(module, "_conv_forward", MethodType(_conv_forward, module))  # noqa: B010
            found += 1
    return found


def _is_plain_depthwise(conv: nn.Conv2d) -> bool:
    kernel, padding = conv.kernel_size, conv.padding
    return (
        conv.groups == conv.in_channels == conv.out_channels > 1
        and kernel[0] == kernel[1]
        and conv.stride[0] == conv.stride[1]
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and not isinstance(padding, str)
        and padding[0] == padding[1] < kernel[0]
    )


def _conv_forward(self: nn.Conv2d, image: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if torch.is_autocast_enabled(image.device.type):
        kind = torch.get_autocast_dtype(image.device.type)
        image, weight = image.to(kind), weight.to(kind)
    out: Tensor = _Depthwise.apply(image, weight, self.stride[0], int(self.padding[0]))
    return out if bias is None else out + bias.to(out.dtype).view(1, -1, 1, 1)


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution of `[B,C,H,W]` with `[C,1,k,k]`."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.stride, ctx.padding = stride, padding
        with torch.autocast(image.device.type, enabled=False):
            return F.conv2d(image, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (gradient,) = gradients
        image, weight = ctx.saved_tensors
        kernel, of_image, of_weight = weight.shape[-1], None, None
        with torch.autocast(image.device.type, enabled=False):
            if ctx.needs_input_grad[0]:
                of_image = _input_gradient(gradient, weight, image.shape[-2:], ctx.stride, ctx.padding)
            if ctx.needs_input_grad[1]:
                padded = F.pad(image, (ctx.padding,) * 4) if ctx.padding else image
                sums = _weight_gradient()(_channels_last(padded), _channels_last(gradient), kernel, ctx.stride)
                of_weight = sums.T.reshape(weight.shape).to(weight.dtype)
        return of_image, of_weight, None, None


def _input_gradient(gradient: Tensor, weight: Tensor, size: tuple[int, ...], stride: int, padding: int) -> Tensor:
    """Gradient `[B,C,H,W]` of an input of `size` = (H, W)."""
    reach = weight.shape[-1] - 1
    if stride > 1:
        # Transposed convolution by the fast kernel: insert zeros between the gradient's cells, then use stride 1.
        spread = gradient.new_zeros((*gradient.shape[:2], *(side + 2 * padding - reach for side in size))).to(
            memory_format=torch.channels_last
        )
        spread[:, :, ::stride, ::stride] = gradient
        gradient = spread
    return F.conv2d(gradient, weight.flip(2, 3), None, 1, reach - padding, groups=len(weight))


def _channels_last(image: Tensor) -> Tensor:
    """`[B,C,H,W]` as contiguous `[B,H,W,C]`."""
    return image.permute(0, 2, 3, 1).contiguous()


def _tap_sums(image: Tensor, gradient: Tensor, kernel: int, stride: int) -> Tensor:
    """Gradients `[k*k,C]` of a kernel's taps, from the padded image `[B,H,W,C]` and the gradient `[B,h,w,C]`."""
    rows, columns = stride * (gradient.shape[1] - 1) + 1, stride * (gradient.shape[2] - 1) + 1
    precise = torch.promote_types(image.dtype, torch.float32)
    upstream = gradient.to(precise)
    taps = []
    for top in range(kernel):
        for left in range(kernel):
            window = image[:, top : top + rows : stride, left : left + columns : stride]
            taps.append((window.to(precise) * upstream).sum((0, 1, 2)))
    return torch.stack(taps)


def _library_weight_gradient(image: Tensor, gradient: Tensor, kernel: int, stride: int) -> Tensor:
    """Like `_tap_sums`, but by the library in float32, where its kernels are faster than in bfloat16."""
    channels = image.shape[3]
    precise = torch.promote_types(image.dtype, torch.float32)
    outputs = torch.ops.aten.convolution_backward(
        gradient.permute(0, 3, 1, 2).to(precise),
        image.permute(0, 3, 1, 2).to(precise),
        image.new_zeros((channels, 1, kernel, kernel), dtype=precise),
        None,
        [stride] * 2,
        [0, 0],
        [1, 1],
        False,
        [0, 0],
        channels,
        [False, True, False],
    )
    taps: Tensor = outputs[1].reshape(channels, -1).T
    return taps


@cache
def _weight_gradient() -> Callable[[Tensor, Tensor, int, int], Tensor]:
    """`_tap_sums`, compiled if a C++ compiler is available."""
    import torch._dynamo

    # One graph per layer and input size, because static sizes run faster.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 1024)
    torch._dynamo.config.accumulated_recompile_limit = max(torch._dynamo.config.accumulated_recompile_limit, 8192)
    compiled = torch.compile(_tap_sums, dynamic=False)
    try:
        compiled(torch.zeros(1, 3, 3, 2), torch.zeros(1, 1, 1, 2), 3, 1)
    except Exception as error:  # the exception depends on the missing compiler or its version
        log.warning("depthwise gradients are not compiled and so train slowly: %s", str(error).splitlines()[0])
        return _library_weight_gradient
    return compiled

"""Depthwise convolutions of a bfloat16 training on a CPU: forward as ever, gradients in float32.

oneDNN has kernels for the gradients of depthwise convolutions in float32; in bfloat16 it goes
through general ones, which take three to four times as long (benchmarks/depthwise.py). MobileNets
and EfficientNets consist of such convolutions, and trained slower in bfloat16 than in float32.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class Depthwise(torch.autograd.Function):
    """`F.conv2d` in autocast's type, whose gradients are computed in float32."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        groups: int,
    ) -> Tensor:
        kind = torch.get_autocast_dtype("cpu")
        ctx.given, images = images.dtype, images.to(kind)
        ctx.save_for_backward(images, weight)
        ctx.settings = stride, padding, dilation, groups
        ctx.bias = None if bias is None else (list(bias.shape), bias.dtype)
        with torch.autocast("cpu", enabled=False):
            bias = None if bias is None else bias.to(kind)
            return F.conv2d(images, weight.to(kind), bias, stride, padding, dilation, groups)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple:
        images, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.settings
        shape, kind = ctx.bias or (None, None)
        # A frozen layer needs no gradients of its weights, the first one none of the images.
        wanted = [*ctx.needs_input_grad[:2], shape is not None and ctx.needs_input_grad[2]]
        of_images, of_weight, of_bias = torch.ops.aten.convolution_backward(
            gradient.float(), images.float(), weight.float(), shape,
            stride, padding, dilation, False, [0, 0], groups, wanted,
        )  # fmt: skip
        return (
            of_images.to(ctx.given) if wanted[0] else None,
            of_weight.to(weight.dtype) if wanted[1] else None,
            of_bias.to(kind) if wanted[2] else None,
            *(None,) * 4,
        )


class QuickDepthwise(TorchFunctionMode):
    """Within it, depthwise `F.conv2d` on a CPU under autocast goes through `Depthwise`.

    All other calls, and all without autocast, are left as they are; so is a network's own code.
    """

    def __torch_function__(
        self, func: Callable, types: object, args: tuple = (), kwargs: Mapping | None = None
    ) -> object:
        kwargs = kwargs or {}
        if func is F.conv2d and torch.is_autocast_enabled("cpu"):
            call = _arguments(*args, **kwargs)
            images, groups = call[0], call[-1]
            depthwise = 1 < groups == images.shape[-3] and images.ndim == 4
            # Padding may be the word "same".
            if depthwise and images.device.type == "cpu" and None not in call[3:]:
                return Depthwise.apply(*call)
        return func(*args, **kwargs)


def has_depthwise(network: nn.Module) -> bool:
    """Whether there is any for `QuickDepthwise`, which costs every other call microseconds."""
    return any(
        isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels
        for layer in network.modules()
    )


def _arguments(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: object = 1,
    padding: object = 0,
    dilation: object = 1,
    groups: int = 1,
) -> tuple:
    """The arguments of `F.conv2d` in its order, with lists of two for numbers, None for words."""
    pairs = [
        None if isinstance(value, str) else [value] * 2 if isinstance(value, int) else list(value)
        for value in (stride, padding, dilation)
    ]
    pairs = [value * 2 if value and len(value) == 1 else value for value in pairs]
    return input, weight, bias, *pairs, groups

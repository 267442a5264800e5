"""Convolution, max-pool, ReLU and dropout of a few images at a time, instead of the whole batch.

What a convolution writes is four times what its pool leaves of it, and in a network for large
pictures it is the largest thing in memory, twice: once more as its gradient. A few images at a time
both stay small. Without a batch norm, which wants to know the whole batch first, the images do not
depend on each other. A training of `cnn2` takes 110 to 230 MB less (benchmarks/NOTES.md).
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from detector.models.shared import array, empty, last, outputs, shared

PART = 12 << 20  # bytes that a convolution writes at a time, unless each thread has one image


def keeps_size(conv: nn.Conv2d) -> bool:
    """Whether this convolution's maps are as high and wide as what it is given."""
    height, width = conv.kernel_size
    return (
        conv.padding_mode == "zeros"
        and height % 2 == width % 2 == 1
        and conv.padding in ("same", (height // 2, width // 2))
        and conv.stride == conv.dilation == (1, 1)
        and conv.groups == 1
    )


def precision(values: Tensor, conv: nn.Conv2d) -> torch.dtype | None:
    """In which precision the layer would calculate; None for weights that are not float32."""
    if conv.weight.dtype != torch.float32:  # in which their gradient is added up here
        return None
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu")
    return values.dtype if values.dtype == torch.float32 else None


def pooled(
    values: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    factor: np.ndarray,
    words: np.ndarray | None,
    least: int,
) -> tuple[Tensor, Tensor]:
    """A convolution's maps after max-pool, ReLU and dropout, see `detector.models.kernels.pool`.

    Args:
        values: float32 or bfloat16 (N, C, H, W), channels last in memory.
        weight, bias: Of the convolution, float32.
        factor: float32 (N, D), by which a map's numbers are multiplied.
        words: Random (N, H/2, W/2, D); what is below `least` is dropped. None for no such dropout.
        least: As `detector.models.dropout.drawn` gives it.

    Returns:
        (N, D, H/2, W/2), rounded up, as `values` is; and uint8 places of the maxima.
    """
    n, size = len(values), values.shape[2:]
    one, zero = np.ones(len(weight), np.float32), np.zeros(len(weight), np.float32)
    weight, bias = (
        None if own is None else own.detach().to(values.dtype) for own in (weight, bias)
    )
    y, place = outputs(n, len(weight), size, values.dtype)
    with torch.autocast("cpu", enabled=False), torch.no_grad():
        for part in _parts(n, len(weight) * size.numel() * values.element_size()):
            maps = last(nn.functional.conv2d(values[part], weight, bias, padding="same"))
            shared("pool", len(maps), array(maps), one, zero, factor[part],
                    None if words is None else words[part], least,
                    out=(array(y[part]), array(place[part])))  # fmt: skip
            del maps  # or it is kept beside the next
    return y, place


class Convolved(torch.autograd.Function):
    """Convolution, max-pool, ReLU, dropout; keeps what it is given and a byte for each output."""

    @staticmethod
    def forward(ctx, values: Tensor, weight: Tensor, bias, factor, words, least: int):
        y, place = pooled(values, weight, bias, factor, words, least)
        ctx.save_for_backward(values, weight, place)
        ctx.factor = factor
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple:
        values, weight, place = ctx.saved_tensors
        kernel, dy = weight.to(values.dtype), last(dy)
        (n, _, *size), channels = values.shape, len(weight)
        wanted = ctx.needs_input_grad[:3]
        found = [
            empty(values.shape, values.dtype) if wanted[0] else None,
            torch.zeros_like(weight) if wanted[1] else None,
            weight.new_zeros(channels) if wanted[2] else None,
        ]
        padding = [side // 2 for side in weight.shape[2:]]
        for part in _parts(n, channels * size[0] * size[1] * dy.element_size()):
            own = values[part]
            maps = empty((len(own), channels, *size), dy.dtype)
            shared("spread", len(own), None, ctx.factor[part], None, None, array(dy[part]),
                    array(place[part]), out=(array(maps),))  # fmt: skip
            given = torch.ops.aten.convolution_backward(
                maps, own, kernel, [channels] if wanted[2] else None, [1, 1], padding, [1, 1],
                False, [0, 0], 1, wanted,
            )  # fmt: skip
            if wanted[0]:
                found[0][part] = given[0]
            for total, more in zip(found[1:], given[1:], strict=True):
                if total is not None:
                    total.add_(more)  # in float32, whatever the images are in
            del maps, given
        return (*found, None, None, None)


def _parts(n: int, size: int) -> Iterator[slice]:
    """A batch's images, of which each makes `size` bytes, a part at a time."""
    threads = torch.get_num_threads()
    length = max(PART // size // threads, 1) * threads
    for begin in range(0, n, length):
        yield slice(begin, min(begin + length, n))

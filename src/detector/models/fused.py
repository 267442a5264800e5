"""Batch norm, max-pool, ReLU and dropout in two walks through memory instead of ten, or in one.

On a CPU these layers cost more than the convolutions between them: PyTorch walks through the maps
for each of them, several times for a batch norm, and writes places of 8 bytes for maxima of 2. Here
one loop pools and adds up the batch's moments, one does the rest on a quarter of the numbers, and
two go back (`detector.models.kernels`; benchmarks/NOTES.md has the figures). In evaluation the
moments are known, and one loop does it all. Where there is no batch norm, the convolution before
goes with them (`detector.models.convolved`). It is the same function: the arithmetic is float32,
rounded once where the layers round after each step.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable
from torch.nn.modules.module import _has_any_global_hook

from detector.compiled import available
from detector.models.convolved import Convolved, keeps_size, pooled, precision
from detector.models.dropout import Dropout, drawn
from detector.models.shared import BITS, array, empty, last, outputs, shared

SEVERAL = 32  # images whose evaluation is worth the import of Numba, half a second


class Run(NamedTuple):
    """Layers that stand in a row: a convolution or a batch norm or neither, pool, ReLU, dropout."""

    conv: nn.Conv2d | None
    norm: nn.BatchNorm2d | None
    pool: nn.MaxPool2d
    drop: nn.Dropout | nn.Dropout2d | None
    length: int


class FusedSequential(nn.Sequential):
    """`nn.Sequential` that calls [batch norm,] max-pool, ReLU[, dropout] in a row as one layer.

    Where there is no batch norm, the convolution before them is part of it.

    Where it cannot (other devices, layouts and settings of layers, layers with hooks, evaluation
    with gradients or of a few images, Numba missing) it calls them one by one.
    """

    def forward(self, values: Tensor) -> Tensor:
        """What the layers make of (N, C, H, W), one after the other."""
        layers, at = list(self), 0
        while at < len(layers):
            run = find_run(layers[at:])
            if run is not None and fits(values, run, layers[at : at + run.length]):
                values = run_fused(values, run)
                at += run.length
            else:
                values = layers[at](values)
                at += 1
        return values


def find_run(layers: Sequence[nn.Module]) -> Run | None:
    """The run that begins with the first of these layers."""
    rest = list(layers[:5])
    conv = rest.pop(0) if rest and type(rest[0]) is nn.Conv2d else None
    norm = rest.pop(0) if rest and conv is None and type(rest[0]) is nn.BatchNorm2d else None
    if len(rest) < 2 or type(rest[0]) is not nn.MaxPool2d or type(rest[1]) is not nn.ReLU:
        return None
    drop = rest[2] if len(rest) > 2 and type(rest[2]) in (Dropout, nn.Dropout2d) else None
    length = sum(one is not None for one in (conv, norm, drop)) + 2
    return Run(conv, norm, rest[0], drop, length)


def fits(values: Tensor, run: Run, layers: Sequence[nn.Module]) -> bool:
    """Whether the loops here do what the layers would."""
    if (
        torch.compiler.is_compiling()
        or values.device.type != "cpu"
        or values.dtype not in BITS
        or values.dim() != 4
    ):
        return False
    if type(values) is not Tensor or torch._C._len_torch_dispatch_stack():  # somebody watches
        return False
    if torch.jit.is_tracing() or not _in_one_mode(values, layers):
        return False
    if not values.numel() or not values.is_contiguous(memory_format=torch.channels_last):
        return False
    if any(hooks for layer in layers for hooks in _hooks(layer)) or _has_any_global_hook():
        return False
    if not available():
        return False
    n, channels, height, width = values.shape
    conv, norm, pool, drop = run[:4]
    if conv is not None and not (keeps_size(conv) and precision(values, conv) in BITS):
        return False
    settings = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.return_indices)
    return (
        settings == (2, 2, 0, 1, False)
        and (pool.ceil_mode or height % 2 == width % 2 == 0)
        and n * height * width > 1
        and (drop is None or 0 <= drop.p < 1)
        and (norm is None or _plain(norm, channels))
    )


def _in_one_mode(values: Tensor, layers: Sequence[nn.Module]) -> bool:
    if any(layer.training for layer in layers):
        return all(layer.training for layer in layers)
    if len(values) < SEVERAL or torch.is_grad_enabled():
        return False
    own = (one for layer in layers for one in layer.parameters())
    return all(forward_ad.unpack_dual(one).tangent is None for one in (values, *own))


def _plain(norm: nn.BatchNorm2d, channels: int) -> bool:
    own = norm.weight, norm.bias, norm.running_mean, norm.running_var
    return norm.momentum is not None and all(
        one is not None and one.dtype == torch.float32 and len(one) == channels for one in own
    )


def _hooks(layer: nn.Module) -> tuple:
    return (
        layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks,
        layer._backward_pre_hooks,
    )  # fmt: skip


def run_fused(values: Tensor, run: Run) -> Tensor:
    """One run of layers, as `fits` allows it.

    Args:
        values: float32 or bfloat16 (N, C, H, W), channels last in memory.
        run: The layers; a batch norm's running statistics go on as its own do.

    Returns:
        (N, D, H/2, W/2), rounded up, in the precision of the layers.
    """
    conv, norm, pool, drop = run[:4]
    if conv is not None:
        values = values.to(precision(values, conv))
    channels = conv.out_channels if conv is not None else values.shape[1]
    factor, words, least = np.ones((len(values), channels), np.float32), None, 0
    if not pool.training:
        if conv is not None:
            return pooled(values, conv.weight, conv.bias, factor, None, 0)[0]
        return _evaluated(values, norm, factor)
    if isinstance(drop, nn.Dropout2d):
        kept = torch.empty((*factor.shape, 1, 1), dtype=values.dtype).bernoulli_(1 - drop.p)
        factor = kept.view(factor.shape).float().div_(1 - drop.p).numpy()
    elif drop is not None and drop.p:
        shape = len(values), *(-(-side // 2) for side in values.shape[2:]), channels
        words, least = drawn(int(np.prod(shape)), drop.p)
        words, factor = words.reshape(shape), factor / np.float32(1 - drop.p)
    if conv is not None:
        return Convolved.apply(values, conv.weight, conv.bias, factor, words, least)
    if norm is None:
        return _Pooled.apply(values, factor, words, least)
    return _Normed.apply(values, norm.weight, norm.bias, norm, factor, words, least)


def _evaluated(values: Tensor, norm: nn.BatchNorm2d | None, factor: np.ndarray) -> Tensor:
    a, b = factor[0], np.zeros(factor.shape[1], np.float32)
    if norm is not None:
        slope = norm.weight / (norm.running_var + norm.eps).sqrt()
        a, b = slope.numpy(), (norm.bias - norm.running_mean * slope).numpy()
    y, place = outputs(*values.shape[:2], values.shape[2:], values.dtype)
    shared("pool", len(values), array(values), a, b, factor, None, 0,
            out=(array(y), array(place)))  # fmt: skip
    return y


class _Pooled(torch.autograd.Function):
    """Max-pool, ReLU, dropout; keeps a byte for each output, and nothing of the input."""

    @staticmethod
    def forward(ctx, values: Tensor, factor: np.ndarray, words, least: int) -> Tensor:
        channels = values.shape[1]
        one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        y, place = outputs(*values.shape[:2], values.shape[2:], values.dtype)
        shared("pool", len(values), array(values), one, zero, factor, words, least,
                out=(array(y), array(place)))  # fmt: skip
        ctx.save_for_backward(place)
        ctx.shape, ctx.factor = values.shape, factor
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple:
        (place,) = ctx.saved_tensors
        dx = empty(ctx.shape, dy.dtype)
        shared("spread", len(dx), None, ctx.factor, None, None, array(last(dy)), array(place),
                out=(array(dx),))  # fmt: skip
        return dx, None, None, None


class _Normed(torch.autograd.Function):
    """Batch norm over the batch (Ioffe and Szegedy 2015), max-pool, ReLU, dropout."""

    @staticmethod
    def forward(ctx, values: Tensor, weight: Tensor, bias: Tensor, norm, factor, words, least):
        x, n, channels = array(values), len(values), values.shape[1]
        count = values.numel() // channels
        shift = values[0, :, 0, 0].float().numpy()  # else small spreads drown in large means
        sums, sign = np.zeros((n, 2, channels)), weight.detach().sign().numpy()
        y, place = outputs(*values.shape[:2], values.shape[2:], values.dtype)
        winner = torch.empty_like(y)
        shared("pool_moments", n, x, shift, sign,
                out=(array(winner), array(place), sums))  # fmt: skip
        first, second = sums.sum(0) / count
        mean, variance = first + shift, np.maximum(second - first**2, 0)
        _remember(norm, mean, variance * count / (count - 1))
        inverse = 1 / np.sqrt(variance + norm.eps)
        a = weight.detach().double().numpy() * inverse
        b = bias.detach().double().numpy() - mean * a
        shared("finish", n, array(winner), a.astype(np.float32), b.astype(np.float32), factor,
                words, least, out=(array(y), array(place)))  # fmt: skip
        ctx.save_for_backward(values, place, winner)
        ctx.factor, ctx.a, ctx.mean, ctx.inverse, ctx.count = factor, a, mean, inverse, count
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple:
        values, place, winner = ctx.saved_tensors
        n, channels = values.shape[:2]
        dy, a, mean, inverse = last(dy), ctx.a, ctx.mean, ctx.inverse
        sums = np.zeros((n, 2, channels))
        shared("gradient_sums", n, array(winner), mean.astype(np.float32), array(dy),
                array(place), out=(sums,))  # fmt: skip
        of_bias, product = (sums * ctx.factor[:, None]).sum(0)
        slope = a * inverse**2 * product / ctx.count
        constant = a * of_bias / ctx.count - slope * mean
        dx = torch.empty_like(values)
        shared("spread", n, array(values), ctx.factor * a.astype(np.float32),
                constant.astype(np.float32), slope.astype(np.float32), array(dy), array(place),
                out=(array(dx),))  # fmt: skip
        of_weight = torch.from_numpy((product * inverse).astype(np.float32))
        of_bias = torch.from_numpy(of_bias.astype(np.float32))
        return dx, of_weight, of_bias, None, None, None, None


def _remember(norm: nn.BatchNorm2d, mean: np.ndarray, unbiased: np.ndarray) -> None:
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        for kept, new in ((norm.running_mean, mean), (norm.running_var, unbiased)):
            kept.lerp_(torch.from_numpy(new.astype(np.float32)), norm.momentum)

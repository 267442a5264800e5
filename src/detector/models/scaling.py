"""From bytes to what a network is fed, in one walk where a compiled loop can."""

import torch
from torch import Tensor

from detector.compiled import available
from detector.models.shared import BITS, array, shared


def scaled(
    images: Tensor, mean: Tensor, std: Tensor, memory_format: torch.memory_format,
    dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """(images / 255 - mean) / std, in float32.

    Args:
        images: uint8, or float32 where they were mixed, (N, 3, S, S), 0..255.
        mean, std: (1, 3, 1, 1), as multiples of 255.
        memory_format: Of the result.
        dtype: What it may be rounded to at the end, for a network whose first layer would do so:
            bfloat16 or float32. On the CPU alone, and not everywhere.

    Returns:
        float32, or `dtype`, (N, 3, S, S).
    """
    interleaved = images.device.type == "cpu" and images.is_contiguous(
        memory_format=torch.channels_last
    )
    bytes_ = images.dtype == torch.uint8 and images.numel() > 0
    if interleaved and bytes_ and available() and not torch.compiler.is_compiling():
        found = _in_a_loop(images, mean, std, dtype)
    elif interleaved:
        # Rows of interleaved pixels as long lines: half the time of three numbers at a time.
        lines = images.permute(0, 2, 3, 1).flatten(2).to(torch.float32, copy=True)
        mean, std = (each.view(3).repeat(images.shape[3]) for each in (mean, std))
        found = lines.div_(255).sub_(mean).div_(std)
        found = found.view(len(images), *images.shape[2:], 3).permute(0, 3, 1, 2)
    else:
        # In place, as memory bounds each of these; a copy, as mixed images are floats already.
        found = images.to(torch.float32, copy=True).div_(255).sub_(mean).div_(std)
    return found.contiguous(memory_format=memory_format)


def _in_a_loop(images: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    dtype = dtype if dtype in BITS else torch.float32
    found = torch.empty_like(images, dtype=dtype)  # keeps the order in memory
    means, stds = (each.view(3).repeat(images.shape[3]).numpy() for each in (mean, std))
    shared("scale", len(images), array(images), means, stds, out=(array(found),))
    return found

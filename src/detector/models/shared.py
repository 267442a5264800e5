"""Compiled loops over a batch, a part of it in each thread."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache

import numpy as np
import torch
from torch import Tensor

# What a loop takes, and as what: NumPy knows no bfloat16.
BITS = {torch.bfloat16: torch.uint16, torch.float32: torch.float32}


def array(values: Tensor) -> np.ndarray:
    """(N, H, W, C) over the same memory; bfloat16 as uint16."""
    across = values.detach().permute(0, 2, 3, 1)
    return across.view(BITS.get(values.dtype, values.dtype)).numpy()


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """(N, C, H, W), channels last in memory."""
    return torch.empty(tuple(shape), dtype=dtype, memory_format=torch.channels_last)


def outputs(
    n: int, channels: int, size: Sequence[int], dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Of maps of this height and width, what a pool of 2 by 2 writes: values and uint8 places."""
    shape = n, channels, *(-(-side // 2) for side in size)
    return empty(shape, dtype), empty(shape, torch.uint8)


def last(values: Tensor) -> Tensor:
    """(N, C, H, W), channels last in memory."""
    return values.contiguous(memory_format=torch.channels_last)


def shared(name: str, n: int, *inputs, out: tuple) -> None:
    """A kernel on all images, a part in each thread; what it gives does not depend on how many."""
    from detector.models import kernels  # Numba: half a second, which many images need

    kernel, threads = getattr(kernels, name), min(torch.get_num_threads(), n)
    edges = [n * at // threads for at in range(threads + 1)]

    def part(at: int) -> None:
        kernel(*inputs, edges[at], edges[at + 1], *out)

    others = [_pool(threads).submit(part, at) for at in range(1, threads)]
    try:
        part(0)
    finally:
        wait(others)  # they write into what is freed after an error
    for one in others:
        one.result()  # an error of one is raised here


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, "fused")

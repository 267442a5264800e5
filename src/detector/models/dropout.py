"""Element-wise dropout that does not spend a third of a training step on random numbers."""

import numpy as np
import torch
from torch import Tensor, nn

# A bit mask of ones or zeros is laid over the numbers, whatever they stand for.
_WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` (Srivastava et al. 2014), whose masks are cheap on a CPU.

    PyTorch draws each element of a mask by itself from one Mersenne Twister, in one thread: 250 of
    the 620 ms of a step of `cnn2` at 300 px. Here PyTorch's generator gives the seed of a mask, so
    that a run is repeated and resumed as before, and NumPy's SFC64 its bits: one byte an element
    where p is a multiple of 1/256, else two, so that p is met to 1/131072. What is kept is divided
    by 1 - p in float32 before it is rounded. Elsewhere than on a CPU it is PyTorch's own.

    Args:
        p: Share of the elements that become 0, 0..1.
        inplace: Of PyTorch's own alone.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape, of which a share `p` is 0 while training."""
        ours = values.device.type == "cpu" and values.numel() > 0 and 0 < self.p < 1
        if not (self.training and ours):
            return super().forward(values)
        return _Masked.apply(values, self.p)


class _Masked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, p: float) -> Tensor:
        kept = torch.empty_like(values, dtype=torch.int8)  # dense, in the same order in memory
        kept.as_strided((kept.numel(),), (1,)).copy_(_kept(kept.numel(), p))
        ctx.save_for_backward(kept)
        ctx.scale = 1 / (1 - p)
        return _masked(values, kept, ctx.scale)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return _masked(gradient, kept, ctx.scale), None


def drawn(n: int, p: float) -> tuple[np.ndarray, int]:
    """Random words, and from which on a word keeps its element.

    Args:
        n: How many.
        p: Share that is dropped, above 0 and below 1.

    Returns:
        uint8 (n), or uint16 where `p` is no multiple of 1/256; seeded by PyTorch's generator.
    """
    size = 1 if (p * 256).is_integer() else 2
    generator = np.random.Generator(np.random.SFC64(int(torch.randint(2**63 - 1, ()))))
    words = generator.integers(0, 2**64 - 1, -(-n * size // 8), np.uint64, endpoint=True)
    return words.view(np.uint8 if size == 1 else np.uint16)[:n], round(p * 256**size)


def _kept(n: int, p: float) -> Tensor:
    """int8 (n): all bits of what stays, none of what goes."""
    words, least = drawn(n, p)
    return torch.from_numpy((words >= least).view(np.int8)).neg_()


def _masked(values: Tensor, kept: Tensor, scale: float) -> Tensor:
    scaled = values * scale
    whole = _WHOLE[values.element_size()]
    scaled.view(whole).bitwise_and_(kept.to(whole))
    return scaled

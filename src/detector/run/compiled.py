"""The network compiled by PyTorch, for training steps alone."""

import importlib.util
import logging
import os
import shutil
import sys

import torch
from torch import Tensor, nn

from detector.errors import UserError

log = logging.getLogger(__name__)

BACKEND = "inductor"


class Compiled:
    """A network, compiled for full batches.

    It is not compiled in place: validation, heatmaps with their hooks, averages of weights and
    checkpoints have the network as it was, whose weights this one shares.

    A smaller batch, such as the last of an epoch, goes through the network as it is. Compiling
    for it too would take a minute, or give code for any size, which is slower for all of them;
    padding it would change batch norms.

    Args:
        network: In training mode when this is called.
        batch_size: Images of a full batch.
        needed: Whether a network that cannot be compiled is an error; else it trains as it is.
    """

    def __init__(self, network: nn.Module, batch_size: int, *, needed: bool = True) -> None:
        self.network, self.batch_size, self.needed = network, batch_size, needed
        torch._dynamo.reset()  # trainings before this one in the process have used up its caches
        self.compiled = torch.compile(network, dynamic=False, backend=BACKEND)
        self.began = False

    def __call__(self, images: Tensor) -> Tensor:
        if self.compiled is None or len(images) != self.batch_size:
            return self.network(images)
        if not self.began:
            log.info("compiling the network for batches of %d images, in this step", len(images))
        try:
            answer = self.compiled(images)
        except RuntimeError as error:
            if self.needed or self.began or not failed_to_compile(error):
                raise
            log.warning("%s: it trains as it is", in_one_line(error))
            self.compiled = None
            return self.network(images)
        self.began = True
        return answer


def choose_compiled(
    setting: bool | str, network: nn.Module, accelerator: str, batch_size: int
) -> Compiled | None:
    """What `trainer.compile` asks for; None for the network as it is.

    Args:
        setting: True, False, or `auto`: on a GPU, where it saves trips to memory.
        network: To be trained; it stays as it is.
        accelerator: `cpu`, `mps` or `gpu`, as Lightning names them.
        batch_size: Images of a full batch of this process.

    Raises:
        UserError: True is given, and this machine cannot.
    """
    if setting is False or (setting == "auto" and accelerator != "gpu"):
        return None
    lacks = _lacking(accelerator)
    if lacks and setting is True:
        raise UserError(f"trainer.compile=true: {lacks}; trainer.compile=false")
    if lacks:
        log.info("network not compiled: %s", lacks)
    return None if lacks else Compiled(network, batch_size, needed=setting is True)


def _lacking(accelerator: str) -> str | None:
    """What this machine lacks to compile; None for nothing."""
    if accelerator == "mps":
        return "PyTorch's compiler for MPS is unfinished"
    kind, variable = ("C", "CC") if accelerator == "gpu" else ("C++", "CXX")
    names = {"C": ("cc", "gcc", "clang"), "C++": ("c++", "g++", "clang++")}[kind]
    if accelerator == "gpu" and importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if accelerator == "gpu" and torch.cuda.get_device_capability() < (7, 0):
        return "this GPU is older than triton knows"
    if not any(map(shutil.which, [os.environ.get(variable) or names[0], *names[1:]])):
        return f"no {kind} compiler is found"
    return None


def failed_to_compile(error: Exception) -> bool:
    """Whether this comes from compiling, not from what was compiled."""
    module = sys.modules.get("torch._dynamo.exc")  # not there where nothing was compiled
    return module is not None and isinstance(error, module.TorchDynamoException)


def in_one_line(error: Exception) -> str:
    """That compiling failed, and why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Who raised it comes first; more than the next line is for who writes compilers.
    why = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1]) or type(error).__name__
    return f"the network could not be compiled ({why})"

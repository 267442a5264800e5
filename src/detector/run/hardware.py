"""Which device and which precision, each with the reason for it."""

from dataclasses import dataclass

import torch

from detector.errors import UserError

ACCELERATORS = ("auto", "cpu", "mps", "gpu")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Hardware:
    """A choice of device and precision.

    Args:
        accelerator: `cpu`, `mps` or `gpu`, as Lightning names them.
        precision: As Lightning names it.
        channels_last: Memory format that the device's convolutions prefer.
        why: The reasons, one sentence each.
    """

    accelerator: str
    precision: str
    channels_last: bool
    why: tuple[str, ...]


def _processor_has_bf16() -> bool:
    # Where it was measured. Arm has bfloat16 too, but nobody has shown that it pays there.
    return any(
        torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16")
    )


def choose_hardware(accelerator: str, precision: str) -> Hardware:
    """Resolve `auto`, and refuse what this machine does not have.

    Args:
        accelerator: `auto`, `cpu`, `mps` or `gpu`.
        precision: `auto`, `32-true`, `bf16-mixed` or `16-mixed`.

    Raises:
        UserError: A name is unknown, or the device is not there.
    """
    if accelerator not in ACCELERATORS:
        raise UserError(
            f"trainer.accelerator={accelerator}: choose one of {', '.join(ACCELERATORS)}"
        )
    if precision not in PRECISIONS:
        raise UserError(f"trainer.precision={precision}: choose one of {', '.join(PRECISIONS)}")
    there = {
        "gpu": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    why = []
    if accelerator == "auto":
        accelerator = next(name for name, available in there.items() if available)
        why.append(f"{accelerator}: the first of gpu, mps, cpu that PyTorch finds on this machine")
    elif not there[accelerator]:
        raise UserError(f"trainer={accelerator}: PyTorch finds no such device; use trainer=default")
    else:
        why.append(f"{accelerator}: as configured")
    if precision != "auto":
        why.append(f"{precision}: as configured")
    elif accelerator == "gpu" and torch.cuda.is_bf16_supported():
        precision = "bf16-mixed"
        why.append("bf16-mixed: the GPU computes in bfloat16, with float32's range")
    elif accelerator == "cpu" and _processor_has_bf16():
        precision = "bf16-mixed"
        why.append("bf16-mixed: the processor has bfloat16 instructions, twice the speed")
    else:
        precision = "32-true"
        why.append(f"32-true: no bfloat16 arithmetic worth using on this {accelerator}")
    channels_last = accelerator != "mps"
    why.append(
        "channels_last: the convolutions of this device prefer it"
        if channels_last
        else "contiguous: MPS gains nothing from channels_last"
    )
    return Hardware(accelerator, precision, channels_last, tuple(why))


def choose_device(wanted: str, option: str) -> str:
    """A device as PyTorch names it, for what computes without Lightning.

    Args:
        wanted: `auto`, `cpu`, `cuda` or `mps`.
        option: Name of the setting, for the error.

    Raises:
        UserError: The device is not there.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return next(name for name, available in there.items() if available)
    if not there.get(wanted, False):
        raise UserError(f"{option}={wanted}: PyTorch finds no such device here; leave it at auto")
    return wanted

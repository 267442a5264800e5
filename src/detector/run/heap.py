"""Memory that networks free and ask for again, kept by the C library."""

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
PAD = 64 << 20  # bytes more than is needed: with less, blocks that fit nowhere else are left behind
OWN = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


def keep_freed_memory(device: str) -> bool:
    """Keeps what is freed in this process, from now on, instead of giving it to the system.

    A step frees hundreds of megabytes and asks for them again. glibc takes blocks of 32 MB and
    more from the system each time (mallopt(3), M_MMAP_THRESHOLD), which clears every page of them
    at its first touch: half of the time of a forward pass of `cnn6` in a virtual machine, see
    `benchmarks/README.md`. The process holds on to its largest size so far.

    Args:
        device: As Lightning or PyTorch names it; only `cpu` is concerned.

    Returns:
        Whether anything was set: not for other devices and C libraries, nor where the environment
        says how memory is to be handled.
    """
    if device != "cpu" or platform.libc_ver()[0] != "glibc" or any(os.getenv(n) for n in OWN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: PAD}
    done = [mallopt(name, value) for name, value in settings.items()]
    return all(done)

"""Memory that networks free and ask for again, kept by the C library."""

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4  # of glibc's malloc.h
PAD = 64 << 20  # bytes more than is needed: with less, blocks that fit nowhere else are left behind
# Bytes of a block that is given back. Above detector.models.convolved.PART: it comes at once again.
LARGE = 13 << 20
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25  # of Linux's mman.h
PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"
HUGE = 2 << 20  # bytes of a huge page, as on x86; larger ones elsewhere are aligned too
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
    return _set(device, {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: PAD})


def give_back_freed_memory(device: str) -> bool:
    """Gives large blocks to the system when they are freed: less memory, and slower.

    What is freed then fits what is asked for next, of whatever size; `keep_freed_memory` leaves
    holes. See `before_torch`.

    Args:
        device: As for `keep_freed_memory`.

    Returns:
        As `keep_freed_memory`.
    """
    return _set(device, {M_MMAP_THRESHOLD: LARGE, M_TRIM_THRESHOLD: -1, M_TOP_PAD: PAD})


def handle_freed_memory(device: str, *, keep: bool) -> bool:
    """`keep_freed_memory` or `give_back_freed_memory`, as `trainer.keep_memory` says."""
    return keep_freed_memory(device) if keep else give_back_freed_memory(device)


def before_torch(keep_memory: bool) -> None:
    """What PyTorch and its OpenMP read from the environment, at their start.

    Threads of GNU's OpenMP that have nothing to do keep a core busy for milliseconds, in case more
    comes (GOMP_SPINCOUNT, 300,000 rounds). The loops of `detector.models.fused` have threads of
    their own, which want that core: with a thirtieth a step of `cnn6`, 128 px, takes three
    quarters.

    Blocks that are given back come again with pages of 2 MB, which are cleared faster.

    Args:
        keep_memory: `trainer.keep_memory`, as set; what is no truth value is refused later.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if keep_memory is False:
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def _set(device: str, settings: dict[int, int]) -> bool:
    if device != "cpu" or platform.libc_ver()[0] != "glibc" or any(os.getenv(n) for n in OWN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    done = [mallopt(name, value) for name, value in settings.items()]
    return all(done)


def ask_for_huge_pages() -> int:
    """Asks Linux to back the heap, as large as it is now, by pages of 2 MB (madvise(2)).

    A network's memory is walked through from end to end, where each page of 4 kB costs a look into
    the page table: with large ones a step of `cnn6` takes a twentieth less, see
    `benchmarks/NOTES.md`. Linux 6.1 and later copies what is there at once, a gigabyte a second;
    before, it does so by and by. What the heap grows by later has large pages where they fit.

    Returns:
        Bytes that were asked for; 0 on other systems, and where the environment or the system's
        settings say how memory is to be handled.
    """
    if platform.system() != "Linux" or any(os.getenv(name) for name in OWN):
        return 0
    try:
        with open(PAGES) as settings:
            if "[never]" in settings.read():
                return 0
        with open("/proc/self/maps") as maps:
            places = [line.split()[0] for line in maps if line.rstrip().endswith("[heap]")]
        madvise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return 0
    asked = 0
    for place in places:
        start, end = (int(one, 16) for one in place.split("-"))
        start, end = -(-start // HUGE) * HUGE, end // HUGE * HUGE
        if end > start:
            where = ctypes.c_void_p(start), ctypes.c_size_t(end - start)
            asked += end - start if madvise(*where, MADV_HUGEPAGE) == 0 else 0
            # Fails where a single page cannot be had, and on older systems: no harm is done.
            madvise(*where, MADV_COLLAPSE)
    return asked

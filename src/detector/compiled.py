"""Numba, where it is installed: loops that PyTorch and OpenCV have no single call for."""

import importlib.util
from collections.abc import Callable
from functools import cache


@cache
def available() -> bool:
    """Whether Numba can be imported; everything works without it, slower."""
    if importlib.util.find_spec("numba") is None:
        return False
    try:
        import numba  # noqa: F401
    except ImportError:  # as an older one says of a newer NumPy
        return False
    return True


def compiled(function: Callable) -> Callable:
    """A loop that is compiled at its first call and holds no lock, so that threads share work.

    Kept on disk, beside its source or where Numba keeps its files (NUMBA_CACHE_DIR); where neither
    can be written, it is compiled in each process.

    Args:
        function: What Numba's nopython mode can compile.
    """
    from numba import njit

    options = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for it
        return njit(**options)(function)

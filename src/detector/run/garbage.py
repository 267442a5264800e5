"""Python's search for cycles of garbage, kept off what imports have left behind."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_new() -> Iterator[None]:
    """Within it, garbage is looked for among what was made since, and among no module.

    The libraries of a training are half a million objects that stay until its end. Every hundred
    steps or so all of them are walked through while the cores wait, a quarter of a second each
    time: a hundredth of a training, see `benchmarks/NOTES.md`.
    """
    if gc.get_freeze_count() == 0:  # else by somebody else, who will thaw them
        gc.freeze()
        try:
            yield
        finally:
            gc.unfreeze()
    else:
        yield

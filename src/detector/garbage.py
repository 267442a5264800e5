"""Python's search for garbage, kept off what imports leave behind; `gc` of the standard library."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG = 10_000  # objects made, after which Python looks among them
USUAL = 700  # Python's own number; 2000 in later versions


@contextmanager
def seldom() -> Iterator[None]:
    """Within it, garbage is looked for less often: a whole command, for the sake of its imports.

    The libraries of a training are half a million objects, among which Python would look more than
    a thousand times while they are imported: a fifth of that time.
    """
    before = gc.get_threshold()
    gc.set_threshold(max(YOUNG, before[0]) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def only_new() -> Iterator[None]:
    """Within it, garbage is looked for among what was made since it began.

    What imports have left behind is none, and walking through it every hundred steps of a training
    or so made the cores wait for a quarter of a second (benchmarks/NOTES.md).
    """
    # As often as Python does, `seldom` or not: cycles may hold a step's tensors, or a picture.
    before = gc.get_threshold()
    if before[0] == YOUNG:
        gc.set_threshold(USUAL, *before[1:])
    try:
        with _frozen():
            yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def _frozen() -> Iterator[None]:
    if gc.get_freeze_count():  # somebody else has done so, and will end it
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()

"""Threads that read ahead, but not far."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

AHEAD = 64  # items: several for each thread of any machine, and little memory

Item, Seen = TypeVar("Item"), TypeVar("Seen")


def in_order(
    pool: ThreadPoolExecutor, look: Callable[[Item], Seen], items: Iterable[Item]
) -> Iterator[Seen]:
    """As `pool.map`, which would take all items at once, however slowly they are taken back.

    Args:
        pool: Its threads do the work.
        look: What is done with each.
        items: Read as they are needed, some 64 ahead.

    Yields:
        What `look` returns, in the order of the items.
    """
    waiting = deque()
    for item in items:
        waiting.append(pool.submit(look, item))
        if len(waiting) >= AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()

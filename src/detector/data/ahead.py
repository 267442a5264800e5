"""Threads that read ahead, but not far."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

AHEAD = 64  # items: several for each thread of any machine, and little memory
HEAVY = 256 << 20  # bytes of items that wait, beyond which fewer do

Item, Seen = TypeVar("Item"), TypeVar("Seen")


def in_order(
    pool: ThreadPoolExecutor,
    look: Callable[[Item], Seen],
    items: Iterable[Item],
    weigh: Callable[[Item], int] = lambda item: 0,
) -> Iterator[Seen]:
    """As `pool.map`, which would take all items at once, however slowly they are taken back.

    Args:
        pool: Its threads do the work.
        look: What is done with each.
        items: Read as they are needed, some 64 ahead, in the thread that takes the results.
        weigh: Bytes that an item holds while it waits: of large ones fewer are read ahead.

    Yields:
        What `look` returns, in the order of the items.
    """
    waiting, held = deque(), 0
    for item in items:
        waiting.append((pool.submit(look, item), weigh(item)))
        held += waiting[-1][1]
        while waiting and (len(waiting) >= AHEAD or held > HEAVY):
            seen, weight = waiting.popleft()
            held -= weight
            yield seen.result()
    while waiting:
        yield waiting.popleft()[0].result()

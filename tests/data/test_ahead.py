"""Reading ahead, but not far."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from detector.data.ahead import AHEAD, HEAVY, in_order


@pytest.mark.parametrize("threads", [1, 4])
def test_in_order_and_never_far_ahead(threads):
    started, lock = [], threading.Lock()

    def look(item):
        with lock:
            started.append(item)
        return item * item

    with ThreadPoolExecutor(threads) as pool:
        for taken, seen in enumerate(in_order(pool, look, iter(range(500)))):
            assert seen == taken**2
            assert max(started) <= taken + AHEAD
    assert sorted(started) == list(range(500))


def test_of_heavy_items_few_wait():
    started, weights = [], [HEAVY // 3, 0, HEAVY // 3, 1, 2 * HEAVY, 0, 0, HEAVY, 1, 5] * 5
    with ThreadPoolExecutor(2) as pool:

        def items():
            for at in range(len(weights)):
                started.append(at)
                yield at

        for taken, seen in enumerate(in_order(pool, int, items(), weights.__getitem__)):
            assert seen == taken
            before = range(taken + 1, started[-1])  # the newest comes on top of them
            assert sum(weights[at] for at in before) <= HEAVY
    assert taken == len(weights) - 1


def test_an_error_comes_where_its_item_stands():
    def look(item):
        return 1 / (item - 3)

    with ThreadPoolExecutor(2) as pool:
        found = in_order(pool, look, range(9))
        assert [next(found) for _ in range(3)] == [-1 / 3, -1 / 2, -1]
        with pytest.raises(ZeroDivisionError):
            next(found)


def test_nothing_to_do():
    with ThreadPoolExecutor(1) as pool:
        assert list(in_order(pool, str, [])) == []

"""Uploads are held for a while, once, within a budget."""

import time

import pytest

from detector.page.uploads import Budget, Full, Uploads


def test_an_upload_is_taken_once_and_gives_its_bytes_back():
    budget = Budget(100)
    uploads = Uploads(budget, seconds=60, most=5)
    token = uploads.put("a.jpg", b"x" * 60)
    assert budget.held == 60
    with pytest.raises(Full):
        uploads.put("b.jpg", b"x" * 60)
    taken = uploads.take(token)
    assert taken.data == b"x" * 60
    assert uploads.take(token) is None and uploads.take("guess") is None
    assert budget.held == 60  # as long as somebody looks at it
    uploads.release(taken)
    assert budget.held == 0


def test_what_nobody_asks_for_is_forgotten():
    budget = Budget(100)
    uploads = Uploads(budget, seconds=0.01, most=5)
    token = uploads.put("a.jpg", b"x")
    time.sleep(0.02)
    assert uploads.take(token) is None and len(uploads) == 0 and budget.held == 0


def test_it_is_forgotten_where_nobody_comes_by_again():
    budget = Budget(100)
    uploads = Uploads(budget, seconds=0.05, most=5)
    for name in ("a.jpg", "b.jpg"):
        uploads.put(name, b"x")
        time.sleep(0.02)
    end = time.monotonic() + 10
    while len(uploads) and time.monotonic() < end:
        time.sleep(0.01)
    assert len(uploads) == 0 and budget.held == 0


def test_one_address_leaves_room_for_others():
    budget = Budget(100, each=50)
    uploads = Uploads(budget, seconds=60, most=4, each=2)
    mine = uploads.put("a.jpg", b"x" * 30, client="a")
    with pytest.raises(Full):  # too many bytes of one
        uploads.put("b.jpg", b"x" * 30, client="a")
    uploads.put("b.jpg", b"", client="a")
    with pytest.raises(Full):  # too many files of one
        uploads.put("c.jpg", b"", client="a")
    assert uploads.put("d.jpg", b"x" * 50, client="b")
    uploads.drop(mine)
    assert uploads.put("c.jpg", b"x" * 50, client="a") and budget.held == 100


def test_the_number_is_bounded():
    uploads = Uploads(Budget(100), seconds=60, most=2)
    tokens = {uploads.put("a.jpg", b"") for _ in range(2)}
    assert len(tokens) == 2
    with pytest.raises(Full):
        uploads.put("a.jpg", b"")

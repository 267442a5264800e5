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
    assert uploads.take(token).data == b"x" * 60
    assert uploads.take(token) is None and uploads.take("guess") is None
    assert budget.held == 0


def test_what_nobody_asks_for_is_forgotten():
    budget = Budget(100)
    uploads = Uploads(budget, seconds=0.01, most=5)
    token = uploads.put("a.jpg", b"x")
    time.sleep(0.02)
    assert uploads.take(token) is None and len(uploads) == 0 and budget.held == 0


def test_the_number_is_bounded():
    uploads = Uploads(Budget(100), seconds=60, most=2)
    tokens = {uploads.put("a.jpg", b"") for _ in range(2)}
    assert len(tokens) == 2
    with pytest.raises(Full):
        uploads.put("a.jpg", b"")

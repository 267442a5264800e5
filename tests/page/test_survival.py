"""Changes follow each face, with a predictor that answers what the boxes say."""

from dataclasses import replace

import numpy as np
import pytest

from detector.page.survival import changes, follow, overlap, survival
from detector.predictor import Prediction


def answered(box, verdict="fake", p=0.9, face=1):
    return Prediction(p_fake=p, verdict=verdict, box=box, face=face)


def test_each_change_does_what_it_says():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (200, 300, 3), dtype=np.uint8)
    pressed, half, cut = changes(image)
    assert pressed.image.shape == image.shape and (pressed.image != image).any()
    assert half.image.shape == (100, 150, 3)
    assert (cut.image == image[20:180, 30:270]).all()
    assert half.moved((10, 20, 30, 40)) == (5, 10, 15, 20)
    assert cut.moved((40, 30, 50, 60)) == (10, 10, 50, 60)
    assert len(changes(image[:100, :100])) == 2  # no half of a small one


@pytest.mark.parametrize(
    "a, b, expected",
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1),
        ((0, 0, 10, 10), (5, 0, 10, 10), 1 / 3),
        ((0, 0, 10, 10), (20, 20, 5, 5), 0),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0),
    ],
)
def test_overlap_is_intersection_over_union(a, b, expected):
    assert overlap(a, b) == pytest.approx(expected)


class Swapping:
    """Finds the same two faces in every picture, in another order each time, and loses one."""

    def __init__(self, before):
        self.before, self.asked = before, 0

    def predict(self, image):
        self.asked += 1
        change = changes(np.zeros((200, 300, 3), np.uint8))[self.asked - 1]
        moved = [replace(one, box=change.moved(one.box)) for one in self.before][::-1]
        if self.asked == 2:
            moved = moved[:1]
        flipped = [replace(one, verdict="real", p_fake=0.1) for one in moved if one.face == 2]
        kept = [one for one in moved if one.face == 1] + flipped
        return replace(kept[0], faces=tuple(kept)) if len(kept) > 1 else kept[0]


def test_each_change_follows_its_own_face():
    before = (answered((40, 40, 60, 60), face=1), answered((180, 60, 50, 50), face=2))
    first, second = survival(Swapping(before), np.zeros((200, 300, 3), np.uint8), before)
    assert [one.verdict for one in first] == ["fake", "", "fake"]
    assert [one.same for one in first] == [True, False, True]
    assert [one.verdict for one in second] == ["real"] * 3
    assert not any(one.same for one in second)


def test_the_whole_picture_is_followed_as_such():
    whole = answered(None, face=0)
    change = changes(np.zeros((80, 80, 3), np.uint8))[0]
    assert follow(change, whole, (whole,)) is whole
    assert follow(change, whole, (answered((0, 0, 9, 9)),)) is None

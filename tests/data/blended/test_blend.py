"""Blends against closed forms and brute force: what is touched, how much, from which seed."""

import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest

from detector.data.blended import blend as module
from detector.data.blended.blend import self_blend, target_of
from detector.data.blended.masks import RATIOS
from detector.data.blended.retouch import MOVE, ZOOM, moved, retouched
from detector.errors import UserError
from tests.data.blended.faces import landmarks, pixels

SEEDS = range(24)


def blended(seed, kind="mixed", image=None):
    image = pixels() if image is None else image
    return self_blend(image, landmarks(), np.random.default_rng(seed), kind)


@pytest.mark.parametrize("kind", ["face", "parts"])
def test_outside_the_mask_nothing_changes_and_inside_something_does(kind):
    for seed in SEEDS:
        found = blended(seed, kind)
        assert found.image.shape == found.target.shape == (96, 96, 3) and found.kind == kind
        assert found.image.dtype == np.uint8 and found.mask.dtype == np.float32
        outside = found.mask == 0
        assert 0.1 < outside.mean() < 1
        assert np.array_equal(found.image[outside], found.target[outside])
        core = found.mask >= found.ratio * 0.9
        assert (found.image != found.target)[core].any(-1).mean() > 0.25, seed


def test_the_mask_is_the_share_of_the_copy_in_each_pixel():
    # One colour stays one colour, whatever is done to a copy: the two mix as the mask says.
    image = np.full((96, 96, 3), (90, 120, 150), np.uint8)
    for seed in SEEDS:
        found = blended(seed, image=image)
        target = found.target[0, 0].astype(float)
        assert (found.target == found.target[0, 0]).all()
        peak = np.unravel_index(found.mask.argmax(), found.mask.shape)
        copy = target + (found.image[peak] - target) / found.ratio
        expected = target + found.mask[..., None] * (copy - target)
        assert np.abs(found.image - expected).max() <= 0.5 + 0.5 / found.ratio + 1e-3


def test_either_of_the_two_is_changed_and_the_real_one_of_a_pair_is_what_was_blended_onto():
    changed = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        target = target_of(pixels(), rng)
        if seed < 20:
            assert np.array_equal(target, blended(seed).target)
        changed += not np.array_equal(target, pixels())
    assert 70 < changed < 130


def test_what_is_given_stays_as_it_is():
    image = pixels()
    before = image.copy()
    image.flags.writeable = False
    for seed in SEEDS:
        found = blended(seed, image=image)
        assert not np.shares_memory(found.image, image)
    assert np.array_equal(image, before)


SCRIPT = """
import sys, cv2
cv2.setNumThreads(int(sys.argv[1]))
from tests.data.blended.test_blend import digest
print(digest())
"""


def digest() -> str:
    together = sha256()
    for seed in range(12):
        found = blended(seed)
        for part in (found.image, found.target, found.mask):
            together.update(np.ascontiguousarray(part).tobytes())
    return together.hexdigest()


def test_the_same_seed_gives_the_same_bytes_in_each_process_and_with_any_threads():
    others = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT, threads], capture_output=True, text=True, check=True
        ).stdout.strip()
        for threads in ("0", "3")
    }
    assert others == {digest()}
    assert not np.array_equal(blended(1).image, blended(2).image)


def test_ratios_are_those_of_the_paper():
    ratios = [blended(seed).ratio for seed in range(120)]
    assert set(ratios) == set(map(float, RATIOS))
    assert 0.3 < np.mean(np.array(ratios) == 1) < 0.7
    for seed in SEEDS:
        found = blended(seed)
        assert found.mask.max() == pytest.approx(found.ratio) and found.mask.min() == 0


def test_a_copy_moves_and_grows_no_further_than_said():
    # A bright dot at the right edge of what is scaled, and the centre, which only shifts.
    about, shifts, growth = np.array([48.0, 48.0]), [], []
    for seed in range(150):
        image = np.zeros((96, 96, 3), np.uint8)
        image[46:51, 46:51] = image[46:51, 86:91] = 255
        out = moved(image, about, np.random.default_rng(seed))[..., 0].astype(float)
        columns, rows = np.arange(96), np.arange(96)
        left, right = out * (columns < 68), out * (columns >= 68)
        at = [(part * columns).sum() / part.sum() for part in (left, right)]
        shifts.append((at[0] - 48, (left.sum(1) * rows).sum() / left.sum() - 48))
        growth.append((at[1] - at[0]) / 40)
    limit = MOVE * 96
    assert np.abs(shifts).max() <= limit + 0.1 and np.abs(shifts).max() > 0.8 * limit
    assert 1 - ZOOM - 0.01 < min(growth) < 1 - 0.8 * ZOOM
    assert 1 + 0.8 * ZOOM < max(growth) < 1 + ZOOM + 0.01


def test_a_copy_differs_in_sharpness_and_often_in_colour():
    image, sharper, coloured = pixels(), [], 0
    edges = np.abs(np.diff(image.astype(int), axis=1)).mean()
    for seed in range(60):
        out = retouched(image, np.random.default_rng(seed))
        assert out.shape == image.shape and out.dtype == np.uint8
        sharper.append(np.abs(np.diff(out.astype(int), axis=1)).mean() > edges)
        coloured += np.abs(out.mean((0, 1)) - image.mean((0, 1))).max() > 2
    assert 15 < sum(sharper) < 45 and 30 < coloured < 60


def test_landmarks_that_span_no_face():
    with pytest.raises(UserError, match="on a line"):
        self_blend(pixels(), np.arange(10).reshape(5, 2), np.random.default_rng(0))


def test_without_a_mask_nothing_is_blended(monkeypatch):
    empty = module.draw_mask(landmarks(), 96, "face", np.random.default_rng(0))
    empty.alpha[:] = 0
    monkeypatch.setattr(module, "draw_mask", lambda *_: empty)
    found = blended(0)
    assert np.array_equal(found.image, found.target)

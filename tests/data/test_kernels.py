"""The one loop of flip, crop and jitter, beside the same in float64 and step by step."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from detector.data import transforms
from detector.data.blends import blends
from detector.data.kernels import change
from detector.data.transforms import Augment

SIZE = 24
LIGHT = [
    {"step": "flip", "p": 0.5}, {"step": "crop", "scale": 0.5},
    {"step": "jitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4},
]  # fmt: skip


def picture(seed: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def exact(given_: np.ndarray, mirrored: bool, box: tuple, steps: list, size: int) -> np.ndarray:
    """Before the last rounding, float64."""
    top, left, height, width = box
    values = given_[:, ::-1] if mirrored else given_
    cut = torch.from_numpy(values[top : top + height, left : left + width].astype(np.float64))
    large = functional.interpolate(
        cut.permute(2, 0, 1)[None], (size, size), mode="bilinear", align_corners=False
    )[0].permute(1, 2, 0).numpy()  # fmt: skip
    if not steps:
        return large
    whole = np.floor(large + 0.5)
    map_ = blends(steps, whole.mean((0, 1)))
    return np.clip(whole @ map_[:, :3].T + map_[:, 3], 0, 255)


boxes = st.integers(1, SIZE).flatmap(lambda h: st.integers(1, SIZE).flatmap(
    lambda w: st.tuples(st.integers(0, SIZE - h), st.integers(0, SIZE - w), st.just(h),
                        st.just(w))))  # fmt: skip
jitters = st.lists(st.tuples(st.integers(0, 2), st.floats(0.5, 1.5)), max_size=3)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 999), mirrored=st.booleans(), box=boxes, steps=jitters)
def test_it_is_linear_between_pixels_and_then_one_matrix(seed, mirrored, box, steps):
    given_, out = picture(seed), np.zeros((SIZE, SIZE, 3), np.uint8)
    kinds = np.array([kind for kind, _ in steps], np.int64)
    change(given_, mirrored, *box, kinds, np.array([f for _, f in steps], np.float64), out)
    away = np.abs(out - exact(given_, mirrored, box, steps, SIZE))
    # Weights have 11 bits, so a value near a half may be rounded the other way, and then jittered.
    slope = max(1.0, np.prod([max(f, 1.0) for _, f in steps])) if steps else 0.0
    assert away.max() <= 0.6 + 1.5 * slope
    assert away.mean() < 0.35


def test_the_whole_picture_stays_as_it_is():
    given_, out = picture(0), np.zeros((SIZE, SIZE, 3), np.uint8)
    nothing = np.zeros(0, np.int64), np.zeros(0)
    change(given_, False, 0, 0, SIZE, SIZE, *nothing, out)
    assert np.array_equal(out, given_)
    change(given_, True, 0, 0, SIZE, SIZE, *nothing, out)
    assert np.array_equal(out, given_[:, ::-1])


@pytest.mark.parametrize("steps", [LIGHT, LIGHT[:1], LIGHT[1:], LIGHT[::2], LIGHT[1:2]])
def test_a_chain_gives_what_its_steps_give_one_by_one(steps, monkeypatch):
    together = Augment(steps, SIZE, 3)
    assert together.in_a_loop
    monkeypatch.setattr(transforms, "available", lambda: False)
    apart = Augment(steps, SIZE, 3)
    assert not apart.in_a_loop
    smooth = functional.interpolate(
        torch.from_numpy(picture(1, 6)).permute(2, 0, 1)[None].float(), (SIZE, SIZE)
    )[0].byte()  # fmt: skip
    bias = []
    for row in range(40):
        (one, mirrored), (other, too) = (a.drawn(smooth, 2, row) for a in (together, apart))
        assert mirrored == too
        assert one.shape == other.shape and one.dtype == other.dtype
        away = one.float() - other.float()
        assert away.abs().max() <= 3
        bias.append(float(away.mean()))
    assert abs(np.mean(bias)) < 0.1


@pytest.mark.parametrize("steps", [
    LIGHT[::-1], [LIGHT[0], LIGHT[0]], [*LIGHT, {"step": "noise", "p": 1, "sigma": 0.1}], [],
])  # fmt: skip
def test_other_chains_go_step_by_step(steps):
    assert not Augment(steps, SIZE, 0).in_a_loop

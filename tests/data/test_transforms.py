"""Augmentation: the same for the same seed, epoch and row, and of the stated kind."""

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from detector import cli
from detector.data.transforms import Augment
from detector.errors import UserError

NAMES = sorted(file.stem for file in (cli.conf_dir() / "augment").glob("*.yaml"))


def image(seed: int = 0, size: int = 40) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (3, size, size), dtype=np.uint8))


def steps(name: str) -> list:
    return yaml.safe_load((cli.conf_dir() / "augment" / f"{name}.yaml").read_text())["steps"]


@pytest.mark.parametrize("name", NAMES)
def test_each_set_keeps_shape_and_type_and_repeats(name):
    augment = Augment(steps(name), 40, seed=3)
    for row in range(20):
        first = augment(image(row), 2, row)
        assert first.dtype == torch.uint8 and first.shape == (3, 40, 40)
        assert torch.equal(first, Augment(steps(name), 40, seed=3)(image(row), 2, row))


def test_none_changes_nothing():
    assert torch.equal(Augment(steps("none"), 40, 0)(image(), 5, 6), image())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_epochs_rows_and_seeds_differ(name):
    def drawn(seed, epoch, row):
        return Augment(steps(name), 40, seed)(image(), epoch, row)

    base = torch.stack([drawn(0, 0, row) for row in range(8)])
    for other in ((1, 0), (0, 1)):
        assert not torch.equal(base, torch.stack([drawn(*other, row) for row in range(8)]))
    assert len({bytes(one.numpy()) for one in base}) > 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_the_global_random_numbers_are_left_alone(epoch, row):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Augment(steps("robust"), 40, 0)(image(), epoch, row)
    assert torch.equal(torch.rand(3), expected)


def test_affine_without_room_to_move_is_the_identity():
    still = [{"step": "affine", "rotate": 0, "shift": 0, "shear": 0, "zoom": 0}]
    assert torch.equal(Augment(still, 40, 0)(image(), 0, 0), image())


def test_affine_shifts_by_at_most_its_share_and_repeats_the_edge():
    ramp = torch.arange(40, dtype=torch.uint8).repeat(3, 40, 1)
    shift = Augment([{"step": "affine", "rotate": 0, "shift": 0.2, "shear": 0, "zoom": 0}], 40, 0)
    moves = []
    for row in range(200):
        moved = shift(ramp, 0, row)
        assert moved.min() >= 0 and moved.max() <= 39  # nothing but what was there
        moves.append(20 - float(moved[0, 20, 20]))
    assert -8.5 <= min(moves) < -6 and 6 < max(moves) <= 8.5


def test_affine_turns_by_at_most_its_angle():
    spot = torch.zeros(3, 41, 41, dtype=torch.uint8)
    spot[:, 19:22, 34:37] = 255  # to the right of the centre
    turn = Augment([{"step": "affine", "rotate": 40, "shift": 0, "shear": 0, "zoom": 0}], 41, 0)
    angles = []
    for row in range(100):
        y, x = torch.nonzero(turn(spot, 0, row)[0] > 100).float().mean(0) - 20
        angles.append(float(torch.rad2deg(torch.atan2(y, x))))
    assert max(map(abs, angles)) < 42 and min(angles) < -30 and max(angles) > 30


def test_flip_mirrors_about_half():
    flip = Augment([{"step": "flip", "p": 0.5}], 40, 0)
    kinds = [torch.equal(flip(image(), 0, row), image().flip(-1)) for row in range(300)]
    assert 0.4 < np.mean(kinds) < 0.6


@pytest.mark.parametrize(
    "step",
    [
        {"step": "melt"},
        {"p": 0.5},
        {"step": "flip", "q": 1},
        {"step": "flip", "p": 2},
        {"step": "affine", "rotate": 400, "shift": 0, "shear": 0, "zoom": 0},
        {"step": "jpeg", "p": 0.5, "low": 90, "high": 10},
    ],
)
def test_bad_steps_are_named(step):
    with pytest.raises(UserError, match=r"augment\.steps"):
        Augment([step], 40, 0)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    lines=st.booleans(),
    strengths=st.tuples(*[st.floats(0, 0.9)] * 3),
)
def test_jitter_is_its_steps_one_after_the_other_rounded_once(seed, lines, strengths):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, 31, 47), dtype=torch.uint8, generator=generator)
    if lines:  # the planes interleaved, as decoded pictures have them
        image = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    names = ("brightness", "contrast", "saturation")
    jitter = Augment([{"step": "jitter", **dict(zip(names, strengths, strict=True))}], 32, 0)
    before, made = image.clone(), jitter.transforms[0]
    torch.manual_seed(seed)
    changed = made(image)
    torch.manual_seed(seed)
    params = made.make_params([image])
    expected = image.double()
    for step in params["fn_idx"].tolist():
        if step == 3 or params[f"{names[step]}_factor"] is None:
            continue
        factor = params[f"{names[step]}_factor"]
        grey = 0.2989 * expected[0] + 0.587 * expected[1] + 0.114 * expected[2]
        other = (torch.zeros(()), grey.mean(), grey)[step]
        expected = factor * expected + (1 - factor) * other
    # Half a level of rounding, and what ten bits behind the point leave of three factors.
    assert (changed.double() - expected.clamp(0, 255)).abs().max() < 0.5 + 3 * 255 / 2048 + 1e-6
    assert torch.equal(image, before)


def test_jitter_is_torchvisions_but_for_what_that_cuts_off():
    # Where nothing reaches black or white, each of three steps there takes up to one level.
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(80, 170, (3, 40, 40), dtype=torch.uint8, generator=generator)
    strengths = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2}
    made = Augment([{"step": "jitter", **strengths}], 40, 0).transforms[0]
    for seed in range(40):
        torch.manual_seed(seed)
        changed = made(image).int()
        torch.manual_seed(seed)
        difference = changed - v2.ColorJitter(*strengths.values())(image).int()
        assert difference.min() >= -1 and difference.max() <= 4
        assert 0 < difference.float().mean() < 3


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), lines=st.booleans(), scale=st.floats(0.2, 1))
def test_crops_are_torchvisions_to_the_bit(seed, lines, scale):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=generator)
    if lines:
        image = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    made = Augment([{"step": "crop", "scale": scale}], 32, 0).transforms[0]
    theirs = v2.RandomResizedCrop(32, scale=(scale, 1.0), ratio=(0.9, 1.1), antialias=True)
    torch.manual_seed(seed)
    changed = made(image)
    torch.manual_seed(seed)
    assert torch.equal(changed, theirs(image))

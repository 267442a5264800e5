"""Augmentation of whole batches: the CPU's own pictures, image by image, whatever the batch."""

import math

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detector import cli
from detector.data.on_device import OnDevice, choose_place, unsupported
from detector.data.transforms import Augment
from detector.errors import UserError

FLIP = {"step": "flip", "p": 0.5}
CROP = {"step": "crop", "scale": 0.4}
JITTER = {"step": "jitter", "brightness": 0.6, "contrast": 0.7, "saturation": 0.8}
AFFINE = {"step": "affine", "rotate": 40, "shift": 0.2, "shear": 20, "zoom": 0.2}


def noise(n: int, size: int = 40, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (n, 3, size, size), dtype=np.uint8))


def smooth(n: int, size: int = 40) -> torch.Tensor:
    """As photographs are: pixels like their neighbours."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    large = [Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC) for c in coarse]
    return torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2).contiguous()


def both(steps: list, images: torch.Tensor, seed: int = 3, epoch: int = 2) -> tuple:
    """What the CPU makes of each image, and what the device makes of the batch."""
    augment = Augment(steps, images.shape[-1], seed)
    on_device = OnDevice(augment)
    of_cpu = torch.stack([augment(image, epoch, row) for row, image in enumerate(images)])
    numbers = torch.stack([on_device.draw(epoch, row)[0] for row in range(len(images))])
    return of_cpu, on_device(images, numbers)


def apart(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    assert one.dtype == other.dtype == torch.uint8 and one.shape == other.shape
    return (one.int() - other.int()).abs()


@pytest.mark.parametrize("step, most", [(FLIP, 0), (CROP, 1), (JITTER, 2), (AFFINE, 6)])
def test_noise_comes_out_as_on_the_cpu(step, most):
    images = noise(60)
    of_cpu, of_device = both([step], images)
    assert apart(of_cpu, of_device).max() <= most
    assert not torch.equal(of_device, images)


@pytest.mark.parametrize("name", ["light", "affine"])
def test_photographs_come_out_as_on_the_cpu(name):
    steps = yaml.safe_load((cli.conf_dir() / "augment" / f"{name}.yaml").read_text())["steps"]
    differences = apart(*both(steps, smooth(60))).float()
    assert differences.max() <= 3 and differences.mean() < 0.4


def test_affine_is_its_own_map_to_half_a_grey_level():
    images = noise(6, size=21)
    augment = Augment([AFFINE], 21, seed=5)
    on_device = OnDevice(augment)
    for row, image in enumerate(images):
        numbers, _ = on_device.draw(0, row)
        made = on_device(image[None], numbers[None])[0].double()
        with augment.random_numbers(0, row):
            params = augment.transforms[0].make_params([])
        matrix = augment.transforms[0].matrix(params, 21, 21)
        for y, x in [(0, 0), (20, 20), (3, 17), (10, 10), (0, 12)]:
            at_x, at_y = (float(np.clip(v, 0, 20)) for v in matrix @ [x, y, 1])
            x0, y0 = min(int(at_x), 19), min(int(at_y), 19)
            right, down = at_x - x0, at_y - y0
            corner = image[:, y0 : y0 + 2, x0 : x0 + 2].double()
            rows = corner[:, 0] * (1 - down) + corner[:, 1] * down
            expected = rows[:, 0] * (1 - right) + rows[:, 1] * right
            assert (made[:, y, x] - expected).abs().max() < 0.501


def test_a_crop_takes_nothing_from_beyond_its_edge():
    # A grey level a column: no crop may have a level that its own columns do not have.
    images = (torch.arange(40, dtype=torch.uint8) * 6).repeat(1, 3, 40, 1)
    on_device = OnDevice(Augment([CROP], 40, seed=0))
    for row in range(40):
        numbers, _ = on_device.draw(0, row)
        left, _, width, _ = numbers.tolist()
        made = on_device(images, numbers[None])
        assert made.min() == 6 * left and made.max() == 6 * (left + width - 1)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10**6), st.sampled_from([24, 33]))
def test_a_picture_does_not_depend_on_its_batch(n, seed, size):
    images = noise(10, size, seed)
    on_device = OnDevice(Augment([FLIP, AFFINE, CROP, JITTER], size, seed))
    numbers = torch.stack([on_device.draw(1, row)[0] for row in range(10)])
    whole = on_device(images, numbers)
    some = torch.from_numpy(np.random.default_rng(seed).permutation(10)[:n])
    assert torch.equal(on_device(images[some], numbers[some]), whole[some])
    again = OnDevice(Augment([FLIP, AFFINE, CROP, JITTER], size, seed)).draw(1, 4)[0]
    assert torch.equal(again, numbers[4])
    assert not torch.equal(on_device.draw(2, 4)[0], numbers[4])


def test_drawing_leaves_the_global_random_numbers_alone():
    on_device = OnDevice(Augment([FLIP, AFFINE, CROP, JITTER], 40, 0))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    on_device(noise(1), on_device.draw(0, 0)[0][None])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("steps", [[FLIP], [CROP, FLIP, JITTER], [FLIP, FLIP]])
def test_mirror_images_are_those_of_the_cpu(steps):
    augment = Augment(steps, 40, 7)
    on_device = OnDevice(augment)
    known = [on_device.draw(0, row)[1] for row in range(60)]
    assert known == [augment.drawn(noise(1)[0], 0, row)[1] for row in range(60)]
    assert 10 < sum(known) < 50


def test_every_order_of_light_contrast_and_colour_is_drawn():
    on_device = OnDevice(Augment([JITTER], 40, 0))
    orders = {tuple(on_device.draw(0, row)[0][::2].tolist()) for row in range(200)}
    assert len(orders) == math.factorial(3)


def test_a_setting_of_0_leaves_that_much_alone():
    still = {"step": "jitter", "brightness": 0, "contrast": 0, "saturation": 0}
    images = noise(3)
    assert torch.equal(both([still], images)[1], images)
    still = {"step": "affine", "rotate": 0, "shift": 0, "shear": 0, "zoom": 0}
    assert torch.equal(both([still, {"step": "flip", "p": 0}], images)[1], images)


JPEG = {"step": "jpeg", "p": 0.7, "low": 30, "high": 95}


@pytest.mark.parametrize(
    "setting, steps, accelerator, there",
    [
        ("auto", [FLIP], "gpu", True),
        ("auto", [FLIP], "cpu", False),
        ("auto", [FLIP], "mps", False),
        ("auto", [FLIP, JPEG], "gpu", False),
        ("auto", [], "gpu", False),
        (True, [FLIP], "cpu", True),
        (True, [], "cpu", False),
        (False, [FLIP], "gpu", False),
        (False, [JPEG], "gpu", False),
    ],
)
def test_where_pictures_are_augmented(setting, steps, accelerator, there):
    assert (choose_place(setting, Augment(steps, 40, 0), accelerator) is not None) == there


def test_what_the_device_cannot_do_is_named():
    augment = Augment([FLIP, JPEG, JPEG, {"step": "noise", "p": 0.3, "sigma": 0.03}], 40, 0)
    assert unsupported(augment) == ["jpeg", "jpeg", "noise"]
    with pytest.raises(UserError, match=r"augment\.device=true.* jpeg, noise of") as caught:
        choose_place(True, augment, "gpu")
    assert "\n" not in str(caught.value)

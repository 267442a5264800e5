"""Edits that were planted, so that the mask is known."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from detector.data.synthetic.portrait import paint
from detector.explain.edited import edited_mask


def jpeg(image, quality):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.array(Image.open(stream))


def texture(seed, side=420):
    """Colour noise of several scales, as a photograph has."""
    rng, image = np.random.default_rng(seed), np.zeros((side, side, 3), np.float32)
    for cells, strength in ((5, 40), (20, 25), (80, 15), (210, 8)):
        noise = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(image + 128, 0, 255).astype(np.uint8)


def planted(seed, side=420):
    """A photograph, its edit, and where it was edited: an ellipse of another texture."""
    photograph, other = texture(seed, side), texture(seed + 100, side)
    mask = np.zeros((side, side), np.uint8)
    cv2.ellipse(mask, (side * 6 // 10, side * 4 // 10), (side // 8, side // 11), 20, 0, 360, 1, -1)
    return photograph, np.where(mask[..., None] > 0, other, photograph), mask > 0


def moved(image, scale, degrees, right, down, size):
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    turn[:, 2] += (size[0] - width) / 2 + right, (size[1] - height) / 2 + down
    nearest = image.dtype == bool
    return cv2.warpAffine(
        image.astype(np.uint8),
        turn,
        size,
        flags=cv2.INTER_NEAREST if nearest else cv2.INTER_AREA,
        borderMode=cv2.BORDER_CONSTANT if nearest else cv2.BORDER_REFLECT,
    ).astype(image.dtype)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "scale, degrees, right, down, size, quality",
    [
        (1.0, 0, 0, 0, (420, 420), 95),
        (1.0, 0, 7.3, -4.6, (420, 420), 80),
        (0.83, 2, -9, 5, (380, 400), 75),
        (1.4, -3, 4, 11.5, (500, 460), 85),
    ],
)
def test_a_planted_edit_is_found(seed, scale, degrees, right, down, size, quality):
    photograph, edit, mask = planted(seed)
    where = moved(mask, scale, degrees, right, down, size)
    edit = jpeg(moved(edit, scale, degrees, right, down, size), quality)
    found = edited_mask(jpeg(photograph, 90), edit)
    assert found.shape == where.shape and found.dtype == bool
    assert iou(found, where) > 0.75


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_a_mere_copy_has_no_edit(quality):
    photograph, *_ = planted(7)
    copy = jpeg(moved(photograph, 0.9, 1, 3.5, 2.5, (400, 410)), quality)
    found = edited_mask(jpeg(photograph, 90), copy)
    assert found.shape == (410, 400) and found.mean() < 0.0005
    assert not edited_mask(photograph, photograph).any()


def test_a_change_of_brightness_and_colour_is_no_edit():
    photograph, edit, mask = planted(3)
    graded = np.clip(edit * np.array([0.9, 1.0, 1.1]) + (12, -5, 3), 0, 255).astype(np.uint8)
    assert iou(edited_mask(photograph, graded), mask) > 0.7


def test_two_edits_are_both_found_and_large_pictures_too():
    photograph, edit, mask = planted(4, 900)
    edit[600:760, 100:280] = texture(50, 900)[600:760, 100:280]
    mask[600:760, 100:280] = True
    found = edited_mask(photograph, jpeg(edit, 85))
    assert found.shape == (900, 900) and iou(found, mask) > 0.8


@pytest.mark.parametrize("parts", [(True, False, False, False), (False, False, True, True)])
def test_the_edit_of_a_rendered_face_is_found(parts):
    """Most of what differs visibly, and little else, though the edges of a mask are soft."""
    given = {"size": 300, "difficulty": "easy", "fake": True}
    untouched, *_ = paint((3, 1), parts=(False,) * 4, **given)
    edit, mask, *_ = paint((3, 1), parts=parts, **given)
    differs = cv2.GaussianBlur(
        np.abs(edit.astype(int) - untouched).max(2).astype(np.float32), (0, 0), 2
    )
    found = edited_mask(jpeg(untouched, 92), jpeg(edit, 92))
    assert (found & (mask > 0)).sum() / found.sum() > 0.9
    assert found[differs > 25].mean() > 0.8


@pytest.mark.parametrize(
    "photograph, edit",
    [
        (texture(0), texture(1)),
        (np.full((100, 90, 3), 70, np.uint8), np.full((100, 90, 3), 70, np.uint8)),
        (texture(0), np.zeros((300, 200, 3), np.uint8)),
        (np.zeros((1, 1, 3), np.uint8), texture(0)),
        (texture(0), np.ascontiguousarray(texture(0)[:150, :150])[:, ::-1].copy()),
    ],
)
def test_what_cannot_be_aligned_gives_none(photograph, edit):
    assert edited_mask(photograph, edit) is None

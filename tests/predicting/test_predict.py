"""One answer to a picture, whichever way it is given and however many come with it."""

import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import expit

from detector.data.decode import DecodeError, decode
from detector.errors import UserError
from detector.evaluation.calibration import Calibration
from detector.explain.cam import Explainer
from detector.predicting.pixels import pixels_of
from detector.predicting.prediction import CLOSE, UNLIKE
from detector.predictor import Predictor
from tests.predicting.made import NET, SIZE, checkpoint, content, encoded, face, noise

TEMPERATE = Calibration(2.5, 0.4, (0.3, 0.45), 100, "made-up")


@pytest.fixture(scope="module")
def predictor():
    return Predictor(content(calibration=TEMPERATE.to_dict()), "made")


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures, two of them bad, in folders, beside what is no picture."""
    top = tmp_path / "pictures"
    (top / "b" / "c").mkdir(parents=True)
    for at, name in enumerate(
        ["z.png", "a.PNG", "b/2.png", "b/1.jpg", "b/c/x.webp", *(f"n{i}.png" for i in range(5))]
    ):
        fmt = {"jpg": "JPEG", "webp": "WEBP"}.get(name.rsplit(".", 1)[1], "PNG")
        (top / name).write_bytes(encoded(noise(at), fmt))
    (top / "b" / "cut.png").write_bytes(encoded(noise(99))[:-40])
    (top / "m.jpg").write_text("not a picture")
    (top / "notes.txt").write_text("no picture by its name")
    (top / ".hidden.png").write_bytes(encoded(noise(98)))
    return top


def test_every_door_gives_the_same_answer(predictor, tmp_path):
    pixels = noise(1)
    data = encoded(pixels)
    path = tmp_path / "one.png"
    path.write_bytes(data)
    expected = predictor(data)
    doors = [path, str(path), data, bytearray(data), memoryview(data), pixels,
             np.asfortranarray(pixels), Image.fromarray(pixels), Image.open(path)]  # fmt: skip
    for source in doors:
        answer = predictor.predict(source)
        assert answer.p_fake == expected and answer.verdict == predictor.verdict(expected)
        assert answer.path == (str(path) if isinstance(source, (str, Path)) else "")
        assert (answer.error, answer.threshold, answer.face) == ("", 0.4, 0)
        assert answer.heatmap is None and answer.image is None and answer.regions is None
    many = [*predictor.predict(doors)]
    assert [one.p_fake for one in many] == pytest.approx([expected] * len(doors), abs=1e-9)
    batch = np.stack([noise(n) for n in range(5)])
    assert [one.p_fake for one in predictor.predict(batch)] == pytest.approx(
        [predictor(encoded(image)) for image in batch], abs=1e-6
    )


class Bytes:
    """A path of bytes, as `os.PathLike` allows."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return bytes(self.path)


def test_anything_that_names_a_path_is_named_by_it(predictor, folder):
    with os.scandir(folder) as entries:
        given = sorted((one for one in entries if one.is_file()), key=lambda one: one.name)
    given += [Bytes(folder / "z.png"), Bytes(folder / "m.jpg")]
    answers = list(predictor.predict(given))
    assert [one.path for one in answers] == [os.fsdecode(one) for one in given]
    assert answers[-2].p_fake == pytest.approx(predictor.predict(folder / "z.png").p_fake, abs=1e-6)
    assert "not a picture" in answers[-1].error
    with pytest.raises(DecodeError) as told:
        predictor.predict(Bytes(folder / "m.jpg"))
    assert str(told.value).startswith(f"{folder / 'm.jpg'}: not")
    assert predictor.predict(given[0]).path == answers[0].path == str(folder / ".hidden.png")
    assert len(list(predictor.predict(Bytes(folder)))) == 12


def grey16() -> Image.Image:
    return Image.fromarray((np.arange(40 * 50).reshape(40, 50) * 32).astype(np.uint16))


def oriented(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return encoded(noise(3), exif=exif)


FILES = {
    "rgb": lambda: encoded(noise(2)),
    "jpeg": lambda: encoded(noise(2), "JPEG"),
    "cmyk jpeg": lambda: encoded(Image.fromarray(noise(2)).convert("CMYK"), "JPEG"),
    "rgba": lambda: encoded(np.dstack([noise(2), noise(3)[..., :1]])),
    "grey and alpha": lambda: encoded(Image.fromarray(noise(2)).convert("LA")),
    "palette": lambda: encoded(Image.fromarray(noise(2)).quantize(17)),
    "palette, transparent": lambda: encoded(Image.fromarray(noise(2)).quantize(9), transparency=3),
    "1 bit": lambda: encoded(Image.fromarray(noise(2)).convert("1")),
    "grey": lambda: encoded(Image.fromarray(noise(2)).convert("L")),
    "16 bit": lambda: encoded(grey16()),
    "16 bit tiff": lambda: encoded(grey16(), "TIFF"),
    "float tiff": lambda: encoded(Image.fromarray(noise(2)[..., 0] / np.float32(255)), "TIFF"),
    "gif": lambda: encoded(Image.fromarray(noise(2)).quantize(9), "GIF", transparency=3),
    "animated": lambda: encoded(
        Image.fromarray(noise(2)),
        "WEBP",
        save_all=True,
        lossless=True,
        append_images=[Image.fromarray(noise(3))],
    ),
    **{f"exif {value}": (lambda value=value: oriented(value)) for value in range(1, 9)},
}


@pytest.mark.parametrize("kind", FILES)
def test_an_opened_picture_has_the_pixels_of_its_file(kind, tmp_path):
    data = FILES[kind]()
    path = tmp_path / "picture"
    path.write_bytes(data)
    expected = decode(data, max_pixels=10**6)
    assert (pixels_of(Image.open(path), 10**6) == expected).all()
    assert (pixels_of(path, 10**6) == expected).all()


def test_a_picture_in_memory_is_what_its_lossless_file_would_be():
    for image in (
        Image.fromarray(np.dstack([noise(2), noise(3)[..., :1]])),
        Image.fromarray(noise(2)).quantize(17), grey16(),
        Image.fromarray(noise(2)).convert("LA"), Image.fromarray(noise(2)).convert("1"),
    ):  # fmt: skip
        expected = decode(encoded(image), max_pixels=10**6)
        mode = image.mode
        assert (pixels_of(image, 10**6) == expected).all() and image.mode == mode


def test_what_is_no_picture_says_so(predictor, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("hello")
    with pytest.raises(DecodeError, match=r"text\.jpg: not a picture"):
        predictor.predict(text)
    with pytest.raises(DecodeError, match="empty"):
        predictor.predict(b"")
    with pytest.raises(UserError, match="no such file"):
        predictor.predict(tmp_path / "none.jpg")
    with pytest.raises(UserError, match="cannot be read"):
        predictor.predict("null\0byte.jpg")
    with pytest.raises(UserError, match=r"give uint8 \(height, width, 3\)"):
        predictor.predict(noise(1).astype(np.float32))
    with pytest.raises(UserError, match=r"give uint8"):
        predictor.predict(noise(1)[..., 0])
    with pytest.raises(UserError, match="give 1 to"):
        predictor.predict(np.zeros((0, 5, 3), np.uint8))
    with pytest.raises(UserError, match="there is no picture"):
        predictor.predict(Image.new("RGB", (0, 4)))
    with pytest.raises(UserError, match="neither a picture nor a list"):
        predictor.predict(5)
    (answer,) = predictor.predict([5.5])
    assert "a float is no picture" in answer.error


def test_too_large_is_told_before_it_is_read(predictor, tmp_path):
    with pytest.raises(UserError, match="more than the limit"):
        predictor.predict(Image.new("1", (1001, 1000)))
    with pytest.raises(UserError, match="give 1 to 1000000 pixels"):
        predictor.predict(np.broadcast_to(np.uint8(0), (1001, 1000, 3)))
    long = tmp_path / "long.jpg"
    with open(long, "wb") as file:
        file.truncate(10**11)  # takes no space
    with pytest.raises(UserError, match="100000 MB are more"):
        predictor.predict(long)


def test_a_folder_is_answered_in_order_and_bad_files_are_told(predictor, folder):
    answers = list(predictor.predict(folder, batch_size=3))
    names = [str(folder / name) for name in (
        "a.PNG", "m.jpg", "n0.png", "n1.png", "n2.png", "n3.png", "n4.png", "z.png",
        "b/1.jpg", "b/2.png", "b/cut.png", "b/c/x.webp",
    )]  # fmt: skip
    assert [one.path for one in answers] == names
    bad = {one.path: one for one in answers if one.error}
    assert set(bad) == {str(folder / "m.jpg"), str(folder / "b" / "cut.png")}
    for one in bad.values():
        assert one.p_fake is None and one.verdict == "" and one.threshold is None
    for one in answers:
        if not one.error:
            assert one.p_fake == pytest.approx(predictor.predict(one.path).p_fake, abs=1e-6)
    assert [one.path for one in predictor.predict([folder / "b", folder / "z.png"])] == [
        *names[8:], names[7]
    ]  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_batches_of_any_size_agree(predictor, folder, batch_size):
    seen = []
    given = sorted(folder.rglob("n*.png"))
    answers = predictor.predict(
        given, batch_size=batch_size, progress=lambda done, of: seen.append((done, of))
    )
    expected = [predictor(path.read_bytes()) for path in given]
    assert [one.p_fake for one in answers] == pytest.approx(expected, abs=1e-6)
    assert seen[-1] == (5, 5) and [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_the_total_of_a_folder_is_not_known(predictor, folder):
    seen = []
    list(predictor.predict(folder, progress=lambda *told: seen.append(told)))
    assert seen[-1] == (12, None)


def test_a_stream_takes_no_more_than_a_few_batches_ahead(predictor):
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield noise(taken % 7)

    answers = predictor.predict(endless(), batch_size=4)
    for at in range(1, 301):
        assert next(answers).p_fake is not None
        assert taken - at <= 64 + 2 * 4, "it reads ahead without end"
    before = threading.active_count()
    answers.close()
    assert threading.active_count() < before  # and leaves no thread behind


def test_what_hands_pictures_out_may_close_and_refill_them(predictor, tmp_path):
    paths = [tmp_path / f"{n}.png" for n in range(20)]
    for n, path in enumerate(paths):
        path.write_bytes(encoded(noise(n)))
    expected = [predictor(path.read_bytes()) for path in paths]

    def opened() -> Iterator[Image.Image]:
        for path in paths:
            with Image.open(path) as picture:
                yield picture

    def closed() -> Iterator[Image.Image]:
        for path in paths:
            picture = Image.fromarray(decode(path.read_bytes(), max_pixels=10**6))
            yield picture
            picture.close()

    def refilled() -> Iterator[np.ndarray]:
        buffer = np.empty((40, 50, 3), np.uint8)
        for n in range(20):
            buffer[:] = noise(n)
            yield buffer

    def overwritten() -> Iterator[bytearray]:
        for path in paths:
            buffer = bytearray(path.read_bytes())
            yield memoryview(buffer)
            buffer[:] = bytes(len(buffer))

    for given in (opened, closed, refilled, overwritten):
        answers = list(predictor.predict(given(), batch_size=7))
        assert [one.error for one in answers] == [""] * 20, given.__name__
        assert [one.p_fake for one in answers] == pytest.approx(expected, abs=1e-6)
    cut = Image.open(io.BytesIO(encoded(noise(0), "TIFF")[:500]))
    assert [one.error != "" for one in predictor.predict([cut, noise(1)])] == [True, False]


def test_large_pictures_wait_in_small_numbers(predictor, monkeypatch):
    monkeypatch.setattr("detector.data.ahead.HEAVY", 3 * noise(0).nbytes)
    taken = []
    answers = predictor.predict((taken.append(n) or noise(n) for n in range(60)), batch_size=1)
    for at, one in enumerate(answers, 1):
        assert one.p_fake is not None and len(taken) - at <= 4
    assert len(taken) == 60


def test_an_empty_list_and_a_wrong_batch(predictor):
    assert list(predictor.predict([])) == []
    with pytest.raises(UserError, match="batch_size=0"):
        predictor.predict([], batch_size=0)


def test_verdicts_come_with_their_reason(predictor, monkeypatch):
    def answer(p_fake, far=None):
        margin = np.array([2.5 * np.log(p_fake / (1 - p_fake))])
        monkeypatch.setattr(
            predictor, "answer", lambda batch, **_: (margin, np.zeros((1, 0)), np.zeros((1, 2)))
        )
        if far is not None:
            gate = type("Gate", (), {"unlikeness": lambda self, features: np.array([far])})()
            monkeypatch.setattr(predictor, "gate", gate)
        one = predictor.predict(noise(1))
        assert one.p_fake == pytest.approx(p_fake) and one.unlikeness == far
        return one.verdict, one.reason

    assert [answer(p) for p in (0.2, 0.35, 0.44, 0.46, 0.9)] == [
        ("real", ""), ("unsure", CLOSE), ("unsure", CLOSE), ("fake", ""), ("fake", "")
    ]  # fmt: skip
    assert answer(0.9, 1.0) == ("fake", "") and answer(0.35, 0.5) == ("unsure", CLOSE)
    assert answer(0.9, 1.01) == ("unsure", UNLIKE) and answer(0.35, 9.0) == ("unsure", UNLIKE)


def test_an_answer_that_is_no_number_is_none():
    made = content()
    for tensor in made["state_dict"].values():
        if tensor.is_floating_point():
            tensor.fill_(float("nan"))
    predictor = Predictor(made, "made")
    with pytest.raises(UserError, match="not a number"):
        predictor.predict(noise(1))
    (one,) = predictor.predict([noise(1)])
    assert "not a number" in one.error and one.verdict == "" and one.p_fake is None


def test_parts_of_a_part_head():
    predictor = Predictor(content(parts=["eye_left", "mouth"]), "made")
    image = predictor.preprocess(encoded(noise(1)))
    with torch.no_grad():
        batch = torch.from_numpy(predictor.preprocess.normalize(image[None]))
        logits = predictor.network(batch)[0].double().numpy()
    one = predictor.predict(noise(1))
    assert one.parts == pytest.approx({"eye_left": expit(logits[2]), "mouth": expit(logits[3])})
    assert one.p_fake == pytest.approx(expit(logits[0] - logits[1]), abs=1e-6)


def test_heatmaps_are_the_explainers_and_change_no_score(predictor):
    pictures = [noise(n) for n in range(5)]
    plain = [one.p_fake for one in predictor.predict(pictures)]
    answers = list(predictor.predict(pictures, heatmap="hirescam", batch_size=2))
    assert [one.p_fake for one in answers] == pytest.approx(plain, abs=1e-6)
    images = np.stack([predictor.preprocess(encoded(picture)) for picture in pictures])
    expected = Explainer(predictor.network, "hirescam").maps(
        predictor.preprocess.normalize(images), 0
    )
    for one, image, heatmap in zip(answers, images, expected, strict=True):
        assert (one.image == image).all() and one.heatmap.shape == (SIZE, SIZE)
        assert one.heatmap == pytest.approx(heatmap, abs=1e-5) and one.regions is None
    other = predictor.predict(pictures[0], heatmap="gradcam").heatmap
    assert np.abs(other - expected[0]).max() > 1e-4
    with pytest.raises(UserError, match="choose among gradcam"):
        predictor.predict(pictures, heatmap="magic")


def test_regions_are_shares_of_the_map():
    predictor = Predictor(content(size=64), "made")
    one = predictor.predict(face(4), regions=True)
    assert one.labels.shape == (64, 64) and len(set(one.labels.ravel().tolist())) > 8
    names = list(one.regions)
    assert names[0] == "rest" and sum(one.regions.values()) == pytest.approx(1)
    mouth = one.heatmap[one.labels == names.index("mouth")].sum() / one.heatmap.sum()
    assert one.regions["mouth"] == pytest.approx(float(mouth), abs=1e-6)
    nobody = predictor.predict(noise(1), regions=True)
    assert nobody.regions is None and nobody.labels is None and nobody.heatmap is not None


def test_threads_do_not_disturb_each_other(predictor):
    pictures = [noise(n) for n in range(6)]
    expected = [predictor.predict(picture, heatmap="gradcam") for picture in pictures]
    wrong = []

    def work(at: int) -> None:
        for n in range(at, at + 6):
            want = expected[n % 6]
            one = predictor.predict(pictures[n % 6], heatmap="gradcam" if n % 2 else None)
            if one.p_fake != want.p_fake:
                wrong.append((n, one.p_fake, want.p_fake))
            if n % 2 and np.abs(one.heatmap - want.heatmap).max() > 1e-5:
                wrong.append((n, "heatmap"))

    threads = [threading.Thread(target=work, args=(at,)) for at in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_it_works_where_there_is_no_torch(tmp_path):
    """Importing and predicting with a backend of one's own, with torch made impossible."""
    code = """
import sys
for name in ("torch", "lightning", "timm", "matplotlib", "torchvision", "sklearn", "scipy"):
    sys.modules[name] = None
import numpy as np
from detector import Predictor
class Backend:
    name = "stand-in"
    def run(self, images, bf16=False):
        mean = images.mean((1, 2, 3)).astype(np.float64)
        return np.stack([mean, np.zeros(len(mean))], 1), None
card = {"format": 1, "network": {"name": "x"}, "class_names": ["fake", "real"],
        "trained_on": "t", "preprocess": {"size": 16, "fit": "crop", "interpolation": "bilinear",
        "mean": [0, 0, 0], "std": [1, 1, 1], "max_pixels": 10**6}}
predictor = Predictor({"detector": card}, "here", backend=Backend())
white = np.full((20, 30, 3), 255, np.uint8)
many = predictor.predict([white, 0 * white])
print([one.p_fake for one in many], predictor.predict(white).p_fake)
try:
    predictor.predict(white, heatmap="gradcam")
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    first, second = done.stdout.splitlines()
    assert first == f"[{expit(1)}, 0.5] {expit(1)}", done.stderr
    assert second.startswith("UserError here is an exported file")


def test_a_run_folder_is_a_network(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    checkpoint(tmp_path / "run" / "checkpoints")
    for what in (tmp_path / "run", tmp_path / "run" / "checkpoints"):
        assert Predictor.load(what).card.network == NET
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no trained network in"):
        Predictor.load(tmp_path / "empty")

"""Synthetic sets on disk, with a stand-in for the renderer: made once, whole or not at all."""

import csv
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from io import BytesIO
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from PIL import Image

from detector import cli
from detector.data.load import MAKERS, load_set, part_sizes
from detector.data.sources import FACE_PARTS, SOURCES, list_items
from detector.data.synthetic import make
from detector.data.synthetic.make import make_set
from detector.data.synthetic.plan import plan, read_settings
from detector.data.synthetic.table import row
from detector.errors import UserError
from detector.run.checks import check_config, fixed_settings
from tests.data.synthetic.stand_in import PACKAGE, SETTINGS, made, modules, portrait, slowly


@pytest.fixture(autouse=True)
def renderer(monkeypatch):
    """The stand-in, where the renderer is imported from; settable."""
    for name, module in modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return sys.modules[f"{PACKAGE}.portrait"]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(function, *args, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def compose(root: Path, *overrides: str):
    small = ["synthetic.n=40", "synthetic.size=64", f"data_root={root}"]
    return cli.compose("train", ["data=synthetic", *small, *overrides])


# ---- the plan


def hamilton(shares: list[float], count: int) -> list[float]:
    """Largest remainders by the book, as the sorted remainders decide."""
    quotas = [share / sum(shares) * count for share in shares]
    whole = [int(quota + 1e-9) for quota in quotas]
    rest = sorted(range(len(shares)), key=lambda at: whole[at] - quotas[at])
    for at in rest[: count - sum(whole)]:
        whole[at] += 1
    return whole


SHARES = st.integers(0, 9)


@hypothesis(max_examples=150, deadline=None)
@given(
    n=st.integers(2, 400),
    seed=st.integers(0, 2**32 - 1),
    difficulty=st.tuples(SHARES, SHARES, SHARES).filter(any),
    parts=st.sets(st.sampled_from(FACE_PARTS), min_size=1),
    at_once=st.lists(SHARES, min_size=1, max_size=4),
)
def test_shares_are_exact(n, seed, difficulty, parts, at_once):
    at_once = [max(at_once[0], 1), *at_once[1:]]
    settings = read_settings(
        {
            "n": n,
            "size": 64,
            "seed": seed,
            "difficulty": dict(zip(("easy", "mid", "hard"), difficulty, strict=True)),
            "parts": sorted(parts),
            "parts_at_once": at_once,
        }
    )
    pictures = plan(settings)
    at_once = at_once[: len(parts)]
    for label, count in ((0, n // 2), (1, n - n // 2)):
        mine = [p for p in pictures if p.seed[1] == label]
        assert [p.seed for p in mine] == [(seed, label, at) for at in range(count)]
        found = Counter(p.difficulty for p in mine)
        wanted = hamilton(list(difficulty), count)
        ties = len({share / sum(difficulty) * count % 1 for share in difficulty}) < 3
        for name, number in zip(("easy", "mid", "hard"), wanted, strict=True):
            assert found[name] == number or (ties and abs(found[name] - number) == 1)
        many = Counter(sum(p.parts) for p in mine)
        assert set(many) <= {k for k, share in enumerate(at_once, 1) if share}
        for k, share in enumerate(at_once, 1):
            assert abs(many[k] - share / sum(at_once) * count) < 1
            each = Counter(p.parts for p in mine if sum(p.parts) == k)
            choices = list(combinations(sorted(parts), k))
            for chosen in choices:
                bits = tuple(part in chosen for part in FACE_PARTS)
                assert abs(each.pop(bits, 0) - many[k] / len(choices)) < 1
            assert not each  # no part that may not be swapped
    if n % 2 == 0:
        fakes, reals = pictures[: n // 2], pictures[n // 2 :]
        asked = [[(p.difficulty, p.parts) for p in some] for some in (fakes, reals)]
        assert asked[0] == asked[1]


def test_the_plan_of_the_default_set():
    cfg = cli.compose("train", [])
    assert cfg.data.name == "synthetic"
    pictures = plan(read_settings(cfg.synthetic))
    for fake in (True, False):
        some = [p for p in pictures if p.fake == fake]
        assert Counter(p.difficulty for p in some) == {"easy": 600, "mid": 600, "hard": 300}
        assert Counter(sum(p.parts) for p in some) == dict.fromkeys((1, 2, 3, 4), 375)
        each = Counter(p.parts for p in some)
        assert len(each) == 15 and {each[parts] for parts in each if sum(parts) == 2} <= {62, 63}
    order = [p.difficulty for p in pictures[:1500]]
    assert 850 < sum(a != b for a, b in pairwise(order)) < 1050  # shuffled
    other = plan(read_settings({**cfg.synthetic, "seed": 1}))
    assert [p.difficulty for p in other[:1500]] != order


def test_rounding_favours_no_part():
    """Of one picture with one part, the seed says which part it is."""
    one = SETTINGS | {"n": 2, "parts_at_once": [1]}
    seeds = [read_settings(one | {"seed": seed}) for seed in range(400)]
    chosen = Counter(plan(settings)[0].parts.index(True) for settings in seeds)
    assert all(60 < chosen[part] < 140 for part in range(4))


# ---- what lies on disk


def test_the_same_settings_give_the_same_bytes(tmp_path, monkeypatch):
    first = made(tmp_path / "a", workers=1, n=9)
    second = made(tmp_path / "b", workers=4, n=9)
    monkeypatch.setattr(make, "PROCESSES_FROM", 0)
    third = made(tmp_path / "c", workers=2, n=9)
    assert first.name == second.name == third.name
    assert contents(first) == contents(second) == contents(third)
    kinds = Counter(os.path.dirname(name) for name in contents(first))
    assert kinds == {
        "training_fake": 4, "training_real": 5, "": 3,
        "masks/training_fake": 4, "masks/training_real": 5,
    }  # fmt: skip
    assert re.fullmatch(r"n9-size64-seed3-[0-9a-f]{8}", first.name)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {first.name, ".make.lock"}


def test_each_picture_is_what_its_name_says(tmp_path):
    folder = made(tmp_path, n=40)
    with open(folder / "faces.csv", newline="") as file:
        table = {entry["name"]: entry for entry in csv.DictReader(file)}
    assert list(table) == sorted(table) and len(table) == 40
    numbers: dict[str, list[int]] = {}
    for name, entry in table.items():
        seed = tuple(map(int, entry["seed"].split()))
        parts = tuple(bit == "1" for bit in entry["parts"])
        if fake := name.startswith("training_fake/"):
            wanted = re.fullmatch(r"training_fake/(easy|mid|hard)_(\d+)_([01]{4})\.jpg", name)
            assert (wanted[1], wanted[3]) == (entry["treatment"], entry["parts"])
            numbers.setdefault(wanted[1], []).append(int(wanted[2]))
        else:
            assert name == f"training_real/real_{seed[2] + 1:05d}.jpg"
        assert seed[:2] == (3, 0 if fake else 1)
        again = portrait(seed, size=64, difficulty=entry["treatment"], parts=parts, fake=fake)
        assert (folder / name).read_bytes() == again.jpeg
        assert entry["asked"] == f"{entry['treatment']} {fake}"
        mask = folder / "masks" / Path(name).with_suffix(".png")
        assert mask.read_bytes()[24:26] == bytes([8, 3])  # IHDR: 8 bits, indexed
        with Image.open(mask) as image:
            assert image.mode == "P" and image.size == (64, 64)
            np.testing.assert_array_equal(np.asarray(image), again.mask)
    assert set(numbers) == {"easy", "mid", "hard"}
    assert all(sorted(some) == list(range(1, len(some) + 1)) for some in numbers.values())


def test_masks_show_each_of_the_sixteen_sums():
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16) // 16
    packed = BytesIO()
    make.mask_image(codes).save(packed, "PNG")
    image = Image.open(packed)
    np.testing.assert_array_equal(np.asarray(image), codes)
    shown = np.asarray(image.convert("RGB"))[:, 0].astype(int)
    assert not shown[0].any()
    apart = np.abs(shown[:, None] - shown[None]).sum(-1) + 1000 * np.eye(16)
    assert apart.min() >= 90
    assert (shown[1:] @ [0.299, 0.587, 0.114] > 50).all()


def test_about_tells_settings_and_versions(tmp_path):
    import cv2
    import PIL

    about = json.loads((made(tmp_path) / "about.json").read_text())
    packages = {"numpy": np.__version__, "opencv": cv2.__version__, "pillow": PIL.__version__}
    assert about["packages"] == packages and about["version"] == 1
    assert about["settings"] == SETTINGS


def test_a_set_is_made_once_and_needs_no_writing_then(tmp_path, renderer, monkeypatch):
    folder = made(tmp_path)
    before = contents(tmp_path)

    def refuse(*_, **__):
        raise AssertionError("a picture was made, or something written")

    renderer.portrait = refuse
    with monkeypatch.context() as patch:
        for name in ("mkdir", "write_bytes", "write_text", "rename"):
            patch.setattr(Path, name, refuse)
        assert made(tmp_path) == folder
    assert contents(tmp_path) == before


def test_each_settings_have_a_folder_of_their_own(tmp_path, renderer):
    changes = [
        {}, {"n": 13}, {"size": 65}, {"seed": 4}, {"parts": ["nose", "mouth"]},
        {"parts_at_once": [1]}, {"difficulty": {"easy": 1, "mid": 0, "hard": 0}},
    ]  # fmt: skip
    folders = [made(tmp_path, **change) for change in changes]
    assert made(tmp_path, parts=["mouth", "nose"]) == folders[4]  # the order says nothing
    renderer.VERSION = 2
    folders.append(made(tmp_path))
    assert len(set(folders)) == len(changes) + 1 == len(list(tmp_path.glob("n1*")))
    bits = {item.extra["treated"] for item in list_items("synthetic", folders[4]).items}
    assert bits == {"0010", "0001", "0011"}


def test_progress_counts_pictures(tmp_path):
    seen = []
    make_set(tmp_path, synthetic=SETTINGS, progress=lambda *done: seen.append(done), workers=3)
    assert seen == [(done, 12) for done in range(1, 13)]


def test_traits_may_not_hide_what_the_index_knows():
    with pytest.raises(ValueError, match="label, seed"):
        row("a.jpg", "easy", "1000", (0, 0, 0), [(0, 0)] * 5, {"label": 1, "seed": 2, "skin": 3})


# ---- what can go wrong


@pytest.mark.parametrize(
    "gone, says",
    [
        ("about.json", "about.json"),
        ("faces.csv", "faces.csv"),
        ("training_fake/*_1_*.jpg", "of 6 pictures in training_fake"),
        ("training_real/real_00002.jpg", "5 of 6 pictures in training_real"),
        ("masks/training_real", "0 of 6 pictures in masks/training_real"),
    ],
)
def test_a_damaged_set_is_refused_and_left_alone(tmp_path, gone, says):
    folder = made(tmp_path)
    for path in list(folder.glob(gone)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = contents(tmp_path)
    message = refused(made, tmp_path)
    assert says in message and str(folder) in message and "move it away" in message
    assert contents(tmp_path) == before
    folder.rename(tmp_path / "mine")
    assert made(tmp_path) == folder


def test_a_full_disk(tmp_path, monkeypatch):
    write, calls = Path.write_bytes, []

    def fill(path, data):
        calls.append(path)
        if len(calls) > 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill)
        message = refused(made, tmp_path / "set")
    assert "disk is full" in message and "data.root=" in message
    assert [path.name for path in (tmp_path / "set").iterdir()] == [".make.lock"]
    assert len(contents(made(tmp_path / "set"))) == 27


@pytest.mark.parametrize("step", ["mkdir", "lock", "rename"])
def test_a_root_that_cannot_be_written(tmp_path, monkeypatch, step):
    def deny(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    place = {"mkdir": (Path, "mkdir"), "lock": (os, "open"), "rename": (Path, "rename")}[step]
    with monkeypatch.context() as patch:
        patch.setattr(*place, deny)
        message = refused(made, tmp_path / "set")
    assert "Read-only file system" in message and "data.root=" in message
    assert str(tmp_path / "set") in message
    assert not [
        path for path in tmp_path.rglob("*") if path.name != ".make.lock" and path.is_file()
    ]


def test_a_root_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    assert "data.root= takes a folder" in refused(made, tmp_path / "file")


@pytest.mark.parametrize("name", ["portrait", "sheet"])
def test_a_defect_of_the_renderer_is_not_hidden(tmp_path, monkeypatch, name):
    def fail(*_, **__):
        raise ZeroDivisionError("its own")

    monkeypatch.setattr(sys.modules[f"{PACKAGE}.{name}"], name, fail)
    with pytest.raises(ZeroDivisionError):
        made(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".make.lock"]


def test_ctrl_c_stops_soon_and_leaves_nothing(tmp_path, renderer):
    calls = []

    def count(*args, **kwargs):
        calls.append(args)
        time.sleep(0.01)
        return portrait(*args, **kwargs)

    def interrupt(done, total):
        raise KeyboardInterrupt

    renderer.portrait = count
    with pytest.raises(KeyboardInterrupt):
        make_set(tmp_path, synthetic=SETTINGS | {"n": 99}, progress=interrupt, workers=2)
    assert len(calls) < 50
    assert [path.name for path in tmp_path.iterdir()] == [".make.lock"]


def killed_maker(root: Path, before: str = "") -> subprocess.Popen:
    """Begins a large set with processes that draw, and dies while they do."""
    command = (
        "from detector.data.synthetic import make;"
        "from tests.data.synthetic.stand_in import made, modules, slowly;"
        f"import sys, time; sys.modules |= modules(slowly); {before}"
        "made(sys.argv[1], n=5000)"
    )
    above = Path(__file__).parents[3]
    paths = os.pathsep.join([str(above / "src"), str(above)])
    maker = subprocess.Popen(
        [sys.executable, "-c", command, root],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
    )
    while not list(root.glob(".making-*/training_fake/*.jpg")):
        assert maker.poll() is None
        time.sleep(0.05)
    maker.kill()
    maker.wait()
    return maker


def test_a_killed_maker_takes_its_workers_along(tmp_path):
    """Else they would wait for work for ever, and with an older filelock hold the lock."""
    killed_maker(tmp_path).communicate(timeout=60)  # its output ends when the last has gone
    assert made(tmp_path).is_dir()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_what_a_dead_makers_workers_still_draw_is_in_no_set(tmp_path, renderer):
    """They live for a moment, and where filelock is new the lock is free before they go."""
    stay = "make._leave_with_parent = lambda: (time.sleep(2), make.os._exit(1));"
    maker = killed_maker(tmp_path, stay)
    renderer.portrait = slowly
    folder = made(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, ".make.lock"}
    assert contents(folder) == contents(made(tmp_path / "else"))
    maker.communicate(timeout=60)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_drawer_that_dies_is_one_line(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(make, "PROCESSES_FROM", 0)
    if workers == 1:  # then it draws by itself
        assert made(tmp_path, workers=1).is_dir()
        return
    monkeypatch.setattr(make, "_draw", _die)
    with pytest.raises(UserError, match="processes that draw died"):
        made(tmp_path, workers=2)
    assert [path.name for path in tmp_path.iterdir()] == [".make.lock"]


def _die(*_: object) -> None:
    os._exit(1)


def other(tmp_path: Path, kill_at: int = -1) -> subprocess.Popen:
    above = Path(__file__).parents[3]
    places = os.pathsep.join([str(above / "src"), str(above)])
    arguments = map(str, (tmp_path / "sets", tmp_path / "log", kill_at))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.data.synthetic.stand_in", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": places},
    )


def test_of_several_processes_one_makes_the_set(tmp_path):
    outputs = [process.communicate(timeout=60)[0] for process in [other(tmp_path) for _ in "abc"]]
    assert outputs[0] == outputs[1] == outputs[2] == f"{made(tmp_path / 'sets')}\n"
    assert (tmp_path / "log").read_text() == "call\n" * 12


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_half_way_leaves_no_set_and_no_lock(tmp_path):
    assert other(tmp_path, kill_at=3).wait(timeout=60) == -9
    root = tmp_path / "sets"
    assert list(root.glob(".making-*/*/*.jpg")) and not list(root.glob("[!.]*"))
    (begun,) = root.glob(".making-*")
    (begun / "training_fake" / "easy_99_1111.jpg").write_bytes(b"of an older one")
    (root / ".making-of").mkdir()  # somebody else's
    folder = made(root)
    assert {path.name for path in root.iterdir()} == {folder.name, ".make.lock", ".making-of"}
    assert contents(folder) == contents(made(tmp_path / "else"))


# ---- the settings


@pytest.mark.parametrize(
    "override, says",
    [
        ("synthetic.n=1", r"synthetic\.n=1: give a whole number of at least 2 and at most 1000000"),
        ("synthetic.n=12.5", r"synthetic\.n=12\.5: give a whole"),
        ("synthetic.size=63", r"synthetic\.size=63: .*at least 64 and at most 1024"),
        ("synthetic.size=1025", r"at most 1024"),
        ("synthetic.seed=-1", r"synthetic\.seed=-1"),
        ("synthetic.difficulty.mid=-0.1", r"synthetic\.difficulty\.mid=-0\.1: .*at least 0"),
        ("synthetic.difficulty.hard=.nan", r"synthetic\.difficulty\.hard=\.nan"),
        ("synthetic.difficulty={easy:0,mid:0,hard:0}", r"synthetic\.difficulty: .*above 0"),
        ("synthetic.difficulty=hard", r"synthetic\.difficulty=hard: give settings"),
        ("+synthetic.difficulty.none=1", r"synthetic\.difficulty\.none: no such setting"),
        ("synthetic.parts=[]", r"synthetic\.parts=\[\]: .*eye_left, eye_right, nose, mouth"),
        ("synthetic.parts=[ear]", r"synthetic\.parts=\['ear'\]: .*eye_left"),
        ("synthetic.parts=[nose,nose]", r"each once"),
        ("synthetic.parts=3", r"synthetic\.parts=3"),
        ("synthetic.parts_at_once=[1,1,1,1,1]", r"give 1 to 4 numbers"),
        ("synthetic.parts_at_once=[-1,2]", r"at least 0"),
        ("synthetic.parts_at_once=[0,0]", r"one has to be above 0"),
        ("synthetic.parts_at_once=2", r"synthetic\.parts_at_once=2: "),
        (
            "+synthetic.colour=red",
            r"synthetic\.colour: no such setting; .*has difficulty",
        ),
        ("synthetic.colour=red", r"synthetic\.colour: no such option; .*synthetic has difficulty"),
        ("synthetic.sed=1", r"did you mean synthetic\.seed\?"),
        ("synthetic=3", r"synthetic=3: give settings"),
        ("synthetic=null", r"synthetic=null: give settings"),
        ("data.synthetic={n:20}", r"synthetic\.size=null"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, override, says):
    def run():
        cfg = compose(tmp_path / "sets", override)
        check_config(cfg)
        load_set(cfg.data, tmp_path)

    assert re.search(says, refused(run))
    assert not (tmp_path / "sets").exists()


def test_one_part_may_be_given_by_its_name():
    assert read_settings(SETTINGS | {"parts": "nose"}).parts == ("nose",)
    assert read_settings(SETTINGS | {"parts": "nose"}).parts_at_once == (1.0,)


# ---- from the command line to the index


def test_index_knows_difficulty_parts_treatment_landmarks_mask_and_traits(tmp_path):
    cfg = compose(tmp_path / "data", "synthetic.seed=5")
    check_config(cfg)
    seen: list[tuple[int, int]] = []
    faces = load_set(cfg.data, tmp_path / "cache", lambda *done: seen.append(done))
    assert seen == [(done, 40) for done in range(1, 41)] * 2  # made, then indexed
    index = faces.index
    root = Path(index.root)
    assert root.parent == tmp_path / "data" / "synthetic" and root.name.startswith(
        "n40-size64-seed5"
    )
    assert index.class_names == ("fake", "real") and index.labels.sum() == 20
    ciplab = {item.name: item.extra for item in list_items("ciplab", root).items}
    for at, name in enumerate(index["name"]):
        for key in ("difficulty", *FACE_PARTS):  # as the file names tell them
            assert index[key][at] == ciplab[name][key]
        real = index["label"][at] == 1
        parts = tuple(bit == "1" for bit in index["treated"][at])
        assert real or index["treatment"][at] == index["difficulty"][at]
        if real:
            number = (5, 1, int(name[-9:-4]) - 1)
            asked = {"difficulty": index["treatment"][at], "parts": parts, "fake": False}
            original = portrait(number, size=64, **asked)
            np.testing.assert_allclose(index["landmarks"][at], original.landmarks, atol=6e-4)
            assert {key: index[key][at] for key in original.traits} == original.traits
            assert [type(index[key][at]) for key in ("hair", "age", "yaw")] == [str, int, float]
            with Image.open(root / index["mask"][at]) as image:
                np.testing.assert_array_equal(np.asarray(image), original.mask)
    assert Counter(index["treatment"]) == {"easy": 16, "mid": 16, "hard": 8}
    assert len(set(index["group"])) == 40 and not index.pairs
    assert min(part_sizes(faces.parts).values()) >= 6
    again = load_set(cfg.data, tmp_path / "cache")
    assert again.index == index  # the cache keeps all of it


@pytest.fixture
def folder(tmp_path) -> Path:
    return made(tmp_path)


def edit(folder: Path, change) -> None:
    path = folder / "faces.csv"
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda text: "", "lacks the columns name, treatment"),
        (lambda text: "a;b\n1;2\n", "lacks the columns name"),
        (lambda text: text.replace("nose_x", "nose_z"), "lacks the columns nose_x"),
        (lambda text: text.replace(",yaw", ",label"), "'label'"),
        (lambda text: text.replace(",yaw", ",age"), "'age'"),
        (lambda text: text[:-60], "line 13"),
        (lambda text: re.sub(r"(_1_.*?),(easy|mid|hard),", r"\1,odd,", text, count=1), "'odd'"),
        (lambda text: re.sub(r",[01]{4},", ",1020,", text, count=1), "'1020'"),
        (lambda text: re.sub(r",[01]{4},3 0 (\d),[\d.]+,", r",1000,3 0 \1,x,", text), "'x'"),
        (lambda text: re.sub(r",[01]{4},3 0 (\d),[\d.]+,", r",1000,3 0 \1,nan,", text), "finite"),
        (lambda text: text + text.splitlines()[-1] + "\n", "once more"),
        (lambda text: text[: text.rindex("training_real")], "does not know training_real/real"),
        (lambda text: text.replace("real_00003", "real_00033"), "does not know training_real"),
        (lambda text: text + '"open', "unexpected end"),
    ],
)  # fmt: skip
def test_a_table_that_is_damaged_or_foreign(folder, change, says):
    edit(folder, change)
    message = refused(list_items, "synthetic", folder)
    assert says in message and "faces.csv" in message


def test_a_table_that_is_missing_or_no_text(folder):
    (folder / "faces.csv").write_bytes(b"\xff\xfe\x00name")
    assert "faces.csv cannot be read" in refused(list_items, "synthetic", folder)
    (folder / "faces.csv").unlink()
    assert "lacks faces.csv" in refused(list_items, "synthetic", folder)


def test_pictures_that_the_table_knows_alone(folder):
    (folder / "training_real" / "real_00004.jpg").unlink()
    message = refused(list_items, "synthetic", folder)
    assert "lacks 1 files" in message and "training_real/real_00004.jpg" in message


def test_other_sets_know_no_synthetic_settings(tmp_path):
    cfg = cli.compose("train", ["data=hardfake"])
    assert "synthetic" not in cfg and "synthetic" not in cfg.data
    assert cfg.data.near_copies and not compose(tmp_path).data.near_copies
    message = refused(cli.compose, "train", ["data=hardfake", "synthetic.n=600"])
    assert message.startswith("synthetic.n: ")


def test_experiments_choose_the_set_and_its_settings(tmp_path, monkeypatch):
    shutil.copytree(cli.conf_dir(), tmp_path / "conf")
    (tmp_path / "conf" / "experiment" / "hard.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - override /data: synthetic\n"
        "synthetic:\n  difficulty: {easy: 0, mid: 0, hard: 1}\n"
        "data:\n  batch_size: 8\n"
    )
    monkeypatch.setattr(cli, "conf_dir", lambda: tmp_path / "conf")
    cfg = cli.compose("train", ["experiment=hard", "synthetic.n=20"])
    assert cfg.data.synthetic == cfg.synthetic and cfg.data.batch_size == 8
    assert {p.difficulty for p in plan(read_settings(cfg.data.synthetic))} == {"hard"}
    assert cfg.data.cache_gb == cli.compose("train", ["data=hardfake"]).data.cache_gb
    other = cli.compose("train", ["experiment=cnn6_ciplab", "data.root=x"])
    assert other.data.name == "ciplab" and "synthetic" not in other


def test_a_training_goes_on_with_the_settings_it_began_with():
    assert fixed_settings(cli.compose("train", ["data=synthetic"]))["synthetic.n"] == 3000


def test_a_maker_is_asked_by_the_name_of_the_source(tmp_path, monkeypatch):
    """What `load_set` knows of makers is their table: a contributor's needs a line there."""

    def build(root, *, colour="red", progress=None):
        shutil.copytree(made(tmp_path / "sets", n=40), root / colour)
        return root / colour

    monkeypatch.setitem(MAKERS, "mine", build)
    monkeypatch.setitem(SOURCES, "mine", SOURCES["ciplab"])
    cfg = compose(tmp_path, "data.source=mine", f"data.root={tmp_path}/m", "+data.colour=blue")
    assert load_set(cfg.data, tmp_path / "cache").index.root == str(tmp_path / "m" / "blue")

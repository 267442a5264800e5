"""Several sets as one: splits, what they share, columns, caches; and a training on them."""

import csv
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, roc_auc_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from detector import cli
from detector.data.cache import load_pixels
from detector.data.joint import RADIUS, _kept
from detector.data.load import load_set, part_sizes
from detector.data.preprocess import Preprocess
from detector.errors import UserError
from detector.evaluate import evaluate
from detector.explain.lookup import known_sets, look_up
from detector.matrix import matrix
from detector.run.session import Session
from detector.train import train
from tests.conftest import fit_until_killed, make_set
from tests.data.test_load import own

PARTS = ("eye_left", "eye_right", "nose", "mouth")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """ciplab with difficulties, hardfake, and 140k with splits of its own."""
    root = tmp_path_factory.mktemp("sets")
    make_set(root / "hardfake", seed=1)
    ciplab = make_set(root / "ciplab", seed=2)
    (ciplab / "real").rename(ciplab / "training_real")
    (ciplab / "fake").rename(ciplab / "training_fake")
    for at, file in enumerate(sorted((ciplab / "training_fake").iterdir())):
        file.rename(file.with_name(f"{('easy', 'mid', 'hard')[at % 3]}_{at}_1000.png"))
    own(root / "140k", {"train": 24, "valid": 6, "test": 6})
    return root


def compose(root: Path, cache: Path, *overrides: str, sets: str = "140k,ciplab,hardfake"):
    given = ["data=joint", f"data.sets=[{sets}]", f"data_root={root}", f"paths.cache={cache}"]
    quick = [
        "model=cnn6", "model.preprocess.size=32", "data.batch_size=16", "data.num_workers=0",
        "trainer=cpu", "trainer.max_epochs=2", "progress=none", "metrics.replicates=100",
        "heatmaps.every=0", f"paths.runs={cache}/runs",
    ]  # fmt: skip
    return cli.compose("train", [*given, *quick, *overrides])


def load(root: Path, cache: Path, *overrides: str, **more):
    return load_set(compose(root, cache, *overrides, **more).data, cache)


def test_each_set_is_split_as_it_is_alone(root, tmp_path):
    faces = load(root, tmp_path)
    together = dict(zip(faces.index["name"], faces.parts.tolist(), strict=True))
    assert len(together) == len(faces.index) == 80 + 80 + 72
    for name in ("140k", "ciplab", "hardfake"):
        one = load_set(cli.compose("train", [f"data={name}", f"data_root={root}"]).data, tmp_path)
        for path, part in zip(one.index["name"], one.parts, strict=True):
            assert together[f"{name}/{path}"] == part
    for row in (0, 100, 200):
        assert faces.index.path(row).is_file()
        assert str(faces.index.path(row)).endswith(faces.index["name"][row].split("/", 1)[1])


def test_what_cannot_be_kept_is_found_all_the_same(root, tmp_path, monkeypatch, caplog):
    wanted = load(root, tmp_path / "a")

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert (load(root, tmp_path / "b").parts == wanted.parts).all()
    assert "copies across sets cannot be kept" in caplog.text
    assert os.listdir(tmp_path / "b" / "index") == []


def test_what_only_one_set_knows_is_blank_elsewhere(root, tmp_path):
    index = load(root, tmp_path).index
    for name, difficulty, nose in zip(
        index["set"], index["difficulty"], index["nose"], strict=True
    ):
        assert name == "ciplab" or (difficulty, nose) == ("", -1)
    assert Counter(index["difficulty"]) == {"easy": 14, "mid": 13, "hard": 13, "": 192}
    knows = index.knows("difficulty")
    assert [name == "ciplab" for name in index["set"]] == knows.tolist()
    assert index.knows("sha256").all()


def test_pixels_come_from_the_caches_of_the_sets_alone(root, tmp_path, monkeypatch):
    preprocess = Preprocess.from_dict(
        {"size": 16, "fit": "crop", "interpolation": "bilinear", "mean": [0.5] * 3,
         "std": [0.5] * 3, "max_pixels": 10**6}
    )  # fmt: skip
    how = {"cache_gb": 1, "cache_dir": tmp_path}
    faces = load(root, tmp_path)
    for name in ("140k", "ciplab", "hardfake"):
        one = load_set(cli.compose("train", [f"data={name}", f"data_root={root}"]).data, tmp_path)
        load_pixels(one.index, preprocess, **how)
    before = sorted(path.name for path in (tmp_path / "pixels").glob("*.npy"))
    pixels = load_pixels(faces.index, preprocess, **how)
    assert sorted(path.name for path in (tmp_path / "pixels").glob("*.npy")) == before
    assert len(before) == 3 and pixels.file is not None and len(pixels) == len(faces.index)
    for row in range(0, len(pixels), 7):
        expected = preprocess(faces.index.path(row).read_bytes())
        assert np.array_equal(pixels[row], expected)
        assert np.array_equal(pixels.decode(row), expected)
    # All of them together have to fit.
    some = load_pixels(faces.index, preprocess, cache_gb=0, cache_dir=tmp_path / "none")
    assert some.file is None and np.array_equal(some[5], pixels[5])


def copies(root: Path, place: Path) -> Path:
    """ciplab with a real of hardfake as it is, and another one recompressed and smaller."""
    rng = np.random.default_rng(7)
    for name in ("hardfake", "ciplab"):
        folders = ("training_fake", "training_real") if name == "ciplab" else ("fake", "real")
        for folder in folders:
            (place / name / folder).mkdir(parents=True)
            for at in range(40):
                small = rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)
                picture = Image.fromarray(small).resize((192, 192), Image.Resampling.BICUBIC)
                picture.save(place / name / folder / f"{at}.png")
    for at in range(12):
        source = place / "hardfake/real" / f"{at}.png"
        (place / "ciplab/training_real" / f"a{at}.png").write_bytes(source.read_bytes())
    for at in range(12, 24):
        picture = Image.open(place / "hardfake/real" / f"{at}.png").resize((160, 160))
        picture.save(place / "ciplab/training_real" / f"b{at}.jpg", quality=70)
    return place


def test_no_picture_lies_on_two_sides_of_a_split(root, tmp_path, caplog):
    place = copies(root, tmp_path / "sets")
    with caplog.at_level(logging.INFO):
        faces = load(place, tmp_path, sets="hardfake,ciplab")
    index = faces.index
    rank = {"train": 0, "val": 1, "test": 2}
    alone = {}
    for name in ("hardfake", "ciplab"):
        one = load_set(cli.compose("train", [f"data={name}", f"data_root={place}"]).data, tmp_path)
        alone |= {f"{name}/{n}": p for n, p in zip(one.index["name"], one.parts, strict=True)}
    now = dict(zip(index["name"], faces.parts.tolist(), strict=True))
    group = dict(zip(index["name"], index["group"], strict=True))
    lost = 0
    for at in range(24):
        a, b = f"hardfake/real/{at}.png", f"ciplab/training_real/{'a' if at < 12 else 'b'}{at}"
        b += ".png" if at < 12 else ".jpg"
        if alone[a] == alone[b]:
            assert now[a] == now[b] and group[a] == group[b]
            continue
        lost += 1
        later, earlier = sorted((a, b), key=lambda path: -rank[alone[path]])
        assert now[later] == alone[later] and earlier not in now
    assert lost and len(now) == len(alone) - lost
    of_group = {}
    for path, part in now.items():
        of_group.setdefault(group[path], set()).add(part)
    assert all(len(parts) == 1 for parts in of_group.values())
    assert "copies across sets: 12 of" in caplog.text and "are left out: other sets" in caplog.text
    pairs = {tuple(sorted((index["name"][a], index["name"][b]))) for a, b, *_ in index.pairs}
    for a, b in pairs:
        assert group[a] == group[b]
    # The second time nothing is decoded; without the search, identical files alone are found.
    caplog.clear()
    with caplog.at_level(logging.INFO):
        again = load(place, tmp_path, sets="hardfake,ciplab")
        assert "copies across sets" not in caplog.text
        assert again.index.columns == index.columns
        loose = load(place, tmp_path, "data.near_copies=false", sets="hardfake,ciplab")
    assert len(loose.index) > len(index)


def test_the_rule_of_what_stays_by_hand():
    groups = np.array(["a", "a", "b", "b", "c", "c", "d", "d", "d"])
    member = np.array([0, 1, 0, 0, 0, 1, 0, 1, 1])
    parts = np.array(["train", "test", "train", "test", "val", "val", "train", "val", "val"])
    #                 goes            of one set, stays     one part         goes
    kept = [False, True, True, True, True, True, False, True, True]
    assert _kept(groups, member, parts).tolist() == kept
    assert 0 < RADIUS < 10


def test_a_set_left_out_is_tested_whole(root, tmp_path):
    faces = load(root, tmp_path, "data.leave_out=140k")
    of = np.array(faces.index["set"])
    assert part_sizes(faces.parts[of == "140k"]) == {"train": 0, "val": 0, "test": 72}
    usual = load(root, tmp_path)
    assert (faces.parts[of != "140k"] == usual.parts[np.array(usual.index["set"]) != "140k"]).all()
    place = copies(root, tmp_path / "sets")
    faces = load(place, tmp_path, "data.leave_out=hardfake", sets="hardfake,ciplab")
    hidden = [n for n in faces.index["name"] if n.startswith("ciplab/training_real/b")]
    hidden = [n for n in hidden if faces.parts[faces.index["name"].index(n)] != "test"]
    assert not hidden and len(faces.index) < 184


@pytest.mark.parametrize(
    "overrides, says",
    [
        (["data.sets=ciplab"], r"data\.sets=ciplab: give a list of names"),
        (["data.sets=[]"], r"data\.sets=\[\]: give names of sets"),
        (["data.sets=[ciplab]"], "give two or more; one alone is data=ciplab"),
        (["data.sets=[ciplab,cats]"], r"data\.sets: there is no set 'cats'; there is 140k"),
        (["data.sets=[ciplab,ciplab]"], "two are called ciplab"),
        (["data.sets=[ciplab,joint]"], r"joint data\.sets|is several sets itself"),
        (["data.leave_out=cats"], r"leave_out=cats: choose one of 140k, ciplab, hardfake, or null"),
        (["data.leave_out=[ciplab]"], r"data\.leave_out=\['ciplab'\]: null, or give a name"),
        (["data.sets=[ciplab,utkface]"], "utkface holds real faces only"),
        (["data.sets=[ciplab,'hardfake data.normalize={size:32,quality:50}']"], "one network has"),
        (["data.sets=[ciplab,'hardfake data.crop=face']"], "hardfake has a crop of its own"),
        (["data.sets=[ciplab,'folder data.root={gender}']"], "the same two classes"),
        (["data.sets=[ciplab,'hardfake data.root={gender}']"], "no folder in .* holds fake, real"),
    ],
)
def test_mistakes_are_one_line(root, tmp_path, overrides, says):
    for name in ("female", "male"):
        (tmp_path / "gender" / name).mkdir(parents=True)
        for at, file in enumerate(sorted((root / "hardfake/real").iterdir())):
            (tmp_path / "gender" / name / f"{name}{at}.png").write_bytes(file.read_bytes())
    given = [one.replace("{gender}", f'"{tmp_path}/gender"') for one in overrides]
    with pytest.raises(UserError, match=says) as error:
        load(root, tmp_path, *given)
    assert "\n" not in str(error.value)


def test_a_missing_list_of_sets_is_named(root, tmp_path):
    from omegaconf.errors import MissingMandatoryValue

    cfg = cli.compose("train", ["data=joint", f"data_root={root}"])
    with pytest.raises(MissingMandatoryValue, match="sets"):
        load_set(cfg.data, tmp_path)


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    place = tmp_path_factory.mktemp("joint")
    return train(compose(root, place, "data.balance=set_and_class", "evaluate_test=true"))


def predictions(folder: str, part: str, name: str):
    with open(Path(folder) / "predictions.csv") as file:
        lines = [
            line
            for line in csv.DictReader(file)
            if line["split"] == part and line["path"].startswith(f"{name}/")
        ]
    return np.array([[float(line["p_fake"]), float(line["label"])] for line in lines]).T


def test_a_training_reports_over_all_and_by_set(trained):
    folder = Path(trained["folder"])
    assert folder.parent.name == "joint-cnn6"
    on_disk = json.loads((folder / "metrics.json").read_text())
    for part in ("val", "test"):
        assert list(on_disk[part]["sets"]) == ["140k", "ciplab", "hardfake"]
        assert sum(of["n"] for of in on_disk[part]["sets"].values()) == on_disk[part]["n"]
        for name, of in on_disk[part]["sets"].items():
            p, labels = predictions(folder, part, name)
            assert of["auroc"]["value"] == pytest.approx(roc_auc_score(labels == 0, p), abs=1e-8)
            called = p >= on_disk["calibration"]["threshold"]
            assert of["accuracy"]["value"] == pytest.approx(accuracy_score(labels == 0, called))
            assert of["auroc"]["low"] < of["auroc"]["high"] and not of["left_out"]
        # Kinds of ciplab's fakes stand beside its own reals, not beside those of other sets.
        reals = on_disk[part]["sets"]["ciplab"]["n_real"]
        assert {kind["n_real"] for kind in on_disk[part]["by_difficulty"].values()} == {reals}
    card = (folder / "card.md").read_text()
    assert "| hardfake | " in card and "It has seen 3 sets, 140k, ciplab, hardfake." in card
    assert 'data=joint \'data.sets=["140k","ciplab","hardfake"]\'' in card


def test_each_set_has_its_curves(trained):
    folder = Path(trained["folder"])
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    with open(folder / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    for name in ("140k", "ciplab", "hardfake"):
        for key in ("auroc", "accuracy"):
            assert f"val/{name}/{key}" in tags
            values = [float(row[f"val/{name}/{key}"]) for row in rows]
            assert [e.value for e in events.Scalars(f"val/{name}/{key}")] == pytest.approx(values)
    best = trained["training"]["best_epoch"] - 1
    for name in ("140k", "ciplab", "hardfake"):
        p, labels = predictions(trained["folder"], "val", name)
        # The temperature does not change the order.
        expected = roc_auc_score(labels == 0, p)
        assert float(rows[best][f"val/{name}/auroc"]) == pytest.approx(expected, abs=0.02)


def asked(trained, *overrides: str):
    runs = Path(trained["folder"]).parents[2]
    quick = ["progress=none", "evaluate.replicates=100", "evaluate.device=cpu"]
    where = [f"paths.runs={runs}", f"paths.cache={runs.parent}", f"ckpt={trained['folder']}"]
    where[-1] += "/checkpoints/best.ckpt"
    return evaluate(cli.compose("evaluate", [*quick, *where, *overrides]))


def test_an_evaluation_without_a_set_takes_all_of_them(trained):
    found = asked(trained)
    assert found["set"] == "joint" and found["seen_in_training"] == 0
    for name, of in found["sets"].items():
        assert of["auroc"]["value"] == trained["test"]["sets"][name]["auroc"]["value"]
    assert "## Each set alone" in (Path(found["folder"]) / "report.md").read_text()
    assert found["against_controls"]["controls"]
    everything = asked(trained, "evaluate.part=all", "evaluate.controls=false")
    assert everything["metrics"]["n"] == 232 and 0 < everything["seen_in_training"] < 232


def test_an_evaluation_of_one_set_knows_what_was_trained_on(root, trained):
    found = asked(trained, "data=ciplab", f"data_root={root}", "evaluate.part=all")
    with open(Path(trained["folder"]) / "split.csv") as file:
        seen = [line for line in csv.DictReader(file) if line["path"].startswith("ciplab/")]
    count = Counter(line["split"] for line in seen)
    assert (found["seen_in_training"], found["chosen_on"]) == (count["train"], count["val"])
    assert found["against_controls"]["controls"]  # fitted on all that it was trained on
    # The split that the run wrote down holds, whatever is asked for today.
    test = asked(trained, "data=ciplab", f"data_root={root}", "data.split.seed=9")
    assert test["seen_in_training"] == 0 and test["metrics"]["n"] == count["test"]
    assert test["metrics"]["auroc"]["value"] == trained["test"]["sets"]["ciplab"]["auroc"]["value"]


def test_a_killed_balanced_run_goes_on_to_the_same_weights(root, trained):
    place = Path(trained["folder"]).parents[3]
    session = Session(compose(root, place, "data.balance=set_and_class"))
    fit_until_killed(session, 1, 2)
    last = session.folder / "checkpoints" / "last.ckpt"
    again = train(compose(root, place, "data.balance=set_and_class", f"ckpt_path={last}"))
    assert again["folder"] == str(session.folder)
    for name in ("metrics.json", "predictions.csv", "metrics.csv"):
        one, two = ((Path(run["folder"]) / name).read_text() for run in (trained, again))
        assert one == two
    for changed in ("data.balance=none", "data.leave_out=ciplab", "data.sets=[ciplab,hardfake]"):
        given = ["data.balance=set_and_class", f"ckpt_path={last}"]
        with pytest.raises(UserError, match=r"goes on as it began|another split of the data"):
            Session(compose(root, place, *given, changed))


def test_a_picture_of_a_joint_training_is_found_in_its_set(root, trained):
    from detector.evaluation.trained import open_trained

    ckpt = f"{trained['folder']}/checkpoints/best.ckpt"
    opened = open_trained(ckpt, Path(trained["folder"]).parents[2], "cpu")
    sets = known_sets(opened.data, "/nowhere")
    (picture,) = look_up("mid_1_1000.png", sets)
    assert (picture.set, picture.name) == ("ciplab", "training_fake/mid_1_1000.png")
    assert picture.edited == ["viewer's left eye"]
    assert f"{picture.set}/{picture.name}" in opened.parts


def test_a_set_that_was_left_out_stands_beside_the_others(root, tmp_path, capsys):
    metrics = train(compose(root, tmp_path, "data.leave_out=hardfake", "data.balance=set"))
    of = metrics["test"]["sets"]
    assert of["hardfake"]["left_out"] and of["hardfake"]["n"] == 80
    assert not of["ciplab"]["left_out"] and set(metrics["val"]["sets"]) == {"140k", "ciplab"}
    card = (Path(metrics["folder"]) / "card.md").read_text()
    assert (
        "| hardfake (left out of training) | 40 | 40 |" in card and "2 sets, 140k, ciplab" in card
    )
    found = asked(metrics, "data=hardfake", f"data_root={root}")
    assert found["metrics"]["n"] == 80 and found["seen_in_training"] == 0
    assert found["metrics"]["auroc"]["value"] == of["hardfake"]["auroc"]["value"]
    # In a matrix the set is not the network's own, though its run wrote down that it is tested.
    cfg = cli.compose(
        "matrix",
        [f"ckpts=['{metrics['folder']}']", "sets=[ciplab,hardfake]", f"data_root={root}",
         "matrix.replicates=100", "matrix.device=cpu", "progress=none",
         f"paths.runs={tmp_path}/runs", f"paths.cache={tmp_path}"],
    )  # fmt: skip
    ciplab, hardfake = matrix(cfg)["cells"]
    assert (ciplab["set"], ciplab["own"]) == ("ciplab", True)
    assert (hardfake["own"], hardfake["namesake"], hardfake["n"]) == (False, False, 80)


def test_each_set_left_out_in_one_command(root, tmp_path):
    command = [
        sys.executable, "-m", "detector.train", "-m", "data=joint",
        "data.sets=[140k,ciplab,hardfake]", "data.leave_out=ciplab,hardfake", f"data_root={root}",
        "model=cnn3", "model.preprocess.size=32", "trainer.max_epochs=1", "progress=none",
        "trainer.accelerator=cpu", "trainer.precision=32-true", "heatmaps.every=0",
        "data.num_workers=0", f"paths.runs={tmp_path}/runs", f"paths.cache={tmp_path}/cache",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "runs/sweeps").iterdir()
    found = json.loads((sweep / "sweep.json").read_text())
    assert found["part"] == "test" and len(found["variants"]) == 2
    text = (sweep / "sweep.md").read_text()
    assert text in done.stdout and "## AUROC by set" in text
    lines = text[text.index("## AUROC by set") :].splitlines()
    assert lines[2] == "| left out | seed | 140k | ciplab | hardfake |"
    for line, job in zip(lines[4:6], found["jobs"], strict=True):
        (out,) = [o.split("=")[1] for o in job["overrides"] if "leave_out" in o]
        metrics = json.loads((Path(job["folder"]) / "metrics.json").read_text())
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:2] == [out, "0"]
        for name, cell in zip(("140k", "ciplab", "hardfake"), cells[2:], strict=True):
            value = f"{metrics['test']['sets'][name]['auroc']['value']:.3f} ["
            assert cell.startswith(("**" if name == out else "") + value)


def test_real_faces_alone_can_be_left_out(root, tmp_path):
    (tmp_path / "people").mkdir()
    for at, file in enumerate(sorted((root / "hardfake/real").iterdir())):
        Image.open(file).save(tmp_path / "people" / f"{at + 1}_0_1_2017.bmp")
    sets = f"ciplab,140k,'utkface data.root=\"{tmp_path}/people\"'"
    faces = load(root, tmp_path, "data.leave_out=utkface", sets=sets)
    of = np.array(faces.index["set"]) == "utkface"
    assert of.sum() == 40 and set(faces.parts[of]) == {"test"}
    assert set(faces.index.labels[of]) == {1}

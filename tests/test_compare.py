"""Comparisons from their command to their report, on folders written as runs write them."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, roc_auc_score

from detector import cli
from detector.compare import compare
from detector.errors import UserError
from detector.evaluate import evaluate
from detector.evaluation.compare_report import sentence, signed
from detector.evaluation.comparison import Comparison
from detector.evaluation.metrics import summarize
from detector.run.folder import write_config, write_csv, write_json
from detector.train import train

N = 60  # images of a made-up set, of which each part or fold has some


def images(n=N):
    """Paths, labels and groups; two images of a group here and there."""
    labels = np.resize([0, 1], n)
    paths = np.array(
        [f"{'fake' if y == 0 else 'real'}/{at:03d}.png" for at, y in enumerate(labels)]
    )
    return paths, labels, np.array([f"g{at // 2 if at < 10 else at:03d}" for at in range(n)])


def scores(rng, labels, strength):
    return 1 / (1 + np.exp(-(strength * (1 - 2 * labels) + rng.normal(size=len(labels)))))


def part_of(at, folds, fold):
    if folds is None:
        return ("test", "val", "train")[at % 3]
    return {fold: "test", (fold + 1) % folds: "val"}.get(at // 2 % folds, "train")


def write_run(folder, p, *, threshold=0.5, seed=0, folds=None, fold=0, shuffled=None, **settings):
    """A finished training of p (N,), as `run.finish` leaves one."""
    folder.mkdir(parents=True)
    paths, labels, groups = images(len(p))
    order = range(len(p)) if shuffled is None else shuffled.permutation(len(p))
    parts = [part_of(at, folds, fold) for at in range(len(p))]
    rows = [(paths[at], labels[at], groups[at], parts[at]) for at in order]
    write_csv(folder / "split.csv", ("path", "label", "group", "split"), rows)
    kept = [
        (paths[at], labels[at], part, f"{p[at]:.9g}")
        for part in ("val", "test")
        for at in order
        if parts[at] == part
    ]
    write_csv(folder / "predictions.csv", ("path", "label", "split", "p_fake"), kept)
    metrics = {"class_names": ["fake", "real"], "calibration": {"threshold": threshold}}
    for part in ("val", "test"):
        rows = np.flatnonzero(np.array(parts) == part)
        options = {"threshold": threshold, "replicates": 20, "seed": 0}
        metrics[part] = summarize(p[rows], labels[rows], groups[rows], **options)
    write_json(folder / "metrics.json", metrics)
    config = {
        "data": {"name": "made", "split": {"folds": folds, "fold": fold, "seed": 0}},
        "model": {"name": "cnn6"},
        "optimizer": {"name": "adam", "lr": 0.001},
        "seed": seed,
        "paths": {"runs": str(folder)},
    }
    for key, value in settings.items():
        OmegaConf.update(changed := OmegaConf.create(config), key.replace("__", "."), value)
        config = OmegaConf.to_container(changed)
    write_config(folder, OmegaConf.create(config))
    return folder


def write_sweep(folder, runs):
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [{"overrides": [f"seed={at}"], "folder": str(run)} for at, run in enumerate(runs)]
    write_json(folder / "sweep.json", {"jobs": jobs})
    return folder


def compose(tmp_path, *runs, overrides=()):
    listed = ",".join(map(str, runs))
    return cli.compose(
        "compare",
        [f"runs=[{listed}]", f"paths.runs={tmp_path}/runs", "compare.replicates=100", *overrides],
    )


@pytest.fixture
def two(tmp_path):
    rng = np.random.default_rng(0)
    labels = images()[1]
    a = write_run(tmp_path / "a" / "1", scores(rng, labels, 1.5), threshold=0.4)
    b = write_run(tmp_path / "b" / "2", scores(rng, labels, 0.2), optimizer__lr=0.01)
    return a, b


def test_two_trainings_are_compared_on_their_test_part(two, tmp_path):
    found = compare(compose(tmp_path, *two))
    folder = Path(found["folder"])
    assert folder.parent == (tmp_path / "runs" / "compare").resolve()
    files = {"compare.md", "compare.json", "compare.png", "config.yaml", "environment.json"}
    assert {path.name for path in folder.iterdir()} == files
    kept = json.loads((folder / "compare.json").read_text())
    assert kept == {key: value for key, value in found.items() if key != "folder"}
    assert list(kept["entries"]) == ["made-cnn6 (lr=0.001)", "made-cnn6 (lr=0.01)"]
    assert (kept["set"], kept["part"], kept["n"], kept["folds"]) == ("made", "test", 20, 1)
    text = (folder / "compare.md").read_text()
    assert kept["pairs"][0]["says"] in text and "| – |" in text  # one seed has no spread
    with Image.open(folder / "compare.png") as picture:
        assert picture.width == 1420 and picture.height > 300
    for run, entry in zip(two, kept["entries"].values(), strict=True):
        of_run = json.loads((run / "metrics.json").read_text())["test"]
        for key in ("auroc", "accuracy", "balanced_accuracy", "log_loss", "brier"):
            assert entry["metrics"][key]["value"] == pytest.approx(of_run[key]["value"], abs=1e-6)
        # The same images, hence the same interval as in the run's own report.
        assert entry["metrics"]["accuracy"]["low"] == pytest.approx(of_run["accuracy"]["low"])


def test_val_can_be_compared_and_says_what_it_was_used_for(two, tmp_path):
    found = compare(compose(tmp_path, *two, overrides=["compare.part=val"]))
    of_run = json.loads((two[0] / "metrics.json").read_text())["val"]
    entry = next(iter(found["entries"].values()))
    assert entry["metrics"]["auroc"]["value"] == pytest.approx(of_run["auroc"]["value"])
    assert "chosen on these images" in (Path(found["folder"]) / "compare.md").read_text()


def test_a_checkpoint_stands_for_its_run(two, tmp_path):
    (two[0] / "checkpoints").mkdir()
    (two[0] / "checkpoints" / "best.ckpt").touch()
    by_file = compare(compose(tmp_path, two[0] / "checkpoints" / "best.ckpt", two[1]))
    assert by_file["pairs"] == compare(compose(tmp_path, *two))["pairs"]


def test_the_order_of_lines_does_not_matter(two, tmp_path):
    rng = np.random.default_rng(9)
    other = []
    for at, run in enumerate(two):
        copy = shutil.copytree(run, tmp_path / "shuffled" / run.name)
        for name in ("predictions.csv", "split.csv"):
            header, *lines = (copy / name).read_text().splitlines(keepends=True)
            (copy / name).write_text(header + "".join(rng.permutation(lines)))
        other.append(copy if at else run)
    assert compare(compose(tmp_path, *other))["pairs"] == compare(compose(tmp_path, *two))["pairs"]


def test_sweeps_are_averaged_over_folds_and_seeds_and_vote_once_per_image(tmp_path):
    rng, labels = np.random.default_rng(1), images(90)[1]
    kept, sweeps = {}, []
    for name, strength, seeds in (("a", 1.5, 3), ("b", 0.2, 1)):
        runs = []
        for fold in range(3):
            for seed in range(seeds):
                p = np.round(scores(rng, labels, strength), 3)
                threshold = round(float(rng.uniform(0.4, 0.6)), 2)
                run = write_run(
                    tmp_path / name / f"{fold}-{seed}", p, threshold=threshold, seed=seed,
                    folds=3, fold=fold, shuffled=rng, optimizer__lr=strength,
                )  # fmt: skip
                kept[name, fold, seed] = p, threshold
                runs.append(run.relative_to(tmp_path / name) if fold else run)
        sweeps.append(write_sweep(tmp_path / name, rng.permutation(runs)))
    found = compare(compose(tmp_path, *sweeps, overrides=["compare.names=[a,b]"]))
    assert (found["n"], found["folds"]) == (90, 3)
    fold_of = np.arange(90) // 2 % 3
    right = {}
    for name, seeds in (("a", 3), ("b", 1)):
        entry = found["entries"][name]
        assert entry["networks"] == 3 * seeds
        auroc, accuracy = np.zeros((3, seeds)), np.zeros((3, seeds))
        verdict = np.zeros(90, bool)
        for fold in range(3):
            rows = fold_of == fold
            said = []
            for seed in range(seeds):
                p, threshold = kept[name, fold, seed]
                auroc[fold, seed] = roc_auc_score(labels[rows] == 0, p[rows])
                called = p[rows] >= threshold
                accuracy[fold, seed] = accuracy_score(labels[rows] == 0, called)
                said.append(called)
            verdict[rows] = np.mean(said, axis=0) > 0.5
        right[name] = verdict == (labels == 0)
        assert entry["metrics"]["auroc"]["value"] == pytest.approx(auroc.mean())
        assert entry["metrics"]["accuracy"]["value"] == pytest.approx(accuracy.mean())
        sd = auroc.mean(axis=0).std(ddof=1) if seeds > 1 else None
        assert entry["spread"]["auroc"]["sd"] == (sd if sd is None else pytest.approx(sd))
    only_a, only_b = (right["a"] & ~right["b"]).sum(), (right["b"] & ~right["a"]).sum()
    mcnemar = found["pairs"][0]["mcnemar"]
    assert (mcnemar["only_a"], mcnemar["only_b"]) == (only_a, only_b)
    assert mcnemar["p"] == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    assert found["pairs"][0]["says"].startswith("a is better than b: +0.")
    assert "b was trained with one seed" in (Path(found["folder"]) / "compare.md").read_text()


def test_a_training_and_its_evaluation_agree(tiny, tmp_path):
    run = Path(train(tiny("seed=1"))["folder"])
    options = ["progress=none", "evaluate.controls=false", "evaluate.replicates=20"]
    place = [f"paths.runs={tmp_path}/runs", f"paths.cache={tmp_path}/cache", "evaluate.device=cpu"]
    overrides = [f"ckpt={run}/checkpoints/best.ckpt", *options, *place]
    evaluation = evaluate(cli.compose("evaluate", overrides))["folder"]
    found = compare(compose(tmp_path, run, evaluation))
    assert [entry["kind"] for entry in found["entries"].values()] == ["training", "evaluation"]
    for name, difference in found["pairs"][0]["difference"].items():
        assert difference["value"] == pytest.approx(0, abs=1e-4), name
    assert found["pairs"][0]["mcnemar"]["p"] == 1
    assert found["pairs"][0]["says"].startswith("Nothing here shows that ")


def write_evaluation(folder, p, *, threshold=0.5, seen=0):
    """An evaluation of p (N,) on all images, as `evaluation.session` leaves one."""
    folder.mkdir(parents=True)
    paths, labels, groups = images(len(p))
    options = {"threshold": threshold, "replicates": 20, "seed": 0}
    metrics = {
        "network": "other-cnn6",
        "checkpoint": "/nowhere/checkpoints/best.ckpt",
        "set": "made",
        "part": "all",
        "class_names": ["fake", "real"],
        "seen_in_training": seen,
        "metrics": summarize(p, labels, groups, **options),
    }
    write_json(folder / "metrics.json", metrics)
    rows = zip(paths, labels, groups, (f"{x:.9g}" for x in p), strict=True)
    write_csv(folder / "predictions.csv", ("path", "label", "group", "p_edited"), rows)
    return folder


def test_evaluations_speak_for_themselves(tmp_path):
    rng, labels = np.random.default_rng(3), images()[1]
    a = write_evaluation(tmp_path / "1", scores(rng, labels, 1), seen=12)
    b = write_evaluation(tmp_path / "2", scores(rng, labels, 0.5), threshold=0.3)
    found = compare(compose(tmp_path, a, b))
    assert list(found["entries"]) == ["other-cnn6 (1)", "other-cnn6 (2)"]
    assert (found["part"], found["n"], found["n_groups"]) == ("all", 60, 55)
    for folder, entry in zip((a, b), found["entries"].values(), strict=True):
        measured = json.loads((folder / "metrics.json").read_text())["metrics"]
        for key in ("auroc", "accuracy", "brier"):
            assert entry["metrics"][key]["value"] == pytest.approx(measured[key]["value"])
    for key, difference in found["pairs"][0]["difference"].items():
        leaves_out = difference["low"] > 0 or difference["high"] < 0
        assert found["pairs"][0]["different"][key] == leaves_out
    text = (Path(found["folder"]) / "compare.md").read_text()
    assert "other-cnn6 (1) was trained on 12 of these images" in text
    assert "other-cnn6 (2) was trained on" not in text and "55 groups" in text


@pytest.mark.parametrize(
    "damage, says",
    [
        (lambda f: edit(f, "predictions.csv", lambda r: r[:-1]), "59 images, but metrics.json"),
        (lambda f: edit(f, "predictions.csv", replaced(1, "7", all)), "label 7 .* needs 0 or 1"),
        (lambda f: edit_json(f, lambda m: m.pop("metrics")), "not as it was written .*metrics"),
        (lambda f: edit_json(f, lambda m: m.update(class_names=["a"])), "not as it was written"),
    ],
)
def test_a_damaged_evaluation_is_named_in_one_line(tmp_path, damage, says):
    whole, damaged = (write_evaluation(tmp_path / name, np.full(N, 0.5)) for name in "ab")
    damage(damaged)
    with pytest.raises(UserError, match=says) as error:
        compare(compose(tmp_path, whole, damaged))
    assert "\n" not in str(error.value) and str(damaged) in str(error.value)


@pytest.mark.parametrize(
    "value, low, high, says",
    [
        (0.03, 0.01, 0.05, "A is better than B: +0.030 [+0.010, +0.050] AUROC."),
        (-0.03, -0.05, -0.01, "B is better than A: +0.030 [+0.010, +0.050] AUROC."),
        (0.0, -0.01, 0.05, "Nothing here shows that A and B differ in AUROC: the first minus"),
        (0.02, 0.0, 0.05, "Nothing here shows that A and B differ"),
    ],
)
def test_the_sentence_follows_the_interval(value, low, high, says):
    measure = {"value": value, "low": low, "high": high}
    spread = {name: {"auroc": {"sd": None}} for name in "AB"}
    pair = {"a": "A", "b": "B", "difference": {"auroc": measure}}
    assert sentence(pair, spread).startswith(says)
    spread = {"A": {"auroc": {"sd": 0.1}}, "B": {"auroc": {"sd": 0.2}}}
    ends = "0.200 and 0.100" if high < 0 else "0.100 and 0.200"
    assert sentence(pair, spread).endswith(f"(sd over seeds: {ends}).") or "AUROC (sd over" in says


def test_what_is_all_but_nothing_has_no_sign_of_its_own():
    assert signed({"value": -1e-9, "low": -0.1, "high": 1e-9}) == "+0.000 [-0.100, +0.000]"


def test_names_tell_entries_apart_as_shortly_as_they_can(tmp_path):
    rng, labels = np.random.default_rng(2), images()[1]

    def run(folder, **settings):
        return write_run(tmp_path / folder, scores(rng, labels, 1), **settings)

    def names(*runs):
        return list(Comparison(compose(tmp_path, *runs)).answers)

    plain, other = run("1"), run("2", model__name="cnn2")
    assert names(plain, other) == ["made-cnn6", "made-cnn2"]
    seed = run("3", seed=1)
    assert names(plain, seed, other) == ["made-cnn6 (seed=0)", "made-cnn6 (seed=1)", "made-cnn2"]
    assert names(plain, run("4")) == ["made-cnn6 (1)", "made-cnn6 (4)"]
    sgd = run("5", optimizer__name="sgd", optimizer__lr=0.1)
    assert names(plain, sgd) == ["made-cnn6 (optimizer=adam)", "made-cnn6 (optimizer=sgd)"]
    split = run("6", data__split__seed=1)  # not to be taken for the seed of the training
    assert names(plain, split) == [
        "made-cnn6 (data.split.seed=0)", "made-cnn6 (data.split.seed=1)"
    ]  # fmt: skip


def edit(folder, name, change):
    with open(folder / name, newline="") as file:
        rows = list(csv.reader(file))
    header, *rest = change(rows)
    write_csv(folder / name, header, rest)


def edit_json(folder, change):
    metrics = json.loads((folder / "metrics.json").read_text())
    change(metrics)
    write_json(folder / "metrics.json", metrics)


def replaced(column, value, of=lambda row: row[2] == "test"):
    def change(rows):
        at = next(i for i, row in enumerate(rows[1:], 1) if of(row))
        rows[at][column] = value
        return rows

    return change


DAMAGE = [
    (lambda f: edit(f, "predictions.csv", lambda r: r[:-1]), "19 images, but metrics.json .* 20"),
    (lambda f: edit(f, "predictions.csv", lambda r: [*r[:-1], r[-2]]), "more than one line for"),
    (lambda f: edit(f, "predictions.csv", replaced(3, "nan")), "score nan, but needs"),
    (lambda f: edit(f, "predictions.csv", replaced(3, "1.5")), "score 1.5, but needs"),
    (lambda f: edit(f, "predictions.csv", replaced(3, "high")), "score high, but needs"),
    (lambda f: edit(f, "predictions.csv", replaced(1, "7")), "contradict each other: "),
    (lambda f: edit(f, "predictions.csv", replaced(0, "x.png")), "contradict each other: x.png"),
    (lambda f: edit(f, "predictions.csv", lambda r: [["path"], *r[1:]]), "its header is 'path'"),
    (lambda f: edit(f, "predictions.csv", lambda r: [*r, ["a"]]), "line 42 has 1 columns"),
    (lambda f: (f / "predictions.csv").write_bytes(b"\xff\xfe"), "cannot use .*predictions.csv"),
    (lambda f: (f / "predictions.csv").unlink(), "cannot use .*predictions.csv"),
    (lambda f: (f / "split.csv").unlink(), "cannot use .*split.csv"),
    (lambda f: (f / "config.yaml").write_text("a: [1"), "cannot use .*config.yaml"),
    (lambda f: (f / "config.yaml").write_text("a: 1"), "not as it was written .*data.name"),
    (lambda f: (f / "metrics.json").write_text('{"test": '), "cannot use .*metrics.json"),
    (lambda f: (f / "metrics.json").write_text("[]"), "cannot use .*metrics.json"),
    (lambda f: edit_json(f, lambda m: m.update(test=3)), "not as it was written"),
    (lambda f: edit_json(f, lambda m: m.update(calibration={"threshold": 2})), "threshold is 2"),
    (lambda f: edit_json(f, lambda m: m.pop("test")), r"no scores of the test part .*part=val"),
    (lambda f: (f / "metrics.json").unlink(), "is not finished, it has no metrics.json"),
    (shutil.rmtree, "no run folder"),
]


@pytest.mark.parametrize("damage, says", DAMAGE)
def test_a_damaged_run_is_named_in_one_line(two, tmp_path, damage, says):
    damage(two[1])
    with pytest.raises(UserError, match=says) as error:
        compare(compose(tmp_path, *two))
    assert "\n" not in str(error.value) and str(two[1]) in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_an_unfinished_run_names_the_command_that_goes_on(two, tmp_path):
    (two[0] / "metrics.json").unlink()
    (two[0] / "checkpoints").mkdir()
    last = two[0] / "checkpoints" / "last.ckpt"
    last.touch()
    write_json(two[0] / "environment.json", {"command": "train.py seed=3 ckpt_path=old.ckpt"})
    says = f"go on with python -m detector.train seed=3 ckpt_path={last.resolve()}"
    with pytest.raises(UserError, match=re.escape(says) + "$"):
        compare(compose(tmp_path, *two))


def test_others_than_the_same_images_are_counted_and_one_is_named(two, tmp_path):
    def third(**settings):
        folder = tmp_path / "third"
        shutil.rmtree(folder, ignore_errors=True)
        return write_run(folder, np.full(settings.pop("n", N), 0.5), **settings)

    def refused(run, says):
        with pytest.raises(UserError, match=says) as error:
            compare(compose(tmp_path, two[0], run))
        assert "\n" not in str(error.value)

    refused(third(n=66), "2 of 22 are in one only, such as (fake|real)/06[03].png")
    refused(third(data__name="cats"), "made-cnn6 answers .* made .* cats-cnn6 of cats")
    refused(third(folds=5), "are in one only")

    def regroup(rows):
        return [[*row[:2], "g999" if row[0] == "real/003.png" else row[2], row[3]] for row in rows]

    run = third()
    edit(run, "split.csv", regroup)
    refused(run, "other groups: of 1 of 20 images, such as real/003.png; data.near_copies")
    run = third()
    for name in ("split.csv", "predictions.csv"):
        edit(run, name, replaced(1, "0", of=lambda row: row[0] == "real/003.png"))
    refused(run, "other labels: of 1 of 20 images, such as real/003.png")


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda runs: runs[:-1], "lacks seed=1 of data.split.fold=2"),
        (lambda runs: [*runs[:-1], "nowhere"], "is not finished, seed=5 is not trained: repeat"),
        (lambda runs: [*runs, runs[0]], "two runs of seed=0 of data.split.fold=0"),
        (lambda runs: [], "lists no jobs"),
        (lambda runs: runs[:4], "has folds 0, 1, 2 .* has folds 0, 1 "),
        (lambda runs: runs[:2], "has folds 0, 1, 2 .* has folds 0 "),
    ],
)
def test_sweeps_have_to_be_whole_and_alike(tmp_path, change, says):
    labels = images()[1]
    runs = [
        write_run(tmp_path / f"{fold}{seed}", labels * 1.0, seed=seed, folds=3, fold=fold)
        for fold in range(3)
        for seed in range(2)
    ]
    whole = write_sweep(tmp_path / "whole", runs)
    part = write_sweep(tmp_path / "part", change(runs))
    with pytest.raises(UserError, match=says) as error:
        compare(compose(tmp_path, whole, part))
    assert "\n" not in str(error.value)


def test_an_unfinished_sweep_names_what_goes_on(two, tmp_path):
    (tmp_path / "sweep" / "jobs").mkdir(parents=True)
    with pytest.raises(UserError, match=r"not finished, it has no sweep\.json: repeat its command"):
        compare(compose(tmp_path, tmp_path / "sweep", two[0]))
    jobs = [{"overrides": ["seed=0"], "folder": str(tmp_path / "gone")}]
    command = "python -m detector.train -m seed=0,1"
    write_json(tmp_path / "sweep" / "sweep.json", {"command": command, "jobs": jobs})
    with pytest.raises(UserError, match=f"seed=0 is not trained: go on with {command}$"):
        compare(compose(tmp_path, tmp_path / "sweep", two[0]))


def test_a_sweep_over_anything_else_is_refused(tmp_path):
    labels = images()[1]
    runs = [write_run(tmp_path / f"{at}", labels * 1.0, seed=at, optimizer__lr=at) for at in (1, 2)]
    sweep = write_sweep(tmp_path / "sweep", runs)
    with pytest.raises(UserError, match=r"runs of optimizer\.lr=1 and 2: a sweep to compare"):
        compare(compose(tmp_path, sweep, runs[0]))


@pytest.mark.parametrize(
    "overrides, says",
    [
        (["compare.part=train"], "compare.part=train: choose one of test, val"),
        (["compare.replicates=0"], "compare.replicates=0"),
        (["compare.names=[a]"], "give 2 different names"),
        (["compare.names=[a,a]"], "give 2 different names"),
        (["seed=-1"], "seed=-1"),
        (["runs=a"], "give two or more run folders"),
        (["runs=[a]"], "give two or more run folders"),
    ],
)
def test_wrong_settings_are_named(two, tmp_path, overrides, says):
    with pytest.raises(UserError, match=says) as error:
        compare(compose(tmp_path, *two, overrides=overrides))
    assert "\n" not in str(error.value)


def test_one_run_twice_is_refused(two, tmp_path):
    with pytest.raises(UserError, match="twice"):
        compare(compose(tmp_path, two[0], f"{two[0]}/../1"))


def test_where_runs_cannot_be_written_the_setting_is_named(two, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"set paths\.runs"):
        compare(compose(tmp_path, *two, overrides=[f"paths.runs={tmp_path}/file/runs"]))


def test_the_command_prints_the_report_and_mistakes_in_one_line(two, tmp_path):
    def call(*runs):
        listed = ",".join(map(str, runs))
        arguments = [f"runs=[{listed}]", f"paths.runs={tmp_path}/runs", "compare.replicates=100"]
        command = [sys.executable, "-m", "detector.compare", *arguments]
        source = str(Path(cli.__file__).parents[1])
        return subprocess.run(
            command, capture_output=True, text=True, timeout=120, cwd=tmp_path,
            env={"PYTHONPATH": source, "PATH": ""},
        )  # fmt: skip

    done = call(*two)
    assert done.returncode == 0, done.stderr
    (report,) = (tmp_path / "runs" / "compare").glob("*/compare.md")
    assert report.read_text() in done.stdout
    done = call(two[0])
    assert done.returncode == 2 and done.stderr.startswith("error: runs=")
    assert "Traceback" not in done.stdout + done.stderr

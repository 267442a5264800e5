"""The matrix from its command to its report, on trainings of a second."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, roc_auc_score

from detector import cli
from detector.data import preprocess
from detector.errors import UserError
from detector.evaluate import evaluate
from detector.matrix import matrix
from detector.train import train
from tests.conftest import make_set


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two sets, and networks trained on either; `cats` are the images of the first, renamed."""
    base = tmp_path_factory.mktemp("matrix")
    runs = {}
    for at, name in enumerate(("one", "two")):
        root = make_set(base / name, n=40, seed=at)
        found = train(
            cli.compose(
                "train",
                [
                    "data=folder", f"data.root={root}", f"data.name={name}", "model=cnn6",
                    "model.preprocess.size=32", "data.batch_size=16", "data.num_workers=0",
                    "trainer=cpu", "trainer.max_epochs=2", "progress=none",
                    "metrics.replicates=100", "data.near_copies=false",
                    f"paths.runs={base}/runs", f"paths.cache={base}/cache",
                ],
            )
        )  # fmt: skip
        runs[name] = Path(found["folder"]), found
    for old, new in (("fake", "cat"), ("real", "dog")):
        shutil.copytree(base / "one" / old, base / "cats" / new)
    return base, runs


def entry(base: Path, name: str, *more: str) -> str:
    return " ".join(["folder", f"data.root={base}/{name}", f"data.name={name}", *more])


def compose(base: Path, ckpts: list, sets: list[str], *overrides: str):
    listed = [",".join(f'"{one}"' for one in of) for of in (ckpts, sets)]
    return cli.compose(
        "matrix",
        [
            f"ckpts=[{listed[0]}]", f"sets=[{listed[1]}]", "progress=none",
            "matrix.replicates=100", "matrix.device=cpu", "data.near_copies=false",
            f"paths.runs={base}/runs", f"paths.cache={base}/cache", *overrides,
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(world):
    base, runs = world
    folders = [runs["one"][0], runs["two"][0] / "checkpoints" / "best.ckpt"]
    return matrix(compose(base, folders, [entry(base, "one"), entry(base, "two")]))


def cell_of(found: dict, network: str, name: str) -> dict:
    (cell,) = [c for c in found["cells"] if (c["network"], c["set"]) == (network, name)]
    return cell


def test_own_cells_are_what_training_measured(world, found):
    for name in ("one", "two"):
        cell, test = cell_of(found, f"{name}-cnn6", name), world[1][name][1]["test"]
        assert cell["own"] and cell["seen"] == 0 and cell["n"] == test["n"]
        for key in ("auroc", "accuracy", "ece"):
            assert cell[key]["value"] == pytest.approx(test[key]["value"], abs=1e-6)
        assert cell["threshold"] == pytest.approx(test["threshold"])


def test_other_cells_are_what_evaluate_measures(world, found):
    base, runs = world
    cell = cell_of(found, "one-cnn6", "two")
    assert not cell["own"] and cell["seen"] == 0 and not cell["namesake"]
    alone = evaluate(
        cli.compose(
            "evaluate",
            [
                f"ckpt={runs['one'][0]}/checkpoints/best.ckpt", "data=folder",
                f"data.root={base}/two", "data.name=two", "data.near_copies=false",
                "progress=none", "evaluate.replicates=100", "evaluate.device=cpu",
                "evaluate.controls=false", f"paths.runs={base}/runs",
                f"paths.cache={base}/cache",
            ],
        )
    )  # fmt: skip
    for key in ("auroc", "accuracy", "ece"):
        assert cell[key] == pytest.approx(alone["metrics"][key], abs=1e-6)
    with open(Path(alone["folder"]) / "predictions.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    fake, p = [line["label"] == "0" for line in lines], [float(line["p_fake"]) for line in lines]
    assert cell["auroc"]["value"] == pytest.approx(roc_auc_score(fake, p))
    best = max(accuracy_score(fake, [score >= t for score in p]) for t in [*p, 2])
    assert cell["best_accuracy"]["value"] == pytest.approx(best)
    lost = best - cell["accuracy"]["value"]
    assert cell["lost_by_threshold"]["value"] == pytest.approx(lost)


def test_the_folder_holds_everything(world, found):
    folder = Path(found["folder"])
    assert folder.parent == world[0].resolve() / "runs" / "matrix"
    kept = json.loads((folder / "matrix.json").read_text())
    assert kept == {key: value for key, value in found.items() if key != "folder"}
    with open(folder / "cells.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    order = [("one-cnn6", "one"), ("one-cnn6", "two"), ("two-cnn6", "one"), ("two-cnn6", "two")]
    assert [(line["network"], line["set"]) for line in lines] == order
    for line, cell in zip(lines, kept["cells"], strict=True):
        assert float(line["auroc"]) == cell["auroc"]["value"]
    text = (folder / "matrix.md").read_text()
    assert all(says in text for says in kept["says"])
    with Image.open(folder / "matrix.png") as picture:
        assert picture.width >= 900
    assert {"config.yaml", "environment.json"} <= {path.name for path in folder.iterdir()}


def test_images_of_training_are_counted_where_they_are(world):
    base, runs = world
    shutil.copytree(base / "one", base / "copied", dirs_exist_ok=True)
    sets = [entry(base, "one"), entry(base, "copied"), entry(base, "two")]
    whole = matrix(compose(base, [runs["one"][0]], sets, "matrix.part=all"))
    with open(runs["one"][0] / "split.csv", newline="") as file:
        trained_on = sum(line["split"] == "train" for line in csv.DictReader(file))
    seen = {cell["set"]: cell["seen"] for cell in whole["cells"]}
    assert seen == {"one": trained_on, "copied": trained_on, "two": 0}
    assert [cell["own"] for cell in whole["cells"]] == [True, False, False]
    text = (Path(whole["folder"]) / "matrix.md").read_text()
    assert f"{trained_on} of one-cnn6 on copied" in text


def test_its_own_split_is_kept_whatever_is_asked_for_today(world, found):
    base, runs = world
    options = ["data.split.seed=9", "data.split.fractions={train:0.2,val:0.2,test:0.6}"]
    again = matrix(compose(base, [runs["one"][0]], [entry(base, "one"), entry(base, "two")],
                           *options))  # fmt: skip
    own, other = again["cells"]
    assert own["n"] == cell_of(found, "one-cnn6", "one")["n"] and own["seen"] == 0
    assert other["n"] == 48


def test_a_picture_is_decoded_once_for_networks_of_one_preprocessing(world, monkeypatch):
    base, runs = world
    decoded = []
    whole = preprocess.Preprocess.__call__
    monkeypatch.setattr(
        preprocess.Preprocess, "__call__", lambda self, data: decoded.append(1) or whole(self, data)
    )
    folders = [runs["one"][0], runs["two"][0]]
    again = matrix(compose(base, folders, [entry(base, "two")], "data.cache_gb=0",
                           f"paths.cache={base}/fresh"))  # fmt: skip
    assert len(decoded) == again["cells"][0]["n"]


def test_sets_that_cannot_be_loaded_are_all_named_before_anything_is_scored(world, tmp_path):
    base, runs = world
    sets = [entry(base, "one"), entry(base, "none"), entry(base, "gone"), "folder data.name=bare"]
    with pytest.raises(UserError) as error:
        matrix(compose(base, [runs["one"][0]], sets, f"paths.runs={tmp_path}"))
    says = str(error.value)
    assert says.startswith("3 of 4 sets cannot be loaded") and "\n" not in says
    assert all(f"{base}/{name}" in says for name in ("none", "gone"))
    assert "bare: data.root has no default" in says or "bare: root has no default" in says
    assert not list(tmp_path.iterdir())


def test_a_set_that_goes_away_loses_no_other(world, monkeypatch):
    base, runs = world
    shutil.copytree(base / "two", base / "brief")
    from detector.evaluation import matrix as session

    whole = session.load_set

    def once(cfg, *rest, **options):
        loaded = whole(cfg, *rest, **options)
        if cfg.name == "brief":
            shutil.rmtree(base / "brief")
        return loaded

    monkeypatch.setattr(session, "load_set", once)
    sets = [entry(base, "brief"), entry(base, "two")]
    with pytest.raises(UserError, match=r"brief cannot be read any more: .*everything else is in"):
        matrix(compose(base, [runs["one"][0]], sets, "data.cache_gb=0"))
    newest = max((base / "runs" / "matrix").iterdir(), key=lambda path: path.stat().st_mtime)
    lost, kept = json.loads((newest / "matrix.json").read_text())["cells"]
    assert "cannot be read" in lost["error"] and kept["auroc"]["value"] is not None
    assert "– " in (newest / "matrix.md").read_text()


def test_classes_that_mean_something_else_are_refused(world):
    base, runs = world
    with pytest.raises(UserError, match="one-cnn6 tells fake/real, cats holds cat/dog") as error:
        matrix(compose(base, [runs["one"][0]], [entry(base, "cats"), entry(base, "one")]))
    assert "\n" not in str(error.value)


def test_a_network_without_its_run_folder_claims_nothing(world, tmp_path):
    base, runs = world
    lone = tmp_path / "sent" / "here" / "lone.ckpt"
    lone.parent.mkdir(parents=True)
    shutil.copy(runs["one"][0] / "checkpoints" / "best.ckpt", lone)
    sets = [entry(base, "one"), entry(base, "two")]
    own, other = matrix(compose(base, [lone], sets))["cells"]
    assert own["seen"] is None and own["namesake"] and not own["own"]
    assert other["seen"] is None and not other["namesake"]


@pytest.mark.parametrize(
    "ckpts, overrides, says",
    [
        ([], [], r"ckpts=\[\]: give run folders or checkpoints"),
        (["none.ckpt"], [], "no checkpoint none.ckpt"),
        (["{base}"], [], "holds no checkpoints/best.ckpt"),
        (["{run}", "{run}/checkpoints/best.ckpt"], [], "twice: give each once"),
        (["{run}"], ["matrix.part=tests"], r"matrix\.part=tests: choose one of train, val, test"),
        (["{run}"], ["matrix.replicates=1"], r"matrix\.replicates=1: give a whole number"),
        (["{run}"], ["ckpts=best.ckpt"], r"ckpts=best\.ckpt: give a list of run folders"),
        (["{run}"], ["sets=ciplab"], r"sets=ciplab: give a list of sets"),
        (["{run}"], ["sets=[]"], r"sets=\[\]: give names of sets; there is 140k"),
        (["{run}"], ["sets=[cats]"], "there is no set 'cats'; there is 140k"),
        (["{run}"], ["progress=loud"], "progress=loud: choose one of"),
        (["{run}"], ["data.batch_size=0"], r"data\.batch_size=0: give a whole number"),
        (["{run}"], ["paths.runs={run}/config.yaml"], "set paths.runs"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(world, ckpts, overrides, says):
    base, runs = world
    known = {"base": base, "run": runs["one"][0]}
    ckpts, overrides = ([text.replace("{base}", str(base)).replace("{run}", str(known["run"]))
                         for text in of] for of in (ckpts, overrides))  # fmt: skip
    with pytest.raises(UserError, match=says) as error:
        matrix(compose(base, ckpts, [entry(base, "one")], *overrides))
    assert "\n" not in str(error.value)


def test_the_command_composes_sets_while_hydra_runs(world, tmp_path):
    base, runs = world
    source = str(Path(cli.__file__).parents[1])
    done = subprocess.run(
        [
            sys.executable, "-m", "detector.matrix", f"ckpts=[{runs['one'][0]}]",
            f'sets=["{entry(base, "one")}","{entry(base, "two")}"]',
            "matrix.replicates=100", "matrix.device=cpu", "data.near_copies=false",
            f"paths.runs={tmp_path}/runs", f"paths.cache={base}/cache",
        ],
        capture_output=True, text=True, timeout=300, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": source, "HYDRA_FULL_ERROR": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "AUROC" in done.stdout and "one-cnn6" in done.stdout and "*: own set" in done.stdout
    assert len(list((tmp_path / "runs" / "matrix").iterdir())) == 1

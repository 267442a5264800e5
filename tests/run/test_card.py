"""The card of fabricated runs: every figure found again, and nothing that can stop it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from detector.evaluation.against import against_controls
from detector.evaluation.calibration import Calibration
from detector.evaluation.controls import CONTROLS
from detector.evaluation.holds import calibration_holds, in_words
from detector.evaluation.metrics import METRICS, summarize
from detector.evaluation.slices import slices
from detector.run.card import write_card
from detector.run.card_facts import code, safe

HOW = {"replicates": 30, "seed": 0}
N = 60


def images(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % 2
    return rng.random(N) * 0.7 + 0.3 * (labels == 0), labels, np.arange(N)


def measured(seed: int) -> dict:
    given = images(seed)
    kinds = np.random.default_rng(seed).choice(["easy", "hard"], N).tolist()
    holds = calibration_holds(*given, **HOW)
    return summarize(*given, threshold=0.5, **HOW) | {
        "calibration": {**holds, "says": in_words(holds, "made")},
        "by_difficulty": slices(*given, kinds, threshold=0.5, **HOW),
    }


def config(name: str) -> dict:
    split = {"fractions": {"train": 0.6, "val": 0.2, "test": 0.2}, "folds": None, "fold": 0,
             "seed": 3, "by_group": True}  # fmt: skip
    pre = {"size": 64, "fit": "crop", "interpolation": "bilinear", "mean": [0.5], "std": [0.25]}
    return {
        "seed": 7,
        "data": {"name": name, "source": "folder", "root": "/faces", "split": split,
                 "normalize": {"size": 256, "quality": 75}},
        "model": {"name": "cnn6", "preprocess": pre},
        "augment": {"name": "flip"},
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make(tmp_path / "runs")


def make(runs: Path, name: str = "made", model: str = "cnn6", names=("fake", "real")) -> Path:
    folder = runs / "train" / f"{name}-{model}" / "2026-01-02_03-04-05"
    (folder / "checkpoints").mkdir(parents=True)
    made = config(name)
    made["model"]["name"] = model
    OmegaConf.save(made, folder / "config.yaml")
    metrics = {"val": measured(1), "test": measured(2), "class_names": list(names)}
    metrics["calibration"] = Calibration(1.37, 0.41, (0.4, 0.43), N, name).to_dict()
    metrics["training"] = {"epochs": 9, "best_epoch": 5, "monitor": "val/auroc",
                           "parameters": 1234567, "gap_opened": None, "seed": 7}  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    rows = [f"{part}/{i}.jpg,{i % 2},{part}{i // 2},{part}"
            for part in ("train", "val", "test") for i in range(N)]  # fmt: skip
    (folder / "split.csv").write_text("\n".join(["path,label,group,split", *rows]) + "\n")
    known = {"command": "train.py data=made", "started": "now", "git": {"revision": "abc123"},
             "packages": {"torch": "9.9"}, "machine": {"cores": 2}}  # fmt: skip
    (folder / "environment.json").write_text(json.dumps(known))
    return folder


def evaluate(folder: Path, part: str = "test", seed: int = 2, **changes: object) -> Path:
    own = images(seed)
    controls = {name: images(10 + at)[0] for at, name in enumerate(CONTROLS)}
    found = {
        "checkpoint": str(folder / "checkpoints" / "best.ckpt"),
        "trained_on": "made",
        "set": "made",
        "part": part,
        "metrics": summarize(*own, threshold=0.5, **HOW),
        "slices": {"mouth": slices(*own, ["1"] * N, threshold=0.5, **HOW)},
        "against_controls": against_controls(own[0], controls, *own[1:], threshold=0.5, **HOW),
        "usual_table": None,
    } | changes
    path = folder.parents[2] / "evaluate" / "made-made-cnn6" / "2026-02-01_00-00-00"
    path.mkdir(parents=True, exist_ok=True)
    (path / "metrics.json").write_text(json.dumps(found))
    return path / "metrics.json"


def audit(
    folder: Path, stamp: str = "2026-02-01_00-00-00", says: str = "rounder", **changes
) -> Path:
    tells = {"value": 0.912, "low": 0.876, "high": 0.943}
    chance = {"value": 0.503, "low": 0.45, "high": 0.55}
    controls = {name: {"accuracy": chance, "auroc": chance} for name in CONTROLS}
    controls["dct"] = {"accuracy": {"value": 0.815, "low": 0.715, "high": 0.895}, "auroc": chance}
    found = {
        "data": "made",
        "n": 3 * N,
        "parts": {"train": N, "val": N, "test": N},
        "properties": {
            "grey": {"title": "greyness", "auroc": chance, "says": "no difference", "certain": []},
            "shape": {"title": "shape", "auroc": tells, "says": says, "certain": ["5 % of fake"]},
        },
        "controls": controls | {"part": "val", "n": N},
        "pairs": {"count": 24, "across_classes": 3, "across_parts": 1},
    } | changes
    path = folder.parents[2] / "audit" / "made" / stamp
    path.mkdir(parents=True)
    (path / "audit.json").write_text(json.dumps(found))
    return path / "audit.json"


def card(folder: Path) -> str:
    path = write_card(folder, folder.parents[2])
    assert path == folder / "card.md"
    assert not list(folder.glob(".card*"))
    return path.read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    return re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", text, re.M | re.S)[1]


def bracketed(measure: dict) -> str:
    if measure["value"] is None:
        return "–"
    return "{:.3f} [{:.3f}, {:.3f}]".format(*(measure[k] for k in ("value", "low", "high")))


def test_every_figure_is_that_of_metrics_json(run):
    text, metrics = card(run), json.loads((run / "metrics.json").read_text())
    for part, title in (("val", "Validation"), ("test", "Test")):
        found = section(text, title)
        for name in METRICS:
            assert f"| {bracketed(metrics[part][name])} |" in found
        for kind in metrics[part]["by_difficulty"].values():
            assert f"{kind['n_fake']} | {bracketed(kind['auroc'])}" in found
        assert metrics[part]["calibration"]["says"] in text
    for told in ("1,234,567 parameters", "64 x 64", "epoch 5 of 9", "Temperature 1.37",
                 "threshold 0.41", "between 0.4 and 0.43", "quality 75", "abc123", "torch 9.9",
                 "train.py data=made", "seed 3", "No group is in two parts"):  # fmt: skip
        assert told in text, told
    assert "| val | 30 | 30 | 30 |" in text


def test_no_score_stands_without_a_control_or_the_command_for_one(run):
    text = card(run)
    for part, title in (("val", "Validation"), ("test", "Test")):
        for line in section(text, title).splitlines():
            if line.startswith(("| accuracy", "| AUROC")):
                assert f"no control yet: `python -m detector.evaluate ckpt={run}" in line
                assert f"evaluate.part={part}" in line
    assert "python -m detector.audit data=folder data.root=/faces" in section(
        text, "What else tells the classes apart"
    )


def test_an_evaluation_gives_the_controls_of_its_part_alone(run):
    path = evaluate(run)
    text, found = card(run), json.loads(path.read_text())
    against = found["against_controls"]
    assert against["says"].replace("*", r"\*") in section(text, "Test")
    best = max(against["controls"].values(), key=lambda c: c["accuracy"]["value"])
    line = next(x for x in section(text, "Test").splitlines() if x.startswith("| accuracy"))
    assert bracketed(best["accuracy"]) in line and bracketed(best["lead"]["accuracy"]) in line
    assert "| mouth | 1 |" in section(text, "Test")
    assert "no control yet" not in section(text, "Test")
    assert "no control yet" in section(text, "Validation")


@pytest.mark.parametrize(
    "change",
    [{"checkpoint": "/elsewhere/best.ckpt"}, {"set": "other"}, {"trained_on": "other"},
     {"part": "all"}, {"metrics": summarize(*images(99), threshold=0.5, **HOW)}],
)  # fmt: skip
def test_an_evaluation_of_something_else_is_not_used(run, change):
    evaluate(run, **change)
    assert "no control yet" in section(card(run), "Test")


def test_the_newest_audit_gives_its_worst_properties_and_the_controls_of_validation(run):
    audit(run, "2026-01-01_00-00-00", says="flatter")
    audit(run)
    text = card(run)
    told = section(text, "What else tells the classes apart")
    assert "0.912 [0.876, 0.943] shape: rounder" in told and "flatter" not in told
    assert "greyness" not in told  # at chance
    assert "24, of which 3 across the classes and 1 across the split." in told
    assert "0.815 [0.715, 0.895] dct" in section(text, "Validation")
    assert "no control yet" in section(text, "Test")


def test_controls_of_another_split_are_not_used(run):
    audit(run, parts={"train": 2 * N, "val": N, "test": 0})
    text = card(run)
    assert "another split" in text and "no control yet" in section(text, "Validation")


def test_groups_across_parts_are_said(run):
    text = (run / "split.csv").read_text().replace(",val0,", ",train0,")
    (run / "split.csv").write_text(text)
    assert "**1 groups are in two parts" in card(run)


BROKEN = [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"val": 3}', b"[" * 5_000, b'{"a": {}}']


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize(
    "name", ["metrics.json", "config.yaml", "environment.json", "split.csv", "audit", "evaluation"]
)
def test_a_damaged_file_is_said_and_stops_nothing(run, name, broken):
    paths = {"audit": audit(run), "evaluation": evaluate(run)}
    path = paths.get(name, run / name)
    path.write_bytes(broken)
    text = card(run)
    assert text.count("\n## ") == 9
    if name in ("audit", "evaluation"):
        assert str(path) in text and "cannot be used" in text
        assert section(text, "What it is").count("\n- ") == 6
    elif broken != b'{"a": {}}' or name == "metrics.json":
        assert "cannot be used" in text or "Cannot be told" in text or "unknown" in text


@pytest.mark.parametrize("name", ["metrics.json", "config.yaml", "environment.json", "split.csv"])
def test_missing_files_are_said(run, name):
    (run / name).unlink()
    assert f"{name} cannot be used (FileNotFoundError)" in card(run)


@pytest.mark.parametrize("at", ["properties", "pairs", "controls", "parts", "n"])
@pytest.mark.parametrize("value", [None, "x", [], {}, {"shape": {"auroc": "high"}}])
def test_an_audit_with_one_wrong_value_stops_nothing(run, at, value):
    audit(run, **{at: value})
    assert card(run).count("\n## ") == 9


def test_names_stay_text(tmp_path):
    name = "a|b*c*<b>`x`](http://y)\n# z"
    folder = make(tmp_path / "runs", model="m|n<i>", names=(name, "real"))
    text = card(folder)
    assert "<b>" not in text.replace(r"\<b", "") and "\n# z" not in text
    assert "](http" not in text.replace("]\\(", "")
    for line in section(text, "Training data").splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 5
    assert safe("*a*|") == r"\*a\*&#124;"
    assert code("a`b") == "``a`b``" and code("`") == "`` ` ``"


def test_a_folder_that_refuses_the_card_is_a_warning(run, caplog):
    (run / "card.md").mkdir()
    (run / "card.md" / "x").touch()
    write_card(run, run.parents[2])
    assert "no model card" in caplog.text
    assert not list(run.glob(".card*"))


def test_written_twice_it_is_the_same(run):
    audit(run), evaluate(run)
    assert card(run) == card(run)

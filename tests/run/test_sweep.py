"""Several trainings in one command: what was done is not done again, what was begun goes on."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from sklearn.metrics import roc_auc_score

from detector.cli import compose
from detector.errors import UserError
from detector.run.sweep import Job, Sweep, sweep_folder


def test_the_same_command_is_the_same_sweep(tmp_path):
    overrides = ["seed=0,1", "data=folder", "paths.runs=/a", "progress=none"]
    folder = sweep_folder(tmp_path, overrides)
    assert not folder.exists()  # nothing is made before there is something to keep
    folder.mkdir(parents=True)
    again = ["paths.runs=/b", "data=folder", "progress=lines", "seed=0,1"]
    assert sweep_folder(tmp_path, again) == folder
    assert sweep_folder(tmp_path, ["seed=0,1,2", "data=folder"]) != folder
    assert sweep_folder(tmp_path, ["seed=0,1", "data=folder", "data.root=/c"]) != folder


def test_a_job_knows_its_run(tmp_path):
    job, run = Job(tmp_path / "sweep", ["seed=1", "a=2"]), tmp_path / "train" / "run"
    (run / "checkpoints").mkdir(parents=True)
    assert job.run is None and job.finished() is None and job.checkpoint() is None
    job.note(run)
    same = Job(tmp_path / "sweep", ["a=2", "seed=1", "progress=none"])
    assert same.run == run.resolve() and same.finished() is None and same.checkpoint() is None
    (run / "checkpoints" / "last.ckpt").touch()
    assert same.checkpoint() == (run / "checkpoints" / "last.ckpt").resolve()
    (run / "metrics.json").write_text('{"val": 1}')
    assert same.finished() == {"val": 1}
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "sweep").rename(moved / "sweep")
    (tmp_path / "train").rename(moved / "train")
    assert Job(moved / "sweep", ["a=2", "seed=1"]).finished() == {"val": 1}
    assert Job(moved / "sweep", ["a=2", "seed=2"]).run is None


def test_damaged_notes_are_named(tmp_path):
    job = Job(tmp_path, ["seed=1"])
    job.note(tmp_path)
    job.file.write_text("{")
    with pytest.raises(UserError, match=f"{job.file.name} is damaged: delete it"):
        job.finished()
    job.note(tmp_path)
    (tmp_path / "metrics.json").write_text("[")
    with pytest.raises(UserError, match=r"metrics\.json is damaged"):
        job.finished()


def test_two_processes_never_train_one_job(tmp_path):
    with Job(tmp_path, ["seed=1"]).alone():
        with Job(tmp_path, ["seed=2"]).alone():
            pass
        with pytest.raises(UserError, match="another process trains this very job"):
            Job(tmp_path, ["seed=1"]).alone().__enter__()
    with Job(tmp_path, ["seed=1"]).alone():
        pass


def test_a_run_with_other_settings_does_not_count_as_done(tmp_path):
    job, run = Job(tmp_path / "sweep", ["seed=1"]), tmp_path / "run"
    run.mkdir()
    job.note(run)
    settings = {"seed": 1, "data": {"root": "/a"}, "optimizer": {"lr": 0.1}, "progress": "none"}
    (run / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(settings)))
    job.check_same(OmegaConf.create(settings | {"progress": "rich", "data": {"root": "/b"}}))
    with pytest.raises(UserError, match=r"trained with optimizer\.lr=0\.1, now it is 0\.2: move"):
        job.check_same(OmegaConf.create(settings | {"optimizer": {"lr": 0.2}}))


def test_preprocessing_that_follows_the_weights_counts_as_the_same(tmp_path):
    """A run writes down numbers, whatever `weights` stood for."""
    job, run = Job(tmp_path / "sweep", ["model=lite0"]), tmp_path / "run"
    run.mkdir()
    job.note(run)
    cfg = compose("train", ["model=lite0"])
    numbers = {"size": 224, "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3}
    written = OmegaConf.merge(cfg, {"model": {"preprocess": numbers}})
    (run / "config.yaml").write_text(OmegaConf.to_yaml(written, resolve=True))
    job.check_same(cfg)
    with pytest.raises(UserError, match=r"model\.preprocess\.size=224, now it is 300: move"):
        job.check_same(OmegaConf.merge(cfg, {"model": {"preprocess": {"size": 300}}}))


def test_an_end_that_fails_is_no_success(tmp_path, capsys):
    job = Job(tmp_path, ["seed=1"])
    job.note(tmp_path / "gone")
    config = OmegaConf.create(
        {"hydra": {"sweep": {"dir": str(tmp_path)}, "overrides": {"task": [], "hydra": []}}}
    )
    with pytest.raises(SystemExit) as left:
        Sweep().on_multirun_end(config)
    assert left.value.code == 1
    assert capsys.readouterr().err.startswith("error: the runs are whole, but not summed up")
    job.file.write_text("{}")
    with pytest.raises(SystemExit):
        Sweep().on_multirun_end(config)


def test_the_command_that_goes_on_keeps_hydras_own_settings(tmp_path, monkeypatch):
    from detector.run import sweep_report

    said = []
    monkeypatch.setattr(sweep_report, "summarize_sweep", lambda *a: said.append(a))
    own = f"hydra.sweep.dir={tmp_path}"
    overrides = {"task": ["seed=0,1"], "hydra": ["hydra.mode=MULTIRUN", own]}
    config = OmegaConf.create(
        {"hydra": {"sweep": {"dir": str(tmp_path)}, "overrides": overrides}, "paths": {"runs": "r"}}
    )
    callback = Sweep()
    callback.on_multirun_start(config)
    assert config.hydra.sweep.dir == str(tmp_path)
    callback.on_multirun_end(config)
    assert said == [(tmp_path, f"python -m detector.train -m seed=0,1 {own}")]


@pytest.fixture
def command(tiny_set, tmp_path):
    return [
        sys.executable, "-m", "detector.train", "-m", "data=folder", f"data.root={tiny_set}",
        "data.near_copies=false", "model.preprocess.size=32", "trainer.max_epochs=2",
        "trainer.accelerator=cpu", "trainer.precision=32-true", "progress=lines",
        "data.split.folds=3", "data.split.fold=0,1,2", "seed=0,1",
        f"paths.runs='{tmp_path}/its runs'", f"paths.cache={tmp_path}/cache",
    ]  # fmt: skip


def call(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_gone_on_with_and_summed_up(command, tmp_path):
    first = call(command)
    runs = tmp_path / "its runs"
    (sweep,) = (runs / "sweeps").iterdir()
    before = {job["folder"]: _weights(job["folder"]) for job in _jobs(sweep)}

    # One run loses its end, another is gone: the one goes on, the other is trained anew.
    ends = sorted(before)
    victim, gone = ends[-1], ends[-2]
    kept = json.loads((Path(victim) / "metrics.json").read_text())
    (Path(victim) / "metrics.json").unlink()
    Path(gone).rename(tmp_path / "gone")
    second = call(command)
    after = {job["folder"]: _weights(job["folder"]) for job in _jobs(sweep)}
    assert len(after) == 6 and second.count("done before") == 4
    assert json.loads((Path(victim) / "metrics.json").read_text())["test"] == kept["test"]
    assert {k: v for k, v in after.items() if k in ends[:-2]} == {k: before[k] for k in ends[:-2]}

    summary = json.loads((sweep / "sweep.json").read_text())
    (variant,) = summary["variants"].values()
    each = {(run["fold"], run["seed"]): _auroc(Path(run["folder"])) for run in variant["runs"]}
    assert set(each) == {(fold, seed) for fold in range(3) for seed in range(2)}
    auroc = variant["metrics"]["auroc"]
    assert auroc["value"] == pytest.approx(np.mean(list(each.values())))
    assert auroc["low"] < auroc["value"] <= auroc["high"]
    by_seed = [np.mean([each[fold, seed] for fold in range(3)]) for seed in range(2)]
    assert variant["spread"]["auroc"]["sd"] == pytest.approx(np.std(by_seed, ddof=1))
    text = (sweep / "sweep.md").read_text()
    assert text in second and re.search(r"\*\*mean\*\*.*\| 80 \|", text)
    assert "Standard deviation over 2 seeds" in text and "sweep" in first


def _jobs(sweep):
    return json.loads((sweep / "sweep.json").read_text())["jobs"]


def _weights(run):
    file = Path(run) / "checkpoints" / "best.ckpt"
    return file.stat().st_mtime_ns if file.exists() else None


def _auroc(run):
    lines = [line.split(",") for line in (run / "predictions.csv").read_text().splitlines()[1:]]
    test = [(int(label), float(p)) for _, label, part, p in lines if part == "test"]
    labels, scores = zip(*test, strict=True)
    return roc_auc_score(1 - np.array(labels), scores)

"""The whole job on a tiny set: what it leaves behind, resuming, refusing."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from scipy.special import expit, logit
from sklearn.metrics import log_loss, roc_auc_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from detector.errors import UserError
from detector.evaluation.calibration import Calibration, calibrate
from detector.predictor import Predictor
from detector.run.session import Interrupted, Session
from detector.train import train
from tests.conftest import fit_until_killed, make_set


def rows(path: Path) -> list[dict]:
    with open(path) as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tiny_set, tmp_path_factory):
    """One finished run, shared by the tests that only look at it."""
    from detector import cli

    folder = tmp_path_factory.mktemp("finished")
    cfg = cli.compose(
        "train",
        [
            "data=folder",
            f"data.root={tiny_set}",
            "model=cnn6",
            "model.preprocess.size=32",
            "data.batch_size=16",
            "data.num_workers=0",
            "trainer=cpu",
            "trainer.max_epochs=4",
            "progress=none",
            "metrics.replicates=100",
            "augment=light",
            f"paths.runs={folder}/runs",
            f"paths.cache={folder}/cache",
        ],
    )
    return cfg, train(cfg)


def test_run_folder_is_complete(finished):
    cfg, metrics = finished
    run = Path(metrics["folder"])
    for name in [
        "config.yaml",
        "environment.json",
        "split.csv",
        "metrics.json",
        "metrics.csv",
        "predictions.csv",
        "curves.png",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    ]:
        assert (run / name).stat().st_size > 0, name
    assert list((run / "tensorboard").glob("events*"))
    assert (Path(cfg.paths.runs) / "latest").resolve() == run.resolve()
    assert OmegaConf.load(run / "config.yaml").model.preprocess.size == 32
    assert json.loads((run / "environment.json").read_text())["packages"]["torch"]


def test_tensorboard_holds_curves_pictures_and_hyperparameters(finished):
    _, metrics = finished
    folder = Path(metrics["folder"]) / "tensorboard"
    held = {"scalars": set(), "images": set(), "tensors": set()}
    for file in folder.glob("events*"):
        tags = EventAccumulator(str(file)).Reload().Tags()
        for kind in held:
            held[kind] |= set(tags[kind])
        plugins = EventAccumulator(str(file)).Reload().summary_metadata.values()
        held["tensors"] |= {one.plugin_data.plugin_name for one in plugins}
    assert {"train/samples", "val/confusion"} <= held["images"]
    assert {"custom_scalars", "hparams"} <= held["tensors"]
    assert {"lr", "gap/accuracy", "val/auroc", "fit/loss", "final/test_auroc"} <= held["scalars"]
    assert "hp_metric" not in held["scalars"]


def test_split_and_predictions_agree_with_the_metrics(finished):
    _, metrics = finished
    run = Path(metrics["folder"])
    split = {row["path"]: row for row in rows(run / "split.csv")}
    assert Counter(row["split"] for row in split.values()) == {"train": 56, "val": 12, "test": 12}
    predictions = rows(run / "predictions.csv")
    assert {row["path"] for row in predictions} == {
        path for path, row in split.items() if row["split"] != "train"
    }
    test = [row for row in predictions if row["split"] == "test"]
    threshold = metrics["calibration"]["threshold"]
    right = sum((float(row["p_fake"]) >= threshold) == (row["label"] == "0") for row in test)
    assert metrics["test"]["accuracy"]["value"] == pytest.approx(right / len(test))
    on_disk = json.loads((run / "metrics.json").read_text())
    assert on_disk["test"] == metrics["test"]
    for part in ("val", "test"):
        for key in ("auroc", "accuracy", "f1", "ap"):
            assert on_disk[part][key]["low"] < on_disk[part][key]["high"]


def test_predictor_gives_the_same_from_the_file(finished):
    cfg, metrics = finished
    run = Path(metrics["folder"])
    predictor = Predictor.load(run / "checkpoints" / "best.ckpt")
    for row in rows(run / "predictions.csv")[:6]:
        data = (Path(cfg.data.root) / row["path"]).read_bytes()
        assert predictor(data) == pytest.approx(float(row["p_fake"]), abs=1e-6)


def test_the_calibration_of_validation_lies_in_the_best_checkpoint_alone(finished):
    cfg, metrics = finished
    run = Path(metrics["folder"])
    best, last = (Predictor.load(run / "checkpoints" / name) for name in ("best.ckpt", "last.ckpt"))
    assert best.calibration.to_dict() == metrics["calibration"]
    assert last.calibration == Calibration()
    assert not list((run / "checkpoints").glob(".*"))
    # Found again from the pictures: margins of validation, temperature, threshold, band.
    val = [row for row in rows(run / "predictions.csv") if row["split"] == "val"]
    files = [(Path(cfg.data.root) / row["path"]).read_bytes() for row in val]
    margins = best.margins(best.preprocess(data) for data in files)
    labels = np.array([int(row["label"]) for row in val])
    again = calibrate(margins, labels, **cfg.calibration, trained_on=cfg.data.name)
    assert again.n == len(val) == 12
    assert again.temperature == pytest.approx(best.calibration.temperature, rel=1e-4)
    assert again.threshold == pytest.approx(best.threshold, abs=1e-4)
    assert again.unsure == pytest.approx(best.unsure, abs=1e-4)
    written = [float(row["p_fake"]) for row in val]
    assert written == pytest.approx(expit(margins / again.temperature), abs=1e-4)


def test_ranking_is_that_of_the_network_and_losses_are_given_before_and_after(finished):
    _, metrics = finished
    t = metrics["calibration"]["temperature"]
    predictions = rows(Path(metrics["folder"]) / "predictions.csv")
    for part in ("val", "test"):
        p = np.array([float(row["p_fake"]) for row in predictions if row["split"] == part])
        fake = np.array([row["label"] == "0" for row in predictions if row["split"] == part])
        raw = expit(t * logit(p))
        found = metrics[part]
        assert found["auroc"]["value"] == pytest.approx(roc_auc_score(fake, raw), abs=1e-9)
        assert found["log_loss"]["value"] == pytest.approx(log_loss(fake, p, labels=[0, 1]))
        before = found["calibration"]["uncalibrated"]
        assert before["log_loss"]["value"] == pytest.approx(log_loss(fake, raw), rel=1e-4)
        assert before["brier"]["value"] == pytest.approx(np.mean((raw - fake) ** 2), rel=1e-4)
        low, high = metrics["calibration"]["unsure"]
        given = ((p <= low) | (p >= high)).sum()
        assert found["calibration"]["answered"]["n"] == given
        assert sum(row["n"] for row in found["calibration"]["bins"]) == len(p)
        assert sum(row["n"] for row in before["bins"]) == len(p)


def test_calibration_can_be_switched_off_and_on_after_training(tiny):
    off = ["calibration.temperature=false", "calibration.threshold=0.5", "calibration.unsure=0"]
    first = train(tiny(*off))
    last = Path(first["folder"]) / "checkpoints" / "last.ckpt"
    plain = Predictor.load(last.with_name("best.ckpt"))
    assert plain.calibration == Calibration(n=12, trained_on=plain.trained_on)
    again = train(tiny(f"ckpt_path={last}"))  # of the same weights: nothing is trained
    best = Predictor.load(last.with_name("best.ckpt"))
    assert best.calibration.to_dict() == again["calibration"] != first["calibration"]
    assert best.calibration.temperature != 1
    for part in ("val", "test"):
        assert again[part]["auroc"] == first[part]["auroc"]
        before = again[part]["calibration"]["uncalibrated"]
        assert before["log_loss"] == first[part]["log_loss"]


def test_a_setting_of_older_versions_does_not_stop_a_training_from_going_on(tiny):
    last = Path(train(tiny("trainer.max_epochs=1"))["folder"]) / "checkpoints" / "last.ckpt"
    old = torch.load(last, weights_only=True)
    old["detector"]["settings"]["metrics.threshold"] = 0.5
    del old["detector"]["settings"]["data.balance"]
    torch.save(old, last)
    assert Session(tiny(f"ckpt_path={last}")).resume == last


def test_best_checkpoint_holds_no_optimizer_and_no_code(finished):
    _, metrics = finished
    folder = Path(metrics["folder"]) / "checkpoints"
    best = torch.load(folder / "best.ckpt", weights_only=True)
    assert "optimizer_states" not in best
    assert best["detector"]["network"]["name"] == "cnn6"
    assert (folder / "best.ckpt").stat().st_size < (folder / "last.ckpt").stat().st_size / 2


def test_the_best_epoch_is_the_best_of_the_history(finished):
    _, metrics = finished
    history = rows(Path(metrics["folder"]) / "metrics.csv")
    best = max(history, key=lambda row: (float(row["val/auroc"]), -float(row["val/loss"])))
    assert metrics["training"]["best_epoch"] == int(best["epoch"])
    assert metrics["training"]["epochs"] == len(history) == 4
    assert all(float(row["lr"]) == pytest.approx(1e-3) for row in history)


def test_same_command_same_metrics(tiny, tmp_path):
    first = train(tiny("augment=light"))
    second = train(tiny("augment=light"))
    assert first["folder"] != second["folder"]
    texts = [(Path(run["folder"]) / "metrics.json").read_text() for run in (first, second)]
    assert texts[0] == texts[1]
    other = train(tiny("augment=light", "seed=1"))
    assert (Path(other["folder"]) / "metrics.json").read_text() != texts[0]


@pytest.mark.parametrize("epoch, stop", [(0, 1), (1, 0), (2, 3)])
def test_a_killed_run_goes_on_to_the_same_weights(tiny, epoch, stop):
    settings = ["trainer.max_epochs=4", "augment=light", "schedule.name=cosine"]
    whole = train(tiny(*settings))

    session = Session(tiny(*settings))
    fit_until_killed(session, epoch, stop)
    last = session.folder / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == epoch * 4
    again = train(tiny(*settings, f"ckpt_path={last}"))

    assert again["folder"] == str(session.folder)
    for name in ("best.ckpt", "last.ckpt"):
        one, two = (
            torch.load(Path(run["folder"]) / "checkpoints" / name, weights_only=True)["state_dict"]
            for run in (whole, again)
        )
        assert all(torch.equal(one[key], two[key]) for key in one)
    for name in ("metrics.json", "metrics.csv", "predictions.csv"):
        one, two = ((Path(run["folder"]) / name).read_text() for run in (whole, again))
        assert one == two, name


def test_a_run_killed_after_its_last_epoch_only_measures_again(tiny):
    first = train(tiny())
    folder = Path(first["folder"])
    written = (folder / "metrics.json").read_text()
    for name in ("metrics.json", "predictions.csv", "curves.png"):
        (folder / name).unlink()
    again = train(tiny(f"ckpt_path={folder}/checkpoints/last.ckpt"))
    assert again["folder"] == first["folder"]
    assert (folder / "metrics.json").read_text() == written
    longer = train(tiny(f"ckpt_path={folder}/checkpoints/last.ckpt", "trainer.max_epochs=3"))
    assert longer["training"]["epochs"] == 3


def test_early_stopping_survives_a_kill_before_the_results(tiny):
    settings = ["trainer.max_epochs=30", "early_stopping.patience=1", "optimizer.lr=1e-9"]
    first = train(tiny(*settings))
    last = Path(first["folder"]) / "checkpoints" / "last.ckpt"
    before = torch.load(last, weights_only=True)["state_dict"]
    again = train(tiny(*settings, f"ckpt_path={last}"))
    after = torch.load(last, weights_only=True)["state_dict"]
    assert again["training"] == first["training"]
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_going_on_through_runs_latest(tiny):
    cfg = tiny()
    first = train(cfg)
    latest = Path(cfg.paths.runs) / "latest"
    again = train(tiny(f"ckpt_path={latest}/checkpoints/last.ckpt", "trainer.max_epochs=3"))
    assert again["folder"] == first["folder"] and latest.resolve() == Path(first["folder"])
    known = json.loads((latest / "environment.json").read_text())
    assert len(known["resumed"]) == 1
    assert OmegaConf.load(latest / "config.yaml").trainer.max_epochs == 3


@pytest.mark.parametrize(
    "changed",
    ["optimizer.lr=0.5", "optimizer.name=sgd", "seed=9", "data.batch_size=8", "augment=robust",
     "schedule.name=cosine", "early_stopping.patience=3", "class_weights=balanced",
     "evaluate_test=false", "trainer.gradient_clip_val=1.0", "data.balance=set_and_class"],
)  # fmt: skip
def test_a_training_goes_on_as_it_began(tiny, finished, changed):
    _, metrics = finished
    last = Path(metrics["folder"]) / "checkpoints" / "last.ckpt"
    options = ["trainer.max_epochs=4", "augment=light", f"ckpt_path={last}"]
    with pytest.raises(UserError, match="goes on as it began"):
        Session(tiny(*[o for o in options if o.split("=")[0] != changed.split("=")[0]], changed))


def test_a_lost_best_checkpoint_is_named(tiny):
    folder = Path(train(tiny())["folder"]) / "checkpoints"
    (folder / "best.ckpt").unlink()
    with pytest.raises(UserError, match=r"lacks best\.ckpt, of epoch"):
        Session(tiny(f"ckpt_path={folder}/last.ckpt", "trainer.max_epochs=3"))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_in_any_precision(tiny, precision):
    def moved(clip: str) -> float:
        session = Session(
            tiny("optimizer.name=sgd", f"trainer.precision={precision}", "trainer.max_epochs=1",
                 f"trainer.gradient_clip_val={clip}")
        )  # fmt: skip
        before = [p.detach().clone() for p in session.module.parameters()]
        session.fit()
        after = session.module.parameters()
        return sum(float((a - b).detach().norm()) for a, b in zip(after, before, strict=True))

    assert moved("1e-6") < 1e-3 < moved("null")


@pytest.mark.parametrize("batch_size, fits", [(11, True), (1, False)])
def test_a_last_batch_of_one_image(tiny, batch_size, fits):
    session = Session(tiny(f"data.batch_size={batch_size}", "trainer.max_epochs=1"))
    if fits:  # 56 images: five batches, one image sits this epoch out
        session.fit()
        assert session.trainer.global_step == 5
    else:
        with pytest.raises(UserError, match=r"data\.batch_size=1"):
            session.fit()


def test_ctrl_c_keeps_last_ckpt_and_names_it(tiny, monkeypatch):
    session = Session(tiny())
    step = session.module.training_step

    def interrupted(batch, batch_idx):
        if batch_idx == 2:
            raise KeyboardInterrupt
        return step(batch, batch_idx)

    monkeypatch.setattr(session.module, "training_step", interrupted)
    import signal

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as stop:
        session.fit()
    assert stop.value.checkpoint.is_file()
    assert signal.getsignal(signal.SIGINT) is before


def test_searches_do_not_read_the_test_part(tiny, monkeypatch):
    session = Session(tiny("evaluate_test=false", "trainer.max_epochs=1"))
    held_out = set(np.flatnonzero(session.faces.parts == "test").tolist())
    read = set()
    get = type(session.pixels).__getitem__
    monkeypatch.setattr(
        type(session.pixels), "__getitem__", lambda self, row: read.add(row) or get(self, row)
    )
    session.fit()
    metrics = session.finish()
    assert "test" not in metrics
    assert len(read) == 68 and not read & held_out


def test_classes_with_other_names_have_their_own_score(tiny, tmp_path):
    root = make_set(tmp_path / "animals")
    (root / "fake").rename(root / "cat")
    (root / "real").rename(root / "dog")
    metrics = train(tiny("trainer.max_epochs=1", root=root))
    assert metrics["class_names"] == ["cat", "dog"]
    header = (Path(metrics["folder"]) / "predictions.csv").read_text().splitlines()[0]
    assert header == "path,label,split,p_cat"


@pytest.mark.parametrize("method", ["spawn"])
def test_loader_processes_change_nothing(tiny, method):
    options = ["augment=robust", "trainer.max_epochs=1", "data.cache_gb=0"]
    alone = train(tiny(*options))
    helped = train(tiny(*options, "data.num_workers=1", f"data.start_method={method}"))
    assert alone["test"] == helped["test"]


@pytest.mark.parametrize(
    "override, says",
    [
        ("trainer.max_epochs=0", "trainer.max_epochs=0"),
        ("trainer.max_epochs=2.5", "whole number"),
        ("seed=-1", "seed=-1"),
        ("model.net.name=cnn9", "no such network"),
        ("model.net.dropout=1.5", "model.net.dropout=1.5"),
        ("model.preprocess.size=8", "between 16 and 4096"),
        ("model.preprocess.std=[1,0,1]", "above 0"),
        ("data.root=/nowhere/at/all", "/nowhere/at/all"),
        ("data.batch_size=0", "data.batch_size=0"),
        ("data.num_workers=-1", "data.num_workers=-1"),
        ("data.cache_gb=-1", "data.cache_gb=-1"),
        ("data.balance=class", "set_and_class"),
        ("data.split.folds=1000", "independent images"),
        ("data.split.fractions.val=0", "above 0"),
        ("optimizer.lr=0", "optimizer.lr=0"),
        ("optimizer.name=lamb", "adam"),
        ("schedule.name=steps", "cosine"),
        ("select.monitor=val/f2", "val/auroc"),
        ("select.mode=min", "wants max"),
        ("calibration.threshold=1", "calibration.threshold=1"),
        ("calibration.threshold=youden", "choose one of best"),
        ("calibration.temperature=2", "calibration.temperature=2"),
        ("calibration.unsure=1", "calibration.unsure=1"),
        ("calibration=null", "calibration=null"),
        ("class_weights=[1,2,3]", "class_weights"),
        ("progress=loud", "rich"),
        ("trainer.accelerator=tpu", "trainer.accelerator=tpu"),
        ("trainer.precision=8", "trainer.precision=8"),
        ("ckpt_path=/nowhere/last.ckpt", "/nowhere/last.ckpt"),
        ("augment.steps=[{step: melt}]", "melt"),
        ("early_stopping.patience=0", "early_stopping.patience=0"),
        ("early_stopping.min_delta=much", "early_stopping.min_delta=much"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1"),
        ("trainer.limit_train_batches=0", "trainer.limit_train_batches=0"),
        ("evaluate_test=perhaps", "true or false"),
        ("trainer.limit_train_batches=1.5", "trainer.limit_train_batches=1.5"),
        ("paths.runs=null", "paths.runs=null"),
        ("data.root=5", "data.root=5"),
        ("ckpt_path=5", "ckpt_path=5"),
        ("model.net.name=null", "model.net.name=null"),
        ("model.preprocess.mean=0.5", "model.preprocess.mean"),
        ("model.preprocess=null", "model.preprocess=null"),
        ("model.net.checkpoint_path=x", "conv_dropout"),
        ("augment.steps=null", "augment.steps=null"),
        ("augment.steps=[flip]", "augment.steps="),
        ("augment.steps=[{step: noise, p: 0.1, sigma: -1}]", "augment.steps"),
        ("augment.steps=[{step: resize, p: 0.1, low: -3}]", "augment.steps"),
        ("augment.steps=[{step: crop, scale: 0}]", "augment.steps"),
        ("data.split.fractions=null", "data.split.fractions=null"),
        ("data.split.fractions.val=abc", "data.split.fractions.val=abc"),
        ("data.split.by_group=abc", "data.split.by_group=abc"),
        ("data.split=null", "data.split=null"),
        ("optimizer=null", "optimizer=null"),
        ("optimizer.lr=true", "optimizer.lr=True"),
        ("data.counts=5", "data.counts=5"),
        ("data.classes={fake:5,real:[real]}", "classes"),
        ("seed=99999999999999999999", "at most 4294967295"),
        ("schedule.warmup_epochs=100", "below"),
        ("data.batch_size=true", "data.batch_size=True"),
        ("model.name=null", "model.name=null"),
        ("+model.net.size=5", "model.preprocess.size"),
    ],
)
def test_bad_values_get_one_clear_line(tiny, override, says):
    with pytest.raises(UserError) as error:
        Session(tiny(override))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_one_class_only(tiny, tmp_path):
    (tmp_path / "one" / "real").mkdir(parents=True)
    Image.new("RGB", (20, 20)).save(tmp_path / "one" / "real" / "a.png")
    with pytest.raises(UserError, match="class"):
        Session(tiny(root=tmp_path / "one"))


def test_checkpoints_of_other_trainings_are_refused(tiny, finished):
    _, metrics = finished
    folder = Path(metrics["folder"]) / "checkpoints"
    for override, says in [
        (f"ckpt_path={folder}/best.ckpt", "weights only"),
        (f"ckpt_path={folder}/last.ckpt", "more than trainer.max_epochs"),
    ]:
        with pytest.raises(UserError, match=says):
            Session(tiny(override, "augment=light"))
    for other in ("model=cnn3", "data.split.seed=5", "model.preprocess.fit=squash",
                  "data.split.by_group=false"):  # fmt: skip
        with pytest.raises(UserError, match="comes from another"):
            Session(tiny(other, "augment=light", "trainer.max_epochs=4", "model.preprocess.size=32",
                         f"ckpt_path={folder}/last.ckpt"))  # fmt: skip


def test_early_stopping_ends_a_run(tiny):
    metrics = train(tiny("trainer.max_epochs=30", "early_stopping.patience=1", "optimizer.lr=1e-9"))
    assert metrics["training"]["epochs"] < 30


def test_a_diverged_run_says_so(tiny):
    session = Session(tiny("optimizer.lr=1e30", "optimizer.name=sgd", "trainer.max_epochs=1"))
    session.fit()
    with pytest.raises(UserError, match="lower optimizer"):
        session.finish()

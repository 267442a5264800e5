"""The per-epoch log: complete, resumable, in TensorBoard as one chart each."""

import csv
import math
import os
import re
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from torch.utils.data import DataLoader, TensorDataset

from detector.run import history as module
from detector.run.history import COLUMNS, History, read_csv, write_csv

warnings.filterwarnings("ignore", module="lightning")


class Tiny(LightningModule):
    """Logs what the real module logs, at the same places."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 2)
        self.steps: list[float] = []  # the loss of each optimisation step of this epoch

    def on_train_epoch_start(self):
        self.steps = []

    def training_step(self, batch, _):
        loss = self.net(batch[0]).square().mean()
        self.steps.append(loss.item())
        self.log("fit/loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, _):
        self.log("val/loss", self.net(batch[0]).square().mean())

    def on_validation_epoch_end(self):
        for metric in ("loss", "accuracy", "auroc"):
            self.log(f"train/{metric}", self.net.weight.square().mean())
        for metric in ("accuracy", "auroc"):
            self.log(f"val/{metric}", self.net.weight.square().mean())
        self.log("gap/loss", self.net.weight.sum())
        self.log("gap/accuracy", -self.net.weight.sum())
        self.log("lr", self.optimizers().param_groups[0]["lr"])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)


class Stop(Exception):
    pass


class KillIn(Callback):
    """Raises in the middle of an epoch, after its first step."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_end(self, trainer, *_):
        if trainer.current_epoch + 1 == self.epoch:
            raise Stop


def loader():
    made = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(made), batch_size=4)


def fit(folder, epochs, callbacks=(), ckpt_path=None, logger=False, at_end=None, **options):
    seed_everything(3, verbose=False)
    history, network = History(folder), Tiny()
    keep = ModelCheckpoint(
        folder, monitor="val/loss", save_last=True, save_on_train_epoch_end=at_end
    )
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=logger,
        callbacks=[history, *callbacks, keep], log_every_n_steps=1, barebones=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(network, loader(), loader(), ckpt_path=ckpt_path)
    return history, network


def test_one_row_per_epoch_with_everything(tmp_path):
    history, network = fit(tmp_path, 3)
    with open(tmp_path / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == COLUMNS
    assert [row["epoch"] for row in table] == ["1", "2", "3"]
    assert [row["step"] for row in table] == ["2", "4", "6"]
    assert all(row[column] for row in table for column in COLUMNS)
    last = {k: float(v) for k, v in table[-1].items()}
    assert last["train/auroc"] == pytest.approx(network.net.weight.square().mean().item())
    assert last["gap/loss"] == pytest.approx(network.net.weight.sum().item())
    assert last["lr"] == pytest.approx(0.1)
    # The running loss is this epoch's mean, not the last step's, nor the previous epoch's.
    assert last["fit/loss"] == pytest.approx(sum(network.steps) / 2)
    assert read_csv(tmp_path / "metrics.csv")[-1] == pytest.approx(history.rows[-1])


@pytest.mark.parametrize("kill", [None, 3])
def test_resumed_run_has_the_same_log(tmp_path, kill):
    """Stopped after epoch 2, or killed within epoch 3: the log ends up identical."""
    fit(tmp_path / "whole", 4)
    if kill:
        with pytest.raises(Stop):
            fit(tmp_path / "parts", 4, [KillIn(kill)])
    else:
        fit(tmp_path / "parts", 2)
    assert len(read_csv(tmp_path / "parts/metrics.csv")) == 2, "nothing finished is lost"
    fit(tmp_path / "parts", 4, ckpt_path=tmp_path / "parts/last.ckpt")
    whole, parts = (tmp_path / name / "metrics.csv" for name in ("whole", "parts"))
    assert parts.read_bytes() == whole.read_bytes()


def test_a_repeated_epoch_replaces_its_row_in_a_new_folder_too(tmp_path):
    fit(tmp_path / "whole", 3)
    fit(tmp_path / "old", 1)
    first = (tmp_path / "old/last.ckpt").read_bytes()
    fit(tmp_path / "old", 3, ckpt_path=tmp_path / "old/last.ckpt")
    # Back to the state after epoch 1, as if 2 and 3 had been logged but not saved.
    (tmp_path / "first.ckpt").write_bytes(first)
    with pytest.raises(Stop):
        fit(tmp_path / "killed", 3, [KillIn(2)], ckpt_path=tmp_path / "first.ckpt")
    assert [row["epoch"] for row in read_csv(tmp_path / "killed/metrics.csv")] == [1]
    for folder in ("old", "new"):
        fit(tmp_path / folder, 3, ckpt_path=tmp_path / "first.ckpt")
        expected = (tmp_path / "whole/metrics.csv").read_bytes()
        assert (tmp_path / folder / "metrics.csv").read_bytes() == expected


def test_checkpoint_saved_during_validation_keeps_the_row(tmp_path):
    """Lightning then ends that epoch once more, without any metric."""
    fit(tmp_path / "whole", 3)
    fit(tmp_path / "parts", 2, at_end=False)
    fit(tmp_path / "parts", 3, at_end=False, ckpt_path=tmp_path / "parts/last.ckpt")
    whole, parts = (read_csv(tmp_path / name / "metrics.csv") for name in ("whole", "parts"))
    assert "fit/loss" not in parts[1]
    assert [row | {"fit/loss": 0} for row in parts] == [row | {"fit/loss": 0} for row in whole]


def test_epochs_without_validation_do_not_repeat_old_figures(tmp_path):
    fit(tmp_path, 3, check_val_every_n_epoch=2)
    first, second, third = read_csv(tmp_path / "metrics.csv")
    assert "val/loss" in second
    for row in (first, third):
        assert set(row) == {"epoch", "step", "fit/loss"}


def test_sanity_check_and_validate_write_nothing(tmp_path):
    history = History(tmp_path)
    trainer = Trainer(
        accelerator="cpu", logger=False, callbacks=[history], max_epochs=1, max_steps=0,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    network = Tiny()
    network.on_validation_epoch_end = lambda: None
    trainer.validate(network, loader(), verbose=False)
    assert "val/loss" in trainer.callback_metrics
    assert history.rows == [] and not (tmp_path / "metrics.csv").exists()


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "is_global_zero", property(lambda self: False))
    history, _ = fit(tmp_path, 1)
    assert len(history.rows) == 1 and not (tmp_path / "metrics.csv").exists()


def test_tensorboard_has_one_chart_with_both_curves(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="", version="")
    fit(tmp_path, 2, logger=logger)
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    assert events.SummaryMetadata("custom_scalars__config__").plugin_data.plugin_name == (
        "custom_scalars"
    )
    (config,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(config.tensor_proto.string_val[0])
    charts = {c.title: list(c.multiline.tag) for group in layout.category for c in group.chart}

    # TensorBoard shows in a chart the tags, of any run, that a pattern matches from the left.
    runs = {".": events} | {
        part: EventAccumulator(str(tmp_path / part)).Reload() for part in ("train", "val")
    }
    shown = {
        title: sorted(
            (run, tag)
            for run, events in runs.items()
            for tag in events.Tags()["scalars"]
            if any(re.match(pattern, tag) for pattern in patterns)
        )
        for title, patterns in charts.items()
    }
    assert sorted(shown.values()) == sorted(
        [
            [("train", "curve/accuracy"), ("val", "curve/accuracy")],
            [("train", "curve/loss"), ("val", "curve/loss")],
            [(".", "gap/accuracy")],
            [(".", "gap/loss")],
            [(".", "lr")],
        ]
    )
    for part in ("train", "val"):
        for name in ("accuracy", "loss"):
            drawn = [event.value for event in runs[part].Scalars(f"curve/{name}")]
            assert len(drawn) == 2
            assert drawn == [event.value for event in events.Scalars(f"{part}/{name}")]


cell = st.one_of(st.floats(width=32, allow_nan=False), st.just(math.inf))
names = st.sampled_from(["train/loss", "val/loss", "val/auroc", "val/other", "lr"])


@given(st.lists(st.dictionaries(names, cell), max_size=5))
def test_csv_round_trip_is_exact_for_float32(tmp_path_factory, metrics):
    path = tmp_path_factory.mktemp("csv") / "run" / "metrics.csv"
    rows = [{"epoch": i + 1, "step": 46 * (i + 1), **row} for i, row in enumerate(metrics)]
    write_csv(path, rows)
    back = [{k: np.float32(v) for k, v in row.items()} for row in read_csv(path)]
    assert back == rows
    assert os.listdir(path.parent) == ["metrics.csv"]


def test_nan_survives_the_csv(tmp_path):
    write_csv(tmp_path / "m.csv", [{"epoch": 1, "train/loss": math.nan}])
    assert math.isnan(read_csv(tmp_path / "m.csv")[0]["train/loss"])


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    write_csv(path, [{"epoch": 1, "lr": 0.1}])
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(module.folder.os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_csv(path, [{"epoch": 1, "lr": 0.2}])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["metrics.csv"]

"""Heatmaps during a training: which are drawn, and that the training does not notice."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detector.errors import UserError
from detector.explain import average, callback
from detector.explain.callback import chosen_rows
from detector.explain.regions import Placed, regions
from detector.train import train


def weights(folder):
    path = Path(folder) / "checkpoints" / "last.ckpt"
    return torch.load(path, weights_only=True)["state_dict"]


def test_the_training_is_the_same_with_and_without(tiny):
    plain = train(tiny("trainer.max_epochs=3"))
    drawn = train(tiny("trainer.max_epochs=3", "heatmaps.every=2", "heatmaps.images=2"))
    folder = Path(drawn["folder"])
    sheets = sorted(path.name for path in (folder / "heatmaps").iterdir())
    assert sheets == ["epoch-000.png", "epoch-002.png", "epoch-003.png"]
    assert not (Path(plain["folder"]) / "heatmaps").exists()
    one, other = weights(plain["folder"]), weights(folder)
    assert all(torch.equal(one[name], other[name]) for name in one)
    kept = [json.loads((Path(f) / "metrics.json").read_text()) for f in (plain["folder"], folder)]
    assert kept[0] == kept[1]
    first, last = (np.array(Image.open(folder / "heatmaps" / name)) for name in sheets[::2])
    assert first.shape == last.shape and (first != last).any()


def test_a_resumed_training_does_not_begin_again(tiny):
    run = Path(train(tiny("trainer.max_epochs=2", "heatmaps.every=1"))["folder"])
    first = run / "heatmaps" / "epoch-000.png"
    first.write_bytes(b"kept")
    train(
        tiny("trainer.max_epochs=4", "heatmaps.every=1", f"ckpt_path={run}/checkpoints/last.ckpt")
    )
    assert first.read_bytes() == b"kept"
    assert (run / "heatmaps" / "epoch-004.png").is_file()


@pytest.mark.parametrize("each", [1, 3, 50])
def test_the_same_images_of_each_class_every_time(each):
    labels = np.random.default_rng(0).integers(0, 2, 60)
    rows = np.flatnonzero(np.arange(60) % 3 == 0)
    found = chosen_rows(rows, labels, each)
    assert np.array_equal(found, chosen_rows(rows, labels, each)) and set(found) <= set(rows)
    for label in (0, 1):
        assert (labels[found] == label).sum() == min(each, (labels[rows] == label).sum())


@pytest.fixture
def everywhere(monkeypatch):
    """A face in every picture, which noise does not have."""
    landmarks = np.array([[11.0, 12], [21, 12], [16, 17], [12, 22], [20, 22]])
    found = Placed(regions(landmarks, 32), landmarks, 0.9)
    monkeypatch.setattr(average, "regions_of_file", lambda data, preprocess: found)


def test_the_mean_is_of_the_published_weights_and_a_resumed_training_gives_the_same(
    tiny, everywhere, monkeypatch
):
    seen, plain = [], average.write_average

    def spy(folder, predictor, *args, **options):
        assert (folder / "metrics.json").is_file() and (folder / "card.md").is_file()
        seen.append((predictor, options["epoch"]))
        return plain(folder, predictor, *args, **options)

    monkeypatch.setattr(average, "write_average", spy)
    options = ("heatmaps.every=3", "heatmaps.mean_images=3", "optimizer.lr=1e-3")
    metrics = train(tiny("trainer.max_epochs=4", *options))
    run = Path(metrics["folder"])
    ((predictor, epoch),) = seen
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    used = predictor.network.state_dict()
    assert all(torch.equal(used[name].cpu(), best[name]) for name in used)
    table = (run / "heatmaps" / "regions.json").read_text()
    assert json.loads(table)["epoch"] == epoch == metrics["training"]["best_epoch"]
    assert all(found["images"] == 3 for found in json.loads(table)["classes"].values())
    assert (run / "heatmaps" / "mean.png").is_file()

    stopped = Path(train(tiny("trainer.max_epochs=2", *options))["folder"])
    last = f"ckpt_path={stopped}/checkpoints/last.ckpt"
    train(tiny("trainer.max_epochs=4", *options, last))
    assert (stopped / "heatmaps" / "regions.json").read_text() == table
    assert (stopped / "heatmaps" / "mean.png").read_bytes() == (
        run / "heatmaps" / "mean.png"
    ).read_bytes()


@pytest.mark.parametrize("off", ["heatmaps.mean_images=0", "heatmaps.every=0"])
def test_the_mean_can_be_switched_off(tiny, everywhere, off):
    folder = Path(train(tiny("trainer.max_epochs=1", "heatmaps.every=1", off))["folder"])
    assert not (folder / "heatmaps" / "mean.png").exists()
    assert (folder / "heatmaps").exists() == (off != "heatmaps.every=0")


@pytest.mark.parametrize("value", ["-1", "1.5", "many", "null", "true"])
def test_a_wrong_number_of_images_is_refused_before_training(tiny, value):
    with pytest.raises(UserError, match=r"heatmaps\.mean_images=.*whole number of at least 0"):
        train(tiny("heatmaps.every=1", f"heatmaps.mean_images={value}"))


def test_sheets_and_means_that_fail_lose_nothing_and_say_so_once(tiny, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(callback, "sheet_figure", full)
    monkeypatch.setattr(average, "regions_of_file", full)
    metrics = train(tiny("trainer.max_epochs=2", "heatmaps.every=1"))
    assert (Path(metrics["folder"]) / "metrics.json").is_file()
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    said = [line for line in said if "heatmap" in line]
    assert said == [
        "no more heatmaps, the training goes on: [Errno 28] No space left on device",
        "no mean heatmap, the training is whole: [Errno 28] No space left on device",
    ]


def test_the_cost_is_that_of_the_clock(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    now = [100.0]
    monkeypatch.setattr(callback.time, "monotonic", lambda: now[0])
    made = callback.Heatmaps(Path(), None, ("fake", "real"), every=2, images=1, method="gradcam")

    class Trainer:
        is_global_zero = True
        current_epoch, max_epochs, should_stop = 0, 5, False

    def draw(*_):
        now[0] += 0.5
        made.sheets += 1

    monkeypatch.setattr(made, "_draw", draw)
    made.on_train_start(Trainer, None)
    for Trainer.current_epoch in range(5):
        now[0] += 9.6
        made.on_train_epoch_end(Trainer, None)
    made.on_train_end(Trainer, None)  # sheets at 0, 2, 4 and 5: 2 s of 50
    (line,) = re.findall("heatmaps: .*", caplog.text)
    assert line == "heatmaps: 4 sheets of 0.50 s, 4.0 % of the training; an epoch took 9.6 s"

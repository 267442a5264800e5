"""Heatmaps during a training: which are drawn, and that the training does not notice."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detector.explain.callback import chosen_rows
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

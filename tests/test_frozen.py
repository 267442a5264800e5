"""A head trained on embeddings is the head that is trained behind its frozen backbone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from detector.run.session import Session
from detector.train import train

FROZEN = ("model.freeze=backbone", "heatmaps.every=0", "trainer.max_epochs=3", "augment=light")


def weights(run):
    path = Path(run["folder"]) / "checkpoints" / "last.ckpt"
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.parametrize(
    "network",
    [("model=cnn6",), ("model=timm", "model.net.name=resnet10t", "model.preprocess.size=32")],
)
def test_with_a_view_an_epoch_only_the_time_differs(tiny, caplog, network):
    caplog.set_level("INFO")
    passed = train(tiny(*FROZEN, *network, "trainer.precision=32-true", "embeddings.views=0"))
    assert "embeddings" not in caplog.text
    embedded = train(tiny(*FROZEN, *network, "trainer.precision=32-true", "embeddings.views=3"))
    assert "the head alone is trained" in caplog.text
    ours, theirs = weights(embedded), weights(passed)
    begun = Session(tiny(*FROZEN, *network)).module.network.state_dict()
    moved = [key for key in ours if not torch.equal(ours[key], begun[key])]
    assert moved and all(key.startswith(("classifier.", "fc.")) for key in moved)
    for key in ours:
        assert torch.allclose(ours[key].float(), theirs[key].float(), atol=2e-3), key


def test_views_repeat_and_are_not_made_again(tiny, caplog, tmp_path):
    caplog.set_level("INFO")
    train(tiny(*FROZEN, "embeddings.views=2"))
    (file,) = (tmp_path / "cache" / "embeddings").glob("*.npy")
    before = file.stat().st_mtime_ns
    other = train(tiny(*FROZEN, "embeddings.views=2", "optimizer.lr=0.01"))
    assert file.stat().st_mtime_ns == before and f"from {file}" in caplog.text
    assert np.load(file).ndim == 2
    again = train(tiny(*FROZEN, "embeddings.views=2", "seed=1"))  # another order of augmentation
    assert len(list(file.parent.glob("*.npy"))) == 2
    assert weights(again).keys() == weights(other).keys()


def test_without_augmentation_one_view_is_enough(tiny, tmp_path):
    session = Session(tiny(*FROZEN, "augment=none"))
    session.fit()
    (file,) = (tmp_path / "cache" / "embeddings").glob("*.npy")
    rows = session.data.rows
    assert len(np.load(file)) == len({*rows["train"], *rows["val"]})


@pytest.mark.parametrize("why", ["loss.mixup=0.2", "data.cache_gb=0", "model.freeze=1"])
def test_where_embeddings_do_not_serve_the_backbone_sees_every_picture(tiny, why):
    session = Session(tiny(*FROZEN, why))
    session.fit()
    assert session.data.embedded is None

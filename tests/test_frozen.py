"""A head trained on embeddings is the head that is trained behind its frozen backbone."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from detector.run.session import Session
from detector.train import train
from tests.conftest import fit_until_killed

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
    before = file.stat().st_ino
    other = train(tiny(*FROZEN, "embeddings.views=2", "optimizer.lr=0.01"))
    assert file.stat().st_ino == before and f"from {file}" in caplog.text
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


def test_the_same_weights_used_in_another_way_give_other_embeddings(tiny, tmp_path):
    for pool in ("avg", "max"):
        network = ("model=timm", "model.net.name=resnet10t", f"+model.net.global_pool={pool}")
        Session(tiny(*FROZEN, *network, "augment=none", "model.preprocess.size=64")).fit()
    one, two = (tmp_path / "cache" / "embeddings").glob("*.npy")
    assert np.load(one).shape == np.load(two).shape and not np.array_equal(
        np.load(one), np.load(two)
    )


def test_where_they_cannot_be_kept_the_backbone_sees_every_picture(tiny, tmp_path, caplog):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "embeddings").write_text("no folder")
    session = Session(tiny(*FROZEN))
    session.fit()
    assert session.data.embedded is None and "paths.cache= names another place" in caplog.text


@pytest.mark.parametrize("why", ["loss.mixup=0.2", "data.cache_gb=0", "model.freeze=1"])
def test_where_embeddings_do_not_serve_the_backbone_sees_every_picture(tiny, why):
    session = Session(tiny(*FROZEN, why))
    session.fit()
    assert session.data.embedded is None


def test_what_goes_on_looks_through_the_backbone_that_it_began_with(tiny, tmp_path):
    """Published weights are not read again: the checkpoint has them, before any embedding."""
    torch.manual_seed(9)
    weights_file = tmp_path / "weights.safetensors"
    save_file(timm.create_model("mobilenetv2_035").state_dict(), weights_file)
    options = (*FROZEN, "model=timm", "model.net.name=mobilenetv2_035",
               f"model.pretrained='{weights_file}'")  # fmt: skip
    whole = train(tiny(*options))
    session = Session(tiny(*options))
    fit_until_killed(session, 1, 1)
    again = train(tiny(*options, f"ckpt_path={session.last}"))
    assert len(list((tmp_path / "cache" / "embeddings").glob("*.npy"))) == 1
    one, two = weights(whole), weights(again)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert whole["val"] == again["val"]

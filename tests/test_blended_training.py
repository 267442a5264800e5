"""data.fakes from the command line to the card: what is trained on, going on, refusing."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.errors import UserError
from detector.run.session import Session
from detector.train import train
from tests.conftest import fit_until_killed
from tests.data.blended.faces import make_set

BLENDED = ["data.fakes=self_blended", "blended.masks=mixed", "augment=light"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("faces") / "set", reals=24, fakes=24)


@pytest.fixture
def small(tiny, faces):
    return lambda *overrides: tiny("data.batch_size=8", *overrides, root=faces)


def weights(folder, name="last.ckpt"):
    return torch.load(Path(folder) / "checkpoints" / name, weights_only=True)["state_dict"]


def same(one, other):
    return all(torch.equal(one[key], other[key]) for key in one)


def test_the_sets_fakes_are_not_read_in_training(small, caplog):
    with caplog.at_level(logging.INFO):
        session = Session(small(*BLENDED))
    labels, parts = session.faces.index.labels, session.faces.parts
    hidden = set(np.flatnonzero((labels == 0) & (parts == "train")).tolist())
    read, pixels = set(), type(session.pixels)

    class Watched(pixels):
        def __getitem__(self, row):
            read.add(row)
            return super().__getitem__(row)

    session.pixels.__class__ = Watched
    session.fit()
    metrics = session.finish()
    assert hidden and not read & hidden
    assert read >= set(np.flatnonzero((parts != "train") | (labels == 1)).tolist())
    assert "self-blended (mixed masks)" in caplog.text and "not used in training" in caplog.text
    reals = int(((labels == 1) & (parts == "train")).sum())
    told = metrics["training"]["fakes"]
    assert told["reals"] == reals == told["blended"] + told["reals_without_a_face"]
    # As many fakes as reals a step: two of each real image whose face was found.
    steps = -(-(reals + told["blended"]) // 8)
    assert session.trainer.global_step == 2 * steps
    card = (session.folder / "card.md").read_text()
    assert "self-blended images" in card and f"{told['blended']} blends, with mixed masks" in card


@pytest.mark.parametrize("fakes, epoch, stop", [("self_blended", 1, 1), ("mixed", 2, 0)])
def test_a_killed_run_goes_on_to_the_same_weights(small, fakes, epoch, stop):
    settings = ["trainer.max_epochs=3", *BLENDED, f"data.fakes={fakes}"]
    whole = train(small(*settings))
    session = Session(small(*settings))
    fit_until_killed(session, epoch, stop)
    last = session.folder / "checkpoints" / "last.ckpt"
    again = train(small(*settings, f"ckpt_path={last}"))
    for name in ("best.ckpt", "last.ckpt"):
        assert same(weights(whole["folder"], name), weights(again["folder"], name))
    for name in ("metrics.json", "metrics.csv", "predictions.csv"):
        one, two = ((Path(run["folder"]) / name).read_text() for run in (whole, again))
        assert one == two, name


def test_loader_processes_give_the_same_weights(small):
    runs = [
        train(small(*BLENDED, f"data.num_workers={workers}", "trainer.max_epochs=1"))
        for workers in (0, 2)
    ]
    assert same(*(weights(run["folder"]) for run in runs))


def test_going_on_with_other_fakes_is_refused_and_older_trainings_go_on(small):
    last = Path(train(small(*BLENDED))["folder"]) / "checkpoints" / "last.ckpt"
    for other in ("data.fakes=mixed", "blended.masks=face", "data.fakes=set"):
        with pytest.raises(UserError, match="goes on as it began") as caught:
            Session(small(*BLENDED, other, f"ckpt_path={last}"))
        assert "\n" not in str(caught.value)
    last = Path(train(small("trainer.max_epochs=1"))["folder"]) / "checkpoints" / "last.ckpt"
    settings = torch.load(last, weights_only=True)["detector"]["settings"]
    # With the set's own fakes nothing is noted, as before there was a choice.
    assert not [key for key in settings if "fakes" in key or key.startswith("blended")]
    Session(small("blended.masks=parts", f"ckpt_path={last}"))
    with pytest.raises(UserError, match="goes on as it began"):
        Session(small(*BLENDED[:2], f"ckpt_path={last}"))


def test_with_the_sets_fakes_nothing_is_told_of_blends(small):
    metrics = train(small("trainer.max_epochs=1"))
    assert "fakes" not in metrics["training"]
    folder = Path(metrics["folder"])
    assert "self-blended" not in (folder / "card.md").read_text()
    assert json.loads((folder / "metrics.json").read_text())["training"] == metrics["training"]


def test_balanced_weights_are_of_what_is_trained_on(small):
    session = Session(small(*BLENDED, "class_weights=balanced"))
    labels = session.data.labels[session.data.rows["train"]]
    expected = len(labels) / (2 * np.bincount(labels))
    assert session.module.loss.weight.tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize(
    "override, says",
    [
        ("data.fakes=blended", r"data\.fakes=blended: choose one of set, self_blended, mixed"),
        ("blended.masks=eyes", r"blended\.masks=eyes: choose one of face, parts, mixed"),
        ("blended=null", r"blended=null: give settings"),
    ],
)
def test_values_that_make_no_sense(small, override, says):
    with pytest.raises(UserError, match=says):
        Session(small(override))


def test_pictures_without_faces_are_refused_in_one_line(tiny):
    with pytest.raises(UserError, match=r"no face was found in any of the \d+ real") as caught:
        Session(tiny(*BLENDED))
    assert "\n" not in str(caught.value)

"""A training that fits a gate, from its config to the reports of what the gate refuses."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector import cli
from detector.data.decode import decode
from detector.errors import UserError
from detector.evaluate import evaluate
from detector.evaluation.gate import Gate
from detector.evaluation.intervals import wilson
from detector.predictor import Predictor, read_checkpoint
from detector.run.session import Session
from detector.train import train
from tests.conftest import make_set


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("gated")


@pytest.fixture(scope="module")
def config(place):
    make_set(place / "set", n=150)

    def made(*overrides):
        return cli.compose(
            "train",
            ["data=folder", f"data.root={place}/set", "model=cnn6", "model.preprocess.size=32",
             "data.batch_size=32", "data.num_workers=0", "data.near_copies=false", "trainer=cpu",
             "trainer.max_epochs=2", "progress=none", "metrics.replicates=100",
             "heatmaps.every=0", f"paths.runs={place}/runs", f"paths.cache={place}/cache",
             "gate.alpha=0.1", *overrides],
        )  # fmt: skip

    return made


@pytest.fixture(scope="module")
def trained(config):
    return train(config())


def told(predictor, files):
    images = np.stack([predictor.preprocess(file.read_bytes()) for file in files])
    return predictor.answer(images)[2]


def test_it_is_fitted_on_validation_alone_and_travels_with_the_weights(trained, place):
    run = Path(trained["folder"])
    lines = [line.split(",") for line in (run / "split.csv").read_text().splitlines()[1:]]
    files = {part: [place / "set" / line[0] for line in lines if line[-1] == part]
             for part in ("val", "test")}  # fmt: skip
    best = run / "checkpoints" / "best.ckpt"
    predictor, card = Predictor.load(best), read_checkpoint(best)["detector"]
    groups = [line[2] for line in lines if line[-1] == "val"]
    by_hand = Gate.fit(told(predictor, files["val"]), groups, seed=0, alpha=0.1)
    fresh = told(predictor, files["test"])
    gate = predictor.gate
    assert gate.to_dict() == Gate.from_dict(card["gate"]).to_dict()
    # Batches of another size differ in the last digits, which may turn a direction about.
    assert gate.unlikeness(fresh) == pytest.approx(by_hand.unlikeness(fresh), rel=1e-3)
    assert (gate.alpha, gate.n) == (0.1, len(files["val"]))
    n = int((gate.unlikeness(fresh) > 1).sum())
    low, high = wilson(n, len(fresh))
    share = {"value": n / len(fresh), "low": low, "high": high}
    assert trained["test"]["refused"] == {"n": n, "share": pytest.approx(share)}
    assert "refused" not in trained["val"] and trained["gate"] == {"alpha": 0.1, "n": gate.n}
    assert json.loads((run / "metrics.json").read_text())["gate"] == trained["gate"]
    text = (run / "card.md").read_text()
    assert "## Pictures unlike its own" in text and f"{n / len(fresh):.3f} [{low:.3f}" in text
    assert "gate" not in read_checkpoint(run / "checkpoints" / "last.ckpt")["detector"]


def test_an_evaluation_says_what_it_refuses(trained, place, tmp_path):
    other = tmp_path / "noise"
    rng = np.random.default_rng(0)
    make_set(other, n=4)
    for file in other.glob("*/*.png"):
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), np.uint8)).save(file)
    shared = ["progress=none", "evaluate.replicates=50", "evaluate.device=cpu",
              "evaluate.controls=false", f"paths.runs={place}/runs", f"paths.cache={place}/cache",
              f"ckpt={trained['folder']}/checkpoints/best.ckpt"]  # fmt: skip
    own = evaluate(cli.compose("evaluate", shared))
    assert own["refused"] == trained["test"]["refused"]
    found = evaluate(
        cli.compose("evaluate", [*shared, "data=folder", f"data.root={other}", "evaluate.part=all"])
    )
    predictor = Predictor.load(Path(trained["folder"]) / "checkpoints" / "best.ckpt")
    files = sorted(other.glob("*/*.png"))
    expected = predictor.gate.unlikeness(told(predictor, files)) > 1
    assert found["refused"]["n"] == expected.sum()
    text = (Path(found["folder"]) / "report.md").read_text()
    assert "## Pictures unlike those of its training" in text
    assert "It was fitted to refuse 0.1 of pictures like its own." in text


def test_null_means_none_and_so_do_few_pictures(config, tiny, caplog):
    run = train(config("gate.alpha=null"))
    assert run["gate"] is None and "refused" not in run["test"]
    best = Path(run["folder"]) / "checkpoints" / "best.ckpt"
    assert Predictor.load(best).gate is None and "gate" not in read_checkpoint(best)["detector"]
    with caplog.at_level(logging.INFO):
        small = train(tiny())
    assert small["gate"] is None
    assert any("no gate, so that" in line and "too few" in line for line in caplog.messages)


def test_another_gate_is_no_reason_not_to_go_on(config, trained):
    last = Path(trained["folder"]) / "checkpoints" / "last.ckpt"
    Session(config("gate.alpha=0.2", f"ckpt_path={last}", "trainer.max_epochs=3"))
    for wrong in ("0", "0.6", "often"):
        with pytest.raises(UserError, match=r"gate\.alpha"):
            Session(config(f"gate.alpha={wrong}"))


def test_a_checkpoint_with_a_foreign_gate_is_refused(trained, tmp_path):
    import torch

    checkpoint = read_checkpoint(Path(trained["folder"]) / "checkpoints" / "best.ckpt")
    checkpoint["detector"]["gate"]["limit"] = -1.0
    torch.save(checkpoint, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match="the gate's numbers do not fit together"):
        Predictor.load(tmp_path / "best.ckpt")


def test_decode_is_not_asked_twice(trained, place):
    """One pass gives scores and features: the same as two."""
    predictor = Predictor.load(Path(trained["folder"]) / "checkpoints" / "best.ckpt")
    file = next((place / "set" / "real").iterdir())
    image = predictor.preprocess.resize(decode(file.read_bytes(), max_pixels=10**6))
    margins, _, features = predictor.answer(image[None])
    assert margins[0] == predictor.margins([image])[0] and features.shape == (1, 128)

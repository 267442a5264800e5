"""model.parts from the command line to the card: learning, going on, predicting, refusing."""

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from detector.errors import UserError
from detector.evaluate import evaluate
from detector.predictor import Predictor
from detector.run.session import Session
from detector.train import train
from tests.data.blended.faces import make_set as make_faces

NAMES = ("eye_left", "eye_right", "nose", "mouth")
CORNERS = ((8, 8), (8, 30), (20, 19), (34, 19))  # row and column of each part in 48 pixels
PARTS = ("model.parts=true", "data.source=ciplab", "trainer.precision=32-true")
FLIP = "augment.steps=[{step:flip,p:0.5}]"


def face(rng: np.random.Generator, bits=(0, 0, 0, 0)) -> Image.Image:
    """Coloured noise with a bright square where a part was edited."""
    small = rng.integers(40, 160, (6, 6, 3), dtype=np.uint8)
    picture = np.array(Image.fromarray(small).resize((48, 48), Image.Resampling.BICUBIC))
    for (y, x), bit in zip(CORNERS, bits, strict=True):
        if bit:
            picture[y : y + 10, x : x + 10] = 250
    return Image.fromarray(picture)


@pytest.fixture(scope="module")
def edited(tmp_path_factory) -> Path:
    """90 reals and 90 fakes as ciplab names them; the name of every ninth fake is malformed."""
    root, rng = tmp_path_factory.mktemp("edited") / "set", np.random.default_rng(0)
    for name in ("training_fake", "training_real"):
        (root / name).mkdir(parents=True)
    for at in range(90):
        face(rng).save(root / "training_real" / f"real_{at:05d}.png")
        bits = [int(bit) for bit in f"{rng.integers(1, 16):04b}"]
        named = "".join(map(str, bits))[: 3 if at % 9 == 0 else 4]
        face(rng, bits).save(root / "training_fake" / f"mid_{at}_{named}.png")
    return root


@pytest.fixture
def small(tiny, edited):
    return lambda *overrides: tiny(*PARTS, *overrides, root=edited)


def weights(run, name="last.ckpt"):
    path = Path(run["folder"]) / "checkpoints" / name
    return torch.load(path, weights_only=True)["state_dict"]


def lines(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def learnt(edited, tmp_path_factory):
    """A training with mirror images: the eyes can be told apart only if their bits swap too."""
    from detector import cli

    folder = tmp_path_factory.mktemp("learnt")
    given = [
        "data=folder", f"data.root={edited}", "model=cnn3", "model.preprocess.size=48",
        "data.batch_size=16", "data.num_workers=0", "trainer=cpu", "trainer.max_epochs=14",
        "progress=none", "metrics.replicates=100", f"paths.runs={folder}/runs",
        f"paths.cache={folder}/cache", "heatmaps.every=7", "heatmaps.mean_images=4", *PARTS, FLIP,
        "model.net.dropout=0.0", "data.split.fractions={train:0.5,val:0.2,test:0.3}",
    ]  # fmt: skip
    return train(cli.compose("train", given))


def test_planted_edits_are_found_part_by_part(learnt):
    for part in ("val", "test"):
        for name in NAMES:
            among = learnt[part]["parts"][name]
            assert among["fakes"]["auroc"]["value"] > 0.85, (part, name)
            assert among["fakes"]["n"] == learnt[part]["n_fake"] - malformed(learnt, part)
            assert among["all"]["n"] == among["fakes"]["n"] + learnt[part]["n_real"]


def malformed(run, part) -> int:
    path = Path(run["folder"]) / "predictions.csv"
    fakes = (row["path"] for row in lines(path) if row["split"] == part and row["label"] == "0")
    return sum(len(Path(name).stem.rpartition("_")[2]) == 3 for name in fakes)


def test_every_file_of_the_run_has_the_parts(learnt, edited):
    folder = Path(learnt["folder"])
    assert json.loads((folder / "metrics.json").read_text())["test"] == learnt["test"]
    found = lines(folder / "parts.csv")
    assert malformed(learnt, "val") + malformed(learnt, "test") > 0
    for row in found:
        named = Path(row["path"]).stem.rpartition("_")[2] if row["label"] == "0" else "0000"
        bits = [row[f"edited_{name}"] for name in NAMES]
        assert bits == (list(named) if len(named) == 4 else [""] * 4)
    for part in ("val", "test"):
        for name in NAMES:
            for among in ("fakes", "all"):
                here = [
                    (int(row[f"edited_{name}"]), float(row[f"p_{name}"]))
                    for row in found
                    if row["split"] == part and row[f"edited_{name}"]
                    and (among == "all" or row["label"] == "0")
                ]  # fmt: skip
                expected = roc_auc_score(*zip(*here, strict=True))
                measured = learnt[part]["parts"][name][among]["auroc"]
                assert measured["value"] == pytest.approx(expected, abs=1e-6)
    history = lines(folder / "metrics.csv")
    curve = [float(row["val/parts_auroc"]) for row in history]
    best = learnt["training"]["best_epoch"] - 1
    of_val = [learnt["val"]["parts"][name]["fakes"]["auroc"]["value"] for name in NAMES]
    assert len(curve) == 14 and curve[best] == pytest.approx(np.mean(of_val), abs=0.02)
    card = (folder / "card.md").read_text()
    assert "| left eye | " in card and "edited fake images" in card
    assert "the probability that it was edited" in card and "part head beside" in card
    assert len(lines(folder / "predictions.csv")[0]) == 4
    assert list((folder / "heatmaps").glob("epoch-*.png"))


def test_the_predictor_gives_the_same_from_the_file(learnt, edited):
    folder = Path(learnt["folder"])
    predictor = Predictor.load(folder / "checkpoints" / "best.ckpt")
    assert predictor.part_names == NAMES
    known = lines(folder / "parts.csv")[:9]
    images = [predictor.preprocess((edited / row["path"]).read_bytes()) for row in known]
    found = predictor.parts(images, batch_size=4)
    expected = [[float(row[f"p_{name}"]) for name in NAMES] for row in known]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    scores = {row["path"]: float(row["p_fake"]) for row in lines(folder / "predictions.csv")}
    np.testing.assert_allclose(
        predictor.scores(images), [scores[row["path"]] for row in known], atol=1e-5
    )
    assert predictor.parts([]).shape == (0, 4) and predictor.margins([]).shape == (0,)
    with torch.no_grad():
        batch = torch.from_numpy(predictor.preprocess.normalize(np.stack(images)))
        logits = predictor.network(batch).double().numpy()
        assert predictor.untrained(0)(batch).shape == logits.shape == (9, 6)
    np.testing.assert_allclose(predictor.margins(images), logits[:, 0] - logits[:, 1], atol=1e-5)


def test_an_evaluation_and_another_training_take_its_checkpoint(learnt, small, tmp_path):
    from detector import cli

    checkpoint = Path(learnt["folder"]) / "checkpoints" / "best.ckpt"
    given = [
        f"ckpt={checkpoint}", "evaluate.part=test", "progress=none", "evaluate.replicates=100",
        f"paths.runs={tmp_path}/runs", f"paths.cache={tmp_path}/cache", "evaluate.controls=false",
    ]  # fmt: skip
    again = evaluate(cli.compose("evaluate", given))
    expected = learnt["test"]["auroc"]["value"]
    assert again["metrics"]["auroc"]["value"] == pytest.approx(expected)
    net = {"model.preprocess.size=48", "model=cnn3", "model.net.dropout=0.0"}
    for more in ((), ("model.parts=false",)):
        session = Session(small(*sorted(net), f"init_from={checkpoint}", *more))
        state, theirs = session.module.network.state_dict(), weights(learnt, "best.ckpt")
        kept = [key for key in state if not key.startswith("classifier")]
        assert kept and all(torch.equal(state[key], theirs[key]) for key in kept)
        assert session.module.network.classifier[-1].out_features == (2 if more else 6)


def test_a_network_without_parts_says_so_and_altered_cards_are_refused(learnt, tmp_path, tiny):
    checkpoint = torch.load(Path(learnt["folder"]) / "checkpoints" / "best.ckpt", weights_only=True)
    card = checkpoint["detector"]
    for parts, says in ((5, "altered"), ([1, 2], "altered"), (["nose"], "do not fit")):
        with pytest.raises(UserError, match=says):
            Predictor(checkpoint | {"detector": card | {"parts": parts}}, "some.ckpt")
    session = Session(tiny())
    plain = {"state_dict": session.module.network.state_dict(), "detector": session.module.card}
    assert "parts" not in plain["detector"]
    with pytest.raises(UserError, match=r"model\.parts=true"):
        Predictor(plain, "plain.ckpt").parts([])


def test_a_killed_run_goes_on_to_the_same_weights(small, monkeypatch):
    settings = ["trainer.max_epochs=2", FLIP, "loss.mixup=0.2", "ema.decay=0.9"]
    whole = train(small(*settings))
    session = Session(small(*settings))
    step = session.module.training_step

    def killed(batch, batch_idx):
        if (session.trainer.current_epoch, batch_idx) == (1, 2):
            raise MemoryError("killed")
        return step(batch, batch_idx)

    monkeypatch.setattr(session.module, "training_step", killed)
    with pytest.raises(MemoryError):
        session.fit()
    again = train(small(*settings, f"ckpt_path={session.folder}/checkpoints/last.ckpt"))
    for name in ("best.ckpt", "last.ckpt"):
        one, two = weights(whole, name), weights(again, name)
        assert all(torch.equal(one[key], two[key]) for key in one)
    for name in ("metrics.json", "metrics.csv", "predictions.csv", "parts.csv"):
        one, two = ((Path(run["folder"]) / name).read_text() for run in (whole, again))
        assert one == two, name


def test_a_training_goes_on_with_the_head_that_it_has(small):
    last = Path(train(small("trainer.max_epochs=1"))["folder"]) / "checkpoints" / "last.ckpt"
    for other in ("model.parts=false", "loss.parts=0.5"):
        with pytest.raises(UserError, match=f"{other.split('=')[0]}.*goes on as it began"):
            Session(small(other, f"ckpt_path={last}"))


def test_older_checkpoints_go_on(tiny):
    last = Path(train(tiny())["folder"]) / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    for key in ("model.parts", "loss.parts"):
        del checkpoint["detector"]["settings"][key]
    torch.save(checkpoint, last)
    train(tiny(f"ckpt_path={last}", "trainer.max_epochs=3"))
    with pytest.raises(UserError, match=r"model\.parts"):
        Session(tiny("model.parts=true", f"ckpt_path={last}"))


def test_embeddings_of_a_frozen_backbone_keep_the_bits(small):
    frozen = (FLIP, "model.freeze=backbone", "trainer.max_epochs=3", "loss.parts=3")
    passed = train(small(*frozen, "embeddings.views=0"))
    embedded = train(small(*frozen, "embeddings.views=3"))
    ours, theirs = weights(embedded), weights(passed)
    for key in ours:
        assert torch.allclose(ours[key].float(), theirs[key].float(), atol=2e-3), key
    for part in ("val", "test"):
        for name in NAMES:
            one, two = (run[part]["parts"][name]["fakes"] for run in (embedded, passed))
            assert one["n"] == two["n"]
            assert one["auroc"]["value"] == pytest.approx(two["auroc"]["value"], abs=0.05)


def test_the_weight_of_the_loss_is_that_of_the_config(small):
    assert Session(small("loss.parts=0.25")).module.loss.weight == 0.25


def test_blends_alone_teach_parts(tiny, tmp_path, caplog):
    root = make_faces(tmp_path / "faces", reals=24, fakes=24)
    with caplog.at_level(logging.INFO):
        run = train(
            tiny("model.parts=true", "data.fakes=self_blended", "blended.masks=parts",
                 "data.batch_size=8", "trainer.max_epochs=1", root=root)
        )  # fmt: skip
    for name in NAMES:  # the set itself names no parts
        none = {"value": None, "low": None, "high": None}
        assert run["test"]["parts"][name]["fakes"] == {
            "n": 0, "n_edited": 0, "n_groups": 0, "auroc": none,
        }  # fmt: skip
    assert "val/parts_auroc" not in lines(Path(run["folder"]) / "metrics.csv")[0]
    with pytest.raises(UserError, match=r"no fake of data\.fakes=self_blended.*blended\.masks=par"):
        Session(tiny("model.parts=true", "data.fakes=self_blended", root=root))


@pytest.mark.parametrize(
    "override, says",
    [
        ("model.parts=4", r"model\.parts=4: give true or false"),
        ("loss.parts=0", r"loss\.parts=0: give a number above 0"),
        ("model.parts=true", r"no fake of the train part of \w+ says which"),
    ],
)
def test_bad_values_get_one_clear_line(tiny, override, says):
    with pytest.raises(UserError, match=says) as caught:
        Session(tiny(override))
    assert "\n" not in str(caught.value)

"""Options for fine-tuning in whole trainings: frozen parts, resuming, refusing, the card."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image

from detector.errors import UserError
from detector.evaluation.run_files import differing
from detector.models.head import head_names, in_head
from detector.rules import ADDED
from detector.run.fine_tuning import in_words
from detector.run.history import read_csv
from detector.run.session import Session
from detector.train import train
from tests.conftest import fit_until_killed

TIMM = ["model=timm", "model.net.name=test_efficientnet", "model.preprocess.size=64",
        "+model.net.drop_rate=0.2", "+model.net.drop_path_rate=0.2"]  # fmt: skip
ALL = ["model.freeze=2", "optimizer.name=adamw", "optimizer.head_lr=2e-3",
       "optimizer.layer_decay=0.8", "optimizer.weight_decay=0.05", "schedule.name=cosine",
       "schedule.warmup_epochs=1", "loss.label_smoothing=0.1", "loss.mixup=0.4", "ema.decay=0.7",
       "augment=light", "trainer.max_epochs=4"]  # fmt: skip


def checkpoint(folder, name="last.ckpt") -> dict:
    return torch.load(Path(folder) / "checkpoints" / name, weights_only=True)


class Watch(Callback):
    """Modes, gradients and weights at the last step of each epoch."""

    def __init__(self):
        self.epochs = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx == 3:
            network = module.network
            self.epochs.append(
                (
                    {n: m.training for n, m in network.named_modules()},
                    {n: p.requires_grad for n, p in network.named_parameters()},
                    {n: v.clone() for n, v in network.state_dict().items()},
                )
            )


def watched(cfg) -> tuple[Session, dict, list]:
    session = Session(cfg)
    first = {name: v.clone() for name, v in session.module.network.state_dict().items()}
    watch = Watch()
    session.trainer.callbacks.append(watch)
    session.fit()
    return session, first, watch.epochs


@pytest.mark.parametrize("network", [[], TIMM])
def test_a_frozen_backbone_stays_as_it_was_and_is_explained(tiny, network):
    session, first, epochs = watched(
        tiny(*network, "model.freeze=backbone", "optimizer.weight_decay=0.1", "ema.decay=0.5",
             "optimizer.name=adamw", "heatmaps.every=1", "heatmaps.images=1")
    )  # fmt: skip
    heads = head_names(session.module.network)
    for name in ("last.ckpt", "best.ckpt"):
        for key, value in checkpoint(session.folder, name)["state_dict"].items():
            assert in_head(key, heads) != torch.equal(value, first[key]), key
    assert all(in_head(n, heads) for _, wants, _ in epochs for n, wanted in wants.items() if wanted)
    weights = dict(session.module.network.named_parameters())
    held = checkpoint(session.folder)["optimizer_states"][0]["param_groups"]
    assert sum(len(g["params"]) for g in held) == sum(in_head(name, heads) for name in weights)
    sheets = sorted(path.name for path in (session.folder / "heatmaps").iterdir())
    assert sheets == ["epoch-000.png", "epoch-001.png", "epoch-002.png"]
    one, two = (np.array(Image.open(session.folder / "heatmaps" / name)) for name in sheets[::2])
    assert (one != two).any()
    assert session.finish()["val"]["n"] == 12


@pytest.mark.parametrize("network", [[], TIMM])
def test_it_thaws_after_n_epochs_and_is_trained_as_usual(tiny, network):
    session, first, epochs = watched(tiny(*network, "model.freeze=2", "trainer.max_epochs=3"))
    heads = head_names(session.module.network)
    for modes, wants, held in epochs[:2]:
        assert all(torch.equal(held[key], first[key]) for key in held if not in_head(key, heads))
        assert not any(
            on
            for name, on in modes.items()
            if name.endswith((".1", "bn1")) and not in_head(name, heads)
        )
        assert wants == {name: in_head(name, heads) for name in wants}
    modes, wants, held = epochs[2]
    assert all(modes.values()) and all(wants.values())
    assert not any(torch.equal(held[name], first[name]) for name in wants)
    assert not any(torch.equal(held[key], first[key]) for key in held if "running" in key)
    state = checkpoint(session.folder)["optimizer_states"][0]["state"]
    names = [name for name, _ in session.module.network.named_parameters()]
    for at, held in state.items():  # Adam counts the steps that a weight has seen
        assert held["step"] == (12 if in_head(names[at], heads) else 4), names[at]


def test_thawed_at_once_is_the_plain_training(tiny, monkeypatch):
    """What freezing leaves behind when it is over: nothing."""
    plain = train(tiny("augment=light"))
    session = Session(tiny("augment=light", "model.freeze=1"))
    session.module.frozen_epochs = 0
    session.fit()
    one, two = checkpoint(plain["folder"]), checkpoint(session.folder)
    assert all(torch.equal(one["state_dict"][k], two["state_dict"][k]) for k in one["state_dict"])


@pytest.mark.parametrize("network", [["trainer.accumulate_grad_batches=2"], TIMM])
def test_killed_again_and_again_it_gets_to_the_same_weights_with_all_of_it_on(tiny, network):
    whole = train(tiny(*network, *ALL))
    resumed = []
    for kill in ((0, 1), (1, 0), (2, 0), (2, 3), (3, 2)):  # it thaws at (2, 0)
        session = Session(tiny(*network, *ALL, *resumed))
        fit_until_killed(session, *kill)
        steps = 4 * kill[0] // session.trainer.accumulate_grad_batches
        assert checkpoint(session.folder)["global_step"] == steps
        resumed = [f"ckpt_path={session.last}"]
    again = train(tiny(*network, *ALL, *resumed))
    assert again["folder"] == str(session.folder) != whole["folder"]
    for name in ("best.ckpt", "last.ckpt"):
        one, two = (checkpoint(run["folder"], name) for run in (whole, again))
        pairs = [(one["state_dict"], two["state_dict"])]
        if name == "last.ckpt":
            pairs += [tuple(each["callbacks"]["AveragedWeights"]["weights"] for each in (one, two))]
            held = [each["optimizer_states"][0]["state"] for each in (one, two)]
            pairs += [(held[0][at], held[1][at]) for at in held[0]]
        assert all(torch.equal(a[key], b[key]) for a, b in pairs for key in a)
    for name in ("metrics.json", "metrics.csv", "predictions.csv"):
        one, two = ((Path(run["folder"]) / name).read_text() for run in (whole, again))
        assert one == two, name


def test_stopped_early_while_frozen_it_stays_stopped(tiny):
    settings = ["model.freeze=20", "trainer.max_epochs=30", "early_stopping.patience=1",
                "optimizer.lr=1e-9", "ema.decay=0.9"]  # fmt: skip
    first = train(tiny(*settings))
    assert first["training"]["epochs"] < 20
    last = Path(first["folder"]) / "checkpoints" / "last.ckpt"
    before = torch.load(last, weights_only=True)
    again = train(tiny(*settings, f"ckpt_path={last}"))
    after = torch.load(last, weights_only=True)
    assert again["training"] == first["training"]
    for key, value in before["state_dict"].items():
        assert torch.equal(value, after["state_dict"][key]), key


def test_the_highest_rate_is_logged(tiny):
    run = train(tiny("optimizer.head_lr=0.02", "optimizer.layer_decay=0.5"))
    for row in read_csv(Path(run["folder"]) / "metrics.csv"):
        assert row["lr"] == pytest.approx(0.02)


@pytest.mark.parametrize(
    "override, says",
    [
        ("model.freeze=null", "choose one of none, backbone"),
        ("model.freeze=0", "at least 1"),
        ("model.freeze=true", "choose one of none, backbone"),
        ("model.freeze=head", "choose one of none, backbone"),
        ("model.freeze=1.5", "whole number"),
        ("model.freeze=2", "model.freeze=backbone keeps"),
        ("optimizer.head_lr=0", "optimizer.head_lr=0"),
        ("optimizer.head_lr=fast", "optimizer.head_lr=fast"),
        ("optimizer.layer_decay=0", "above 0 and at most 1"),
        ("optimizer.layer_decay=1.1", "at most 1"),
        ("optimizer.layer_decay=null", "optimizer.layer_decay=null"),
        ("optimizer.weight_decay=-1", "optimizer.weight_decay=-1"),
        ("loss=null", "loss=null"),
        ("loss.label_smoothing=1", "at most 0.99"),
        ("loss.label_smoothing=-0.1", "loss.label_smoothing=-0.1"),
        ("loss.mixup=-1", "loss.mixup=-1"),
        ("loss.mixup=.inf", "loss.mixup=.inf"),
        ("loss.mixup=null", "loss.mixup=null"),
        ("ema=null", "ema=null"),
        ("ema.decay=1", "at most 0.999999"),
        ("ema.decay=0", "above 0"),
    ],
)
def test_bad_values_get_one_clear_line(tiny, override, says):
    with pytest.raises(UserError) as error:
        Session(tiny(override))
    assert says in str(error.value) and override.split("=")[0] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def begun(tiny_set, tmp_path_factory):
    """last.ckpt of a plain training of one epoch, and of one with weight decay."""
    from detector import cli

    folder = tmp_path_factory.mktemp("begun")
    options = ["data=folder", f"data.root={tiny_set}", "model=cnn6", "model.preprocess.size=32",
               "data.batch_size=16", "data.num_workers=0", "trainer=cpu", "trainer.max_epochs=1",
               "progress=none", "metrics.replicates=100", "heatmaps.every=0",
               f"paths.runs={folder}/runs", f"paths.cache={folder}/cache"]  # fmt: skip
    runs = [
        train(cli.compose("train", [*options, f"optimizer.weight_decay={w}"])) for w in (0, 0.1)
    ]
    return [Path(run["folder"]) / "checkpoints" / "last.ckpt" for run in runs]


@pytest.mark.parametrize(
    "changed",
    ["model.freeze=1", "optimizer.head_lr=0.1", "optimizer.layer_decay=0.9", "ema.decay=0.9",
     "optimizer.weight_decay=0.1", "loss.label_smoothing=0.1", "loss.mixup=0.2"],
)  # fmt: skip
def test_a_training_goes_on_as_it_began(tiny, begun, changed):
    with pytest.raises(UserError, match="goes on as it began"):
        Session(tiny(f"ckpt_path={begun[0]}", changed))


def test_trainings_of_older_versions_go_on(tiny, begun, tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    path.with_name("best.ckpt").write_bytes(b"there")
    old = torch.load(begun[0], weights_only=True)
    settings = old["detector"]["settings"]
    # How many processes train may change, by what code, and in how much memory.
    free = {"trainer.strategy", "trainer.devices", "trainer.compile", "trainer.keep_memory"}
    free |= {"data.crop_margin", "data.crop_align"}  # of the preprocessing, which has its own place
    assert not free & settings.keys()
    new = {*ADDED, "optimizer.head_lr", "ema.decay"} - free
    assert new <= settings.keys()
    old["detector"]["settings"] = {k: v for k, v in settings.items() if k not in new}
    torch.save(old, path)
    assert Session(tiny(f"ckpt_path={path}")).resume == path
    with pytest.raises(UserError, match="was trained with none"):
        Session(tiny(f"ckpt_path={path}", "model.freeze=1"))
    settings["augment.device"] = "auto"  # as config.yaml has it: a checkpoint has what it came to
    assert not differing([settings, old["detector"]["settings"]])
    assert differing([settings | {"loss.mixup": 0.1}, old["detector"]["settings"]]) == {
        "loss.mixup": [0.1, 0]
    }


def test_weight_decay_of_older_versions_is_named(tiny, begun, tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    path.with_name("best.ckpt").write_bytes(b"there")
    old = torch.load(begun[1], weights_only=True)
    groups = old["optimizer_states"][0]["param_groups"]
    assert len(groups) == 2
    old["optimizer_states"][0]["param_groups"] = [
        groups[0] | {"params": [at for group in groups for at in group["params"]]}
    ]
    torch.save(old, path)
    with pytest.raises(UserError, match="another version of detector trained it") as error:
        Session(tiny(f"ckpt_path={path}", "optimizer.weight_decay=0.1"))
    assert "\n" not in str(error.value)


def test_the_card_names_what_was_used(tiny):
    run = train(tiny("model.freeze=1", "optimizer.head_lr=0.02", "optimizer.layer_decay=0.5",
                     "optimizer.weight_decay=0.1", "loss.mixup=0.3", "loss.label_smoothing=0.1",
                     "ema.decay=0.9"))  # fmt: skip
    card = (Path(run["folder"]) / "card.md").read_text()
    for words in ("backbone frozen in the first epoch", "learning rate of the head 0.02",
                  "0.5 times the rate of the one above it", "weight decay 0.1",
                  "labels smoothed by 0.1", "mixup with alpha 0.3", "(decay 0.9)"):  # fmt: skip
        assert words in card
    assert in_words({"optimizer": {"lr": 0.1, "weight_decay": 0, "head_lr": None}}) == []
    assert in_words({"model": {"freeze": 3}}) == ["backbone frozen in the first 3 epochs"]
    assert in_words({"model": {"freeze": "backbone"}}) == ["backbone frozen"]

"""Averaged weights against the closed form; what is measured and kept is the average."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from detector.predictor import Predictor
from detector.run.ema import AveragedWeights
from detector.run.history import read_csv
from detector.run.session import Session
from detector.train import train

DECAY = 0.8


class Steps(Callback):
    """What the network holds after each step of the optimizer, and at the end of each epoch."""

    def __init__(self):
        self.steps, self.epochs, self.modes = [], [], []

    def copy(self, module):
        return {key: value.detach().clone() for key, value in module.network.state_dict().items()}

    def on_train_start(self, trainer, module):
        self.steps.append(self.copy(module))

    def on_train_batch_end(self, trainer, module, *rest):
        if trainer.global_step == len(self.steps):
            self.steps.append(self.copy(module))

    def on_train_epoch_end(self, trainer, module):
        self.epochs.append(self.copy(module))


def checkpoint(folder, name="last.ckpt") -> dict:
    return torch.load(Path(folder) / "checkpoints" / name, weights_only=True)


def same(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_average_in_closed_form(tiny, accumulate):
    session = Session(
        tiny(f"ema.decay={DECAY}", f"trainer.accumulate_grad_batches={accumulate}",
             "trainer.precision=32-true")
    )  # fmt: skip
    spy = Steps()
    session.trainer.callbacks.append(spy)
    session.fit()
    steps = spy.steps
    assert len(steps) - 1 == session.trainer.global_step == 8 // accumulate
    kept = checkpoint(session.folder)
    assert same(kept["callbacks"]["AveragedWeights"]["weights"], steps[-1])
    for key, value in kept["state_dict"].items():
        series = np.stack([step[key].double().numpy() for step in steps])
        if key.endswith("num_batches_tracked"):
            assert value == 8
            continue
        powers = DECAY ** np.arange(len(steps))[::-1] * (1 - DECAY)
        powers[0] /= 1 - DECAY  # the first weights have no step behind them
        assert powers.sum() == pytest.approx(1)
        expected = np.tensordot(powers, series, 1)
        assert np.allclose(value, expected, rtol=1e-4, atol=1e-6), key
    assert same(kept["state_dict"], spy.epochs[-1])
    # Running statistics are averaged with the weights.
    name = "features.0.1.running_mean"
    assert not torch.equal(kept["state_dict"][name], steps[-1][name])


def test_the_training_itself_does_not_notice(tiny):
    plain = train(tiny("schedule.name=cosine"))
    averaged = train(tiny("schedule.name=cosine", f"ema.decay={DECAY}"))
    one, two = checkpoint(plain["folder"]), checkpoint(averaged["folder"])
    assert same(one["state_dict"], two["callbacks"]["AveragedWeights"]["weights"])
    assert not same(one["state_dict"], two["state_dict"])
    lines = [read_csv(Path(run["folder"]) / "metrics.csv") for run in (plain, averaged)]
    for before, after in zip(*lines, strict=True):
        assert before["fit/loss"] == after["fit/loss"] and before["val/loss"] != after["val/loss"]


def test_curves_results_and_both_files_are_of_the_average(tiny):
    cfg = tiny("trainer.max_epochs=3", f"ema.decay={DECAY}", "trainer.precision=32-true",
               "optimizer.lr=1e-3", "heatmaps.every=3", "heatmaps.images=1",
               "heatmaps.mean_images=0")  # fmt: skip
    session = Session(cfg)
    drawn = []
    heatmaps = next(c for c in session.trainer.callbacks if type(c).__name__ == "Heatmaps")
    heatmaps._draw = lambda trainer, module, epoch: drawn.append(
        {key: value.clone() for key, value in module.network.state_dict().items()}
    )
    session.fit()
    metrics = session.finish()
    rows = read_csv(session.folder / "metrics.csv")
    last = Predictor.load(session.folder / "checkpoints" / "last.ckpt")
    val = session.data.rows["val"]
    fake = session.data.labels[val] == 0
    p = expit(last.margins(session.pixels[int(row)] for row in val))
    assert float(rows[-1]["val/loss"]) == pytest.approx(log_loss(fake, p), rel=1e-4)
    assert same(drawn[-1], checkpoint(session.folder)["state_dict"])
    best = Predictor.load(session.folder / "checkpoints" / "best.ckpt")
    p = best.margins(session.pixels[int(row)] for row in val)
    chosen = rows[metrics["training"]["best_epoch"] - 1]
    assert float(chosen["val/auroc"]) == pytest.approx(roc_auc_score(fake, p))
    assert metrics["val"]["auroc"]["value"] == pytest.approx(roc_auc_score(fake, p))


def test_a_checkpoint_within_an_epoch_holds_both_too(tiny, tmp_path):
    session = Session(tiny(f"ema.decay={DECAY}", "trainer.max_epochs=1"))
    spy = Steps()

    class Signal(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if batch_idx == 1:
                trainer.save_checkpoint(tmp_path / "within.ckpt")

    session.trainer.callbacks += [spy, Signal()]
    session.fit()
    kept = torch.load(tmp_path / "within.ckpt", weights_only=True)
    assert same(kept["callbacks"]["AveragedWeights"]["weights"], spy.steps[2])
    name = "classifier.0.weight"
    first, second, third = (step[name] for step in spy.steps[:3])
    once = DECAY * first + (1 - DECAY) * second
    expected = DECAY * once + (1 - DECAY) * third
    assert torch.allclose(kept["state_dict"][name], expected, rtol=1e-4, atol=1e-7)


def test_it_comes_before_whatever_looks_at_the_network(tiny):
    callbacks = Session(tiny(f"ema.decay={DECAY}", "heatmaps.every=1")).trainer.callbacks
    kinds = [type(callback) for callback in callbacks]
    names = [kind.__name__ for kind in kinds]
    assert kinds.index(AveragedWeights) < min(names.index("Heatmaps"), names.index("Checkpoints"))

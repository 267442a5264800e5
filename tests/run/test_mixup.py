"""Mixup and smoothed labels against sums written out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from detector.data.preprocess import Preprocess
from detector.models.build import build_network
from detector.module import DetectorModule
from detector.run.mixup import draw, mixed_loss

PREPROCESS = Preprocess(32, "crop", "bilinear", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), 10**6)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


@given(st.floats(0, 1), st.integers(0, 99), st.floats(0, 0.9))
def test_the_loss_of_a_mixed_batch_by_hand(share, seed, smoothing):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (5, 3, 2, 2), dtype=np.uint8)
    labels, partners = rng.integers(0, 2, 5), rng.permutation(5)
    weight = rng.normal(size=(2, 12))
    found = mixed_loss(
        lambda batch: batch.double().flatten(1) @ torch.from_numpy(weight).T / 255,
        nn.CrossEntropyLoss(label_smoothing=smoothing),
        torch.from_numpy(images),
        torch.from_numpy(labels),
        share,
        partners,
    )
    blended = share * images.astype(float) + (1 - share) * images[partners]
    # One loss against a soft label: the same by another way.
    target = share * np.eye(2)[labels] + (1 - share) * np.eye(2)[labels[partners]]
    target = (1 - smoothing) * target + smoothing / 2
    scores = log_softmax(blended.reshape(5, -1) @ weight.T / 255)
    assert float(found) == pytest.approx(-(target * scores).sum(1).mean(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_are_of_the_beta_distribution(alpha):
    shares = [draw(alpha, 3, [0, 0, step])[0] for step in range(400)]
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    assert stats.kstest(shares, stats.beta(2 * alpha, alpha).cdf).pvalue < 1e-3


@given(st.one_of(st.floats(1e-300, 1e-3), st.floats(1e3, 1e300)), st.integers(1, 40))
def test_extreme_alphas_and_sizes_are_whole(alpha, count):
    share, partners = draw(alpha, count, [1, 2, 3])
    assert 0 <= share <= 1 and sorted(partners) == list(range(count))
    again, same = draw(alpha, count, [1, 2, 3])
    assert again == share and (same == partners).all()


def module(**loss) -> DetectorModule:
    torch.manual_seed(0)
    made = DetectorModule(
        build_network("cnn2", size=32, classes=2, conv_dropout=0.0, dropout=0.0), {}, PREPROCESS,
        seed=3, optimizer={}, schedule={}, loss={"label_smoothing": 0, "mixup": 0} | loss,
        freeze="none", class_weights=None, channels_last=False,
    )  # fmt: skip
    made.log = lambda *args, **options: None
    return made


def batch(step: int = 0) -> tuple:
    made = torch.Generator().manual_seed(step)
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=made)
    return images, torch.randint(0, 2, (8,), generator=made), torch.arange(8)


def test_smoothed_labels_by_hand():
    images, labels, _ = batch()
    smoothed = module(label_smoothing=0.2)
    scores = log_softmax(smoothed(images).detach().double().numpy())
    target = 0.8 * np.eye(2)[labels.numpy()] + 0.1
    found = smoothed.training_step(batch(), 0).detach()
    assert float(found) == pytest.approx(-(target * scores).sum(1).mean(), rel=1e-5)
    assert float(module().training_step(batch(), 0).detach()) == pytest.approx(
        -scores[np.arange(8), labels.numpy()].mean(), rel=1e-5
    )


def test_each_step_is_mixed_in_its_own_way_and_the_same_again():
    mixed = module(mixup=1.0)
    losses = [float(mixed.training_step(batch(), step).detach()) for step in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]


def test_what_is_measured_is_neither_mixed_nor_smoothed():
    images, labels, rows = batch()
    plain, other = module(), module(mixup=1.0, label_smoothing=0.3)
    for one in (plain, other):
        one.eval()
        with torch.no_grad():
            one.validation_step((images, labels, rows), 0)
    scores = log_softmax(plain(images).detach().double().numpy())
    by_hand = -scores[np.arange(8), labels.numpy()].mean()
    for one in (plain, other):
        assert float(one.losses["val"].compute()) == pytest.approx(by_hand, rel=1e-5)

"""The loss of the part head against a loop, and what unknown bits must not do."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from detector.data.preprocess import Preprocess
from detector.models.build import build_network
from detector.models.parts import LossOfParts, with_bits
from detector.module import DetectorModule
from detector.run.mixup import mixed_loss

P = 4


def drawn(seed: int, n: int = 6, known: float = 0.6):
    rng = np.random.default_rng(seed)
    bits = np.where(rng.random((n, P)) < known, rng.integers(0, 2, (n, P)), -1)
    return rng.normal(size=(n, 2 + P)) * 3, rng.integers(0, 2, n), bits.astype(np.int8)


def by_loop(logits, labels, bits, weight, smoothing=0.0) -> float:
    of_classes, of_parts = [], []
    for scores, label, row in zip(logits, labels, bits, strict=True):
        logs = scores[:2] - np.log(np.exp(scores[:2]).sum())
        target = (1 - smoothing) * np.eye(2)[label] + smoothing / 2
        of_classes.append(-(target * logs).sum())
        for score, bit in zip(scores[2:], row, strict=True):
            if bit >= 0:
                p = 1 / (1 + math.exp(-score))
                of_parts.append(-math.log(p if bit else 1 - p))
    return float(np.mean(of_classes)) + weight * (float(np.mean(of_parts)) if of_parts else 0.0)


def loss_of(logits, labels, bits, weight, smoothing=0.0):
    loss = LossOfParts(nn.CrossEntropyLoss(label_smoothing=smoothing), weight)
    return loss(logits, with_bits(torch.from_numpy(labels), torch.from_numpy(bits)))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 999), st.floats(0, 1), st.floats(0.01, 5), st.floats(0, 0.9))
def test_the_loss_is_that_of_a_loop_over_known_bits(seed, known, weight, smoothing):
    logits, labels, bits = drawn(seed, known=known)
    found = loss_of(torch.from_numpy(logits), labels, bits, weight, smoothing)
    assert float(found) == pytest.approx(by_loop(logits, labels, bits, weight, smoothing), rel=1e-6)


@pytest.mark.parametrize("mute", [0.0, math.nan, math.inf, -math.inf])
def test_unknown_bits_get_no_gradient_whatever_their_logits_are(mute):
    logits, labels, bits = drawn(1)
    unknown = np.pad(bits < 0, ((0, 0), (2, 0)))
    assert 0 < unknown.sum() < bits.size
    expected = by_loop(logits, labels, bits, 1.0)
    given_ = torch.from_numpy(np.where(unknown, mute, logits)).requires_grad_()
    found = loss_of(given_, labels, bits, 1.0)
    found.backward()
    assert float(found.detach()) == pytest.approx(expected, rel=1e-6)
    gradient = given_.grad.numpy()
    assert (gradient[unknown] == 0).all() and (gradient[~unknown] != 0).all()


def test_a_batch_without_a_known_bit_is_a_batch_of_fake_and_real():
    logits, labels, bits = drawn(2)
    given_ = torch.from_numpy(logits).requires_grad_()
    found = loss_of(given_, labels, np.full_like(bits, -1), 3.0)
    found.backward()
    plain = nn.functional.cross_entropy(torch.from_numpy(logits[:, :2]), torch.from_numpy(labels))
    assert float(found.detach()) == float(plain)
    assert (given_.grad[:, 2:] == 0).all() and torch.isfinite(given_.grad).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 99), st.floats(0, 1))
def test_mixup_mixes_both_sets_of_bits_by_the_shares_of_the_images(seed, share):
    logits, labels, bits = drawn(seed)
    partners = np.random.default_rng(seed).permutation(len(labels))
    loss = LossOfParts(nn.CrossEntropyLoss(), 0.7)
    images = torch.from_numpy(logits)  # a network that answers what it is shown
    targets = with_bits(torch.from_numpy(labels), torch.from_numpy(bits))
    found = mixed_loss(lambda batch: batch, loss, images, targets, share, partners)
    blended = share * logits + (1 - share) * logits[partners]
    expected = share * by_loop(blended, labels, bits, 0.7) + (1 - share) * by_loop(
        blended, labels[partners], bits[partners], 0.7
    )
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def module(classes: int, **more) -> DetectorModule:
    torch.manual_seed(0)
    made = DetectorModule(
        build_network("cnn2", size=32, classes=classes, conv_dropout=0.0, dropout=0.0), {},
        Preprocess(32, "crop", "bilinear", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), 10**6), seed=3,
        optimizer={}, schedule={}, loss={"label_smoothing": 0.1, "mixup": 0}, freeze="none",
        class_weights=None, channels_last=False, **more,
    )  # fmt: skip
    made.log = lambda *args, **options: None
    return made


def test_training_and_validation_read_the_logits_in_their_places():
    _, labels, bits = drawn(3, n=8)
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    batch = images, torch.from_numpy(labels), torch.arange(8), torch.from_numpy(bits)
    made = module(2 + P, part_weight=2.0)
    made.eval()
    logits = made(images).detach().double().numpy()
    assert float(made.training_step(batch, 0).detach()) == pytest.approx(
        by_loop(logits, labels, bits, 2.0, 0.1), rel=1e-5
    )
    with torch.no_grad():
        made.validation_step(batch, 0)
    ((_, _, p_fake, p_parts),) = made.validated
    pair = np.exp(logits[:, :2])
    np.testing.assert_allclose(p_fake, pair[:, 0] / pair.sum(1), rtol=1e-5)
    np.testing.assert_allclose(p_parts, 1 / (1 + np.exp(-logits[:, 2:])), rtol=1e-5)
    # The curve of the loss stays that of fake or real, as without a part head.
    assert float(made.losses["val"].compute()) == pytest.approx(
        by_loop(logits, labels, np.full_like(bits, -1), 1.0), rel=1e-5
    )


def test_without_a_part_head_a_step_is_what_it_was():
    _, labels, _ = drawn(4, n=8)
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    made = module(2)
    found = made.training_step((images, torch.from_numpy(labels), torch.arange(8)), 0)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    assert torch.equal(found, loss(made(images), torch.from_numpy(labels)))
    assert list(made.state_dict()) == list(made.network.state_dict())

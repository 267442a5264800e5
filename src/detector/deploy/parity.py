"""Whether an exported file answers as the network that it was made from, on real images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from detector.data.preprocess import Preprocess
from detector.deploy.pictures import Sample
from detector.evaluation.intervals import allow_unseen, bootstrap_by_group, effective_n
from detector.evaluation.metrics import LEVEL, summarize, weighted_metrics
from detector.evaluation.scores import FAKE
from detector.predicting.backend import Backend
from detector.predicting.card import Card


@dataclass(frozen=True)
class Said:
    """All that one backend says of a sample.

    Args:
        logits: float64 (N, 2 + P).
        features: float32 (N, D), or None.
        p_fake: float64 (N), calibrated.
        fake: bool (N), on the fake side of the threshold.
        unsure: bool (N), no verdict: near the threshold, or unlike the training images.
    """

    logits: np.ndarray
    features: np.ndarray | None
    p_fake: np.ndarray
    fake: np.ndarray
    unsure: np.ndarray


def ask(backends: Sequence[Backend], card: Card, sample: Sample, batch_size: int) -> list[Said]:
    """Answers of several backends; each picture is decoded once.

    Args:
        backends: With `run`.
        card: Of all of them: its preprocessing, calibration and gate.
        sample: At least one picture.
        batch_size: Pictures at a time.
    """
    found: list[list] = [[] for _ in backends]
    for batch in sample.batches(batch_size):
        images = card.preprocess.normalize(batch)
        for answers, backend in zip(found, backends, strict=True):
            answers.append(backend.run(images))
    return [_said(answers, card) for answers in found]


def _said(answers: list, card: Card) -> Said:
    logits = np.concatenate([logits for logits, _ in answers])
    known = all(features is not None for _, features in answers)
    features = np.concatenate([features for _, features in answers]) if known else None
    p = card.calibration.scores(logits[:, 0] - logits[:, 1])
    low, high = card.calibration.unsure
    unsure = (p > low) & (p < high)
    if card.gate is not None and features is not None:
        unsure |= card.gate.unlikeness(features) > 1
    return Said(logits, features, p, p >= card.calibration.threshold, unsure)


def differences(before: Said, after: Said) -> dict:
    """How far two backends are apart on the same pictures.

    Returns:
        `n`; the largest difference of `logits` and of `p_fake`, and the mean of the latter;
        `features`, the largest difference over the largest feature, None without; `flips`, how
        many moved across the threshold; `unsure`, how many got or lost a verdict otherwise.
    """
    p = np.abs(before.p_fake - after.p_fake)
    features = None
    if before.features is not None and after.features is not None:
        scale = float(np.abs(before.features).max()) or 1.0
        features = float(np.abs(before.features - after.features).max()) / scale
    return {
        "n": len(p),
        "logits": float(np.abs(before.logits - after.logits).max()),
        "p_fake": float(p.max()),
        "p_fake_mean": float(p.mean()),
        "features": features,
        "flips": int((before.fake != after.fake).sum()),
        "unsure": int((before.unsure != after.unsure).sum()),
    }


def ranking(
    before: Said, after: Said, sample: Sample, *, replicates: int, seed: int
) -> dict[str, dict]:
    """AUROC of both, and how much is lost, with 95 % intervals.

    The interval of the loss is a bootstrap over photographs of the difference itself, as both are
    measured on the same ones, widened as in `detector.compare`: two that agree on all of these may
    still differ on others.

    Args:
        before: Of the network.
        after: Of the file.
        sample: With labels of both classes.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        `before`, `after` and `drop`, each with value, low and high.
    """
    drawn = {"replicates": replicates, "seed": seed}
    found = {
        name: summarize(
            said.p_fake, sample.labels, sample.groups, threshold=0.5, names=["auroc"], **drawn
        )["auroc"]
        for name, said in (("before", before), ("after", after))
    }
    one, two = (
        weighted_metrics(said.p_fake, sample.labels, 0.5, ["auroc"]) for said in (before, after)
    )

    def drop(weights: np.ndarray) -> np.ndarray:
        return one(weights)["auroc"] - two(weights)["auroc"]

    value = found["before"]["value"] - found["after"]["value"]
    ends = bootstrap_by_group(drop, sample.groups, sample.labels, level=LEVEL, **drawn)
    smaller = min(effective_n(sample.groups[(sample.labels == FAKE) == kind]) for kind in (0, 1))
    low, high = allow_unseen(value, tuple(map(float, ends)), smaller, LEVEL, worst=-1.0, best=1.0)
    return found | {"drop": {"value": value, "low": low, "high": high}}


def broken(report: Mapping, limits: Mapping[str, float]) -> list[str]:
    """What of a report is beyond the limits, in words; nothing where the file is as it should be.

    Args:
        report: `check` as `differences` has it, `auroc` as `ranking` has it or None.
        limits: `p_fake`, the largest difference; `flips` and `unsure`, shares; `auroc_drop`.
    """
    check, found = report["check"], []
    if not check["p_fake"] <= limits["p_fake"]:  # NaN is beyond any limit
        found.append(f"p_fake differs by {check['p_fake']:.2g} (at most {limits['p_fake']:g})")
    for name, words in (("flips", "flip"), ("unsure", "become unsure or sure")):
        if not check[name] <= limits[name] * check["n"]:
            share = f"at most {limits[name]:.1%}"
            found.append(f"{check[name]} of {check['n']} verdicts {words} ({share})")
    ranked = report["auroc"]
    if ranked and not ranked["drop"]["value"] <= limits["auroc_drop"]:
        lost = ranked["drop"]["value"]
        found.append(f"AUROC falls by {lost:.4f} (at most {limits['auroc_drop']:g})")
    return found


def one_image(sample: Sample, preprocess: Preprocess) -> np.ndarray:
    """float32 (1, 3, S, S), the sample's first."""
    return np.ascontiguousarray(preprocess.normalize(next(sample.batches(1))))

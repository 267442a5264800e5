"""Networks of several folds and seeds beside each other: averages, differences and votes.

Scores of different networks have different scales: a metric is computed for each network on
its own test images, and only then averaged (Forman and Scholz 2010, SIGKDD Expl. 12:49).
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from detector.evaluation.compare import holm, mcnemar, over_folds
from detector.evaluation.intervals import (
    allow_unseen,
    bootstrap_by_group,
    effective_n,
    wilson,
)
from detector.evaluation.metrics import FAKE, LEVEL, LOG_CLIP, weighted_metrics

MEASURES = ("auroc", "accuracy", "balanced_accuracy", "log_loss", "brier")
LOWER_IS_BETTER = ("log_loss", "brier")
BOTH_CLASSES = ("auroc", "balanced_accuracy")  # their sample is the smaller class
UNDEFINED = {"value": None, "low": None, "high": None}


@dataclass(frozen=True)
class Network:
    """One network's answers to its own images.

    Args:
        rows: (n,) int, which of all images it answers, each once.
        p_fake: (n,) scores in [0, 1].
        threshold: p_fake from which it calls an image fake, in [0, 1].
        seed: What tells trainings on the same images apart.
    """

    rows: np.ndarray
    p_fake: np.ndarray
    threshold: float
    seed: Hashable


def compare_entries(
    entries: Mapping[str, Sequence[Network]],
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    replicates: int,
    seed: int,
) -> dict[str, dict | list]:
    """Measures entries of one or more networks each, and every two of them by their difference.

    An entry's metric is the mean of its networks'. One bootstrap serves all: groups of images
    are drawn once and taken along through all folds, all seeds and all entries. So intervals
    are about other images, not about other trainings; over those `spread` speaks.

    Args:
        entries: Networks of each, by name: each of an entry's seeds in each of its folds. A
            single entry is measured and compared with nothing.
        labels: (N,) 0 for fake, 1 for real, of all images of all folds.
        groups: (N,) group of each image.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        `entries`: by name `metrics`, `value`, `low` and `high` of each of MEASURES, None where
        undefined (accuracy with Wilson's interval at the effective number of images, the
        others as of differences); `by_seed`, each metric averaged over the folds of a seed;
        and `spread`, its `mean`, `sd` over seeds (with n - 1; None for one) and `n`.

        `pairs`: for every two `a`, `b`; `difference`, a minus b, likewise, its interval from
        the bootstrap, widened by what the sample may have failed to show; and `mcnemar`, as
        the function of that name gives it, of one vote per image (see `votes`), with `p_holm`.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    names, pairs = list(entries), list(combinations(range(len(entries)), 2))
    measures = [averages(networks, labels) for networks in entries.values()]
    first, second = np.array(pairs, int).reshape(-1, 2).T

    def statistic(weights: np.ndarray) -> np.ndarray:
        each = np.stack([measure(weights) for measure in measures], axis=1)
        return np.concatenate([each, each[:, first] - each[:, second]], axis=1)

    value = statistic(np.ones((1, len(labels))))[0]
    low, high = bootstrap_by_group(
        statistic, groups, labels, replicates=replicates, seed=seed, level=LEVEL
    )
    known = _effective(labels == FAKE, groups)
    loss = [_worst_log_loss(networks) for networks in entries.values()]

    def measured(at: int, scale: Mapping[str, tuple[float, float]]) -> dict[str, dict]:
        return {
            name: _measure(value[at, m], (low[at, m], high[at, m]), known[name], scale[name])
            for m, name in enumerate(MEASURES)
        }

    result: dict[str, dict | list] = {"entries": {}, "pairs": []}
    for at, name in enumerate(names):
        scale = dict.fromkeys(MEASURES, (0.0, 1.0)) | {"log_loss": (0.0, loss[at])}
        found = measured(at, scale)
        n, share = known["accuracy"], found["accuracy"]["value"]
        ends = wilson(n * share, n, LEVEL)
        found["accuracy"] = {"value": share, "low": ends[0], "high": ends[1]}
        by_seed = _by_seed(entries[name], labels)
        result["entries"][name] = {
            "metrics": found,
            "by_seed": by_seed,
            "spread": over_folds(list(by_seed.values())),
        }
    called = [votes(networks, len(labels)) for networks in entries.values()]
    for at, (a, b) in enumerate(pairs):
        # Two that agree everywhere here may still differ on what is not here.
        scale = dict.fromkeys(MEASURES, (-1.0, 1.0)) | {"log_loss": (-loss[b], loss[a])}
        right_a, right_b = (called[i] == (labels == FAKE) for i in (a, b))
        result["pairs"].append(
            {
                "a": names[a],
                "b": names[b],
                "difference": measured(len(names) + at, scale),
                "mcnemar": mcnemar(right_a, right_b),
            }
        )
    corrected = holm([pair["mcnemar"]["p"] for pair in result["pairs"]])
    for pair, p in zip(result["pairs"], corrected, strict=True):
        pair["mcnemar"]["p_holm"] = p
    return result


def averages(networks: Sequence[Network], labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Each metric, measured for each network on its own images, then averaged.

    Args:
        networks: Of one entry.
        labels: (N,) 0 for fake, 1 for real, of all images.

    Returns:
        From weights (R, N) to (R, M) values in the order of MEASURES; NaN where a metric is
        undefined for one of the networks.
    """
    every = np.arange(len(labels))
    parts = [
        (
            None if np.array_equal(net.rows, every) else net.rows,
            weighted_metrics(net.p_fake, labels[net.rows], net.threshold, MEASURES),
        )
        for net in networks
    ]

    def measure(weights: np.ndarray) -> np.ndarray:
        total = np.zeros((len(weights), len(MEASURES)))
        for rows, of_network in parts:
            found = of_network(weights if rows is None else weights.take(rows, axis=1))
            total += np.stack([found[name] for name in MEASURES], axis=1)
        return total / len(parts)

    return measure


def votes(networks: Sequence[Network], n: int) -> np.ndarray:
    """One verdict per image: what most of the networks that answer it say.

    Where as many call it fake as real, their mean score decides against their mean threshold.

    Args:
        networks: Of one entry; together they answer every image.
        n: Number of images.

    Returns:
        bool (n,), whether it is called fake.
    """
    balance, scores, thresholds = np.zeros(n, np.int64), np.zeros(n), np.zeros(n)
    for net in networks:
        balance[net.rows] += np.where(net.p_fake >= net.threshold, 1, -1)
        scores[net.rows] += net.p_fake
        thresholds[net.rows] += net.threshold
    return np.where(balance == 0, scores >= thresholds, balance > 0)


def _by_seed(networks: Sequence[Network], labels: np.ndarray) -> dict[str, dict]:
    found = {}
    for seed in dict.fromkeys(net.seed for net in networks):
        of_seed = [net for net in networks if net.seed == seed]
        values = averages(of_seed, labels)(np.ones((1, len(labels))))[0]
        found[str(seed)] = {
            name: None if np.isnan(value) else float(value)
            for name, value in zip(MEASURES, values, strict=True)
        }
    return found


def _effective(fake: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    smaller = min(effective_n(groups[fake]), effective_n(groups[~fake]))
    every = effective_n(groups)
    return {name: smaller if name in BOTH_CLASSES else every for name in MEASURES}


def _measure(
    value: float, ends: tuple[float, float], n: float, scale: tuple[float, float]
) -> dict[str, float | None]:
    if np.isnan(value):
        return dict(UNDEFINED)
    low, high = allow_unseen(float(value), ends, n, LEVEL, worst=scale[0], best=scale[1])
    return {"value": float(value), "low": low, "high": high}


def _worst_log_loss(networks: Sequence[Network]) -> float:
    """Of images as sure as these but wrong, at twice the odds, as `summarize` has it."""
    each = [np.minimum(net.p_fake, 1 - net.p_fake) / 2 for net in networks]
    return float(np.mean([-np.log(np.maximum(p, LOG_CLIP)).mean() for p in each]))

"""How far a network's verdicts hold when pictures are passed on: one row a perturbation.

Against the same images as they are: AUROC and its change, and the share of verdicts that
differ. A network may rank as well as before and still call everything fake, hence both.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from detector.data.decode import decode
from detector.data.index import Index
from detector.errors import UserError
from detector.evaluation.intervals import (
    allow_unseen,
    bootstrap_by_group,
    effective_n,
    wilson_by_group,
)
from detector.evaluation.metrics import FAKE, LEVEL, weighted_metrics
from detector.evaluation.perturbations import PERTURBATIONS, choose
from detector.evaluation.ranking import weighted_auroc
from detector.predictor import Predictor

CLEAN = "clean"
AHEAD = 2  # images a thread that are read, or wait for the network, at a time


def robustness(
    predictor: Predictor,
    index: Index,
    rows: Sequence[int],
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    families: Mapping[str, Sequence[float]],
    threshold: float,
    replicates: int,
    seed: int,
    max_pixels: int,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict]:
    """Scores every image as it is and under each perturbation, and compares.

    A file is read and decoded once. A few images a thread are in memory at a time, whatever
    the number of rows. The result does not depend on the order of the rows or on the threads.

    Args:
        predictor: The network and its preprocessing, which comes after the perturbation.
        index: The set.
        rows: Which of its images (N).
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image; see `summarize`.
        families: Strengths by family, a key of `PERTURBATIONS` each; see `choose`.
        threshold: An image is called fake when p_fake >= threshold; in [0, 1].
        replicates: Number of bootstrap resamples.
        seed: Of the bootstrap.
        max_pixels: Larger pictures are refused before they are decoded.
        workers: Threads that read and perturb; None for one a core.
        progress: Called with images done and images in all.

    Returns:
        A row of plain data for the images as they are, then one for each family and strength
        in the order given: family ("clean" first), label, strength (None for clean), n, and
        as {"value", "low", "high"} auroc, difference (AUROC less that of the clean images)
        and flipped (share of verdicts that differ from the clean one). difference and
        flipped are None in the clean row; see `compare_with_clean` for the intervals.

    Raises:
        UserError: A file cannot be read any more, or settings, lengths or values are wrong;
            the latter before any file is read.
    """
    families = choose(list(families), families)
    labels, groups = np.asarray(labels), np.asarray(groups)
    if not (len(rows) == len(labels) == len(groups)):
        raise UserError(
            f"{len(rows)} rows, {len(labels)} labels, {len(groups)} groups: give one per image"
        )
    if replicates < 1:
        raise UserError(f"replicates must be at least 1, got {replicates}")
    weighted_metrics(np.zeros(len(labels)), labels, threshold)  # refuses what it could not use
    order = np.argsort(rows, kind="stable")
    steps = [(name, strength) for name, values in families.items() for strength in values]

    def look(row: int) -> list[np.ndarray]:
        path = index.path(row)
        try:
            image = decode(path.read_bytes(), max_pixels=max_pixels)
            resize = predictor.preprocess.resize
            perturbed = (PERTURBATIONS[name].apply(image, strength) for name, strength in steps)
            return [resize(image), *map(resize, perturbed)]
        except FileNotFoundError:
            raise UserError(f"{path} is gone: put it back, or run again without it") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
        except UserError as error:  # DecodeError among them
            raise UserError(f"{path}: {error}") from error

    def inputs() -> Iterator[np.ndarray]:
        rows_in_order = [rows[at] for at in order]
        for done, images in enumerate(_ahead(look, rows_in_order, workers or os.cpu_count()), 1):
            yield from images
            if progress:
                progress(done, len(rows))

    scores = predictor.scores(inputs()).reshape(len(rows), 1 + len(steps))
    measures = compare_with_clean(
        scores,
        labels[order],
        groups[order],
        threshold=threshold,
        replicates=replicates,
        seed=seed,
    )
    named = [(CLEAN, "As they are", None)]
    named += [(name, PERTURBATIONS[name].label, strength) for name, strength in steps]
    return [
        {"family": family, "label": label, "strength": strength, "n": len(rows), **measured}
        for (family, label, strength), measured in zip(named, measures, strict=True)
    ]


def compare_with_clean(
    scores: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    threshold: float,
    replicates: int,
    seed: int,
) -> list[dict]:
    """Measures columns of scores, each against the first, on the same images.

    AUROC has the interval of `summarize`. Its difference has the bootstrap by group in which
    both columns are drawn together, widened by `allow_unseen` on the scale from -1 to 1: a
    kind of image that the sample does not hold may be ranked right in the one column and
    wrong in the other. Flips have Wilson's interval at the effective number of images.

    Args:
        scores: (N, 1 + K) p_fake in [0, 1]; column 0 is the clean one.
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image.
        threshold: An image is called fake when p_fake >= threshold; in [0, 1].
        replicates: Number of bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        For each column auroc, difference and flipped, as `robustness` gives them; None for
        value, low and high of auroc and difference where there is only one class.

    Raises:
        UserError: As for `summarize`.
    """
    scores = np.asarray(scores)
    for column in scores.T:
        weighted_metrics(column, labels, threshold, ())  # refuses what it could not use
    measure = weighted_auroc(scores, labels)
    _, group = np.unique(groups, return_inverse=True)

    def statistic(weights: np.ndarray) -> np.ndarray:
        ranked = measure(weights)
        return np.concatenate([ranked, ranked - ranked[:, :1]], axis=1)

    values = statistic(np.ones((1, len(labels))))[0]
    low, high = bootstrap_by_group(
        statistic, group, labels, replicates=replicates, seed=seed, level=LEVEL
    )
    fake = np.asarray(labels) == FAKE
    smaller = min(effective_n(group[fake]), effective_n(group[~fake]))
    called = scores >= threshold

    def with_ends(at: int, worst: float) -> dict[str, float | None]:
        if math.isnan(values[at]):
            return {"value": None, "low": None, "high": None}
        ends = allow_unseen(values[at], (low[at], high[at]), smaller, LEVEL, worst=worst)
        return {"value": float(values[at]), "low": ends[0], "high": ends[1]}

    found = []
    for k in range(scores.shape[1]):
        row = {"auroc": with_ends(k, 0.0), "difference": None, "flipped": None}
        if k:
            flips = called[:, k] != called[:, 0]
            ends = wilson_by_group(flips, group, LEVEL)
            row["difference"] = with_ends(scores.shape[1] + k, -1.0)
            row["flipped"] = {"value": float(flips.mean()), "low": ends[0], "high": ends[1]}
        found.append(row)
    return found


def _ahead(look: Callable, rows: Sequence[int], workers: int) -> Iterator[list[np.ndarray]]:
    """`look` of each row, in order, by threads that stay a few rows ahead.

    (An executor's own map would work through all rows without waiting for the network.)
    """
    pending: deque = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for row in rows:
                pending.append(pool.submit(look, row))
                if len(pending) == AHEAD * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

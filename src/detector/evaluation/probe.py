"""Do the pixels still tell which encoder wrote a file?

A rule on headers is blind once every file is encoded anew, while the pixels may still show what
happened before. So the question is put to the pixels: within one class, where the answer has
nothing to do with real or fake, can the JPEG table that a file had be predicted? A network
cannot use what this cannot find; not strictly, but the probe knows what to look for:

- Combs. Coefficients of a JPEG's 8x8 blocks are multiples of its table's steps, and after a
  second JPEG their histogram is periodic (Popescu and Farid, Information Hiding 2004; estimated
  as in Fan and de Queiroz, IEEE Trans. Image Processing 12:230, 2003).
- The mean magnitude of each coefficient (Frank et al., ICML 2020): what quantization took away.
- Periods of the mean second difference along rows and columns: block edges, and those of a
  picture that was resized, wherever they come to lie (Gallagher, CRV 2005).
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from detector.data.index import Index
from detector.data.split import deal
from detector.errors import UserError
from detector.evaluation.intervals import (
    allow_unseen,
    bootstrap_by_group,
    effective_n,
    wilson_by_group,
)
from detector.evaluation.metrics import LEVEL, weighted_metrics
from detector.evaluation.scores import FAKE, REAL

SIDE = 1024  # pixels of the middle that are looked at; a multiple of the block
WINDOW = 256  # samples of a period analysis; a multiple of the block
PERIODS = np.arange(2, 25)  # steps of a table, as 8-bit tables have them for low frequencies
REACH, STEP = 128, 0.25  # coefficients beyond count as at the end; width of a histogram bin
LOW = [8 * i + j for i in range(6) for j in range(6 - i)]  # frequencies whose combs are measured
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
STRENGTH = 0.003  # inverse penalty: there are more features than images


def measure_traces(
    index: Index,
    rows: Sequence[int],
    picture: Callable[[bytes], np.ndarray],
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Traces of N images; each file is read once, one in memory per thread.

    Args:
        index: The set.
        rows: Which of its images, in the order wanted.
        picture: From a file's bytes to uint8 RGB (H, W, 3): decoded, or normalized, or as a
            network's preprocessing leaves it.
        workers: Threads; None for one a core.
        progress: Called with images done and images in all.

    Returns:
        float32 (N, F).

    Raises:
        DecodeError: A file can no longer be read.
    """

    def look(row: int) -> np.ndarray:
        return traces(picture(index.path(row).read_bytes()))

    found = []
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for done, one in enumerate(pool.map(look, rows), 1):
            found.append(one)
            if progress:
                progress(done, len(rows))
    return np.array(found, np.float32)


def traces(image: np.ndarray) -> np.ndarray:
    """What a picture keeps of the JPEG steps that it went through.

    Args:
        image: uint8 RGB (H, W, 3), on the grid on which it was stored. Of more than 1024 pixels
            the middle is taken; less than two blocks are filled up with the edge.

    Returns:
        float32 (F): combs of 21 frequencies by 23 periods, in [-1, 1]; logarithms of 64 mean
        magnitudes, and of 128 magnitudes of periods.
    """
    top, left = (max(0, n - SIDE) // 16 * 8 for n in image.shape[:2])  # whole blocks: same grid
    # Not by cv2, which would round it and blur the combs.
    grey = image[top : top + SIDE, left : left + SIDE] @ LUMA - 128
    grey = np.pad(grey, [(0, max(0, 16 - n)) for n in grey.shape], "edge")
    blocks = _coefficients(grey)
    magnitudes = np.log(np.abs(blocks).mean(0) + 1e-3)
    return np.concatenate([_combs(blocks), magnitudes, _periods(grey)]).astype(np.float32)


def _coefficients(grey: np.ndarray) -> np.ndarray:
    """The orthonormal 8x8 DCT of each block: float32 (blocks, 64), row by row."""
    k, x = np.arange(8)[:, None], np.arange(8)[None]
    basis = np.cos(np.pi * (2 * x + 1) * k / 16) / np.where(k == 0, np.sqrt(8), 2)
    basis = basis.astype(np.float32)
    high, wide = (n // 8 for n in grey.shape)
    blocks = grey[: high * 8, : wide * 8].reshape(high, 8, wide, 8).swapaxes(1, 2)
    return (basis @ blocks @ basis.T).reshape(-1, 64)


def _combs(blocks: np.ndarray) -> np.ndarray:
    """Mean of cos(2 pi c / period) over blocks, by frequency and period: 1 for multiples."""
    bins = np.minimum(np.rint(np.abs(blocks[:, LOW]) / STEP), REACH / STEP).astype(np.int64)
    each = int(REACH / STEP) + 1
    counts = np.bincount((bins + each * np.arange(len(LOW))).ravel(), minlength=each * len(LOW))
    waves = np.cos(2 * np.pi * STEP * np.arange(each)[:, None] / PERIODS)
    return (counts.reshape(len(LOW), each) @ waves / len(blocks)).ravel()


def _periods(grey: np.ndarray) -> np.ndarray:
    """Log magnitude, at 1/256 to 1/2 cycles a pixel, of the mean second difference (128)."""
    total = np.zeros(WINDOW // 2)
    for picture in (grey, grey.T):
        profile = np.abs(np.diff(picture, 2, axis=1)).mean(0)
        profile = profile / max(float(profile.mean()), 1e-6) - 1
        for start in range(0, max(1, len(profile) - WINDOW // 2), WINDOW // 2):
            part = profile[start : start + WINDOW]
            found = np.abs(np.fft.rfft(part * np.hanning(len(part)), WINDOW))[1:]
            total += found / len(part)
    return np.log(total + 1e-6)


def probe(
    features: np.ndarray,
    other: np.ndarray,
    groups: Sequence[str],
    *,
    folds: int,
    replicates: int,
    seed: int,
) -> dict[str, int | float | dict[str, float]]:
    """How well features tell images with another table from those with the usual one.

    Every image is scored by a logistic regression that was fitted on other folds, and no group
    is divided between folds. AUROC is computed in each fold, then averaged: scores of different
    fits have no common scale.

    Args:
        features: (N, F), of images of one class.
        other: bool (N), whether the file had another table than the usual one.
        groups: Group of each image (N).
        folds: Number of folds, at least 2.
        replicates: Of the bootstrap by group, which gives the interval of AUROC.
        seed: Of the folds and of the bootstrap.

    Returns:
        n, n_other, majority (share of the more frequent kind), and {"value", "low", "high"},
        at 95 %, for auroc and accuracy.

    Raises:
        UserError: A fold would not hold both kinds.
    """
    other, groups = np.asarray(other, bool), np.asarray(groups)
    scores, fold = out_of_fold(features, other, groups, folds=folds, seed=seed)
    labels = np.where(other, FAKE, REAL)  # another table is what is looked for
    rows = [np.flatnonzero(fold == k) for k in range(folds)]
    measures = [weighted_metrics(scores[r], labels[r], 0.5) for r in rows]

    def statistic(weights: np.ndarray) -> np.ndarray:
        each = [m(weights[:, r])["auroc"] for m, r in zip(measures, rows, strict=True)]
        return np.mean(each, axis=0)  # NaN where a fold drew no image of a kind

    low, high = bootstrap_by_group(
        statistic, groups, labels, replicates=replicates, seed=seed, level=LEVEL
    )
    value = float(statistic(np.ones((1, len(other))))[0])
    n = min(effective_n(groups[other]), effective_n(groups[~other]))
    low, high = allow_unseen(value, (low, high), n, LEVEL)
    hits = (scores >= 0.5) == other
    ends = wilson_by_group(hits, groups, LEVEL)
    return {
        "n": len(other),
        "n_other": int(other.sum()),
        "majority": float(max(other.mean(), 1 - other.mean())),
        "auroc": {"value": value, "low": low, "high": high},
        "accuracy": {"value": float(hits.mean()), "low": ends[0], "high": ends[1]},
    }


def out_of_fold(
    features: np.ndarray, other: np.ndarray, groups: np.ndarray, *, folds: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of images by models that saw nothing of their groups.

    Args:
        features: (N, F).
        other: bool (N), what is predicted.
        groups: Group of each image (N).
        folds: Number of folds, at least 2.
        seed: Of the folds.

    Returns:
        float64 (N), probability of `other`; int64 (N), the fold of each image.

    Raises:
        UserError: A fold would not hold both kinds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fold = deal(groups, other, [1] * folds, seed)
    if folds < 2 or any(len(set(other[fold == k].tolist())) < 2 for k in range(folds)):
        raise UserError(
            f"the probe needs both kinds of files in each of {folds} folds: {int(other.sum())}"
            f" have another table than the usual one, {int((~other).sum())} have it"
        )
    scores = np.empty(len(other))
    for k in range(folds):
        held = fold == k
        model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=2000))
        model.fit(features[~held], other[~held])
        scores[held] = model.predict_proba(features[held])[:, 1]
    return scores, fold

"""What do intervals and figures of 20,000 images cost, beside a loop over scikit-learn?

    python benchmarks/evaluation.py

Made-up scores. Times are of the processor, so that other programs count less. The loop draws
groups and computes what `summarize` has a bootstrap for, with scikit-learn; it is timed over
a few replicates, in turn, and multiplied.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn import metrics as sk

from detector.evaluation.against import against_controls
from detector.evaluation.figure import plot_evaluation
from detector.evaluation.holds import calibration_holds
from detector.evaluation.metrics import summarize
from detector.evaluation.robustness import compare_with_clean
from detector.evaluation.slices import slices

N, REPLICATES, SAMPLE, SLICES, COLUMNS = 20_000, 1000, 10, 7, 35
HOW = {"threshold": 0.5, "replicates": REPLICATES, "seed": 0}


def seconds(once: Callable[[], object]) -> float:
    start = time.process_time()
    once()
    return time.process_time() - start


def by_loop(p: np.ndarray, labels: np.ndarray, groups: np.ndarray, replicates: int) -> None:
    rng, members = np.random.default_rng(0), {}
    for at, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(at)
    members = list(members.values())
    for _ in range(replicates):
        drawn = rng.integers(len(members), size=len(members))
        rows = np.concatenate([members[at] for at in drawn])
        fake, score = labels[rows] == 0, p[rows]
        called = score >= 0.5
        for metric in (sk.accuracy_score, sk.balanced_accuracy_score, sk.f1_score):
            metric(fake, called)
        for metric in (sk.roc_auc_score, sk.average_precision_score, sk.log_loss):
            metric(fake, score)
        sk.brier_score_loss(fake, score)
        sk.roc_curve(fake, score)  # equal error rate and two points of the curve


def main() -> None:
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 2, N), rng.integers(0, N, N)
    logits = rng.normal(1.4 * (1 - 2 * labels), 1)
    p = 1 / (1 + np.exp(-logits))
    images = p, labels, groups
    noisy = np.stack([logits + rng.normal(0, 0.05 * k, N) for k in range(COLUMNS)], axis=1)
    kinds = [rng.integers(0, 2, N).tolist() for _ in range(SLICES)]
    controls = {str(k): 1 / (1 + np.exp(-noisy[:, -k])) for k in range(1, 5)}
    found: dict[str, dict] = {}

    def figure() -> None:
        with tempfile.TemporaryDirectory() as folder:
            plot_evaluation(
                *images, Path(folder) / "evaluation.png", threshold=0.5,
                metrics=found["metrics"], class_names=("fake", "real"), title="made up",
            )  # fmt: skip

    drawn = {"replicates": REPLICATES, "seed": 0}
    steps = {
        "every metric": lambda: found.update(metrics=summarize(*images, **HOW)),
        f"{SLICES} slices of 2 kinds": lambda: [slices(*images, kind, **HOW) for kind in kinds],
        "4 controls, and the lead over each": lambda: against_controls(
            p, controls, labels, groups, **HOW
        ),
        "whether calibration holds": lambda: calibration_holds(*images, **drawn),
        "figure": figure,
    }
    taken = {name: seconds(step) for name, step in steps.items()}
    ours, loop = [taken["every metric"]], []
    for turn in range(3):
        loop.append(seconds(lambda: by_loop(*images, SAMPLE)) * REPLICATES / SAMPLE)
        if turn:
            ours.append(seconds(lambda: summarize(*images, **HOW)))
    taken["together"] = sum(taken.values())
    scores = 1 / (1 + np.exp(-noisy))
    taken[f"robustness, {COLUMNS} columns"] = seconds(
        lambda: compare_with_clean(scores, labels, groups, **HOW)
    )
    print(f"{N} images, {REPLICATES} replicates\n\n| step | seconds |\n| --- | --- |")
    for name, value in taken.items():
        print(f"| {name} | {value:.1f} |")
    ratio = statistics.median(b / t for b, t in zip(loop, ours, strict=True))
    print(f"| scikit-learn in a loop, from {SAMPLE} replicates | {statistics.median(loop):.0f} |")
    print(f"\nEvery metric: {ratio:.0f} times as fast as the loop.")


if __name__ == "__main__":
    main()

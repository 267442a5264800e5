"""How long one image takes, in two backends by turns."""

import time
from collections.abc import Sequence

import numpy as np

from detector.predicting.backend import Backend

WARM_UP = 3
# Threads that have done their part spin for a while, and would take the cores from the other.
PAUSE_S = 0.005


def latencies(backends: Sequence[Backend], image: np.ndarray, repeats: int) -> list[float]:
    """Median time of each backend for one image, in milliseconds.

    They take turns, so that whatever else the machine does meets all of them alike.

    Args:
        backends: With `run`.
        image: float32 (1, 3, S, S).
        repeats: Of each.
    """
    times = np.zeros((len(backends), repeats))
    for repeat in range(-WARM_UP, repeats):
        for at, backend in enumerate(backends):
            time.sleep(PAUSE_S)
            start = time.perf_counter()
            backend.run(image)
            if repeat >= 0:
                times[at, repeat] = time.perf_counter() - start
    return (1000 * np.median(times, axis=1)).tolist()

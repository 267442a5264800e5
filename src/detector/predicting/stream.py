"""Many pictures: read ahead in a few threads, answered in batches, in bounded memory."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from detector.data.ahead import in_order
from detector.predicting.answer import answer_all
from detector.predicting.look import Looked, hold, look_or_tell, weigh
from detector.predicting.prediction import Prediction
from detector.predicting.sources import Sources

if TYPE_CHECKING:
    from detector.explain.cam import Explainer
    from detector.predictor import Predictor

MOST_THREADS = 8  # each may hold a whole picture, of 150 MB at 50 million pixels


def stream(
    predictor: "Predictor",
    sources: Sources,
    *,
    explainer: "Explainer | None",
    regions: bool,
    batch_size: int,
    progress: Callable[[int, int | None], None] | None,
) -> Iterator[Prediction]:
    """Answers pictures in their order; see `Predictor.predict`."""
    pool = ThreadPoolExecutor(min(_cores(), MOST_THREADS), "decode")
    done = 0
    try:
        look = _Look(predictor, regions)
        held = (hold(source, predictor.preprocess.max_pixels) for source in sources)
        for batch in _batches(in_order(pool, look, held, weigh), batch_size):
            for answer in answer_all(predictor, batch, explainer, batch_size):
                done += 1
                yield answer
            if progress:
                progress(done, sources.total)
    finally:  # also where the caller takes no more
        pool.shutdown(wait=True, cancel_futures=True)


class _Look:
    """`look_or_tell` with what is the same for all pictures."""

    def __init__(self, predictor: "Predictor", regions: bool) -> None:
        self._preprocess, self._regions = predictor.preprocess, regions

    def __call__(self, source: object) -> Looked:
        return look_or_tell(source, self._preprocess, self._regions)


def _batches(looked: Iterator[Looked], batch_size: int) -> Iterator[list[Looked]]:
    """Pictures with about as many pieces as go through the network at once; bad ones count too."""
    batch, pieces = [], 0
    for one in looked:
        batch.append(one)
        pieces += max(1, len(one.pieces))
        if pieces >= batch_size:
            yield batch
            batch, pieces = [], 0
    if batch:
        yield batch


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

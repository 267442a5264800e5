"""Which images an epoch has, and in which order: each once, or sets and classes equally often."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from detector.data.index import Index
from detector.data.joint import JointIndex

BALANCES = {
    "none": "each image once",
    "set": "each set equally often",
    "set_and_class": "each class of each set equally often",
}


class EpochSampler(Sampler):
    """Rows in an order that follows from the seed and the epoch alone.

    Lightning calls `set_epoch`, after resuming too, so an epoch that is repeated
    sees the same images in the same order with the same augmentation.

    Args:
        rows: int (n), what to draw from.
        shuffle: False keeps the order.
        seed: Of the run.
        strata: int (n), of which each is to give equally many rows, see `balanced`; None for
            each row once.
    """

    def __init__(
        self, rows: np.ndarray, *, shuffle: bool, seed: int, strata: np.ndarray | None = None
    ) -> None:
        self.rows, self.shuffle, self.seed, self.epoch = rows, shuffle, seed, 0
        self.strata = [] if strata is None else [rows[strata == one] for one in np.unique(strata)]

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch, from 0, is drawn next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(share(self.strata)) if self.strata else len(self.rows)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rows = self.rows
        if self.strata:
            rows = balanced(self.strata, self.seed, self.epoch)
        if self.shuffle:
            rows = np.random.default_rng([self.seed, self.epoch]).permutation(rows)
        # One by one: a list of a million pairs would take 100 MB for an epoch.
        epoch = self.epoch
        return ((epoch, int(row)) for row in rows)


def share(strata: Sequence[np.ndarray]) -> list[int]:
    """How many rows each stratum gives to an epoch: the same, together about all rows once."""
    return [-(-sum(map(len, strata)) // len(strata))] * len(strata)


def balanced(strata: Sequence[np.ndarray], seed: int, epoch: int) -> np.ndarray:
    """Rows of one epoch, equally many of each stratum.

    The rows of a stratum are drawn without putting back: shuffled, all of them once, then shuffled
    anew, and so on from epoch to epoch. So none is drawn a second time before all were drawn, and
    what an epoch draws follows from its number, without the epochs before.

    Args:
        strata: int (n), rows of each.
        seed: Of the run.
        epoch: From 0.

    Returns:
        int, rows of the first stratum, then of the second, and so on.
    """
    drawn = []
    for at, (rows, n) in enumerate(zip(strata, share(strata), strict=True)):
        start, stop = epoch * n, (epoch + 1) * n
        rounds = range(start // len(rows), -(-stop // len(rows)))
        shuffled = [np.random.default_rng([seed, at, turn]).permutation(rows) for turn in rounds]
        first = start - rounds[0] * len(rows)
        drawn.append(np.concatenate(shuffled)[first : first + n])
    return np.concatenate(drawn)


def strata_of(balance: str, index: Index) -> np.ndarray | None:
    """What `data.balance` asks to draw equally often.

    Args:
        balance: A key of `BALANCES`.
        index: The set; one that is not several put together is one set.

    Returns:
        int (N), stratum of each image; None where each image is drawn once.
    """
    if balance == "none":
        return None
    member = index.member if isinstance(index, JointIndex) else np.zeros(len(index), np.int64)
    return member if balance == "set" else 2 * member + index.labels

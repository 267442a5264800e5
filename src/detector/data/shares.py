"""Batches that several processes share."""

from collections.abc import Iterator, Sized

from torch.utils.data import Sampler


class Shares(Sampler):
    """Of each batch that one process alone would see, the part of one of several processes.

    Image i of a batch goes to process i % world. In training each process has a part of each
    batch, as all of them wait for one another in each step, and at least two images, as batch
    norm needs them: where there are fewer, an image stands in, or twice. `counted` says how many
    are to count. In what is measured no image stands in for another, and a process may have fewer
    batches.

    Args:
        sampler: Keys of an epoch, in their order; the same in each process.
        batch_size: Images in the batches of all processes together.
        rank: Of this process.
        world: Number of processes, at most `batch_size`.
        training: Whether images may stand in, and `drop_last` holds.
        drop_last: Leave out the last batch where it is not full.
    """

    def __init__(
        self,
        sampler: Sized,
        batch_size: int,
        *,
        rank: int,
        world: int,
        training: bool,
        drop_last: bool,
    ) -> None:
        self.sampler, self.batch_size = sampler, batch_size  # Lightning tells the epoch to it
        self.rank, self.world = rank, world
        self.training, self.drop_last = training, drop_last

    def counted(self, at: int) -> tuple[int, int]:
        """Images of batch `at` that are this process's own, and all images of it."""
        n = min(self.batch_size, len(self.sampler) - at * self.batch_size)
        return len(range(self.rank, n, self.world)), n

    def __len__(self) -> int:
        full, rest = divmod(len(self.sampler), self.batch_size)
        if self.training:
            return full + (rest > 0 and not self.drop_last)
        return full + (rest > self.rank)

    def __iter__(self) -> Iterator[list]:
        batch: list = []
        for key in self.sampler:
            batch.append(key)
            if len(batch) == self.batch_size:
                yield self._own(batch)
                batch = []
        if batch and not (self.training and self.drop_last) and (own := self._own(batch)):
            yield own

    def _own(self, batch: list) -> list:
        own = batch[self.rank :: self.world]
        if not self.training:
            return own
        own = own or batch[:1]
        return own * 2 if len(own) == 1 < self.batch_size else own

"""What several processes do otherwise than one: share the loss, put measurements together."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from detector.run.ranks import Ranks


class ShareOfLoss:
    """Turns the mean over a process's part of a batch into its share of the batch's mean.

    DDP averages the gradients of all processes, which is the gradient of the mean over the batch
    only where all parts are equal. Parts are as `Shares` deals them. With class weights w a mean
    is sum(w[y] * loss) / sum(w[y]), so that not images but their weights are counted.

    Args:
        ranks: All processes.
        weights: Of the classes, or None.
    """

    def __init__(self, ranks: Ranks, weights: Sequence[float] | None) -> None:
        self.ranks = ranks
        self.weights = None if weights is None else torch.tensor(weights)

    def __call__(
        self, trainer: L.Trainer, loss: Tensor, labels: Tensor, batch_idx: int
    ) -> tuple[Tensor, int]:
        """The share of which the average over processes is the loss of the batch, and its size.

        Args:
            trainer: Has the loader.
            loss: Mean over the images of this process.
            labels: int (n) of these.
            batch_idx: Which batch of the epoch.
        """
        own, n = trainer.train_dataloader.batch_sampler.counted(batch_idx)
        if self.weights is None:
            return loss * (self.ranks.world * own / n), n
        mass = self.weights.to(labels.device)[labels].sum() * (own / len(labels))
        total = mass.clone()
        dist.all_reduce(total)
        return loss * (self.ranks.world * mass / total), n


class Together(Callback):
    """Lets each process measure the same weights, and all see what each of them measured.

    Running statistics of batch norms follow the images of one process; those of the first are
    measured and kept. Has to come after AveragedWeights, and before all that read `validated`.

    Args:
        ranks: All processes.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for buffer in pl_module.network.buffers():
            dist.broadcast(buffer, src=0)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        every = [batch for part in self.ranks.gather(pl_module.validated) for batch in part]
        rows, labels, p_fake = (torch.cat(parts) for parts in zip(*every, strict=True))
        order = torch.argsort(rows)  # as one process sees them
        pl_module.validated[:] = [(rows[order], labels[order], p_fake[order])]


class _Given(ClusterEnvironment):
    """Tells Lightning what is known already."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks

    creates_processes_externally = True
    main_address, main_port = "", 0  # all have joined

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.ranks.world

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self.ranks.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self.ranks.local_rank

    def node_rank(self) -> int:
        return self.ranks.rank // self.ranks.local_world


def trainer_options(ranks: Ranks, *, thaws: bool) -> dict:
    """Arguments of Lightning's Trainer that say on how many devices it computes.

    Args:
        ranks: All processes, which have joined.
        thaws: Some weights get no gradient in some epochs.
    """
    if ranks.world == 1:
        return {"devices": 1}
    strategy = DDPStrategy(
        cluster_environment=_Given(ranks),
        find_unused_parameters=thaws,
        timeout=timedelta(hours=1),  # the first process may draw while the others wait
    )
    return {
        "devices": ranks.local_world,
        "num_nodes": ranks.nodes,
        "strategy": strategy,
        "use_distributed_sampler": False,  # the loaders here share out by themselves
    }


def share_of_loss(ranks: Ranks, weights: Sequence[float] | None) -> Callable | None:
    """A `ShareOfLoss` where there are several processes; None else."""
    return None if ranks.world == 1 else ShareOfLoss(ranks, weights)

"""The processes that train together, and how they agree (`trainer=ddp`)."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

from omegaconf import DictConfig, OmegaConf

from detector.errors import UserError

T = TypeVar("T")

FAILED = 2  # status of a process whose error another one says
# While the first process makes caches, or measures after the last epoch, the others wait.
PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those that train together.

    Args:
        rank: Of this process, from 0. The first logs, writes and answers for all.
        world: How many there are.
        local_rank: Of this process among those of its machine.
        local_world: How many there are on each machine.
        group: Process group for Python objects, on the CPU; None until all have joined.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    group: Any = None

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return self.world // self.local_world

    def first(self, work: Callable[[], T]) -> T:
        """What `work` gives on the first process, for all of them.

        Raises:
            UserError: As `work` raised it, on the first process.
            SystemExit: On the others, then.
        """
        if self.world == 1:
            return work()
        import torch.distributed as dist

        told: list = [None, None]
        if self.rank == 0:
            try:
                told = [None, work()]
            except UserError as error:
                told = [str(error), None]
        dist.broadcast_object_list(told, src=0, group=self.group)
        error, given = told
        if error is not None:
            self.refuse(error)
        return given

    def in_turn(self, work: Callable[[], T]) -> T:
        """`work` on each process: the first, then one of each other machine, then all others.

        So that a cache is made once, wherever it lies, and read by those that come later.

        Raises:
            UserError: As `work` raised it on any of them, on the first process.
            SystemExit: On the others, then.
        """
        if self.world == 1:
            return work()
        done = None
        ours = 0 if self.rank == 0 else 1 if self.local_rank == 0 else 2
        for turn in range(3):
            error = None
            if turn == ours:
                try:
                    done = work()
                except UserError as raised:
                    error = str(raised)
            errors = [one for one in self.gather(error) if one is not None]
            if errors:
                self.refuse(errors[0])
        return done

    def gather(self, ours: T) -> list[T]:
        """What each process gives, in their order, on all of them."""
        if self.world == 1:
            return [ours]
        import torch.distributed as dist

        every: list = [None] * self.world
        dist.all_gather_object(every, ours, group=self.group)
        return every

    def refuse(self, error: str) -> NoReturn:
        """Ends all processes, which all call this; the first says why."""
        if self.rank == 0:
            raise UserError(error)
        raise SystemExit(FAILED)


ALONE = Ranks()


class Lost(UserError):
    """Another process ended before its time, so that this one cannot go on."""


def launched(environment: Mapping[str, str] = os.environ) -> Ranks | None:
    """The place of this process among those that torchrun or srun started; None without either.

    Args:
        environment: Variables of this process.

    Raises:
        UserError: SLURM does not say how many there are on each machine.
    """
    env = environment
    if "TORCHELASTIC_RUN_ID" in env:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return Ranks(*(int(env[name]) for name in names))
    # In a batch script, outside of a step, there is one process, whatever was allotted.
    if "SLURM_STEP_ID" not in env or int(env.get("SLURM_NTASKS", 1)) == 1:
        return None
    world, nodes = int(env["SLURM_NTASKS"]), int(env.get("SLURM_NNODES", 1))
    each = int(env.get("SLURM_NTASKS_PER_NODE", world // nodes))
    if each * nodes != world:
        raise UserError(
            f"SLURM started {world} processes on {nodes} machines: give --ntasks-per-node, so that"
            " each has the same number"
        )
    return Ranks(int(env["SLURM_PROCID"]), world, int(env["SLURM_LOCALID"]), each)


@contextmanager
def joined(cfg: DictConfig) -> Iterator[Ranks]:
    """All processes that torchrun or srun started, where one of them did: else this one alone.

    Args:
        cfg: Of a training, not checked yet.

    Raises:
        UserError: They are not those that the config asks for. Only the first process says so.
    """
    ranks = launched()
    if ranks is None or ranks.world == 1:
        yield ALONE
        return
    if wrong := _misfit(cfg, ranks):
        ranks.refuse(wrong)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        where = {"init_method": "env://"}
    else:
        where = {"init_method": _slurm_address(os.environ)}
    with together(ranks, str(cfg.trainer.accelerator), **where) as ranks:
        yield ranks


def _misfit(cfg: DictConfig, ranks: Ranks) -> str | None:
    n = f"{ranks.world} processes were started"
    if OmegaConf.select(cfg, "trainer.strategy") != "ddp":
        return f"{n}, each of which would do the same: add trainer=ddp, or start one"
    if _sweeps_here():
        return f"{n}, but a sweep (-m) starts its own: leave torchrun or srun out"
    devices = OmegaConf.select(cfg, "trainer.devices")
    if devices not in ("auto", ranks.local_world):
        return (
            f"trainer.devices={devices}, but {n}, {ranks.local_world} on each machine: leave it"
            " at auto"
        )
    return None


def _sweeps_here() -> bool:
    """Whether the jobs of a sweep run one after the other in this very process."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return False
    hydra = HydraConfig.get()
    return not OmegaConf.is_missing(hydra.job, "num") and (
        hydra.runtime.choices.get("hydra/launcher") == "basic"
    )


def _slurm_address(env: Mapping[str, str]) -> str:
    from lightning.fabric.plugins.environments import SLURMEnvironment

    nodes = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST") or "127.0.0.1"
    host = env.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes)
    # A number that all know, and two jobs on one machine hardly share.
    port = env.get("MASTER_PORT") or 15_000 + int(env.get("SLURM_JOB_ID", 0)) % 10_000
    return f"tcp://{host}:{port}"


@contextmanager
def together(ranks: Ranks, accelerator: str, **where: Any) -> Iterator[Ranks]:
    """Process groups of several processes, from here to the end of the block.

    Args:
        ranks: Of this process.
        accelerator: As `choose_hardware` takes it.
        where: How the processes find one another, as `init_process_group` takes it.

    Raises:
        Lost: Another process ended within the block.
        UserError: The device is not there, or cannot be several.
    """
    import torch
    import torch.distributed as dist

    backend = _backend(accelerator, ranks)
    if backend == "nccl":
        torch.cuda.set_device(ranks.local_rank)
        where["device_id"] = torch.device("cuda", ranks.local_rank)
    if ranks.rank:
        logging.disable(logging.WARNING)  # the first says the same
        warnings.simplefilter("ignore")
    dist.init_process_group(backend, rank=ranks.rank, world_size=ranks.world, **where)
    try:
        group = dist.new_group(backend="gloo", timeout=PATIENCE)
        yield Ranks(ranks.rank, ranks.world, ranks.local_rank, ranks.local_world, group)
        # Not before all are through: a launcher may end the others when the first has left.
        dist.barrier(group)
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise Lost("another process of this training ended: see what it said") from error
    finally:
        dist.destroy_process_group()
        logging.disable(logging.NOTSET)


def _backend(accelerator: str, ranks: Ranks) -> str:
    import torch

    from detector.run.hardware import choose_hardware

    try:
        chosen = choose_hardware(accelerator, "auto").accelerator
        if chosen == "mps":
            raise UserError(
                "trainer=ddp: MPS is a single device, to use with trainer=default; to try ddp out,"
                " add trainer.accelerator=cpu"
            )
        if chosen == "gpu" and torch.cuda.device_count() < ranks.local_world:
            raise UserError(
                f"{ranks.local_world} processes on a machine with {torch.cuda.device_count()} GPUs:"
                " each needs one of its own, which all processes of a machine can see"
            )
    except UserError as error:
        ranks.refuse(str(error))
    return {"gpu": "nccl", "cpu": "gloo"}[chosen]

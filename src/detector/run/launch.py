"""Starts the processes of `trainer=ddp` on this machine, where nobody else has."""

import json
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from omegaconf import DictConfig, OmegaConf
from torch import multiprocessing
from torch.distributed import TCPStore
from torch.multiprocessing import ProcessExitedException

from detector.errors import Interrupted, UserError
from detector.replacing import replacing
from detector.run.checks import check_config
from detector.run.hardware import choose_hardware
from detector.run.ranks import ALONE, Lost, Ranks, together

HERE = "127.0.0.1"
GRACE_S = 20.0  # for the others, after one has failed
TO_TRY = 2  # processes on a CPU, where `auto` has nothing to count


def processes_wanted(cfg: DictConfig) -> int:
    """How many processes a training asks for on this machine.

    Args:
        cfg: Checked.

    Raises:
        UserError: There are fewer GPUs, or the device cannot be several.
    """
    if cfg.trainer.strategy != "ddp":
        return 1
    accelerator = choose_hardware(cfg.trainer.accelerator, cfg.trainer.precision).accelerator
    wanted, there = cfg.trainer.devices, torch.cuda.device_count()
    if accelerator == "mps":
        raise UserError(
            "trainer=ddp: MPS is a single device, to use with trainer=default; to try ddp out, add"
            " trainer.accelerator=cpu"
        )
    if accelerator == "cpu":
        return TO_TRY if wanted == "auto" else wanted
    if wanted != "auto" and wanted > there:
        raise UserError(f"trainer.devices={wanted}: this machine has {there}; leave it at auto")
    return there if wanted == "auto" else wanted


def train_with(
    cfg: DictConfig, ranks: Ranks = ALONE, started: Callable[[Path], None] | None = None
) -> dict:
    """A training in this process, among others, or in processes that are started for it.

    Args:
        cfg: As `conf/train.yaml` composes it.
        ranks: The processes that were started by others.
        started: Called with the run folder before the first epoch, in the first process; it goes
            there as a pickle does.

    Returns:
        What metrics.json holds, and `folder`.

    Raises:
        UserError: The config, the data or a checkpoint is unusable; says what to do.
        Interrupted: Ctrl-C; last.ckpt is whole.
    """
    if ranks.world == 1 and OmegaConf.select(cfg, "trainer.strategy") == "ddp":
        check_config(cfg)
        if (n := processes_wanted(cfg)) > 1:
            return _started_here(cfg, n, started)
    return _train(cfg, ranks, started)


def _train(cfg: DictConfig, ranks: Ranks, started: Callable[[Path], None] | None) -> dict:
    from detector.run.session import Session  # heavy

    made: list[Session] = []

    def begin() -> str:
        made.append(Session(cfg, ranks))
        if started:
            started(made[0].folder)
        return str(made[0].folder)

    # The others follow when all caches are there, and the run folder is chosen.
    folder = Path(ranks.first(begin))
    session = ranks.in_turn(lambda: made[0] if made else Session(cfg, ranks, folder))
    session.fit()
    try:
        return ranks.first(session.finish)
    except KeyboardInterrupt:
        raise Interrupted(session.last) from None


def _started_here(cfg: DictConfig, n: int, started: Callable[[Path], None] | None) -> dict:
    store = TCPStore(HERE, 0, is_master=True, wait_for_workers=False)  # finds a free port
    with TemporaryDirectory(prefix="detector-") as told:
        work = multiprocessing.start_processes(
            _work, (n, store.port, told, cfg, _logging(), started), nprocs=n, join=False
        )
        failure, stopped = None, False
        try:
            while not work.join(grace_period=GRACE_S):
                pass
        except KeyboardInterrupt:
            stopped = True
            _stop(work.processes)
        except (multiprocessing.ProcessRaisedException, ProcessExitedException) as error:
            failure = error
        finally:
            for process in work.processes:
                if process.is_alive():
                    process.kill()
        outcomes = [json.loads(file.read_text()) for file in sorted(Path(told).glob("*.json"))]
    said = {key: value for one in reversed(outcomes) for key, value in one.items()}
    if "metrics" in said:
        return said["metrics"]
    if "error" in said:
        raise UserError(said["error"])
    if "interrupted" in said:
        raise Interrupted(Path(said["interrupted"]))
    if stopped:
        raise KeyboardInterrupt
    if isinstance(failure, ProcessExitedException):
        raise UserError(
            f"process {failure.error_index} of {n} was ended"
            f" ({failure.signal_name or failure.exit_code}; out of memory?): go on with the same"
            " command and ckpt_path=.../last.ckpt"
        )
    raise failure or UserError("the processes of this training lost one another")


def _stop(processes: list) -> None:
    """Passes Ctrl-C on, which they do not get from the terminal, and waits."""
    try:
        for process in processes:
            if process.is_alive():
                os.kill(process.pid, signal.SIGINT)
        last = time.monotonic() + GRACE_S
        for process in processes:
            process.join(max(0.0, last - time.monotonic()))
    except KeyboardInterrupt:  # no patience
        return


def _logging() -> tuple[dict, object] | None:
    """How Hydra has set up logging in this process."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return None
    hydra = HydraConfig.get()
    return OmegaConf.to_container(hydra.job_logging, resolve=True), hydra.verbose


def _work(
    rank: int,
    world: int,
    port: int,
    told: str,
    cfg: DictConfig,
    logs: tuple | None,
    started: Callable[[Path], None] | None,
) -> None:
    """One of the processes; what comes of it goes to `told`."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C reaches the process that started this one, which passes it on
    if logs is not None:
        from hydra.core.utils import configure_log

        configure_log(OmegaConf.create(logs[0]), logs[1])
    # Each would take all cores, and they would wait for one another most of the time.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world))
    outcome: dict = {}
    try:
        store = TCPStore(HERE, port, is_master=False)
        place = Ranks(rank, world, rank, world)
        with together(place, cfg.trainer.accelerator, store=store) as ranks:
            metrics = _train(cfg, ranks, started)
        outcome = {"metrics": metrics} if rank == 0 else {}
    except Lost:
        logging.getLogger(__name__).debug("lost the others")  # one of which says why
    except UserError as error:
        outcome = {"error": str(error)}
        raise SystemExit(2) from None
    except Interrupted as stop:
        outcome = {"interrupted": str(stop.checkpoint)} if rank == 0 else {}
    finally:
        if outcome:
            with replacing(Path(told) / f"{rank:05d}.json") as temporary:
                temporary.write_text(json.dumps(outcome))

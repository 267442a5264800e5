"""Two processes train as one does: each test starts its own, under a time limit."""

import csv
import json
import os
import socket
import subprocess
import sys
from itertools import chain, zip_longest
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from detector.data.shares import Shares
from detector.errors import UserError
from detector.run.ranks import Ranks, launched
from detector.run.session import Session
from detector.train import train

LIMIT_S = 120  # of two cores that do other things as well
# float32 sums in another order; both trainings below differ by less than a hundredth of it
TOLERANCE = 1e-5
# 56 images in batches of 15 leave 11: uneven between processes, and between batches.
PLAIN = ["model=cnn2", "model.net.conv_dropout=0", "model.net.dropout=0", "data.batch_size=15",
         "trainer.precision=32-true", "optimizer.lr=1e-3", "augment=light"]  # fmt: skip
DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]


@pytest.mark.parametrize("training", [True, False])
@given(
    n=st.integers(1, 60), size=st.integers(1, 20), world=st.integers(1, 5), drop_last=st.booleans()
)
def test_shares_are_the_batches_of_one_process(training, n, size, world, drop_last):
    keys, world = [(3, row) for row in range(n)], min(world, size)
    parts = [
        Shares(keys, size, rank=rank, world=world, training=training, drop_last=drop_last)
        for rank in range(world)
    ]
    dealt = [list(part) for part in parts]
    assert [len(part) for part in parts] == [len(batches) for batches in dealt]
    alone = list(torch.utils.data.BatchSampler(keys, size, drop_last and training))
    if not training:
        assert sorted(chain(*chain(*dealt))) == keys
        assert all(batch for batches in dealt for batch in batches)
    else:
        assert {len(batches) for batches in dealt} == {len(alone)}
        for at, whole in enumerate(alone):
            own = [
                batches[at][: part.counted(at)[0]]
                for part, batches in zip(parts, dealt, strict=True)
            ]
            assert [key for row in zip_longest(*own) for key in row if key is not None] == whole
            assert all(part.counted(at)[1] == len(whole) for part in parts)
            assert all(len(batches[at]) >= min(2, size) for batches in dealt)


@pytest.mark.parametrize("weights", [None, torch.tensor([3.0, 0.5])])
def test_the_average_of_shares_is_the_loss_of_the_batch(weights, monkeypatch):
    from types import SimpleNamespace

    from detector.run import ddp

    world, logits = 4, torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 1, 0, 1, 1])
    total = None if weights is None else weights[labels[:5]].sum()
    monkeypatch.setattr(ddp.dist, "all_reduce", lambda value: value.copy_(total))
    shared = []
    for rank in range(world):  # of five images: two, one, one, one
        part = Shares(range(5), 6, rank=rank, world=world, training=True, drop_last=False)
        own = next(iter(part))
        trainer = SimpleNamespace(train_dataloader=SimpleNamespace(batch_sampler=part))
        share = ddp.ShareOfLoss(Ranks(rank, world), None if weights is None else weights.tolist())
        mean = cross_entropy(logits[own], labels[own], weights, label_smoothing=0.1)
        value, n = share(trainer, mean, labels[own], 0)
        shared.append(value)
        assert n == 5
    wanted = cross_entropy(logits[:5], labels[:5], weights, label_smoothing=0.1)
    assert torch.stack(shared).mean() == pytest.approx(float(wanted), rel=1e-6)


def command(cfg_overrides: list[str], tiny_set: Path, tmp_path: Path) -> list[str]:
    return [
        "-m", "detector.train", "data=folder", f"data.root={tiny_set}",
        "model.preprocess.size=32", "data.num_workers=0", "trainer.max_epochs=2",
        "metrics.replicates=100", "heatmaps.every=0", f"paths.runs={tmp_path}/runs",
        f"paths.cache={tmp_path}/cache", *cfg_overrides,
    ]  # fmt: skip


def run(words: list[str], **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=LIMIT_S,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip


def table(run_folder: Path, name: str) -> list[dict]:
    with open(run_folder / name) as file:
        return list(csv.DictReader(file))


def weights(run_folder: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    return torch.load(run_folder / "checkpoints" / name, weights_only=True)["state_dict"]


def check_same(one: Path, two: Path) -> None:
    """Two trainings agree within the tolerance, and saw the same images."""
    ours, theirs = weights(one), weights(two)
    assert max(float((ours[key] - theirs[key]).abs().max()) for key in ours) < TOLERANCE
    for a, b in zip(table(one, "metrics.csv"), table(two, "metrics.csv"), strict=True):
        assert {key: float(value) for key, value in a.items()} == pytest.approx(
            {key: float(value) for key, value in b.items()}, abs=TOLERANCE
        )
    a, b = table(one, "predictions.csv"), table(two, "predictions.csv")
    assert [row["path"] for row in a] == [row["path"] for row in b]
    assert len({row["path"] for row in a}) == len(a) == 24
    both = zip(a, b, strict=True)
    assert all(float(x["p_fake"]) == pytest.approx(float(y["p_fake"]), abs=1e-3) for x, y in both)


def test_two_processes_train_as_one_and_go_on_where_one_stopped(tiny, tiny_set, tmp_path):
    more = [*PLAIN, "class_weights=[2,0.5]", "model.freeze=1", "ema.decay=0.9",
            "early_stopping.patience=5", "augment.device=true"]  # fmt: skip
    one = Path(train(tiny(*more))["folder"])
    two = Path(train(tiny(*more, *DDP, "heatmaps.every=1"))["folder"])
    check_same(one, two)
    assert json.loads((two / "metrics.json").read_text())["training"]["epochs"] == 2
    assert len(list((two / "heatmaps").glob("epoch-*.png"))) == 3
    assert len(list((tmp_path / "runs" / "train" / "folder-cnn2").iterdir())) == 2
    # From one process to two, and from two to one.
    longer = "trainer.max_epochs=3"
    two = Path(train(tiny(*more, *DDP, longer, f"ckpt_path={one}/checkpoints/last.ckpt"))["folder"])
    assert two == one and len(table(two, "metrics.csv")) == 3


def test_an_error_is_said_once_and_nobody_waits(tiny, capfd):
    with pytest.raises(UserError, match="/nowhere/at/all") as error:
        train(tiny(*DDP, "data.root=/nowhere/at/all"))
    assert "\n" not in str(error.value)
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said and "/nowhere" not in said  # the entry point prints it


def test_torchrun_starts_them_too(tiny, tiny_set, tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d",
                "--rdzv-endpoint=localhost:0"]  # fmt: skip
    done = run([*torchrun, *command([*PLAIN, *DDP[:2]], tiny_set, tmp_path)])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder:") == 1
    one = Path(train(tiny(*PLAIN))["folder"])
    check_same(one, next(p for p in one.parent.iterdir() if p != one))


def test_slurm_starts_them_too(tiny_set, tmp_path):
    with socket.socket() as free:
        free.bind(("", 0))
        port = str(free.getsockname()[1])
    step = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_JOB_ID": "7",
            "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS_PER_NODE": "2",
            "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}  # fmt: skip
    words = [sys.executable, *command([*PLAIN, *DDP[:2]], tiny_set, tmp_path)]
    tasks = [
        subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | step | {"SLURM_PROCID": str(n), "SLURM_LOCALID": str(n)},
        )
        for n in range(2)
    ]  # fmt: skip
    said = [task.communicate(timeout=LIMIT_S)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    assert "AUROC" in said[0] and not said[1].strip()
    folder = tmp_path / "runs" / "train" / "folder-cnn2"
    assert [len(table(run, "predictions.csv")) for run in folder.iterdir()] == [24]


def test_where_processes_come_from():
    assert launched({}) is None
    step = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "6", "SLURM_NNODES": "2", "SLURM_PROCID": "4",
            "SLURM_LOCALID": "1", "SLURM_NTASKS_PER_NODE": "3"}  # fmt: skip
    found = launched(step)
    assert (found.rank, found.world, found.local_rank, found.nodes) == (4, 6, 1, 2)
    assert launched({key: step[key] for key in step if key != "SLURM_STEP_ID"}) is None  # sbatch
    with pytest.raises(UserError, match="ntasks-per-node"):
        launched(step | {"SLURM_NTASKS": "5"})


@pytest.mark.parametrize(
    "overrides, says",
    [
        (["trainer.devices=2"], "trainer=ddp"),
        (["trainer.strategy=fsdp"], "choose one of single, ddp"),
        ([*DDP, "trainer.devices=0"], "trainer.devices=0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tiny, overrides, says):
    with pytest.raises(UserError) as error:
        train(tiny(*overrides))
    assert says in str(error.value) and "\n" not in str(error.value)


def test_fewer_images_in_a_batch_than_processes(tiny):
    with pytest.raises(UserError, match=r"lower trainer\.devices"):
        Session(tiny("data.batch_size=1"), Ranks(0, 2, 0, 2))

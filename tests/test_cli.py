"""The command line as a person meets it: --help, sweeps, mistakes, Ctrl-C, kill."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from omegaconf.errors import OmegaConfBaseException

from detector import cli
from detector.errors import UserError

EXPERIMENTS = sorted(file.stem for file in (cli.conf_dir() / "experiment").glob("*.yaml"))


def command(root: Path, out: Path, *overrides: str) -> list[str]:
    return [
        sys.executable, "-m", "detector.train", "data=folder", f"data.root={root}", "model=cnn6",
        "model.preprocess.size=32", "data.batch_size=16", "trainer=cpu", "metrics.replicates=100",
        f"paths.runs={out}/runs", f"paths.cache={out}/cache", *overrides,
    ]  # fmt: skip


def environment() -> dict:
    source = str(Path(cli.__file__).parents[1])
    return os.environ | {
        "PYTHONPATH": source,
        "PYTHONUNBUFFERED": "1",
        "HYDRA_FULL_ERROR": "",
        "DETECTOR_DATA": "/a place",
    }


def call(arguments: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300, env=environment())


def start(arguments: list[str], until: str) -> tuple[subprocess.Popen, str]:
    """Start and read the output up to a line with `until`."""
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    )
    seen = ""
    for line in process.stdout:
        seen += line
        if until in line:
            return process, seen
    raise AssertionError(f"{until} never came: {seen}")


def test_help_lists_groups_and_options():
    done = call([sys.executable, "-m", "detector.train", "--help"])
    assert done.returncode == 0
    for says in ("cnn6_plain", "synthetic", "140k", "robust", "mps", "max_epochs", "cnn2_hardfake"):
        assert says in done.stdout


@pytest.mark.parametrize(
    "overrides, says",
    [
        (["trainer.max_epoch=3"], r"did you mean trainer\.max_epochs\?.*accelerator"),
        (["sed=1"], r"did you mean seed\?"),
        (["data.synthetic.n=10"], r"synthetic\.n repeats another setting: give synthetic\.n="),
        (["data=hardfake", "synthetic.n=10"], "synthetic comes with data=synthetic, which is not"),
        (["model=cnn9"], r"model/cnn9'; there is cnn2, .*, lite0, .*, timm$"),
        (
            ["data=cats"],
            "140k, blended, ciplab, folder, gender, hardfake, joint, synthetic, utkface",
        ),
        (["experiment=none_such"], "cnn2_hardfake"),
        (["+data.colour=red", "nonsense"], "nonsense"),
        (["trainer.max_epochs="], "max_epochs"),
        (["data.split=[1"], "data.split"),
        (["model=timm"], r"^model\.net\.name has no default: give model\.net\.name="),
        (["data=folder"], r"^data\.root has no default"),
    ],
)
def test_mistakes_name_what_there_is(overrides, says):
    try:
        cfg = cli.compose("train", overrides)
    except UserError as error:
        assert re.search(says, str(error)) and "\n" not in str(error)
        return
    from detector.run.session import Session

    try:
        Session(cfg)
    except OmegaConfBaseException as error:  # the entry point explains these
        assert re.search(says, cli.explain("train", error, overrides))
    except UserError as error:
        assert re.search(says, str(error)) and "\n" not in str(error)
    else:
        pytest.fail("accepted")


def test_one_line_no_traceback(tmp_path):
    done = call(command(tmp_path / "none", tmp_path))
    assert done.returncode == 2 and "Traceback" not in done.stderr + done.stdout
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert str(tmp_path / "none") in done.stderr


def test_sweep_makes_a_run_each(tiny_set, tmp_path):
    done = call(
        [*command(tiny_set, tmp_path, "trainer.max_epochs=1", "seed=0,1", "progress=lines"), "-m"]
    )
    assert done.returncode == 0, done.stderr
    runs = list((tmp_path / "runs" / "train" / "folder-cnn6").iterdir())
    assert len(runs) == 2 and all((run / "metrics.json").is_file() for run in runs)
    seeds = {yaml.safe_load((run / "config.yaml").read_text())["seed"] for run in runs}
    assert seeds == {0, 1}
    assert not list(Path.cwd().glob("outputs")) and not list(Path.cwd().glob("train.log"))


def test_ctrl_c_then_kill_then_the_printed_line(tiny_set, tmp_path):
    options = ["trainer.max_epochs=300", "progress=lines"]
    root = shutil.copytree(tiny_set, tmp_path / "my set")
    process, _ = start(command(root, tmp_path, *options), until="epoch 1/300")
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=120)[0]
    assert process.returncode == 130 and "Traceback" not in rest
    line = next(li for li in rest.splitlines() if "python -m detector.train" in li)
    words = shlex.split(line)  # as a shell would read it, spaces in the path and all
    assert "DETECTOR_DATA=/a place" in words
    words = words[words.index("python") :]
    last = Path(words[-1].removeprefix("ckpt_path="))
    assert last.is_file()

    again = [sys.executable, *words[1:]]
    process, _ = start(again, until="epoch 4/300")
    time.sleep(0.3)
    process.kill()
    process.communicate()
    shorter = [part.replace("max_epochs=300", "max_epochs=6") for part in again]
    done = call(shorter)
    if "more than trainer.max_epochs" in done.stderr:  # the machine was quick: more is trained
        pytest.skip("six epochs had passed before the kill")
    assert done.returncode == 0, done.stderr
    run = last.parents[1]
    epochs = [row.split(",")[0] for row in (run / "metrics.csv").read_text().splitlines()[1:]]
    assert epochs == [str(epoch) for epoch in range(1, 7)]
    assert (run / "curves.png").is_file()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_is_chosen_beside_an_experiment_is_what_is_taken(name):
    """What an experiment writes into a group would win over the command line, unsaid."""
    for choice in ("none", "robust"):
        beside = cli.compose("train", [f"experiment={name}", f"augment={choice}"])
        assert beside.augment == cli.compose("train", [f"augment={choice}"]).augment
    beside = cli.compose("train", [f"experiment={name}", "model=cnn3", "data=utkface"])
    assert (beside.model.net.name, beside.data.name) == ("cnn3", "utkface")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_state_command_cost_and_score_and_compose(name):
    text = (cli.conf_dir() / "experiment" / f"{name}.yaml").read_text()
    for says in (f"python -m detector.train experiment={name}", "# Cost: ", "# Score: "):
        assert says in text
    assert "@" not in text.replace("@package", "")  # a figure that was never filled in
    cfg = cli.compose("train", [f"experiment={name}"])
    # The demo is named for what it is for, recorded results for what they are results of.
    assert name == "demo" or (name.startswith(cfg.model.name) and cfg.data.name in name)

"""What a matrix is made of: networks with distinguishable names, and sets by their configs."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from detector import cli
from detector.data import compose
from detector.errors import UserError
from detector.evaluation.trained import Trained, open_trained
from detector.rules import flat


def open_networks(ckpts: Sequence[str], runs: Path, device: str) -> dict[str, Trained]:
    """Opens checkpoints, each under a name of its own.

    Args:
        ckpts: Checkpoints, or run folders, of which the best checkpoint is taken.
        runs: Folder of all runs.
        device: Where to compute.

    Raises:
        UserError: None is given, one is missing, foreign or given twice.
    """
    if not ckpts:
        raise UserError("ckpts=[]: give run folders or checkpoints, as ckpts=[runs/train/a/b]")
    opened: list[Trained] = []
    for given in ckpts:
        path = Path(given).expanduser()
        if path.is_dir():
            path = path / "checkpoints" / "best.ckpt"
            if not path.is_file():
                raise UserError(f"ckpts: {given} holds no checkpoints/best.ckpt: give a run folder")
        trained = open_trained(str(path), runs, device)
        if trained.checkpoint in [other.checkpoint for other in opened]:
            raise UserError(f"ckpts names {trained.checkpoint} twice: give each once")
        opened.append(trained)
    return dict(zip(_names(opened), opened, strict=True))


def _names(opened: Sequence[Trained]) -> list[str]:
    """As short as they can be told apart: the network, its run, its file."""
    names = [one.name for one in opened]
    further = [
        [f"{one.name} {one.checkpoint.parents[1].name}" for one in opened],
        [f"{one.name} {one.checkpoint.parents[1].name} {one.checkpoint.stem}" for one in opened],
        [str(one.checkpoint) for one in opened],
    ]
    for longer in further:
        shared = Counter(names)
        names = [new if shared[old] > 1 else old for old, new in zip(names, longer, strict=True)]
    return names


def compose_sets(sets: Sequence[str], cfg: DictConfig) -> dict[str, DictConfig]:
    """Configs of sets, by the name of each.

    Args:
        sets: Names of configs in `conf/data`, each with overrides of the set where needed,
            separated by spaces and quoted as in a shell.
        cfg: The matrix's config. Where its `data` differs from what `conf/matrix.yaml` says,
            it goes for each set that does not say otherwise itself; `data_root` and `paths` do
            in any case.

    Raises:
        UserError: None is given, one is unknown, or two have one name.
    """
    usual = flat(cli.compose("matrix", []).data)
    above = {"data_root": cfg.data_root, "paths": cfg.paths}
    return compose.compose_sets(sets, cfg.data, usual=usual, setting="sets", **above)

"""The files of a run folder, read with suspicion: what is wrong is named in one line."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from detector.errors import UserError
from detector.rules import ADDED, flat

CHECKPOINTS = "checkpoints"
# Where things lie and what is measured afterwards: no part of what was trained.
ASIDE = (
    *("paths.", "progress", "ckpt_path", "data_root", "data.root", "data.num_workers"),
    *("data.start_method", "data.cache_gb", "data.max_pixels", "metrics.", "evaluate_test"),
    "trainer.accelerator",
    "heatmaps.",
    "gate.",
)


def read_table(file: Path, header: tuple[str | None, ...]) -> Iterator[dict[str, str]]:
    """Lines of a CSV by column.

    Args:
        file: With a header, as `run.folder.write_csv` writes it.
        header: Names of all columns; None stands for the score, `p_<class>`, whose values are
            given as `score`.

    Raises:
        UserError: It cannot be read, or has another header or a line of another length.
    """
    try:
        with open(file, newline="", encoding="utf-8") as lines:
            reader = csv.reader(lines, strict=True)
            first = next(reader, [])
            fits = len(first) == len(header) and all(
                there.startswith("p_") if name is None else there == name
                for there, name in zip(first, header, strict=True)
            )
            if not fits:
                raise ValueError(f"its header is {','.join(first)[:80]!r}")
            names = ["score" if name is None else name for name in header]
            for cells in reader:
                if len(cells) != len(names):
                    raise ValueError(f"line {reader.line_num} has {len(cells)} columns")
                yield dict(zip(names, cells, strict=True))
    except (OSError, ValueError, csv.Error) as error:  # ValueError: bad UTF-8 too
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot use {file} ({why}): evaluate or train again") from error


def read_json(file: Path) -> dict:
    """A JSON object.

    Raises:
        UserError: It cannot be read or is none.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no settings by name")
    except (OSError, ValueError, RecursionError) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"cannot use {file} ({why}): evaluate or train again") from error
    return content


def read_settings(file: Path) -> dict[str, object]:
    """A config.yaml, flat, by dotted name; nothing in it is resolved.

    Raises:
        UserError: It cannot be read.
    """
    try:
        plain = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except Exception as error:  # PyYAML's own errors, which omegaconf lets through, have no name
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"cannot use {file} ({why}): train again") from error
    return flat(plain)


def differing(settings: Sequence[Mapping[str, object]]) -> dict[str, list]:
    """In what trainings differ: by name of the setting each of its values, once.

    Args:
        settings: Of each training, flat. What has no bearing on the weights is passed over,
            and all of a group, such as `augment`, where its name already differs.
    """
    found: dict[str, list] = {}
    for name in dict.fromkeys(name for of_one in settings for name in of_one):
        values = [of_one.get(name, ADDED.get(name)) for of_one in settings]
        once = [value for at, value in enumerate(values) if value not in values[:at]]
        aside = any(name == one or (one[-1] == "." and name.startswith(one)) for one in ASIDE)
        if len(once) > 1 and not aside:
            found[name] = once
    groups = {name.removesuffix("name") for name in found if name.endswith(".name")}
    return {
        name: values
        for name, values in found.items()
        if name.endswith(".name") or not any(name.startswith(group) for group in groups)
    }


def unfinished(folder: Path) -> str:
    """What a folder without metrics.json is, and the command that goes on with it."""
    last = folder / CHECKPOINTS / "last.ckpt"
    if not (folder / "config.yaml").is_file():
        return (
            f"{folder} is no run folder: give one of runs/train/<data>-<model>/, of"
            " runs/evaluate/ or of a sweep, each named by its time"
        )
    if not (folder / CHECKPOINTS).is_dir():
        return f"{folder} is not finished, it has no metrics.json: evaluate again"
    if not last.is_file():
        return f"{folder} is not finished, it has no metrics.json and no last.ckpt: train again"
    return f"{folder} is not finished, it has no metrics.json: {_go_on(folder, last)}"


def _go_on(folder: Path, last: Path) -> str:
    try:
        program, *words = str(read_json(folder / "environment.json")["command"]).split()
    except (UserError, KeyError, ValueError):
        program, words = "", []
    if program not in ("train.py", "detector-train"):  # started from Python
        words = ["..."]
    kept = [word for word in words if not word.startswith("ckpt_path=")]
    return f"go on with {' '.join(['python -m detector.train', *kept, f'ckpt_path={last}'])}"

"""What `inputs=` may be: files, folders, patterns, or names from the standard input."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import ListConfig

from detector.errors import UserError
from detector.predicting.sources import Sources, is_folder, walk
from detector.rules import Rule

STDIN = "-"


def _is_name(value: object) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != ""


inputs_rule: Rule = (
    lambda v: (
        bool(v) and all(map(_is_name, v)) if isinstance(v, (Sequence, ListConfig)) and
        not isinstance(v, str) else _is_name(v)
    ),
    "give a picture, a folder, a list of them as [a.jpg,b.jpg], a pattern, or - for the standard"
    " input",
)  # fmt: skip


def find_inputs(given: object) -> Sources:
    """The pictures that are meant. What exists by its name is that; else it may be a pattern.

    Args:
        given: A name or a list of names, as `inputs_rule` has it. Names that look like numbers
            come as numbers from the command line.

    Raises:
        UserError: Something is not there, matches nothing, or is a folder without a picture.
    """
    names = list(given) if isinstance(given, (Sequence, ListConfig)) else [given]
    names = [given] if isinstance(given, str) else [str(name) for name in names]
    if STDIN in names:
        if len(names) > 1:
            raise UserError("inputs: - stands alone, as the names then come from the input")
        return Sources(_lines())
    found: list[str] = []
    for name in names:
        found += _meant(name)
    return Sources(found)


def _meant(name: str) -> list[str]:
    try:
        path = Path(name).expanduser()
        there = path.exists() or path.is_symlink()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"inputs={name}: no such path ({error})") from None
    if is_folder(path):
        if not _holds_some(path):
            raise UserError(f"{name} holds no picture: give a picture, or a folder with some")
        return [str(path)]
    if there:
        return [str(path)]
    if glob.has_magic(name):
        matches = sorted(set(glob.glob(str(path), recursive=True)))
        if "**" in path.parts:  # matches folders and what is in them
            matches = [one for one in matches if not is_folder(one)] or matches
        if any(not is_folder(one) or _holds_some(one) for one in matches):
            return matches
        if matches:
            raise UserError(f"inputs={name}: no folder that matches this pattern holds a picture")
        raise UserError(f"inputs={name}: no file matches this pattern")
    number = " (a name with leading zeros needs quotes: 'inputs=\"007\"')" if name.isdigit() else ""
    raise UserError(f"inputs={name}: no such file or folder{number}")


def _holds_some(folder: str | Path) -> bool:
    return next(walk(folder), None) is not None


def _lines() -> Iterator[str]:
    """Names from the standard input, one a line, as `find` and `ls` print them."""
    for (
        line
    ) in sys.stdin.buffer:  # bytes: a name need not be UTF-8, and text that is not ends a job
        if name := line.rstrip(b"\r\n"):
            yield os.fsdecode(name)

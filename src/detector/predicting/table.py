"""The file with the answers: a row a picture, or a row a face, written as they come."""

import contextlib
import csv
import json
import math
import os
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from types import TracebackType

from detector.errors import UserError
from detector.predicting.prediction import Prediction

SUFFIXES = (".csv", ".jsonl")
PART = ".part"  # added to the name of a file that is not complete


class Table:
    """A context: within it `add` writes; at its end without an error the file gets its name.

    An interrupted job leaves what it had under the name with `.part` added; nothing, if it had
    answered nothing.

    Args:
        path: Ends in .csv or .jsonl; what lies there is replaced at the end.
        score_name: `p_fake`, for faces.
        part_names: Of a network with a part head, a column each.
        panels: Whether rows name the files of their heatmaps, in a column `panel`.

    Raises:
        UserError: The suffix is another, or the file cannot be written, or there is a `.part` of
            another job.
    """

    def __init__(
        self, path: Path, score_name: str, part_names: Sequence[str] = (), *, panels: bool = False
    ) -> None:
        check_output(path)
        self.path, self.partial = path, path.with_name(path.name + PART)
        self._score_name, self._part_names, self._panels = score_name, part_names, panels
        self.rows = 0

    def __enter__(self) -> "Table":
        try:
            # A name that is no UTF-8 comes with its bytes escaped, so that all can read the file.
            self._file = open(
                self.partial, "x", newline="", encoding="utf-8", errors="backslashreplace"
            )
        except FileExistsError:  # since it was looked for: of a job that began just now
            raise _unfinished(self.path) from None
        except OSError as error:
            raise _unwritable(self.path, error) from error
        if self.path.suffix.lower() == ".csv":
            self._writer = csv.writer(self._file, lineterminator="\n")
            self._guarded(lambda: self._writer.writerow(self._columns()))
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            with contextlib.suppress(OSError):  # the disk is full, which is what is being told
                self._file.close()
            if not self.rows:
                with contextlib.suppress(OSError):
                    self.partial.unlink()
            return
        self._guarded(self._file.close)
        try:
            os.replace(self.partial, self.path)
        except OSError as fault:
            raise _unwritable(self.path, fault) from fault

    def add(self, answer: Prediction, panels: Sequence[str] = ()) -> None:
        """Writes a picture's row, or one for each of its faces.

        Args:
            answer: To the picture.
            panels: The file of each row's heatmap; none or an empty name where there is none.

        Raises:
            UserError: The disk is full, or the like; says where the rest is.
        """
        for one, panel in zip_longest(answer.faces or (answer,), panels, fillvalue=""):
            self._guarded(self._line, one, panel)
            self.rows += 1

    def flush(self) -> None:
        """So that a job that is killed leaves its answers."""
        self._guarded(self._file.flush)

    def _guarded(self, write: Callable, *args: object) -> None:
        try:
            write(*args)
        except OSError as error:
            raise UserError(
                f"{self.partial} cannot be written ({error.strerror or error}); it holds about"
                f" {self.rows} rows"
            ) from error

    def _columns(self) -> list[str]:
        first = ["path", self._score_name, "verdict", "error", "reason", "face", "box", "warnings"]
        parts = [f"p_{name}" for name in self._part_names]
        return [*first, "threshold", "unlikeness", *parts, *(["panel"] if self._panels else [])]

    def _line(self, one: Prediction, panel: str) -> None:
        if self.path.suffix.lower() == ".jsonl":
            plain = as_plain(one, self._score_name) | ({"panel": panel} if self._panels else {})
            self._file.write(json.dumps(plain, allow_nan=False) + "\n")
            return
        box = "" if one.box is None else " ".join(f"{value:.1f}" for value in one.box)
        parts = [_shown((one.parts or {}).get(name)) for name in self._part_names]
        self._writer.writerow([
            one.path, _shown(one.p_fake), one.verdict, one.error, one.reason, one.face or "", box,
            " | ".join(one.warnings), _shown(one.threshold), _shown(one.unlikeness), *parts,
            *([panel] if self._panels else []),
        ])  # fmt: skip


def as_plain(one: Prediction, score_name: str) -> dict:
    """An answer as JSON has it, without its arrays."""
    far = one.unlikeness
    far = far if far is not None and math.isfinite(far) else None  # JSON has no infinity
    plain = {
        "path": one.path, score_name: one.p_fake, "verdict": one.verdict, "error": one.error,
        "reason": one.reason, "face": one.face, "box": one.box and list(one.box),
        "warnings": list(one.warnings), "threshold": one.threshold, "unlikeness": far,
    }  # fmt: skip
    for name in ("parts", "regions"):
        if (found := getattr(one, name)) is not None:
            plain[name] = found
    return plain


def check_output(path: Path) -> None:
    """Refuse a file that cannot be written, before any work.

    Raises:
        UserError: Its suffix is unknown, its folder is not there, or it is a folder itself; or a
            job that was interrupted, or still runs, has its `.part` there.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"output={path}: give a name that ends in {' or '.join(SUFFIXES)}")
    if path.is_dir():
        raise UserError(f"output={path} is a folder: give the name of a file")
    if not path.parent.is_dir():
        raise UserError(
            f"output={path}: there is no folder {path.parent}: make it, or choose another"
        )
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"output={path}: {path.parent} cannot be written: choose another folder")
    if os.path.lexists(path.with_name(path.name + PART)):
        raise _unfinished(path)


def _unfinished(path: Path) -> UserError:
    part = path.with_name(path.name + PART)
    return UserError(
        f"output={path}: {part} has answers of a job that was interrupted, or still runs: move or"
        " delete it, or choose another output"
    )


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"output={path} cannot be written ({error.strerror or error})")


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"

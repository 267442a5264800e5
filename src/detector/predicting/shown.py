"""What a person sees of a job on many pictures: answers in words, and that it moves."""

import sys
import time
from collections.abc import Callable

from detector.errors import ReaderGone, UserError
from detector.predicting.prediction import Prediction
from detector.run.bars import choose_kind

EVERY = 10.0  # seconds between two lines


def in_words(one: Prediction, score_name: str) -> list[str]:
    """Lines for a picture, one for each of its faces."""
    lines = []
    for each in one.faces or (one,):
        where = f"{each.path} face {each.face}" if one.faces else each.path
        if each.error:
            lines.append(f"{where}: error: {each.error}")
            continue
        said = f"{each.verdict}, {each.reason}" if each.reason else each.verdict
        lines.append(f"{where}: {said} ({score_name} {each.p_fake:.3f})")
    lines += [f"  {warning}" for warning in one.warnings]
    return [_printable(line) for line in lines]


def say(line: str) -> None:
    """A line on the standard output.

    Raises:
        ReaderGone: Nobody reads it any more.
    """
    try:
        print(line, flush=True)
    except BrokenPipeError as error:
        raise ReaderGone from error


def _printable(line: str) -> str:
    """In one line, whatever the names of files hold, and the terminal's encoding."""
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def progress(kind: str) -> tuple[Callable[[int, int | None], None] | None, Callable[[], None]]:
    """What is told of the progress, on standard error; and what ends it.

    Args:
        kind: auto, rich, lines or none; auto is lines where rich is not installed.

    Raises:
        UserError: There is no such kind, or rich is asked for and not installed.
    """
    chosen = choose_kind(kind, sys.stderr)
    if chosen == "none":
        return None, lambda: None
    if chosen == "rich":
        try:
            return _bar()
        except ImportError as error:
            if kind == "rich":
                told = "progress=rich needs rich: pip install rich, or choose progress=lines"
                raise UserError(told) from error
    return _lines(), lambda: None


def _bar() -> tuple[Callable, Callable]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    shown = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))
    task = shown.add_task("predicting", total=None)

    def move(done: int, total: int | None) -> None:
        shown.start()
        shown.tasks[0].total = total  # `update` takes None for a total that stays what it was
        shown.update(task, completed=done)

    return move, shown.stop


def _lines() -> Callable[[int, int | None], None]:
    begun = last = time.monotonic()

    def move(done: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= EVERY:
            last = now
            of = f" of {total:,}" if total else ""
            rate = done / (now - begun)
            print(f"{done:,}{of} pictures, {rate:.0f}/s", file=sys.stderr, flush=True)

    return move

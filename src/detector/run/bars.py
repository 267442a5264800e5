"""How a job shows that it moves; Lightning, whose import takes seconds, is not needed for that."""

import sys
from collections.abc import Callable
from typing import TextIO

from detector.errors import UserError

KINDS = ("auto", "rich", "lines", "none")


def choose_kind(kind: str, file: TextIO | None = None) -> str:
    """`rich`, `lines` or `none`; `auto` is `rich` on a terminal and `lines` elsewhere.

    Args:
        kind: As a person chose it.
        file: Where it would be shown; None for the standard output.

    Raises:
        UserError: There is no such kind.
    """
    if kind not in KINDS:
        raise UserError(f"progress={kind}: choose one of {', '.join(KINDS)}")
    if kind == "auto":
        return "rich" if (file or sys.stdout).isatty() else "lines"
    return kind


def bar(kind: str, what: str) -> Callable[[int, int], None] | None:
    """A function of (done, total) that moves a rich bar, or None where none is wanted."""
    if kind != "rich":
        return None
    from rich.console import Console
    from rich.progress import Progress

    shown = Progress(console=Console())
    task = shown.add_task(what)

    def move(done: int, total: int) -> None:
        if not shown.live.is_started:
            shown.start()
        shown.update(task, completed=done, total=total)
        if done == total:
            shown.stop()

    return move

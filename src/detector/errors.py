"""The one exception type whose message is meant for the person at the keyboard."""

from pathlib import Path


class UserError(ValueError):
    """Something the user can put right; the message is one line and names the fix.

    Entry points print it without a traceback. Anything else that escapes is a
    defect of this project and keeps its traceback.
    """


class Interrupted(Exception):
    """Ctrl-C during training.

    Args:
        checkpoint: The last.ckpt to go on from.
    """

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(str(checkpoint))
        self.checkpoint = checkpoint


class ReaderGone(BrokenPipeError):
    """Whoever read the output has stopped, as `head` does: no error, and nothing more to do."""

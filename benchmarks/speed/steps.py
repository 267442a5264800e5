"""When each step of a training ended, told to whoever measures it. Standard library alone.

A program that is measured in turn (`turns.py`) calls `note` after each step. Where nobody measures
it, the file is not named and the call does nothing.
"""

import os
import time

NAME = "BENCHMARK_STEPS"
TRAINING, VALIDATION, BREAK = "t", "v", "-"


def note(images: int, kind: str = TRAINING) -> None:
    """One more step has ended; after BREAK a new series begins."""
    if path := os.environ.get(NAME):
        with open(path, "a") as file:
            file.write(f"{time.monotonic()} {images} {kind}\n")

"""Trainings beside each other, slice by slice.

The speed of a virtual machine drifts by a quarter within a minute, so that two programs which run
one after the other cannot be compared. Here all are started, warmed up and stopped (SIGSTOP), and
then let run in turn for some steps each, round after round: the figures of a round are seconds
apart. Steps that a stop cut through do not count.
"""

import itertools
import math
import os
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import steps
from watched import memory

WARM_UP, COUNTED = 10, 6  # steps
SLICE = 4.0  # seconds a way is let run at the least: a shorter slice shows the machine's mood
PATIENCE = 600  # seconds, for a start


class Way:
    """One program that notes its steps.

    Args:
        command: Runs for as long as it is let.
        file: Where it notes its steps.
    """

    def __init__(self, command: list[str], file: Path) -> None:
        self.file, self.peak, self.rates = file, 0.0, []
        self.validated, self.validating = 0, 0.0
        file.touch()
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, env=os.environ | {steps.NAME: str(file)},
            start_new_session=True,
        )  # fmt: skip

    def noted(self) -> list[tuple[float, int, str]]:
        lines = (line.split() for line in self.file.read_text().splitlines())
        return [(float(at), int(n), kind) for at, n, kind in (line for line in lines if line[2:])]

    def wait(self, done) -> None:
        """Until `done()`; the program may not end before."""
        begun = time.monotonic()
        while not done():
            if self.process.poll() is not None or time.monotonic() - begun > PATIENCE:
                raise SystemExit(f"{' '.join(self.process.args)}: ended, or does not get on")
            time.sleep(0.1)

    def send(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def warm_up(self) -> None:
        self.wait(lambda: sum(kind == steps.TRAINING for *_, kind in self.noted()) > WARM_UP)
        self.send(signal.SIGSTOP)

    def turn(self) -> None:
        """Some steps; their rate is kept."""
        self.send(signal.SIGCONT)
        begun = time.monotonic()
        self.wait(lambda: self._enough(begun))
        images, seconds, _ = self._since(begun, steps.TRAINING)
        self._remember()
        self.send(signal.SIGSTOP)
        self.rates.append(images / seconds)
        images, seconds, _ = self._since(begun, steps.VALIDATION)
        self.validated, self.validating = self.validated + images, self.validating + seconds

    def _enough(self, begun: float) -> bool:
        _, seconds, count = self._since(begun, steps.TRAINING)
        return count >= COUNTED and seconds >= SLICE

    def _since(self, begun: float, wanted: str) -> tuple[int, float, int]:
        """Images, seconds and number of whole steps of a kind."""
        found, images, seconds, count = self.noted(), 0, 0.0, 0
        for (before, _, _), (at, n, kind) in itertools.pairwise(found):
            if before >= begun and kind == wanted:
                images, seconds, count = images + n, seconds + at - before, count + 1
        return images, seconds, count

    def _remember(self) -> None:
        """Its largest size: of the process since it began, of its children now."""
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        except OSError:
            return
        most = next((int(li.split()[1]) / 1024 for li in lines if li.startswith("VmHWM")), 0.0)
        now, _ = memory(self.process.pid)
        own, _ = memory(self.process.pid, children=False)
        self.peak = max(self.peak, most + now - own)

    def end(self) -> None:
        for number in (signal.SIGKILL, signal.SIGCONT):
            try:
                self.send(number)
            except ProcessLookupError:
                break
        self.process.wait()


def in_turn(ways: dict[str, list[str]], rounds: int) -> dict[str, dict]:
    """Rates of each way, round by round.

    Args:
        ways: The command of each.
        rounds: How many.

    Returns:
        Of each way `rates`, images/s of each round, `peak_mb`, and `validation_images_per_s`, or
        None where it validates nothing.

    Raises:
        SystemExit: One of them failed.
    """
    running: dict[str, Way] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for at, (name, command) in enumerate(ways.items()):
                running[name] = Way(command, Path(folder) / str(at))
                running[name].warm_up()
            for number in range(rounds):
                for one in running.values():
                    one.turn()
                said = ", ".join(f"{name} {one.rates[-1]:.1f}" for name, one in running.items())
                print(f"round {number + 1}, images/s: {said}", flush=True)
        finally:
            for one in running.values():
                one.end()
    return {
        name: {
            "rates": one.rates,
            "peak_mb": one.peak or None,
            "validation_images_per_s": one.validated / one.validating if one.validated else None,
        }
        for name, one in running.items()
    }


def ratio(over: list[float], under: list[float]) -> dict[str, float]:
    """Median of what was measured in the same round, and its interval.

    The interval holds the true median in at least 95 of 100 cases where the rounds are independent:
    of six it is from the lowest to the highest, of 18 from the fifth to the fourteenth (order
    statistics; of fewer than six it is from the lowest to the highest, and holds it less often).
    """
    each = sorted(a / b for a, b in zip(over, under, strict=True))
    n, outside, below = len(each), 0, 0
    while 2 * (below + math.comb(n, outside)) <= 0.05 * 2**n:  # of both ends together
        below += math.comb(n, outside)
        outside += 1
    at = max(outside - 1, 0)
    return {"median": statistics.median(each), "low": each[at], "high": each[n - 1 - at]}

"""Runs a command and watches what it takes: wall time, and the memory of it and its children."""

import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

EVERY = 1.0  # seconds; each look costs milliseconds for each gigabyte


@dataclass
class Watched:
    """What a command printed and took.

    Args:
        printed: Its standard output.
        seconds: Wall time.
        peak_mb: Most memory of it and its children together, shared pages counted once (PSS);
            None where the system does not tell.
        peak_anonymous_mb: As `peak_mb`, without the pages of files, which can be given back; what
            processes share with one another counts.
        started: Time of its start, in seconds since 1970.
    """

    printed: str
    seconds: float
    peak_mb: float | None
    peak_anonymous_mb: float | None
    started: float

    @property
    def told(self) -> dict:
        """Its last line, which is JSON."""
        return json.loads(self.printed.splitlines()[-1])


def watched(command: list[str], **environment: str) -> Watched:
    """Runs a command to its end.

    Raises:
        SystemExit: It failed.
    """
    begun, started, peaks, ended = time.perf_counter(), time.time(), [], threading.Event()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | environment
    ) as process:

        def watch() -> None:
            while not ended.wait(EVERY):
                peaks.append(memory(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            printed = process.communicate()[0]
        finally:
            ended.set()
            watcher.join()
        seconds = time.perf_counter() - begun
    if process.returncode:
        raise SystemExit(f"failed: {' '.join(command)}")
    peak, anonymous = (max((one[k] for one in peaks), default=0) or None for k in (0, 1))
    return Watched(printed, seconds, peak, anonymous, started)


def memory(pid: int, *, children: bool = True) -> tuple[float, float]:
    """MB of a process, and of those that it started: in all, and without the pages of files."""
    total = anonymous = 0.0
    waiting = [pid]
    while waiting:
        folder = Path(f"/proc/{waiting.pop()}")
        try:
            lines = (folder / "smaps_rollup").read_text().splitlines()
            for task in (folder / "task").iterdir() if children else ():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except OSError:  # it has just ended, or this is not Linux
            continue
        rows = {
            name: rest.split()[0] for name, _, rest in (line.partition(":") for line in lines[1:])
        }
        total += int(rows["Pss"]) / 1024
        anonymous += (int(rows.get("Pss_Anon", 0)) + int(rows.get("Pss_Shmem", 0))) / 1024
    return total, anonymous

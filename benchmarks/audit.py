"""Does the time of an audit grow with the number of files, and no faster? How much memory?

    python benchmarks/audit.py [FILES ...]

Renders faces of 300 px (once, into a temporary folder), then audits 2, 4 and 8 thousand of them,
each in a process of its own: index with the search for near copies, properties with faces found
by YuNet, bootstraps, controls. 1000 resamples.

Two peaks of memory. Resident: all of it, with the pages of files (temporary ones, libraries) that
the system keeps for the process while there is room. Anonymous: what cannot be given back, Linux
only, sampled every 50 ms; this one is to be bounded.
"""

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from omegaconf import OmegaConf

from detector import cli
from detector.data.synthetic.make import make_set

SIZES = [2000, 4000, 8000]
ONE = """
import json, resource, sys, time
from detector import cli
from detector.audit import audit
started = time.monotonic()
found = audit(cli.compose("audit", sys.argv[1:]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"wall": time.monotonic() - started, "peak": peak, "n": found["n"]}))
"""


def main(sizes: list[int]) -> None:
    print("| files | seconds | per 1000 files | peak resident, MB | peak anonymous, MB |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder), max(sizes))
        for n in sizes:
            root = Path(folder) / f"first{n}"
            for name in ("fake", "real"):
                (root / name).mkdir(parents=True)
                for file in sorted((made / f"training_{name}").iterdir())[: n // 2]:
                    (root / name / file.name).hardlink_to(file)
            overrides = [
                "data=folder", f"data.root={root}", "progress=none", f"paths.runs={folder}/runs",
                f"paths.cache={folder}/cache{n}",
            ]  # fmt: skip
            last, anonymous = measured(overrides)
            unit = 1024 if sys.platform != "darwin" else 1024**2  # ru_maxrss is in bytes there
            cells = [last["n"], f"{last['wall']:.0f}", f"{1000 * last['wall'] / last['n']:.1f}"]
            cells += [round(last["peak"] / unit), anonymous or "-"]
            print("|", " | ".join(map(str, cells)), "|", flush=True)


def measured(overrides: list[str]) -> tuple[dict, int | None]:
    """What the audit in a process of its own says, and its peak of anonymous memory in MB."""
    command = [sys.executable, "-c", ONE, *overrides]
    peaks = [0]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        status, ended = Path(f"/proc/{process.pid}/status"), threading.Event()

        def watch() -> None:
            while status.exists() and not ended.wait(0.05):
                rows = dict(row.split(":", 1) for row in status.read_text().splitlines())
                # A process that has just ended has no such row.
                peaks.append(int(rows.get("RssAnon", "0 kB").split()[0]))

        watcher = threading.Thread(target=watch)
        watcher.start()
        told = process.communicate()[0]
        ended.set()
        watcher.join()
    if process.returncode:
        raise SystemExit(f"the audit failed: {' '.join(overrides)}")
    return json.loads(told.splitlines()[-1]), round(max(peaks) / 1024) or None


def make(folder: Path, n: int) -> Path:
    settings = cli.compose("train", ["data=synthetic", f"synthetic.n={n}", "synthetic.size=300"])
    plain = OmegaConf.to_container(settings.synthetic, resolve=True)
    return make_set(folder / "faces", synthetic=plain)


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1:]] or SIZES)

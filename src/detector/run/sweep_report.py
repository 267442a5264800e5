"""What the runs of a sweep give together."""

import json
from pathlib import Path

from detector.run.folder import write_json


def summarize_sweep(folder: Path, command: str) -> None:
    """Writes sweep.json: each job with its overrides and its run folder.

    Args:
        folder: Of the sweep.
        command: That made it, and goes on with it.
    """
    jobs = []
    for file in sorted((folder / "jobs").glob("*.json")):
        job = json.loads(file.read_text(encoding="utf-8"))
        run = (file.parent / job["folder"]).resolve()
        jobs.append({"overrides": job["overrides"], "folder": str(run)})
    write_json(folder / "sweep.json", {"command": command, "jobs": jobs})

"""Audits the sets at hand, puts each report beside this file, and the table into README.md."""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from detector import cli
from detector.audit import audit
from detector.evaluation.audit.report import telling
from detector.evaluation.controls import CONTROLS

HERE = Path(__file__).parent
SETS = {
    "ciplab": [],
    "hardfake": [],
    "140k": [],
    "gender": [],  # UTKFace, by gender: the classes are not real and fake
    "synthetic": ["synthetic.n=2000"],
}


def shown(measure: dict) -> str:
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as runs:
        for name in names or SETS:
            overrides = [f"data={name}", f"paths.runs={runs}", "audit.part=test", *SETS[name]]
            found = audit(cli.compose("audit", [*overrides, "progress=none"]))
            target = HERE / name
            target.mkdir(exist_ok=True)
            for file in ("audit.md", "audit.png"):
                shutil.copy(Path(found["folder"]) / file, target / file)
            fill(name, row(name, found))


def row(name: str, found: dict) -> str:
    worst = telling(found)[:3]
    told = "; ".join(f"{p['title']} {shown(p['auroc'])}" for p in worst) or "none above .55"
    controls = found["controls"]
    best = max(
        (c for c in CONTROLS if c != "majority"), key=lambda c: controls[c]["auroc"]["value"]
    )
    rule, pairs = found["header_rule"], found["pairs"]
    low, high = rule["interval"]
    cells = [
        f"[{name}]({name}/audit.md)",
        f"{found['n']}",
        told,
        f"{best}: {shown(controls[best]['accuracy'])}, {shown(controls[best]['auroc'])}",
        f"{rule['accuracy']:.3f} [{low:.3f}, {high:.3f}]",
        f"{pairs['count']} ({pairs['across_classes']} across classes)",
        f"{found['seconds']['wall']:.0f} s",
    ]
    return "| " + " | ".join(cells) + " |"


def fill(name: str, line: str) -> None:
    """Puts a set's row between its two marks in README.md."""
    print(line, flush=True)
    readme = HERE / "README.md"
    text, n = re.subn(
        rf"(?m)^\| (\[{name}\]\(|{name} ).*$", lambda _: line, readme.read_text("utf-8")
    )
    if n != 1:
        raise SystemExit(f"README.md has {n} rows for {name}")
    readme.write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

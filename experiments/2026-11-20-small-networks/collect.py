"""Gather the newest finished run of each experiment: table, metrics, curves.

    python experiments/2026-11-20-small-networks/collect.py

Reads `runs/`, writes beside itself and into the comment of each conf/experiment file,
so that no figure there is typed by hand.
"""

import csv
import json
import math
import re
import shutil
from datetime import datetime
from pathlib import Path

from omegaconf import OmegaConf

from detector import cli
from detector.data.load import load_set
from detector.evaluation.intervals import wilson

HERE = Path(__file__).parent
COLUMNS = [
    "experiment",
    "epochs (best)",
    "minutes",
    "val AUROC",
    "test n",
    "test accuracy",
    "test F1",
    "test AUROC",
    "train / val accuracy, last epoch",
    "gap, last epoch",
    "gap opens",
    "revision",
]
NAMES = (
    "cnn2_hardfake",
    "cnn2_hardfake_affine",
    "cnn6_hardfake",
    "cnn3_140k",
    "cnn6_plain_ciplab",
    "cnn6_ciplab",
    "cnn6_plain_ciplab_slow",
    "cnn6_ciplab_slow",
)


def comparable(config: dict) -> dict:
    """A resolved config without what changes neither weights nor scores."""
    kept = {
        k: v for k, v in config.items() if k not in ("paths", "progress", "ckpt_path", "data_root")
    }
    places = ("root", "num_workers", "start_method", "cache_gb")
    return kept | {"data": {k: v for k, v in config["data"].items() if k not in places}}


def newest_run(name: str) -> Path | None:
    """The newest finished run of an experiment: the same config, the same split as today."""
    cfg = cli.compose("train", [f"experiment={name}"])
    wanted = comparable(OmegaConf.to_container(cfg, resolve=True))
    parent = Path(cfg.paths.runs) / "train" / f"{cfg.data.name}-{cfg.model.name}"
    for folder in sorted(parent.glob("*"), reverse=True):
        if not (folder / "metrics.json").is_file():
            continue
        if comparable(OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))) != wanted:
            continue
        faces = load_set(cfg.data, Path(cfg.paths.cache).expanduser())
        today = dict(zip(faces.index["name"], faces.parts.tolist(), strict=True))
        with open(folder / "split.csv") as file:
            if {row["path"]: row["split"] for row in csv.DictReader(file)} == today:
                return folder
    return None


def shown(measure: dict) -> str:
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


def gap(row: dict, n: int) -> str:
    """Train minus validation accuracy; the measured train subset is as large as validation.

    Newcombe's interval of a difference of proportions (1998, method 10).
    """
    train, val = float(row["train/accuracy"]), float(row["val/accuracy"])
    (l1, u1), (l2, u2) = wilson(train * n, n), wilson(val * n, n)
    low = train - val - math.hypot(train - l1, u2 - val)
    high = train - val + math.hypot(u1 - train, val - l2)
    return f"{train - val:.3f} [{low:.3f}, {high:.3f}]"


def summary(name: str, folder: Path) -> dict:
    """One row of the table, and the run's small files copied here."""
    metrics = json.loads((folder / "metrics.json").read_text())
    with open(folder / "metrics.csv") as file:
        history = list(csv.DictReader(file))
    known = json.loads((folder / "environment.json").read_text())
    started = datetime.strptime(known["started"], "%Y-%m-%dT%H:%M:%S%z").timestamp()
    seconds = (folder / "metrics.json").stat().st_mtime - started
    target = HERE / name
    target.mkdir(exist_ok=True)
    for file in ("metrics.json", "metrics.csv", "curves.png"):
        shutil.copy(folder / file, target / file)
    training, last = metrics["training"], history[-1]
    return {
        "experiment": f"`{name}`",
        "epochs (best)": f"{training['epochs']} ({training['best_epoch']})",
        "minutes": f"{seconds / 60:.0f}",
        "val AUROC": shown(metrics["val"]["auroc"]),
        "test n": str(metrics["test"]["n"]),
        "test accuracy": shown(metrics["test"]["accuracy"]),
        "test F1": shown(metrics["test"]["f1"]),
        "test AUROC": shown(metrics["test"]["auroc"]),
        "train / val accuracy, last epoch": f"{float(last['train/accuracy']):.3f} /"
        f" {float(last['val/accuracy']):.3f}",
        "gap, last epoch": gap(last, metrics["val"]["n"]),
        "gap opens": str(training["gap_opened"] or "–"),
        "revision": known["git"]["revision"][:7],
    }


# What others reported of the same network, on other splits: not our figures.
REPORTED = {
    "cnn2_hardfake": ".996",
    "cnn3_140k": ".79 (validation, all 140,000)",
    "cnn6_plain_ciplab": ".62 (train .957)",
}


def table(rows: list[dict], columns: list[str]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(row[column] for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def insert(page: Path, text: str) -> None:
    """Put a table between the two marks of a page."""
    mark, end = "<!-- table: printed by collect.py -->", "<!-- end -->"
    before, _, rest = page.read_text().partition(mark)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{mark}\n{text}\n{end}{after}")


def main() -> None:
    rows = {name: summary(name, run) for name in NAMES if (run := newest_run(name))}
    if not rows:
        raise SystemExit("no finished run: python -m detector.train experiment=...")
    for name, row in rows.items():
        row["`experiment=`"], row["reported accuracy"] = row["experiment"], REPORTED.get(name, "")
    everything = table(list(rows.values()), COLUMNS)
    print(everything)
    insert(HERE / "README.md", everything)
    short = ["`experiment=`", "test accuracy", "test F1", "test AUROC", "reported accuracy"]
    insert(HERE.parents[1] / "README.md", table(list(rows.values()), short))
    for name, row in rows.items():
        file = cli.conf_dir() / "experiment" / f"{name}.yaml"
        cost = f"# Cost: {row['minutes']} min on 2 CPU cores"
        text = re.sub(r"# Cost: .*", cost, file.read_text())
        score = f"test accuracy {row['test accuracy']}, AUROC {row['test AUROC']}"
        score += f", n {row['test n']}"
        file.write_text(re.sub(r"# Score: .*", f"# Score: {score}", text))


if __name__ == "__main__":
    main()

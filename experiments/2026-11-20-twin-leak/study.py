"""What is the same-photograph leak worth? See README.md beside this file.

Trains over the folds of a split that lets copies cross, then compares test images
that have a twin (another picture of the same photograph) in training with those that
have none. Finished folds are not trained again.

    DETECTOR_DATA=../shared/data python experiments/2026-11-20-twin-leak/study.py
"""

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from detector import cli
from detector.data.load import load_set
from detector.evaluation.intervals import wilson_by_group
from detector.evaluation.metrics import auroc
from detector.train import train

FOLDS = 5
HERE = Path(__file__).parent


def run_folder(fold: int, overrides: list[str]) -> Path:
    """Train one fold, unless `runs/` has it already; its run folder."""
    cfg = cli.compose(
        "train",
        [
            "model=cnn6_plain",
            "data=ciplab",
            "data.split.by_group=false",
            f"data.split.folds={FOLDS}",
            f"data.split.fold={fold}",
            "progress=lines",
            *overrides,
        ],
    )
    memory = Path(cfg.paths.runs) / "twin-leak.json"
    done = json.loads(memory.read_text()) if memory.exists() else {}
    key = f"{fold} {' '.join(overrides)}"
    if key not in done:
        done[key] = train(cfg)["folder"]
        memory.write_text(json.dumps(done, indent=1))
    return Path(done[key])


def related(overrides: list[str]) -> dict[str, dict[str, str]]:
    """By name: the other files that belong to it, and why (copy, shoot or part)."""
    cfg = cli.compose("train", ["data=ciplab", *overrides])
    index = load_set(cfg.data, Path(cfg.paths.cache).expanduser()).index
    others = defaultdict(dict)
    for a, b, why, _ in index.pairs:
        for one, other in ((a, b), (b, a)):
            others[index["name"][one]][index["name"][other]] = why
    return others


def kind(name: str, label: dict[str, int], train_part: set[str], others: dict) -> str:
    """What of a test image's photograph the network was trained on."""
    there = {other: why for other, why in others.get(name, {}).items() if other in train_part}
    twins = {label[other] for other, why in there.items() if why == "copy"}
    if twins:
        same = twins == {label[name]}
        return f"twin in training, {'same' if same else 'other'} class"
    if there:
        return "only a pasted part, or the next frame, in training"
    return "nothing of it in training"


def main(overrides: list[str]) -> None:
    others = related(overrides)
    rows = []
    for fold in range(FOLDS):
        folder = run_folder(fold, overrides)
        with open(folder / "split.csv") as file:
            split = list(csv.DictReader(file))
        label = {row["path"]: int(row["label"]) for row in split}
        group = {row["path"]: row["group"] for row in split}
        train_part = {row["path"] for row in split if row["split"] == "train"}
        with open(folder / "predictions.csv") as file:
            for row in csv.DictReader(file):
                if row["split"] == "test":
                    score, name = float(row["p_fake"]), row["path"]
                    right = (score >= 0.5) == (label[name] == 0)
                    which = kind(name, label, train_part, others)
                    rows.append((fold, which, label[name], score, right, group[name]))
    assert len(rows) == len(label), "the folds do not partition the set: delete twin-leak.json"
    lines = [
        "| test images | n | accuracy [95 %] | AUROC, mean of folds |",
        "| --- | --- | --- | --- |",
    ]
    kinds = sorted({row[1] for row in rows})
    for title, wanted in [("all", kinds), *((one, [one]) for one in kinds)]:
        chosen = [row for row in rows if row[1] in wanted]
        hits = sum(row[4] for row in chosen)
        low, high = wilson_by_group([row[4] for row in chosen], [row[5] for row in chosen], 0.95)
        per_fold = []
        for fold in range(FOLDS):
            part = [row for row in chosen if row[0] == fold]
            if {row[2] for row in part} == {0, 1}:
                scores, labels = (np.array([row[at] for row in part]) for at in (3, 2))
                per_fold.append(auroc(scores, labels))
        area = f"{np.mean(per_fold):.3f} (sd {np.std(per_fold):.3f})" if per_fold else "–"
        accuracy = f"{hits / len(chosen):.3f} [{low:.3f}, {high:.3f}]"
        lines.append(f"| {title} | {len(chosen)} | {accuracy} | {area} |")
    (HERE / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])

"""Finds the runs of this study, evaluates them beside controls, and fills README.md's table.

python experiments/2026-11-21-ciplab-folds/collect.py [RUNS]
"""

import json
import re
import sys
from pathlib import Path

from omegaconf import OmegaConf

from detector import cli
from detector.evaluate import evaluate

HERE = Path(__file__).parent
HEADER = (
    "| run | fold | test images | test AUROC | the same, without fakes of another JPEG table |"
    " accuracy | best control, accuracy |"
    " the network's lead | test images with a copy in training |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def shown(measure: dict) -> str:
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


def kind(cfg) -> str:
    normalized = "normalized" if cfg.data.normalize else "files as they are"
    return f"{normalized}, {'safe' if cfg.data.split.by_group else 'random'} split"


def copies(run: Path) -> int:
    """Test images with a picture of the same photograph among the training images."""
    lines = [line.rsplit(",", 3) for line in (run / "split.csv").read_text().splitlines()[1:]]
    learnt = {group for _, _, group, part in lines if part == "train"}
    return sum(part == "test" and group in learnt for _, _, group, part in lines)


def evaluated(run: Path, runs: Path) -> dict:
    """The evaluation of a run on its own test part; made where there is none."""
    checkpoint = str((run / "checkpoints" / "best.ckpt").resolve())
    for file in sorted(runs.glob("evaluate/*/*/metrics.json"), reverse=True):
        found = json.loads(file.read_text())
        if found["checkpoint"] == checkpoint and (found["set"], found["part"]) == (
            "ciplab",
            "test",
        ):
            return found
    overrides = [f"ckpt='{checkpoint}'", f"paths.runs='{runs}'", "progress=none"]
    return evaluate(cli.compose("evaluate", overrides))


def main(runs: Path) -> None:
    rows, means = [], []
    for run in sorted(runs.glob("train/ciplab-cnn6/*")):
        if not (run / "metrics.json").is_file():
            continue
        cfg = OmegaConf.load(run / "config.yaml")
        if not cfg.evaluate_test or cfg.data.split.folds != 5:
            continue
        found = evaluated(run, runs)
        against = found["against_controls"]
        best = against["controls"][against["best"]]
        lead = best["lead"]["accuracy"]
        cells = [
            kind(cfg),
            str(cfg.data.split.fold),
            str(found["metrics"]["n"]),
            shown(found["metrics"]["auroc"]),
            shown(found["usual_table"]["auroc"]),
            shown(found["metrics"]["accuracy"]),
            f"{against['best']} {shown(best['accuracy'])}",
            f"{lead['value']:+.3f} [{lead['low']:+.3f}, {lead['high']:+.3f}]",
            str(copies(run)),
        ]
        order = (bool(cfg.data.normalize), cfg.data.split.by_group)
        rows.append((order, cfg.data.split.fold, "| " + " | ".join(cells) + " |"))
    for file in sorted(runs.glob("sweeps/*/sweep.json")):
        sweep = json.loads(file.read_text())
        for name, variant in sweep.get("variants", {}).items():
            if sweep["part"] == "test" and len(variant["runs"]) == 5:
                auroc, accuracy = (shown(variant["metrics"][k]) for k in ("auroc", "accuracy"))
                means.append(
                    f"| **{name}: mean of 5 folds** | | {variant['n']} | **{auroc}** |"
                    f" | **{accuracy}** | | | |"
                )
    table = "\n".join([HEADER, *(row for *_, row in sorted(rows, key=lambda r: r[:2])), *means])
    print(table)
    readme = HERE / "README.md"
    marks = r"(?s)(<!-- table: printed by collect\.py -->\n).*(<!-- end -->)"
    text, n = re.subn(marks, lambda m: f"{m[1]}{table}\n{m[2]}", readme.read_text("utf-8"))
    if n != 1:
        raise SystemExit("README.md has lost its marks")
    readme.write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs").resolve())

"""Evaluates the trainings of study.sh on their test parts, and fills README.md's tables.

python experiments/2026-11-21-transfer/collect.py [RUNS]
"""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

from detector import cli
from detector.evaluate import evaluate
from detector.evaluation.answers import read_answers
from detector.evaluation.averaged import compare_entries
from detector.evaluation.same_images import align
from detector.matrix import matrix

HERE = Path(__file__).parent
DRAWN = {"replicates": 1000, "seed": 0}
BASE = "tuned288"  # what the others are compared with
LADDER = {
    "frozen288": "lite0, head alone, 288 px",
    "tuned224": "lite0, 224 px",
    "tuned288": "lite0, 288 px",
    "blended288": "lite0, 288 px, with self-blended parts",
    "parts288": "lite0, 288 px, with part head",
    "tuned416": "lite0, 416 px",
    "scratch": "cnn6, 224 px, from scratch",
    "after-gender": "cnn6, 224 px, after gender",
}
CROSS = (
    "mobilenetv2-140k", "efficientnet_b0-140k", "lite0-140k", "mobilenetv2-hardfake",
    "efficientnet_b0-hardfake", "lite0-hardfake", "lite0-ciplab", "lite0-joint",
    "lite0-without-140k", "lite0-without-ciplab", "lite0-without-hardfake",
)  # fmt: skip


def shown(measure: dict, sign: str = "") -> str:
    return f"{measure['value']:{sign}.3f} [{measure['low']:{sign}.3f}, {measure['high']:{sign}.3f}]"


def runs_of(name: str, runs: Path) -> list[Path]:
    """Finished trainings of a name, by fold."""
    return [file.parent for file in sorted(runs.glob(f"{name}-[0-9]/train/*/*/metrics.json"))]


def minutes(run: Path) -> float:
    return ((run / "metrics.json").stat().st_mtime - (run / "config.yaml").stat().st_mtime) / 60


def evaluated(run: Path) -> tuple[Path, dict]:
    """The evaluation of a run on its test part, its folder first; made where there is none."""
    checkpoint = run / "checkpoints" / "best.ckpt"
    folders = sorted(run.parents[2].glob("evaluate/*/*/metrics.json"))
    if not folders:
        overrides = [f"ckpt='{checkpoint}'", f"paths.runs='{run.parents[2]}'", "progress=none"]
        made = evaluate(cli.compose("evaluate", overrides))
        return Path(made["folder"]), made
    return folders[-1].parent, json.loads(folders[-1].read_text())


def ladder(runs: Path) -> str:
    """One line for each way of training on ciplab, its folds together."""
    lines = [
        "| ciplab | folds | validation AUROC | test images | test AUROC | test accuracy |"
        " the header's accuracy | AUROC, lead over lite0 at 288 px | minutes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    answers, evaluations = {}, {}
    for name in LADDER:
        for run in runs_of(name, runs):
            folder, found = evaluated(run)
            fold = int(run.parents[2].name.rpartition("-")[2])
            read = [replace(one, split=(0, fold)) for one in read_answers(str(folder), "test")[2]]
            answers.setdefault(name, []).extend(read)
            evaluations.setdefault(name, []).append((run, found))
    for name, words in LADDER.items():
        if name not in answers:
            continue
        ours = answers[name]
        common = align({name: ours})
        alone = compare_entries(common.networks, common.labels, common.groups, **DRAWN)
        of = alone["entries"][name]["metrics"]
        lead = ""
        splits = {one.split for one in ours}
        theirs = [one for one in answers.get(BASE, []) if one.split in splits]
        if name != BASE and {one.split for one in theirs} == splits:
            both = align({name: ours, BASE: theirs})
            pair = compare_entries(both.networks, both.labels, both.groups, **DRAWN)["pairs"][0]
            lead = shown(pair["difference"]["auroc"], "+")
        seen = [json.loads((run / "metrics.json").read_text()) for run, _ in evaluations[name]]
        header = [
            found["against_controls"]["controls"]["header"]["accuracy"]["value"]
            for _, found in evaluations[name]
        ]
        cells = [
            words,
            str(len(ours)),
            ", ".join(f"{one['val']['auroc']['value']:.3f}" for one in seen),
            str(len(common.labels)),
            shown(of["auroc"]),
            shown(of["accuracy"]),
            f"{sum(header) / len(header):.3f}",
            lead,
            ", ".join(f"{minutes(run):.0f}" for run, _ in evaluations[name]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cross(runs: Path) -> str:
    """Each network on the test part of each set, by detector.matrix."""
    found = {name: made[-1] for name in CROSS if (made := runs_of(name, runs))}
    if not found:
        return ""
    checkpoints = {str(run / "checkpoints" / "best.ckpt"): name for name, run in found.items()}
    for file in sorted(runs.glob("cross/matrix/**/matrix.json"), reverse=True):
        measured = json.loads(file.read_text())
        if {one["checkpoint"] for one in measured["networks"]} == set(checkpoints):
            break
    else:
        names = ",".join(f"'{run}'" for run in found.values())
        overrides = [f"ckpts=[{names}]", "sets=[140k,ciplab,hardfake]", "progress=none"]
        measured = matrix(cli.compose("matrix", [*overrides, f"paths.runs='{runs / 'cross'}'"]))
    sets = [one["name"] for one in measured["sets"]]
    lines = [
        f"| 128 px, test AUROC on | {' | '.join(sets)} | minutes |",
        "| --- |" + " --- |" * (len(sets) + 1),
    ]
    for network in measured["networks"]:
        name = checkpoints[network["checkpoint"]]
        cells = {
            cell["set"]: shown(cell["auroc"]) + " *" * bool(cell["own"])
            for cell in measured["cells"]
            if cell["network"] == network["name"]
        }
        row = [name, *(cells[one] for one in sets), f"{minutes(found[name]):.0f}"]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def scorecard(runs: Path) -> str:
    """Whether heatmaps of networks trained on the same fold of ciplab point at the edits."""
    cards = {}
    for file in sorted(runs.glob("scorecard/gradcam/*/*/scorecard.json")):
        card = json.loads(file.read_text())
        name = Path(card["checkpoint"]).parents[4].name.rpartition("-")[0]
        cards[LADDER[name]] = card
    if not cards:
        return ""
    lines = [
        "| network | maps of | edited, to the pixel: pictures | share inside | over the strongest"
        " control | edited parts: pictures | share inside | over the strongest control | p,"
        " corrected | AUROC of a part's share: left eye, right eye, nose, mouth |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for words, card in cards.items():
        for method in card["masks"]["pixels"]["methods"]:
            row = [words, method]
            for kind in ("pixels", "parts"):
                one = card["masks"][kind]["methods"][method]
                row += [str(one["lift"]["n"]), shown(one["share"]), shown(one["lift"])]
            row.append(f"{one['lift']['p_corrected']:.2g}")
            parts = card["edited_auroc"].get(method, {"map": {}})["map"]
            row.append(", ".join(f"{found['value']:.2f}" for found in parts.values()))
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main(runs: Path) -> None:
    readme = HERE / "README.md"
    text = readme.read_text("utf-8")
    for name, table in (
        ("ladder", ladder(runs)),
        ("cross", cross(runs)),
        ("scorecard", scorecard(runs)),
    ):
        print(table)
        marks = rf"(?s)(<!-- {name}: printed by collect\.py -->\n).*?(<!-- end -->)"
        text, n = re.subn(marks, lambda m, table=table: f"{m[1]}{table}\n{m[2]}", text)
        if n != 1:
            raise SystemExit(f"README.md has lost its marks of {name}")
    readme.write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/transfer").resolve())

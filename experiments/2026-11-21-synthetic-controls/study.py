"""Can the synthetic set be solved without looking at what was edited?

    python experiments/2026-11-21-synthetic-controls/study.py

Trains experiment=demo on the set, on a copy in which everything treated is blanked (the same
regions in reals), and on a copy in which everything else is; measures controls that see no
face. Writes its tables into README.md here, and the cost and score into the demo's config.
"""

import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
from PIL import Image

from detector import cli
from detector.data.load import FaceSet, load_set
from detector.evaluation.controls import CONTROLS, fit, measure
from detector.evaluation.metrics import summarize
from detector.train import train

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)
GREY = 127


def shown(measured: dict) -> str:
    return f"{measured['value']:.3f} [{measured['low']:.3f}, {measured['high']:.3f}]"


def copy_of(faces: FaceSet, root: Path, keep_inside: bool) -> Path:
    """The same pictures in the same parts, without what was treated or without the rest."""
    if root.exists():
        shutil.rmtree(root)
    index = faces.index
    for row, part in enumerate(faces.parts):
        folder = root / str(part) / index.class_names[index["label"][row]]
        folder.mkdir(parents=True, exist_ok=True)
        with Image.open(index.path(row)) as file:
            image = np.array(file)
        with Image.open(Path(index.root) / index["mask"][row]) as file:
            inside = np.asarray(file) > 0
        image[inside != keep_inside] = GREY
        # PNG: another JPEG step would tell of the blanked edges in its own way.
        Image.fromarray(image).save(folder / f"{row:05d}.png", compress_level=1)
    return root


def trained(overrides: list[str]) -> tuple[dict, float]:
    started = time.monotonic()
    metrics = train(cli.compose("train", ["experiment=demo", "progress=none", *overrides]))
    return metrics, (time.monotonic() - started) / 60


def main() -> None:
    began = time.monotonic()
    cfg = cli.compose("train", ["experiment=demo"])
    faces = load_set(cfg.data, Path(cfg.paths.cache).expanduser())
    index, parts = faces.index, faces.parts
    rows = {part: np.flatnonzero(parts == part) for part in ("train", "val", "test")}

    lines = ["| classifier | test accuracy | test AUROC |", "| --- | --- | --- |"]
    features = measure(index, range(len(index)), max_pixels=cfg.data.max_pixels)
    for name, what in CONTROLS.items():
        train_, val = rows["train"], rows["val"]
        score = fit(name, features[train_], index.labels[train_], features[val], index.labels[val])
        test = rows["test"]
        result = summarize(
            score(features[test]),
            index.labels[test],
            np.array(index["group"])[test],
            threshold=0.5,
            replicates=2000,
            seed=0,
        )
        lines.append(f"| {what} | {shown(result['accuracy'])} | {shown(result['auroc'])} |")
        print(lines[-1], flush=True)

    by_difficulty = ["| seed | all | easy | mid | hard | minutes |", "| --- |" + " --- |" * 5]
    for seed in SEEDS:
        metrics, minutes = trained([f"seed={seed}"])
        test = metrics["test"]
        cells = [shown(test["by_difficulty"][d]["auroc"]) for d in ("easy", "mid", "hard")]
        row = [str(seed), shown(test["auroc"]), *cells, f"{minutes:.1f}"]
        by_difficulty.append("| " + " | ".join(row) + " |")
        print(by_difficulty[-1], flush=True)
        lines.append(
            f"| `cnn6`, seed {seed} | {shown(test['accuracy'])} | {shown(test['auroc'])} |"
        )
        if seed == 0:
            (HERE / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
            shutil.copy(Path(metrics["folder"]) / "curves.png", HERE)
            note(test, minutes)
            show(test)
    for keep_inside in (False, True):
        what = "all but the treated parts" if keep_inside else "the treated parts"
        root = copy_of(faces, Path(cfg.paths.runs) / "synthetic-blanked", keep_inside)
        for seed in SEEDS[:1] if keep_inside else SEEDS:
            metrics, _ = trained(
                ["data=folder", f"data.root={root}", "data.name=blanked", f"seed={seed}"]
            )
            test = metrics["test"]
            name = f"`cnn6` where {what} are blanked, seed {seed}"
            lines.append(f"| {name} | {shown(test['accuracy'])} | {shown(test['auroc'])} |")
            print(lines[-1], flush=True)
    insert("controls", lines)
    insert("difficulty", by_difficulty)
    print(f"{(time.monotonic() - began) / 60:.0f} minutes")


def note(test: dict, minutes: float) -> None:
    """The cost and score in the comment of the demo's config."""
    file = cli.conf_dir() / "experiment" / "demo.yaml"
    cost = f"{minutes:.1f} min on 2 CPU cores, the making of the set not counted"
    score = f"test accuracy {shown(test['accuracy'])}, AUROC {shown(test['auroc'])}, n {test['n']}"
    text = re.sub(r"# Cost:.*", f"# Cost: {cost}", file.read_text())
    file.write_text(re.sub(r"# Score:.*", f"# Score: {score}", text))


def show(test: dict) -> None:
    """The demo's own result, into the project's README."""
    lines = ["| fakes | AUROC | found | n |", "| --- | --- | --- | --- |"]
    kinds = {"all": test | {"n": test["n_fake"]}}
    kinds |= {k: d | {"n": d["n_fake"]} for k, d in test["by_difficulty"].items()}
    for kind, d in kinds.items():
        lines.append(f"| {kind} | {shown(d['auroc'])} | {shown(d['recall'])} | {d['n']} |")
    insert("demo", lines, HERE.parents[1] / "README.md", "copied")


def insert(
    name: str, lines: list[str], page: Path = HERE / "README.md", how: str = "printed"
) -> None:
    """Put a table between its two marks."""
    mark, end = f"<!-- {name}: {how} by study.py -->", f"<!-- end {name} -->"
    before, _, rest = page.read_text().partition(mark)
    _, _, after = rest.partition(end)
    page.write_text("\n".join([before + mark, *lines, end + after]))


if __name__ == "__main__":
    main()

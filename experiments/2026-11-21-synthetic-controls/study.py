"""Can the synthetic set be solved without looking at what was edited?

    python experiments/2026-11-21-synthetic-controls/study.py [controls demo blanked encoder]

Trains experiment=demo on the set, on copies in which everything treated is blanked (the same
regions in reals), after or before the JPEG encoder, and on one in which everything else is;
measures controls that see no face. Each stage keeps its figures in results.json; all tables
are written from there, into README.md here, the project's README and the demo's config.
"""

import csv
import json
import re
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from PIL import Image

from detector import cli
from detector.data.load import FaceSet, load_set
from detector.data.synthetic.camera import encode
from detector.data.synthetic.portrait import paint
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


def copy_before_encoder(faces: FaceSet, root: Path) -> Path:
    """The same faces painted again, blanked where they were treated, and only then encoded."""
    if root.exists():
        shutil.rmtree(root)
    index = faces.index
    with open(Path(index.root) / "faces.csv", newline="") as file:
        known = {line["name"]: line for line in csv.DictReader(file)}
    for row, part in enumerate(faces.parts):
        label, line = index["label"][row], known[index["name"][row]]
        pixels, mask, _, shot = paint(
            tuple(map(int, line["seed"].split())),
            size=index["width"][row],
            difficulty=line["treatment"],
            parts=tuple(bit == "1" for bit in line["parts"]),
            fake=label == 0,
        )
        pixels[mask > 0] = GREY
        folder = root / str(part) / index.class_names[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row:05d}.jpg").write_bytes(encode(pixels, shot.quality))
    return root


def trained(overrides: list[str]) -> tuple[dict, float]:
    started = time.monotonic()
    metrics = train(cli.compose("train", ["experiment=demo", "progress=none", *overrides]))
    return metrics, (time.monotonic() - started) / 60


def on_copy(root: Path, seed: int) -> list[str]:
    chosen = ["data=folder", f"data.root={root}", "data.name=blanked", f"seed={seed}"]
    test = trained(chosen)[0]["test"]
    return [shown(test["accuracy"]), shown(test["auroc"])]


def run_controls(faces: FaceSet, cfg: DictConfig) -> dict[str, list[str]]:
    index, parts = faces.index, faces.parts
    train_, val, test = (np.flatnonzero(parts == part) for part in ("train", "val", "test"))
    features = measure(index, range(len(index)), max_pixels=cfg.data.max_pixels)
    found = {}
    for name, what in CONTROLS.items():
        score = fit(name, features[train_], index.labels[train_], features[val], index.labels[val])
        result = summarize(
            score(features[test]),
            index.labels[test],
            np.array(index["group"])[test],
            threshold=0.5,
            replicates=2000,
            seed=0,
        )
        found[what] = [shown(result["accuracy"]), shown(result["auroc"])]
    return found


def run_demo(faces: FaceSet, cfg: DictConfig) -> dict[str, list[str]]:
    found = {}
    for seed in SEEDS:
        metrics, minutes = trained([f"seed={seed}"])
        test = metrics["test"]
        kinds = [shown(test["by_difficulty"][d]["auroc"]) for d in ("easy", "mid", "hard")]
        found[f"`cnn6`, seed {seed}"] = [shown(test["accuracy"]), shown(test["auroc"])]
        found[f"difficulty {seed}"] = [shown(test["auroc"]), *kinds, f"{minutes:.1f}"]
        if seed == 0:
            for file in ("metrics.json", "curves.png"):
                shutil.copy(Path(metrics["folder"]) / file, HERE)
            note(test, minutes)
            show(test)
    return found


def run_blanked(faces: FaceSet, cfg: DictConfig) -> dict[str, list[str]]:
    root, found = Path(cfg.paths.runs) / "synthetic-blanked", {}
    copy_of(faces, root, keep_inside=False)
    found["`cnn6`, treated parts blanked after the encoder, seed 0"] = on_copy(root, 0)
    copy_of(faces, root, keep_inside=True)
    found["`cnn6`, all but the treated parts blanked, seed 0"] = on_copy(root, 0)
    return found


def run_encoder(faces: FaceSet, cfg: DictConfig) -> dict[str, list[str]]:
    root = copy_before_encoder(faces, Path(cfg.paths.runs) / "synthetic-blanked")
    chosen = ["experiment=demo", "data=folder", f"data.root={root}", "data.near_copies=false"]
    copy = cli.compose("train", chosen)
    blanked = load_set(copy.data, Path(copy.paths.cache).expanduser())
    where = "treated parts blanked before the encoder"
    found = {f"{what}, {where}": cells for what, cells in run_controls(blanked, copy).items()}
    for seed in SEEDS[:2]:
        found[f"`cnn6`, {where}, seed {seed}"] = on_copy(root, seed)
    return found


STAGES = {
    "controls": run_controls,
    "demo": run_demo,
    "blanked": run_blanked,
    "encoder": run_encoder,
}


def main() -> None:
    began = time.monotonic()
    cfg = cli.compose("train", ["experiment=demo"])
    faces = load_set(cfg.data, Path(cfg.paths.cache).expanduser())
    kept = HERE / "results.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    for name in sys.argv[1:] or STAGES:
        results[name] = STAGES[name](faces, cfg)
        kept.write_text(json.dumps(results, indent=1) + "\n")
        for what, cells in results[name].items():
            print(f"| {what} | {' | '.join(cells)} |", flush=True)
    print(f"{(time.monotonic() - began) / 60:.0f} minutes")
    rows = {what: cells for name in STAGES for what, cells in results.get(name, {}).items()}
    controls = ["| classifier | test accuracy | test AUROC |", "| --- | --- | --- |"]
    kinds = ["| seed | all | easy | mid | hard | minutes |", "| --- |" + " --- |" * 5]
    for what, cells in rows.items():
        table = kinds if what.startswith("difficulty ") else controls
        table.append(f"| {what.removeprefix('difficulty ')} | {' | '.join(cells)} |")
    insert("controls", controls)
    insert("difficulty", kinds)


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

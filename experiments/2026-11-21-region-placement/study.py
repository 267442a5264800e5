"""Do the regions of a face lie where parts were edited?

    DETECTOR_DATA=../shared/data python experiments/2026-11-21-region-placement/study.py

ciplab's pairs of a photograph and its edit, where the difference tells what was edited, and the
synthetic set, where masks are known. No network is involved. With `tune`, the sizes of the parts
are tried on one half of the pairs. Writes its tables into README.md here.
"""

import csv
import sys
import time
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from omegaconf import OmegaConf
from PIL import Image

import detector.data
from detector import cli
from detector.data import regions as placed
from detector.data.decode import decode
from detector.data.preprocess import Preprocess
from detector.data.sources import FACE_PARTS, SOURCES
from detector.data.synthetic.make import make_set
from detector.data.synthetic.table import read_table
from detector.evaluation.intervals import wilson
from detector.explain.edited import edited_mask
from detector.explain.evidence import edited_auroc
from detector.explain.geometry import mask_to_input, to_input

HERE = Path(__file__).parent
PARTS = len(FACE_PARTS)
AROUND = 6  # pixels of 224 by which a region is dilated: a tenth of the eyes' distance or so
SYNTHETIC = 200  # pictures made, half of them fake
FACTORS = (0.7, 0.85, 1.0, 1.15, 1.3)
TUNED = {"eyes": "EYE", "nose": "NOSE", "mouth": "MOUTH"}


def half(photograph: str) -> int:
    """0 for tuning, 1 for the report; edits of one photograph lie in the same half."""
    return blake2b(photograph.encode(), digest_size=1).digest()[0] % 2


def ciplab_pairs(step: Preprocess, root: Path) -> list[dict]:
    """Pairs of one photograph and one edit with a mask and a face."""
    items = {Path(item.name).name: item for item in SOURCES["ciplab"](root).items}
    listed = Path(detector.data.__file__).parent / "pairs" / "ciplab.csv"
    with open(listed, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    found, count = [], {"pairs": 0, "not aligned": 0, "nothing differs": 0, "no face": 0}
    for row in rows:
        both = [items[row[k]] for k in "ab" if row[k] in items]
        if row["kind"] != "copy" or len(both) < 2:
            continue
        edit, photograph = sorted(both, key=lambda item: item.label)
        bits = [edit.extra[part] for part in FACE_PARTS]
        if edit.label == photograph.label or min(bits) < 0:
            continue
        count["pairs"] += 1
        images = [
            decode(item.path.read_bytes(), max_pixels=step.max_pixels)
            for item in (photograph, edit)
        ]
        mask = edited_mask(*images)
        if mask is None or not mask.any():
            count["not aligned" if mask is None else "nothing differs"] += 1
            continue
        face = placed.landmarks_in_input(images[1], step)
        if face is None:
            count["no face"] += 1
            continue
        found.append(
            {
                "mask": mask_to_input(mask, step),
                "landmarks": face[0],
                "bits": np.array(bits),
                "half": half(Path(photograph.name).name),
                "group": photograph.name,
            }
        )
    print(", ".join(f"{n} {word}" for word, n in count.items()))
    return found


def synthetic_fakes(step: Preprocess, synthetic: Mapping) -> list[dict]:
    """Fakes with the mask of each part, and landmarks as YuNet finds them and as they are."""
    found = []
    with TemporaryDirectory() as root:
        folder = make_set(root, synthetic=synthetic, workers=1)
        for name, known in read_table(folder).items():
            if not name.startswith("training_fake"):
                continue
            image = decode((folder / name).read_bytes(), max_pixels=step.max_pixels)
            face = placed.landmarks_in_input(image, step)
            if face is None:
                continue
            height, width = image.shape[:2]
            values = np.array(Image.open(folder / known["mask"]))
            found.append(
                {
                    "masks": [mask_to_input((values >> k & 1) > 0, step) for k in range(PARTS)],
                    "landmarks": face[0],
                    "truth": to_input(np.array(known["landmarks"]), width, height, step),
                }
            )
    print(f"{len(found)} synthetic fakes with a face of {SYNTHETIC // 2}")
    return found


def measure(pair: dict, landmarks: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """Share of each part's region that was edited, and Dice of the named regions and the edit."""
    labels = placed.regions(landmarks, size)
    covered = np.array(
        [pair["mask"][labels == k + 1].mean() if (labels == k + 1).any() else np.nan
         for k in range(PARTS)]
    )  # fmt: skip
    named = np.isin(labels, 1 + np.flatnonzero(pair["bits"]))
    dice = 2 * (named & pair["mask"]).sum() / (named.sum() + pair["mask"].sum())
    return covered, float(dice)


def inside(mask: np.ndarray, landmarks: np.ndarray, part: int) -> tuple[float, float, bool]:
    """Share of a single part's edit inside its region, and dilated; is it the fullest region?"""
    labels = placed.regions(landmarks, len(mask))
    region = (labels == part + 1).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * AROUND + 1,) * 2)
    held = [(mask & (labels == k + 1)).sum() for k in range(PARTS)]
    return (
        mask[region > 0].sum() / mask.sum(),
        mask[cv2.dilate(region, disc) > 0].sum() / mask.sum(),
        int(np.argmax(held)) == part,
    )


def tune(found: list[dict], size: int) -> str:
    """One factor after the other on one half, each with the others as they are."""
    lines = ["| factor | " + " | ".join(TUNED) + " |", "| --- " * (len(TUNED) + 1) + "|"]
    for factor in FACTORS:
        dice = []
        for part, constant in TUNED.items():
            kept = getattr(placed, constant)
            setattr(placed, constant, tuple(factor * value for value in kept))
            names = [part] if part != "eyes" else ["eye_left", "eye_right"]
            with_it = [p for p in found if p["bits"][[FACE_PARTS.index(n) for n in names]].any()]
            dice.append(np.mean([measure(p, p["landmarks"], size)[1] for p in with_it]))
            setattr(placed, constant, kept)
        lines.append(f"| {factor} | " + " | ".join(f"{value:.3f}" for value in dice) + " |")
    return "\n".join(lines)


def report(found: list[dict], size: int, average: np.ndarray) -> str:
    """How well regions and edits agree: by landmarks, and with those of an average face."""
    lines = [
        "| regions from | pairs | Dice | eye left | eye right | nose | mouth | all parts right |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    bits = np.array([p["bits"] for p in found])
    groups = np.array([p["group"] for p in found])
    ways = {"the face's landmarks": [p["landmarks"] for p in found]}
    ways["an average face's"] = [average] * len(found)
    for name, landmarks in ways.items():
        measured = [measure(p, points, size) for p, points in zip(found, landmarks, strict=True)]
        covered = np.array([c for c, _ in measured])
        dice = np.mean([d for _, d in measured])
        auroc = edited_auroc(covered, bits, groups, names=FACE_PARTS, replicates=2000, seed=0)
        cells = [
            "{value:.3f} [{low:.2f}, {high:.2f}]".format(**auroc[part])
            if auroc[part]["value"] is not None
            else "-"
            for part in FACE_PARTS
        ]
        right = []
        for row, named in zip(covered, bits, strict=True):
            top = np.argsort(-np.nan_to_num(row))[: named.sum()]
            if named.sum() < PARTS:  # of all four none can be wrong
                right.append(set(top) == set(np.flatnonzero(named)))
        some = f"{sum(right)} of {len(right)}"
        lines.append(f"| {name} | {len(bits)} | {dice:.3f} | " + " | ".join([*cells, some]) + " |")
    return "\n".join(lines)


def singles(cases: dict[str, list[tuple[np.ndarray, np.ndarray, int]]]) -> str:
    """Edits of one part, by set and part: (mask, landmarks, part)."""
    lines = [
        "| edits of one part | part | n | inside | inside, dilated | its region holds the most |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, those in cases.items():
        for part, label in enumerate(FACE_PARTS):
            got = np.array([inside(*case) for case in those if case[2] == part])
            if not len(got):
                lines.append(f"| {name} | {label} | 0 | | | |")
                continue
            low, high = wilson(got[:, 2].sum(), len(got))
            lines.append(
                f"| {name} | {label} | {len(got)} | {got[:, 0].mean():.2f} | {got[:, 1].mean():.2f}"
                f" | {int(got[:, 2].sum())} of {len(got)} [{low:.2f}, {high:.2f}] |"
            )
    return "\n".join(lines)


def main() -> None:
    began = time.monotonic()
    cv2.setNumThreads(1)
    cfg = cli.compose("train", ["data=ciplab", "model=cnn6"])
    step = Preprocess.from_dict(OmegaConf.to_container(cfg.model.preprocess, resolve=True))
    found = ciplab_pairs(step, Path(cfg.data.root))
    parts = {0: [p for p in found if p["half"] == 0], 1: [p for p in found if p["half"] == 1]}
    average = np.mean([p["landmarks"] for p in parts[0]], axis=0)
    tables = {"pairs": report(parts[1], step.size, average), "tuning": tune(parts[0], step.size)}
    if "tune" in sys.argv[1:]:
        print(report(parts[0], step.size, average), tables["tuning"], sep="\n")
        return
    one = [p for p in found if p["bits"].sum() == 1]
    cases = {
        f"ciplab, {word} half": [
            (p["mask"], p["landmarks"], int(p["bits"].argmax())) for p in one if p["half"] == k
        ]
        for k, word in ((0, "tuning"), (1, "other"))
    }
    made = cli.compose("train", ["data=synthetic", "model=cnn6", f"synthetic.n={SYNTHETIC}"])
    fakes = synthetic_fakes(step, OmegaConf.to_container(made.synthetic, resolve=True))
    for word, key in (("YuNet", "landmarks"), ("true landmarks", "truth")):
        cases[f"synthetic, {word}"] = [
            (mask, fake[key], part)
            for fake in fakes
            for part, mask in enumerate(fake["masks"])
            if mask.any()
        ]
    tables["singles"] = singles(cases)
    text = (HERE / "README.md").read_text(encoding="utf-8")
    for name, table in tables.items():
        start, end = f"<!-- {name}: printed by study.py -->", f"<!-- end {name} -->"
        before, rest = text.split(start)
        text = f"{before}{start}\n{table}\n{end}{rest.split(end)[1]}"
        print(f"{table}\n")
    (HERE / "README.md").write_text(text, encoding="utf-8")
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()

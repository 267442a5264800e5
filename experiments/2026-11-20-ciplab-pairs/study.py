"""How well are photographs found that occur twice? See README.md beside this file.

    DETECTOR_DATA=... python experiments/2026-11-20-ciplab-pairs/study.py [stage ...]

Stages: pairs, planted, second, others, scaling, summary. Writes text only, beside itself;
summary joins them with verdicts.csv, which was filled in by eye.
"""

import csv
import os
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from planting import CHANGES

from detector.data.alignment import overlay
from detector.data.candidates import by_features
from detector.data.nearcopies import WORK_PX, Description, describe, find_pairs
from detector.evaluation.intervals import wilson

HERE = Path(__file__).parent
DATA = Path(os.environ.get("DETECTOR_DATA", HERE.parents[2] / "shared" / "data"))
SEED = 20261120
KNOWN = (
    "real_00753/easy_123_0100 real_00839/easy_207_1000 real_00858/easy_94_0001 "
    "real_00787/easy_203_0111 real_00286/easy_144_1111 real_00958/easy_236_1100 "
    "real_00979/easy_230_1010"
)


def files_of(name: str) -> list[Path]:
    files = sorted(p for p in (DATA / name).rglob("*") if p.suffix in {".jpg", ".jpeg", ".png"})
    if not files:
        raise SystemExit(f"no pictures below {DATA / name}: set DETECTOR_DATA")
    return files


def load(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def described(files: list[Path]) -> list[Description]:
    return [describe(load(path)) for path in files]


def write(name: str, rows: list[dict]) -> None:
    with open(HERE / name, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{name}: {len(rows)} rows", flush=True)


def read(name: str) -> list[dict]:
    with open(HERE / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def share(k: int, n: int) -> str:
    low, high = wilson(k, n)
    return f"{k}/{n} = {k / max(n, 1):.3f} ({low:.3f} to {high:.3f})"


# --- what is found in ciplab, and what is nearly found ---------------------------------------


def pairs() -> None:
    files = files_of("ciplab")
    descriptions = described(files)
    found = {(p.a, p.b): p for p in find_pairs(descriptions)}
    # Candidates with less support than the search asks for: what lies below the thresholds?
    weak = by_features((d.descriptors for d in descriptions), min_weight=0.5)
    near = {tuple(sorted(pair)) for pair in weak.tolist()}
    rows = []
    for a, b in sorted(near | set(found)):
        laid = overlay(descriptions[a], descriptions[b], WORK_PX)
        pair = found.get((a, b))
        if laid is None or (pair is None and laid.inliers < 10):
            continue
        rows.append(
            {
                "a": files[a].name,
                "b": files[b].name,
                "found": pair.kind if pair else "",
                "method": pair.method if pair else "",
                "inliers": laid.inliers,
                "close": laid.close,
                "distance": laid.distance,
                "agreement": round(laid.agreement, 3),
                "detail": round(laid.detail, 3),
                "scale": round(laid.scale, 3),
                "degrees": round(laid.degrees, 1),
            }
        )
    write("pairs.csv", rows)


# --- planted pairs ---------------------------------------------------------------------------


def planted() -> None:
    files = files_of("ciplab")
    originals = described(files)
    real = [i for i, path in enumerate(files) if path.name.startswith("real")]
    rng = np.random.default_rng(SEED)
    order = rng.permutation(real)
    share_of = np.array_split(order, len(CHANGES))  # each photograph is used for one change only
    rows, copies, truth = [], [], []
    for (_, change), bases in zip(CHANGES.items(), share_of, strict=True):
        for base in bases:
            donor = int(rng.choice(order))
            copies.append(describe(change(load(files[base]), load(files[donor]), rng)))
            truth.append((int(base), donor))
    n = len(files)
    before = {(p.a, p.b) for p in find_pairs(originals)}
    started = time.perf_counter()
    found = find_pairs(originals + copies)
    seconds = time.perf_counter() - started
    print(f"{len(originals) + len(copies)} images searched in {seconds:.1f} s")
    kind = {(p.a, p.b): p.kind for p in found}
    group = groups(before, n)
    at = n
    for name, bases in zip(CHANGES, share_of, strict=True):
        mine = range(at, at + len(bases))
        at += len(bases)
        copy = sum(kind.get((truth[c - n][0], c)) == "copy" for c in mine)
        part = sum(kind.get((truth[c - n][0], c)) == "part" for c in mine)
        # Joins of a planted copy to a picture that shows neither its original nor its donor.
        false = Counter(
            k
            for (x, y), k in kind.items()
            if y in mine
            and not {group[i] for i in truth[y - n]}
            & {group[i] for i in ((x,) if x < n else truth[x - n])}
        )
        rows.append(
            {
                "change": name,
                "planted": len(bases),
                "found as copy": copy,
                "found as part": part,
                "missed": len(bases) - copy - part,
                "false copies": false["copy"],
                "false parts": false["part"],
                "recall": share(copy + part, len(bases)),
            }
        )
    write("planted.csv", rows)


def groups(joined, n: int) -> list[int]:
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for a, b in joined:
        parent[root(a)] = root(b)
    return [root(i) for i in range(n)]


# --- a second detector, which shares no feature with the first -------------------------------

SIDE, SHIFT = 24, 4
SCALES = (0.78, 0.84, 0.91, 1.0, 1.09, 1.18, 1.28)


def second() -> None:
    """All pairs: correlation of 24-pixel band-passed grey, best of 81 shifts and 7 scales."""
    files = files_of("ciplab")
    n, side = len(files), 4 * SIDE
    grey = [
        cv2.resize(
            cv2.cvtColor(load(f), cv2.COLOR_RGB2GRAY), (side, side), interpolation=cv2.INTER_AREA
        ).astype(np.float32)
        for f in files
    ]
    grey = [g - cv2.GaussianBlur(g, (0, 0), 9) for g in grey]

    def small(image):
        return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel()

    def unit(rows):
        rows = rows - rows.mean(1, keepdims=True)
        return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-3)

    still = np.array([small(g) for g in grey])
    best = np.full((n, n), -1, np.float32)
    for scale in SCALES:
        for dy in range(-SHIFT, SHIFT + 1):
            for dx in range(-SHIFT, SHIFT + 1):
                middle = (1 - scale) * (side - 1) / 2
                transform = np.array([[scale, 0, middle + 4 * dx], [0, scale, middle + 4 * dy]])
                seen = (
                    small(
                        cv2.warpAffine(np.ones((side, side), np.float32), transform, (side, side))
                    )
                    > 0.99
                )
                if seen.mean() < 0.45:
                    continue
                warped = [small(cv2.warpAffine(g, transform, (side, side)))[seen] for g in grey]
                np.maximum(best, unit(np.array(warped)) @ unit(still[:, seen]).T, out=best)
    i, j = np.triu_indices(n, 1)
    score = np.maximum(best, best.T)[i, j]
    top = np.argsort(-score, kind="stable")[:300]
    write(
        "second.csv",
        [
            {
                "rank": r,
                "a": files[i[k]].name,
                "b": files[j[k]].name,
                "correlation": round(float(score[k]), 4),
            }
            for r, k in enumerate(top)
        ],
    )


# --- other sets, and time --------------------------------------------------------------------


def others() -> None:
    rows = []
    for name in ("hardfake", "utkface", "140k", "ciplab"):
        files = files_of(name)
        started = time.perf_counter()
        images = [load(f) for f in files]
        reading = time.perf_counter() - started
        started = time.perf_counter()
        descriptions = [describe(image) for image in images]
        describing = time.perf_counter() - started
        started = time.perf_counter()
        found = find_pairs(descriptions)
        searching = time.perf_counter() - started
        fake = [path.parent.name in {"fake", "training_fake"} for path in files]
        sizes = Counter(groups([(p.a, p.b) for p in found], len(files)))
        rows.append(
            {
                "set": name,
                "images": len(files),
                "copy": sum(p.kind == "copy" for p in found),
                "part": sum(p.kind == "part" for p in found),
                "by hash only": sum(p.method == "hash" for p in found),
                "fake with fake": sum(fake[p.a] and fake[p.b] for p in found),
                "largest group": max(sizes.values()),
                "read ms": round(1e3 * reading / len(files), 1),
                "describe ms": round(1e3 * describing / len(files), 1),
                "search s": round(searching, 1),
            }
        )
        if name != "ciplab":
            for p in found:
                print(f"  {name}: {files[p.a].name} {files[p.b].name} {p.kind} {p.score:.2f}")
    write("others.csv", rows)


def scaling() -> None:
    """A quarter, half and all of the four sets mixed: does the search grow with images or pairs?"""
    files = [f for name in ("ciplab", "hardfake", "utkface", "140k") for f in files_of(name)]
    order = np.random.default_rng(SEED).permutation(len(files))
    mixed = described([files[i] for i in order])
    rows = []
    for n in (len(mixed) // 4, len(mixed) // 2, len(mixed)):
        started = time.perf_counter()
        candidates = len(by_features(d.descriptors for d in mixed[:n]))
        hashing = time.perf_counter() - started
        started = time.perf_counter()
        found = len(find_pairs(mixed[:n]))
        rows.append(
            {
                "images": n,
                "candidates": candidates,
                "candidates an image": round(candidates / n, 2),
                "found": found,
                "hashing s": round(hashing, 1),
                "search s": round(time.perf_counter() - started, 1),
            }
        )
        print(rows[-1], flush=True)
    write("scaling.csv", rows)


# --- what it adds up to ----------------------------------------------------------------------


def chapman(first: set, both_of: set) -> str:
    """Chapman 1951, with the variance of Seber 1970."""
    n1, n2, m = len(first), len(both_of), len(first & both_of)
    total = (n1 + 1) * (n2 + 1) / (m + 1) - 1
    variance = (n1 + 1) * (n2 + 1) * (n1 - m) * (n2 - m) / ((m + 1) ** 2 * (m + 2))
    spread = 1.96 * variance**0.5
    seen = len(first | both_of)
    # With nothing missed by one of them the variance is 0; then what one can miss, from the
    # other's recall of it, is the honest bound.
    miss1, miss2 = 1 - wilson(m, n2)[0], 1 - wilson(m, n1)[0]
    return (
        f"first {n1}, second {n2}, both {m}, union {seen}; Chapman {total:.1f} "
        f"(standard interval +- {spread:.1f}); unseen by both, if independent: "
        f"{max(0.0, total - seen):.1f}, at most {seen * miss1 * miss2 / (1 - miss1 * miss2):.1f} "
        f"from the upper bounds of both miss rates ({miss1:.3f}, {miss2:.3f})"
    )


def summary() -> None:
    verdict = {frozenset((r["a"], r["b"])): r["verdict"] for r in read("verdicts.csv")}
    rows = [
        r | {"verdict": verdict.get(frozenset((r["a"], r["b"])), "not looked at")}
        for r in read("pairs.csv")
    ]
    lines = ["found as copy, by agreement:"]
    right = {"same", "shoot", "part"}
    for low, high in ((0, 0.5), (0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.01)):
        band = [r for r in rows if r["found"] == "copy" and low <= float(r["agreement"]) < high]
        verdicts = dict(Counter(r["verdict"] for r in band))
        lines.append(f"  {low:.1f} to {high:.1f}: {len(band)} {verdicts}")
    for kind, accepted in (
        ("copy", {"same"}),
        ("copy", right),
        ("part", {"part", "same"}),
        ("part", right),
    ):
        seen = [r for r in rows if r["found"] == kind and r["verdict"] != "not looked at"]
        good = sum(r["verdict"] in accepted for r in seen)
        wanted = "/".join(sorted(accepted))
        lines.append(f"precision of {kind}, right is {wanted}: {share(good, len(seen))}")
    lines.append("not found, 10 or more inliers, by agreement and by detail:")
    for key, edges in (
        ("agreement", (0, 0.1, 0.2, 0.3, 0.4, 0.5)),
        ("detail", (0, 0.8, 0.85, 0.9, 0.92, 0.94, 1.01)),
    ):
        for low, high in pairwise(edges):
            band = [r for r in rows if not r["found"] and low <= float(r[key]) < high]
            lines.append(
                f"  {key} {low} to {high}: {len(band)} {dict(Counter(r['verdict'] for r in band))}"
            )
    same = {pair for pair, v in verdict.items() if v == "same"}
    first = {frozenset((r["a"], r["b"])) for r in rows if r["found"] == "copy"} & same
    other = {frozenset((r["a"], r["b"])) for r in read("second.csv")} & same
    lines.append(f"capture-recapture, same photograph: {chapman(first, other)}")
    for name, wanted in (("at most 2 parts replaced", (0, 1, 2)), ("3 or 4 parts", (3, 4))):

        def keep(pairs, wanted=wanted):
            return {p for p in pairs if min(max(bits(n) for n in p), 4) in wanted}

        lines.append(f"  {name}: {chapman(keep(first), keep(other))}")
    known = {frozenset(f"{n}.jpg" for n in p.split("/")) for p in KNOWN.split()}
    lines.append(f"pairs of FACTS.md found: {len(known & first)} of {len(known)}")
    (HERE / "summary.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def bits(name: str) -> int:
    """How many parts the file name says were replaced; 0 for a real one."""
    return 0 if name.startswith("real") else Path(name).stem.rsplit("_", 1)[1].count("1")


STAGES = {f.__name__: f for f in (pairs, planted, second, others, scaling, summary)}

if __name__ == "__main__":
    cv2.setNumThreads(1)
    for stage in sys.argv[1:] or STAGES:
        started = time.perf_counter()
        STAGES[stage]()
        print(f"{stage}: {time.perf_counter() - started:.0f} s", flush=True)

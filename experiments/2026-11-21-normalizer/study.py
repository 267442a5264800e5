"""Does the normalizer take from the pixels which JPEG table a file had?

    DETECTOR_DATA=../shared/data python experiments/2026-11-21-normalizer/study.py

Within ciplab's fakes of the train and validation parts; the test part is not read. Then what the
probe would find, had the files differed more: half of the fakes with the usual table are made a
JPEG of a lower quality first. Writes its tables into README.md here.
"""

import io
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

from detector import cli
from detector.data.decode import decode
from detector.data.index import Index
from detector.data.load import load_set
from detector.data.normalizer import Normalizer
from detector.data.preprocess import Preprocess
from detector.evaluation.controls import thumbnail
from detector.evaluation.probe import measure_traces, probe, traces
from detector.evaluation.tables import has_table, usual_table

HERE = Path(__file__).parent
SETTINGS = [(side, quality) for side in (256, 300, 400, 600) for quality in (75, 90)]
PLANTED, WITH = (80, 50, 30, 10), (256, 75)
FOLDS, REPLICATES, SEED = 5, 2000, 0


def shown(measured: dict) -> str:
    return f"{measured['value']:.3f} [{measured['low']:.3f}, {measured['high']:.3f}]"


def main() -> None:
    began = time.monotonic()
    cfg = cli.compose("train", ["data=ciplab", "model=cnn6"])
    faces = load_set(cfg.data, Path(cfg.paths.cache).expanduser())
    index = faces.index
    rows = np.flatnonzero((faces.parts != "test") & (index.labels == 0))
    other = ~has_table(index, usual_table(index, faces.parts))[rows]
    groups = np.array(index["group"])[rows]
    # Nearly every easy fake has the usual table, so that looking easy tells the table too.
    harder = np.array(index["difficulty"])[rows] != "easy"
    open_ = partial(decode, max_pixels=cfg.data.max_pixels)
    network = OmegaConf.to_container(cfg.model.preprocess, resolve=True)

    def found(features: np.ndarray, kept: np.ndarray) -> dict:
        return probe(
            features[kept], other[kept], groups[kept], folds=FOLDS, replicates=REPLICATES, seed=SEED
        )

    everything = np.full(len(rows), True)
    small = np.array([thumbnail(open_(index.path(row).read_bytes())) for row in rows])
    lines = [
        "| picture | AUROC | accuracy | AUROC, mid and hard only | AUROC, then at 224 px |",
        "| --- | --- | --- | --- | --- |",
    ]
    cells = [shown(found(small, everything)[key]) for key in ("auroc", "accuracy")]
    cells += [shown(found(small, harder)["auroc"]), "–"]
    lines.append(f"| 24 px colours, no traces left to see | {' | '.join(cells)} |")
    print("\n".join(lines), flush=True)
    for setting in [None, *SETTINGS]:
        normalizer = None if setting is None else Normalizer(*setting)

        def picture(data: bytes, normalizer: Normalizer | None = normalizer) -> np.ndarray:
            return open_(data) if normalizer is None else normalizer(open_(data))

        seen = Preprocess.from_dict(network | {"normalizer": normalizer})
        features = measure_traces(index, rows, picture)
        full = found(features, everything)
        cells = [shown(full["auroc"]), shown(full["accuracy"])]
        cells.append(shown(found(features, harder)["auroc"]))
        cells.append(shown(found(measure_traces(index, rows, seen), everything)["auroc"]))
        name = "as stored, 600 px" if setting is None else "{} px, quality {}".format(*setting)
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    lines += [
        "",
        f"{full['n']} fakes, {full['n_other']} with another table; always saying the more frequent"
        f" kind is right on {full['majority']:.3f}. Of the {int(harder.sum())} mid and hard fakes"
        f" {int(other[harder].sum())} have another. {(time.monotonic() - began) / 60:.0f} minutes.",
    ]
    print("\n".join(lines[-2:]))
    insert("probe", lines)
    insert("planted", planted(index, rows[~other], groups[~other], open_))


def planted(index: Index, rows: np.ndarray, groups: np.ndarray, open_: Callable) -> list[str]:
    """The probe after the normalizer, where every second group was recompressed before."""
    names, member = np.unique(groups, return_inverse=True)
    chosen = np.random.default_rng(SEED).permutation(len(names)) % 2 == 0
    other = chosen[member]
    normalizer = Normalizer(*WITH)
    lines = [
        "| quality of the JPEG before | AUROC after normalizing | accuracy |",
        "| --- " * 3 + "|",
    ]
    for quality in PLANTED:
        features = []
        for row, again in zip(rows, other, strict=True):
            image = open_(index.path(row).read_bytes())
            if again:
                stream = io.BytesIO()
                Image.fromarray(image).save(stream, "JPEG", quality=quality)
                image = open_(stream.getvalue())
            features.append(traces(normalizer(image)))
        features = np.array(features)
        result = probe(features, other, groups, folds=FOLDS, replicates=REPLICATES, seed=SEED)
        lines.append(f"| {quality} | {shown(result['auroc'])} | {shown(result['accuracy'])} |")
        print(lines[-1], flush=True)
    lines += [
        "",
        f"{len(rows)} fakes with the usual table, {int(other.sum())} of them recompressed.",
    ]
    return lines


def insert(name: str, lines: list[str]) -> None:
    """Put a table between its two marks."""
    page = HERE / "README.md"
    mark, end = f"<!-- {name}: printed by study.py -->", f"<!-- end {name} -->"
    before, _, rest = page.read_text().partition(mark)
    _, _, after = rest.partition(end)
    page.write_text("\n".join([before + mark, *lines, end + after]))


if __name__ == "__main__":
    main()

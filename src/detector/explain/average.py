"""After a training: the mean map of each class over validation, and its share by region."""

import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from detector.data.cache import Pixels
from detector.data.load import FaceSet
from detector.explain.aligned import Aligned
from detector.explain.average_figure import average_figure
from detector.explain.average_table import counts_in_words, densest, markdown, region_table
from detector.explain.callback import EXPLAINED, FAILS, FOLDER, chosen_rows, in_one_line
from detector.explain.cam import Explainer
from detector.explain.regions import Placed, regions_of_file
from detector.predictor import Predictor
from detector.run.folder import write_json

log = logging.getLogger(__name__)

FILES = ("mean.png", "regions.md", "regions.json")
BATCH = 32


def write_average(
    folder: Path,
    predictor: Predictor,
    pixels: Pixels,
    faces: FaceSet,
    *,
    images: int,
    method: str,
    epoch: int,
    replicates: int,
    seed: int,
    writer: object = None,
    step: int = 0,
) -> dict | None:
    """Writes `heatmaps/mean.png`, `regions.md` and `regions.json` of a run, or says why not.

    What goes wrong is logged in one line: the training that came before is not to be lost.

    Args:
        folder: Of the run.
        predictor: The weights that the run publishes.
        pixels: Pictures by row, made by the predictor's own preprocessing.
        faces: The set and its split.
        images: Images of each class at most, the same ones each time.
        method: As `Explainer` takes it.
        epoch: Of the weights.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.
        writer: TensorBoard's SummaryWriter, or None.
        step: Where TensorBoard puts it.

    Returns:
        What regions.json holds; None where there is nothing to show.
    """
    folder, begun = folder / FOLDER, time.monotonic()
    try:
        for name in FILES:  # of other weights, where a training went on
            (folder / name).unlink(missing_ok=True)
        explainer = Explainer(predictor.network, method, batch_size=BATCH)
        rows = chosen_rows(np.flatnonzero(faces.parts == "val"), faces.index.labels, images)
        means = average(explainer, predictor, pixels, faces, rows)
        if not any(found.n for found in means.values()):
            says = "; ".join(f"{k}: {counts_in_words(v.counts())}" for k, v in means.items())
            log.info("no mean heatmap: no image has a face and a map (%s)", says)
            return None
        result = {
            "part": "validation",
            "epoch": epoch,
            "method": method,
            "explained": predictor.class_names[EXPLAINED],
            "replicates": replicates,
            "seed": seed,
            "classes": {
                name: {"in_part": _in_validation(faces, name)}
                | region_table(found, replicates=replicates, seed=seed)
                for name, found in means.items()
            },
        }
        _write(folder, means, result, writer, step)
    except FAILS as error:
        log.warning("no mean heatmap, the training is whole: %s", in_one_line(error))
        return None
    log.info(
        "mean heatmaps in %.1f s: %s\n%s",
        time.monotonic() - begun, folder / "mean.png",
        "\n".join(_summary(name, counts) for name, counts in result["classes"].items()),
    )  # fmt: skip
    return result


def average(
    explainer: Explainer, predictor: Predictor, pixels: Pixels, faces: FaceSet, rows: np.ndarray
) -> dict[str, Aligned]:
    """Maps of what spoke for class 0, aligned, by true class: that of label 1 comes first.

    Args:
        explainer: Of the predictor's network.
        predictor: For its preprocessing.
        pixels: Pictures by row.
        faces: The set; files are read again, as faces are looked for in the whole picture.
        rows: int (n), which pictures.

    Raises:
        UserError: A file is no readable picture, or the network cannot be explained.
        OSError: A file cannot be read.
    """
    index, preprocess = faces.index, predictor.preprocess
    means = {index.class_names[label]: Aligned() for label in (1, 0)}

    def place(row: int) -> Placed | None:
        return regions_of_file(index.path(row).read_bytes(), preprocess)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(rows), BATCH):
            batch = [int(row) for row in rows[start : start + BATCH]]
            placed = list(pool.map(place, batch))
            images = np.stack([np.asarray(pixels[row]) for row in batch])
            maps = explainer.maps(preprocess.normalize(images), EXPLAINED)
            for row, image, cam, face in zip(batch, images, maps, placed, strict=True):
                name = index.class_names[index.labels[row]]
                means[name].add(image, cam, face, index["group"][row])
    return means


def _in_validation(faces: FaceSet, name: str) -> int:
    label = faces.index.class_names.index(name)
    return int(((faces.parts == "val") & (faces.index.labels == label)).sum())


def _write(
    folder: Path, means: Mapping[str, Aligned], result: Mapping, writer: object, step: int
) -> None:
    explained = result["explained"]
    figure = average_figure(
        means,
        result["classes"],
        title=f"Mean heatmap over validation: evidence for {explained}",
        notes=f"{result['method']}, weights of epoch {result['epoch']}; faces aligned by five"
        " landmarks",
    )
    text = markdown(result)
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "mean.png")
    (folder / "regions.md").write_text(text, encoding="utf-8")
    write_json(folder / "regions.json", result)
    if writer is not None:
        writer.add_figure("val/mean_heatmaps", figure, step, close=False)
        writer.add_text("val/regions", text, step)


def _summary(name: str, counts: Mapping) -> str:
    line = f"  {name}: {counts_in_words(counts)}"
    return f"{line}; densest over an even map: {found}" if (found := densest(counts)) else line
